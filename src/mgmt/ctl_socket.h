/*
 * ctl_socket: the Unix stream socket between the commands and the broker, in the data directory.
 *
 * Paths longer than an address can hold (107 bytes) work too: they are reached through the directory's
 * descriptor. Thread: any.
 */
#ifndef MGMT_CTL_SOCKET_H
#define MGMT_CTL_SOCKET_H

#include "base/compiler.h"

#include <stdbool.h>
#include <sys/types.h>

/* Makes the socket, bound but not listening yet, with mode 0600. A file left by an earlier run is removed: the
 * caller holds the lock of the directory. The caller closes the descriptor and removes the file. -errno. */
MUST_USE int ctl_socket_bind(const char *path, int *out_fd);

/* Connects and says which process listens there. -ENOENT, -ECONNREFUSED: nobody listens; -EACCES: it belongs to another user; other -errno. */
MUST_USE int ctl_socket_connect(const char *path, int *out_fd, pid_t *out_pid);

/* Does the process at the other end run as our user or as root? */
bool ctl_socket_peer_allowed(int fd);

#endif
