/*
 * restore: see restore.h.
 */
#include "broker/session/restore.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "broker/session/absence.h"
#include "broker/session/restore_internal.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"

#include <errno.h>
#include <stdlib.h>

#define PROGRESS_MS 1000
#define LOOK_EVERY 256u /* sessions between looks at the clock and quiescent states */

static bool count_row(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    (*(uint64_t *)context)++;
    return true;
}

/* The sessions are counted only for who waits long enough to be told. */
static void tell_progress(struct restore *restore)
{
    if (restore->total == 0 && store_scan(restore->options->store, STORE_SESSION, SLICE_LITERAL(""), SLICE_LITERAL(""),
                                          count_row, &restore->total) < 0)
        return; /* what reads the rows themselves meets it, too */
    restore->options->progress(restore->options->context, restore->done, restore->total);
}

static void look(struct restore *restore)
{
    uint64_t now_ms = clock_mono_ms();

    rcu_retire_flush();
    rcu_thread_quiescent();
    if (restore->options->progress == NULL || now_ms < restore->progress_ms)
        return;
    restore->progress_ms = now_ms + PROGRESS_MS;
    tell_progress(restore);
}

static int restore_all(struct restore *restore)
{
    struct slice key, value;
    int err;

    while ((err = table_cursor_peek(&restore->sessions, &key, &value)) == 1) {
        if (session_key_decode(key, &restore->now.number) < 0)
            restore_damaged(restore, STORE_SESSION);
        else if (session_record_decode(value, &restore->now.record) < 0)
            err = restore_leave_session(restore);
        else
            err = restore_session(restore);
        if (err < 0)
            return err;
        table_cursor_next(&restore->sessions);
        if (++restore->done % LOOK_EVERY == 0)
            look(restore);
    }
    return err;
}

/* Rows behind the last session. */
static int delete_rest(struct restore *restore)
{
    struct table_cursor *const cursors[] = {&restore->subscriptions, &restore->queue, &restore->inflight,
                                            &restore->awaiting_rel};
    struct slice key, value;
    int err = 0;

    for (size_t i = 0; err == 0 && i < ARRAY_COUNT(cursors); i++) {
        err = restore_next_row(restore, cursors[i], UINT64_MAX, &key, &value);
        if (err == 1)
            err = 0; /* a number that is never given: left */
    }
    return err;
}

static int by_leaving(const void *left, const void *right)
{
    const struct left_session *a = left, *b = right;

    if (a->left_ms != b->left_ms)
        return a->left_ms < b->left_ms ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* CLOCK_MONOTONIC at `interval_s` after `left_ms` of the store's clock; now, if that has passed. */
static uint64_t deadline_of(const struct restore *restore, uint64_t left_ms, uint32_t interval_s)
{
    uint64_t at_ms = left_ms + (uint64_t)interval_s * 1000;

    return restore->mono_ms + (at_ms > restore->store_ms ? at_ms - restore->store_ms : 0);
}

static int begin_absence(const struct restore *restore, const struct left_session *left)
{
    struct session *session = left->session;
    uint64_t deadline_ms = UINT64_MAX;

    if (absence_begin(session) < 0)
        return -ENOMEM;
    if (left->ended)
        deadline_ms = restore->mono_ms;
    else if (session->expiry_interval_s != UINT32_MAX)
        deadline_ms = deadline_of(restore, left->left_ms, session->expiry_interval_s);
    session->absence->expires_at_ms = deadline_ms;
    if (session->will != NULL)
        session->absence->will_at_ms = deadline_of(restore, left->left_ms, session->will_delay_s);
    if (session->absence->will_at_ms < deadline_ms)
        deadline_ms = session->absence->will_at_ms;
    if (deadline_ms != UINT64_MAX)
        timer_start(worker_timers(session->host->worker), &session->timer, deadline_ms);
    return 0;
}

/* Those left the longest ago end when there are more than allowed. */
static void end_surplus(struct restore *restore)
{
    uint64_t max = restore->options->hosts[0]->absent_max, living = 0, surplus;

    for (uint64_t i = 0; i < restore->left_count; i++)
        living += !restore->left[i].ended;
    if (max == 0 || living <= max)
        return;
    surplus = living - max;
    log_warning("[Session] broker.max_detached_sessions is less than the stored sessions (%llu), ending those left the "
                "longest ago: %llu",
                (unsigned long long)living, (unsigned long long)surplus);
    for (uint64_t i = 0; surplus > 0; i++) {
        surplus -= !restore->left[i].ended;
        restore->left[i].ended = true;
    }
}

static int begin_absences(struct restore *restore)
{
    int err = 0;

    if (restore->left_count > 0)
        qsort(restore->left, restore->left_count, sizeof(*restore->left), by_leaving);
    end_surplus(restore);
    for (uint64_t i = 0; err == 0 && i < restore->left_count; i++) {
        restore->counts.ending += restore->left[i].ended;
        err = begin_absence(restore, &restore->left[i]);
    }
    return err;
}

/* An entry that can't be read may refer to any message: none is swept then. */
static void sweep_bodies(struct restore *restore)
{
    uint64_t swept;

    if (restore->findings.damaged[STORE_QUEUE] > 0)
        return;
    swept = body_index_sweep(&restore->bodies, restore->client);
    restore->findings.orphans[STORE_MESSAGE] += swept;
    restore->counts.orphans += swept;
}

static void log_findings(const struct restore *restore)
{
    for (int table = 0; table < STORE_TABLE_COUNT; table++) {
        if (restore->findings.damaged[table] > 0)
            log_error("[Session] rows of the table %s that can't be understood: %llu. They are left as they are; "
                      "`emqx_ctl store check` tells whether the disk has damaged them",
                      store_table_name(table), (unsigned long long)restore->findings.damaged[table]);
        if (restore->findings.orphans[table] > 0)
            log_notice("[Session] rows of the table %s that belonged to nothing any more, deleted: %llu",
                       store_table_name(table), (unsigned long long)restore->findings.orphans[table]);
    }
    if (restore->findings.foreign_count > 0)
        log_warning("[Session] stored sessions of zones that are not configured any more (%s): %llu. They get the "
                    "settings of listeners without a zone",
                    restore->findings.foreign_zone, (unsigned long long)restore->findings.foreign_count);
}

static int prepare(struct restore *restore)
{
    const struct store_client_options client = {0};
    struct store *store = restore->options->store;
    int err;

    table_cursor_init(&restore->sessions, store, STORE_SESSION, UINT32_MAX);
    table_cursor_init(&restore->subscriptions, store, STORE_SUBSCRIPTION, UINT32_MAX);
    /* Of an entry's message one byte shows that it is there. */
    table_cursor_init(&restore->queue, store, STORE_QUEUE, QUEUE_RECORD_HEAD + 1);
    table_cursor_init(&restore->inflight, store, STORE_INFLIGHT, 0);
    table_cursor_init(&restore->awaiting_rel, store, STORE_AWAITING_REL, 0);
    restore->mono_ms = worker_now_ms(restore->options->hosts[0]->worker);
    restore->store_ms = store_time_ms(store, restore->mono_ms);
    restore->progress_ms = clock_mono_ms() + PROGRESS_MS;
    err = store_client_open(store, &client, &restore->client);
    if (err == 0)
        err = body_index_load(&restore->bodies, store);
    restore->findings.damaged[STORE_MESSAGE] = restore->bodies.damaged_count;
    restore->counts.damaged += restore->bodies.damaged_count;
    return err;
}

static void finish(struct restore *restore)
{
    store_client_close(restore->client); /* submits the rest */
    table_cursor_fini(&restore->sessions);
    table_cursor_fini(&restore->subscriptions);
    table_cursor_fini(&restore->queue);
    table_cursor_fini(&restore->inflight);
    table_cursor_fini(&restore->awaiting_rel);
    body_index_fini(&restore->bodies);
    free(restore->now.shared);
    free(restore->left);
    free(restore);
}

int restore_sessions(const struct restore_options *options, struct restore_counts *out_counts)
{
    struct restore *restore = calloc(1, sizeof(*restore));
    int err;

    if (restore == NULL)
        return -ENOMEM;
    restore->options = options;
    err = prepare(restore);
    if (err == 0)
        err = restore_all(restore);
    if (err == 0)
        err = delete_rest(restore);
    if (err == 0)
        err = begin_absences(restore);
    if (err == 0) {
        sweep_bodies(restore);
        *out_counts = restore->counts;
    }
    log_findings(restore);
    look(restore);
    finish(restore);
    return err;
}
