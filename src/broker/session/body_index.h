/*
 * body_index: at start-up, which messages STORE_MESSAGE has and how many queue entries refer to each.
 *
 * Numbers in a sorted array (the order of the scan) and beside each its message_body, made for the first entry that refers to it: 16
 * bytes for each stored message while sessions are restored.
 * Belongs to its caller. Thread: start-up.
 */
#ifndef BROKER_SESSION_BODY_INDEX_H
#define BROKER_SESSION_BODY_INDEX_H

#include "base/compiler.h"
#include "store/store.h"

#include <stdint.h>

struct message_body; /* message_body.h */

struct body_slot {
    uint64_t number;
    struct message_body *body; /* NULL: nobody has referred to it yet */
};

struct body_index {
    struct body_slot *slots; /* by number */
    uint64_t count;
    uint64_t capacity;
    uint64_t damaged_count; /* keys that are none; their rows stay */
    bool no_memory;
};

/* Reads the numbers of all stored messages into an empty index (zeros). -EIO, -ENOMEM; then, too, body_index_fini(). Blocks. */
MUST_USE int body_index_load(struct body_index *index, struct store *store);
/* The bodies stay with those who hold references. */
void body_index_fini(struct body_index *index);

/* A reference of the message of that number for one queue entry. 0, -ENOENT: it is not stored, -ENOMEM. */
MUST_USE int body_index_refer(struct body_index *index, uint64_t number, struct message_body **out_body);

/* Somebody unknown may refer to this one: it is not swept, nor deleted with its last reference. */
void body_index_keep(struct body_index *index, uint64_t number);

/* Deletes the messages to which nobody has referred. How many. */
uint64_t body_index_sweep(struct body_index *index, struct store_client *client);

#endif
