/*
 * websocket_deflate: see websocket_deflate.h. On zlib, raw deflate; a message ends with an empty stored block whose last four
 * bytes are not sent (RFC 7692, section 7.2.1).
 */
#include "http/websocket_deflate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SMALLEST_TO_COMPRESS 16u /* bytes; acknowledgements and pings never shrink */
#define TAIL_LEN 4u
#define FLUSH_MARGIN 64u /* for the empty block and the bits of an earlier message */

static const uint8_t tail[TAIL_LEN] = {0x00, 0x00, 0xff, 0xff};

struct websocket_deflate {
    const struct websocket_options *options;
    struct websocket_deflate_terms terms;
    uint8_t tail_at;    /* of the incoming message: bytes of the tail that zlib took */
    z_stream *inflater; /* NULL: no message came yet, or none whose dictionary is still needed */
    z_stream *deflater;
    uint8_t *frame; /* the outgoing one; NULL: none */
    size_t frame_at;
    size_t frame_len;
};

struct websocket_deflate *websocket_deflate_new(const struct websocket_options *options,
                                                const struct websocket_deflate_terms *terms)
{
    struct websocket_deflate *state = calloc(1, sizeof(*state));

    if (state == NULL)
        return NULL;
    state->options = options;
    state->terms = *terms;
    return state;
}

static void drop_inflater(struct websocket_deflate *state)
{
    if (state->inflater != NULL)
        inflateEnd(state->inflater);
    free(state->inflater);
    state->inflater = NULL;
}

static void drop_deflater(struct websocket_deflate *state)
{
    if (state->deflater != NULL)
        deflateEnd(state->deflater);
    free(state->deflater);
    state->deflater = NULL;
}

void websocket_deflate_free(struct websocket_deflate *state)
{
    if (state == NULL)
        return;
    drop_inflater(state);
    drop_deflater(state);
    free(state->frame);
    free(state);
}

static int need_inflater(struct websocket_deflate *state)
{
    int bits = state->terms.client_window_bits;
    z_stream *inflater;

    if (state->inflater != NULL)
        return 0;
    if (bits < (int)WEBSOCKET_ZLIB_BITS_MIN)
        bits = WEBSOCKET_ZLIB_BITS_MIN;
    inflater = calloc(1, sizeof(*inflater));
    if (inflater == NULL || inflateInit2(inflater, -bits) != Z_OK) {
        free(inflater);
        return -ENOMEM;
    }
    state->inflater = inflater;
    return 0;
}

ssize_t websocket_inflate(struct websocket_deflate *state, const uint8_t *in, size_t in_len, uint8_t *out, size_t room,
                          size_t *out_used)
{
    z_stream *inflater;

    if (need_inflater(state) < 0)
        return -ENOMEM;
    inflater = state->inflater;
    inflater->next_in = (Bytef *)(uintptr_t)in;
    inflater->avail_in = (uInt)in_len;
    inflater->next_out = out;
    inflater->avail_out = (uInt)room;
    for (;;) {
        int result = inflate(inflater, Z_SYNC_FLUSH);
        if (result == Z_MEM_ERROR)
            return -ENOMEM;
        if (result ==
            Z_STREAM_END) { /* a last block: allowed, and what follows it may still refer to what came before */
            if (inflateResetKeep(inflater) != Z_OK)
                return -EPROTO;
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return -EPROTO;
        }
        if (inflater->avail_in == 0 || inflater->avail_out == 0)
            break;
        if (result == Z_BUF_ERROR) /* no step forward with input and room */
            return -EPROTO;
    }
    *out_used = in_len - inflater->avail_in;
    return (ssize_t)(room - inflater->avail_out);
}

ssize_t websocket_inflate_end(struct websocket_deflate *state, uint8_t *out, size_t room, bool *out_done)
{
    size_t used;
    ssize_t made = websocket_inflate(state, tail + state->tail_at, TAIL_LEN - state->tail_at, out, room, &used);

    if (made < 0)
        return made;
    state->tail_at = (uint8_t)(state->tail_at + used);
    *out_done = (size_t)made < room; /* a full buffer may hide that zlib has more */
    if (!*out_done)
        return made;
    state->tail_at = 0;
    if (!state->terms.client_takeover)
        drop_inflater(state);
    return made;
}

static int level_of(enum websocket_deflate_level level)
{
    static const int levels[] = {
        [DEFLATE_LEVEL_DEFAULT] = Z_DEFAULT_COMPRESSION,
        [DEFLATE_LEVEL_NONE] = Z_NO_COMPRESSION,
        [DEFLATE_LEVEL_BEST] = Z_BEST_COMPRESSION,
        [DEFLATE_LEVEL_SPEED] = Z_BEST_SPEED,
    };

    return levels[level];
}

static int strategy_of(enum websocket_deflate_strategy strategy)
{
    static const int strategies[] = {
        [DEFLATE_STRATEGY_DEFAULT] = Z_DEFAULT_STRATEGY,
        [DEFLATE_STRATEGY_FILTERED] = Z_FILTERED,
        [DEFLATE_STRATEGY_HUFFMAN_ONLY] = Z_HUFFMAN_ONLY,
        [DEFLATE_STRATEGY_RLE] = Z_RLE,
    };

    return strategies[strategy];
}

static int need_deflater(struct websocket_deflate *state)
{
    const struct websocket_options *options = state->options;
    z_stream *deflater;

    if (state->deflater != NULL)
        return 0;
    deflater = calloc(1, sizeof(*deflater));
    if (deflater == NULL ||
        deflateInit2(deflater, level_of(options->deflate_level), Z_DEFLATED, -state->terms.server_window_bits,
                     options->deflate_mem_level, strategy_of(options->deflate_strategy)) != Z_OK) {
        free(deflater);
        return -ENOMEM;
    }
    state->deflater = deflater;
    return 0;
}

static size_t bytes_of(const struct iovec *parts, int count)
{
    size_t total = 0;

    for (int i = 0; i < count && total < WEBSOCKET_DEFLATE_BYTES_MAX; i++)
        total += parts[i].iov_len;
    return total < WEBSOCKET_DEFLATE_BYTES_MAX ? total : WEBSOCKET_DEFLATE_BYTES_MAX;
}

/* Compresses `len` bytes behind the room for the header; `*capacity` of state->frame grows if it has to. */
static int compress_part(struct websocket_deflate *state, size_t *capacity, const void *bytes, size_t len, int flush)
{
    z_stream *deflater = state->deflater;

    deflater->next_in = (Bytef *)(uintptr_t)bytes;
    deflater->avail_in = (uInt)len;
    for (;;) {
        deflater->next_out = state->frame + state->frame_len;
        deflater->avail_out = (uInt)(*capacity - state->frame_len);
        (void)deflate(deflater, flush); /* Z_BUF_ERROR: there was nothing left to do */
        state->frame_len = *capacity - deflater->avail_out;
        if (deflater->avail_out > 0)
            return 0; /* all input was taken, and flushed if asked for */
        uint8_t *larger = realloc(state->frame, *capacity * 2);
        if (larger == NULL)
            return -ENOMEM;
        state->frame = larger;
        *capacity *= 2;
    }
}

/* A message that is not compressed leaves the dictionaries alone and is allowed at any time. */
static int copy_frame(struct websocket_deflate *state, const struct iovec *parts, int count, size_t total)
{
    state->frame = malloc(WEBSOCKET_OWN_HEADER_MAX + total);
    if (state->frame == NULL)
        return -ENOMEM;
    state->frame_at = 0;
    state->frame_len = websocket_write_header(state->frame, WEBSOCKET_BINARY, false, total);
    for (int i = 0; i < count && total > 0; i++) {
        size_t len = parts[i].iov_len < total ? parts[i].iov_len : total;
        memcpy(state->frame + state->frame_len, parts[i].iov_base, len);
        state->frame_len += len;
        total -= len;
    }
    return 0;
}

/* The payload stands behind the room for the longest header: puts the real one right before it. */
static void finish_frame(struct websocket_deflate *state)
{
    size_t payload_len = state->frame_len - WEBSOCKET_OWN_HEADER_MAX - TAIL_LEN;
    uint8_t header[WEBSOCKET_OWN_HEADER_MAX];
    size_t header_len = websocket_write_header(header, WEBSOCKET_BINARY, true, payload_len);

    state->frame_len -= TAIL_LEN;
    state->frame_at = WEBSOCKET_OWN_HEADER_MAX - header_len;
    memcpy(state->frame + state->frame_at, header, header_len);
}

static int compress_frame(struct websocket_deflate *state, const struct iovec *parts, size_t total)
{
    size_t capacity;

    if (need_deflater(state) < 0)
        return -ENOMEM;
    capacity = WEBSOCKET_OWN_HEADER_MAX + deflateBound(state->deflater, total) + FLUSH_MARGIN;
    state->frame = malloc(capacity);
    if (state->frame == NULL)
        return -ENOMEM;
    state->frame_len = WEBSOCKET_OWN_HEADER_MAX;
    for (int i = 0; total > 0; i++) {
        size_t len = parts[i].iov_len < total ? parts[i].iov_len : total;
        total -= len;
        if (compress_part(state, &capacity, parts[i].iov_base, len, total == 0 ? Z_SYNC_FLUSH : Z_NO_FLUSH) < 0)
            return -ENOMEM;
    }
    finish_frame(state);
    if (!state->terms.server_takeover)
        drop_deflater(state);
    return 0;
}

ssize_t websocket_deflate_write(struct websocket_deflate *state, const struct iovec *parts, int count)
{
    size_t total = bytes_of(parts, count);
    int err;

    ASSERT(state->frame == NULL);
    if (total == 0)
        return 0;
    err = total < SMALLEST_TO_COMPRESS ? copy_frame(state, parts, count, total) : compress_frame(state, parts, total);
    return err < 0 ? err : (ssize_t)total;
}

struct slice websocket_deflate_frame(const struct websocket_deflate *state)
{
    if (state->frame == NULL)
        return (struct slice){NULL, 0};
    return slice_make(state->frame + state->frame_at, state->frame_len - state->frame_at);
}

void websocket_deflate_sent(struct websocket_deflate *state, size_t len)
{
    state->frame_at += len;
    if (state->frame_at < state->frame_len)
        return;
    free(state->frame);
    state->frame = NULL;
}
