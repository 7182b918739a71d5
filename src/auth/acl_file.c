/*
 * acl_file: the rules of the configuration's acl_file, in effect for client.check_acl.
 */
#include "auth/acl_file.h"

#include "base/rcu.h"
#include "hook/acl_generation.h"
#include "hook/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct acl_file {
    struct acl_rules *rules; /* shared: snapshot; NULL: none */
    struct hook *hook;
    enum acl_filter_match filter_match;
    bool nomatch_allows;
    char *path;
};

/* Up to `size` bytes and the end of the file. -EFBIG: there are more. */
static int read_all(int fd, char *text, size_t size, size_t *out_len)
{
    size_t len = 0;
    ssize_t got;

    do {
        got = read(fd, text + len, size - len);
        if (got < 0 && errno != EINTR)
            return -errno;
        len += got > 0 ? (size_t)got : 0;
    } while (got != 0 && len < size);
    *out_len = len;
    return got == 0 ? 0 : -EFBIG;
}

/* The text of a regular file, which the caller frees. */
static int read_file(const char *path, char **out_text, size_t *out_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for its writer */
    struct stat status;
    char *text;
    int err = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0)
        err = -errno;
    else if (!S_ISREG(status.st_mode))
        err = S_ISDIR(status.st_mode) ? -EISDIR : -ENOTSUP;
    else if (status.st_size > (off_t)ACL_FILE_BYTES_MAX)
        err = -EFBIG;
    text = err < 0 ? NULL : malloc((size_t)status.st_size + 1);
    if (err == 0)
        err = text == NULL ? -ENOMEM : read_all(fd, text, (size_t)status.st_size + 1, out_len);
    close(fd);
    if (err < 0)
        free(text);
    else
        *out_text = text;
    return err;
}

int acl_file_read(const char *path, enum acl_filter_match filter_match, struct acl_rules **out_rules,
                  char out_error[ACL_FILE_ERROR_BYTES])
{
    struct acl_error error = {.text = ""};
    char *text = NULL;
    size_t len = 0;
    int err = read_file(path, &text, &len);

    if (err < 0) {
        snprintf(out_error, ACL_FILE_ERROR_BYTES, "cannot read %.4000s: %s", path,
                 err == -ENOTSUP ? "not a regular file" : strerror(-err));
        return err == -EINVAL ? -EIO : err;
    }
    err = acl_rules_new(slice_make(text, len), filter_match, out_rules, &error);
    free(text);
    if (err == -EINVAL)
        snprintf(out_error, ACL_FILE_ERROR_BYTES, "%.4000s:%u:%u: %s", path, error.place.line, error.place.column,
                 error.text);
    else if (err < 0)
        snprintf(out_error, ACL_FILE_ERROR_BYTES, "cannot read %.4000s: %s", path, strerror(-err));
    return err;
}

/* Thread: any, online. */
static enum hook_verdict check(void *context, void *event)
{
    struct acl_file *file = context;
    struct hook_check_acl *request = event;
    const struct acl_rules *rules = RCU_READ(file->rules);
    const struct acl_rule *rule = rules == NULL ? NULL : acl_rules_find(rules, request);

    if (rule != NULL)
        request->is_allowed = rule->is_allow;
    return HOOK_NEXT;
}

int acl_file_open(const struct acl_file_options *options, struct acl_file **out_file)
{
    struct acl_file *file = calloc(1, sizeof(*file));
    struct hook_options hook = {
        .point = HOOK_CLIENT_CHECK_ACL, .priority = -1, .run = check, .context = file, .owner = "acl_file"};
    int err = -ENOMEM;

    if (file == NULL)
        return err;
    file->filter_match = options->filter_match;
    file->nomatch_allows = options->nomatch_allows;
    file->path = strdup(options->path);
    if (file->path != NULL)
        err = hook_add(&hook, &file->hook);
    if (err < 0) {
        acl_file_close(file);
        return err;
    }
    *out_file = file;
    return 0;
}

void acl_file_close(struct acl_file *file)
{
    if (file == NULL)
        return;
    hook_remove(file->hook);
    acl_rules_free(file->rules);
    free(file->path);
    free(file);
}

static void publish(struct acl_file *file, struct acl_rules *rules)
{
    struct acl_rules *old = file->rules;

    RCU_PUBLISH(file->rules, rules);
    acl_generation_bump();
    if (old != NULL)
        rcu_barrier_all();
    acl_rules_free(old);
}

int acl_file_load(struct acl_file *file, char out_error[ACL_FILE_ERROR_BYTES])
{
    struct acl_rules *rules = NULL;
    int err = acl_file_read(file->path, file->filter_match, &rules, out_error);

    if (err == 0)
        publish(file, rules);
    return err;
}

const char *acl_file_path(const struct acl_file *file)
{
    return file->path;
}

const struct acl_rules *acl_file_rules(const struct acl_file *file)
{
    return file->rules;
}

bool acl_file_nomatch_allows(const struct acl_file *file)
{
    return file->nomatch_allows;
}
