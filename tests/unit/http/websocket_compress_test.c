/*
 * permessage-deflate through the layer: both directions, all terms, small room, bombs, broken data.
 */
#include "websocket_peer.h"

#include <zlib.h>

/* The client's two halves. */
static z_stream client_out, client_in;

static void upgrade(const char *offer, const char *agreed)
{
    char headers[200], line[200];
    struct bytes answer;

    options.compress = true;
    snprintf(headers, sizeof(headers), "Sec-WebSocket-Extensions: %s\r\n", offer);
    snprintf(line, sizeof(line), "\r\nSec-WebSocket-Extensions: %s\r\n", agreed);
    answer = client_upgrades(headers);
    if (strstr((char *)answer.data, line) == NULL)
        fail_msg("%s", (char *)answer.data);
    bytes_fini(&answer);
}

static void client_begin(int out_bits, int in_bits)
{
    memset(&client_out, 0, sizeof(client_out));
    memset(&client_in, 0, sizeof(client_in));
    assert_int_equal(deflateInit2(&client_out, 9, Z_DEFLATED, -out_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(inflateInit2(&client_in, -in_bits), Z_OK);
}

static void client_end(void)
{
    deflateEnd(&client_out);
    inflateEnd(&client_in);
}

/* A compressed message, in `pieces` frames. */
static void add_message(struct bytes *out, const uint8_t *data, size_t len, size_t pieces)
{
    size_t capacity = len + 1000, made, at = 0;
    uint8_t *packed = malloc(capacity);

    client_out.next_in = (Bytef *)(uintptr_t)data;
    client_out.avail_in = (uInt)len;
    client_out.next_out = packed;
    client_out.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&client_out, Z_SYNC_FLUSH), Z_OK);
    made = capacity - client_out.avail_out - 4;
    for (size_t i = 0; i < pieces; i++) {
        size_t part = i == pieces - 1 ? made - at : made / pieces;
        uint8_t first = (uint8_t)((i == 0 ? 0x42 : 0x00) | (i == pieces - 1 ? 0x80 : 0));
        add_frame(out, first, packed + at, part);
        at += part;
    }
    free(packed);
}

/* Inflates the server's frames. Returns how many were compressed. */
static size_t take_messages(const struct bytes *in, struct bytes *out, bool takeover)
{
    size_t at = 0, compressed = 0;

    while (at < in->len) {
        uint8_t first = in->data[at], buffer[70000];
        size_t len = in->data[at + 1], length_bytes = len == 126 ? 2 : len == 127 ? 8 : 0;
        at += 2;
        if (length_bytes > 0)
            len = 0;
        for (size_t i = 0; i < length_bytes; i++)
            len = len << 8 | in->data[at++];
        if (first == 0x82) {
            bytes_add(out, in->data + at, len);
            at += len;
            continue;
        }
        assert_int_equal(first, 0xc2);
        compressed++;
        for (int part = 0; part < 2; part++) {
            client_in.next_in = part == 0 ? in->data + at : (uint8_t *)(uintptr_t) "\0\0\xff\xff";
            client_in.avail_in = part == 0 ? (uInt)len : 4;
            client_in.next_out = buffer;
            client_in.avail_out = sizeof(buffer);
            if (client_in.avail_in > 0)
                assert_int_equal(inflate(&client_in, Z_SYNC_FLUSH), Z_OK);
            assert_int_equal(client_in.avail_in, 0);
            bytes_add(out, buffer, sizeof(buffer) - client_in.avail_out);
        }
        if (!takeover)
            inflateReset(&client_in);
        at += len;
    }
    return compressed;
}

/* Half noise, half repetition. */
static uint8_t *make_text(size_t len)
{
    uint8_t *text = make_noise(len);

    for (size_t i = 0; i < len; i++)
        text[i] = (i / 50) % 2 == 0 ? (uint8_t)("sensor/temperature"[i % 18]) : (uint8_t)(text[i] % 64);
    return text;
}

static void messages_come_in_whole_however_they_are_cut(bool takeover)
{
    static const size_t capacities[] = {1, 7, 300, 8192, 65536};
    uint8_t *text = make_text(30000);

    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        struct bytes all = {0}, got = {0};
        ssize_t end;
        for (size_t pieces = 1; pieces < 6; pieces++) {
            if (!takeover)
                deflateReset(&client_out);
            add_message(&all, text + 1000 * pieces, 5000, pieces);
            add_frame(&all, 0x82, "plain", 5); /* a message may be sent as it is */
            add_frame(&all, 0x8a, "", 0);
        }
        add_frame(&all, 0xc2, "", 1); /* an empty message, section 7.2.3.6 */
        for (size_t at = 0; at < all.len; at += 777) {
            struct bytes part;
            client_send(all.data + at, all.len - at < 777 ? all.len - at : 777);
            part = read_all(capacities[i], &end);
            assert_int_equal(end, -EAGAIN);
            bytes_add(&got, part.data, part.len);
            bytes_fini(&part);
        }
        assert_int_equal(got.len, 5 * 5005);
        for (size_t pieces = 1; pieces < 6; pieces++) {
            assert_memory_equal(got.data + 5005 * (pieces - 1), text + 1000 * pieces, 5000);
            assert_memory_equal(got.data + 5005 * pieces - 5, "plain", 5);
        }
        bytes_fini(&all);
        bytes_fini(&got);
    }
    free(text);
}

static void compressed_messages_come_in(void **state)
{
    (void)state;
    upgrade("permessage-deflate", "permessage-deflate");
    client_begin(15, 15);
    messages_come_in_whole_however_they_are_cut(true);
    client_end();
}

static void compressed_messages_come_in_without_takeover(void **state)
{
    (void)state;
    upgrade("permessage-deflate; client_no_context_takeover; client_max_window_bits=9",
            "permessage-deflate; client_no_context_takeover; client_max_window_bits=9");
    client_begin(9, 15);
    messages_come_in_whole_however_they_are_cut(false);
    client_end();
}

static void write_and_compare(bool takeover)
{
    uint8_t *text = make_text(300000);
    size_t rounds[] = {4, 40, 400, 20000, 300000, 15, 16};

    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        struct bytes all = {0}, part, plain = {0};
        size_t compressed;
        assert_int_equal(stream_write_ref(&pool, &stream, slice_make(text, rounds[i] / 2), NULL, count_release), 0);
        assert_int_equal(stream_write_ref(&pool, &stream, slice_make(text + rounds[i] / 2, rounds[i] - rounds[i] / 2),
                                          NULL, count_release),
                         0);
        stream_pool_flush(&pool);
        do {
            part = client_receive();
            bytes_add(&all, part.data, part.len);
            bytes_fini(&part);
            assert_int_equal(stream_flush(&pool, &stream), 0);
        } while (stream_pending_bytes(&stream) > 0);
        part = client_receive();
        bytes_add(&all, part.data, part.len);
        bytes_fini(&part);
        compressed = take_messages(&all, &plain, takeover);
        assert_int_equal(plain.len, rounds[i]);
        assert_memory_equal(plain.data, text, rounds[i]);
        assert_int_equal(compressed, rounds[i] < 16 ? 0 : (rounds[i] + 65535) / 65536);
        if (rounds[i] >= 400)
            assert_true(all.len < rounds[i]);
        bytes_fini(&all);
        bytes_fini(&plain);
    }
    assert_int_equal(released_count, 2 * sizeof(rounds) / sizeof(rounds[0]));
    free(text);
}

static void what_is_written_is_compressed(void **state)
{
    (void)state;
    upgrade("permessage-deflate", "permessage-deflate");
    client_begin(15, 15);
    write_and_compare(true);
    client_end();
}

static void what_is_written_is_compressed_on_the_agreed_terms(void **state)
{
    (void)state;
    options.deflate_level = DEFLATE_LEVEL_BEST;
    options.deflate_strategy = DEFLATE_STRATEGY_FILTERED;
    options.deflate_mem_level = 1;
    upgrade("permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=9");
    client_begin(15, 9);
    write_and_compare(false);
    client_end();
}

static void a_full_socket_does_not_mix_compressed_frames_and_pongs(void **state)
{
    uint8_t *noise = make_noise(400000);
    struct bytes all = {0}, plain = {0};
    int small = 4096;
    const uint8_t *pong;

    (void)state;
    upgrade("permessage-deflate", "permessage-deflate");
    client_begin(15, 15);
    assert_int_equal(setsockopt(stream.watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_int_equal(stream_write_ref(&pool, &stream, slice_make(noise, 400000), NULL, count_release), 0);
    stream_pool_flush(&pool);
    assert_true(stream.blocked);
    assert_true(ws_layer->held_bytes < 2 * 65536 + 100); /* one frame, not all that waits */
    client_send_frame(0x89, "ping", 4);
    stream_gives("", 0);
    while (stream_pending_bytes(&stream) > 0) {
        uint8_t buffer[1777];
        ssize_t got = read(client_fd, buffer, sizeof(buffer));
        if (got > 0)
            bytes_add(&all, buffer, (size_t)got);
        assert_int_equal(stream_flush(&pool, &stream), 0);
    }
    struct bytes rest = client_receive();
    bytes_add(&all, rest.data, rest.len);
    bytes_fini(&rest);
    pong = memmem(all.data, all.len, "\x8a\x04ping", 6);
    assert_non_null(pong);
    memmove((uint8_t *)(uintptr_t)pong, pong + 6, all.len - (size_t)(pong + 6 - all.data));
    all.len -= 6;
    take_messages(&all, &plain, true);
    assert_int_equal(plain.len, 400000);
    assert_memory_equal(plain.data, noise, 400000);
    bytes_fini(&all);
    bytes_fini(&plain);
    client_end();
    free(noise);
}

/* 64 MiB of zeros in 64 KiB: comes out as the caller asks for it. */
static void a_bomb_fills_nothing_but_the_callers_buffer(void **state)
{
    static uint8_t zeros[1 << 20], buffer[5000];
    struct bytes all = {0};
    size_t total = 0;
    ssize_t got;

    (void)state;
    upgrade("permessage-deflate", "permessage-deflate");
    client_begin(15, 15);
    for (int i = 0; i < 64; i++)
        add_message(&all, zeros, sizeof(zeros), 1);
    client_send(all.data, all.len);
    while ((got = stream_read(&pool, &stream, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < got; i += 97)
            assert_int_equal(buffer[i], 0);
        total += (size_t)got;
    }
    assert_int_equal(got, -EAGAIN);
    assert_int_equal(total, 64u << 20);
    bytes_fini(&all);
    client_end();
}

static void damaged_data_ends_the_connection(void **state)
{
    uint8_t buffer[64];

    (void)state;
    upgrade("permessage-deflate", "permessage-deflate");
    client_send_frame(0xc2, "\xff\xff\xff\xff", 4);
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), -EPROTO);
    assert_non_null(stream_error(&stream));
    client_expects("\x88\x02\x03\xef", 4);
}

static void compressed_nothing_does_not_keep_the_worker(void **state)
{
    struct bytes all = {0};
    static uint8_t blocks[5 * 12000];
    uint8_t buffer[100];
    int large = 4 << 20;
    ssize_t got;

    (void)state;
    for (size_t i = 0; i < sizeof(blocks); i++)
        blocks[i] = i % 5 >= 3 ? 0xff : 0;
    upgrade("permessage-deflate", "permessage-deflate");
    setsockopt(client_fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    add_frame(&all, 0x42, blocks, sizeof(blocks));
    add_frame(&all, 0x00, blocks, sizeof(blocks));
    client_send(all.data, all.len);
    got = stream_read(&pool, &stream, buffer, sizeof(buffer));
    assert_int_equal(got, -EBUSY);
    while (got == -EBUSY)
        got = stream_read(&pool, &stream, buffer, sizeof(buffer));
    assert_int_equal(got, -EAGAIN);
    bytes_fini(&all);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_set_up, peer_tear_down)

int websocket_run_compress_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(compressed_messages_come_in),
        TEST(compressed_messages_come_in_without_takeover),
        TEST(what_is_written_is_compressed),
        TEST(what_is_written_is_compressed_on_the_agreed_terms),
        TEST(a_full_socket_does_not_mix_compressed_frames_and_pongs),
        TEST(a_bomb_fills_nothing_but_the_callers_buffer),
        TEST(damaged_data_ends_the_connection),
        TEST(compressed_nothing_does_not_keep_the_worker),
    };

    return cmocka_run_group_tests_name("websocket_compress", tests, NULL, NULL);
}
