/*
 * router: which destinations have subscribers for a topic.
 *
 * A route is a filter and its set of destinations; a destination is a local worker or another node (a small
 * number), with the pointer that this destination wants to be handed back: a worker's own subscriber list of
 * that filter, opaque here. Exact filters sit in a hash table, filters with wildcards in a trie.
 * Readers take no lock (RCU, base/rcu.h) and must be online; writers are serialised by a mutex per shard.
 * The router changes only when a destination's first subscriber of a filter arrives or its last one leaves.
 *
 * What a match hands out stays valid until the reader's next quiescent state; a destination's pointer may be
 * freed by its owner once a grace period has passed after router_remove() *and* its mailbox was drained after
 * that (broker/session/subscription.c).
 */
#ifndef BROKER_ROUTER_ROUTER_H
#define BROKER_ROUTER_ROUTER_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct router;
struct share_group; /* share_group.h */

#define ROUTER_DESTINATION_MAX 4096 /* workers first, then nodes */

/* NULL when memory is short. Thread: start-up. */
struct router *router_new(void);
/* All routes go with it; no reader may be left. NULL is fine. Thread: shutdown. */
void router_free(struct router *router);

/* Adds destination `id` with its pointer to the route of `filter` (valid, without share prefix; copied).
 * -EEXIST: it is there already; -ENOMEM. Thread: any, online. */
MUST_USE int router_add(struct router *router, struct slice filter, uint16_t id, void *target);
/* Takes the destination out; the route goes with its last destination and group. Returns its pointer, or NULL when
 * it was not there. Thread: any, online. */
void *router_remove(struct router *router, struct slice filter, uint16_t id);

/* The group of that name on `filter`, made if `create`. NULL: not there or no memory. Groups are part of a
 * route; a group whose last member left is removed by router_group_release(). Another thread may do so before the
 * caller's member is in: share_group_add() then says -ESTALE and the caller gets the group again;
 * router_group_join() does that. Thread: any, online. */
struct share_group *router_group_get(struct router *router, struct slice filter, struct slice name, bool create);
struct share_member; /* share_group.h */
/* Adds `member` to the group of that name on `filter`, which is made if need be. The group stays as long as the
 * member is in it. 0 or -ENOMEM. Thread: any, online. */
MUST_USE int router_group_join(struct router *router, struct slice filter, struct slice name,
                               struct share_member *member, struct share_group **out_group);
/* Drops the group from its route if it has no member; what a member's owner calls after share_group_remove().
 * Thread: any, online. */
void router_group_release(struct router *router, struct share_group *group);

/* One destination or group that a topic matched. Exactly one of `target` and `group` is set. */
struct router_hit {
    void *target;
    struct share_group *group;
    uint16_t id; /* destination; of `target` only */
};

/* Up to `capacity` hits of `topic` (valid name) into `hits`, one per (filter, destination) and (filter, group).
 * Returns how many there are in all: when more than `capacity`, call again with room for that many.
 * Thread: any, online. */
uint32_t router_match(const struct router *router, struct slice topic, struct router_hit *hits, uint32_t capacity);

/* A number that changes with each change of any route: a worker's match cache compares it. Thread: any. */
uint64_t router_version(const struct router *router);

/* Counts for $SYS and the commands. Thread: any; of the moment. */
struct router_stats {
    uint64_t exact_count;    /* routes without wildcard */
    uint64_t wildcard_count; /* routes with wildcard */
    uint64_t trie_nodes;
    uint64_t bytes; /* memory held */
};
void router_stats(const struct router *router, struct router_stats *out_stats);

/* Calls `visit` for every (filter, destination) and (filter, group) until it returns false, in slices: at most
 * `limit` (at least 1) calls, starting after `*cursor` (0: the beginning; updated; 0 again at the end). `filter` and
 * `group` (data NULL: a destination) are valid during the call. For `routes list`. Thread: any, online. */
void router_visit(const struct router *router, uint64_t *cursor, uint32_t limit,
                  bool (*visit)(void *context, struct slice filter, uint16_t id, struct slice group), void *context);

#endif
