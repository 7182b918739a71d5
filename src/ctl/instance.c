/*
 * instance: the lock of the data directory.
 *
 * It is an open file description lock: unlike flock() others can ask for its holder without taking it for a moment
 * (which would make a broker that starts just then fail), and unlike the classic record lock it does not vanish when some
 * other part of the process closes the same file.
 */
#include "ctl/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PID_FILE "emqx.pid"
#define SOCKET_FILE "emqx.sock"
#define RUN_FILE "emqx.run"

struct instance_lock {
    int fd;
    char socket_path[PATH_MAX];
    char run_path[PATH_MAX]; /* empty: none was written */
};

static struct flock whole_file(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

/* 0: somebody holds the lock in `data_dir`. */
static int instance_look(const char *data_dir, struct instance *out_instance)
{
    struct flock lock = whole_file();
    char path[PATH_MAX];
    char text[32];
    ssize_t len;
    int err = paths_join(data_dir, PID_FILE, path);
    int fd;

    if (err < 0)
        return err;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? -ESRCH : -errno;
    err = fcntl(fd, F_OFD_GETLK, &lock) < 0 ? -errno : 0;
    len = pread(fd, text, sizeof(text) - 1, 0);
    close(fd);
    if (err < 0)
        return err;
    if (lock.l_type == F_UNLCK)
        return -ESRCH;
    text[len > 0 ? len : 0] = '\0';
    out_instance->pid = (pid_t)strtol(text, NULL, 10);
    err = paths_join("/", data_dir, out_instance->data_dir);
    return err < 0 ? err : paths_join(data_dir, SOCKET_FILE, out_instance->socket_path);
}

/* The data directory that emqx.run names. */
static int run_file_read(const struct paths *paths, char out_data_dir[PATH_MAX])
{
    char path[PATH_MAX];
    ssize_t len;
    int err = paths_join(paths->data, RUN_FILE, path);
    int fd;

    if (err < 0)
        return err;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    len = read(fd, out_data_dir, PATH_MAX - 1);
    close(fd);
    if (len <= 0)
        return -ENOENT;
    out_data_dir[len] = '\0';
    out_data_dir[strcspn(out_data_dir, "\n")] = '\0';
    return out_data_dir[0] == '/' ? 0 : -ENOENT;
}

int instance_find(const struct paths *paths, const char *data_dir, struct instance *out_instance)
{
    char remembered[PATH_MAX];
    int err = instance_look(data_dir, out_instance);
    int other_err = -ESRCH;

    if (err == 0)
        return 0;
    if (strcmp(paths->data, data_dir) != 0)
        other_err = instance_look(paths->data, out_instance);
    if (other_err == -ESRCH && run_file_read(paths, remembered) == 0)
        other_err = instance_look(remembered, out_instance);
    /* "Not allowed to look" is the more useful answer of the two. */
    return other_err == 0 || err == -ESRCH ? other_err : err;
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t len;
    int err;

    if (fd < 0)
        return -errno;
    len = write(fd, text, strlen(text));
    err = len < 0 ? -errno : (size_t)len < strlen(text) ? -ENOSPC : 0;
    close(fd);
    return err;
}

static int run_file_write(const struct paths *paths, const char *data_dir, struct instance_lock *lock)
{
    char text[PATH_MAX + 1];
    int err;

    if (strcmp(paths->data, data_dir) == 0)
        return 0;
    err = paths_make_dir(paths->data);
    if (err == 0)
        err = paths_join(paths->data, RUN_FILE, lock->run_path);
    if (err < 0)
        return err;
    snprintf(text, sizeof(text), "%s\n", data_dir);
    return write_text(lock->run_path, text);
}

static int pid_file_lock(const char *data_dir, int *out_fd)
{
    struct flock lock = whole_file();
    char path[PATH_MAX];
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    int err = paths_join(data_dir, PID_FILE, path);
    int fd;

    if (err < 0)
        return err;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        err = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
        close(fd);
        return err;
    }
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len) {
        err = errno != 0 ? -errno : -ENOSPC;
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

int instance_lock_take(const struct paths *paths, const char *data_dir, struct instance_lock **out_lock)
{
    struct instance_lock *lock = calloc(1, sizeof(*lock));
    int err = -ENOMEM;

    if (lock == NULL)
        return err;
    lock->fd = -1;
    err = paths_make_dir(data_dir);
    if (err == 0)
        err = paths_join(data_dir, SOCKET_FILE, lock->socket_path);
    if (err == 0)
        err = pid_file_lock(data_dir, &lock->fd);
    if (err == 0)
        err = run_file_write(paths, data_dir, lock);
    if (err < 0) {
        instance_lock_release(lock);
        return err;
    }
    *out_lock = lock;
    return 0;
}

const char *instance_lock_socket(const struct instance_lock *lock)
{
    return lock->socket_path;
}

void instance_lock_release(struct instance_lock *lock)
{
    if (lock == NULL)
        return;
    if (lock->fd >= 0) {
        if (lock->run_path[0] != '\0')
            unlink(lock->run_path);
        /* The file stays: removing it would let two brokers lock two files of one name. */
        if (ftruncate(lock->fd, 0) < 0)
            errno = 0; /* a stale number without a lock harms nobody */
        close(lock->fd);
    }
    free(lock);
}
