/*
 * trie: places of filters in it, what is pruned and what is not, and the walk of a match.
 */
#include "broker/router/trie_internal.h"

#include "base/rcu.h"
#include "naive_match.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct slice text(const char *string)
{
    return slice_from_string(string);
}

static int set_up(void **state)
{
    rcu_thread_register();
    *state = trie_new(1);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    trie_free(*state);
    rcu_thread_unregister();
    return 0;
}

static void put(struct trie *trie, const char *filter, uint16_t id)
{
    struct trie_place place;

    trie_lock(trie);
    assert_int_equal(trie_make(trie, text(filter), &place), 0);
    assert_int_equal(route_insert(place.route, route_destination(id, trie)), 0);
    trie_unlock(trie);
}

static void take(struct trie *trie, const char *filter, uint16_t id)
{
    struct trie_place place;

    trie_lock(trie);
    assert_true(trie_find(trie, text(filter), &place));
    route_erase(place.route, route_destination(id, trie));
    trie_prune(trie, place.node);
    trie_unlock(trie);
}

static uint32_t count(const struct trie *trie, const char *topic)
{
    struct route_sink sink = {.capacity = 0};

    trie_match(trie, text(topic), &sink);
    return sink.count;
}

static void shares_the_nodes_of_a_common_prefix(void **state)
{
    put(*state, "a/b/+", 0);
    assert_int_equal(trie_node_count(*state), 4);
    put(*state, "a/b/#", 0);
    assert_int_equal(trie_node_count(*state), 4);
    put(*state, "a/b/+/c", 0);
    assert_int_equal(trie_node_count(*state), 5);
}

static void prunes_no_node_that_still_holds_something(void **state)
{
    put(*state, "a/+", 0);
    put(*state, "a/+/b/+", 0);
    put(*state, "a/#", 0);
    take(*state, "a/+", 0);
    assert_int_equal(trie_node_count(*state), 5);
    take(*state, "a/+/b/+", 0);
    assert_int_equal(trie_node_count(*state), 2);
    assert_int_equal(count(*state, "a/x"), 1);
    take(*state, "a/#", 0);
    assert_int_equal(trie_node_count(*state), 1);
}

static void finds_no_place_in_the_middle_of_a_path_that_is_not_there(void **state)
{
    struct trie_place place;

    put(*state, "a/+/b", 0);
    trie_lock(*state);
    assert_false(trie_find(*state, text("a/b"), &place));
    assert_false(trie_find(*state, text("+"), &place));
    assert_true(trie_find(*state, text("a/+"), &place));
    assert_int_equal(*place.route, 0);
    trie_unlock(*state);
}

static void empty_levels_are_levels(void **state)
{
    put(*state, "+/+", 0);
    put(*state, "/+", 1);
    put(*state, "+", 2);
    put(*state, "/+/#", 3);
    assert_int_equal(count(*state, "/"), 3);
    assert_int_equal(count(*state, "//"), 1);
    assert_int_equal(count(*state, "a"), 1);
    assert_int_equal(count(*state, "a/"), 1);
}

static void takes_both_ways_at_every_level(void **state)
{
    char filter[32];

    /* Every filter of four levels out of {a, +}. */
    for (uint16_t bits = 0; bits < 16; bits++) {
        snprintf(filter, sizeof(filter), "%c/%c/%c/%c", bits & 1 ? 'a' : '+', bits & 2 ? 'a' : '+',
                 bits & 4 ? 'a' : '+', bits & 8 ? 'a' : '+');
        put(*state, filter, bits);
    }
    assert_int_equal(count(*state, "a/a/a/a"), 16);
    assert_int_equal(count(*state, "a/b/a/a"), 8);
    assert_int_equal(count(*state, "b/b/b/b"), 1);
    assert_int_equal(count(*state, "a/a/a"), 0);
}

/* The walk keeps the places of the first levels only; the way back has to be right beyond them too. */
static void turns_back_correctly_far_down(void **state)
{
    char filter[512] = "";
    char topic[512] = "";

    for (uint32_t i = 0; i < 60; i++)
        strcat(topic, i == 59 ? "x" : "long/");
    for (uint32_t depth = 0; depth < 60; depth++) {
        filter[0] = '\0';
        for (uint32_t i = 0; i < 60; i++)
            strcat(filter, i == 59 ? (depth == 59 ? "+" : "x") : i == depth ? "+/" : "long/");
        put(*state, filter, (uint16_t)depth);
    }
    assert_int_equal(count(*state, topic), 60);
    topic[strlen(topic) - 1] = 'y';
    assert_int_equal(count(*state, topic), 1);
}

static void note_visit(void *context, struct slice filter, const route_word *route)
{
    uint32_t *calls = context;

    assert_true(route_id(*route) < 100);
    assert_true(filter.len > 0);
    calls[route_id(*route)]++;
}

static void visits_literal_and_plus_nodes(void **state)
{
    static const char *const filters[] = {"#", "+", "+/+/+", "a/+", "a/+/#", "+/b/#", "a/b/c/+"};
    uint32_t calls[100] = {0};
    uint64_t cursor = 0;

    for (uint16_t i = 0; i < ARRAY_COUNT(filters); i++)
        put(*state, filters[i], i);
    do
        trie_visit(*state, &cursor, note_visit, calls);
    while (cursor != 0);
    for (size_t i = 0; i < ARRAY_COUNT(filters); i++)
        assert_int_equal(calls[i], 1);
}

static void agrees_with_a_naive_matcher_on_a_filter_alone(void **state)
{
    uint32_t random = 1234567u;
    char filter[128];
    char topic[128];
    uint32_t matches = 0;

    for (uint32_t i = 0; i < 50000; i++) {
        naive_random_text(&random, filter, true);
        naive_random_text(&random, topic, false);
        put(*state, filter, 0);
        assert_int_equal(count(*state, topic), naive_match(topic, filter));
        matches += naive_match(topic, filter);
        take(*state, filter, 0);
        if (i % 64 == 0)
            rcu_thread_quiescent();
    }
    assert_int_equal(trie_node_count(*state), 1);
    assert_true(matches > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shares_the_nodes_of_a_common_prefix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(prunes_no_node_that_still_holds_something, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finds_no_place_in_the_middle_of_a_path_that_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_levels_are_levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_both_ways_at_every_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(turns_back_correctly_far_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(visits_literal_and_plus_nodes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agrees_with_a_naive_matcher_on_a_filter_alone, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
