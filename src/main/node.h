/*
 * node: the parts of a running broker, built in order and taken down in reverse. Internal to main/.
 * Thread: control.
 */
#ifndef MAIN_NODE_H
#define MAIN_NODE_H

#include "broker/broker.h"
#include "broker/zone.h"
#include "conf/conf.h"
#include "ctl/instance.h"
#include "event/loop_mailbox.h"
#include "hook/ctl_command.h"
#include "main/run.h"
#include "mgmt/broker_view.h"
#include "mgmt/ctl_server.h"
#include "monitor/sys_topics.h"

#include <uv.h>

struct acl_file;
struct auto_subscription;
struct ban_guard;
struct node_listeners;
struct plugin_host;
struct presence;
struct rewrite;
struct store;
struct store_watch;

struct node {
    const struct run_options *options;
    uv_loop_t loop;
    bool loop_open;
    uv_signal_t signals[2];
    uint32_t signal_count;
    struct conf *conf;
    struct instance_lock *lock;
    struct zone_table *zones;
    struct node_listeners *listeners; /* node_listeners.h */
    struct acl_file *acl_file;        /* NULL: the configuration names none */
    struct presence *presence;        /* the modules; NULL: off */
    struct auto_subscription *auto_subscription;
    struct rewrite *rewrite;
    struct store *store; /* node_store.h */
    struct store_watch *store_watch;
    struct broker *broker;
    bool workers_running;
    struct loop_mailbox *mailbox;
    struct sys_topics *sys_topics;
    struct ban_guard *bans;
    struct plugin_host *plugins;
    struct ctl_registry *ctl_registry;
    struct ctl_server *ctl_server;
    struct broker_view view;
    const char *name; /* node.name */
    uint64_t started_ms;
    enum broker_state state;
    bool restart;
    bool log_to_console;
    bool unused_keys; /* the configuration sets keys that this version does not use */
    int exit_status;
};

/* node.c: reads the configuration as it is now. 0, or -errno with `*out_error` saying why, which the caller frees (NULL: memory
 * is short). */
MUST_USE int node_read_configuration(const struct node *node, struct conf **out_conf, char **out_error);

/* node.c: the data directory as configured, absolute. -ENAMETOOLONG. */
MUST_USE int node_data_dir(const struct node *node, char out_dir[PATH_MAX]);

/* node_acl.c: puts the rules of acl_file into effect; before the listeners. A failure has been reported. */
MUST_USE int node_open_acl(struct node *node);
/* Adds `emqx_ctl acl`. -ENOMEM, -ENOSPC. */
MUST_USE int node_register_acl_command(struct node *node);
/* After the workers have stopped and the commands have ended. */
void node_close_acl(struct node *node);

/* node_modules.c: puts the modules that are on into effect; before the workers run. A failure has been reported. */
MUST_USE int node_open_modules(struct node *node);
/* After the last session has ended. */
void node_close_modules(struct node *node);

/* node_listeners.c: opens all listeners and lets the workers accept. A failure has been reported. Prints a line each. */
MUST_USE int node_open_listeners(struct node *node);
/* Nothing more is accepted; the sockets are closed. Waits for the workers. */
void node_close_listeners(struct node *node);
/* After the last connection and the loop's end. */
void node_free_listeners(struct node *node);
/* For node->view. */
int node_list_listeners(void *broker, broker_listeners_fn *on_rows, void *context);
/* node_listener_jobs.c: likewise. */
int node_command_listener(void *broker, const struct listener_command *command, broker_listener_fn *on_done,
                          void *context);

/* node_workers.c: runs `run` on every worker and waits until all have. Only where waiting is right: start and stop. */
void node_on_all_workers(struct node *node, void (*run)(struct worker *worker, void *context), void *context);
/* Ends all connections and waits, for two seconds at most, until their last packets have left. */
void node_close_clients(struct node *node);
/* After the workers have stopped: suspends durable sessions, ends the others and frees what waited for readers. */
void node_end_sessions(struct node *node);

/* node_restore.c: builds the sessions that the store has; after the broker and the zones, before the workers run. -EIO (reported), -ENOMEM. */
MUST_USE int node_restore_sessions(struct node *node);
/* Likewise the delayed messages, after the sessions. */
MUST_USE int node_restore_delayed(struct node *node);

/* What cannot be read ("sessions") is reported, with advice. */
void node_report_unreadable(struct node *node, const char *what);

/* node_bans.c: bans of earlier runs are in force when it returns; after the workers run, before the listeners are open. -errno; -EIO has been
 * reported. */
MUST_USE int node_open_bans(struct node *node);

/* node_plugins.c: loads the plugins that are remembered and adds `emqx_ctl plugins`; after the commands are registered, before the listeners are open. A
 * failure has been reported. */
MUST_USE int node_open_plugins(struct node *node);

/* node_delayed.c: for node->view. */
int node_list_delayed(void *broker, struct delayed_place place, uint32_t limit, broker_delayed_fn *on_rows,
                      void *context);
int node_delete_delayed(void *broker, uint64_t id, broker_delete_fn *on_done, void *context);
struct delayed_summary node_sum_delayed(void *broker);

/* node_view.c: fills node->view. */
void node_make_view(struct node *node);

/* node.c: begins the stop; node_run() returns after it. */
void node_stop(struct node *node, bool restart);

#endif
