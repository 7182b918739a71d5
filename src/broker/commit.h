/*
 * commit: what a worker has promised in a turn, and the moment at which that is on disk.
 *
 * An acknowledgement (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, CONNACK) that promises something durable leaves when its turn is
 * released. All workers' batches take effect in the order in which they were submitted (store/store.h), so a batch that is submitted after
 * the others have submitted what they were handed is on disk only when that is, too:
 *
 *   A's turn ─► deliveries ─► B: entries, B's batch submitted ─┐
 *       └─ marker, behind the deliveries to each such B ───────┴─► the turn is settled ──► A's batch submitted ──► on disk ──► released
 *
 * B answers a marker when it has submitted, and waits for nobody, so there is no circle of workers that wait. Who hands a message on to C while it takes it
 * in sends C a marker of the same turn first. Turns are settled, and released, in order.
 *
 * QoS 2 needs more: a crash must find either all of (entries in the queues, the publisher's packet ID) or none. So where other workers have part in it
 * the entries refer to the message's body (session/message_body.h), which A writes, together with the packet ID, when the turn is settled:
 * entries without a body are as if they had never been. The message may be sent when that is on disk (store_state).
 *
 * A turn in which nobody waits has no number and costs nothing.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_COMMIT_H
#define BROKER_COMMIT_H

#include "base/compiler.h"
#include "base/list.h"
#include "broker/session/session_host.h"

#include <stdbool.h>
#include <stdint.h>

struct broker_worker;
struct commit;
struct commit_turn;
struct message;
struct message_body;
struct session;
struct worker;

/* -ENOMEM. Thread: start-up. */
MUST_USE int commit_new(struct broker_worker *worker, struct commit **out_commit);
/* What waits is forgotten. NULL is fine. Thread: control, after the last worker_pool_drain(). */
void commit_free(struct commit *commit);

/* Rises whenever this worker puts something durable into its open batch or hands it to another worker that will: when it is the same before and
 * after something was done, there is nothing to wait for. */
uint64_t commit_mark(const struct broker_worker *worker);

/* Embedded in what waits for a turn. */
struct commit_wait {
    struct list place;
    uint64_t turn; /* its number */
    void (*run)(struct broker_worker *worker, struct commit_wait *wait);
    /* Instead of it: the store has been failing for COMMIT_PATIENCE_MS, and what the turn wrote may be on disk later or never. */
    void (*give_up)(struct broker_worker *worker, struct commit_wait *wait);
};
#define COMMIT_PATIENCE_MS 10000u
/* The number of this turn. */
uint64_t commit_turn_number(const struct broker_worker *worker);
/* Calls wait->run() when all that this worker did until the end of this turn, and what others did for it, is on disk. In the order of turns. */
void commit_wait(struct broker_worker *worker, struct commit_wait *wait);
/* Waits no more. */
void commit_wait_cancel(struct commit_wait *wait);

/* Runs `step` (session/session_host.h) when what this turn, and those before it, hand to other workers is in their submitted batches. What it puts into the open batch is
 * on disk only together with that, or later. */
void commit_then(struct broker_worker *worker, struct commit_step *step);

/* Gives a message that is about to be dispatched a body (message->body), which is kept until all workers have taken the message in. It is written: for QoS 1 at
 * once; for QoS 2 when the turn is settled, if some queue has the message, and together with `packet_id` as received by `publisher` (NULL: nobody). False: memory
 * is short, and nothing was done. */
bool commit_message(struct broker_worker *worker, struct message *message, struct session *publisher,
                    uint16_t packet_id);

/* The retainer has written something (RETAINER_WRITTEN). */
void commit_note_written(struct broker_worker *worker);

/* Something durable is handed to worker `destination`: in this turn, or as a part of the turn whose deliveries are being taken in. */
void commit_expect(struct broker_worker *worker, uint32_t destination);
/* Deliveries of worker `from` are taken in from now on; -1: nobody's. Returns what it was. */
int32_t commit_take_in(struct broker_worker *worker, int32_t from);
/* A marker of worker `from`. */
void commit_on_marker(struct broker_worker *worker, uint32_t from, struct commit_turn *turn);

/* The store has committed this worker's batches up to this number, or its state has changed. */
void commit_on_progress(struct broker_worker *worker, uint64_t number);

/* Submits what is open before another worker is handed something that refers to it. */
void commit_submit(struct broker_worker *worker);

/* Ends the turn: submits what it wrote, sends its markers, answers those of others. `context`: struct broker_worker. After the deliveries and before they leave
 * (worker_set_hand_over()); again is fine. */
void commit_turn_end(struct worker *worker, void *context);

#endif
