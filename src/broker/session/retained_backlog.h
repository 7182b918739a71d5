/*
 * retained_backlog: retained messages that a new subscription matched and that are still to be sent.
 *
 * They don't go through the bounded message queue, so that a subscriber of many topics gets all of them; they cost 16
 * bytes each and a reference. While some wait, live messages wait behind them, so that an older value never
 * follows a newer one.
 * Belongs to one session. Thread: owner.
 */
#ifndef BROKER_SESSION_RETAINED_BACKLOG_H
#define BROKER_SESSION_RETAINED_BACKLOG_H

#include "broker/session/inflight.h"

struct retained_backlog;

/* Adds an item with its reference to `*backlog`, which is made when NULL. -ENOMEM: not taken. */
MUST_USE int retained_backlog_push_take(struct retained_backlog **backlog, const struct delivery_item *item);
/* The oldest item; false when there is none (NULL is fine). */
bool retained_backlog_peek(const struct retained_backlog *backlog, struct delivery_item *out_item);
/* Takes what peek showed; its reference is the caller's. Frees the backlog with its last item: `*backlog` is then NULL. */
void retained_backlog_pop(struct retained_backlog **backlog);
/* Drops what is left. NULL is fine. */
void retained_backlog_free(struct retained_backlog *backlog);

#endif
