/*
 * conf_notice: what a start should tell about the configuration, in few lines.
 *
 * The shipped file sets about a hundred keys whose features are to come; they are grouped by prefix and counted.
 */
#include "conf/conf_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS_MAX = 64 };

/* "node.name" belongs to "node.*"; listeners to "listener.ssl.*"; a key of one word to itself. */
static size_t prefix_len(const char *row_name)
{
    size_t len = strcspn(row_name, ".");

    if (strncmp(row_name, "listener.", 9) == 0)
        len = 9 + strcspn(row_name + 9, ".");
    return len;
}

struct group {
    const struct setting *first;
    size_t len; /* of the prefix */
    size_t count;
};

static size_t groups_make(const struct conf *conf, enum conf_effect effect, struct group groups[GROUPS_MAX])
{
    size_t group_count = 0;

    for (size_t i = 0; i < conf->setting_count; i++) {
        const struct setting *setting = conf->in_order[i];
        size_t at = 0, len = prefix_len(setting->row->name);

        if (setting->row->effect != effect)
            continue;
        while (at < group_count && (groups[at].len != len || memcmp(groups[at].first->key, setting->key, len) != 0))
            at++;
        if (at == GROUPS_MAX)
            continue;
        if (at == group_count)
            groups[group_count++] = (struct group){.first = setting, .len = len};
        groups[at].count++;
    }
    return group_count;
}

/* "rpc.* (15 keys)", or the key itself when it is alone. */
static void group_write(const struct group *group, FILE *out)
{
    if (group->count == 1)
        fputs(group->first->key, out);
    else
        fprintf(out, "%.*s.* (%zu keys)", (int)group->len, group->first->key, group->count);
}

static int report_effect(const struct conf *conf, enum conf_effect effect, const char *one, const char *several,
                         void (*notice)(void *context, const char *text), void *context)
{
    struct group groups[GROUPS_MAX];
    size_t len = 0, group_count = groups_make(conf, effect, groups);
    char *text = NULL;
    FILE *out;
    bool failed;

    if (group_count == 0)
        return 0;
    out = open_memstream(&text, &len);
    if (out == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < group_count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        group_write(&groups[i], out);
    }
    fputs(group_count == 1 && groups[0].count == 1 ? one : several, out);
    failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    if (!failed)
        notice(context, text);
    free(text);
    return failed ? -ENOMEM : 0;
}

/* The key up to its $name word: "listener.tcp.external" of "listener.tcp.external.zone". */
static size_t scope_len(const struct setting *setting)
{
    size_t len = (size_t)(strchr(setting->row->name, '$') - setting->row->name);

    while (setting->key[len] != '.' && setting->key[len] != '\0')
        len += setting->key[len] == '\\' ? 2 : 1;
    return len;
}

/* Settings of a listener that no line `listener.TYPE.NAME = address` opens are looked at by nobody. One line for
 * the neighbors in the file that belong to the same listener. */
static void report_unopened(const struct conf *conf, void (*notice)(void *context, const char *text), void *context)
{
    const char *last = "";

    for (size_t i = 0; i < conf->setting_count; i++) {
        const struct setting *setting = conf->in_order[i];
        char scope[CONF_KEY_BYTES_MAX + 1], text[3 * CONF_KEY_BYTES_MAX + 128];
        size_t len;

        if (strncmp(setting->row->name, "listener.", 9) != 0)
            continue;
        len = scope_len(setting);
        memcpy(scope, setting->key, len);
        scope[len] = '\0';
        if (conf_setting_find(conf, scope) != NULL || (strncmp(last, scope, len) == 0 && last[len] == '.'))
            continue;
        last = setting->key;
        snprintf(text, sizeof(text), "%s is not looked at: no line %s = address:port opens that listener", setting->key,
                 scope);
        notice(context, text);
    }
}

static bool has_zone(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->setting_count; i++) {
        if (strncmp(conf->settings[i].row->name, "zone.", 5) == 0 && strcmp(conf->settings[i].name, name) == 0)
            return true;
    }
    return false;
}

/* A listener whose zone has no setting at all gets the defaults; perhaps the name is misspelt. */
static void report_zones(const struct conf *conf, void (*notice)(void *context, const char *text), void *context)
{
    for (size_t i = 0; i < conf->setting_count; i++) {
        const struct setting *setting = conf->in_order[i];
        const char *row = setting->row->name;
        char text[3 * CONF_KEY_BYTES_MAX];

        if (strncmp(row, "listener.", 9) != 0 || strcmp(row + strlen(row) - 5, ".zone") != 0 ||
            has_zone(conf, setting->value.text))
            continue;
        snprintf(text, sizeof(text), "%s = %.200s: no zone of that name is configured, its clients get the defaults",
                 setting->key, setting->value.text);
        notice(context, text);
    }
}

static void report_open_door(const struct conf *conf, void (*notice)(void *context, const char *text), void *context)
{
    if (conf_row_named(conf, "allow_anonymous") == NULL || !conf_get_bool(conf, "allow_anonymous", NULL, false))
        return;
    notice(context,
           "allow_anonymous = true: every client is let in that no plugin for authentication refuses. Load one and set "
           "it to false, or see to it that only friends reach the ports");
}

int conf_notices(const struct conf *conf, void (*notice)(void *context, const char *text), void *context)
{
    int err;

    for (size_t i = 0; i < conf->warning_count; i++)
        notice(context, conf->warnings[i]);
    report_unopened(conf, notice, context);
    report_zones(conf, notice, context);
    report_open_door(conf, notice, context);
    err = report_effect(conf, CONF_NOT_YET, " is accepted but not yet in effect in this version",
                        " are accepted but not yet in effect in this version", notice, context);
    if (err < 0)
        return err;
    return report_effect(conf, CONF_NO_EFFECT, " is accepted for compatibility and has no effect",
                         " are accepted for compatibility and have no effect", notice, context);
}
