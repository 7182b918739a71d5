/*
 * ban_guard: callbacks on the workers, and what they post to the control thread.
 */
#include "auth/ban_guard.h"

#include "auth/ban_sweep.h"
#include "auth/banned.h"
#include "auth/flapping.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "broker/zone.h"
#include "event/loop_mailbox.h"
#include "hook/events.h"
#include "hook/hook.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#define REPORTS_MAX                                                                                                    \
    1024u /* flapping clients on their way to the control thread; more are let go, and counted from 1 again */
#define HOOKS 3u

struct ban_guard {
    struct banned *banned;
    struct ban_sweep *sweep;
    struct flapping *flapping;
    struct loop_mailbox *mailbox; /* reports */
    struct hook *hooks[HOOKS];
    uv_timer_t clean;
    _Atomic uint32_t report_count;
    bool stopped; /* control */
};

/* A flapping client. */
struct report {
    struct loop_post post;
    struct ban_guard *guard;
    struct zone_flapping settings;
    size_t len;
    uint8_t client_id[];
};

/* ---- on workers ---- */

static bool looks_at_bans(const struct client_info *client)
{
    return client->zone_settings != NULL && client->zone_settings->enable_ban;
}

/* Banned, or flapping and its ban is on its way to the control thread. */
static bool is_banned(const struct ban_guard *guard, const struct client_info *client)
{
    if (!looks_at_bans(client))
        return false;
    return banned_find(guard->banned, client) != NULL ||
           (client->zone_settings->flapping.is_enabled && flapping_bars(guard->flapping, client->client_id));
}

static enum hook_verdict on_authenticate(void *context, void *event)
{
    struct hook_authenticate *authenticate = event;

    if (!is_banned(context, authenticate->client))
        return HOOK_NEXT;
    metric_add(METRIC_BANNED_REFUSED, 1);
    authenticate->result = REASON_BANNED;
    authenticate->reason = "banned";
    return HOOK_STOP;
}

static void on_report(struct loop_post *post);

static void report_flapping(struct ban_guard *guard, const struct client_info *client)
{
    struct report *report = NULL;

    if (atomic_fetch_add_explicit(&guard->report_count, 1, memory_order_relaxed) < REPORTS_MAX)
        report = malloc(sizeof(*report) + client->client_id.len);
    if (report == NULL) {
        atomic_fetch_sub_explicit(&guard->report_count, 1, memory_order_relaxed);
        flapping_lift(guard->flapping, client->client_id);
        return;
    }
    report->post.run = on_report;
    report->guard = guard;
    report->settings = client->zone_settings->flapping;
    report->len = client->client_id.len;
    memcpy(report->client_id, client->client_id.data, report->len);
    loop_mailbox_post(guard->mailbox, &report->post);
}

static void note(struct ban_guard *guard, const struct client_info *client, enum flapping_event event)
{
    const struct zone_flapping *settings;

    if (!looks_at_bans(client) || !client->zone_settings->flapping.is_enabled)
        return;
    settings = &client->zone_settings->flapping;
    if (flapping_note(guard->flapping, client->client_id, event,
                      (struct flapping_threshold){settings->count, settings->period_ms}, clock_mono_ms()))
        report_flapping(guard, client);
}

static enum hook_verdict on_connected(void *context, void *event)
{
    const struct hook_connected *connected = event;

    if (connected->code == REASON_SUCCESS) /* who is refused has not come */
        note(context, connected->client, FLAPPING_CONNECT);
    return HOOK_NEXT;
}

static enum hook_verdict on_disconnected(void *context, void *event)
{
    note(context, ((const struct hook_disconnected *)event)->client, FLAPPING_DISCONNECT);
    return HOOK_NEXT;
}

/* ---- on the control thread ---- */

static void ban_flapping(struct ban_guard *guard, const struct report *report)
{
    const struct zone_flapping *settings = &report->settings;
    struct slice client_id = slice_make(report->client_id, report->len);
    int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
    struct ban_options options = {
        .kind = BAN_CLIENT_ID,
        .who = client_id,
        .reason = SLICE_LITERAL("flapping"),
        .by = SLICE_LITERAL(BAN_BY_FLAPPING),
        .at_s = now_s,
        .until_s = now_s + settings->ban_s,
    };
    int err = banned_add(guard->banned, &options, NULL, NULL);

    if (err < 0) {
        log_client_limited(LOG_LEVEL_ERROR, client_id, NULL, "[Banned] a flapping client cannot be banned: %s",
                           err == -ENOSPC ? "banned.max_entries is reached" : strerror(-err));
        return;
    }
    metric_add(METRIC_BANNED_FLAPPING, 1);
    log_client_limited(LOG_LEVEL_WARNING, client_id, NULL,
                       "[Banned] more than %u state changes, each within %llu ms of the one before: banned for %u s",
                       settings->count, (unsigned long long)settings->period_ms, settings->ban_s);
}

static void on_report(struct loop_post *post)
{
    struct report *report = CONTAINER_OF(post, struct report, post);
    struct ban_guard *guard = report->guard;

    atomic_fetch_sub_explicit(&guard->report_count, 1, memory_order_relaxed);
    if (!guard->stopped)
        ban_flapping(guard, report);
    flapping_lift(guard->flapping, slice_make(report->client_id, report->len));
    free(report);
}

static void on_clean(uv_timer_t *timer)
{
    flapping_clean(((struct ban_guard *)timer->data)->flapping, clock_mono_ms());
}

static void on_added(void *context, const struct ban *ban)
{
    ban_sweep_start(((struct ban_guard *)context)->sweep, ban);
}

struct banned *ban_guard_table(struct ban_guard *guard)
{
    return guard->banned;
}

/* ---- life ---- */

static int add_hooks(struct ban_guard *guard, const struct ban_guard_options *options)
{
    static const struct {
        enum hook_point point;
        int priority;
        hook_fn *run;
    } rows[HOOKS] = {
        {HOOK_CLIENT_AUTHENTICATE, HOOK_PRIORITY_GUARD, on_authenticate},
        {HOOK_CLIENT_CONNECTED, HOOK_PRIORITY_GUARD, on_connected},
        {HOOK_CLIENT_DISCONNECTED, HOOK_PRIORITY_GUARD, on_disconnected},
    };
    uint32_t count = !options->refuses ? 0 : options->detects_flapping ? HOOKS : 1;
    int err = 0;

    for (uint32_t i = 0; err == 0 && i < count; i++) {
        struct hook_options hook = {
            .point = rows[i].point,
            .priority = rows[i].priority,
            .run = rows[i].run,
            .context = guard,
            .owner = "banned",
        };
        err = hook_add(&hook, &guard->hooks[i]);
    }
    return err;
}

int ban_guard_open(const struct ban_guard_options *options, struct ban_guard **out_guard)
{
    struct ban_guard *guard = calloc(1, sizeof(*guard));
    struct banned_options table = {
        .loop = options->loop,
        .store = options->store,
        .entries_max = options->entries_max,
        .on_added = on_added,
        .context = guard,
    };
    int err;

    if (guard == NULL)
        return -ENOMEM;
    guard->clean.data = guard;
    err = uv_timer_init(options->loop, &guard->clean);
    if (err < 0) {
        free(guard);
        return err;
    }
    guard->flapping = flapping_new();
    err = guard->flapping == NULL ? -ENOMEM : loop_mailbox_open(options->loop, &guard->mailbox);
    if (err == 0)
        err = ban_sweep_open(options->loop, options->broker, &guard->sweep);
    if (err == 0)
        err = banned_open(&table, &guard->banned);
    if (err == 0) {
        ban_sweep_set_table(guard->sweep, guard->banned);
        err = add_hooks(guard, options);
    }
    if (err == 0)
        err = uv_timer_start(&guard->clean, on_clean, options->clean_interval_ms, options->clean_interval_ms);
    if (err < 0) {
        ban_guard_stop(guard);
        ban_guard_close(guard);
        return err;
    }
    *out_guard = guard;
    return 0;
}

void ban_guard_stop(struct ban_guard *guard)
{
    if (guard == NULL)
        return;
    guard->stopped = true;
    ban_sweep_stop(guard->sweep);
    for (uint32_t i = 0; i < HOOKS; i++) {
        hook_remove(guard->hooks[i]);
        guard->hooks[i] = NULL;
    }
}

static void on_clean_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void ban_guard_close(struct ban_guard *guard)
{
    if (guard == NULL)
        return;
    ASSERT(guard->stopped);
    loop_mailbox_close(guard->mailbox);
    ban_sweep_close(guard->sweep);
    banned_close(guard->banned);
    flapping_free(guard->flapping);
    uv_close((uv_handle_t *)&guard->clean, on_clean_closed);
}
