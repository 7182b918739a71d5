/*
 * connection: reading, taking packets apart, timers, ending, and the way to another worker. The packets' handlers
 * are in connect.c, publish.c and subscribe.c; what is sent is in deliver.c.
 *
 * Keep alive counts whole packets, so a client that drips a packet byte by byte is as silent as one that says nothing
 * [MQTT-3.1.2-22]. A client that is sending a large packet can't send anything else meanwhile: it counts as alive as long as each
 * keep-alive period brings a 64th of the packet, and 1 KiB at least. So no packet takes longer than 65 periods, and
 * 1 MB at a keep alive of 60 s needs 182 bytes a second. A client without keep alive may be silent for ever, but not in the
 * middle of a packet: for it four times idle_timeout is the period.
 */
#include "broker/channel/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "broker/channel/alias.h"
#include "broker/channel/channel.h"
#include "broker/channel/transport.h"
#include "net/unix_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKETS_PER_LOOK 4u  /* packets of one connection between two looks at the clock */
#define BYTES_BATCH_MS 50u   /* a client at its rate limit is read for so long at once, not byte by byte */
#define DIRECT_READ_AT 4096u /* an unfinished packet of this size is read straight into its own buffer */
#define PACKET_PERIODS 64u   /* a large packet may take so many keep-alive periods */
#define PROGRESS_MIN 1024u   /* bytes of an unfinished packet that a period must bring at least */
#define IDLE_TIMEOUTS 4u     /* the period, for clients without keep alive */

static void connection_on_ready(struct worker *worker, struct io_watch *watch, uint32_t events);
static void connection_on_due(struct timer *timer, uint64_t now_ms);

void peer_format(const struct peer_address *peer, char out[PEER_TEXT_MAX])
{
    char address[INET6_ADDRSTRLEN];

    if (unix_peer_text(&peer->address, out, PEER_TEXT_MAX))
        return;
    if (IN6_IS_ADDR_V4MAPPED(&peer->address)) {
        inet_ntop(AF_INET, &peer->address.s6_addr[12], address, sizeof(address));
        snprintf(out, PEER_TEXT_MAX, "%s:%u", address, peer->port);
    } else {
        inet_ntop(AF_INET6, &peer->address, address, sizeof(address));
        snprintf(out, PEER_TEXT_MAX, "[%s]:%u", address, peer->port);
    }
}

struct peer_address peer_from(const struct sockaddr_storage *from)
{
    struct peer_address peer = {0};

    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        peer.address = v6->sin6_addr;
        peer.port = ntohs(v6->sin6_port);
    } else if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        memset(&peer.address.s6_addr[10], 0xFF, 2);
        memcpy(&peer.address.s6_addr[12], &v4->sin_addr, 4);
        peer.port = ntohs(v4->sin_port);
    }
    return peer;
}

struct connection_extras *connection_extras_get(struct connection *connection)
{
    if (connection->extras == NULL) {
        connection->extras = calloc(1, sizeof(*connection->extras));
        if (connection->extras != NULL)
            connection->extras->owner = connection;
    }
    return connection->extras;
}

struct slice connection_user_name(const struct connection *connection)
{
    return connection->extras == NULL ? slice_make(NULL, 0) : connection->extras->user_name;
}

struct slice connection_mountpoint(const struct connection *connection)
{
    return connection->extras == NULL ? slice_make(NULL, 0) : connection->extras->mountpoint;
}

void connection_list_add(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);

    connection->sequence = ++host->last_sequence;
    connection->next = NULL;
    connection->prev = host->tail;
    if (host->tail != NULL)
        host->tail->next = connection;
    else
        host->head = connection;
    host->tail = connection;
    host->connection_count++;
}

void connection_list_remove(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);

    if (UNLIKELY(host->mark_count > 0))
        connection_list_unmark(host, connection);
    if (UNLIKELY(host->passed == connection))
        host->passed = connection->prev;
    if (connection->prev != NULL)
        connection->prev->next = connection->next;
    else
        host->head = connection->next;
    if (connection->next != NULL)
        connection->next->prev = connection->prev;
    else
        host->tail = connection->prev;
    host->connection_count--;
}

void connection_free_partial(struct connection *connection)
{
    free(connection->partial);
    connection->partial = NULL;
    connection->partial_len = connection->partial_capacity = 0;
}

uint8_t *connection_reserve(struct connection *connection, size_t len)
{
    return stream_reserve(&connection_host(connection)->streams, &connection->stream, len);
}

void connection_commit(struct connection *connection, size_t len)
{
    metric_add(METRIC_PACKETS_SENT, 1);
    stream_commit(&connection_host(connection)->streams, &connection->stream, len);
}

static void free_buffer(void *buffer)
{
    free(buffer);
}

/* For packets over the size of a chunk: a SUBACK for very many filters. */
static void send_large(struct connection *connection, const struct mqtt_packet *packet, size_t size)
{
    uint8_t *buffer = malloc(size);

    if (buffer == NULL || mqtt_encode((enum mqtt_version)connection->version, packet, buffer, size) != size ||
        stream_write_ref(&connection_host(connection)->streams, &connection->stream, slice_make(buffer, size), buffer,
                         free_buffer) < 0) {
        free(buffer);
        connection_close(connection, REASON_UNSPECIFIED_ERROR, "enomem");
        return;
    }
    metric_add(METRIC_PACKETS_SENT, 1);
}

void connection_send(struct connection *connection, const struct mqtt_packet *packet)
{
    size_t size = mqtt_encoded_size((enum mqtt_version)connection->version, packet);
    uint8_t *out;

    if (size == 0)
        return;
    if (size > connection->client_packet_max) { /* [MQTT-3.1.2-24]; who is waiting for it must not wait for ever */
        connection_close(connection, REASON_SUCCESS, "packet_too_large");
        return;
    }
    if (size > STREAM_CHUNK_MAX) {
        send_large(connection, packet, size);
        return;
    }
    out = connection_reserve(connection, size);
    if (out == NULL)
        return;
    connection_commit(connection, mqtt_encode((enum mqtt_version)connection->version, packet, out, size));
}

uint64_t token_bucket_take(struct token_bucket *bucket, double count, uint64_t now_ms)
{
    bucket->tokens += (double)(now_ms - bucket->filled_ms) * bucket->rate_per_ms;
    if (bucket->tokens > bucket->burst)
        bucket->tokens = bucket->burst;
    bucket->filled_ms = now_ms;
    bucket->tokens -= count;
    return bucket->tokens >= 0 ? 0 : (uint64_t)(-bucket->tokens / bucket->rate_per_ms) + 1;
}

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
    case MQTT_AUTH:
        metric_add(METRIC_PACKETS_AUTH_RECEIVED, 1);
        return connection_refuse(connection, REASON_PROTOCOL_ERROR, "AUTH without an authentication method");
    default: return connection_refuse(connection, REASON_PROTOCOL_ERROR, "a second CONNECT");
    }
}

/* A ClientHello (16 03 minor length length 01, RFC 8446, 5.1) reads as CONNECT with wrong flags and 3 bytes. */
static bool is_tls(const struct mqtt_frame *frame, const uint8_t *body)
{
    return frame->type == MQTT_CONNECT && frame->flags == 6 && frame->remaining_len == 3 && body[0] <= 4;
}

static enum handled handle_packet(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    struct mqtt_packet packet;
    const char *error = "malformed packet";
    enum reason_code code;

    metric_add(METRIC_PACKETS_RECEIVED, connection->hops == 0 || connection->state == CONNECTION_CONNECTED);
    if (UNLIKELY(connection->state == CONNECTION_WAIT_CONNECT)) {
        if (is_tls(frame, body))
            return connection_refuse(connection, REASON_MALFORMED_PACKET, "TLS on a listener for MQTT without TLS");
        if (frame->type == MQTT_CONNECT)
            return channel_on_connect(connection, frame, body);
        return connection_refuse(connection, REASON_PROTOCOL_ERROR, "the first packet is not CONNECT");
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

/* How long nothing may come; 0: for ever. */
static uint32_t silence_max_ms(const struct connection *connection)
{
    uint64_t idle_ms = connection->zone->idle_timeout_ms * IDLE_TIMEOUTS;

    if (connection->keep_alive_ms > 0 || connection->partial_len == 0)
        return connection->keep_alive_ms;
    return idle_ms < INT32_MAX ? (uint32_t)idle_ms : INT32_MAX;
}

/* A client without keep alive has begun a packet, which it must finish. */
static void watch_packet(struct connection *connection)
{
    connection->received_ms = (uint32_t)connection_now(connection);
    connection_start_timer(connection);
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
        watch_packet(connection);
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
    uint64_t began_ns = clock_mono_tick_ns();
    uint32_t packets = 0;
    size_t place = 0;

    while (connection_open(connection) && !connection->paused) {
        struct mqtt_frame frame;
        enum mqtt_peek peek = mqtt_frame_peek(data + place, len - place, &frame);
        if (UNLIKELY(connection->state == CONNECTION_WAIT_CONNECT && place < len && data[place] >> 4 != MQTT_CONNECT)) {
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
        if (UNLIKELY(total > connection->zone->caps.max_packet_size)) {
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
        if (connection->handing_over)
            break;
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
    uint64_t max = 2 * connection->zone->high_watermark_bytes;

    if (!connection_open(connection) || stream_pending_bytes(&connection->stream) < max)
        return;
    if (!connection->stream.blocked) /* only a socket that is full tells us when it no longer is */
        stream_flush(&connection_host(connection)->streams, &connection->stream);
    if (stream_pending_bytes(&connection->stream) >= max)
        connection->paused |= PAUSE_OUTPUT;
}

/* A peer that is gone does not keep its connection until its rate limit lets us read again. */
static void end_if_reset(struct connection *connection)
{
    if (UNLIKELY(connection->peer_reset) && (connection->paused & PAUSE_RATE) != 0)
        connection_peer_gone(connection, -ECONNRESET);
}

/* `to_the_end`: the kernel said that the peer has gone; no further event will come. */
static void read_some(struct connection *connection, bool to_the_end)
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

void connection_make_ready(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);

    if (connection->is_ready)
        return;
    connection->is_ready = true;
    connection->ready_next = host->ready;
    host->ready = connection;
    worker_run_later(connection->worker->host.worker, &host->ready_work);
}

void connection_queue_handshake(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);

    if (connection->is_ready)
        return;
    connection->is_ready = connection->in_handshakes = true;
    connection->ready_next = NULL;
    if (host->handshakes_head == NULL)
        host->handshakes_head = connection;
    else
        host->handshakes_tail->ready_next = connection;
    host->handshakes_tail = connection;
    worker_run_later(connection->worker->host.worker, &host->ready_work);
}

void connection_make_unready(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);
    struct connection *before = NULL;
    struct connection *each = connection->in_handshakes ? host->handshakes_head : host->ready;

    if (!connection->is_ready)
        return;
    for (; each != connection; each = each->ready_next)
        before = each;
    if (before != NULL)
        before->ready_next = connection->ready_next;
    else if (connection->in_handshakes)
        host->handshakes_head = connection->ready_next;
    else
        host->ready = connection->ready_next;
    if (host->handshakes_tail == connection)
        host->handshakes_tail = before;
    connection->is_ready = connection->in_handshakes = false;
}

void connection_unpause(struct connection *connection, enum pause_cause cause)
{
    if ((connection->paused & cause) == 0)
        return;
    connection->paused &= (uint8_t)~cause;
    if (connection->paused == 0)
        connection_make_ready(connection);
}

static void write_on(struct connection *connection)
{
    uint32_t before = stream_pending_bytes(&connection->stream);

    if (connection->extras != NULL)
        connection->extras->blocked_since_ms = connection_now(connection); /* it took something */
    if (before == 0 && !connection->wants_writable && (connection->paused & PAUSE_OUTPUT) == 0)
        return;
    if (stream_flush(&connection_host(connection)->streams, &connection->stream) < 0) {
        connection_peer_gone(connection, -ECONNRESET);
        return;
    }
    if ((connection->paused & PAUSE_OUTPUT) != 0 &&
        stream_pending_bytes(&connection->stream) <= connection->zone->high_watermark_bytes)
        connection_unpause(connection, PAUSE_OUTPUT);
    if (connection->wants_writable &&
        stream_pending_bytes(&connection->stream) <= connection->zone->high_watermark_bytes / 2) {
        connection->wants_writable = false;
        if (connection->link.session != NULL)
            session_on_writable(connection->link.session);
    }
}

static void connection_on_ready(struct worker *worker, struct io_watch *watch, uint32_t events)
{
    struct connection *connection = CONTAINER_OF(CONTAINER_OF(watch, struct stream, watch), struct connection, stream);

    (void)worker;
    if (connection->state == CONNECTION_CLOSED || connection->handing_over)
        return;
    if (connection->state == CONNECTION_LINGER) {
        connection_linger(connection);
        return;
    }
    if ((events & EPOLLOUT) != 0)
        write_on(connection);
    if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        connection->peer_reset = true;
    if (connection->is_ready)
        return; /* go_on() follows in this turn or the next: unhandled bytes come before what is read now */
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && connection_open(connection))
        read_some(connection, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

/* Whoever broke off before goes on: unhandled bytes first, then the socket. */
static void go_on(struct connection *connection)
{
    if (connection->state == CONNECTION_LINGER) {
        connection_linger(connection);
        return;
    }
    if (connection->overloaded) {
        connection_close(connection, REASON_QUOTA_EXCEEDED, "message_queue_too_long");
        return;
    }
    if (!connection_open(connection) || connection->paused)
        return;
    if (connection->partial_len > 0)
        handle_bytes(connection, connection->partial, connection->partial_len);
    if (connection->handing_over)
        connection_hand_over_now(connection);
    else if (connection_open(connection))
        read_some(connection, true);
}

/* As many as may compute in this turn; the others wait on. */
static void run_handshakes(struct worker *worker, struct channel_worker *host)
{
    while (host->handshakes_head != NULL && host->streams.handshakes_left > 0) {
        struct connection *connection = host->handshakes_head;
        host->handshakes_head = connection->ready_next;
        connection->is_ready = connection->in_handshakes = false;
        go_on(connection);
    }
    if (host->handshakes_head != NULL)
        worker_run_later(worker, &host->ready_work);
}

static void run_ready(struct worker *worker, struct work *work)
{
    struct channel_worker *host = CONTAINER_OF(work, struct channel_worker, ready_work);
    struct connection *connection;

    run_handshakes(worker, host);
    connection = host->ready;
    host->ready = NULL; /* who becomes ready now waits for the next turn */
    while (connection != NULL) {
        struct connection *next = connection->ready_next;
        connection->is_ready = false;
        go_on(connection);
        connection = next;
    }
}

static void on_drained(struct worker *worker, struct mailbox_waiter *waiter)
{
    struct connection_extras *extras = CONTAINER_OF(waiter, struct connection_extras, waiter);

    (void)worker;
    if (connection_open(extras->owner))
        connection_unpause(extras->owner, PAUSE_MAILBOX);
}

void connection_wait_congestion(struct connection *connection)
{
    struct broker_worker *worker = connection->worker;
    struct connection_extras *extras = connection_extras_get(connection);

    metric_add(METRIC_MAILBOX_CONGESTED, 1);
    if (extras == NULL || extras->waiter.next != NULL) {
        connection_pause(connection, 10);
    } else {
        connection->paused |= PAUSE_MAILBOX;
        extras->waiter.resume = on_drained;
        worker_wait_for_drain(worker->host.worker, worker->congested, &extras->waiter);
    }
    worker->congested = NULL;
}

void connection_pause(struct connection *connection, uint64_t pause_ms)
{
    struct connection_extras *extras = connection_extras_get(connection);

    if (extras == NULL)
        return; /* a limit that is not kept for once, rather than a client that is never read again */
    uint64_t resume_ms = connection_now(connection) + pause_ms;
    connection->paused |= PAUSE_RATE;
    extras->resume_ms = resume_ms > extras->resume_ms ? resume_ms : extras->resume_ms;
    connection_start_timer(connection);
}

/* When a socket that takes nothing is given up. */
static uint64_t send_timeout_at(const struct connection *connection)
{
    const struct listener_options *options = listener_options_of(connection->listener);

    if (!options->send_timeout_close || options->send_timeout_ms == 0 || connection->extras == NULL ||
        !connection->stream.blocked)
        return UINT64_MAX;
    return connection->extras->blocked_since_ms + options->send_timeout_ms;
}

/* Milliseconds since received_ms. */
static uint32_t silence_ms(const struct connection *connection, uint64_t now_ms)
{
    int32_t silence = (int32_t)((uint32_t)now_ms - connection->received_ms);

    return silence < 0 ? 0 : (uint32_t)silence; /* the clock of the worker it came from may be a little ahead */
}

void connection_start_timer(struct connection *connection)
{
    struct timer_wheel *timers = worker_timers(connection->worker->host.worker);
    uint64_t now_ms = connection_now(connection), deadline = send_timeout_at(connection);
    const struct listener_options *options = listener_options_of(connection->listener);

    if (connection->state != CONNECTION_CONNECTED)
        return;
    if (silence_max_ms(connection) > 0) {
        uint64_t keep_alive_at = now_ms - silence_ms(connection, now_ms) + silence_max_ms(connection);
        deadline = keep_alive_at < deadline ? keep_alive_at : deadline;
    }
    if (connection->extras != NULL && connection->extras->resume_ms > 0 && connection->extras->resume_ms < deadline)
        deadline = connection->extras->resume_ms;
    if (options->websocket != NULL && now_ms + transport_idle_left_ms(connection) < deadline)
        deadline = now_ms + transport_idle_left_ms(connection);
    if (deadline == UINT64_MAX)
        timer_stop(timers, &connection->timer);
    else
        timer_start(timers, &connection->timer, deadline);
}

/* Has this period brought enough of an unfinished packet? Then the next one begins. */
static bool packet_grows(struct connection *connection, uint64_t now_ms)
{
    struct mqtt_frame frame;
    uint32_t least;

    if (mqtt_frame_peek(connection->partial, connection->partial_len, &frame) != MQTT_PEEK_OK)
        return false;
    least = (frame.header_len + frame.remaining_len) / PACKET_PERIODS;
    least = least > PROGRESS_MIN ? least : PROGRESS_MIN;
    if (connection->partial_len < connection->progress_len + least)
        return false;
    connection->progress_len = connection->partial_len;
    connection->received_ms = (uint32_t)now_ms;
    return true;
}

/* Closes a client that was silent for too long. True: it did. */
static bool end_silence(struct connection *connection, uint64_t now_ms)
{
    uint32_t max_ms = silence_max_ms(connection);

    if (max_ms == 0 || silence_ms(connection, now_ms) < max_ms || packet_grows(connection, now_ms))
        return false;
    if (connection->keep_alive_ms > 0) {
        metric_add(METRIC_CONNECTIONS_KEEPALIVE_TIMEOUT, 1);
        connection_close(connection, REASON_KEEP_ALIVE_TIMEOUT, "keepalive_timeout");
    } else {
        connection_close(connection, REASON_UNSPECIFIED_ERROR, "unfinished_packet");
    }
    return true;
}

static void connection_on_due(struct timer *timer, uint64_t now_ms)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, timer);

    if (connection->state == CONNECTION_LINGER) {
        connection_finish(connection);
        return;
    }
    if (connection->state == CONNECTION_WAIT_CONNECT) {
        connection_close(connection, REASON_SUCCESS, transport_timeout_reason(connection));
        return;
    }
    if (connection->paused)
        connection->received_ms = (uint32_t)now_ms; /* it is we who do not read */
    if (connection->extras != NULL && connection->extras->resume_ms > 0 && now_ms >= connection->extras->resume_ms) {
        connection->extras->resume_ms = 0;
        connection_unpause(connection, PAUSE_RATE);
    }
    if (end_silence(connection, now_ms))
        return;
    if (now_ms >= send_timeout_at(connection)) {
        connection_peer_gone(connection, -ETIMEDOUT);
        return;
    }
    if (listener_options_of(connection->listener)->websocket != NULL && transport_idle_left_ms(connection) == 0) {
        connection_close(connection, REASON_KEEP_ALIVE_TIMEOUT, "websocket_idle_timeout");
        return;
    }
    connection_start_timer(connection);
}

static void on_stream_blocked(struct stream *stream)
{
    struct connection *connection = CONTAINER_OF(stream, struct connection, stream);

    if (connection->state != CONNECTION_CONNECTED || connection_extras_get(connection) == NULL)
        return;
    connection->extras->blocked_since_ms = connection_now(connection);
    connection_start_timer(connection);
}

void channel_on_accept(struct worker *worker, struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    int err;

    metric_add(METRIC_CONNECTIONS_ACCEPTED, 1);
    if (connection == NULL) {
        close(fd);
        listener_release(listener, "enomem");
        listener_drop(listener);
        return;
    }
    stream_init(&connection->stream, fd);
    connection->stream.watch.on_ready = connection_on_ready;
    connection->worker = broker_worker_of(worker);
    connection->listener = listener;
    connection->zone = listener_context(listener);
    connection->timer.on_due = connection_on_due;
    connection->link.ops = &channel_link_ops;
    connection->peer = peer_from(peer);
    connection->received_ms = (uint32_t)worker_now_ms(worker);
    connection->version = MQTT_V3_1_1;
    connection->client_packet_max = UINT32_MAX;
    connection_list_add(connection);
    if (worker_watch(worker, &connection->stream.watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP) < 0) {
        connection_release(connection, "enomem");
        connection_finish(connection);
        return;
    }
    err = transport_begin(connection);
    if (err < 0)
        transport_refuse(connection, err);
}

/* Those still in the ready list wait for the next turn. */
static void free_closed(struct channel_worker *host)
{
    struct connection **link = &host->closed;

    while (*link != NULL) {
        struct connection *connection = *link;
        if (connection->is_ready) {
            link = &connection->next;
            continue;
        }
        *link = connection->next;
        listener_drop(connection->listener);
        free(connection);
    }
}

static void channel_turn_end(struct worker *worker, void *context)
{
    struct broker_worker *here = context;
    struct channel_worker *host = here->channel;

    stream_pool_flush(&host->streams);
    if (host->streams.bytes_sent > 0)
        metric_add(METRIC_BYTES_SENT, host->streams.bytes_sent);
    host->streams.bytes_sent = 0;
    if (LIKELY(!worker_in_lent_turn(worker)))
        free_closed(host);
    else if (host->closed != NULL)
        worker_run_later(worker, &host->ready_work); /* the own thread's turn comes soon, and with it this */
    here->congested = NULL;
    broker_turn_end(here);
}

static void on_stream_failed(struct stream *stream)
{
    struct connection *connection = CONTAINER_OF(stream, struct connection, stream);

    if (connection->state != CONNECTION_CLOSED)
        connection_peer_gone(connection, -ECONNRESET);
}

int channel_init(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->settings.worker_count; i++) {
        struct broker_worker *here = broker->workers[i];
        here->channel = calloc(1, sizeof(*here->channel));
        if (here->channel == NULL || stream_pool_init(&here->channel->streams) < 0)
            return -ENOMEM;
        here->channel->streams.on_blocked = on_stream_blocked;
        here->channel->streams.on_failed = on_stream_failed;
        here->channel->ready_work.run = run_ready;
        worker_set_turn_end(here->host.worker, channel_turn_end);
    }
    return 0;
}

void channel_fini(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->settings.worker_count; i++) {
        struct broker_worker *here = broker->workers[i];
        if (here == NULL || here->channel == NULL)
            continue;
        while (here->channel->closed != NULL) {
            struct connection *closed = here->channel->closed;
            here->channel->closed = closed->next;
            free(closed);
        }
        stream_pool_fini(&here->channel->streams);
        free(here->channel);
        here->channel = NULL;
    }
}
