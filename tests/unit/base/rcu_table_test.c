/*
 * rcu_table: holds what was added, whatever was removed, rebuilt or visited meanwhile.
 */
#include "base/rcu_table.h"

#include "base/rcu.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct item {
    uint64_t key;
    uint32_t visits;
};

static uint64_t key_hash(uint64_t key)
{
    uint64_t hash = key * UINT64_C(0x9E3779B97F4A7C15);

    return (hash ^ hash >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
}

static uint64_t item_hash(const void *element, const void *context)
{
    (void)context;
    return key_hash(((const struct item *)element)->key);
}

/* All items share one home slot, tag and shard. */
static uint64_t same_hash(const void *element, const void *context)
{
    (void)element;
    (void)context;
    return UINT64_MAX;
}

static bool item_matches(const void *element, const void *key)
{
    return ((const struct item *)element)->key == *(const uint64_t *)key;
}

static struct item *find(const struct rcu_table *table, uint64_t key)
{
    return rcu_table_find(table, key_hash(key), item_matches, &key);
}

static int insert(struct rcu_table *table, struct item *item)
{
    return rcu_table_insert(table, key_hash(item->key), item_matches, &item->key, item, NULL);
}

static int set_up(void **state)
{
    rcu_thread_register();
    *state = rcu_table_new(4, item_hash, NULL);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    rcu_table_free(*state, NULL);
    rcu_thread_unregister();
    return 0;
}

static struct item *items_new(uint32_t count)
{
    struct item *items = calloc(count, sizeof(*items));

    assert_non_null(items);
    for (uint32_t i = 0; i < count; i++)
        items[i].key = i;
    return items;
}

static void finds_nothing_when_empty(void **state)
{
    assert_null(find(*state, 1));
    assert_int_equal(rcu_table_count(*state), 0);
}

static void names_the_element_that_is_there_already(void **state)
{
    struct item first = {.key = 5};
    struct item second = {.key = 5};
    void *existing = NULL;

    assert_int_equal(insert(*state, &first), 0);
    assert_int_equal(rcu_table_insert(*state, key_hash(5), item_matches, &second.key, &second, &existing), -EEXIST);
    assert_ptr_equal(existing, &first);
    assert_ptr_equal(find(*state, 5), &first);
}

static void removes_only_that_very_element(void **state)
{
    struct item first = {.key = 5};
    struct item second = {.key = 5};

    assert_int_equal(insert(*state, &first), 0);
    assert_false(rcu_table_remove(*state, key_hash(5), &second));
    assert_true(rcu_table_remove(*state, key_hash(5), &first));
    assert_false(rcu_table_remove(*state, key_hash(5), &first));
    assert_null(find(*state, 5));
}

static void replaces_in_place(void **state)
{
    struct item first = {.key = 5};
    struct item second = {.key = 5};
    uint64_t hash = key_hash(5);

    assert_int_equal(insert(*state, &first), 0);
    rcu_table_lock(*state, hash);
    assert_false(rcu_table_replace_locked(*state, hash, &second, &first));
    assert_true(rcu_table_replace_locked(*state, hash, &first, &second));
    rcu_table_unlock(*state, hash);
    assert_ptr_equal(find(*state, 5), &second);
    assert_int_equal(rcu_table_count(*state), 1);
}

static void holds_many_in_few_bytes_and_gives_the_memory_back(void **state)
{
    enum { COUNT = 100000 };
    struct item *items = items_new(COUNT);
    size_t empty_bytes = rcu_table_bytes(*state);

    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(insert(*state, &items[i]), 0);
    assert_int_equal(rcu_table_count(*state), COUNT);
    assert_true(rcu_table_bytes(*state) / COUNT <= 14);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_ptr_equal(find(*state, i), &items[i]);
    assert_null(find(*state, COUNT));
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(rcu_table_remove(*state, key_hash(i), &items[i]));
        if (i % 1024 == 0)
            rcu_thread_quiescent();
    }
    assert_int_equal(rcu_table_bytes(*state), empty_bytes);
    free(items);
}

static void agrees_with_a_plain_array_over_random_changes(void **state)
{
    enum { COUNT = 500 };
    struct item *items = items_new(COUNT);
    bool there[COUNT] = {false};
    uint64_t random = 88172645463325252u;

    for (uint32_t step = 0; step < 200000; step++) {
        uint32_t i;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        /* The share of keys in use swings, so that the table grows, shrinks and collects tombstones. */
        i = (uint32_t)(random % (step / 20000 % 2 ? 50 : COUNT));
        if (there[i])
            assert_true(rcu_table_remove(*state, key_hash(i), &items[i]));
        else
            assert_int_equal(insert(*state, &items[i]), 0);
        there[i] = !there[i];
        i = (uint32_t)(random >> 32) % COUNT;
        assert_ptr_equal(find(*state, i), there[i] ? &items[i] : NULL);
        if (step % 64 == 0)
            rcu_thread_quiescent();
    }
    free(items);
}

static void note_visit(void *context, void *element)
{
    ++*(uint32_t *)context;
    ((struct item *)element)->visits++;
}

static void works_when_all_hashes_are_equal(void **state)
{
    enum { COUNT = 300 };
    struct rcu_table *table = rcu_table_new(1, same_hash, NULL);
    struct item *items = items_new(COUNT);
    uint64_t cursor = 0;
    uint32_t visits = 0;

    (void)state;
    assert_non_null(table);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(rcu_table_insert(table, UINT64_MAX, item_matches, &items[i].key, &items[i], NULL), 0);
    for (uint32_t i = 0; i < COUNT; i += 2)
        assert_true(rcu_table_remove(table, UINT64_MAX, &items[i]));
    for (uint64_t i = 0; i < COUNT; i++)
        assert_ptr_equal(rcu_table_find(table, UINT64_MAX, item_matches, &i), i % 2 ? &items[i] : NULL);
    rcu_table_visit(table, &cursor, 1, note_visit, &visits);
    assert_int_equal(visits, COUNT / 2);
    assert_int_equal(cursor, 0);
    rcu_table_free(table, NULL);
    free(items);
}

static void visits_what_stays_exactly_once(void **state)
{
    enum { STAY = 3000, COME_AND_GO = 9000 };
    struct item *items = items_new(STAY + COME_AND_GO);
    uint64_t cursor = 0;
    uint32_t next = STAY;
    uint32_t gone = STAY;
    uint32_t visits = 0;

    for (uint32_t i = 0; i < STAY; i++)
        assert_int_equal(insert(*state, &items[i]), 0);
    do {
        rcu_table_visit(*state, &cursor, 10, note_visit, &visits);
        /* The table is rebuilt several times on the way: it grows first and shrinks later. */
        for (uint32_t i = 0; i < 60 && next < STAY + COME_AND_GO; i++, next++)
            assert_int_equal(insert(*state, &items[next]), 0);
        for (uint32_t i = 0; i < 90 && next == STAY + COME_AND_GO && gone < next; i++, gone++)
            assert_true(rcu_table_remove(*state, key_hash(gone), &items[gone]));
        rcu_thread_quiescent();
    } while (cursor != 0);
    for (uint32_t i = 0; i < STAY; i++)
        assert_int_equal(items[i].visits, 1);
    for (uint32_t i = STAY; i < STAY + COME_AND_GO; i++)
        assert_true(items[i].visits <= 1);
    free(items);
}

static void a_cursor_survives_the_table_becoming_empty(void **state)
{
    struct item *items = items_new(100);
    uint64_t cursor = 0;
    uint32_t visits = 0;

    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(insert(*state, &items[i]), 0);
    rcu_table_visit(*state, &cursor, 5, note_visit, &visits);
    for (uint32_t i = 0; i < 100; i++)
        assert_true(rcu_table_remove(*state, key_hash(i), &items[i]));
    assert_int_not_equal(cursor, 0);
    visits = 0;
    rcu_table_visit(*state, &cursor, 5, note_visit, &visits);
    assert_int_equal(visits, 0);
    assert_int_equal(cursor, 0);
    free(items);
}

struct stress {
    struct rcu_table *table;
    struct item *items; /* keys below STAYING are never removed */
    _Atomic uint32_t writers_left;
    _Atomic uint32_t next_part;
    _Atomic uint64_t wrong;
};

enum { STRESS_STAYING = 100, STRESS_PART = 400, STRESS_ROUNDS = 40 };

/* Each writer has keys of its own and makes their items anew, so that readers may meet freed ones if RCU fails. */
static void *stress_write(void *argument)
{
    struct stress *stress = argument;
    uint64_t first = STRESS_STAYING + atomic_fetch_add(&stress->next_part, 1) * STRESS_PART;
    struct item *mine[STRESS_PART];

    rcu_thread_register();
    for (uint32_t round = 0; round < STRESS_ROUNDS; round++) {
        for (uint32_t i = 0; i < STRESS_PART; i++) {
            mine[i] = calloc(1, sizeof(*mine[i]));
            mine[i]->key = first + i;
            if (insert(stress->table, mine[i]) != 0)
                atomic_fetch_add(&stress->wrong, 1);
        }
        for (uint32_t i = 0; i < STRESS_PART; i++) {
            if (!rcu_table_remove(stress->table, key_hash(first + i), mine[i]))
                atomic_fetch_add(&stress->wrong, 1);
            rcu_retire(mine[i], free);
        }
        rcu_retire_flush();
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    atomic_fetch_sub(&stress->writers_left, 1);
    return NULL;
}

static void *stress_read(void *argument)
{
    struct stress *stress = argument;
    uint64_t key = 0;

    rcu_thread_register();
    while (atomic_load(&stress->writers_left) > 0) {
        const struct item *item = find(stress->table, key);

        if (key < STRESS_STAYING ? item != &stress->items[key] : item != NULL && item->key != key)
            atomic_fetch_add(&stress->wrong, 1);
        key = (key + 7) % (STRESS_STAYING + 2 * STRESS_PART);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static void readers_always_find_what_stays(void **state)
{
    struct stress stress = {.table = *state, .items = items_new(STRESS_STAYING), .writers_left = 2};
    pthread_t threads[4];

    for (uint32_t i = 0; i < STRESS_STAYING; i++)
        assert_int_equal(insert(*state, &stress.items[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? stress_write : stress_read, &stress), 0);
    rcu_thread_offline();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    assert_int_equal(stress.wrong, 0);
    assert_int_equal(rcu_table_count(*state), STRESS_STAYING);
    free(stress.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_nothing_when_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_the_element_that_is_there_already, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removes_only_that_very_element, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_in_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holds_many_in_few_bytes_and_gives_the_memory_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agrees_with_a_plain_array_over_random_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(works_when_all_hashes_are_equal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(visits_what_stays_exactly_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cursor_survives_the_table_becoming_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_always_find_what_stays, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
