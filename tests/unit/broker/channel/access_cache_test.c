/*
 * Behaviour of the verdicts that a connection remembers: age, limits, order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/channel/access_cache.h"

static struct access_cache *cache;
static struct zone_acl_cache limits;

static int set_up(void **state)
{
    (void)state;
    limits = (struct zone_acl_cache){.count_max = 4, .ttl_ms = 1000};
    cache = access_cache_new();
    return cache == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    access_cache_free(cache);
    return 0;
}

static void put(enum acl_access access, const char *topic, bool is_allowed, uint64_t now_ms)
{
    access_cache_put(cache, &limits, access, slice_from_string(topic), is_allowed, now_ms);
}

static enum access_cached get(enum acl_access access, const char *topic, uint64_t now_ms)
{
    return access_cache_get(cache, &limits, access, slice_from_string(topic), now_ms);
}

static void a_verdict_is_that_of_its_access_and_topic(void **state)
{
    (void)state;
    assert_int_equal(get(ACL_PUBLISH, "a", 0), ACCESS_UNKNOWN);
    put(ACL_PUBLISH, "a", true, 0);
    put(ACL_SUBSCRIBE, "a", false, 0);
    put(ACL_PUBLISH, "ab", false, 0);
    assert_int_equal(get(ACL_PUBLISH, "a", 0), ACCESS_ALLOWED);
    assert_int_equal(get(ACL_SUBSCRIBE, "a", 0), ACCESS_DENIED);
    assert_int_equal(get(ACL_PUBLISH, "ab", 0), ACCESS_DENIED);
    assert_int_equal(get(ACL_SUBSCRIBE, "ab", 0), ACCESS_UNKNOWN);
    put(ACL_PUBLISH, "a", false, 0);
    assert_int_equal(get(ACL_PUBLISH, "a", 0), ACCESS_DENIED);
    assert_int_equal(access_cache_count(cache), 3);
}

static void an_old_verdict_is_unknown_and_leaves_with_those_before_it(void **state)
{
    (void)state;
    put(ACL_PUBLISH, "a", true, 0);
    put(ACL_PUBLISH, "b", true, 500);
    put(ACL_PUBLISH, "c", true, 900);
    assert_int_equal(get(ACL_PUBLISH, "b", 1499), ACCESS_ALLOWED);
    assert_int_equal(get(ACL_PUBLISH, "b", 1500), ACCESS_UNKNOWN);
    assert_int_equal(access_cache_count(cache), 1);
    assert_int_equal(get(ACL_PUBLISH, "c", 1500), ACCESS_ALLOWED);
}

static void at_the_limit_the_oldest_goes(void **state)
{
    (void)state;
    put(ACL_PUBLISH, "a", true, 1);
    put(ACL_PUBLISH, "b", true, 2);
    put(ACL_PUBLISH, "c", true, 3);
    put(ACL_PUBLISH, "d", true, 4);
    put(ACL_PUBLISH, "a", true, 5); /* asked again: the newest now */
    put(ACL_PUBLISH, "e", true, 6);
    assert_int_equal(access_cache_count(cache), 4);
    assert_int_equal(get(ACL_PUBLISH, "b", 6), ACCESS_UNKNOWN);
    assert_int_equal(get(ACL_PUBLISH, "a", 6), ACCESS_ALLOWED);
    assert_int_equal(get(ACL_PUBLISH, "e", 6), ACCESS_ALLOWED);
}

static void at_the_limit_all_that_is_old_goes(void **state)
{
    (void)state;
    put(ACL_PUBLISH, "a", true, 0);
    put(ACL_PUBLISH, "b", true, 0);
    put(ACL_PUBLISH, "c", true, 0);
    put(ACL_PUBLISH, "d", true, 800);
    put(ACL_PUBLISH, "e", true, 1000);
    assert_int_equal(access_cache_count(cache), 2);
}

static void long_topics_take_the_place_of_others(void **state)
{
    char topic[ACCESS_CACHE_BYTES_MAX / 2 + 1];

    (void)state;
    memset(topic, 'x', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    put(ACL_PUBLISH, "a", true, 0);
    put(ACL_PUBLISH, topic, true, 0);
    put(ACL_SUBSCRIBE, topic, false, 0);
    assert_int_equal(get(ACL_PUBLISH, "a", 0), ACCESS_UNKNOWN);
    assert_int_equal(get(ACL_SUBSCRIBE, topic, 0), ACCESS_DENIED);
    assert_int_equal(get(ACL_PUBLISH, topic, 0), ACCESS_ALLOWED);
}

static void many_verdicts_are_all_found(void **state)
{
    char topic[16];

    (void)state;
    limits.count_max = 1000;
    for (unsigned i = 0; i < 1500; i++) {
        snprintf(topic, sizeof(topic), "t/%u", i);
        put(ACL_PUBLISH, topic, i % 3 == 0, 0);
    }
    assert_int_equal(access_cache_count(cache), 1000);
    for (unsigned i = 0; i < 1500; i++) {
        snprintf(topic, sizeof(topic), "t/%u", i);
        assert_int_equal(get(ACL_PUBLISH, topic, 0), i < 500      ? ACCESS_UNKNOWN
                                                     : i % 3 == 0 ? ACCESS_ALLOWED
                                                                  : ACCESS_DENIED);
    }
    access_cache_clear(cache);
    assert_int_equal(get(ACL_PUBLISH, "t/900", 0), ACCESS_UNKNOWN);
}

static void nothing_is_kept_where_the_limit_is_0(void **state)
{
    (void)state;
    limits.count_max = 0;
    put(ACL_PUBLISH, "a", true, 0);
    assert_int_equal(access_cache_count(cache), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_verdict_is_that_of_its_access_and_topic),
        TEST(an_old_verdict_is_unknown_and_leaves_with_those_before_it),
        TEST(at_the_limit_the_oldest_goes),
        TEST(at_the_limit_all_that_is_old_goes),
        TEST(long_topics_take_the_place_of_others),
        TEST(many_verdicts_are_all_found),
        TEST(nothing_is_kept_where_the_limit_is_0),
    };

    return cmocka_run_group_tests_name("broker/channel/access_cache", tests, NULL, NULL);
}
