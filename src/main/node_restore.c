/*
 * node_restore: sessions and delayed messages of earlier runs are there before the first client is.
 */
#include "main/node.h"

#include "base/allocator.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "broker/session/restore.h"
#include "broker/zone.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZONE_NAME_MAX 256 /* a longer one is nobody's */
#define PROBLEM_BYTES 512

static const struct zone *find_zone(void *context, struct slice name, bool *out_known)
{
    struct node *node = context;
    const struct zone *zone;
    char text[ZONE_NAME_MAX];

    *out_known = name.len == 0;
    if (name.len == 0 || name.len >= sizeof(text))
        return zone_table_find(node->zones, NULL);
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    zone = zone_table_find(node->zones, text);
    *out_known = zone->name != NULL && strcmp(zone->name, text) == 0;
    return zone;
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    printf("Restoring sessions: %llu%%\n", (unsigned long long)(total == 0 ? 0 : done * 100 / total));
    fflush(stdout);
}

void node_report_unreadable(struct node *node, const char *what)
{
    char problem[PROBLEM_BYTES], text[PROBLEM_BYTES + 1024];

    store_read_problem(node->store, problem, sizeof(problem));
    snprintf(text, sizeof(text), "The stored %s cannot be read: %s\n%s", what, problem, store_damage_advice);
    daemon_report_failure(node->options->report, text);
}

int node_restore_sessions(struct node *node)
{
    struct session_host *hosts[WORKER_COUNT_MAX];
    struct restore_options options = {
        .store = node->store,
        .hosts = hosts,
        .host_count = node->broker->settings.worker_count,
        .find_zone = find_zone,
        .progress = on_progress,
        .context = node,
    };
    uint64_t began_ms = clock_mono_ms();
    struct restore_counts counts;
    int err;

    for (uint32_t i = 0; i < options.host_count; i++)
        hosts[i] = &node->broker->workers[i]->host;
    rcu_thread_online();
    err = restore_sessions(&options, &counts);
    rcu_thread_offline();
    allocator_release(); /* what only the restoring needed: with many sessions 100 bytes for each */
    if (err == -EIO)
        node_report_unreadable(node, "sessions");
    if (err == 0 && counts.sessions > 0)
        log_notice("[Main] restored %llu sessions with %llu subscriptions and %llu queued messages in %llu ms",
                   (unsigned long long)counts.sessions, (unsigned long long)counts.subscriptions,
                   (unsigned long long)counts.entries, (unsigned long long)(clock_mono_ms() - began_ms));
    return err;
}

int node_restore_delayed(struct node *node)
{
    int err = delayed_restore(node->broker);

    if (err == -EIO)
        node_report_unreadable(node, "delayed messages");
    return err;
}
