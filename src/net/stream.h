/*
 * stream: the byte stream of one connection: reads into the worker's buffer, gathers what is written in a loop turn and
 * sends it with one system call. Layers (stream_layer.h) may stand between it and the socket: TLS, WebSocket.
 *
 * An idle stream holds no buffer. Output is a list of chunks: small frames are copied together into pooled chunks,
 * large payloads stay where they are and are held by reference. What the socket does not take waits for
 * EPOLLOUT. The caller looks at stream_pending_bytes() and stops writing above its own high watermark: the
 * list itself has no limit.
 * Output can be held (stream_hold()): what is written from then on stays until stream_release(), with everything behind it. There are two
 * marks, so that what is released first does not wait for what came later.
 * Belongs to one worker. Thread: owner.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/compiler.h"
#include "base/slice.h"
#include "event/worker.h"
#include "net/stream_layer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAM_CHUNK_MAX 32640u /* bytes that stream_reserve() can give at once */
#define STREAM_READ_BUFFER (64u * 1024u)
#define STREAM_LAYER_BUFFER (64u * 1024u)
#define STREAM_HANDSHAKES_PER_TURN 4u /* about 2 ms of computing: what others wait at most because of handshakes */

struct out_chunk;
struct stream_layer;
struct stream_pool;

/* What of a stream's output is held. */
struct stream_marks {
    uint32_t held_bytes;  /* at the end of the output: not to be sent yet */
    uint32_t later_bytes; /* of those, at the end: behind the second mark */
    bool second;
};

struct stream {
    struct io_watch watch;
    struct out_chunk *out_head;
    struct out_chunk *out_tail;
    struct stream *flush_next;  /* in the pool's list of streams with output of this turn */
    struct stream_layer *layer; /* the top one, owned; NULL: bytes go to the socket as they are */
    struct stream_marks *marks; /* the owner's; NULL: nothing is held */
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
    uint64_t bytes_sent; /* of what was written to the streams, not of what layers make of it */
    uint8_t
        *layer_in; /* for the layers of all streams, during a call: STREAM_LAYER_BUFFER bytes; made when first needed */
    uint8_t *layer_out;
    uint32_t handshakes_left;                  /* steps of TLS handshakes that may be computed in this turn */
    void (*on_blocked)(struct stream *stream); /* a flush left data behind; set by the owner */
    void (*on_failed)(struct stream *stream);  /* stream_pool_flush() met a broken stream; it may be closed */
};

/* -ENOMEM. Thread: start-up. */
MUST_USE int stream_pool_init(struct stream_pool *pool);
void stream_pool_fini(struct stream_pool *pool);

/* Prepares a stream over a connected, non-blocking socket, which it does not own until stream_close(). */
void stream_init(struct stream *stream, int fd);

/* Puts `layer` on top of the stream, which owns it from now on; its `below` must be what was on top before. */
void stream_push_layer(struct stream *stream, struct stream_layer *layer);

/* Are the handshakes of all layers done? */
static inline bool stream_established(const struct stream *stream)
{
    return stream->layer == NULL || stream->layer->established;
}

/* Why the last read or flush failed, in the words of the layer that failed; NULL: nothing beyond the errno. */
const char *stream_error(const struct stream *stream);

/* Says goodbye as the layers do it, sends what can be sent, and shuts our side when everything has left. Once or more
 * often: true when all is sent and shut. */
bool stream_shut(struct stream_pool *pool, struct stream *stream);

/* The pool's buffers for layers, STREAM_LAYER_BUFFER bytes each. -ENOMEM. */
MUST_USE int stream_pool_need_layer_buffers(struct stream_pool *pool);

/* Drops what is unsent, frees the layers and closes the socket. Closed already is fine. The pool's flush list may still name the
 * stream: its memory must last until the next stream_pool_flush(). */
void stream_close(struct stream_pool *pool, struct stream *stream);

/* Reads at most `capacity` bytes. The count, 0 at the end of the stream, -EAGAIN, -EBUSY (a layer wants to be called in the next
 * turn), or -errno. */
ssize_t stream_read(struct stream_pool *pool, struct stream *stream, uint8_t *out, size_t capacity);

/* Reads from the socket, past the layers, and drops it: for a stream that has said goodbye. As stream_read(). */
ssize_t stream_drop_input(struct stream_pool *pool, struct stream *stream);

/* Sends what can be sent now and takes the stream out of the pool's flush list: it moves to another worker, whose epoll set reports
 * at once what the socket still takes. 0 or -errno. */
int stream_leave(struct stream_pool *pool, struct stream *stream);

/* Room for `len` (at most STREAM_CHUNK_MAX) contiguous bytes; what is written there is sent after
 * stream_commit() at the latest at the turn's end. NULL when memory is short. */
uint8_t *stream_reserve(struct stream_pool *pool, struct stream *stream, size_t len);
void stream_commit(struct stream_pool *pool, struct stream *stream, size_t len);

/* Appends bytes that stay where they are until sent; then `release(owner)` is called, also when the stream is
 * closed before. -ENOMEM: nothing was taken. */
MUST_USE int stream_write_ref(struct stream_pool *pool, struct stream *stream, struct slice bytes, void *owner,
                              void (*release)(void *owner));

/* Sets a mark: what is committed from now on is not sent before the mark is released. `marks` is the caller's memory until no mark is left. */
void stream_hold(struct stream *stream, struct stream_marks *marks);
/* Sets a second mark, while there is one. */
void stream_hold_more(struct stream *stream);
/* Releases the older mark: what is before the other one, or all, is sent at the latest at the turn's end. */
void stream_release(struct stream_pool *pool, struct stream *stream);
/* Drops what is held, and the marks: it will never be sent. */
void stream_drop_held(struct stream_pool *pool, struct stream *stream);

/* Sends what it can now and is not held. 0 or -errno (a broken stream: close it). */
int stream_flush(struct stream_pool *pool, struct stream *stream);

/* Flushes every stream that was written to in this turn. */
void stream_pool_flush(struct stream_pool *pool);

/* Bytes not yet taken by the socket. */
static inline uint32_t stream_pending_bytes(const struct stream *stream)
{
    uint32_t bytes = stream->pending_bytes;

    for (const struct stream_layer *layer = stream->layer; UNLIKELY(layer != NULL); layer = layer->below)
        bytes += layer->held_bytes;
    return bytes;
}

#endif
