/*
 * listener: a listening socket, shared by all workers: each has it in its epoll set with EPOLLEXCLUSIVE, so the
 * kernel wakes one that waits. Limits of the listener are kept here: connections, accepts per second, access rules.
 *
 * Opened and closed by the control thread; accepting runs on the workers.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/compiler.h"
#include "event/worker.h"
#include "net/listener_options.h"

#include <stdatomic.h>

struct listener;

/* A peer was accepted: `fd` is non-blocking and the callee's; it counts as a connection of the listener until
 * listener_release(). Runs on the accepting worker. */
typedef void listener_accept_fn(struct worker *worker, struct listener *listener, int fd,
                                const struct sockaddr_storage *peer);

/* Binds and listens; nothing is accepted yet. `options` must outlive the listener; `context` is the caller's.
 * -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, … or -ENOMEM. Thread: control or start-up. */
MUST_USE int listener_open(const struct listener_options *options, void *context, listener_accept_fn *on_accept,
                           struct listener **out_listener);
/* Lets `worker` accept. -errno. Thread: owner (that worker). */
MUST_USE int listener_watch(struct listener *listener, struct worker *worker);
/* `worker` accepts no more. Not watching is fine. Thread: owner (that worker). */
void listener_unwatch(struct listener *listener, struct worker *worker);
/* Closes the socket. No worker may watch it any more; the object stays until listener_free(). Thread: control. */
void listener_close(struct listener *listener);
/* After the last connection is gone. NULL is fine. Thread: control. */
void listener_free(struct listener *listener);

const struct listener_options *listener_options_of(const struct listener *listener);
void *listener_context(const struct listener *listener);
/* A connection ended; `reason` is a static word (spec of `listeners`: shutdown_count). Thread: any. */
void listener_release(struct listener *listener, const char *reason);
/* Connections now. Thread: any. */
uint32_t listener_connection_count(const struct listener *listener);

#define LISTENER_SHUTDOWN_REASON_MAX 64
struct listener_shutdown_count {
    const char *reason; /* static */
    uint64_t count;
};
/* The ended connections by reason; up to LISTENER_SHUTDOWN_REASON_MAX rows. Returns their number. Thread: any. */
uint32_t listener_shutdown_counts(const struct listener *listener, struct listener_shutdown_count *out_counts);

#endif
