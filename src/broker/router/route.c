/*
 * route: see route_internal.h.
 */
#include "broker/router/route_internal.h"

#include "broker/router/share_group_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SET_CAPACITY_MIN 3u /* with the header 32 bytes; grows to 7, 15, ... */

static route_word entry_make(enum route_kind kind, uint16_t id, const void *pointer)
{
    uint64_t address = (uint64_t)(uintptr_t)pointer;

    ASSERT(address >> ROUTE_POINTER_BITS == 0);
    ASSERT(id < ROUTER_DESTINATION_MAX);
    return (route_word)kind << ROUTE_KIND_SHIFT | (route_word)id << ROUTE_POINTER_BITS | address;
}

route_word route_destination(uint16_t id, void *target)
{
    return entry_make(ROUTE_DESTINATION, id, target);
}

route_word route_group(struct share_group *group)
{
    return entry_make(ROUTE_GROUP, 0, group);
}

static size_t set_size(uint32_t capacity)
{
    return sizeof(struct route_set) + capacity * sizeof(route_word);
}

static struct route_set *set_new(uint32_t capacity)
{
    struct route_set *set = calloc(1, set_size(capacity));

    if (set != NULL)
        set->capacity = capacity;
    return set;
}

static void set_put(struct route_set *set, route_word entry)
{
    uint32_t i = 0;

    while (set->words[i] != 0)
        i++;
    RCU_PUBLISH(set->words[i], entry);
    set->live++;
}

/* Publishes `value` and retires the set that was there. */
static void route_replace(route_word *route, route_word value)
{
    route_word old = *route;

    RCU_PUBLISH(*route, value);
    if (route_kind(old) == ROUTE_SET)
        rcu_retire(route_pointer(old), free);
}

/* Moves the entries into a new set of that capacity and adds `extra` (0: nothing). 0 or -ENOMEM. */
static int route_rebuild(route_word *route, uint32_t capacity, route_word extra)
{
    struct route_set *set = set_new(capacity);
    uint32_t count;
    const route_word *words = route_words(route, &count);

    if (set == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        if (words[i] != 0)
            set_put(set, words[i]);
    }
    if (extra != 0)
        set_put(set, extra);
    route_replace(route, entry_make(ROUTE_SET, 0, set));
    return 0;
}

int route_insert(route_word *route, route_word entry)
{
    struct route_set *set;

    if (*route == 0) {
        RCU_PUBLISH(*route, entry);
        return 0;
    }
    if (route_kind(*route) != ROUTE_SET)
        return route_rebuild(route, SET_CAPACITY_MIN, entry);
    set = route_pointer(*route);
    if (set->live == set->capacity)
        return route_rebuild(route, set->capacity * 2 + 1, entry);
    set_put(set, entry);
    return 0;
}

void route_erase(route_word *route, route_word entry)
{
    struct route_set *set;
    route_word last = 0;

    if (route_kind(*route) != ROUTE_SET) {
        ASSERT(*route == entry);
        RCU_PUBLISH(*route, (route_word)0);
        return;
    }
    set = route_pointer(*route);
    for (uint32_t i = 0; i < set->capacity; i++) {
        if (set->words[i] == entry) {
            RCU_PUBLISH(set->words[i], (route_word)0);
            set->live--;
        } else if (set->words[i] != 0) {
            last = set->words[i];
        }
    }
    if (set->live <= 1)
        route_replace(route, last);
    else if (set->capacity > SET_CAPACITY_MIN && set->live <= set->capacity / 4)
        (void)route_rebuild(route, set->capacity / 2, 0); /* without memory it stays large */
}

route_word route_find_destination(const route_word *route, uint16_t id)
{
    uint32_t count;
    const route_word *words = route_words(route, &count);

    for (uint32_t i = 0; i < count; i++) {
        if (route_kind(words[i]) == ROUTE_DESTINATION && route_id(words[i]) == id)
            return words[i];
    }
    return 0;
}

route_word route_find_group(const route_word *route, struct slice name)
{
    uint32_t count;
    const route_word *words = route_words(route, &count);

    for (uint32_t i = 0; i < count; i++) {
        if (route_kind(words[i]) == ROUTE_GROUP && slice_equal(share_group_name(route_pointer(words[i])), name))
            return words[i];
    }
    return 0;
}

size_t route_bytes(const route_word *route)
{
    const struct route_set *set = route_pointer(*route);

    return route_kind(*route) == ROUTE_SET ? set_size(set->capacity) : 0;
}

void route_fini(route_word *route)
{
    uint32_t count;
    const route_word *words = route_words(route, &count);

    for (uint32_t i = 0; i < count; i++) {
        if (route_kind(words[i]) == ROUTE_GROUP)
            share_group_free(route_pointer(words[i]));
    }
    if (route_kind(*route) == ROUTE_SET)
        free(route_pointer(*route));
    *route = 0;
}
