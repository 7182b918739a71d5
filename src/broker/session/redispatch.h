/*
 * redispatch: what an ended session had queued for its shared subscriptions and never sent goes to other members of the groups.
 *
 * Messages in memory go at once. Those of a durable session that are on disk only are read back first, slice by slice
 * (queue_load.h); meanwhile the session has ended, its client ID is free, and its record stays with an expiry interval of 0: so a
 * restart ends it once more, and nothing is lost. The rows of what was handed on, and the record, are deleted when the others have stored theirs
 * (session_host_ops.when_settled).
 * Belongs to the session's worker. Thread: owner.
 */
#ifndef BROKER_SESSION_REDISPATCH_H
#define BROKER_SESSION_REDISPATCH_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct redispatch;
struct retained_feed;
struct session;
struct session_host;

/* Before the subscriptions of an ending session go: its shared ones, if messages may be queued for them. NULL: none, or short memory. */
struct redispatch *redispatch_new(const struct session *session);
/* NULL is fine. */
void redispatch_free(struct redispatch *redispatch);

/* Hands on what is in memory, oldest first, as far as nothing before it is on disk only; all else that is in the queue goes, if the session is not
 * durable. True: all is done. */
MUST_USE bool redispatch_at_once(struct session *session, struct redispatch *redispatch);

/* The rest in later turns, then session_take_down_later() with `feed`. Takes `redispatch`. */
void redispatch_begin_take(struct session *session, struct redispatch *redispatch, struct retained_feed *feed);
/* A slice of it; messages were read, or it is the next turn. */
void redispatch_go_on(struct session *session);

/* The process ends: what is left stays stored. Thread: control, after the workers have stopped. */
void redispatch_finish(struct session_host *host);

#endif
