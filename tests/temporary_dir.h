/*
 * temporary_dir: a directory of a test's or a benchmark's own. Thread: any.
 */
#ifndef TESTS_TEMPORARY_DIR_H
#define TESTS_TEMPORARY_DIR_H

#include <ftw.h>
#include <stdio.h>

#define TEMPORARY_DIR_DESCRIPTORS 16

static inline int temporary_dir_remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

/* Removes `path` (of mkdtemp()) and all that is in it; what cannot be removed stays. */
static inline void temporary_dir_remove(const char *path)
{
    nftw(path, temporary_dir_remove_entry, TEMPORARY_DIR_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

#endif
