/*
 * node_listeners: opening with errors that say what to do next, listing, closing.
 */
#include "main/node_listeners.h"

#include "base/process.h"
#include "broker/channel/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint16_t port_of(const struct listener_options *options)
{
    if (options->type == LISTENER_UNIX)
        return 0;
    if (options->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&options->address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&options->address)->sin_port);
}

void node_listener_address(const struct listener_options *options, char out[LISTENER_ADDRESS_TEXT])
{
    bool bare = options->type != LISTENER_UNIX && strchr(options->bind_text, ':') == NULL;

    snprintf(out, LISTENER_ADDRESS_TEXT, "%s%s", bare ? "0.0.0.0:" : "", options->bind_text);
}

static void hint(const struct node *node, const struct listener_options *options, int err, char *out, size_t size)
{
    struct port_holder holder = {0};
    const char *type = listener_type_name(options->type), *file = node->options->paths->config;
    uint16_t port = port_of(options);

    out[0] = '\0';
    if (err == -EADDRINUSE && options->type == LISTENER_UNIX)
        snprintf(out, size, "\nEnd that process, or set another path for listener.unix.%s in %s.", options->name, file);
    else if (err == -EADDRINUSE && process_find_port_holder(port, &holder) == 0 && holder.pid == getpid())
        snprintf(
            out, size,
            "\nAnother listener of this broker has port %u ([::] takes the IPv4 addresses as well). Set another address "
            "for listener.%s.%s in %s.",
            port, type, options->name, file);
    else if (err == -EADDRINUSE && holder.pid > 0)
        snprintf(
            out, size,
            "\nPort %u is held by process %d (%s). End that process, or set another address for listener.%s.%s in %s.",
            port, (int)holder.pid, holder.name, type, options->name, file);
    else if (err == -EADDRINUSE)
        snprintf(
            out, size,
            "\nPort %u is held by another process. End that process, or set another address for listener.%s.%s in %s.",
            port, type, options->name, file);
    else if (err == -EADDRNOTAVAIL)
        snprintf(out, size, "\nThis machine has no such address. Set another one for listener.%s.%s in %s.", type,
                 options->name, file);
    else if (err == -EACCES && port > 0 && port < 1024)
        snprintf(out, size,
                 "\nPorts below 1024 need root or CAP_NET_BIND_SERVICE. Set another one for listener.%s.%s in %s.",
                 type, options->name, file);
    else if (err == -ENOENT && options->tls != NULL)
        snprintf(out, size, "\nSet the right path in %s. make-certs.sh makes certificates for trying out.", file);
    else if (options->type == LISTENER_UNIX)
        snprintf(out, size, "\nSet another path for listener.unix.%s in %s.", options->name, file);
}

void node_listener_reason(const struct node *node, const struct listener_options *options, int err, const char *error,
                          char out[LISTENER_REASON_MAX])
{
    const char *what = error[0] != '\0' ? error : err == -EADDRINUSE ? "the address is already in use" : strerror(-err);
    char more[PATH_MAX + 512] = "";

    hint(node, options, err, more, sizeof(more));
    snprintf(out, LISTENER_REASON_MAX, "%.1000s%.1000s", what, more);
}

static void report_failure(struct node *node, const struct listener_options *options, int err, const char *error)
{
    char address[LISTENER_ADDRESS_TEXT], reason[LISTENER_REASON_MAX], text[LISTENER_REASON_MAX + 256];

    node_listener_address(options, address);
    node_listener_reason(node, options, err, error, reason);
    snprintf(text, sizeof(text), "Failed to start mqtt:%s listener on %s - %s", listener_type_name(options->type),
             address, reason);
    daemon_report_failure(node->options->report, text);
}

int node_listener_make(struct node *node, struct listener_options *options, struct listener **out_listener,
                       char error[LISTENER_ERROR_MAX])
{
    void *zone = (void *)(uintptr_t)zone_table_find(node->zones, options->zone);
    const char *socket_path = instance_lock_socket(node->lock); /* it lies in the data directory */
    const char *slash = strrchr(socket_path, '/');
    char data_dir[PATH_MAX] = ".";
    struct listener_places places = {.home = node->options->paths->root, .data_dir = data_dir};

    if (slash != NULL)
        snprintf(data_dir, sizeof(data_dir), "%.*s", (int)(slash - socket_path), socket_path);
    return listener_new(options, &places, zone, channel_on_accept, out_listener, error);
}

int node_listener_add_slot(struct node *node, enum listener_type type, const char *name,
                           struct listener_slot **out_slot)
{
    struct node_listeners *listeners = node->listeners;
    struct listener_slot *slot;

    if (listeners->slot_count == LISTENER_SLOTS_MAX)
        return -ENOSPC;
    slot = calloc(1, sizeof(*slot));
    if (slot == NULL)
        return -ENOMEM;
    slot->type = type;
    slot->name = strdup(name);
    if (slot->name == NULL) {
        free(slot);
        return -ENOMEM;
    }
    listeners->slots[listeners->slot_count++] = slot;
    *out_slot = slot;
    return 0;
}

static void free_slot(struct listener_slot *slot)
{
    listener_free(slot->listener);
    free(slot->reload_error);
    free(slot->name);
    free(slot);
}

void node_listener_drop_slot(struct node *node, struct listener_slot *slot)
{
    struct node_listeners *listeners = node->listeners;
    uint32_t i = 0;

    while (listeners->slots[i] != slot)
        i++;
    listeners->slot_count--;
    memmove(listeners->slots + i, listeners->slots + i + 1, (listeners->slot_count - i) * sizeof(*listeners->slots));
    free_slot(slot);
}

void node_listener_retire(struct node *node, struct listener *listener)
{
    struct retired_listener *retired;

    listener_close(listener);
    if (!listener_is_held(listener)) {
        listener_free(listener);
        return;
    }
    retired = malloc(sizeof(*retired));
    if (retired == NULL)
        return; /* memory is short: it is never freed, since its clients still use it */
    *retired = (struct retired_listener){.listener = listener, .next = node->listeners->retired};
    node->listeners->retired = retired;
}

void node_listener_close_elders(struct node *node, const struct listener *listener)
{
    for (struct retired_listener *each = node->listeners->retired; each != NULL; each = each->next) {
        if (listener_is_kin(each->listener, listener))
            listener_set_closing(each->listener, true);
    }
}

/* ---- start and end ---- */

/* Opens one listener. A failure has been reported. */
static int open_one(struct node *node, struct listener_options *options)
{
    struct listener_slot *slot = NULL;
    char error[LISTENER_ERROR_MAX] = "";
    int err = node_listener_add_slot(node, options->type, options->name, &slot);

    if (err == 0)
        err = node_listener_make(node, options, &slot->listener, error);
    if (err < 0) {
        report_failure(node, options, err, error);
        return err;
    }
    err = listener_open(slot->listener, error);
    if (err < 0)
        report_failure(node, listener_options_of(slot->listener), err, error);
    return err;
}

static void watch_all(struct worker *worker, void *context)
{
    struct node *node = context;

    for (uint32_t i = 0; i < node->listeners->slot_count; i++) {
        int err = listener_watch(node->listeners->slots[i]->listener, worker);
        if (err < 0)
            node->exit_status = 1; /* epoll refuses only when memory is short */
    }
}

static int open_type(struct node *node, enum listener_type type)
{
    struct listener_options *options = NULL;
    uint32_t count = 0;
    int err = listener_options_read(node->conf, type, &options, &count);

    if (err < 0) {
        daemon_report_failure(node->options->report, "Cannot open the listeners: memory is short");
        return err;
    }
    for (uint32_t i = 0; err == 0 && i < count; i++)
        err = open_one(node, &options[i]);
    listener_options_free(options, count);
    return err;
}

int node_open_listeners(struct node *node)
{
    int err = 0;

    node->listeners = calloc(1, sizeof(*node->listeners));
    if (node->listeners == NULL)
        return -ENOMEM;
    node->listeners->node = node;
    for (int type = 0; err == 0 && type < LISTENER_TYPE_COUNT; type++)
        err = open_type(node, (enum listener_type)type);
    if (err == 0)
        err = node_listener_tls_start(node);
    if (err < 0)
        return err;
    node_on_all_workers(node, watch_all, node);
    for (uint32_t i = 0; i < node->listeners->slot_count; i++) {
        struct listener_slot *slot = node->listeners->slots[i];
        char address[LISTENER_ADDRESS_TEXT];
        node_listener_address(listener_options_of(slot->listener), address);
        printf("Start mqtt:%s listener on %s successfully.\n", listener_type_name(slot->type), address);
        node_listener_tls_warn(node, slot);
    }
    return node->exit_status == 0 ? 0 : -ENOMEM;
}

static void unwatch_all(struct worker *worker, void *context)
{
    struct node *node = context;

    for (uint32_t i = 0; i < node->listeners->slot_count; i++) {
        if (node->listeners->slots[i]->listener != NULL)
            listener_unwatch(node->listeners->slots[i]->listener, worker);
    }
}

void node_close_listeners(struct node *node)
{
    if (node->listeners == NULL)
        return;
    if (node->workers_running)
        node_on_all_workers(node, unwatch_all, node);
    for (uint32_t i = 0; i < node->listeners->slot_count; i++) {
        if (node->listeners->slots[i]->listener != NULL)
            listener_close(node->listeners->slots[i]->listener);
    }
    if (node->listeners->timer_open)
        uv_close((uv_handle_t *)&node->listeners->timer, NULL);
    node->listeners->timer_open = false;
}

void node_free_listeners(struct node *node)
{
    struct node_listeners *listeners = node->listeners;

    if (listeners == NULL)
        return;
    while (listeners->retired != NULL) {
        struct retired_listener *retired = listeners->retired;
        listeners->retired = retired->next;
        listener_free(retired->listener);
        free(retired);
    }
    for (uint32_t i = 0; i < listeners->slot_count; i++)
        free_slot(listeners->slots[i]);
    free(listeners);
    node->listeners = NULL;
}

/* ---- the list ---- */

/* Answers that need no worker come in a later turn all the same. */
struct list_question {
    struct loop_post post;
    struct node *node;
    broker_listeners_fn *on_rows;
    void *context;
};

struct list_texts {
    char name[16];
    struct shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];
};

static void fill_row(const struct listener_slot *slot, struct listener_row *out_row, struct list_texts *texts)
{
    const struct listener_options *options = listener_options_of(slot->listener);
    struct listener_shutdown_count found[LISTENER_SHUTDOWN_REASON_MAX];
    uint32_t reasons = listener_shutdown_counts(slot->listener, found);

    snprintf(texts->name, sizeof(texts->name), "mqtt:%s", listener_type_name(slot->type));
    for (uint32_t i = 0; i < reasons; i++)
        texts->counts[i] = (struct shutdown_count){.reason = found[i].reason, .count = found[i].count};
    *out_row = (struct listener_row){
        .name = texts->name,
        .address = options->bind_text,
        .acceptors = options->acceptors,
        .max_conns = options->max_connections,
        .current_conn = listener_connection_count(slot->listener),
        .shutdown_counts = texts->counts,
        .shutdown_count_count = reasons,
        .stopped = !listener_is_open(slot->listener),
    };
}

static void answer_list(struct loop_post *post)
{
    struct list_question *question = CONTAINER_OF(post, struct list_question, post);
    const struct node_listeners *listeners = question->node->listeners;
    uint32_t slots = listeners == NULL ? 0 : listeners->slot_count, count = 0;
    struct listener_row *rows = calloc(slots + 1, sizeof(*rows));
    struct list_texts *texts = calloc(slots + 1, sizeof(*texts));

    for (uint32_t i = 0; rows != NULL && texts != NULL && i < slots; i++) {
        if (listeners->slots[i]->listener != NULL) {
            fill_row(listeners->slots[i], &rows[count], &texts[count]);
            count++;
        }
    }
    question->on_rows(question->context, rows, count);
    free(texts);
    free(rows);
    free(question);
}

int node_list_listeners(void *broker, broker_listeners_fn *on_rows, void *context)
{
    struct node *node = broker;
    struct list_question *question = node->state == BROKER_STOPPING ? NULL : calloc(1, sizeof(*question));

    if (question == NULL)
        return -ENOMEM;
    *question = (struct list_question){.post.run = answer_list, .node = node, .on_rows = on_rows, .context = context};
    loop_mailbox_post(node->mailbox, &question->post);
    return 0;
}
