/*
 * How a connection ends: Close, faults, refused upgrades, the end of the socket.
 */
#include "websocket_peer.h"

#include <poll.h>

static void upgrade(void)
{
    struct bytes answer = client_upgrades("");

    bytes_fini(&answer);
}

/* What the owner's epoll set would say. */
static bool ready_to_read(void)
{
    struct pollfd entry = {.fd = stream.watch.fd, .events = POLLIN};

    return poll(&entry, 1, 0) == 1;
}

static void a_close_is_echoed_and_ends_the_stream(void **state)
{
    uint8_t buffer[16];

    (void)state;
    upgrade();
    client_send_frame(0x88, "\x03\xe9going", 7);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
    assert_null(stream_error(&stream));
    client_expects("\x88\x02\x03\xe9", 4); /* at once: the owner closes the stream */
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
    stream_write("late", 4); /* goes nowhere */
    stream_pool_flush(&pool);
    assert_int_equal(stream_pending_bytes(&stream), 0);
    client_expects("", 0);
}

static void a_close_without_a_code_is_echoed_without_one(void **state)
{
    uint8_t buffer[16];

    (void)state;
    upgrade();
    client_send_frame(0x88, "", 0);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
    client_expects("\x88\x00", 2);
}

static void data_before_a_close_arrives_and_the_end_is_seen(void **state)
{
    struct bytes all = {0};
    uint8_t buffer[16];

    (void)state;
    upgrade();
    add_frame(&all, 0x82, "data", 4);
    add_frame(&all, 0x88, "\x03\xe8", 2);
    add_frame(&all, 0x82, "lost", 4);
    client_send(all.data, all.len);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 4);
    assert_true(ready_to_read()); /* though the client sends nothing more and waits */
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
    client_expects("\x88\x02\x03\xe8", 4);
    bytes_fini(&all);
}

struct fault_case {
    uint8_t first;
    const char *payload;
    size_t len;
    uint16_t code;
};

static void check_fault(const struct fault_case *fault, bool data_before)
{
    struct bytes all = {0};
    uint8_t buffer[600];
    uint8_t answer[4] = {0x88, 0x02, (uint8_t)(fault->code >> 8), (uint8_t)fault->code};

    assert_int_equal(peer_set_up(NULL), 0);
    options.max_frame_bytes = 1000;
    upgrade();
    if (data_before)
        add_frame(&all, 0x82, "data", 4);
    add_frame(&all, fault->first, fault->payload, fault->len);
    client_send(all.data, all.len);
    if (data_before) {
        assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 4);
        assert_true(ready_to_read());
    }
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), -EPROTO);
    assert_non_null(stream_error(&stream));
    client_expects(answer, sizeof(answer));
    bytes_fini(&all);
    peer_tear_down(NULL);
}

static void a_fault_is_answered_with_its_code(void **state)
{
    static const char large[1001];
    static const struct fault_case faults[] = {
        {0x81, "text", 4, 1003},
        {0x80, "nothing before", 14, 1002},
        {0x09, "part of a ping", 14, 1002},
        {0x89, large, 126, 1002},
        {0xc2, "compressed", 10, 1002},
        {0x83, "reserved", 8, 1002},
        {0x82, large, 1001, 1009},
        {0x88, "x", 1, 1002},
        {0x88, "\x03\xed", 2, 1002},
        {0x88, "\x03\xe8\xff", 3, 1007},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        check_fault(&faults[i], false);
        check_fault(&faults[i], true);
    }
}

static void a_frame_that_is_not_masked_is_a_fault(void **state)
{
    uint8_t buffer[600];

    (void)state;
    upgrade();
    client_send("\x82\x01x", 3);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), -EPROTO);
    client_expects("\x88\x02\x03\xea", 4);
}

static void a_refused_upgrade_is_answered_at_once(void **state)
{
    static const char request[] = "GET /other HTTP/1.1\r\nHost: b\r\n\r\n";
    uint8_t buffer[64];
    struct bytes answer;

    (void)state;
    client_send(request, sizeof(request) - 1);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), -EPROTO);
    assert_non_null(stream_error(&stream));
    assert_false(stream_established(&stream));
    answer = client_receive();
    assert_memory_equal(answer.data, "HTTP/1.1 404 Not Found\r\n", 24);
    bytes_fini(&answer);
}

static void the_end_of_the_socket_is_the_end_in_every_state(void **state)
{
    static const char *const parts[] = {"", "GET /mqtt HT"};
    uint8_t buffer[64];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(peer_set_up(NULL), 0);
        client_send(parts[i], strlen(parts[i]));
        shutdown(client_fd, SHUT_WR);
        assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
        peer_tear_down(NULL);
    }
    for (size_t cut = 0; cut < 10; cut++) {
        struct bytes frame = {0};
        assert_int_equal(peer_set_up(NULL), 0);
        upgrade();
        add_frame(&frame, 0x89, "ping", 4);
        client_send(frame.data, cut);
        shutdown(client_fd, SHUT_WR);
        assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), 0);
        bytes_fini(&frame);
        peer_tear_down(NULL);
    }
}

static void shutting_down_says_goodbye_once_and_after_all_data(void **state)
{
    (void)state;
    upgrade();
    client_send_frame(0x89, "ping", 4);
    stream_gives("", 0);
    stream_write("data", 4);
    stream_shut(&pool, &stream);
    assert_true(stream_shut(&pool, &stream));
    client_expects("\x8a\x04ping\x82\x04"
                   "data\x88\x02\x03\xe8",
                   16);
    assert_true(stream_shut(&pool, &stream));
    client_expects("", 0);
    client_send_frame(0x88, "\x03\xe8", 2); /* the peer's echo is not answered again */
    assert_int_equal(stream_read(&pool, &stream, (uint8_t[16]){0}, 16), 0);
    client_expects("", 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_set_up, peer_tear_down)

int websocket_run_close_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_close_is_echoed_and_ends_the_stream),
        TEST(a_close_without_a_code_is_echoed_without_one),
        TEST(data_before_a_close_arrives_and_the_end_is_seen),
        cmocka_unit_test(a_fault_is_answered_with_its_code),
        TEST(a_frame_that_is_not_masked_is_a_fault),
        TEST(a_refused_upgrade_is_answered_at_once),
        cmocka_unit_test(the_end_of_the_socket_is_the_end_in_every_state),
        TEST(shutting_down_says_goodbye_once_and_after_all_data),
    };

    return cmocka_run_group_tests_name("websocket_close", tests, NULL, NULL);
}
