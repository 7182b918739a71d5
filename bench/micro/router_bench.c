/*
 * router_bench: what a match costs and what a filter weighs, at a million filters.
 *
 * Usage: router_bench [FILTERS]. For each set of filters a fresh router is filled, then topics drawn at random are
 * matched; prints nanoseconds of CPU per match and per change, hits per match, and bytes per filter as the allocator
 * and as the router itself count them. The topics' texts are made before the clock starts.
 */
#include "allocated.h"
#include "base/rcu.h"
#include "broker/router/router.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOPIC_COUNT 1000000u
#define TEXT_MAX 96

struct load {
    const char *name;
    void (*filter)(char *text, uint32_t index);
    void (*topic)(char *text, uint32_t index); /* one that the filter of that index matches */
};

/* Of this thread's CPU time, so that others on the machine disturb it less. */
static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static void exact_filter(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "site/%u/dev/%u/temp", index % 1000, index);
}

static void plus_filter(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "dev/%u/+/temp", index);
}

static void plus_topic(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "dev/%u/room7/temp", index);
}

static void hash_filter(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "site/%u/dev/%u/#", index % 1000, index);
}

static void hash_topic(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "site/%u/dev/%u/temp", index % 1000, index);
}

static void deep_filter(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "%u/a/%u/+/%u", index % 100, index, index % 7);
}

static void deep_topic(char *text, uint32_t index)
{
    snprintf(text, TEXT_MAX, "%u/a/%u/x/%u", index % 100, index, index % 7);
}

/* Most filters exact, the rest with wildcards in several places, some of which overlap. */
static void mixed_filter(char *text, uint32_t index)
{
    uint32_t site = index % 1000;

    switch (index % 10) {
    case 0: snprintf(text, TEXT_MAX, "site/%u/dev/%u/#", site, index); break;
    case 1: snprintf(text, TEXT_MAX, "site/+/dev/%u/+", index); break;
    case 2: snprintf(text, TEXT_MAX, "site/%u/+/%u/temp", site, index); break;
    case 3: snprintf(text, TEXT_MAX, index < 100 ? "site/%u/#" : "+/%u/dev/+/k%u", site, index); break;
    default: snprintf(text, TEXT_MAX, "site/%u/dev/%u/temp", site, index); break;
    }
}

/* Adds (or removes) all filters. Returns nanoseconds. */
static uint64_t change_all(struct router *router, const struct load *load, uint32_t count, bool add)
{
    uint64_t begin = now_ns();
    char text[TEXT_MAX];

    for (uint32_t i = 0; i < count; i++) {
        load->filter(text, i);
        if (add && router_add(router, slice_from_string(text), (uint16_t)(i % 4), router) < 0)
            abort();
        if (!add && router_remove(router, slice_from_string(text), (uint16_t)(i % 4)) == NULL)
            abort();
        if (i % 256 == 0) {
            rcu_retire_flush();
            rcu_thread_quiescent();
        }
    }
    return now_ns() - begin;
}

/* Topics in one block; TOPIC_COUNT entries. */
static struct slice *topics_new(const struct load *load, uint32_t count, char **out_block)
{
    struct slice *topics = malloc(TOPIC_COUNT * sizeof(*topics));
    char *block = malloc((size_t)TOPIC_COUNT * TEXT_MAX);
    char *at = block;
    uint64_t random = 42;

    if (topics == NULL || block == NULL)
        abort();
    for (uint32_t i = 0; i < TOPIC_COUNT; i++) {
        load->topic(at, draw(&random) % count);
        topics[i] = slice_from_string(at);
        at += topics[i].len;
    }
    *out_block = block;
    return topics;
}

static void run(const struct load *load, uint32_t count)
{
    char *block;
    struct slice *topics = topics_new(load, count, &block);
    size_t bytes = allocated_bytes();
    struct router *router = router_new();
    struct router_hit hits[64];
    struct router_stats stats;
    uint64_t add_ns = change_all(router, load, count, true);
    uint64_t hit_count = 0;
    uint64_t match_ns;
    uint64_t remove_ns;

    rcu_barrier_all();
    bytes = allocated_bytes() - bytes;
    router_stats(router, &stats);
    match_ns = now_ns();
    for (uint32_t i = 0; i < TOPIC_COUNT; i++)
        hit_count += router_match(router, topics[i], hits, 64);
    match_ns = now_ns() - match_ns;
    remove_ns = change_all(router, load, count, false);
    printf("%-28s %8.0f ns/match %6.2f hits %6.0f B/filter (own count %4.0f) %6.0f ns/add %6.0f ns/remove\n",
           load->name, (double)match_ns / TOPIC_COUNT, (double)hit_count / TOPIC_COUNT, (double)bytes / count,
           (double)stats.bytes / count, (double)add_ns / count, (double)remove_ns / count);
    router_free(router);
    rcu_barrier_all();
    free(topics);
    free(block);
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {
        {"exact", exact_filter, exact_filter},
        {"wildcard dev/{i}/+/temp", plus_filter, plus_topic},
        {"wildcard site/{a}/dev/{i}/#", hash_filter, hash_topic},
        {"wildcard {a}/a/{i}/+/{b}", deep_filter, deep_topic},
        {"mixed, 60% exact", mixed_filter, exact_filter},
    };
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000u;

    if (count == 0) {
        fprintf(stderr, "usage: router_bench [FILTERS]\n");
        return 2;
    }
    rcu_thread_register();
    for (size_t i = 0; i < ARRAY_COUNT(loads); i++)
        run(&loads[i], count);
    rcu_thread_unregister();
    return 0;
}
