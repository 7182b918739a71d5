/*
 * plugin_internal: what the files of plugin/ share.
 */
#ifndef PLUGIN_PLUGIN_INTERNAL_H
#define PLUGIN_PLUGIN_INTERNAL_H

#include "conf/conf.h"
#include "plugin/plugin_host.h"

#include <emqc/plugin.h>
#include <limits.h>

#define PLUGIN_NAME_MAX 64u
#define PLUGIN_ERROR_BYTES 8192u
#define PLUGIN_DEPTH_MAX 16u /* plugins that depend on plugins ...: more is an error */

struct hook;
struct plugin_jobs;
struct plugin_tables;

/* The settings of one plugin. */
struct plugin_conf {
    struct conf_key *rows;
    struct conf_table table;
    struct conf *conf;
    char path[PATH_MAX];
};

/* An object that has been opened and looked at. */
struct plugin_object {
    void *handle; /* of dlopen(); NULL: none is open, or it is built in */
    int fd;       /* of the file, while it is open */
    const struct emqc_plugin *plugin;
};

struct emqc_plugin_instance {
    struct emqc_plugin_instance *next; /* in the order of loading */
    struct plugin_host *host;
    char name[PLUGIN_NAME_MAX + 1];
    struct plugin_object object;
    struct plugin_conf conf;
    void *state; /* the plugin's */
    struct plugin_hook *hooks;
    struct plugin_command *commands;
    struct plugin_names *names;
    struct emqc_timer *timers;
    struct emqc_table *tables;
    struct plugin_request *requests; /* commands that run */
    char error[PLUGIN_ERROR_BYTES];
};

/* Nobody is let in while a plugin that authenticates should be there and is not. */
struct plugin_guard {
    struct plugin_guard *next;
    struct hook *hook;
    char name[PLUGIN_NAME_MAX + 1];
};

struct plugin_host {
    struct plugin_host_options options;
    char data_dir[PATH_MAX], etc_dir[PATH_MAX], conf_dir[PATH_MAX], object_dir[PATH_MAX], expand_dir[PATH_MAX],
        loaded_file[PATH_MAX];
    struct emqc_plugin_instance *plugins;
    struct plugin_guard *guards;
    struct loop_mailbox *mailbox;
    struct plugin_jobs *jobs;
    struct plugin_tables *tables;
    bool is_listed_elsewhere; /* EMQX_LOADED_PLUGINS: loaded_file is not written */
};

/* What emqc_host has; every plugin gets the same. */
extern const struct emqc_host plugin_host_functions;

/* plugin_object.c: opens the object at `path` (or takes the built-in one of that name, if there is no slash in it) and checks its descriptor; `name`: what it
 * should be called, NULL: whatever. -EINVAL with `error`. */
MUST_USE int plugin_object_open(const char *path, const char *name, struct plugin_object *out_object,
                                char error[PLUGIN_ERROR_BYTES]);
/* One that is not open or built in (handle NULL) is fine. */
void plugin_object_close(struct plugin_object *object);
/* Is this a name for a plugin? */
bool plugin_name_valid(const char *name);
/* Where the object of that name is; its name, if it is built in. -ENOENT; -EINVAL (no name). */
MUST_USE int plugin_find(const struct plugin_host *host, const char *name, char out_path[PATH_MAX]);

/* plugin_conf.c: reads the settings. -EINVAL with `error`, -ENOMEM. */
MUST_USE int plugin_conf_load(const struct plugin_host *host, const struct emqc_plugin *plugin,
                              struct plugin_conf *out_conf, char error[PLUGIN_ERROR_BYTES]);
/* All zero is fine. */
void plugin_conf_free(struct plugin_conf *conf);
const char *plugin_config_string(const struct emqc_plugin_instance *self, const char *key, const char *name,
                                 const char *id);
int64_t plugin_config_integer(const struct emqc_plugin_instance *self, const char *key, const char *name,
                              const char *id, int64_t otherwise);
double plugin_config_float(const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                           double otherwise);
bool plugin_config_bool(const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        bool otherwise);
int plugin_config_names(struct emqc_plugin_instance *self, const char *key, const char *const **out_names,
                        size_t *out_count);
void plugin_names_free(struct emqc_plugin_instance *self);
int plugin_config_wrong(struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        const char *format, ...) PRINTF_LIKE(5, 6);

/* plugin_hooks.c */
int plugin_hook_add(struct emqc_plugin_instance *self, const struct emqc_hook *options);
void plugin_hooks_remove(struct emqc_plugin_instance *self);
struct emqc_slice plugin_keep(struct emqc_event *event, struct emqc_slice text);
struct emqc_ticket *plugin_defer(struct emqc_event *event);
void plugin_complete(struct emqc_ticket *ticket, emqc_apply_fn *apply, void *answer);

/* plugin_guard.c: `-ENOMEM`. */
MUST_USE int plugin_guard_add(struct plugin_host *host, const char *name);
/* None of that name is fine; NULL: all. */
void plugin_guard_remove(struct plugin_host *host, const char *name);
bool plugin_guard_has(const struct plugin_host *host, const char *name);

/* plugin_commands.c */
int plugin_command_add(struct emqc_plugin_instance *self, const struct emqc_command *options);
/* Ends those that run; for the end of the node. */
void plugin_requests_abandon(struct emqc_plugin_instance *self);
/* None of them may run (emqc_plugin_instance.requests). */
void plugin_commands_remove(struct emqc_plugin_instance *self);
void plugin_request_finish(struct emqc_request *opaque, enum emqc_command_result result);

/* plugin_timers.c */
int plugin_timer_start(struct emqc_plugin_instance *self, uint64_t delay_ms, uint64_t repeat_ms,
                       void (*run)(void *context), void *context, struct emqc_timer **out_timer);
void plugin_timer_stop(struct emqc_timer *timer);
void plugin_timers_remove(struct emqc_plugin_instance *self);

/* plugin_jobs.c */
MUST_USE int plugin_jobs_open(const struct plugin_host_options *options, struct loop_mailbox *mailbox,
                              struct plugin_jobs **out_jobs);
/* No plugin is loaded any more: the threads end. NULL is fine. */
void plugin_jobs_stop(struct plugin_jobs *jobs);
/* After that, and once the mailbox is closed. NULL is fine. */
void plugin_jobs_free(struct plugin_jobs *jobs);
int plugin_job_run(struct emqc_plugin_instance *self, void (*work)(void *context), void (*done)(void *context),
                   void *context);
/* Waits until no job of the plugin is left, and calls what is to be called then. */
void plugin_jobs_finish(struct emqc_plugin_instance *self);

/* plugin_tables.c */
MUST_USE int plugin_tables_open(const struct plugin_host_options *options, struct loop_mailbox *mailbox,
                                struct plugin_tables **out_tables);
/* No plugin is loaded any more. NULL is fine. */
void plugin_tables_close(struct plugin_tables *tables);
int plugin_table_open(struct emqc_plugin_instance *self, const struct emqc_table_options *options,
                      struct emqc_table **out_table);
int plugin_table_get(const struct emqc_table *table, struct emqc_slice key, void *out_value, size_t size);
int plugin_table_put(struct emqc_table *table, struct emqc_slice key, struct emqc_slice value, bool only_new,
                     emqc_table_done_fn *done, void *context);
int plugin_table_delete(struct emqc_table *table, struct emqc_slice key, emqc_table_done_fn *done, void *context);
void plugin_table_visit(const struct emqc_table *table, uint64_t *cursor, uint32_t limit,
                        void (*visit)(void *context, struct emqc_slice key, struct emqc_slice value), void *context);
uint64_t plugin_table_count(const struct emqc_table *table);
/* Who waits for the disk is told -ECANCELED. */
void plugin_tables_settle(struct emqc_plugin_instance *self);
void plugin_tables_remove(struct emqc_plugin_instance *self);

/* plugin_list.c: loaded_file. */
struct plugin_list {
    char (*names)[PLUGIN_NAME_MAX + 1]; /* to be loaded */
    uint32_t count;
    char (*off_names)[PLUGIN_NAME_MAX + 1]; /* {NAME, false} */
    uint32_t off_count;
};
#define PLUGIN_LIST_MAX 256u /* further lines of either kind are an error */

/* The names that are to be loaded, in order; a file that is not there names none. -EINVAL with `error`, -ENOMEM. */
MUST_USE int plugin_list_read(const char *path, struct plugin_list *out_list, char error[PLUGIN_ERROR_BYTES]);
/* The same of words with commas or blanks between them. */
MUST_USE int plugin_list_parse_words(const char *text, struct plugin_list *out_list, char error[PLUGIN_ERROR_BYTES]);
/* The same of the text of a file; for fuzzing. */
MUST_USE int plugin_list_parse(const char *text, size_t len, struct plugin_list *out_list,
                               char error[PLUGIN_ERROR_BYTES]);
void plugin_list_free(struct plugin_list *list);
/* Says a line that it is not to be loaded, and none that it is? */
bool plugin_list_refuses(const struct plugin_list *list, const char *name);
/* Adds `name` to the file, or takes it out; all other lines stay. In one step. -errno. */
MUST_USE int plugin_list_change(const char *path, const char *name, bool is_loaded);

static inline struct emqc_slice plugin_slice(struct slice text)
{
    struct emqc_slice out = {(const char *)text.data, text.len};
    return out;
}

static inline struct slice plugin_slice_in(struct emqc_slice text)
{
    return slice_make(text.data, text.len);
}

#endif
