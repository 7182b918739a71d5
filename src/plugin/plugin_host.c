/*
 * plugin_host: see plugin_host.h.
 *
 * A plugin is prepared (object opened and checked, settings read) before anything that runs is touched; then it is activated. Reloading prepares the
 * new one while the old one still runs.
 */
#include "plugin/plugin_internal.h"

#include "base/log.h"
#include "event/loop_mailbox.h"
#include "hook/acl_generation.h"
#include "plugin/plugin_builtin.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char *text_of(const char *format, ...) PRINTF_LIKE(1, 2);

/* NULL: memory is short. */
static char *text_of(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    int len;

    va_start(arguments, format);
    len = vasprintf(&text, format, arguments);
    va_end(arguments);
    return len < 0 ? NULL : text;
}

static struct emqc_plugin_instance *find_loaded(const struct plugin_host *host, const char *name)
{
    struct emqc_plugin_instance *plugin = host->plugins;

    while (plugin != NULL && strcmp(plugin->name, name) != 0)
        plugin = plugin->next;
    return plugin;
}

static bool depends_on(const struct emqc_plugin_instance *plugin, const char *name)
{
    const char *const *depends = plugin->object.plugin->depends;

    for (; depends != NULL && *depends != NULL; depends++) {
        if (strcmp(*depends, name) == 0)
            return true;
    }
    return false;
}

/* What is remembered for the next start. A failure is no reason not to go on. */
static void remember(struct plugin_host *host, const char *name, bool is_loaded)
{
    int err = host->is_listed_elsewhere ? 0 : plugin_list_change(host->loaded_file, name, is_loaded);

    if (err < 0)
        log_error("[Plugins] %s cannot be written: %s. The next start will not know that %s is %s", host->loaded_file,
                  strerror(-err), name, is_loaded ? "loaded" : "not loaded");
}

/* ---- preparing, activating, ending ---- */

/* Its own memory and what was prepared; nothing of the plugin runs. */
static void plugin_free(struct emqc_plugin_instance *plugin)
{
    plugin_names_free(plugin);
    plugin_conf_free(&plugin->conf);
    plugin_object_close(&plugin->object);
    free(plugin);
}

/* `*out_error`: why not. */
static int prepare(struct plugin_host *host, const char *name, struct emqc_plugin_instance **out_plugin,
                   char **out_error)
{
    struct emqc_plugin_instance *plugin = calloc(1, sizeof(*plugin));
    char path[PATH_MAX];
    int err = plugin == NULL ? -ENOMEM : plugin_find(host, name, path);

    if (err == -ENOENT || (err == -EINVAL && plugin != NULL)) {
        *out_error = text_of("There is no plugin %.100s: neither %s/%.100s.so nor one in %s", name, host->object_dir,
                             name, host->expand_dir);
        err = -ENOENT;
    }
    if (err < 0) {
        free(plugin);
        return err;
    }
    plugin->host = host;
    snprintf(plugin->name, sizeof(plugin->name), "%s", name);
    err = plugin_object_open(path, name, &plugin->object, plugin->error);
    if (err == 0)
        err = plugin_conf_load(host, plugin->object.plugin, &plugin->conf, plugin->error);
    if (err < 0) {
        *out_error = text_of("%s", plugin->error[0] == '\0' ? strerror(-err) : plugin->error);
        plugin_free(plugin);
        return err;
    }
    *out_plugin = plugin;
    return 0;
}

/* Takes off what it has attached and waits until nothing of it runs. */
static void detach(struct emqc_plugin_instance *plugin)
{
    plugin_hooks_remove(plugin);
    acl_generation_bump();
    plugin_jobs_finish(plugin);
    plugin_tables_settle(plugin);
    plugin_timers_remove(plugin);
}

/* Takes `plugin` over; in an error it is gone. */
static int activate(struct emqc_plugin_instance *plugin, char **out_error)
{
    struct plugin_host *host = plugin->host;
    struct emqc_plugin_instance **end = &host->plugins;
    int err = plugin->object.plugin->load(&plugin_host_functions, plugin, &plugin->state);

    if (err < 0) {
        *out_error = text_of("%s", plugin->error[0] != '\0' ? plugin->error : strerror(-err));
        detach(plugin);
        plugin_commands_remove(plugin);
        if (plugin->state != NULL)
            plugin->object.plugin->unload(plugin->state);
        plugin_tables_remove(plugin);
        plugin_free(plugin);
        return err;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *end = plugin;
    acl_generation_bump();
    plugin_guard_remove(host, plugin->name);
    log_notice("[Plugins] %s %s is loaded", plugin->name, plugin->object.plugin->version);
    return 0;
}

/* It is in the list no more, and no command of it runs. */
static void finish_plugin(struct emqc_plugin_instance *plugin)
{
    plugin_commands_remove(plugin);
    detach(plugin);
    plugin->object.plugin->unload(plugin->state);
    plugin_tables_remove(plugin);
    log_notice("[Plugins] %s is unloaded", plugin->name);
    plugin_free(plugin);
}

/* No command of it runs. */
static void end_plugin(struct emqc_plugin_instance *plugin)
{
    struct emqc_plugin_instance **place = &plugin->host->plugins;

    while (*place != plugin)
        place = &(*place)->next;
    *place = plugin->next;
    finish_plugin(plugin);
}

/* ---- load ---- */

/* The plugins that one needs, and it. `started`: the names, with commas. */
static int load_with_dependencies(struct plugin_host *host, const char *name, uint32_t depth, FILE *started,
                                  char **out_error)
{
    struct emqc_plugin_instance *plugin;
    const char *const *depends;
    int err;

    if (depth > PLUGIN_DEPTH_MAX) {
        *out_error = text_of("%s and the plugins that it depends on depend on each other", name);
        return -EINVAL;
    }
    err = prepare(host, name, &plugin, out_error);
    if (err < 0)
        return err;
    for (depends = plugin->object.plugin->depends; depends != NULL && *depends != NULL && err == 0; depends++) {
        char *error = NULL;

        if (find_loaded(host, *depends) != NULL)
            continue;
        err = load_with_dependencies(host, *depends, depth + 1, started, &error);
        if (err < 0)
            *out_error = text_of("%s depends on %s. %s", name, *depends, error == NULL ? "" : error);
        free(error);
    }
    if (err < 0) {
        plugin_free(plugin);
        return err == -ENOENT ? -EINVAL : err;
    }
    err = activate(plugin, out_error);
    if (err == 0) {
        remember(host, name, true);
        fprintf(started, "%s%s", ftell(started) > 0 ? "," : "", name);
    }
    return err;
}

int plugin_host_load(struct plugin_host *host, const char *name, char **out_started, char **out_error)
{
    size_t size = 0;
    FILE *started;
    int err;

    *out_started = NULL;
    *out_error = NULL;
    if (find_loaded(host, name) != NULL)
        return -EALREADY;
    started = open_memstream(out_started, &size);
    if (started == NULL)
        return -ENOMEM;
    err = load_with_dependencies(host, name, 1, started, out_error);
    fclose(started);
    if (err < 0 && *out_error != NULL)
        log_error("[Plugins] %s is not loaded: %s", name, *out_error);
    return err;
}

/* ---- unload and reload ---- */

static int check_idle(const struct plugin_host *host, const struct emqc_plugin_instance *plugin, bool goes,
                      char **out_error)
{
    for (const struct emqc_plugin_instance *other = host->plugins; goes && other != NULL; other = other->next) {
        if (depends_on(other, plugin->name)) {
            *out_error = text_of("%s depends on it: unload that first", other->name);
            return -EBUSY;
        }
    }
    if (plugin->requests == NULL)
        return 0;
    *out_error = text_of("a command of %s is running: try again when it has ended", plugin->name);
    return -EBUSY;
}

int plugin_host_unload(struct plugin_host *host, const char *name, char **out_error)
{
    struct emqc_plugin_instance *plugin = find_loaded(host, name);
    int err;

    *out_error = NULL;
    if (plugin == NULL && !plugin_guard_has(host, name))
        return -ESRCH;
    if (plugin != NULL) {
        err = check_idle(host, plugin, true, out_error);
        if (err < 0)
            return err;
        end_plugin(plugin);
        plugin_builtin_off(host->options.broker, name);
    }
    plugin_guard_remove(host, name);
    remember(host, name, false);
    return 0;
}

int plugin_host_reload(struct plugin_host *host, const char *name, char **out_error)
{
    struct emqc_plugin_instance *old = find_loaded(host, name), *plugin;
    char *started, *reason = NULL;
    int err;

    *out_error = NULL;
    if (old == NULL) {
        err = plugin_host_load(host, name, &started, out_error);
        free(started);
        return err;
    }
    err = check_idle(host, old, false, out_error);
    if (err < 0)
        return err;
    err = prepare(host, name, &plugin, &reason);
    if (err < 0) {
        *out_error = text_of("%s\nIt goes on as before.", reason == NULL ? strerror(-err) : reason);
        free(reason);
        return err;
    }
    if (plugin->object.plugin->type == EMQC_AUTH && (err = plugin_guard_add(host, name)) < 0) {
        plugin_free(plugin);
        return err;
    }
    end_plugin(old);
    err = activate(plugin, &reason);
    if (err < 0)
        plugin_builtin_off(host->options.broker, name);
    if (err < 0)
        *out_error = text_of(
            "%s\nIt is not loaded now.%s", reason == NULL ? strerror(-err) : reason,
            plugin_guard_has(host, name)
                ? " Nobody is let in until it is loaded again, or unloaded with `emqx_ctl plugins unload`."
                : "");
    if (err < 0 && *out_error != NULL)
        log_error("[Plugins] %s: %s", name, *out_error);
    free(reason);
    return err;
}

/* ---- start ---- */

/* Without it the broker would let in whom it should not. */
static bool is_access_control(const char *name)
{
    return strncmp(name, "emqx_auth_", 10) == 0 || strcmp(name, "emqx_psk_file") == 0;
}

static int start_one(struct plugin_host *host, const char *name, const char *source, FILE *started, char **out_error)
{
    char *reason = NULL;
    char path[PATH_MAX];
    int err;

    if (find_loaded(host, name) != NULL)
        return 0;
    if (plugin_find(host, name, path) == -ENOENT && !is_access_control(name)) {
        log_warning("[Plugins] %s names the plugin %s, which this version does not have: it is passed over", source,
                    name);
        return 0;
    }
    err = load_with_dependencies(host, name, 1, started, &reason);
    if (err < 0)
        *out_error = text_of(
            plugin_builtin_find(name) != NULL
                ? "The plugin %s cannot be loaded: %s\nWith the line {%s, false}. in %s the broker starts without it."
                : "The plugin %s cannot be loaded: %s\n%.0s%s names it; without its line there the broker starts "
                  "without it.",
            name, reason == NULL ? strerror(-err) : reason, name, source);
    free(reason);
    return err < 0 ? -EINVAL : 0;
}

/* Those that need no line. After the others, which so see what waited for the start. */
static int start_builtins(struct plugin_host *host, const struct plugin_list *list, FILE *started, char **out_error)
{
    int err = 0;

    for (const struct plugin_builtin *builtin = plugin_builtins; builtin->plugin != NULL && err == 0; builtin++) {
        const char *name = builtin->plugin->name;

        if (find_loaded(host, name) != NULL)
            continue;
        if (plugin_list_refuses(list, name))
            builtin->off(host->options.broker);
        else
            err = start_one(host, name, host->loaded_file, started, out_error);
    }
    return err;
}

/* The value of EMQX_LOADED_PLUGINS; NULL: not set. */
static const char *listed_elsewhere(const struct plugin_host *host)
{
    static const char variable[] = "EMQX_LOADED_PLUGINS=";

    for (char *const *entry = host->options.environment; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, variable, sizeof(variable) - 1) == 0 && (*entry)[sizeof(variable) - 1] != '\0')
            return *entry + sizeof(variable) - 1;
    }
    return NULL;
}

int plugin_host_start(struct plugin_host *host, char **out_error)
{
    const char *words = listed_elsewhere(host), *source = words == NULL ? host->loaded_file : "EMQX_LOADED_PLUGINS";
    char error[PLUGIN_ERROR_BYTES] = "", *names = NULL;
    struct plugin_list list;
    size_t size = 0;
    FILE *started = open_memstream(&names, &size);
    int err;

    if (started == NULL)
        return -ENOMEM;
    host->is_listed_elsewhere = true; /* the list is not changed by what it says */
    err = words == NULL ? plugin_list_read(host->loaded_file, &list, error)
                        : plugin_list_parse_words(words, &list, error);
    if (err == -EINVAL)
        *out_error = text_of("%s: %s", source, error);
    for (uint32_t i = 0; err == 0 && i < list.count; i++)
        err = start_one(host, list.names[i], source, started, out_error);
    if (err == 0)
        err = start_builtins(host, &list, started, out_error);
    plugin_list_free(&list);
    host->is_listed_elsewhere = words != NULL;
    fclose(started);
    free(names);
    return err;
}

bool plugin_is_built_in(const char *name)
{
    return plugin_builtin_find(name) != NULL;
}

/* ---- list ---- */

struct names {
    char (*at)[PLUGIN_NAME_MAX + 1];
    size_t count;
    size_t capacity;
};

static int add_name(struct names *names, const char *name)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        void *at = realloc(names->at, capacity * sizeof(*names->at));
        if (at == NULL)
            return -ENOMEM;
        names->at = at;
        names->capacity = capacity;
    }
    snprintf(names->at[names->count++], sizeof(*names->at), "%s", name);
    return 0;
}

/* Names of the objects in a directory, and of its folders that hold one. */
static int add_directory(const struct plugin_host *host, struct names *names, const char *dir)
{
    DIR *stream = opendir(dir);
    const struct dirent *entry;
    char path[PATH_MAX];
    int err = 0;

    while (stream != NULL && err == 0 && (entry = readdir(stream)) != NULL) {
        size_t len = strlen(entry->d_name);
        char name[PLUGIN_NAME_MAX + 1];

        if (len > 3 && strcmp(entry->d_name + len - 3, ".so") == 0)
            len -= 3;
        if (len > PLUGIN_NAME_MAX)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)len, entry->d_name);
        if (plugin_find(host, name, path) == 0)
            err = add_name(names, name);
    }
    if (stream != NULL)
        closedir(stream);
    return err;
}

static int order_names(const void *left, const void *right)
{
    return strcmp(left, right);
}

static const char *type_name(enum emqc_plugin_type type)
{
    static const char *const names[] = {"auth", "protocol", "backend", "bridge", "feature"};

    return names[type];
}

static void visit_name(const struct plugin_host *host, const char *name,
                       void (*visit)(void *context, const struct plugin_row *row), void *context)
{
    const struct emqc_plugin_instance *loaded = find_loaded(host, name);
    struct plugin_row row = {.name = name, .version = "?", .type = "feature", .is_active = loaded != NULL};
    char error[PLUGIN_ERROR_BYTES] = "", path[PATH_MAX];
    struct plugin_object object = {.handle = NULL};
    const struct emqc_plugin *plugin = loaded != NULL ? loaded->object.plugin : NULL;

    row.description = error;
    if (plugin == NULL && plugin_find(host, name, path) == 0 && plugin_object_open(path, name, &object, error) == 0)
        plugin = object.plugin;
    if (plugin != NULL) {
        row.version = plugin->version;
        row.description = plugin->description;
        row.type = type_name(plugin->type);
    }
    visit(context, &row);
    plugin_object_close(&object);
}

int plugin_host_list(struct plugin_host *host, void (*visit)(void *context, const struct plugin_row *row),
                     void *context)
{
    struct names names = {.at = NULL};
    int err = add_directory(host, &names, host->object_dir);

    if (err == 0)
        err = add_directory(host, &names, host->expand_dir);
    for (const struct plugin_builtin *builtin = plugin_builtins; builtin->plugin != NULL && err == 0; builtin++)
        err = add_name(&names, builtin->plugin->name);
    if (err == 0 && names.count > 0)
        qsort(names.at, names.count, sizeof(*names.at), order_names);
    for (size_t i = 0; err == 0 && i < names.count; i++) {
        if (i == 0 || strcmp(names.at[i], names.at[i - 1]) != 0)
            visit_name(host, names.at[i], visit, context);
    }
    free(names.at);
    return err;
}

/* ---- the host ---- */

static int copy_path(const char *from, char to[PATH_MAX])
{
    size_t len = strlen(from);

    while (len > 1 && from[len - 1] == '/')
        len--;
    return snprintf(to, PATH_MAX, "%.*s", (int)len, from) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int plugin_host_open(const struct plugin_host_options *options, struct plugin_host **out_host)
{
    struct plugin_host *host = calloc(1, sizeof(*host));
    int err = host == NULL ? -ENOMEM : 0;

    if (err < 0)
        return err;
    host->options = *options;
    if (copy_path(options->data_dir, host->data_dir) < 0 || copy_path(options->etc_dir, host->etc_dir) < 0 ||
        copy_path(options->conf_dir, host->conf_dir) < 0 || copy_path(options->object_dir, host->object_dir) < 0 ||
        copy_path(options->expand_dir, host->expand_dir) < 0 || copy_path(options->loaded_file, host->loaded_file) < 0)
        err = -ENAMETOOLONG;
    if (err == 0)
        err = loop_mailbox_open(options->loop, &host->mailbox);
    if (err == 0)
        err = plugin_jobs_open(options, host->mailbox, &host->jobs);
    if (err == 0)
        err = plugin_tables_open(options, host->mailbox, &host->tables);
    if (err < 0) {
        plugin_host_close(host);
        host = NULL;
    }
    *out_host = host;
    return err;
}

void plugin_host_stop(struct plugin_host *host)
{
    if (host == NULL)
        return;
    while (host->plugins != NULL) {
        struct emqc_plugin_instance **place = &host->plugins, *last;

        while ((*place)->next != NULL)
            place = &(*place)->next;
        last = *place;
        *place = NULL;
        detach(last);
        plugin_requests_abandon(last);
        finish_plugin(last);
    }
    plugin_guard_remove(host, NULL);
    plugin_jobs_stop(host->jobs);
}

void plugin_host_close(struct plugin_host *host)
{
    if (host == NULL)
        return;
    plugin_jobs_stop(host->jobs);
    plugin_tables_close(host->tables);
    loop_mailbox_close(host->mailbox);
    plugin_jobs_free(host->jobs);
    free(host);
}
