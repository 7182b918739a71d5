/*
 * retained_feed: retained messages for new subscriptions, on their way to one session.
 *
 * What a subscription matches is looked up in slices: the first one at once, so that a few messages are exactly those of
 * the moment; the next one when the messages of the last have been sent. So the feed holds at most
 * RETAINED_FEED_SLICE messages (and those of one more slice) however many there are, and one position for each of
 * the session's subscriptions. While it is not empty live messages wait behind it (session_delivery.c).
 * A message whose payload is on disk only is read by a job, with some of those behind it (retainer/retained_read.h); and what is still
 * being loaded at the node's start is waited for. Meanwhile the feed is not asked again: it wakes the session.
 * Belongs to one session. Thread: owner.
 */
#ifndef BROKER_SESSION_RETAINED_FEED_H
#define BROKER_SESSION_RETAINED_FEED_H

#include "base/slice.h"
#include "broker/session/inflight.h"

struct retained_feed;
struct retainer;
struct worker;

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
    struct worker *worker;
    void (*wake)(
        void *
            context); /* when the feed has waited, in a turn of its own; not after retained_feed_stop() or the feed's end */
    void *context;
    uint64_t now_ms;
    uint32_t *used; /* topics looked at in this turn, by all of the worker's sessions; at most RETAINED_TURN_MAX */
};

/* Adds the subscription's messages to `*feed`, which is made when NULL; a filter that waits there already is not
 * queued twice. -ENOMEM: some or all are missing. */
MUST_USE int retained_feed_add(struct retained_feed **feed, const struct retained_source *source,
                               const struct retained_request *request);

/* The subscription to `filter` ended: what has not been looked up for it yet is left out. */
void retained_feed_cancel(struct retained_feed *feed, struct slice filter);

/* The item to send next, borrowed; looks further slices up, or has a job read it. False when there is nothing now: then the feed has
 * ended (retained_feed_ended()), or waits and calls the source's `wake` (retained_feed_waits()), or goes on in another turn. */
bool retained_feed_peek(struct retained_feed *feed, const struct retained_source *source,
                        struct delivery_item *out_item);
/* Takes what peek showed; its reference is the caller's. */
void retained_feed_pop(struct retained_feed *feed);
/* Does it wait for a job or for the loading? */
bool retained_feed_waits(const struct retained_feed *feed);
/* Calls `wake` in the next turn. After retained_feed_peek(). */
void retained_feed_go_on_later(struct retained_feed *feed);
/* Waits no more: the source's context is about to go. Of the feed only retained_feed_drop() and retained_feed_free() may follow. NULL is fine. */
void retained_feed_stop(struct retained_feed *feed);
/* Nothing is left: free it. */
bool retained_feed_ended(const struct retained_feed *feed);
/* Cancels up to `most` subscriptions that wait; how many. For taking a large feed down in slices. */
uint32_t retained_feed_drop(struct retained_feed *feed, uint32_t most);
/* Drops what is left. NULL is fine. */
void retained_feed_free(struct retained_feed *feed);

#endif
