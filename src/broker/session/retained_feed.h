/*
 * retained_feed: retained messages for new subscriptions, on their way to one session.
 *
 * What a subscription matches is looked up in slices: the first one at once, so that a few messages are exactly those of
 * the moment; the next one when the messages of the last have been sent. So the feed holds at most
 * RETAINED_FEED_SLICE messages (and those of one more slice) however many there are, and one position for each of
 * the session's subscriptions. While it is not empty live messages wait behind it (session_delivery.c).
 * Belongs to one session. Thread: owner.
 */
#ifndef BROKER_SESSION_RETAINED_FEED_H
#define BROKER_SESSION_RETAINED_FEED_H

#include "base/slice.h"
#include "broker/session/inflight.h"

struct retained_feed;
struct retainer;

#define RETAINED_FEED_SLICE 1000 /* topics looked at in one step */
#define RETAINED_TURN_MAX 16000  /* and in one turn of a worker, a millisecond or two */

/* A subscription that wants its retained messages. */
struct retained_request {
    struct slice filter;      /* copied */
    uint32_t subscription_id; /* 0: none */
    uint8_t qos;              /* granted */
    bool upgrade_qos;         /* zone.upgrade_qos */
};

/* Where retained messages come from, and how much may be looked up in this turn of the worker. */
struct retained_source {
    struct retainer *retainer;
    uint64_t now_ms;
    uint32_t *used; /* topics looked at in this turn, by all of the worker's sessions; at most RETAINED_TURN_MAX */
};

/* Adds the subscription's messages to `*feed`, which is made when NULL; a filter that waits there already is not
 * queued twice. -ENOMEM: some or all are missing. */
MUST_USE int retained_feed_add(struct retained_feed **feed, const struct retained_source *source,
                               const struct retained_request *request);

/* The subscription to `filter` ended: what has not been looked up for it yet is left out. */
void retained_feed_cancel(struct retained_feed *feed, struct slice filter);

/* The item to send next, borrowed; looks further slices up. False when there is nothing now: then
 * retained_feed_ended() says whether to come again in another turn. */
bool retained_feed_peek(struct retained_feed *feed, const struct retained_source *source,
                        struct delivery_item *out_item);
/* Takes what peek showed; its reference is the caller's. */
void retained_feed_pop(struct retained_feed *feed);
/* Nothing is left: free it. */
bool retained_feed_ended(const struct retained_feed *feed);
/* Cancels up to `most` subscriptions that wait; how many. For taking a large feed down in slices. */
uint32_t retained_feed_drop(struct retained_feed *feed, uint32_t most);
/* Drops what is left. NULL is fine. */
void retained_feed_free(struct retained_feed *feed);

#endif
