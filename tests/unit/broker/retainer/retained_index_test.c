/*
 * retained_index: one message per topic, found by topic and by filter, with references in balance.
 */
#include "broker/retainer/retained_index.h"

#include "base/rcu.h"
#include "naive_match.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEXT_MAX 128

struct note {
    _Atomic uint32_t refs;
    uint32_t number;
    char topic[TEXT_MAX];
};

static _Atomic int64_t notes_alive;

static void note_ref(void *message)
{
    atomic_fetch_add(&((struct note *)message)->refs, 1);
}

static void note_unref(void *message)
{
    struct note *note = message;

    if (atomic_fetch_sub(&note->refs, 1) == 1) {
        free(note);
        atomic_fetch_sub(&notes_alive, 1);
    }
}

static size_t note_bytes(const void *message)
{
    (void)message;
    return 1000;
}

static struct note *note_new(const char *topic, uint32_t number)
{
    struct note *note = calloc(1, sizeof(*note));

    assert_non_null(note);
    note->refs = 1;
    note->number = number;
    strcpy(note->topic, topic);
    atomic_fetch_add(&notes_alive, 1);
    return note;
}

static struct slice text(const char *string)
{
    return slice_from_string(string);
}

/* Sets a new message of that number; the index keeps the only reference. */
static int set(struct retained_index *index, const char *topic, uint32_t number)
{
    struct note *note = note_new(topic, number);
    int err = retained_index_set(index, text(topic), note, NULL);

    note_unref(note);
    return err;
}

static int set_up(void **state)
{
    const struct retained_options options = {.ref = note_ref, .unref = note_unref, .message_bytes = note_bytes};

    rcu_thread_register();
    *state = retained_index_new(&options);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    retained_index_free(*state);
    rcu_thread_unregister();
    return notes_alive == 0 ? 0 : -1;
}

static void gives_back_the_last_message_of_a_topic(void **state)
{
    void *previous = NULL;
    struct note *note = note_new("a/b", 3);

    assert_null(retained_index_get(*state, text("a/b")));
    assert_int_equal(set(*state, "a/b", 1), 0);
    assert_int_equal(set(*state, "a/b", 2), 0);
    assert_int_equal(((struct note *)retained_index_get(*state, text("a/b")))->number, 2);
    assert_int_equal(retained_index_set(*state, text("a/b"), note, &previous), 0);
    assert_int_equal(((struct note *)previous)->number, 2);
    assert_ptr_equal(retained_index_get(*state, text("a/b")), note);
    assert_int_equal(retained_index_count(*state), 1);
    note_unref(note);
}

static void removes_a_topic_with_its_message(void **state)
{
    struct note *taken;

    assert_int_equal(set(*state, "a", 1), 0);
    assert_int_equal(set(*state, "a/b", 2), 0);
    taken = retained_index_remove(*state, text("a"));
    assert_int_equal(taken->number, 1);
    assert_null(retained_index_remove(*state, text("a")));
    assert_null(retained_index_get(*state, text("a")));
    assert_non_null(retained_index_get(*state, text("a/b")));
    assert_int_equal(retained_index_count(*state), 1);
}

static void a_locked_place_shows_and_changes_its_message(void **state)
{
    struct note *first = note_new("a", 1), *second = note_new("b", 2);
    struct retained_place place;

    retained_index_set_count_max(*state, 1);
    retained_index_lock(*state, text("a"), &place);
    assert_null(retained_place_message(&place));
    assert_int_equal(retained_place_set(*state, &place, first, false), 0);
    assert_ptr_equal(retained_place_message(&place), first);
    assert_false(retained_place_mark(&place));
    retained_place_set_mark(&place, true);
    retained_index_unlock(*state, &place);
    retained_index_lock(*state, text("b"), &place);
    assert_int_equal(retained_place_set(*state, &place, second, false), -ENOSPC);
    assert_null(retained_place_remove(*state, &place));
    assert_int_equal(retained_place_set(*state, &place, second, true), 0);
    retained_index_unlock(*state, &place);
    assert_int_equal(retained_index_count(*state), 2);
    retained_index_lock(*state, text("a"), &place);
    assert_int_equal(retained_place_set(*state, &place, second, false), 0);
    assert_true(retained_place_mark(&place)); /* the topic's, whatever its message */
    assert_ptr_equal(retained_place_remove(*state, &place), second);
    assert_null(retained_place_message(&place));
    retained_index_unlock(*state, &place);
    assert_null(retained_index_get(*state, text("a")));
    note_unref(first);
    note_unref(second);
}

static void refuses_new_topics_over_the_limit(void **state)
{
    retained_index_set_count_max(*state, 2);
    assert_int_equal(set(*state, "a", 1), 0);
    assert_int_equal(set(*state, "b", 2), 0);
    assert_int_equal(set(*state, "c", 3), -ENOSPC);
    assert_int_equal(set(*state, "b", 4), 0);
    assert_non_null(retained_index_remove(*state, text("a")));
    assert_int_equal(set(*state, "c", 5), 0);
    assert_int_equal(retained_index_count(*state), 2);
}

static void counts_bytes_back_to_where_they_were(void **state)
{
    uint64_t before = retained_index_bytes(*state);

    assert_int_equal(set(*state, "some/topic", 1), 0);
    assert_in_range(retained_index_bytes(*state) - before, 1030, 1300);
    assert_int_equal(set(*state, "some/topic", 2), 0);
    assert_in_range(retained_index_bytes(*state) - before, 1030, 1300);
    assert_non_null(retained_index_remove(*state, text("some/topic")));
    assert_int_equal(retained_index_bytes(*state), before);
}

struct found {
    uint32_t count;
    uint32_t numbers[2000];
};

static void note_found(void *context, struct slice topic, void *message)
{
    struct found *found = context;
    struct note *note = message;

    assert_true(slice_equal(topic, text(note->topic)));
    assert_true(found->count < ARRAY_COUNT(found->numbers));
    found->numbers[found->count++] = note->number;
}

/* Matches in slices of `limit`, with a quiescent state between them. */
static void match(const struct retained_index *index, const char *filter, uint32_t limit, struct found *found)
{
    struct retained_cursor cursor = {NULL, 0};
    int more;

    found->count = 0;
    do {
        uint32_t before = found->count;

        more = retained_index_match(index, text(filter), &cursor, limit, note_found, found);
        assert_true(more >= 0 && found->count - before <= limit);
        rcu_thread_quiescent();
    } while (more);
    assert_null(cursor.topic);
}

static void finds_what_a_filter_matches(void **state)
{
    static struct found found;
    static const char *const topics[] = {"a", "a/b", "a/b/c", "a-b", "a!/b", "ab", "/a", "a/", "$SYS/a", "b/b"};

    for (uint32_t i = 0; i < ARRAY_COUNT(topics); i++)
        assert_int_equal(set(*state, topics[i], i), 0);
    match(*state, "a/#", 100, &found);
    assert_int_equal(found.count, 4); /* a, a/, a/b, a/b/c */
    match(*state, "+/b", 100, &found);
    assert_int_equal(found.count, 3); /* a/b, a!/b, b/b */
    match(*state, "a/b", 100, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.numbers[0], 1);
    match(*state, "a/+", 100, &found);
    assert_int_equal(found.count, 2); /* a/, a/b */
    match(*state, "/+", 100, &found);
    assert_int_equal(found.count, 1);
    match(*state, "c/+", 100, &found);
    assert_int_equal(found.count, 0);
}

/* [MQTT-4.7.2-1] */
static void a_leading_wildcard_matches_no_dollar_topic(void **state)
{
    static struct found found;
    static const char *const topics[] = {"$", "$SYS/a", "$x/a", "%/a", "!/a"};

    for (uint32_t i = 0; i < ARRAY_COUNT(topics); i++)
        assert_int_equal(set(*state, topics[i], i), 0);
    match(*state, "#", 100, &found);
    assert_int_equal(found.count, 2);
    match(*state, "+/a", 100, &found);
    assert_int_equal(found.count, 2);
    match(*state, "$SYS/#", 100, &found);
    assert_int_equal(found.count, 1);
    match(*state, "", 100, &found);
    assert_int_equal(found.count, 5);
}

static int compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

#define RANDOM_TOPICS 300

static void agrees_with_a_naive_matcher(void **state)
{
    static char topics[RANDOM_TOPICS][TEXT_MAX];
    static struct found found;
    uint32_t last[RANDOM_TOPICS] = {0}; /* the number set last; 0: removed */
    uint32_t random = 99991u;
    char filter[TEXT_MAX];

    for (uint32_t i = 0; i < RANDOM_TOPICS; i++)
        naive_random_text(&random, topics[i], false);
    for (uint32_t step = 1; step < 20000; step++) {
        uint32_t i = naive_random(&random) % RANDOM_TOPICS;
        bool remove = naive_random(&random) % 3 == 0;
        uint32_t expected = 0;

        if (remove)
            retained_index_remove(*state, text(topics[i]));
        else
            assert_int_equal(set(*state, topics[i], step), 0);
        for (uint32_t k = 0; k < RANDOM_TOPICS; k++) {
            if (strcmp(topics[k], topics[i]) == 0)
                last[k] = 0; /* the same text drawn twice */
        }
        last[i] = remove ? 0 : step;
        naive_random_text(&random, filter, true);
        match(*state, filter, 1 + naive_random(&random) % 50, &found);
        qsort(found.numbers, found.count, sizeof(found.numbers[0]), compare_numbers);
        for (uint32_t k = 0; k < RANDOM_TOPICS; k++) {
            if (last[k] != 0 && naive_match(topics[k], filter)) {
                expected++;
                assert_non_null(
                    bsearch(&last[k], found.numbers, found.count, sizeof(found.numbers[0]), compare_numbers));
            }
        }
        assert_int_equal(found.count, expected);
    }
}

static void looks_only_at_what_may_match(void **state)
{
    static struct found found;
    struct retained_cursor cursor = {NULL, 0};
    char topic[TEXT_MAX];

    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(topic, sizeof(topic), "site/%u/dev/%u/%s", i % 10, i / 20, i % 20 < 10 ? "temp" : "wet");
        assert_int_equal(set(*state, topic, i), 0);
    }
    found.count = 0;
    /* Ten sites, in each one match among a thousand: a few looks each. */
    assert_int_equal(retained_index_match(*state, text("site/+/dev/77/temp"), &cursor, 60, note_found, &found), 0);
    assert_int_equal(found.count, 10);
}

static void goes_on_where_it_was_while_topics_come_and_go(void **state)
{
    static struct found found;
    struct retained_cursor cursor = {NULL, 0};
    char topic[TEXT_MAX];
    uint32_t step = 0;
    int more;

    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(topic, sizeof(topic), "t/%u", i);
        assert_int_equal(set(*state, topic, i), 0);
    }
    found.count = 0;
    do {
        more = retained_index_match(*state, text("t/+"), &cursor, 7, note_found, &found);
        /* Odd numbers go, those behind the cursor and those before it. */
        for (uint32_t i = 0; i < 10 && step < 1000; i++, step++) {
            snprintf(topic, sizeof(topic), "t/%u", step * 7 % 1000 | 1);
            retained_index_remove(*state, text(topic));
            snprintf(topic, sizeof(topic), "u/%u", step);
            assert_int_equal(set(*state, topic, step), 0);
        }
        rcu_retire_flush();
        rcu_thread_quiescent();
    } while (more > 0);
    assert_int_equal(more, 0);
    qsort(found.numbers, found.count, sizeof(found.numbers[0]), compare_numbers);
    for (uint32_t i = 1; i < found.count; i++)
        assert_true(found.numbers[i] > found.numbers[i - 1]);
    for (uint32_t i = 0; i < 1000; i += 2)
        assert_non_null(bsearch(&i, found.numbers, found.count, sizeof(i), compare_numbers));
}

static void a_match_may_be_given_up(void **state)
{
    static struct found found;
    struct retained_cursor cursor = {NULL, 0};

    assert_int_equal(set(*state, "a", 1), 0);
    assert_int_equal(set(*state, "b", 2), 0);
    found.count = 0;
    assert_int_equal(retained_index_match(*state, text("#"), &cursor, 1, note_found, &found), 1);
    retained_cursor_fini(&cursor);
    assert_null(cursor.topic);
}

/* Readers beside writers that set and remove. Run under ThreadSanitizer too. */
struct stress {
    struct retained_index *index;
    _Atomic uint32_t writers_left;
    _Atomic uint32_t next_seed;
    _Atomic uint64_t wrong;
};

static void *stress_write(void *argument)
{
    struct stress *stress = argument;
    uint32_t random = atomic_fetch_add(&stress->next_seed, 4711u);
    char topic[TEXT_MAX];

    rcu_thread_register();
    for (uint32_t i = 0; i < 15000; i++) {
        naive_random_text(&random, topic, false);
        if (naive_random(&random) % 2)
            retained_index_remove(stress->index, text(topic));
        else if (set(stress->index, topic, i) < 0)
            atomic_fetch_add(&stress->wrong, 1);
        if (i % 16 == 0) {
            rcu_retire_flush();
            rcu_thread_quiescent();
        }
    }
    rcu_thread_unregister();
    atomic_fetch_sub(&stress->writers_left, 1);
    return NULL;
}

struct stress_found {
    struct stress *stress;
    uint32_t fixed;
};

static void stress_visit(void *context, struct slice topic, void *message)
{
    struct stress_found *found = context;
    struct note *note = message;

    note_ref(note);
    if (!slice_equal(topic, text(note->topic)))
        atomic_fetch_add(&found->stress->wrong, 1);
    found->fixed += note->number == UINT32_MAX;
    note_unref(note);
}

static void *stress_read(void *argument)
{
    struct stress *stress = argument;

    rcu_thread_register();
    while (atomic_load(&stress->writers_left) > 0) {
        struct stress_found found = {.stress = stress};
        struct retained_cursor cursor = {NULL, 0};

        while (retained_index_match(stress->index, text("+/fixed"), &cursor, 20, stress_visit, &found) > 0)
            rcu_thread_quiescent();
        if (found.fixed != 2 || retained_index_get(stress->index, text("b/fixed")) == NULL)
            atomic_fetch_add(&stress->wrong, 1);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static void readers_never_miss_a_topic_that_stays(void **state)
{
    struct stress stress = {.index = *state, .writers_left = 2, .next_seed = 1};
    pthread_t threads[4];

    assert_int_equal(set(*state, "a/fixed", UINT32_MAX), 0);
    assert_int_equal(set(*state, "b/fixed", UINT32_MAX), 0);
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
        cmocka_unit_test_setup_teardown(gives_back_the_last_message_of_a_topic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removes_a_topic_with_its_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_locked_place_shows_and_changes_its_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_new_topics_over_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_bytes_back_to_where_they_were, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finds_what_a_filter_matches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_leading_wildcard_matches_no_dollar_topic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agrees_with_a_naive_matcher, set_up, tear_down),
        cmocka_unit_test_setup_teardown(looks_only_at_what_may_match, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_where_it_was_while_topics_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_match_may_be_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_never_miss_a_topic_that_stays, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
