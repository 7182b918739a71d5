/*
 * websocket_peer: see websocket_peer.h.
 */
#include "websocket_peer.h"

struct stream_pool pool;
struct stream stream;
struct stream_layer *ws_layer;
struct websocket_options options;
int client_fd;
uint32_t released_count;

static char path[] = "/mqtt";

void bytes_add(struct bytes *bytes, const void *data, size_t len)
{
    if (bytes->len + len + 1 > bytes->capacity) {
        bytes->capacity = (bytes->len + len + 1) * 2;
        bytes->data = realloc(bytes->data, bytes->capacity);
        assert_non_null(bytes->data);
    }
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    bytes->data[bytes->len] = 0;
}

void bytes_fini(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

int peer_set_up(void **state)
{
    int fds[2];

    (void)state;
    released_count = 0;
    options = (struct websocket_options){.path = path,
                                         .verify_protocol_header = true,
                                         .deflate_mem_level = 8,
                                         .server_window_bits = 15,
                                         .client_window_bits = 15,
                                         .server_context_takeover = true,
                                         .client_context_takeover = true};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0 || stream_pool_init(&pool) < 0)
        return -1;
    stream_init(&stream, fds[0]);
    client_fd = fds[1];
    if (websocket_layer_new(&options, NULL, &ws_layer) < 0)
        return -1;
    stream_push_layer(&stream, ws_layer);
    return 0;
}

int peer_tear_down(void **state)
{
    (void)state;
    stream_close(&pool, &stream);
    stream_pool_flush(&pool);
    stream_pool_fini(&pool);
    close(client_fd);
    return 0;
}

void add_frame(struct bytes *out, uint8_t first, const void *payload, size_t len)
{
    static const uint8_t mask[4] = {0x5a, 0x01, 0xfe, 0x33};
    uint8_t header[WEBSOCKET_OWN_HEADER_MAX];
    size_t header_len = websocket_write_header(header, WEBSOCKET_BINARY, false, len);
    size_t begin;

    header[0] = first;
    header[1] |= 0x80;
    bytes_add(out, header, header_len);
    bytes_add(out, mask, sizeof(mask));
    begin = out->len;
    bytes_add(out, payload, len);
    for (size_t i = 0; i < len; i++)
        out->data[begin + i] ^= mask[i % 4];
}

void client_send(const void *data, size_t len)
{
    assert_int_equal(write(client_fd, data, len), len);
}

void client_send_frame(uint8_t first, const void *payload, size_t len)
{
    struct bytes frame = {0};

    add_frame(&frame, first, payload, len);
    client_send(frame.data, frame.len);
    bytes_fini(&frame);
}

struct bytes client_receive(void)
{
    static uint8_t buffer[65536];
    struct bytes all = {0};
    ssize_t got;

    bytes_add(&all, "", 0);
    while ((got = read(client_fd, buffer, sizeof(buffer))) > 0)
        bytes_add(&all, buffer, (size_t)got);
    return all;
}

void client_expects(const void *data, size_t len)
{
    struct bytes all = client_receive();

    assert_int_equal(all.len, len);
    assert_memory_equal(all.data, data, len);
    bytes_fini(&all);
}

struct bytes client_upgrades(const char *headers)
{
    char request[2048];
    uint8_t buffer[64];
    int len = snprintf(request, sizeof(request),
                       "GET /mqtt HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                       "Sec-WebSocket-Protocol: mqtt\r\n%s\r\n",
                       headers);

    client_send(request, (size_t)len);
    assert_false(stream_established(&stream));
    assert_int_equal(stream_read(&pool, &stream, buffer, sizeof(buffer)), -EAGAIN);
    assert_true(stream_established(&stream));
    assert_true(stream_pending_bytes(&stream) > 0);
    stream_pool_flush(&pool);
    assert_int_equal(stream_pending_bytes(&stream), 0);
    return client_receive();
}

struct bytes read_all(size_t capacity, ssize_t *out_end)
{
    struct bytes all = {0};
    uint8_t *buffer = malloc(capacity); /* of the exact size, so that the sanitizer sees what is beyond it */
    ssize_t got;

    bytes_add(&all, "", 0);
    while ((got = stream_read(&pool, &stream, buffer, capacity)) > 0) {
        assert_true((size_t)got <= capacity);
        bytes_add(&all, buffer, (size_t)got);
    }
    free(buffer);
    *out_end = got;
    return all;
}

void stream_gives(const void *data, size_t len)
{
    ssize_t end;
    struct bytes all = read_all(4096, &end);

    assert_int_equal(all.len, len);
    assert_memory_equal(all.data, data, len);
    assert_int_equal(end, -EAGAIN);
    bytes_fini(&all);
}

void stream_write(const void *data, size_t len)
{
    uint8_t *out = stream_reserve(&pool, &stream, len);

    assert_non_null(out);
    memcpy(out, data, len);
    stream_commit(&pool, &stream, len);
}

void count_release(void *owner)
{
    (void)owner;
    released_count++;
}

uint8_t *make_noise(size_t len)
{
    uint8_t *noise = malloc(len);
    uint32_t seed = 1;

    assert_non_null(noise);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        noise[i] = (uint8_t)(seed >> 24);
    }
    return noise;
}
