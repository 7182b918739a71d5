/*
 * stream_layer: what stands between a stream and its socket: TLS, WebSocket framing. Layers form a stack: the top one is
 * the stream's, each knows the one below it, the lowest one stands on the socket.
 *
 *   stream_read() ─► websocket.read ─► tls.read ─► recv()
 *   stream_flush() ─► websocket.write ─► tls.write ─► sendmsg()
 *
 * A layer is memory of its own, made before the first byte is read and freed by stream_close(). It moves between workers
 * with its stream, so it keeps no pointer to a pool or worker; between calls an idle layer holds no buffer.
 * Thread: owner of the stream.
 */
#ifndef NET_STREAM_LAYER_H
#define NET_STREAM_LAYER_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream;
struct stream_layer;
struct stream_pool;

struct stream_layer_ops {
    const char *name; /* "tls", "websocket" */
    /* Reads at most `capacity` bytes of what the peer says through the layer, as much as is there: fewer than `capacity` means
     * that the layer has nothing more now. 0 at the orderly end, -EAGAIN when nothing is there, -EBUSY when the layer must be
     * called again in the next turn (a budget is used up), or -errno: the stream is to be closed and error() says why. What the layer has
     * to answer (a handshake's flight, a pong) goes into what it holds, with stream_layer_wants_flush(). */
    ssize_t (*read)(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                    size_t capacity);
    /* Takes bytes from above, in order. How many were taken (they are the layer's now; `held_bytes` counts what of them has not
     * left it), -EAGAIN when none can be taken now, or -errno. */
    ssize_t (*write)(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                     const struct iovec *parts, int count);
    /* Sends what the layer holds. 0 when it holds nothing more, -EAGAIN when the socket is full, or -errno. */
    int (*flush)(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer);
    /* Says goodbye (close_notify, a Close frame) into what the layer holds; nothing is written from above afterwards. */
    void (*shut)(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer);
    /* Frees the layer, not the one below. */
    void (*free)(struct stream_layer *layer);
};

struct stream_layer {
    const struct stream_layer_ops *ops;
    struct stream_layer *below; /* NULL: the socket */
    uint32_t held_bytes;        /* made or taken and not yet taken from below: counts as pending output of the stream */
    bool established;           /* the handshake or upgrade is done: bytes of the protocol above may flow */
    const char *error; /* why read() or write() failed: static, or the layer's until it is freed. NULL: errno says it */
};

/* For layers: reads from the one below, or the socket. As the op. */
ssize_t stream_layer_read_below(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                                uint8_t *out, size_t capacity);
/* For layers: writes to the one below, or the socket. As the op; fewer bytes than offered: the socket is full. */
ssize_t stream_layer_write_below(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                                 const struct iovec *parts, int count);
/* For layers: something is held that shall leave at the turn's end. */
void stream_layer_wants_flush(struct stream_pool *pool, struct stream *stream);

#endif
