/*
 * ctl_commands: the commands of emqx_ctl about the broker itself: status, broker, clients, listeners, delayed, banned, store; and the hidden
 * command `node`, by which `emqx ping|stop|restart` reach the running broker.
 * Thread: control.
 */
#ifndef MGMT_CTL_COMMANDS_H
#define MGMT_CTL_COMMANDS_H

#include "base/compiler.h"
#include "hook/ctl_command.h"
#include "mgmt/broker_view.h"

/* Registers them all. `view` lives as long as the registry. -EEXIST, -ENOMEM, -ENOSPC. */
MUST_USE int ctl_commands_register(struct ctl_registry *registry, const struct broker_view *view);

/* The rows behind it, each in a file of its own; their context is the view. */
extern const struct ctl_command ctl_node_command;
extern const struct ctl_command ctl_status_command;
extern const struct ctl_command ctl_broker_command;
extern const struct ctl_command ctl_clients_command;
extern const struct ctl_command ctl_listeners_command;
extern const struct ctl_command ctl_delayed_command;
extern const struct ctl_command ctl_banned_command;
extern const struct ctl_command ctl_store_command;

#define UPTIME_TEXT_MAX 80

/* "2 hours, 3 minutes, 4 seconds", as the original says it. */
void uptime_text(uint64_t uptime_s, char out_text[UPTIME_TEXT_MAX]);

#endif
