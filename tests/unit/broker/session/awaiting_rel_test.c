/*
 * Behaviour of the set of inbound QoS 2 packet IDs, small and large.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "broker/session/awaiting_rel.h"

static void add(struct awaiting_rel *set, uint16_t packet_id, uint32_t now_s)
{
    assert_false(awaiting_rel_has(set, packet_id));
    assert_int_equal(awaiting_rel_add(set, packet_id, now_s), 0);
    assert_true(awaiting_rel_has(set, packet_id));
}

static void knows_an_id_until_it_is_released(void **state)
{
    struct awaiting_rel *set = awaiting_rel_new();

    (void)state;
    assert_false(awaiting_rel_has(set, 1));
    assert_false(awaiting_rel_remove(set, 1));
    add(set, 1, 0);
    add(set, 65535, 0);
    assert_true(awaiting_rel_remove(set, 1));
    assert_false(awaiting_rel_remove(set, 1));
    assert_false(awaiting_rel_has(set, 1));
    assert_true(awaiting_rel_has(set, 65535));
    assert_int_equal(set->count, 1);
    awaiting_rel_free(set);
}

static void holds_every_packet_id(void **state)
{
    struct awaiting_rel *set = awaiting_rel_new();

    (void)state;
    for (uint32_t id = 1; id <= 65535; id++)
        add(set, (uint16_t)id, 0);
    assert_int_equal(set->count, 65535);
    assert_non_null(set->bitmap);
    for (uint32_t id = 1; id <= 65535; id++)
        assert_true(awaiting_rel_remove(set, (uint16_t)id));
    assert_int_equal(set->count, 0);
    assert_null(set->bitmap); /* the memory went with the last one */
    assert_false(awaiting_rel_has(set, 5));
    awaiting_rel_free(set);
}

static void stays_small_while_ids_come_and_go(void **state)
{
    struct awaiting_rel *set = awaiting_rel_new();

    (void)state;
    for (uint16_t id = 1; id <= 20; id++)
        add(set, id, 0);
    for (uint32_t i = 21; i < 60000; i++) {
        add(set, (uint16_t)i, i);
        assert_true(awaiting_rel_remove(set, (uint16_t)(i - 20)));
    }
    assert_int_equal(set->count, 20);
    assert_true(set->capacity <= 64);
    awaiting_rel_free(set);
}

static void forgets_what_came_before_a_time(void **state)
{
    struct awaiting_rel *set = awaiting_rel_new();

    (void)state;
    add(set, 1, 10);
    add(set, 2, 11);
    add(set, 3, 12);
    assert_int_equal(awaiting_rel_expire(set, 10), 0);
    assert_int_equal(awaiting_rel_expire(set, 12), 2);
    assert_false(awaiting_rel_has(set, 1));
    assert_false(awaiting_rel_has(set, 2));
    assert_true(awaiting_rel_has(set, 3));
    assert_int_equal(awaiting_rel_expire(set, 100), 1);
    assert_int_equal(awaiting_rel_expire(set, 100), 0);
    awaiting_rel_free(set);
}

static void forgets_by_time_in_a_large_set_too(void **state)
{
    struct awaiting_rel *set = awaiting_rel_new();

    (void)state;
    for (uint32_t id = 1; id <= 1000; id++)
        add(set, (uint16_t)id, id);
    assert_int_equal(awaiting_rel_expire(set, 501), 500);
    assert_false(awaiting_rel_has(set, 500));
    assert_true(awaiting_rel_has(set, 501));
    add(set, 500, 1001);
    awaiting_rel_free(set);
}

/* IDs in random order against a plain array; crosses the bitmap's threshold in both directions. */
static void agrees_with_a_plain_set(void **state)
{
    static bool in[1024];
    struct awaiting_rel *set = awaiting_rel_new();
    uint32_t random = 99, count = 0;

    (void)state;
    memset(in, 0, sizeof(in));
    for (uint32_t step = 0; step < 60000; step++) {
        random = random * 1664525u + 1013904223u;
        uint16_t id = (uint16_t)((random >> 12) % 1023 + 1);
        bool growing = step / 3000 % 2 == 0;
        if (in[id] && (!growing || (random >> 28) == 0)) {
            assert_true(awaiting_rel_remove(set, id));
            in[id] = false;
            count--;
        } else if (!in[id] && (growing || (random >> 28) == 0)) {
            add(set, id, step);
            in[id] = true;
            count++;
        }
        assert_int_equal(set->count, count);
    }
    for (uint16_t id = 1; id < 1024; id++)
        assert_int_equal(awaiting_rel_has(set, id), in[id]);
    awaiting_rel_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_an_id_until_it_is_released),   cmocka_unit_test(holds_every_packet_id),
        cmocka_unit_test(stays_small_while_ids_come_and_go),  cmocka_unit_test(forgets_what_came_before_a_time),
        cmocka_unit_test(forgets_by_time_in_a_large_set_too), cmocka_unit_test(agrees_with_a_plain_set),
    };

    return cmocka_run_group_tests_name("awaiting_rel", tests, NULL, NULL);
}
