/*
 * zone: a named bundle of protocol limits and session settings; each listener names its zone.
 *
 * Immutable once built: made from the configuration at start-up, looked up by name, read by any worker.
 * A value not set for the zone comes from the global mqtt.* key, then from the built-in default, so a reader
 * never looks further than this struct. Fields are named after their keys in zone.$name.* with their unit.
 */
#ifndef BROKER_ZONE_H
#define BROKER_ZONE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct mqueue_priority {
    char *topic;      /* exact topic, with mountpoint */
    uint8_t priority; /* the higher, the earlier */
};

/* What clients may do: announced in the v5 CONNACK and enforced. */
struct zone_capabilities {
    uint32_t max_packet_size;  /* bytes of a whole packet */
    uint32_t max_clientid_len; /* bytes */
    uint32_t max_topic_levels; /* of filters; 0: as many as the channel takes */
    uint16_t max_topic_alias;  /* client to broker; 0: none */
    uint8_t max_qos_allowed;   /* 0..2 */
    bool retain_available;
    bool wildcard_subscription;
    bool shared_subscription;
};

struct zone_session {
    uint32_t max_subscriptions;         /* per session; 0: unlimited */
    uint32_t max_inflight;              /* send window; 0: 65,535 */
    uint32_t max_awaiting_rel;          /* inbound QoS 2 ids; 0: 65,535 */
    uint32_t max_mqueue_len;            /* messages per priority class; 0: unlimited */
    uint64_t retry_interval_ms;         /* 0: only on reconnect */
    uint64_t await_rel_timeout_ms;      /* 0: never forgotten */
    uint32_t session_expiry_interval_s; /* v3.x sessions with clean session 0 */
    bool upgrade_qos;
    bool ignore_loop_deliver; /* v3.x: acts as No Local on all subscriptions */
    bool mqueue_store_qos0;
    bool mqueue_default_highest; /* class of topics not in the table */
    struct mqueue_priority *mqueue_priorities;
    uint32_t mqueue_priority_count;
};

/* What an acknowledgement to a client means, and whether its session is stored if it outlives the connection (zone.$name.durability). */
enum durability {
    DURABILITY_FSYNC, /* what it promises is on disk */
    DURABILITY_ASYNC, /* it is handed to the store, and on disk soon after */
    DURABILITY_NONE,  /* it is in memory; nothing of these sessions is stored */
};

/* Verdicts that each connection remembers. */
struct zone_acl_cache {
    uint32_t count_max; /* 0: none */
    uint64_t ttl_ms;    /* a verdict of that age is asked for again */
};

/* What clients may publish and subscribe to. */
struct zone_acl {
    bool is_enabled;     /* enable_acl */
    bool nomatch_allows; /* acl_nomatch = allow */
    bool disconnects;    /* acl_deny_action = disconnect */
    struct zone_acl_cache cache;
};

struct zone_publish_limit {
    uint32_t count; /* PUBLISH packets per period and burst; 0: no limit */
    uint64_t period_ms;
};

/* Who connects and disconnects all the time. */
struct zone_flapping {
    bool is_enabled;
    uint32_t count;     /* more state changes than this are flapping, */
    uint64_t period_ms; /* each within so much of the one before */
    uint32_t ban_s;     /* for so long it is banned */
};

struct zone {
    char *name;
    struct zone_capabilities caps;
    struct zone_session session;
    struct zone_acl acl;
    struct zone_publish_limit publish_limit;
    uint64_t idle_timeout_ms;      /* the CONNECT packet must be complete by then */
    double keepalive_backoff;      /* timeout = keep alive × 2 × backoff: 0.75 gives 1.5 */
    uint16_t server_keepalive_s;   /* 0: not announced */
    char *mountpoint;              /* may hold %c and %u as whole levels; NULL: none */
    uint64_t force_shutdown_bytes; /* memory of one connection and session before it is closed; 0: off */
    uint32_t force_shutdown_len;   /* queued messages, likewise; 0: off */
    uint64_t high_watermark_bytes; /* queued to one socket from which on the client counts as slow */
    struct zone_flapping flapping;
    bool enable_ban;
    bool allow_anonymous;
    bool use_username_as_clientid;
    bool enable_stats;
    enum durability durability;
};

struct conf; /* conf/conf.h */
struct zone_table;

/* Builds all zones that the configuration or a listener names. -ENOMEM. Thread: start-up. */
int zone_table_new(const struct conf *conf, struct zone_table **out_zones);

/* NULL is fine. Thread: start-up and shutdown. */
void zone_table_free(struct zone_table *zones);

/* The zone of that name; a zone with the defaults for a name that nobody configured, or for NULL. Never NULL;
 * valid until zone_table_free(). Thread: start-up (a listener keeps what it got). */
const struct zone *zone_table_find(struct zone_table *zones, const char *name);

#endif
