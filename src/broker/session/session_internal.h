/*
 * session_internal: what session.c and session_delivery.c share.
 */
#ifndef BROKER_SESSION_SESSION_INTERNAL_H
#define BROKER_SESSION_SESSION_INTERNAL_H

#include "broker/session/session.h"

/* The session's flow, made when it is first needed. NULL when memory is short. */
struct session_flow *session_flow_get(struct session *session);

/* The slow tick of an attached session: retransmission and forgotten inbound QoS 2 IDs. Restarts the timer while needed. */
void session_tick(struct session *session, uint64_t now_ms);

struct shared_target; /* broker/session/subscription.h */

/* The shared subscriptions that an ending session had. */
struct shared_targets {
    struct shared_target **items;
    uint32_t count;
};

/* Gives queued messages of shared subscriptions, which were never sent, to other members of their groups. The
 * session has left the groups already; the targets are valid in this turn. Empties the queue if there are targets. */
void session_redispatch_shared(struct session *session, const struct shared_targets *targets);

#endif
