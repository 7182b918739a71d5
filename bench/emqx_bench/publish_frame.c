/*
 * publish_frame: see publish_frame.h.
 */
#include "publish_frame.h"

#include "mqtt/decode.h"
#include "mqtt/encode.h"

#include <errno.h>
#include <stdlib.h>

int publish_frame_init(struct publish_frame *frame, const struct publish_frame_options *options)
{
    size_t topic_len = strlen(options->topic);
    uint64_t body_len = 2 + topic_len + (options->qos > 0 ? 2 : 0) + (options->version == MQTT_V5 ? 1 : 0) +
                        (uint64_t)options->payload_len;
    uint8_t *data;
    size_t at;

    memset(frame, 0, sizeof(*frame));
    if (topic_len > UINT16_MAX || body_len > MQTT_REMAINING_LENGTH_MAX)
        return -EMSGSIZE;
    data = malloc(body_len + MQTT_FIXED_HEADER_MAX);
    if (data == NULL)
        return -ENOMEM;
    data[0] = (uint8_t)(MQTT_PUBLISH << 4 | options->qos << 1 | (options->retain ? 1 : 0));
    at = 1 + mqtt_write_varint(data + 1, (uint32_t)body_len);
    data[at++] = (uint8_t)(topic_len >> 8);
    data[at++] = (uint8_t)topic_len;
    frame->topic_at = (uint32_t)at;
    memcpy(data + at, options->topic, topic_len);
    at += topic_len;
    if (options->qos > 0) {
        frame->packet_id_at = (uint32_t)at;
        at += 2;
    }
    if (options->version == MQTT_V5)
        data[at++] = 0;
    frame->payload_at = (uint32_t)at;
    if (options->payload != NULL)
        memcpy(data + at, options->payload, options->payload_len);
    else
        memset(data + at, 'x', options->payload_len);
    frame->data = data;
    frame->len = (uint32_t)(at + options->payload_len);
    frame->payload_len = options->payload_len;
    frame->qos = options->qos;
    return 0;
}

void publish_frame_fini(struct publish_frame *frame)
{
    free(frame->data);
    memset(frame, 0, sizeof(*frame));
}

void publish_frame_set_number(struct publish_frame *frame, uint32_t offset, uint32_t digit_count, uint32_t number)
{
    uint8_t *digits = frame->data + frame->topic_at + offset;

    for (uint32_t i = digit_count; i > 0; i--) {
        digits[i - 1] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
}
