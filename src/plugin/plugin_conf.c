/*
 * plugin_conf: the settings of a plugin: etc/plugins/NAME.conf by the plugin's own rows, with the grammar, types and errors of etc/emqx.conf.
 */
#include "plugin/plugin_internal.h"

#include "conf/conf_render.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct plugin_names {
    struct plugin_names *next;
    const char **words;
};

static const enum conf_type types[] = {
    [EMQC_STRING] = CONF_STRING,
    [EMQC_INTEGER] = CONF_INTEGER,
    [EMQC_FLOAT] = CONF_FLOAT,
    [EMQC_BOOL] = CONF_BOOL,
    [EMQC_ENUM] = CONF_ENUM,
    [EMQC_DURATION_MS] = CONF_DURATION_MS,
    [EMQC_DURATION_S] = CONF_DURATION_S,
    [EMQC_BYTESIZE] = CONF_BYTESIZE,
    [EMQC_PERCENT] = CONF_PERCENT,
    [EMQC_ADDRESS] = CONF_ADDRESS,
};

/* The plugin's rows as conf/ has them. */
static int make_rows(const struct emqc_plugin *plugin, struct plugin_conf *conf, char error[PLUGIN_ERROR_BYTES])
{
    char problem[1024];

    conf->rows = calloc(plugin->key_count + 1, sizeof(*conf->rows));
    if (conf->rows == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < plugin->key_count; i++) {
        const struct emqc_key *key = &plugin->keys[i];

        if ((size_t)key->type >= ARRAY_COUNT(types)) {
            snprintf(error, PLUGIN_ERROR_BYTES, "Its table of settings is wrong: row %zu has type %d, which is none", i,
                     (int)key->type);
            return -EINVAL;
        }
        conf->rows[i] = (struct conf_key){.name = key->name,
                                          .type = types[key->type],
                                          .fallback = key->fallback,
                                          .shipped = key->shipped,
                                          .example = key->example,
                                          .enum_words = key->enum_words,
                                          .min = key->min,
                                          .max = key->max,
                                          .help = key->help};
    }
    conf->table = (struct conf_table){conf->rows, plugin->key_count};
    if (conf_table_valid(&conf->table, problem, sizeof(problem)))
        return 0;
    snprintf(error, PLUGIN_ERROR_BYTES, "Its table of settings is wrong: %s", problem);
    return -EINVAL;
}

static void write_errors(const struct conf_errors *errors, char error[PLUGIN_ERROR_BYTES])
{
    FILE *out = fmemopen(error, PLUGIN_ERROR_BYTES, "w");
    size_t len;

    if (out == NULL)
        return;
    conf_errors_print(errors, out);
    fclose(out);
    error[PLUGIN_ERROR_BYTES - 1] = '\0';
    len = strlen(error);
    while (len > 0 && error[len - 1] == '\n')
        error[--len] = '\0';
}

static int check_mandatory(const struct emqc_plugin *plugin, const struct plugin_conf *conf,
                           char error[PLUGIN_ERROR_BYTES])
{
    for (size_t i = 0; i < plugin->key_count; i++) {
        const struct emqc_key *key = &plugin->keys[i];

        if (!key->is_mandatory || strchr(key->name, '$') != NULL ||
            conf_find(conf->conf, key->name, NULL, NULL) != NULL)
            continue;
        snprintf(error, PLUGIN_ERROR_BYTES, "%s: %.256s is missing. %.1000s%s%.500s", conf->path, key->name, key->help,
                 key->shipped == NULL && key->example == NULL ? "" : " For instance: ",
                 key->shipped != NULL   ? key->shipped
                 : key->example != NULL ? key->example
                                        : "");
        return -EINVAL;
    }
    return 0;
}

/* The text of a file that is not there is empty. */
static int load_text(const struct plugin_host *host, struct plugin_conf *conf, char error[PLUGIN_ERROR_BYTES])
{
    const struct conf_table *tables[] = {&conf->table};
    struct conf_errors *errors = NULL;
    struct conf_load_options options = {.root_dir = host->etc_dir,
                                        .file = conf->path,
                                        .environment = host->options.environment,
                                        .tables = tables,
                                        .table_count = 1};
    int err = access(conf->path, F_OK) < 0 && errno == ENOENT ? conf_load_text(&options, "", 0, &conf->conf, &errors)
                                                              : conf_load(&options, &conf->conf, &errors);

    if (err == -EINVAL && errors != NULL)
        write_errors(errors, error);
    conf_errors_free(errors);
    return err;
}

int plugin_conf_load(const struct plugin_host *host, const struct emqc_plugin *plugin, struct plugin_conf *out_conf,
                     char error[PLUGIN_ERROR_BYTES])
{
    struct plugin_conf conf = {.conf = NULL};
    int len = snprintf(conf.path, sizeof(conf.path), "%s/%s.conf", host->conf_dir, plugin->name);
    int err = len < 0 || (size_t)len >= sizeof(conf.path) ? -ENAMETOOLONG : make_rows(plugin, &conf, error);

    if (err == 0)
        err = load_text(host, &conf, error);
    if (err == 0)
        err = check_mandatory(plugin, &conf, error);
    if (err < 0)
        plugin_conf_free(&conf);
    if (err < 0 && error[0] == '\0')
        snprintf(error, PLUGIN_ERROR_BYTES, "Its settings cannot be read: %s", strerror(-err));
    *out_conf = conf;
    return err;
}

void plugin_conf_free(struct plugin_conf *conf)
{
    conf_free(conf->conf);
    free(conf->rows);
    *conf = (struct plugin_conf){.conf = NULL};
}

int plugin_render_conf(const char *path, FILE *out, char **out_error)
{
    char error[PLUGIN_ERROR_BYTES] = "", title[256];
    struct plugin_object object;
    struct plugin_conf conf = {.conf = NULL};
    int err = plugin_object_open(path, NULL, &object, error);

    if (err == 0)
        err = make_rows(object.plugin, &conf, error);
    if (err == 0) {
        snprintf(title, sizeof(title), "%s: %s", object.plugin->name, object.plugin->description);
        conf_render_table(out, title, &conf.table);
    }
    plugin_conf_free(&conf);
    plugin_object_close(&object);
    if (err == -EINVAL)
        *out_error = strdup(error);
    return err;
}

/* ---- what plugins ask ---- */

const char *plugin_config_string(const struct emqc_plugin_instance *self, const char *key, const char *name,
                                 const char *id)
{
    const struct conf_value *value = conf_find(self->conf.conf, key, name, id);

    return value == NULL ? NULL : value->text;
}

int64_t plugin_config_integer(const struct emqc_plugin_instance *self, const char *key, const char *name,
                              const char *id, int64_t otherwise)
{
    const struct conf_value *value = conf_find(self->conf.conf, key, name, id);

    if (value == NULL)
        return otherwise;
    ASSERT(value->type == CONF_INTEGER || value->type == CONF_PERCENT || value->type == CONF_ENUM ||
           value->type == CONF_DURATION_MS || value->type == CONF_DURATION_S || value->type == CONF_BYTESIZE);
    return value->integer;
}

double plugin_config_float(const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                           double otherwise)
{
    const struct conf_value *value = conf_find(self->conf.conf, key, name, id);

    if (value == NULL)
        return otherwise;
    ASSERT(value->type == CONF_FLOAT);
    return value->number;
}

bool plugin_config_bool(const struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        bool otherwise)
{
    const struct conf_value *value = conf_find(self->conf.conf, key, name, id);

    if (value == NULL)
        return otherwise;
    ASSERT(value->type == CONF_BOOL);
    return value->boolean;
}

int plugin_config_names(struct emqc_plugin_instance *self, const char *key, const char *const **out_names,
                        size_t *out_count)
{
    struct plugin_names *names = calloc(1, sizeof(*names));
    int err = names == NULL ? -ENOMEM : conf_names(self->conf.conf, key, NULL, &names->words, out_count);

    if (err < 0) {
        free(names);
        return err;
    }
    names->next = self->names;
    self->names = names;
    *out_names = names->words;
    return 0;
}

void plugin_names_free(struct emqc_plugin_instance *self)
{
    while (self->names != NULL) {
        struct plugin_names *names = self->names;
        self->names = names->next;
        free(names->words);
        free(names);
    }
}

/* "auth.user.$id.username" with the words in their places. */
static void write_key(char *out, size_t size, const char *row, const char *name, const char *id)
{
    size_t used = 0;

    while (*row != '\0' && used + 1 < size) {
        if (*row != '$') {
            out[used++] = *row++;
            continue;
        }
        const char *word = name == NULL ? "" : name;
        int len = snprintf(out + used, size - used, "%s", word);
        used += (size_t)len < size - used ? (size_t)len : size - used - 1;
        row += strcspn(row, ".");
        name = id;
    }
    out[used] = '\0';
}

static bool is_secret(const struct emqc_plugin_instance *self, const char *row)
{
    for (size_t i = 0; i < self->object.plugin->key_count; i++) {
        if (strcmp(self->object.plugin->keys[i].name, row) == 0)
            return self->object.plugin->keys[i].is_secret;
    }
    return false;
}

int plugin_config_wrong(struct emqc_plugin_instance *self, const char *key, const char *name, const char *id,
                        const char *format, ...)
{
    char full[512], place[PATH_MAX + 32], text[1024];
    struct conf_setting setting;
    const char *value = NULL;
    va_list arguments;

    write_key(full, sizeof(full), key, name, id);
    snprintf(place, sizeof(place), "%s", self->conf.path);
    for (size_t i = 0; conf_setting_at(self->conf.conf, i, &setting); i++) {
        if (strcmp(setting.key, full) != 0)
            continue;
        value = setting.value->text;
        if (setting.line > 0)
            snprintf(place, sizeof(place), "%s:%u", setting.file, setting.line);
        else
            snprintf(place, sizeof(place), "%s", setting.file);
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (value == NULL || is_secret(self, key))
        snprintf(self->error, sizeof(self->error), "%s: %s: %s", place, full, text);
    else
        snprintf(self->error, sizeof(self->error), "%s: %s = %.200s: %s", place, full, value, text);
    return -EINVAL;
}
