/*
 * tracker: has every message arrived, once, and in its publisher's order?
 *
 * A publisher's messages are a flow, numbered from 0. For each message under way the flow counts the deliveries that
 * are still missing; each subscriber has a view with the number it expects next of each flow it hears. A delivery is
 * settled when the subscriber's handshake is as far as it can know; that is what returns the publisher's credit.
 * Thread: owner.
 */
#ifndef BENCH_TRACKER_H
#define BENCH_TRACKER_H

#include "base/compiler.h"
#include "stamp.h"

struct flow {
    uint64_t next;    /* number of the next message */
    uint64_t base;    /* all messages below are complete */
    uint64_t settled; /* deliveries settled */
    uint32_t mask;
    uint32_t *missing; /* deliveries missing, by number & mask */
};

/* What one subscriber has heard of flows first..first+count-1. */
struct flow_view {
    uint32_t first;
    uint32_t count;
    uint64_t *next; /* one above the highest number heard, by flow - first */
    uint64_t *gaps; /* numbers below that which were not heard, by flow - first */
};

struct tracker {
    struct flow *flows;
    uint32_t flow_count;
    uint32_t deliveries; /* each message's */
    bool whole_flows;    /* each subscriber hears all messages of the flows in its view */
    uint64_t delivered;
    uint64_t duplicates;
    uint64_t out_of_order;
    uint64_t foreign; /* without a stamp, or a number never sent to this subscriber */
};

/* `ring_size` (a power of two) bounds how far apart the oldest incomplete and the newest message of a flow may be.
 * Returns 0 or -ENOMEM. */
int tracker_init(struct tracker *tracker, uint32_t flow_count, uint32_t ring_size);
/* Zeroed storage is fine. */
void tracker_fini(struct tracker *tracker);

/* Makes a view on flows first..first+count-1. Returns 0 or -ENOMEM. */
int flow_view_init(struct flow_view *view, uint32_t first, uint32_t count);
void flow_view_fini(struct flow_view *view);

/* Deliveries that never came. */
uint64_t tracker_missing(const struct tracker *tracker);

/* A number below the view's next arrived: sorts it into the faults. For tracker_receive(), with its result. */
bool tracker_receive_late(struct tracker *tracker, struct flow_view *view, const struct stamp *stamp);

/* True when the flow may have no further message under way: `window` are not settled, or the ring is full. */
static inline bool flow_full(const struct flow *flow, uint32_t window, uint32_t deliveries)
{
    return flow->next * deliveries - flow->settled > (uint64_t)(window - 1) * deliveries ||
           flow->next - flow->base > flow->mask;
}

/* Starts the flow's next message. The flow must not be full. Returns its number. */
static inline uint64_t flow_send(struct flow *flow, uint32_t deliveries)
{
    flow->missing[flow->next & flow->mask] = deliveries;
    return flow->next++;
}

/* Counts one delivery. */
static inline void flow_deliver(struct flow *flow, uint64_t number)
{
    if (--flow->missing[number & flow->mask] > 0)
        return;
    while (flow->base < flow->next && flow->missing[flow->base & flow->mask] == 0)
        flow->base++;
}

/* A subscriber received a message. True: it counts as a delivery, still to be settled. False: it is one of the faults. */
static inline bool tracker_receive(struct tracker *tracker, struct flow_view *view, const struct stamp *stamp)
{
    uint32_t index = stamp->publisher - view->first;
    struct flow *flow;

    if (UNLIKELY(index >= view->count || stamp->sequence >= tracker->flows[stamp->publisher].next)) {
        tracker->foreign++;
        return false;
    }
    flow = &tracker->flows[stamp->publisher];
    if (UNLIKELY(stamp->sequence < view->next[index]))
        return tracker_receive_late(tracker, view, stamp);
    if (UNLIKELY(stamp->sequence < flow->base || flow->missing[stamp->sequence & flow->mask] == 0)) {
        tracker->duplicates++; /* of a message that another member of the shared group got */
        return false;
    }
    view->gaps[index] += stamp->sequence - view->next[index];
    view->next[index] = stamp->sequence + 1;
    tracker->delivered++;
    flow_deliver(flow, stamp->sequence);
    return true;
}

#endif
