/*
 * share_group: who gets the next message, by strategy and by who is online.
 */
#include "broker/router/share_group.h"

#include "base/rcu.h"
#include "broker/router/router.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMBER_COUNT 8u

struct fixture {
    struct router *router;
    struct share_group *group;
    struct share_member members[MEMBER_COUNT];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    rcu_thread_register();
    if (fixture == NULL)
        return -1;
    *state = fixture;
    fixture->router = router_new();
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        fixture->members[i].destination = (uint16_t)i;
        atomic_store(&fixture->members[i].online, true);
    }
    fixture->group = router_group_get(fixture->router, SLICE_LITERAL("a/+"), SLICE_LITERAL("workers"), true);
    return fixture->group == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    router_free(fixture->router);
    free(fixture);
    rcu_thread_unregister();
    return 0;
}

static void join(struct fixture *fixture, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(share_group_add(fixture->group, &fixture->members[i]), 0);
}

/* Picks `rounds` times and counts per member; random numbers and publishers run through all values. */
static void count_picks(struct fixture *fixture, enum share_strategy strategy, uint32_t rounds, uint32_t *counts)
{
    memset(counts, 0, MEMBER_COUNT * sizeof(counts[0]));
    for (uint32_t i = 0; i < rounds; i++) {
        struct share_pick pick = {
            .strategy = strategy, .random = i * 2654435761u, .publisher_hash = i * UINT64_C(0x9E3779B97F4A7C15)};
        struct share_member *member = share_group_pick(fixture->group, &pick);

        assert_non_null(member);
        counts[member->destination]++;
    }
}

static const enum share_strategy strategies[] = {SHARE_RANDOM, SHARE_ROUND_ROBIN, SHARE_STICKY, SHARE_HASH};

static void knows_its_name_and_filter(void **state)
{
    struct fixture *fixture = *state;

    assert_true(slice_equal(share_group_name(fixture->group), SLICE_LITERAL("workers")));
    assert_true(slice_equal(share_group_filter(fixture->group), SLICE_LITERAL("a/+")));
}

static void picks_nobody_without_members(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(strategies); i++)
        assert_null(share_group_pick(fixture->group, &(struct share_pick){.strategy = strategies[i]}));
}

static void spreads_publishers_and_messages_evenly(void **state)
{
    struct fixture *fixture = *state;
    uint32_t counts[MEMBER_COUNT];

    join(fixture, MEMBER_COUNT);
    for (size_t i = 0; i < ARRAY_COUNT(strategies); i++) {
        count_picks(fixture, strategies[i], 8000, counts);
        for (uint32_t k = 0; k < MEMBER_COUNT; k++)
            assert_in_range(counts[k], 800, 1200);
    }
}

static void round_robin_takes_members_in_the_order_they_joined(void **state)
{
    struct fixture *fixture = *state;

    join(fixture, 3);
    for (uint32_t i = 0; i < 9; i++) {
        struct share_pick pick = {.strategy = SHARE_ROUND_ROBIN, .publisher_hash = i};

        assert_int_equal(share_group_pick(fixture->group, &pick)->destination, i % 3);
    }
}

static void round_robin_leaves_out_offline_members_fairly(void **state)
{
    struct fixture *fixture = *state;
    uint32_t counts[MEMBER_COUNT];

    join(fixture, 4);
    atomic_store(&fixture->members[1].online, false);
    count_picks(fixture, SHARE_ROUND_ROBIN, 3000, counts);
    assert_int_equal(counts[0], 1000);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 1000);
    assert_int_equal(counts[3], 1000);
}

static void spreads_the_load_of_offline_members_over_all_others(void **state)
{
    struct fixture *fixture = *state;
    uint32_t counts[MEMBER_COUNT];

    join(fixture, MEMBER_COUNT);
    for (uint32_t k = 0; k < MEMBER_COUNT; k += 2)
        atomic_store(&fixture->members[k].online, false);
    for (size_t i = 0; i < ARRAY_COUNT(strategies); i++) {
        count_picks(fixture, strategies[i], 8000, counts);
        for (uint32_t k = 0; k < MEMBER_COUNT; k++)
            assert_in_range(counts[k], k % 2 ? 1700 : 0, k % 2 ? 2300 : 0);
    }
}

static void picks_offline_members_when_nobody_is_online(void **state)
{
    struct fixture *fixture = *state;
    uint32_t counts[MEMBER_COUNT];

    join(fixture, 2);
    for (uint32_t k = 0; k < MEMBER_COUNT; k++)
        atomic_store(&fixture->members[k].online, false);
    for (size_t i = 0; i < ARRAY_COUNT(strategies); i++) {
        count_picks(fixture, strategies[i], 1000, counts);
        assert_in_range(counts[0], 400, 600);
        assert_in_range(counts[1], 400, 600);
    }
}

static void hash_gives_a_publisher_the_same_member_each_time(void **state)
{
    struct fixture *fixture = *state;
    struct share_pick pick = {.strategy = SHARE_HASH, .publisher_hash = 13};

    join(fixture, 5);
    for (uint32_t i = 0; i < 10; i++) {
        pick.random = i;
        assert_ptr_equal(share_group_pick(fixture->group, &pick), &fixture->members[13 % 5]);
    }
}

static void sticky_keeps_the_member_while_others_come_and_go(void **state)
{
    struct fixture *fixture = *state;

    join(fixture, 4);
    for (uint64_t publisher = 1; publisher < 50; publisher++) {
        struct share_pick pick = {.strategy = SHARE_STICKY, .publisher_hash = publisher << 40};
        struct share_member *first = share_group_pick(fixture->group, &pick);
        struct share_member *other = &fixture->members[(first->destination + 1u) % 4];

        assert_int_equal(share_group_add(fixture->group, &fixture->members[6]), 0);
        assert_ptr_equal(share_group_pick(fixture->group, &pick), first);
        share_group_remove(fixture->group, other);
        assert_ptr_equal(share_group_pick(fixture->group, &pick), first);
        assert_int_equal(share_group_add(fixture->group, other), 0);
        share_group_remove(fixture->group, &fixture->members[6]);
        assert_ptr_equal(share_group_pick(fixture->group, &pick), first);
    }
}

static void sticky_moves_on_for_good_when_its_member_goes_offline(void **state)
{
    struct fixture *fixture = *state;
    struct share_pick pick = {.strategy = SHARE_STICKY, .publisher_hash = 77};
    struct share_member *first;
    struct share_member *second;

    join(fixture, 3);
    first = share_group_pick(fixture->group, &pick);
    atomic_store(&first->online, false);
    second = share_group_pick(fixture->group, &pick);
    assert_ptr_not_equal(second, first);
    atomic_store(&first->online, true);
    assert_ptr_equal(share_group_pick(fixture->group, &pick), second);
    share_group_remove(fixture->group, second);
    assert_ptr_not_equal(share_group_pick(fixture->group, &pick), second);
}

static void further_attempts_go_through_all_members_in_order(void **state)
{
    struct fixture *fixture = *state;

    join(fixture, 5);
    for (size_t i = 0; i < ARRAY_COUNT(strategies); i++) {
        struct share_pick pick = {.strategy = strategies[i], .publisher_hash = 3, .random = 3};
        struct share_member *member = share_group_pick(fixture->group, &pick);
        uint32_t first = member->destination;

        for (pick.attempt = 1; pick.attempt < 5; pick.attempt++) {
            pick.not_this = member;
            member = share_group_pick(fixture->group, &pick);
            assert_int_equal(member->destination, (first + pick.attempt) % 5);
        }
    }
}

static void a_further_attempt_skips_offline_members(void **state)
{
    struct fixture *fixture = *state;
    struct share_pick pick = {.strategy = SHARE_RANDOM, .attempt = 1, .not_this = &fixture->members[0]};

    join(fixture, 3);
    atomic_store(&fixture->members[1].online, false);
    assert_ptr_equal(share_group_pick(fixture->group, &pick), &fixture->members[2]);
    atomic_store(&fixture->members[2].online, false);
    atomic_store(&fixture->members[0].online, false);
    assert_ptr_equal(share_group_pick(fixture->group, &pick), &fixture->members[1]);
}

static void picks_nobody_when_the_only_member_refused(void **state)
{
    struct fixture *fixture = *state;

    join(fixture, 1);
    for (size_t i = 0; i < ARRAY_COUNT(strategies); i++) {
        for (uint32_t attempt = 0; attempt < 2; attempt++) {
            struct share_pick pick = {.strategy = strategies[i], .attempt = attempt, .not_this = &fixture->members[0]};

            assert_null(share_group_pick(fixture->group, &pick));
        }
    }
}

static void keeps_the_order_over_joins_and_leaves(void **state)
{
    struct fixture *fixture = *state;
    static const uint32_t order[] = {1, 4, 5, 0};

    join(fixture, 6);
    share_group_remove(fixture->group, &fixture->members[0]);
    share_group_remove(fixture->group, &fixture->members[2]);
    share_group_remove(fixture->group, &fixture->members[3]);
    share_group_remove(fixture->group, &fixture->members[3]);
    assert_int_equal(share_group_add(fixture->group, &fixture->members[0]), 0);
    assert_int_equal(share_group_member_count(fixture->group), 4);
    for (uint32_t i = 0; i < 4; i++) {
        struct share_pick pick = {.attempt = 1, .not_this = &fixture->members[order[i]]};

        assert_int_equal(share_group_pick(fixture->group, &pick)->destination, order[(i + 1) % 4]);
    }
    for (uint32_t i = 0; i < MEMBER_COUNT; i++)
        share_group_remove(fixture->group, &fixture->members[i]);
    assert_int_equal(share_group_member_count(fixture->group), 0);
}

static void holds_many_members(void **state)
{
    enum { COUNT = 20000 };
    struct fixture *fixture = *state;
    struct share_member *members = calloc(COUNT, sizeof(*members));
    struct share_pick pick = {.strategy = SHARE_ROUND_ROBIN};

    assert_non_null(members);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(share_group_add(fixture->group, &members[i]), 0);
        rcu_thread_quiescent();
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        atomic_store(&members[i].online, true);
        assert_ptr_equal(share_group_pick(fixture->group, &pick), &members[i]);
        pick.attempt = 1; /* from here on: who comes after `not_this` */
        pick.not_this = &members[i];
        atomic_store(&members[(i + 1) % COUNT].online, true);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        share_group_remove(fixture->group, &members[i]);
    assert_int_equal(share_group_member_count(fixture->group), 0);
    rcu_barrier_all();
    free(members);
}

/* Pickers beside members that join, leave and are freed. Run under ThreadSanitizer too. */
struct stress {
    struct router *router;
    _Atomic uint32_t changers_left;
    _Atomic uint64_t wrong;
};

static void *stress_change(void *argument)
{
    struct stress *stress = argument;

    rcu_thread_register();
    for (uint32_t i = 0; i < 5000; i++) {
        struct share_member *member = calloc(1, sizeof(*member));
        struct share_group *group;

        member->destination = 1;
        atomic_store(&member->online, true);
        if (router_group_join(stress->router, SLICE_LITERAL("t"), SLICE_LITERAL("g"), member, &group) < 0)
            atomic_fetch_add(&stress->wrong, 1);
        atomic_store(&member->online, i % 2 == 0);
        share_group_remove(group, member);
        router_group_release(stress->router, group);
        rcu_retire(member, free);
        if (i % 16 == 0) {
            rcu_retire_flush();
            rcu_thread_quiescent();
        }
    }
    rcu_thread_unregister();
    atomic_fetch_sub(&stress->changers_left, 1);
    return NULL;
}

static void *stress_pick(void *argument)
{
    struct stress *stress = argument;
    struct share_pick pick = {.random = 1};

    rcu_thread_register();
    while (atomic_load(&stress->changers_left) > 0) {
        struct router_hit hit = {.group = NULL};

        pick.strategy = strategies[pick.random++ % 4];
        pick.publisher_hash += 12345;
        if (router_match(stress->router, SLICE_LITERAL("t"), &hit, 1) == 1) {
            struct share_member *member = share_group_pick(hit.group, &pick);

            if (member != NULL && member->destination != 1)
                atomic_fetch_add(&stress->wrong, 1);
        }
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static void pickers_meet_whole_members_only(void **state)
{
    struct fixture *fixture = *state;
    struct stress stress = {.router = fixture->router, .changers_left = 2};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? stress_change : stress_pick, &stress), 0);
    rcu_thread_offline();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    assert_int_equal(stress.wrong, 0);
    assert_null(router_group_get(fixture->router, SLICE_LITERAL("t"), SLICE_LITERAL("g"), false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(knows_its_name_and_filter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(picks_nobody_without_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spreads_publishers_and_messages_evenly, set_up, tear_down),
        cmocka_unit_test_setup_teardown(round_robin_takes_members_in_the_order_they_joined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(round_robin_leaves_out_offline_members_fairly, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spreads_the_load_of_offline_members_over_all_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(picks_offline_members_when_nobody_is_online, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hash_gives_a_publisher_the_same_member_each_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sticky_keeps_the_member_while_others_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sticky_moves_on_for_good_when_its_member_goes_offline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(further_attempts_go_through_all_members_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_further_attempt_skips_offline_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(picks_nobody_when_the_only_member_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_the_order_over_joins_and_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holds_many_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pickers_meet_whole_members_only, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
