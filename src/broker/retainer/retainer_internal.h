/*
 * retainer_internal: what the files of the retainer share.
 *
 * A message whose payload is on disk only stands in the index as a *stub*: a message with no payload, which a retained message never has
 * [MQTT-3.3.1-6], and no more than what a match needs.
 */
#ifndef BROKER_RETAINER_RETAINER_INTERNAL_H
#define BROKER_RETAINER_RETAINER_INTERNAL_H

#include "base/list.h"
#include "broker/retainer/retained_index.h"
#include "broker/retainer/retained_rows_internal.h"
#include "broker/retainer/retainer.h"
#include "event/mailbox.h"
#include "event/worker.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"

#include <pthread.h>
#include <stdatomic.h>

/* How far the loading has come, in the index's order. Immutable; RCU_READ(). */
struct retained_frontier {
    bool all; /* everything is loaded */
    size_t topic_len;
    uint8_t topic[]; /* the last one that was; none at the beginning */
};

struct retained_loader {
    pthread_t thread;
    bool running; /* the thread is to be joined */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* under the lock */
    struct retained_frontier *frontier;
    _Atomic uint64_t version; /* rises with each step of the frontier, after it */
    _Atomic bool gap;         /* rows could not be read: what is not in memory may still be stored */
    struct post done;         /* to the first worker */
    void (*on_loaded)(struct worker *worker);
};

enum desk_state { DESK_IDLE, DESK_WANTED, DESK_POSTED };

/* What one worker's sessions wait for. Thread: its worker, but for `state`. */
struct retained_desk {
    struct retainer *retainer;
    struct worker *worker;
    struct list waiters;  /* struct retained_waiter: for the loading to go on */
    struct post post;     /* by the loader, while the state is DESK_POSTED */
    _Atomic int state;    /* enum desk_state */
    struct list reads;    /* struct retained_read: wait for their turn */
    uint32_t reads_begun; /* in libuv's pool */
    struct work work;     /* begins reads */
};

struct retainer {
    struct retained_index *index;
    _Atomic int mode; /* enum retainer_mode; what is loaded first when a message comes */
    _Atomic uint64_t payload_max;
    _Atomic uint64_t default_expiry_ms; /* 0: none */
    uint64_t payload_in_memory_max;
    _Atomic uint64_t next_expiry_ms; /* none expires earlier but those that the pass under way has yet to meet */
    pthread_mutex_t sweep_lock;      /* of the two below; only ever tried */
    struct retainer_position sweep_position;
    bool sweep_begun;
    struct retained_rows rows;
    struct retained_loader loader;
    struct retained_desk desks[WORKER_COUNT_MAX];
};

/* ---- retainer.c ---- */

static inline bool retained_is_stub(const struct message *message)
{
    return message->payload_len == 0;
}

void retainer_count_change(int64_t change);
/* The first moment at which the message is expired, by its own interval or the default; UINT64_MAX: never. */
uint64_t retained_expires_ms(const struct retainer *retainer, const struct message *message);
/* Makes sure that a sweep begins at `expires_ms` or before. */
void retainer_expect_expiry(struct retainer *retainer, uint64_t expires_ms);
/* Of a stored row, what the index is to hold: the message or its stub. NULL: short of memory, or `*out_expired`. */
struct message *retainer_restore(const struct retainer *retainer, const struct message_record *record, bool whole,
                                 bool *out_expired);
/* Reads a row whose key is that of the record's topic. -EBADMSG. Thread: any. */
MUST_USE int retained_row_decode(struct slice key, struct slice value, struct message_record *out_record);

/* ---- retained_load.c ---- */

void retained_loader_init(struct retained_loader *loader);
/* 0, -errno. Thread: start-up. */
MUST_USE int retained_loader_start(struct retainer *retainer);
/* Ends the thread, also before everything is loaded. Thread: shutdown. */
void retained_loader_stop(struct retainer *retainer);
void retained_loader_fini(struct retained_loader *loader);

/* The last topic that was loaded (empty: none yet) in `*out_last`, valid until the next quiescent state; false: all are.
 * Thread: any, online. */
bool retained_loading(const struct retainer *retainer, struct slice *out_last);
/* May there be a row of this topic that has not been loaded? With its lock held the answer stays. Thread: any, online. */
bool retained_may_be_unloaded(const struct retainer *retainer, struct slice topic);

/* ---- retained_read.c ---- */

void retained_desk_init(struct retainer *retainer, struct worker *worker);
/* Waits for the reads under way. Thread: control, the workers' threads have ended. */
void retained_desk_finish(struct retained_desk *desk);
/* Wakes who waits for the loading to go on. Thread: loader. */
void retained_desk_wake(struct retained_desk *desk);

#endif
