/*
 * ctl_socket: opening the control socket, from both sides.
 */
#include "mgmt/ctl_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The address of `path`. For a long path the directory is opened and `*out_dir_fd` must stay open while the address is used. */
static int socket_address(const char *path, struct sockaddr_un *out_address, int *out_dir_fd)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len;

    *out_dir_fd = -1;
    memset(out_address, 0, sizeof(*out_address));
    out_address->sun_family = AF_UNIX;
    if (strlen(path) < sizeof(out_address->sun_path)) {
        memcpy(out_address->sun_path, path, strlen(path));
        return 0;
    }
    if (slash == NULL || (size_t)(slash - path) >= sizeof(dir))
        return -ENAMETOOLONG;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    *out_dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*out_dir_fd < 0)
        return -errno;
    len = snprintf(out_address->sun_path, sizeof(out_address->sun_path), "/proc/self/fd/%d/%s", *out_dir_fd, slash + 1);
    if (len < 0 || (size_t)len >= sizeof(out_address->sun_path)) {
        close(*out_dir_fd);
        *out_dir_fd = -1;
        return -ENAMETOOLONG;
    }
    return 0;
}

int ctl_socket_bind(const char *path, int *out_fd)
{
    struct sockaddr_un address;
    int dir_fd;
    int fd = -1;
    int err = socket_address(path, &address, &dir_fd);

    if (err < 0)
        return err;
    if (unlink(path) < 0 && errno != ENOENT)
        goto fail;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        goto fail;
    /* Before bind(), so that the file never exists with wider rights. */
    if (fchmod(fd, S_IRUSR | S_IWUSR) < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        goto fail;
    if (dir_fd >= 0)
        close(dir_fd);
    *out_fd = fd;
    return 0;
fail:
    err = -errno;
    if (fd >= 0)
        close(fd);
    if (dir_fd >= 0)
        close(dir_fd);
    return err;
}

int ctl_socket_connect(const char *path, int *out_fd, pid_t *out_pid)
{
    struct sockaddr_un address;
    struct ucred peer = {.pid = 0};
    socklen_t peer_len = sizeof(peer);
    int dir_fd;
    int fd = -1;
    int err = socket_address(path, &address, &dir_fd);

    if (err < 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) < 0)
        err = -errno;
    if (dir_fd >= 0)
        close(dir_fd);
    if (err < 0) {
        if (fd >= 0)
            close(fd);
        return err;
    }
    *out_fd = fd;
    *out_pid = peer.pid;
    return 0;
}

bool ctl_socket_peer_allowed(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid();
}
