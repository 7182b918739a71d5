/*
 * publish_frame: a PUBLISH encoded once and sent many times; only identifier, stamp and (optionally) the digits of a
 * number in the topic change. Thread: owner.
 */
#ifndef BENCH_PUBLISH_FRAME_H
#define BENCH_PUBLISH_FRAME_H

#include "client.h"
#include "stamp.h"

struct publish_frame_options {
    const char *topic;
    const uint8_t *payload; /* NULL: bytes of 'x' */
    uint32_t payload_len;
    enum mqtt_version version;
    uint8_t qos;
    bool retain;
};

struct publish_frame {
    uint8_t *data;
    uint32_t len;
    uint32_t topic_at;     /* offset of the topic's first byte */
    uint32_t packet_id_at; /* offset of the identifier; 0 at QoS 0 */
    uint32_t payload_at;
    uint32_t payload_len;
    uint8_t qos;
};

/* Encodes the packet. Returns 0, -EMSGSIZE (over 256 MiB, or a topic over 65,535 bytes) or -ENOMEM. */
int publish_frame_init(struct publish_frame *frame, const struct publish_frame_options *options);
/* Zeroed storage is fine. */
void publish_frame_fini(struct publish_frame *frame);

/* Writes the decimal digits of `number` over `digit_count` bytes of the topic from `offset` on. */
void publish_frame_set_number(struct publish_frame *frame, uint32_t offset, uint32_t digit_count, uint32_t number);

/* Adds the packet to the client's output. At QoS 1 and 2 the client's window must not be full. `stamp` NULL: the
 * payload is sent as it is. `now_ns` is kept for on_released. */
static inline void publish_frame_send(const struct publish_frame *frame, struct client *client,
                                      const struct stamp *stamp, uint64_t now_ns)
{
    uint8_t *out = buffer_reserve(&client->out, frame->len);

    memcpy(out, frame->data, frame->len);
    if (frame->qos > 0) {
        uint16_t id = packet_ids_take(&client->ids, frame->qos, now_ns);
        out[frame->packet_id_at] = (uint8_t)(id >> 8);
        out[frame->packet_id_at + 1] = (uint8_t)id;
    }
    if (stamp != NULL)
        stamp_write(out + frame->payload_at, *stamp);
    buffer_commit(&client->out, frame->len);
    client_mark_dirty(client);
}

#endif
