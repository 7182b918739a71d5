/*
 * deliver_hook: message.deliver: what a client is about to be sent may be another message than the one its session keeps.
 *
 * The session keeps the message as it was published, for others have the same one: what callbacks change is a copy for this one PUBLISH.
 * Thread: owner.
 */
#ifndef BROKER_CHANNEL_DELIVER_HOOK_H
#define BROKER_CHANNEL_DELIVER_HOOK_H

#include "broker/channel/connection.h"

/* Runs message.deliver, for a point that is not empty (hook_any()). Where a callback has changed something `publish->message` is a new message,
 * whose reference is the caller's. False: memory is short. */
bool channel_run_deliver(const struct connection *connection, struct session_publish *publish);

#endif
