/*
 * hash: XXH3 with a seed from the kernel.
 */
#include "base/hash.h"

#include "base/random.h"

#include <pthread.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static uint64_t seed;

static void draw_seed(void)
{
    random_secret(&seed, sizeof(seed));
}

uint64_t hash_text(struct slice text)
{
    pthread_once(&seed_once, draw_seed);
    return XXH3_64bits_withSeed(text.data, text.len, seed);
}
