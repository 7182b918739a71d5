/*
 * plugin_host: loads, unloads and reloads plugins (include/emqc/plugin.h) while the broker runs.
 *
 *   lib/NAME.so (or a descriptor of our own, plugin_builtin.h)
 *       └─────► descriptor: ABI, name, version ──► etc/plugins/NAME.conf by its key table ──► load() ──► data/loaded_plugins
 *
 * What a plugin attaches through the host (callbacks, commands, timers, jobs, tables) belongs to it and is taken off when it is unloaded; only then its
 * unload() runs and the object is closed. While a plugin that authenticates is being reloaded, nobody is let in (0x88), and if it cannot be loaded
 * again that stays so until it is loaded or unloaded.
 * Thread: control, for everything here.
 */
#ifndef PLUGIN_PLUGIN_HOST_H
#define PLUGIN_PLUGIN_HOST_H

#include "base/compiler.h"
#include "hook/ctl_command.h"

#include <stdint.h>
#include <stdio.h>

struct broker;
struct plugin_host;
struct store;
struct uv_loop_s;

struct plugin_host_options {
    struct uv_loop_s *loop; /* the control thread's */
    struct broker *broker;
    struct store *store;
    struct ctl_registry *commands;
    const char *node_name;
    const char *data_dir;     /* absolute, as all paths here; copied */
    const char *etc_dir;      /* where certificates and the like are */
    const char *conf_dir;     /* plugins.etc_dir */
    const char *object_dir;   /* lib/ */
    const char *expand_dir;   /* plugins.expand_plugins_dir: NAME.so or NAME/NAME.so */
    const char *loaded_file;  /* plugins.loaded_file */
    char *const *environment; /* settings by EMQX_... variables */
    uint32_t job_threads;     /* over 0 */
    uint32_t job_queue;       /* jobs that may wait */
};

/* -ENOMEM, -errno. The workers run. */
MUST_USE int plugin_host_open(const struct plugin_host_options *options, struct plugin_host **out_host);
/* Unloads all plugins, the last one first; what it keeps of them in loaded_file stays. The workers still run. NULL is fine. */
void plugin_host_stop(struct plugin_host *host);
/* After plugin_host_stop(). The memory goes in a later turn of the loop. NULL is fine. */
void plugin_host_close(struct plugin_host *host);

/* Loads the plugins that loaded_file (or EMQX_LOADED_PLUGINS) names, then those that are built in (plugin_builtin.h) but for {NAME, false} in loaded_file;
 * with EMQX_LOADED_PLUGINS all of them. One that is there and cannot be loaded, and one for access control that is not
 * there, is an error (-EINVAL; `*out_error`, which the caller frees, says which and why); another that is not there is a line in the log. */
MUST_USE int plugin_host_start(struct plugin_host *host, char **out_error);

/* Loads `name` and the plugins it depends on, and remembers it. The names loaded, with commas, go to `*out_started`; all is freed by the caller.
 * -EALREADY; -ENOENT: there is no such plugin; -EINVAL: wrong object or settings; else what its load() gave. `*out_error` says why. */
MUST_USE int plugin_host_load(struct plugin_host *host, const char *name, char **out_started, char **out_error);
/* -ESRCH: it is not loaded; -EBUSY: another plugin depends on it or a command of it runs (`*out_error`). */
MUST_USE int plugin_host_unload(struct plugin_host *host, const char *name, char **out_error);
/* Unloads it and loads it anew, object and settings; one that is not loaded is loaded. Wrong settings are found before. Errors as above. */
MUST_USE int plugin_host_reload(struct plugin_host *host, const char *name, char **out_error);

/* Is it a part of the broker, without an object file? Thread: any. */
bool plugin_is_built_in(const char *name);

struct plugin_row {
    const char *name;
    const char *version;     /* "?" when the object cannot be read */
    const char *description; /* or what is wrong with it */
    const char *type;        /* "auth", "protocol", "backend", "bridge", "feature" */
    bool is_active;
};

/* All that are installed, by name. 0, -ENOMEM. */
MUST_USE int plugin_host_list(struct plugin_host *host, void (*visit)(void *context, const struct plugin_row *row),
                              void *context);

/* Writes the shipped configuration file of the plugin in the object at `path`, or of the built-in plugin of that name (without a slash). 0, -EINVAL with `*out_error`, -ENOMEM. Thread: any. */
MUST_USE int plugin_render_conf(const char *path, FILE *out, char **out_error);

/* emqx_ctl plugins; its context is the host. */
extern const struct ctl_command plugins_command;

#endif
