/*
 * delayed_queue: see delayed_queue.h. Parents have priorities at least as high as their children's.
 */
#include "broker/delayed_queue.h"

#include <stddef.h>

/* The finalizer of splitmix64: neighbours get unrelated values. */
static uint64_t priority(const struct delayed_entry *entry)
{
    uint64_t x = entry->key.number;

    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static bool before(struct delayed_key left, struct delayed_key right)
{
    return left.due_ms != right.due_ms ? left.due_ms < right.due_ms : left.number < right.number;
}

static struct delayed_entry **descend(struct delayed_entry *entry, struct delayed_key key)
{
    return before(key, entry->key) ? &entry->left : &entry->right;
}

/* Where the entry with that key hangs; the link is NULL when there is none. */
static struct delayed_entry **find_link(struct delayed_entry **link, struct delayed_key key)
{
    while (*link != NULL && (before(key, (*link)->key) || before((*link)->key, key)))
        link = descend(*link, key);
    return link;
}

void delayed_queue_insert(struct delayed_queue *queue, struct delayed_entry *entry)
{
    struct delayed_entry **link = &queue->root, **less = &entry->left, **more = &entry->right;
    uint64_t rank = priority(entry);

    while (*link != NULL && priority(*link) >= rank)
        link = descend(*link, entry->key);
    /* The entry takes the place of what is there and has it as its two halves. */
    for (struct delayed_entry *rest = *link; rest != NULL;) {
        if (before(rest->key, entry->key)) {
            *less = rest;
            less = &rest->right;
            rest = rest->right;
        } else {
            *more = rest;
            more = &rest->left;
            rest = rest->left;
        }
    }
    *less = *more = NULL;
    *link = entry;
}

struct delayed_entry *delayed_queue_remove(struct delayed_queue *queue, struct delayed_key key)
{
    struct delayed_entry **link = find_link(&queue->root, key), *entry = *link;

    if (entry == NULL)
        return NULL;
    struct delayed_entry *left = entry->left, *right = entry->right;
    while (left != NULL && right != NULL) {
        if (priority(left) >= priority(right)) {
            *link = left;
            link = &left->right;
            left = left->right;
        } else {
            *link = right;
            link = &right->left;
            right = right->left;
        }
    }
    *link = left != NULL ? left : right;
    entry->left = entry->right = NULL;
    return entry;
}

struct delayed_entry *delayed_queue_find(const struct delayed_queue *queue, struct delayed_key key)
{
    struct delayed_entry *root = queue->root;

    return *find_link(&root, key);
}

struct delayed_entry *delayed_queue_next(const struct delayed_queue *queue, struct delayed_key key)
{
    struct delayed_entry *next = NULL;

    for (struct delayed_entry *entry = queue->root; entry != NULL;) {
        if (before(key, entry->key)) {
            next = entry;
            entry = entry->left;
        } else {
            entry = entry->right;
        }
    }
    return next;
}
