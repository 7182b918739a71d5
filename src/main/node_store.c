/*
 * node_store: opens the store and says when its state changes.
 */
#include "main/node_store.h"

#include "base/log.h"
#include "main/node.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_BYTES 512

struct store_watch {
    struct loop_mailbox *mailbox;
    struct store_client *client;
    enum store_state said;
};

static void say_state(enum store_state state, const char *problem)
{
    switch (state) {
    case STORE_OPEN:
        log_notice("[Store] It can be written again, and what waited is on disk; clients are no longer refused");
        break;
    case STORE_FULL:
        log_write(LOG_LEVEL_ALERT,
                  "[Store] No space: %s. Clients that need the disk are refused (reason 0x97), the others go on; "
                  "what waits is tried again until there is space",
                  problem);
        break;
    case STORE_FAILED:
        log_write(
            LOG_LEVEL_ALERT,
            "[Store] It cannot be written: %s. Clients that need the disk are refused (reason 0x83), the others go on; "
            "what waits is tried again until it succeeds",
            problem);
        break;
    }
}

static void on_progress(struct store_client *client, void *context)
{
    struct node *node = context;
    enum store_state state = store_state(node->store);
    char problem[PROBLEM_BYTES];

    (void)client;
    if (state == node->store_watch->said)
        return;
    node->store_watch->said = state;
    store_problem(node->store, problem, sizeof(problem));
    say_state(state, problem);
}

static int watch(struct node *node)
{
    struct store_client_options options = {.on_progress = on_progress, .context = node};
    int err;

    node->store_watch = calloc(1, sizeof(*node->store_watch));
    if (node->store_watch == NULL)
        return -ENOMEM;
    err = loop_mailbox_open(&node->loop, &node->store_watch->mailbox);
    options.mailbox = node->store_watch->mailbox;
    if (err == 0)
        err = store_client_open(node->store, &options, &node->store_watch->client);
    return err;
}

int node_open_store(struct node *node)
{
    char data_dir[PATH_MAX], dir[PATH_MAX], *error = NULL;
    struct store_options options = {
        .dir = dir,
        .cache_bytes = conf_get_bytes(node->conf, "store.cache_size", NULL, 32u << 20),
        .write_buffer_bytes = conf_get_bytes(node->conf, "store.write_buffer_size", NULL, 64u << 20),
        .queue_bytes_max = conf_get_bytes(node->conf, "store.queue_size", NULL, 64u << 20),
        .free_bytes_min = conf_get_bytes(node->conf, "store.min_free_space", NULL, 64u << 20),
        .sync_interval_ms = (uint32_t)conf_get_duration(node->conf, "store.sync_interval", NULL, 1000),
    };
    int err = node_data_dir(node, data_dir);

    if (err == 0)
        err = paths_join(data_dir, "store", dir);
    if (err == 0)
        err = store_open(&options, &node->store, &error);
    if (err == 0)
        err = watch(node);
    if (err < 0)
        daemon_report_failure(node->options->report, error == NULL ? strerror(-err) : error);
    free(error);
    return err;
}

void node_unwatch_store(struct node *node)
{
    struct store_watch *watch = node->store_watch;

    if (watch == NULL)
        return;
    store_interrupt(node->store); /* jobs of `emqx_ctl store` */
    store_client_close(watch->client);
    loop_mailbox_close(watch->mailbox);
    free(watch);
    node->store_watch = NULL;
}

void node_close_store(struct node *node)
{
    store_close(node->store);
    node->store = NULL;
}
