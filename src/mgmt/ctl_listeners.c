/*
 * ctl_listeners: `listeners`, a block per listener, and `listeners start|stop|restart|reload`.
 *
 * A listener is named by type and name ("tcp:external"), as the list shows it ("mqtt:tcp:0.0.0.0:1883"), or in two words as the
 * original has it ("tcp 0.0.0.0:1883", "mqtt:tcp 1883").
 */
#include "mgmt/ctl_commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
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
    if (row->stopped) /* the original forgets a listener that was stopped */
        ctl_print(request, "  %-16s: stopped\n", "state");
}

static void on_listeners(void *context, const struct listener_row *rows, uint32_t count)
{
    struct ctl_request *request = context;

    for (uint32_t i = 0; i < count; i++)
        print_listener(request, rows + i);
    ctl_finish(request, CTL_OK);
}

static void list_listeners(struct ctl_request *request)
{
    const struct broker_view *view = ctl_context(request);
    int err = view->list_listeners(view->broker, on_listeners, request);

    if (err < 0) {
        ctl_printerr(request, "cannot list the listeners: %s\n", strerror(-err));
        ctl_finish(request, CTL_BROKEN);
    }
}

/* ---- start, stop, restart, reload ---- */

static const struct {
    const char *word;
    const char *done; /* "Stop mqtt:tcp listener on 0.0.0.0:1883 successfully." */
    enum listener_verb verb;
} verbs[] = {
    {"start", "Start", LISTENER_START},
    {"stop", "Stop", LISTENER_STOP},
    {"restart", "Restart", LISTENER_RESTART},
    {"reload", "Reload", LISTENER_RELOAD},
};

/* One running command. */
struct listener_call {
    struct ctl_request *request;
    const char *word;
    const char *done;
    const char *proto; /* two words were given, as to the original: it answers about them as well. NULL: one word */
    const char *on;
};

static void on_result(void *context, const struct listener_result *results, uint32_t count)
{
    struct listener_call *call = context;
    struct ctl_request *request = call->request;
    bool failed = false;

    for (uint32_t i = 0; i < count; i++) {
        if (results[i].error == NULL) {
            ctl_print(request, "%s %s listener on %s successfully.\n", call->done, results[i].name, results[i].address);
            continue;
        }
        ctl_printerr(request, "Failed to %s %s listener on %s - %s\n", call->word, results[i].name, results[i].address,
                     results[i].error);
        failed = true;
    }
    if (count == 0)
        ctl_print(request, "No listener has certificates.\n");
    if (!failed && call->proto != NULL && strcmp(call->word, "stop") == 0)
        ctl_print(request, "Stop %s listener on %s successfully.\n", call->proto, call->on);
    free(call);
    ctl_finish(request, failed ? CTL_FAILED : CTL_OK);
}

static const char *without_mqtt(const char *word)
{
    return strncmp(word, "mqtt:", 5) == 0 ? word + 5 : word;
}

/* Finds the listener in one or two words. False: that is none. */
static bool parse_listener(char *const *words, int count, struct listener_command *command, struct listener_call *call)
{
    char *colon;

    if (count == 0)
        return command->verb == LISTENER_RELOAD;
    command->type = without_mqtt(words[0]);
    if (count == 2) {
        command->which = words[1];
        call->proto = words[0];
        call->on = words[1];
        return true;
    }
    colon = strchr(command->type, ':');
    if (count != 1 || colon == NULL)
        return false;
    *colon = '\0'; /* the words are the request's own */
    command->which = colon + 1;
    return true;
}

/* Takes the options out of the words. False: one of them is unknown. */
static bool parse_options(char **words, int *count, struct listener_command *command)
{
    bool may_close = command->verb == LISTENER_STOP || command->verb == LISTENER_RESTART;
    int kept = 0;

    for (int i = 0; i < *count; i++) {
        if (strncmp(words[i], "--", 2) != 0)
            words[kept++] = words[i];
        else if (may_close && strcmp(words[i], "--close-clients") == 0)
            command->close_clients = true;
        else
            return false;
    }
    *count = kept;
    return true;
}

static void run_verb(struct ctl_request *request, size_t verb, char **words, int count)
{
    const struct broker_view *view = ctl_context(request);
    struct listener_command command = {.verb = verbs[verb].verb};
    struct listener_call *call = calloc(1, sizeof(*call));
    int err = -ENOMEM;

    if (call != NULL) {
        *call = (struct listener_call){.request = request, .word = verbs[verb].word, .done = verbs[verb].done};
        if (!parse_options(words, &count, &command) || !parse_listener(words, count, &command, call)) {
            free(call);
            ctl_finish_usage(request);
            return;
        }
        err = view->command_listener(view->broker, &command, on_result, call);
    }
    if (err < 0) {
        free(call);
        ctl_printerr(request, "cannot %s the listener: %s\n", verbs[verb].word,
                     err == -EBUSY    ? "another command is at work on it"
                     : err == -EAGAIN ? "the broker is starting or stopping"
                                      : strerror(-err));
        ctl_finish(request, CTL_BROKEN);
    }
}

static void listeners_run(struct ctl_request *request, int argc, char **argv)
{
    if (argc == 1) {
        list_listeners(request);
        return;
    }
    if (ctl_is_help(argv[argc - 1])) {
        ctl_finish_help(request);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(argv[1], verbs[i].word) == 0) {
            run_verb(request, i, argv + 2, argc - 2);
            return;
        }
    }
    ctl_finish_usage(request);
}

static const char listeners_help[] =
    "\n"
    "start    opens a listener that was stopped, or one that is new in etc/emqx.conf\n"
    "stop     accepts no more clients; those that are connected stay\n"
    "restart  reads the listener's settings from etc/emqx.conf again; if they are wrong nothing changes\n"
    "reload   reads certificates, keys and other TLS files again, of one listener or of all\n"
    "\n"
    "--close-clients  with stop and restart: ends the listener's clients (MQTT 5: DISCONNECT 0x98)\n"
    "\n"
    "Examples:\n"
    "  emqx_ctl listeners stop tcp:external --close-clients\n"
    "  emqx_ctl listeners start mqtt:tcp 0.0.0.0:1883\n"
    "  emqx_ctl listeners start tcp 1883\n"
    "  emqx_ctl listeners restart ssl:external\n"
    "  emqx_ctl listeners reload\n";

static const struct ctl_usage listeners_usage[] = {
    {"listeners", "List listeners"},
    {"listeners stop    <Proto> <Port>", "Stop a listener"},
    {"listeners start   <Proto> <Port>", "Start a listener again"},
    {"listeners restart <Proto> <Port>", "Restart a listener with its settings of now"},
    {"listeners reload  [<Proto> <Port>]", "Read certificates again"},
    {"listeners <Verb>  <Type>:<Name>", "The same by name, as tcp:external"},
    {NULL, listeners_help}};
const struct ctl_command ctl_listeners_command = {.name = "listeners", .usage = listeners_usage, .run = listeners_run};
