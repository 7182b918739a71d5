/*
 * node_bans: banned clients: opens the table of bans before the listeners, and takes it down.
 */
#include "main/node.h"

#include "auth/ban_guard.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

/* In which zones have bans an effect, and is flapping looked for? */
static int ask_zones(const struct node *node, struct ban_guard_options *options)
{
    const char **names = NULL;
    size_t count = 0;
    int err = conf_names(node->conf, "zone.$name", NULL, &names, &count);

    for (size_t i = 0; err == 0 && i < count; i++) {
        bool refuses = conf_get_bool(node->conf, "zone.$name.enable_ban", names[i], false);
        options->refuses |= refuses;
        options->detects_flapping |= refuses &&
                                     conf_get_bool(node->conf, "zone.$name.enable_flapping_detect", names[i], false);
    }
    free(names);
    return err;
}

int node_open_bans(struct node *node)
{
    struct ban_guard_options options = {
        .loop = &node->loop,
        .store = node->store,
        .broker = node->broker,
        .entries_max = (uint64_t)conf_get_integer(node->conf, "banned.max_entries", NULL, 100000),
        .clean_interval_ms = conf_get_duration(node->conf, "flapping_clean_interval", NULL, 3600000),
    };
    int err = ask_zones(node, &options);

    if (err == 0)
        err = ban_guard_open(&options, &node->bans);
    if (err == 0)
        node->view.banned = ban_guard_table(node->bans);
    node->view.bans_apply = options.refuses;
    if (err == -EIO)
        node_report_unreadable(node, "bans");
    return err;
}
