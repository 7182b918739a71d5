/*
 * session: what outlives a connection: subscriptions, send window, message queue, inbound QoS 2 IDs, the will.
 *
 * A session belongs to one worker for life. Its connection, when there is one, is reached through `struct
 * session_link`, which broker/channel/ implements. Life:
 *
 *   session_new() ─► attached ◄──session_attach()── detached ─► session_end()
 *                       └──session_detach()────────────┘  (expiry, clean start, kick of an absent client)
 *
 * How many sessions may be detached is bounded: absence.h.
 *
 * An end with very many subscriptions takes them down in slices, a bounded number in each turn of the worker; the client ID
 * is free at once, and nothing is delivered to the ended session meanwhile.
 *
 * Memory is freed after a grace period, since other threads find sessions in the registry and compare client IDs.
 * Thread: owner, unless a function says otherwise.
 */
#ifndef BROKER_SESSION_SESSION_H
#define BROKER_SESSION_SESSION_H

#include "base/pointer_list.h"
#include "base/slice.h"
#include "broker/session/awaiting_rel.h"
#include "broker/session/inflight.h"
#include "broker/session/mqueue.h"
#include "event/timer_wheel.h"
#include "mqtt/packet.h"

#include <assert.h>

struct session;
struct session_host;
struct message;
struct zone;

/* One PUBLISH to write; everything else is in the message. */
struct session_publish {
    struct message *message;
    uint32_t subscription_id; /* 0: none */
    uint16_t packet_id;       /* 0 at QoS 0 */
    uint8_t qos;
    bool dup;
    bool retain;
};

struct session_link;

enum session_write { SESSION_WRITTEN, SESSION_TOO_LARGE, SESSION_WRITE_FAILED };

/* What connections offer to their sessions (session_host.link_ops). None of these may end the connection or the session before they
 * return. */
struct session_link_ops {
    enum session_write (*publish)(struct session_link *link, const struct session_publish *publish);
    void (*pubrel)(struct session_link *link, uint16_t packet_id);
    /* Is the output under the high watermark? When it said no, session_on_writable() follows. */
    bool (*writable)(struct session_link *link);
    /* The client is over force_shutdown_policy: close it in a later turn. */
    void (*overload)(struct session_link *link);
    /* Its user name; data NULL: none. */
    struct slice (*user_name)(struct session_link *link);
    /* The session was taken over, discarded or ended: close with this reason. */
    void (*close)(struct session_link *link, enum reason_code code, const char *reason);
};

struct session_link {
    struct session *session; /* NULL: none */
};

struct absence;
struct durable;    /* durable.h */
struct redispatch; /* redispatch.h */
struct retained_feed;
struct retained_request;

/* What a session needs once QoS 1 or 2 or a queue comes into play; most idle sessions never do. */
struct session_flow {
    struct inflight inflight;
    struct mqueue mqueue;
    struct awaiting_rel *awaiting_rel; /* NULL: none since the flow was made */
    struct retained_feed *retained;    /* retained messages still to be sent; NULL: none */
    struct session *session;
    uint32_t resend_left;   /* places at the end of the window not yet looked at after a reconnect */
    uint32_t resent_count;  /* of them, sent and not acknowledged, while some are left */
    uint32_t enqueue_count; /* messages put into the queue; goes round */
    uint32_t drop_count;    /* messages pushed out of the queue; goes round */
};
static_assert(sizeof(struct session_flow) <= 112,
              "each absent session with messages has one: a size class of the allocator");

struct session {
    struct session_link *link; /* NULL: nobody is connected */
    struct session_host *host;
    const struct zone *zone;
    struct pointer_list subscriptions; /* struct subscription */
    struct session_flow *flow;         /* NULL: not needed yet */
    struct message *will;              /* NULL: none */
    struct durable *durable;           /* NULL: nothing of it is stored */
    struct timer timer;                /* attached: session_tick(); detached: the next deadline of the absence */
    union {
        struct absence *absence;       /* NULL: somebody is connected, or is about to be */
        struct session *ending_next;   /* in the host's list, once ended */
        struct redispatch *redispatch; /* once ended, before that: what goes to others is being read */
    };
    union {
        uint64_t deliver_count;            /* messages handed to the connection, also again */
        struct retained_feed *ending_feed; /* once in the host's list; NULL: none */
    };
    uint32_t created_at_s;      /* wall clock */
    uint32_t expiry_interval_s; /* UINT32_MAX: never */
    uint32_t will_delay_s;
    uint16_t window; /* unacknowledged messages at most, 1..65,535 */
    uint8_t version; /* enum mqtt_version of the last connection */
    bool clean_start : 1;
    bool registered : 1; /* in the registry */
    bool ended : 1;
    bool draining : 1;   /* in session_drain(): no second time */
    bool has_shared : 1; /* has, or once had, a shared subscription */
    uint16_t client_id_len;
    uint8_t client_id[];
};

static inline struct slice session_client_id(const struct session *session)
{
    return slice_make(session->client_id, session->client_id_len);
}

/* Is it stored, so that it outlives the process? */
static inline bool session_is_durable(const struct session *session)
{
    return session->durable != NULL;
}

/* What a connection brings when it opens or resumes a session. */
struct session_attach_options {
    struct session_link *link;
    struct message *will; /* taken; NULL: none */
    uint32_t will_delay_s;
    uint32_t expiry_interval_s;
    uint16_t window;
    uint8_t version;
    bool clean_start;
};

/* The hash by which the registry finds a client ID. Thread: any. */
uint64_t session_hash_of(struct slice client_id);

/* For rcu_table: has this session (`element`) the client ID at which `key` (struct slice) points? Thread: any, online. */
bool session_matches(const void *element, const void *key);

/* A new session without a connection, not registered. NULL when memory is short. */
struct session *session_new(struct session_host *host, struct slice client_id, const struct zone *zone);

/* Gives the session its connection; timers of absence end. Nothing is sent yet: session_resume() does. */
void session_attach(struct session *session, const struct session_attach_options *options);

/* Sends again what was in flight, oldest first [MQTT-4.4.0-1], then what is queued. After the CONNACK. */
void session_resume(struct session *session);

/* The connection is gone. `drop_will`: it ended with DISCONNECT 0x00 [MQTT-3.1.2-10]. Ends the session when it
 * does not outlive its connection; else starts its expiry and will delay. */
void session_detach(struct session *session, bool drop_will);

/* Ends the session: subscriptions and registration go, a will that waits is published, the memory is retired.
 * An attached link is left without session and not closed. `reason` is a static word for the log. */
void session_end(struct session *session, const char *reason);

/* Takes down what is left of all ended sessions of this worker. Thread: control, after the workers have stopped. */
void session_host_finish(struct session_host *host);

/* A message for one subscription of this session: `item` borrows the message's reference, and `item.qos` is what the
 * subscription grants. Sends, queues or drops (counted). Takes references through host->refs_taken: see dispatch.h. */
void session_deliver(struct session *session, const struct delivery_item *item);

/* Publishes the will now, if there is one, and forgets it. */
void session_publish_will(struct session *session);

/* Could session_deliver() send a QoS 1 or 2 message at once? For broker.shared_dispatch_ack_enabled. */
bool session_has_room(const struct session *session);

/* Sends from the queue while window and connection allow. */
void session_drain(struct session *session);

/* The connection took its output. */
static inline void session_on_writable(struct session *session)
{
    session_drain(session);
}

/* The message sent at that QoS with that packet ID, if neither PUBACK nor PUBREC has come. NULL: none. Valid until the next acknowledgement. */
const struct message *session_sent_message(struct session *session, uint16_t packet_id, uint8_t qos);

/* Acknowledgements from the client. 0, -ENOENT (unknown packet ID), -EPROTO (it waits for another kind). */
int session_on_puback(struct session *session, uint16_t packet_id);
int session_on_pubrec(struct session *session, uint16_t packet_id, enum reason_code code);
int session_on_pubcomp(struct session *session, uint16_t packet_id);

enum session_qos2 {
    SESSION_QOS2_NEW,
    SESSION_QOS2_DUPLICATE,
    SESSION_QOS2_FULL,
    SESSION_QOS2_UNSTORED, /* the session is durable, and the store cannot take the ID now (store_state()) */
    SESSION_QOS2_NO_MEMORY
};
/* A QoS 2 PUBLISH came: SESSION_QOS2_NEW registers its ID. */
enum session_qos2 session_on_publish_qos2(struct session *session, uint16_t packet_id);
/* Does it wait for PUBREL? */
bool session_awaits_rel(const struct session *session, uint16_t packet_id);
/* The message was refused before session_store_awaiting_rel(): its ID is free again, and nothing is written. */
void session_forget_qos2(struct session *session, uint16_t packet_id);
/* PUBREL. False: unknown packet ID. */
bool session_on_pubrel(struct session *session, uint16_t packet_id);

/* Queues the retained messages of a new subscription; session_drain() sends them. -ENOMEM: not all of them. */
MUST_USE int session_push_retained(struct session *session, const struct retained_request *request);
/* The subscription with this filter ended: no more of its retained messages are queued [MQTT-3.10.4-2]. */
void session_cancel_retained(struct session *session, struct slice filter);

/* Durable: the packet ID of a QoS 2 PUBLISH goes into the worker's open batch, together with what makes it heard. Else
 * nothing. session_on_pubrel() takes it out again. */
void session_store_awaiting_rel(struct session *session, uint16_t packet_id);

/* All of this worker's batches up to `number` are on disk (store_committed()): entries that wait for that go on, and messages that nobody
 * will want soon leave the memory. */
void session_host_on_committed(struct session_host *host, uint64_t number);

/* The store_state of some QoS 2 message has changed: sessions that wait for one go on. */
void session_host_on_stored(struct session_host *host);

/* The process ends: the session's memory goes, and what is stored of it stays. One that is not durable ends. Thread: control, after the workers
 * have stopped. */
void session_suspend(struct session *session);

/* Sets when the session ends after its connection (a v5 DISCONNECT may change it). It is stored by session_detach(), which
 * follows in the same turn. */
void session_set_expiry(struct session *session, uint32_t expiry_interval_s);

#endif
