/*
 * transport: what lies between an accepted socket and the first byte of MQTT.
 *
 *   accept ─► TRANSPORT_PROXY ─► TRANSPORT_HANDSHAKE ─► TRANSPORT_OPEN
 *               header of a         TLS, WebSocket        CONNECT may come
 *               load balancer       upgrade
 *
 * A phase that the listener does not have is passed at once. Each has a time limit of its own. The PROXY header is looked at
 * with MSG_PEEK and then taken off exactly, so that TLS finds its first byte in the socket.
 */
#include "broker/channel/transport.h"

#include "base/log.h"
#include "base/metrics.h"
#include "http/websocket.h"
#include "mqtt/topic.h"
#include "net/ip_address.h"
#include "net/proxy_header.h"
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Connections looked at for one that can make room; with none among them the new one is refused, and the next one looks on. */
#define SILENT_LOOK_MAX 1000u

static const struct listener_options *options_of(const struct connection *connection)
{
    return listener_options_of(connection->listener);
}

static void wait_at_most(struct connection *connection, uint64_t timeout_ms)
{
    timer_start(worker_timers(connection->worker->host.worker), &connection->timer,
                connection_now(connection) + timeout_ms);
}

/* 0: no number of a port. */
static uint16_t port_number(struct slice text)
{
    uint32_t number = 0;

    if (text.len > 5)
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return 0;
        number = number * 10 + (uint32_t)(text.data[i] - '0');
    }
    return number <= UINT16_MAX ? (uint16_t)number : 0;
}

/* The address of the client that a proxy names in the upgrade request; whoever sets the header is trusted with it by the
 * configuration. What is no address changes nothing. */
static void take_forwarded_address(struct connection *connection)
{
    struct slice address = websocket_layer_forwarded_address(connection->stream.layer);
    struct slice port = websocket_layer_forwarded_port(connection->stream.layer);
    char text[INET6_ADDRSTRLEN];
    struct in_addr ipv4;
    struct in6_addr ipv6;
    uint16_t number = port_number(port);

    if (address.len > 0 && address.len < sizeof(text)) {
        memcpy(text, address.data, address.len);
        text[address.len] = '\0';
        if (inet_pton(AF_INET, text, &ipv4) == 1)
            connection->peer.address = ip_address_mapped(ipv4);
        else if (inet_pton(AF_INET6, text, &ipv6) == 1)
            connection->peer.address = ipv6;
    }
    if (number > 0)
        connection->peer.port = number;
}

static void on_open(struct connection *connection)
{
    connection->transport = TRANSPORT_OPEN;
    connection->received_ms = (uint32_t)connection_now(connection);
    wait_at_most(connection, connection_zone(connection)->idle_timeout_ms);
}

/* May it still wait for a ClientHello, or come to do so? */
static bool may_be_silent(const struct connection *connection)
{
    switch ((enum transport_phase)connection->transport) {
    case TRANSPORT_PROXY: return true;
    case TRANSPORT_HANDSHAKE: return tls_layer_waits_for_hello(connection->stream.layer);
    case TRANSPORT_OPEN: break;
    }
    return false;
}

/* The oldest connection of this worker, on the same listener as `newest`, that has sent no ClientHello yet, or NULL. The
 * list is in the order of accepting and who has sent one never waits again, so each connection is passed once. */
static struct connection *find_silent(const struct connection *newest)
{
    struct channel_worker *host = connection_host(newest);
    struct connection *each = host->passed == NULL ? host->head : host->passed->next;
    bool passing = true;

    for (uint32_t looked = 0; each != newest && each != NULL && looked < SILENT_LOOK_MAX; looked++, each = each->next) {
        if (may_be_silent(each)) {
            if (each->transport == TRANSPORT_HANDSHAKE && each->listener == newest->listener && !each->is_ready &&
                connection_open(each))
                return each;
            passing = false;
        } else if (passing) {
            host->passed = each;
        }
    }
    return NULL;
}

/* Over max_handshakes the new connection takes the place of the oldest silent one. -EBUSY: there is none here. */
static int make_tls_layer(struct connection *connection, struct stream_layer **out_layer)
{
    struct tls_context *context = listener_tls_context(connection->listener);
    int err = tls_layer_new(context, out_layer);
    struct connection *silent = err == -EBUSY ? find_silent(connection) : NULL;

    if (silent == NULL)
        return err;
    connection_log_limited(silent, LOG_LEVEL_WARNING,
                           "%u TLS handshakes are in flight on listener %s (max_handshakes), closing the oldest one "
                           "that has not begun",
                           options_of(connection)->tls->handshakes_max, options_of(connection)->name);
    connection_close(silent, REASON_SUCCESS, "handshake_evicted");
    return tls_layer_new(context, out_layer);
}

static int begin_handshake(struct connection *connection)
{
    const struct listener_options *options = options_of(connection);
    struct stream_layer *layer;
    int err;

    if (options->tls != NULL) {
        err = make_tls_layer(connection, &layer);
        if (err < 0)
            return err;
        stream_push_layer(&connection->stream, layer);
    }
    if (options->websocket != NULL) {
        err = websocket_layer_new(options->websocket, connection->stream.layer, &layer);
        if (err < 0)
            return err;
        stream_push_layer(&connection->stream, layer);
    }
    if (connection->stream.layer == NULL) {
        on_open(connection);
        return 0;
    }
    connection->transport = TRANSPORT_HANDSHAKE;
    wait_at_most(connection, options->tls != NULL ? options->tls->handshake_timeout_ms
                                                  : connection_zone(connection)->idle_timeout_ms);
    return 0;
}

int transport_begin(struct connection *connection)
{
    if (!options_of(connection)->proxy_protocol)
        return begin_handshake(connection);
    connection->transport = TRANSPORT_PROXY;
    wait_at_most(connection, options_of(connection)->proxy_protocol_timeout_ms);
    return 0;
}

static int take_header(struct connection *connection, const struct proxy_header *header)
{
    uint8_t bytes[PROXY_HEADER_MAX];
    struct connection_extras *extras;

    if (header->has_addresses)
        connection->peer = peer_from(&header->source);
    if (header->common_name.data != NULL && options_of(connection)->peer_cert_as_username != 0 &&
        mqtt_utf8_valid(header->common_name)) {
        extras = connection_extras_get(connection);
        if (extras == NULL || slice_dup(header->common_name, &extras->proxy_common_name) < 0)
            return -ENOMEM;
    }
    ASSERT(header->len <= sizeof(bytes));
    return recv(connection->stream.watch.fd, bytes, header->len, 0) == (ssize_t)header->len ? 0 : -EIO;
}

static bool peer_has_closed(const struct connection *connection)
{
    struct pollfd look = {.fd = connection->stream.watch.fd, .events = POLLRDHUP};

    return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void refuse_header(struct connection *connection, const char *error)
{
    connection_log_limited(connection, LOG_LEVEL_WARNING, "listener %s expects a PROXY protocol header, closing: %s",
                           options_of(connection)->name, error);
    metric_add(METRIC_CONNECTIONS_MALFORMED, 1);
    connection_close(connection, REASON_SUCCESS, "invalid_proxy_info");
}

static int read_proxy_header(struct connection *connection)
{
    uint8_t bytes[PROXY_HEADER_MAX];
    ssize_t got = recv(connection->stream.watch.fd, bytes, sizeof(bytes), MSG_PEEK);
    struct proxy_header header;
    const char *error;

    if (got < 0)
        return -errno;
    if (got == 0)
        return -ECONNRESET;
    switch (proxy_header_parse(bytes, (size_t)got, &header, &error)) {
    case PROXY_MORE: return peer_has_closed(connection) ? -ECONNRESET : -EAGAIN; /* else nobody tells us again */
    case PROXY_BAD: refuse_header(connection, error); return -EPROTO;
    case PROXY_PARSED: break;
    }
    int err = take_header(connection, &header);
    return err < 0 ? err : begin_handshake(connection);
}

void transport_refuse(struct connection *connection, int err)
{
    if (err == -EBUSY)
        connection_log_limited(connection, LOG_LEVEL_WARNING,
                               "%u TLS handshakes are in flight on listener %s (max_handshakes), closing the new one",
                               options_of(connection)->tls->handshakes_max, options_of(connection)->name);
    connection_release(connection, err == -EBUSY ? "too_many_handshakes" : "enomem");
    connection_finish(connection);
}

bool transport_prepare(struct connection *connection)
{
    int err;

    if (connection->transport != TRANSPORT_PROXY)
        return true;
    err = read_proxy_header(connection);
    if (err == -EAGAIN || err == -EWOULDBLOCK)
        return false;
    if (err == -EBUSY)
        transport_refuse(connection, err);
    else if (err < 0 && connection_open(connection))
        connection_peer_gone(connection, err);
    return err == 0;
}

void transport_after_read(struct connection *connection)
{
    /* The peer computes its next step while we do that of others. */
    if (connection->transport == TRANSPORT_HANDSHAKE && stream_pending_bytes(&connection->stream) > 0)
        stream_flush(&connection_host(connection)->streams, &connection->stream);
    if (connection->transport != TRANSPORT_HANDSHAKE || !stream_established(&connection->stream))
        return;
    if (options_of(connection)->websocket != NULL)
        take_forwarded_address(connection);
    on_open(connection);
}

void transport_note_frames(struct connection *connection)
{
    if (options_of(connection)->websocket != NULL)
        websocket_layer_silence_ms(connection->stream.layer, connection_now(connection));
}

uint64_t transport_idle_left_ms(const struct connection *connection)
{
    uint64_t silence = websocket_layer_silence_ms(connection->stream.layer, connection_now(connection));
    uint64_t timeout = options_of(connection)->websocket->idle_timeout_ms;

    if (silence < timeout)
        return timeout - silence;
    return connection->paused ? timeout : 0;
}

bool transport_certificate_name(const struct connection *connection, struct buffer *out)
{
    enum tls_name kind = (enum tls_name)options_of(connection)->peer_cert_as_username;

    if (kind == 0)
        return false;
    if (connection->stream.layer != NULL && tls_layer_peer_name(connection->stream.layer, kind, out))
        return true; /* what we have checked ourselves counts for more than what we are told */
    return connection->extras != NULL && connection->extras->proxy_common_name.data != NULL &&
           buffer_append(out, connection->extras->proxy_common_name) == 0;
}

const char *transport_timeout_reason(const struct connection *connection)
{
    switch ((enum transport_phase)connection->transport) {
    case TRANSPORT_PROXY: return "proxy_proto_timeout";
    case TRANSPORT_HANDSHAKE: return "handshake_timeout";
    case TRANSPORT_OPEN: break;
    }
    return "idle_timeout";
}
