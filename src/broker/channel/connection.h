/*
 * connection: one client's socket and the state of its conversation. Internal to broker/channel/.
 *
 *   accept ─► WAIT_CONNECT ─► (handed to the session's worker) ─► CONNECTED ─► LINGER ─► closed
 *                  └──────────── refused, malformed, idle ──────────────────────┘
 *
 * LINGER: our last packet is sent and our side shut; what the peer still sends is read and dropped for a moment, so that a
 * reset does not destroy that packet. A closed connection's memory goes at the turn's end.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_CHANNEL_CONNECTION_H
#define BROKER_CHANNEL_CONNECTION_H

#include "base/list.h"
#include "broker/broker.h"
#include "broker/channel/alias.h"
#include "broker/session/session.h"
#include "broker/zone.h"
#include "event/mailbox.h"
#include "mqtt/decode.h"
#include "mqtt/encode.h"
#include "net/listener.h"
#include "net/stream.h"

#include <assert.h>
#include <netinet/in.h>

enum connection_state {
    CONNECTION_WAIT_CONNECT,
    CONNECTION_CONNECTED,
    CONNECTION_LINGER,
    CONNECTION_CLOSED,
};

/* How far a connection in WAIT_CONNECT is on its way to MQTT (transport.h). */
enum transport_phase {
    TRANSPORT_OPEN,
    TRANSPORT_PROXY,     /* waits for the header of a load balancer */
    TRANSPORT_HANDSHAKE, /* TLS or WebSocket upgrade */
};

/* Why a connection is not read for a while; each cause ends by itself. */
enum pause_cause {
    PAUSE_MAILBOX = 1, /* a worker's mailbox is full */
    PAUSE_RATE = 2,    /* a rate limit of ours */
    PAUSE_OUTPUT = 4,  /* the client does not read what it is sent */
    PAUSE_FILTERS = 8, /* a SUBSCRIBE or UNSUBSCRIBE with very many filters is being served */
    PAUSE_STORE = 16,  /* store.queue_size is used up, also by it */
    PAUSE_HOOK = 32,   /* a callback answers later; the packet at hand is decoded again then */
    PAUSE_CONNECT =
        64, /* for a moment: the CONNECT that has waited for enhanced authentication comes next; enhanced.c */
    PAUSE_PUBLISH = 128, /* message.publish is answered later; its packet is done with */
};

#define REASON_STRING_ROOM 128u /* bytes of a packet with any of our reason texts, at most */
#define PEER_TEXT_MAX 56        /* bytes: "[ipv6]:port" with its zero */

/* An IPv4 address is kept as IPv4-mapped. */
struct peer_address {
    struct in6_addr address;
    uint16_t port; /* host order */
};

struct peer_address peer_from(const struct sockaddr_storage *from);
/* Writes "ip:port". */
void peer_format(const struct peer_address *peer, char out[PEER_TEXT_MAX]);

/* Token bucket (config: publish_limit, rate_limit). */
struct token_bucket {
    double tokens;
    double rate_per_ms;
    double burst;
    uint64_t filled_ms;
};

/* What only some connections need; made when first used. */
struct connection_extras {
    struct slice user_name; /* owned; data NULL: none */
    struct slice
        proxy_common_name;   /* owned: what a load balancer says of the client's certificate; data NULL: nothing */
    struct slice mountpoint; /* owned, expanded; data NULL: none */
    char *given_mountpoint;  /* owned: of client.authenticate, not expanded; NULL: the zone's */
    struct authentication *authentication; /* owned, until CONNECT is answered; authenticate.c */
    struct enhanced *enhanced;             /* owned; NULL: CONNECT has named no method; enhanced.c */
    struct access_cache *access_cache;     /* NULL: nothing is remembered */
    struct access_question *question; /* owned: while client.check_acl waits, and until its answer is used; access.c */
    struct publication *publication;  /* owned: while PAUSE_PUBLISH; publish.c */
    struct alias_table *aliases_in;
    struct alias_table *aliases_out;
    struct token_bucket publish_bucket; /* burst 0: off */
    struct token_bucket byte_bucket;
    struct mailbox_waiter waiter; /* waits for a worker's mailbox */
    struct list store_place;      /* in the worker's list, while PAUSE_STORE */
    struct connection *owner;
    struct filter_job *filter_job; /* while PAUSE_FILTERS; subscribe.c */
    uint64_t blocked_since_ms;     /* while stream.blocked: the socket has taken nothing since */
    uint64_t resume_ms;            /* a rate limit holds reading until then; 0: no */
    uint32_t acl_generation;       /* of what access_cache holds */
    uint16_t alias_out_max;        /* what the client allows and we use; 0: none */
};

/* Kept small: there is one for every idle client (docs/benchmarks.md). */
struct connection {
    struct stream stream;
    struct session_link link;
    struct broker_worker *worker;
    struct listener *listener;
    struct connection_extras *extras; /* NULL: none */
    struct connection *next;          /* the worker's list; behind its end, the list of closed ones */
    struct connection *prev;
    struct connection *ready_next; /* in the worker's list of those that have something to do next turn */
    uint8_t *partial;              /* what was read and not handled yet */
    uint32_t partial_len;
    uint32_t partial_capacity;
    struct timer timer;         /* CONNECT must come, keep alive, a blocked send, a rate limit, lingering */
    uint64_t sequence;          /* rises on one worker; for listing */
    uint32_t received_ms;       /* low bits of the clock: the last whole packet, or enough of a large one */
    uint32_t connected_at_s;    /* monotonic clock */
    uint32_t client_packet_max; /* bytes; the client's Maximum Packet Size */
    uint32_t keep_alive_ms;     /* silence that ends the connection; 0: off */
    struct peer_address peer;
    uint8_t state;       /* enum connection_state */
    uint8_t version;     /* enum mqtt_version */
    uint8_t hops;        /* how often it was handed on */
    uint8_t next_worker; /* index, while handing over */
    uint8_t paused;      /* why it is not read: a set of enum pause_cause */
    uint8_t transport;   /* enum transport_phase */
    bool is_bridge : 1;
    bool clean_start : 1;
    bool problem_information : 1; /* reason strings may be sent */
    bool wants_writable : 1;      /* the session waits for room in the output */
    bool handing_over : 1;
    bool is_ready : 1; /* in the ready list, or in the queue of handshakes */
    bool in_handshakes : 1;
    bool overloaded : 1;   /* over force_shutdown_policy: to be closed in the next turn */
    bool asked_acl : 1;    /* access.c */
    bool is_superuser : 1; /* client.authenticate said so: no access rules */
    bool is_authenticated : 1;
    bool is_anonymous : 1; /* let in by allow_anonymous */
    bool was_told : 1;     /* client.connected, and not yet client.disconnected */
    bool
        packet_seen : 1; /* the packet at hand has been counted, and is decoded again: CONNECT, or one that waited for access.c */
    bool peer_reset : 1;   /* the kernel said so; there may still be bytes to read */
    uint32_t progress_len; /* of the unfinished packet, bytes that had come at received_ms */
};

static_assert(sizeof(struct connection) <= 224, "malloc's next size would be 256 bytes, for each idle client");

#define LIST_MARKS_MAX 16 /* listings that are under way at once; a further one takes the place of the oldest */

/* Where a listing goes on: behind `after`, the last connection still there of those it has passed. */
struct list_mark {
    struct connection *after; /* NULL: at the beginning */
    uint64_t sequence;        /* of the last one passed; 0: not used */
    uint64_t used;            /* the count of slices when it was last used */
};

/* Per worker. */
struct channel_worker {
    struct stream_pool streams;
    struct connection *head; /* connected and waiting ones, by rising sequence */
    struct connection *tail;
    struct connection *passed; /* of the list: neither it nor one before it will wait for a ClientHello; transport.c */
    struct connection *closed; /* freed at the turn's end */
    struct connection *ready;  /* read on, or look at `partial` again, in the next turn */
    struct connection *handshakes_head; /* wait for their turn to compute a step of a handshake, in order */
    struct connection *handshakes_tail;
    struct work ready_work;
    struct list store_waiting;              /* struct connection_extras: read on when the store has room again */
    struct access_question *spare_question; /* access.c: for those answered at once; NULL: in use */
    struct publication *spare_publication;  /* publish.c: likewise */
    struct hold *spare_holds;               /* hold.c */
    uint32_t spare_hold_count;
    struct filter_job *filter_jobs; /* subscribe.c: packets with very many filters, next one first */
    struct filter_job *filter_jobs_last;
    struct work filter_work;
    uint64_t last_sequence;
    struct list_mark marks[LIST_MARKS_MAX]; /* clients.c */
    uint64_t slice_count;                   /* of listings */
    uint32_t mark_count;                    /* marks in use */
    bool closing;                           /* channel_close_all(): nobody is taken on any more */
    uint32_t connection_count;
};

static inline struct channel_worker *connection_host(const struct connection *connection)
{
    return connection->worker->channel;
}

static inline uint64_t connection_now(const struct connection *connection)
{
    return worker_now_ms(connection->worker->host.worker);
}

/* The settings of the listener's zone. */
static inline const struct zone *connection_zone(const struct connection *connection)
{
    return listener_context(connection->listener);
}

/* Is it still being read from and served? */
static inline bool connection_open(const struct connection *connection)
{
    return connection->state <= CONNECTION_CONNECTED && !connection->handing_over;
}

/* How a packet's handler ended. */
enum handled {
    HANDLED,             /* go on with the next packet */
    HANDLED_STOP,        /* the connection was closed, paused or handed over: look at its state */
    HANDLED_TOOK_BUFFER, /* a message took the partial buffer over; nothing was behind the packet */
};

/* connection_end.c: ends. `code` is sent in a DISCONNECT to v5 clients when it is not 0 and the client was connected. `reason`
 * is the static word of logs and counts. `drop_will` after a normal DISCONNECT. Closed already is fine. */
void connection_close(struct connection *connection, enum reason_code code, const char *reason);
void connection_close_normal(struct connection *connection);
/* DISCONNECT with another reason than 0: the will goes out. */
void connection_close_abnormal(struct connection *connection);
/* The peer has closed (`result` 0), the socket failed (-errno) or a layer did, whose error is logged. */
void connection_peer_gone(struct connection *connection, ssize_t result);
/* A lingering connection is readable, writable or new: drops what comes, until the peer closes too. */
void connection_linger(struct connection *connection);
/* The very end, without a word; the memory goes at the turn's end. */
void connection_finish(struct connection *connection);
/* Counts the connection out of its listener, with a static word; once in its life. */
void connection_release(struct connection *connection, const char *reason);
/* The peer broke the protocol: logs `error` (static text), answers and closes. */
enum handled connection_refuse(struct connection *connection, enum reason_code code, const char *error);
/* A line about this client with its ID and address, at most so many a second (base/log.h). */
#define connection_log_limited(CONNECTION, LEVEL, ...)                                                                 \
    do {                                                                                                               \
        char peer_text_[PEER_TEXT_MAX];                                                                                \
        peer_format(&(CONNECTION)->peer, peer_text_);                                                                  \
        log_client_limited((LEVEL), connection_client_id(CONNECTION), peer_text_, "[Channel] " __VA_ARGS__);           \
    } while (0)
struct slice connection_client_id(const struct connection *connection); /* data NULL: not known yet */
/* Room for a whole small packet in the output, and its commitment. NULL when memory is short. */
uint8_t *connection_reserve(struct connection *connection, size_t len);
void connection_commit(struct connection *connection, size_t len);
/* Encodes any packet of ours and sends it. */
void connection_send(struct connection *connection, const struct mqtt_packet *packet);
struct connection_extras *connection_extras_get(struct connection *connection); /* NULL when memory is short */
struct slice connection_user_name(const struct connection *connection);
struct slice connection_mountpoint(const struct connection *connection);
/* The socket takes more, or more may leave: sends, and lets go on who waited for that. */
void connection_write_on(struct connection *connection);
/* Stops reading until the congested worker that a publish has met is drained. */
void connection_wait_congestion(struct connection *connection);
/* A publisher of QoS 1 or 2 that has been served: stops reading while more waits to be written than store.queue_size, this turn's part included. */
void connection_wait_store(struct connection *connection);
/* Stops reading for `pause_ms`. */
void connection_pause(struct connection *connection, uint64_t pause_ms);
/* connection_read.c: reads what is there, for as long as its turn lasts. `to_the_end`: the kernel said that the peer has gone; no
 * further event will come. */
void connection_read(struct connection *connection, bool to_the_end);
/* Looks at `partial` again. */
void connection_handle_partial(struct connection *connection);
/* connection_timer.c: for the timer's on_due. */
void connection_on_due(struct timer *timer, uint64_t now_ms);
/* A client without keep alive has begun a packet, which it must finish. */
void connection_watch_packet(struct connection *connection);
/* connection_move.c: once the handler has returned, hands the connection with its CONNECT and what came behind it to another worker. */
void connection_hand_over(struct connection *connection, struct broker_worker *to);
/* The handler has returned, and what was unhandled is kept in `partial`: off it goes. The connection is no longer ours. */
void connection_hand_over_now(struct connection *connection);
/* Takes `count` tokens; milliseconds to wait when there are not enough (they are owed then). */
uint64_t token_bucket_take(struct token_bucket *bucket, double count, uint64_t now_ms);
void connection_start_timer(struct connection *connection);
/* Ends a pause; the connection reads on in the next turn when it was the last cause. */
void connection_unpause(struct connection *connection, enum pause_cause cause);
/* Lets the connection read on in the next turn. */
void connection_make_ready(struct connection *connection);
/* The same, behind those whose handshakes wait for a turn already. */
void connection_queue_handshake(struct connection *connection);
/* Not ready is fine. */
void connection_make_unready(struct connection *connection);
/* The worker's list of connections. */
void connection_list_add(struct connection *connection);
void connection_list_remove(struct connection *connection);
/* clients.c: a connection leaves the list; only while there are marks. */
void connection_list_unmark(struct channel_worker *host, const struct connection *connection);
/* The partial buffer is not needed. */
void connection_free_partial(struct connection *connection);

/* connect.c */
enum handled channel_on_connect(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body);
/* publish.c */
enum handled channel_on_publish(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body);
/* The connection ends: a message that waits for message.publish is not published. None is fine. */
void channel_cancel_publish(struct connection *connection);
void channel_free_spare_publication(struct channel_worker *host);
/* acknowledge.c */
enum handled channel_on_ack(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body);
void channel_send_ack(struct connection *connection, enum mqtt_type type, uint16_t packet_id, enum reason_code code);
/* The same; before it channel_hold(), if the session is stored. */
void channel_send_durable_ack(struct connection *connection, enum mqtt_type type, uint16_t packet_id,
                              enum reason_code code);
/* subscribe.c */
enum handled channel_on_subscribe(struct connection *connection, const struct mqtt_subscribe *subscribe);
enum handled channel_on_unsubscribe(struct connection *connection, const struct mqtt_subscribe *unsubscribe);
/* client.check_acl has answered for the filter at which a packet waits. None waits: false. */
bool channel_go_on_filters(struct connection *connection);
/* The connection ends: what it still has to be served of a packet with very many filters is left out. None is fine. */
void channel_cancel_filters(struct connection *connection);
/* deliver.c */
extern const struct session_link_ops channel_link_ops;

#endif
