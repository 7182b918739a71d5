/*
 * store_internal: what the files of store/ share.
 *
 *   store_open.c     the database: opening, opening again, closing; errors in words
 *   store_files.c    what lies in the directory before
 *   store_table.c    the tables and how each is kept
 *   store_client.c   clients: open batches, submitting, being told
 *   store_writer.c   the store thread: group commit
 *   store_state.c    failures and free space
 *   store_read.c     reading
 *   store_clock.c    the store's time
 *   store_mark.c     what was on disk for certain
 *   store_schema.c   version and upgrades
 *   store_check.c    check, compact, stats
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include "base/bytes.h"
#include "base/list.h"
#include "event/loop_mailbox.h"
#include "event/mailbox.h"
#include "store/store.h"
#include "store/store_clock_internal.h"
#include "store/store_mark_internal.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <semaphore.h>

/* A write to RocksDB gathers batches up to this size; a larger batch is one write by itself. */
#define STORE_WRITE_BYTES (4u << 20)
/* After a failure the next try comes this much later. */
#define STORE_RETRY_MS 500
/* The clock, the free space and RocksDB's own failures are looked at this often. */
#define STORE_LOOK_MS 1000
/* Emptied batches that a client keeps for later, and the memory that each may keep. */
#define STORE_SPARE_MAX 64
#define STORE_SPARE_BYTES (64u << 10)
#define STORE_PROBLEM_BYTES 512

/* Keys of STORE_META. */
#define META_SCHEMA SLICE_LITERAL("schema")   /* version (4) */
#define META_COMMIT SLICE_LITERAL("commit")   /* number of the last group (8): see store_writer.c */
#define META_CLOCK SLICE_LITERAL("clock")     /* store_clock.c */
#define META_NUMBERS SLICE_LITERAL("numbers") /* all numbers given so far are below this (8) */

/* Why long readers end. */
#define INTERRUPT_STOP 1u
#define INTERRUPT_REOPEN 2u

struct store_batch {
    struct store_batch *next;
    struct store_client *client;
    uint64_t number;
    uint64_t group; /* the group it was first written in; 0: not yet */
    uint8_t *rows;  /* see store_client.c */
    size_t length;
    size_t capacity;
    size_t charged; /* to store->queued_bytes */
    uint32_t count;
    bool sync;
};

/* Has one reference of its owner's, one for each batch under way and one while its post is. */
struct store_client {
    struct store *store;
    struct store_client_options options;
    struct post post;
    struct loop_post loop_post;
    uint32_t refs;
    bool post_pending;
    bool closed; /* under store->clients_lock */
    /* The client's thread. */
    struct store_batch *open;
    struct store_batch *free_batches;
    uint64_t open_number;
    /* The store thread. */
    struct store_client *next_touched;
    bool touched;
    /* Both. */
    uint64_t committed;
    struct store_batch *spares; /* stack: the store thread adds, the client takes all */
    uint32_t spare_count;
    struct list place; /* in store->clients */
};

/* The options for RocksDB: the database's and each table's. */
struct store_layout {
    rocksdb_options_t *database;
    rocksdb_options_t *tables[STORE_TABLE_COUNT];
    rocksdb_cache_t *cache;
};

struct store_counters {
    uint64_t commits; /* groups */
    uint64_t batches;
    uint64_t bytes;
    uint64_t syncs;
    uint64_t commit_us;
    uint64_t slowest_us;
    uint64_t failures;
};

/* The store thread's. */
struct store_writer {
    struct store_batch *first; /* taken and not committed, in order */
    struct store_batch *last;
    rocksdb_writebatch_t *write;
    uint64_t group;         /* number of the last group made */
    uint64_t group_on_disk; /* as found when opening (again) */
    uint64_t number_limit;  /* as on disk (META_NUMBERS) */
    uint64_t unsynced_ms;   /* when the first write not synced was made; 0: none */
    uint64_t retry_ms;      /* after a failure: when to try again */
    uint64_t look_ms;       /* when to look at clock and space again */
    uint64_t clock_saved_ms;
    uint64_t background_errors; /* of RocksDB, as last seen */
    struct store_manifest manifest;
    bool space_short;
    bool write_failed;
};

struct store {
    struct store_options options;
    char *dir;
    struct store_layout layout;

    /* The database; NULL while it could not be opened again. Readers hold the lock shared; the store thread, which alone changes it,
     * holds it while it does. */
    pthread_rwlock_t database_lock;
    rocksdb_t *database;
    rocksdb_column_family_handle_t *tables[STORE_TABLE_COUNT];
    rocksdb_readoptions_t *read_options;
    rocksdb_writeoptions_t *write_options;
    rocksdb_writeoptions_t *sync_options;

    /* From the clients to the store thread. */
    struct store_batch *submitted; /* stack: clients add, the store thread takes all */
    uint64_t queued_bytes;
    bool congested;
    bool sleeping;
    bool stopping;
    uint32_t interrupted; /* INTERRUPT_*: checks and compactions end */
    sem_t wake;
    pthread_t thread;
    bool thread_started;

    struct store_writer writer;
    int mark_file;

    pthread_mutex_t clients_lock;
    struct list clients; /* struct store_client, under clients_lock */

    /* Told to others. */
    enum store_state state;
    pthread_mutex_t problem_lock;
    char problem[STORE_PROBLEM_BYTES];      /* under problem_lock */
    char read_problem[STORE_PROBLEM_BYTES]; /* likewise */
    uint64_t next_number;
    struct store_clock clock;
    struct store_counters counters; /* relaxed atomics */
};

/* ---- store_table.c ---- */

MUST_USE int store_layout_init(struct store_layout *layout, const struct store_options *options);
void store_layout_fini(struct store_layout *layout);
/* The name of a table's column family. */
const char *store_family_name(enum store_table table);
/* STORE_TABLE_COUNT: none of ours. */
enum store_table store_table_of_family(const char *family);

/* ---- store_open.c ---- */

/* Opens the database again after a failure, on the store thread. -EIO: `store->problem` says why. */
MUST_USE int store_reopen(struct store *store);
/* Makes `*out_error` (free(); NULL: no memory): that the store cannot be opened, with the table if `what` names a file of one, and what can be done.
 * Thread: start-up. */
void store_tell_damage(const struct store *store, const char *what, char **out_error);
/* A copy of a row of STORE_META that is `length` bytes long. 1, 0: no such row, -EIO: unreadable, or of another length. */
MUST_USE int store_read_meta(struct store *store, struct slice key, uint8_t *out_value, size_t length);

/* ---- store_files.c ---- */

/* Is everything there, or nothing? `*out_new`: what is missing may be made. -EINVAL: damaged, or of a newer version; -ENOMEM, -errno.
 * `*out_error`: free(), may stay as it is. Thread: start-up, before the database is opened. */
MUST_USE int store_files_check(const struct store *store, bool *out_new, char **out_error);

/* ---- store_client.c ---- */

/* Adds a batch's rows to a write. */
void store_batch_apply(const struct store_batch *batch, rocksdb_writebatch_t *write,
                       rocksdb_column_family_handle_t *const *tables);
/* The store thread is done with it: its client gets it back. */
void store_batch_release(struct store_batch *batch);
/* Lets the client look: through its mailbox. */
void store_client_notify(struct store_client *client);
void store_clients_notify_all(struct store *store);
void store_client_unref(struct store_client *client);
/* The smallest key above all keys that begin with `prefix`, in `out` (as long as `prefix`). Returns its length; 0: there is none. */
size_t store_prefix_end(struct slice prefix, uint8_t *out);

/* ---- store_writer.c ---- */

MUST_USE int store_writer_start(struct store *store);
/* Writes what waits, then ends. */
void store_writer_stop(struct store *store);
void store_writer_wake(struct store *store);
/* Writes what every run begins with: schema, clock, numbers. -EIO with `*out_error` (rocksdb_free()). Thread: start-up. */
MUST_USE int store_write_first(struct store *store, char **out_error);

/* ---- store_state.c: on the store thread ---- */

/* The text for store_problem(). */
void store_set_problem(struct store *store, const char *text);
/* A write failed: nothing of what waits is lost, it is tried again later. Takes `error`; NULL: the problem is set already. */
void store_on_failure(struct store *store, char *error);
void store_on_success(struct store *store);
/* Is there enough free space? */
void store_look_at_space(struct store *store);
/* A flush or a compaction that failed shows in the next write at the latest; an idle store should not wait for that. */
void store_look_at_background(struct store *store);

/* ---- store_schema.c ---- */

struct store_upgrade {
    uint32_t from; /* makes version `from` + 1 */
    int (*run)(struct store *store);
};

/* Looks at the version and runs the upgrades it needs. -EINVAL: newer than `current`, or no step begins at it; -EIO. `*out_error`: free(). */
MUST_USE int store_schema_check(struct store *store, uint32_t current, const struct store_upgrade *upgrades,
                                uint32_t count, char **out_error);

/* ---- store_check.c ---- */

/* Checks and compactions end soon, since they hold the lock. Thread: any that holds the lock, or the store thread. */
void store_interrupt_readers(struct store *store, uint32_t reason);
/* The table of the file that an error of RocksDB names; NULL: none, or unknown. Valid for ever. */
const char *store_damaged_table(const struct store *store, const char *error);

#endif
