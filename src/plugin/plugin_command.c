/*
 * plugin_command: emqx_ctl plugins. First lines are the original's; what explains them follows.
 */
#include "plugin/plugin_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void print_row(void *context, const struct plugin_row *row)
{
    struct ctl_request *request = context;

    ctl_print(request, "Plugin(%s, version=%s, description=", row->name, row->version);
    ctl_print_slice(request, slice_from_string(row->description));
    ctl_print(request, ", active=%s)\n", row->is_active ? "true" : "false");
}

static void list(struct ctl_request *request, struct plugin_host *host)
{
    int err = plugin_host_list(host, print_row, request);

    if (err < 0)
        ctl_printerr(request, "the plugins cannot be listed: %s\n", strerror(-err));
    ctl_finish(request, err < 0 ? CTL_BROKEN : CTL_OK);
}

/* "load plugin error: not_found" and, when there is more to say, why. */
static void fail(struct ctl_request *request, const char *what, const char *word, const char *error)
{
    ctl_print(request, "%s error: %s\n", what, word);
    if (error != NULL)
        ctl_printerr(request, "%s\n", error);
    ctl_finish(request, CTL_FAILED);
}

static void load(struct ctl_request *request, struct plugin_host *host, const char *name)
{
    char *started, *error, word[PLUGIN_NAME_MAX + 64];
    int err = plugin_host_load(host, name, &started, &error);

    snprintf(word, sizeof(word), "{%.*s,%s}", (int)PLUGIN_NAME_MAX, name,
             err == -EINVAL   ? "bad_plugin_or_config"
             : err == -ENOMEM ? "enomem"
                              : "load_failed");
    if (err == 0) {
        ctl_print(request, "Start apps: [%s]\nPlugin %s loaded successfully.\n", started, name);
        ctl_finish(request, CTL_OK);
    } else {
        fail(request, "load plugin", err == -EALREADY ? "already_started" : err == -ENOENT ? "not_found" : word, error);
    }
    free(started);
    free(error);
}

static void unload(struct ctl_request *request, struct plugin_host *host, const char *name)
{
    char *error;
    int err = plugin_host_unload(host, name, &error);

    if (err == 0) {
        ctl_print(request, "Plugin %s unloaded successfully.\n", name);
        ctl_finish(request, CTL_OK);
    } else {
        fail(request, "unload plugin", err == -ESRCH ? "not_started" : "in_use", error);
    }
    free(error);
}

static void reload(struct ctl_request *request, struct plugin_host *host, const char *name)
{
    char *error;
    int err = plugin_host_reload(host, name, &error);

    if (err == 0) {
        ctl_print(request, "Plugin %s reloaded successfully.\n", name);
        ctl_finish(request, CTL_OK);
    } else {
        fail(request, "Reload plugin",
             err == -ENOENT  ? "plugin_not_exist"
             : err == -EBUSY ? "in_use"
                             : "parse_config_file_failed",
             error);
    }
    free(error);
}

static void run(struct ctl_request *request, int argc, char **argv)
{
    struct plugin_host *host = ctl_context(request);

    if (argc == 2 && ctl_is_help(argv[1]))
        ctl_finish_help(request);
    else if (argc == 2 && strcmp(argv[1], "list") == 0)
        list(request, host);
    else if (argc == 3 && strcmp(argv[1], "load") == 0)
        load(request, host, argv[2]);
    else if (argc == 3 && strcmp(argv[1], "unload") == 0)
        unload(request, host, argv[2]);
    else if (argc == 3 && strcmp(argv[1], "reload") == 0)
        reload(request, host, argv[2]);
    else
        ctl_finish_usage(request);
}

static const struct ctl_usage usage[] = {
    {"plugins list", "Show loaded plugins"},
    {"plugins load <Plugin>", "Load plugin"},
    {"plugins unload <Plugin>", "Unload plugin"},
    {"plugins reload <Plugin>", "Reload plugin"},
    {"plugins new <Name> <Directory>", "Begin a plugin of your own"},
    {NULL,
     "Settings of a plugin are in etc/plugins/NAME.conf; `reload` puts what was changed there into effect. What is loaded is\n"
     "remembered in data/loaded_plugins and loaded again at the next start.\n"
     "Examples:\n"
     "  emqx_ctl plugins load emqx_auth_username\n"
     "  emqx_ctl plugins reload emqx_auth_http\n"
     "  emqx_ctl plugins new my_plugin ~/my_plugin\n"},
};

const struct ctl_command plugins_command = {.name = "plugins", .usage = usage, .run = run};
