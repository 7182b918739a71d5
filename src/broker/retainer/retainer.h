/*
 * retainer: the retained message of each topic (MQTT 5, section 3.3.1.3), in memory, shared by all workers.
 *
 * Readers take no lock; writers take the lock of the topic's shard for a moment. Expired messages are not found. They go
 * when somebody meets them, at the latest by retainer_sweep(), so that they take no room from others for long.
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

/* When retainer_sweep() is to be called, on any one thread: the earliest moment at which a message may expire, in the past
 * while some may have expired already; UINT64_MAX: there is nothing to wait for. It moves to an earlier moment only by a
 * retainer_store(). Thread: any. */
uint64_t retainer_next_expiry_ms(const struct retainer *retainer);

/* Drops expired messages, looking at `limit` topics at most; several calls make a pass over all topics, which any threads
 * may share. True: the pass has not ended (or another thread is at it), call again a little later. Thread: any, online. */
MUST_USE bool retainer_sweep(struct retainer *retainer, uint32_t limit, uint64_t now_ms);

/* Number of retained messages. Thread: any. */
uint64_t retainer_count(const struct retainer *retainer);

#endif
