/*
 * Retained messages that are stored: what a restart brings back, what is on disk only, and what happens while they are loaded.
 */
#include "durable_fixture.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/retainer/retained_read.h"

#include <pthread.h>
#include <stdio.h>

#define LARGE                                                                                                          \
    "large-------------------------------------------------------------------------------------------------------"     \
    "----------------------------------------------------------------------------------------------------------"
#define LARGE_START "large---------------" /* as durable_match() shows it */

static struct message *make(const char *topic, const char *payload, uint8_t qos)
{
    return make_retained(topic, payload, qos, clock_mono_ms());
}

/* ---- writing and loading ---- */

static void a_restart_brings_the_messages_back(void **state)
{
    struct durable_fixture *fixture = *state;
    struct message_parts parts = {.topic = SLICE_LITERAL("b"),
                                  .client_id = SLICE_LITERAL("someone"),
                                  .payload = SLICE_LITERAL("2"),
                                  .properties = SLICE_LITERAL("\x01\x01"),
                                  .now_ms = clock_mono_ms(),
                                  .qos = 2,
                                  .retain = true};
    const struct message *back;

    durable_open(fixture);
    assert_int_equal(durable_store(fixture, make("a/x", "1", 1), true), RETAINER_WRITTEN);
    assert_int_equal(durable_store(fixture, message_new_from_parts(&parts), true), RETAINER_WRITTEN);
    assert_int_equal(durable_store(fixture, make("a", "3", 0), true), RETAINER_KEPT); /* nobody waits */
    assert_true(retainer_submit(fixture->retainer, true));
    assert_false(retainer_submit(fixture->retainer, true));
    durable_restart(fixture);
    assert_int_equal(retainer_count(fixture->retainer), 3);
    assert_string_equal(durable_match(fixture, "#"), "3 1 2");
    back = retained_index_get(fixture->retainer->index, SLICE_LITERAL("b"));
    assert_int_equal(back->qos, 2);
    assert_true(back->retain);
    assert_true(slice_equal(message_client_id(back), parts.client_id));
    assert_true(slice_equal(slice_make(back->properties, back->properties_len), parts.properties));
}

static void what_was_cleared_stays_cleared(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open(fixture);
    durable_store(fixture, make("a", "1", 1), true);
    durable_store(fixture, make("b", "2", 1), true);
    durable_restart(fixture);
    assert_int_equal(durable_store(fixture, make("a", "", 1), true), RETAINER_WRITTEN);
    assert_int_equal(durable_store(fixture, make("c", "", 1), true), RETAINER_KEPT); /* nothing there */
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "2");
    assert_string_equal(durable_row(fixture, "a"), "-");
}

static void what_is_not_durable_is_not_stored_and_takes_the_row_away(void **state)
{
    struct durable_fixture *fixture = *state;
    struct message *sys = make("$SYS/x", "4", 1);

    sys->sys = true;
    durable_open(fixture);
    durable_store(fixture, make("a", "1", 1), true);
    assert_int_equal(durable_store(fixture, make("a", "2", 1), false), RETAINER_KEPT);
    assert_int_equal(durable_store(fixture, make("b", "3", 1), false), RETAINER_KEPT);
    assert_int_equal(durable_store(fixture, sys, true), RETAINER_KEPT);
    assert_string_equal(durable_match(fixture, "#"), "2 3");
    durable_restart(fixture);
    assert_int_equal(retainer_count(fixture->retainer), 0);
}

static void in_memory_only_nothing_is_written(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open(fixture);
    durable_store(fixture, make("a", "1", 1), true);
    durable_store(fixture, make("b", "2", 1), true);
    retainer_set_mode(fixture->retainer, RETAINER_MEMORY);
    assert_false(retainer_stores(fixture->retainer));
    assert_int_equal(durable_store(fixture, make("a", "3", 1), true), RETAINER_KEPT);
    assert_int_equal(durable_store(fixture, make("c", "4", 1), true), RETAINER_KEPT);
    assert_string_equal(durable_match(fixture, "#"), "3 2 4");
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "2");
}

static void what_is_cleaned_goes_from_the_disk_too(void **state)
{
    struct durable_fixture *fixture = *state;
    struct retainer_position position = {0};
    uint64_t count = 0;

    durable_open(fixture);
    durable_store(fixture, make("a/1", "1", 1), true);
    durable_store(fixture, make("a/2", LARGE, 1), true);
    durable_store(fixture, make("b", "3", 1), true);
    durable_commit(fixture);
    durable_store(fixture, make("a/3", LARGE, 1), true); /* its row is not written yet */
    assert_int_equal(
        retainer_clean_slice(fixture->retainer, SLICE_LITERAL("a/+"), &position, 100, clock_mono_ms(), &count), 0);
    assert_int_equal(count, 3);
    durable_commit(fixture);
    assert_string_equal(durable_row(fixture, "a/1"), "-");
    assert_string_equal(durable_row(fixture, "a/3"), "-");
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "3");
}

static void a_default_interval_counts_from_the_publishing_over_a_restart(void **state)
{
    struct durable_fixture *fixture = *state;
    struct retainer_settings settings = {.expiry_ms = 60000};
    uint64_t now_ms = clock_mono_ms();

    durable_open(fixture);
    durable_store(fixture, make_retained("a", "1", 1, now_ms - 59000), true);
    durable_store(fixture, make_retained("b", LARGE, 1, now_ms - 59000), true);
    durable_store(fixture, make_retained("c", "3", 1, now_ms - 59000 - 20000), true);
    durable_restart(fixture);
    retainer_change(fixture->retainer, &settings);
    assert_string_equal(durable_match(fixture, "#"), "1 " LARGE_START);
    assert_int_equal(retainer_count(fixture->retainer), 2);
    now_ms = clock_mono_ms();
    assert_false(retainer_sweep(fixture->retainer, 100, now_ms + 2000));
    assert_int_equal(retainer_count(fixture->retainer), 0);
}

static void limits_hold_and_what_was_stored_stays(void **state)
{
    struct durable_fixture *fixture = *state;

    fixture->options.count_max = 2;
    fixture->options.payload_max = 3;
    durable_open(fixture);
    durable_store(fixture, make("a", "1", 1), true);
    durable_store(fixture, make("b", "2", 1), true);
    assert_int_equal(durable_store(fixture, make("c", "3", 1), true), RETAINER_QUOTA);
    assert_int_equal(durable_store(fixture, make("a", "1234", 1), true), RETAINER_QUOTA);
    durable_commit(fixture);
    assert_string_equal(durable_row(fixture, "c"), "-");
    assert_string_equal(durable_row(fixture, "a"), "1");
    fixture->options.count_max = 1;
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "1 2");
    assert_int_equal(durable_store(fixture, make("b", "3", 1), true), RETAINER_WRITTEN);
    assert_int_equal(durable_store(fixture, make("c", "3", 1), true), RETAINER_QUOTA);
}

static void what_expires_goes_from_the_disk_too(void **state)
{
    struct durable_fixture *fixture = *state;
    uint64_t now_ms = clock_mono_ms();

    durable_open(fixture);
    durable_store(fixture, make_expiring("a", "1", 1, now_ms, 10), true);
    durable_store(fixture, make_expiring("b", "2", 1, now_ms, 1000), true);
    assert_false(retainer_sweep(fixture->retainer, 100, now_ms + 10001));
    durable_commit(fixture);
    assert_string_equal(durable_row(fixture, "a"), "-");
    assert_string_equal(durable_row(fixture, "b"), "2");
}

static void the_expiry_interval_goes_on_while_the_node_is_down(void **state)
{
    struct durable_fixture *fixture = *state;
    uint64_t now_ms = clock_mono_ms();

    durable_open(fixture);
    durable_store(fixture, make_expiring("a", "1", 1, now_ms - 20000, 10), true); /* of long ago */
    durable_store(fixture, make_expiring("b", "2", 1, now_ms - 20000, 1000), true);
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "2");
    durable_commit(fixture);
    assert_string_equal(durable_row(fixture, "a"), "-");
    assert_in_range(retainer_next_expiry_ms(fixture->retainer), now_ms + 970000, now_ms + 990000);
}

enum { WRITERS = 3, WRITES = 2000, TOPICS = 5 };

static void *write_topics(void *context)
{
    struct durable_fixture *fixture = context;
    char topic[16], payload[64];

    rcu_thread_register();
    for (int i = 0; i < WRITES; i++) {
        snprintf(topic, sizeof(topic), "t/%d", i % TOPICS);
        snprintf(payload, sizeof(payload), "%p-%d", (void *)topic, i);
        durable_store(fixture, make(topic, i % 7 == 0 ? "" : payload, 1), i % 11 != 0);
        if (i % 13 == 0)
            retainer_submit(fixture->retainer, false);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

/* Whoever was last of several workers in memory is what a restart brings. */
static void disk_and_memory_agree_on_the_last_writer(void **state)
{
    struct durable_fixture *fixture = *state;
    pthread_t threads[WRITERS];
    char before[TOPICS][64], topic[16];

    durable_open(fixture);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_topics, fixture), 0);
    rcu_thread_offline();
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    for (int i = 0; i < TOPICS; i++) { /* not all topics end stored: what is in memory only is not to come back */
        snprintf(topic, sizeof(topic), "t/%d", i);
        struct retained_place place;
        retained_index_lock(fixture->retainer->index, slice_from_string(topic), &place);
        bool stored = place.entry != NULL && retained_place_mark(&place);
        retained_index_unlock(fixture->retainer->index, &place);
        snprintf(before[i], sizeof(before[i]), "%s", stored ? durable_match(fixture, topic) : "-");
    }
    durable_commit(fixture);
    for (int i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof(topic), "t/%d", i);
        assert_int_equal(strncmp(durable_row(fixture, topic), before[i], 20), 0);
    }
}

/* ---- large payloads ---- */

static const struct message *in_memory(struct durable_fixture *fixture, const char *topic)
{
    return retained_index_get(fixture->retainer->index, slice_from_string(topic));
}

static void a_large_payload_leaves_memory_when_it_is_on_disk(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open(fixture);
    durable_store(fixture, make("a", LARGE, 1), true);
    assert_false(retained_is_on_disk(in_memory(fixture, "a")));
    durable_commit(fixture);
    assert_true(retained_is_on_disk(in_memory(fixture, "a")));
    assert_string_equal(durable_match(fixture, "a"), LARGE_START);
    assert_int_equal(retainer_count(fixture->retainer), 1);
    durable_restart(fixture);
    assert_true(retained_is_on_disk(in_memory(fixture, "a")));
    assert_string_equal(durable_match(fixture, "#"), LARGE_START);
    durable_store(fixture, make("a", "small", 1), true);
    durable_commit(fixture);
    assert_string_equal(durable_match(fixture, "#"), "small");
}

static void a_large_payload_that_is_not_stored_stays_in_memory(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open(fixture);
    durable_store(fixture, make("a", LARGE, 1), false);
    durable_commit(fixture);
    assert_false(retained_is_on_disk(in_memory(fixture, "a")));
    assert_string_equal(durable_match(fixture, "a"), LARGE_START);
}

static void what_took_its_place_meanwhile_stays(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open(fixture);
    durable_store(fixture, make("a", LARGE, 1), true);
    durable_store(fixture, make("a", "small", 1), true);
    durable_store(fixture, make("b", LARGE, 1), true);
    durable_store(fixture, make("b", "", 1), true);
    durable_commit(fixture);
    assert_string_equal(durable_match(fixture, "#"), "small");
}

static void a_large_message_on_disk_expires(void **state)
{
    struct durable_fixture *fixture = *state;
    uint64_t now_ms = clock_mono_ms();

    durable_open(fixture);
    durable_store(fixture, make_expiring("a", LARGE, 1, now_ms, 10), true);
    durable_commit(fixture);
    assert_true(retained_is_on_disk(in_memory(fixture, "a")));
    assert_false(retainer_sweep(fixture->retainer, 100, now_ms + 10001));
    assert_int_equal(retainer_count(fixture->retainer), 0);
    durable_commit(fixture);
    assert_string_equal(durable_row(fixture, "a"), "-");
}

static void what_cannot_be_read_is_left_out_and_counted(void **state)
{
    struct durable_fixture *fixture = *state;
    uint64_t before = metrics_read(METRIC_MESSAGES_DROPPED_UNREADABLE);

    durable_open(fixture);
    durable_store(fixture, make("a", LARGE, 1), true);
    durable_store(fixture, make("b", "2", 1), true);
    durable_commit(fixture);
    durable_write_row(fixture, "a", SLICE_LITERAL("nonsense"));
    durable_commit(fixture);
    assert_string_equal(durable_match(fixture, "#"), "2");
    assert_int_equal(metrics_read(METRIC_MESSAGES_DROPPED_UNREADABLE), before + 1);
    durable_restart(fixture); /* the loading meets it too */
    assert_string_equal(durable_match(fixture, "#"), "2");
    assert_int_equal(metrics_read(METRIC_MESSAGES_DROPPED_UNREADABLE), before + 2);
    durable_store(fixture, make("a", "", 1), true); /* it can be cleared although it is not known */
    durable_commit(fixture);
    durable_restart(fixture);
    assert_int_equal(metrics_read(METRIC_MESSAGES_DROPPED_UNREADABLE), before + 2);
}

static void never_called(struct worker *worker, void *context, struct retained_read *read)
{
    (void)worker;
    (void)context;
    (void)read;
    fail();
}

static void a_read_that_nobody_wants_any_more_tells_nobody(void **state)
{
    struct durable_fixture *fixture = *state;
    struct retained_read *reads[RETAINED_READS_OF_WORKER + 1];
    struct retained_desk *desk;
    struct worker *worker;
    struct message *stub;

    durable_open(fixture);
    worker = worker_pool_get(fixture->pool, 1);
    desk = &fixture->retainer->desks[1];
    durable_store(fixture, make("a", LARGE, 1), true);
    durable_commit(fixture);
    stub = message_ref((struct message *)in_memory(fixture, "a"));
    for (uint32_t begun = 0; begun < 2; begun++) {
        for (uint32_t i = 0; i < ARRAY_COUNT(reads); i++)
            reads[i] = retained_read_start(fixture->retainer, worker, &stub, 1, never_called, NULL);
        worker_run_cancel(worker, &desk->work);
        if (begun > 0)
            desk->work.run(worker, &desk->work); /* not in a turn, which might hear from a read already */
        assert_int_equal(desk->reads_begun, begun > 0 ? RETAINED_READS_OF_WORKER : 0);
        for (uint32_t i = 0; i < ARRAY_COUNT(reads); i++)
            retained_read_cancel(reads[i]);
        assert_true(list_empty(&desk->reads));
    }
    retained_read_cancel(NULL);
    message_unref(stub); /* the retainer's end waits for what has begun */
}

/* ---- a store in trouble ---- */

static void a_congested_store_gets_no_more_of_qos_0(void **state)
{
    struct durable_fixture *fixture = *state;
    uint64_t before = metrics_read(METRIC_MESSAGES_RETAINED_UNSTORED);

    fixture->store_options.queue_bytes_max = 0; /* from its first batch on */
    durable_restart_store(fixture);
    durable_open(fixture);
    durable_store(fixture, make("old", "1", 0), true);
    durable_commit(fixture);
    assert_true(store_congested(fixture->store));
    assert_int_equal(durable_store(fixture, make("old", "2", 0), true), RETAINER_KEPT);
    assert_int_equal(durable_store(fixture, make("new", "3", 0), true), RETAINER_KEPT);
    assert_int_equal(durable_store(fixture, make("kept", "4", 1), true), RETAINER_WRITTEN);
    assert_int_equal(metrics_read(METRIC_MESSAGES_RETAINED_UNSTORED), before + 2);
    assert_string_equal(durable_match(fixture, "#"), "4 3 2");
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "4 1"); /* what the store had taken */
    durable_store(fixture, make("old", "5", 0), true);
    durable_store(fixture, make("old", "", 0), true); /* its row goes nevertheless */
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "#"), "4");
}

/* ---- while it is loaded ---- */

static const char *const behind[] = {"n/1", "n/2", "n/3", "n/new", "z", NULL};

static void an_exact_filter_is_answered_before_its_topic_is_loaded(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open_gated(fixture, behind);
    assert_false(retainer_is_empty(fixture->retainer));
    assert_string_equal(durable_match(fixture, "a/00000"), "a/00000");
    assert_string_equal(durable_match(fixture, "n/2"), "n/2");
    assert_string_equal(durable_match(fixture, "n/unknown"), "");
    durable_open_gate(fixture);
    assert_string_equal(durable_match(fixture, "n/2"), "n/2");
}

static void what_is_published_during_the_loading_is_not_overwritten(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open_gated(fixture, behind);
    durable_store(fixture, make("n/2", "new", 1), true);
    durable_store(fixture, make("n/3", "fleeting", 1), false); /* its row goes */
    assert_string_equal(durable_match(fixture, "n/2"), "new");
    durable_open_gate(fixture);
    assert_string_equal(durable_match(fixture, "n/#"), "n/1 new fleeting n/new");
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "n/#"), "n/1 new n/new");
}

static void what_is_cleared_during_the_loading_does_not_come_back(void **state)
{
    struct durable_fixture *fixture = *state;

    durable_open_gated(fixture, behind);
    assert_int_equal(durable_store(fixture, make("n/1", "", 1), true), RETAINER_WRITTEN);
    durable_store(fixture, make("n/2", "new", 1), true);
    durable_store(fixture, make("n/2", "", 1), true);
    durable_store(fixture, make("n/3", "", 1), false);
    durable_store(fixture, make("z", "", 1), true);
    durable_store(fixture, make("z", "", 1), true);
    durable_store(fixture, make("z", "again", 1), true);
    durable_store(fixture, make("a/00000", "", 1), true); /* loaded already */
    assert_string_equal(durable_match(fixture, "n/1"), "");
    durable_open_gate(fixture);
    assert_string_equal(durable_match(fixture, "n/#"), "n/new");
    assert_string_equal(durable_match(fixture, "z"), "again");
    durable_restart(fixture);
    assert_string_equal(durable_match(fixture, "n/#"), "n/new");
    assert_string_equal(durable_match(fixture, "a/00000"), "");
}

struct tally {
    uint32_t count;
    char last[32];
};

static void tally(void *context, struct message *message)
{
    struct tally *seen = context;

    assert_false(retained_is_on_disk(message));
    snprintf(seen->last, sizeof(seen->last), "%.*s", message->topic_len, (const char *)message->topic);
    seen->count++;
}

static int tally_slice(struct durable_fixture *fixture, struct retainer_position *position, const char *filter,
                       struct tally *seen)
{
    int more;

    do
        more = retainer_match_slice(fixture->retainer, slice_from_string(filter), position, 1000, clock_mono_ms(),
                                    tally, seen);
    while (more == 1);
    return more;
}

struct woken {
    struct retained_waiter waiter;
    uint32_t count;
};

static void count_wake(struct worker *worker, struct retained_waiter *waiter)
{
    (void)worker;
    CONTAINER_OF(waiter, struct woken, waiter)->count++;
}

static void a_wildcard_gets_what_is_loaded_then_the_rest_each_once(void **state)
{
    struct durable_fixture *fixture = *state;
    struct retainer_position position = {0}, beyond = {0}, done = {0};
    struct worker *worker = NULL;
    struct tally seen = {0}, seen_beyond = {0}, seen_done = {0};
    struct woken woken = {.count = 0};
    uint64_t version;

    durable_open_gated(fixture, behind);
    worker = worker_pool_get(fixture->pool, 1);
    retained_waiter_init(&woken.waiter, count_wake);
    durable_store(fixture, make("b", "between", 1), true); /* behind what is loaded, before what is not */
    version = retained_load_version(fixture->retainer);
    assert_int_equal(tally_slice(fixture, &position, "#", &seen), RETAINER_NOT_YET);
    assert_in_range(seen.count, 1, FIXTURE_BEFORE_GATE);
    assert_int_equal(tally_slice(fixture, &position, "#", &seen), RETAINER_NOT_YET);
    assert_int_equal(tally_slice(fixture, &beyond, "n/+", &seen_beyond), RETAINER_NOT_YET);
    assert_int_equal(seen_beyond.count, 0);
    assert_int_equal(tally_slice(fixture, &done, "a/00000/+", &seen_done), 0); /* nothing behind matches */
    assert_true(retained_wait(fixture->retainer, worker, &woken.waiter, version));
    durable_turn(fixture);
    assert_int_equal(woken.count, 0);
    durable_open_gate(fixture);
    while (woken.count == 0)
        durable_turn(fixture);
    assert_int_equal(tally_slice(fixture, &position, "#", &seen), 0);
    assert_int_equal(seen.count, FIXTURE_BEFORE_GATE + 1 + 1 + 5);
    assert_string_equal(seen.last, "z");
    assert_int_equal(tally_slice(fixture, &beyond, "n/+", &seen_beyond), 0);
    assert_int_equal(seen_beyond.count, 4);
    assert_false(retained_wait(fixture->retainer, worker, &woken.waiter, version)); /* it has moved since */
    assert_true(list_empty(&woken.waiter.list));
}

static void the_end_does_not_wait_for_the_loading(void **state)
{
    struct durable_fixture *fixture = *state;
    struct retained_waiter waiter;

    durable_open_gated(fixture, behind);
    retained_waiter_init(&waiter, NULL);
    assert_true(retained_wait(fixture->retainer, worker_pool_get(fixture->pool, 0), &waiter,
                              retained_load_version(fixture->retainer)));
    retained_wait_cancel(&waiter);
    pthread_mutex_lock(&fixture->retainer->loader.lock);
    fixture->retainer->loader.stop = true; /* as if it had been asked to before the gate opens */
    pthread_mutex_unlock(&fixture->retainer->loader.lock);
    retained_index_unlock(fixture->retainer->index, &fixture->gate);
    fixture->gate_closed = false;
    durable_close(fixture);
    durable_open(fixture); /* all is there still */
    assert_int_equal(retainer_count(fixture->retainer), FIXTURE_BEFORE_GATE + 1 + 5);
}

enum { CHANGERS = 2, LOADED_ROWS = 30000 };
static _Atomic int changer_number;

/* Each has topics of its own, so it knows what they must be in the end. */
static void *change_topics(void *context)
{
    struct durable_fixture *fixture = context;
    int mine = atomic_fetch_add(&changer_number, 1);
    char topic[32];

    rcu_thread_register();
    for (int i = LOADED_ROWS - 1 - mine; i >= 0; i -= CHANGERS * 3) {
        snprintf(topic, sizeof(topic), "t/%05d", i);
        if (i % 2 == 0)
            durable_store(fixture, make(topic, "changed", 1), true);
        durable_store(fixture, make(topic, i % 5 == 0 ? "again" : "", 1), true);
        if (i % 50 == 0)
            retainer_submit(fixture->retainer, false);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static const char *expected_of(int i)
{
    for (int mine = 0; mine < CHANGERS; mine++) {
        if ((LOADED_ROWS - 1 - mine - i) % (CHANGERS * 3) == 0 && LOADED_ROWS - 1 - mine >= i)
            return i % 5 == 0 ? "again" : "";
    }
    return "old";
}

static void workers_and_the_loading_do_not_undo_each_other(void **state)
{
    struct durable_fixture *fixture = *state;
    pthread_t threads[CHANGERS];
    char topic[32];

    durable_open(fixture);
    for (int i = 0; i < LOADED_ROWS; i++) {
        snprintf(topic, sizeof(topic), "t/%05d", i);
        durable_store(fixture, make(topic, "old", 1), true);
        if (i % 1000 == 0)
            durable_commit(fixture);
    }
    durable_commit(fixture);
    durable_close(fixture);
    durable_open_loading(fixture);
    for (int i = 0; i < CHANGERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change_topics, fixture), 0);
    rcu_thread_offline();
    for (int i = 0; i < CHANGERS; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    durable_open_gate(fixture); /* no gate: waits until everything is loaded */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < LOADED_ROWS; i++) {
            snprintf(topic, sizeof(topic), "t/%05d", i);
            assert_string_equal(durable_match(fixture, topic), expected_of(i));
        }
        durable_restart(fixture);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, durable_set_up, durable_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_restart_brings_the_messages_back),
        TEST(what_was_cleared_stays_cleared),
        TEST(what_is_not_durable_is_not_stored_and_takes_the_row_away),
        TEST(in_memory_only_nothing_is_written),
        TEST(what_is_cleaned_goes_from_the_disk_too),
        TEST(a_default_interval_counts_from_the_publishing_over_a_restart),
        TEST(limits_hold_and_what_was_stored_stays),
        TEST(what_expires_goes_from_the_disk_too),
        TEST(the_expiry_interval_goes_on_while_the_node_is_down),
        TEST(disk_and_memory_agree_on_the_last_writer),
        TEST(a_large_payload_leaves_memory_when_it_is_on_disk),
        TEST(a_large_payload_that_is_not_stored_stays_in_memory),
        TEST(what_took_its_place_meanwhile_stays),
        TEST(a_large_message_on_disk_expires),
        TEST(what_cannot_be_read_is_left_out_and_counted),
        TEST(a_read_that_nobody_wants_any_more_tells_nobody),
        TEST(a_congested_store_gets_no_more_of_qos_0),
        TEST(an_exact_filter_is_answered_before_its_topic_is_loaded),
        TEST(what_is_published_during_the_loading_is_not_overwritten),
        TEST(what_is_cleared_during_the_loading_does_not_come_back),
        TEST(a_wildcard_gets_what_is_loaded_then_the_rest_each_once),
        TEST(the_end_does_not_wait_for_the_loading),
        TEST(workers_and_the_loading_do_not_undo_each_other),
    };

    return cmocka_run_group_tests_name("retainer, durable", tests, NULL, NULL);
}
