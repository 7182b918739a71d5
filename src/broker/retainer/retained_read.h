/*
 * retained_read: retained messages that are not in memory are read from the store by a job; and the wait for messages that are still
 * being loaded.
 *
 * Thread: the worker's, unless a function says otherwise.
 */
#ifndef BROKER_RETAINER_RETAINED_READ_H
#define BROKER_RETAINER_RETAINED_READ_H

#include "base/compiler.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct message;
struct retained_read;
struct retainer;
struct worker;

#define RETAINED_READ_COUNT_MAX 16    /* messages in one read */
#define RETAINED_READ_BYTES_MAX 65536 /* of payload, after which a read takes no further message */
#define RETAINED_READS_OF_WORKER 2    /* at once; others wait for their turn */

/* Must the store be read to get the payload of this message, which came from retainer_match_slice()? Thread: any. */
bool retained_is_on_disk(const struct message *message);

/* On the worker, when the read has ended. */
typedef void retained_read_fn(struct worker *worker, void *context, struct retained_read *read);

/* Reads what `wanted` stand for (1..RETAINED_READ_COUNT_MAX; borrowed): all, or as many from the front as RETAINED_READ_BYTES_MAX allow, but one at
 * least. Calls `done` once, never from within; the read is freed after it. NULL: short of memory. */
MUST_USE struct retained_read *retained_read_start(struct retainer *retainer, struct worker *worker,
                                                   struct message *const *wanted, uint32_t count,
                                                   retained_read_fn *done, void *context);
/* Nobody wants it any more: `done` is not called. NULL is fine. */
void retained_read_cancel(struct retained_read *read);

/* In `done`: of how many it knows, from the front, what became of them. */
uint32_t retained_read_count(const struct retained_read *read);
struct message *retained_read_wanted(const struct retained_read *read, uint32_t index);
/* The message with its payload, once, with a reference; NULL: there is none any more, it has expired, or it cannot be read (which has been
 * logged). */
struct message *retained_read_steal(struct retained_read *read, uint32_t index);

/* Embedded in who waits for the loading to go on. */
struct retained_waiter {
    struct list list;
    void (*wake)(struct worker *worker, struct retained_waiter *waiter);
};
static inline void retained_waiter_init(struct retained_waiter *waiter,
                                        void (*wake)(struct worker *worker, struct retained_waiter *waiter))
{
    list_init(&waiter->list);
    waiter->wake = wake;
}

/* Rises when more has been loaded. Take it before what comes out as RETAINER_NOT_YET. Thread: any. */
uint64_t retained_load_version(const struct retainer *retainer);
/* Calls `wake` once, when more has been loaded than at `version`. False: it has been, nothing waits. Waiting already is fine. */
MUST_USE bool retained_wait(struct retainer *retainer, struct worker *worker, struct retained_waiter *waiter,
                            uint64_t version);
/* Not waiting is fine. */
static inline void retained_wait_cancel(struct retained_waiter *waiter)
{
    list_remove(&waiter->list);
}

#endif
