/*
 * configuration: where the files are.
 */
#include "main/configuration.h"

#include <unistd.h>

int configuration_load(const struct paths *paths, struct conf **out_conf, struct conf_errors **out_errors)
{
    struct conf_load_options options = {.root_dir = paths->root, .file = paths->config, .environment = environ};
    char plugins_dir[PATH_MAX];
    int err = paths_join(paths->etc, "plugins", plugins_dir);

    *out_conf = NULL;
    *out_errors = NULL;
    if (err < 0)
        return err;
    options.plugins_dir = plugins_dir;
    return conf_load(&options, out_conf, out_errors);
}
