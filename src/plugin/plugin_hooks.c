/*
 * plugin_hooks: callbacks of plugins on the hook chains, and their answers that come later.
 */
#include "plugin/plugin_events_internal.h"

#include "hook/hook_memory.h"
#include "hook/hook_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct plugin_hook {
    struct plugin_hook *next;
    struct hook *hook;
    enum hook_point point;
    struct plugin_call call;
};

struct emqc_ticket {
    struct hook_ticket *ticket;
    enum hook_point point;
    struct plugin_call call; /* the answer */
};

static enum hook_verdict on_event(void *context, void *event)
{
    const struct plugin_hook *hook = context;

    return plugin_event_call(hook->point, &hook->call, event);
}

int plugin_hook_add(struct emqc_plugin_instance *self, const struct emqc_hook *options)
{
    struct plugin_hook *hook;
    struct hook_options hook_options = {.run = on_event, .owner = self->name};
    int err;

    if (!EMQC_HAS(options, struct emqc_hook, context) || options->run == NULL ||
        (unsigned)options->point >= HOOK_POINT_COUNT)
        return -EINVAL;
    for (hook = self->hooks; hook != NULL; hook = hook->next) {
        if (hook->point == (enum hook_point)options->point && hook->call.run == options->run &&
            hook->call.context == options->context)
            return -EEXIST;
    }
    hook = calloc(1, sizeof(*hook));
    if (hook == NULL)
        return -ENOMEM;
    hook->point = (enum hook_point)options->point;
    hook->call = (struct plugin_call){.run = options->run, .context = options->context};
    hook_options.point = hook->point;
    hook_options.priority = options->priority;
    hook_options.context = hook;
    err = hook_add(&hook_options, &hook->hook);
    if (err < 0) {
        free(hook);
        return err;
    }
    hook->next = self->hooks;
    self->hooks = hook;
    return 0;
}

void plugin_hooks_remove(struct emqc_plugin_instance *self)
{
    while (self->hooks != NULL) {
        struct plugin_hook *hook = self->hooks;
        self->hooks = hook->next;
        hook_remove(hook->hook);
        free(hook);
    }
}

struct emqc_slice plugin_keep(struct emqc_event *event, struct emqc_slice text)
{
    const struct plugin_place *place = event->broker;
    struct emqc_slice none = {NULL, 0};

    return place->memory == NULL ? none : plugin_slice(hook_memory_copy(place->memory, plugin_slice_in(text)));
}

struct emqc_ticket *plugin_defer(struct emqc_event *event)
{
    const struct plugin_place *place = event->broker;
    struct emqc_ticket *ticket = calloc(1, sizeof(*ticket));

    if (ticket == NULL)
        return NULL;
    ticket->point = place->point;
    ticket->ticket = hook_defer(place->event);
    if (ticket->ticket == NULL) {
        free(ticket);
        return NULL;
    }
    return ticket;
}

static enum hook_verdict apply_answer(void *answer, void *event)
{
    struct emqc_ticket *ticket = answer;
    enum hook_verdict verdict = HOOK_NEXT;

    if (event == NULL)
        (void)ticket->call.apply(ticket->call.answer, NULL);
    else
        verdict = plugin_event_call(ticket->point, &ticket->call, event);
    free(ticket);
    return verdict == HOOK_STOP ? HOOK_STOP : HOOK_NEXT;
}

void plugin_complete(struct emqc_ticket *ticket, emqc_apply_fn *apply, void *answer)
{
    ticket->call = (struct plugin_call){.apply = apply, .answer = answer};
    hook_complete(ticket->ticket, apply_answer, ticket);
}
