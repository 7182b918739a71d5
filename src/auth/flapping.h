/*
 * flapping: who connects and disconnects all the time.
 *
 * Events of a client ID are counted as long as each comes within the threshold's period of the one before; more than the threshold's
 * count are flapping: then it is barred, until somebody who has banned it lifts that. Only clients that were accepted count (so nobody gets another client banned
 * without being let in as that client).
 *
 * A fixed number of records, made when first used (FLAPPING_RECORDS_MAX, 32 bytes each): a further client takes the place of the one that had its last event
 * longest ago. Sharded by the client ID's hash, each shard with a lock that is held for some tens of nanoseconds; only zones with
 * enable_flapping_detect come here. Pure but for its locks. Thread: any, unless a function says otherwise.
 */
#ifndef AUTH_FLAPPING_H
#define AUTH_FLAPPING_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct flapping;

#define FLAPPING_RECORDS_MAX 131072u

enum flapping_event { FLAPPING_CONNECT, FLAPPING_DISCONNECT };

/* zone.$name.flapping_threshold: more than `count` events, none later than `period_ms` after the one before. */
struct flapping_threshold {
    uint32_t count;
    uint64_t period_ms;
};

/* NULL when memory is short. */
struct flapping *flapping_new(void);
/* NULL is fine. */
void flapping_free(struct flapping *flapping);

/* An event at `now_ms` of a monotonic clock. True: the client is flapping as of this event, and barred. Of a barred one nothing is counted. Short
 * memory: likewise. */
bool flapping_note(struct flapping *flapping, struct slice client_id, enum flapping_event event,
                   struct flapping_threshold threshold, uint64_t now_ms);

/* Is it barred? */
bool flapping_bars(struct flapping *flapping, struct slice client_id);
/* It is not barred any more; the counting starts anew. */
void flapping_lift(struct flapping *flapping, struct slice client_id);

/* Forgets the records whose period is over. A shard at a time, so nobody waits long. */
void flapping_clean(struct flapping *flapping, uint64_t now_ms);
/* Records in use. */
uint32_t flapping_count(struct flapping *flapping);

#endif
