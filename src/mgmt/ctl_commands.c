/*
 * ctl_commands: registration in the order of the usage, and the short commands: node (hidden) and status.
 */
#include "mgmt/ctl_commands.h"

#include "base/version.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

int ctl_commands_register(struct ctl_registry *registry, const struct broker_view *view)
{
    const struct ctl_command *commands[] = {
        &ctl_node_command,      &ctl_status_command,  &ctl_broker_command, &ctl_clients_command,
        &ctl_listeners_command, &ctl_delayed_command, &ctl_banned_command, &ctl_store_command,
    };

    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        /* The registry hands the context back as it is; the commands only read the view. */
        int err = ctl_register(registry, commands[i], (void *)(uintptr_t)view);

        if (err < 0)
            return err;
    }
    return 0;
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
