/*
 * delayed_queue: what waits for its time, in order of (due, number).
 *
 * A treap: a binary search tree whose shape comes from a hash of the numbers, so it stays flat whatever the order of arrival,
 * and an entry needs two pointers. All operations take about log2(count) steps. Entries are the caller's. Pure.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_DELAYED_QUEUE_H
#define BROKER_DELAYED_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct message;

struct delayed_key {
    uint64_t due_ms; /* the store's clock */
    uint64_t number; /* not 0; no two entries have the same */
};

struct delayed_entry {
    struct delayed_entry *left;
    struct delayed_entry *right;
    struct delayed_key key;
    struct message *message; /* NULL: the store has it */
    uint32_t payload_len;
    bool stored; /* has a row in STORE_DELAYED */
    bool kept;   /* its message counts as memory in use */
};

struct delayed_queue {
    struct delayed_entry *root; /* NULL: empty */
};

void delayed_queue_insert(struct delayed_queue *queue, struct delayed_entry *entry);
/* Takes the entry out. NULL: not there. */
struct delayed_entry *delayed_queue_remove(struct delayed_queue *queue, struct delayed_key key);
/* NULL: not there. Valid until it is removed. */
struct delayed_entry *delayed_queue_find(const struct delayed_queue *queue, struct delayed_key key);
/* The first entry behind `key`; that of {0, 0} is the first of all. NULL: none. */
struct delayed_entry *delayed_queue_next(const struct delayed_queue *queue, struct delayed_key key);

#endif
