/*
 * plugin_timers: timers of plugins on the control thread's loop.
 */
#include "plugin/plugin_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

struct emqc_timer {
    uv_timer_t handle;
    struct emqc_timer *next;
    struct emqc_plugin_instance *instance;
    void (*run)(void *context);
    void *context;
};

static void on_timeout(uv_timer_t *handle)
{
    struct emqc_timer *timer = handle->data;

    timer->run(timer->context);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_timer(struct emqc_timer *timer)
{
    uv_close((uv_handle_t *)&timer->handle, on_closed);
}

int plugin_timer_start(struct emqc_plugin_instance *self, uint64_t delay_ms, uint64_t repeat_ms,
                       void (*run)(void *context), void *context, struct emqc_timer **out_timer)
{
    struct emqc_timer *timer = calloc(1, sizeof(*timer));

    if (timer == NULL)
        return -ENOMEM;
    uv_timer_init(self->host->options.loop, &timer->handle);
    timer->handle.data = timer;
    timer->instance = self;
    timer->run = run;
    timer->context = context;
    timer->next = self->timers;
    self->timers = timer;
    uv_timer_start(&timer->handle, on_timeout, delay_ms, repeat_ms);
    if (out_timer != NULL)
        *out_timer = timer;
    return 0;
}

void plugin_timer_stop(struct emqc_timer *timer)
{
    struct emqc_timer **place;

    if (timer == NULL)
        return;
    place = &timer->instance->timers;
    while (*place != timer)
        place = &(*place)->next;
    *place = timer->next;
    close_timer(timer);
}

void plugin_timers_remove(struct emqc_plugin_instance *self)
{
    while (self->timers != NULL)
        plugin_timer_stop(self->timers);
}
