/*
 * conf_load: from files to a finished `struct conf`, phase by phase.
 *
 * read all lines -> environment -> keep the winner of each key -> rows -> substitution -> datatypes and ranges
 * -> rules over several keys. A phase collects its errors and the next ones run as far as they can, so that one
 * start shows everything that is wrong. Built-in defaults are not copied into the list: a getter finds them in
 * the rows.
 */
#include "conf/conf_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void conf_append(struct loader *loader, struct conf_place place, enum conf_source source, const char *text,
                 size_t text_len)
{
    struct conf *conf = loader->conf;
    struct setting *setting;

    if (conf->setting_count == CONF_SETTINGS_MAX) {
        if (!loader->is_full)
            conf_error_add(loader, CONF_PARSE, place, "Too many settings, the limit is %d", (int)CONF_SETTINGS_MAX);
        loader->is_full = true;
        return;
    }
    if (conf->setting_count == conf->setting_capacity) {
        size_t capacity = conf->setting_capacity == 0 ? 256 : conf->setting_capacity * 2;
        struct setting *grown = realloc(conf->settings, capacity * sizeof(*grown));

        if (grown == NULL) {
            loader->out_of_memory = true;
            return;
        }
        conf->settings = grown;
        conf->setting_capacity = capacity;
    }
    setting = &conf->settings[conf->setting_count];
    *setting = (struct setting){
        .file = place.file, .line = place.line, .source = source, .position = (uint32_t)conf->setting_count};
    setting->key = conf_text_dup(conf, place.key, strlen(place.key));
    setting->value.text = conf_text_dup(conf, text, text_len);
    if (setting->key == NULL || setting->value.text == NULL)
        loader->out_of_memory = true;
    else
        conf->setting_count++;
}

static int order_rows(const void *left, const void *right)
{
    return strcmp((*(const struct conf_row *const *)left)->key->name,
                  (*(const struct conf_row *const *)right)->key->name);
}

/* Our own tables must be right: a bad default or a name twice is a mistake of ours. */
static void row_init(struct conf_row *row, const struct conf_key *key)
{
    struct conf_problem problem;

    row->key = key;
    ASSERT(conf_words_split(key->name, &row->words));
    if (key->fallback != NULL)
        ASSERT(conf_value_parse(key, key->fallback, &row->fallback, &problem));
}

/* The values of a row with wildcards are lines "WORD: value". */
static bool lines_have_words(const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, "\n");
        const char *colon = memchr(text, ':', len);

        if (colon == NULL || colon == text || colon[1] != ' ')
            return false;
        text += len;
        text += *text == '\n';
    }
    return true;
}

bool conf_table_valid(const struct conf_table *table, char *out_problem, size_t size)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *key = &table->keys[i];
        struct conf_problem problem = {.text = ""};
        struct conf_words words;
        struct conf_value value;

        if (key->name == NULL || key->help == NULL || strlen(key->name) > CONF_KEY_BYTES_MAX ||
            !conf_words_split(key->name, &words)) {
            snprintf(out_problem, size, "row %zu has no usable name or no help", i);
            return false;
        }
        if (key->type == CONF_ENUM && key->enum_words == NULL) {
            snprintf(out_problem, size, "%s: an enum without words", key->name);
            return false;
        }
        if (strchr(key->name, '$') != NULL && (!lines_have_words(key->shipped) || !lines_have_words(key->example))) {
            snprintf(out_problem, size, "%s: shipped value and example should be lines \"WORD: value\"", key->name);
            return false;
        }
        if (key->fallback != NULL && !conf_value_parse(key, key->fallback, &value, &problem)) {
            snprintf(out_problem, size, "%s: the default \"%s\" is wrong: %s", key->name, key->fallback, problem.text);
            return false;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(table->keys[j].name, key->name) == 0) {
                snprintf(out_problem, size, "%s is there twice", key->name);
                return false;
            }
        }
    }
    return true;
}

static int rows_init(struct conf *conf, const struct conf_table *const *tables, size_t table_count)
{
    size_t count = 0;

    for (size_t i = 0; i < table_count; i++)
        count += tables[i]->count;
    conf->rows = calloc(count, sizeof(*conf->rows));
    conf->rows_by_name = calloc(count, sizeof(*conf->rows_by_name));
    if (conf->rows == NULL || conf->rows_by_name == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < table_count; i++) {
        for (size_t j = 0; j < tables[i]->count; j++) {
            row_init(&conf->rows[conf->row_count], &tables[i]->keys[j]);
            conf->rows_by_name[conf->row_count] = &conf->rows[conf->row_count];
            conf->row_count++;
        }
    }
    qsort(conf->rows_by_name, conf->row_count, sizeof(*conf->rows_by_name), order_rows);
    for (size_t i = 1; i < conf->row_count; i++)
        ASSERT(order_rows(&conf->rows_by_name[i - 1], &conf->rows_by_name[i]) != 0);
    return 0;
}

static int order_key_position(const void *left, const void *right)
{
    const struct setting *one = left, *other = right;
    int order = strcmp(one->key, other->key);

    return order != 0 ? order : one->position < other->position ? -1 : 1;
}

/* Of each key the last setting of the strongest source stays, at the position of the first. */
static void keep_winners(struct conf *conf)
{
    size_t kept = 0;

    if (conf->setting_count == 0)
        return;
    qsort(conf->settings, conf->setting_count, sizeof(*conf->settings), order_key_position);
    for (size_t i = 1; i < conf->setting_count; i++) {
        struct setting *winner = &conf->settings[kept], *next = &conf->settings[i];
        uint32_t position = winner->position;

        if (strcmp(winner->key, next->key) != 0) {
            conf->settings[++kept] = *next;
        } else if (next->source >= winner->source) {
            *winner = *next;
            winner->position = position;
        }
    }
    conf->setting_count = kept + 1;
}

static void refuse_unknown(struct loader *loader, const struct setting *setting)
{
    char nearest[3 * (CONF_KEY_BYTES_MAX + 8)];

    nearest[0] = '\0';
    if (conf_errors_count(loader->errors) < CONF_ERRORS_MAX) /* later ones are not shown */
        conf_nearest(loader->conf, setting->key, nearest, sizeof(nearest));
    conf_error_add(loader, CONF_TRANSFORM_DATATYPES, (struct conf_place){setting->file, setting->line, setting->key},
                   "You've tried to set %s, but there is no setting with that name.\n"
                   "  Did you mean one of these?\n%s\n"
                   "Conf file attempted to set unknown variable: %s",
                   setting->key, nearest, setting->key);
}

/* Notes the row and the words that stand for its wildcards. */
static void assign_row(struct loader *loader, struct setting *setting)
{
    struct conf_words words;
    const struct conf_row *row = conf_words_split(setting->key, &words) ? conf_row_for(loader->conf, &words) : NULL;

    if (row == NULL) {
        refuse_unknown(loader, setting);
        return;
    }
    setting->row = row->key;
    for (size_t i = 0; i < row->words.count; i++) {
        const char *word;

        if (!conf_is_wildcard(row->words.at[i]))
            continue;
        word = conf_text_dup(loader->conf, words.at[i], strlen(words.at[i]));
        if (word == NULL)
            loader->out_of_memory = true;
        else if (setting->name == NULL)
            setting->name = word;
        else
            setting->id = word;
    }
}

static void assign_value(struct loader *loader, struct setting *setting)
{
    struct conf_problem problem;

    if (setting->row == NULL || setting->substitution != CONF_SUBSTITUTED ||
        conf_value_parse(setting->row, setting->value.text, &setting->value, &problem))
        return;
    if (problem.invalid)
        conf_error_add(loader, CONF_VALIDATION, (struct conf_place){setting->file, setting->line, setting->key},
                       "%s invalid, %s\n  Found: %.200s", setting->key, problem.text, setting->value.text);
    else
        conf_error_add(
            loader, CONF_TRANSFORM_DATATYPES, (struct conf_place){setting->file, setting->line, setting->key},
            "Error transforming datatype for: %s\n  %s\n  Right would be: %s", setting->key, problem.text,
            setting->row->type == CONF_ENUM ? setting->row->enum_words : conf_type_grammar(setting->row->type));
}

static int order_positions(const void *left, const void *right)
{
    const struct setting *one = *(struct setting *const *)left, *other = *(struct setting *const *)right;

    return one->position < other->position ? -1 : one->position > other->position;
}

static int note_order(struct conf *conf)
{
    conf->in_order = calloc(conf->setting_count + 1, sizeof(*conf->in_order));
    if (conf->in_order == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < conf->setting_count; i++)
        conf->in_order[i] = &conf->settings[i];
    qsort(conf->in_order, conf->setting_count, sizeof(*conf->in_order), order_positions);
    return 0;
}

static int is_conf_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return len > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

static int order_bytewise(const struct dirent **left, const struct dirent **right)
{
    return strcmp((*left)->d_name, (*right)->d_name);
}

static void parse_plugin_files(struct loader *loader)
{
    const char *root = loader->options->root_dir, *dir = loader->options->plugins_dir;
    struct dirent **entries = NULL;
    char *path = NULL;
    int count;

    if (dir == NULL)
        return;
    if (asprintf(&path, "%s%s%s", root == NULL || dir[0] == '/' ? "" : root, root == NULL || dir[0] == '/' ? "" : "/",
                 dir) < 0) {
        loader->out_of_memory = true;
        return;
    }
    count = scandir(path, &entries, is_conf_file, order_bytewise);
    free(path);
    if (count < 0 && errno != ENOENT)
        conf_error_add(loader, CONF_PARSE, (struct conf_place){dir, 0, NULL}, "Could not read directory (%s): %s", dir,
                       strerror(errno));
    for (int i = 0; i < count; i++) {
        if (asprintf(&path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", entries[i]->d_name) < 0) {
            loader->out_of_memory = true;
        } else {
            conf_parse_file(loader, path, CONF_FROM_FILE);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
}

/* The original also read flags of the Erlang VM from a file beside the configuration. */
static void notice_vm_args(struct loader *loader)
{
    const char *root = loader->options->root_dir, *file = loader->options->file, *slash = strrchr(file, '/');
    char *path = NULL;

    if (asprintf(&path, "%s%s%.*svm.args", root == NULL || file[0] == '/' ? "" : root,
                 root == NULL || file[0] == '/' ? "" : "/", slash == NULL ? 0 : (int)(slash - file) + 1, file) < 0) {
        loader->out_of_memory = true;
        return;
    }
    if (access(path, F_OK) == 0)
        conf_warning_add(loader, "%s is not looked at: it holds flags of the Erlang VM", path);
    free(path);
}

static int finish(struct loader *loader)
{
    struct conf *conf = loader->conf;

    conf_environment_apply(loader);
    keep_winners(conf);
    if (note_order(conf) < 0)
        return -ENOMEM;
    /* In file order, so that errors come in the order in which the user reads. */
    for (size_t i = 0; i < conf->setting_count; i++)
        assign_row(loader, conf->in_order[i]);
    conf_substitute(loader);
    for (size_t i = 0; i < conf->setting_count; i++)
        assign_value(loader, conf->in_order[i]);
    if (!conf_errors_any(loader->errors) && !loader->out_of_memory)
        conf_check(loader);
    if (loader->out_of_memory)
        return -ENOMEM;
    return conf_errors_any(loader->errors) ? -EINVAL : 0;
}

/* Fills the loader; `text` NULL reads the files. */
static int load(struct loader *loader, const char *text, size_t text_len)
{
    const struct conf_load_options *options = loader->options;
    const struct conf_table *const *tables = options->tables;
    size_t table_count = options->table_count;

    if (loader->conf == NULL || loader->errors == NULL)
        return -ENOMEM;
    if (tables == NULL)
        tables = conf_core_tables(&table_count);
    if (rows_init(loader->conf, tables, table_count) < 0)
        return -ENOMEM;
    if (text != NULL)
        conf_parse_text(loader, text, text_len, options->file, CONF_FROM_FILE);
    else
        conf_parse_file(loader, options->file, CONF_FROM_FILE);
    if (text == NULL)
        notice_vm_args(loader);
    parse_plugin_files(loader);
    return finish(loader);
}

int conf_load_text(const struct conf_load_options *options, const char *text, size_t text_len, struct conf **out_conf,
                   struct conf_errors **out_errors)
{
    struct loader loader = {.conf = calloc(1, sizeof(struct conf)), .errors = conf_errors_new(), .options = options};
    int err = load(&loader, text, text_len);

    if (err == 0) {
        *out_conf = loader.conf;
        conf_errors_free(loader.errors);
        return 0;
    }
    conf_free(loader.conf);
    if (err == -EINVAL)
        *out_errors = loader.errors;
    else
        conf_errors_free(loader.errors);
    return err;
}

int conf_load(const struct conf_load_options *options, struct conf **out_conf, struct conf_errors **out_errors)
{
    return conf_load_text(options, NULL, 0, out_conf, out_errors);
}
