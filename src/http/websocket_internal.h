/*
 * websocket_internal: the layer's state, for the file that reads (websocket.c) and the one that writes (websocket_output.c).
 */
#ifndef HTTP_WEBSOCKET_INTERNAL_H
#define HTTP_WEBSOCKET_INTERNAL_H

#include "http/websocket.h"
#include "http/websocket_deflate.h"
#include "http/websocket_frame.h"
#include "http/websocket_upgrade.h"

#include <assert.h>

#define WEBSOCKET_INPUT_BYTES 8192u

/* Bytes from below that have not been taken: of the upgrade, of compressed messages, or when the caller has little room.
 * There is one only during a call, and after it while the caller's buffer is full. */
struct websocket_input {
    uint32_t at, end; /* in `bytes` */
    uint32_t clear;   /* bytes from `at` on that are unmasked already */
    uint8_t bytes[WEBSOCKET_INPUT_BYTES];
};

/* What the layer itself has to say, and the control frame that is coming in. There is one only while it is needed. */
struct websocket_answers {
    uint16_t len, sent; /* of `bytes`, which leave before anything else */
    bool has_pong;      /* to be sent when `bytes` has left */
    uint8_t pong_len;
    uint8_t control_len; /* what has come of an unfinished control frame */
    uint8_t pong[WEBSOCKET_CONTROL_MAX];
    uint8_t control[WEBSOCKET_CONTROL_MAX];
    uint8_t bytes[WEBSOCKET_ANSWER_MAX];
};

struct websocket {
    struct stream_layer base;
    const struct websocket_options *options;
    struct websocket_upgrade *upgrade; /* NULL: no byte has come, or it is done */
    struct websocket_deflate *deflate; /* NULL: not agreed on */
    struct websocket_input *input;
    struct websocket_answers *answers;
    char *forwarded; /* address and port, without zeros; NULL: nothing was said */
    uint8_t forwarded_address_len, forwarded_port_len;
    bool heard;         /* since the last websocket_layer_silence_ms() */
    bool listened;      /* that was called */
    bool message_ended; /* of a compressed one all has come; zlib may hold more of it */
    bool inflate_full;  /* zlib filled all room and may hold more */
    bool ended;         /* nothing more is read: `end_result` */
    bool close_wanted;  /* ours or the echo of the peer's */
    bool close_sent;
    uint8_t header[WEBSOCKET_OWN_HEADER_MAX]; /* of the frame that is being written */
    uint8_t header_len, header_sent;
    uint16_t close_code;
    uint32_t heard_ms; /* low bits of the clock: the last websocket_layer_silence_ms() that found something */
    int32_t end_result;
    uint64_t frame_left; /* bytes of its payload that what is above has not offered or the socket not taken */
    struct websocket_reader reader;
};

static_assert(sizeof(struct websocket) <= 192, "an idle WebSocket connection costs less than 200 bytes");

static inline struct websocket *websocket_of(struct stream_layer *layer)
{
    return CONTAINER_OF(layer, struct websocket, base);
}

/* Makes ws->answers. -ENOMEM. */
MUST_USE int websocket_need_answers(struct websocket *ws);
/* A pong with this payload (at most WEBSOCKET_CONTROL_MAX bytes) in place of one that still waits. ws->answers exists. */
void websocket_answer_ping(struct websocket *ws, struct slice payload);
/* The answer to the upgrade request. ws->answers exists and is empty. */
void websocket_answer_upgrade(struct websocket *ws, struct slice text);
/* A Close frame shall follow what is being sent. The first one counts. */
void websocket_want_close(struct websocket *ws, uint16_t code);

/* The ops. */
ssize_t websocket_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                        const struct iovec *parts, int count);
int websocket_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer);
void websocket_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer);

#endif
