/*
 * Behaviour of durable sessions on a disk that fails: what waits to be written does not grow with what clients do meanwhile.
 */
#include "../../store/disk_fault.h"
#include "durable_fixture.h"

#include <errno.h>

#define EXCHANGES 100000u
#define PACKET_IDS 1000u
#define FLOOD_BYTES (64u << 20) /* durable_set_up()'s queue_bytes_max */

static int tear_down(void **state)
{
    disk_fault_set(DISK_WORKS, 0);
    return durable_tear_down(state);
}

static void wait_for_state(struct durable_fixture *fixture, enum store_state state)
{
    while (store_state(fixture->store) != state)
        uv_run(&fixture->loop, UV_RUN_ONCE);
}

/* From here on nothing can be written; `session` had one message to store when that began. */
static void fail_writes(struct durable_fixture *fixture, struct subscription *subscription, int error,
                        enum store_state state)
{
    disk_fault_set(DISK_WRITES_FAIL, error);
    durable_deliver(fixture, subscription, "t", 1, 1);
    store_submit(fixture->host->client, true);
    wait_for_state(fixture, state);
    assert_false(store_dirty(fixture->host->client));
}

static struct session *connected(struct durable_fixture *fixture, struct peer *peer,
                                 struct subscription **out_subscription)
{
    struct session *session = fixture_session(fixture->base, "c");

    fixture_connect(session, peer, 10);
    *out_subscription = fixture_subscribe(session, "t", 1);
    durable_commit(fixture);
    return session;
}

static void qos_2_exchanges_are_refused_and_write_nothing(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, &subscription);
    size_t released;

    assert_int_equal(session_on_publish_qos2(session, PACKET_IDS), SESSION_QOS2_NEW);
    session_store_awaiting_rel(session, PACKET_IDS);
    durable_commit(fixture);
    fail_writes(fixture, subscription, ENOSPC, STORE_FULL);
    for (uint32_t i = 0; i < EXCHANGES; i++) {
        uint16_t packet_id = (uint16_t)(i % (PACKET_IDS - 1) + 1);

        assert_int_equal(session_on_publish_qos2(session, packet_id), SESSION_QOS2_UNSTORED);
        session_forget_qos2(session, packet_id); /* as the channel does with each refused message */
        assert_false(session_on_pubrel(session, packet_id));
    }
    assert_false(store_dirty(fixture->host->client));
    /* What was begun before ends, and no more than once. */
    assert_int_equal(session_on_publish_qos2(session, PACKET_IDS), SESSION_QOS2_DUPLICATE);
    assert_true(session_on_pubrel(session, PACKET_IDS));
    released = store_open_bytes(fixture->host->client);
    assert_true(released > 0);
    for (uint32_t i = 0; i < EXCHANGES; i++)
        assert_false(session_on_pubrel(session, PACKET_IDS));
    assert_int_equal(store_open_bytes(fixture->host->client), released);
    disk_fault_set(DISK_WORKS, 0);
    wait_for_state(fixture, STORE_OPEN);
    assert_int_equal(session_on_publish_qos2(session, 1), SESSION_QOS2_NEW);
    session_store_awaiting_rel(session, 1);
    durable_commit(fixture);
    assert_int_equal(durable_rows(fixture, STORE_AWAITING_REL), 1);
    assert_int_equal(durable_rows(fixture, STORE_QUEUE), 1);
    session_detach(session, true);
}

static void a_message_refused_for_another_reason_writes_nothing(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, &subscription);

    for (uint32_t i = 0; i < EXCHANGES; i++) {
        assert_int_equal(session_on_publish_qos2(session, 1), SESSION_QOS2_NEW);
        session_forget_qos2(session, 1);
    }
    assert_false(store_dirty(fixture->host->client));
    session_detach(session, true);
}

static void sessions_that_end_with_their_connection_go_on(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer, clean_peer;
    struct session *session = connected(fixture, &peer, &subscription);
    struct session *clean = fixture_session(fixture->base, "clean");

    fixture_connect_with(clean, &clean_peer, (struct session_attach_options){.window = 10, .version = MQTT_V5});
    fail_writes(fixture, subscription, EIO, STORE_FAILED);
    for (uint32_t i = 0; i < EXCHANGES; i++) {
        assert_int_equal(session_on_publish_qos2(clean, 1), SESSION_QOS2_NEW);
        session_store_awaiting_rel(clean, 1);
        assert_true(session_on_pubrel(clean, 1));
    }
    assert_false(store_dirty(fixture->host->client));
    session_end(clean, "test");
    session_detach(session, true);
}

/* A client without a stored session comes with a will, and goes. */
static void leave_a_will(struct durable_fixture *fixture)
{
    struct session *session = fixture_session(fixture->base, "will");
    struct peer peer;

    fixture_connect_with(
        session, &peer,
        (struct session_attach_options){.window = 10, .version = MQTT_V5, .will = make_message("w", "w", 2, 0)});
    session_detach(session, false);
    ASSERT_HOST(fixture->base, "will:w");
}

static void wills_are_not_stored_once_all_that_may_wait_does(void **state)
{
    struct durable_fixture *fixture = *state;
    struct subscription *subscription;
    struct peer peer;
    struct session *session = connected(fixture, &peer, &subscription);
    void *flood = calloc(1, FLOOD_BYTES);

    assert_non_null(flood);
    fail_writes(fixture, subscription, ENOSPC, STORE_FULL);
    leave_a_will(fixture);
    assert_int_equal(fixture->base->will_qos, 2);
    store_put(fixture->host->client, STORE_USER, SLICE_LITERAL("flood"), &(struct slice){flood, FLOOD_BYTES}, 1);
    store_submit(fixture->host->client, true);
    leave_a_will(fixture);
    assert_int_equal(fixture->base->will_qos, 0);
    disk_fault_set(DISK_WORKS, 0);
    wait_for_state(fixture, STORE_OPEN);
    leave_a_will(fixture);
    assert_int_equal(fixture->base->will_qos, 2);
    session_detach(session, true);
    free(flood);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, durable_set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(qos_2_exchanges_are_refused_and_write_nothing),
        TEST(a_message_refused_for_another_reason_writes_nothing),
        TEST(sessions_that_end_with_their_connection_go_on),
        TEST(wills_are_not_stored_once_all_that_may_wait_does),
    };

    return cmocka_run_group_tests_name("durable_failure", tests, NULL, NULL);
}
