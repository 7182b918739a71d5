/*
 * node_listeners: the listeners of the node. Internal to main/.
 *
 * A slot is a listener by type and name. Its `listener` is the incarnation with the settings of now; one that was replaced by a
 * restart is retired, and freed when its last connection is gone. Thread: control, for everything here.
 */
#ifndef MAIN_NODE_LISTENERS_H
#define MAIN_NODE_LISTENERS_H

#include "main/node.h"
#include "net/listener.h"

#define LISTENER_SLOTS_MAX 256u        /* more are refused */
#define LISTENER_ADDRESS_TEXT 160      /* bytes of an address in a message */
#define LISTENER_REASON_MAX 2048u      /* bytes of a message; what is longer is cut */
#define LISTENER_HOUSEKEEPING_MS 30000 /* how often retired listeners are looked at when TLS files are not */

struct listener_slot {
    enum listener_type type;
    char *name;
    struct listener *listener; /* NULL while the first one is being opened */
    bool busy;                 /* a command is at work on it */
    int64_t warned_day;        /* days since 1970: when its certificate's end was last spoken of */
    char *reload_error;        /* what the log said last; NULL: nothing */
};

struct retired_listener {
    struct listener *listener;
    struct retired_listener *next;
};

struct node_listeners {
    struct node *node;
    struct listener_slot *slots[LISTENER_SLOTS_MAX];
    uint32_t slot_count;
    struct retired_listener *retired;
    uv_timer_t timer;
    bool timer_open;
    bool checks_files;
};

/* "0.0.0.0:1883" also for a bare port. */
void node_listener_address(const struct listener_options *options, char out[LISTENER_ADDRESS_TEXT]);
/* The end of "Failed to start mqtt:tcp listener on ... - ", with what to do. `error` as listener_open() gave it. */
void node_listener_reason(const struct node *node, const struct listener_options *options, int err, const char *error,
                          char out[LISTENER_REASON_MAX]);
/* Makes the listener of `options` (taken on success). As listener_new(). */
MUST_USE int node_listener_make(struct node *node, struct listener_options *options, struct listener **out_listener,
                                char error[LISTENER_ERROR_MAX]);
/* A new slot without a listener. -ENOSPC, -ENOMEM. */
MUST_USE int node_listener_add_slot(struct node *node, enum listener_type type, const char *name,
                                    struct listener_slot **out_slot);
/* Takes the last slot away again: it has no listener. */
void node_listener_drop_slot(struct node *node, struct listener_slot *slot);
/* Marks all that the listener has succeeded as closing (listener_set_closing()). */
void node_listener_close_elders(struct node *node, const struct listener *listener);
/* Closes the listener and keeps it until nothing holds it. No worker watches it. */
void node_listener_retire(struct node *node, struct listener *listener);

/* node_listener_tls.c: begins to look after certificates: changed files, coming ends. -errno. */
MUST_USE int node_listener_tls_start(struct node *node);
/* Reads the TLS files of one listener again. 0, or -errno with `error`; then nothing has changed. Logs the success. */
MUST_USE int node_listener_tls_reload(struct listener_slot *slot, char error[LISTENER_ERROR_MAX]);
/* Logs what the load of its files found; warns of trial certificates and of ends that are near. */
void node_listener_tls_warn(struct node *node, struct listener_slot *slot);

#endif
