/*
 * ctl_commands: registration in the order of the usage, and the short commands.
 */
#include "mgmt/ctl_commands.h"

#include "base/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int ctl_commands_register(struct ctl_registry *registry, const struct broker_view *view)
{
    const struct ctl_command *commands[] = {
        &ctl_node_command,
        &ctl_status_command,
        view->list_figures != NULL ? &ctl_broker_figures_command : &ctl_broker_command,
        &ctl_clients_command,
        &ctl_listeners_command,
    };

    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        /* The registry hands the context back as it is; the commands only read the view. */
        int err = ctl_register(registry, commands[i], (void *)(uintptr_t)view);

        if (err < 0)
            return err;
    }
    return 0;
}

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

/* ---- node (hidden) ---- */

/* Tells one run of the broker from the next: a restart stays in the same process. Thread: control. */
static uint64_t run_number(void)
{
    static uint64_t number;
    struct timespec now;

    if (number == 0) {
        clock_gettime(CLOCK_REALTIME, &now);
        number = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    return number;
}

static void node_run(struct ctl_request *request, int argc, char **argv)
{
    const struct broker_view *view = ctl_context(request);
    const char *word = argc == 2 ? argv[1] : "";
    bool restart = strcmp(word, "restart") == 0;

    if (strcmp(word, "ping") == 0) {
        ctl_print(request, "pong\n");
    } else if (strcmp(word, "state") == 0) {
        ctl_print(request, "%s %" PRIu64 "\n", view->state(view->broker) == BROKER_RUNNING ? "running" : "busy",
                  run_number());
    } else if (strcmp(word, "name") == 0) {
        ctl_print(request, "%s\n", view->node_name(view->broker));
    } else if (restart || strcmp(word, "stop") == 0) {
        ctl_finish(request, CTL_OK);
        view->stop(view->broker, restart);
        return;
    } else {
        ctl_printerr(request, "node ping|state|name|stop|restart\n");
        ctl_finish(request, CTL_USAGE);
        return;
    }
    ctl_finish(request, CTL_OK);
}

const struct ctl_command ctl_node_command = {.name = "node", .usage = NULL, .run = node_run};

/* ---- status ---- */

static void status_run(struct ctl_request *request, int argc, char **argv)
{
    static const char *const words[] = {
        [BROKER_STARTING] = "starting", [BROKER_RUNNING] = "started", [BROKER_STOPPING] = "stopping"};
    const struct broker_view *view = ctl_context(request);
    enum broker_state state = view->state(view->broker);

    (void)argv;
    if (argc != 1) {
        ctl_finish_usage(request);
        return;
    }
    ctl_print(request, "Node '%s' is %s\n", view->node_name(view->broker), words[state]);
    if (state == BROKER_RUNNING)
        ctl_print(request, "emqx %s is running\n", EMQX_COMPAT_VERSION);
    else
        ctl_print(request, "emqx is not running\n");
    ctl_finish(request, state == BROKER_RUNNING ? CTL_OK : CTL_FAILED);
}

static const struct ctl_usage status_usage[] = {{"status", "Show broker status"}, {NULL, NULL}};
const struct ctl_command ctl_status_command = {.name = "status", .usage = status_usage, .run = status_run};

/* ---- broker ---- */

static int compare_figures(const void *left, const void *right)
{
    const struct figure_row *const *l = left;
    const struct figure_row *const *r = right;

    return strcmp((*l)->name, (*r)->name);
}

static void broker_on_figures(void *context, const struct figure_row *rows, uint32_t count)
{
    struct ctl_request *request = context;
    const struct figure_row **sorted = calloc(count + 1, sizeof(const struct figure_row *));

    if (sorted == NULL) {
        ctl_printerr(request, "memory is short\n");
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = rows + i;
    qsort(sorted, count, sizeof(const struct figure_row *), compare_figures);
    for (uint32_t i = 0; i < count; i++)
        ctl_print(request, "%-30s: %" PRIu64 "\n", sorted[i]->name, sorted[i]->value);
    free(sorted);
    ctl_finish(request, CTL_OK);
}

static void broker_print(struct ctl_request *request, const struct broker_view *view)
{
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
}

static void broker_run_command(struct ctl_request *request, int argc, char **argv)
{
    const struct broker_view *view = ctl_context(request);
    bool stats = argc == 2 && strcmp(argv[1], "stats") == 0;
    bool metrics = argc == 2 && strcmp(argv[1], "metrics") == 0;

    if (argc == 1) {
        broker_print(request, view);
        ctl_finish(request, CTL_OK);
    } else if (view->list_figures != NULL && (stats || metrics)) {
        int err = view->list_figures(view->broker, stats ? FIGURE_STATS : FIGURE_METRICS, broker_on_figures, request);

        if (err < 0) {
            ctl_printerr(request, "cannot read the figures: %s\n", strerror(-err));
            ctl_finish(request, CTL_BROKEN);
        }
    } else {
        ctl_finish_usage(request);
    }
}

static const struct ctl_usage broker_usage[] = {{"broker", "Show broker version, uptime and description"}, {NULL, NULL}};
const struct ctl_command ctl_broker_command = {.name = "broker", .usage = broker_usage, .run = broker_run_command};

static const struct ctl_usage broker_figures_usage[] = {
    {"broker", "Show broker version, uptime and description"},
    {"broker stats", "Show broker statistics of clients, topics, subscribers"},
    {"broker metrics", "Show broker metrics"},
    {NULL, NULL}};
const struct ctl_command ctl_broker_figures_command = {
    .name = "broker", .usage = broker_figures_usage, .run = broker_run_command};
