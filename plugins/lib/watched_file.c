/* watched_file: stat() now, stat() before, and what stat() said of what was read. */
#include "watched_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct file_mark mark_of(const struct stat *found)
{
    return (struct file_mark){.device = found->st_dev,
                              .inode = found->st_ino,
                              .size = found->st_size,
                              .modified_ns = nanoseconds(found->st_mtim),
                              .changed_ns = nanoseconds(found->st_ctim)};
}

static bool marks_equal(const struct file_mark *left, const struct file_mark *right)
{
    return left->device == right->device && left->inode == right->inode && left->size == right->size &&
           left->modified_ns == right->modified_ns && left->changed_ns == right->changed_ns;
}

void watched_file_init(struct watched_file *file, const char *path)
{
    *file = (struct watched_file){.path = path};
}

bool watched_file_changed(struct watched_file *file)
{
    struct stat found;
    struct file_mark mark = {.inode = 0};
    bool at_rest;

    if (stat(file->path, &found) == 0)
        mark = mark_of(&found);
    at_rest = marks_equal(&mark, &file->seen);
    file->seen = mark;
    return at_rest && !marks_equal(&mark, &file->known);
}

/* What the last call said. */
static int error_number(void)
{
    return errno > 0 ? -errno : -EIO;
}

static int read_all(int fd, char *text, size_t size, size_t *out_len)
{
    size_t len = 0;

    while (len < size) {
        ssize_t got = read(fd, text + len, size - len);
        if (got < 0 && errno != EINTR)
            return error_number();
        if (got == 0)
            break;
        len += got > 0 ? (size_t)got : 0;
    }
    *out_len = len;
    return 0;
}

/* All of an open file, which has been looked at. */
static int text_read(int fd, const struct stat *found, size_t size_max, char **out_text, size_t *out_len)
{
    char *text;
    size_t len = 0;
    int err;

    if ((uint64_t)found->st_size > size_max)
        return -EFBIG;
    text = malloc((size_t)found->st_size + 1);
    if (text == NULL)
        return -ENOMEM;
    err = read_all(fd, text, (size_t)found->st_size, &len);
    if (err < 0) {
        free(text);
        return err;
    }
    text[len] = '\0';
    *out_text = text;
    *out_len = len;
    return 0;
}

int watched_file_read(struct watched_file *file, size_t size_max, char **out_text, size_t *out_len)
{
    struct stat found;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

    file->known = file->seen;
    if (fd < 0)
        return error_number();
    if (fstat(fd, &found) < 0) {
        err = error_number();
    } else {
        file->known = file->seen = mark_of(&found);
        err = S_ISREG(found.st_mode) ? text_read(fd, &found, size_max, out_text, out_len) : -EINVAL;
    }
    close(fd);
    return err;
}
