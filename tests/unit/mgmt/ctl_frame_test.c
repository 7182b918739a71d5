/*
 * Behaviour of the control socket's frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt/ctl_frame.h"

static void a_request_comes_back_as_it_was(void **state)
{
    const char *words[] = {"clients", "show", "", "a b\xff"};
    const char *decoded[CTL_WORDS_MAX + 1];
    uint8_t buffer[256];
    struct ctl_frame frame;
    uint8_t flags = 0;
    ssize_t len = ctl_request_encode(buffer, sizeof(buffer), CTL_FLAG_LEGACY_EXIT, 4, words);

    (void)state;
    assert_true(len > 0);
    assert_int_equal(ctl_frame_parse(slice_make(buffer, (size_t)len), &frame), len);
    assert_int_equal(frame.type, CTL_FRAME_REQUEST);
    assert_int_equal(ctl_request_decode(frame.payload, &flags, decoded), 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(decoded[i], words[i]);
    assert_null(decoded[4]);
    assert_int_equal(flags, CTL_FLAG_LEGACY_EXIT);
}

static void every_shorter_start_of_a_frame_asks_for_more(void **state)
{
    const char *words[] = {"status"};
    uint8_t buffer[64];
    struct ctl_frame frame;
    ssize_t len = ctl_request_encode(buffer, sizeof(buffer), 0, 1, words);

    (void)state;
    for (ssize_t i = 0; i < len; i++)
        assert_int_equal(ctl_frame_parse(slice_make(buffer, (size_t)i), &frame), 0);
}

static void refuses_unknown_types_and_lengths_over_the_limit(void **state)
{
    uint8_t header[CTL_FRAME_HEADER_BYTES];
    struct ctl_frame frame;

    (void)state;
    ctl_frame_header(header, CTL_FRAME_STDOUT, CTL_PAYLOAD_BYTES_MAX);
    assert_int_equal(ctl_frame_parse(slice_make(header, sizeof(header)), &frame), 0);
    header[4]++;
    assert_int_equal(ctl_frame_parse(slice_make(header, sizeof(header)), &frame), -EPROTO);
    ctl_frame_header(header, CTL_FRAME_EXIT, 1);
    header[0] = 0;
    assert_int_equal(ctl_frame_parse(slice_make(header, sizeof(header)), &frame), -EPROTO);
    header[0] = CTL_FRAME_EXIT + 1;
    assert_int_equal(ctl_frame_parse(slice_make(header, sizeof(header)), &frame), -EPROTO);
}

static void refuses_requests_that_do_not_fit(void **state)
{
    static char word[CTL_PAYLOAD_BYTES_MAX + 1];
    static uint8_t buffer[2 * CTL_PAYLOAD_BYTES_MAX];
    const char *words[CTL_WORDS_MAX + 1];
    const char *long_word[] = {word};

    (void)state;
    for (size_t i = 0; i <= CTL_WORDS_MAX; i++)
        words[i] = "x";
    assert_int_equal(ctl_request_encode(buffer, sizeof(buffer), 0, 0, words), -E2BIG);
    assert_true(ctl_request_encode(buffer, sizeof(buffer), 0, (int)CTL_WORDS_MAX, words) > 0);
    assert_int_equal(ctl_request_encode(buffer, sizeof(buffer), 0, (int)CTL_WORDS_MAX + 1, words), -E2BIG);
    /* The flags and the terminating zero take a byte each. */
    memset(word, 'x', CTL_PAYLOAD_BYTES_MAX - 2);
    assert_int_equal(ctl_request_encode(buffer, sizeof(buffer), 0, 1, long_word),
                     CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX);
    word[CTL_PAYLOAD_BYTES_MAX - 2] = 'x';
    assert_int_equal(ctl_request_encode(buffer, sizeof(buffer), 0, 1, long_word), -E2BIG);
    assert_int_equal(ctl_request_encode(buffer, 10, 0, 1, long_word), -E2BIG);
}

static void refuses_payloads_that_are_no_words(void **state)
{
    const char *words[CTL_WORDS_MAX + 1];
    uint8_t many[CTL_WORDS_MAX + 2];
    uint8_t flags;

    (void)state;
    memset(many, 0, sizeof(many));
    assert_int_equal(ctl_request_decode(slice_make("", 0), &flags, words), -EPROTO);
    assert_int_equal(ctl_request_decode(slice_make("\0", 1), &flags, words), -EPROTO);
    assert_int_equal(ctl_request_decode(slice_make("\0abc", 4), &flags, words), -EPROTO);
    assert_int_equal(ctl_request_decode(slice_make(many, CTL_WORDS_MAX + 1), &flags, words), CTL_WORDS_MAX);
    assert_int_equal(ctl_request_decode(slice_make(many, CTL_WORDS_MAX + 2), &flags, words), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_comes_back_as_it_was),
        cmocka_unit_test(every_shorter_start_of_a_frame_asks_for_more),
        cmocka_unit_test(refuses_unknown_types_and_lengths_over_the_limit),
        cmocka_unit_test(refuses_requests_that_do_not_fit),
        cmocka_unit_test(refuses_payloads_that_are_no_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
