/*
 * Behaviour of retained messages: limits, expiry, what a filter finds.
 */
#include "../message_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
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
    (void)retainer_store(retainer, message, true);
    message_unref(message);
}

static struct retainer *make_retainer(uint64_t count_max, uint64_t payload_max)
{
    struct retainer_options options = {.count_max = count_max, .payload_max = payload_max};
    struct retainer *retainer = retainer_new(&options);

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
    (void)retainer_store(retainer, message, true);
    assert_int_equal(refs_of(message), 2);
    store(retainer, make_retained("t", "", 0, 0));
    rcu_barrier_all();
    assert_int_equal(refs_of(message), 1);
    message_unref(message);
    retainer_free(retainer);
}

static void a_sweep_gives_the_room_of_expired_messages_back(void **state)
{
    struct retainer *retainer = make_retainer(3, 0);

    (void)state;
    store(retainer, make_expiring("a", "1", 0, 1000, 2));
    store(retainer, make_expiring("$b", "2", 0, 1000, 2)); /* no wildcard finds it */
    store(retainer, make_expiring("c", "3", 0, 1000, 20));
    assert_int_equal(retainer_next_expiry_ms(retainer), 3001);
    assert_false(retainer_sweep(retainer, 100, 3000)); /* not yet */
    assert_int_equal(retainer_count(retainer), 3);
    assert_false(retainer_sweep(retainer, 100, 3001));
    assert_int_equal(retainer_count(retainer), 1);
    store(retainer, make_retained("d", "4", 0, 0));
    store(retainer, make_retained("e", "5", 0, 0));
    assert_string_equal(match(retainer, "#", 3001), "3 4 5");
    assert_int_equal(retainer_next_expiry_ms(retainer), 21001);
    assert_false(retainer_sweep(retainer, 100, 21001));
    assert_int_equal(retainer_count(retainer), 2);
    assert_int_equal(retainer_next_expiry_ms(retainer), UINT64_MAX); /* nobody else expires */
    retainer_free(retainer);
}

static void a_sweep_looks_at_some_topics_at_a_time(void **state)
{
    enum { TOPICS = 250, SLICE = 100 };
    struct retainer *retainer = make_retainer(0, 0);
    char topic[32];

    (void)state;
    for (int i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof(topic), "t/%03d", i);
        store(retainer, make_expiring(topic, "x", 0, 1000, 1));
    }
    assert_true(retainer_sweep(retainer, SLICE, 5000));
    assert_int_equal(retainer_count(retainer), TOPICS - SLICE);
    rcu_thread_quiescent();
    store(retainer, make_expiring("a", "x", 0, 5000, 1));     /* where the pass has been already */
    store(retainer, make_expiring("t/200", "x", 0, 5000, 2)); /* where it comes to */
    assert_true(retainer_sweep(retainer, SLICE, 5000));
    assert_false(retainer_sweep(retainer, SLICE, 5000));
    assert_int_equal(retainer_count(retainer), 2);
    assert_int_equal(retainer_next_expiry_ms(retainer), 6001);
    assert_false(retainer_sweep(retainer, SLICE, 6001));
    assert_int_equal(retainer_next_expiry_ms(retainer), 7001);
    assert_false(retainer_sweep(retainer, SLICE, 7001));
    assert_int_equal(retainer_count(retainer), 0);
    retainer_free(retainer);
}

static void a_sweep_may_be_given_up_half_way(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_expiring("a", "1", 0, 1000, 1));
    store(retainer, make_expiring("b", "2", 0, 1000, 1));
    assert_true(retainer_sweep(retainer, 1, 5000));
    retainer_free(retainer); /* the sanitizers see what it leaves */
}

static void a_message_that_takes_the_place_of_an_expiring_one_stays(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_expiring("a", "1", 0, 1000, 1));
    store(retainer, make_retained("a", "2", 0, 1000));
    assert_false(retainer_sweep(retainer, 100, 5000));
    assert_string_equal(match(retainer, "#", 5000), "2");
    assert_int_equal(retainer_next_expiry_ms(retainer), UINT64_MAX);
    retainer_free(retainer);
}

/* ---- settings that change ---- */

static void new_limits_hold_from_now_on_and_what_is_there_stays(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    struct retainer_settings settings = {.count_max = 1, .payload_max = 2};

    (void)state;
    store(retainer, make_retained("a", "123", 0, 0));
    store(retainer, make_retained("b", "1", 0, 0));
    retainer_change(retainer, &settings);
    store(retainer, make_retained("c", "1", 0, 0));
    store(retainer, make_retained("a", "456", 0, 0));
    store(retainer, make_retained("b", "2", 0, 0));
    assert_string_equal(match(retainer, "#", 0), "123 2");
    settings = (struct retainer_settings){.count_max = 0, .payload_max = 3};
    retainer_change(retainer, &settings);
    store(retainer, make_retained("c", "456", 0, 0));
    store(retainer, make_retained("d", "4567", 0, 0));
    assert_string_equal(match(retainer, "#", 0), "123 2 456");
    retainer_free(retainer);
}

static void a_default_interval_is_for_those_without_their_own(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    struct retainer_settings settings = {.expiry_ms = 2000};
    struct message *message = make_retained("e", "5", 0, 1000);

    (void)state;
    store(retainer, make_retained("a", "1", 0, 1000));
    store(retainer, make_expiring("b", "2", 0, 1000, 20));
    store(retainer, make_retained("$SYS/c", "3", 0, 1000));
    store(retainer, make_retained("$SYSTEM/d", "4", 0, 1000));
    assert_false(retainer_expires(retainer, message));
    retainer_change(retainer, &settings);
    assert_true(retainer_expires(retainer, message));
    store(retainer, message);
    assert_int_equal(retainer_next_expiry_ms(retainer), 0); /* a pass finds out */
    assert_string_equal(match(retainer, "#", 2999), "1 2 5");
    assert_false(retainer_sweep(retainer, 100, 2999));
    assert_int_equal(retainer_next_expiry_ms(retainer), 3000);
    assert_int_equal(retainer_count(retainer), 5);
    assert_false(retainer_sweep(retainer, 100, 3000));
    assert_int_equal(retainer_count(retainer), 2);
    assert_string_equal(match(retainer, "#", 3000), "2");
    assert_string_equal(match(retainer, "$SYS/#", UINT64_MAX - 1), "3");
    settings.expiry_ms = 0;
    retainer_change(retainer, &settings);
    store(retainer, make_retained("a", "6", 0, 1000));
    assert_string_equal(match(retainer, "#", 20000), "6 2");
    retainer_free(retainer);
}

static void switched_off_it_keeps_and_finds_nothing_but_removes(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);

    (void)state;
    store(retainer, make_retained("a", "1", 0, 0));
    store(retainer, make_retained("b", "2", 0, 0));
    store(retainer, make_retained("c", "3", 0, 0));
    assert_false(retainer_is_empty(retainer));
    retainer_set_mode(retainer, RETAINER_OFF);
    assert_true(retainer_is_empty(retainer));
    assert_false(retainer_stores(retainer));
    store(retainer, make_retained("a", "4", 0, 0));
    store(retainer, make_retained("b", "", 0, 0));
    store(retainer, make_retained("d", "5", 0, 0));
    assert_string_equal(match(retainer, "#", 0), "");
    assert_string_equal(match(retainer, "a", 0), "");
    assert_int_equal(retainer_count(retainer), 2);
    retainer_set_mode(retainer, RETAINER_STORES);
    assert_string_equal(match(retainer, "#", 0), "1 3");
    retainer_free(retainer);
}

static void a_match_that_is_under_way_ends_when_it_is_switched_off(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    struct retainer_position position = {0};
    uint32_t visited = 0;

    (void)state;
    store(retainer, make_retained("a", "1", 0, 0));
    store(retainer, make_retained("b", "2", 0, 0));
    assert_int_equal(retainer_match_slice(retainer, SLICE_LITERAL("#"), &position, 1, 0, count, &visited), 1);
    retainer_set_mode(retainer, RETAINER_OFF);
    assert_int_equal(retainer_match_slice(retainer, SLICE_LITERAL("#"), &position, 1, 0, count, &visited), 0);
    assert_int_equal(visited, 1);
    assert_null(position.cursor.topic);
    retainer_free(retainer);
}

static uint64_t clean(struct retainer *retainer, const char *filter, uint32_t limit)
{
    struct retainer_position position = {0};
    uint64_t cleaned = 0;
    int more;

    do {
        more = retainer_clean_slice(retainer, slice_from_string(filter), &position, limit, 0, &cleaned);
        rcu_thread_quiescent();
    } while (more > 0);
    assert_int_equal(more, 0);
    return cleaned;
}

static void cleaning_takes_what_matches(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    struct retainer_position position = {0};
    uint32_t visited = 0;
    char topic[32];

    (void)state;
    for (int i = 0; i < 250; i++) {
        snprintf(topic, sizeof(topic), "t/%d", i);
        store(retainer, make_retained(topic, "x", 0, 0));
    }
    store(retainer, make_retained("$SYS/a", "1", 0, 0));
    store(retainer, make_retained("u", "2", 0, 0));
    assert_int_equal(clean(retainer, "t/7", 100), 1);
    assert_int_equal(clean(retainer, "t/7", 100), 0);
    assert_int_equal(clean(retainer, "t/+", 100), 249);
    assert_int_equal(retainer_visit_slice(retainer, SLICE_LITERAL(""), &position, 100, 0, count, &visited), 0);
    assert_int_equal(visited, 2);
    assert_int_equal(clean(retainer, "", 1), 2);
    assert_int_equal(retainer_count(retainer), 0);
    retainer_free(retainer);
}

enum { STORERS = 3, ROUNDS = 3000, OVER_MS = ROUNDS + 10000 };
static _Atomic int storers_running;

static void *store_expiring(void *context)
{
    struct retainer *retainer = context;
    int number = atomic_fetch_add(&storers_running, 1);
    char topic[32];

    rcu_thread_register();
    for (uint64_t now_ms = 1; now_ms <= ROUNDS; now_ms++) {
        snprintf(topic, sizeof(topic), "t/%d/%" PRIu64, number, now_ms % 50);
        store(retainer, make_expiring(topic, "x", 0, now_ms, (uint32_t)(now_ms % 3)));
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    atomic_fetch_sub(&storers_running, 1);
    return NULL;
}

/* Whatever the order in which passes and stores met, the last moment that was asked for lets nothing stay for good. */
static void no_expiry_is_missed_while_others_store(void **state)
{
    struct retainer *retainer = make_retainer(0, 0);
    pthread_t threads[STORERS];

    (void)state;
    for (int i = 0; i < STORERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, store_expiring, retainer), 0);
    for (uint64_t now_ms = 0; atomic_load(&storers_running) > 0 || now_ms < ROUNDS; now_ms += 3) {
        (void)!retainer_sweep(retainer, 10, now_ms);
        rcu_thread_quiescent();
    }
    rcu_thread_offline();
    for (int i = 0; i < STORERS; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    for (int calls = 0; retainer_sweep(retainer, 10, OVER_MS); calls++) /* a pass that was under way */
        assert_true(calls < 1000);
    for (int calls = 0; retainer_next_expiry_ms(retainer) <= OVER_MS; calls++) {
        assert_true(calls < 1000);
        (void)!retainer_sweep(retainer, 10, OVER_MS);
    }
    while (retainer_sweep(retainer, 10, OVER_MS))
        ;
    assert_int_equal(retainer_count(retainer), 0);
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
        TEST(new_limits_hold_from_now_on_and_what_is_there_stays),
        TEST(a_default_interval_is_for_those_without_their_own),
        TEST(switched_off_it_keeps_and_finds_nothing_but_removes),
        TEST(a_match_that_is_under_way_ends_when_it_is_switched_off),
        TEST(cleaning_takes_what_matches),
        TEST(a_sweep_gives_the_room_of_expired_messages_back),
        TEST(a_sweep_looks_at_some_topics_at_a_time),
        TEST(a_sweep_may_be_given_up_half_way),
        TEST(a_message_that_takes_the_place_of_an_expiring_one_stays),
        TEST(no_expiry_is_missed_while_others_store),
    };

    return cmocka_run_group_tests_name("retainer", tests, NULL, NULL);
}
