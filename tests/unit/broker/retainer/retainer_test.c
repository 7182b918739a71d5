/*
 * Behaviour of retained messages: limits, expiry, what a filter finds.
 */
#include "../message_fixture.h"

#include <stdio.h>

#include "base/rcu.h"
#include "broker/retainer/retainer.h"

static char found[256];

static void note(void *context, struct message *message)
{
    size_t len = strlen(found);

    (void)context;
    assert_true(refs_of(message) > 0);
    snprintf(found + len, sizeof(found) - len, "%s%.*s", len > 0 ? " " : "", (int)message->payload_len,
             (const char *)message->payload);
}

/* In steps of 1,000 topics, as sessions do. */
static void match_all(struct retainer *retainer, struct slice filter, uint64_t now_ms,
                      void (*visit)(void *context, struct message *message), void *context)
{
    struct retainer_position position = {0};
    int more;

    do {
        more = retainer_match_slice(retainer, filter, &position, 1000, now_ms, visit, context);
        rcu_thread_quiescent(); /* as if the next step were in another turn */
    } while (more > 0);
    assert_int_equal(more, 0);
}

static const char *match(struct retainer *retainer, const char *filter, uint64_t now_ms)
{
    found[0] = '\0';
    match_all(retainer, slice_from_string(filter), now_ms, note, NULL);
    return found;
}

static void store(struct retainer *retainer, struct message *message)
{
    retainer_store(retainer, message);
    message_unref(message);
}

static struct retainer *make_retainer(uint64_t count_max, uint64_t payload_max)
{
    struct retainer *retainer = retainer_new(count_max, payload_max);

    assert_non_null(retainer);
    return retainer;
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rcu_thread_unregister();
    return 0;
}

static void keeps_the_last_message_of_each_topic(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_retained("a/x", "1", 0, 0));
    store(retainer, make_retained("a/y", "2", 0, 0));
    store(retainer, make_retained("a/x", "3", 0, 0));
    assert_int_equal(retainer_count(retainer), 2);
    assert_string_equal(match(retainer, "a/x", 0), "3");
    assert_string_equal(match(retainer, "a/+", 0), "3 2");
    assert_string_equal(match(retainer, "b/#", 0), "");
    retainer_free(retainer);
    retainer_free(NULL);
}

static void an_empty_payload_removes_it(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_retained("a", "1", 0, 0));
    store(retainer, make_retained("a", "", 0, 0)); /* [MQTT-3.3.1-6] */
    store(retainer, make_retained("b", "", 0, 0)); /* never stored itself [MQTT-3.3.1-7] */
    assert_int_equal(retainer_count(retainer), 0);
    assert_string_equal(match(retainer, "#", 0), "");
    retainer_free(retainer);
}

static void over_the_limit_only_topics_that_are_there_change(void **state)
{
    struct retainer *retainer = make_retainer(2, 0);

    (void)state;
    store(retainer, make_retained("a", "1", 0, 0));
    store(retainer, make_retained("b", "2", 0, 0));
    store(retainer, make_retained("c", "3", 0, 0));
    store(retainer, make_retained("a", "4", 0, 0));
    assert_int_equal(retainer_count(retainer), 2);
    assert_string_equal(match(retainer, "#", 0), "4 2");
    store(retainer, make_retained("b", "", 0, 0));
    store(retainer, make_retained("c", "5", 0, 0));
    assert_string_equal(match(retainer, "#", 0), "4 5");
    retainer_free(retainer);
}

static void a_payload_over_the_limit_is_not_kept(void **state)
{
    struct retainer *retainer = make_retainer(0, 3);

    (void)state;
    store(retainer, make_retained("a", "123", 0, 0));
    store(retainer, make_retained("b", "1234", 0, 0));
    assert_string_equal(match(retainer, "#", 0), "123");
    retainer_free(retainer);
}

static void an_expired_message_is_not_found_and_goes(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_expiring("a", "1", 0, 1000, 2));
    store(retainer, make_expiring("b", "2", 0, 1000, 20));
    assert_string_equal(match(retainer, "#", 3000), "1 2");
    assert_string_equal(match(retainer, "#", 3001), "2");
    assert_int_equal(retainer_count(retainer), 1);
    retainer_free(retainer);
}

static void wildcards_find_no_system_topics(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_retained("$SYS/x", "1", 0, 0));
    assert_string_equal(match(retainer, "#", 0), "");
    assert_string_equal(match(retainer, "+/x", 0), "");
    assert_string_equal(match(retainer, "$SYS/#", 0), "1");
    retainer_free(retainer);
}

static void count(void *context, struct message *message)
{
    (void)message;
    (*(uint32_t *)context)++;
}

static void a_long_answer_is_whole(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    uint32_t visited = 0;
    char topic[32];

    (void)state;
    for (int i = 0; i < 3500; i++) { /* several steps of the match */
        snprintf(topic, sizeof(topic), "t/%d", i);
        store(retainer, make_retained(topic, "x", 0, 0));
    }
    match_all(retainer, SLICE_LITERAL("t/+"), 0, count, &visited);
    assert_int_equal(visited, 3500);
    retainer_free(retainer);
}

static void holds_one_reference_to_what_it_keeps(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    struct message *message = make_retained("t", "p", 0, 0);

    (void)state;
    retainer_store(retainer, message);
    assert_int_equal(refs_of(message), 2);
    store(retainer, make_retained("t", "", 0, 0));
    rcu_barrier_all();
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
    retainer_free(retainer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_the_last_message_of_each_topic),
        TEST(an_empty_payload_removes_it),
        TEST(over_the_limit_only_topics_that_are_there_change),
        TEST(a_payload_over_the_limit_is_not_kept),
        TEST(an_expired_message_is_not_found_and_goes),
        TEST(wildcards_find_no_system_topics),
        TEST(a_long_answer_is_whole),
        TEST(holds_one_reference_to_what_it_keeps),
    };

    return cmocka_run_group_tests_name("retainer", tests, NULL, NULL);
}
