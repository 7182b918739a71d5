/*
 * Behaviour of a stream: gathered output, back-pressure, bytes by reference, the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stream.h"

static struct stream_pool pool;
static struct stream stream;
static int other_fd;
static uint32_t blocked_count, released_count;

static void on_blocked(struct stream *blocked)
{
    assert_ptr_equal(blocked, &stream);
    blocked_count++;
}

static void on_released(void *owner)
{
    (void)owner;
    released_count++;
}

static int set_up(void **state)
{
    int fds[2];

    (void)state;
    blocked_count = released_count = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0 || stream_pool_init(&pool) < 0)
        return -1;
    pool.on_blocked = on_blocked;
    stream_init(&stream, fds[0]);
    other_fd = fds[1];
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stream_close(&pool, &stream);
    stream_close(&pool, &stream); /* again is fine */
    stream_pool_flush(&pool);
    stream_pool_fini(&pool);
    if (other_fd >= 0)
        close(other_fd);
    return 0;
}

static void write_copy(const void *bytes, size_t len)
{
    uint8_t *out = stream_reserve(&pool, &stream, len);

    assert_non_null(out);
    memcpy(out, bytes, len);
    stream_commit(&pool, &stream, len);
}

/* Reads what is there now and checks that it continues the pattern 0, 1, … 250, 0, … from `*position` on. */
static size_t read_pattern(size_t *position)
{
    static uint8_t buffer[65536];
    size_t total = 0;
    ssize_t got;

    while ((got = read(other_fd, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            if (buffer[i] != (*position + (size_t)i) % 251)
                fail_msg("wrong byte at %zu", *position + (size_t)i);
        }
        *position += (size_t)got;
        total += (size_t)got;
    }
    return total;
}

static void make_pattern(uint8_t *out, size_t position, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)((position + i) % 251);
}

static void output_of_a_turn_goes_out_together_at_its_end(void **state)
{
    char buffer[32];

    (void)state;
    write_copy("abc", 3);
    write_copy("def", 3);
    assert_int_equal(stream_pending_bytes(&stream), 6);
    assert_int_equal(read(other_fd, buffer, sizeof(buffer)), -1);
    stream_pool_flush(&pool);
    assert_int_equal(stream_pending_bytes(&stream), 0);
    assert_int_equal(read(other_fd, buffer, sizeof(buffer)), 6);
    assert_memory_equal(buffer, "abcdef", 6);
    assert_int_equal(pool.bytes_sent, 6);
    assert_int_equal(blocked_count, 0);
}

static void an_idle_stream_holds_no_buffer(void **state)
{
    (void)state;
    write_copy("abc", 3);
    stream_pool_flush(&pool);
    assert_null(stream.out_head);
    assert_null(stream.out_tail);
    assert_true(pool.free_small_count > 0); /* the next one has it */
}

static void may_commit_less_than_reserved(void **state)
{
    char buffer[32];

    (void)state;
    assert_non_null(stream_reserve(&pool, &stream, STREAM_CHUNK_MAX));
    uint8_t *out = stream_reserve(&pool, &stream, STREAM_CHUNK_MAX);
    assert_non_null(out);
    memcpy(out, "xy", 2);
    stream_commit(&pool, &stream, 2);
    stream_pool_flush(&pool);
    assert_int_equal(read(other_fd, buffer, sizeof(buffer)), 2);
    assert_memory_equal(buffer, "xy", 2);
}

static void bytes_by_reference_keep_their_place_and_are_released_when_sent(void **state)
{
    char buffer[32];

    (void)state;
    write_copy("a", 1);
    assert_int_equal(stream_write_ref(&pool, &stream, SLICE_LITERAL("bcd"), NULL, on_released), 0);
    write_copy("e", 1);
    assert_int_equal(released_count, 0);
    stream_pool_flush(&pool);
    assert_int_equal(released_count, 1);
    assert_int_equal(read(other_fd, buffer, sizeof(buffer)), 5);
    assert_memory_equal(buffer, "abcde", 5);
}

static void closing_releases_what_was_not_sent(void **state)
{
    (void)state;
    assert_int_equal(stream_write_ref(&pool, &stream, SLICE_LITERAL("b"), NULL, on_released), 0);
    write_copy("c", 1);
    stream_close(&pool, &stream);
    assert_int_equal(released_count, 1);
    assert_int_equal(stream_pending_bytes(&stream), 0);
    stream_pool_flush(&pool); /* still names the stream: nothing happens */
    assert_int_equal(blocked_count, 0);
}

/* Writes in pieces of all sizes, copied and by reference, against a peer that reads now and then. */
static void a_slow_peer_gets_every_byte_in_order(void **state)
{
    enum { TOTAL = 8 * 1024 * 1024 };
    uint8_t *bytes = malloc(TOTAL);
    size_t written = 0, position = 0;
    uint32_t random = 77, refs = 0;

    (void)state;
    assert_non_null(bytes);
    make_pattern(bytes, 0, TOTAL);
    while (position < TOTAL) {
        random = random * 1664525u + 1013904223u;
        size_t len = (random >> 8) % ((random >> 28) == 0 ? STREAM_CHUNK_MAX : 700) + 1;
        if (len > TOTAL - written)
            len = TOTAL - written;
        if (len > 0 && (random & 7u << 5) == 0) {
            assert_int_equal(stream_write_ref(&pool, &stream, slice_make(bytes + written, len), NULL, on_released), 0);
            refs++;
        } else if (len > 0) {
            write_copy(bytes + written, len);
        }
        written += len;
        if ((random >> 20 & 15) == 0)
            stream_pool_flush(&pool);
        if ((random >> 16 & 1023) == 0 || written == TOTAL) {
            read_pattern(&position);
            assert_int_equal(stream_flush(&pool, &stream), 0); /* as on EPOLLOUT */
        }
    }
    assert_int_equal(stream_pending_bytes(&stream), 0);
    assert_int_equal(pool.bytes_sent, TOTAL);
    assert_int_equal(released_count, refs);
    assert_true(blocked_count > 0);
    free(bytes);
}

static void a_blocked_stream_waits_for_its_owner(void **state)
{
    static uint8_t bytes[STREAM_CHUNK_MAX];
    uint64_t pending;
    size_t written = 0, position = 0;

    (void)state;
    while (!stream.blocked) {
        make_pattern(bytes, written, sizeof(bytes));
        write_copy(bytes, sizeof(bytes));
        written += sizeof(bytes);
        stream_pool_flush(&pool);
    }
    assert_int_equal(blocked_count, 1);
    pending = stream_pending_bytes(&stream);
    make_pattern(bytes, written, 10);
    write_copy(bytes, 10);
    written += 10;
    assert_int_equal(stream_pending_bytes(&stream), pending + 10);
    stream_pool_flush(&pool); /* not in the list: no system call for what is blocked */
    assert_int_equal(blocked_count, 1);
    while (position < written) {
        read_pattern(&position);
        assert_int_equal(stream_flush(&pool, &stream), 0);
    }
    assert_false(stream.blocked);
}

static void much_output_does_not_wait_for_the_turns_end(void **state)
{
    static uint8_t bytes[16384];
    size_t position = 0;

    (void)state;
    for (size_t i = 0; i < 12; i++) {
        make_pattern(bytes, i * sizeof(bytes), sizeof(bytes));
        write_copy(bytes, sizeof(bytes));
    }
    assert_true(read_pattern(&position) >= 128 * 1024);
}

static void a_peer_that_is_gone_is_an_error(void **state)
{
    (void)state;
    close(other_fd);
    other_fd = -1;
    write_copy("abc", 3);
    assert_int_equal(stream_flush(&pool, &stream), -EPIPE);
    assert_true(stream.failed);
    write_copy("def", 3); /* goes nowhere, and costs no system call at the turn's end */
    stream_pool_flush(&pool);
    assert_true(stream.failed);
}

static void reads_until_the_peer_ends(void **state)
{
    uint8_t buffer[8];

    (void)state;
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), -EAGAIN);
    assert_int_equal(write(other_fd, "0123456789", 10), 10);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 8);
    assert_memory_equal(buffer, "01234567", 8);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 2);
    close(other_fd);
    other_fd = -1;
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* What the other side has got now, as text. */
static const char *received(void)
{
    static char text[256];
    ssize_t got = read(other_fd, text, sizeof(text) - 1);

    text[got < 0 ? 0 : got] = 0;
    return text;
}

static void what_is_held_stays_until_its_mark_is_released(void **state)
{
    struct stream_marks marks;

    (void)state;
    write_copy("a", 1);
    stream_hold(&stream, &marks);
    write_copy("b", 1);
    stream_pool_flush(&pool);
    assert_string_equal(received(), "a");
    stream_hold_more(&stream);
    assert_int_equal(stream_write_ref(&pool, &stream, slice_from_string("cc"), NULL, on_released), 0);
    write_copy("d", 1);
    stream_pool_flush(&pool);
    assert_string_equal(received(), "");
    assert_int_equal(stream_pending_bytes(&stream), 4);
    stream_release(&pool, &stream);
    stream_pool_flush(&pool);
    assert_string_equal(received(), "b");
    assert_int_equal(released_count, 0);
    stream_release(&pool, &stream);
    stream_pool_flush(&pool);
    assert_string_equal(received(), "ccd");
    write_copy("e", 1);
    stream_pool_flush(&pool);
    assert_string_equal(received(), "e");
    assert_int_equal(blocked_count, 0);
}

static void a_mark_in_the_middle_of_what_the_socket_does_not_take_holds_too(void **state)
{
    struct stream_marks marks;
    static uint8_t pattern[251 * 128];
    size_t position = 0, total = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % 251);
    for (int i = 0; i < 100; i++) {
        if (i == 90)
            stream_hold(&stream, &marks);
        write_copy(pattern, sizeof(pattern));
    }
    for (int i = 0; i < 1000 && total < 90 * sizeof(pattern); i++) {
        assert_int_equal(stream_flush(&pool, &stream), 0);
        total += read_pattern(&position);
    }
    assert_int_equal(total, 90 * sizeof(pattern));
    assert_int_equal(stream_flush(&pool, &stream), 0);
    assert_int_equal(read_pattern(&position), 0);
    stream_release(&pool, &stream);
    for (int i = 0; i < 1000 && total < 100 * sizeof(pattern); i++) {
        assert_int_equal(stream_flush(&pool, &stream), 0);
        total += read_pattern(&position);
    }
    assert_int_equal(total, 100 * sizeof(pattern));
}

static void what_is_held_can_be_dropped(void **state)
{
    struct stream_marks marks;

    (void)state;
    write_copy("a", 1);
    stream_hold(&stream, &marks);
    write_copy("b", 1);
    assert_int_equal(stream_write_ref(&pool, &stream, slice_from_string("c"), NULL, on_released), 0);
    stream_hold_more(&stream);
    write_copy("d", 1);
    stream_drop_held(&pool, &stream);
    assert_int_equal(released_count, 1);
    write_copy("e", 1);
    stream_pool_flush(&pool);
    assert_string_equal(received(), "ae");
    assert_int_equal(stream_pending_bytes(&stream), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(output_of_a_turn_goes_out_together_at_its_end),
        TEST(an_idle_stream_holds_no_buffer),
        TEST(may_commit_less_than_reserved),
        TEST(bytes_by_reference_keep_their_place_and_are_released_when_sent),
        TEST(closing_releases_what_was_not_sent),
        TEST(a_slow_peer_gets_every_byte_in_order),
        TEST(a_blocked_stream_waits_for_its_owner),
        TEST(much_output_does_not_wait_for_the_turns_end),
        TEST(a_peer_that_is_gone_is_an_error),
        TEST(reads_until_the_peer_ends),
        TEST(what_is_held_stays_until_its_mark_is_released),
        TEST(a_mark_in_the_middle_of_what_the_socket_does_not_take_holds_too),
        TEST(what_is_held_can_be_dropped),
    };

    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
