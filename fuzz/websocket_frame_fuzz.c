/*
 * websocket_frame_fuzz: any bytes behind an upgrade, through the whole layer above an in-memory one: read in two ways (much room, whole
 * input; little room, small pieces), both must give the same bytes. The first byte: compression, room and pieces.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/websocket.h"
#include "net/stream.h"

#define OUTPUT_MAX (256u * 1024u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char request_head[] =
    "GET /mqtt HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
static char path[] = "/mqtt";

/* The layer below: gives `request_head` and then the input, at most `step` bytes at a time; takes everything. */
struct source {
    struct stream_layer base;
    const uint8_t *data;
    size_t size, at, step;
};

static ssize_t source_read(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                           size_t capacity)
{
    struct source *source = CONTAINER_OF(layer, struct source, base);
    size_t head = sizeof(request_head) - 1;
    size_t end = source->at < head ? head : head + source->size;
    size_t len = end - source->at;

    (void)pool;
    (void)stream;
    if (len == 0)
        return -EAGAIN;
    if (len > source->step)
        len = source->step;
    if (len > capacity)
        len = capacity;
    memcpy(out, source->at < head ? (const uint8_t *)request_head + source->at : source->data + source->at - head, len);
    source->at += len;
    return (ssize_t)len;
}

static ssize_t source_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                            const struct iovec *parts, int count)
{
    ssize_t total = 0;

    (void)pool;
    (void)stream;
    (void)layer;
    for (int i = 0; i < count; i++)
        total += (ssize_t)parts[i].iov_len;
    return total;
}

static int source_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    (void)pool;
    (void)stream;
    (void)layer;
    return 0;
}

static void source_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    (void)source_flush(pool, stream, layer);
}

static void source_free(struct stream_layer *layer)
{
    (void)layer;
}

static const struct stream_layer_ops source_ops = {.name = "source",
                                                   .read = source_read,
                                                   .write = source_write,
                                                   .flush = source_flush,
                                                   .shut = source_shut,
                                                   .free = source_free};

/* Everything that comes through, at most OUTPUT_MAX bytes; `*out_end`: 0 when the input is used up, else the layer's error. */
static size_t run(const struct websocket_options *options, const uint8_t *data, size_t size, size_t step, size_t room,
                  uint8_t *out, ssize_t *out_end)
{
    struct source source = {
        .base.ops = &source_ops, .base.established = true, .data = data, .size = size, .step = step};
    struct stream_pool pool;
    struct stream stream;
    struct stream_layer *layer;
    size_t total = 0;
    ssize_t got = 0;

    ASSERT(stream_pool_init(&pool) == 0);
    stream_init(&stream, -1);
    stream_push_layer(&stream, &source.base);
    ASSERT(websocket_layer_new(options, &source.base, &layer) == 0);
    stream_push_layer(&stream, layer);
    for (unsigned dry = 0; dry < 2 && total + room <= OUTPUT_MAX;) {
        got = stream_read(&pool, &stream, out + total, room);
        ASSERT(got <= (ssize_t)room);
        stream_pool_flush(&pool);
        if (got > 0)
            total += (size_t)got;
        else if (got == -EAGAIN && source.at < sizeof(request_head) - 1 + size)
            continue;
        else if (got != -EBUSY)
            dry++;
    }
    ASSERT(stream_pending_bytes(&stream) == 0);
    *out_end = got > 0 || got == -EAGAIN ? 0 : got == 0 ? 1 : got;
    stream_close(&pool, &stream);
    stream_pool_fini(&pool);
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t one[OUTPUT_MAX], other[OUTPUT_MAX];
    struct websocket_options options = {.path = path,
                                        .verify_protocol_header = true,
                                        .deflate_mem_level = 1,
                                        .server_window_bits = 9,
                                        .client_window_bits = 15,
                                        .max_frame_bytes = 100000};
    ssize_t end_one, end_other;
    size_t len_one, len_other;

    if (size == 0)
        return 0;
    options.compress = (data[0] & 1) != 0;
    options.client_context_takeover = (data[0] & 2) != 0;
    len_one = run(&options, data + 1, size - 1, size + sizeof(request_head), 65536, one, &end_one);
    len_other = run(&options, data + 1, size - 1, (data[0] >> 5) + 1, 1u << (data[0] >> 2 & 7), other, &end_other);
    if (len_one + 65536 > OUTPUT_MAX || len_other + 128 > OUTPUT_MAX) {
        ASSERT(memcmp(one, other, len_one < len_other ? len_one : len_other) == 0); /* one stopped early */
        return 0;
    }
    /* What was made before a fault may be kept or lost with it. */
    ASSERT(end_one == end_other);
    ASSERT(memcmp(one, other, len_one < len_other ? len_one : len_other) == 0);
    ASSERT(end_one != 0 || len_one == len_other);
    return 0;
}
