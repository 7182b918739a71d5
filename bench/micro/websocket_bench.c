/*
 * websocket_bench: how fast frames become bytes: the layer's reader over memory, without system calls, on one core.
 *
 * Prints MB/s and nanoseconds a frame, the best of several rounds, as the machine's other work can only add time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/websocket_frame.h"

#define ROUNDS 20
#define INPUT_BYTES (64u * 1024u) /* as much as one read gives: in the cache */
#define CALLS 200u

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Fills `out` with whole frames. Returns how many; `*out_len`: their bytes. */
static size_t make_frames(uint8_t *out, size_t payload_len, size_t *out_len)
{
    size_t count = 0, at = 0;

    while (at + WEBSOCKET_HEADER_MAX + payload_len <= INPUT_BYTES) {
        size_t header_len = websocket_write_header(out + at, WEBSOCKET_BINARY, false, payload_len);
        out[at + 1] |= 0x80;
        memcpy(out + at + header_len, "\x5a\x01\xfe\x33", 4);
        memset(out + at + header_len + 4, 'x', payload_len);
        at += header_len + 4 + payload_len;
        count++;
    }
    *out_len = at;
    return count;
}

/* As websocket.c takes them: in place. */
static void take_frames(uint8_t *bytes, size_t len)
{
    struct websocket_reader reader = {0};
    size_t at = 0, made = 0;

    while (at < len) {
        struct websocket_fault fault;
        size_t used, part;
        if (websocket_read_header(&reader, bytes + at, len - at, 0, &used, &fault) != WEBSOCKET_HEADER_DONE)
            abort();
        at += used;
        part = (size_t)reader.left;
        websocket_unmask(&reader, bytes + made, bytes + at, part);
        websocket_take(&reader, part);
        at += part;
        made += part;
    }
}

static void run(size_t payload_len)
{
    static uint8_t frames[INPUT_BYTES], work[INPUT_BYTES];
    uint64_t best = UINT64_MAX;
    size_t len, count = make_frames(frames, payload_len, &len);

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t spent = 0;
        for (unsigned i = 0; i < CALLS; i++) {
            uint64_t begin;
            memcpy(work, frames, len); /* taken apart anew each time; not counted */
            begin = now_ns();
            take_frames(work, len);
            spent += now_ns() - begin;
        }
        if (spent < best)
            best = spent;
    }
    printf("%6zu bytes a frame: %8.0f MB/s %8.1f ns a frame\n", payload_len,
           (double)(count * payload_len * CALLS) * 1000 / (double)best, (double)best / (double)(count * CALLS));
}

int main(void)
{
    static const size_t sizes[] = {4, 64, 1024, 16384};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        run(sizes[i]);
    return 0;
}
