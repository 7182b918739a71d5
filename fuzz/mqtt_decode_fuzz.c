/*
 * mqtt_decode_fuzz: any bytes as any packet in any version from either side.
 *
 * The first byte of the input chooses version and role, the rest is read as a stream. What decodes must encode again
 * to something that decodes to the same packet, and whose second encoding is the first one byte by byte.
 */
#include <stdlib.h>

#include "base/compiler.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "mqtt/topic.h"
#include "packet_equal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The walks that a caller may do over a decoded packet without a check. */
static void walk(const struct mqtt_packet *packet)
{
    struct mqtt_subscription_options options;
    struct slice rest;
    struct slice filter;
    uint32_t count = 0;

    if (packet->type == MQTT_PUBLISH) {
        size_t len = mqtt_properties_forwardable(&packet->publish.properties, NULL);
        uint8_t *copy = malloc(len + 1);

        ASSERT(copy != NULL);
        ASSERT(mqtt_properties_forwardable(&packet->publish.properties, copy) == len);
        free(copy);
    }
    if (packet->type != MQTT_SUBSCRIBE && packet->type != MQTT_UNSUBSCRIBE)
        return;
    rest = packet->subscribe.filters;
    while (mqtt_filter_next(&rest, &filter, packet->type == MQTT_SUBSCRIBE ? &options : NULL)) {
        ASSERT(mqtt_utf8_valid(filter));
        count++;
    }
    ASSERT(count == packet->subscribe.filter_count && rest.len == 0);
}

/* The version that a packet is written in: a CONNECT says its own. */
static enum mqtt_version written_version(enum mqtt_version version, const struct mqtt_packet *packet)
{
    return packet->type == MQTT_CONNECT ? (enum mqtt_version)packet->connect.level : version;
}

static void check_round_trip(enum mqtt_version version, enum mqtt_role role, const struct mqtt_packet *packet)
{
    size_t size = mqtt_encoded_size(version, packet);
    uint8_t *first = malloc(size);
    uint8_t *second = malloc(size);
    struct mqtt_packet again;
    struct mqtt_frame frame;

    ASSERT(size > 0 && first != NULL && second != NULL);
    ASSERT(mqtt_encode(version, packet, first, size) == size);
    ASSERT(mqtt_frame_peek(first, size, &frame) == MQTT_PEEK_OK);
    ASSERT(frame.header_len + frame.remaining_len == size);
    ASSERT(mqtt_decode(version, role, &frame, first + frame.header_len, &again, NULL) == REASON_SUCCESS);
    ASSERT(packet_equal(packet, &again));
    ASSERT(mqtt_encode(version, &again, second, size) == size);
    ASSERT(memcmp(first, second, size) == 0);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum mqtt_version versions[] = {MQTT_V3_1, MQTT_V3_1_1, MQTT_V5, MQTT_V5};
    enum mqtt_version version;
    enum mqtt_role role;
    struct mqtt_frame frame;

    if (size < 1)
        return 0;
    version = versions[data[0] & 3];
    role = (data[0] & 4) != 0 ? MQTT_FROM_SERVER : MQTT_FROM_CLIENT;
    data++;
    size--;
    while (mqtt_frame_peek(data, size, &frame) == MQTT_PEEK_OK && size - frame.header_len >= frame.remaining_len) {
        /* A block of its own size, so that a read past the frame's end is seen. */
        uint8_t *body = malloc(frame.remaining_len);
        struct mqtt_packet packet;
        const char *error = NULL;

        if (frame.remaining_len > 0)
            memcpy(body, data + frame.header_len, frame.remaining_len);
        if (mqtt_decode(version, role, &frame, body, &packet, &error) == REASON_SUCCESS) {
            walk(&packet);
            check_round_trip(written_version(version, &packet), role, &packet);
        } else {
            ASSERT(error != NULL);
        }
        free(body);
        data += frame.header_len + frame.remaining_len;
        size -= frame.header_len + frame.remaining_len;
    }
    return 0;
}
