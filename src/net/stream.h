/*
 * stream: the byte stream of one connection over TCP: reads into the worker's buffer, gathers what is written in a
 * loop turn and sends it with one system call.
 *
 * An idle stream holds no buffer. Output is a list of chunks: small frames are copied together into pooled chunks,
 * large payloads stay where they are and are held by reference. What the socket does not take waits for
 * EPOLLOUT. The caller looks at stream_pending_bytes() and stops writing above its own high watermark: the
 * list itself has no limit.
 * Belongs to one worker. Thread: owner.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/compiler.h"
#include "base/slice.h"
#include "event/worker.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAM_CHUNK_MAX 32640u /* bytes that stream_reserve() can give at once */
#define STREAM_READ_BUFFER (64u * 1024u)

struct out_chunk;
struct stream_pool;

struct stream {
    struct io_watch watch;
    struct out_chunk *out_head;
    struct out_chunk *out_tail;
    struct stream *flush_next; /* in the pool's list of streams with output of this turn */
    uint32_t pending_bytes;
    bool flush_queued;
    bool blocked; /* the socket took less than offered: wait for EPOLLOUT */
    bool failed;  /* a write failed; the owner closes at the next look */
};

/* What the streams of one worker share: read buffer, pools of chunks, the flush list. */
struct stream_pool {
    uint8_t *read_buffer; /* STREAM_READ_BUFFER bytes */
    struct out_chunk *free_small;
    struct out_chunk *free_large;
    uint32_t free_small_count;
    uint32_t free_large_count;
    struct stream *flush_head;
    uint64_t bytes_sent;
    void (*on_blocked)(struct stream *stream); /* a flush left data behind; set by the owner */
    void (*on_failed)(struct stream *stream);  /* stream_pool_flush() met a broken stream; it may be closed */
};

/* -ENOMEM. Thread: start-up. */
MUST_USE int stream_pool_init(struct stream_pool *pool);
void stream_pool_fini(struct stream_pool *pool);

/* Prepares a stream over a connected, non-blocking socket, which it does not own until stream_close(). */
void stream_init(struct stream *stream, int fd);

/* Drops what is unsent and closes the socket. Closed already is fine. The pool's flush list may still name the
 * stream: its memory must last until the next stream_pool_flush(). */
void stream_close(struct stream_pool *pool, struct stream *stream);

/* Reads at most `capacity` bytes. The count, 0 at the end of the stream, -EAGAIN, or -errno. */
ssize_t stream_read(struct stream *stream, uint8_t *out, size_t capacity);

/* Room for `len` (at most STREAM_CHUNK_MAX) contiguous bytes; what is written there is sent after
 * stream_commit() at the latest at the turn's end. NULL when memory is short. */
uint8_t *stream_reserve(struct stream_pool *pool, struct stream *stream, size_t len);
void stream_commit(struct stream_pool *pool, struct stream *stream, size_t len);

/* Appends bytes that stay where they are until sent; then `release(owner)` is called, also when the stream is
 * closed before. -ENOMEM: nothing was taken. */
MUST_USE int stream_write_ref(struct stream_pool *pool, struct stream *stream, struct slice bytes, void *owner,
                              void (*release)(void *owner));

/* Sends what it can now. 0 or -errno (a broken stream: close it). */
int stream_flush(struct stream_pool *pool, struct stream *stream);

/* Flushes every stream that was written to in this turn. */
void stream_pool_flush(struct stream_pool *pool);

/* Bytes not yet taken by the socket. */
static inline uint32_t stream_pending_bytes(const struct stream *stream)
{
    return stream->pending_bytes;
}

#endif
