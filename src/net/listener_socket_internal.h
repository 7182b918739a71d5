/*
 * listener_socket_internal: opening and closing the socket of a listener. Thread: control or start-up.
 */
#ifndef NET_LISTENER_SOCKET_INTERNAL_H
#define NET_LISTENER_SOCKET_INTERNAL_H

#include "net/listener.h"

#include <sys/stat.h>

/* Which file a Unix socket made: only that one is removed again. */
struct listener_file {
    dev_t device;
    ino_t inode; /* 0: none */
};

/* Binds and listens. The descriptor, or as listener_open(). */
int listener_socket_open(const struct listener_options *options, struct listener_file *out_file,
                         char error[LISTENER_ERROR_MAX]);
/* Gives the open socket the settings of `options`. */
void listener_socket_adjust(int fd, const struct listener_options *options);
/* Removes the file of a Unix socket if it is still the one that was made. */
void listener_socket_remove(const struct listener_options *options, const struct listener_file *file);

#endif
