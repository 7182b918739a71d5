/*
 * router: see router.h.
 *
 * Exact filters are entries of an RCU table, filters with wildcards places in the trie (trie_internal.h); both
 * hold a route word (route_internal.h). A change locks the shard of the exact filter or the whole trie; the version is
 * raised after the change can be seen, so who read it before a match may keep the hits until it moves.
 */
#include "broker/router/router.h"

#include "base/metrics.h"
#include "base/rcu.h"
#include "base/rcu_table.h"
#include "broker/router/route_internal.h"
#include "broker/router/share_group_internal.h"
#include "broker/router/trie_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#define XXH_INLINE_ALL /* short levels: the call would cost as much as the hash */
#include <xxhash.h>

#define EXACT_SHARDS 64u

struct exact_route {
    route_word route;
    uint16_t filter_len;
    uint8_t filter[];
};

struct router {
    struct rcu_table *exact;
    struct trie *trie;
    uint64_t seed; /* makes the hashes unpredictable */
    /* Written by whoever holds a shard's or the trie's lock, read by anybody. */
    _Alignas(64) uint64_t version;
    uint64_t wildcard_count;
    uint64_t exact_bytes; /* of entries */
    uint64_t route_bytes; /* of sets and groups */
};

static uint64_t text_hash(const struct router *router, struct slice text)
{
    return XXH3_64bits_withSeed(text.data, text.len, router->seed);
}

static struct slice exact_filter(const struct exact_route *exact)
{
    return slice_make(exact->filter, exact->filter_len);
}

static uint64_t exact_hash(const void *element, const void *context)
{
    return text_hash(context, exact_filter(element));
}

static bool exact_matches(const void *element, const void *key)
{
    const struct slice *filter = key;

    return slice_equal(exact_filter(element), *filter);
}

struct router *router_new(void)
{
    struct router *router = aligned_alloc(_Alignof(struct router), sizeof(*router));

    if (router == NULL)
        return NULL;
    memset(router, 0, sizeof(*router));
    /* Cannot fail for so few bytes unless the system has only just started; then the address has to serve. */
    if (getrandom(&router->seed, sizeof(router->seed), GRND_NONBLOCK) < 0)
        router->seed = (uint64_t)(uintptr_t)router;
    router->exact = rcu_table_new(EXACT_SHARDS, exact_hash, router);
    router->trie = trie_new(router->seed);
    if (router->exact == NULL || router->trie == NULL) {
        router_free(router);
        return NULL;
    }
    return router;
}

static void exact_free(void *element)
{
    struct exact_route *exact = element;

    route_fini(&exact->route);
    free(exact);
}

void router_free(struct router *router)
{
    if (router == NULL)
        return;
    rcu_table_free(router->exact, exact_free);
    trie_free(router->trie);
    free(router);
}

/* '+' and '#' stand only where they are wildcards in a valid filter. */
static bool has_wildcard(struct slice filter)
{
    return memchr(filter.data, '+', filter.len) != NULL || (filter.len > 0 && filter.data[filter.len - 1] == '#');
}

/* The route of one filter, locked for a change. */
struct place {
    struct router *router;
    struct slice filter;
    bool is_wildcard;
    uint64_t hash;             /* exact only */
    struct exact_route *exact; /* exact only; NULL: not there */
    struct trie_place trie;    /* wildcard only; node NULL: not there */
    route_word *route;         /* NULL: not there */
    bool was_empty;
    size_t bytes_before;
};

/* Locks the filter's part of the router and looks it up; place_close() must follow. */
static void place_open(struct place *place, struct router *router, struct slice filter)
{
    *place = (struct place){.router = router, .filter = filter, .is_wildcard = has_wildcard(filter)};
    if (place->is_wildcard) {
        trie_lock(router->trie);
        if (trie_find(router->trie, filter, &place->trie))
            place->route = place->trie.route;
    } else {
        place->hash = text_hash(router, filter);
        rcu_table_lock(router->exact, place->hash);
        place->exact = rcu_table_find(router->exact, place->hash, exact_matches, &filter);
        if (place->exact != NULL)
            place->route = &place->exact->route;
    }
    place->was_empty = place->route == NULL || *place->route == 0;
    place->bytes_before = place->route == NULL ? 0 : route_bytes(place->route);
}

static size_t exact_size(struct slice filter)
{
    size_t size = offsetof(struct exact_route, filter) + filter.len;

    return size < sizeof(struct exact_route) ? sizeof(struct exact_route) : size;
}

static int place_make_exact(struct place *place)
{
    struct exact_route *exact = malloc(exact_size(place->filter));
    int err;

    if (exact == NULL)
        return -ENOMEM;
    exact->route = 0;
    exact->filter_len = (uint16_t)place->filter.len;
    memcpy(exact->filter, place->filter.data, place->filter.len);
    err = rcu_table_add_locked(place->router->exact, place->hash, exact);
    if (err < 0) {
        free(exact);
        return err;
    }
    place->exact = exact;
    place->route = &exact->route;
    __atomic_fetch_add(&place->router->exact_bytes, exact_size(place->filter), __ATOMIC_RELAXED);
    return 0;
}

/* Makes the route if it is not there. 0 or -ENOMEM. */
static int place_make(struct place *place)
{
    int err;

    if (place->route != NULL)
        return 0;
    if (!place->is_wildcard)
        return place_make_exact(place);
    err = trie_make(place->router->trie, place->filter, &place->trie);
    if (err == 0)
        place->route = place->trie.route;
    return err;
}

static void place_drop_empty(struct place *place)
{
    struct router *router = place->router;

    if (place->is_wildcard) {
        trie_prune(router->trie, place->trie.node);
    } else {
        rcu_table_remove_locked(router->exact, place->hash, place->exact);
        __atomic_fetch_sub(&router->exact_bytes, exact_size(place->filter), __ATOMIC_RELAXED);
        rcu_retire(place->exact, free);
    }
}

/* Drops the route if it holds nothing, counts and unlocks. */
static void place_close(struct place *place, bool changed)
{
    struct router *router = place->router;
    bool is_empty = place->route == NULL || *place->route == 0;
    size_t bytes = place->route == NULL ? 0 : route_bytes(place->route);

    __atomic_fetch_add(&router->route_bytes, bytes - place->bytes_before, __ATOMIC_RELAXED);
    if (is_empty != place->was_empty) {
        stat_add(STAT_ROUTES, is_empty ? -1 : 1);
        stat_add(STAT_TOPICS, is_empty ? -1 : 1);
        if (place->is_wildcard)
            __atomic_fetch_add(&router->wildcard_count, is_empty ? UINT64_MAX : 1, __ATOMIC_RELAXED);
    }
    if (place->route != NULL && is_empty)
        place_drop_empty(place);
    if (changed)
        __atomic_fetch_add(&router->version, 1, __ATOMIC_RELEASE);
    if (place->is_wildcard)
        trie_unlock(router->trie);
    else
        rcu_table_unlock(router->exact, place->hash);
}

int router_add(struct router *router, struct slice filter, uint16_t id, void *target)
{
    struct place place;
    int err;

    place_open(&place, router, filter);
    if (place.route != NULL && route_find_destination(place.route, id) != 0)
        err = -EEXIST;
    else
        err = place_make(&place);
    if (err == 0)
        err = route_insert(place.route, route_destination(id, target));
    place_close(&place, err == 0);
    return err;
}

void *router_remove(struct router *router, struct slice filter, uint16_t id)
{
    struct place place;
    route_word entry = 0;

    place_open(&place, router, filter);
    if (place.route != NULL)
        entry = route_find_destination(place.route, id);
    if (entry != 0)
        route_erase(place.route, entry);
    place_close(&place, entry != 0);
    return route_pointer(entry);
}

/* Adds an empty group to the place. NULL when memory is short. */
static struct share_group *place_add_group(struct place *place, struct slice name)
{
    struct share_group *group = share_group_new(place->filter, name);

    if (group == NULL || place_make(place) < 0 || route_insert(place->route, route_group(group)) < 0) {
        share_group_free(group);
        return NULL;
    }
    return group;
}

struct share_group *router_group_get(struct router *router, struct slice filter, struct slice name, bool create)
{
    struct place place;
    struct share_group *group = NULL;
    route_word entry = 0;

    place_open(&place, router, filter);
    if (place.route != NULL)
        entry = route_find_group(place.route, name);
    if (entry != 0)
        group = route_pointer(entry);
    else if (create)
        group = place_add_group(&place, name);
    if (entry == 0 && group != NULL)
        __atomic_fetch_add(&router->route_bytes, share_group_bytes(group), __ATOMIC_RELAXED);
    place_close(&place, entry == 0 && group != NULL);
    return group;
}

int router_group_join(struct router *router, struct slice filter, struct slice name, struct share_member *member,
                      struct share_group **out_group)
{
    struct share_group *group;
    int err;

    do {
        group = router_group_get(router, filter, name, true);
        if (group == NULL)
            return -ENOMEM;
        err = share_group_add(group, member);
    } while (err == -ESTALE);
    if (err < 0) {
        router_group_release(router, group);
        return err;
    }
    *out_group = group;
    return 0;
}

void router_group_release(struct router *router, struct share_group *group)
{
    struct place place;
    bool closed;

    place_open(&place, router, share_group_filter(group));
    closed = share_group_close_if_empty(group);
    if (closed) {
        __atomic_fetch_sub(&router->route_bytes, share_group_bytes(group), __ATOMIC_RELAXED);
        route_erase(place.route, route_group(group));
    }
    place_close(&place, closed);
    if (closed)
        share_group_retire(group);
}

uint32_t router_match(const struct router *router, struct slice topic, struct router_hit *hits, uint32_t capacity)
{
    struct route_sink sink = {.hits = hits, .capacity = capacity};
    uint64_t hash = text_hash(router, topic);
    const struct exact_route *exact;

    rcu_table_prefetch(router->exact, hash);
    if (__atomic_load_n(&router->wildcard_count, __ATOMIC_RELAXED) > 0)
        trie_match(router->trie, topic, &sink);
    exact = rcu_table_find(router->exact, hash, exact_matches, &topic);
    if (exact != NULL)
        route_emit(&sink, &exact->route);
    return sink.count;
}

uint64_t router_version(const struct router *router)
{
    return __atomic_load_n(&router->version, __ATOMIC_ACQUIRE);
}

void router_stats(const struct router *router, struct router_stats *out_stats)
{
    *out_stats = (struct router_stats){
        .exact_count = rcu_table_count(router->exact),
        .wildcard_count = __atomic_load_n(&router->wildcard_count, __ATOMIC_RELAXED),
        .trie_nodes = trie_node_count(router->trie),
        .bytes = sizeof(*router) + rcu_table_bytes(router->exact) + trie_bytes(router->trie) +
                 __atomic_load_n(&router->exact_bytes, __ATOMIC_RELAXED) +
                 __atomic_load_n(&router->route_bytes, __ATOMIC_RELAXED),
    };
}

/*
 * A cursor of router_visit(): bits 0..40 the table's or the trie's cursor, bit 41 set in the trie, above it how many
 * entries of that step were visited already, for a limit reached in the middle of one.
 */
#define CURSOR_STEP_MASK ((UINT64_C(1) << TRIE_CURSOR_BITS) - 1)
#define CURSOR_IN_TRIE (UINT64_C(1) << TRIE_CURSOR_BITS)
#define CURSOR_SKIP_SHIFT (TRIE_CURSOR_BITS + 1)
#define CURSOR_SKIP_MAX ((UINT64_C(1) << (64 - CURSOR_SKIP_SHIFT)) - 1)

struct visitor {
    bool (*visit)(void *context, struct slice filter, uint16_t id, struct slice group);
    void *context;
    uint64_t seen; /* entries of this step, visited or skipped */
    uint64_t skip; /* entries of this step visited before */
    uint32_t left; /* calls allowed */
    bool stopped;  /* by the limit or by `visit`: the step is not done */
    bool ended;    /* by `visit` */
};

static void visit_entry(struct visitor *visitor, struct slice filter, route_word entry)
{
    const struct slice none = {NULL, 0};

    if (visitor->stopped)
        return;
    if (visitor->left == 0 || visitor->ended) {
        visitor->stopped = true;
        return;
    }
    if (visitor->seen++ < visitor->skip)
        return;
    visitor->left--;
    if (route_kind(entry) == ROUTE_GROUP)
        visitor->ended = !visitor->visit(visitor->context, filter, 0, share_group_name(route_pointer(entry)));
    else
        visitor->ended = !visitor->visit(visitor->context, filter, route_id(entry), none);
}

static void visit_route(void *context, struct slice filter, const route_word *route)
{
    route_word word = RCU_READ(*route);
    uint32_t count;
    const route_word *words = route_words(&word, &count);

    for (uint32_t i = 0; i < count; i++) {
        route_word entry = RCU_READ(words[i]);

        if (entry != 0)
            visit_entry(context, filter, entry);
    }
}

static void visit_exact(void *context, void *element)
{
    const struct exact_route *exact = element;

    visit_route(context, exact_filter(exact), &exact->route);
}

/* One step of the table or the trie from `position` on. Returns the position after it, 0 at the end. */
static uint64_t visit_step(const struct router *router, struct visitor *visitor, uint64_t position)
{
    uint64_t step = position & CURSOR_STEP_MASK;

    if (position & CURSOR_IN_TRIE) {
        trie_visit(router->trie, &step, visit_route, visitor);
        return step == 0 ? 0 : step | CURSOR_IN_TRIE;
    }
    rcu_table_visit(router->exact, &step, 1, visit_exact, visitor);
    return step == 0 ? CURSOR_IN_TRIE : step;
}

void router_visit(const struct router *router, uint64_t *cursor, uint32_t limit,
                  bool (*visit)(void *context, struct slice filter, uint16_t id, struct slice group), void *context)
{
    struct visitor visitor = {.visit = visit, .context = context, .left = limit};
    uint64_t position = *cursor & (CURSOR_STEP_MASK | CURSOR_IN_TRIE);

    ASSERT(limit > 0);
    visitor.skip = *cursor >> CURSOR_SKIP_SHIFT;
    do {
        uint64_t next;

        visitor.seen = 0;
        next = visit_step(router, &visitor, position);
        if (visitor.stopped) {
            /* More entries on one step than the cursor can count: the rest of them is left out. */
            *cursor = visitor.seen > CURSOR_SKIP_MAX ? next : position | visitor.seen << CURSOR_SKIP_SHIFT;
            return;
        }
        visitor.skip = 0;
        position = next;
    } while (position != 0 && visitor.left > 0 && !visitor.ended);
    *cursor = position;
}
