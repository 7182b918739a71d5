/*
 * retained_rows: the retained messages' rows in the store (STORE_RETAINED): topic -> message_record.
 *
 * Keys. A topic with a 0 for each `/`, a byte that no topic has: so the store's order is that of the index, in which `/` sorts first, and
 * what is loaded in the order of keys fills the index from its beginning to its end.
 *
 * Writing. All workers write through one store_client, whose open batch is written under a lock that is taken with the lock of the topic's
 * shard held. So what is on disk of a topic is what was last in memory, whoever wrote it. Two locks for each message: retained
 * messages are rare beside others, and their index has locks of its own already.
 *
 * While rows are being loaded, a topic that was cleared must not come back from a row read before: rows_clear() remembers such topics
 * until the deletion is there for who reads the store from then on.
 */
#ifndef BROKER_RETAINER_RETAINED_ROWS_INTERNAL_H
#define BROKER_RETAINER_RETAINED_ROWS_INTERNAL_H

#include "base/compiler.h"
#include "base/slice.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define RETAINED_KEY_MAX UINT16_MAX

struct cleared;
struct large;
struct message;
struct rcu_table;
struct store;
struct store_client;
struct worker;

struct retained_rows {
    struct store *store;
    struct store_client *client;
    pthread_mutex_t lock; /* after a topic's; of the open batch and of what follows */
    uint8_t *key;         /* RETAINED_KEY_MAX bytes */
    struct large *large;  /* messages to leave memory when they are on disk, in the order of batches */
    struct large **large_tail;
    struct cleared *cleared; /* topics, in the order of the batches in which they were cleared first */
    struct cleared **cleared_tail;
    struct rcu_table *cleared_index;
    _Atomic bool dirty; /* something was written that has not been submitted */
};

/* The key of a topic; `out` has room for RETAINED_KEY_MAX bytes. */
struct slice retained_key(struct slice topic, uint8_t *out);

/* `progress` runs on `worker` when batches have been committed. -ENOMEM. Thread: start-up. */
MUST_USE int retained_rows_open(struct retained_rows *rows, struct store *store, struct worker *worker,
                                void (*progress)(struct store_client *client, void *context), void *context);
/* Submits what is open. One that is all zero is fine. Thread: shutdown. */
void retained_rows_close(struct retained_rows *rows);

/* Writes the row of the message's topic. `leaves_memory`: retained_rows_pop_large() gives it when it is on disk. Thread: any, the topic locked. */
void retained_rows_put(struct retained_rows *rows, struct message *message, bool leaves_memory);
/* Deletes the row of `topic`, if there is one. `remember`: retained_rows_was_cleared() tells of it. -ENOMEM: nothing was done. Thread: any, the topic
 * locked. */
MUST_USE int retained_rows_clear(struct retained_rows *rows, struct slice topic, bool remember);
/* Thread: any, online. */
bool retained_rows_was_cleared(struct retained_rows *rows, struct slice topic);
/* Forgets the topics whose deletion is seen by who reads the store from now on. Thread: any, online. */
void retained_rows_forget_cleared(struct retained_rows *rows);
/* The next message that is on disk now, with its reference; NULL: none. Thread: any. */
struct message *retained_rows_pop_large(struct retained_rows *rows);

/* Submits the open batch. False: there was nothing. Thread: any. */
bool retained_rows_submit(struct retained_rows *rows, bool sync);

#endif
