/*
 * Frames: every rule about headers, Close payloads and unmasking, with the input cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "http/websocket_frame.h"

struct header_case {
    const char *bytes;
    size_t len;
    uint64_t frame_bytes_max;
    bool in_message, may_compress;
    int code; /* 0: the header is right */
    uint64_t payload_len;
};

#define HEADER(text) .bytes = (text), .len = sizeof(text) - 1
#define MASK "\1\2\3\4"

static const struct header_case cases[] = {
    {HEADER("\x82\x80" MASK), .payload_len = 0},
    {HEADER("\x82\xfd" MASK), .payload_len = 125},
    {HEADER("\x82\xfe\x00\x7e" MASK), .payload_len = 126},
    {HEADER("\x82\xfe\xff\xff" MASK), .payload_len = 65535},
    {HEADER("\x82\xff\0\0\0\0\0\1\0\0" MASK), .payload_len = 65536},
    {HEADER("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" MASK), .payload_len = INT64_MAX},
    {HEADER("\x82\xff\x80\0\0\0\0\0\0\0" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x82\xfe\x00\x7d" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x82\xff\0\0\0\0\0\0\xff\xff" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x02\x81" MASK), .payload_len = 1},
    {HEADER("\x80\x81" MASK), .in_message = true, .payload_len = 1},
    {HEADER("\x00\x81" MASK), .in_message = true, .payload_len = 1},
    {HEADER("\x80\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x82\x81" MASK), .in_message = true, .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x81\x81" MASK), .in_message = true, .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x82\x01"), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x81\x81" MASK), .code = WEBSOCKET_UNSUPPORTED},
    {HEADER("\x83\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x87\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x8b\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x8f\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\xa2\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x92\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\xc2\x81" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\xc2\x81" MASK), .may_compress = true, .payload_len = 1},
    {HEADER("\xc0\x81" MASK), .may_compress = true, .in_message = true, .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\xc9\x81" MASK), .may_compress = true, .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x89\xfd" MASK), .in_message = true, .payload_len = 125},
    {HEADER("\x8a\x80" MASK), .payload_len = 0},
    {HEADER("\x88\x82" MASK), .payload_len = 2},
    {HEADER("\x09\x80" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x89\xfe\0\x7e" MASK), .code = WEBSOCKET_PROTOCOL_ERROR},
    {HEADER("\x82\xe4" MASK), .frame_bytes_max = 100, .payload_len = 100},
    {HEADER("\x82\xe5" MASK), .frame_bytes_max = 100, .code = WEBSOCKET_TOO_BIG},
};

/* Gives the first `cut` bytes and then the others. */
static void check_case(const struct header_case *one, size_t cut)
{
    struct websocket_reader reader = {.in_message = one->in_message, .may_compress = one->may_compress};
    struct websocket_fault fault = {0};
    enum websocket_header result = WEBSOCKET_HEADER_MORE;
    size_t at = 0, used = 0;

    for (int part = 0; part < 2 && result == WEBSOCKET_HEADER_MORE; part++) {
        size_t end = part == 0 ? cut : one->len;
        if (end == at)
            continue;
        result = websocket_read_header(&reader, (const uint8_t *)one->bytes + at, end - at, one->frame_bytes_max, &used,
                                       &fault);
        at += used;
    }
    if (one->code != 0) {
        assert_int_equal(result, WEBSOCKET_HEADER_BAD);
        assert_int_equal(fault.code, one->code);
        assert_non_null(fault.text);
        return;
    }
    assert_int_equal(result, WEBSOCKET_HEADER_DONE);
    assert_int_equal(at, one->len);
    assert_int_equal(reader.left, one->payload_len);
    assert_int_equal(reader.opcode, one->bytes[0] & 0x0f);
    assert_memory_equal(&reader.mask, MASK, 4);
    assert_true(reader.in_frame);
}

static void a_header_is_right_or_refused_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t cut = 0; cut <= cases[i].len; cut++)
            check_case(&cases[i], cut);
    }
}

static void bytes_behind_a_header_are_left(void **state)
{
    static const uint8_t bytes[] = {0x82, 0x82, 1, 2, 3, 4, 'a', 'b'};
    struct websocket_reader reader = {0};
    struct websocket_fault fault;
    size_t used;

    (void)state;
    assert_int_equal(websocket_read_header(&reader, bytes, sizeof(bytes), 0, &used, &fault), WEBSOCKET_HEADER_DONE);
    assert_int_equal(used, 6);
    assert_false(websocket_take(&reader, 1));
    assert_true(websocket_take(&reader, 1));
}

/* Against the plain rule of section 5.3, byte by byte. */
static void unmasking_moves_and_cuts_at_every_length(void **state)
{
    static const uint8_t mask[4] = {0x11, 0xa2, 0x03, 0xf4};
    uint8_t plain[300], memory[340];

    (void)state;
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof(plain); len++) {
        for (size_t gap = 0; gap < 20; gap += 3) { /* how far the payload is moved to the front */
            struct websocket_reader reader = {0};
            size_t cut = len / 3;
            memcpy(&reader.mask, mask, 4);
            for (size_t i = 0; i < len; i++)
                memory[gap + i] = plain[i] ^ mask[i % 4];
            websocket_unmask(&reader, memory, memory + gap, cut);
            websocket_unmask(&reader, memory + cut, memory + gap + cut, len - cut);
            assert_memory_equal(memory, plain, len);
        }
    }
}

static void check_close(const char *payload, size_t len, int code, int fault_code)
{
    struct websocket_fault fault = {0};
    uint16_t found = 0;

    assert_int_equal(websocket_check_close(slice_make(payload, len), &found, &fault), fault_code == 0);
    assert_int_equal(found, code);
    assert_int_equal(fault.code, fault_code);
}

static void close_payloads_are_checked(void **state)
{
    static const uint16_t good[] = {1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999};
    static const uint16_t wrong[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};

    (void)state;
    check_close("", 0, WEBSOCKET_NO_CODE, 0);
    check_close("\x03", 1, 0, WEBSOCKET_PROTOCOL_ERROR);
    check_close("\x03\xe8right", 7, 1000, 0);
    check_close("\x03\xe8\xc3\x28", 4, 0, WEBSOCKET_BAD_TEXT);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        check_close((const char[]){(char)(good[i] >> 8), (char)good[i]}, 2, good[i], 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        check_close((const char[]){(char)(wrong[i] >> 8), (char)wrong[i]}, 2, 0, WEBSOCKET_PROTOCOL_ERROR);
}

static void our_headers_have_the_shortest_length(void **state)
{
    uint8_t out[WEBSOCKET_OWN_HEADER_MAX];

    (void)state;
    assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, false, 125), 2);
    assert_memory_equal(out, "\x82\x7d", 2);
    assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, true, 126), 4);
    assert_memory_equal(out, "\xc2\x7e\x00\x7e", 4);
    assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, false, 65535), 4);
    assert_int_equal(websocket_write_header(out, WEBSOCKET_BINARY, false, 65536), 10);
    assert_memory_equal(out, "\x82\x7f\0\0\0\0\0\1\0\0", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_right_or_refused_however_it_is_cut),
        cmocka_unit_test(bytes_behind_a_header_are_left),
        cmocka_unit_test(unmasking_moves_and_cuts_at_every_length),
        cmocka_unit_test(close_payloads_are_checked),
        cmocka_unit_test(our_headers_have_the_shortest_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
