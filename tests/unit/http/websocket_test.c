/*
 * The layer in both directions: frames and the stream of bytes above them, cuts, a full socket, memory.
 */
#include "websocket_peer.h"

#include "http/websocket_internal.h"

#include <malloc.h>

static void upgrade(void)
{
    struct bytes answer = client_upgrades("");

    assert_memory_equal(answer.data, "HTTP/1.1 101 ", 13);
    bytes_fini(&answer);
}

static void frames_become_one_stream_of_bytes(void **state)
{
    struct bytes all = {0};

    (void)state;
    upgrade();
    add_frame(&all, 0x82, "one", 3);
    add_frame(&all, 0x02, "tw", 2); /* a packet over several frames */
    add_frame(&all, 0x00, "", 0);
    add_frame(&all, 0x80, "o", 1);
    add_frame(&all, 0x82, "", 0);
    add_frame(&all, 0x82, "threefour", 9); /* several packets in one */
    client_send(all.data, all.len);
    stream_gives("onetwothreefour", 15);
    bytes_fini(&all);
}

/* Everything together, with pings within a message, cut at every byte and read with several capacities. */
static void cuts_change_nothing(void **state)
{
    static const size_t capacities[] = {1, 2, 5, 600, 4096};
    uint8_t *noise = make_noise(700);
    struct bytes all = {0};

    upgrade();
    add_frame(&all, 0x02, noise, 100);
    add_frame(&all, 0x89, "ping", 4);
    add_frame(&all, 0x00, noise + 100, 200);
    add_frame(&all, 0x8a, "unasked", 7);
    add_frame(&all, 0x80, noise + 300, 400);
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        for (size_t cut = 0; cut <= all.len; cut++) {
            ssize_t end;
            struct bytes first, second;
            client_send(all.data, cut);
            first = read_all(capacities[i], &end);
            assert_int_equal(end, -EAGAIN);
            client_send(all.data + cut, all.len - cut);
            second = read_all(capacities[i], &end);
            assert_int_equal(end, -EAGAIN);
            bytes_add(&first, second.data, second.len);
            assert_int_equal(first.len, 700);
            assert_memory_equal(first.data, noise, 700);
            stream_pool_flush(&pool);
            client_expects("\x8a\x04ping", 6);
            bytes_fini(&first);
            bytes_fini(&second);
        }
    }
    bytes_fini(&all);
    free(noise);
    (void)state;
}

static void frames_right_behind_the_request_are_not_lost(void **state)
{
    struct bytes all = {0};
    static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                  "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

    (void)state;
    bytes_add(&all, request, sizeof(request) - 1);
    add_frame(&all, 0x82, "early", 5);
    for (size_t cut = 1; cut < 20; cut++)
        client_send(all.data + cut - 1, 1);
    client_send(all.data + 19, all.len - 19);
    stream_gives("early", 5);
    bytes_fini(&all);
}

static void fewer_bytes_than_asked_for_means_that_all_was_read(void **state)
{
    uint8_t *noise = make_noise(40000);
    uint8_t buffer[1000];
    struct bytes all = {0};
    size_t total = 0;
    ssize_t got;

    (void)state;
    upgrade();
    for (size_t at = 0; at < 40000; at += 10)
        add_frame(&all, 0x82, noise + at, 10);
    client_send(all.data, all.len);
    do {
        got = stream_read(&pool, &stream, buffer, sizeof(buffer));
        assert_true(got > 0);
        assert_memory_equal(buffer, noise + total, (size_t)got);
        total += (size_t)got;
    } while ((size_t)got == sizeof(buffer) && total < 40000);
    assert_int_equal(total, 40000);
    bytes_fini(&all);
    free(noise);
}

static void only_the_newest_ping_is_answered(void **state)
{
    (void)state;
    upgrade();
    client_send_frame(0x89, "a", 1);
    client_send_frame(0x89, "", 0);
    client_send_frame(0x89, "last", 4);
    stream_gives("", 0);
    assert_int_equal(stream_pending_bytes(&stream), 6);
    stream_pool_flush(&pool);
    client_expects("\x8a\x04last", 6);
    assert_int_equal(stream_pending_bytes(&stream), 0);
}

static void any_frame_ends_the_silence(void **state)
{
    (void)state;
    upgrade();
    assert_int_equal(websocket_layer_silence_ms(ws_layer, 5000), 0);
    assert_int_equal(websocket_layer_silence_ms(ws_layer, 6000), 1000);
    client_send_frame(0x8a, "", 0);
    stream_gives("", 0);
    assert_int_equal(websocket_layer_silence_ms(ws_layer, 7000), 0);
    stream_gives("", 0);
    assert_int_equal(websocket_layer_silence_ms(ws_layer, 7500), 500);
    client_send("\x82", 1); /* a part of one */
    stream_gives("", 0);
    assert_int_equal(websocket_layer_silence_ms(ws_layer, 9000), 0);
}

static void what_a_turn_writes_leaves_as_one_message(void **state)
{
    (void)state;
    upgrade();
    stream_write("abc", 3);
    assert_int_equal(stream_write_ref(&pool, &stream, SLICE_LITERAL("large"), NULL, count_release), 0);
    stream_write("de", 2);
    stream_pool_flush(&pool);
    client_expects("\x82\x0a"
                   "abclargede",
                   12);
    assert_int_equal(released_count, 1);
    assert_int_equal(pool.bytes_sent, 10);
}

/* Takes the frames that the server sent apart: payloads of binary ones to `out_data`, the number of pongs and whole frames. */
static void take_apart(const struct bytes *in, struct bytes *out_data, size_t *out_pongs, size_t *out_frames)
{
    size_t at = 0;

    *out_pongs = *out_frames = 0;
    while (at < in->len) {
        uint64_t len = in->data[at + 1];
        uint8_t first = in->data[at];
        size_t length_bytes = len == 126 ? 2 : len == 127 ? 8 : 0;
        at += 2;
        if (length_bytes > 0)
            len = 0;
        for (size_t i = 0; i < length_bytes; i++)
            len = len << 8 | in->data[at++];
        assert_true(at + len <= in->len);
        if (first == 0x82) {
            bytes_add(out_data, in->data + at, (size_t)len);
            (*out_frames)++;
        } else {
            assert_int_equal(first, 0x8a);
            (*out_pongs)++;
        }
        at += (size_t)len;
    }
}

static void a_full_socket_cuts_frames_but_nothing_breaks_into_them(void **state)
{
    uint8_t *noise = make_noise(1000000);
    struct bytes all = {0}, data = {0};
    size_t pongs, frames;
    int small = 4096;

    (void)state;
    upgrade();
    assert_int_equal(setsockopt(stream.watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_int_equal(stream_write_ref(&pool, &stream, slice_make(noise, 700000), NULL, count_release), 0);
    stream_pool_flush(&pool);
    assert_true(stream.blocked);
    client_send_frame(0x89, "ping", 4); /* its pong waits until the frame is complete */
    stream_gives("", 0);
    stream_write(noise + 700000, 20000); /* becomes a frame of its own */
    assert_int_equal(stream_write_ref(&pool, &stream, slice_make(noise + 720000, 280000), NULL, count_release), 0);
    for (int round = 0; round < 100000 && stream_pending_bytes(&stream) > 0; round++) {
        uint8_t buffer[1777];
        ssize_t got = read(client_fd, buffer, sizeof(buffer));
        if (got > 0)
            bytes_add(&all, buffer, (size_t)got);
        assert_int_equal(stream_flush(&pool, &stream), 0);
        assert_true(stream.blocked == (stream_pending_bytes(&stream) > 0));
    }
    struct bytes rest = client_receive();
    bytes_add(&all, rest.data, rest.len);
    take_apart(&all, &data, &pongs, &frames);
    assert_int_equal(data.len, 1000000);
    assert_memory_equal(data.data, noise, 1000000);
    assert_int_equal(pongs, 1);
    assert_true(frames >= 2);
    assert_int_equal(released_count, 2);
    bytes_fini(&rest);
    bytes_fini(&all);
    bytes_fini(&data);
    free(noise);
}

static void many_references_leave_without_the_socket_being_full(void **state)
{
    uint8_t *noise = make_noise(20000);
    struct bytes all, data = {0};
    size_t pongs, frames;

    (void)state;
    upgrade();
    for (size_t at = 0; at < 20000; at += 100)
        assert_int_equal(stream_write_ref(&pool, &stream, slice_make(noise + at, 100), NULL, count_release), 0);
    stream_pool_flush(&pool);
    assert_int_equal(stream_pending_bytes(&stream), 0);
    assert_false(stream.blocked);
    all = client_receive();
    take_apart(&all, &data, &pongs, &frames);
    assert_int_equal(data.len, 20000);
    assert_memory_equal(data.data, noise, 20000);
    assert_int_equal(released_count, 200);
    bytes_fini(&all);
    bytes_fini(&data);
    free(noise);
}

static void pings_alone_do_not_keep_the_worker(void **state)
{
    struct bytes all = {0};
    uint8_t buffer[1];
    int large = 4 << 20;
    ssize_t got = 0;
    size_t sent;

    (void)state;
    upgrade();
    setsockopt(client_fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    for (unsigned i = 0; i < 12000; i++)
        add_frame(&all, 0x89, "xxxxxx", 6);
    sent = (size_t)write(client_fd, all.data, all.len);
    assert_true(sent > 100000);
    got = stream_read(&pool, &stream, buffer, sizeof(buffer));
    assert_int_equal(got, -EBUSY); /* the others first */
    while (got == -EBUSY)
        got = stream_read(&pool, &stream, buffer, sizeof(buffer));
    assert_int_equal(got, -EAGAIN);
    bytes_fini(&all);
}

static void an_idle_connection_costs_less_than_200_bytes(void **state)
{
    const struct websocket *ws = (const struct websocket *)ws_layer; /* `base` is the first member */

    (void)state;
    upgrade();
    client_send_frame(0x82, "data", 4);
    client_send_frame(0x89, "ping", 4);
    stream_gives("data", 4);
    assert_non_null(ws->answers);
    stream_pool_flush(&pool);
    client_expects("\x8a\x04ping", 6);
    assert_true(malloc_usable_size(ws_layer) < 200);
    assert_null(ws->upgrade);
    assert_null(ws->input);
    assert_null(ws->answers);
    assert_null(ws->deflate);
    assert_null(ws->forwarded);
    assert_null(stream.out_head);
}

static void a_proxy_s_address_is_kept(void **state)
{
    static char address_header[] = "X-Forwarded-For", port_header[] = "X-Forwarded-Port";
    struct bytes answer;
    struct slice text;

    (void)state;
    options.proxy_address_header = address_header;
    options.proxy_port_header = port_header;
    assert_null(websocket_layer_forwarded_address(ws_layer).data);
    answer = client_upgrades("X-Forwarded-For: 2001:db8::1, 10.0.0.1\r\nX-Forwarded-Port: 99\r\n");
    text = websocket_layer_forwarded_address(ws_layer);
    assert_true(slice_equal(text, SLICE_LITERAL("2001:db8::1")));
    text = websocket_layer_forwarded_port(ws_layer);
    assert_true(slice_equal(text, SLICE_LITERAL("99")));
    bytes_fini(&answer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_set_up, peer_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_become_one_stream_of_bytes),
        TEST(cuts_change_nothing),
        TEST(frames_right_behind_the_request_are_not_lost),
        TEST(fewer_bytes_than_asked_for_means_that_all_was_read),
        TEST(only_the_newest_ping_is_answered),
        TEST(any_frame_ends_the_silence),
        TEST(what_a_turn_writes_leaves_as_one_message),
        TEST(a_full_socket_cuts_frames_but_nothing_breaks_into_them),
        TEST(many_references_leave_without_the_socket_being_full),
        TEST(pings_alone_do_not_keep_the_worker),
        TEST(an_idle_connection_costs_less_than_200_bytes),
        TEST(a_proxy_s_address_is_kept),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    failed += websocket_run_close_tests();
    return failed + websocket_run_compress_tests();
}
