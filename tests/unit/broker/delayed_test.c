/*
 * Behaviour of delayed messages without sockets: two workers whose turns, and whose time, are the test's; a store in a
 * directory of its own.
 */
#include "message_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/broker.h"
#include "broker/delayed.h"
#include "broker/retainer/retainer.h"
#include "broker/session/session.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "event/mailbox.h"
#include "mqtt/message_record.h"
#include "mqtt/topic.h"
#include "store/store.h"

#define WORKERS 2
#define ROUNDS_MAX 10000000 /* of waiting for the store or a job */
#define SCANS_MAX 100000    /* likewise, with a look at the whole table */
#define LARGE (DELAYED_IN_MEMORY_MAX + 1)

struct fixture {
    char parent[64];
    char dir[80];
    struct delayed_settings settings;
    bool no_store;
    struct store *store;
    struct broker *broker;
    struct zone zone;
    struct session_link link;
    struct session *session; /* subscribed to everything, on worker 0 */
    struct session_link absent_link;
    struct session *absent; /* the same on worker 1: stored, and its client has gone; NULL: not in this test */
    char log[4096];         /* payloads, cut, and QoS of what it got */
    uint64_t now_ms;        /* CLOCK_MONOTONIC of the test */
};

static enum session_write client_publish(struct session_link *link, const struct session_publish *publish)
{
    struct fixture *fixture = CONTAINER_OF(link, struct fixture, link);
    const struct message *message = publish->message;
    size_t len = strlen(fixture->log);
    int shown = message->payload_len < 8 ? (int)message->payload_len : 8;

    snprintf(fixture->log + len, sizeof(fixture->log) - len, "%s%.*s%u", len > 0 ? " " : "", shown,
             (const char *)message->payload, publish->qos);
    return SESSION_WRITTEN;
}

static void client_pubrel(struct session_link *link, uint16_t packet_id)
{
    (void)link;
    (void)packet_id;
}

static bool client_writable(struct session_link *link)
{
    (void)link;
    return true;
}

static void client_overload(struct session_link *link)
{
    (void)link;
}

static void client_close(struct session_link *link, enum reason_code code, const char *reason)
{
    (void)link;
    (void)code;
    (void)reason;
}

static const struct session_link_ops client_ops = {.publish = client_publish,
                                                   .pubrel = client_pubrel,
                                                   .writable = client_writable,
                                                   .overload = client_overload,
                                                   .close = client_close};

/* A session on `worker` that is subscribed to everything. */
static struct session *subscribe(struct fixture *fixture, uint32_t worker, const char *client_id,
                                 struct session_link *link, uint32_t expiry_interval_s)
{
    struct session_host *host = &fixture->broker->workers[worker]->host;
    struct mqtt_subscription_options options = {.qos = 2};
    struct session_attach_options attach = {
        .link = link, .window = 1000, .version = MQTT_V5, .expiry_interval_s = expiry_interval_s};
    struct session *session = session_new(host, slice_from_string(client_id), &fixture->zone), *existing;
    struct mqtt_shared_filter parsed;
    bool is_new;

    host->link_ops = &client_ops;
    assert_non_null(session);
    assert_int_equal(broker_register_session(fixture->broker, session, &existing), 0);
    session_attach(session, &attach);
    assert_true(mqtt_shared_filter_parse(SLICE_LITERAL("#"), &parsed));
    assert_int_equal(subscription_add(session, &parsed, &options, 0, &is_new), 0);
    return session;
}

/* ---- life ---- */

static void open_store(struct fixture *fixture)
{
    struct store_options options = {.dir = fixture->dir,
                                    .cache_bytes = 1u << 20,
                                    .write_buffer_bytes = 4u << 20,
                                    .queue_bytes_max = 64u << 20,
                                    .sync_interval_ms = 50};
    char *error = NULL;
    int err = store_open(&options, &fixture->store, &error);

    if (error != NULL)
        print_error("%s\n", error);
    free(error);
    assert_int_equal(err, 0);
}

static void start(struct fixture *fixture)
{
    struct broker_settings settings = {
        .worker_count = WORKERS, .mailbox_bytes_max = 1 << 20, .delayed = fixture->settings};

    if (!fixture->no_store)
        open_store(fixture);
    settings.store = fixture->store;
    assert_int_equal(broker_new(&settings, &fixture->broker), 0);
    fixture->now_ms = clock_mono_ms();
    for (uint32_t i = 0; i < WORKERS; i++) /* so that their time is the test's */
        worker_run_turn(fixture->broker->workers[i]->host.worker, fixture->now_ms);
    if (fixture->store != NULL)
        assert_int_equal(broker_open_retained(fixture->broker, fixture->store), 0);
    assert_int_equal(delayed_restore(fixture->broker), 0);
    fixture->session = subscribe(fixture, 0, "reader", &fixture->link, 0);
    fixture->log[0] = '\0';
}

/* As node.c does it. */
static void stop(struct fixture *fixture)
{
    struct broker *broker = fixture->broker;

    worker_pool_drain(broker->pool);
    session_end(fixture->session, "end of the test");
    if (fixture->absent != NULL)
        session_suspend(fixture->absent);
    fixture->absent = NULL;
    for (uint32_t i = 0; i < WORKERS; i++)
        session_host_finish(&broker->workers[i]->host);
    worker_pool_drain(broker->pool);
    broker_close_store(broker);
    broker_close_retained(broker);
    rcu_retire_flush();
    rcu_barrier_all();
    worker_pool_drain(broker->pool);
    broker_free(broker);
    store_close(fixture->store);
    fixture->store = NULL;
    fixture->broker = NULL;
}

static void restart(struct fixture *fixture)
{
    stop(fixture);
    start(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL)
        return -1;
    rcu_thread_register();
    strcpy(fixture->parent, "/tmp/emqc-delayed-XXXXXX");
    if (mkdtemp(fixture->parent) == NULL)
        return -1;
    snprintf(fixture->dir, sizeof(fixture->dir), "%s/store", fixture->parent);
    fixture->settings = (struct delayed_settings){.memory_max = 1u << 20};
    fixture->zone = (struct zone){.session = {.max_mqueue_len = 100}};
    *state = fixture;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->broker != NULL)
        stop(fixture);
    nftw(fixture->parent, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    rcu_thread_unregister();
    return 0;
}

/* ---- time ---- */

/* A turn of each worker at the test's time. */
static void run_turn(struct fixture *fixture)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct broker_worker *worker = fixture->broker->workers[i];
        worker_run_turn(worker->host.worker, fixture->now_ms);
        broker_turn_end(worker);
    }
}

static void run_turns(struct fixture *fixture)
{
    for (int i = 0; i < 4; i++)
        run_turn(fixture);
}

static uint64_t written(const struct fixture *fixture)
{
    uint64_t all = 1;

    for (uint32_t i = 0; i < WORKERS; i++) {
        const struct store_client *client = fixture->broker->workers[i]->host.client;
        all &= store_committed(client) + 1 == store_open_number(client);
    }
    return all;
}

/* Turns until everything that was written is on disk, and what that set off too. */
static void settle(struct fixture *fixture)
{
    run_turns(fixture);
    for (int quiet = 0, round = 0; quiet < 4; round++) {
        assert_true(round < ROUNDS_MAX);
        run_turn(fixture);
        quiet = fixture->store == NULL || written(fixture) ? quiet + 1 : 0;
        sched_yield();
    }
}

static bool count_row(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

static uint32_t rows_of(const struct fixture *fixture, enum store_table table)
{
    uint32_t count = 0;

    assert_int_equal(store_scan(fixture->store, table, SLICE_LITERAL(""), SLICE_LITERAL(""), count_row, &count), 0);
    return count;
}

/* Turns until there are so many rows: the workers hear a moment later what is on disk. */
static void expect_rows(struct fixture *fixture, uint32_t count)
{
    settle(fixture);
    for (int round = 0; rows_of(fixture, STORE_DELAYED) != count; round++) {
        assert_true(round < SCANS_MAX);
        settle(fixture);
    }
}

/* Lets time go on by so much and runs what is due; waits for jobs until `text` has arrived. */
static void expect_after(struct fixture *fixture, uint64_t ms, const char *text)
{
    fixture->now_ms += ms;
    run_turns(fixture);
    for (int round = 0; strcmp(fixture->log, text) != 0; round++) {
        if (round == ROUNDS_MAX || strlen(fixture->log) > strlen(text))
            fail_msg("got \"%s\", not \"%s\"", fixture->log, text);
        run_turn(fixture);
        sched_yield();
    }
    settle(fixture);
    assert_string_equal(fixture->log, text); /* and nothing more */
    fixture->log[0] = '\0';
}

/* ---- messages ---- */

static int add_message(struct fixture *fixture, uint32_t worker, struct message *message, uint64_t delay_ms)
{
    return delayed_add_take(fixture->broker->workers[worker], message, delay_ms, true);
}

static int add(struct fixture *fixture, uint32_t worker, const char *payload, uint8_t qos, uint64_t delay_ms)
{
    return add_message(fixture, worker, make_message("a/b", payload, qos, fixture->now_ms), delay_ms);
}

/* A message with a payload that is too large to stay in memory; it begins with `payload`. */
static struct message *make_large(const struct fixture *fixture, const char *payload)
{
    char *text = malloc(LARGE + 1);

    assert_non_null(text);
    memset(text, '.', LARGE);
    memcpy(text, payload, strlen(payload));
    text[LARGE] = '\0';
    struct message *message = make_message("a/b", text, 1, fixture->now_ms);
    free(text);
    return message;
}

static uint64_t waiting(const struct fixture *fixture)
{
    return delayed_figures(fixture->broker->delayed).count;
}

static uint64_t memory(const struct fixture *fixture)
{
    return delayed_figures(fixture->broker->delayed).memory_bytes;
}

/* ---- tests ---- */

static void a_message_comes_after_its_delay_and_not_before(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add(fixture, 1, "m", 1, 5000), 0);
    expect_after(fixture, 0, "");
    expect_after(fixture, 4999, "");
    assert_int_equal(waiting(fixture), 1);
    expect_after(fixture, 20, "m1"); /* with the resolution of timers */
    assert_int_equal(waiting(fixture), 0);
    expect_after(fixture, 100000, "");
}

static void without_a_delay_it_comes_in_the_next_turn(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add(fixture, 0, "m", 1, 0), 0);
    assert_string_equal(fixture->log, "");
    expect_after(fixture, 0, "m1");
}

static void the_longest_delay_holds(void **state)
{
    struct fixture *fixture = *state;
    uint64_t longest_ms = UINT64_C(1000) * DELAYED_SECONDS_MAX;

    start(fixture);
    assert_int_equal(add(fixture, 0, "m", 1, longest_ms), 0);
    for (uint64_t ms = 0; ms < longest_ms - 1; ms += longest_ms / 10)
        expect_after(fixture, ms == 0 ? longest_ms % 10 - 1 : longest_ms / 10, "");
    expect_after(fixture, longest_ms / 10 + 20, "m1");
}

static void messages_come_in_order_of_their_times_then_as_published(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    add(fixture, 0, "late", 0, 3000);
    add(fixture, 0, "a", 1, 2000);
    add(fixture, 0, "b", 2, 2000);
    add(fixture, 0, "early", 1, 1000);
    add(fixture, 0, "c", 0, 2000);
    settle(fixture);
    expect_after(fixture, 10000, "early1 a1 b2 c0 late0");
}

static void more_than_a_turn_takes_come_all_and_in_order(void **state)
{
    struct fixture *fixture = *state;
    char expected[2048] = "", payload[16];

    start(fixture);
    for (int i = 0; i < 300; i++) {
        snprintf(payload, sizeof(payload), "%d.", i);
        assert_int_equal(add(fixture, 0, payload, 0, 1000), 0);
        snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "%s%s0", i > 0 ? " " : "", payload);
    }
    expect_after(fixture, 2000, expected);
    expect_rows(fixture, 0);
}

static void a_row_is_there_until_its_message_is_with_the_subscribers(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    add(fixture, 0, "m", 1, 1000);
    add(fixture, 1, "n", 0, 1000);
    expect_rows(fixture, 2);
    fixture->now_ms += 2000;
    run_turns(fixture);
    expect_rows(fixture, 0);
}

static void expect_tables(const struct fixture *fixture, uint32_t delayed, uint32_t queue, uint32_t message)
{
    assert_int_equal(rows_of(fixture, STORE_DELAYED), delayed);
    assert_int_equal(rows_of(fixture, STORE_QUEUE), queue);
    assert_int_equal(rows_of(fixture, STORE_MESSAGE), message);
}

/* A turn of one worker, and all that it wrote is in the store. */
static void run_alone(struct fixture *fixture, uint32_t worker)
{
    worker_run_turn(fixture->broker->workers[worker]->host.worker, fixture->now_ms);
    for (int round = 0; !written(fixture); round++) {
        assert_true(round < ROUNDS_MAX);
        sched_yield();
    }
}

/* Whatever was submitted before a crash is there after it, and nothing behind it: so what counts is the order of batches. */
static void a_row_goes_after_the_queues_of_other_workers_have_its_message(struct fixture *fixture, uint8_t qos)
{
    start(fixture);
    fixture->absent = subscribe(fixture, 1, "absent", &fixture->absent_link, UINT32_MAX);
    session_detach(fixture->absent, false);
    assert_int_equal(add(fixture, 0, "m", qos, 1000), 0);
    expect_rows(fixture, 1);
    fixture->now_ms += 2000;
    run_alone(fixture, 0); /* the timer */
    run_alone(fixture, 0); /* it is published */
    assert_int_equal(waiting(fixture), 0);
    expect_tables(fixture, 1, 0, 0);
    run_alone(fixture, 1); /* taken in */
    expect_tables(fixture, 1, 1, 0);
    run_alone(fixture, 0); /* the turn is settled */
    expect_tables(fixture, 0, 1, qos == 2 ? 1 : 0);
}

static void at_qos_1_a_row_goes_after_other_workers_queues_have_the_message(void **state)
{
    a_row_goes_after_the_queues_of_other_workers_have_its_message(*state, 1);
}

static void at_qos_2_a_row_goes_together_with_the_writing_of_the_body(void **state)
{
    a_row_goes_after_the_queues_of_other_workers_have_its_message(*state, 2);
}

static void messages_survive_a_restart(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    for (int i = 0; i < 6; i++) {
        char payload[2] = {(char)('a' + i), '\0'};
        assert_int_equal(add(fixture, (uint32_t)i % WORKERS, payload, (uint8_t)(i % 3), 60000), 0);
    }
    settle(fixture);
    restart(fixture);
    assert_int_equal(waiting(fixture), 6);
    expect_after(fixture, 50000, "");
    fixture->now_ms += 20000;
    settle(fixture);
    assert_int_equal(strlen(fixture->log), 17); /* "a0 b1 c2 ...", in the order of each worker */
    for (int i = 0; i < 6; i++) {
        char text[3] = {(char)('a' + i), (char)('0' + i % 3), '\0'};
        assert_non_null(strstr(fixture->log, text));
    }
    assert_int_equal(waiting(fixture), 0);
    fixture->log[0] = '\0';
    restart(fixture);
    expect_after(fixture, 100000, ""); /* not again */
}

static void what_came_due_meanwhile_is_sent_after_the_start(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add(fixture, 1, "m", 1, 0), 0);
    broker_turn_end(fixture->broker->workers[1]); /* written, and no turn more */
    restart(fixture);
    expect_after(fixture, 0, "m1");
    expect_rows(fixture, 0);
}

static void nothing_is_published_while_the_broker_stops(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add(fixture, 0, "m", 1, 1000), 0);
    settle(fixture);
    delayed_stop(fixture->broker->delayed);
    expect_after(fixture, 2000, "");
    expect_rows(fixture, 1);
    restart(fixture);
    expect_after(fixture, 2000, "m1");
}

static void a_retained_message_is_retained_when_it_is_due(void **state)
{
    struct fixture *fixture = *state;
    struct message *message;

    start(fixture);
    message = make_retained("x/y", "kept", 1, fixture->now_ms);
    assert_int_equal(add_message(fixture, 0, message, 1000), 0);
    settle(fixture);
    assert_int_equal(retainer_count(fixture->broker->retainer), 0);
    restart(fixture);
    expect_after(fixture, 2000, "kept1");
    assert_int_equal(retainer_count(fixture->broker->retainer), 1);
}

static void an_expired_message_is_dropped_when_it_is_due(void **state)
{
    struct fixture *fixture = *state;
    uint64_t dropped = metrics_read(METRIC_MESSAGES_DELAYED_DROPPED);

    start(fixture);
    add_message(fixture, 0, make_expiring("a", "gone", 1, fixture->now_ms, 5), 6000);
    add_message(fixture, 0, make_expiring("a", "kept", 1, fixture->now_ms, 7), 6000);
    settle(fixture);
    expect_after(fixture, 6500, "kept1");
    assert_int_equal(metrics_read(METRIC_MESSAGES_DELAYED_DROPPED), dropped + 1);
    expect_rows(fixture, 0);
}

static void without_a_store_messages_wait_in_memory(void **state)
{
    struct fixture *fixture = *state;

    fixture->no_store = true;
    start(fixture);
    assert_int_equal(add(fixture, 0, "m", 1, 1000), 0);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "large"), 1000), 0);
    expect_after(fixture, 2000, "m1 large...1");
}

static void what_is_not_to_be_stored_waits_in_memory(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(
        delayed_add_take(fixture->broker->workers[0], make_message("a", "m", 1, fixture->now_ms), 1000, false), 0);
    expect_rows(fixture, 0);
    expect_after(fixture, 2000, "m1");
}

static void a_large_message_waits_on_disk_only(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add(fixture, 0, "small", 1, 1000), 0);
    uint64_t small = memory(fixture);
    assert_in_range(small, 1, 1000);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "large"), 1000), 0);
    assert_int_equal(add(fixture, 0, "after", 1, 1000), 0);
    settle(fixture);
    delayed_on_committed(fixture->broker->workers[0]);
    assert_int_equal(memory(fixture), 2 * small);
    expect_after(fixture, 2000, "small1 large...1 after1");
    assert_int_equal(memory(fixture), 0);
    expect_rows(fixture, 0);
}

static void a_large_message_that_is_due_at_once_is_not_read_back(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "large"), 0), 0);
    fixture->now_ms += 20;
    worker_run_turn(fixture->broker->workers[0]->host.worker, fixture->now_ms); /* its batch has not even left */
    assert_string_equal(fixture->log, "large...1");
    expect_rows(fixture, 0);
}

static void over_the_memory_limit_messages_wait_on_disk_only(void **state)
{
    struct fixture *fixture = *state;
    char payload[2] = "a";

    fixture->settings.memory_max = 500;
    start(fixture);
    for (int i = 0; i < 9; i++, payload[0]++)
        assert_int_equal(add(fixture, 0, payload, 1, 1000), 0);
    assert_in_range(memory(fixture), 1, 500);
    assert_int_equal(
        delayed_add_take(fixture->broker->workers[0], make_message("a", "not stored", 1, fixture->now_ms), 1000, false),
        -ENOSPC);
    settle(fixture);
    delayed_on_committed(fixture->broker->workers[0]);
    expect_after(fixture, 2000, "a1 b1 c1 d1 e1 f1 g1 h1 i1");
    assert_int_equal(memory(fixture), 0);
}

static void large_messages_are_there_after_a_restart_and_expire(void **state)
{
    struct fixture *fixture = *state;
    struct message *expiring;

    start(fixture);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "one"), 10000), 0);
    expiring = make_large(fixture, "two");
    expiring->has_expiry = true;
    expiring->expiry_interval_s = 5;
    assert_int_equal(add_message(fixture, 0, expiring, 10000), 0);
    settle(fixture);
    restart(fixture);
    assert_int_equal(waiting(fixture), 2);
    assert_int_equal(memory(fixture), 0);
    expect_after(fixture, 11000, "one.....1");
    assert_int_equal(waiting(fixture), 0);
    expect_rows(fixture, 0);
}

static void limits_refuse(void **state)
{
    struct fixture *fixture = *state;

    fixture->settings.max_messages = 2;
    fixture->settings.max_payload = 4;
    start(fixture);
    assert_int_equal(add(fixture, 0, "large", 1, 1000), -ENOSPC);
    assert_int_equal(add(fixture, 0, "four", 1, 1000), 0);
    assert_int_equal(add(fixture, 1, "b", 1, 1000), 0);
    assert_int_equal(add(fixture, 1, "c", 1, 1000), -ENOSPC); /* of all workers */
    assert_int_equal(add(fixture, 0, "d", 1, 1000), -ENOSPC);
    assert_int_equal(waiting(fixture), 2);
    expect_rows(fixture, 2);
    restart(fixture);
    assert_int_equal(add(fixture, 0, "e", 1, 1000), -ENOSPC);
    fixture->now_ms += 3000;
    settle(fixture);
    assert_int_equal(waiting(fixture), 0);
    assert_int_equal(add(fixture, 0, "f", 1, 1000), 0);
}

struct seen {
    uint64_t numbers[16];
    uint32_t count;
};

static void see(void *context, const struct delayed_entry *entry)
{
    struct seen *seen = context;

    seen->numbers[seen->count++] = entry->key.number;
}

static void waiting_messages_can_be_listed_in_slices_and_deleted(void **state)
{
    struct fixture *fixture = *state;
    struct broker_worker *worker;
    struct delayed_key cursor = {0, 0};
    struct seen seen = {.count = 0};

    start(fixture);
    worker = fixture->broker->workers[0];
    for (uint64_t i = 5; i > 0; i--)
        assert_int_equal(add(fixture, 0, &"abcde"[5 - i], 1, i * 1000), 0); /* "abcde" is due last */
    settle(fixture);
    assert_true(delayed_visit(worker, &cursor, 2, see, &seen));
    assert_true(delayed_visit(worker, &cursor, 2, see, &seen));
    assert_false(delayed_visit(worker, &cursor, 2, see, &seen));
    assert_int_equal(seen.count, 5);
    for (uint32_t i = 1; i < 5; i++)
        assert_true(seen.numbers[i] < seen.numbers[i - 1]); /* the last published is due first */

    cursor = (struct delayed_key){0, 0};
    assert_int_equal(delayed_delete(worker, seen.numbers[2], &cursor, 2), -EAGAIN);
    assert_int_equal(delayed_delete(worker, seen.numbers[2], &cursor, 2), 1);
    cursor = (struct delayed_key){0, 0};
    assert_int_equal(delayed_delete(worker, seen.numbers[2], &cursor, 100), 0);
    expect_rows(fixture, 4);
    assert_int_equal(waiting(fixture), 4);
    expect_after(fixture, 10000, "e1 de1 bcde1 abcde1");
}

static void a_message_deleted_while_it_is_read_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct delayed_key cursor = {0, 0};
    struct seen seen = {.count = 0};

    start(fixture);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "gone"), 1000), 0);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "sent"), 1000), 0);
    settle(fixture);
    delayed_on_committed(fixture->broker->workers[0]);
    delayed_visit(fixture->broker->workers[0], &cursor, 1, see, &seen);
    fixture->now_ms += 2000;
    worker_run_turn(fixture->broker->workers[0]->host.worker, fixture->now_ms); /* the job is under way */
    cursor = (struct delayed_key){0, 0};
    assert_int_equal(delayed_delete(fixture->broker->workers[0], seen.numbers[0], &cursor, 1), 1);
    expect_after(fixture, 0, "sent....1");
    expect_rows(fixture, 0);
}

static void a_stop_waits_for_the_job(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add_message(fixture, 0, make_large(fixture, "m"), 1000), 0);
    settle(fixture);
    delayed_on_committed(fixture->broker->workers[0]);
    fixture->now_ms += 2000;
    worker_run_turn(fixture->broker->workers[0]->host.worker, fixture->now_ms);
    restart(fixture);
    expect_rows(fixture, 1);
    expect_after(fixture, 2000, "m.......1");
}

/* ---- switched off ---- */

static void switched_off_everything_waits(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_true(delayed_takes(fixture->broker->delayed, SLICE_LITERAL("$delayed/1/a")));
    assert_false(delayed_takes(fixture->broker->delayed, SLICE_LITERAL("a")));
    assert_int_equal(add(fixture, 0, "1", 1, 1000), 0);
    assert_int_equal(add(fixture, 1, "2", 1, 2000), 0);
    run_turns(fixture);
    delayed_switch(fixture->broker->delayed, false);
    assert_false(delayed_takes(fixture->broker->delayed, SLICE_LITERAL("$delayed/1/a")));
    expect_after(fixture, 0, "");
    expect_after(fixture, 5000, "");
    assert_int_equal(waiting(fixture), 2);
    delayed_switch(fixture->broker->delayed, true);
    delayed_switch(fixture->broker->delayed, true);
    expect_after(fixture, 0, "11 21");
    assert_int_equal(waiting(fixture), 0);
}

static void off_from_the_start_what_is_due_waits_too(void **state)
{
    struct fixture *fixture = *state;

    start(fixture);
    assert_int_equal(add(fixture, 0, "1", 1, 0), 0);
    assert_int_equal(add_message(fixture, 1, make_large(fixture, "2"), 0), 0);
    delayed_switch(fixture->broker->delayed, false); /* before a turn */
    settle(fixture);
    fixture->settings.off = true;
    restart(fixture);
    expect_after(fixture, 5000, "");
    assert_int_equal(waiting(fixture), 2);
    delayed_switch(fixture->broker->delayed, true);
    run_turns(fixture);
    for (int round = 0; waiting(fixture) > 0; round++) {
        assert_true(round < ROUNDS_MAX);
        run_turn(fixture);
        sched_yield();
    }
    settle(fixture);
    assert_non_null(strstr(fixture->log, "11"));
    assert_non_null(strstr(fixture->log, "2.......1"));
}

#define DELAYED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELAYED_TEST(a_message_comes_after_its_delay_and_not_before),
        DELAYED_TEST(without_a_delay_it_comes_in_the_next_turn),
        DELAYED_TEST(the_longest_delay_holds),
        DELAYED_TEST(messages_come_in_order_of_their_times_then_as_published),
        DELAYED_TEST(more_than_a_turn_takes_come_all_and_in_order),
        DELAYED_TEST(a_row_is_there_until_its_message_is_with_the_subscribers),
        DELAYED_TEST(at_qos_1_a_row_goes_after_other_workers_queues_have_the_message),
        DELAYED_TEST(at_qos_2_a_row_goes_together_with_the_writing_of_the_body),
        DELAYED_TEST(messages_survive_a_restart),
        DELAYED_TEST(what_came_due_meanwhile_is_sent_after_the_start),
        DELAYED_TEST(nothing_is_published_while_the_broker_stops),
        DELAYED_TEST(a_retained_message_is_retained_when_it_is_due),
        DELAYED_TEST(an_expired_message_is_dropped_when_it_is_due),
        DELAYED_TEST(without_a_store_messages_wait_in_memory),
        DELAYED_TEST(what_is_not_to_be_stored_waits_in_memory),
        DELAYED_TEST(a_large_message_waits_on_disk_only),
        DELAYED_TEST(a_large_message_that_is_due_at_once_is_not_read_back),
        DELAYED_TEST(over_the_memory_limit_messages_wait_on_disk_only),
        DELAYED_TEST(large_messages_are_there_after_a_restart_and_expire),
        DELAYED_TEST(limits_refuse),
        DELAYED_TEST(waiting_messages_can_be_listed_in_slices_and_deleted),
        DELAYED_TEST(a_message_deleted_while_it_is_read_is_not_sent),
        DELAYED_TEST(a_stop_waits_for_the_job),
        DELAYED_TEST(switched_off_everything_waits),
        DELAYED_TEST(off_from_the_start_what_is_due_waits_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
