/*
 * conf_substitute: $(other.key) inside a value stands for that key's text, recursively.
 *
 * Depth-first with a mark on each setting under work: meeting a mark again is a cycle.
 */
#include "conf/conf_internal.h"

#include <stdlib.h>
#include <string.h>

struct text_buffer {
    char *data;
    size_t len;
    bool too_long;
};

static int order_by_key(const void *key, const void *setting)
{
    return strcmp(key, ((const struct setting *)setting)->key);
}

struct setting *conf_setting_find(const struct conf *conf, const char *key)
{
    return conf->setting_count == 0
               ? NULL
               : bsearch(key, conf->settings, conf->setting_count, sizeof(*conf->settings), order_by_key);
}

static void buffer_add(struct text_buffer *buffer, const char *text, size_t len)
{
    if (len > CONF_TEXT_BYTES_MAX - buffer->len) {
        buffer->too_long = true;
        return;
    }
    memcpy(buffer->data + buffer->len, text, len);
    buffer->len += len;
}

/* The built-in default of a plain key, or of a wildcard's name that the files use somewhere under its prefix. */
static const char *default_text(const struct conf *conf, const char *key)
{
    struct conf_words words;
    const struct conf_row *row = conf_words_split(key, &words) ? conf_row_for(conf, &words) : NULL;
    const char *wildcard = row == NULL ? NULL : strchr(row->key->name, '$');
    size_t scope_len, name_len;

    if (row == NULL || wildcard == NULL)
        return row == NULL ? NULL : row->key->fallback;
    scope_len = (size_t)(wildcard - row->key->name);
    for (name_len = 0; key[scope_len + name_len] != '\0' && key[scope_len + name_len] != '.'; name_len++) {
        if (key[scope_len + name_len] == '\\' && key[scope_len + name_len + 1] == '.')
            name_len++;
    }
    for (size_t i = 0; i < conf->setting_count; i++) {
        const char *other = conf->settings[i].key;

        if (strncmp(other, key, scope_len + name_len) == 0 &&
            (other[scope_len + name_len] == '.' || other[scope_len + name_len] == '\0'))
            return row->key->fallback;
    }
    return NULL;
}

static bool substitute(struct loader *loader, struct setting *setting, unsigned depth);

static bool refuse_cycle(struct loader *loader, struct setting *setting, const char *reference)
{
    conf_error_add(loader, CONF_RHS_SUBS, (struct conf_place){setting->file, setting->line, setting->key},
                   "Circular RHS substitutions: %s = %s comes back to %s", setting->key, setting->value.text,
                   reference);
    return false;
}

/* Adds what "$(reference)" stands for. */
static bool add_reference(struct loader *loader, struct setting *setting, const char *reference,
                          struct text_buffer *buffer, unsigned depth)
{
    struct setting *other = conf_setting_find(loader->conf, reference);
    const char *text;

    if (other != NULL) {
        if (other->substitution == CONF_SUBSTITUTING || depth >= CONF_SUBSTITUTION_DEPTH_MAX)
            return refuse_cycle(loader, setting, reference);
        if (!substitute(loader, other, depth + 1))
            return false;
        text = other->value.text;
    } else {
        text = default_text(loader->conf, reference);
    }
    if (text == NULL) {
        conf_error_add(loader, CONF_RHS_SUBS, (struct conf_place){setting->file, setting->line, setting->key},
                       "'%s' substitution requires a config variable '%s' to be set", setting->key, reference);
        return false;
    }
    buffer_add(buffer, text, strlen(text));
    return true;
}

/* Copies the key inside "$(...)" without the blanks. False: too long for a key. */
static bool reference_copy(const char *start, const char *end, char *out_key)
{
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (end - start > CONF_KEY_BYTES_MAX)
        return false;
    memcpy(out_key, start, (size_t)(end - start));
    out_key[end - start] = '\0';
    return true;
}

static bool expand(struct loader *loader, struct setting *setting, struct text_buffer *buffer, unsigned depth)
{
    const char *at = setting->value.text;

    while (*at != '\0') {
        const char *start = strstr(at, "$("), *end = start == NULL ? NULL : strchr(start, ')');
        char reference[CONF_KEY_BYTES_MAX + 1];

        if (end == NULL) {
            buffer_add(buffer, at, strlen(at));
            break;
        }
        buffer_add(buffer, at, (size_t)(start - at));
        if (!reference_copy(start + 2, end, reference)) {
            conf_error_add(loader, CONF_RHS_SUBS, (struct conf_place){setting->file, setting->line, setting->key},
                           "%s: the key inside $() is too long", setting->key);
            return false;
        }
        if (!add_reference(loader, setting, reference, buffer, depth))
            return false;
        at = end + 1;
    }
    if (buffer->too_long)
        conf_error_add(loader, CONF_RHS_SUBS, (struct conf_place){setting->file, setting->line, setting->key},
                       "%s: the value is longer than %d bytes after substitution", setting->key,
                       (int)CONF_TEXT_BYTES_MAX);
    return !buffer->too_long;
}

static bool substitute(struct loader *loader, struct setting *setting, unsigned depth)
{
    struct text_buffer buffer = {0};
    bool done;

    if (setting->substitution != CONF_RAW)
        return setting->substitution == CONF_SUBSTITUTED;
    if (strstr(setting->value.text, "$(") == NULL) {
        setting->substitution = CONF_SUBSTITUTED;
        return true;
    }
    setting->substitution = CONF_SUBSTITUTING;
    buffer.data = malloc(CONF_TEXT_BYTES_MAX);
    done = buffer.data != NULL && expand(loader, setting, &buffer, depth);
    if (done) {
        setting->value.text = conf_text_dup(loader->conf, buffer.data, buffer.len);
        done = setting->value.text != NULL;
    }
    if (buffer.data == NULL || setting->value.text == NULL) {
        setting->value.text = "";
        loader->out_of_memory = true;
    }
    free(buffer.data);
    setting->substitution = done ? CONF_SUBSTITUTED : CONF_UNUSABLE;
    return done;
}

void conf_substitute(struct loader *loader)
{
    struct conf *conf = loader->conf;

    for (size_t i = 0; i < conf->setting_count && !loader->out_of_memory; i++)
        substitute(loader, conf->in_order[i], 0);
}
