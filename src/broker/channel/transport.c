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
#include "net/proxy_header.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const struct listener_options *options_of(const struct connection *connection)
{
    return listener_options_of(connection->listener);
}

static void wait_at_most(struct connection *connection, uint64_t timeout_ms)
{
    timer_start(worker_timers(connection->worker->host.worker), &connection->timer,
                connection_now(connection) + timeout_ms);
}

static void on_open(struct connection *connection)
{
    connection->transport = TRANSPORT_OPEN;
    connection->received_ms = (uint32_t)connection_now(connection);
    wait_at_most(connection, connection->zone->idle_timeout_ms);
}

static int begin_handshake(struct connection *connection)
{
    on_open(connection);
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
    if (header->common_name.data != NULL && options_of(connection)->peer_cert_as_username != 0) {
        extras = connection_extras_get(connection);
        if (extras == NULL || extras->proxy_common_name.data != NULL)
            return -ENOMEM;
        uint8_t *copy = malloc(header->common_name.len + 1);
        if (copy == NULL)
            return -ENOMEM;
        memcpy(copy, header->common_name.data, header->common_name.len);
        extras->proxy_common_name = slice_make(copy, header->common_name.len);
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
    connection_log_limited(connection, LOG_LEVEL_WARNING,
                           "no PROXY protocol header, which listener %s expects: %s, closing",
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

bool transport_prepare(struct connection *connection)
{
    int err;

    if (connection->transport != TRANSPORT_PROXY)
        return true;
    err = read_proxy_header(connection);
    if (err == -EAGAIN || err == -EWOULDBLOCK)
        return false;
    if (err < 0 && connection_open(connection))
        connection_peer_gone(connection, err);
    return err == 0;
}

void transport_after_read(struct connection *connection)
{
    if (connection->transport == TRANSPORT_HANDSHAKE && stream_established(&connection->stream))
        on_open(connection);
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
