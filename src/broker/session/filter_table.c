/*
 * filter_table: linear probing at most two thirds full; removal moves the followers up, so there are no tombstones.
 */
#include "broker/session/filter_table.h"

#include "base/hash.h"
#include "broker/session/subscription.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 64

static uint64_t hash_of(const struct subscriber_list *list)
{
    return hash_text(slice_make(list->filter, list->filter_len));
}

void filter_table_fini(struct filter_table *table)
{
    free(table->slots);
    *table = (struct filter_table){0};
}

struct subscriber_list *filter_table_find(const struct filter_table *table, struct slice filter)
{
    uint64_t mask = table->capacity - 1;

    if (table->count == 0)
        return NULL;
    for (uint64_t place = hash_text(filter) & mask; table->slots[place] != NULL; place = (place + 1) & mask) {
        struct subscriber_list *list = table->slots[place];
        if (slice_equal(slice_make(list->filter, list->filter_len), filter))
            return list;
    }
    return NULL;
}

static void put(struct subscriber_list **slots, uint32_t capacity, struct subscriber_list *list)
{
    uint64_t mask = capacity - 1, place = hash_of(list) & mask;

    while (slots[place] != NULL)
        place = (place + 1) & mask;
    slots[place] = list;
}

static int resize(struct filter_table *table, uint32_t capacity)
{
    struct subscriber_list **slots = calloc(capacity, sizeof(struct subscriber_list *));

    if (slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < table->capacity; i++) {
        if (table->slots[i] != NULL)
            put(slots, capacity, table->slots[i]);
    }
    free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return 0;
}

int filter_table_add(struct filter_table *table, struct subscriber_list *list)
{
    if ((uint64_t)(table->count + 1) * 3 > (uint64_t)table->capacity * 2) {
        int err = resize(table, table->capacity == 0 ? FIRST_CAPACITY : table->capacity * 2);
        if (err < 0)
            return err;
    }
    put(table->slots, table->capacity, list);
    table->count++;
    return 0;
}

void filter_table_remove(struct filter_table *table, struct subscriber_list *list)
{
    uint64_t mask = table->capacity - 1, gap = hash_of(list) & mask;

    while (table->slots[gap] != list)
        gap = (gap + 1) & mask;
    for (uint64_t next = (gap + 1) & mask; table->slots[next] != NULL; next = (next + 1) & mask) {
        uint64_t home = hash_of(table->slots[next]) & mask;
        if (((next - home) & mask) >= ((next - gap) & mask)) {
            table->slots[gap] = table->slots[next];
            gap = next;
        }
    }
    table->slots[gap] = NULL;
    table->count--;
}
