/*
 * plugin_events_internal: the broker's events (hook/events.h) in the words of emqc/plugin.h, and back.
 */
#ifndef PLUGIN_PLUGIN_EVENTS_INTERNAL_H
#define PLUGIN_PLUGIN_EVENTS_INTERNAL_H

#include "hook/events.h"
#include "hook/hook.h"
#include "plugin/plugin_internal.h"

/* What is called with the event: a callback (`run`), or what applies an answer (`apply`). */
struct plugin_call {
    emqc_hook_fn *run;
    void *context;
    emqc_apply_fn *apply;
    void *answer;
};

/* What emqc_event.broker points at, during a call. */
struct plugin_place {
    void *event;                 /* the broker's */
    struct hook_memory **memory; /* NULL: of an event without */
    enum hook_point point;
};

/* Calls with the plugin's form of `event`, and brings back what was changed. Thread: the event's. */
enum hook_verdict plugin_event_call(enum hook_point point, const struct plugin_call *call, void *event);

typedef enum hook_verdict plugin_event_fn(const struct plugin_call *call, void *event);

/* plugin_events_message.c */
plugin_event_fn plugin_on_publish, plugin_on_deliver, plugin_on_acked, plugin_on_dropped, plugin_on_psk_lookup,
    plugin_on_enhanced;

/* ---- for both files ---- */

/* Fills `out` and gives it back; NULL for no client. */
const struct emqc_client *plugin_client(struct emqc_client *out, const struct client_info *client);
/* What a plugin says is a reason code. */
enum reason_code plugin_reason(int code);
enum hook_verdict plugin_call_with(const struct plugin_call *call, struct emqc_event *event);

static inline struct emqc_event plugin_event_head(size_t size, struct plugin_place *place)
{
    struct emqc_event head = {size, (enum emqc_point)place->point, place};
    return head;
}

#endif
