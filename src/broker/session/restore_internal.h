/*
 * restore_internal: what restore.c, which goes through all sessions, and restore_session.c, which builds one, share. Thread: start-up.
 */
#ifndef BROKER_SESSION_RESTORE_INTERNAL_H
#define BROKER_SESSION_RESTORE_INTERNAL_H

#include "broker/session/body_index.h"
#include "broker/session/restore.h"
#include "broker/session/session_record.h"
#include "broker/session/table_cursor.h"

struct session;

#define RESTORE_SUBMIT_BYTES (1u << 20) /* an open batch is handed over from here on */
#define RESTORE_PRIORITIES 257u         /* classes of a queue */

/* A session that is absent from now on. */
struct left_session {
    struct session *session;
    uint64_t left_ms; /* store's clock */
    uint64_t number;
    bool ended; /* expired meanwhile, or replaced */
};

/* A shared subscription of the session being built. */
struct shared_row {
    uint32_t hash;
    uint32_t number;
};

/* What is found wrong, for the log. */
struct restore_findings {
    uint64_t orphans[STORE_TABLE_COUNT];
    uint64_t damaged[STORE_TABLE_COUNT];
    uint64_t foreign_count; /* sessions of zones that are not configured */
    char foreign_zone[64];  /* one of them */
};

/* The session being built. */
struct restore_current {
    struct session *session;
    struct session_record record;
    uint64_t number;
    uint64_t last_sequence;
    uint64_t sent_through;
    uint32_t unsent_count[RESTORE_PRIORITIES]; /* entries behind the record's sent_through in each class */
    struct shared_row *shared;
    uint32_t shared_count, shared_capacity;
};

struct restore {
    const struct restore_options *options;
    struct store_client *client; /* deletes what is left over */
    struct table_cursor sessions, subscriptions, queue, inflight, awaiting_rel;
    struct body_index bodies;
    uint64_t store_ms, mono_ms; /* the same moment: now */
    struct left_session *left;
    uint64_t left_count, left_capacity;
    struct restore_counts counts;
    struct restore_findings findings;
    struct restore_current now;
    uint64_t total; /* sessions; 0: not counted */
    uint64_t done;
    uint64_t progress_ms;
};

/* A row that means nothing to us was left as it is. */
void restore_damaged(struct restore *restore, enum store_table table);
/* A row belongs to nothing. */
void restore_delete_row(struct restore *restore, enum store_table table, struct slice key);
/* The next row of session `number`: 1, 0: it has no more, -errno. Rows of sessions before it belong to nobody. */
MUST_USE int restore_next_row(struct restore *restore, struct table_cursor *cursor, uint64_t number, struct slice *key,
                              struct slice *value);

/* Builds the session of `restore->now.number` and `.record`. -ENOMEM, -EIO. */
MUST_USE int restore_session(struct restore *restore);
/* Its record means nothing to us: what belongs to it stays as it is. -ENOMEM, -EIO. */
MUST_USE int restore_leave_session(struct restore *restore);

#endif
