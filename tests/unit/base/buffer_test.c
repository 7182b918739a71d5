/*
 * Behaviour of the growable buffer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"

static void assert_content(const struct buffer *buffer, const char *text)
{
    assert_int_equal(buffer_length(buffer), strlen(text));
    assert_memory_equal(buffer_slice(buffer).data, text, strlen(text));
}

static void appends_and_consumes_in_order(void **state)
{
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 1024);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("hello ")), 0);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("world")), 0);
    assert_content(&buffer, "hello world");
    buffer_consume(&buffer, 6);
    assert_content(&buffer, "world");
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("!")), 0);
    assert_content(&buffer, "world!");
    buffer_consume(&buffer, 6);
    assert_int_equal(buffer_length(&buffer), 0);
    buffer_fini(&buffer);
}

static void holds_no_memory_while_empty(void **state)
{
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 1024);
    assert_null(buffer.memory);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("")), 0);
    assert_null(buffer.memory);
    assert_int_equal(buffer_slice(&buffer).len, 0);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("x")), 0);
    buffer_consume(&buffer, 1);
    buffer_trim(&buffer);
    assert_null(buffer.memory);
    buffer_fini(&buffer);
}

static void refuses_to_exceed_its_maximum(void **state)
{
    static const uint8_t zeros[100];
    struct buffer buffer;
    uint8_t *space;

    (void)state;
    buffer_init(&buffer, 150);
    assert_int_equal(buffer_append(&buffer, slice_make(zeros, 100)), 0);
    assert_int_equal(buffer_append(&buffer, slice_make(zeros, 51)), -ENOBUFS);
    assert_int_equal(buffer_length(&buffer), 100);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX, &space), -ENOBUFS);
    assert_int_equal(buffer_append(&buffer, slice_make(zeros, 50)), 0);
    assert_int_equal(buffer.capacity, 150);
    /* What was consumed makes room again. */
    buffer_consume(&buffer, 60);
    assert_int_equal(buffer_append(&buffer, slice_make(zeros, 60)), 0);
    assert_int_equal(buffer_length(&buffer), 150);
    assert_int_equal(buffer.capacity, 150);
    buffer_fini(&buffer);
}

static void commits_what_was_written_to_the_reserved_space(void **state)
{
    struct buffer buffer;
    uint8_t *space;

    (void)state;
    buffer_init(&buffer, 1024);
    assert_int_equal(buffer_reserve(&buffer, 512, &space), 0);
    memcpy(space, "abc", 3);
    buffer_commit(&buffer, 3);
    assert_content(&buffer, "abc");
    buffer_fini(&buffer);
}

static void hands_its_memory_over(void **state)
{
    struct buffer buffer;
    size_t length = 99;
    uint8_t *memory;

    (void)state;
    buffer_init(&buffer, 1024);
    assert_null(buffer_steal(&buffer, &length));
    assert_int_equal(length, 0);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("xyz")), 0);
    buffer_consume(&buffer, 1);
    memory = buffer_steal(&buffer, &length);
    assert_int_equal(length, 2);
    assert_memory_equal(memory, "yz", 2);
    free(memory);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("again")), 0);
    assert_content(&buffer, "again");
    buffer_fini(&buffer);
}

static void gives_back_what_it_does_not_need(void **state)
{
    static const uint8_t zeros[4096];
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 8192);
    assert_int_equal(buffer_append(&buffer, slice_make(zeros, sizeof(zeros))), 0);
    assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("tail")), 0);
    buffer_consume(&buffer, sizeof(zeros));
    buffer_trim(&buffer);
    assert_int_equal(buffer.capacity, 4);
    assert_content(&buffer, "tail");
    buffer_fini(&buffer);
}

static void keeps_a_stream_intact_through_many_sizes(void **state)
{
    struct buffer buffer;
    uint32_t random = 1;
    uint8_t next_in = 0;
    uint8_t next_out = 0;

    (void)state;
    buffer_init(&buffer, 3000);
    for (int round = 0; round < 20000; round++) {
        uint32_t count;
        uint8_t *space;
        struct slice content;

        random = random * 1664525U + 1013904223U;
        count = (random >> 16) % 400;
        if (buffer_reserve(&buffer, count, &space) == 0) {
            for (uint32_t i = 0; i < count; i++)
                space[i] = next_in++;
            buffer_commit(&buffer, count);
        } else {
            assert_true(buffer_length(&buffer) + count > 3000);
        }
        content = buffer_slice(&buffer);
        count = (random >> 8) % 420;
        if (count > content.len)
            count = (uint32_t)content.len;
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(content.data[i], next_out++);
        buffer_consume(&buffer, count);
        if (round % 97 == 0)
            buffer_trim(&buffer);
        assert_true(buffer.capacity <= 3000);
    }
    buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_consumes_in_order),
        cmocka_unit_test(holds_no_memory_while_empty),
        cmocka_unit_test(refuses_to_exceed_its_maximum),
        cmocka_unit_test(commits_what_was_written_to_the_reserved_space),
        cmocka_unit_test(hands_its_memory_over),
        cmocka_unit_test(gives_back_what_it_does_not_need),
        cmocka_unit_test(keeps_a_stream_intact_through_many_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
