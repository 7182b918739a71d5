/*
 * authenticate: what client.authenticate is told, what becomes of its results, and that only who waits waits.
 */
#include "channel_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "broker/channel/connection.h"
#include "hook/events.h"
#include "hook/hook_run.h"

#define V4_ACCEPTED "20020000"

/* A provider: counts, checks what it is told and answers as the test says. */
struct provider {
    uint32_t calls;
    enum hook_verdict verdict;
    enum reason_code result;
    bool decides; /* sets the result */
    bool is_superuser;
    const char *reason;
    const char *mountpoint;
    char client_id[64];
    char user_name[64]; /* "-": absent */
    char password[64];
    bool was_anonymous;
    enum reason_code before;
    struct hook_ticket *ticket;
};

static void copy_text(char out[64], struct slice text)
{
    if (text.data == NULL) {
        strcpy(out, "-");
        return;
    }
    assert_true(text.len < 64);
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
}

static void decide(const struct provider *provider, struct hook_authenticate *event)
{
    if (!provider->decides)
        return;
    event->result = provider->result;
    event->reason = provider->reason;
    event->client->is_anonymous = false;
    event->client->is_superuser = provider->is_superuser;
    if (provider->mountpoint != NULL)
        event->client->mountpoint = slice_from_string(provider->mountpoint);
}

static enum hook_verdict on_authenticate(void *context, void *data)
{
    struct provider *provider = context;
    struct hook_authenticate *event = data;

    provider->calls++;
    provider->before = event->result;
    provider->was_anonymous = event->client->is_anonymous;
    copy_text(provider->client_id, event->client->client_id);
    copy_text(provider->user_name, event->client->user_name);
    copy_text(provider->password, event->client->password);
    if (provider->verdict == HOOK_PENDING)
        provider->ticket = hook_defer(event);
    else
        decide(provider, event);
    return provider->verdict;
}

static uint32_t unwanted_answers;

static enum hook_verdict apply(void *answer, void *event)
{
    if (event == NULL)
        unwanted_answers++;
    else
        decide(answer, event);
    return HOOK_STOP;
}

static struct hook *attach(struct provider *provider)
{
    return fixture_hook(HOOK_CLIENT_AUTHENTICATE, 0, on_authenticate, provider);
}

static struct connection *connection_of(const char *client_id)
{
    struct session *session = broker_find_session(fixture_broker, slice_from_string(client_id));

    assert_non_null(session);
    assert_non_null(session->link);
    return CONTAINER_OF(session->link, struct connection, link);
}

static const char *try(uint32_t worker, enum mqtt_version version, const char *client_id, const char *user_name)
{
    int fd = fixture_connect_socket(worker);

    fixture_say_connect(fd, version, client_id, user_name, user_name == NULL ? NULL : "secret");
    fixture_turns();
    return fixture_receive(fd);
}

static int open_anonymous(void **state)
{
    (void)state;
    hook_set_limits(5000, 2);
    unwanted_answers = 0;
    return fixture_open("allow_anonymous = true\n");
}

static int open_closed(void **state)
{
    (void)state;
    return fixture_open("allow_anonymous = false\n");
}

static int close_fixture(void **state)
{
    (void)state;
    assert_false(hook_any(HOOK_CLIENT_AUTHENTICATE));
    return fixture_close();
}

static void without_callbacks_allow_anonymous_decides(void **state)
{
    uint64_t anonymous = metrics_read(METRIC_AUTH_MQTT_ANONYMOUS);

    (void)state;
    assert_string_equal(try(0, MQTT_V3_1_1, "c", NULL), V4_ACCEPTED);
    assert_int_equal(metrics_read(METRIC_AUTH_MQTT_ANONYMOUS), anonymous + 1);
    assert_true(connection_of("c")->is_anonymous);
}

static void without_callbacks_nobody_comes_in_where_anonymous_is_off(void **state)
{
    (void)state;
    assert_string_equal(try(0, MQTT_V3_1_1, "c", "u"), "20020005closed");
}

static void callbacks_are_told_of_the_client(void **state)
{
    struct provider provider = {.verdict = HOOK_NEXT};
    struct hook *hook = attach(&provider);
    uint64_t anonymous = metrics_read(METRIC_AUTH_MQTT_ANONYMOUS);

    (void)state;
    assert_string_equal(try(0, MQTT_V3_1_1, "c", "someone"), V4_ACCEPTED);
    assert_int_equal(provider.calls, 1);
    assert_string_equal(provider.client_id, "c");
    assert_string_equal(provider.user_name, "someone");
    assert_string_equal(provider.password, "secret");
    assert_true(provider.was_anonymous);
    assert_int_equal(provider.before, REASON_SUCCESS);
    assert_int_equal(metrics_read(METRIC_AUTH_MQTT_ANONYMOUS), anonymous + 1); /* nobody knew it */
    assert_string_equal(try(0, MQTT_V3_1_1, "d", NULL), V4_ACCEPTED);
    assert_string_equal(provider.user_name, "-");
    assert_string_equal(provider.password, "-");
    hook_remove(hook);
}

static void a_decision_counts_more_than_allow_anonymous(void **state)
{
    struct provider provider = {.verdict = HOOK_STOP, .decides = true, .result = REASON_SUCCESS, .is_superuser = true};
    struct hook *hook = attach(&provider);
    uint64_t anonymous = metrics_read(METRIC_AUTH_MQTT_ANONYMOUS);

    (void)state;
    assert_string_equal(try(0, MQTT_V3_1_1, "c", "u"), V4_ACCEPTED);
    assert_int_equal(provider.before, REASON_NOT_AUTHORIZED);
    assert_int_equal(metrics_read(METRIC_AUTH_MQTT_ANONYMOUS), anonymous);
    assert_true(connection_of("c")->is_superuser);
    assert_false(connection_of("c")->is_anonymous);
    assert_null(connection_of("c")->extras->authentication); /* the password does not stay */
    provider.verdict = HOOK_NEXT;
    provider.decides = false;
    assert_string_equal(try(0, MQTT_V3_1_1, "d", "u"), "20020005closed");
    hook_remove(hook);
}

static void refusals_have_their_codes(void **state)
{
    static const struct {
        enum reason_code code;
        const char *v4;
        const char *v5_code;
    } rows[] = {
        {REASON_CLIENT_ID_NOT_VALID, "20020002closed", "85"},
        {REASON_BAD_USER_NAME_OR_PASSWORD, "20020004closed", "86"},
        {REASON_NOT_AUTHORIZED, "20020005closed", "87"},
        {REASON_SERVER_UNAVAILABLE, "20020003closed", "88"},
        {REASON_SERVER_BUSY, "20020003closed", "89"},
        {REASON_BANNED, "20020005closed", "8a"},
        {REASON_BAD_AUTHENTICATION_METHOD, "20020005closed", "8c"},
        {REASON_GRANTED_QOS_1, "20020005closed", "87"}, /* no refusal at all: the callback's mistake */
    };
    struct provider provider = {.verdict = HOOK_STOP, .decides = true, .reason = "because"};
    struct hook *hook = attach(&provider);

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        provider.result = rows[i].code;
        assert_string_equal(try(0, MQTT_V3_1_1, "c", "u"), rows[i].v4);
        const char *v5 = try(0, MQTT_V5, "c", "u");
        assert_memory_equal(v5 + 6, rows[i].v5_code, 2);
        assert_non_null(strstr(v5, "1f000762656361757365")); /* Reason String: "because" */
    }
    assert_null(broker_find_session(fixture_broker, slice_from_string("c")));
    hook_remove(hook);
}

static void a_client_whose_session_is_elsewhere_is_asked_about_once(void **state)
{
    struct provider provider = {.verdict = HOOK_STOP, .decides = true, .is_superuser = true};
    struct hook *hook;
    struct connection *before;

    (void)state;
    assert_string_equal(try(1, MQTT_V3_1_1, "c", NULL), V4_ACCEPTED);
    before = connection_of("c");
    hook = attach(&provider);
    uint32_t other = 1 - worker_index(before->worker->host.worker);
    uint64_t packets = metrics_read(METRIC_PACKETS_CONNECT_RECEIVED);
    assert_string_equal(try(other, MQTT_V3_1_1, "c", "u"), V4_ACCEPTED);
    assert_int_equal(connection_of("c")->hops, 1);
    assert_int_equal(provider.calls, 1);
    assert_true(connection_of("c")->is_superuser);
    assert_int_equal(metrics_read(METRIC_PACKETS_CONNECT_RECEIVED), packets + 1);
    hook_remove(hook);
}

static void another_mountpoint_is_taken(void **state)
{
    struct provider provider = {.verdict = HOOK_STOP, .decides = true, .mountpoint = "users/%u/"};
    struct hook *hook = attach(&provider);

    (void)state;
    assert_string_equal(try(0, MQTT_V3_1_1, "c", "bob"), V4_ACCEPTED);
    assert_true(slice_equal(connection_mountpoint(connection_of("c")), slice_from_string("users/bob/")));
    assert_string_equal(try(0, MQTT_V3_1_1, "d", "b+b"), "20020004closed"); /* what goes into topics has no wildcards */
    hook_remove(hook);
}

static void a_generated_client_id_is_told_and_stays(void **state)
{
    struct provider provider = {.verdict = HOOK_PENDING, .decides = true};
    struct hook *hook = attach(&provider);
    int fd = fixture_connect_socket(0);

    (void)state;
    fixture_say_connect(fd, MQTT_V3_1_1, "", "u", "p");
    fixture_turns();
    assert_true(strlen(provider.client_id) > 0);
    hook_complete(provider.ticket, apply, &provider);
    fixture_turns();
    assert_string_equal(fixture_receive(fd), V4_ACCEPTED);
    assert_non_null(connection_of(provider.client_id));
    hook_remove(hook);
}

static void who_waits_is_not_read_and_others_are_served(void **state)
{
    static const uint8_t pings[] = {0xC0, 0, 0xC0, 0};
    struct provider provider = {.verdict = HOOK_PENDING, .decides = true};
    struct hook *hook = attach(&provider);
    int waiting = fixture_connect_socket(0);
    uint64_t packets = metrics_read(METRIC_PACKETS_RECEIVED), connects = metrics_read(METRIC_PACKETS_CONNECT_RECEIVED);

    (void)state;
    fixture_say_connect(waiting, MQTT_V3_1_1, "w", "u", "p");
    assert_int_equal(write(waiting, pings, 2), 2); /* in the same segment */
    fixture_turns();
    assert_int_equal(write(waiting, pings, 2), 2); /* and later */
    fixture_turns();
    assert_string_equal(fixture_receive(waiting), "");
    struct hook_ticket *ticket = provider.ticket;
    provider.verdict = HOOK_STOP;
    assert_string_equal(try(0, MQTT_V3_1_1, "other", "u"), V4_ACCEPTED);
    hook_complete(ticket, apply, &provider);
    fixture_turns();
    assert_string_equal(fixture_receive(waiting), V4_ACCEPTED "d000d000");
    assert_int_equal(provider.calls, 2);
    assert_int_equal(metrics_read(METRIC_PACKETS_RECEIVED), packets + 4);
    assert_int_equal(metrics_read(METRIC_PACKETS_CONNECT_RECEIVED), connects + 2);
    hook_remove(hook);
}

static void a_late_refusal_is_a_refusal(void **state)
{
    struct provider provider = {.verdict = HOOK_PENDING, .decides = true, .result = REASON_BAD_USER_NAME_OR_PASSWORD};
    struct hook *hook = attach(&provider);
    int fd = fixture_connect_socket(0);

    (void)state;
    fixture_say_connect(fd, MQTT_V3_1_1, "c", "u", "p");
    fixture_turns();
    hook_complete(provider.ticket, apply, &provider);
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "20020004closed");
    hook_remove(hook);
}

static void who_gets_no_answer_is_refused(void **state)
{
    struct provider provider = {.verdict = HOOK_PENDING, .decides = true};
    struct hook *hook = attach(&provider);
    int fd = fixture_connect_socket(0);

    (void)state;
    fixture_say_connect(fd, MQTT_V3_1_1, "c", "u", "p");
    fixture_turns();
    fixture_now_ms += 4900;
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "");
    fixture_now_ms += 200;
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "20020003closed"); /* although allow_anonymous is on */
    hook_complete(provider.ticket, apply, &provider);
    fixture_turns();
    assert_int_equal(unwanted_answers, 1);
    assert_null(broker_find_session(fixture_broker, slice_from_string("c")));
    hook_remove(hook);
}

static void the_time_for_connect_runs_on(void **state)
{
    struct provider provider = {.verdict = HOOK_PENDING, .decides = true};
    struct hook *hook = attach(&provider);
    int fd = fixture_connect_socket(0);

    (void)state;
    hook_set_limits(3600000, 2);
    fixture_say_connect(fd, MQTT_V3_1_1, "c", "u", "p");
    fixture_turns();
    fixture_now_ms += 60000; /* idle_timeout is 15 s */
    fixture_turns();
    assert_string_equal(fixture_receive(fd), "closed");
    hook_complete(provider.ticket, apply, &provider);
    fixture_turns();
    assert_int_equal(unwanted_answers, 1);
    hook_remove(hook);
}

static void too_many_that_wait_are_refused(void **state)
{
    struct provider provider = {.verdict = HOOK_PENDING, .decides = true};
    struct hook *hook = attach(&provider);
    struct hook_ticket *tickets[2];
    int fds[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        fds[i] = fixture_connect_socket(0);
        fixture_say_connect(fds[i], MQTT_V3_1_1, i == 0 ? "a" : "b", "u", "p");
        fixture_turns();
        tickets[i] = provider.ticket;
    }
    const char *third = try(0, MQTT_V5, "c", "u");
    assert_memory_equal(third + 6, "89", 2);
    for (int i = 0; i < 2; i++) {
        hook_complete(tickets[i], apply, &provider);
        fixture_turns();
        assert_string_equal(fixture_receive(fds[i]), V4_ACCEPTED);
    }
    hook_remove(hook);
}

#define ANONYMOUS(test) cmocka_unit_test_setup_teardown(test, open_anonymous, close_fixture)
#define CLOSED(test) cmocka_unit_test_setup_teardown(test, open_closed, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ANONYMOUS(without_callbacks_allow_anonymous_decides),
        CLOSED(without_callbacks_nobody_comes_in_where_anonymous_is_off),
        ANONYMOUS(callbacks_are_told_of_the_client),
        CLOSED(a_decision_counts_more_than_allow_anonymous),
        ANONYMOUS(refusals_have_their_codes),
        ANONYMOUS(a_client_whose_session_is_elsewhere_is_asked_about_once),
        ANONYMOUS(another_mountpoint_is_taken),
        ANONYMOUS(a_generated_client_id_is_told_and_stays),
        ANONYMOUS(who_waits_is_not_read_and_others_are_served),
        ANONYMOUS(a_late_refusal_is_a_refusal),
        ANONYMOUS(who_gets_no_answer_is_refused),
        ANONYMOUS(the_time_for_connect_runs_on),
        ANONYMOUS(too_many_that_wait_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
