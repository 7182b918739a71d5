/*
 * random: xoshiro256** (Blackman and Vigna) per thread, and the kernel's generator.
 */
#include "base/random.h"

#include "base/compiler.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>

struct generator {
    uint64_t words[4]; /* all zero: not seeded; the generator itself never gets there */
};

static _Thread_local struct generator generator;

void random_secret(void *bytes, size_t length)
{
    uint8_t *next = bytes;

    while (length > 0) {
        ssize_t count = getrandom(next, length, 0);

        if (count < 0 && errno == EINTR)
            continue;
        ASSERT(count > 0); /* Linux has it since 3.17, and it fails for bad arguments only */
        next += count;
        length -= (size_t)count;
    }
}

static uint64_t rotate_left(uint64_t word, uint32_t count)
{
    return word << count | word >> (64 - count);
}

static bool is_seeded(const struct generator *state)
{
    return (state->words[0] | state->words[1] | state->words[2] | state->words[3]) != 0;
}

uint64_t random_u64(void)
{
    uint64_t *words = generator.words;
    uint64_t result;
    uint64_t shifted;

    while (UNLIKELY(!is_seeded(&generator)))
        random_secret(&generator, sizeof(generator));
    result = rotate_left(words[1] * 5, 7) * 9;
    shifted = words[1] << 17;
    words[2] ^= words[0];
    words[3] ^= words[1];
    words[1] ^= words[2];
    words[0] ^= words[3];
    words[2] ^= shifted;
    words[3] = rotate_left(words[3], 45);
    return result;
}

uint32_t random_below(uint32_t bound)
{
    /* The upper half of a product instead of a division (Lemire). */
    return (uint32_t)((random_u64() >> 32) * bound >> 32);
}
