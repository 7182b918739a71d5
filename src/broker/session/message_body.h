/*
 * message_body: a message that the store keeps once for all the queue entries that refer to it (STORE_MESSAGE).
 *
 * The publisher's worker makes it, writes the record, and holds a reference until all workers have taken the message in; each stored queue
 * entry holds one. Who drops the last one deletes the record. Thread: any, with a reference; each with its own store_client.
 */
#ifndef BROKER_SESSION_MESSAGE_BODY_H
#define BROKER_SESSION_MESSAGE_BODY_H

#include "base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct store_client;

struct message_body {
    uint64_t number; /* its key */
    _Atomic uint32_t refs;
    _Atomic bool
        written; /* the record is in a batch that was handed over, or in the writer's open one: it needs deleting */
    _Atomic bool
        awaited; /* an entry of QoS 2 waits for it to be on disk, not only in the store's hands (DURABILITY_FSYNC) */
};

/* With one reference; nothing is written. NULL when memory is short. */
struct message_body *message_body_new(uint64_t number);

static inline struct message_body *message_body_ref(struct message_body *body)
{
    atomic_fetch_add_explicit(&body->refs, 1, memory_order_relaxed);
    return body;
}

/* Drops one; the last one deletes the record through `client`, if it was written; with `client` NULL (the process ends, or the record is damaged) it
 * stays. A body of NULL is fine. Always NULL. */
struct message_body *message_body_unref(struct message_body *body, struct store_client *client);

#endif
