/*
 * Behaviour of delayed_queue and delayed_parse(): order, and which topics are delayed ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "broker/delayed.h"

#define ENTRIES 5000u
#define NOW_S UINT64_C(1800000000)

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static bool before(struct delayed_key left, struct delayed_key right)
{
    return left.due_ms != right.due_ms ? left.due_ms < right.due_ms : left.number < right.number;
}

static uint32_t depth(const struct delayed_entry *entry)
{
    if (entry == NULL)
        return 0;
    uint32_t left = depth(entry->left), right = depth(entry->right);
    return 1 + (left > right ? left : right);
}

/* The entries in order; fails if one is missing or twice there. */
static void check_order(const struct delayed_queue *queue, uint32_t expected)
{
    struct delayed_key key = {0, 0};
    uint32_t count = 0;

    for (struct delayed_entry *entry; (entry = delayed_queue_next(queue, key)) != NULL; key = entry->key, count++)
        assert_true(before(key, entry->key));
    assert_int_equal(count, expected);
}

static void keeps_entries_in_order_of_due_time_and_number(void **state)
{
    struct delayed_entry *entries = calloc(ENTRIES, sizeof(*entries));
    struct delayed_queue queue = {NULL};

    (void)state;
    assert_non_null(entries);
    for (uint32_t i = 0; i < ENTRIES; i++) { /* few times, so that many are the same */
        entries[i].key = (struct delayed_key){.due_ms = next_random() % 500, .number = i + 1};
        delayed_queue_insert(&queue, &entries[i]);
    }
    check_order(&queue, ENTRIES);
    assert_in_range(depth(queue.root), 13, 60);
    for (uint32_t i = 0; i < ENTRIES; i++)
        assert_ptr_equal(delayed_queue_find(&queue, entries[i].key), &entries[i]);
    for (uint32_t i = 0; i < ENTRIES; i += 2)
        assert_ptr_equal(delayed_queue_remove(&queue, entries[i].key), &entries[i]);
    check_order(&queue, ENTRIES / 2);
    for (uint32_t i = 0; i < ENTRIES; i++)
        assert_ptr_equal(delayed_queue_find(&queue, entries[i].key), i % 2 == 0 ? NULL : &entries[i]);
    assert_null(delayed_queue_remove(&queue, entries[0].key));
    for (uint32_t i = 1; i < ENTRIES; i += 2)
        delayed_queue_remove(&queue, entries[i].key);
    assert_null(queue.root);
    free(entries);
}

static void stays_flat_when_all_arrive_in_order(void **state)
{
    struct delayed_entry *entries = calloc(ENTRIES, sizeof(*entries));
    struct delayed_queue queue = {NULL};

    (void)state;
    assert_non_null(entries);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        entries[i].key = (struct delayed_key){.due_ms = i, .number = i + 1};
        delayed_queue_insert(&queue, &entries[i]);
    }
    check_order(&queue, ENTRIES);
    assert_in_range(depth(queue.root), 13, 60);
    free(entries);
}

struct parse_row {
    const char *topic;
    enum delayed_result result;
    uint64_t delay_ms;
    const char *inner;
};

static void parses_delayed_topics(void **state)
{
    static const struct parse_row rows[] = {
        {"a/b", DELAYED_NOT, 0, NULL},
        {"$delayed", DELAYED_NOT, 0, NULL},
        {"$Delayed/5/a", DELAYED_NOT, 0, NULL},
        {"$delayed5/a", DELAYED_NOT, 0, NULL},
        {"x/$delayed/5/a", DELAYED_NOT, 0, NULL},
        {"$delayed/5/a", DELAYED_FINE, 5000, "a"},
        {"$delayed/5/a/b/c", DELAYED_FINE, 5000, "a/b/c"},
        {"$delayed/5//a", DELAYED_FINE, 5000, "/a"},
        {"$delayed/5/$SYS/x", DELAYED_FINE, 5000, "$SYS/x"},
        {"$delayed/0/a", DELAYED_FINE, 0, "a"},
        {"$delayed/007/a", DELAYED_FINE, 7000, "a"},
        {"$delayed/4294966/a", DELAYED_FINE, UINT64_C(4294966000), "a"},
        {"$delayed/4294967/a", DELAYED_FINE, 0, "a"}, /* a day in February 1970 */
        {"$delayed/1799999999/a", DELAYED_FINE, 0, "a"},
        {"$delayed/1800000000/a", DELAYED_FINE, 0, "a"},
        {"$delayed/1800000010/a", DELAYED_FINE, 10000, "a"},
        {"$delayed/1804294967/a", DELAYED_FINE, UINT64_C(4294967000), "a"},
        {"$delayed/1804294968/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/18446744073709551616/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/99999999999999999999999999999999/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/", DELAYED_MALFORMED, 0, NULL},
        {"$delayed//a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5/", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/-5/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/ 5/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5s/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/0x5/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5.5/a", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5/a/+", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5/#", DELAYED_MALFORMED, 0, NULL},
        {"$delayed/5/$delayed/5/a", DELAYED_MALFORMED, 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice inner = {NULL, 0};
        uint64_t delay_ms = 0;
        enum delayed_result result = delayed_parse(slice_from_string(rows[i].topic), NOW_S * 1000, &delay_ms, &inner);
        if (result != rows[i].result || delay_ms != rows[i].delay_ms ||
            !slice_equal(inner, slice_from_string(rows[i].inner)))
            fail_msg("%s: %d, %llu ms, %.*s", rows[i].topic, (int)result, (unsigned long long)delay_ms,
                     SLICE_ARG(inner));
    }
}

static void an_absolute_time_counts_from_the_millisecond(void **state)
{
    struct slice inner;
    uint64_t delay_ms;

    (void)state;
    assert_int_equal(delayed_parse(SLICE_LITERAL("$delayed/1800000001/a"), NOW_S * 1000 + 400, &delay_ms, &inner),
                     DELAYED_FINE);
    assert_int_equal(delay_ms, 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_entries_in_order_of_due_time_and_number),
        cmocka_unit_test(stays_flat_when_all_arrive_in_order),
        cmocka_unit_test(parses_delayed_topics),
        cmocka_unit_test(an_absolute_time_counts_from_the_millisecond),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
