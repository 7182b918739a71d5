/*
 * ctl_clients: `clients list|show|kick`.
 *
 * A list is asked for slice by slice, each only when the caller's terminal has taken the one before: a million clients cost
 * the memory of one slice.
 */
#include "mgmt/ctl_commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_SLICE_ROWS 256u

/* One running `clients list` or `clients show`. */
struct clients_list {
    struct ctl_request *request;
    const struct broker_view *view;
    struct slice client_id; /* points into the request's words; absent: all */
    uint64_t cursor;
    uint64_t left; /* rows that may still be printed */
    bool any_found;
};

static void list_finish(struct clients_list *list, enum ctl_result result)
{
    struct ctl_request *request = list->request;

    free(list);
    ctl_finish(request, result);
}

static void print_client(struct ctl_request *request, const struct client_row *row)
{
    ctl_print(request, "Connection(");
    ctl_print_slice(request, row->client_id);
    ctl_print(request, ", clean_start=%s, username=", row->clean_start ? "true" : "false");
    ctl_print_slice(request, row->username.data == NULL ? SLICE_LITERAL("undefined") : row->username);
    ctl_print(request, ", peername=%s, connected_at=%" PRId64 ")\n", row->peername, row->connected_at_s);
}

static void list_ask(struct ctl_request *request, void *context);

static void list_on_rows(void *context, const struct client_row *rows, uint32_t count, uint64_t next_cursor)
{
    struct clients_list *list = context;

    for (uint32_t i = 0; i < count && list->left > 0; i++, list->left--) {
        print_client(list->request, rows + i);
        list->any_found = true;
    }
    if (next_cursor != 0 && list->left > 0) {
        list->cursor = next_cursor;
        ctl_when_writable(list->request, list_ask, list);
        return;
    }
    if (list->client_id.data != NULL && !list->any_found) {
        ctl_print(list->request, "Not Found.\n");
        list_finish(list, CTL_FAILED);
        return;
    }
    list_finish(list, CTL_OK);
}

static void list_ask(struct ctl_request *request, void *context)
{
    struct clients_list *list = context;
    uint32_t limit = list->left < CLIENTS_SLICE_ROWS ? (uint32_t)list->left : CLIENTS_SLICE_ROWS;
    int err;

    if (ctl_abandoned(request)) {
        list_finish(list, CTL_BROKEN);
        return;
    }
    err = list->view->list_clients(list->view->broker, list->cursor, limit, list->client_id, list_on_rows, list);
    if (err < 0) {
        ctl_printerr(request, "cannot list the clients: %s\n", strerror(-err));
        list_finish(list, CTL_BROKEN);
    }
}

static void list_start(struct ctl_request *request, struct slice client_id, uint64_t rows_max)
{
    struct clients_list *list = calloc(1, sizeof(*list));

    if (list == NULL) {
        ctl_printerr(request, "memory is short\n");
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    list->request = request;
    list->view = ctl_context(request);
    list->client_id = client_id;
    list->left = rows_max;
    list_ask(request, list);
}

static void on_kicked(void *context, bool found)
{
    struct ctl_request *request = context;

    if (!found)
        ctl_print(request, "Not Found.\n");
    ctl_finish(request, found ? CTL_OK : CTL_FAILED);
}

static void on_kicked_verbose(void *context, bool found)
{
    if (found)
        ctl_print(context, "ok\n");
    on_kicked(context, found);
}

static void kick_start(struct ctl_request *request, const char *client_id, bool verbose)
{
    const struct broker_view *view = ctl_context(request);
    int err = view->kick(view->broker, slice_from_string(client_id), verbose ? on_kicked_verbose : on_kicked, request);

    if (err < 0) {
        ctl_printerr(request, "cannot kick the client: %s\n", strerror(-err));
        ctl_finish(request, CTL_BROKEN);
    }
}

static void clients_run(struct ctl_request *request, int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    bool kick = strcmp(verb, "kick") == 0;
    uint64_t limit = UINT64_MAX;

    if (strcmp(verb, "list") == 0 && argc == 4 && strcmp(argv[2], "--limit") == 0)
        limit = ctl_parse_number(argv[3]);
    if (strcmp(verb, "list") == 0 && (argc == 2 || argc == 4) && limit > 0 && (argc == 2) == (limit == UINT64_MAX))
        list_start(request, (struct slice){NULL, 0}, limit);
    else if (strcmp(verb, "show") == 0 && argc == 3)
        list_start(request, slice_from_string(argv[2]), UINT64_MAX);
    else if (kick && argc == 3)
        kick_start(request, argv[2], false);
    else if (kick && argc == 4 && strcmp(argv[2], "-v") == 0)
        kick_start(request, argv[3], true);
    else
        ctl_finish_usage(request);
}

static const struct ctl_usage clients_usage[] = {{"clients list", "List all clients"},
                                                 {"clients list --limit <N>", "List at most N clients"},
                                                 {"clients show <ClientId>", "Show a client"},
                                                 {"clients kick <ClientId>", "Kick out a client"},
                                                 {"clients kick -v <ClientId>", "Kick out a client and say so"},
                                                 {NULL, NULL}};
const struct ctl_command ctl_clients_command = {.name = "clients", .usage = clients_usage, .run = clients_run};
