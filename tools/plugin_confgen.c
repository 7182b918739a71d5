/*
 * plugin_confgen: writes the shipped settings of plugins from their key tables.
 *
 *     plugin_confgen ROOT OBJECT...            writes ROOT/etc/plugins/NAME.conf for each object NAME.so, or NAME of one that is built in
 *     plugin_confgen --check ROOT OBJECT...    says which of them are not as the tables have them; status 1 then
 */
#include "plugin/plugin_host.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The file's text, or "" when it is not there; the caller frees it. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t size = 0;

    if (file == NULL || getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = strdup("");
    }
    if (file != NULL)
        fclose(file);
    return text;
}

static int write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) {
        fprintf(stderr, "plugin_confgen: %s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

static int check_file(const char *path, const char *text)
{
    char *there = read_file(path);
    bool is_right = strcmp(there, text) == 0;

    free(there);
    if (!is_right)
        fprintf(stderr, "plugin_confgen: %s is not as its plugin's table of keys has it: `make generate` writes it\n",
                path);
    return is_right ? 0 : 1;
}

static int process(const char *root, const char *object, bool only_check)
{
    const char *slash = strrchr(object, '/');
    const char *name = slash == NULL ? object : slash + 1;
    char path[PATH_MAX], *text = NULL, *error = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    int status = out == NULL || plugin_render_conf(object, out, &error) < 0;

    if (out != NULL)
        fclose(out);
    snprintf(path, sizeof(path), "%s/etc/plugins", root);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/etc/plugins/%.*s.conf", root, (int)strcspn(name, "."), name);
    if (status != 0)
        fprintf(stderr, "plugin_confgen: %s: %s\n", object, error == NULL ? "memory is short" : error);
    else
        status = only_check ? check_file(path, text) : write_file(path, text);
    free(text);
    free(error);
    return status;
}

int main(int argc, char **argv)
{
    bool only_check = argc > 1 && strcmp(argv[1], "--check") == 0;
    int first = only_check ? 2 : 1, status = 0;

    if (argc <= first) {
        fputs("usage: plugin_confgen [--check] ROOT OBJECT...\n", stderr);
        return 2;
    }
    for (int i = first + 1; i < argc; i++)
        status |= process(argv[first], argv[i], only_check);
    return status;
}
