/*
 * store_mark: a small file beside the database that says what was on disk for certain, so that what is missing is noticed.
 *
 * RocksDB ends its log, and the MANIFEST (its list of tables and files), where it finds the first damaged record: rightly so when a crash
 * tore the last write, but damage further in front would silently take acknowledged data away.
 *
 *   offset 0   "emqc", checksum (4), group (8)                            the log reaches to this group
 *   offset 16  "emqm", checksum (4), number (8), length (8), hash (8)     MANIFEST-<number> begins with so many bytes of this hash
 *
 * Each is written after an fsync of what it speaks of and never before, and is not synced itself (it may be behind, never ahead). Both lie within
 * one sector.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MARK_BYTES 16
#define MANIFEST_AT MARK_BYTES
#define MANIFEST_BYTES 32
#define HEAD_BYTES 8
#define READ_BYTES (16u << 10)

/* What comes before the numbers. */
static void put_head(uint8_t *out, const char magic[4], size_t length)
{
    uint32_t sum = (uint32_t)XXH3_64bits(out + HEAD_BYTES, length - HEAD_BYTES);

    memcpy(out, magic, 4);
    memcpy(out + 4, &sum, sizeof(sum));
}

static void encode(uint8_t out[MARK_BYTES], uint64_t group)
{
    bytes_put_big(out + HEAD_BYTES, group, 8);
    put_head(out, "emqc", MARK_BYTES);
}

int store_mark_open(const char *dir, int *out_file)
{
    char *path = NULL;
    int file;

    if (asprintf(&path, "%s/MARK", dir) < 0)
        return -ENOMEM;
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (file < 0)
        return -errno;
    *out_file = file;
    return 0;
}

uint64_t store_mark_read(int file)
{
    uint8_t found[MARK_BYTES], expected[MARK_BYTES];
    uint64_t group;

    if (pread(file, found, MARK_BYTES, 0) != MARK_BYTES)
        return 0;
    group = bytes_get_big(found + 8, 8);
    encode(expected, group);
    return memcmp(found, expected, MARK_BYTES) == 0 ? group : 0;
}

void store_mark_write(int file, uint64_t group)
{
    uint8_t mark[MARK_BYTES];

    encode(mark, group);
    /* A mark that stays behind only sees less. */
    if (pwrite(file, mark, MARK_BYTES, 0) != MARK_BYTES)
        return;
}

/* ---- the MANIFEST ---- */

static void encode_manifest(uint8_t out[MANIFEST_BYTES], const struct store_manifest *manifest)
{
    bytes_put_big(out + HEAD_BYTES, manifest->number, 8);
    bytes_put_big(out + HEAD_BYTES + 8, manifest->length, 8);
    bytes_put_big(out + HEAD_BYTES + 16, manifest->hash, 8);
    put_head(out, "emqm", MANIFEST_BYTES);
}

/* Was it marked? */
static bool read_manifest(int file, struct store_manifest *out)
{
    uint8_t found[MANIFEST_BYTES], expected[MANIFEST_BYTES];

    if (pread(file, found, MANIFEST_BYTES, MANIFEST_AT) != MANIFEST_BYTES)
        return false;
    out->number = bytes_get_big(found + HEAD_BYTES, 8);
    out->length = bytes_get_big(found + HEAD_BYTES + 8, 8);
    out->hash = bytes_get_big(found + HEAD_BYTES + 16, 8);
    encode_manifest(expected, out);
    return memcmp(found, expected, MANIFEST_BYTES) == 0;
}

static int open_in(const char *dir, const char *name, int flags)
{
    char *path = NULL;
    int file;

    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return -1;
    file = open(path, flags | O_CLOEXEC);
    free(path);
    return file;
}

/* The number that the file CURRENT names; 0: none. */
static uint64_t current_number(const char *dir)
{
    static const char prefix[] = "MANIFEST-";
    char text[64];
    int file = open_in(dir, "CURRENT", O_RDONLY);
    ssize_t length;

    if (file < 0)
        return 0;
    length = read(file, text, sizeof(text) - 1);
    close(file);
    text[length < 0 ? 0 : length] = '\0';
    return strncmp(text, prefix, sizeof(prefix) - 1) == 0 ? strtoull(text + sizeof(prefix) - 1, NULL, 10) : 0;
}

static int open_manifest(const char *dir, uint64_t number)
{
    char name[40];

    snprintf(name, sizeof(name), "MANIFEST-%06llu", (unsigned long long)number);
    return open_in(dir, name, O_RDONLY);
}

/* The hash of the first `length` bytes. false: they cannot be read, or there are fewer. */
static bool hash_begin(int file, uint64_t length, uint64_t *out_hash)
{
    XXH3_state_t *state = XXH3_createState();
    uint8_t bytes[READ_BYTES];
    uint64_t at = 0;

    if (state == NULL)
        return false;
    XXH3_64bits_reset(state);
    while (at < length) {
        uint64_t left = length - at;
        ssize_t got = pread(file, bytes, left < READ_BYTES ? left : READ_BYTES, (off_t)at);

        if (got <= 0)
            break;
        XXH3_64bits_update(state, bytes, (size_t)got);
        at += (uint64_t)got;
    }
    *out_hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return at == length;
}

static bool sync_dir(const char *dir)
{
    int file = open_in(dir, ".", O_RDONLY | O_DIRECTORY);
    bool done = file >= 0 && fsync(file) == 0;

    if (file >= 0)
        close(file);
    return done;
}

void store_mark_manifest(int mark, const char *dir, struct store_manifest *marked)
{
    struct store_manifest now = {.number = current_number(dir)};
    int file = now.number == 0 ? -1 : open_manifest(dir, now.number);
    uint8_t bytes[MANIFEST_BYTES];
    struct stat status;

    if (file < 0)
        return; /* looked at again later; a mark that stays behind only sees less */
    now.length = fstat(file, &status) == 0 ? (uint64_t)status.st_size : 0;
    if (now.number != marked->number || now.length != marked->length) {
        /* RocksDB does these too, but perhaps a moment from now. */
        bool is_synced = fdatasync(file) == 0 && (now.number == marked->number || sync_dir(dir));

        if (is_synced && hash_begin(file, now.length, &now.hash)) {
            encode_manifest(bytes, &now);
            if (pwrite(mark, bytes, MANIFEST_BYTES, MANIFEST_AT) == MANIFEST_BYTES)
                *marked = now;
        }
    }
    close(file);
}

bool store_mark_manifest_is_whole(int mark, const char *dir)
{
    struct store_manifest marked;
    uint64_t number, hash;
    bool is_whole;
    int file;

    if (!read_manifest(mark, &marked))
        return true;
    number = current_number(dir);
    if (number != marked.number)
        return number > marked.number; /* a later one, not marked yet */
    file = open_manifest(dir, number);
    is_whole = file >= 0 && hash_begin(file, marked.length, &hash) && hash == marked.hash;
    if (file >= 0)
        close(file);
    return is_whole;
}
