/*
 * awaiting_rel: packet IDs of QoS 2 messages that a client published and has not yet released (MQTT 5, section
 * 4.3.3, method B): while an ID is here, a PUBLISH with it is a duplicate.
 *
 * In order of arrival; clients release in that order, so the search starts at the oldest. Small sets are searched, above
 * AWAITING_REL_BITMAP_AT a bitmap of all IDs answers.
 * Belongs to one session. Thread: owner.
 */
#ifndef BROKER_SESSION_AWAITING_REL_H
#define BROKER_SESSION_AWAITING_REL_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define AWAITING_REL_BITMAP_AT 256

struct awaiting_rel {
    uint16_t *ids; /* [0, count) in order of arrival, from `head` */
    uint32_t *since_s;
    uint64_t *bitmap; /* NULL while small */
    uint32_t head;
    uint32_t count;
    uint32_t capacity;
};

/* An empty set. NULL when memory is short. */
struct awaiting_rel *awaiting_rel_new(void);
/* NULL is fine. */
void awaiting_rel_free(struct awaiting_rel *set);

/* NULL is an empty set for these. */
static inline uint32_t awaiting_rel_count(const struct awaiting_rel *set)
{
    return set == NULL ? 0 : set->count;
}
bool awaiting_rel_has(const struct awaiting_rel *set, uint16_t packet_id);
/* False when it was not there. */
bool awaiting_rel_remove(struct awaiting_rel *set, uint16_t packet_id);

/* Adds an ID that is not there, at `now_s` of the monotonic clock. -ENOMEM. */
MUST_USE int awaiting_rel_add(struct awaiting_rel *set, uint16_t packet_id, uint32_t now_s);
/* Forgets the IDs that came before `before_s`. Returns how many. */
uint32_t awaiting_rel_expire(struct awaiting_rel *set, uint32_t before_s);

#endif
