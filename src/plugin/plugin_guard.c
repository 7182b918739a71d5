/*
 * plugin_guard: nobody is let in while a plugin that authenticates is being reloaded, or could not be loaded again: else allow_anonymous would decide.
 */
#include "plugin/plugin_internal.h"

#include "hook/events.h"
#include "hook/hook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_PRIORITY (INT_MAX - 1) /* behind bans */

static enum hook_verdict refuse(void *context, void *data)
{
    struct hook_authenticate *event = data;

    (void)context;
    event->result = REASON_SERVER_UNAVAILABLE;
    event->reason = "a plugin for authentication is not loaded";
    return HOOK_STOP;
}

bool plugin_guard_has(const struct plugin_host *host, const char *name)
{
    const struct plugin_guard *guard = host->guards;

    while (guard != NULL && strcmp(guard->name, name) != 0)
        guard = guard->next;
    return guard != NULL;
}

int plugin_guard_add(struct plugin_host *host, const char *name)
{
    struct plugin_guard *guard;
    struct hook_options options = {.point = HOOK_CLIENT_AUTHENTICATE, .priority = GUARD_PRIORITY, .run = refuse};
    int err;

    if (plugin_guard_has(host, name))
        return 0;
    guard = calloc(1, sizeof(*guard));
    if (guard == NULL)
        return -ENOMEM;
    snprintf(guard->name, sizeof(guard->name), "%s", name);
    options.context = guard;
    options.owner = guard->name;
    err = hook_add(&options, &guard->hook);
    if (err < 0) {
        free(guard);
        return err;
    }
    guard->next = host->guards;
    host->guards = guard;
    return 0;
}

void plugin_guard_remove(struct plugin_host *host, const char *name)
{
    for (struct plugin_guard **place = &host->guards; *place != NULL;) {
        struct plugin_guard *guard = *place;

        if (name != NULL && strcmp(guard->name, name) != 0) {
            place = &guard->next;
            continue;
        }
        *place = guard->next;
        hook_remove(guard->hook);
        free(guard);
    }
}
