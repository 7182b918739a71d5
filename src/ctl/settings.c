/*
 * settings: a light reader of single settings in etc/emqx.conf.
 */
#include "ctl/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODE_NAME_DEFAULT "emqx@127.0.0.1"

/* The value in `line` if it sets `key`, cut at its end; NULL otherwise. */
static char *setting_value(char *line, const char *key)
{
    size_t key_len = strlen(key);
    char *end;

    line += strspn(line, " \t");
    if (strncmp(line, key, key_len) != 0)
        return NULL;
    line += key_len;
    line += strspn(line, " \t");
    if (*line != '=')
        return NULL;
    line++;
    line += strspn(line, " \t");
    for (end = line + strlen(line); end > line && isspace((unsigned char)end[-1]);)
        end--;
    *end = '\0';
    return line;
}

static int store(char *out_text, size_t capacity, const char *value)
{
    int len = snprintf(out_text, capacity, "%s", value);

    return len < 0 || (size_t)len >= capacity ? -ENAMETOOLONG : 0;
}

static int add_host(char *name, size_t capacity)
{
    char host[HOST_NAME_MAX + 1] = "127.0.0.1";
    size_t len = strlen(name);

    if (strchr(name, '@') != NULL)
        return 0;
    gethostname(host, sizeof(host) - 1);
    if (snprintf(name + len, capacity - len, "@%s", host) >= (int)(capacity - len))
        return -ENAMETOOLONG;
    return 0;
}

static int read_file(const char *path, struct settings *settings, char *data_dir)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    int err = 0;

    if (file == NULL)
        return 0;
    while (err == 0 && getline(&line, &capacity, file) >= 0) {
        char *value = setting_value(line, "node.name");

        if (value != NULL) {
            err = store(settings->node_name, sizeof(settings->node_name), value);
            continue;
        }
        value = setting_value(line, "node.data_dir");
        if (value != NULL)
            err = store(data_dir, PATH_MAX, value);
    }
    free(line);
    fclose(file);
    return err;
}

/* The first of the two that is set and not empty. */
static const char *environment(const char *first, const char *second)
{
    const char *value = getenv(first);

    if (value != NULL && value[0] != '\0')
        return value;
    return second != NULL ? environment(second, NULL) : NULL;
}

int settings_read(const struct paths *paths, struct settings *out_settings)
{
    const char *name = environment("EMQX_NODE_NAME", "EMQX_NODE__NAME");
    const char *data_dir_set = environment("EMQX_NODE__DATA_DIR", NULL);
    char data_dir[PATH_MAX] = "";
    int err;

    err = store(out_settings->node_name, sizeof(out_settings->node_name), NODE_NAME_DEFAULT);
    if (err == 0)
        err = read_file(paths->config, out_settings, data_dir);
    if (err == 0 && name != NULL)
        err = store(out_settings->node_name, sizeof(out_settings->node_name), name);
    if (err == 0 && data_dir_set != NULL)
        err = store(data_dir, sizeof(data_dir), data_dir_set);
    if (err == 0)
        err = add_host(out_settings->node_name, sizeof(out_settings->node_name));
    if (err == 0)
        err = paths_join(paths->root, data_dir[0] != '\0' ? data_dir : paths->data, out_settings->data_dir);
    return err;
}
