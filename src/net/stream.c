/*
 * stream: see stream.h. The pools keep a bounded number of chunks per worker, the rest goes back to malloc.
 */
#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SMALL_CHUNK 1024u
#define LARGE_CHUNK 32768u
#define FREE_SMALL_MAX 256u
#define FREE_LARGE_MAX 32u
#define IOV_COUNT 64
#define FLUSH_EARLY_BYTES (128u * 1024u) /* a stream with this much output does not wait for the turn's end */

struct out_chunk {
    struct out_chunk *next;
    const uint8_t *bytes; /* what to send: `data`, or memory of `owner` */
    void *owner;
    void (*release)(void *owner);
    size_t len;
    size_t sent;
    uint32_t capacity; /* of `data`; 0: bytes by reference */
    uint8_t data[];
};

static_assert(LARGE_CHUNK - sizeof(struct out_chunk) >= STREAM_CHUNK_MAX, "a large chunk must hold a reservation");

int stream_pool_init(struct stream_pool *pool)
{
    memset(pool, 0, sizeof(*pool));
    pool->handshakes_left = STREAM_HANDSHAKES_PER_TURN;
    pool->read_buffer = malloc(STREAM_READ_BUFFER);
    return pool->read_buffer == NULL ? -ENOMEM : 0;
}

static void free_list(struct out_chunk *chunk)
{
    while (chunk != NULL) {
        struct out_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void stream_pool_fini(struct stream_pool *pool)
{
    free_list(pool->free_small);
    free_list(pool->free_large);
    free(pool->read_buffer);
    free(pool->layer_in);
    free(pool->layer_out);
    memset(pool, 0, sizeof(*pool));
}

int stream_pool_need_layer_buffers(struct stream_pool *pool)
{
    if (pool->layer_in == NULL)
        pool->layer_in = malloc(STREAM_LAYER_BUFFER);
    if (pool->layer_out == NULL)
        pool->layer_out = malloc(STREAM_LAYER_BUFFER);
    return pool->layer_in == NULL || pool->layer_out == NULL ? -ENOMEM : 0;
}

static struct out_chunk *chunk_get(struct stream_pool *pool, bool large)
{
    struct out_chunk **list = large ? &pool->free_large : &pool->free_small;
    uint32_t size = large ? LARGE_CHUNK : SMALL_CHUNK;
    struct out_chunk *chunk = *list;

    if (chunk != NULL) {
        *list = chunk->next;
        if (large)
            pool->free_large_count--;
        else
            pool->free_small_count--;
    } else {
        chunk = malloc(size);
        if (chunk == NULL)
            return NULL;
        chunk->capacity = (uint32_t)(size - sizeof(*chunk));
        chunk->bytes = chunk->data;
        chunk->owner = NULL;
    }
    chunk->next = NULL;
    chunk->len = chunk->sent = 0;
    return chunk;
}

static void chunk_put(struct stream_pool *pool, struct out_chunk *chunk)
{
    if (chunk->capacity == 0) {
        chunk->release(chunk->owner);
        free(chunk);
    } else if (chunk->capacity > SMALL_CHUNK && pool->free_large_count < FREE_LARGE_MAX) {
        chunk->next = pool->free_large;
        pool->free_large = chunk;
        pool->free_large_count++;
    } else if (chunk->capacity <= SMALL_CHUNK && pool->free_small_count < FREE_SMALL_MAX) {
        chunk->next = pool->free_small;
        pool->free_small = chunk;
        pool->free_small_count++;
    } else {
        free(chunk);
    }
}

void stream_init(struct stream *stream, int fd)
{
    memset(stream, 0, sizeof(*stream));
    stream->watch.fd = fd;
}

void stream_push_layer(struct stream *stream, struct stream_layer *layer)
{
    ASSERT(layer->below == stream->layer);
    stream->layer = layer;
}

const char *stream_error(const struct stream *stream)
{
    for (const struct stream_layer *layer = stream->layer; layer != NULL; layer = layer->below) {
        if (layer->error != NULL)
            return layer->error;
    }
    return NULL;
}

static void drop_output(struct stream_pool *pool, struct stream *stream)
{
    while (stream->out_head != NULL) {
        struct out_chunk *next = stream->out_head->next;
        chunk_put(pool, stream->out_head);
        stream->out_head = next;
    }
    stream->out_tail = NULL;
    stream->pending_bytes = 0;
    stream->marks = NULL;
}

void stream_close(struct stream_pool *pool, struct stream *stream)
{
    drop_output(pool, stream);
    while (stream->layer != NULL) {
        struct stream_layer *layer = stream->layer;
        stream->layer = layer->below;
        layer->ops->free(layer);
    }
    if (stream->watch.fd >= 0)
        close(stream->watch.fd);
    stream->watch.fd = -1;
}

static ssize_t socket_read(struct stream *stream, uint8_t *out, size_t capacity)
{
    ssize_t got;

    do
        got = recv(stream->watch.fd, out, capacity, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

ssize_t stream_read(struct stream_pool *pool, struct stream *stream, uint8_t *out, size_t capacity)
{
    struct stream_layer *layer = stream->layer;

    if (LIKELY(layer == NULL))
        return socket_read(stream, out, capacity);
    return layer->ops->read(pool, stream, layer, out, capacity);
}

ssize_t stream_drop_input(struct stream_pool *pool, struct stream *stream)
{
    return socket_read(stream, pool->read_buffer, STREAM_READ_BUFFER);
}

ssize_t stream_layer_read_below(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                                uint8_t *out, size_t capacity)
{
    if (layer->below == NULL)
        return socket_read(stream, out, capacity);
    return layer->below->ops->read(pool, stream, layer->below, out, capacity);
}

static void append(struct stream *stream, struct out_chunk *chunk)
{
    if (stream->out_tail == NULL)
        stream->out_head = chunk;
    else
        stream->out_tail->next = chunk;
    stream->out_tail = chunk;
}

static void queue_flush(struct stream_pool *pool, struct stream *stream)
{
    if (stream->flush_queued || stream->blocked)
        return;
    stream->flush_queued = true;
    stream->flush_next = pool->flush_head;
    pool->flush_head = stream;
}

uint8_t *stream_reserve(struct stream_pool *pool, struct stream *stream, size_t len)
{
    struct out_chunk *tail = stream->out_tail;

    if (LIKELY(tail != NULL && tail->capacity - tail->len >= len && tail->capacity != 0))
        return tail->data + tail->len;
    if (stream->pending_bytes >= FLUSH_EARLY_BYTES && !stream->blocked)
        stream_flush(pool, stream);
    /* A second chunk of copied frames means that there is much; what follows a reference is often only a head. */
    bool large = len > SMALL_CHUNK - sizeof(struct out_chunk) ||
                 (stream->out_tail != NULL && stream->out_tail->capacity != 0);
    tail = chunk_get(pool, large);
    if (tail == NULL)
        return NULL;
    append(stream, tail);
    return tail->data;
}

static void count_in(struct stream *stream, size_t len)
{
    stream->pending_bytes += (uint32_t)len;
    if (LIKELY(stream->marks == NULL))
        return;
    stream->marks->held_bytes += (uint32_t)len;
    if (stream->marks->second)
        stream->marks->later_bytes += (uint32_t)len;
}

void stream_commit(struct stream_pool *pool, struct stream *stream, size_t len)
{
    stream->out_tail->len += len;
    count_in(stream, len);
    queue_flush(pool, stream);
}

int stream_write_ref(struct stream_pool *pool, struct stream *stream, struct slice bytes, void *owner,
                     void (*release)(void *owner))
{
    struct out_chunk *chunk = malloc(sizeof(*chunk));

    if (chunk == NULL)
        return -ENOMEM;
    *chunk = (struct out_chunk){.bytes = bytes.data, .len = bytes.len, .owner = owner, .release = release};
    append(stream, chunk);
    count_in(stream, bytes.len);
    queue_flush(pool, stream);
    return 0;
}

static uint32_t held_bytes(const struct stream *stream)
{
    return LIKELY(stream->marks == NULL) ? 0 : stream->marks->held_bytes;
}

void stream_hold(struct stream *stream, struct stream_marks *marks)
{
    ASSERT(stream->marks == NULL);
    *marks = (struct stream_marks){.second = false};
    stream->marks = marks;
}

void stream_hold_more(struct stream *stream)
{
    ASSERT(!stream->marks->second);
    stream->marks->second = true;
}

void stream_release(struct stream_pool *pool, struct stream *stream)
{
    struct stream_marks *marks = stream->marks;

    if (marks->second)
        *marks = (struct stream_marks){.held_bytes = marks->later_bytes};
    else
        stream->marks = NULL;
    queue_flush(pool, stream);
}

void stream_drop_held(struct stream_pool *pool, struct stream *stream)
{
    uint32_t keep = stream->pending_bytes - held_bytes(stream);
    struct out_chunk **link = &stream->out_head;

    stream->out_tail = NULL;
    stream->pending_bytes = keep;
    stream->marks = NULL;
    for (; *link != NULL && keep > 0; link = &(*link)->next) {
        size_t left = (*link)->len - (*link)->sent;
        if (left > keep)
            (*link)->len = (*link)->sent + keep;
        keep -= left > keep ? keep : (uint32_t)left;
        stream->out_tail = *link;
    }
    while (*link != NULL) {
        struct out_chunk *chunk = *link;
        *link = chunk->next;
        chunk_put(pool, chunk);
    }
}

static void consume(struct stream_pool *pool, struct stream *stream, size_t sent)
{
    stream->pending_bytes -= (uint32_t)sent;
    pool->bytes_sent += sent;
    while (stream->out_head != NULL) {
        struct out_chunk *chunk = stream->out_head;
        size_t left = chunk->len - chunk->sent;
        if (sent < left) {
            chunk->sent += sent;
            return;
        }
        sent -= left;
        stream->out_head = chunk->next;
        if (stream->out_head == NULL)
            stream->out_tail = NULL;
        chunk_put(pool, chunk);
    }
}

static ssize_t socket_write(struct stream *stream, const struct iovec *parts, int count)
{
    struct msghdr header = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    ssize_t sent;

    do
        sent = count == 1 ? send(stream->watch.fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                          : sendmsg(stream->watch.fd, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

ssize_t stream_layer_write_below(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                                 const struct iovec *parts, int count)
{
    if (layer->below == NULL)
        return socket_write(stream, parts, count);
    return layer->below->ops->write(pool, stream, layer->below, parts, count);
}

void stream_layer_wants_flush(struct stream_pool *pool, struct stream *stream)
{
    queue_flush(pool, stream);
}

static ssize_t send_some(struct stream_pool *pool, struct stream *stream, size_t *out_offered)
{
    struct iovec parts[IOV_COUNT];
    struct stream_layer *layer = stream->layer;
    size_t offered = 0, allowed = stream->pending_bytes - held_bytes(stream);
    int count = 0;

    for (struct out_chunk *chunk = stream->out_head; offered < allowed && count < IOV_COUNT; chunk = chunk->next) {
        size_t left = chunk->len - chunk->sent;
        if (left == 0)
            continue;
        left = left < allowed - offered ? left : allowed - offered;
        parts[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)(chunk->bytes + chunk->sent), .iov_len = left};
        offered += left;
    }
    *out_offered = offered;
    if (offered == 0)
        return 0;
    return LIKELY(layer == NULL) ? socket_write(stream, parts, count)
                                 : layer->ops->write(pool, stream, layer, parts, count);
}

/* What the layers hold, from the top down. 0, -EAGAIN or -errno. */
static int flush_layers(struct stream_pool *pool, struct stream *stream)
{
    for (struct stream_layer *layer = stream->layer; layer != NULL; layer = layer->below) {
        int err = layer->ops->flush(pool, stream, layer);
        if (err < 0)
            return err;
    }
    return 0;
}

static int fail(struct stream *stream, int err)
{
    stream->failed = true;
    stream->blocked = true; /* nothing more goes out; EPOLLERR or the owner closes it */
    return err;
}

int stream_flush(struct stream_pool *pool, struct stream *stream)
{
    if (stream->failed)
        return -EPIPE; /* what follows half a packet makes no sense to the peer */
    stream->blocked = false;
    while (stream->pending_bytes > held_bytes(stream)) {
        size_t offered;
        ssize_t sent = send_some(pool, stream, &offered);
        if (sent == -EAGAIN || sent == -EWOULDBLOCK) {
            stream->blocked = true;
            break;
        }
        if (sent < 0)
            return fail(stream, (int)sent);
        consume(pool, stream, (size_t)sent);
        stream->blocked = (size_t)sent < offered;
        if (stream->blocked)
            break;
    }
    if (stream->layer != NULL) {
        int err = flush_layers(pool, stream);
        if (err == -EAGAIN || err == -EWOULDBLOCK)
            stream->blocked = true;
        else if (err < 0)
            return fail(stream, err);
    }
    if (stream->blocked && pool->on_blocked != NULL)
        pool->on_blocked(stream);
    return 0;
}

int stream_leave(struct stream_pool *pool, struct stream *stream)
{
    struct stream **link = &pool->flush_head;

    if (!stream->flush_queued)
        return 0;
    while (*link != stream)
        link = &(*link)->flush_next;
    *link = stream->flush_next;
    stream->flush_queued = false;
    return stream_flush(pool, stream);
}

bool stream_shut(struct stream_pool *pool, struct stream *stream)
{
    if (stream->pending_bytes > 0 && stream_flush(pool, stream) < 0)
        return false;
    if (stream->pending_bytes > 0) /* what is above a goodbye goes first */
        return false;
    for (struct stream_layer *layer = stream->layer; layer != NULL && !stream->failed; layer = layer->below) {
        layer->ops->shut(pool, stream, layer); /* the second time does nothing */
        if (layer->held_bytes > 0 && layer->ops->flush(pool, stream, layer) < 0)
            break; /* a goodbye of the layer below comes after this one */
    }
    if (stream_pending_bytes(stream) > 0 && stream_flush(pool, stream) < 0)
        return false;
    if (stream_pending_bytes(stream) > 0)
        return false;
    shutdown(stream->watch.fd, SHUT_WR);
    return true;
}

void stream_pool_flush(struct stream_pool *pool)
{
    pool->handshakes_left = STREAM_HANDSHAKES_PER_TURN;
    while (pool->flush_head != NULL) {
        struct stream *stream = pool->flush_head;
        pool->flush_head = stream->flush_next;
        stream->flush_queued = false;
        if (stream_flush(pool, stream) < 0 && pool->on_failed != NULL && stream->watch.fd >= 0)
            pool->on_failed(stream);
    }
}
