/*
 * client: one command to the running broker over its control socket, with the answer written as it comes.
 * Thread: any; blocks.
 */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "base/compiler.h"
#include "ctl/instance.h"
#include "ctl/settings.h"

#include <stdio.h>

/* The original's limit for one command, here for the silence of the broker. */
#define CTL_CLIENT_SILENCE_MS 60000

/* Runs `words` on the broker that listens at `socket_path`. Output goes to `out` and `err` (either may be NULL:
 * dropped), `*out_status` is the exit status, `*out_pid` the broker's process (NULL: not wanted). 0; -ENOENT and
 * -ECONNREFUSED (nobody listens); -EACCES; -ETIMEDOUT (`silence_ms` without a byte); -ECONNRESET (the broker went away in
 * between); -E2BIG; -EPROTO; -errno. */
MUST_USE int ctl_client_run(const char *socket_path, int count, const char *const *words, int silence_ms, FILE *out,
                            FILE *err, int *out_status, pid_t *out_pid);

/* Finds the broker and runs `words` as emqx_ctl does: output to the terminal, errors explained on stderr, with what
 * to do next. Returns the exit status. */
int ctl_client_main(const struct paths *paths, const struct settings *settings, int count, const char *const *words);

/* "Node '...' not responding to pings." on stderr, and why. `err`: what instance_find() or ctl_client_run() said. */
void ctl_client_explain(const struct paths *paths, const struct settings *settings, int err);

#endif
