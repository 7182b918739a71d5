/*
 * banned: the table of bans: by client id, user name, address or network.
 *
 *   emqx_ctl, HTTP API, flapping ──► banned_add() ──► memory: in force at once ──► on_added: connections end (ban_sweep.h)
 *   (control thread)                        └──► STORE_BANNED: on disk ──► on_done
 *
 * Workers look at it without a lock (base/rcu_table.h); only the control thread changes it. Networks are found by their prefix lengths: one look
 * for each length that is in use. A ban whose time is over has no effect from that second on; a timer then removes it.
 *
 * Bounded by entries_max: one more is refused, and an automatic one (of flapping detection) takes the place of the automatic one that
 * ends first.
 */
#ifndef AUTH_BANNED_H
#define AUTH_BANNED_H

#include "auth/ban.h"
#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct banned;
struct client_info;
struct store;
struct uv_loop_s;

struct banned_options {
    struct uv_loop_s *loop; /* the control thread's */
    struct store *store;
    uint64_t entries_max;
    /* A ban has come into force; it holds during the call. NULL: nobody is told. */
    void (*on_added)(void *context, const struct ban *ban);
    void *context;
};

/* 0: it is on disk. -EIO: it is in force, but the store has failed meanwhile; it goes on disk once that can be written again. Never called from
 * within the call that asked. Thread: control. */
typedef void banned_done_fn(void *context, int err);

/* Makes the table with what the store has. A row that cannot be read is reported in the log, has no effect and stays. More than entries_max are
 * all taken. -ENOMEM, -EIO (the table in the store is damaged: store_read_problem()). Blocks. Thread: control, start-up; registered (base/rcu.h), offline,
 * as for all functions here that the control thread calls. */
MUST_USE int banned_open(const struct banned_options *options, struct banned **out_banned);
/* Who still waits gets -EIO. No worker looks at it any more. The memory goes in a later turn of the loop. NULL is fine. Thread: control. */
void banned_close(struct banned *banned);

/* Adds a ban, or replaces the one of the same kind and who. `on_done` may be NULL. As ban_new(), and -ENOSPC: the table is full; -EROFS: the store
 * cannot be written (store_problem()); -EAGAIN: too much waits to be written. The last two are not for automatic ones, which are in force all the same.
 * After an error nothing has changed, and on_done is not called. Thread: control. */
MUST_USE int banned_add(struct banned *banned, const struct ban_options *options, banned_done_fn *on_done,
                        void *context);
/* Lifts a ban. -ENOENT: there is none; -EINVAL: no address; -EROFS: it is lifted, but the store cannot be written now, so that a restart might bring it
 * back; -ENOMEM. on_done is not called then. Thread: control. */
MUST_USE int banned_delete(struct banned *banned, enum ban_kind kind, struct slice who, banned_done_fn *on_done,
                           void *context);

/* The ban that this client falls under, by client_id, user_name or peer_address; NULL: none. Valid until the thread's next quiescent state.
 * Thread: any, online. */
const struct ban *banned_find(const struct banned *banned, const struct client_info *client);

/* Visits bans in no order, but each of those that stay exactly once; as rcu_table_visit(): at most `limit` and a few more, `*cursor` is 0 at the
 * beginning and the end. Ended ones are left out. Thread: control. */
void banned_visit(const struct banned *banned, uint64_t *cursor, uint32_t limit,
                  void (*visit)(void *context, const struct ban *ban), void *context);
/* How many there are, and may be. Thread: any; of the moment. */
uint64_t banned_count(const struct banned *banned);
uint64_t banned_count_max(const struct banned *banned);
/* What is wrong with its store; as store_problem(). Thread: any. */
void banned_store_problem(const struct banned *banned, char *out, size_t size);

#endif
