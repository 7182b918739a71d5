/*
 * websocket_deflate: permessage-deflate (RFC 7692) of one connection: what was agreed on, and the state of both directions.
 *
 * The state of a direction is made with its first compressed message; without context takeover it goes at the message's end. Received
 * data is inflated into the caller's buffer only, however little of it is free: what a small message blows up to never stands
 * anywhere else. Thread: owner.
 */
#ifndef HTTP_WEBSOCKET_DEFLATE_H
#define HTTP_WEBSOCKET_DEFLATE_H

#include "base/compiler.h"
#include "base/slice.h"
#include "http/websocket_frame.h"
#include "net/websocket_options.h"

#include <sys/uio.h>

#define WEBSOCKET_DEFLATE_BYTES_MAX                                                                                    \
    (64u * 1024u)                    /* of what is written: a message of ours; the rest follows in further ones */
#define WEBSOCKET_EXTENSION_MAX 192u /* bytes of the answer's value */
#define WEBSOCKET_ZLIB_BITS_MIN 9u   /* zlib cannot write with less, and reads less with this */

struct websocket_deflate;

/* What both sides keep to, section 7.1. */
struct websocket_deflate_terms {
    uint8_t server_window_bits; /* 9 to 15 */
    uint8_t client_window_bits; /* 8 to 15 */
    bool server_takeover;
    bool client_takeover;
    bool answer_server_bits; /* the answer names them */
    bool answer_client_bits;
};

/* Takes the first offer among `offers` (the value of Sec-WebSocket-Extensions) that goes with `options`. False: none does, or
 * options->compress is off. Thread: any. */
bool websocket_deflate_negotiate(const struct websocket_options *options, struct slice offers,
                                 struct websocket_deflate_terms *out_terms);

/* The value of the answer's Sec-WebSocket-Extensions, ended by a zero. */
void websocket_deflate_answer(const struct websocket_deflate_terms *terms, char out[WEBSOCKET_EXTENSION_MAX]);

/* NULL when memory is short. `options` must outlive it. */
struct websocket_deflate *websocket_deflate_new(const struct websocket_options *options,
                                                const struct websocket_deflate_terms *terms);
/* NULL is fine. */
void websocket_deflate_free(struct websocket_deflate *state);

/* Inflates from the `in_len` bytes at `in` (payload, unmasked) into the `room` bytes at `out`. `*out_used` of the input were
 * taken: fewer than there are only when `out` is full. Returns how many bytes were made, -EPROTO (not the format) or -ENOMEM. */
MUST_USE ssize_t websocket_inflate(struct websocket_deflate *state, const uint8_t *in, size_t in_len, uint8_t *out,
                                   size_t room, size_t *out_used);
/* The message's last byte was taken: call until `*out_done`, with new room each time. Result as above. */
MUST_USE ssize_t websocket_inflate_end(struct websocket_deflate *state, uint8_t *out, size_t room, bool *out_done);

/* Compresses the first bytes of `parts`, at most WEBSOCKET_DEFLATE_BYTES_MAX, to one frame, header included; the earlier frame must
 * have been consumed. Returns how many were taken, or -ENOMEM. */
MUST_USE ssize_t websocket_deflate_write(struct websocket_deflate *state, const struct iovec *parts, int count);
/* What of the frame is to be sent; valid until websocket_deflate_sent() or _free(). */
struct slice websocket_deflate_frame(const struct websocket_deflate *state);
/* `len` bytes of it were. */
void websocket_deflate_sent(struct websocket_deflate *state, size_t len);

#endif
