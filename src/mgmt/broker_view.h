/*
 * broker_view: what the commands need to know of the broker, as functions. main/ fills it from broker/broker.h.
 *
 * Questions that only the workers can answer are asynchronous: the answer comes on the control thread in a later turn of
 * its loop, never from within the call, exactly once; after a negative result it does not come. Rows
 * and their texts are valid during the callback only.
 * Thread: control.
 */
#ifndef MGMT_BROKER_VIEW_H
#define MGMT_BROKER_VIEW_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct banned;
struct store;
struct uv_loop_s;

enum broker_state { BROKER_STARTING, BROKER_RUNNING, BROKER_STOPPING };

struct client_row {
    struct slice client_id;
    struct slice username;  /* absent: none */
    const char *peername;   /* "ip:port" */
    int64_t connected_at_s; /* since 1970 */
    bool clean_start;
};

/* A slice of the clients. `next_cursor` 0: there are no more; else what to ask for next. */
typedef void broker_clients_fn(void *context, const struct client_row *rows, uint32_t count, uint64_t next_cursor);

typedef void broker_kick_fn(void *context, bool found);

struct shutdown_count {
    const char *reason; /* the word of the original: closed, kicked, keepalive_timeout */
    uint64_t count;
};

struct listener_row {
    const char *name;    /* "mqtt:tcp" */
    const char *address; /* as configured: "0.0.0.0:1883" or "8883" */
    uint32_t acceptors;
    uint64_t max_conns;
    uint64_t current_conn;
    const struct shutdown_count *shutdown_counts;
    uint32_t shutdown_count_count;
    bool stopped; /* by a command */
};

typedef void broker_listeners_fn(void *context, const struct listener_row *rows, uint32_t count);

enum listener_verb { LISTENER_START, LISTENER_STOP, LISTENER_RESTART, LISTENER_RELOAD };

struct listener_command {
    enum listener_verb verb;
    const char *type; /* "tcp"; NULL with LISTENER_RELOAD: every listener that has TLS */
    const char
        *which; /* a port, an address as `listeners` prints it, or the name: "1883", "0.0.0.0:1883", "external" */
    bool close_clients; /* with LISTENER_STOP and LISTENER_RESTART */
};

/* What became of one listener. */
struct listener_result {
    const char *name;    /* "mqtt:tcp" */
    const char *address; /* "0.0.0.0:1883", also for a bare port; what was asked for when there is no such listener */
    const char *error;   /* why not, perhaps several lines; NULL: it worked */
};

typedef void broker_listener_fn(void *context, const struct listener_result *results, uint32_t count);

/* A message that waits for its time ($delayed/). */
struct delayed_row {
    uint64_t id;
    int64_t due_ms;   /* since 1970 */
    uint64_t left_ms; /* until then; 0: it is being sent */
    struct slice client_id;
    struct slice topic; /* where it will be published; absent: its record cannot be read */
    uint64_t payload_bytes;
    uint8_t qos;
    bool retain;
};

/* Where a list goes on. Zero: from the beginning. */
struct delayed_place {
    uint64_t due_ms;
    uint64_t id;
};

/* A slice of them, the next to be sent first. `next` NULL: there are no more; else what to ask for next. */
typedef void broker_delayed_fn(void *context, const struct delayed_row *rows, uint32_t count,
                               const struct delayed_place *next);

typedef void broker_delete_fn(void *context, bool found);

struct delayed_summary {
    uint64_t count;
    uint64_t count_max;    /* since start */
    uint64_t count_limit;  /* 0: none */
    uint64_t memory_bytes; /* in use for them */
    uint64_t memory_limit;
    uint64_t published; /* since start */
    uint64_t dropped;
};

/* Every function gets `broker`. Lives as long as the commands are registered. */
struct broker_view {
    void *broker;
    struct store *store;    /* NULL: none */
    struct uv_loop_s *loop; /* the control thread's */
    struct banned *banned;  /* auth/banned.h */
    bool bans_apply;        /* there is a zone with enable_ban */
    /* "emqx@127.0.0.1"; valid as long as the view. */
    const char *(*node_name)(void *broker);
    enum broker_state (*state)(void *broker);
    /* Whole seconds since the broker started. */
    uint64_t (*uptime_s)(void *broker);
    /* Connected clients from `cursor` (0: from the start), at most `limit` rows and about 256 KiB of text in one answer.
     * With a `client_id` (valid until the answer) only that one. A client that stays connected all the while is listed
     * exactly once. -errno. */
    int (*list_clients)(void *broker, uint64_t cursor, uint32_t limit, struct slice client_id,
                        broker_clients_fn *on_rows, void *context);
    /* Ends the client's connection (v5: DISCONNECT 0x98). `client_id` is valid until the answer. -errno. */
    int (*kick)(void *broker, struct slice client_id, broker_kick_fn *on_done, void *context);
    /* In order of their start. -errno. */
    int (*list_listeners)(void *broker, broker_listeners_fn *on_rows, void *context);
    /* Starts, stops or restarts one listener, or reads TLS files again. What `command` points at is used during the call only.
     * -errno. */
    int (*command_listener)(void *broker, const struct listener_command *command, broker_listener_fn *on_done,
                            void *context);
    /* Delayed messages from `place` on, at most `limit` of them (and at most 64). -errno. */
    int (*list_delayed)(void *broker, struct delayed_place place, uint32_t limit, broker_delayed_fn *on_rows,
                        void *context);
    /* -errno. */
    int (*delete_delayed)(void *broker, uint64_t id, broker_delete_fn *on_done, void *context);
    /* At once. */
    struct delayed_summary (*sum_delayed)(void *broker);
    /* Starts a clean stop and returns. With `restart`, broker_run() returns RUN_RESTART at the end. */
    void (*stop)(void *broker, bool restart);
};

#endif
