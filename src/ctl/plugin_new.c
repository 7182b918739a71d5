/*
 * plugin_new: see plugin_new.h.
 */
#include "ctl/plugin_new.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPLATE "emqc_plugin_template"
#define NAME_MAX_BYTES 64u
#define FILE_BYTES_MAX (256u * 1024u) /* files of the template are smaller */

struct replacement {
    const char *from;
    const char *to;
};

struct plugin_new {
    const char *name;
    const char *dir;
    char template_dir[PATH_MAX], include_dir[PATH_MAX], lib_dir[PATH_MAX];
    struct replacement replacements[4];
};

static bool name_valid(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && len <= NAME_MAX_BYTES && name[len] == '\0' && name[0] >= 'a' && name[0] <= 'z';
}

/* Where header and template are: in the release tree, or beside the programs of an installed system. */
static int find_installation(const struct paths *paths, struct plugin_new *job)
{
    char prefix[PATH_MAX];
    int err;

    if (!paths->installed) {
        err = paths_join(paths->root, "include", job->include_dir);
        if (err == 0)
            err = paths_join(paths->root, "lib", job->lib_dir);
    } else {
        snprintf(prefix, sizeof(prefix), "%s", paths->executable);
        for (int i = 0; i < 2; i++) {
            char *slash = strrchr(prefix, '/');
            if (slash != NULL)
                *slash = '\0';
        }
        err = paths_join(prefix, "include", job->include_dir);
        if (err == 0)
            err = paths_join(prefix, "lib/emqx", job->lib_dir);
    }
    return err < 0 ? err : paths_join(job->lib_dir, TEMPLATE, job->template_dir);
}

/* The whole file, with a final zero; the caller frees it. */
static int read_file(const char *path, char **out_text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd < 0 ? NULL : malloc(FILE_BYTES_MAX + 1);
    ssize_t len;
    int err = 0;

    if (fd < 0)
        return -errno;
    len = text == NULL ? -1 : read(fd, text, FILE_BYTES_MAX + 1);
    if (text == NULL)
        err = -ENOMEM;
    else if (len < 0)
        err = -errno;
    else if (len > (ssize_t)FILE_BYTES_MAX)
        err = -EFBIG;
    close(fd);
    if (err < 0 || text == NULL) {
        free(text);
        return err;
    }
    text[len] = '\0';
    *out_text = text;
    return 0;
}

/* The text with all replacements made. */
static void write_replaced(FILE *out, const struct plugin_new *job, const char *text)
{
    while (*text != '\0') {
        size_t i = 0;

        while (i < ARRAY_COUNT(job->replacements) &&
               strncmp(text, job->replacements[i].from, strlen(job->replacements[i].from)) != 0)
            i++;
        if (i == ARRAY_COUNT(job->replacements)) {
            fputc(*text++, out);
            continue;
        }
        fputs(job->replacements[i].to, out);
        text += strlen(job->replacements[i].from);
    }
}

/* `from` of the template becomes `to`. */
static int copy_file(const struct plugin_new *job, const char *from, const char *to)
{
    char path[PATH_MAX], *text = NULL;
    FILE *out;
    int fd, err = paths_join(job->template_dir, from, path);

    if (err == 0)
        err = read_file(path, &text);
    if (err < 0 || text == NULL) {
        fprintf(stderr, "emqx_ctl: the template %s cannot be read: %s\n", path, strerror(-err));
        return err < 0 ? err : -EIO;
    }
    err = paths_join(job->dir, to, path);
    fd = err < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && err == 0)
        err = -errno;
    out = fd < 0 ? NULL : fdopen(fd, "w");
    if (out == NULL) {
        fprintf(stderr, "emqx_ctl: %s cannot be made: %s\n", path, strerror(-err));
        free(text);
        return err < 0 ? err : -EIO;
    }
    write_replaced(out, job, text);
    free(text);
    if (fclose(out) != 0) {
        fprintf(stderr, "emqx_ctl: %s cannot be written: %s\n", path, strerror(errno));
        return -EIO;
    }
    return 0;
}

int plugin_new_main(const struct paths *paths, const char *name, const char *dir)
{
    struct plugin_new job = {.name = name, .dir = dir};
    char source[NAME_MAX_BYTES + 3], conf[NAME_MAX_BYTES + 6], absolute[PATH_MAX], include[PATH_MAX + 32],
        lib[PATH_MAX + 32], etc[PATH_MAX + 32];
    int err;

    if (!name_valid(name)) {
        fprintf(
            stderr,
            "emqx_ctl: '%s' cannot be a plugin's name: a small letter, then small letters, digits and _, at most %u\n",
            name, NAME_MAX_BYTES);
        return 1;
    }
    err = find_installation(paths, &job);
    if (err == 0)
        err = paths_make_dir(dir);
    if (err < 0 || realpath(dir, absolute) == NULL) {
        fprintf(stderr, "emqx_ctl: the directory %s cannot be made: %s\n", dir, strerror(err < 0 ? -err : errno));
        return 1;
    }
    job.dir = absolute;
    snprintf(include, sizeof(include), "EMQC_INCLUDE ?= %s\n", job.include_dir);
    snprintf(lib, sizeof(lib), "EMQC_LIB     ?= %s\n", job.lib_dir);
    snprintf(etc, sizeof(etc), "EMQC_ETC     ?= %s\n", paths->etc);
    job.replacements[0] = (struct replacement){TEMPLATE, name};
    job.replacements[1] = (struct replacement){"EMQC_INCLUDE ?= /usr/include\n", include};
    job.replacements[2] = (struct replacement){"EMQC_LIB     ?= /usr/lib/emqx\n", lib};
    job.replacements[3] = (struct replacement){"EMQC_ETC     ?= /etc/emqx\n", etc};
    snprintf(source, sizeof(source), "%s.c", name);
    snprintf(conf, sizeof(conf), "%s.conf", name);
    if (copy_file(&job, "Makefile", "Makefile") < 0 || copy_file(&job, TEMPLATE ".c", source) < 0 ||
        copy_file(&job, TEMPLATE ".conf", conf) < 0 || copy_file(&job, "test_plugin.c", "test_plugin.c") < 0)
        return 1;
    printf("%s is in %s. What comes next:\n"
           "  make -C %s check      build it and run its test\n"
           "  make -C %s install    put it where this broker finds it\n"
           "  emqx_ctl plugins load %s\n",
           name, absolute, dir, dir, name);
    return 0;
}
