/*
 * enhanced: exchanges of AUTH packets before CONNACK and after it, who is asked, what clients may not do, and how it ends.
 */
#include "channel_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/metrics.h"
#include "broker/channel/connection.h"
#include "broker/channel/enhanced.h"
#include "hook/events.h"
#include "hook/hook_memory.h"
#include "hook/hook_run.h"

#define METHOD "15000454455354" /* Authentication Method "TEST" */
#define STEPS_MAX 40

/* A callback that knows the method TEST: answers with `results`, one after the other, and its data is what came, backwards. */
struct leader {
    const enum reason_code *results;
    const char *shown_name; /* NULL: CONNECT's */
    bool is_superuser;
    bool is_pending;
    uint32_t calls;
    enum enhanced_step steps[STEPS_MAX];
    uint32_t seen_states[STEPS_MAX]; /* how often it had written to the state */
    char data[16];
    char user_name[16];
    char client_id[64];
    struct hook_ticket *ticket;
};

static uint32_t unwanted_answers;

static void copy_text(char *out, size_t size, struct slice text)
{
    assert_true(text.len < size);
    memcpy(out, text.data == NULL ? (const uint8_t *)"" : text.data, text.len);
    out[text.len] = '\0';
}

static void answer(struct leader *leader, struct hook_enhanced_authenticate *event)
{
    char backwards[16];
    size_t len = strlen(leader->data);

    for (size_t i = 0; i < len; i++)
        backwards[i] = leader->data[len - 1 - i];
    event->result = *leader->results++;
    if (len > 0)
        event->answer = hook_memory_copy(&event->memory, slice_make(backwards, len));
    if (leader->shown_name != NULL)
        event->user_name = hook_memory_copy(&event->memory, slice_from_string(leader->shown_name));
    event->is_superuser = leader->is_superuser;
}

static enum hook_verdict on_enhanced(void *context, void *data)
{
    struct leader *leader = context;
    struct hook_enhanced_authenticate *event = data;
    uint32_t *writes = event->state;

    if (!slice_equal(event->method, SLICE_LITERAL("TEST")))
        return HOOK_NEXT;
    assert_true(leader->calls < STEPS_MAX);
    leader->steps[leader->calls] = event->step;
    leader->seen_states[leader->calls++] = writes[ENHANCED_STATE_BYTES / sizeof(*writes) - 1]++;
    copy_text(leader->data, sizeof(leader->data), event->data);
    copy_text(leader->user_name, sizeof(leader->user_name), event->client->user_name);
    copy_text(leader->client_id, sizeof(leader->client_id), event->client->client_id);
    if (event->step == ENHANCED_ENDED)
        return HOOK_NEXT;
    if (leader->is_pending) {
        leader->ticket = hook_defer(event);
        return HOOK_PENDING;
    }
    answer(leader, event);
    return HOOK_STOP;
}

static enum hook_verdict apply(void *leader, void *event)
{
    if (event == NULL)
        unwanted_answers++;
    else
        answer(leader, event);
    return HOOK_STOP;
}

static struct hook *attach(struct leader *leader)
{
    return fixture_hook(HOOK_CLIENT_ENHANCED_AUTHENTICATE, 0, on_enhanced, leader);
}

static void say_connect(int fd, const char *client_id, const char *method, const char *data)
{
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string(client_id),
                                             .user_name = SLICE_LITERAL("claimed"),
                                             .clean_start = true,
                                             .level = MQTT_V5}};
    struct mqtt_properties *properties = &packet.connect.properties;

    properties->present = MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_METHOD) |
                          MQTT_PROP_BIT(MQTT_PROP_REQUEST_PROBLEM_INFORMATION);
    properties->authentication_method = slice_from_string(method);
    if (data != NULL) {
        properties->present |= MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_DATA);
        properties->authentication_data = slice_from_string(data);
    }
    fixture_send(fd, MQTT_V5, &packet);
}

static void say_auth(int fd, enum reason_code code, const char *method, const char *data)
{
    struct mqtt_packet packet = {.type = MQTT_AUTH, .disconnect = {.code = code}};
    struct mqtt_properties *properties = &packet.disconnect.properties;

    properties->present = MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_METHOD) | MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_DATA);
    properties->authentication_method = slice_from_string(method);
    properties->authentication_data = slice_from_string(data);
    fixture_send(fd, MQTT_V5, &packet);
}

static void say_ping(int fd)
{
    assert_int_equal(write(fd, "\xc0\x00", 2), 2);
}

static const char *heard(int fd)
{
    fixture_turns();
    return fixture_receive(fd);
}

/* The reason code of a CONNACK, or of a DISCONNECT, with the connection closed if it is a refusal. */
static unsigned code_heard(int fd, const char *type)
{
    const char *text = heard(fd);
    char code[3] = "";

    assert_memory_equal(text, type, 2);
    assert_true(strlen(text) > 8);
    memcpy(code, text + (type[0] == '2' ? 6 : 4), 2);
    unsigned value = (unsigned)strtoul(code, NULL, 16);
    assert_true((value >= 0x80) == (strstr(text, "closed") != NULL));
    return value;
}

#define CONNACK "20"
#define DISCONNECT "e0"

static struct connection *connection_of(const char *client_id)
{
    struct session *session = broker_find_session(fixture_broker, slice_from_string(client_id));

    assert_non_null(session);
    assert_non_null(session->link);
    return CONTAINER_OF(session->link, struct connection, link);
}

static int open_fixture(void **state)
{
    (void)state;
    hook_set_limits(5000, 10);
    unwanted_answers = 0;
    return fixture_open("allow_anonymous = true\n");
}

static int close_fixture(void **state)
{
    (void)state;
    assert_false(hook_any(HOOK_CLIENT_ENHANCED_AUTHENTICATE));
    assert_false(hook_any(HOOK_CLIENT_AUTHENTICATE));
    return fixture_close();
}

static const enum reason_code two_steps[] = {REASON_CONTINUE_AUTHENTICATION, REASON_SUCCESS,
                                             REASON_CONTINUE_AUTHENTICATION, REASON_SUCCESS};
static const enum reason_code refused_later[] = {REASON_CONTINUE_AUTHENTICATION, REASON_NOT_AUTHORIZED};
static const enum reason_code refused_again[] = {REASON_SUCCESS, REASON_CONTINUE_AUTHENTICATION,
                                                 REASON_BAD_USER_NAME_OR_PASSWORD};

/* A connected client whose login took one step. */
static int log_in(const char *client_id)
{
    int fd = fixture_connect_socket(0);

    say_connect(fd, client_id, "TEST", "ab");
    assert_int_equal(code_heard(fd, CONNACK), REASON_SUCCESS);
    return fd;
}

/* One that has been asked for another step. */
static int begin(const char *client_id)
{
    int fd = fixture_connect_socket(0);

    say_connect(fd, client_id, "TEST", "ab");
    assert_string_equal(heard(fd), "f00e180c" METHOD "1600026261");
    return fd;
}

static void without_callbacks_no_method_is_offered(void **state)
{
    int fd = fixture_connect_socket(0);

    (void)state;
    say_connect(fd, "c", "TEST", NULL);
    assert_int_equal(code_heard(fd, CONNACK), REASON_BAD_AUTHENTICATION_METHOD);
}

static void a_method_that_nobody_knows_is_refused(void **state)
{
    struct leader leader = {0};
    struct hook *hook = attach(&leader);
    int fd = fixture_connect_socket(0);

    (void)state;
    say_connect(fd, "c", "OTHER", NULL);
    assert_int_equal(code_heard(fd, CONNACK), REASON_BAD_AUTHENTICATION_METHOD);
    assert_int_equal(leader.calls, 0);
    hook_remove(hook);
}

static void an_exchange_leads_to_connack_wherever_the_session_is(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        struct leader leader = {.results = two_steps};
        struct hook *hook = attach(&leader);
        char client_id[] = {'c', (char)('0' + i), '\0'};
        int fd = fixture_connect_socket(i % FIXTURE_WORKERS);
        uint64_t connects = metrics_read(METRIC_PACKETS_CONNECT_RECEIVED);
        uint64_t packets = metrics_read(METRIC_PACKETS_RECEIVED);

        say_connect(fd, client_id, "TEST", "ab");
        assert_string_equal(heard(fd), "f00e180c" METHOD "1600026261");
        say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "xyz");
        say_ping(fd);
        const char *text = heard(fd);
        assert_memory_equal(text, "20", 2);
        assert_memory_equal(text + 6, "00", 2);
        assert_non_null(strstr(text, METHOD "1600037a7978"));
        assert_string_equal(text + strlen(text) - 4, "d000");
        assert_int_equal(leader.calls, 2);
        assert_int_equal(leader.steps[0], ENHANCED_START);
        assert_int_equal(leader.steps[1], ENHANCED_CONTINUE);
        assert_int_equal(leader.seen_states[1], 1); /* it was zero at first and has been kept */
        assert_string_equal(leader.client_id, client_id);
        assert_string_equal(leader.user_name, "claimed");
        assert_int_equal(metrics_read(METRIC_PACKETS_CONNECT_RECEIVED), connects + 1);
        assert_int_equal(metrics_read(METRIC_PACKETS_RECEIVED), packets + 3);
        assert_false(connection_of(client_id)->is_anonymous);
        assert_false(channel_in_exchange(connection_of(client_id)));
        hook_remove(hook);
    }
}

static void a_generated_client_id_is_told_and_stays(void **state)
{
    struct leader leader = {.results = two_steps};
    struct hook *hook = attach(&leader);
    int fd = begin("");

    (void)state;
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_SUCCESS);
    assert_true(strlen(leader.client_id) > 0);
    assert_non_null(broker_find_session(fixture_broker, slice_from_string(leader.client_id)));
    hook_remove(hook);
}

static void who_was_shown_counts_more_than_what_was_claimed(void **state)
{
    struct leader leader = {.results = two_steps + 1, .shown_name = "shown", .is_superuser = true};
    struct hook *hook = attach(&leader);

    (void)state;
    log_in("c");
    assert_true(slice_equal(connection_user_name(connection_of("c")), SLICE_LITERAL("shown")));
    assert_true(connection_of("c")->is_superuser);
    hook_remove(hook);
}

static void a_refusal_in_a_later_step_is_a_connack(void **state)
{
    struct leader leader = {.results = refused_later};
    struct hook *hook = attach(&leader);
    int fd = begin("c");

    (void)state;
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_NOT_AUTHORIZED);
    assert_int_equal(leader.calls, 2); /* it knows the end itself */
    hook_remove(hook);
}

static void other_packets_before_connack_are_protocol_errors(void **state)
{
    struct leader leader = {.results = two_steps};
    struct hook *hook = attach(&leader);
    int fd = begin("c");

    (void)state;
    say_ping(fd);
    assert_int_equal(code_heard(fd, CONNACK), REASON_PROTOCOL_ERROR);
    assert_int_equal(leader.calls, 2);
    assert_int_equal(leader.steps[1], ENHANCED_ENDED);
    leader.results = two_steps;
    fd = begin("c");
    say_connect(fd, "c", "TEST", NULL);
    assert_int_equal(code_heard(fd, CONNACK), REASON_PROTOCOL_ERROR);
    leader.results = two_steps;
    fd = begin("c");
    assert_int_equal(write(fd, "\xf0\x00", 2), 2); /* AUTH with success, which is the server's */
    assert_int_equal(code_heard(fd, CONNACK), REASON_PROTOCOL_ERROR);
    hook_remove(hook);
}

static void another_method_than_that_of_connect_is_refused(void **state)
{
    struct leader leader = {.results = two_steps};
    struct hook *hook = attach(&leader);
    int fd = begin("c");

    (void)state;
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "OTHER", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_BAD_AUTHENTICATION_METHOD);
    leader.results = two_steps + 1;
    fd = log_in("c");
    say_auth(fd, REASON_RE_AUTHENTICATE, "OTHER", "x");
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_PROTOCOL_ERROR); /* section 3.14.2.1 has no 0x8C */
    hook_remove(hook);
}

static void a_client_may_leave_in_the_midst(void **state)
{
    struct leader leader = {.results = two_steps};
    struct hook *hook = attach(&leader);
    int fd = begin("c");

    (void)state;
    assert_int_equal(write(fd, "\xe0\x00", 2), 2);
    assert_string_equal(heard(fd), "closed");
    assert_int_equal(leader.steps[1], ENHANCED_ENDED);
    assert_int_equal(leader.seen_states[1], 1);
    hook_remove(hook);
}

static void the_time_for_connect_runs_on(void **state)
{
    struct leader leader = {.results = two_steps};
    struct hook *hook = attach(&leader);
    int fd = begin("c");

    (void)state;
    fixture_now_ms += 60000; /* idle_timeout is 15 s */
    assert_string_equal(heard(fd), "closed");
    assert_int_equal(leader.steps[1], ENHANCED_ENDED);
    hook_remove(hook);
}

static void steps_are_bounded(void **state)
{
    enum reason_code results[ENHANCED_STEPS_MAX + 1];
    struct leader leader = {.results = results};
    struct hook *hook = attach(&leader);
    int fd = fixture_connect_socket(0);

    (void)state;
    for (uint32_t i = 0; i <= ENHANCED_STEPS_MAX; i++)
        results[i] = REASON_CONTINUE_AUTHENTICATION;
    say_connect(fd, "c", "TEST", NULL);
    for (uint32_t i = 1; i < ENHANCED_STEPS_MAX; i++) {
        assert_memory_equal(heard(fd), "f0", 2);
        say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    }
    assert_memory_equal(heard(fd), "f0", 2);
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_NOT_AUTHORIZED);
    assert_int_equal(leader.calls, ENHANCED_STEPS_MAX + 1);
    assert_int_equal(leader.steps[ENHANCED_STEPS_MAX], ENHANCED_ENDED);
    hook_remove(hook);
}

static void only_who_began_is_asked_about_what_follows(void **state)
{
    struct leader other = {.results = two_steps}, leader = {.results = two_steps};
    struct hook *hook = attach(&leader);
    int fd = begin("c");
    struct hook *above = fixture_hook(HOOK_CLIENT_ENHANCED_AUTHENTICATE, 10, on_enhanced, &other);

    (void)state;
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_SUCCESS);
    assert_int_equal(other.calls, 0);
    leader.results = two_steps;
    hook_remove(above);
    fd = begin("d");
    hook_remove(hook);
    above = fixture_hook(HOOK_CLIENT_ENHANCED_AUTHENTICATE, 10, on_enhanced, &other);
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_SERVER_UNAVAILABLE);
    assert_int_equal(other.calls, 0);
    hook_remove(above);
}

/* ---- answers that come later ---- */

static void answers_may_come_later(void **state)
{
    struct leader leader = {.results = two_steps, .is_pending = true};
    struct hook *hook = attach(&leader);
    int fd = fixture_connect_socket(0);

    (void)state;
    say_connect(fd, "c", "TEST", "ab");
    assert_string_equal(heard(fd), "");
    hook_complete(leader.ticket, apply, &leader);
    assert_string_equal(heard(fd), "f00e180c" METHOD "1600026261");
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_string_equal(heard(fd), "");
    hook_complete(leader.ticket, apply, &leader);
    assert_int_equal(code_heard(fd, CONNACK), REASON_SUCCESS);
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    say_ping(fd);
    assert_string_equal(heard(fd), "d000"); /* other packets flow on */
    hook_complete(leader.ticket, apply, &leader);
    assert_string_equal(heard(fd), "f00d180b" METHOD "16000178");
    hook_remove(hook);
    assert_int_equal(unwanted_answers, 0);
}

static void who_speaks_while_we_think_is_refused(void **state)
{
    struct leader leader = {.results = two_steps, .is_pending = true};
    struct hook *hook = attach(&leader);
    int fd = fixture_connect_socket(0);

    (void)state;
    say_connect(fd, "c", "TEST", "ab");
    fixture_turns();
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x");
    assert_int_equal(code_heard(fd, CONNACK), REASON_PROTOCOL_ERROR);
    hook_complete(leader.ticket, apply, &leader);
    fixture_turns();
    assert_int_equal(unwanted_answers, 1);
    assert_int_equal(leader.calls, 1); /* it has asked for nothing, and its answer told it that nobody waits */
    hook_remove(hook);
}

static void who_gets_no_answer_is_refused(void **state)
{
    struct leader leader = {.results = two_steps, .is_pending = true};
    struct hook *hook = attach(&leader);
    int fd = fixture_connect_socket(0);

    (void)state;
    say_connect(fd, "c", "TEST", "ab");
    fixture_turns();
    fixture_now_ms += 5100;
    assert_int_equal(code_heard(fd, CONNACK), REASON_SERVER_UNAVAILABLE);
    hook_complete(leader.ticket, apply, &leader);
    fixture_turns();
    assert_int_equal(unwanted_answers, 1);
    hook_remove(hook);
}

/* ---- once connected ---- */

static void auth_without_a_method_in_connect_is_a_protocol_error(void **state)
{
    int fd = fixture_connect_socket(0);

    (void)state;
    fixture_say_connect(fd, MQTT_V5, "c", NULL, NULL);
    assert_int_equal(code_heard(fd, CONNACK), REASON_SUCCESS);
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_PROTOCOL_ERROR);
    fd = fixture_connect_socket(0);
    fixture_say_connect(fd, MQTT_V3_1_1, "d", NULL, NULL);
    assert_string_equal(heard(fd), "20020000");
    assert_int_equal(write(fd, "\xf0\x00", 2), 2);
    assert_string_equal(heard(fd), "closed");
}

static void a_client_may_authenticate_again(void **state)
{
    struct leader leader = {.results = two_steps + 1};
    struct hook *hook = attach(&leader);
    int fd = log_in("c");

    (void)state;
    leader.is_superuser = true;
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "xy");
    assert_string_equal(heard(fd), "f00e180c" METHOD "1600027978");
    assert_int_equal(leader.steps[1], ENHANCED_AGAIN);
    assert_int_equal(leader.seen_states[1], 0); /* an exchange of its own */
    say_ping(fd);
    assert_string_equal(heard(fd), "d000");
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "z");
    assert_string_equal(heard(fd), "f00d000b" METHOD "1600017a");
    assert_true(connection_of("c")->is_superuser);
    fixture_now_ms += 60000; /* its time is not running any more */
    say_ping(fd);
    assert_string_equal(heard(fd), "d000");
    hook_remove(hook);
}

static void who_fails_to_authenticate_again_is_disconnected(void **state)
{
    struct leader leader = {.results = refused_again};
    struct hook *hook = attach(&leader);
    int fd = log_in("c");

    (void)state;
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "xy");
    assert_memory_equal(heard(fd), "f0", 2);
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "z");
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_NOT_AUTHORIZED); /* 0x86 cannot be in a DISCONNECT */
    hook_remove(hook);
}

static void nobody_becomes_somebody_else(void **state)
{
    static const enum reason_code successes[] = {REASON_SUCCESS, REASON_SUCCESS, REASON_SUCCESS};
    struct leader leader = {.results = successes, .shown_name = "one"};
    struct hook *hook = attach(&leader);
    int fd = log_in("c");

    (void)state;
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_string_equal(heard(fd), "f00d000b" METHOD "16000178");
    leader.shown_name = "two";
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_NOT_AUTHORIZED);
    hook_remove(hook);
}

static void authenticating_again_takes_its_turns_and_not_for_ever(void **state)
{
    struct leader leader = {.results = refused_again};
    struct hook *hook = attach(&leader);
    int fd = log_in("c");

    (void)state;
    say_auth(fd, REASON_CONTINUE_AUTHENTICATION, "TEST", "x"); /* nothing to continue */
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_PROTOCOL_ERROR);
    leader.results = refused_again;
    fd = log_in("c");
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_memory_equal(heard(fd), "f0", 2);
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_PROTOCOL_ERROR);
    leader.results = refused_again;
    fd = log_in("c");
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_memory_equal(heard(fd), "f0", 2);
    fixture_now_ms += 14000;
    assert_string_equal(heard(fd), "");
    fixture_now_ms += 2000; /* idle_timeout is 15 s */
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_NOT_AUTHORIZED);
    assert_int_equal(leader.steps[leader.calls - 1], ENHANCED_ENDED);
    hook_remove(hook);
}

/* ---- client.authenticate ---- */

struct guard {
    uint32_t calls;
    const char *banned_name;
};

static enum hook_verdict on_authenticate(void *context, void *data)
{
    struct guard *guard = context;
    struct hook_authenticate *event = data;

    guard->calls++;
    if (guard->banned_name == NULL || !slice_equal(event->client->user_name, slice_from_string(guard->banned_name)))
        return HOOK_NEXT;
    event->result = REASON_BANNED;
    return HOOK_STOP;
}

static void of_client_authenticate_only_guards_are_asked(void **state)
{
    struct guard guard = {0}, provider = {.banned_name = "claimed"};
    struct leader leader = {.shown_name = "shown"};
    struct hook *hooks[] = {attach(&leader),
                            fixture_hook(HOOK_CLIENT_AUTHENTICATE, HOOK_PRIORITY_GUARD, on_authenticate, &guard),
                            fixture_hook(HOOK_CLIENT_AUTHENTICATE, 0, on_authenticate, &provider)};
    int fd;

    (void)state;
    leader.results = two_steps + 1;
    fd = log_in("c");
    assert_int_equal(provider.calls, 0);
    assert_int_equal(guard.calls, 2); /* as who it claims to be, and as who it is */
    guard.banned_name = "shown";
    leader.results = two_steps + 1;
    say_auth(fd, REASON_RE_AUTHENTICATE, "TEST", "x");
    assert_int_equal(code_heard(fd, DISCONNECT), REASON_NOT_AUTHORIZED);
    leader.results = two_steps + 1;
    fd = fixture_connect_socket(0);
    say_connect(fd, "c", "TEST", NULL);
    assert_int_equal(code_heard(fd, CONNACK), REASON_BANNED);
    guard.banned_name = "claimed";
    leader.calls = 0;
    fd = fixture_connect_socket(0);
    say_connect(fd, "c", "TEST", NULL);
    assert_int_equal(code_heard(fd, CONNACK), REASON_BANNED);
    assert_int_equal(leader.calls, 0);
    for (size_t i = 0; i < ARRAY_COUNT(hooks); i++)
        hook_remove(hooks[i]);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_callbacks_no_method_is_offered),
        TEST(a_method_that_nobody_knows_is_refused),
        TEST(an_exchange_leads_to_connack_wherever_the_session_is),
        TEST(a_generated_client_id_is_told_and_stays),
        TEST(who_was_shown_counts_more_than_what_was_claimed),
        TEST(a_refusal_in_a_later_step_is_a_connack),
        TEST(other_packets_before_connack_are_protocol_errors),
        TEST(another_method_than_that_of_connect_is_refused),
        TEST(a_client_may_leave_in_the_midst),
        TEST(the_time_for_connect_runs_on),
        TEST(steps_are_bounded),
        TEST(only_who_began_is_asked_about_what_follows),
        TEST(answers_may_come_later),
        TEST(who_speaks_while_we_think_is_refused),
        TEST(who_gets_no_answer_is_refused),
        TEST(auth_without_a_method_in_connect_is_a_protocol_error),
        TEST(a_client_may_authenticate_again),
        TEST(who_fails_to_authenticate_again_is_disconnected),
        TEST(nobody_becomes_somebody_else),
        TEST(authenticating_again_takes_its_turns_and_not_for_ever),
        TEST(of_client_authenticate_only_guards_are_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
