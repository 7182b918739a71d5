/*
 * ctl_listeners: `listeners`, a block per listener.
 */
#include "mgmt/ctl_commands.h"

#include <inttypes.h>
#include <string.h>

static void print_key(struct ctl_request *request, const char *key, uint64_t value)
{
    ctl_print(request, "  %-16s: %" PRIu64 "\n", key, value);
}

static void print_listener(struct ctl_request *request, const struct listener_row *row)
{
    const char *separator = "";

    ctl_print(request, "listener on %s:%s\n", row->name, row->address);
    print_key(request, "acceptors", row->acceptors);
    print_key(request, "max_conns", row->max_conns);
    print_key(request, "current_conn", row->current_conn);
    ctl_print(request, "  %-16s: [", "shutdown_count");
    for (uint32_t i = 0; i < row->shutdown_count_count; i++) {
        if (row->shutdown_counts[i].count == 0)
            continue;
        ctl_print(request, "%s{%s,%" PRIu64 "}", separator, row->shutdown_counts[i].reason,
                  row->shutdown_counts[i].count);
        separator = ",";
    }
    ctl_print(request, "]\n");
}

static void on_listeners(void *context, const struct listener_row *rows, uint32_t count)
{
    struct ctl_request *request = context;

    for (uint32_t i = 0; i < count; i++)
        print_listener(request, rows + i);
    ctl_finish(request, CTL_OK);
}

static void listeners_run(struct ctl_request *request, int argc, char **argv)
{
    const struct broker_view *view = ctl_context(request);
    int err;

    (void)argv;
    if (argc != 1) {
        ctl_finish_usage(request);
        return;
    }
    err = view->list_listeners(view->broker, on_listeners, request);
    if (err < 0) {
        ctl_printerr(request, "cannot list the listeners: %s\n", strerror(-err));
        ctl_finish(request, CTL_BROKEN);
    }
}

static const struct ctl_usage listeners_usage[] = {{"listeners", "List listeners"}, {NULL, NULL}};
const struct ctl_command ctl_listeners_command = {.name = "listeners", .usage = listeners_usage, .run = listeners_run};
