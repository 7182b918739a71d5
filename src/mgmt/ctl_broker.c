/*
 * ctl_broker: `broker`, `broker stats`, `broker metrics`.
 */
#include "base/metrics.h"
#include "base/version.h"
#include "mgmt/ctl_commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Room for all metrics, or all gauges with their maxima. */
#define FIGURES_MAX (METRIC_TOTAL_MAX + 2 * STAT_COUNT)

struct figure {
    char *name; /* a copy: a gauge's name is made up for the visit */
    uint64_t value;
};

struct figures {
    struct figure rows[FIGURES_MAX];
    size_t count;
    bool short_of_memory;
};

void uptime_text(uint64_t uptime_s, char out_text[UPTIME_TEXT_MAX])
{
    uint64_t minutes = uptime_s / 60;
    uint64_t hours = minutes / 60;
    uint64_t days = hours / 24;
    int used = 0;

    if (days > 0)
        used += snprintf(out_text, UPTIME_TEXT_MAX, "%" PRIu64 " days,", days);
    if (hours > 0)
        used += snprintf(out_text + used, UPTIME_TEXT_MAX - (size_t)used, "%" PRIu64 " hours, ", hours % 24);
    if (minutes > 0)
        used += snprintf(out_text + used, UPTIME_TEXT_MAX - (size_t)used, "%" PRIu64 " minutes, ", minutes % 60);
    snprintf(out_text + used, UPTIME_TEXT_MAX - (size_t)used, "%" PRIu64 " seconds", uptime_s % 60);
}

static void collect(const char *name, uint64_t value, void *context)
{
    struct figures *figures = context;
    char *copy = figures->count < FIGURES_MAX ? strdup(name) : NULL;

    if (copy == NULL) {
        figures->short_of_memory = true;
        return;
    }
    figures->rows[figures->count++] = (struct figure){copy, value};
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const struct figure *)left)->name, ((const struct figure *)right)->name);
}

/* One line each, sorted by name. */
static void print_figures(struct ctl_request *request, void (*visit)(void (*)(const char *, uint64_t, void *), void *))
{
    struct figures *figures = calloc(1, sizeof(*figures));
    bool complete;

    if (figures != NULL) {
        visit(collect, figures);
        qsort(figures->rows, figures->count, sizeof(figures->rows[0]), compare_names);
        for (size_t i = 0; i < figures->count; i++) {
            ctl_print(request, "%-30s: %" PRIu64 "\n", figures->rows[i].name, figures->rows[i].value);
            free(figures->rows[i].name);
        }
    }
    complete = figures != NULL && !figures->short_of_memory;
    free(figures);
    if (!complete)
        ctl_printerr(request, "memory is short: the list is not complete\n");
    ctl_finish(request, complete ? CTL_OK : CTL_BROKEN);
}

static void print_broker(struct ctl_request *request)
{
    const struct broker_view *view = ctl_context(request);
    char uptime[UPTIME_TEXT_MAX];
    char now_text[32];
    time_t now = time(NULL);
    struct tm parts;

    uptime_text(view->uptime_s(view->broker), uptime);
    strftime(now_text, sizeof(now_text), "%Y-%m-%d %H:%M:%S", localtime_r(&now, &parts));
    ctl_print(request, "%-10s: %s\n", "sysdescr", EMQX_SYSDESCR);
    ctl_print(request, "%-10s: %s\n", "version", EMQX_COMPAT_VERSION);
    ctl_print(request, "%-10s: %s\n", "uptime", uptime);
    ctl_print(request, "%-10s: %s\n", "datetime", now_text);
    ctl_finish(request, CTL_OK);
}

static void broker_command_run(struct ctl_request *request, int argc, char **argv)
{
    if (argc == 1)
        print_broker(request);
    else if (argc == 2 && strcmp(argv[1], "stats") == 0)
        print_figures(request, stats_visit);
    else if (argc == 2 && strcmp(argv[1], "metrics") == 0)
        print_figures(request, metrics_visit);
    else
        ctl_finish_usage(request);
}

static const struct ctl_usage broker_usage[] = {
    {"broker", "Show broker version, uptime and description"},
    {"broker stats", "Show broker statistics of clients, topics, subscribers"},
    {"broker metrics", "Show broker metrics"},
    {NULL, NULL}};
const struct ctl_command ctl_broker_command = {.name = "broker", .usage = broker_usage, .run = broker_command_run};
