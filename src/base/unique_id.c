/*
 * unique_id: GUIDs of messages and generated client IDs.
 *
 * The 32 bits of the generating thread are drawn at random at its first GUID. Two threads with the same bits (of nodes
 * with the same 16 bits) make the same GUID only if they also use the same microsecond and counter.
 */
#include "base/unique_id.h"

#include "base/compiler.h"
#include "base/random.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include <xxhash.h>

struct guid_source {
    uint64_t last_us;
    uint32_t thread_bits;
    uint16_t counter;
    bool ready;
};

static uint32_t node_bits; /* 16 */
static _Thread_local struct guid_source source;

void guid_set_node(struct slice node_name)
{
    uint64_t hash = XXH3_64bits(node_name.data, node_name.len);

    __atomic_store_n(&node_bits, (uint32_t)(hash >> 48), __ATOMIC_RELAXED);
}

struct guid guid_next(uint64_t wall_us)
{
    uint64_t node = __atomic_load_n(&node_bits, __ATOMIC_RELAXED);

    if (UNLIKELY(!source.ready)) {
        source.thread_bits = (uint32_t)(random_u64() >> 32);
        source.ready = true;
    }
    if (wall_us > source.last_us) {
        source.last_us = wall_us;
        source.counter = 0;
    } else if (++source.counter == 0) {
        source.last_us++;
    }
    return (struct guid){.high = source.last_us,
                         .low = node << 48 | (uint64_t)source.thread_bits << 16 | source.counter};
}

size_t guid_format(struct guid guid, char out_text[GUID_TEXT_BYTES])
{
    int length;

    if (guid.high == 0)
        length = snprintf(out_text, GUID_TEXT_BYTES, "%" PRIX64, guid.low);
    else
        length = snprintf(out_text, GUID_TEXT_BYTES, "%" PRIX64 "%016" PRIX64, guid.high, guid.low);
    return (size_t)length;
}

void client_id_generate(char out_text[CLIENT_ID_TEXT_BYTES])
{
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    enum { CHARACTER_COUNT = sizeof(characters) - 1, UNBIASED = 256 / CHARACTER_COUNT * CHARACTER_COUNT };
    uint8_t bytes[CLIENT_ID_TEXT_LENGTH + 8];
    size_t length = 0;

    while (length < CLIENT_ID_TEXT_LENGTH) {
        random_secret(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes) && length < CLIENT_ID_TEXT_LENGTH; i++) {
            if (bytes[i] < UNBIASED) /* 8 of 256 values are thrown away, so that all characters are equally likely */
                out_text[length++] = characters[bytes[i] % CHARACTER_COUNT];
        }
    }
    out_text[length] = '\0';
}
