/*
 * Behaviour of the remembered verdicts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define TTL_MS 1000u

static struct cache_key key(const struct cache *cache, unsigned number)
{
    struct cache_key out;
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    assert_true(cache_key_make(cache, 'a', text, strlen(text), &out));
    return out;
}

static void put(struct cache *cache, unsigned number, uint64_t now_ms, enum verdict_kind kind)
{
    struct cache_key at = key(cache, number);
    struct verdict verdict = {.kind = kind, .is_superuser = number % 2, .mountpoint = number % 3 ? NULL : strdup("m/")};

    cache_put(cache, &at, now_ms, &verdict);
    verdict_fini(&verdict);
}

static bool has(struct cache *cache, unsigned number, uint64_t now_ms, enum verdict_kind kind)
{
    struct cache_key at = key(cache, number);
    struct verdict verdict;

    if (!cache_find(cache, &at, now_ms, &verdict))
        return false;
    assert_int_equal(verdict.kind, kind);
    assert_int_equal(verdict.is_superuser, number % 2);
    assert_int_equal(verdict.mountpoint == NULL, number % 3 != 0);
    verdict_fini(&verdict);
    return true;
}

static void remembers_until_it_expires(void **state)
{
    struct cache *cache = cache_new(10, TTL_MS);

    (void)state;
    assert_non_null(cache);
    assert_false(has(cache, 3, 5000, VERDICT_ALLOW));
    put(cache, 3, 5000, VERDICT_ALLOW);
    put(cache, 4, 5000, VERDICT_REFUSE);
    assert_true(has(cache, 3, 5000 + TTL_MS - 1, VERDICT_ALLOW));
    assert_true(has(cache, 4, 5000, VERDICT_REFUSE));
    assert_false(has(cache, 3, 5000 + TTL_MS, VERDICT_ALLOW));
    cache_free(cache);
}

static void the_last_verdict_of_a_request_counts(void **state)
{
    struct cache *cache = cache_new(4, TTL_MS);

    (void)state;
    assert_non_null(cache);
    for (uint64_t now = 0; now < 20; now++)
        put(cache, 3, now, now % 2 ? VERDICT_ALLOW : VERDICT_REFUSE);
    assert_true(has(cache, 3, 19 + TTL_MS - 1, VERDICT_ALLOW));
    cache_free(cache);
}

static void the_oldest_goes_when_it_is_full(void **state)
{
    struct cache *cache = cache_new(100, TTL_MS);

    (void)state;
    assert_non_null(cache);
    for (unsigned i = 0; i < 1000; i++) {
        put(cache, i, i, VERDICT_ALLOW);
        for (unsigned known = 0; known <= i; known++)
            assert_int_equal(has(cache, known, i, VERDICT_ALLOW), i - known < 100);
    }
    cache_free(cache);
}

static void one_row_is_enough(void **state)
{
    struct cache *cache = cache_new(1, TTL_MS);

    (void)state;
    assert_non_null(cache);
    put(cache, 1, 0, VERDICT_ALLOW);
    put(cache, 2, 0, VERDICT_ALLOW);
    assert_false(has(cache, 1, 0, VERDICT_ALLOW));
    assert_true(has(cache, 2, 0, VERDICT_ALLOW));
    cache_free(cache);
    cache_free(NULL);
}

static void keys_differ_by_kind_text_and_cache(void **state)
{
    struct cache *cache = cache_new(1, TTL_MS), *other = cache_new(1, TTL_MS);
    struct cache_key a, t, longer, elsewhere, again;

    (void)state;
    assert_non_null(cache);
    assert_non_null(other);
    assert_true(cache_key_make(cache, 'a', "x", 1, &a));
    assert_true(cache_key_make(cache, 't', "x", 1, &t));
    assert_true(cache_key_make(cache, 'a', "x=", 2, &longer));
    assert_true(cache_key_make(other, 'a', "x", 1, &elsewhere));
    assert_true(cache_key_make(cache, 'a', "x", 1, &again));
    assert_memory_not_equal(&a, &t, sizeof(a));
    assert_memory_not_equal(&a, &longer, sizeof(a));
    assert_memory_not_equal(&a, &elsewhere, sizeof(a));
    assert_memory_equal(&a, &again, sizeof(a));
    cache_free(cache);
    cache_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_until_it_expires),         cmocka_unit_test(the_last_verdict_of_a_request_counts),
        cmocka_unit_test(the_oldest_goes_when_it_is_full),    cmocka_unit_test(one_row_is_enough),
        cmocka_unit_test(keys_differ_by_kind_text_and_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
