/*
 * Behaviour of a start that finds stored sessions: rows are written as an earlier run would have, then restored, then looked at or
 * connected to.
 */
#include "session_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../../../temporary_dir.h"
#include "base/rcu.h"
#include "broker/session/absence.h"
#include "broker/session/durable.h"
#include "broker/session/restore.h"
#include "broker/session/session_record.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#define DAY_S 86400u
#define TURNS_MAX 100000u /* a job takes some milliseconds; who waits longer has failed */

struct world {
    struct fixture *fixture;
    char parent[64];
    char dir[80];
    struct zone other;
    struct restore_counts counts;
    const char *known_zone;
};

static struct store_client *client_of(struct world *world)
{
    return world->fixture->host.client;
}

static void open_store(struct world *world)
{
    struct store_options options = {.dir = world->dir,
                                    .cache_bytes = 1u << 20,
                                    .write_buffer_bytes = 4u << 20,
                                    .queue_bytes_max = 8u << 20,
                                    .sync_interval_ms = 10};
    struct session_host *host = &world->fixture->host;
    struct store_client_options client = {.worker = host->worker};

    assert_int_equal(store_open(&options, &host->store, NULL), 0);
    assert_int_equal(store_client_open(host->store, &client, &host->client), 0);
}

static void close_store(struct world *world)
{
    struct session_host *host = &world->fixture->host;

    store_client_close(host->client);
    store_close(host->store);
    fixture_pass(world->fixture, 0); /* what the store posted */
    host->client = NULL;
    host->store = NULL;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    void *fixture = NULL;

    assert_non_null(world);
    assert_int_equal(fixture_set_up(&fixture), 0);
    world->fixture = fixture;
    world->known_zone = "zone";
    strcpy(world->parent, "/tmp/emqc-restore-XXXXXX");
    assert_non_null(mkdtemp(world->parent));
    snprintf(world->dir, sizeof(world->dir), "%s/store", world->parent);
    open_store(world);
    *state = world;
    return 0;
}

static void suspend_one(void *context, void *element)
{
    struct session *session = element;

    (void)context;
    if (session->link != NULL) {
        session->link = NULL; /* it may be of a test that has returned */
        session_detach(session, false);
    }
    session_suspend(session);
}

/* The process ends and another one begins: sessions leave the memory. */
static void suspend_all(struct world *world)
{
    struct session_host *host = &world->fixture->host;
    uint64_t cursor = 0;

    do
        rcu_table_visit(host->registry, &cursor, 100, suspend_one, NULL);
    while (cursor != 0);
    session_host_finish(host);
    fixture_reclaim(world->fixture);
    assert_int_equal(host->session_count, 0);
}

static int tear_down(void **state)
{
    struct world *world = *state;
    void *fixture = world->fixture;

    suspend_all(world);
    close_store(world);
    fixture_tear_down(&fixture);
    temporary_dir_remove(world->parent);
    free(world);
    return 0;
}

/* ---- writing as an earlier run did ---- */

/* The store's time in the worker's turn of now. */
static uint64_t store_now(struct world *world)
{
    return store_time_ms(world->fixture->host.store, world->fixture->now_ms);
}

static struct session_record record_of(struct world *world, const char *client_id)
{
    return (struct session_record){
        .client_id = slice_from_string(client_id),
        .zone = SLICE_LITERAL("zone"),
        .expiry_interval_s = DAY_S,
        .created_at_s = 1000,
        .left_ms = store_now(world),
        .reserved_through = 1000,
        .window = 2,
        .version = MQTT_V5,
    };
}

static void put_record(struct world *world, uint64_t number, const struct session_record *record)
{
    uint8_t key[SESSION_KEY_LEN];
    struct buffer bytes;
    struct slice value;

    buffer_init(&bytes, UINT32_MAX);
    assert_int_equal(session_record_encode(record, &bytes), 0);
    session_key(number, key);
    value = buffer_slice(&bytes);
    store_put(client_of(world), STORE_SESSION, slice_make(key, sizeof(key)), &value, 1);
    buffer_fini(&bytes);
}

static void put_session(struct world *world, uint64_t number, const char *client_id)
{
    struct session_record record = record_of(world, client_id);

    put_record(world, number, &record);
}

static void put_filter(struct world *world, uint64_t number, const char *text, struct subscription_record record)
{
    uint8_t bytes[SUBSCRIPTION_RECORD_LEN];
    struct slice value = slice_make(bytes, sizeof(bytes));
    struct mqtt_shared_filter filter;
    struct buffer key;

    assert_true(mqtt_shared_filter_parse(slice_from_string(text), &filter));
    buffer_init(&key, UINT32_MAX);
    assert_int_equal(subscription_key(number, &filter, &key), 0);
    subscription_record_encode(&record, bytes);
    store_put(client_of(world), STORE_SUBSCRIPTION, buffer_slice(&key), &value, 1);
    buffer_fini(&key);
}

static void message_parts(struct world *world, const char *payload, uint8_t head[MESSAGE_RECORD_HEAD],
                          struct slice parts[MESSAGE_RECORD_PARTS], struct message **out_message)
{
    *out_message = make_message("t", payload, 2, world->fixture->now_ms);
    message_record_encode(*out_message, store_now_ms(world->fixture->host.store), head, parts);
}

/* An entry of QoS `qos` with a message in it, or of body `body`. */
static void put_entry_as(struct world *world, uint64_t number, uint64_t sequence, const char *payload,
                         struct queue_record record)
{
    uint8_t head[QUEUE_RECORD_HEAD], message_head[MESSAGE_RECORD_HEAD], key[QUEUE_KEY_LEN];
    struct slice parts[1 + MESSAGE_RECORD_PARTS] = {slice_make(head, sizeof(head))};
    struct message *message;

    queue_record_encode(&record, head);
    queue_key(number, sequence, key);
    message_parts(world, payload, message_head, parts + 1, &message);
    store_put(client_of(world), STORE_QUEUE, slice_make(key, sizeof(key)), parts,
              record.body_number != 0 ? 1 : 1 + MESSAGE_RECORD_PARTS);
    message_unref(message);
}

static void put_entry(struct world *world, uint64_t number, uint64_t sequence, const char *payload, uint8_t qos)
{
    put_entry_as(world, number, sequence, payload, (struct queue_record){.qos = qos});
}

static void put_body(struct world *world, uint64_t body, const char *payload)
{
    uint8_t head[MESSAGE_RECORD_HEAD], key[SESSION_KEY_LEN];
    struct slice parts[MESSAGE_RECORD_PARTS];
    struct message *message;

    session_key(body, key);
    message_parts(world, payload, head, parts, &message);
    store_put(client_of(world), STORE_MESSAGE, slice_make(key, sizeof(key)), parts, MESSAGE_RECORD_PARTS);
    message_unref(message);
}

static void put_released(struct world *world, uint64_t number, uint64_t sequence)
{
    uint8_t key[QUEUE_KEY_LEN];

    queue_key(number, sequence, key);
    store_put(client_of(world), STORE_INFLIGHT, slice_make(key, sizeof(key)), NULL, 0);
}

static void put_awaiting_rel(struct world *world, uint64_t number, uint16_t packet_id)
{
    uint8_t key[AWAITING_REL_KEY_LEN];

    awaiting_rel_key(number, packet_id, key);
    store_put(client_of(world), STORE_AWAITING_REL, slice_make(key, sizeof(key)), NULL, 0);
}

static void put_raw(struct world *world, enum store_table table, struct slice key, struct slice value)
{
    store_put(client_of(world), table, key, &value, 1);
}

/* ---- looking ---- */

static const struct zone *find_zone(void *context, struct slice name, bool *out_known)
{
    struct world *world = context;

    *out_known = slice_equal(name, slice_from_string(world->known_zone));
    return *out_known ? &world->fixture->zone : &world->other;
}

/* Waits until all that was handed to the store has been written. */
static void settle(struct world *world)
{
    uint64_t number = store_submit(client_of(world), true);
    struct timespec pause = {.tv_nsec = 100000};

    for (uint32_t i = 0; store_committed(client_of(world)) < number; i++) {
        assert_true(i < TURNS_MAX);
        nanosleep(&pause, NULL);
    }
    fixture_pass(world->fixture, 0);
}

static int try_restore(struct world *world)
{
    struct session_host *hosts[] = {&world->fixture->host};
    struct restore_options options = {
        .store = hosts[0]->store, .hosts = hosts, .host_count = 1, .find_zone = find_zone, .context = world};
    int err;

    settle(world);
    err = restore_sessions(&options, &world->counts);
    settle(world);
    return err;
}

static void restore(struct world *world)
{
    assert_int_equal(try_restore(world), 0);
}

static struct session *find(struct world *world, const char *client_id);

static bool matches(const void *element, const void *key)
{
    return slice_equal(session_client_id(element), *(const struct slice *)key);
}

static struct session *find(struct world *world, const char *client_id)
{
    struct slice id = slice_from_string(client_id);

    return rcu_table_find(world->fixture->host.registry, session_hash_of(id), matches, &id);
}

static bool count_row(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    (*(uint32_t *)context)++;
    return true;
}

static uint32_t rows(struct world *world, enum store_table table)
{
    struct slice all = SLICE_LITERAL("");
    uint32_t count = 0;

    assert_int_equal(store_scan(world->fixture->host.store, table, all, all, count_row, &count), 0);
    return count;
}

/* Connects and takes turns until the client has got `text`. */
static void expect_sent(struct world *world, struct peer *peer, const char *text)
{
    struct timespec pause = {.tv_nsec = 100000};

    for (uint32_t i = 0; strlen(peer->log) < strlen(text) && i < TURNS_MAX; i++) {
        session_host_on_committed(&world->fixture->host, store_committed(client_of(world)));
        fixture_pass(world->fixture, 0);
        nanosleep(&pause, NULL);
    }
    ASSERT_SENT(peer, text);
}

/* ---- tests ---- */

static void a_session_comes_back_as_it_was_left(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "c");
    struct subscription *subscription;
    struct mqtt_shared_filter filter = {.filter = SLICE_LITERAL("a/+")};
    struct session *session;

    record.window = 7;
    record.version = MQTT_V3_1_1;
    record.created_at_s = 4711;
    put_record(world, 5, &record);
    put_filter(
        world, 5, "a/+",
        (struct subscription_record){
            .subscription_id = 9, .qos = 2, .retain_handling = 1, .no_local = true, .retain_as_published = true});
    put_filter(world, 5, "b", (struct subscription_record){.qos = 0});
    restore(world);
    session = find(world, "c");
    assert_non_null(session);
    assert_true(session_is_durable(session) && session->registered);
    assert_int_equal(session->durable->number, 5);
    assert_ptr_equal(session->zone, &world->fixture->zone);
    assert_int_equal(session->window, 7);
    assert_int_equal(session->version, MQTT_V3_1_1);
    assert_int_equal(session->created_at_s, 4711);
    assert_int_equal(session->expiry_interval_s, DAY_S);
    assert_int_equal(session->subscriptions.count, 2);
    assert_null(session->link);
    assert_null(session->flow);
    subscription = subscription_find(session, &filter);
    assert_non_null(subscription);
    assert_int_equal(subscription->qos, 2);
    assert_int_equal(subscription->subscription_id, 9);
    assert_int_equal(subscription->retain_handling, 1);
    assert_true(subscription->no_local && subscription->retain_as_published);
    assert_int_equal(subscription->list->durable_count, 1);
    assert_int_equal(world->counts.sessions, 1);
    assert_int_equal(world->counts.subscriptions, 2);
    assert_int_equal(world->counts.orphans + world->counts.damaged, 0);
    assert_int_equal(rows(world, STORE_SUBSCRIPTION), 2); /* nothing was written anew */
}

static void queued_messages_go_out_in_their_order_under_their_packet_ids(void **state)
{
    struct world *world = *state;
    struct peer peer;

    put_session(world, 1, "c");
    put_filter(world, 1, "t", (struct subscription_record){.qos = 2});
    put_entry(world, 1, 3, "a", 1);
    put_entry_as(world, 1, 4, "b", (struct queue_record){.qos = 2, .subscription_id = 6, .retain = true});
    put_body(world, 9, "c");
    put_entry_as(world, 1, 65537, "", (struct queue_record){.qos = 2, .body_number = 9});
    restore(world);
    assert_int_equal(queued(find(world, "c")), 3);
    assert_int_equal(find(world, "c")->flow->mqueue.bytes, 0); /* on disk only */
    fixture_connect(find(world, "c"), &peer, 10);
    expect_sent(world, &peer, "a1:3 b2:4r#6 c2:2");
}

static void what_was_sent_before_is_a_duplicate(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "c");
    struct peer peer;

    record.sent_through = 2;
    put_record(world, 1, &record);
    put_entry(world, 1, 1, "a", 1);
    put_entry(world, 1, 2, "b", 2);
    put_entry(world, 1, 3, "c", 1);
    restore(world);
    fixture_connect(find(world, "c"), &peer, 10);
    expect_sent(world, &peer, "a1:1! b2:2! c1:3");
}

static void of_a_session_that_was_connected_a_window_full_may_have_been_sent(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "c");
    struct peer peer;

    record.left_ms = 0;
    put_record(world, 1, &record);
    for (uint64_t sequence = 1; sequence <= 4; sequence++)
        put_entry(world, 1, sequence, "m", 1);
    restore(world);
    assert_int_equal(find(world, "c")->durable->sent_through, 2);
    fixture_connect(find(world, "c"), &peer, 10);
    expect_sent(world, &peer, "m1:1! m1:2! m1:3 m1:4");
}

static void half_done_exchanges_go_on(void **state)
{
    struct world *world = *state;
    struct session *session;
    struct peer peer;

    put_session(world, 1, "c");
    put_released(world, 1, 2);
    put_released(world, 1, 70000);
    put_entry(world, 1, 3, "m", 2);
    put_awaiting_rel(world, 1, 1);
    put_awaiting_rel(world, 1, 65535);
    restore(world);
    session = find(world, "c");
    assert_int_equal(session_on_publish_qos2(session, 1), SESSION_QOS2_DUPLICATE);
    assert_int_equal(session_on_publish_qos2(session, 65535), SESSION_QOS2_DUPLICATE);
    assert_true(session->durable->next_sequence > 70000);
    fixture_connect(session, &peer, 10);
    expect_sent(world, &peer, "rel:2 rel:4465 m2:3");
    assert_int_equal(session_on_pubcomp(session, 2), 0);
    assert_int_equal(session_on_pubcomp(session, 4465), 0);
    settle(world);
    assert_int_equal(rows(world, STORE_INFLIGHT), 0);
}

static void sequences_go_on_behind_what_was_reserved(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "a");

    record.reserved_through = 5000;
    put_record(world, 1, &record);
    put_entry(world, 1, 17, "m", 1);
    record = record_of(world, "b");
    record.reserved_through = 5;
    put_record(world, 2, &record);
    put_entry(world, 2, 17, "m", 1);
    restore(world);
    assert_int_equal(find(world, "a")->durable->next_sequence, 5001);
    assert_int_equal(find(world, "b")->durable->next_sequence, 18);
}

static void a_message_of_several_sessions_is_one_until_the_last_has_it(void **state)
{
    struct world *world = *state;
    struct peer peers[2];

    put_body(world, 7, "m");
    for (uint64_t number = 1; number <= 2; number++) {
        put_session(world, number, number == 1 ? "a" : "b");
        put_entry_as(world, number, 1, "", (struct queue_record){.qos = 1, .body_number = 7});
    }
    restore(world);
    for (int i = 0; i < 2; i++) {
        struct session *session = find(world, i == 0 ? "a" : "b");
        fixture_connect(session, &peers[i], 10);
        expect_sent(world, &peers[i], "m1:1");
        assert_int_equal(rows(world, STORE_MESSAGE), 1);
        assert_int_equal(session_on_puback(session, 1), 0);
        settle(world);
    }
    assert_int_equal(rows(world, STORE_QUEUE), 0);
    assert_int_equal(rows(world, STORE_MESSAGE), 0);
}

static void what_a_crash_left_over_is_deleted(void **state)
{
    struct world *world = *state;

    put_filter(world, 1, "t", (struct subscription_record){.qos = 1}); /* before the first session */
    put_session(world, 2, "c");
    put_entry_as(world, 2, 1, "", (struct queue_record){.qos = 2, .body_number = 7}); /* no such message */
    put_entry(world, 2, 2, "kept", 1);
    put_entry(world, 3, 1, "of nobody", 1); /* behind the last session */
    put_released(world, 1, 1);
    put_awaiting_rel(world, 9, 1);
    put_body(world, 8, "nobody's");
    restore(world);
    assert_int_equal(queued(find(world, "c")), 1);
    assert_int_equal(world->counts.orphans, 6);
    assert_int_equal(world->counts.damaged, 0);
    assert_int_equal(rows(world, STORE_SUBSCRIPTION), 0);
    assert_int_equal(rows(world, STORE_QUEUE), 1);
    assert_int_equal(rows(world, STORE_INFLIGHT), 0);
    assert_int_equal(rows(world, STORE_AWAITING_REL), 0);
    assert_int_equal(rows(world, STORE_MESSAGE), 0);
}

static void damaged_rows_stay_and_with_them_what_they_may_refer_to(void **state)
{
    struct world *world = *state;
    uint8_t key[QUEUE_KEY_LEN];

    session_key(1, key);
    put_raw(world, STORE_SESSION, slice_make(key, SESSION_KEY_LEN), SLICE_LITERAL("from a later version"));
    put_filter(world, 1, "t", (struct subscription_record){.qos = 1});
    put_entry_as(world, 1, 1, "", (struct queue_record){.qos = 1, .body_number = 7});
    put_body(world, 7, "m");
    put_session(world, 2, "c");
    put_entry_as(world, 2, 1, "", (struct queue_record){.qos = 1, .body_number = 7});
    put_raw(world, STORE_SESSION, SLICE_LITERAL("key"), SLICE_LITERAL("x"));
    restore(world);
    assert_int_equal(world->counts.sessions, 1);
    assert_int_equal(world->counts.damaged, 2);
    assert_int_equal(world->counts.orphans, 0);
    assert_int_equal(queued(find(world, "c")), 1);
    session_end(find(world, "c"), "test"); /* the message stays for the other one */
    settle(world);
    assert_int_equal(rows(world, STORE_SESSION), 2);
    assert_int_equal(rows(world, STORE_SUBSCRIPTION), 1);
    assert_int_equal(rows(world, STORE_QUEUE), 1);
    assert_int_equal(rows(world, STORE_MESSAGE), 1);
}

static void with_damaged_entries_no_message_is_swept(void **state)
{
    struct world *world = *state;
    uint8_t key[QUEUE_KEY_LEN];

    put_session(world, 1, "c");
    queue_key(1, 1, key);
    put_raw(world, STORE_QUEUE, slice_make(key, sizeof(key)), SLICE_LITERAL("?"));
    queue_key(1, 0, key);
    put_raw(world, STORE_INFLIGHT, slice_make(key, sizeof(key)), SLICE_LITERAL("")); /* sequences begin with 1 */
    put_body(world, 7, "m");
    restore(world);
    assert_int_equal(world->counts.damaged, 2);
    assert_int_equal(world->counts.orphans, 0);
    assert_int_equal(rows(world, STORE_MESSAGE), 1);
    assert_int_equal(rows(world, STORE_QUEUE), 1);
}

static void an_id_that_is_in_use_twice_is_damage(void **state)
{
    struct world *world = *state;

    put_session(world, 1, "c");
    put_released(world, 1, 1);
    put_released(world, 1, 65536); /* the same packet ID */
    restore(world);
    assert_int_equal(world->counts.damaged, 1);
    assert_int_equal(in_flight(find(world, "c")), 1);
}

static void a_shared_subscription_gets_its_messages_back(void **state)
{
    struct world *world = *state;
    struct mqtt_shared_filter filter = {SLICE_LITERAL("g"), SLICE_LITERAL("t")};
    struct mqtt_shared_filter gone = {SLICE_LITERAL("g"), SLICE_LITERAL("u")};
    struct delivery_item item;
    struct session *session;

    put_session(world, 1, "c");
    put_filter(world, 1, "$share/g/x", (struct subscription_record){.qos = 1});
    put_filter(world, 1, "$share/g/t", (struct subscription_record){.qos = 1});
    put_entry_as(world, 1, 1, "m", (struct queue_record){.qos = 1, .share_hash = queue_share_hash(&filter)});
    put_entry_as(world, 1, 2, "m", (struct queue_record){.qos = 1, .share_hash = queue_share_hash(&gone)});
    restore(world);
    session = find(world, "c");
    assert_true(mqueue_peek(&session->flow->mqueue, &item));
    assert_true(item.share_number != 0);
    assert_int_equal(item.share_number, subscription_find(session, &filter)->shared->number);
    mqueue_pop(&session->flow->mqueue);
    assert_true(mqueue_peek(&session->flow->mqueue, &item));
    assert_int_equal(item.share_number, 0);
}

static void priorities_come_back(void **state)
{
    struct world *world = *state;
    struct peer peer;

    put_session(world, 1, "c");
    put_entry_as(world, 1, 1, "low", (struct queue_record){.qos = 1, .priority = 1});
    put_entry_as(world, 1, 2, "high", (struct queue_record){.qos = 1, .priority = 200});
    restore(world);
    fixture_connect(find(world, "c"), &peer, 10);
    expect_sent(world, &peer, "high1:2 low1:1");
}

static void put_will(struct world *world, uint64_t number, const char *payload, struct session_record record)
{
    uint8_t head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];
    struct message *message;
    struct buffer will;

    buffer_init(&will, UINT32_MAX);
    message_parts(world, payload, head, parts, &message);
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        assert_int_equal(buffer_append(&will, parts[i]), 0);
    record.will = buffer_slice(&will);
    put_record(world, number, &record);
    buffer_fini(&will);
    message_unref(message);
}

static void expiry_and_will_delay_go_on_from_when_the_client_left(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "a");
    struct session *session;
    uint64_t now_ms = world->fixture->now_ms;

    record.left_ms -= 10000;
    record.will_delay_s = 60;
    record.expiry_interval_s = 100;
    put_will(world, 1, "w", record);
    restore(world);
    session = find(world, "a");
    assert_non_null(session);
    assert_int_equal(session->absence->will_at_ms, now_ms + 50000);
    assert_int_equal(session->absence->expires_at_ms, now_ms + 90000);
    fixture_pass(world->fixture, 49000);
    ASSERT_HOST(world->fixture, "");
    fixture_pass(world->fixture, 1020);
    ASSERT_HOST(world->fixture, "will:w");
    assert_non_null(find(world, "a"));
    fixture_pass(world->fixture, 40000);
    assert_null(find(world, "a"));
    settle(world);
    assert_int_equal(rows(world, STORE_SESSION), 0);
}

static void a_session_that_was_connected_is_left_now_and_that_is_written(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "c"), again;
    struct slice value;
    uint8_t key[SESSION_KEY_LEN];

    record.left_ms = 0;
    record.expiry_interval_s = 1;
    put_record(world, 1, &record);
    restore(world);
    assert_non_null(find(world, "c"));
    session_key(1, key);
    assert_int_equal(store_get(world->fixture->host.store, STORE_SESSION, slice_make(key, sizeof(key)), &value), 1);
    assert_int_equal(session_record_decode(value, &again), 0);
    assert_int_equal(again.left_ms, store_now(world));
    assert_int_equal(again.expiry_interval_s, 1);
    slice_free(&value);
    fixture_pass(world->fixture, 1100);
    assert_null(find(world, "c"));
}

static void a_session_that_ended_with_the_process_publishes_its_will(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "c");

    record.left_ms = 0;
    record.expiry_interval_s = 0;
    record.will_delay_s = 3600;
    put_will(world, 1, "w", record);
    put_filter(world, 1, "t", (struct subscription_record){.qos = 1});
    put_entry(world, 1, 1, "m", 1);
    restore(world);
    assert_int_equal(world->counts.ending, 1);
    fixture_pass(world->fixture, 20);
    ASSERT_HOST(world->fixture, "will:w");
    assert_null(find(world, "c"));
    settle(world);
    assert_int_equal(rows(world, STORE_SESSION) + rows(world, STORE_SUBSCRIPTION) + rows(world, STORE_QUEUE), 0);
}

static void of_too_many_sessions_those_left_first_end(void **state)
{
    struct world *world = *state;
    struct session_record record = record_of(world, "a");
    static const char *const names[] = {"a", "b", "c", "d"};

    for (uint64_t i = 0; i < 4; i++) { /* left in the order d, c, b, a */
        record = record_of(world, names[i]);
        record.left_ms -= i;
        put_record(world, i + 1, &record);
    }
    world->fixture->host.absent_max = 2;
    restore(world);
    fixture_pass(world->fixture, 20);
    assert_non_null(find(world, "a"));
    assert_non_null(find(world, "b"));
    assert_null(find(world, "c"));
    assert_null(find(world, "d"));
    assert_ptr_equal(world->fixture->host.absent_oldest->session, find(world, "b"));
}

static void a_zone_that_is_gone_is_replaced(void **state)
{
    struct world *world = *state;

    world->known_zone = "another";
    put_session(world, 1, "c");
    restore(world);
    assert_ptr_equal(find(world, "c")->zone, &world->other);
}

static void of_two_with_one_client_id_the_younger_stays(void **state)
{
    struct world *world = *state;

    put_session(world, 1, "c");
    put_filter(world, 1, "old", (struct subscription_record){.qos = 1});
    put_session(world, 2, "c");
    restore(world);
    assert_int_equal(find(world, "c")->durable->number, 2);
    fixture_pass(world->fixture, 20);
    assert_int_equal(find(world, "c")->durable->number, 2);
    settle(world);
    assert_int_equal(rows(world, STORE_SESSION), 1);
    assert_int_equal(rows(world, STORE_SUBSCRIPTION), 0);
}

static void a_suspended_session_comes_back(void **state)
{
    struct world *world = *state;
    struct fixture *fixture = world->fixture;
    struct session *session = fixture_session(fixture, "c");
    struct subscription *subscription;
    struct peer peer;

    fixture_connect(session, &peer, 2);
    assert_true(session_is_durable(session));
    subscription = fixture_subscribe(session, "t", 1);
    fixture_subscribe(session, "$share/g/s", 2);
    for (int i = 0; i < 4; i++) {
        char payload[] = {(char)('a' + i), '\0'};
        fixture_deliver(fixture, subscription, payload, 1);
    }
    ASSERT_SENT(&peer, "a1:1 b1:2");
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_NEW);
    session_store_awaiting_rel(session, 5);
    settle(world);
    suspend_all(world);
    restore(world);
    session = find(world, "c");
    assert_non_null(session);
    assert_int_equal(session->subscriptions.count, 2);
    assert_true(session->durable->next_sequence > 4);
    assert_int_equal(session_on_publish_qos2(session, 5), SESSION_QOS2_DUPLICATE);
    fixture_connect(session, &peer, 10);
    expect_sent(world, &peer, "a1:1! b1:2! c1:3 d1:4");
    assert_int_equal(world->counts.orphans + world->counts.damaged, 0);
}

static void thousands_of_sessions_come_back_over_many_chunks(void **state)
{
    struct world *world = *state;
    char name[32];

    for (uint64_t number = 1; number <= 6000; number++) {
        snprintf(name, sizeof(name), "client-%llu", (unsigned long long)number);
        put_session(world, number, name);
        put_filter(world, number, name, (struct subscription_record){.qos = 1});
        put_entry(world, number, number, "m", 1);
        put_entry(world, number, number + 1, "m", 2);
    }
    restore(world);
    assert_int_equal(world->counts.sessions, 6000);
    assert_int_equal(world->counts.subscriptions, 6000);
    assert_int_equal(world->counts.entries, 12000);
    assert_int_equal(world->counts.orphans, 0);
    assert_int_equal(world->fixture->host.session_count, 6000);
    assert_int_equal(queued(find(world, "client-6000")), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_session_comes_back_as_it_was_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queued_messages_go_out_in_their_order_under_their_packet_ids, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_sent_before_is_a_duplicate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_a_session_that_was_connected_a_window_full_may_have_been_sent, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(half_done_exchanges_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sequences_go_on_behind_what_was_reserved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_message_of_several_sessions_is_one_until_the_last_has_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_crash_left_over_is_deleted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_rows_stay_and_with_them_what_they_may_refer_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_damaged_entries_no_message_is_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_id_that_is_in_use_twice_is_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_shared_subscription_gets_its_messages_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(priorities_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expiry_and_will_delay_go_on_from_when_the_client_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_that_was_connected_is_left_now_and_that_is_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_session_that_ended_with_the_process_publishes_its_will, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_too_many_sessions_those_left_first_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_zone_that_is_gone_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_two_with_one_client_id_the_younger_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_suspended_session_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(thousands_of_sessions_come_back_over_many_chunks, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
