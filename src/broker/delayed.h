/*
 * delayed: messages published to $delayed/SECONDS/TOPIC, kept until their time and published to TOPIC then.
 *
 * A message belongs to the worker on which it was published, which keeps what waits in order of (due, number) (delayed_queue.h)
 * and has one timer, for the earliest. Due times are the store's clock (store/store.h), so they go on over restarts and do not move when
 * somebody sets the wall clock.
 *
 *   delayed_add_take() ──► STORE_DELAYED put, in the turn's batch ──► ack when the turn is released
 *                    └──► waits: 48 bytes, and the message unless the store has it and it is large or much is waiting
 *   due ──► (read by a job) ──► broker_publish_take() ──► turn settled (broker/commit.h) ──► STORE_DELAYED delete
 *
 * Memory. Messages with a payload over DELAYED_IN_MEMORY_MAX, and all of them once `memory_max` bytes are in use, stay in the store only
 * and are read back when they are due: 100,000 of them with a payload of 1 MB wait in a few megabytes. What is not stored
 * (durability none) has to be in memory and is refused beyond `memory_max`.
 *
 * Crashes. A row goes only when the turn that published its message is settled: the batches with what subscribers' sessions keep of it are
 * submitted then, and so are on disk before the delete is. So a stored message is never lost, and a crash between the two publishes it again after the
 * restart: QoS 1 at least once. QoS 2: the delete is in the batch with the message's body, without which the entries in the sessions' queues are as if
 * they had never been (commit.h): durable sessions get it exactly once. QoS 0: the row goes in the turn that publishes it.
 *
 * Expiry counts from the original publish; a message that has expired when it is due is dropped. Order: by due time, then as
 * published, for each worker.
 * Thread: the worker's, unless a function says otherwise.
 */
#ifndef BROKER_DELAYED_H
#define BROKER_DELAYED_H

#include "base/compiler.h"
#include "base/slice.h"
#include "broker/delayed_queue.h"

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct broker_worker;
struct delayed;
struct message;
struct store;

/* Numbers from here on are an absolute time in seconds since 1970; also the longest delay in seconds. */
#define DELAYED_SECONDS_MAX 4294967u
/* Bytes of payload from which on a stored message is not kept in memory. */
#define DELAYED_IN_MEMORY_MAX 4096u

enum delayed_result {
    DELAYED_NOT,       /* does not begin with $delayed/: publish it as it is */
    DELAYED_FINE,      /* wait, then publish it to the inner topic */
    DELAYED_MALFORMED, /* no number, too far ahead, or what follows is no topic name (or another $delayed/): 0x90 */
};

/* Is the topic for delayed_parse() at all? */
static inline bool delayed_is(struct slice topic)
{
    return UNLIKELY(topic.len > 0 && topic.data[0] == '$') && slice_starts_with(topic, SLICE_LITERAL("$delayed/"));
}

/* Takes a topic name apart. `wall_ms`: milliseconds since 1970. `*out_delay_ms`: 0 to 4,294,967,000, 0 for times past;
 * `*out_topic` points into `topic`. Pure. Thread: any. */
enum delayed_result delayed_parse(struct slice topic, uint64_t wall_ms, uint64_t *out_delay_ms,
                                  struct slice *out_topic);

struct delayed_settings {
    uint64_t max_messages; /* of all workers; 0: unlimited */
    uint64_t max_payload;  /* bytes; 0: unlimited */
    uint64_t memory_max;   /* bytes of messages kept in memory, of all workers */
    bool off;              /* until delayed_switch() */
};

/* Sets broker->delayed. After the workers were made, before they run. -ENOMEM. Thread: start-up. */
MUST_USE int delayed_new(struct broker *broker, const struct delayed_settings *settings);
/* Off: nothing is published and no timer runs, what waits goes on waiting, and topics that begin with $delayed/ are like any others; on: what became
 * due meanwhile is sent. Thread: control, the workers have been made. */
void delayed_switch(struct delayed *delayed, bool on);
/* Are topics that begin with $delayed/ (delayed_is()) taken apart? Thread: any; of the moment. */
bool delayed_is_on(const struct delayed *delayed);
/* Is this one that waits? Thread: any. */
static inline bool delayed_takes(const struct delayed *delayed, struct slice topic)
{
    return UNLIKELY(delayed_is(topic)) && delayed_is_on(delayed);
}
/* From now on nothing is published: whoever comes due while the broker stops is sent after the next start, to clients that are there
 * again. Thread: any. */
void delayed_stop(struct delayed *delayed);
/* Waits for the job under way. What waits stays in the store. NULL is fine. Thread: control, after worker_pool_stop() and before
 * store_close(). */
void delayed_free(struct delayed *delayed);
/* Reads what the store has and shares it out among the workers, overdue ones too: those leave in their first turns. After the sessions are
 * there, before the workers run. -EIO, -ENOMEM. Thread: start-up. */
MUST_USE int delayed_restore(struct broker *broker);

/* Keeps a message (its topic is the real one) and publishes it `delay_ms` after this turn's time. Takes the reference, whatever comes
 * of it. `stored`: it is written into the worker's open batch, if there is a store. -ENOSPC: a limit was reached (0x97); -ENOMEM. */
MUST_USE int delayed_add_take(struct broker_worker *worker, struct message *message, uint64_t delay_ms, bool stored);

/* The same for a message that still has its $delayed/ topic, as wills have (the mount point stands before the inner topic then). It is
 * stored unless the store is in trouble. Borrows the reference. What is malformed or over a limit is dropped and counted. */
void delayed_add_whole(struct broker_worker *worker, const struct message *message);

/* store_committed() of the worker's client has moved: memory of messages that are now in the store goes. */
void delayed_on_committed(struct broker_worker *worker);

/* What waits on this worker from behind `*cursor` on (zero: from the first on), at most `limit` of them, in order. Entries are borrowed for the
 * call. True: there are more; `*cursor` is then where to go on, also in a later turn. */
typedef void delayed_visit_fn(void *context, const struct delayed_entry *entry);
bool delayed_visit(struct broker_worker *worker, struct delayed_key *cursor, uint32_t limit, delayed_visit_fn *visit,
                   void *context);

/* Forgets the message with that number if it is among the next `limit` from behind `*cursor` on, in the store too (with the turn's batch).
 * 1: done; 0: it does not wait here; -EAGAIN: not among these, go on at `*cursor`. */
int delayed_delete(struct broker_worker *worker, uint64_t number, struct delayed_key *cursor, uint32_t limit);

/* The record (mqtt/message_record.h) of a message in the store. As store_get(). Blocks. Thread: job. */
MUST_USE int delayed_read_record(struct store *store, struct delayed_key key, struct slice *out_record);

struct delayed_figures {
    struct delayed_settings settings;
    uint64_t count;
    uint64_t memory_bytes;
};

/* Of the moment. Thread: any. */
struct delayed_figures delayed_figures(const struct delayed *delayed);

/* The clock of due times now. Thread: any. */
uint64_t delayed_now_ms(const struct broker *broker);

#endif
