/*
 * store: what must survive the process: durable tables on RocksDB behind one writing thread with group commit.
 *
 * Writers. Each thread that writes has a `struct store_client` with one open batch. Puts and deletes go into the batch,
 * store_submit() hands it to the store thread, which writes everything that waits with one fsync. Batches take effect in the order
 * in which they were submitted, over all clients, each wholly or not at all; after a crash exactly a prefix of that order is there.
 * A client's batches are numbered from 1; store_committed() says up to which they are on disk, and the client is told
 * through its thread's mailbox when that has moved.
 *
 *   worker ──store_put()──► open batch ──store_submit()──► queue ──► store thread: write, write, write + fsync
 *      ▲                                                                        │
 *      └───────────── mailbox: on_progress() ◄──── committed number ◄───────────┘
 *
 * Readers block: only start-up and jobs (libuv's pool) read.
 *
 * When the disk is full, read-only or broken nothing is forgotten: batches wait, in order, and are tried again until they succeed;
 * store_state() tells it, so that whoever needs the disk is refused from then on. What waits is bounded by refusing
 * (store_congested()). Once a write has succeeded again the state is STORE_OPEN by itself.
 *
 * Every record is checksummed by RocksDB. The schema has a version (STORE_META); a newer one than ours is refused, an older one upgraded.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct store;
struct store_client;
struct worker;
struct loop_mailbox;

/* One RocksDB column family each. Numbers in keys are big-endian, so that they sort. */
enum store_table {
    STORE_META,         /* name -> schema version, clock, runs */
    STORE_SESSION,      /* session number (8) -> session_record */
    STORE_SUBSCRIPTION, /* session number (8), filter key -> subscription_record */
    STORE_QUEUE,    /* session number (8), sequence (8) -> queue_record: QoS 1 and 2 messages not yet acknowledged */
    STORE_INFLIGHT, /* session number (8), sequence (8) -> nothing: QoS 2 messages received (PUBREC) and not completed */
    STORE_AWAITING_REL, /* session number (8), packet ID (2) -> nothing: QoS 2 messages the client published */
    STORE_MESSAGE,      /* message number (8) -> message_record: messages that queue entries refer to */
    STORE_RETAINED,     /* topic with a 0 for each "/" (it sorts first) -> message_record */
    STORE_DELAYED,      /* due time (8), message number (8) -> message_record with the real topic */
    /* Small tables of features: name -> JSON */
    STORE_USER,
    STORE_APPLICATION,
    STORE_BANNED,
    STORE_ALARM,
    STORE_RULE,
    STORE_CLUSTER,
    STORE_TABLE_COUNT
};

/* "retained", "queue", ... Thread: any. */
const char *store_table_name(enum store_table table);

enum store_state {
    STORE_OPEN,
    STORE_FULL,   /* no space left, or less than free_bytes_min */
    STORE_FAILED, /* read-only, I/O error */
};

struct store_options {
    const char *dir;             /* made when it is not there; its parent is locked by the caller */
    uint64_t cache_bytes;        /* block cache */
    uint64_t write_buffer_bytes; /* of all tables' memtables together */
    uint64_t queue_bytes_max;    /* submitted and not yet on disk: from here on store_congested() */
    uint64_t free_bytes_min;     /* less free space than this on the file system: STORE_FULL; 0: not looked at */
    uint32_t sync_interval_ms;   /* batches submitted without `sync` are on disk at the latest after this */
};

/* Opens or makes the store and starts its thread. -EINVAL: damaged, or of a newer version; -errno. Then `*out_error` (the caller frees
 * it; may be NULL) says which table and what can be done. Takes as long as the log of the last run is long (some seconds at most).
 * Thread: start-up. */
MUST_USE int store_open(const struct store_options *options, struct store **out_store, char **out_error);
/* Writes what was submitted, flushes and closes. Clients are closed before. NULL is fine. Thread: shutdown. */
void store_close(struct store *store);

/* ---- writing ---- */

/* On the client's thread: store_committed() or store_state() has changed. */
typedef void store_progress_fn(struct store_client *client, void *context);

struct store_client_options {
    struct worker *worker;        /* whose mailbox on_progress() comes through; or */
    struct loop_mailbox *mailbox; /* that of a plain loop; both NULL: nobody is told */
    store_progress_fn *on_progress;
    void *context;
};

/* -ENOMEM. Thread: start-up. */
MUST_USE int store_client_open(struct store *store, const struct store_client_options *options,
                               struct store_client **out_client);
/* Submits what is open. The memory goes when nothing of it is under way. NULL is fine. Thread: shutdown, before store_close(). */
void store_client_close(struct store_client *client);

/* Into the open batch; what the slices point at is copied. `parts` make up the value, `count` 0: empty. Never fails: short memory
 * ends the process (RocksDB allocates as it likes). Thread: the client's. */
void store_put(struct store_client *client, enum store_table table, struct slice key, const struct slice *parts,
               uint32_t count);
/* No such key is fine. Thread: the client's. */
void store_delete(struct store_client *client, enum store_table table, struct slice key);
/* All keys that begin with `prefix` (not empty, nor only 0xFF bytes) as of now. Costs later readers: for rare things. Thread: the client's. */
void store_delete_prefix(struct store_client *client, enum store_table table, struct slice prefix);

/* Is anything in the open batch? Its bytes. Thread: the client's. */
bool store_dirty(const struct store_client *client);
size_t store_open_bytes(const struct store_client *client);
/* The number that the open batch has or would have. Thread: the client's. */
uint64_t store_open_number(const struct store_client *client);
/* Hands the open batch over; `sync`: somebody waits for it to be on disk. An empty one counts too, and is committed when all before it is: then
 * also what other clients have submitted until now. Returns its number. Never blocks. Thread: the client's. */
uint64_t store_submit(struct store_client *client, bool sync);
/* All batches up to this number are written, and on disk where `sync` was asked for. Thread: the client's. */
uint64_t store_committed(const struct store_client *client);

/* More is waiting than queue_bytes_max: who writes should pause. on_progress() follows when less is. Thread: any; of the moment. */
bool store_congested(const struct store *store);
/* Would the client's open batch alone, submitted now, make it so? Thread: the client's. */
bool store_would_congest(const struct store *store, const struct store_client *client);
/* Thread: any; of the moment. */
enum store_state store_state(const struct store *store);
/* What is wrong, for logs and answers: writes at most `size` bytes with the final zero; "" in STORE_OPEN. Thread: any. */
void store_problem(const struct store *store, char *out, size_t size);

/* ---- reading ---- */

/* 1 with `*out_value` (the caller frees its data), 0: no such key, -EIO: damaged or unreadable, -ENOMEM. Blocks. Thread: start-up, job. */
MUST_USE int store_get(struct store *store, enum store_table table, struct slice key, struct slice *out_value);

/* Is called for each row in the order of keys; slices are borrowed for the call. False ends the scan. */
typedef bool store_visit_fn(void *context, struct slice key, struct slice value);
/* Visits rows from the first key >= `from` that begins with `prefix` (may be empty), as of one moment. 0, -EIO. Blocks. Thread: start-up, job. */
MUST_USE int store_scan(struct store *store, enum store_table table, struct slice prefix, struct slice from,
                        store_visit_fn *visit, void *context);

/* Why the last read that gave -EIO failed: the table, and what RocksDB says. "" if none did. Thread: any. */
void store_read_problem(const struct store *store, char *out, size_t size);
/* What a user can do about damage, in indented lines. */
extern const char store_damage_advice[];

/* ---- numbers and time ---- */

/* A number that was never given before, in this run or an earlier one; not 0; rising. Thread: any. */
uint64_t store_next_number(struct store *store);

/* The store's clock, milliseconds: goes on over restarts, does not jump when somebody sets the wall clock (while the machine runs, its boot clock;
 * over a reboot, the wall clock, never backwards). `mono_ms` is CLOCK_MONOTONIC. Thread: any. */
uint64_t store_time_ms(const struct store *store, uint64_t mono_ms);
/* The store's time now. Thread: any. */
uint64_t store_now_ms(const struct store *store);

/* ---- operating ---- */

/* Reads every record of every table and verifies checksums; writes a line for each table to `out`. 0; -EIO: damage was found. Blocks long. Thread: job. */
MUST_USE int store_check(struct store *store, FILE *out);
/* The same for a store that nobody has open; only reads. 0, -EIO, -ENOMEM. Blocks long. Thread: any. */
MUST_USE int store_check_dir(const char *dir, FILE *out);
/* Compacts all tables. 0, -EIO. Blocks long. Thread: job. */
MUST_USE int store_compact(struct store *store, FILE *out);
/* Checks and compactions that run end soon, with -EIO; none can begin any more. For a clean stop. Thread: any. */
void store_interrupt(struct store *store);
/* Rows (estimated), bytes on disk and in memory for each table; state; commits, their size and time. Thread: any. */
void store_print_stats(struct store *store, FILE *out);

#endif
