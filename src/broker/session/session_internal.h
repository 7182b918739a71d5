/*
 * session_internal: what session.c and session_delivery.c share.
 */
#ifndef BROKER_SESSION_SESSION_INTERNAL_H
#define BROKER_SESSION_SESSION_INTERNAL_H

#include "broker/session/session.h"

/* The session's flow, made when it is first needed. NULL when memory is short. */
struct session_flow *session_flow_get(struct session *session);

/* The session was left, perhaps for long: the memory that its flow holds in reserve goes. */
void session_flow_trim(struct session *session);

/* What it published and has not released yet, made when it is first needed. NULL when memory is short. */
struct awaiting_rel *session_awaiting_rel_get(struct session *session);

/* The slow tick of an attached session: retransmission and forgotten inbound QoS 2 IDs. Restarts the timer while needed. */
void session_tick(struct session *session, uint64_t now_ms);

/* Goes on with what was left over for another turn, or with messages that were read. */
void session_go_on(struct session *session);

/* Runs message.dropped, for a point that is not empty (hook_any()): this session does not get the message, which is NULL when it is on disk only.
 * `reason`: static word (struct hook_dropped). One that has ended is no event. */
void session_tell_dropped(const struct session *session, const struct message *message, const char *reason);

struct retained_feed; /* retained_feed.h */

/* What is left of an ended session goes in later turns, bounded in each; `feed` (NULL is fine) with it. */
void session_take_down_later(struct session *session, struct retained_feed *feed);

#endif
