/*
 * router: what matches, what changes, what is left behind, and readers beside writers.
 */
#include "broker/router/router.h"

#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/router/share_group.h"
#include "naive_match.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TEXT_MAX 128

static struct slice text(const char *string)
{
    return slice_from_string(string);
}

static void *number(uintptr_t value)
{
    return (void *)(value << 4);
}

static int set_up(void **state)
{
    rcu_thread_register();
    *state = router_new();
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    router_free(*state);
    rcu_thread_unregister();
    return 0;
}

static uint32_t match_count(const struct router *router, const char *topic)
{
    return router_match(router, text(topic), NULL, 0);
}

static void finds_the_destinations_of_an_exact_filter(void **state)
{
    struct router_hit hits[4];

    assert_int_equal(router_add(*state, text("a/b"), 0, number(1)), 0);
    assert_int_equal(router_add(*state, text("a/b"), 4095, number(2)), 0);
    assert_int_equal(router_match(*state, text("a/b"), hits, 4), 2);
    assert_ptr_equal(hits[0].target, number(1));
    assert_int_equal(hits[0].id, 0);
    assert_null(hits[0].group);
    assert_ptr_equal(hits[1].target, number(2));
    assert_int_equal(hits[1].id, 4095);
    assert_int_equal(match_count(*state, "a/b/c"), 0);
    assert_int_equal(match_count(*state, "a"), 0);
}

static void refuses_a_destination_that_is_there_already(void **state)
{
    assert_int_equal(router_add(*state, text("a/+"), 7, number(1)), 0);
    assert_int_equal(router_add(*state, text("a/+"), 7, number(2)), -EEXIST);
    assert_int_equal(router_add(*state, text("x"), 7, number(1)), 0);
    assert_int_equal(router_add(*state, text("x"), 7, number(2)), -EEXIST);
    assert_int_equal(match_count(*state, "a/b"), 1);
}

static void hands_back_the_pointer_of_what_it_removes(void **state)
{
    assert_int_equal(router_add(*state, text("a/#"), 3, number(9)), 0);
    assert_null(router_remove(*state, text("a/#"), 2));
    assert_null(router_remove(*state, text("a/+"), 3));
    assert_ptr_equal(router_remove(*state, text("a/#"), 3), number(9));
    assert_null(router_remove(*state, text("a/#"), 3));
    assert_int_equal(match_count(*state, "a/b"), 0);
}

static void hash_matches_the_level_above_too(void **state)
{
    assert_int_equal(router_add(*state, text("a/#"), 0, number(1)), 0);
    assert_int_equal(match_count(*state, "a"), 1);
    assert_int_equal(match_count(*state, "a/"), 1);
    assert_int_equal(match_count(*state, "a/b/c"), 1);
    assert_int_equal(match_count(*state, "ab"), 0);
}

/* [MQTT-4.7.2-1] */
static void a_leading_wildcard_matches_no_dollar_topic(void **state)
{
    assert_int_equal(router_add(*state, text("#"), 0, number(1)), 0);
    assert_int_equal(router_add(*state, text("+/a"), 1, number(2)), 0);
    assert_int_equal(router_add(*state, text("$SYS/#"), 2, number(3)), 0);
    assert_int_equal(router_add(*state, text("$SYS/+"), 3, number(4)), 0);
    assert_int_equal(match_count(*state, "$SYS/a"), 2);
    assert_int_equal(match_count(*state, "x/a"), 2);
    assert_int_equal(match_count(*state, "x/$SYS"), 1);
}

static void says_how_many_hits_there_are_when_room_is_short(void **state)
{
    struct router_hit hits[3];

    for (uint16_t id = 0; id < 100; id++)
        assert_int_equal(router_add(*state, text("a"), id, number(id + 1)), 0);
    hits[2].target = NULL;
    assert_int_equal(router_match(*state, text("a"), hits, 2), 100);
    assert_null(hits[2].target);
}

static void raises_the_version_with_each_change_only(void **state)
{
    uint64_t version = router_version(*state);
    struct share_group *group;

    assert_int_equal(router_add(*state, text("a/+"), 0, number(1)), 0);
    assert_int_equal(router_version(*state), version + 1);
    assert_int_equal(router_add(*state, text("a/+"), 0, number(1)), -EEXIST);
    assert_null(router_remove(*state, text("b"), 0));
    assert_null(router_group_get(*state, text("a"), text("g"), false));
    assert_int_equal(router_version(*state), version + 1);
    group = router_group_get(*state, text("a"), text("g"), true);
    assert_int_equal(router_version(*state), version + 2);
    assert_ptr_equal(router_group_get(*state, text("a"), text("g"), true), group);
    assert_int_equal(router_version(*state), version + 2);
    router_group_release(*state, group);
    assert_ptr_equal(router_remove(*state, text("a/+"), 0), number(1));
    assert_int_equal(router_version(*state), version + 4);
}

static void keeps_a_group_while_it_has_members(void **state)
{
    struct share_member member = {.destination = 1};
    struct share_group *group;
    struct router_hit hits[2];

    assert_int_equal(router_group_join(*state, text("a/+"), text("g"), &member, &group), 0);
    router_group_release(*state, group);
    assert_int_equal(router_match(*state, text("a/b"), hits, 2), 1);
    assert_ptr_equal(hits[0].group, group);
    assert_null(hits[0].target);
    share_group_remove(group, &member);
    router_group_release(*state, group);
    assert_int_equal(match_count(*state, "a/b"), 0);
    router_group_release(*state, group);
}

static void refuses_members_of_a_dropped_group(void **state)
{
    struct share_member member = {.destination = 1};
    struct share_group *group = router_group_get(*state, text("a"), text("g"), true);

    router_group_release(*state, group);
    assert_int_equal(share_group_add(group, &member), -ESTALE);
}

static void leaves_nothing_behind(void **state)
{
    struct router_stats before;
    struct router_stats after;
    char filter[TEXT_MAX];

    router_stats(*state, &before);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3000; i++) {
            snprintf(filter, sizeof(filter), i % 2 ? "dev/%d/+/x/#" : "dev/%d/x", i / 6);
            assert_int_equal(router_add(*state, text(filter), (uint16_t)(i % 6), number(1)), 0);
        }
        router_stats(*state, &after);
        assert_int_equal(after.exact_count, 500);
        assert_int_equal(after.wildcard_count, 500);
        assert_int_equal(after.trie_nodes, 1 + 1 + 3 * 500);
        for (int i = 0; i < 3000; i++) {
            snprintf(filter, sizeof(filter), i % 2 ? "dev/%d/+/x/#" : "dev/%d/x", i / 6);
            assert_ptr_equal(router_remove(*state, text(filter), (uint16_t)(i % 6)), number(1));
        }
        rcu_thread_quiescent();
    }
    router_stats(*state, &after);
    assert_memory_equal(&before, &after, sizeof(before));
}

static void counts_routes_whatever_their_kind(void **state)
{
    struct slice exact = SLICE_LITERAL("count/a"), wildcard = SLICE_LITERAL("count/+");
    uint64_t max, before = stats_read(STAT_ROUTES, &max);
    int target;

    assert_int_equal(router_add(*state, exact, 0, &target), 0);
    assert_int_equal(router_add(*state, exact, 1, &target), 0); /* a second destination is no second route */
    assert_int_equal(router_add(*state, wildcard, 0, &target), 0);
    assert_int_equal(stats_read(STAT_ROUTES, &max), before + 2);
    router_remove(*state, exact, 0);
    assert_int_equal(stats_read(STAT_ROUTES, &max), before + 2);
    router_remove(*state, exact, 1);
    router_remove(*state, wildcard, 0);
    assert_int_equal(stats_read(STAT_ROUTES, &max), before);
    assert_int_equal(stats_read(STAT_TOPICS, &max), before);
}

static void takes_topics_and_filters_of_any_depth(void **state)
{
    static char topic[65536];
    static char filter[65536];

    memset(topic, '/', 65535);
    for (size_t i = 0; i < 65535; i++)
        filter[i] = i % 2 == 0 ? '+' : '/';
    assert_int_equal(router_add(*state, text(filter), 0, number(1)), 0);
    for (size_t i = 0; i < 65534; i += 2)
        filter[i] = 'a';
    filter[65534] = '#';
    assert_int_equal(router_add(*state, text(filter), 1, number(2)), 0);
    filter[65534] = '+';
    assert_int_equal(router_add(*state, text(filter), 2, number(3)), 0);
    assert_int_equal(match_count(*state, topic), 0);
    topic[32767] = '\0'; /* 32,768 levels, as in the filters */
    assert_int_equal(match_count(*state, topic), 1);
    for (size_t i = 0; i < 65535; i++)
        topic[i] = i % 2 == 0 ? 'a' : '/';
    assert_int_equal(match_count(*state, topic), 3);
    topic[65532] = 'b'; /* the walk goes all the way down twice */
    assert_int_equal(match_count(*state, topic), 1);
}

#define RANDOM_FILTERS 400

struct random_route {
    char filter[TEXT_MAX];
    bool there;
};

/* Ids are the index, so each (filter, id) pair stands for one entry of the table, and duplicates share a route. */
static void compare_with_naive(struct router *router, const struct random_route *routes, const char *topic)
{
    static struct router_hit hits[RANDOM_FILTERS];
    uint32_t count = router_match(router, text(topic), hits, RANDOM_FILTERS);
    uint32_t expected = 0;

    for (uint32_t i = 0; i < RANDOM_FILTERS; i++)
        expected += routes[i].there && naive_match(topic, routes[i].filter);
    assert_int_equal(count, expected);
    for (uint32_t i = 0; i < count; i++) {
        assert_ptr_equal(hits[i].target, number(hits[i].id + 1u));
        assert_true(routes[hits[i].id].there && naive_match(topic, routes[hits[i].id].filter));
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(hits[k].id, hits[i].id);
    }
}

static void agrees_with_a_naive_matcher(void **state)
{
    static struct random_route routes[RANDOM_FILTERS];
    uint32_t random = 2463534242u;
    char topic[TEXT_MAX];

    for (uint32_t i = 0; i < RANDOM_FILTERS; i++)
        naive_random_text(&random, routes[i].filter, naive_random(&random) % 4 != 0);
    for (uint32_t step = 0; step < 30000; step++) {
        uint32_t i = naive_random(&random) % RANDOM_FILTERS;

        if (routes[i].there)
            assert_ptr_equal(router_remove(*state, text(routes[i].filter), (uint16_t)i), number(i + 1));
        else
            assert_int_equal(router_add(*state, text(routes[i].filter), (uint16_t)i, number(i + 1)), 0);
        routes[i].there = !routes[i].there;
        naive_random_text(&random, topic, false);
        compare_with_naive(*state, routes, topic);
        if (step % 64 == 0)
            rcu_thread_quiescent();
    }
}

struct visited {
    uint32_t calls;
    uint8_t seen[3][1000]; /* exact, wildcard, groups */
};

static bool note_visit(void *context, struct slice filter, uint16_t id, struct slice group)
{
    struct visited *visited = context;
    char copy[TEXT_MAX];
    uint32_t index = 0;

    assert_true(filter.len < sizeof(copy));
    memcpy(copy, filter.data, filter.len);
    copy[filter.len] = '\0';
    visited->calls++;
    if (group.data != NULL) {
        assert_int_equal(sscanf(copy, "+/g/%u", &index), 1);
        assert_true(slice_equal(group, SLICE_LITERAL("group")));
        visited->seen[2][index]++;
    } else if (sscanf(copy, "+/w/%u/#", &index) == 1) {
        assert_int_equal(id, index);
        visited->seen[1][index]++;
    } else {
        assert_int_equal(sscanf(copy, "e/%u", &index), 1);
        visited->seen[0][index * 10 + id]++;
    }
    return true;
}

static void visits_each_destination_and_group_once_in_slices(void **state)
{
    static struct visited visited;
    struct share_member member = {.destination = 0};
    struct share_group *group;
    uint64_t cursor = 0;
    char filter[TEXT_MAX];

    memset(&visited, 0, sizeof(visited));
    for (uint16_t i = 0; i < 1000; i++) {
        snprintf(filter, sizeof(filter), "e/%d", i / 10);
        assert_int_equal(router_add(*state, text(filter), i % 10, number(1)), 0);
        snprintf(filter, sizeof(filter), "+/w/%d/#", i);
        assert_int_equal(router_add(*state, text(filter), i, number(1)), 0);
        snprintf(filter, sizeof(filter), "+/g/%d", i);
        assert_int_equal(router_group_join(*state, text(filter), text("group"), &member, &group), 0);
    }
    do {
        uint32_t before = visited.calls;

        router_visit(*state, &cursor, 7, note_visit, &visited);
        assert_true(visited.calls - before <= 7);
    } while (cursor != 0);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(visited.seen[i / 1000][i % 1000], 1);
    assert_int_equal(visited.calls, 3000);
}

static bool copy_visit(void *context, struct slice filter, uint16_t id, struct slice group)
{
    char *copy = context;

    (void)id;
    (void)group;
    memcpy(copy, filter.data, filter.len);
    copy[filter.len] = '\0';
    return true;
}

static void rebuilds_the_text_of_wildcard_filters(void **state)
{
    static const char *const filters[] = {"#", "+", "+/+", "+/#", "/#", "a/+", "/+/", "//+", "+/a/+/#", "$share/+/x"};
    char copy[TEXT_MAX];

    for (size_t i = 0; i < ARRAY_COUNT(filters); i++) {
        uint64_t cursor = 0;

        copy[0] = '\0';
        assert_int_equal(router_add(*state, text(filters[i]), 0, number(1)), 0);
        router_visit(*state, &cursor, 10, copy_visit, copy);
        assert_string_equal(copy, filters[i]);
        assert_non_null(router_remove(*state, text(filters[i]), 0));
    }
}

/* Readers match while writers add and remove around routes that stay. Run under ThreadSanitizer too. */
#define STRESS_WRITES 20000

struct stress {
    struct router *router;
    _Atomic int writers_left;
    _Atomic uint64_t wrong;
    _Atomic uint32_t next_seed;
};

static void *stress_write(void *argument)
{
    struct stress *stress = argument;
    uint32_t random = atomic_fetch_add(&stress->next_seed, 77777u);
    char filter[TEXT_MAX];

    rcu_thread_register();
    for (uint32_t i = 0; i < STRESS_WRITES; i++) {
        uint16_t id = (uint16_t)(10 + naive_random(&random) % 8);
        struct share_member member = {.destination = id, .online = true};
        struct share_group *group;

        naive_random_text(&random, filter, true);
        if (naive_random(&random) % 8 == 0) {
            if (router_group_join(stress->router, text(filter), text("g"), &member, &group) == 0) {
                share_group_remove(group, &member);
                router_group_release(stress->router, group);
            }
        } else if (router_add(stress->router, text(filter), id, number(id)) == -EEXIST) {
            (void)router_remove(stress->router, text(filter), id);
        }
        if (i % 32 == 0) {
            rcu_retire_flush();
            rcu_thread_quiescent();
        }
    }
    rcu_thread_unregister();
    atomic_fetch_sub(&stress->writers_left, 1);
    return NULL;
}

static void stress_check(struct stress *stress, const char *topic, uint16_t fixed_id)
{
    struct router_hit hits[512];
    uint32_t count = router_match(stress->router, text(topic), hits, 512);
    bool found = false;

    for (uint32_t i = 0; i < count && i < 512; i++) {
        if (hits[i].group != NULL) {
            if (!slice_equal(share_group_name(hits[i].group), SLICE_LITERAL("g")))
                atomic_fetch_add(&stress->wrong, 1);
        } else if (hits[i].target != number(hits[i].id)) {
            atomic_fetch_add(&stress->wrong, 1);
        }
        found = found || (hits[i].group == NULL && hits[i].id == fixed_id);
    }
    if (fixed_id != 0 && !found)
        atomic_fetch_add(&stress->wrong, 1);
}

static void *stress_read(void *argument)
{
    struct stress *stress = argument;
    uint32_t random = 777u;
    char topic[TEXT_MAX];

    rcu_thread_register();
    while (atomic_load(&stress->writers_left) > 0) {
        uint64_t cursor = 0;

        naive_random_text(&random, topic, false);
        stress_check(stress, topic, 0);
        stress_check(stress, "a/b/cc", 1);
        stress_check(stress, "b/a/a", 2);
        router_visit(stress->router, &cursor, 3, copy_visit, topic);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static void readers_never_miss_a_route_that_stays(void **state)
{
    struct stress stress = {.router = *state, .writers_left = 2, .next_seed = 12345u};
    pthread_t threads[4];

    assert_int_equal(router_add(*state, text("a/b/cc"), 1, number(1)), 0);
    assert_int_equal(router_add(*state, text("b/+/a"), 2, number(2)), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? stress_write : stress_read, &stress), 0);
    rcu_thread_offline();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    assert_int_equal(stress.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_the_destinations_of_an_exact_filter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_a_destination_that_is_there_already, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hands_back_the_pointer_of_what_it_removes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hash_matches_the_level_above_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_leading_wildcard_matches_no_dollar_topic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_how_many_hits_there_are_when_room_is_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(raises_the_version_with_each_change_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_a_group_while_it_has_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_members_of_a_dropped_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_nothing_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_routes_whatever_their_kind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_topics_and_filters_of_any_depth, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agrees_with_a_naive_matcher, set_up, tear_down),
        cmocka_unit_test_setup_teardown(visits_each_destination_and_group_once_in_slices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rebuilds_the_text_of_wildcard_filters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_never_miss_a_route_that_stays, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
