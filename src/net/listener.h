/*
 * listener: a listening socket, shared by all workers: each has it in its epoll set with EPOLLEXCLUSIVE, so the
 * kernel wakes one that waits. Limits of the listener are kept here: connections, accepts per second, access rules,
 * descriptors of the process.
 *
 *   new ─► open ─► watched by the workers ─► unwatched ─► closed ─► open again, or free
 *
 * A closed listener lives on while connections that it accepted hold it: they use its options and its TLS context. The last
 * descriptors of the process are not given to clients, so that the control socket, the log and whatever else the broker
 * opens still get one: a client that comes then is accepted and closed at once, and accepting pauses for a moment.
 * Opened and closed by the control thread; accepting runs on the workers.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/compiler.h"
#include "event/worker.h"
#include "net/listener_options.h"
#include "net/tls.h"

#include <stdatomic.h>

struct listener;

#define LISTENER_ERROR_MAX TLS_ERROR_MAX /* bytes of an error text with its zero */

/* A peer was accepted: `fd` is non-blocking and the callee's. It counts as a connection of the listener until
 * listener_release() and holds the listener until listener_drop(). Runs on the accepting worker. */
typedef void listener_accept_fn(struct worker *worker, struct listener *listener, int fd,
                                const struct sockaddr_storage *peer);

/* Where relative paths begin. */
struct listener_places {
    const char *home;     /* certificates and keys */
    const char *data_dir; /* Unix sockets */
};

/* Makes a listener that is not open yet, and its TLS context if its type has one. Takes what `options` holds and leaves it
 * empty, on success only. `context` is the caller's. -EINVAL, -ENOENT, -EACCES, -ENAMETOOLONG with `error` naming the key and
 * the reason, or -ENOMEM. Thread: control or start-up. */
MUST_USE int listener_new(struct listener_options *options, const struct listener_places *places, void *context,
                          listener_accept_fn *on_accept, struct listener **out_listener,
                          char error[LISTENER_ERROR_MAX]);
/* Binds and listens; nothing is accepted yet. -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, …; `error` says what the number does not,
 * or is "". Thread: control or start-up. */
MUST_USE int listener_open(struct listener *listener, char error[LISTENER_ERROR_MAX]);
/* Takes the open socket of `from`, which no worker watches, when both have the same address; peers that wait to be accepted stay.
 * False: it can't be. Thread: control. */
bool listener_take_socket(struct listener *listener, struct listener *from);
/* `listener`, new and not watched yet, takes the place of `before`: from now on they count as one, the connections and their
 * ends, and max_connections of each holds for all. Thread: control. */
void listener_succeed(struct listener *listener, const struct listener *before);
/* Lets `worker` accept. -errno. Thread: owner (that worker). */
MUST_USE int listener_watch(struct listener *listener, struct worker *worker);
/* `worker` accepts no more. Not watching is fine. Thread: owner (that worker). */
void listener_unwatch(struct listener *listener, struct worker *worker);
/* Closes the socket, and removes the file of a Unix socket. No worker may watch it any more; the object stays until
 * listener_free(). Closed already is fine. Thread: control. */
void listener_close(struct listener *listener);
/* When nothing holds it any more. NULL is fine. Thread: control. */
void listener_free(struct listener *listener);

/* Valid while the listener is held. Thread: any. */
const struct listener_options *listener_options_of(const struct listener *listener);
void *listener_context(const struct listener *listener);
/* NULL for types without TLS. Thread: any. */
struct tls_context *listener_tls_context(const struct listener *listener);
/* Is the socket open? Thread: control. */
bool listener_is_open(const struct listener *listener);

/* A connection ended; `reason` is a static word (spec of `listeners`: shutdown_count). Thread: any. */
void listener_release(struct listener *listener, const char *reason);
/* Keeps the listener until listener_drop(). Thread: any that holds it or owns it. */
void listener_hold(struct listener *listener);
/* What was a connection uses the listener no more, neither its options nor its TLS context. Thread: any. */
void listener_drop(struct listener *listener);
/* Does a connection hold the listener, ended or not? Thread: control, when no worker watches it. */
bool listener_is_held(const struct listener *listener);
/* Connections now, with those of the listeners it succeeded. Thread: any. */
uint32_t listener_connection_count(const struct listener *listener);

/* Has one succeeded the other, at once or over several? Thread: any that holds both. */
bool listener_is_kin(const struct listener *one, const struct listener *other);

/* Its clients are being closed: one that is on its way to another worker is closed when it gets there. Thread: any. */
void listener_set_closing(struct listener *listener, bool closing);
bool listener_is_closing(const struct listener *listener);

#define LISTENER_SHUTDOWN_REASON_MAX 64
struct listener_shutdown_count {
    const char *reason; /* static */
    uint64_t count;
};
/* The ended connections by reason; up to LISTENER_SHUTDOWN_REASON_MAX rows. Returns their number. Thread: any. */
uint32_t listener_shutdown_counts(const struct listener *listener, struct listener_shutdown_count *out_counts);

#endif
