/*
 * paths: finding the root of the installation.
 */
#include "ctl/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int paths_join(const char *base, const char *path, char out_path[PATH_MAX])
{
    int len = path[0] == '/' ? snprintf(out_path, PATH_MAX, "%s", path)
                             : snprintf(out_path, PATH_MAX, "%s/%s", strcmp(base, "/") == 0 ? "" : base, path);

    return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int paths_make_dir(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(part))
        return -ENAMETOOLONG;
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -errno;
        part[i] = path[i];
    }
    return 0;
}

static int fill(struct paths *paths, const char *root, const char *etc, const char *data, const char *log)
{
    int err = paths_join("/", root, paths->root);

    if (err == 0)
        err = paths_join(root, etc, paths->etc);
    if (err == 0)
        err = paths_join(paths->etc, "emqx.conf", paths->config);
    if (err == 0)
        err = paths_join(root, data, paths->data);
    if (err == 0)
        err = paths_join(root, log, paths->log);
    return err;
}

/* Cuts the last part of `path`. */
static void cut_last(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash != NULL)
        *(slash == path ? slash + 1 : slash) = '\0';
}

int paths_find(struct paths *out_paths)
{
    const char *root_env = getenv("EMQX_ROOT");
    char root[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", out_paths->executable, sizeof(out_paths->executable) - 1);
    int err;

    if (len < 0)
        return -errno;
    out_paths->executable[len] = '\0';
    out_paths->installed = false;
    if (root_env != NULL && root_env[0] != '\0') {
        if (realpath(root_env, root) == NULL)
            return -errno;
        return fill(out_paths, root, "etc", "data", "log");
    }
    memcpy(root, out_paths->executable, (size_t)len + 1);
    cut_last(root);
    cut_last(root);
    err = fill(out_paths, root, "etc", "data", "log");
    if (err < 0 || access(out_paths->config, F_OK) == 0)
        return err;
    out_paths->installed = true;
    return fill(out_paths, "/var/lib/emqx", "/etc/emqx", "/var/lib/emqx", "/var/log/emqx");
}
