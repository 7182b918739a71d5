/*
 * awaiting_rel: two parallel arrays, so that the search runs over packed 16-bit numbers.
 */
#include "broker/session/awaiting_rel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BITMAP_WORDS (65536u / 64u)

struct awaiting_rel *awaiting_rel_new(void)
{
    return calloc(1, sizeof(struct awaiting_rel));
}

void awaiting_rel_free(struct awaiting_rel *set)
{
    if (set == NULL)
        return;
    free(set->ids);
    free(set->since_s);
    free(set->bitmap);
    free(set);
}

static bool bit_get(const uint64_t *bitmap, uint16_t id)
{
    return (bitmap[id / 64] >> id % 64 & 1) != 0;
}

static uint32_t find(const struct awaiting_rel *set, uint16_t packet_id)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->ids[set->head + i] == packet_id)
            return i;
    }
    return set->count;
}

bool awaiting_rel_has(const struct awaiting_rel *set, uint16_t packet_id)
{
    if (set == NULL)
        return false;
    if (set->bitmap != NULL)
        return bit_get(set->bitmap, packet_id);
    return find(set, packet_id) < set->count;
}

static int make_room(struct awaiting_rel *set)
{
    if (set->head + set->count < set->capacity)
        return 0;
    if (set->head > 0 && set->head >= set->capacity / 2) { /* the front half is free: move down */
        memmove(set->ids, set->ids + set->head, set->count * sizeof(*set->ids));
        memmove(set->since_s, set->since_s + set->head, set->count * sizeof(*set->since_s));
        set->head = 0;
        return 0;
    }
    uint32_t capacity = set->capacity == 0 ? 16 : set->capacity * 2;
    uint16_t *ids = realloc(set->ids, capacity * sizeof(*ids));
    if (ids == NULL)
        return -ENOMEM;
    set->ids = ids;
    uint32_t *since_s = realloc(set->since_s, capacity * sizeof(*since_s));
    if (since_s == NULL)
        return -ENOMEM;
    set->since_s = since_s;
    set->capacity = capacity;
    return 0;
}

static int make_bitmap(struct awaiting_rel *set)
{
    set->bitmap = calloc(BITMAP_WORDS, sizeof(*set->bitmap));
    if (set->bitmap == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < set->count; i++) {
        uint16_t id = set->ids[set->head + i];
        set->bitmap[id / 64] |= UINT64_C(1) << id % 64;
    }
    return 0;
}

int awaiting_rel_add(struct awaiting_rel *set, uint16_t packet_id, uint32_t now_s)
{
    int err = make_room(set);

    if (err == 0 && set->bitmap == NULL && set->count >= AWAITING_REL_BITMAP_AT)
        err = make_bitmap(set);
    if (err < 0)
        return err;
    set->ids[set->head + set->count] = packet_id;
    set->since_s[set->head + set->count] = now_s;
    set->count++;
    if (set->bitmap != NULL)
        set->bitmap[packet_id / 64] |= UINT64_C(1) << packet_id % 64;
    return 0;
}

static void after_removal(struct awaiting_rel *set)
{
    if (set->count > 0)
        return;
    set->head = 0;
    free(set->bitmap);
    set->bitmap = NULL;
}

bool awaiting_rel_remove(struct awaiting_rel *set, uint16_t packet_id)
{
    uint32_t place;

    if (set == NULL || (set->bitmap != NULL && !bit_get(set->bitmap, packet_id)))
        return false;
    place = find(set, packet_id);
    if (place == set->count)
        return false;
    if (set->bitmap != NULL)
        set->bitmap[packet_id / 64] &= ~(UINT64_C(1) << packet_id % 64);
    if (place == 0) {
        set->head++;
    } else {
        uint32_t from = set->head + place + 1, behind = set->count - place - 1;
        memmove(set->ids + from - 1, set->ids + from, behind * sizeof(*set->ids));
        memmove(set->since_s + from - 1, set->since_s + from, behind * sizeof(*set->since_s));
    }
    set->count--;
    after_removal(set);
    return true;
}

uint32_t awaiting_rel_expire(struct awaiting_rel *set, uint32_t before_s)
{
    uint32_t expired = 0;

    while (set->count > 0 && set->since_s[set->head] < before_s) {
        if (set->bitmap != NULL) {
            uint16_t id = set->ids[set->head];
            set->bitmap[id / 64] &= ~(UINT64_C(1) << id % 64);
        }
        set->head++;
        set->count--;
        expired++;
    }
    after_removal(set);
    return expired;
}
