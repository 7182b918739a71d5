/*
 * tracker: see tracker.h.
 */
#include "tracker.h"

#include <errno.h>
#include <stdlib.h>

int tracker_init(struct tracker *tracker, uint32_t flow_count, uint32_t ring_size)
{
    memset(tracker, 0, sizeof(*tracker));
    if (flow_count == 0)
        return 0;
    tracker->flows = calloc(flow_count, sizeof(*tracker->flows));
    if (tracker->flows == NULL)
        return -ENOMEM;
    tracker->flow_count = flow_count;
    for (uint32_t i = 0; i < flow_count; i++) {
        tracker->flows[i].mask = ring_size - 1;
        tracker->flows[i].missing = calloc(ring_size, sizeof(*tracker->flows[i].missing));
        if (tracker->flows[i].missing == NULL) {
            tracker_fini(tracker);
            return -ENOMEM;
        }
    }
    return 0;
}

void tracker_fini(struct tracker *tracker)
{
    for (uint32_t i = 0; i < tracker->flow_count; i++)
        free(tracker->flows[i].missing);
    free(tracker->flows);
    memset(tracker, 0, sizeof(*tracker));
}

int flow_view_init(struct flow_view *view, uint32_t first, uint32_t count)
{
    *view = (struct flow_view){.first = first, .count = count};
    if (count == 0)
        return 0;
    view->next = calloc(count, sizeof(*view->next));
    view->gaps = calloc(count, sizeof(*view->gaps));
    if (view->next == NULL || view->gaps == NULL) {
        flow_view_fini(view);
        return -ENOMEM;
    }
    return 0;
}

void flow_view_fini(struct flow_view *view)
{
    free(view->next);
    free(view->gaps);
    *view = (struct flow_view){0};
}

uint64_t tracker_missing(const struct tracker *tracker)
{
    uint64_t missing = 0;

    for (uint32_t i = 0; i < tracker->flow_count; i++) {
        const struct flow *flow = &tracker->flows[i];
        for (uint64_t number = flow->base; number < flow->next; number++)
            missing += flow->missing[number & flow->mask];
    }
    return missing;
}

/*
 * A subscriber that hears whole flows has heard every number below `next` but the gaps; so without a gap a lower
 * number is a second copy. In a part of a flow, gaps are what the others got: there a second copy is told by the
 * message being complete, or being the very last one heard.
 */
bool tracker_receive_late(struct tracker *tracker, struct flow_view *view, const struct stamp *stamp)
{
    struct flow *flow = &tracker->flows[stamp->publisher];
    uint32_t index = stamp->publisher - view->first;
    bool complete = stamp->sequence < flow->base || flow->missing[stamp->sequence & flow->mask] == 0;

    if (complete || stamp->sequence + 1 == view->next[index] || (tracker->whole_flows && view->gaps[index] == 0)) {
        tracker->duplicates++;
        return false;
    }
    if (view->gaps[index] > 0)
        view->gaps[index]--;
    tracker->out_of_order++;
    tracker->delivered++;
    flow_deliver(flow, stamp->sequence);
    return true;
}
