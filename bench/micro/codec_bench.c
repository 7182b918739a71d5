/*
 * codec_bench: nanoseconds per call of the codec's hot paths, on one core.
 *
 * Prints one line per case, the best of several rounds, as the machine's other work can only add time. With an
 * argument only the cases whose name contains it are run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/topic.h"

#define ROUNDS 20
#define CALLS 200000

/* Makes the compiler believe that `pointer`'s memory is read and written. */
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

static const char topic_20[] = "plant/7/press/4/temp"; /* 20 bytes */

struct bench_case {
    const char *name;
    void (*run)(const struct bench_case *self); /* CALLS calls */
    enum mqtt_version version;
    const char *properties; /* v5: the section with its length */
    size_t properties_len;
    const char *text;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A QoS 1 PUBLISH of 64 bytes with a topic of 20. Returns its size. */
static size_t make_publish(const struct bench_case *self, uint8_t out[64])
{
    size_t at = 2;

    memset(out, 'x', 64);
    out[0] = 0x32;
    out[1] = 62;
    out[at++] = 0;
    out[at++] = 20;
    memcpy(out + at, topic_20, 20);
    at += 20;
    out[at++] = 1;
    out[at++] = 2;
    if (self->properties_len > 0)
        memcpy(out + at, self->properties, self->properties_len);
    return 64;
}

static void run_publish_decode(const struct bench_case *self)
{
    uint8_t bytes[64];
    size_t size = make_publish(self, bytes);

    for (unsigned i = 0; i < CALLS; i++) {
        struct mqtt_frame frame;
        struct mqtt_publish publish;

        KEEP(bytes);
        if (mqtt_frame_peek(bytes, size, &frame) != MQTT_PEEK_OK ||
            mqtt_decode_publish(self->version, MQTT_FROM_CLIENT, &frame, bytes + frame.header_len, &publish, NULL) !=
                REASON_SUCCESS)
            abort();
        KEEP(&publish);
    }
}

static void run_ack_decode(const struct bench_case *self)
{
    static uint8_t bytes[] = {0x40, 2, 1, 2};

    for (unsigned i = 0; i < CALLS; i++) {
        struct mqtt_frame frame;
        struct mqtt_ack ack;

        KEEP(bytes);
        if (mqtt_frame_peek(bytes, sizeof(bytes), &frame) != MQTT_PEEK_OK ||
            mqtt_decode_ack(self->version, &frame, bytes + frame.header_len, &ack, NULL) != REASON_SUCCESS)
            abort();
        KEEP(&ack);
    }
}

static void run_ack_encode(const struct bench_case *self)
{
    for (unsigned i = 0; i < CALLS; i++) {
        uint8_t out[MQTT_ACK_SIZE_MAX];

        mqtt_encode_ack(self->version, MQTT_PUBACK, (uint16_t)i, REASON_SUCCESS, out);
        KEEP(out);
    }
}

static void run_head_write(const struct bench_case *self)
{
    struct mqtt_publish_head head = {.topic = slice_make(topic_20, 20), .payload_len = 38, .packet_id = 1, .qos = 1};

    for (unsigned i = 0; i < CALLS; i++) {
        uint8_t out[64];

        KEEP(&head);
        mqtt_publish_head_write(self->version, &head, out, NULL);
        KEEP(out);
    }
}

static void run_encode(const struct bench_case *self)
{
    struct mqtt_packet packet = {.type = MQTT_PUBLISH,
                                 .publish = {.topic = slice_make(topic_20, 20),
                                             .payload = slice_make("0123456789012345678901234567890123456", 37),
                                             .packet_id = 1,
                                             .qos = 1}};

    for (unsigned i = 0; i < CALLS; i++) {
        uint8_t out[64];

        KEEP(&packet);
        if (mqtt_encode(self->version, &packet, out, sizeof(out)) == 0)
            abort();
        KEEP(out);
    }
}

static void run_utf8(const struct bench_case *self)
{
    struct slice text = slice_from_string(self->text);

    for (unsigned i = 0; i < CALLS; i++) {
        KEEP(&text);
        if (!mqtt_utf8_valid(text))
            abort();
    }
}

static void run_topic(const struct bench_case *self)
{
    struct slice text = slice_from_string(self->text);

    for (unsigned i = 0; i < CALLS; i++) {
        KEEP(&text);
        if (!mqtt_topic_valid(text))
            abort();
    }
}

static void run_match(const struct bench_case *self)
{
    struct slice filter = slice_from_string(self->text);

    for (unsigned i = 0; i < CALLS; i++) {
        KEEP(&filter);
        if (!mqtt_topic_matches(slice_make(topic_20, 20), filter))
            abort();
    }
}

static const struct bench_case cases[] = {
    {"decode PUBLISH QoS 1, 64 bytes, v3.1.1", run_publish_decode, MQTT_V3_1_1, "", 0, NULL},
    {"decode PUBLISH QoS 1, 64 bytes, v5, no properties", run_publish_decode, MQTT_V5, "\0", 1, NULL},
    {"decode PUBLISH QoS 1, 64 bytes, v5, expiry and user property", run_publish_decode, MQTT_V5,
     "\x12\x02\0\0\0\x1E\x26\0\3key\0\5value", 19, NULL},
    {"decode PUBACK, v3.1.1", run_ack_decode, MQTT_V3_1_1, "", 0, NULL},
    {"decode PUBACK, v5", run_ack_decode, MQTT_V5, "", 0, NULL},
    {"encode PUBACK, inline", run_ack_encode, MQTT_V5, "", 0, NULL},
    {"encode PUBLISH head, inline, v3.1.1", run_head_write, MQTT_V3_1_1, "", 0, NULL},
    {"encode PUBLISH head, inline, v5", run_head_write, MQTT_V5, "", 0, NULL},
    {"encode PUBLISH 64 bytes, general, v5", run_encode, MQTT_V5, "", 0, NULL},
    {"UTF-8, 20 bytes of ASCII", run_utf8, MQTT_V5, "", 0, "plant/7/press/4/temp"},
    {"UTF-8, 200 bytes of ASCII", run_utf8, MQTT_V5, "", 0,
     "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"},
    {"UTF-8, 21 bytes, 7 Chinese characters", run_utf8, MQTT_V5, "", 0,
     "\xE5\xB7\xA5\xE5\x8E\x82\xE6\xB8\xA9\xE5\xBA\xA6\xE4\xBC\xA0\xE6\x84\x9F\xE5\x99\xA8"},
    {"topic name check, 20 bytes", run_topic, MQTT_V5, "", 0, "plant/7/press/4/temp"},
    {"topic match, plant/+/press/+/temp", run_match, MQTT_V5, "", 0, "plant/+/press/+/temp"},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t best_ns = UINT64_MAX;

        if (argc > 1 && strstr(cases[i].name, argv[1]) == NULL)
            continue;
        for (unsigned round = 0; round < ROUNDS; round++) {
            uint64_t start_ns = now_ns();
            uint64_t taken_ns;

            cases[i].run(&cases[i]);
            taken_ns = now_ns() - start_ns;
            if (taken_ns < best_ns)
                best_ns = taken_ns;
        }
        printf("%-62s %7.2f ns/op\n", cases[i].name, (double)best_ns / CALLS);
    }
    return 0;
}
