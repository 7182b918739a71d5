/*
 * log_wrap: a log file that is a ring of files.
 *
 * Always: `fd` is open on `<path>.<index>` for appending, or -1 after a failure; the next write then tries again.
 */
#include "base/log_wrap_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MODE = 0640 };

static int name_file(const struct log_wrap *wrap, const char *suffix, char out_name[PATH_MAX])
{
    int length = snprintf(out_name, PATH_MAX, "%s.%s", wrap->path, suffix);

    return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int name_ring_file(const struct log_wrap *wrap, uint32_t index, char out_name[PATH_MAX])
{
    char suffix[16];

    snprintf(suffix, sizeof(suffix), "%" PRIu32, index);
    return name_file(wrap, suffix, out_name);
}

/* Replaces a bookkeeping file as a whole, so that a crash leaves the old or the new text. */
static int write_note(const struct log_wrap *wrap, const char *suffix, const char *text)
{
    char name[PATH_MAX];
    char temporary[PATH_MAX];
    char temporary_suffix[16];
    size_t length = strlen(text);
    ssize_t written;
    int err = 0;
    int fd;

    snprintf(temporary_suffix, sizeof(temporary_suffix), "%s.new", suffix);
    if (name_file(wrap, suffix, name) < 0 || name_file(wrap, temporary_suffix, temporary) < 0)
        return -ENAMETOOLONG;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return -errno;
    written = write(fd, text, length);
    if (written != (ssize_t)length)
        err = written < 0 ? -errno : -ENOSPC;
    close(fd);
    if (err == 0 && rename(temporary, name) < 0)
        err = -errno;
    if (err < 0)
        unlink(temporary);
    return err;
}

/* Reads up to two decimal numbers; returns how many there were. */
static int read_note(const struct log_wrap *wrap, const char *suffix, uint64_t out_numbers[2])
{
    char name[PATH_MAX];
    char text[64];
    ssize_t length;
    int fd;

    if (name_file(wrap, suffix, name) < 0)
        return 0;
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    length = sscanf(text, "%20" SCNu64 " %20" SCNu64, &out_numbers[0], &out_numbers[1]);
    return length < 0 ? 0 : (int)length;
}

static int write_index(const struct log_wrap *wrap)
{
    char text[16];

    snprintf(text, sizeof(text), "%" PRIu32 "\n", wrap->index);
    return write_note(wrap, "idx", text);
}

/* Removes the files beyond a count that was lowered since the last run and notes size and count. */
static int update_size(const struct log_wrap *wrap)
{
    char text[64];
    char name[PATH_MAX];
    uint64_t noted[2] = {0, 0};

    if (read_note(wrap, "siz", noted) == 2) {
        for (uint64_t index = (uint64_t)wrap->count + 1; index <= noted[1] && index <= LOG_WRAP_COUNT_MAX; index++) {
            if (name_ring_file(wrap, (uint32_t)index, name) == 0)
                unlink(name);
        }
    }
    snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu32 "\n", wrap->bytes_max, wrap->count);
    return write_note(wrap, "siz", text);
}

/* The file to go on with: the noted one, else the newest, else the first. */
static uint32_t find_index(const struct log_wrap *wrap)
{
    uint64_t noted[2] = {0, 0};
    struct timespec newest = {0, 0};
    uint32_t found = 1;

    if (read_note(wrap, "idx", noted) >= 1 && noted[0] >= 1 && noted[0] <= wrap->count)
        return (uint32_t)noted[0];
    for (uint32_t index = 1; index <= wrap->count; index++) {
        char name[PATH_MAX];
        struct stat status;

        if (name_ring_file(wrap, index, name) < 0 || stat(name, &status) < 0)
            continue;
        if (status.st_mtim.tv_sec > newest.tv_sec ||
            (status.st_mtim.tv_sec == newest.tv_sec && status.st_mtim.tv_nsec > newest.tv_nsec)) {
            newest = status.st_mtim;
            found = index;
        }
    }
    return found;
}

static int open_current(struct log_wrap *wrap, int flags)
{
    char name[PATH_MAX];
    struct stat status;
    int err = name_ring_file(wrap, wrap->index, name);

    if (err < 0)
        return err;
    wrap->fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, FILE_MODE);
    if (wrap->fd < 0)
        return -errno;
    wrap->bytes = fstat(wrap->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
    return 0;
}

int log_wrap_open(struct log_wrap *wrap, const char *path, uint64_t bytes_max, uint32_t count)
{
    int err;

    *wrap = (struct log_wrap){.bytes_max = bytes_max, .count = count, .index = 1, .fd = -1};
    if (bytes_max == 0 || count == 0 || count > LOG_WRAP_COUNT_MAX)
        return -EINVAL;
    wrap->path = strdup(path);
    if (wrap->path == NULL)
        return -ENOMEM;
    wrap->index = find_index(wrap);
    err = open_current(wrap, 0);
    if (err == 0)
        err = update_size(wrap);
    if (err == 0)
        err = write_index(wrap);
    if (err < 0)
        log_wrap_close(wrap);
    return err;
}

static int take_next(struct log_wrap *wrap)
{
    int err;

    close(wrap->fd);
    wrap->index = wrap->index % wrap->count + 1;
    err = open_current(wrap, O_TRUNC);
    /* Without the note a restart goes on in another file; no reason to lose lines now. */
    if (err == 0)
        (void)write_index(wrap);
    return err;
}

uint64_t log_wrap_room(const struct log_wrap *wrap)
{
    return wrap->bytes < wrap->bytes_max ? wrap->bytes_max - wrap->bytes : 0;
}

/* Writes all or, as far as the file can be cut back, nothing: no half line is left before the next one. */
static int write_whole(struct log_wrap *wrap, const char *lines, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t written = write(wrap->fd, lines + done, length - done);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            int err = -errno;

            if (done > 0 && ftruncate(wrap->fd, (off_t)wrap->bytes) < 0)
                wrap->bytes += done;
            return err;
        }
        done += (size_t)written;
    }
    wrap->bytes += length;
    return 0;
}

int log_wrap_write(struct log_wrap *wrap, const char *lines, size_t length)
{
    int err = 0;

    if (wrap->fd < 0)
        err = open_current(wrap, 0);
    else if (wrap->bytes > 0 && length > log_wrap_room(wrap))
        err = take_next(wrap);
    return err < 0 ? err : write_whole(wrap, lines, length);
}

void log_wrap_close(struct log_wrap *wrap)
{
    if (wrap->fd >= 0)
        close(wrap->fd);
    free(wrap->path);
    *wrap = (struct log_wrap){.fd = -1};
}
