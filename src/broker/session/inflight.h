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

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct message;      /* mqtt/message.h */
struct message_body; /* message_body.h */

enum inflight_state {
    INFLIGHT_FREE,         /* a hole */
    INFLIGHT_WAIT_PUBACK,  /* QoS 1 */
    INFLIGHT_WAIT_PUBREC,  /* QoS 2, first half */
    INFLIGHT_WAIT_PUBCOMP, /* QoS 2, second half: the message itself is no longer held */
    INFLIGHT_WAIT_STORE,   /* QoS 2 of a durable session: has its place, and is sent when it is on disk */
};

/* One delivery, as the subscription made it. */
struct delivery_item {
    struct message *message;
    struct message_body
        *body;         /* that its stored entry refers to, with a reference; NULL: not stored, or with a copy in it */
    uint64_t sequence; /* of its stored entry (durable.h); 0: not stored */
    uint32_t subscription_id; /* 0: none */
    uint32_t share_number;    /* of the shared subscription it came through (struct shared_target); 0: none */
    uint32_t share_hash;      /* the same as it is stored; only while it is delivered */
    uint8_t qos;              /* granted */
    bool retain;              /* RETAIN flag to send */
    bool copy;                /* message->body is not valid any more: a durable session stores a copy of its own */
    bool sent;                /* it was sent before: DUP */
};

struct inflight_entry {
    struct message *message; /* NULL in INFLIGHT_WAIT_PUBCOMP */
    uint32_t subscription_id;
    uint32_t sent_ms; /* low bits of the clock when last sent */
    uint32_t round;   /* of packet IDs, when stored: inflight_sequence() */
    uint16_t packet_id;
    uint8_t state; /* enum inflight_state */
    bool retain : 1;
    bool stored : 1;   /* it has a sequence */
    bool has_body : 1; /* message->body is what its stored entry refers to */
};
static_assert(sizeof(struct inflight_entry) == 24, "windows have many of them");

#define PACKET_ID_COUNT 65535u

/* The packet ID of a stored entry; see durable.h. */
static inline uint16_t inflight_packet_id(uint64_t sequence)
{
    return (uint16_t)((sequence - 1) % PACKET_ID_COUNT + 1);
}

/* The sequence of its stored entry; 0: none. */
static inline uint64_t inflight_sequence(const struct inflight_entry *entry)
{
    return entry->stored ? (uint64_t)entry->round * PACKET_ID_COUNT + entry->packet_id : 0;
}

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

/* Adds a delivery sent now and gives it a packet ID that is not in use, 1..65,535; one with a sequence gets that of it, which the caller knows
 * to be free. Takes the item's references. -ENOSPC: all IDs are in use; -ENOMEM: nothing was taken. */
MUST_USE int inflight_push_take(struct inflight *window, const struct delivery_item *item, uint64_t now_ms,
                                uint16_t *out_packet_id);

/* The entry with this packet ID, or NULL. Valid until the window changes. */
struct inflight_entry *inflight_find(struct inflight *window, uint16_t packet_id);

/* The item as it was pushed, but for its share; its references stay with the entry. */
struct delivery_item inflight_item(const struct inflight_entry *entry);

/* Removes an entry found before. The message it may still hold is the caller's, with the reference of its body. */
struct message *inflight_remove(struct inflight *window, struct inflight_entry *entry);

/* The entry at place `index` (0: oldest) of the `span`; its state may be INFLIGHT_FREE. */
static inline struct inflight_entry *inflight_at(struct inflight *window, uint32_t index)
{
    return &window->entries[(window->head + index) & (window->capacity - 1)];
}

#endif
