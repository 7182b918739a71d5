/*
 * inflight: QoS 1 and 2 messages sent to one client and not yet acknowledged (MQTT 5, section 4.3 and 4.4).
 *
 * A ring in sending order. Packet IDs are given in sequence, so an ID tells its place in the ring and an
 * acknowledgement takes constant time. Holes that acknowledgements leave are passed over from the front, or closed
 * when they are half of the ring: then an ID is found by bisection.
 * When the window is full the session queues instead (mqueue.h).
 * Belongs to one session. Thread: owner.
 */
#ifndef BROKER_SESSION_INFLIGHT_H
#define BROKER_SESSION_INFLIGHT_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct message; /* mqtt/message.h */

enum inflight_state {
    INFLIGHT_FREE,        /* a hole */
    INFLIGHT_WAIT_PUBACK, /* QoS 1 */
    INFLIGHT_WAIT_PUBREC, /* QoS 2, first half */
    INFLIGHT_WAIT_PUBCOMP /* QoS 2, second half: the message itself is no longer held */
};

/* One delivery, as the subscription made it. */
struct delivery_item {
    struct message *message;
    uint32_t subscription_id; /* 0: none */
    uint32_t share_number;    /* of the shared subscription it came through (struct shared_target); 0: none */
    uint8_t qos;              /* granted */
    bool retain;              /* RETAIN flag to send */
};

struct inflight_entry {
    struct message *message; /* NULL in INFLIGHT_WAIT_PUBCOMP */
    uint32_t subscription_id;
    uint32_t sent_ms; /* low bits of the clock when last sent */
    uint16_t packet_id;
    uint8_t state; /* enum inflight_state */
    bool retain;
};

struct inflight {
    struct inflight_entry *entries;
    uint32_t capacity; /* power of two, or 0 */
    uint32_t head;     /* place of the oldest */
    uint32_t span;     /* entries and holes */
    uint32_t count;    /* entries */
    uint16_t next_packet_id;
    bool disordered; /* an ID of the span is lower than one before it, counted from the first */
};

/* Drops all messages and frees the ring. */
void inflight_fini(struct inflight *window);

/* Adds a delivery sent now and gives it a packet ID that is not in use, 1..65,535. Takes the item's reference.
 * -ENOSPC: all IDs are in use; -ENOMEM: nothing was taken. */
MUST_USE int inflight_push_take(struct inflight *window, const struct delivery_item *item, uint64_t now_ms,
                                uint16_t *out_packet_id);

/* The entry with this packet ID, or NULL. Valid until the window changes. */
struct inflight_entry *inflight_find(struct inflight *window, uint16_t packet_id);

/* Removes an entry found before. The message it may still hold is the caller's. */
struct message *inflight_remove(struct inflight *window, struct inflight_entry *entry);

/* The entry at place `index` (0: oldest) of the `span`; its state may be INFLIGHT_FREE. */
static inline struct inflight_entry *inflight_at(struct inflight *window, uint32_t index)
{
    return &window->entries[(window->head + index) & (window->capacity - 1)];
}

#endif
