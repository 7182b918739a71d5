/*
 * transport: see transport.h.
 */
#include "transport.h"

#include "stamp.h"

#include <stdlib.h>

struct transport *transport_new(const struct transport_settings *settings)
{
    struct transport *transport = calloc(1, sizeof(*transport));

    if (transport == NULL)
        return NULL;
    transport->settings = settings;
    if (settings->tls == NULL) {
        websocket_open(&transport->websocket, settings->websocket, &transport->wire);
    } else if (tls_connection_open(&transport->tls, settings->tls, &transport->wire, clock_ns()) < 0) {
        transport_free(transport);
        return NULL;
    }
    return transport;
}

void transport_free(struct transport *transport)
{
    if (transport == NULL)
        return;
    tls_connection_close(&transport->tls);
    websocket_close(&transport->websocket);
    buffer_fini(&transport->wire);
    buffer_fini(&transport->framed);
    free(transport);
}

bool transport_established(const struct transport *transport)
{
    const struct transport_settings *settings = transport->settings;

    return (settings->tls == NULL || transport->tls.established) &&
           (settings->websocket == NULL || transport->websocket.open);
}

bool transport_has_output(const struct transport *transport)
{
    return buffer_len(&transport->wire) > 0 || buffer_len(&transport->framed) > 0 || transport->websocket.is_pong_owed;
}

static struct buffer *frames_of(struct transport *transport)
{
    return transport->settings->tls != NULL ? &transport->framed : &transport->wire;
}

ssize_t transport_receive(struct transport *transport, uint8_t *raw, size_t len, uint8_t *out, size_t capacity)
{
    const struct transport_settings *settings = transport->settings;
    ssize_t count = (ssize_t)len;

    if (settings->tls != NULL) {
        bool was_established = transport->tls.established;
        count = tls_connection_receive(&transport->tls, raw, len, out, capacity);
        if (count < 0)
            transport->fault = settings->tls->fault;
        if (transport->tls.established && !was_established && settings->websocket != NULL)
            websocket_open(&transport->websocket, settings->websocket, &transport->framed);
    }
    if (count <= 0 || settings->websocket == NULL)
        return count;
    count = websocket_receive(&transport->websocket, out, (size_t)count);
    if (count < 0)
        transport->fault = settings->websocket->fault;
    return count;
}

static void take_all(struct buffer *buffer)
{
    buffer->start = buffer->end = 0;
}

static bool encrypt(struct transport *transport, struct buffer *plain)
{
    size_t len = buffer_len(plain);

    if (len > 0 && !tls_connection_send(&transport->tls, plain->data + plain->start, len)) {
        transport->fault = transport->settings->tls->fault;
        return false;
    }
    take_all(plain);
    return true;
}

struct buffer *transport_output(struct transport *transport, struct buffer *mqtt)
{
    const struct transport_settings *settings = transport->settings;

    if (UNLIKELY(transport->websocket.is_pong_owed))
        websocket_send_pong(&transport->websocket, frames_of(transport));
    if (settings->websocket != NULL && transport->websocket.open && buffer_len(mqtt) > 0) {
        websocket_send(&transport->websocket, mqtt->data + mqtt->start, buffer_len(mqtt), frames_of(transport));
        take_all(mqtt);
    }
    if (settings->tls != NULL && transport->tls.established &&
        !encrypt(transport, settings->websocket != NULL ? &transport->framed : mqtt))
        return NULL;
    return &transport->wire;
}

struct buffer *transport_shut(struct transport *transport, struct buffer *mqtt)
{
    const struct transport_settings *settings = transport->settings;
    struct buffer *output = transport_output(transport, mqtt);

    if (output == NULL)
        return NULL;
    if (settings->websocket != NULL && transport->websocket.open)
        websocket_send_close(&transport->websocket, frames_of(transport));
    if (settings->tls != NULL && encrypt(transport, &transport->framed))
        tls_connection_shut(&transport->tls);
    return output;
}
