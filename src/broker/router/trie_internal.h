/*
 * trie: routes of filters with wildcards, found by topic.
 *
 * A node stands for a prefix of levels. Literal children are found in one hash table for the whole trie, keyed by
 * (parent, level); the `+` child and the route of `prefix/#` hang on the node itself. A match is a walk in depth
 * with parent pointers for the way back: it needs no memory whatever the topic's length, and a branch is
 * taken only where both a literal and a `+` child exist.
 *
 * Readers are online; writers hold trie_lock(). A filter's text is not kept: it is rebuilt from the parents.
 */
#ifndef BROKER_ROUTER_TRIE_INTERNAL_H
#define BROKER_ROUTER_TRIE_INTERNAL_H

#include "broker/router/route_internal.h"

struct trie;
struct trie_node;

/* `seed` makes the hashes unpredictable. NULL when memory is short. */
struct trie *trie_new(uint64_t seed);
/* All routes go with it; no reader may be left. NULL is fine. */
void trie_free(struct trie *trie);

/* One writer at a time. Thread: any, online. */
void trie_lock(struct trie *trie);
void trie_unlock(struct trie *trie);

/* Where a filter's route is. */
struct trie_place {
    struct trie_node *node;
    route_word *route;
};
/* The place of `filter`; false when it is not there. Valid while locked. Thread: locked. */
bool trie_find(struct trie *trie, struct slice filter, struct trie_place *out_place);
/* The place of `filter`, made when it is not there; the caller fills it or calls trie_prune(). 0 or -ENOMEM
 * (nothing has changed). Thread: locked. */
MUST_USE int trie_make(struct trie *trie, struct slice filter, struct trie_place *out_place);
/* Takes out the node, and those above it, as far as they hold nothing. Thread: locked. */
void trie_prune(struct trie *trie, struct trie_node *node);

/* Puts the routes of all filters that match `topic` into the sink. Thread: any, online. */
void trie_match(const struct trie *trie, struct slice topic, struct route_sink *sink);

/* Visits the routes of at least one node, in no order; moves the cursor as rcu_table_visit() does, whose bits it needs
 * and one more. `filter` is valid during the call. Thread: any, online. */
#define TRIE_CURSOR_BITS 41
void trie_visit(const struct trie *trie, uint64_t *cursor,
                void (*visit)(void *context, struct slice filter, const route_word *route), void *context);

/* Nodes and bytes, without what routes hold. Thread: any; of the moment. */
uint64_t trie_node_count(const struct trie *trie);
uint64_t trie_bytes(const struct trie *trie);

#endif
