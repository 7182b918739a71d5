/*
 * durable: what a session whose state outlives the process writes to the store (store/store.h), and when it may go on.
 *
 * All that a turn writes is one batch of the worker's store client, so it is on disk wholly or not at all. Rows:
 *
 *   STORE_SESSION       at the connection's begin and end, when expiry or will change, and when sequences run out
 *   STORE_SUBSCRIPTION  at SUBSCRIBE, UNSUBSCRIBE
 *   STORE_QUEUE         one per QoS 1 or 2 delivery, from session_deliver() until PUBACK, or PUBREC, or until it is dropped
 *   STORE_INFLIGHT      from PUBREC until PUBCOMP
 *   STORE_AWAITING_REL  from a QoS 2 PUBLISH of the client until its PUBREL
 *
 * A queue entry's sequence tells its packet ID (inflight_packet_id()), so sending writes nothing, and a restart sends it again under
 * the same ID. An entry whose ID is still in use waits, and what is behind it. Entries of QoS 2 wait until they are on disk: else after a crash
 * their ID could be another message's, which the client would take for a duplicate.
 *
 * Memory: what is on disk and not wanted soon leaves it (mqueue.h) and comes back in slices (queue_load.h).
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_SESSION_DURABLE_H
#define BROKER_SESSION_DURABLE_H

#include "base/compiler.h"
#include "base/list.h"
#include "base/slice.h"
#include "event/worker.h"
#include "mqtt/topic.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct delivery_item;
struct inflight_entry;
struct message_body;
struct queue_load;
struct session;
struct session_host;
struct subscription;
struct zone_session;

#define SEQUENCE_MAX ((UINT64_C(1) << 48) - 1)   /* 89 years at 100,000 a second */
#define DURABLE_MS_MAX ((UINT64_C(1) << 48) - 1) /* of the store's clock: some thousand years */

#define QUEUE_LOADED_COUNT 256u       /* messages of a connected session's queue (each class) kept in memory */
#define QUEUE_LOADED_BYTES (1u << 20) /* and their bytes; over that only the next one */

struct durable {
    uint64_t number;              /* its key */
    struct session *session;      /* NULL: it has ended, and nothing is left of it */
    uint64_t next_sequence : 48;  /* at most SEQUENCE_MAX */
    uint64_t reserved_count : 16; /* from that one on, as stored: struct session_record's reserved_through */
    uint64_t sent_through : 48;
    uint64_t held_count : 16; /* entries in the window that wait for the disk (INFLIGHT_WAIT_STORE) */
    uint64_t left_ms : 48;    /* store's clock; 0: the client is connected */
    uint64_t
        unsettled_count : 16;   /* QoS 2 messages it published whose packet IDs are stored when their turn is settled */
    uint64_t committed_through; /* entries up to this sequence are on disk */
    struct list waiting;        /* in the host's list, while it waits for a store_state */
    struct queue_load *load;    /* NULL: nothing is being read back */
    uint32_t refs;              /* of this worker only */
    uint32_t note;              /* the place of its last note, counted from the worker's first one: the low bits */
};
static_assert(sizeof(struct durable) <= 80, "there may be very many absent sessions: a size class of the allocator");

/* `durable` has put entries up to `through` into batch `batch`. */
struct durable_note {
    struct durable *durable; /* with a reference */
    uint64_t batch;
    uint64_t through;
};

struct load_job;

/* What the durable sessions of a worker share; embedded in struct session_host. */
struct durable_host {
    struct durable_note *notes; /* ring, oldest batch first */
    uint32_t note_capacity;     /* power of two, or 0 */
    uint64_t note_first, note_end;
    struct list waiting; /* struct durable: those that wait for a store_state */
    uint32_t waiting_count;
    uint32_t waiting_left; /* still to be looked at in this pass */
    struct work waiting_work;
    uint64_t load_bytes_max;     /* for messages read back; 0: QUEUE_LOADED_BYTES times 16 */
    uint64_t load_bytes;         /* of them in queues now */
    struct list loads;           /* struct queue_load: those that wait for their turn */
    struct load_job *load_spare; /* jobs that are not under way */
    uint32_t load_job_count;     /* under way */
    struct list redispatching;   /* struct redispatch, of ended sessions */
};

/* ---- life ---- */

/* Makes the session durable if it should be, and stores what it has. When memory is short it stays as it is (logged). */
void durable_begin(struct session *session);
/* After the record was read at start-up: the session has this number and its rows are there. -ENOMEM. Thread: start-up. */
MUST_USE int durable_restore(struct session *session, uint64_t number);
/* Puts a stored entry into the queue; in the order of sequences. `body` with a reference that is taken; NULL: the message is in the
 * entry. `share_number` of the subscription it came through, 0: none. `sent`: may have been sent. -ENOMEM: nothing was taken. Thread: start-up. */
struct queue_record;
MUST_USE int durable_restore_entry(struct session *session, uint64_t sequence, const struct queue_record *record,
                                   struct message_body *body, uint32_t share_number, bool sent);
/* A QoS 2 message whose PUBREC had come (STORE_INFLIGHT). -ENOMEM. Thread: start-up. */
MUST_USE int durable_restore_released(struct session *session, uint64_t sequence);

/* Writes the session's record as it is now. */
void durable_write_session(struct session *session);
/* The client is connected, or gone: writes the record; then what was in flight goes back into the queue, and messages leave the memory. */
void durable_on_attached(struct session *session);
void durable_on_left(struct session *session);

/* The session ends: what it waited for is forgotten. Its rows go through durable_delete_session() and durable_take_down(). */
void durable_on_ended(struct session *session);
/* The record: from now on a restart finds the session's other rows to be nobody's. */
void durable_delete_session(struct session *session);
/* The same when others have what the session handed on (session_host_ops.when_settled). */
void durable_delete_session_settled(struct session *session);
/* Writes the record, if the session is still there, then. */
void durable_write_session_settled(struct session *session);
/* Deletes up to `most` rows of queue, window and received IDs. How many; fewer than `most`: nothing is left. */
uint32_t durable_take_down(struct session *session, uint32_t most);
/* Nothing is left, or the process ends: the session is not durable any more. NULL is fine. */
void durable_end(struct session *session);
/* The process ends: like durable_take_down() of everything and durable_end(), and the rows stay. */
void durable_drop_memory(struct session *session);
/* Of zeros. Thread: start-up. */
void durable_host_init(struct durable_host *host);
/* After all sessions of the worker have ended. Thread: control. */
void durable_host_fini(struct durable_host *host);

struct durable *durable_ref(struct durable *durable);
struct durable *durable_unref(struct durable *durable);

/* ---- rows ---- */

void durable_put_subscription(const struct subscription *subscription);
void durable_delete_subscription(const struct subscription *subscription);

/* Stores a delivery of QoS 1 or 2: gives the item its sequence and its body. */
void durable_put_entry(struct session *session, struct delivery_item *item);
/* Deletes the row of an item, and its reference of the body. An item without sequence is fine. */
void durable_delete_entry(struct session *session, const struct delivery_item *item);
/* PUBREC: the row becomes one of STORE_INFLIGHT. */
void durable_received(struct session *session, const struct inflight_entry *entry);
/* PUBCOMP. */
void durable_completed(struct session *session, const struct inflight_entry *entry);
void durable_put_awaiting_rel(struct session *session, uint16_t packet_id);
void durable_delete_awaiting_rel(struct session *session, uint16_t packet_id);

/* ---- waiting ---- */

/* The item goes out now. */
void durable_on_sent(struct session *session, const struct delivery_item *item);

enum durable_leave { DURABLE_SEND, DURABLE_DROP, DURABLE_WAIT };
/* May this stored item, which is in memory, be sent? For window and connection the caller cares. DURABLE_WAIT: what changes that makes the
 * session drain. */
enum durable_leave durable_may_leave(struct session *session, const struct delivery_item *item);
/* Is the packet ID of the next entry free? */
bool durable_next_id_free(const struct session *session);

/* Messages that are on disk and not wanted soon leave the memory. */
void durable_page_out(struct session *session);

#endif
