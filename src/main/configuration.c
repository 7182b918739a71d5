/*
 * configuration: where the files are.
 */
#include "main/configuration.h"

#include <unistd.h>

int configuration_load(const struct paths *paths, struct conf **out_conf, struct conf_errors **out_errors)
{
    struct conf_load_options options = {.root_dir = paths->root, .file = paths->config, .environment = environ};

    *out_conf = NULL;
    *out_errors = NULL;
    return conf_load(&options, out_conf, out_errors);
}
