/*
 * websocket: see websocket.h. The layer itself and what it reads.
 *
 *   upgrade ──101──► frames ──Close, a fault──► ended
 *      └──4xx──────────────────────────────────► ended
 *
 * In the usual case the bytes from below are read straight into the caller's buffer, where headers are cut out and payloads are
 * unmasked and moved together. Three things go through `ws->input` instead: the upgrade, compressed messages, and what
 * comes while the caller has little room (so that a peer cannot make us ask the socket for a few bytes at a time).
 */
#include "http/websocket_internal.h"

#include "net/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DIRECT_ROOM_MIN 512u
/* Bytes that are read in one call, for each byte of the caller's room: a frame of one byte has 7, compressed at most 16. A peer
 * that sends more within one call sends frames that carry nothing. With data before them it is shown out, without it waits for
 * the next turn. */
#define READ_PER_BYTE 16u
#define READ_MIN (64u * 1024u)

static struct websocket *websocket_of_const(const struct stream_layer *layer)
{
    return websocket_of((struct stream_layer *)(uintptr_t)layer);
}

/* Nothing more is read. `error` static or NULL. */
static void end(struct websocket *ws, int result, const char *error)
{
    ws->ended = true;
    ws->end_result = result;
    if (ws->base.error == NULL)
        ws->base.error = error;
}

/* Section 7.1.7: a Close frame, at once because the owner closes the stream, and the end. */
static void fail(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct websocket_fault fault)
{
    websocket_want_close(ws, (uint16_t)fault.code);
    (void)websocket_flush(pool, stream, &ws->base);
    end(ws, -EPROTO, fault.text);
}

/* What is taken in one go: from `in` to `out`. */
struct intake {
    uint8_t *in; /* the same memory as `out`, or that of ws->input */
    size_t at, in_len;
    uint8_t *out;
    size_t made, room;
};

static void handle_close(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct slice payload)
{
    struct websocket_fault fault;
    uint16_t code;

    if (!websocket_check_close(payload, &code, &fault)) {
        fail(pool, stream, ws, fault);
        return;
    }
    websocket_want_close(ws, code);
    (void)websocket_flush(pool, stream, &ws->base);
    end(ws, 0, NULL);
}

static void handle_control(struct stream_pool *pool, struct stream *stream, struct websocket *ws)
{
    struct slice payload = slice_make(ws->answers->control, ws->answers->control_len);

    ws->answers->control_len = 0;
    if (ws->reader.opcode == WEBSOCKET_PING) {
        websocket_answer_ping(ws, payload);
        stream_layer_wants_flush(pool, stream);
    } else {
        handle_close(pool, stream, ws, payload);
    }
}

/* Bytes of a control frame. */
static void take_control(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct intake *intake)
{
    struct websocket_reader *reader = &ws->reader;
    size_t len = intake->in_len - intake->at;
    bool kept = reader->opcode != WEBSOCKET_PONG; /* nobody asked for one */

    if (len > reader->left)
        len = (size_t)reader->left;
    if (kept) {
        if (websocket_need_answers(ws) < 0) {
            end(ws, -ENOMEM, NULL);
            return;
        }
        websocket_unmask(reader, ws->answers->control + ws->answers->control_len, intake->in + intake->at, len);
        ws->answers->control_len = (uint8_t)(ws->answers->control_len + len);
    }
    intake->at += len;
    if (websocket_take(reader, len) && kept)
        handle_control(pool, stream, ws);
}

/* Bytes of a message. False: the caller has no more room. */
static bool take_data(struct websocket *ws, struct intake *intake)
{
    struct websocket_reader *reader = &ws->reader;
    size_t len = intake->in_len - intake->at, room = intake->room - intake->made;

    if (len > reader->left)
        len = (size_t)reader->left;
    if (len > room)
        len = room;
    if (len == 0 && reader->left > 0)
        return false;
    websocket_unmask(reader, intake->out + intake->made, intake->in + intake->at, len);
    intake->at += len;
    intake->made += len;
    (void)websocket_take(reader, len);
    return true;
}

static void fail_inflate(struct stream_pool *pool, struct stream *stream, struct websocket *ws, ssize_t err)
{
    if (err == -ENOMEM)
        end(ws, -ENOMEM, NULL);
    else
        fail(pool, stream, ws, (struct websocket_fault){WEBSOCKET_BAD_TEXT, "a compressed message is damaged"});
}

/* The same where compression was agreed on. `in` is ws->input, and what was unmasked there and found no room is not unmasked
 * again. */
static bool take_deflated(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct intake *intake)
{
    struct websocket_reader *reader = &ws->reader;
    uint8_t *in = intake->in + intake->at, *out = intake->out + intake->made;
    size_t len = intake->in_len - intake->at, room = intake->room - intake->made, used = 0;
    ssize_t made;

    if (len > reader->left)
        len = (size_t)reader->left;
    if (room == 0 && len > 0)
        return false;
    if (ws->input->clear < len) {
        size_t clear = ws->input->clear;
        websocket_unmask(reader, in + clear, in + clear, len - clear);
        ws->input->clear = (uint32_t)len;
    }
    if (reader->compressed) {
        made = websocket_inflate(ws->deflate, in, len, out, room, &used);
        ws->inflate_full = made == (ssize_t)room;
    } else {
        used = len < room ? len : room;
        memcpy(out, in, used);
        made = (ssize_t)used;
    }
    if (made < 0) {
        fail_inflate(pool, stream, ws, made);
        return false;
    }
    intake->made += (size_t)made;
    intake->at += used;
    ws->input->clear -= (uint32_t)used;
    if (websocket_take(reader, used))
        ws->message_ended = reader->fin && reader->compressed;
    return true;
}

static bool inflate_waits(const struct websocket *ws)
{
    return ws->message_ended || ws->inflate_full;
}

/* What zlib still has. False: the caller has no more room, or the connection failed. */
static bool drain_deflated(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct intake *intake)
{
    uint8_t *out = intake->out + intake->made;
    size_t room = intake->room - intake->made, used;
    bool done = false;
    ssize_t made;

    if (room == 0)
        return false;
    if (ws->message_ended)
        made = websocket_inflate_end(ws->deflate, out, room, &done);
    else
        made = websocket_inflate(ws->deflate, out, 0, out, room, &used);
    if (made < 0) {
        fail_inflate(pool, stream, ws, made);
        return false;
    }
    intake->made += (size_t)made;
    ws->inflate_full = (size_t)made == room;
    if (done)
        ws->message_ended = false;
    return true;
}

/* Takes frames until the input is used up, there is no room or the connection ends. */
static void take_frames(struct stream_pool *pool, struct stream *stream, struct websocket *ws, struct intake *intake)
{
    struct websocket_reader *reader = &ws->reader;
    struct websocket_fault fault;

    while (!ws->ended && (intake->at < intake->in_len || inflate_waits(ws))) {
        if (UNLIKELY(inflate_waits(ws))) {
            if (!drain_deflated(pool, stream, ws, intake))
                return;
            continue;
        }
        if (!reader->in_frame) {
            size_t used = 0;
            enum websocket_header header = websocket_read_header(reader, intake->in + intake->at,
                                                                 intake->in_len - intake->at,
                                                                 ws->options->max_frame_bytes, &used, &fault);
            intake->at += used;
            if (header == WEBSOCKET_HEADER_BAD)
                fail(pool, stream, ws, fault);
            if (header != WEBSOCKET_HEADER_DONE)
                continue;
        }
        if (reader->opcode >= WEBSOCKET_CLOSE)
            take_control(pool, stream, ws, intake);
        else if (!(LIKELY(ws->deflate == NULL) ? take_data(ws, intake) : take_deflated(pool, stream, ws, intake)))
            return;
    }
}

static int keep_forwarded(struct websocket *ws)
{
    struct slice address = websocket_upgrade_address(ws->upgrade), port = websocket_upgrade_port(ws->upgrade);

    if (address.len + port.len == 0)
        return 0;
    ws->forwarded = malloc(address.len + port.len);
    if (ws->forwarded == NULL)
        return -ENOMEM;
    if (address.len > 0)
        memcpy(ws->forwarded, address.data, address.len);
    if (port.len > 0)
        memcpy(ws->forwarded + address.len, port.data, port.len);
    ws->forwarded_address_len = (uint8_t)address.len;
    ws->forwarded_port_len = (uint8_t)port.len;
    return 0;
}

static int accept_upgrade(struct websocket *ws)
{
    const struct websocket_deflate_terms *terms = websocket_upgrade_deflate(ws->upgrade);

    if (terms != NULL) {
        ws->deflate = websocket_deflate_new(ws->options, terms);
        if (ws->deflate == NULL)
            return -ENOMEM;
        ws->reader.may_compress = true;
    }
    if (keep_forwarded(ws) < 0)
        return -ENOMEM;
    ws->base.established = true;
    return 0;
}

/* What of the request stands in ws->input. */
static void take_upgrade(struct stream_pool *pool, struct stream *stream, struct websocket *ws)
{
    struct websocket_input *input = ws->input;
    enum websocket_verdict verdict = WEBSOCKET_UPGRADE_NO_MEMORY;
    size_t used = 0;

    if (ws->upgrade == NULL)
        ws->upgrade = websocket_upgrade_new(ws->options);
    if (ws->upgrade != NULL)
        verdict = websocket_upgrade_feed(ws->upgrade, input->bytes + input->at, input->end - input->at, &used);
    input->at += (uint32_t)used;
    if (verdict == WEBSOCKET_UPGRADE_MORE)
        return;
    if (verdict == WEBSOCKET_UPGRADE_NO_MEMORY || websocket_need_answers(ws) < 0 ||
        (verdict == WEBSOCKET_UPGRADE_ACCEPTED && accept_upgrade(ws) < 0)) {
        end(ws, -ENOMEM, NULL);
    } else {
        websocket_answer_upgrade(ws, websocket_upgrade_answer(ws->upgrade));
        if (verdict == WEBSOCKET_UPGRADE_REFUSED) {
            end(ws, -EPROTO, websocket_upgrade_error(ws->upgrade));
            (void)websocket_flush(pool, stream, &ws->base); /* the owner closes the stream */
        } else {
            stream_layer_wants_flush(pool, stream);
        }
    }
    websocket_upgrade_free(ws->upgrade);
    ws->upgrade = NULL;
}

/* Takes from ws->input. Returns how many bytes were made. */
static size_t take_input(struct stream_pool *pool, struct stream *stream, struct websocket *ws, uint8_t *out,
                         size_t room)
{
    struct websocket_input *input = ws->input;
    struct intake intake = {.out = out, .room = room};

    if (!ws->base.established)
        take_upgrade(pool, stream, ws);
    if (!ws->base.established || ws->ended)
        return 0;
    intake.in = input->bytes;
    intake.at = input->at;
    intake.in_len = input->end;
    take_frames(pool, stream, ws, &intake);
    input->at = (uint32_t)intake.at;
    return intake.made;
}

static void drop_input(struct websocket *ws)
{
    free(ws->input);
    ws->input = NULL;
}

/* Reads from below into ws->input, which is used up, and takes from there. As stream_layer_read_below(). */
static ssize_t read_by_input(struct stream_pool *pool, struct stream *stream, struct websocket *ws, bool *out_short)
{
    ssize_t got;

    if (ws->input == NULL) {
        ws->input = malloc(sizeof(*ws->input));
        if (ws->input == NULL)
            return -ENOMEM;
        ws->input->clear = 0;
    }
    ws->input->at = ws->input->end = 0;
    got = stream_layer_read_below(pool, stream, &ws->base, ws->input->bytes, WEBSOCKET_INPUT_BYTES);
    if (got > 0)
        ws->input->end = (uint32_t)got;
    *out_short = got < (ssize_t)WEBSOCKET_INPUT_BYTES;
    return got;
}

/* Reads from below into the caller's buffer and takes the frames there, in place. */
static ssize_t read_directly(struct stream_pool *pool, struct stream *stream, struct websocket *ws, uint8_t *out,
                             size_t room, size_t *out_made, bool *out_short)
{
    ssize_t got = stream_layer_read_below(pool, stream, &ws->base, out, room);
    struct intake intake = {.in = out, .out = out, .room = room};

    *out_short = got < (ssize_t)room;
    if (got <= 0)
        return got;
    intake.in_len = (size_t)got;
    take_frames(pool, stream, ws, &intake);
    *out_made = intake.made;
    return got;
}

static bool input_waits(const struct websocket *ws)
{
    return inflate_waits(ws) || (ws->input != NULL && ws->input->at < ws->input->end);
}

/* websocket_read() without what concerns its end. */
static ssize_t read_some(struct stream_pool *pool, struct stream *stream, struct websocket *ws, uint8_t *out,
                         size_t capacity)
{
    size_t done = 0, budget = capacity * READ_PER_BYTE + READ_MIN;
    bool is_short = false;

    for (;;) {
        size_t made = 0;
        ssize_t got;

        if (input_waits(ws))
            done += take_input(pool, stream, ws, out + done, capacity - done);
        if (done == capacity || ws->ended || (is_short && done > 0))
            return (ssize_t)done;
        if (budget == 0 && done == 0)
            return -EBUSY;
        if (budget == 0) {
            fail(
                pool, stream, ws,
                (struct websocket_fault){WEBSOCKET_POLICY, "the connection is flooded with frames that carry nothing"});
            return (ssize_t)done;
        }
        if (ws->base.established && ws->deflate == NULL && capacity - done >= DIRECT_ROOM_MIN)
            got = read_directly(pool, stream, ws, out + done, capacity - done, &made, &is_short);
        else
            got = read_by_input(pool, stream, ws, &is_short);
        if (got <= 0) {
            /* Below has ended or failed behind what there is: the socket says so once more, or nobody would read again. */
            if (done > 0 && got != -EAGAIN && got != -EWOULDBLOCK)
                shutdown(stream->watch.fd, SHUT_RD);
            return done > 0 ? (ssize_t)done : got;
        }
        ws->heard = true;
        done += made;
        budget -= (size_t)got < budget ? (size_t)got : budget;
    }
}

static ssize_t websocket_read(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                              size_t capacity)
{
    struct websocket *ws = websocket_of(layer);
    ssize_t got;

    if (capacity == 0)
        return 0;
    got = ws->ended ? 0 : read_some(pool, stream, ws, out, capacity);
    if (ws->ended || !input_waits(ws))
        drop_input(ws);
    if (!ws->ended || got < 0)
        return got;
    if (got == 0)
        return ws->end_result;
    /* There was data before the end. The caller asks again when the socket is ready, which it never is if the peer waits
     * for us to close: ending our side of reading, which needs no more, makes it ready. */
    shutdown(stream->watch.fd, SHUT_RD);
    return got;
}

static void websocket_free(struct stream_layer *layer)
{
    struct websocket *ws = websocket_of(layer);

    websocket_upgrade_free(ws->upgrade);
    websocket_deflate_free(ws->deflate);
    free(ws->input);
    free(ws->answers);
    free(ws->forwarded);
    free(ws);
}

static const struct stream_layer_ops websocket_ops = {
    .name = "websocket",
    .read = websocket_read,
    .write = websocket_write,
    .flush = websocket_flush,
    .shut = websocket_shut,
    .free = websocket_free,
};

int websocket_layer_new(const struct websocket_options *options, struct stream_layer *below,
                        struct stream_layer **out_layer)
{
    struct websocket *ws = calloc(1, sizeof(*ws));

    if (ws == NULL)
        return -ENOMEM;
    ws->base.ops = &websocket_ops;
    ws->base.below = below;
    ws->options = options;
    *out_layer = &ws->base;
    return 0;
}

struct slice websocket_layer_forwarded_address(const struct stream_layer *layer)
{
    const struct websocket *ws = websocket_of_const(layer);

    return ws->forwarded_address_len == 0 ? (struct slice){NULL, 0}
                                          : slice_make(ws->forwarded, ws->forwarded_address_len);
}

struct slice websocket_layer_forwarded_port(const struct stream_layer *layer)
{
    const struct websocket *ws = websocket_of_const(layer);

    return ws->forwarded_port_len == 0 ? (struct slice){NULL, 0}
                                       : slice_make(ws->forwarded + ws->forwarded_address_len, ws->forwarded_port_len);
}

uint32_t websocket_layer_silence_ms(struct stream_layer *layer, uint64_t now_ms)
{
    struct websocket *ws = websocket_of(layer);

    if (ws->heard || !ws->listened)
        ws->heard_ms = (uint32_t)now_ms;
    ws->heard = false;
    ws->listened = true;
    return (uint32_t)now_ms - ws->heard_ms;
}
