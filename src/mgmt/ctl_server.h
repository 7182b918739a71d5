/*
 * ctl_server: serves emqx_ctl and `emqx` on the control socket, on the control thread's loop.
 *
 * One request per connection (ctl_frame.h). Bounded: CTL_CONNECTIONS_MAX at a time (more wait unaccepted), one
 * request of 64 KiB, `request_timeout_ms` for it to come in. A reader that is slow pauses its
 * command; one that takes nothing for `stall_timeout_ms`, or whose command prints on regardless until
 * CTL_OUTPUT_BYTES_MAX wait, is cut. Only our own user and root are answered.
 * The process ignores SIGPIPE. Thread: control.
 */
#ifndef MGMT_CTL_SERVER_H
#define MGMT_CTL_SERVER_H

#include "base/compiler.h"

#include <stdint.h>

#define CTL_CONNECTIONS_MAX 16u
#define CTL_OUTPUT_PAUSE_BYTES (64u * 1024u)
#define CTL_OUTPUT_BYTES_MAX (4u * 1024u * 1024u)

struct uv_loop_s;
struct ctl_registry;
struct ctl_server;

struct ctl_server_options {
    struct uv_loop_s *loop;
    struct ctl_registry *registry; /* outlives the server */
    const char *socket_path;       /* copied */
    uint64_t request_timeout_ms;   /* 0: 5 s */
    uint64_t stall_timeout_ms;     /* 0: 30 s */
};

/* Binds the socket and serves it. The caller holds the lock of the directory. -ENOMEM, -errno of the socket. */
MUST_USE int ctl_server_open(const struct ctl_server_options *options, struct ctl_server **out_server);

/* Stops serving, removes the socket's file, lets go of commands that are still running (their callers see the
 * connection end). `on_closed` runs on the loop once all handles are closed and the memory is gone. NULL server:
 * nothing happens. */
void ctl_server_close(struct ctl_server *server, void (*on_closed)(void *context), void *context);

#endif
