/*
 * share_group: the members of one shared subscription ($share/GROUP/FILTER, $queue/FILTER) and the choice of
 * the one that gets a message (MQTT 5, section 4.8.2; strategies of broker.shared_subscription_strategy).
 *
 * The member list is a snapshot: readers pick without a lock, writers append to it, or publish a new array and
 * retire the old one (RCU).
 * A member belongs to a worker (its destination); only that worker touches its `subscription`. Whether the
 * member's client is connected is an atomic flag that the owner sets and pickers read.
 */
#ifndef BROKER_ROUTER_SHARE_GROUP_H
#define BROKER_ROUTER_SHARE_GROUP_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum share_strategy { SHARE_RANDOM, SHARE_ROUND_ROBIN, SHARE_STICKY, SHARE_HASH };

struct share_group;

struct share_member {
    uint16_t destination; /* worker or node */
    _Atomic bool online;  /* its client is connected */
    _Atomic bool durable; /* what it queues is stored */
    void *subscription;   /* the owner's; opaque here */
};

/* Adds a member (memory of the caller's, freed by it after a grace period and its mailbox's drain).
 * -ENOMEM; -ESTALE: the group was dropped meanwhile (router_group_release()), get it again. Thread: any, online. */
MUST_USE int share_group_add(struct share_group *group, struct share_member *member);
/* Thread: any, online. */
void share_group_remove(struct share_group *group, struct share_member *member);

/* What a publisher brings for the choice. */
struct share_pick {
    enum share_strategy strategy;
    uint64_t publisher_hash; /* of its client id: `hash` and `sticky` */
    uint32_t random;
    const struct share_member *not_this; /* who refused it already; NULL: nobody */
    uint32_t attempt; /* 0 first; each further attempt tries the next one in order, after `not_this` */
};
/* Picks a member: online ones first; offline ones only when nobody is online. NULL: no members (or only `not_this`).
 * Round robin counts per group; sticky keeps a member while it is there and online. Thread: any, online. */
struct share_member *share_group_pick(struct share_group *group, const struct share_pick *pick);

uint32_t share_group_member_count(const struct share_group *group);
/* Valid as long as the group. */
struct slice share_group_name(const struct share_group *group);
struct slice share_group_filter(const struct share_group *group);

#endif
