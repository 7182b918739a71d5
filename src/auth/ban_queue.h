/*
 * ban_queue: bans by the time of their end, the next one first: a binary heap.
 *
 * A ban is in at most one queue. Bounded by who fills it. Thread: one at a time.
 */
#ifndef AUTH_BAN_QUEUE_H
#define AUTH_BAN_QUEUE_H

#include "base/compiler.h"

#include <stdint.h>

struct ban;

/* All zero: empty. */
struct ban_queue {
    struct ban **bans; /* from 1 on: bans[0] is not used */
    uint32_t count;
    uint32_t capacity;
};

/* Frees the queue's own memory. */
void ban_queue_fini(struct ban_queue *queue);
/* Of the ban, until_s is looked at. -ENOMEM. */
MUST_USE int ban_queue_push(struct ban_queue *queue, struct ban *ban);
/* Takes it out; one that is in no queue is fine. */
void ban_queue_remove(struct ban_queue *queue, struct ban *ban);
/* The one that ends first; NULL: none. */
struct ban *ban_queue_first(const struct ban_queue *queue);

#endif
