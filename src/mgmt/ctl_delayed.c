/*
 * ctl_delayed: `delayed info|list|delete`: messages published to $delayed/SECONDS/TOPIC that wait for their time.
 *
 * As with clients, a list is asked for slice by slice, as fast as the caller's terminal takes it.
 */
#include "mgmt/ctl_commands.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DELAYED_SLICE_ROWS 64u

/* One running `delayed list`. */
struct delayed_list {
    struct ctl_request *request;
    const struct broker_view *view;
    struct delayed_place place;
    uint64_t left; /* rows that may still be printed */
};

/* "2026-11-23 10:30:00" */
static const char *due_text(int64_t due_ms, char text[CLOCK_LOCAL_TEXT_BYTES])
{
    clock_format_local(due_ms < 0 ? 0 : (uint64_t)due_ms, text);
    text[19] = '\0';
    return text;
}

static void list_finish(struct delayed_list *list, enum ctl_result result)
{
    struct ctl_request *request = list->request;

    free(list);
    ctl_finish(request, result);
}

static void print_row(struct ctl_request *request, const struct delayed_row *row)
{
    char due[CLOCK_LOCAL_TEXT_BYTES];

    ctl_print(request, "Delayed(%" PRIu64 ", due=%s, left=%" PRIu64 "s, topic=", row->id, due_text(row->due_ms, due),
              (row->left_ms + 999) / 1000);
    if (row->topic.data == NULL)
        ctl_print(request, "<cannot be read>");
    else
        ctl_print_slice(request, row->topic);
    ctl_print(request, ", qos=%u, retain=%s, payload_size=%" PRIu64 ", client_id=", row->qos,
              row->retain ? "true" : "false", row->payload_bytes);
    if (row->topic.data != NULL)
        ctl_print_slice(request, row->client_id);
    ctl_print(request, ")\n");
}

static void list_ask(struct ctl_request *request, void *context);

static void list_on_rows(void *context, const struct delayed_row *rows, uint32_t count,
                         const struct delayed_place *next)
{
    struct delayed_list *list = context;

    for (uint32_t i = 0; i < count && list->left > 0; i++, list->left--)
        print_row(list->request, rows + i);
    if (next == NULL || list->left == 0) {
        list_finish(list, CTL_OK);
        return;
    }
    list->place = *next;
    ctl_when_writable(list->request, list_ask, list);
}

static void list_ask(struct ctl_request *request, void *context)
{
    struct delayed_list *list = context;
    uint32_t limit = list->left < DELAYED_SLICE_ROWS ? (uint32_t)list->left : DELAYED_SLICE_ROWS;
    int err;

    if (ctl_abandoned(request)) {
        list_finish(list, CTL_BROKEN);
        return;
    }
    err = list->view->list_delayed(list->view->broker, list->place, limit, list_on_rows, list);
    if (err < 0) {
        ctl_printerr(request, "cannot list the delayed messages: %s\n", strerror(-err));
        list_finish(list, CTL_BROKEN);
    }
}

static void list_start(struct ctl_request *request, uint64_t rows_max)
{
    struct delayed_list *list = calloc(1, sizeof(*list));

    if (list == NULL) {
        ctl_printerr(request, "memory is short\n");
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    list->request = request;
    list->view = ctl_context(request);
    list->left = rows_max;
    list_ask(request, list);
}

static void info_on_rows(void *context, const struct delayed_row *rows, uint32_t count,
                         const struct delayed_place *next)
{
    struct ctl_request *request = context;
    const struct broker_view *view = ctl_context(request);
    struct delayed_summary summary = view->sum_delayed(view->broker);
    char text[CLOCK_LOCAL_TEXT_BYTES];

    (void)next;
    ctl_print(request, "%-10s: %" PRIu64 "\n", "waiting", summary.count);
    ctl_print(request, "%-10s: %" PRIu64 "\n", "max", summary.count_max);
    if (summary.count_limit == 0)
        ctl_print(request, "%-10s: none\n", "limit");
    else
        ctl_print(request, "%-10s: %" PRIu64 "\n", "limit", summary.count_limit);
    ctl_print(request, "%-10s: %" PRIu64 " of %" PRIu64 " bytes\n", "memory", summary.memory_bytes,
              summary.memory_limit);
    ctl_print(request, "%-10s: %" PRIu64 "\n", "published", summary.published);
    ctl_print(request, "%-10s: %" PRIu64 "\n", "dropped", summary.dropped);
    ctl_print(request, "%-10s: %s\n", "next", count == 0 ? "none" : due_text(rows->due_ms, text));
    ctl_finish(request, CTL_OK);
}

static void info_start(struct ctl_request *request)
{
    const struct broker_view *view = ctl_context(request);
    int err = view->list_delayed(view->broker, (struct delayed_place){0, 0}, 1, info_on_rows, request);

    if (err < 0) {
        ctl_printerr(request, "cannot ask the workers: %s\n", strerror(-err));
        ctl_finish(request, CTL_BROKEN);
    }
}

static void on_deleted(void *context, bool found)
{
    ctl_print(context, found ? "ok\n" : "Not Found.\n");
    ctl_finish(context, found ? CTL_OK : CTL_FAILED);
}

static void delete_start(struct ctl_request *request, uint64_t id)
{
    const struct broker_view *view = ctl_context(request);
    int err = view->delete_delayed(view->broker, id, on_deleted, request);

    if (err < 0) {
        ctl_printerr(request, "cannot delete the message: %s\n", strerror(-err));
        ctl_finish(request, CTL_BROKEN);
    }
}

static void delayed_run(struct ctl_request *request, int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    uint64_t number = argc > 2 ? ctl_parse_number(argv[argc - 1]) : 0;
    bool limited = argc == 3 || (argc == 4 && strcmp(argv[2], "--limit") == 0);

    if (argc > 1 && ctl_is_help(argv[argc - 1]))
        ctl_finish_help(request);
    else if (strcmp(verb, "info") == 0 && argc == 2)
        info_start(request);
    else if (strcmp(verb, "list") == 0 && (argc == 2 || (limited && number > 0)))
        list_start(request, argc == 2 ? UINT64_MAX : number);
    else if (strcmp(verb, "delete") == 0 && argc == 3 && number > 0)
        delete_start(request, number);
    else
        ctl_finish_usage(request);
}

static const char delayed_help[] =
    "\n"
    "A client that publishes to $delayed/SECONDS/TOPIC has its message sent to TOPIC that much later.\n"
    "left  whole seconds until then; 0 while it is being sent\n"
    "\n"
    "Examples:\n"
    "  emqx_ctl delayed list 10\n"
    "  emqx_ctl delayed delete 1048577\n";

static const struct ctl_usage delayed_usage[] = {
    {"delayed info", "Show how many delayed messages wait, and the limits"},
    {"delayed list", "List delayed messages, the next one first"},
    {"delayed list <N>", "List at most N of them"},
    {"delayed delete <Id>", "Delete a delayed message: it is never sent"},
    {NULL, delayed_help}};
const struct ctl_command ctl_delayed_command = {.name = "delayed", .usage = delayed_usage, .run = delayed_run};
