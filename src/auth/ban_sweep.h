/*
 * ban_sweep: ends the connections of clients that have been banned.
 *
 * A client ID's connection is found at once. For the others one worker after another looks at its connections, a slice a turn, and asks the table of bans about
 * each: so one sweep serves all bans that were added before it began, and at most one runs at a time. Some seconds after a ban there is one more, for clients
 * that were on their way in: past the check of bans, not connected yet.
 *
 *   added ─► sweep ─► (added meanwhile: again) ─► BAN_SWEEP_AGAIN_MS after the first ban ─► sweep
 */
#ifndef AUTH_BAN_SWEEP_H
#define AUTH_BAN_SWEEP_H

#include "base/compiler.h"

struct ban;
struct ban_sweep;
struct banned;
struct broker;
struct uv_loop_s;

#define BAN_SWEEP_AGAIN_MS 10000u /* longer than an answer of client.authenticate may take */

/* `broker` outlives it. -ENOMEM, -errno. Thread: control, start-up. */
MUST_USE int ban_sweep_open(struct uv_loop_s *loop, struct broker *broker, struct ban_sweep **out_sweep);
/* The table to ask; before the first ban_sweep_start(). Thread: control. */
void ban_sweep_set_table(struct ban_sweep *sweep, const struct banned *banned);
/* A ban has come into force. Thread: control. */
void ban_sweep_start(struct ban_sweep *sweep, const struct ban *ban);
/* Nothing is posted to workers any more: they are about to stop. NULL is fine. Thread: control. */
void ban_sweep_stop(struct ban_sweep *sweep);
/* After the workers have stopped. The memory goes in a later turn of the loop. NULL is fine. Thread: control. */
void ban_sweep_close(struct ban_sweep *sweep);

#endif
