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
#include "broker/session/durable.h"
#include "broker/session/filter_table.h"
#include "event/worker.h"

struct absence;
struct message;
struct retainer;
struct session;
struct broker_worker;
struct session_host;
struct session_link_ops;
struct shared_target;
struct store;
struct store_client;

/* Embedded in what is written when others have what was handed to them; `run` owns the object. */
struct commit_step {
    struct commit_step *next;
    void (*run)(struct broker_worker *worker, struct commit_step *step);
};

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
    /* Runs `step` when all that was handed to other workers until now is in their submitted batches: what it writes then is never on disk without that. */
    void (*when_settled)(struct session_host *host, struct commit_step *step);
};

struct session_host {
    struct worker *worker;
    const struct session_host_ops *ops;
    const struct session_link_ops *link_ops; /* of all connections */
    struct router *router;
    struct retainer *retainer;
    struct store *store;         /* NULL: nothing is stored */
    struct store_client *client; /* this worker's; its open batch is submitted at the turn's end (broker/commit.h) */
    bool want_sync;              /* somebody waits for what is in it to be on disk */
    struct durable_host durable; /* what its durable sessions share */
    bool copy_bodies;            /* what is being delivered gets `copy` (struct delivery_item) */
    _Atomic uint64_t *durable_count; /* durable sessions of all workers */
    struct rcu_table *registry;      /* client ID to session, of all workers */
    struct filter_table filters;     /* this worker's subscriber lists by filter */
    _Atomic uint32_t session_count;  /* read by any worker that places a session */
    uint32_t retained_used;          /* see struct retained_source; zero at each turn's beginning */
    uint32_t share_number;           /* of the last shared subscription made; see struct shared_target */
    int32_t refs_taken;              /* references to the message being dispatched, not added yet */
    struct absence *absent_oldest;   /* this worker's detached sessions, in the order in which they were left */
    struct absence *absent_newest;
    _Atomic uint64_t *absent_count; /* of all workers; NULL: not counted */
    uint64_t absent_max;            /* 0: unlimited */
    struct session *ending;         /* ended, with subscriptions still to be taken down, oldest first */
    struct session *ending_last;
    struct work ending_work;
};

#endif
