/*
 * Behaviour of the store when its files are damaged, or of another version: it says what, where, and what can be done.
 */
#include "store_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_internal.h"

#define ROWS 2000

static char output[8192];

/* Rows in STORE_RETAINED, in a file of their own. */
static void write_table(struct fixture *fixture)
{
    FILE *out = fopen("/dev/null", "w");
    char key[32], value[128];

    assert_non_null(out);
    fixture_open(fixture);
    for (uint32_t i = 0; i < ROWS; i++) {
        snprintf(key, sizeof(key), "plant/%05u", i);
        snprintf(value, sizeof(value), "%08x%08x%08x%08x", i * 2654435761u, i * 40503u, ~i * 97u, i ^ 0xA5A5A5A5u);
        put_text(fixture->client, STORE_RETAINED, key, value);
    }
    put_text(fixture->client, STORE_USER, "user", "untouched");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    assert_int_equal(store_compact(fixture->store, out), 0);
    fclose(out);
    fixture_close(fixture);
}

/* The largest file whose name ends in `suffix`. */
static void find_file(const struct fixture *fixture, const char *suffix, char out_path[512])
{
    DIR *dir = opendir(fixture->dir);
    struct dirent *entry;
    off_t largest = -1;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        char path[512];
        struct stat status;

        snprintf(path, sizeof(path), "%s/%s", fixture->dir, entry->d_name);
        if (strstr(entry->d_name, suffix) == NULL || stat(path, &status) < 0 || status.st_size <= largest)
            continue;
        largest = status.st_size;
        strcpy(out_path, path);
    }
    closedir(dir);
    assert_true(largest > 0);
}

/* Flips a bit at so many percent of the file. */
static void flip_bit(const char *path, int percent)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    uint8_t byte;
    off_t at;

    assert_true(file >= 0);
    assert_int_equal(fstat(file, &status), 0);
    at = status.st_size * percent / 100;
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

/* Runs a check into `output`. */
static int run_check(struct fixture *fixture)
{
    FILE *out = fmemopen(output, sizeof(output), "w");
    int err;

    assert_non_null(out);
    err = fixture->store == NULL ? store_check_dir(fixture->dir, out) : store_check(fixture->store, out);
    fclose(out);
    return err;
}

static const char *line_of(const char *table)
{
    static char line[1024];
    const char *at = output;

    while (strncmp(at, table, strlen(table)) != 0) {
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
    return line;
}

static void assert_refused(struct fixture *fixture, int expected, const char *const *words)
{
    char *error = NULL;

    assert_int_equal(store_open(&fixture->options, &fixture->store, &error), expected);
    assert_non_null(error);
    for (; *words != NULL; words++)
        if (strstr(error, *words) == NULL)
            fail_msg("'%s' is not in: %s", *words, error);
    free(error);
}

static void check_finds_nothing_in_a_store_that_is_whole(void **state)
{
    struct fixture *fixture = *state;

    write_table(fixture);
    assert_int_equal(run_check(fixture), 0);
    assert_non_null(strstr(line_of("retained"), " 2000 rows"));
    fixture_open(fixture);
    assert_int_equal(run_check(fixture), 0);
    assert_non_null(strstr(line_of("retained"), "ok"));
    for (int i = 0; i < STORE_TABLE_COUNT; i++)
        assert_non_null(strstr(line_of(store_table_name((enum store_table)i)), "ok"));
}

static void check_names_the_table_of_a_flipped_bit(void **state)
{
    struct fixture *fixture = *state;
    char path[512], problem[512];
    struct slice value;

    write_table(fixture);
    find_file(fixture, ".sst", path);
    flip_bit(path, 20);
    for (int run = 0; run < 2; run++) {
        assert_int_equal(run_check(fixture), -EIO);
        assert_non_null(strstr(line_of("retained"), "DAMAGED"));
        assert_non_null(strstr(line_of("retained"), strrchr(path, '/')));
        assert_non_null(strstr(line_of("user"), "ok"));
        if (run == 0)
            fixture_open(fixture);
    }
    assert_int_equal(store_get(fixture->store, STORE_RETAINED, SLICE_LITERAL("plant/00400"), &value), -EIO);
    store_read_problem(fixture->store, problem, sizeof(problem));
    assert_non_null(strstr(problem, "table 'retained'"));
    assert_non_null(strstr(problem, strrchr(path, '/')));
    assert_string_equal(get_text(fixture->store, STORE_USER, "user"), "untouched");
}

static void a_file_that_was_cut_is_told_with_its_table(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {"table 'retained' is damaged", NULL, fixture->dir, "backup", "emqx_ctl store check", NULL};
    char path[512];

    write_table(fixture);
    find_file(fixture, ".sst", path);
    words[1] = strrchr(path, '/');
    assert_int_equal(truncate(path, 1000), 0);
    assert_refused(fixture, -EINVAL, words);
}

static void a_file_that_is_missing_is_told_with_its_table(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {"table 'retained' is damaged", fixture->dir, "move the directory away", NULL};
    char path[512];

    write_table(fixture);
    find_file(fixture, ".sst", path);
    assert_int_equal(unlink(path), 0);
    assert_refused(fixture, -EINVAL, words);
}

static void a_damaged_manifest_is_told(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {fixture->dir, "MANIFEST", "backup", NULL};
    char path[512];

    write_table(fixture);
    find_file(fixture, "MANIFEST", path);
    flip_bit(path, 50);
    assert_refused(fixture, -EINVAL, words);
}

/* Several groups that are in the log only. */
static void write_log(struct fixture *fixture)
{
    char key[16];

    fixture_open(fixture);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "%03d", i);
        put_text(fixture->client, STORE_USER, key, "some value that takes some room in the log");
        fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    }
    fixture_close(fixture);
}

static void cut_file(const char *path, int percent)
{
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(truncate(path, status.st_size * percent / 100), 0);
}

static void remove_file(const struct fixture *fixture, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", fixture->dir, name);
    assert_int_equal(unlink(path), 0);
}

static void tables_that_the_manifest_has_lost_are_not_made_anew(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {fixture->dir, "table '", "is missing", "MANIFEST", "backup", NULL};
    char path[512];

    write_log(fixture);
    find_file(fixture, "MANIFEST", path);
    for (int percent = 80; percent > 20; percent -= 15) {
        cut_file(path, percent);
        assert_refused(fixture, -EINVAL, words);
    }
}

/* The table of the first row is lost as well; only files of rows show that there was something. */
static void a_manifest_that_has_lost_all_tables_is_told(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {fixture->dir, "is missing", "MANIFEST", "backup", NULL};
    char path[512];

    write_table(fixture);
    find_file(fixture, "MANIFEST", path);
    cut_file(path, 8);
    assert_refused(fixture, -EINVAL, words);
}

/* All tables are named, only files of rows are not. */
static void files_that_the_manifest_has_lost_are_told(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {fixture->dir, "MANIFEST", "MARK", "backup", NULL};
    char path[512];

    write_table(fixture);
    find_file(fixture, "MANIFEST", path);
    cut_file(path, 90);
    assert_refused(fixture, -EINVAL, words);
    assert_refused(fixture, -EINVAL, words); /* not either when it is tried again */
    remove_file(fixture, "MARK");
    fixture_open(fixture); /* the operator has said so */
}

static void no_flipped_bit_of_a_manifest_goes_unnoticed(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {fixture->dir, NULL};
    struct stat status;
    char path[512];
    int file;

    write_table(fixture);
    find_file(fixture, "MANIFEST", path);
    file = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(file, &status), 0);
    for (off_t at = 0; at < status.st_size; at += 3) {
        uint8_t byte, flipped;

        assert_int_equal(pread(file, &byte, 1, at), 1);
        flipped = byte ^ 0x40;
        assert_int_equal(pwrite(file, &flipped, 1, at), 1);
        assert_refused(fixture, -EINVAL, words);
        assert_int_equal(pwrite(file, &byte, 1, at), 1);
    }
    close(file);
    fixture_open(fixture);
}

static void a_missing_current_is_told(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {fixture->dir, "CURRENT is missing", "backup", NULL};
    char path[512];

    write_table(fixture);
    remove_file(fixture, "CURRENT");
    assert_refused(fixture, -EINVAL, words);
    find_file(fixture, ".log", path); /* without it RocksDB itself would see nothing wrong */
    assert_int_equal(unlink(path), 0);
    assert_refused(fixture, -EINVAL, words);
}

/* Made by hand, as far as RocksDB comes before it makes the tables. */
static void a_store_that_was_killed_while_it_was_made_is_finished(void **state)
{
    struct fixture *fixture = *state;
    rocksdb_options_t *options = rocksdb_options_create();
    char *error = NULL;
    rocksdb_t *database;

    rocksdb_options_set_create_if_missing(options, 1);
    database = rocksdb_open(options, fixture->dir, &error);
    assert_null(error);
    rocksdb_close(database);
    rocksdb_options_destroy(options);
    fixture_open(fixture);
    put_text(fixture->client, STORE_CLUSTER, "key", "value");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    fixture_reopen(fixture);
    assert_string_equal(get_text(fixture->store, STORE_CLUSTER, "key"), "value");
}

static void a_store_that_was_killed_before_it_had_a_current_is_made(void **state)
{
    struct fixture *fixture = *state;
    char path[512];
    FILE *manifest;

    assert_int_equal(mkdir(fixture->dir, 0700), 0);
    snprintf(path, sizeof(path), "%s/MANIFEST-000001", fixture->dir);
    manifest = fopen(path, "w");
    assert_non_null(manifest);
    fputs("half", manifest);
    fclose(manifest);
    fixture_open(fixture);
    assert_string_equal(get_text(fixture->store, STORE_USER, "key"), "-");
}

static void a_log_damaged_before_its_end_is_not_cut_silently(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {"log is damaged", "MARK", NULL};
    char path[512];

    write_log(fixture);
    find_file(fixture, ".log", path);
    flip_bit(path, 50);
    assert_refused(fixture, -EINVAL, words);
    assert_refused(fixture, -EINVAL, words); /* not either when it is tried again */
    snprintf(path, sizeof(path), "%s/MARK", fixture->dir);
    assert_int_equal(unlink(path), 0);
    fixture_open(fixture); /* the operator has said so */
    assert_string_equal(get_text(fixture->store, STORE_USER, "000"), "some value that takes some room in the log");
    assert_string_equal(get_text(fixture->store, STORE_USER, "099"), "-");
}

static void a_torn_end_of_the_log_is_what_a_crash_leaves(void **state)
{
    struct fixture *fixture = *state;
    char path[512];
    int file;

    write_log(fixture);
    find_file(fixture, ".log", path);
    file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(file, "\x12\x34\x56\x78\xff\x00\x01half a record", 20), 20);
    close(file);
    fixture_open(fixture);
    assert_string_equal(get_text(fixture->store, STORE_USER, "099"), "some value that takes some room in the log");
}

static void a_store_of_a_newer_version_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct slice version = slice_make("\0\0\0\x63", 4);

    fixture_open(fixture);
    store_put(fixture->client, STORE_META, SLICE_LITERAL("schema"), &version, 1);
    fixture_close(fixture);
    assert_refused(fixture, -EINVAL, (const char *const[]){"newer version", "format 99", fixture->dir, NULL});
}

static void a_table_of_a_newer_version_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_column_family_handle_t *family;
    char *error = NULL;

    fixture_open(fixture);
    family = rocksdb_create_column_family(fixture->store->database, options, "future", &error);
    assert_null(error);
    rocksdb_column_family_handle_destroy(family);
    rocksdb_options_destroy(options);
    fixture_close(fixture);
    assert_refused(fixture, -EINVAL, (const char *const[]){"'future'", "unknown", NULL});
}

/* ---- upgrades ---- */

static int add_one(struct store *store)
{
    char *error = NULL;

    rocksdb_put_cf(store->database, store->sync_options, store->tables[STORE_RULE], "one", 3, "1", 1, &error);
    assert_null(error);
    return 0;
}

static int copy_one(struct store *store)
{
    char *error = NULL;
    const char *value = get_text(store, STORE_RULE, "one");

    rocksdb_put_cf(store->database, store->sync_options, store->tables[STORE_RULE], "two", 3, value, strlen(value),
                   &error);
    assert_null(error);
    return 0;
}

static int fail_step(struct store *store)
{
    (void)store;
    return -EIO;
}

static void older_versions_are_upgraded_step_by_step(void **state)
{
    static const struct store_upgrade steps[] = {{.from = 2, .run = copy_one}, {.from = 1, .run = add_one}};
    struct fixture *fixture = *state;
    uint8_t version[4];

    fixture_open(fixture); /* version 1 */
    assert_int_equal(store_schema_check(fixture->store, 3, steps, 2, NULL), 0);
    assert_string_equal(scan_text(fixture->store, STORE_RULE, "", ""), "one=1 two=1 ");
    assert_int_equal(store_read_meta(fixture->store, META_SCHEMA, version, 4), 1);
    assert_int_equal(version[3], 3);
}

static void an_upgrade_that_fails_is_tried_again_from_its_step(void **state)
{
    static const struct store_upgrade failing[] = {{.from = 1, .run = add_one}, {.from = 2, .run = fail_step}};
    static const struct store_upgrade rest[] = {{.from = 2, .run = copy_one}};
    struct fixture *fixture = *state;
    char *error = NULL;

    fixture_open(fixture);
    assert_int_equal(store_schema_check(fixture->store, 3, failing, 2, &error), -EIO);
    assert_int_equal(store_schema_check(fixture->store, 3, rest, 1, &error), 0);
    assert_string_equal(scan_text(fixture->store, STORE_RULE, "", ""), "one=1 two=1 ");
    assert_int_equal(store_schema_check(fixture->store, 5, rest, 1, &error), -EINVAL);
    assert_non_null(strstr(error, "no way from its format 3"));
    free(error);
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        STORE_TEST(check_finds_nothing_in_a_store_that_is_whole),
        STORE_TEST(check_names_the_table_of_a_flipped_bit),
        STORE_TEST(a_file_that_was_cut_is_told_with_its_table),
        STORE_TEST(a_file_that_is_missing_is_told_with_its_table),
        STORE_TEST(a_damaged_manifest_is_told),
        STORE_TEST(tables_that_the_manifest_has_lost_are_not_made_anew),
        STORE_TEST(a_manifest_that_has_lost_all_tables_is_told),
        STORE_TEST(files_that_the_manifest_has_lost_are_told),
        STORE_TEST(no_flipped_bit_of_a_manifest_goes_unnoticed),
        STORE_TEST(a_missing_current_is_told),
        STORE_TEST(a_store_that_was_killed_while_it_was_made_is_finished),
        STORE_TEST(a_store_that_was_killed_before_it_had_a_current_is_made),
        STORE_TEST(a_log_damaged_before_its_end_is_not_cut_silently),
        STORE_TEST(a_torn_end_of_the_log_is_what_a_crash_leaves),
        STORE_TEST(a_store_of_a_newer_version_is_refused),
        STORE_TEST(a_table_of_a_newer_version_is_refused),
        STORE_TEST(older_versions_are_upgraded_step_by_step),
        STORE_TEST(an_upgrade_that_fails_is_tried_again_from_its_step),
    };

    return cmocka_run_group_tests_name("store_damage", tests, NULL, NULL);
}
