/*
 * connection: the life of a connection but for its packets: beginning, turns (who has something to do next), pauses, and what
 * the workers share. Reading is in connection_read.c, silence and its limits in connection_timer.c, the end in connection_end.c, the way
 * to another worker in connection_move.c. The packets' handlers are in connect.c, publish.c and subscribe.c; what is sent is in
 * deliver.c.
 */
#include "broker/channel/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "broker/channel/access.h"
#include "broker/channel/alias.h"
#include "broker/channel/channel.h"
#include "broker/channel/hold.h"
#include "broker/channel/transport.h"
#include "net/ip_address.h"
#include "net/unix_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void connection_on_ready(struct worker *worker, struct io_watch *watch, uint32_t events);

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
        peer.address = ip_address_mapped(v4->sin_addr);
        peer.port = ntohs(v4->sin_port);
    }
    return peer;
}

struct connection_extras *connection_extras_get(struct connection *connection)
{
    if (connection->extras == NULL) {
        connection->extras = calloc(1, sizeof(*connection->extras));
        if (connection->extras != NULL) {
            connection->extras->owner = connection;
            list_init(&connection->extras->store_place);
        }
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

void connection_write_on(struct connection *connection)
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
        stream_pending_bytes(&connection->stream) <= connection_zone(connection)->high_watermark_bytes)
        connection_unpause(connection, PAUSE_OUTPUT);
    if (connection->wants_writable &&
        stream_pending_bytes(&connection->stream) <= connection_zone(connection)->high_watermark_bytes / 2) {
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
        connection_write_on(connection);
    if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        connection->peer_reset = true;
    if (connection->is_ready)
        return; /* go_on() follows in this turn or the next: unhandled bytes come before what is read now */
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && connection_open(connection))
        connection_read(connection, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
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
        connection_handle_partial(connection);
    if (connection->handing_over)
        connection_hand_over_now(connection);
    else if (connection_open(connection))
        connection_read(connection, true);
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

void connection_wait_store(struct connection *connection)
{
    struct connection_extras *extras;

    if (LIKELY(!broker_store_congested(connection->worker)))
        return;
    extras = connection_extras_get(connection);
    if (extras == NULL || (connection->paused & PAUSE_STORE) != 0)
        return;
    metric_add(METRIC_STORE_CONGESTED, 1);
    connection->paused |= PAUSE_STORE;
    list_append(&connection_host(connection)->store_waiting, &extras->store_place);
}

/* At a turn's end: the store's news begin one. Also when the store fails: who is read on is refused then. */
static void let_store_waiters_go_on(struct broker_worker *here)
{
    struct list *waiting = &here->channel->store_waiting;

    while (!list_empty(waiting)) {
        struct connection_extras *extras = LIST_ENTRY(list_first(waiting), struct connection_extras, store_place);
        list_remove(&extras->store_place);
        if (connection_open(extras->owner))
            connection_unpause(extras->owner, PAUSE_STORE);
    }
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
    connection->timer.on_due = connection_on_due;
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
    if (UNLIKELY(!list_empty(&host->store_waiting)) &&
        (!broker_store_congested(here) || broker_store_problem(here->broker) != REASON_SUCCESS))
        let_store_waiters_go_on(here);
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
        list_init(&here->channel->store_waiting);
        here->host.link_ops = &channel_link_ops;
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
        channel_free_holds(here->channel);
        channel_free_spare_question(here->channel);
        channel_free_spare_publication(here->channel);
        free(here->channel);
        here->channel = NULL;
    }
}
