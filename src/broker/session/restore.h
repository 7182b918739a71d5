/*
 * restore: the durable sessions of earlier runs, built again from the store before the workers' threads run.
 *
 * Five tables are sorted by session number, so one pass over each, side by side, is enough. Of queued messages only small records come into
 * memory (mqueue.h). A session belongs to the worker that the hash of its client ID names.
 *
 *   STORE_MESSAGE ───► which messages are there (body_index.h)
 *   STORE_SESSION ──┬► session, zone, will
 *   _SUBSCRIPTION ──┤► subscriptions, routes
 *   _QUEUE ─────────┤► queue entries, references of messages
 *   _INFLIGHT ──────┤► window: PUBRELs
 *   _AWAITING_REL ──┘► received packet IDs
 *   then ────────────► absences in the order of leaving, timers; messages without references are deleted
 *
 * A session that was connected when the process died has been left now. One that has expired meanwhile, or is one too many, ends in
 * its worker's first turn, so that its will is published and its shared messages are handed on.
 *
 * What a crash leaves over (a row without its session, an entry without its message, a message without entries) is deleted. Rows
 * that mean nothing to us stay, and the log names their tables.
 */
#ifndef BROKER_SESSION_RESTORE_H
#define BROKER_SESSION_RESTORE_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct session_host;
struct store;
struct zone;

struct restore_options {
    struct store *store;
    struct session_host *const *hosts; /* of all workers, each with its store client, sharing one registry */
    uint32_t host_count;
    /* The zone of that name; the one for sessions without, and `*out_known` false, when the configuration has it no longer. */
    const struct zone *(*find_zone)(void *context, struct slice name, bool *out_known);
    /* At most once a second, first after one: sessions done, and all. NULL: nobody looks. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

struct restore_counts {
    uint64_t sessions;
    uint64_t ending; /* of them, those that end at once */
    uint64_t subscriptions;
    uint64_t entries;
    uint64_t orphans; /* rows deleted */
    uint64_t damaged; /* rows left as they are */
};

/* Builds all sessions; logs what was found wrong, once for each table. -EIO: a table can't be read (store_read_problem()), -ENOMEM; then some
 * are there. The caller is registered for RCU and online, and no session is registered yet. Thread: start-up. */
MUST_USE int restore_sessions(const struct restore_options *options, struct restore_counts *out_counts);

#endif
