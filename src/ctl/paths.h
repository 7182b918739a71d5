/*
 * paths: where this installation keeps its files.
 *
 * The root is EMQX_ROOT, else the folder above the executable's (bin/emqx) when it holds etc/emqx.conf, else the
 * places of an installed package: /etc/emqx, /var/lib/emqx, /var/log/emqx. Thread: any.
 */
#ifndef CTL_PATHS_H
#define CTL_PATHS_H

#include "base/compiler.h"

#include <limits.h>
#include <stdbool.h>

struct paths {
    char root[PATH_MAX];       /* relative paths in the configuration start here; the broker's working directory */
    char etc[PATH_MAX];        /* emqx.conf, acl.conf, plugins/, certs/ */
    char config[PATH_MAX];     /* etc/emqx.conf */
    char data[PATH_MAX];       /* the default of node.data_dir; also where a running instance is remembered */
    char log[PATH_MAX];        /* the default of log.dir */
    char executable[PATH_MAX]; /* of the running program */
    bool installed;            /* as a package */
};

/* Finds them. -errno when the executable's own path cannot be read, -ENAMETOOLONG. */
MUST_USE int paths_find(struct paths *out_paths);

/* `path` itself if it is absolute, else below `base`. -ENAMETOOLONG. */
MUST_USE int paths_join(const char *base, const char *path, char out_path[PATH_MAX]);

/* Makes the directory and those above it, mode 0755 (less the umask). An existing one is fine. -errno. */
MUST_USE int paths_make_dir(const char *path);

#endif
