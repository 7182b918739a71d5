/*
 * websocket_output: what a WebSocket layer sends. Two kinds of things take turns, a frame at a time:
 *
 *   frames of what is above: header in `ws->header`, payload where the stream has it, `frame_left` of it to come; with compression the
 *     whole frame in ws->deflate
 *   answers: the response to the upgrade, Pong, Close: in `ws->answers`
 *
 * The socket may stop within either; then the other waits until it is complete.
 */
#include "http/websocket_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 64

static size_t header_left(const struct websocket *ws)
{
    return (size_t)(ws->header_len - ws->header_sent);
}

static size_t compressed_left(const struct websocket *ws)
{
    return ws->deflate == NULL ? 0 : websocket_deflate_frame(ws->deflate).len;
}

/* Is a frame begun and not at its end? */
static bool frame_open(const struct websocket *ws)
{
    return ws->frame_left > 0 || header_left(ws) > 0 || compressed_left(ws) > 0;
}

static bool close_waits(const struct websocket *ws)
{
    return ws->close_wanted && !ws->close_sent;
}

static bool answers_wait(const struct websocket *ws)
{
    return close_waits(ws) || (ws->answers != NULL && (ws->answers->has_pong || ws->answers->sent < ws->answers->len));
}

static void update_held(struct websocket *ws)
{
    size_t held = header_left(ws) + compressed_left(ws) + (close_waits(ws) ? 4 : 0);

    if (ws->answers != NULL) {
        held += (size_t)(ws->answers->len - ws->answers->sent);
        held += ws->answers->has_pong ? 2u + ws->answers->pong_len : 0;
    }
    ws->base.held_bytes = (uint32_t)held;
}

int websocket_need_answers(struct websocket *ws)
{
    if (ws->answers == NULL)
        ws->answers = malloc(sizeof(*ws->answers));
    else
        return 0;
    if (ws->answers == NULL)
        return -ENOMEM;
    ws->answers->len = ws->answers->sent = 0;
    ws->answers->pong_len = ws->answers->control_len = 0;
    ws->answers->has_pong = false;
    return 0;
}

static void drop_idle_answers(struct websocket *ws)
{
    if (ws->answers == NULL || answers_wait(ws) || ws->answers->control_len > 0)
        return;
    free(ws->answers);
    ws->answers = NULL;
}

void websocket_answer_ping(struct websocket *ws, struct slice payload)
{
    if (ws->close_wanted)
        return;
    memcpy(ws->answers->pong, payload.data, payload.len);
    ws->answers->pong_len = (uint8_t)payload.len;
    ws->answers->has_pong = true;
    update_held(ws);
}

void websocket_answer_upgrade(struct websocket *ws, struct slice text)
{
    ASSERT(ws->answers->len == 0 && text.len <= sizeof(ws->answers->bytes));
    memcpy(ws->answers->bytes, text.data, text.len);
    ws->answers->len = (uint16_t)text.len;
    update_held(ws);
}

void websocket_want_close(struct websocket *ws, uint16_t code)
{
    if (ws->close_wanted)
        return;
    ws->close_wanted = true;
    ws->close_code = code;
    if (ws->answers != NULL)
        ws->answers->has_pong = false; /* nobody waits for it any more */
    update_held(ws);
}

/* Puts the next answer into `bytes`. False: there is none. */
static bool next_answer(struct websocket *ws)
{
    struct websocket_answers *answers = ws->answers;
    size_t len, payload_len;

    if (close_waits(ws)) {
        payload_len = ws->close_code == WEBSOCKET_NO_CODE ? 0 : 2;
        len = websocket_write_header(answers->bytes, WEBSOCKET_CLOSE, false, payload_len);
        answers->bytes[len] = (uint8_t)(ws->close_code >> 8);
        answers->bytes[len + 1] = (uint8_t)ws->close_code;
        ws->close_sent = true;
    } else if (answers->has_pong) {
        payload_len = answers->pong_len;
        len = websocket_write_header(answers->bytes, WEBSOCKET_PONG, false, payload_len);
        memcpy(answers->bytes + len, answers->pong, payload_len);
        answers->has_pong = false;
    } else {
        return false;
    }
    answers->len = (uint16_t)(len + payload_len);
    answers->sent = 0;
    return true;
}

/* 0: all of `bytes` was taken below. `*out_sent`: how many were, in any case. */
static int send_below(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct slice bytes,
                      size_t *out_sent)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.len};
    ssize_t sent = bytes.len == 0 ? 0 : stream_layer_write_below(pool, stream, &ws->base, &part, 1);

    *out_sent = sent < 0 ? 0 : (size_t)sent;
    if (sent < 0)
        return (int)sent;
    return (size_t)sent < bytes.len ? -EAGAIN : 0;
}

/* The layer's own part of the frame that is open: what is left of its header, or of a compressed frame. */
static int send_frame_rest(struct stream_pool *pool, struct stream *stream, struct websocket *ws)
{
    size_t sent;
    int err = send_below(pool, stream, ws, slice_make(ws->header + ws->header_sent, header_left(ws)), &sent);

    ws->header_sent = (uint8_t)(ws->header_sent + sent);
    if (err < 0 || compressed_left(ws) == 0)
        return err;
    err = send_below(pool, stream, ws, websocket_deflate_frame(ws->deflate), &sent);
    websocket_deflate_sent(ws->deflate, sent);
    return err;
}

static int send_answers(struct stream_pool *pool, struct stream *stream, struct websocket *ws)
{
    if (!answers_wait(ws))
        return 0;
    if (websocket_need_answers(ws) < 0)
        return -ENOMEM;
    do {
        struct websocket_answers *answers = ws->answers;
        size_t sent;
        int err = send_below(pool, stream, ws,
                             slice_make(answers->bytes + answers->sent, (size_t)(answers->len - answers->sent)), &sent);
        answers->sent = (uint16_t)(answers->sent + sent);
        if (err < 0)
            return err;
    } while (next_answer(ws));
    return 0;
}

int websocket_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    struct websocket *ws = websocket_of(layer);
    int err = 0;

    if (header_left(ws) > 0 || compressed_left(ws) > 0)
        err = send_frame_rest(pool, stream, ws);
    if (err == 0 && ws->frame_left > 0)
        err = answers_wait(ws) ? -EAGAIN : 0; /* the payload that the socket did not take comes first */
    else if (err == 0)
        err = send_answers(pool, stream, ws);
    drop_idle_answers(ws);
    update_held(ws);
    return err;
}

static size_t length_of(const struct iovec *parts, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    return total;
}

/* Copies the entries of `parts` for `len` bytes from `skip` on to `out`. Returns how many entries. */
static int select_parts(struct iovec *out, const struct iovec *parts, size_t skip, size_t len)
{
    int count = 0;

    for (; skip >= parts->iov_len && len > 0; parts++)
        skip -= parts->iov_len;
    for (; len > 0; parts++) {
        size_t part_len = parts->iov_len - skip;
        if (part_len > len)
            part_len = len;
        out[count++] = (struct iovec){.iov_base = (uint8_t *)parts->iov_base + skip, .iov_len = part_len};
        len -= part_len;
        skip = 0;
    }
    return count;
}

/* Begins a frame for all of `parts` behind `taken`, or continues the open one, in one call below. How many bytes of payload were
 * taken; `*out_short`: the socket is full. */
static ssize_t write_frame(struct stream_pool *pool, struct stream *stream, struct websocket *ws,
                           const struct iovec *parts, size_t taken, size_t total, bool *out_short)
{
    struct iovec pieces[PARTS_MAX + 1];
    size_t payload, header;
    ssize_t sent;
    int count = 0;

    if (!frame_open(ws)) {
        ws->header_len = (uint8_t)websocket_write_header(ws->header, WEBSOCKET_BINARY, false, total - taken);
        ws->header_sent = 0;
        ws->frame_left = total - taken;
    }
    header = header_left(ws);
    payload = total - taken < ws->frame_left ? total - taken : (size_t)ws->frame_left;
    if (header > 0)
        pieces[count++] = (struct iovec){.iov_base = ws->header + ws->header_sent, .iov_len = header};
    count += select_parts(pieces + count, parts, taken, payload);
    sent = stream_layer_write_below(pool, stream, &ws->base, pieces, count);
    if (sent < 0)
        return sent;
    *out_short = (size_t)sent < header + payload;
    if ((size_t)sent < header)
        header = (size_t)sent;
    ws->header_sent = (uint8_t)(ws->header_sent + header);
    ws->frame_left -= (size_t)sent - header;
    return sent - (ssize_t)header;
}

/* Compresses a message and sends it. All of what it compressed is taken, wherever it stands. */
static ssize_t write_compressed(struct stream_pool *pool, struct stream *stream, struct websocket *ws,
                                const struct iovec *parts, size_t taken, size_t total, bool *out_short)
{
    struct iovec pieces[PARTS_MAX];
    int count = select_parts(pieces, parts, taken, total - taken);
    ssize_t compressed = websocket_deflate_write(ws->deflate, pieces, count);
    int err;

    if (compressed < 0)
        return compressed;
    err = send_frame_rest(pool, stream, ws);
    *out_short = err == -EAGAIN;
    return err < 0 && err != -EAGAIN ? err : compressed;
}

ssize_t websocket_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                        const struct iovec *parts, int count)
{
    struct websocket *ws = websocket_of(layer);
    size_t total, taken = 0;
    bool is_short = false;
    ssize_t result = 0;

    if (!layer->established)
        return -EAGAIN;
    if (count > PARTS_MAX)
        count = PARTS_MAX; /* the rest is offered again */
    total = length_of(parts, count);
    if (answers_wait(ws) || (ws->deflate != NULL && frame_open(ws))) {
        int err = ws->frame_left > 0 ? 0 : websocket_flush(pool, stream, layer);
        if (err < 0)
            return err;
    }
    while (taken < total && !is_short) {
        if (ws->close_wanted && !frame_open(ws))
            return (ssize_t)total; /* nobody reads behind a Close frame [RFC 6455, 5.5.1] */
        result = ws->deflate != NULL ? write_compressed(pool, stream, ws, parts, taken, total, &is_short)
                                     : write_frame(pool, stream, ws, parts, taken, total, &is_short);
        if (result < 0)
            break;
        taken += (size_t)result;
    }
    update_held(ws);
    if (result < 0 && result != -EAGAIN)
        return result;
    return taken == 0 && total > 0 ? -EAGAIN : (ssize_t)taken;
}

void websocket_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    struct websocket *ws = websocket_of(layer);

    (void)pool;
    (void)stream;
    if (!layer->established || ws->ended)
        return;
    websocket_want_close(ws, WEBSOCKET_NORMAL);
}
