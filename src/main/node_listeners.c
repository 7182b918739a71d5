/*
 * node_listeners: opening with errors that say what to do next, closing.
 */
#include "main/node.h"

#include "base/process.h"
#include "broker/channel/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint16_t port_of(const struct listener_options *options)
{
    if (options->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&options->address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&options->address)->sin_port);
}

/* "0.0.0.0:1883" also for a bare port. */
static void address_text(const struct listener_options *options, char *out, size_t size)
{
    snprintf(out, size, "%s%s", strchr(options->bind_text, ':') == NULL ? "0.0.0.0:" : "", options->bind_text);
}

static void report_failure(struct node *node, const struct listener_options *options, int err)
{
    struct port_holder holder = {0};
    char address[128], why[256] = "", text[PATH_MAX + 1024];

    address_text(options, address, sizeof(address));
    if (err == -EADDRINUSE && process_find_port_holder(port_of(options), &holder) == 0 && holder.pid > 0)
        snprintf(why, sizeof(why), "Port %u is held by process %d (%s). ", port_of(options), (int)holder.pid,
                 holder.name);
    else if (err == -EADDRINUSE)
        snprintf(why, sizeof(why), "Port %u is held by another process. ", port_of(options));
    snprintf(text, sizeof(text),
             "Failed to start mqtt:tcp listener on %s - %s\n%sEnd that process, or set another address for "
             "listener.tcp.%s in %s.",
             address, err == -EADDRINUSE ? "the address is already in use" : strerror(-err), why, options->name,
             node->options->paths->config);
    daemon_report_failure(node->options->report, text);
}

static void watch_all(struct worker *worker, void *context)
{
    struct node *node = context;

    for (uint32_t i = 0; i < node->listener_count; i++) {
        int err = listener_watch(node->listeners[i], worker);
        if (err < 0)
            node->exit_status = 1; /* epoll refuses only when memory is short */
    }
}

int node_open_listeners(struct node *node)
{
    node->listeners = calloc(node->listener_options_count + 1, sizeof(struct listener *));
    if (node->listeners == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < node->listener_options_count; i++) {
        const struct listener_options *options = &node->listener_options[i];
        void *zone = (void *)(uintptr_t)zone_table_find(node->zones, options->zone);
        int err = listener_open(options, zone, channel_on_accept, &node->listeners[i]);
        if (err < 0) {
            report_failure(node, options, err);
            return err;
        }
        node->listener_count++;
    }
    node_on_all_workers(node, watch_all, node);
    for (uint32_t i = 0; i < node->listener_count; i++) {
        char address[128];
        address_text(&node->listener_options[i], address, sizeof(address));
        printf("Start mqtt:tcp listener on %s successfully.\n", address);
    }
    return node->exit_status == 0 ? 0 : -ENOMEM;
}

static void unwatch_all(struct worker *worker, void *context)
{
    struct node *node = context;

    for (uint32_t i = 0; i < node->listener_count; i++)
        listener_unwatch(node->listeners[i], worker);
}

void node_close_listeners(struct node *node)
{
    if (node->listener_count == 0)
        return;
    if (node->workers_running)
        node_on_all_workers(node, unwatch_all, node);
    for (uint32_t i = 0; i < node->listener_count; i++)
        listener_close(node->listeners[i]);
}
