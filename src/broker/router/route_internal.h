/*
 * route: the destinations and groups of one filter, in one word.
 *
 * Nearly every filter has a single destination, so that one needs no memory of its own: an entry is a word with
 * the kind in bits 60..63, a destination's id in bits 48..59 and a pointer in the rest. Several entries are a
 * word of kind ROUTE_SET, a pointer to an array with holes (zero words): a change fills or makes a hole, or
 * publishes another array and retires the old one.
 *
 * Writers hold the lock of the table or trie that the route is in; readers are online.
 */
#ifndef BROKER_ROUTER_ROUTE_INTERNAL_H
#define BROKER_ROUTER_ROUTE_INTERNAL_H

#include "base/rcu.h"
#include "broker/router/router.h"

#include <stddef.h>
#include <stdint.h>

#define ROUTE_POINTER_BITS 48
#define ROUTE_KIND_SHIFT 60

enum route_kind { ROUTE_NONE, ROUTE_DESTINATION, ROUTE_GROUP, ROUTE_SET };

/* An entry, a set, or 0. */
typedef uint64_t route_word;

struct route_set {
    uint32_t capacity;
    uint32_t live; /* words that are not 0; writers only */
    route_word words[];
};

static inline enum route_kind route_kind(route_word word)
{
    return (enum route_kind)(word >> ROUTE_KIND_SHIFT);
}

static inline void *route_pointer(route_word word)
{
    return (void *)(uintptr_t)(word & ((UINT64_C(1) << ROUTE_POINTER_BITS) - 1));
}

static inline uint16_t route_id(route_word word)
{
    return (uint16_t)(word >> ROUTE_POINTER_BITS & (ROUTER_DESTINATION_MAX - 1));
}

/* The words of a route: `*word` itself or its set. Writers, or readers that loaded `*word` before. */
static inline const route_word *route_words(const route_word *word, uint32_t *out_count)
{
    const struct route_set *set;

    if (route_kind(*word) != ROUTE_SET) {
        *out_count = *word != 0;
        return word;
    }
    set = route_pointer(*word);
    *out_count = set->capacity;
    return set->words;
}

route_word route_destination(uint16_t id, void *target);
route_word route_group(struct share_group *group);

/* Adds an entry that is not there yet. 0 or -ENOMEM. */
MUST_USE int route_insert(route_word *route, route_word entry);
/* Takes out an entry that is there. Never fails. */
void route_erase(route_word *route, route_word entry);
/* The entry of that destination, of that group name; 0 when it is not there. */
route_word route_find_destination(const route_word *route, uint16_t id);
route_word route_find_group(const route_word *route, struct slice name);
/* Bytes of memory besides the word. */
size_t route_bytes(const route_word *route);
/* Frees the set and the groups; no reader may be left. */
void route_fini(route_word *route);

/* Where a match puts its hits. */
struct route_sink {
    struct router_hit *hits;
    uint32_t capacity;
    uint32_t count; /* found, also those without room */
};

static inline void route_emit_entry(struct route_sink *sink, route_word entry)
{
    if (sink->count < sink->capacity) {
        struct router_hit *hit = &sink->hits[sink->count];

        if (route_kind(entry) == ROUTE_DESTINATION)
            *hit = (struct router_hit){.target = route_pointer(entry), .id = route_id(entry)};
        else
            *hit = (struct router_hit){.group = route_pointer(entry)};
    }
    sink->count++;
}

static inline void route_emit(struct route_sink *sink, const route_word *route)
{
    route_word word = RCU_READ(*route);
    const struct route_set *set;

    if (LIKELY(word == 0))
        return;
    if (LIKELY(route_kind(word) != ROUTE_SET)) {
        route_emit_entry(sink, word);
        return;
    }
    set = route_pointer(word);
    for (uint32_t i = 0; i < set->capacity; i++) {
        route_word entry = RCU_READ(set->words[i]);

        if (entry != 0)
            route_emit_entry(sink, entry);
    }
}

#endif
