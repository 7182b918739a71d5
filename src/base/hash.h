/*
 * hash: hashes of text that clients choose, with a seed of this process, so that nobody can compute collisions beforehand.
 *
 * Only for tables of this process: the values differ from run to run. Thread: any.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

/* 64 good bits (XXH3). The seed is drawn at the first call. */
uint64_t hash_text(struct slice text);

#endif
