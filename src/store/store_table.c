/*
 * store_table: the tables, and how RocksDB keeps each.
 *
 * Tables of messages get many rows that are deleted soon after. Most of them never leave the memtable; of what does, files in which
 * deletions cluster are compacted early, so that scans need not step over them.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum traffic {
    SMALL,  /* few rows */
    STEADY, /* many rows that stay */
    PASSING /* many rows that come and go */
};

struct table_row {
    const char *name;
    enum traffic traffic;
    bool points;  /* single rows are looked up: a Bloom filter pays */
    bool bodies;  /* values may be large: those go into blob files, which compaction does not copy each time */
    bool session; /* keys begin with a session's number, and new ones of it mostly come behind the last */
};

static const struct table_row rows[STORE_TABLE_COUNT] = {
    [STORE_META] = {"meta", SMALL, false, false, false},
    [STORE_SESSION] = {"session", STEADY, true, false, false},
    [STORE_SUBSCRIPTION] = {"subscription", STEADY, false, false, false},
    [STORE_QUEUE] = {"queue", PASSING, false, true, true},
    [STORE_INFLIGHT] = {"inflight", PASSING, false, false, true},
    [STORE_AWAITING_REL] = {"awaiting_rel", PASSING, false, false, true},
    [STORE_MESSAGE] = {"message", PASSING, true, true, false},
    [STORE_RETAINED] = {"retained", STEADY, true, true, false},
    [STORE_DELAYED] = {"delayed", PASSING, false, true, false},
    [STORE_USER] = {"user", SMALL, false, false, false},
    [STORE_APPLICATION] = {"application", SMALL, false, false, false},
    [STORE_BANNED] = {"banned", SMALL, false, false, false},
    [STORE_ALARM] = {"alarm", SMALL, false, false, false},
    [STORE_RULE] = {"rule", SMALL, false, false, false},
    [STORE_CLUSTER] = {"cluster", SMALL, false, false, false},
};

/* Values from this size on go into blob files. */
#define BLOB_BYTES_MIN 4096
/* A window of so many rows in a file with so many deletions gets the file compacted. */
#define DELETION_WINDOW 4096
#define DELETION_TRIGGER 2048
/* Writes are held up only when compaction is hopelessly behind: they queue up in store_client.c anyway. */
#define LEVEL0_SLOWDOWN_FILES 80
#define LEVEL0_STOP_FILES 120
/* RocksDB's default. */
#define LEVELS 7
/* Memtables of one table that are being filled or flushed. When all are, the store thread waits for a flush. */
#define WRITE_BUFFERS_MAX 3
/* Table files held open: so many, but not more than this part of the process's descriptors (the listeners keep a sixteenth back). */
#define OPEN_FILES_MAX 512
#define OPEN_FILES_MIN 40
#define OPEN_FILES_PART 20
#define SMALL_BUFFER_BYTES (1u << 20)
#define BUFFER_BYTES_MIN (1u << 20)
#define POINT_IN_TIME_RECOVERY 2
/* Above all levels: RocksDB's own text log stays empty. When it cannot be written it ends the process (an assertion in
 * Debian's 7.8.3), just when the disk is full; and what goes wrong comes to us as errors anyway. */
#define LOG_LEVEL_NONE 5

const char *store_table_name(enum store_table table)
{
    return rows[table].name;
}

/* RocksDB insists on a family called "default". */
const char *store_family_name(enum store_table table)
{
    return table == STORE_META ? "default" : rows[table].name;
}

enum store_table store_table_of_family(const char *family)
{
    enum store_table table = STORE_META;

    while (table < STORE_TABLE_COUNT && strcmp(family, store_family_name(table)) != 0)
        table++;
    return table;
}

/* Compaction yields to the workers. */
static void lower_compaction(void)
{
    rocksdb_env_t *env = rocksdb_create_default_env();

    rocksdb_env_lower_thread_pool_cpu_priority(env);
    rocksdb_env_destroy(env);
}

/* Flushes and compactions at the same time: one flush and, with many cores, several compactions. */
static int background_jobs(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 4 ? 2 : cores < 8 ? 3 : 4;
}

static int open_files(void)
{
    struct rlimit limit;
    rlim_t part;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return OPEN_FILES_MIN;
    part = limit.rlim_cur / OPEN_FILES_PART;
    return part < OPEN_FILES_MIN ? OPEN_FILES_MIN : part > OPEN_FILES_MAX ? OPEN_FILES_MAX : (int)part;
}

static rocksdb_options_t *database_options(const struct store_options *options)
{
    rocksdb_options_t *database = rocksdb_options_create();

    rocksdb_options_set_paranoid_checks(database, 1);
    rocksdb_options_set_wal_recovery_mode(database, POINT_IN_TIME_RECOVERY);
    /* One thread writes: what several writers need only costs. */
    rocksdb_options_set_allow_concurrent_memtable_write(database, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(database, 0);
    rocksdb_options_set_db_write_buffer_size(database, (size_t)options->write_buffer_bytes);
    rocksdb_options_set_max_total_wal_size(database, options->write_buffer_bytes);
    rocksdb_options_set_max_background_jobs(database, background_jobs());
    rocksdb_options_set_bytes_per_sync(database, 1u << 20);
    rocksdb_options_set_wal_bytes_per_sync(database, 1u << 20);
    rocksdb_options_set_max_open_files(database, open_files());
    rocksdb_options_set_max_file_opening_threads(database, 2);
    rocksdb_options_set_skip_stats_update_on_db_open(database, 1);
    rocksdb_options_set_avoid_unnecessary_blocking_io(database, 1);
    rocksdb_options_set_stats_dump_period_sec(database, 0);
    rocksdb_options_set_stats_persist_period_sec(database, 0);
    rocksdb_options_set_max_manifest_file_size(database, 16u << 20);
    rocksdb_options_set_info_log_level(database, LOG_LEVEL_NONE);
    rocksdb_options_set_keep_log_file_num(database, 1);
    rocksdb_options_set_max_log_file_size(database, 0);
    rocksdb_options_set_log_file_time_to_roll(database, 0);
    return database;
}

static size_t buffer_bytes(const struct table_row *row, const struct store_options *options)
{
    size_t bytes = (size_t)options->write_buffer_bytes / 2;

    if (row->traffic == SMALL)
        return SMALL_BUFFER_BYTES;
    return bytes < BUFFER_BYTES_MIN ? BUFFER_BYTES_MIN : bytes;
}

static void set_blocks(rocksdb_options_t *table, const struct table_row *row, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *blocks = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_cache(blocks, cache);
    /* So that the cache's size bounds them too. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(blocks, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(blocks, 1);
    rocksdb_block_based_options_set_format_version(blocks, 5);
    rocksdb_block_based_options_set_block_size(blocks, 8192);
    if (row->points)
        rocksdb_block_based_options_set_filter_policy(blocks, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(table, blocks);
    rocksdb_block_based_options_destroy(blocks);
}

/* What has just come may be gone before it is compacted: it is not worth compressing. */
static void set_compression(rocksdb_options_t *table, const struct table_row *row)
{
    int levels[LEVELS];

    for (int i = 0; i < LEVELS; i++)
        levels[i] = row->traffic == SMALL || (row->traffic == PASSING && i == 0) ? rocksdb_no_compression
                                                                                 : rocksdb_lz4_compression;
    rocksdb_options_set_compression_per_level(table, levels, LEVELS);
}

/* The memtable remembers for each session where its last row went, and puts the next one there without a search: with
 * hundreds of sessions that get messages in turns the search is most of a write. Takes `table`; the C interface has it only as text. */
static rocksdb_options_t *hint_sessions(rocksdb_options_t *table)
{
    rocksdb_options_t *hinted = rocksdb_options_create();
    char *error = NULL;

    rocksdb_get_options_from_string(table, "memtable_insert_with_hint_prefix_extractor=fixed:8", hinted, &error);
    if (error == NULL) {
        rocksdb_options_destroy(table);
        return hinted;
    }
    rocksdb_free(error); /* a version that has it no more: slower, nothing else */
    rocksdb_options_destroy(hinted);
    return table;
}

static rocksdb_options_t *table_options(const struct table_row *row, const struct store_options *options,
                                        rocksdb_cache_t *cache)
{
    rocksdb_options_t *table = rocksdb_options_create();

    rocksdb_options_set_write_buffer_size(table, buffer_bytes(row, options));
    rocksdb_options_set_max_write_buffer_number(table, WRITE_BUFFERS_MAX);
    rocksdb_options_set_level0_file_num_compaction_trigger(table, 4);
    rocksdb_options_set_level0_slowdown_writes_trigger(table, LEVEL0_SLOWDOWN_FILES);
    rocksdb_options_set_level0_stop_writes_trigger(table, LEVEL0_STOP_FILES);
    set_compression(table, row);
    set_blocks(table, row, cache);
    if (row->traffic == PASSING)
        rocksdb_options_add_compact_on_deletion_collector_factory(table, DELETION_WINDOW, DELETION_TRIGGER);
    if (row->bodies) {
        rocksdb_options_set_enable_blob_files(table, 1);
        rocksdb_options_set_min_blob_size(table, BLOB_BYTES_MIN);
        rocksdb_options_set_blob_file_size(table, 64u << 20);
        rocksdb_options_set_blob_compression_type(table, rocksdb_lz4_compression);
        rocksdb_options_set_enable_blob_gc(table, 1);
        rocksdb_options_set_blob_gc_age_cutoff(table, 0.25);
        rocksdb_options_set_blob_gc_force_threshold(table, 0.5);
    }
    return row->session ? hint_sessions(table) : table;
}

int store_layout_init(struct store_layout *layout, const struct store_options *options)
{
    layout->cache = rocksdb_cache_create_lru((size_t)options->cache_bytes);
    layout->database = database_options(options);
    lower_compaction();
    if (layout->cache == NULL || layout->database == NULL)
        return -ENOMEM;
    for (int i = 0; i < STORE_TABLE_COUNT; i++)
        layout->tables[i] = table_options(&rows[i], options, layout->cache);
    return 0;
}

void store_layout_fini(struct store_layout *layout)
{
    for (int i = 0; i < STORE_TABLE_COUNT; i++)
        if (layout->tables[i] != NULL)
            rocksdb_options_destroy(layout->tables[i]);
    if (layout->database != NULL)
        rocksdb_options_destroy(layout->database);
    if (layout->cache != NULL)
        rocksdb_cache_destroy(layout->cache);
    *layout = (struct store_layout){0};
}
