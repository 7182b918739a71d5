/*
 * retainer: the retained message of each topic (MQTT 5, section 3.3.1.3), in memory, shared by all workers.
 *
 * Readers take no lock; writers take the lock of the topic's shard for a moment. Expired messages are not
 * found and go when somebody meets them.
 */
#ifndef BROKER_RETAINER_RETAINER_H
#define BROKER_RETAINER_RETAINER_H

#include "base/compiler.h"
#include "base/slice.h"
#include "broker/retainer/retained_index.h"

#include <stdbool.h>
#include <stdint.h>

struct retainer;
struct message;

/* `count_max` messages and `payload_max` bytes of payload each; 0: no limit. NULL when memory is short. Thread: start-up. */
struct retainer *retainer_new(uint64_t count_max, uint64_t payload_max);
/* Thread: shutdown. NULL is fine. */
void retainer_free(struct retainer *retainer);

/* Keeps a reference to the message as its topic's retained one; an empty payload removes it [MQTT-3.3.1-6]. Over a limit
 * it is not kept and the log says so. Thread: any, online. */
void retainer_store(struct retainer *retainer, struct message *message);

/* Where a match goes on. All zero at the beginning. */
struct retainer_position {
    struct retained_cursor cursor;
};

/* Needed only when a match is given up before its end. */
void retainer_position_fini(struct retainer_position *position);

/* Calls `visit` for retained messages that match the (valid) filter and have not expired, looking at `limit` topics at most;
 * the message is borrowed for the call. 1: there may be more, call again; 0: the end; -ENOMEM: the end, but something
 * was missed. Thread: any, online. */
MUST_USE int retainer_match_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                                  uint32_t limit, uint64_t now_ms,
                                  void (*visit)(void *context, struct message *message), void *context);

/* Number of retained messages. Thread: any. */
uint64_t retainer_count(const struct retainer *retainer);

#endif
