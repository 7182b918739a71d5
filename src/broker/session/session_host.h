/*
 * session_host: what all sessions of one worker share, and what they need from the folders above.
 *
 * One per worker, filled at start-up. Thread: owner.
 */
#ifndef BROKER_SESSION_SESSION_HOST_H
#define BROKER_SESSION_SESSION_HOST_H

#include "base/rcu_table.h"
#include "broker/router/router.h"
#include "broker/router/share_group.h"
#include "broker/session/filter_table.h"
#include "event/worker.h"

struct absence;
struct message;
struct retainer;
struct session;
struct session_host;
struct shared_target;

/* Provided by broker/. */
struct session_host_ops {
    /* Routes a message made here (a will). Borrows the reference. */
    void (*publish)(struct session_host *host, struct message *message);
    /* A shared member can't take this message at once: try the next one of its group. Borrows the reference. */
    void (*redispatch)(struct session_host *host, struct shared_target *target, struct message *message,
                       uint32_t attempt);
    /* The same for a member that has ended meanwhile. */
    void (*redispatch_lost)(struct session_host *host, struct slice group, struct slice filter,
                            struct message *message);
};

struct session_host {
    struct worker *worker;
    const struct session_host_ops *ops;
    struct router *router;
    struct retainer *retainer;
    struct rcu_table *registry;     /* client ID to session, of all workers */
    struct filter_table filters;    /* this worker's subscriber lists by filter */
    _Atomic uint32_t session_count; /* read by any worker that places a session */
    uint32_t retained_used;         /* see struct retained_source; zero at each turn's beginning */
    uint32_t share_number;          /* of the last shared subscription made; see struct shared_target */
    int32_t refs_taken;             /* references to the message being dispatched, not added yet */
    struct absence *absent_oldest;  /* this worker's detached sessions, in the order in which they were left */
    struct absence *absent_newest;
    _Atomic uint64_t *absent_count; /* of all workers; NULL: not counted */
    uint64_t absent_max;            /* 0: unlimited */
    struct session *ending;         /* ended, with subscriptions still to be taken down, oldest first */
    struct session *ending_last;
    struct work ending_work;
};

#endif
