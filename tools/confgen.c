/*
 * confgen: writes the files that are generated from the key tables into a source tree.
 *
 *     confgen ROOT     writes ROOT/etc/emqx.conf and ROOT/docs/configuration.md
 */
#include "conf/conf_render.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int write_file(const char *root, const char *name, void (*render)(FILE *out))
{
    char *path = NULL;
    FILE *file;
    int err = 0;

    if (asprintf(&path, "%s/%s", root, name) < 0)
        return -ENOMEM;
    file = fopen(path, "w");
    if (file == NULL) {
        err = -errno;
    } else {
        render(file);
        if (ferror(file) != 0)
            err = -EIO;
        if (fclose(file) != 0 && err == 0)
            err = -errno;
    }
    if (err < 0)
        fprintf(stderr, "confgen: %s: %s\n", path, strerror(-err));
    free(path);
    return err;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: confgen ROOT\n", stderr);
        return 2;
    }
    if (write_file(argv[1], "etc/emqx.conf", conf_render_file) < 0 ||
        write_file(argv[1], "docs/configuration.md", conf_render_reference) < 0)
        return 1;
    return 0;
}
