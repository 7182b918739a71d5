/*
 * delayed_internal: what the delayed_*.c files share.
 */
#ifndef BROKER_DELAYED_INTERNAL_H
#define BROKER_DELAYED_INTERNAL_H

#include "broker/broker.h"
#include "broker/commit.h"
#include "broker/delayed.h"
#include "event/mailbox.h"
#include "mqtt/message.h"
#include "store/store.h"

#define DELAYED_KEY_BYTES 16u
#define DELAYED_DUE_SLICE 128u /* published in one turn; the rest in the next */

/* A message that is not kept: in memory until the batch with its row is written. */
struct delayed_fresh {
    struct delayed_fresh *next;
    struct delayed_key key;
    uint64_t batch;
};

struct delayed_read; /* delayed_due.c: a job */

/* One worker's share. Thread: owner. */
struct delayed_worker {
    struct broker_worker *worker;
    struct delayed_queue queue;
    struct timer timer;
    struct work work;             /* goes on with what is due */
    struct mailbox_waiter waiter; /* a worker's mailbox is full */
    struct post switched;         /* by delayed_switch(), while ... */
    _Atomic bool switch_posted;
    bool waiting;
    uint64_t not_before_ms; /* CLOCK_MONOTONIC: nothing is tried until then */
    struct delayed_read *reading;
    struct delayed_fresh *fresh; /* oldest first */
    struct delayed_fresh **fresh_tail;
};

struct delayed {
    struct broker *broker;
    struct delayed_settings settings;
    _Atomic bool stopping;
    _Atomic bool off; /* as settings.off at first */
    _Atomic uint64_t count;
    _Atomic uint64_t memory_bytes;   /* of messages that are kept */
    _Atomic uint64_t last_number;    /* without a store */
    struct delayed_worker workers[]; /* settings.worker_count of the broker */
};

static inline struct delayed_worker *delayed_worker_of(struct broker_worker *worker)
{
    return &worker->broker->delayed->workers[worker_index(worker->host.worker)];
}

/* The clock of due times, at CLOCK_MONOTONIC `mono_ms`. */
uint64_t delayed_time_ms(const struct broker_worker *worker, uint64_t mono_ms);

void delayed_encode_key(struct delayed_key key, uint8_t out[DELAYED_KEY_BYTES]);
/* `key` has DELAYED_KEY_BYTES. */
struct delayed_key delayed_decode_key(const uint8_t *key);

/* Counts `bytes` more of memory in use; false: that would be too much. */
bool delayed_reserve(struct delayed *delayed, uint64_t bytes);
/* A new entry, counted and in the queue. NULL: short memory. */
struct delayed_entry *delayed_enqueue(struct delayed_worker *here, struct delayed_key key, uint32_t payload_len);
/* Takes the entry out of the queue and the counts, and frees it. Its message is the caller's to unref. */
struct message *delayed_dequeue(struct delayed_worker *here, struct delayed_entry *entry);
/* Sets the timer for what is first, unless something else will go on with it. */
void delayed_schedule(struct delayed_worker *here);
/* Deletes the row with the worker's open batch. */
void delayed_delete_row(struct delayed_worker *here, struct delayed_key key);
/* Sets up what runs when messages are due. */
void delayed_due_init(struct delayed_worker *here);
/* Waits for the job under way, if there is one. */
void delayed_due_fini(struct delayed_worker *here);

#endif
