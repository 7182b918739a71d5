/*
 * message_event: what callbacks are told of a message that is on its way.
 */
#ifndef HOOK_MESSAGE_EVENT_H
#define HOOK_MESSAGE_EVENT_H

#include "hook/events.h"

struct message;

/* As it was published; borrowed from `message`. `now_ms`: the clock of struct message. Thread: any, with a reference. */
struct hook_message hook_message_of(const struct message *message, uint64_t now_ms);

/* Runs message.dropped, for a point that is not empty (hook_any()). `client_id` and `user_name` of the subscriber, data NULL: none; `reason` static
 * (struct hook_dropped). `message` NULL: it is on disk only. Thread: any, online. */
void hook_tell_dropped(struct slice client_id, struct slice user_name, const char *reason,
                       const struct message *message, uint64_t now_ms);

#endif
