/*
 * conf: what a finished configuration answers.
 *
 * Settings are sorted by key. A question by row name and wildcard words is put together to a key and searched
 * for; without a setting the row's built-in default answers.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Everything a conf holds is in a chain of such blocks and goes at once. */
struct conf_block {
    struct conf_block *next;
    max_align_t bytes[];
};

void *conf_alloc(struct conf *conf, size_t size)
{
    struct conf_block *block = malloc(sizeof(*block) + size);

    if (block == NULL)
        return NULL;
    block->next = conf->blocks;
    conf->blocks = block;
    return block->bytes;
}

char *conf_text_dup(struct conf *conf, const char *text, size_t len)
{
    char *copy = conf_alloc(conf, len + 1);

    if (copy == NULL)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void conf_blocks_free(struct conf *conf)
{
    while (conf->blocks != NULL) {
        struct conf_block *next = conf->blocks->next;

        free(conf->blocks);
        conf->blocks = next;
    }
}

void conf_free(struct conf *conf)
{
    if (conf == NULL)
        return;
    conf_blocks_free(conf);
    free(conf->rows);
    free(conf->rows_by_name);
    free(conf->settings);
    free(conf->in_order);
    free(conf->warnings);
    free(conf);
}

void conf_warning_add(struct loader *loader, const char *format, ...)
{
    struct conf *conf = loader->conf;
    const char **grown = realloc(conf->warnings, (conf->warning_count + 1) * sizeof(*grown));
    char text[1024];
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (grown != NULL) {
        conf->warnings = grown;
        grown[conf->warning_count] = len < 0 ? NULL : conf_text_dup(conf, text, strlen(text));
    }
    if (grown == NULL || grown[conf->warning_count] == NULL)
        loader->out_of_memory = true;
    else
        conf->warning_count++;
}

/* Appends a word with its dots escaped. */
static size_t word_append(char *key, size_t used, const char *word)
{
    for (; *word != '\0' && used + 2 < CONF_KEY_BYTES_MAX; word++) {
        if (*word == '.')
            key[used++] = '\\';
        key[used++] = *word;
    }
    return used;
}

/* The key that a row has with these words in place of its wildcards. */
static void key_make(const struct conf_row *row, const char *name, const char *id, char key[CONF_KEY_BYTES_MAX + 1])
{
    size_t used = 0;

    for (size_t i = 0; i < row->words.count; i++) {
        const char *word = row->words.at[i];

        if (conf_is_wildcard(word)) {
            word = name;
            name = id;
        }
        ASSERT(word != NULL);
        if (i > 0)
            key[used++] = '.';
        used = word_append(key, used, word);
    }
    key[used] = '\0';
}

static const struct setting *setting_of(const struct conf *conf, const struct conf_row *row, const char *name,
                                        const char *id)
{
    char key[CONF_KEY_BYTES_MAX + 1];

    ASSERT(row != NULL);
    if (strchr(row->key->name, '$') == NULL)
        return conf_setting_find(conf, row->key->name);
    key_make(row, name, id, key);
    return conf_setting_find(conf, key);
}

const struct conf_value *conf_find(const struct conf *conf, const char *key, const char *name, const char *id)
{
    const struct conf_row *row = conf_row_named(conf, key);
    const struct setting *setting = setting_of(conf, row, name, id);

    if (setting != NULL)
        return &setting->value;
    return row->fallback.text == NULL ? NULL : &row->fallback;
}

bool conf_is_set(const struct conf *conf, const char *key, const char *name)
{
    return setting_of(conf, conf_row_named(conf, key), name, NULL) != NULL;
}

static const struct conf_value *find_as(const struct conf *conf, const char *key, const char *name, uint32_t types)
{
    const struct conf_value *value = conf_find(conf, key, name, NULL);

    ASSERT((types & 1u << conf_row_named(conf, key)->key->type) != 0);
    return value;
}

const char *conf_get_string(const struct conf *conf, const char *key, const char *name)
{
    const struct conf_value *value = find_as(conf, key, name,
                                             1u << CONF_STRING | 1u << CONF_ENUM | 1u << CONF_NODE_NAME |
                                                 1u << CONF_MOUNTPOINT | 1u << CONF_PRIORITIES);

    return value == NULL ? NULL : value->text;
}

int64_t conf_get_integer(const struct conf *conf, const char *key, const char *name, int64_t otherwise)
{
    const struct conf_value *value = find_as(conf, key, name, 1u << CONF_INTEGER | 1u << CONF_PERCENT);

    return value == NULL ? otherwise : value->integer;
}

double conf_get_float(const struct conf *conf, const char *key, const char *name, double otherwise)
{
    const struct conf_value *value = find_as(conf, key, name, 1u << CONF_FLOAT);

    return value == NULL ? otherwise : value->number;
}

bool conf_get_bool(const struct conf *conf, const char *key, const char *name, bool otherwise)
{
    const struct conf_value *value = find_as(conf, key, name, 1u << CONF_BOOL);

    return value == NULL ? otherwise : value->boolean;
}

int conf_get_enum(const struct conf *conf, const char *key, const char *name, int otherwise)
{
    const struct conf_value *value = find_as(conf, key, name, 1u << CONF_ENUM);

    return value == NULL ? otherwise : (int)value->integer;
}

uint64_t conf_get_duration(const struct conf *conf, const char *key, const char *name, uint64_t otherwise)
{
    const struct conf_value *value = find_as(conf, key, name, 1u << CONF_DURATION_MS | 1u << CONF_DURATION_S);

    return value == NULL ? otherwise : (uint64_t)value->integer;
}

uint64_t conf_get_bytes(const struct conf *conf, const char *key, const char *name, uint64_t otherwise)
{
    const struct conf_value *value = find_as(conf, key, name, 1u << CONF_BYTESIZE);

    return value == NULL ? otherwise : (uint64_t)value->integer;
}

/* Does the row begin with all of the pattern's words? */
static bool begins_with(const char *row_name, const char *pattern)
{
    size_t len = strlen(pattern);

    return strncmp(row_name, pattern, len) == 0 && (row_name[len] == '\0' || row_name[len] == '.');
}

struct named {
    const char *name;
    uint32_t position;
};

static int order_named(const void *left, const void *right)
{
    const struct named *one = left, *other = right;
    int order = strcmp(one->name, other->name);

    return order != 0 ? order : one->position < other->position ? -1 : one->position > other->position;
}

static int order_named_position(const void *left, const void *right)
{
    const struct named *one = left, *other = right;

    return one->position < other->position ? -1 : one->position > other->position;
}

/* Keeps the first of each name and brings them into file order. */
static size_t names_distinct(struct named *names, size_t count)
{
    size_t kept = 0;

    qsort(names, count, sizeof(*names), order_named);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || strcmp(names[kept - 1].name, names[i].name) != 0)
            names[kept++] = names[i];
    }
    qsort(names, kept, sizeof(*names), order_named_position);
    return kept;
}

int conf_names(const struct conf *conf, const char *pattern, const char *name, const char ***out_names,
               size_t *out_count)
{
    struct named *found = calloc(conf->setting_count + 1, sizeof(*found));
    const char **names = calloc(conf->setting_count + 1, sizeof(*names));
    bool is_row = conf_row_named(conf, pattern) != NULL;
    size_t count = 0;

    if (found == NULL || names == NULL) {
        free(found);
        free(names);
        return -ENOMEM;
    }
    for (size_t i = 0; i < conf->setting_count; i++) {
        const struct setting *setting = &conf->settings[i];

        if (is_row ? strcmp(setting->row->name, pattern) != 0 : !begins_with(setting->row->name, pattern))
            continue;
        if (name == NULL || strcmp(setting->name, name) == 0)
            found[count++] = (struct named){name == NULL ? setting->name : setting->id, setting->position};
    }
    count = names_distinct(found, count);
    for (size_t i = 0; i < count; i++)
        names[i] = found[i].name;
    free(found);
    *out_names = names;
    *out_count = count;
    return 0;
}

bool conf_setting_at(const struct conf *conf, size_t index, struct conf_setting *out_setting)
{
    const struct setting *setting;

    if (index >= conf->setting_count)
        return false;
    setting = conf->in_order[index];
    *out_setting = (struct conf_setting){setting->key, setting->row, &setting->value, setting->file, setting->line};
    return true;
}
