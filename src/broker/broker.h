/*
 * broker: the door to MQTT semantics for everything above: publish, find and end clients, what the workers share.
 *
 * A `struct broker` is the node: workers, router, registry, retained messages, settings. A `struct broker_worker`
 * is one worker's share of it. Shared parts are snapshots (RCU) or have one writer; settings are immutable.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "broker/delayed.h"
#include "broker/router/router.h"
#include "broker/session/session_host.h"
#include "event/mailbox.h"
#include "event/worker.h"
#include "mqtt/reason_code.h"

#include <stdatomic.h>

struct broker;
struct client_info;
struct commit;
struct connection;
struct hook_publish;
struct message;
struct retainer;
struct retainer_settings;
struct session;
struct store;
struct channel_worker;

struct broker_settings {
    uint32_t worker_count;
    uint64_t mailbox_bytes_max;
    uint64_t max_clients; /* node.max_clients */
    enum share_strategy share_strategy;
    bool dispatch_ack;              /* broker.shared_dispatch_ack_enabled */
    uint64_t max_retained_messages; /* 0: unlimited */
    uint64_t max_retained_payload;  /* bytes; 0: unlimited */
    uint64_t retained_in_memory;    /* store.retained_in_memory, bytes */
    uint64_t max_detached_sessions; /* 0: unlimited */
    uint64_t session_memory;        /* bytes of messages read back for sessions, all workers together; 0: the default */
    struct store *store;            /* NULL: nothing is stored; closed by the caller after broker_free() */
    struct delayed_settings delayed;
};

#define BROKER_MATCH_CACHE_TOPIC 256

/* The last topic that was matched in this turn: a publisher's next message mostly has the same one. */
struct broker_match_cache {
    uint64_t router_version;
    uint32_t hit_count;
    uint16_t topic_len; /* 0: nothing cached */
    uint8_t topic[BROKER_MATCH_CACHE_TOPIC];
};

struct broker_worker {
    struct session_host host; /* first: sessions come back with it */
    struct broker *broker;
    struct channel_worker *channel; /* broker/channel/ keeps its state here */
    struct router_hit *hits;
    uint32_t hits_capacity;
    struct broker_match_cache match_cache;
    struct timer retained_expiry; /* retained_expiry.c */
    struct commit *commit;        /* commit.h */
    struct worker *congested;     /* set by a publish that met a full mailbox; the publisher's channel takes it */
    uint64_t random_state;
};

struct broker {
    struct broker_settings settings;
    struct worker_pool *pool;
    struct router *router;
    struct rcu_table *registry; /* struct session by client ID */
    struct retainer *retainer;
    struct post retained_changed; /* to the first worker, while ... */
    _Atomic bool retained_change_posted;
    struct delayed *delayed; /* delayed.h */
    _Atomic uint64_t connected_count;
    _Atomic uint64_t durable_count; /* sessions that are stored */
    _Atomic uint64_t absent_count;  /* sessions without a connection */
    struct broker_worker *workers[WORKER_COUNT_MAX];
};

/* Makes the node's parts; the worker threads don't run yet. -ENOMEM, -errno. Thread: start-up. */
MUST_USE int broker_new(const struct broker_settings *settings, struct broker **out_broker);
/* Retained messages are stored from now on, and those that are begin to load. -ENOMEM, -errno. Thread: start-up, before worker_pool_start(). */
MUST_USE int broker_open_retained(struct broker *broker, struct store *store);
/* retainer_change(), and somebody sees to what expires earlier by it. Thread: control, the workers run. */
void broker_change_retained(struct broker *broker, const struct retainer_settings *settings);
/* The end of it; see retainer_close(). Not open is fine. Thread: control (online), between worker_pool_drain() and broker_free(). */
void broker_close_retained(struct broker *broker);
/* Hands over the last batches of the workers, which have stopped; drain their mailboxes once more after it. Thread: control. */
void broker_close_store(struct broker *broker);
/* After broker_close_store(). NULL is fine. Thread: control. */
void broker_free(struct broker *broker);

static inline struct broker_worker *broker_worker_of(struct worker *worker)
{
    return (struct broker_worker *)worker_context(worker);
}

/* Routes a message published on this worker: retains it if it says so, delivers it here, hands it to the other workers.
 * Takes the reference. True when at least one route matched. Thread: worker. */
bool broker_publish_take(struct broker_worker *worker, struct message *message);

/* What message.publish is told of `message`, which the event borrows; `client` NULL: no connected one. Thread: worker. */
void broker_tell_publish(const struct client_info *client, const struct message *message,
                         struct hook_publish *out_event);
/* The end of message.publish; the event's memory is freed. `*message` may be another one afterwards, which has taken the reference. -ECANCELED: it is not
 * to be published; -ENOMEM; then the reference is dropped and `*message` NULL. Thread: worker. */
MUST_USE int broker_take_publish(struct hook_publish *event, struct message **message);

/* broker_publish_take() for what does not come from a connected client, after message.publish. */
bool broker_publish_own_take(struct broker_worker *worker, struct message *message);

/* The same for a QoS 2 message of a client: it and its packet ID are on disk together or not at all. */
bool broker_publish_once_take(struct broker_worker *worker, struct message *message, struct session *publisher,
                              uint16_t packet_id);

/* The same from outside the workers: a worker is chosen to do it. Takes the reference. Thread: any. */
void broker_publish_post_take(struct broker *broker, struct message *message);

/* Why nothing more can be stored now: REASON_QUOTA_EXCEEDED (the disk is full), REASON_IMPLEMENTATION_SPECIFIC_ERROR (it fails), or
 * REASON_SUCCESS. Thread: any; of the moment. */
enum reason_code broker_store_problem(const struct broker *broker);

/* The same for this message: a success unless it is to be retained or some stored session may get it at QoS 1 or 2. Thread: worker. */
enum reason_code broker_publish_problem(struct broker_worker *worker, const struct message *message);

/* Does more wait to be written than store.queue_size, what this turn wrote included? Thread: worker; of the moment. */
bool broker_store_congested(const struct broker_worker *worker);

/* Ends the turn of the dispatcher: what was matched is valid no longer. Thread: worker. */
void broker_turn_end(struct broker_worker *worker);

/* The session of that client ID, on whatever worker it lives; only its host, hash and client ID may be read by
 * other threads. Valid until the next quiescent state. NULL: none. Thread: any, online. */
struct session *broker_find_session(struct broker *broker, struct slice client_id);

/* Registers a session under its client ID. -EEXIST: another one is there (`*out_existing`), -ENOMEM. Thread: its worker. */
MUST_USE int broker_register_session(struct broker *broker, struct session *session, struct session **out_existing);

/* Where a new session shall live: here, where its connection was accepted, unless a worker drawn is clearly less busy or has clearly fewer
 * sessions (an eighth): a hand-over costs as much as the rest of a connection's beginning. Thread: worker. */
struct broker_worker *broker_place_session(struct broker_worker *worker);

#endif
