/*
 * node_plugins: plugins are loaded before the first client is, and unloaded after the last one.
 */
#include "main/node.h"

#include "base/log.h"
#include "plugin/plugin_host.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `key` as configured, from the root. In an installed system the shipped value stands for the system's place. */
static int place(const struct node *node, const char *key, const char *shipped, const char *base, const char *name,
                 char out_path[PATH_MAX])
{
    const char *configured = conf_get_string(node->conf, key, NULL);

    if (configured == NULL || (node->options->paths->installed && strcmp(configured, shipped) == 0))
        return paths_join(base, name, out_path);
    return paths_join(node->options->paths->root, configured, out_path);
}

/* lib/ of the release tree; PREFIX/lib/emqx of an installed system. */
static int object_dir(const struct node *node, char out_dir[PATH_MAX])
{
    const struct paths *paths = node->options->paths;
    char above[PATH_MAX], *slash;

    if (!paths->installed)
        return paths_join(paths->root, "lib", out_dir);
    snprintf(above, sizeof(above), "%s", paths->executable);
    for (int i = 0; i < 2; i++) {
        slash = strrchr(above, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    return paths_join(above, "lib/emqx", out_dir);
}

static uint32_t job_threads(const struct node *node)
{
    int64_t configured = conf_get_integer(node->conf, "plugins.job_threads", NULL, 0);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (configured <= 0)
        configured = cores < 2 ? 2 : cores;
    return (uint32_t)configured;
}

/* The file of some plugin that is not there is not read: that is said once, for all of them. */
static void report_unread_files(const char *conf_dir, const char *objects)
{
    DIR *stream = opendir(conf_dir);
    const struct dirent *entry;
    char path[PATH_MAX], names[1024] = "", name[NAME_MAX + 1];
    size_t used = 0;

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        size_t len = strlen(entry->d_name);
        if (len <= 5 || strcmp(entry->d_name + len - 5, ".conf") != 0 || entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(len - 5), entry->d_name);
        if (plugin_is_built_in(name) || snprintf(path, sizeof(path), "%s/%s.so", objects, name) >= (int)sizeof(path) ||
            access(path, F_OK) == 0)
            continue;
        if (used + len + 3 < sizeof(names))
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used == 0 ? "" : ", ", entry->d_name);
    }
    if (stream != NULL)
        closedir(stream);
    if (used > 0)
        log_notice("[Plugins] not read in %s, as %s has no plugins of these names: %s", conf_dir, objects, names);
}

int node_open_plugins(struct node *node)
{
    const struct paths *paths = node->options->paths;
    char data_dir[PATH_MAX], conf_dir[PATH_MAX], objects[PATH_MAX], expand_dir[PATH_MAX], loaded_file[PATH_MAX];
    struct plugin_host_options options = {
        .loop = &node->loop,
        .broker = node->broker,
        .store = node->store,
        .commands = node->ctl_registry,
        .node_name = node->name,
        .data_dir = data_dir,
        .etc_dir = paths->etc,
        .conf_dir = conf_dir,
        .object_dir = objects,
        .expand_dir = expand_dir,
        .loaded_file = loaded_file,
        .environment = environ,
        .job_threads = job_threads(node),
        .job_queue = (uint32_t)conf_get_integer(node->conf, "plugins.job_queue", NULL, 10000),
    };
    char *error = NULL;
    int err = node_data_dir(node, data_dir);

    if (err == 0)
        err = place(node, "plugins.etc_dir", "etc/plugins/", paths->etc, "plugins", conf_dir);
    if (err == 0)
        err = place(node, "plugins.expand_plugins_dir", "plugins/", data_dir, "plugins", expand_dir);
    if (err == 0)
        err = place(node, "plugins.loaded_file", "data/loaded_plugins", data_dir, "loaded_plugins", loaded_file);
    if (err == 0)
        err = object_dir(node, objects);
    if (err == 0)
        err = plugin_host_open(&options, &node->plugins);
    if (err == 0)
        err = ctl_register(node->ctl_registry, &plugins_command, node->plugins);
    if (err == 0)
        err = plugin_host_start(node->plugins, &error);
    if (err == 0)
        report_unread_files(conf_dir, objects);
    if (err < 0)
        daemon_report_failure(node->options->report, error != NULL ? error : "The plugins cannot be started");
    free(error);
    return err;
}
