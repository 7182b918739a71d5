/*
 * mqueue: messages that wait for a session to have room or a connection.
 *
 * FIFO per priority class, the highest class first. Each class is bounded by `len_max`: a message that finds its
 * class full pushes out the class's oldest one, or all expired ones if that one has expired.
 *
 * Entries of a durable session have a sequence: they are stored, and once that is on disk their message may leave the
 * memory (mqueue_page_out()). The small record that stays says whether it is there; those of a class lie like this:
 *
 *   sent before, back in front ─► waiting, in memory ─► on disk only ─► in memory, not settled: not on disk yet
 *   0 .. sent_count               .. near               .. settled      .. count
 *
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
    uint64_t bytes;      /* of the messages in memory, each counted whole although others may share it */
    /* Called for an item with a sequence that goes without having been sent, before its message goes. NULL: none has a sequence. */
    void (*forget)(struct mqueue *queue, const struct delivery_item *item);
};

/* Drops all messages; references of bodies are the caller's to drop before (mqueue_pop()), nothing is forgotten. */
void mqueue_fini(struct mqueue *queue);

/* The class of a message. */
uint16_t mqueue_priority(const struct zone_session *settings, const struct message *message);

/* Adds an item, with its reference. `*out_dropped` is what had to go for it: its message is NULL and its sequence 0 when
 * nothing had to, else the caller unrefs it and forgets it (its message is NULL, too, when it is on disk only).
 * `*out_expired_count` counts expired messages that were dropped on the way. -ENOMEM: not taken. */
MUST_USE int mqueue_push_take(struct mqueue *queue, const struct zone_session *settings,
                              const struct delivery_item *item, uint64_t now_ms, struct delivery_item *out_dropped,
                              uint32_t *out_expired_count);

/* Puts an item that was in flight back, before all others of its class; it is not counted in the limit and not pushed out
 * when `item->sent`. Takes its reference. -ENOMEM: not taken. */
MUST_USE int mqueue_push_front_take(struct mqueue *queue, const struct zone_session *settings,
                                    const struct delivery_item *item);

/* Adds an item that is on disk only (message NULL) at the end of its class; takes its reference of the body. Limits are not
 * looked at. Sent ones come first in each class. -ENOMEM: not taken. */
MUST_USE int mqueue_restore_take(struct mqueue *queue, uint16_t priority, const struct delivery_item *item);

/* The item to go out next. False when the queue is empty. Its message is NULL when it is on disk only. */
bool mqueue_peek(struct mqueue *queue, struct delivery_item *out_item);

/* Takes what mqueue_peek() showed; its reference, and that of its body, are the caller's. The queue must not be empty. */
void mqueue_pop(struct mqueue *queue);

/* Takes the oldest message of the lowest class out, with its reference. The queue must not be empty. */
struct delivery_item mqueue_steal_least(struct mqueue *queue);

/* Drops expired messages that are in memory and were never sent. Returns how many. Takes time in proportion to the queue. */
uint32_t mqueue_purge(struct mqueue *queue, uint64_t now_ms);

/* ---- durable sessions ---- */

/* Gives a sequence to each item of QoS 1 and 2 that has none, in their order. */
typedef uint64_t mqueue_store_fn(void *context, const struct delivery_item *item, uint16_t priority);
void mqueue_store_all(struct mqueue *queue, mqueue_store_fn *store, void *context);

struct mqueue_paging {
    uint64_t committed_through; /* entries up to this sequence are on disk */
    uint64_t keep_bytes;        /* over so many in memory nothing more is kept but the first of each class */
    uint32_t keep_count;        /* so many of each class stay in memory */
    bool again;                 /* looks at what was kept in memory earlier, too: less is to be kept now */
};
/* Drops messages that are on disk and not wanted soon. True: some wait for their message's store_state. Takes time in proportion to
 * what came since the last call, or with `again` to what is in memory. */
bool mqueue_page_out(struct mqueue *queue, const struct mqueue_paging *paging);

enum mqueue_loaded_kind {
    MQUEUE_NOT_READ, /* yet: stays on disk only */
    MQUEUE_READ,
    MQUEUE_EXPIRED,
    MQUEUE_LOST, /* can't be read: leaves the queue, not the disk */
};
/* An entry that is, or was, on disk only. */
struct mqueue_loaded {
    uint64_t sequence;
    struct message *message; /* with MQUEUE_READ */
    enum mqueue_loaded_kind kind;
    bool sent; /* before: its expiry interval does not matter any more [MQTT-4.3.3-7] */
};
/* The entries to read next, at most `max`, all of one class `*out_priority`, in their order: when fewer than `ahead` are in memory before them.
 * 0: nothing need be read. */
uint32_t mqueue_wanted(const struct mqueue *queue, uint32_t ahead, struct mqueue_loaded *out_items, uint32_t max,
                       uint16_t *out_priority);
/* Takes what was read for mqueue_wanted(), with references; entries that have gone meanwhile are passed over. Returns the bytes that came
 * into memory; `*out_expired_count`, `*out_lost_count`. */
uint64_t mqueue_fill_take(struct mqueue *queue, uint16_t priority, struct mqueue_loaded *items, uint32_t count,
                          uint32_t *out_expired_count, uint32_t *out_lost_count);

enum mqueue_trim {
    MQUEUE_TRIM_FREE, /* where at least half of the places are free: what is copied is worth it */
    MQUEUE_TRIM_ALL,
};
/* Gives back the memory of free places, as far as there is memory to do it. */
void mqueue_trim(struct mqueue *queue, enum mqueue_trim trim);

#endif
