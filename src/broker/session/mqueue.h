/*
 * mqueue: messages that wait for a session to have room or a connection.
 *
 * FIFO per priority class, the highest class first. Each class is bounded by `len_max`: a message that finds its
 * class full pushes out the class's oldest one, or all expired ones if that one has expired.
 * Belongs to one session. Thread: owner.
 */
#ifndef BROKER_SESSION_MQUEUE_H
#define BROKER_SESSION_MQUEUE_H

#include "broker/session/inflight.h"

struct mqueue_class;
struct zone_session; /* broker/zone.h */

struct mqueue {
    struct mqueue_class *classes; /* highest priority first */
    uint32_t class_count;
    uint32_t count;      /* messages in all classes */
    uint32_t qos0_count; /* QoS 0 ones among them */
    uint64_t bytes;      /* of the messages, each counted whole although others may share it */
};

/* Drops all messages. */
void mqueue_fini(struct mqueue *queue);

/* Adds an item, with its reference. `*out_dropped` is what had to go for it: its message is NULL when nothing had to,
 * else the caller unrefs it. `*out_expired_count` counts expired messages that were dropped on the way. -ENOMEM: not taken. */
MUST_USE int mqueue_push_take(struct mqueue *queue, const struct zone_session *settings,
                              const struct delivery_item *item, uint64_t now_ms, struct delivery_item *out_dropped,
                              uint32_t *out_expired_count);

/* The item to go out next. False when the queue is empty. */
bool mqueue_peek(struct mqueue *queue, struct delivery_item *out_item);

/* Takes what mqueue_peek() showed; its reference is the caller's. The queue must not be empty. */
void mqueue_pop(struct mqueue *queue);

/* Takes the oldest message of the lowest class out, with its reference. The queue must not be empty. */
struct delivery_item mqueue_steal_least(struct mqueue *queue);

/* Drops expired messages. Returns how many. Takes time in proportion to the queue. */
uint32_t mqueue_purge(struct mqueue *queue, uint64_t now_ms);

#endif
