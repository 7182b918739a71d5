/*
 * trie: see trie_internal.h.
 *
 * A node's parent and level never change, so a reader on a node that has just been taken out still finds its way
 * back. A node is taken out only when it holds nothing, under the writers' lock; adding the same filter again makes a
 * new one.
 */
#include "broker/router/trie_internal.h"

#include "base/rcu_table.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* short levels: the call would cost as much as the hash */
#include <xxhash.h>

#define EDGE_SHARDS 256u

struct trie_node {
    struct trie_node *parent; /* NULL: the root */
    struct trie_node *plus;   /* child of `+` */
    route_word route;         /* filters that end here */
    route_word hash_route;    /* filters that end here with a further level `#` */
    uint32_t child_count;     /* literal children */
    uint16_t level_len;
    bool is_plus;
    uint8_t level[];
};

struct trie {
    struct rcu_table *edges; /* of literal nodes */
    uint64_t seed;
    uint64_t node_count;
    uint64_t node_bytes;
    pthread_mutex_t lock;
    struct trie_node *root;
};

/* One step from a node. */
struct edge {
    const struct trie_node *parent;
    struct slice level;
    const struct trie *trie; /* NULL: no further step is to come */
    uint64_t next_hash;      /* of the level after this one */
};

static uint64_t level_hash(const struct trie *trie, struct slice level)
{
    return XXH3_64bits_withSeed(level.data, level.len, trie->seed);
}

/* Mixes the parent into the level's hash, which a match computes once for all parents. */
static uint64_t edge_hash(const struct trie_node *parent, uint64_t level)
{
    uint64_t hash = (level ^ ((uint64_t)(uintptr_t)parent >> 4)) * UINT64_C(0x9E3779B97F4A7C15);

    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    return hash ^ hash >> 32;
}

static bool edge_matches(const void *element, const void *key)
{
    const struct trie_node *node = element;
    const struct edge *edge = key;

    /* The next step's slot depends on the node's address alone, so it comes while the node itself does. */
    if (edge->trie != NULL)
        rcu_table_prefetch(edge->trie->edges, edge_hash(node, edge->next_hash));
    return node->parent == edge->parent && node->level_len == edge->level.len &&
           memcmp(node->level, edge->level.data, edge->level.len) == 0;
}

static struct slice node_level(const struct trie_node *node)
{
    return slice_make(node->level, node->level_len);
}

static uint64_t node_hash(const void *element, const void *context)
{
    const struct trie_node *node = element;

    return edge_hash(node->parent, level_hash(context, node_level(node)));
}

static size_t node_size(size_t level_len)
{
    size_t size = offsetof(struct trie_node, level) + level_len;

    return size < sizeof(struct trie_node) ? sizeof(struct trie_node) : size;
}

static struct trie_node *node_new(struct trie *trie, struct trie_node *parent, struct slice level, bool is_plus)
{
    struct trie_node *node = calloc(1, node_size(level.len));

    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->is_plus = is_plus;
    node->level_len = (uint16_t)level.len;
    if (level.len > 0)
        memcpy(node->level, level.data, level.len);
    __atomic_fetch_add(&trie->node_count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&trie->node_bytes, node_size(level.len), __ATOMIC_RELAXED);
    return node;
}

static void node_uncount(struct trie *trie, const struct trie_node *node)
{
    __atomic_fetch_sub(&trie->node_count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&trie->node_bytes, node_size(node->level_len), __ATOMIC_RELAXED);
}

/* The level that starts at `start`; the filter's last one ends at its end. */
static struct slice level_at(struct slice text, size_t start)
{
    const uint8_t *separator = start < text.len ? memchr(text.data + start, '/', text.len - start) : NULL;
    size_t end = separator != NULL ? (size_t)(separator - text.data) : text.len;

    return slice_make(text.data + start, end - start);
}

struct trie *trie_new(uint64_t seed)
{
    struct trie *trie = calloc(1, sizeof(*trie));

    if (trie == NULL)
        return NULL;
    trie->seed = seed;
    pthread_mutex_init(&trie->lock, NULL);
    trie->edges = rcu_table_new(EDGE_SHARDS, node_hash, trie);
    trie->root = node_new(trie, NULL, SLICE_LITERAL(""), false);
    if (trie->edges == NULL || trie->root == NULL) {
        trie_free(trie);
        return NULL;
    }
    return trie;
}

/* Frees a literal node (or the root) and what hangs on it by `+` steps alone. */
static void node_free_chain(void *element)
{
    struct trie_node *node = element;

    while (node != NULL) {
        struct trie_node *next = node->plus;

        route_fini(&node->route);
        route_fini(&node->hash_route);
        free(node);
        node = next;
    }
}

void trie_free(struct trie *trie)
{
    if (trie == NULL)
        return;
    rcu_table_free(trie->edges, node_free_chain);
    node_free_chain(trie->root);
    pthread_mutex_destroy(&trie->lock);
    free(trie);
}

void trie_lock(struct trie *trie)
{
    pthread_mutex_lock(&trie->lock);
}

void trie_unlock(struct trie *trie)
{
    pthread_mutex_unlock(&trie->lock);
}

static bool level_is(struct slice level, char wildcard)
{
    return level.len == 1 && level.data[0] == (uint8_t)wildcard;
}

static struct trie_node *child_find(const struct trie *trie, const struct trie_node *node, struct slice level)
{
    if (level_is(level, '+'))
        return node->plus;
    return rcu_table_find(trie->edges, edge_hash(node, level_hash(trie, level)), edge_matches,
                          &(struct edge){.parent = node, .level = level});
}

/* Adds the child of that level. NULL when memory is short. */
static struct trie_node *child_make(struct trie *trie, struct trie_node *node, struct slice level)
{
    bool is_plus = level_is(level, '+');
    struct trie_node *child = node_new(trie, node, is_plus ? SLICE_LITERAL("") : level, is_plus);

    if (child == NULL)
        return NULL;
    if (is_plus) {
        RCU_PUBLISH(node->plus, child);
        return child;
    }
    if (rcu_table_insert(trie->edges, node_hash(child, trie), edge_matches,
                         &(struct edge){.parent = node, .level = level}, child, NULL) < 0) {
        node_uncount(trie, child);
        free(child);
        return NULL;
    }
    __atomic_store_n(&node->child_count, node->child_count + 1, __ATOMIC_RELEASE);
    return child;
}

/* Walks down the levels of the filter. 0, -ENOENT (only when not `make`) or -ENOMEM. */
static int place_locate(struct trie *trie, struct slice filter, bool make, struct trie_place *out_place)
{
    struct trie_node *node = trie->root;

    for (size_t start = 0; start <= filter.len;) {
        struct slice level = level_at(filter, start);
        struct trie_node *child;

        if (level_is(level, '#')) {
            *out_place = (struct trie_place){node, &node->hash_route};
            return 0;
        }
        child = child_find(trie, node, level);
        if (child == NULL && !make)
            return -ENOENT;
        if (child == NULL)
            child = child_make(trie, node, level);
        if (child == NULL) {
            trie_prune(trie, node);
            return -ENOMEM;
        }
        node = child;
        start += level.len + 1;
    }
    *out_place = (struct trie_place){node, &node->route};
    return 0;
}

bool trie_find(struct trie *trie, struct slice filter, struct trie_place *out_place)
{
    return place_locate(trie, filter, false, out_place) == 0;
}

int trie_make(struct trie *trie, struct slice filter, struct trie_place *out_place)
{
    return place_locate(trie, filter, true, out_place);
}

static void node_unlink(struct trie *trie, struct trie_node *node)
{
    struct trie_node *parent = node->parent;

    if (node->is_plus) {
        RCU_PUBLISH(parent->plus, (struct trie_node *)NULL);
        return;
    }
    rcu_table_remove(trie->edges, node_hash(node, trie), node);
    __atomic_store_n(&parent->child_count, parent->child_count - 1, __ATOMIC_RELEASE);
}

void trie_prune(struct trie *trie, struct trie_node *node)
{
    while (node->parent != NULL && node->plus == NULL && node->child_count == 0 && node->route == 0 &&
           node->hash_route == 0) {
        struct trie_node *parent = node->parent;

        node_unlink(trie, node);
        node_uncount(trie, node);
        rcu_retire(node, free);
        node = parent;
    }
}

/* Levels whose place and hash a match keeps; those behind are found again each time. */
#define WALK_LEVELS 32u

/* Where a match is in its topic. */
struct walk {
    const struct trie *trie;
    struct slice topic;
    struct trie_node *node;
    size_t start;   /* of the level to take next; topic.len + 1: none is left */
    uint32_t index; /* of that level */
    uint32_t known; /* levels in the arrays below */
    uint32_t starts[WALK_LEVELS];
    uint32_t lens[WALK_LEVELS];
    uint64_t hashes[WALK_LEVELS];
};

/* The level number `index`, which starts at `start`, and its hash. */
static struct slice walk_level(struct walk *walk, uint32_t index, size_t start, uint64_t *out_hash)
{
    struct slice level;

    if (index < walk->known) {
        *out_hash = walk->hashes[index];
        return slice_make(walk->topic.data + walk->starts[index], walk->lens[index]);
    }
    level = level_at(walk->topic, start);
    *out_hash = level_hash(walk->trie, level);
    if (index < WALK_LEVELS) {
        walk->starts[index] = (uint32_t)start;
        walk->lens[index] = (uint32_t)level.len;
        walk->hashes[index] = *out_hash;
        walk->known = index + 1;
    }
    return level;
}

static void walk_down(struct walk *walk, struct trie_node *child, size_t level_len)
{
    walk->node = child;
    walk->start += level_len + 1;
    walk->index++;
}

/* Back to the parent: `start` becomes that of the level before. */
static void walk_up(struct walk *walk)
{
    walk->node = walk->node->parent;
    walk->index--;
    if (walk->index < walk->known) {
        walk->start = walk->starts[walk->index];
    } else {
        const uint8_t *separator = memrchr(walk->topic.data, '/', walk->start - 1);

        walk->start = separator == NULL ? 0 : (size_t)(separator - walk->topic.data) + 1;
    }
}

/* A wildcard in the first level does not match topics that start with `$` [MQTT-4.7.2-1]. */
static struct trie_node *walk_plus(const struct walk *walk)
{
    if (walk->node->parent == NULL && walk->topic.len > 0 && walk->topic.data[0] == '$')
        return NULL;
    return RCU_READ(walk->node->plus);
}

/* The child of the literal level, whose hash is `hash`. */
static struct trie_node *walk_literal(struct walk *walk, struct slice level, uint64_t hash)
{
    struct edge edge = {.parent = walk->node, .level = level, .trie = NULL};
    size_t next_start = walk->start + level.len + 1;

    if (__atomic_load_n(&walk->node->child_count, __ATOMIC_ACQUIRE) == 0)
        return NULL;
    if (next_start <= walk->topic.len) {
        edge.trie = walk->trie;
        (void)walk_level(walk, walk->index + 1, next_start, &edge.next_hash);
    }
    return rcu_table_find(walk->trie->edges, edge_hash(walk->node, hash), edge_matches, &edge);
}

/* Down by one level, the literal child before the `+` child. False: there is no way down. */
static bool walk_descend(struct walk *walk)
{
    struct trie_node *child;
    struct trie_node *plus = walk_plus(walk);
    uint64_t hash;
    struct slice level;

    if (walk->start > walk->topic.len)
        return false;
    if (plus != NULL)
        __builtin_prefetch(plus);
    level = walk_level(walk, walk->index, walk->start, &hash);
    child = walk_literal(walk, level, hash);
    if (child == NULL)
        child = plus;
    if (child == NULL)
        return false;
    walk_down(walk, child, level.len);
    return true;
}

/* Up until a literal node has a `+` sibling, and onto that one. False: the walk is over. */
static bool walk_turn(struct walk *walk)
{
    while (walk->node->parent != NULL) {
        bool was_plus = walk->node->is_plus;
        struct trie_node *plus;
        uint64_t hash;

        walk_up(walk);
        plus = was_plus ? NULL : walk_plus(walk);
        if (plus != NULL) {
            walk_down(walk, plus, walk_level(walk, walk->index, walk->start, &hash).len);
            return true;
        }
    }
    return false;
}

void trie_match(const struct trie *trie, struct slice topic, struct route_sink *sink)
{
    struct walk walk;

    walk.trie = trie;
    walk.topic = topic;
    walk.node = trie->root;
    walk.start = 0;
    walk.index = 0;
    walk.known = 0;
    if (topic.len == 0 || topic.data[0] != '$')
        route_emit(sink, &trie->root->hash_route);
    while (walk_descend(&walk) || walk_turn(&walk)) {
        route_emit(sink, &walk.node->hash_route);
        if (walk.start > topic.len)
            route_emit(sink, &walk.node->route);
    }
}

/* Writes the node's filter to the end of `buffer`, before `suffix`. */
static struct slice node_filter(const struct trie_node *node, uint8_t *buffer, size_t capacity, struct slice suffix)
{
    size_t start = capacity - suffix.len;

    memcpy(buffer + start, suffix.data, suffix.len);
    for (bool is_last = suffix.len == 0; node->parent != NULL; node = node->parent, is_last = false) {
        struct slice level = node->is_plus ? SLICE_LITERAL("+") : node_level(node);

        ASSERT(start >= level.len + 1);
        if (!is_last)
            buffer[--start] = '/';
        start -= level.len;
        memcpy(buffer + start, level.data, level.len);
    }
    return slice_make(buffer + start, capacity - start);
}

struct trie_visitor {
    void (*visit)(void *context, struct slice filter, const route_word *route);
    void *context;
};

static void node_visit(const struct trie_visitor *visitor, const struct trie_node *node)
{
    uint8_t buffer[MQTT_TOPIC_LEN_MAX + 2];

    if (RCU_READ(node->route) != 0)
        visitor->visit(visitor->context, node_filter(node, buffer, sizeof(buffer), SLICE_LITERAL("")), &node->route);
    if (RCU_READ(node->hash_route) != 0)
        visitor->visit(visitor->context, node_filter(node, buffer, sizeof(buffer), SLICE_LITERAL("#")),
                       &node->hash_route);
}

/* A literal node (or the root) and what hangs on it by `+` steps alone: the table holds only literal nodes. */
static void node_visit_chain(void *context, void *element)
{
    for (struct trie_node *node = element; node != NULL; node = RCU_READ(node->plus))
        node_visit(context, node);
}

#define CURSOR_IN_TABLE (UINT64_C(1) << RCU_TABLE_CURSOR_BITS)

void trie_visit(const struct trie *trie, uint64_t *cursor,
                void (*visit)(void *context, struct slice filter, const route_word *route), void *context)
{
    struct trie_visitor visitor = {visit, context};
    uint64_t in_table = *cursor & (CURSOR_IN_TABLE - 1);

    if (*cursor == 0) {
        node_visit_chain(&visitor, trie->root);
        *cursor = CURSOR_IN_TABLE;
        return;
    }
    rcu_table_visit(trie->edges, &in_table, 1, node_visit_chain, &visitor);
    *cursor = in_table == 0 ? 0 : CURSOR_IN_TABLE | in_table;
}

uint64_t trie_node_count(const struct trie *trie)
{
    return __atomic_load_n(&trie->node_count, __ATOMIC_RELAXED);
}

uint64_t trie_bytes(const struct trie *trie)
{
    return sizeof(*trie) + rcu_table_bytes(trie->edges) + __atomic_load_n(&trie->node_bytes, __ATOMIC_RELAXED);
}
