/*
 * transport: what lies between MQTT and the socket: TLS, WebSocket, or WebSocket over TLS. Plain TCP has none.
 *
 * Bytes from the socket go through transport_receive(), MQTT's output through transport_output(), which gathers all that
 * is waiting into one frame and as few TLS records as possible. Thread: one.
 */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include "tls.h"
#include "websocket.h"

/* What the connections of a run have in common. NULL: without it. */
struct transport_settings {
    struct tls *tls;
    struct websocket_settings *websocket;
};

struct transport {
    const struct transport_settings *settings;
    struct tls_connection tls;
    struct websocket websocket;
    struct buffer wire;   /* goes to the socket next */
    struct buffer framed; /* WebSocket over TLS: frames on their way into records */
    const char *fault;    /* why the connection failed: valid until the next one of the run fails */
};

/* Begins the first handshake: its bytes are the first output. NULL without memory. */
struct transport *transport_new(const struct transport_settings *settings);
/* NULL is fine. */
void transport_free(struct transport *transport);

/* Takes `len` bytes that the socket gave and writes MQTT's to `out`, at most `len` + 16 KiB. `raw` and `out` may be the
 * same only without TLS. Returns how many, or -1: the connection has failed, transport->fault says why. */
ssize_t transport_receive(struct transport *transport, uint8_t *raw, size_t len, uint8_t *out, size_t capacity);

/* Is MQTT's turn: are all handshakes done? */
bool transport_established(const struct transport *transport);
/* Is there output of the transport's own? */
bool transport_has_output(const struct transport *transport);

/* The bytes for the socket; takes what is in `mqtt` when the handshakes are done. NULL: the connection has failed,
 * transport->fault says why. */
struct buffer *transport_output(struct transport *transport, struct buffer *mqtt);

/* Appends the goodbye of each protocol, after all of `mqtt`, to the output. The buffer is the one above. */
struct buffer *transport_shut(struct transport *transport, struct buffer *mqtt);

#endif
