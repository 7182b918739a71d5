/*
 * metrics: counters since start, and gauges (`stats`) with their maximum since start.
 *
 * Counting costs a load and a store: each thread counts in a block of its own (made at its first count, folded
 * into a common one at its end) and readers sum the blocks. A value that is read while others count may lag
 * behind them, but never goes back. The names are those of `emqx_ctl metrics`, the REST API and `$SYS`; a feature that
 * is not part of the core adds its names at start with metrics_register().
 * Thread: any, unless a function says otherwise.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/compiler.h"

#include <stdint.h>

/* One row: enum name, dotted name, help. */
#define METRIC_TABLE(ROW)                                                                                              \
    /* Bytes and packets. */                                                                                           \
    ROW(BYTES_RECEIVED, "bytes.received", "Bytes read from clients")                                                   \
    ROW(BYTES_SENT, "bytes.sent", "Bytes written to clients")                                                          \
    ROW(PACKETS_RECEIVED, "packets.received", "Packets received")                                                      \
    ROW(PACKETS_SENT, "packets.sent", "Packets sent, without deliveries of $SYS topics")                               \
    ROW(PACKETS_CONNECT_RECEIVED, "packets.connect.received", "CONNECT packets received")                              \
    ROW(PACKETS_CONNACK_SENT, "packets.connack.sent", "CONNACK packets sent")                                          \
    ROW(PACKETS_CONNACK_ERROR, "packets.connack.error", "CONNACK packets sent that refuse the client")                 \
    ROW(PACKETS_CONNACK_AUTH_ERROR, "packets.connack.auth_error",                                                      \
        "CONNACK packets sent for a bad user name or password, or for a client that is not authorized")                \
    ROW(PACKETS_PUBLISH_RECEIVED, "packets.publish.received", "PUBLISH packets received")                              \
    ROW(PACKETS_PUBLISH_SENT, "packets.publish.sent", "PUBLISH packets sent, without $SYS topics")                     \
    ROW(PACKETS_PUBLISH_ERROR, "packets.publish.error", "PUBLISH packets received and refused")                        \
    ROW(PACKETS_PUBLISH_AUTH_ERROR, "packets.publish.auth_error", "PUBLISH packets received and not authorized")       \
    ROW(PACKETS_PUBACK_RECEIVED, "packets.puback.received", "PUBACK packets received")                                 \
    ROW(PACKETS_PUBACK_SENT, "packets.puback.sent", "PUBACK packets sent")                                             \
    ROW(PACKETS_PUBACK_MISSED, "packets.puback.missed", "PUBACK packets received for an unknown packet ID")            \
    ROW(PACKETS_PUBREC_RECEIVED, "packets.pubrec.received", "PUBREC packets received")                                 \
    ROW(PACKETS_PUBREC_SENT, "packets.pubrec.sent", "PUBREC packets sent")                                             \
    ROW(PACKETS_PUBREC_MISSED, "packets.pubrec.missed", "PUBREC packets received for an unknown packet ID")            \
    ROW(PACKETS_PUBREL_RECEIVED, "packets.pubrel.received", "PUBREL packets received")                                 \
    ROW(PACKETS_PUBREL_SENT, "packets.pubrel.sent", "PUBREL packets sent")                                             \
    ROW(PACKETS_PUBREL_MISSED, "packets.pubrel.missed", "PUBREL packets received for an unknown packet ID")            \
    ROW(PACKETS_PUBCOMP_RECEIVED, "packets.pubcomp.received", "PUBCOMP packets received")                              \
    ROW(PACKETS_PUBCOMP_SENT, "packets.pubcomp.sent", "PUBCOMP packets sent")                                          \
    ROW(PACKETS_PUBCOMP_MISSED, "packets.pubcomp.missed", "PUBCOMP packets received for an unknown packet ID")         \
    ROW(PACKETS_SUBSCRIBE_RECEIVED, "packets.subscribe.received", "SUBSCRIBE packets received")                        \
    ROW(PACKETS_SUBSCRIBE_ERROR, "packets.subscribe.error", "Topic filters of SUBSCRIBE packets refused")              \
    ROW(PACKETS_SUBSCRIBE_AUTH_ERROR, "packets.subscribe.auth_error", "Topic filters of SUBSCRIBE not authorized")     \
    ROW(PACKETS_SUBACK_SENT, "packets.suback.sent", "SUBACK packets sent")                                             \
    ROW(PACKETS_UNSUBSCRIBE_RECEIVED, "packets.unsubscribe.received", "UNSUBSCRIBE packets received")                  \
    ROW(PACKETS_UNSUBSCRIBE_ERROR, "packets.unsubscribe.error", "Topic filters of UNSUBSCRIBE packets refused")        \
    ROW(PACKETS_UNSUBACK_SENT, "packets.unsuback.sent", "UNSUBACK packets sent")                                       \
    ROW(PACKETS_PINGREQ_RECEIVED, "packets.pingreq.received", "PINGREQ packets received")                              \
    ROW(PACKETS_PINGRESP_SENT, "packets.pingresp.sent", "PINGRESP packets sent")                                       \
    ROW(PACKETS_DISCONNECT_RECEIVED, "packets.disconnect.received", "DISCONNECT packets received")                     \
    ROW(PACKETS_DISCONNECT_SENT, "packets.disconnect.sent", "DISCONNECT packets sent")                                 \
    ROW(PACKETS_AUTH_RECEIVED, "packets.auth.received", "AUTH packets received")                                       \
    ROW(PACKETS_AUTH_SENT, "packets.auth.sent", "AUTH packets sent")                                                   \
    /* Messages. */                                                                                                    \
    ROW(MESSAGES_RECEIVED, "messages.received", "Messages received from clients")                                      \
    ROW(MESSAGES_SENT, "messages.sent", "Messages sent to clients, resent ones too, without $SYS topics")              \
    ROW(MESSAGES_QOS0_RECEIVED, "messages.qos0.received", "QoS 0 messages received")                                   \
    ROW(MESSAGES_QOS0_SENT, "messages.qos0.sent", "QoS 0 messages sent")                                               \
    ROW(MESSAGES_QOS1_RECEIVED, "messages.qos1.received", "QoS 1 messages received")                                   \
    ROW(MESSAGES_QOS1_SENT, "messages.qos1.sent", "QoS 1 messages sent")                                               \
    ROW(MESSAGES_QOS2_RECEIVED, "messages.qos2.received", "QoS 2 messages received")                                   \
    ROW(MESSAGES_QOS2_EXPIRED, "messages.qos2.expired", "QoS 2 packet IDs forgotten: no PUBREL came in time")          \
    ROW(MESSAGES_QOS2_SENT, "messages.qos2.sent", "QoS 2 messages sent")                                               \
    ROW(MESSAGES_QOS2_DROPPED, "messages.qos2.dropped", "QoS 2 messages refused: too many waited for PUBREL")          \
    ROW(MESSAGES_RETAINED, "messages.retained", "Retained messages now (falls when one is deleted)")                   \
    ROW(MESSAGES_DROPPED, "messages.dropped", "Messages nobody had subscribed to, without $SYS topics")                \
    ROW(MESSAGES_EXPIRED, "messages.expired", "Messages whose expiry interval passed before they were sent")           \
    ROW(MESSAGES_FORWARD, "messages.forward", "Messages forwarded to other nodes")                                     \
    ROW(AUTH_MQTT_ANONYMOUS, "auth.mqtt.anonymous", "Clients accepted without authentication")                         \
    /* Ours: not in the original. METRIC_BYTES_RECEIVED .. METRIC_AUTH_MQTT_ANONYMOUS are. */                          \
    ROW(CLIENT_ACL_ALLOW, "client.acl.allow", "Verdicts of the access rules that allowed")                             \
    ROW(CLIENT_ACL_DENY, "client.acl.deny", "Verdicts of the access rules that denied")                                \
    ROW(CLIENT_ACL_CACHE_HIT, "client.acl.cache_hit", "Verdicts that connections remembered")                          \
    ROW(HOOKS_PENDING_REFUSED, "hooks.pending.refused",                                                                \
        "Events refused as a callback was to answer later and hook.pending_max was reached")                           \
    ROW(HOOKS_PENDING_TIMEOUT, "hooks.pending.timeout",                                                                \
        "Events refused as a callback did not answer within hook.pending_timeout")                                     \
    ROW(MESSAGES_QUEUE_FULL, "messages.queue_full", "Messages dropped: the session's queue was full")                  \
    ROW(MESSAGES_DROPPED_SLOW_CONSUMER, "messages.dropped.slow_consumer",                                              \
        "QoS 0 messages dropped: the client does not read fast enough")                                                \
    ROW(MESSAGES_DROPPED_TOO_LARGE, "messages.dropped.too_large",                                                      \
        "Messages dropped: larger than the client's maximum packet size")                                              \
    ROW(MESSAGES_DROPPED_NO_LOCAL, "messages.dropped.no_local", "Messages not sent back to their publisher")           \
    ROW(MESSAGES_DROPPED_UNSTORED, "messages.dropped.unstored",                                                        \
        "Messages refused: they were to be stored and the disk is full or fails")                                      \
    ROW(MESSAGES_RETAINED_UNSTORED, "messages.retained.unstored",                                                      \
        "Retained QoS 0 messages kept in memory only: the store could not keep up")                                    \
    ROW(MESSAGES_RETAINED_REFUSED, "messages.retained.refused",                                                        \
        "Messages delivered but not retained: over a limit, or memory was short")                                      \
    ROW(MESSAGES_DROPPED_NO_MEMORY, "messages.dropped.no_memory", "Messages dropped: memory was short")                \
    ROW(MESSAGES_DROPPED_GIVEN_UP, "messages.dropped.given_up",                                                        \
        "QoS 2 messages taken out of queues, as their publisher was told that they were not taken")                    \
    ROW(MESSAGES_DROPPED_UNREADABLE, "messages.dropped.unreadable",                                                    \
        "Queued and retained messages that could not be read from the store")                                          \
    ROW(MESSAGES_DELAYED, "messages.delayed", "Messages taken to be published at a later time ($delayed/)")            \
    ROW(MESSAGES_DELAYED_PUBLISHED, "messages.delayed.published", "Delayed messages published at their time")          \
    ROW(MESSAGES_DELAYED_DROPPED, "messages.delayed.dropped",                                                          \
        "Delayed messages refused at a limit, expired, unreadable or deleted by a command")                            \
    ROW(CONNECTIONS_ACCEPTED, "connections.accepted", "Sockets accepted")                                              \
    ROW(CONNECTIONS_REFUSED, "connections.refused", "Sockets closed at once: a limit was reached")                     \
    ROW(BANNED_REFUSED, "banned.refused", "CONNECT packets refused: the client is banned")                             \
    ROW(BANNED_DISCONNECTED, "banned.disconnected", "Connections closed: the client was banned")                       \
    ROW(BANNED_FLAPPING, "banned.flapping", "Clients banned because they connected and disconnected all the time")     \
    ROW(CONNECTIONS_NO_DESCRIPTOR, "connections.no_descriptor", "Times no file descriptor was left for a new client")  \
    ROW(CONNECTIONS_CLOSED, "connections.closed", "Sockets closed")                                                    \
    ROW(CONNECTIONS_KEEPALIVE_TIMEOUT, "connections.keepalive_timeout", "Clients closed: nothing came in time")        \
    ROW(CONNECTIONS_MALFORMED, "connections.malformed", "Clients closed: malformed packet or protocol error")          \
    ROW(SESSIONS_TAKEN_OVER, "sessions.taken_over", "Connections closed: the client ID connected again")               \
    ROW(SESSIONS_EXPIRED, "sessions.expired", "Sessions ended by their expiry interval")                               \
    ROW(SESSIONS_EVICTED, "sessions.evicted", "Sessions ended: broker.max_detached_sessions was reached")              \
    ROW(MAILBOX_CONGESTED, "mailbox.congested", "Times a worker's mailbox reached its limit")                          \
    ROW(STORE_CONGESTED, "store.congested", "Times a publisher waited because store.queue_size was used up")           \
    ROW(STORE_COMMITS, "store.commits", "Group commits of the store")                                                  \
    ROW(STORE_COMMIT_BYTES, "store.commit_bytes", "Bytes of rows written to the store")                                \
    ROW(STORE_COMMIT_US, "store.commit_us", "Microseconds that the store's commits took, all together")                \
    ROW(STORE_BATCHES, "store.batches", "Batches of workers written to the store")                                     \
    ROW(STORE_SYNCS, "store.syncs", "Times the store's log was synced to disk")                                        \
    ROW(STORE_FAILURES, "store.failures", "Writes to the store that failed and were, or are being, tried again")       \
    ROW(LOG_LINES_DROPPED, "log.lines.dropped", "Log lines dropped: the writer could not keep up")                     \
    ROW(LOG_LINES_SUPPRESSED, "log.lines.suppressed", "Log lines left out by a rate limit")

#define METRIC_ENUM_ROW(name, text, help) METRIC_##name,
enum metric {
    METRIC_TABLE(METRIC_ENUM_ROW) METRIC_COUNT /* rows of the table */
};
#undef METRIC_ENUM_ROW

/* METRIC_COUNT rows of the table, then the registered ones. */
#define METRIC_REGISTERED_MAX 128
#define METRIC_TOTAL_MAX (METRIC_COUNT + METRIC_REGISTERED_MAX)
/* The first of our own additions; those before it are the original's. */
#define METRIC_OWN_FIRST METRIC_CLIENT_ACL_ALLOW

/* Gauges. One row: enum name, dotted name without `.count` and `.max`, help. */
#define STAT_TABLE(ROW)                                                                                                \
    ROW(CONNECTIONS, "connections", "Connected clients of this node")                                                  \
    ROW(SESSIONS, "sessions", "Sessions of this node, connected or not")                                               \
    ROW(SESSIONS_PERSISTENT, "sessions.persistent", "Sessions of this node that outlive their connection")             \
    ROW(TOPICS, "topics", "Routes of the cluster")                                                                     \
    ROW(SUBOPTIONS, "suboptions", "Subscriptions of this node with their options")                                     \
    ROW(SUBSCRIBERS, "subscribers", "Subscriptions of this node without shared ones")                                  \
    ROW(SUBSCRIPTIONS, "subscriptions", "Subscriptions of this node, shared ones too")                                 \
    ROW(SUBSCRIPTIONS_SHARED, "subscriptions.shared", "Members of shared subscriptions of the cluster")                \
    ROW(ROUTES, "routes", "Routes of the cluster")                                                                     \
    ROW(RETAINED, "retained", "Retained messages of the cluster")                                                      \
    ROW(DELAYED, "delayed", "Messages of this node that wait for their time ($delayed/)")                              \
    ROW(STORE_QUEUE_BYTES, "store.queue_bytes", "Bytes that wait to be written to the store")                          \
    ROW(STORE_STATE, "store.state", "State of the store: 0 open, 1 full, 2 failed")

#define STAT_ENUM_ROW(name, text, help) STAT_##name,
enum stat_id {
    STAT_TABLE(STAT_ENUM_ROW) STAT_COUNT /* rows of the table */
};
#undef STAT_ENUM_ROW

/* A thread's counters; made by metrics_thread_block(), only for the inline functions below. */
struct metrics_block {
    uint64_t metrics[METRIC_TOTAL_MAX];
    uint64_t stats[STAT_COUNT]; /* differences, modulo 2^64 */
};
extern _Thread_local struct metrics_block *metrics_block_here;

/* Makes the calling thread's block. Short memory gives NULL; then counting goes to the shared block below. */
struct metrics_block *metrics_thread_block(void);
/* The slow path: atomic additions to a block that all threads share. `metric` also takes registered ones. */
void metrics_add_shared(uint32_t metric, uint64_t count);
void stats_add_shared(enum stat_id stat, int64_t change);

/* Adds `count` to a metric of the table or a registered one. */
static inline void metric_add(uint32_t metric, uint64_t count)
{
    struct metrics_block *block = metrics_block_here;

    if (UNLIKELY(block == NULL) && (block = metrics_thread_block()) == NULL) {
        metrics_add_shared(metric, count);
        return;
    }
    __atomic_store_n(&block->metrics[metric], __atomic_load_n(&block->metrics[metric], __ATOMIC_RELAXED) + count,
                     __ATOMIC_RELAXED);
}

/* Takes `count` from a metric that may fall (messages.retained). */
static inline void metric_sub(uint32_t metric, uint64_t count)
{
    metric_add(metric, 0 - count);
}

/* Changes a gauge by `change`; threads that own parts of it each add and take what is theirs. */
static inline void stat_add(enum stat_id stat, int64_t change)
{
    struct metrics_block *block = metrics_block_here;

    if (UNLIKELY(block == NULL) && (block = metrics_thread_block()) == NULL) {
        stats_add_shared(stat, change);
        return;
    }
    __atomic_store_n(&block->stats[stat], __atomic_load_n(&block->stats[stat], __ATOMIC_RELAXED) + (uint64_t)change,
                     __ATOMIC_RELAXED);
}

/* The sum over all threads, those that ended too. `metric` is below metrics_count(). Takes a lock. */
uint64_t metrics_read(uint32_t metric);

/* Adds a metric at run time, for features that are not part of the core. The texts are copied. A name that exists
 * already gives its metric again. Returns 0, -EINVAL (empty or over 63 bytes), -ENOSPC or -ENOMEM. Thread: start-up,
 * control. */
MUST_USE int metrics_register(const char *name, const char *help, uint32_t *out_metric);

/* Metrics of the table plus the registered ones. */
uint32_t metrics_count(void);
/* Dotted name and help; valid for ever. `metric` is below metrics_count(). */
const char *metrics_name(uint32_t metric);
const char *metrics_help(uint32_t metric);

/* Calls `visit` for each metric in the table's order, then the registered ones, with the values of one moment. */
void metrics_visit(void (*visit)(const char *name, uint64_t value, void *context), void *context);

/* Sets a gauge that has one owner, which then does not use stat_add() for it; its maximum follows at once. */
void stat_set(enum stat_id stat, uint64_t value);

/* Takes the present values into the maxima. The control thread calls this every second or two, since stat_add() does
 * not; reading does it too. */
void stats_refresh(void);

/* Value now, never below 0, and maximum since start. */
uint64_t stats_read(enum stat_id stat, uint64_t *out_max);

/* Calls `visit` for `<name>.count` and `<name>.max` of each gauge in the table's order. */
void stats_visit(void (*visit)(const char *name, uint64_t value, void *context), void *context);

/* Help of the gauge. */
const char *stats_help(enum stat_id stat);

#endif
