/*
 * store_mark_internal: what was on disk for certain, in the file MARK; store_mark.c. Thread: start-up, or the store thread.
 */
#ifndef STORE_STORE_MARK_INTERNAL_H
#define STORE_STORE_MARK_INTERNAL_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* A MANIFEST that was on disk for certain. */
struct store_manifest {
    uint64_t number; /* 0: none */
    uint64_t length; /* bytes */
    uint64_t hash;
};

/* Opens or makes the file. -errno. */
MUST_USE int store_mark_open(const char *dir, int *out_file);
/* The last group that was on disk for certain; 0: unknown. */
uint64_t store_mark_read(int file);
void store_mark_write(int file, uint64_t group);
/* Marks the MANIFEST that is in use now, unless it is as `marked`, which follows. It is read in full when it has grown: at most the 16 MB of
 * store_table.c, mostly some KB. */
void store_mark_manifest(int mark, const char *dir, struct store_manifest *marked);
/* Does the MANIFEST that is in use begin with what was marked? A later one that was not marked yet counts as whole. */
bool store_mark_manifest_is_whole(int mark, const char *dir);

#endif
