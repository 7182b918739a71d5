/*
 * permessage-deflate: which offers are taken on what terms, and the examples of RFC 7692.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/websocket_deflate.h"

static struct websocket_options plain_options(void)
{
    return (struct websocket_options){.compress = true,
                                      .deflate_mem_level = 8,
                                      .server_window_bits = 15,
                                      .client_window_bits = 15,
                                      .server_context_takeover = true,
                                      .client_context_takeover = true};
}

/* `answer` NULL: no offer is taken. */
static void check(const struct websocket_options *options, const char *offers, const char *answer)
{
    struct websocket_deflate_terms terms;
    char text[WEBSOCKET_EXTENSION_MAX];

    if (websocket_deflate_negotiate(options, slice_from_string(offers), &terms) != (answer != NULL))
        fail_msg("%s", offers);
    if (answer == NULL)
        return;
    websocket_deflate_answer(&terms, text);
    assert_string_equal(text, answer);
}

static void offers_are_taken_as_they_stand(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    check(&options, "permessage-deflate", "permessage-deflate");
    check(&options, "x-webkit-deflate-frame, Permessage-Deflate; client_max_window_bits",
          "permessage-deflate; client_max_window_bits=15");
    check(&options, "permessage-deflate; client_max_window_bits=10; server_max_window_bits=\"11\"",
          "permessage-deflate; server_max_window_bits=11; client_max_window_bits=10");
    check(&options, "permessage-deflate;server_no_context_takeover ; client_no_context_takeover",
          "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    check(&options, "permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8");
    check(&options, "permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate");
}

static void wrong_offers_are_declined(void **state)
{
    static const char *const wrong[] = {
        "",
        "permessage-bzip2",
        "permessage-deflate; other",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8", /* zlib cannot */
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=07",
        "permessage-deflate; server_max_window_bits=1x",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    };
    struct websocket_options options = plain_options();

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        check(&options, wrong[i], NULL);
    options.compress = false;
    check(&options, "permessage-deflate", NULL);
}

static void the_keys_bound_the_terms(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    options.server_window_bits = 10;
    options.client_window_bits = 11;
    options.server_context_takeover = options.client_context_takeover = false;
    check(&options, "permessage-deflate; client_max_window_bits",
          "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
          "client_max_window_bits=11");
    check(&options, "permessage-deflate; client_max_window_bits=9; server_max_window_bits=15",
          "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
          "client_max_window_bits=9");
    check(&options, "permessage-deflate", NULL); /* the client would use a larger dictionary than the key allows */
}

/* Inflates one message with `room` bytes at a time. */
static size_t inflate_all(struct websocket_deflate *deflate, const char *in, size_t len, uint8_t *out, size_t room)
{
    size_t made = 0, at = 0, used;
    bool done = false;
    ssize_t part;

    while (at < len) {
        part = websocket_inflate(deflate, (const uint8_t *)in + at, len - at, out + made, room, &used);
        assert_true(part >= 0 && (size_t)part <= room);
        assert_true(used > 0 || part > 0);
        made += (size_t)part;
        at += used;
    }
    while (!done) {
        part = websocket_inflate_end(deflate, out + made, room, &done);
        assert_true(part >= 0 && (size_t)part <= room);
        made += (size_t)part;
    }
    return made;
}

#define CHECK_HELLO(deflate, bytes, room)                                                                              \
    do {                                                                                                               \
        uint8_t hello[64];                                                                                             \
        assert_int_equal(inflate_all(deflate, bytes, sizeof(bytes) - 1, hello, room), 5);                              \
        assert_memory_equal(hello, "Hello", 5);                                                                        \
    } while (0)

/* Section 7.2.3. */
static void the_examples_of_the_standard_are_inflated(void **state)
{
    struct websocket_options options = plain_options();
    struct websocket_deflate_terms terms;

    (void)state;
    assert_true(websocket_deflate_negotiate(&options, SLICE_LITERAL("permessage-deflate"), &terms));
    for (size_t room = 1; room < 8; room++) {
        struct websocket_deflate *deflate = websocket_deflate_new(&options, &terms);
        CHECK_HELLO(deflate, "\xf2\x48\xcd\xc9\xc9\x07\x00", room);
        CHECK_HELLO(deflate, "\xf2\x00\x11\x00\x00", room); /* from the dictionary of the first one */
        CHECK_HELLO(deflate, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", room);
        CHECK_HELLO(deflate, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", room); /* with a last block */
        CHECK_HELLO(deflate, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", room);
        CHECK_HELLO(deflate, "\xf2\x48\xcd\xc9\xc9\x07\x00", room);
        websocket_deflate_free(deflate);
    }
}

static void without_takeover_the_dictionary_goes(void **state)
{
    struct websocket_options options = plain_options();
    struct websocket_deflate_terms terms;
    struct websocket_deflate *deflate;
    uint8_t out[64];
    size_t used;

    (void)state;
    assert_true(
        websocket_deflate_negotiate(&options, SLICE_LITERAL("permessage-deflate; client_no_context_takeover"), &terms));
    deflate = websocket_deflate_new(&options, &terms);
    CHECK_HELLO(deflate, "\xf2\x48\xcd\xc9\xc9\x07\x00", 8);
    CHECK_HELLO(deflate, "\xf2\x48\xcd\xc9\xc9\x07\x00", 8);
    assert_int_equal(websocket_inflate(deflate, (const uint8_t *)"\xf2\x00\x11\x00\x00", 5, out, sizeof(out), &used),
                     -EPROTO);
    websocket_deflate_free(deflate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offers_are_taken_as_they_stand),
        cmocka_unit_test(wrong_offers_are_declined),
        cmocka_unit_test(the_keys_bound_the_terms),
        cmocka_unit_test(the_examples_of_the_standard_are_inflated),
        cmocka_unit_test(without_takeover_the_dictionary_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
