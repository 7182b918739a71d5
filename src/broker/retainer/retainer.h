/*
 * retainer: the retained message of each topic (MQTT 5, section 3.3.1.3), in memory, shared by all workers; with a store also on disk.
 *
 * Readers take no lock; writers take the lock of the topic's shard for a moment. Expired messages are not found. They go
 * when somebody meets them, at the latest by retainer_sweep(), so that they take no room from others for long. A message without an interval of its
 * own has the one of the settings, if there is one: reckoned from its publishing by what is set now, also for what is there already.
 *
 * With a store (retainer_open()) each change is written with the topic's lock held, so disk and memory agree on who was last; what was
 * stored is loaded at the start while the workers run (retained_load.c); and large payloads are on disk only: a match then gives
 * a message without payload, to be read by a job (retained_read.h).
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
struct store;
struct worker;
struct worker_pool;

struct retainer_options {
    uint64_t count_max;             /* messages; 0: no limit */
    uint64_t payload_max;           /* bytes of each payload; 0: no limit */
    uint64_t payload_in_memory_max; /* a larger payload is on disk only, if it is stored */
};

/* What may change while it is in use (the plugin emqx_retainer). */
enum retainer_mode {
    RETAINER_STORES, /* messages are kept, and stored if there is a store */
    RETAINER_MEMORY, /* kept, not stored: what was stored of a topic goes when it gets another message */
    RETAINER_OFF,    /* nothing is kept and nothing is found; what is there stays, but empty payloads remove theirs */
};
struct retainer_settings {
    enum retainer_mode mode;
    uint64_t count_max;   /* as in struct retainer_options */
    uint64_t payload_max; /* likewise */
    uint64_t
        expiry_ms; /* from a message's publishing until it expires, if it has no interval of its own; never those of $SYS; 0: never */
};

/* In memory only. Mode RETAINER_STORES, no expiry_ms. NULL when memory is short. Thread: start-up. */
struct retainer *retainer_new(const struct retainer_options *options);
/* After retainer_close(), and after worker_pool_free(). Thread: shutdown. NULL is fine. */
void retainer_free(struct retainer *retainer);

/* From now on messages are stored; begins to load those that are. `on_loaded` (may be NULL) runs on the pool's first worker when all have been.
 * No store: nothing. -ENOMEM, -errno. Thread: start-up, before the workers' threads run. */
MUST_USE int retainer_open(struct retainer *retainer, struct store *store, struct worker_pool *pool,
                           void (*on_loaded)(struct worker *worker));
/* Ends the loading and waits for reads under way; submits what was written. Nothing may be stored or matched after it. Without a
 * store: nothing. Thread: control (online), between worker_pool_drain() and worker_pool_free(), before store_close(). */
void retainer_close(struct retainer *retainer);

/* From now on; a message that is being stored meanwhile goes by the old or the new. When `expiry_ms` gets another value a sweep is due at once
 * (retainer_next_expiry_ms()). Thread: control. */
void retainer_change(struct retainer *retainer, const struct retainer_settings *settings);
/* Only the mode. Thread: control. */
void retainer_set_mode(struct retainer *retainer, enum retainer_mode mode);
/* Will a message that comes now be stored? Thread: any; of the moment. */
bool retainer_stores(const struct retainer *retainer);
/* May this message, which was just kept, expire? Thread: any; of the moment. */
bool retainer_expires(const struct retainer *retainer, const struct message *message);

enum retainer_result {
    RETAINER_KEPT,    /* done, nothing to wait for */
    RETAINER_WRITTEN, /* done, and written: an acknowledgement waits until it is on disk (retainer_submit()) */
    RETAINER_QUOTA,   /* not kept: over a limit. Logged */
    RETAINER_FAILED,  /* not kept: short of memory. Logged */
};

/* Keeps a reference to the message as its topic's retained one; an empty payload removes it [MQTT-3.3.1-6]. Over a limit
 * it is not kept and the log says so. `durable`: it is stored, too, if there is a store, unless it is the broker's own ($SYS); else a
 * stored one of the topic is deleted. While the store is congested a message of QoS 0 stays in memory only, which is counted.
 * Thread: any, online. */
enum retainer_result retainer_store(struct retainer *retainer, struct message *message, bool durable);

/* Where a match goes on. All zero at the beginning. */
struct retainer_position {
    struct retained_cursor cursor;
};

/* Removes the messages of topics that match the filter (an empty one: of all topics), looking at `limit` topics at most, and adds their number to
 * `*count`. What was stored of them is deleted with the batch that the next retainer_submit() hands over. Not while messages are being loaded
 * (retainer_is_loading()). 1: there may be more, call again; 0: the end; -ENOMEM: the end, not all were removed. Thread: any, online. */
MUST_USE int retainer_clean_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                                  uint32_t limit, uint64_t now_ms, uint64_t *count);
/* The same without removing: calls `visit` for each. Expired ones are passed over, as in retainer_match_slice(). */
MUST_USE int retainer_visit_slice(struct retainer *retainer, struct slice filter, struct retainer_position *position,
                                  uint32_t limit, uint64_t now_ms,
                                  void (*visit)(void *context, struct message *message), void *context);
/* Are stored messages still being loaded? Thread: any, online. */
bool retainer_is_loading(const struct retainer *retainer);

/* Hands over to the store what all threads have written until now; `sync` as in store_submit(). Who got RETAINER_WRITTEN in this turn calls it at its end and
 * then submits its own batch, which may be empty: when that is committed, what the retainer wrote is, too, whoever submitted it. True:
 * something was submitted. A load when there is nothing. Thread: any. */
bool retainer_submit(struct retainer *retainer, bool sync);

/* Needed only when a match is given up before its end. */
void retainer_position_fini(struct retainer_position *position);

#define RETAINER_NOT_YET 2

/* Calls `visit` for retained messages that match the (valid) filter and have not expired, looking at `limit` topics at most;
 * the message is borrowed for the call; if retained_is_on_disk() it only stands for its topic. 1: there may be more, call again;
 * RETAINER_NOT_YET: call again when more has been loaded (retained_wait()); 0: the end; -ENOMEM: the end, but something was missed.
 * What is there from the first call to the last is visited exactly once. Thread: any, online. */
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

/* Is there nothing to be found (also as it is off), nor being loaded? Thread: any, online. */
bool retainer_is_empty(const struct retainer *retainer);
/* Number of retained messages loaded. Thread: any. */
uint64_t retainer_count(const struct retainer *retainer);

#endif
