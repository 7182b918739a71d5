/*
 * listener_socket: TCP and Unix sockets that listen.
 *
 * The file of a Unix socket outlives a broker that was killed. Whether somebody still listens on it is found out by connecting:
 * a socket that refuses is left over and replaced; one that takes the connection is somebody's, whom the system names. Anything
 * that is not a socket is never removed.
 */
#include "net/listener_socket_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

void listener_socket_adjust(int fd, const struct listener_options *options)
{
    int nodelay = options->nodelay;

    /* Accepted sockets inherit them. */
    if (options->recbuf_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options->recbuf_bytes, sizeof(options->recbuf_bytes));
    if (options->sndbuf_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options->sndbuf_bytes, sizeof(options->sndbuf_bytes));
    if (options->type != LISTENER_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay));
}

static int open_tcp(const struct listener_options *options)
{
    int one = 1;
    int fd = socket(options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0)
        return -errno;
    if (options->reuseaddr)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    listener_socket_adjust(fd, options);
    if (bind(fd, (const struct sockaddr *)&options->address, options->address_len) < 0 ||
        listen(fd, (int)options->backlog) < 0) {
        err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static void name_holder(int fd, const char *path, char error[LISTENER_ERROR_MAX])
{
    struct ucred holder = {0};
    socklen_t len = sizeof(holder);
    char comm[64] = "", file[64];

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &holder, &len) < 0 || holder.pid <= 0) {
        snprintf(error, LISTENER_ERROR_MAX, "another process listens on %s", path);
        return;
    }
    snprintf(file, sizeof(file), "/proc/%d/comm", (int)holder.pid);
    FILE *in = fopen(file, "re");
    if (in != NULL && fgets(comm, sizeof(comm), in) != NULL)
        comm[strcspn(comm, "\n")] = '\0';
    if (in != NULL)
        fclose(in);
    snprintf(error, LISTENER_ERROR_MAX, "process %d (%s) listens on %s", (int)holder.pid,
             comm[0] == '\0' ? "unknown" : comm, path);
}

/* Makes room for the socket at `address`: removes what a dead process left behind. */
static int clear_path(const struct sockaddr_un *address, char error[LISTENER_ERROR_MAX])
{
    struct stat status;
    int fd, err;

    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(error, LISTENER_ERROR_MAX, "%s exists and is not a socket, so it is left alone", address->sun_path);
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    if (err == 0) {
        name_holder(fd, address->sun_path, error);
        err = -EADDRINUSE;
    } else if (err == -EAGAIN) { /* somebody listens and is slow */
        snprintf(error, LISTENER_ERROR_MAX, "another process listens on %s", address->sun_path);
        err = -EADDRINUSE;
    } else if (err == -ECONNREFUSED) {
        err = unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
    }
    close(fd);
    return err;
}

static int bind_unix(int fd, const struct sockaddr_un *address, const struct listener_options *options,
                     struct listener_file *out_file)
{
    struct stat status;

    /* The mode of the descriptor, less the umask, is that of the file: nobody gets in before chmod() gives what was asked for. */
    if (fchmod(fd, options->unix_mode) < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
        return -errno;
    if (lstat(address->sun_path, &status) == 0)
        *out_file = (struct listener_file){.device = status.st_dev, .inode = status.st_ino};
    if (chmod(address->sun_path, options->unix_mode) < 0 || listen(fd, (int)options->backlog) < 0) {
        int err = -errno;
        listener_socket_remove(options, out_file);
        return err;
    }
    return 0;
}

static int open_unix(const struct listener_options *options, struct listener_file *out_file,
                     char error[LISTENER_ERROR_MAX])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, err;

    if (strlen(options->unix_path) >= sizeof(address.sun_path)) {
        snprintf(error, LISTENER_ERROR_MAX, "the path of a Unix socket has at most %zu bytes",
                 sizeof(address.sun_path) - 1);
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, options->unix_path, strlen(options->unix_path));
    err = clear_path(&address, error);
    if (err < 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    listener_socket_adjust(fd, options);
    err = bind_unix(fd, &address, options, out_file);
    if (err < 0) {
        close(fd);
        return err;
    }
    return fd;
}

int listener_socket_open(const struct listener_options *options, struct listener_file *out_file,
                         char error[LISTENER_ERROR_MAX])
{
    error[0] = '\0';
    *out_file = (struct listener_file){0};
    return options->type == LISTENER_UNIX ? open_unix(options, out_file, error) : open_tcp(options);
}

void listener_socket_remove(const struct listener_options *options, const struct listener_file *file)
{
    struct stat status;

    if (file->inode != 0 && lstat(options->unix_path, &status) == 0 && status.st_dev == file->device &&
        status.st_ino == file->inode)
        unlink(options->unix_path);
}
