/*
 * connection_read: bytes become packets: reads what the socket has, within the limits of rate, output and time, takes the whole
 * packets apart and keeps the rest.
 */
#include "broker/channel/connection.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "broker/channel/enhanced.h"
#include "broker/channel/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PACKETS_PER_LOOK 4u  /* packets of one connection between two looks at the clock */
#define BYTES_BATCH_MS 50u   /* a client at its rate limit is read for so long at once, not byte by byte */
#define DIRECT_READ_AT 4096u /* an unfinished packet of this size is read straight into its own buffer */

static enum handled handle_disconnect(struct connection *connection, const struct mqtt_disconnect *disconnect)
{
    struct session *session = connection->link.session;

    if (mqtt_properties_have(&disconnect->properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL)) {
        uint32_t expiry_s = disconnect->properties.session_expiry_interval_s;
        if (session->expiry_interval_s == 0 && expiry_s != 0) /* [MQTT-3.14.2-2] */
            return connection_refuse(connection, REASON_PROTOCOL_ERROR,
                                     "DISCONNECT sets a session expiry that CONNECT had as 0");
        session_set_expiry(session, expiry_s);
    }
    if (disconnect->code == REASON_SUCCESS)
        connection_close_normal(connection);
    else
        connection_close_abnormal(connection);
    return HANDLED_STOP;
}

static void send_pingresp(struct connection *connection)
{
    uint8_t *out = connection_reserve(connection, 2);

    if (out == NULL)
        return;
    out[0] = MQTT_PINGRESP << 4;
    out[1] = 0;
    connection_commit(connection, 2);
    metric_add(METRIC_PACKETS_PINGRESP_SENT, 1);
}

/* What is not on the hot path, after a general decode. */
static enum handled handle_decoded(struct connection *connection, const struct mqtt_packet *packet)
{
    switch (packet->type) {
    case MQTT_SUBSCRIBE:
        metric_add(METRIC_PACKETS_SUBSCRIBE_RECEIVED, 1);
        return channel_on_subscribe(connection, &packet->subscribe);
    case MQTT_UNSUBSCRIBE:
        metric_add(METRIC_PACKETS_UNSUBSCRIBE_RECEIVED, 1);
        return channel_on_unsubscribe(connection, &packet->subscribe);
    case MQTT_PINGREQ:
        metric_add(METRIC_PACKETS_PINGREQ_RECEIVED, 1);
        send_pingresp(connection);
        return HANDLED;
    case MQTT_DISCONNECT:
        metric_add(METRIC_PACKETS_DISCONNECT_RECEIVED, 1);
        return handle_disconnect(connection, &packet->disconnect);
    case MQTT_AUTH: return channel_on_auth(connection, &packet->disconnect);
    default: return connection_refuse(connection, REASON_PROTOCOL_ERROR, "a second CONNECT");
    }
}

/* A ClientHello (16 03 minor length length 01, RFC 8446, 5.1) reads as CONNECT with wrong flags and 3 bytes. */
static bool is_tls(const struct mqtt_frame *frame, const uint8_t *body)
{
    return frame->flags == 6 && frame->remaining_len == 3 && body[0] <= 4;
}

static enum handled handle_packet(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    struct mqtt_packet packet;
    const char *error = "malformed packet";
    enum reason_code code;

    metric_add(METRIC_PACKETS_RECEIVED, !connection->packet_seen);
    if (UNLIKELY(connection->state == CONNECTION_WAIT_CONNECT)) {
        if (channel_in_exchange(connection))
            return channel_on_exchange_packet(connection, frame, body);
        if (is_tls(frame, body))
            return connection_refuse(connection, REASON_MALFORMED_PACKET, "TLS on a listener for MQTT without TLS");
        return channel_on_connect(connection, frame, body); /* nothing else gets here: refuse_stranger() */
    }
    switch (frame->type) {
    case MQTT_PUBLISH: return channel_on_publish(connection, frame, body);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: return channel_on_ack(connection, frame, body);
    case MQTT_CONNECT:
        return connection_refuse(connection, REASON_PROTOCOL_ERROR, "a second CONNECT"); /* [MQTT-3.1.0-2] */
    default: break;
    }
    code = mqtt_decode((enum mqtt_version)connection->version, MQTT_FROM_CLIENT, frame, body, &packet, &error);
    if (code != REASON_SUCCESS)
        return connection_refuse(connection, code, error);
    return handle_decoded(connection, &packet);
}

/* Keeps what was not handled. `rest` may lie in the partial buffer itself. */
static void save_rest(struct connection *connection, const uint8_t *rest, size_t len)
{
    bool is_new = connection->partial_len == 0;

    if (len == 0) {
        connection_free_partial(connection);
        return;
    }
    if (len > connection->partial_capacity) {
        size_t capacity = len < 48 ? 64 : len + len / 4;
        uint8_t *grown = malloc(capacity);
        if (grown == NULL) {
            connection_close(connection, REASON_SERVER_BUSY, "enomem");
            return;
        }
        memcpy(grown, rest, len);
        free(connection->partial);
        connection->partial = grown;
        connection->partial_capacity = (uint32_t)capacity;
    } else {
        memmove(connection->partial, rest, len);
    }
    connection->partial_len = (uint32_t)len;
    if (is_new && connection->keep_alive_ms == 0 && connection->state == CONNECTION_CONNECTED)
        connection_watch_packet(connection);
}

/* What comes first is no CONNECT, which its first byte shows; further ones would only make us wait. */
static void refuse_stranger(struct connection *connection, uint8_t first_byte)
{
    const char *what = "the first packet is not CONNECT";

    if (first_byte == 'G' || first_byte == 'H')
        what = "the first packet is not CONNECT but looks like HTTP; WebSocket has listeners of its own";
    else if (first_byte == 'P' || first_byte == '\r')
        what =
            "the first packet is not CONNECT but perhaps a PROXY protocol header, which proxy_protocol = on would expect";
    connection_refuse(connection, REASON_PROTOCOL_ERROR, what);
}

/* Handles the whole packets of `data`, which is the partial buffer or the worker's read buffer, and keeps the rest. */
static void handle_bytes(struct connection *connection, const uint8_t *data, size_t len)
{
    uint32_t packet_bytes_max = connection_zone(connection)->caps.max_packet_size;
    uint64_t began_ns = clock_mono_tick_ns();
    uint32_t packets = 0;
    size_t place = 0;

    while (connection_open(connection) && !connection->paused) {
        struct mqtt_frame frame;
        enum mqtt_peek peek = mqtt_frame_peek(data + place, len - place, &frame);
        if (UNLIKELY(connection->state == CONNECTION_WAIT_CONNECT && place < len && data[place] >> 4 != MQTT_CONNECT) &&
            !channel_in_exchange(connection)) {
            refuse_stranger(connection, data[place]);
            break;
        }
        if (peek == MQTT_PEEK_MORE)
            break;
        if (peek == MQTT_PEEK_MALFORMED) {
            connection_refuse(connection, REASON_MALFORMED_PACKET, "a remaining length of more than four bytes");
            break;
        }
        size_t total = (size_t)frame.header_len + frame.remaining_len;
        if (UNLIKELY(total > packet_bytes_max)) {
            connection_refuse(connection, REASON_PACKET_TOO_LARGE, "a packet over max_packet_size");
            break;
        }
        if (len - place < total)
            break;
        if (packets == 0) {
            connection->received_ms = (uint32_t)connection_now(connection);
            connection->progress_len = 0;
        }
        enum handled handled = handle_packet(connection, &frame, data + place + frame.header_len);
        if (UNLIKELY(handled == HANDLED_TOOK_BUFFER))
            return;
        if (UNLIKELY(connection->handing_over || (connection->paused & PAUSE_HOOK) != 0))
            break; /* the packet will be decoded again */
        place += total;
        /* A packet that thousands of filters match takes milliseconds, and there may be thousands of them: the others' turn. */
        if (UNLIKELY(++packets % PACKETS_PER_LOOK == 0 && clock_mono_tick_ns() != began_ns && place < len)) {
            connection_make_ready(connection);
            break;
        }
    }
    if (connection->state < CONNECTION_LINGER)
        save_rest(connection, data + place, len - place);
    else
        connection_free_partial(connection);
    if (UNLIKELY((connection->paused & PAUSE_CONNECT) != 0) && connection_open(connection))
        channel_put_connect_back(connection);
}

/* Reads more of a large unfinished packet into its own buffer. */
static ssize_t read_direct(struct connection *connection, size_t most, bool *out_full)
{
    struct mqtt_frame frame;
    size_t total, want;
    ssize_t got;

    mqtt_frame_peek(connection->partial, connection->partial_len, &frame);
    total = (size_t)frame.header_len + frame.remaining_len;
    ASSERT(connection->partial_len < total); /* a whole packet would have been handled */
    if (connection->partial_len == connection->partial_capacity) {
        size_t capacity = (size_t)connection->partial_capacity * 2;
        capacity = capacity < total ? capacity : total;
        uint8_t *grown = realloc(connection->partial, capacity);
        if (grown == NULL)
            return -ENOMEM;
        connection->partial = grown;
        connection->partial_capacity = (uint32_t)capacity;
    }
    want = connection->partial_capacity - connection->partial_len;
    if (want > total - connection->partial_len)
        want = total - connection->partial_len;
    want = want < most ? want : most;
    got = stream_read(&connection_host(connection)->streams, &connection->stream,
                      connection->partial + connection->partial_len, want);
    *out_full = got == (ssize_t)want;
    if (got <= 0)
        return got;
    connection->partial_len += (uint32_t)got;
    if (connection->partial_len == total)
        handle_bytes(connection, connection->partial, connection->partial_len);
    return got;
}

static ssize_t read_pooled(struct connection *connection, size_t most, bool *out_full)
{
    uint8_t *buffer = connection_host(connection)->streams.read_buffer;
    size_t kept = connection->partial_len, want = STREAM_READ_BUFFER - kept;
    ssize_t got;

    want = want < most ? want : most;
    got = stream_read(&connection_host(connection)->streams, &connection->stream, buffer + kept, want);
    if (UNLIKELY(connection->transport != TRANSPORT_OPEN))
        transport_after_read(connection); /* before what may have come with the end of the handshake */
    *out_full = got == (ssize_t)want;
    if (got <= 0)
        return got;
    if (kept > 0)
        memcpy(buffer, connection->partial, kept);
    handle_bytes(connection, buffer, kept + (size_t)got);
    return got;
}

static struct token_bucket *byte_bucket(const struct connection *connection)
{
    if (connection->extras == NULL || connection->extras->byte_bucket.burst <= 0)
        return NULL;
    return &connection->extras->byte_bucket;
}

/* How many bytes the rate limit lets us read now. 0: reading pauses until there are some again. */
static size_t bytes_allowed(struct connection *connection)
{
    struct token_bucket *bucket = byte_bucket(connection);
    double batch;

    if (LIKELY(bucket == NULL))
        return SIZE_MAX;
    token_bucket_take(bucket, 0, connection_now(connection));
    if (bucket->tokens >= 1)
        return (size_t)bucket->tokens;
    batch = bucket->rate_per_ms * BYTES_BATCH_MS;
    batch = batch < 1 ? 1 : batch > bucket->burst ? bucket->burst : batch;
    connection_pause(connection, (uint64_t)((batch - bucket->tokens) / bucket->rate_per_ms) + 1);
    return 0;
}

static void limit_bytes(struct connection *connection, size_t count)
{
    struct token_bucket *bucket = byte_bucket(connection);

    if (bucket != NULL)
        token_bucket_take(bucket, (double)count, connection_now(connection));
}

/* A client that sends and does not read makes us keep the answers: it is not read either until it has taken them. Twice the
 * watermark, since up to once is the session's. */
static void limit_output(struct connection *connection)
{
    uint64_t max = 2 * connection_zone(connection)->high_watermark_bytes;

    if (!connection_open(connection) || stream_pending_bytes(&connection->stream) < max)
        return;
    if (!connection->stream.blocked) /* only a socket that is full tells us when it no longer is */
        stream_flush(&connection_host(connection)->streams, &connection->stream);
    if (stream_pending_bytes(&connection->stream) >= max)
        connection->paused |= PAUSE_OUTPUT;
}

/* A peer that is gone does not keep its connection until its rate limit, or client.authenticate, lets us read again. What it said as a client is
 * still heard when a callback has answered. */
static void end_if_reset(struct connection *connection)
{
    uint8_t causes = connection->state == CONNECTION_WAIT_CONNECT ? PAUSE_RATE | PAUSE_HOOK : PAUSE_RATE;

    if (UNLIKELY(connection->peer_reset) && (connection->paused & causes) != 0)
        connection_peer_gone(connection, -ECONNRESET);
}

void connection_handle_partial(struct connection *connection)
{
    handle_bytes(connection, connection->partial, connection->partial_len);
}

void connection_read(struct connection *connection, bool to_the_end)
{
    uint32_t rounds = 0;
    bool full = true;

    while (connection_open(connection)) {
        if (connection->paused || connection->is_ready) { /* who goes on again reads to the end */
            end_if_reset(connection);
            return;
        }
        if (rounds++ >= 4) { /* the others' turn */
            connection_make_ready(connection);
            return;
        }
        if (UNLIKELY(connection->transport != TRANSPORT_OPEN) && !transport_prepare(connection))
            return;
        size_t most = bytes_allowed(connection);
        if (most == 0) {
            end_if_reset(connection);
            return;
        }
        ssize_t got = connection->partial_len >= DIRECT_READ_AT ? read_direct(connection, most, &full)
                                                                : read_pooled(connection, most, &full);
        if (UNLIKELY(got == -EBUSY)) {
            connection_queue_handshake(connection);
            return;
        }
        if (UNLIKELY(connection->stream.layer != NULL) && connection->transport == TRANSPORT_OPEN)
            transport_note_frames(connection);
        if (got == -EAGAIN || got == -EWOULDBLOCK)
            return;
        if (got <= 0) {
            connection_peer_gone(connection, got);
            return;
        }
        metric_add(METRIC_BYTES_RECEIVED, (uint64_t)got);
        limit_bytes(connection, (size_t)got);
        limit_output(connection);
        if (!full && !to_the_end)
            break;
    }
    if (connection->handing_over)
        connection_hand_over_now(connection);
}
