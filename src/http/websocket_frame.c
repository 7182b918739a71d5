/*
 * websocket_frame: see websocket_frame.h. Written for small frames: a header that is whole in the input is read where it stands,
 * and a payload is moved and unmasked in one pass, 64 and then 8 bytes at a time.
 */
#include "http/websocket_frame.h"

#include "base/bytes.h"
#include "mqtt/topic.h"

#include <string.h>

#define FIN 0x80u
#define RSV1 0x40u
#define RSV2_RSV3 0x30u
#define MASKED 0x80u

typedef uint64_t words __attribute__((vector_size(16))); /* one register of every 64-bit machine that has such */

static enum websocket_header bad(struct websocket_fault *out_fault, enum websocket_close_code code, const char *text)
{
    *out_fault = (struct websocket_fault){code, text};
    return WEBSOCKET_HEADER_BAD;
}

static size_t header_length(uint8_t second)
{
    uint8_t length = second & 0x7f;

    return 2u + (length == 126 ? 2u : length == 127 ? 8u : 0u) + 4u;
}

/* Section 5.2: the first two bytes against what may come now. NULL: they are right. */
static const char *check_head(const struct websocket_reader *reader, uint8_t first, uint8_t second)
{
    uint8_t opcode = first & 0x0f;
    bool starts = opcode == WEBSOCKET_TEXT || opcode == WEBSOCKET_BINARY;

    if ((first & RSV2_RSV3) != 0)
        return "a frame has a reserved bit set";
    if ((first & RSV1) != 0 && (!reader->may_compress || !starts))
        return "a frame is marked as compressed and must not be";
    if ((opcode > WEBSOCKET_BINARY && opcode < WEBSOCKET_CLOSE) || opcode > WEBSOCKET_PONG)
        return "a frame has a reserved opcode";
    if ((second & MASKED) == 0)
        return "a frame is not masked";
    if (opcode >= WEBSOCKET_CLOSE) {
        if ((first & FIN) == 0)
            return "a control frame is fragmented";
        return (second & 0x7f) > WEBSOCKET_CONTROL_MAX ? "a control frame is longer than 125 bytes" : NULL;
    }
    if (starts && reader->in_message)
        return "a message begins within another one";
    if (!starts && !reader->in_message)
        return "a continuation continues nothing";
    return NULL;
}

static enum websocket_header parse_header(struct websocket_reader *reader, const uint8_t *header,
                                          uint64_t frame_bytes_max, struct websocket_fault *out_fault)
{
    uint8_t short_length = header[1] & 0x7f;
    uint64_t length = short_length;
    size_t at = 2;

    if (short_length == 126) {
        length = bytes_get_big(header + at, 2);
        at += 2;
        if (length < 126)
            return bad(out_fault, WEBSOCKET_PROTOCOL_ERROR, "a frame's length is written longer than need be");
    } else if (short_length == 127) {
        length = bytes_get_big(header + at, 8);
        at += 8;
        if (length <= UINT16_MAX)
            return bad(out_fault, WEBSOCKET_PROTOCOL_ERROR, "a frame's length is written longer than need be");
        if (length > INT64_MAX)
            return bad(out_fault, WEBSOCKET_PROTOCOL_ERROR, "a frame's length has its top bit set");
    }
    if (frame_bytes_max != 0 && length > frame_bytes_max)
        return bad(out_fault, WEBSOCKET_TOO_BIG, "a frame is longer than max_frame_size");
    memcpy(&reader->mask, header + at, sizeof(reader->mask));
    reader->left = length;
    reader->opcode = header[0] & 0x0f;
    reader->fin = (header[0] & FIN) != 0;
    if (reader->opcode < WEBSOCKET_CLOSE) {
        if (reader->opcode != WEBSOCKET_CONTINUATION)
            reader->compressed = (header[0] & RSV1) != 0;
        reader->in_message = !reader->fin;
    }
    reader->in_frame = true;
    return WEBSOCKET_HEADER_DONE;
}

/* Puts bytes into reader->header until it is whole. Returns how many it took. */
static size_t collect_header(struct websocket_reader *reader, const uint8_t *in, size_t len, size_t *out_whole)
{
    size_t used = 0, whole = reader->header_len < 2 ? 2 : header_length(reader->header[1]);

    while (used < len && reader->header_len < whole) {
        reader->header[reader->header_len++] = in[used++];
        if (reader->header_len == 2)
            whole = header_length(reader->header[1]);
    }
    *out_whole = whole;
    return used;
}

enum websocket_header websocket_read_header(struct websocket_reader *reader, const uint8_t *in, size_t len,
                                            uint64_t frame_bytes_max, size_t *out_used,
                                            struct websocket_fault *out_fault)
{
    const uint8_t *header = in;
    size_t used, whole;
    const char *wrong;

    if (LIKELY(reader->header_len == 0 && len >= 2 && len >= header_length(in[1]))) {
        used = whole = header_length(in[1]);
    } else {
        used = collect_header(reader, in, len, &whole);
        header = reader->header;
        *out_used = used;
        if (reader->header_len < 2)
            return WEBSOCKET_HEADER_MORE;
    }
    wrong = check_head(reader, header[0], header[1]);
    if (UNLIKELY(wrong != NULL))
        return bad(out_fault, WEBSOCKET_PROTOCOL_ERROR, wrong);
    if (UNLIKELY((header[0] & 0x0f) == WEBSOCKET_TEXT))
        return bad(out_fault, WEBSOCKET_UNSUPPORTED, "a message is text, MQTT needs binary ones");
    *out_used = used;
    if (header == reader->header) {
        if (reader->header_len < whole)
            return WEBSOCKET_HEADER_MORE;
        reader->header_len = 0;
    }
    return parse_header(reader, header, frame_bytes_max, out_fault);
}

/* The mask as it stands `count` bytes on. */
static uint32_t mask_after(uint32_t mask, size_t count)
{
    unsigned bits = (unsigned)(count & 3) * 8;

    if (bits == 0)
        return mask;
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? mask >> bits | mask << (32 - bits)
                                                     : mask << bits | mask >> (32 - bits);
}

void websocket_unmask(struct websocket_reader *reader, uint8_t *out, const uint8_t *in, size_t len)
{
    uint64_t mask = (uint64_t)reader->mask << 32 | reader->mask;
    words wide = {mask, mask};
    size_t at = 0;

    reader->mask = mask_after(reader->mask, len);
    for (; len - at >= 64; at += 64) {
        words part[4];
        memcpy(part, in + at, sizeof(part)); /* all is read before anything is written: the ranges may overlap */
        for (int i = 0; i < 4; i++)
            part[i] ^= wide;
        memcpy(out + at, part, sizeof(part));
    }
    for (; len - at >= 8; at += 8) {
        uint64_t part;
        memcpy(&part, in + at, sizeof(part));
        part ^= mask;
        memcpy(out + at, &part, sizeof(part));
    }
    if (at < len) {
        uint8_t bytes[8];
        memcpy(bytes, &mask, sizeof(bytes));
        for (size_t i = 0; at < len; at++, i++)
            out[at] = in[at] ^ bytes[i];
    }
}

bool websocket_take(struct websocket_reader *reader, uint64_t len)
{
    ASSERT(reader->in_frame && len <= reader->left);
    reader->left -= len;
    if (reader->left > 0)
        return false;
    reader->in_frame = false;
    return true;
}

/* Section 7.4.2, and the codes registered since. */
static bool close_code_valid(unsigned code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
}

bool websocket_check_close(struct slice payload, uint16_t *out_code, struct websocket_fault *out_fault)
{
    unsigned code;

    if (payload.len == 0) {
        *out_code = WEBSOCKET_NO_CODE;
        return true;
    }
    if (payload.len == 1) {
        bad(out_fault, WEBSOCKET_PROTOCOL_ERROR, "a Close frame has half a code");
        return false;
    }
    code = (unsigned)bytes_get_big(payload.data, 2);
    if (!close_code_valid(code)) {
        bad(out_fault, WEBSOCKET_PROTOCOL_ERROR, "a Close frame has a code that must not be sent");
        return false;
    }
    if (!mqtt_utf8_valid(slice_skip(payload, 2))) {
        bad(out_fault, WEBSOCKET_BAD_TEXT, "a Close frame's reason is not UTF-8");
        return false;
    }
    *out_code = (uint16_t)code;
    return true;
}

size_t websocket_write_header(uint8_t out[WEBSOCKET_OWN_HEADER_MAX], enum websocket_opcode opcode, bool compressed,
                              uint64_t payload_len)
{
    size_t length_bytes = payload_len < 126 ? 0 : payload_len <= UINT16_MAX ? 2 : 8;

    out[0] = (uint8_t)(FIN | (compressed ? RSV1 : 0) | opcode);
    if (length_bytes == 0) {
        out[1] = (uint8_t)payload_len;
        return 2;
    }
    out[1] = length_bytes == 2 ? 126 : 127;
    for (size_t i = 0; i < length_bytes; i++)
        out[2 + i] = (uint8_t)(payload_len >> 8 * (length_bytes - 1 - i));
    return 2 + length_bytes;
}
