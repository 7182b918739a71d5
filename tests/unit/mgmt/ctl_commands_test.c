/*
 * Texts of the commands about the broker, with a view on paper that answers when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"
#include "base/version.h"
#include "mgmt/ctl_commands.h"

#define OUT_BYTES_MAX 65536

struct fixture {
    struct broker_view view;
    struct ctl_registry *registry;
    struct ctl_sink sink;
    struct ctl_request *request;
    char out[OUT_BYTES_MAX];
    bool congested;
    int status; /* -1: not finished */
    /* What the view was asked. */
    broker_clients_fn *on_clients;
    broker_kick_fn *on_kicked;
    broker_listeners_fn *on_listeners;
    broker_listener_fn *on_listener;
    enum listener_verb verb; /* of the last command about a listener, and its words; "": NULL */
    char type[16];
    char which[64];
    bool close_clients;
    void *context;
    uint64_t cursor;
    uint32_t limit;
    struct slice client_id;
    enum broker_state state;
    int err; /* the view's result */
    int stop_count;
    bool restart;
};

static const char *view_node_name(void *broker)
{
    (void)broker;
    return "emqx@127.0.0.1";
}

static enum broker_state view_state(void *broker)
{
    return ((struct fixture *)broker)->state;
}

static uint64_t view_uptime_s(void *broker)
{
    (void)broker;
    return 125;
}

static int view_list_clients(void *broker, uint64_t cursor, uint32_t limit, struct slice client_id,
                             broker_clients_fn *on_rows, void *context)
{
    struct fixture *fixture = broker;

    fixture->cursor = cursor;
    fixture->limit = limit;
    fixture->client_id = client_id;
    fixture->on_clients = on_rows;
    fixture->context = context;
    return fixture->err;
}

static int view_kick(void *broker, struct slice client_id, broker_kick_fn *on_done, void *context)
{
    struct fixture *fixture = broker;

    fixture->client_id = client_id;
    fixture->on_kicked = on_done;
    fixture->context = context;
    return fixture->err;
}

static int view_list_listeners(void *broker, broker_listeners_fn *on_rows, void *context)
{
    struct fixture *fixture = broker;

    fixture->on_listeners = on_rows;
    fixture->context = context;
    return fixture->err;
}

static int view_command_listener(void *broker, const struct listener_command *command, broker_listener_fn *on_done,
                                 void *context)
{
    struct fixture *fixture = broker;

    fixture->verb = command->verb;
    snprintf(fixture->type, sizeof(fixture->type), "%s", command->type == NULL ? "" : command->type);
    snprintf(fixture->which, sizeof(fixture->which), "%s", command->which == NULL ? "" : command->which);
    fixture->close_clients = command->close_clients;
    fixture->on_listener = on_done;
    fixture->context = context;
    return fixture->err;
}

static void view_stop(void *broker, bool restart)
{
    struct fixture *fixture = broker;

    fixture->stop_count++;
    fixture->restart = restart;
}

static void sink_write(struct ctl_sink *sink, bool to_stderr, const char *data, size_t len)
{
    struct fixture *fixture = CONTAINER_OF(sink, struct fixture, sink);

    (void)to_stderr;
    assert_true(strlen(fixture->out) + len < OUT_BYTES_MAX);
    strncat(fixture->out, data, len);
}

static bool sink_congested(struct ctl_sink *sink)
{
    return CONTAINER_OF(sink, struct fixture, sink)->congested;
}

static void sink_finish(struct ctl_sink *sink, int exit_status)
{
    CONTAINER_OF(sink, struct fixture, sink)->status = exit_status;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fixture->view = (struct broker_view){.broker = fixture,
                                         .node_name = view_node_name,
                                         .state = view_state,
                                         .uptime_s = view_uptime_s,
                                         .list_clients = view_list_clients,
                                         .kick = view_kick,
                                         .list_listeners = view_list_listeners,
                                         .command_listener = view_command_listener,
                                         .stop = view_stop};
    fixture->sink = (struct ctl_sink){.write = sink_write, .congested = sink_congested, .finish = sink_finish};
    fixture->state = BROKER_RUNNING;
    fixture->registry = ctl_registry_new();
    assert_non_null(fixture->registry);
    assert_int_equal(ctl_commands_register(fixture->registry, &fixture->view), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    ctl_registry_free(fixture->registry);
    free(fixture);
    return 0;
}

/* Runs the words of `line`, cut at blanks. */
static void run_line(struct fixture *fixture, const char *line)
{
    char copy[256];
    const char *words[8];
    char *rest = copy;
    char *word;
    int count = 0;

    strcpy(copy, line);
    while ((word = strsep(&rest, " ")) != NULL)
        words[count++] = word;
    fixture->out[0] = '\0';
    fixture->status = -1;
    assert_int_equal(ctl_run(fixture->registry, &fixture->sink, false, count, words, &fixture->request), 0);
}

static void expect(struct fixture *fixture, int status, const char *out)
{
    assert_string_equal(fixture->out, out);
    assert_int_equal(fixture->status, status);
}

static void status_says_what_the_broker_does(void **state)
{
    struct fixture *fixture = *state;

    run_line(fixture, "status");
    expect(fixture, 0, "Node 'emqx@127.0.0.1' is started\nemqx 3.2.8 is running\n");
    fixture->state = BROKER_STARTING;
    run_line(fixture, "status");
    expect(fixture, 1, "Node 'emqx@127.0.0.1' is starting\nemqx is not running\n");
    fixture->state = BROKER_STOPPING;
    run_line(fixture, "status");
    expect(fixture, 1, "Node 'emqx@127.0.0.1' is stopping\nemqx is not running\n");
}

static void broker_prints_four_lines(void **state)
{
    static const char start[] =
        "sysdescr  : EMQ X Broker\nversion   : 3.2.8\nuptime    : 2 minutes, 5 seconds\ndatetime  : 2";
    struct fixture *fixture = *state;
    const char *datetime;

    run_line(fixture, "broker");
    assert_int_equal(fixture->status, 0);
    assert_memory_equal(fixture->out, start, sizeof(start) - 1);
    datetime = strrchr(fixture->out, ' ') - 10;
    assert_int_equal(strlen(datetime), strlen("2020-01-15 10:04:52\n"));
}

static void uptime_has_the_words_of_the_original(void **state)
{
    static const struct {
        uint64_t uptime_s;
        const char *text;
    } rows[] = {
        {0, "0 seconds"},
        {59, "59 seconds"},
        {60, "1 minutes, 0 seconds"},
        {3605, "1 hours, 0 minutes, 5 seconds"},
        {7384, "2 hours, 3 minutes, 4 seconds"},
        {86400 + 61, "1 days,0 hours, 1 minutes, 1 seconds"},
        {UINT64_MAX, "213503982334601 days,7 hours, 0 minutes, 15 seconds"},
    };
    char text[UPTIME_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uptime_text(rows[i].uptime_s, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void metrics_are_sorted_and_padded(void **state)
{
    struct fixture *fixture = *state;
    char previous[128] = "";
    char *rest = fixture->out;
    char *line;
    uint32_t count = 0;

    metric_add(METRIC_BYTES_RECEIVED, 7);
    run_line(fixture, "broker metrics");
    assert_int_equal(fixture->status, 0);
    assert_non_null(strstr(fixture->out, "bytes.received                : 7\n"));
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        assert_true(strcmp(previous, line) < 0);
        assert_true(strchr(line, ':') - line >= 30);
        snprintf(previous, sizeof(previous), "%s", line);
        count++;
    }
    assert_int_equal(count, metrics_count());
}

static void stats_have_count_and_maximum(void **state)
{
    static const char start[] = "connections.count             : 0\nconnections.max               : 0\n";
    struct fixture *fixture = *state;

    run_line(fixture, "broker stats");
    assert_int_equal(fixture->status, 0);
    assert_memory_equal(fixture->out, start, sizeof(start) - 1);
}

static void clients_come_slice_by_slice(void **state)
{
    static const struct client_row rows[] = {
        {.client_id = {(const uint8_t *)"mosqsub|12", 10},
         .peername = "127.0.0.1:64896",
         .connected_at_s = 1552554416,
         .clean_start = true},
        {.client_id = {(const uint8_t *)"b\n", 2},
         .username = {(const uint8_t *)"alice", 5},
         .peername = "::1:5",
         .connected_at_s = 1},
    };
    struct fixture *fixture = *state;

    run_line(fixture, "clients list");
    assert_int_equal(fixture->cursor, 0);
    assert_null(fixture->client_id.data);
    fixture->on_clients(fixture->context, rows, 1, 77);
    assert_int_equal(fixture->cursor, 77);
    fixture->on_clients(fixture->context, rows + 1, 1, 0);
    expect(
        fixture, 0,
        "Connection(mosqsub|12, clean_start=true, username=undefined, peername=127.0.0.1:64896, connected_at=1552554416)\n"
        "Connection(b\\x0a, clean_start=false, username=alice, peername=::1:5, connected_at=1)\n");
}

static void the_next_slice_waits_until_the_reader_has_room(void **state)
{
    struct fixture *fixture = *state;

    fixture->congested = true;
    run_line(fixture, "clients list");
    fixture->on_clients(fixture->context, NULL, 0, 77);
    assert_int_equal(fixture->cursor, 0);
    fixture->congested = false;
    ctl_drained(fixture->request);
    assert_int_equal(fixture->cursor, 77);
    /* The caller leaves while the view is asked: its answer ends the command. */
    ctl_detach(fixture->request);
    fixture->on_clients(fixture->context, NULL, 0, 78);
    assert_int_equal(fixture->cursor, 77);
    assert_int_equal(fixture->status, -1);
}

static void a_limit_ends_the_list(void **state)
{
    struct client_row rows[3] = {{.peername = ""}, {.peername = ""}, {.peername = ""}};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        rows[i].client_id = SLICE_LITERAL("x");
    run_line(fixture, "clients list --limit 2");
    assert_int_equal(fixture->limit, 2);
    fixture->on_clients(fixture->context, rows, 3, 9);
    assert_int_equal(fixture->status, 0);
    assert_null(strstr(strchr(fixture->out, '\n') + 1, "\nConnection"));
}

static void a_client_that_is_not_there_is_not_found(void **state)
{
    struct fixture *fixture = *state;

    run_line(fixture, "clients show nobody");
    assert_true(slice_equal(fixture->client_id, SLICE_LITERAL("nobody")));
    fixture->on_clients(fixture->context, NULL, 0, 0);
    expect(fixture, 1, "Not Found.\n");
    run_line(fixture, "clients kick nobody");
    assert_true(slice_equal(fixture->client_id, SLICE_LITERAL("nobody")));
    fixture->on_kicked(fixture->context, false);
    expect(fixture, 1, "Not Found.\n");
}

static void a_kick_is_silent_unless_asked_to_speak(void **state)
{
    struct fixture *fixture = *state;

    run_line(fixture, "clients kick a");
    fixture->on_kicked(fixture->context, true);
    expect(fixture, 0, "");
    run_line(fixture, "clients kick -v a");
    fixture->on_kicked(fixture->context, true);
    expect(fixture, 0, "ok\n");
}

static void listeners_are_blocks(void **state)
{
    static const struct shutdown_count counts[] = {{"closed", 2}, {"banned", 0}, {"kicked", 1}};
    static const struct listener_row rows[] = {{"mqtt:tcp", "0.0.0.0:1883", 8, 1024000, 1, counts, 3, false},
                                               {"mqtt:ws", "8083", 4, 102400, 0, NULL, 0, true}};
    struct fixture *fixture = *state;

    run_line(fixture, "listeners");
    fixture->on_listeners(fixture->context, rows, 2);
    expect(fixture, 0,
           "listener on mqtt:tcp:0.0.0.0:1883\n"
           "  acceptors       : 8\n"
           "  max_conns       : 1024000\n"
           "  current_conn    : 1\n"
           "  shutdown_count  : [{closed,2},{kicked,1}]\n"
           "listener on mqtt:ws:8083\n"
           "  acceptors       : 4\n"
           "  max_conns       : 102400\n"
           "  current_conn    : 0\n"
           "  shutdown_count  : []\n"
           "  state           : stopped\n");
}

static const struct {
    const char *line;
    enum listener_verb verb;
    const char *type;
    const char *which;
    bool close_clients;
} listener_commands[] = {
    {"listeners stop tcp 1883", LISTENER_STOP, "tcp", "1883", false},
    {"listeners stop mqtt:tcp 0.0.0.0:1883", LISTENER_STOP, "tcp", "0.0.0.0:1883", false},
    {"listeners stop mqtt:tcp:0.0.0.0:1883", LISTENER_STOP, "tcp", "0.0.0.0:1883", false},
    {"listeners stop --close-clients ssl:external", LISTENER_STOP, "ssl", "external", true},
    {"listeners restart ssl:external --close-clients", LISTENER_RESTART, "ssl", "external", true},
    {"listeners start unix:local", LISTENER_START, "unix", "local", false},
    {"listeners reload", LISTENER_RELOAD, NULL, NULL, false},
    {"listeners reload wss 8084", LISTENER_RELOAD, "wss", "8084", false},
};

static bool same_text(const char *one, const char *other)
{
    return (one == NULL) == (other == NULL) && (one == NULL || strcmp(one, other) == 0);
}

static void a_listener_is_named_in_one_word_or_two(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(listener_commands); i++) {
        struct listener_result result = {.name = "mqtt:x", .address = "y"};

        run_line(fixture, listener_commands[i].line);
        assert_int_equal(fixture->verb, listener_commands[i].verb);
        assert_true(same_text(fixture->type[0] == '\0' ? NULL : fixture->type, listener_commands[i].type));
        assert_true(same_text(fixture->which[0] == '\0' ? NULL : fixture->which, listener_commands[i].which));
        assert_int_equal(fixture->close_clients, listener_commands[i].close_clients);
        fixture->on_listener(fixture->context, &result, 1);
        assert_int_equal(fixture->status, 0);
    }
}

static void a_stop_in_two_words_answers_as_the_original(void **state)
{
    static const struct listener_result stopped = {.name = "mqtt:tcp", .address = "0.0.0.0:1883"};
    static const struct listener_result missing = {.name = "mqtt:tcp", .address = "1", .error = "not_found"};
    struct fixture *fixture = *state;

    run_line(fixture, "listeners stop tcp 1883");
    fixture->on_listener(fixture->context, &stopped, 1);
    expect(fixture, 0,
           "Stop mqtt:tcp listener on 0.0.0.0:1883 successfully.\n"
           "Stop tcp listener on 1883 successfully.\n");
    run_line(fixture, "listeners stop tcp 1");
    fixture->on_listener(fixture->context, &missing, 1);
    expect(fixture, 1, "Failed to stop mqtt:tcp listener on 1 - not_found\n");
    run_line(fixture, "listeners start tcp:external");
    fixture->on_listener(fixture->context, &stopped, 1);
    expect(fixture, 0, "Start mqtt:tcp listener on 0.0.0.0:1883 successfully.\n");
}

static void a_reload_answers_for_each_listener(void **state)
{
    static const struct listener_result results[] = {
        {.name = "mqtt:ssl", .address = "0.0.0.0:8883"},
        {.name = "mqtt:wss", .address = "0.0.0.0:8084", .error = "no such file"},
    };
    struct fixture *fixture = *state;

    run_line(fixture, "listeners reload");
    fixture->on_listener(fixture->context, results, 2);
    expect(fixture, 1,
           "Reload mqtt:ssl listener on 0.0.0.0:8883 successfully.\n"
           "Failed to reload mqtt:wss listener on 0.0.0.0:8084 - no such file\n");
    run_line(fixture, "listeners reload");
    fixture->on_listener(fixture->context, NULL, 0);
    expect(fixture, 0, "No listener has certificates.\n");
}

static void help_for_listeners_has_examples(void **state)
{
    static const char *const lines[] = {"listeners --help", "listeners help", "listeners stop --help"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        run_line(fixture, lines[i]);
        assert_int_equal(fixture->status, 0);
        assert_non_null(strstr(fixture->out, "listeners stop    <Proto> <Port>"));
        assert_non_null(strstr(fixture->out, "emqx_ctl listeners stop tcp:external --close-clients"));
    }
}

static void wrong_words_show_the_usage(void **state)
{
    static const char *const lines[] = {"clients",
                                        "clients list x",
                                        "clients list --limit 0",
                                        "clients list --limit -1",
                                        "clients list --limit x",
                                        "clients list --limit 1x",
                                        "clients show",
                                        "listeners stop",
                                        "listeners stop tcp",
                                        "listeners stop tcp 1883 2",
                                        "listeners stop tcp:a --gently",
                                        "listeners start tcp:a --close-clients",
                                        "listeners halt tcp:a"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        run_line(fixture, lines[i]);
        assert_int_equal(fixture->status, 1);
        assert_non_null(strstr(fixture->out, lines[i][0] == 'c' ? "clients list  " : "listeners stop  "));
        assert_non_null(strstr(fixture->out, lines[i][0] == 'c'
                                                 ? "emqx_ctl clients: arguments are missing or wrong\n"
                                                 : "missing or wrong; see: emqx_ctl listeners --help\n"));
    }
    run_line(fixture, "broker zzz");
    expect(fixture, 1,
           "broker                                          # Show broker version, uptime and description\n"
           "broker stats                                    # Show broker statistics of clients, topics, subscribers\n"
           "broker metrics                                  # Show broker metrics\n"
           "emqx_ctl broker: arguments are missing or wrong\n");
}

static void a_view_that_cannot_answer_fails_the_command(void **state)
{
    static const char *const lines[] = {"clients list", "clients kick x", "listeners"};
    struct fixture *fixture = *state;

    fixture->err = -ENOMEM;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        run_line(fixture, lines[i]);
        assert_int_equal(fixture->status, 1);
        assert_non_null(strstr(fixture->out, "Cannot allocate memory"));
    }
}

static void node_stops_and_restarts_after_its_answer(void **state)
{
    struct fixture *fixture = *state;

    run_line(fixture, "node ping");
    expect(fixture, 0, "pong\n");
    run_line(fixture, "node stop");
    expect(fixture, 0, "");
    assert_int_equal(fixture->stop_count, 1);
    assert_false(fixture->restart);
    run_line(fixture, "node restart");
    assert_int_equal(fixture->stop_count, 2);
    assert_true(fixture->restart);
    run_line(fixture, "node nonsense");
    assert_int_equal(fixture->status, 1);
    assert_int_equal(fixture->stop_count, 2);
}

static void the_version_is_the_build_s(void **state)
{
    (void)state;
    assert_string_equal(EMQC_VERSION, MESON_PROJECT_VERSION);
}

#define COMMAND_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COMMAND_TEST(status_says_what_the_broker_does),
        COMMAND_TEST(broker_prints_four_lines),
        COMMAND_TEST(uptime_has_the_words_of_the_original),
        COMMAND_TEST(metrics_are_sorted_and_padded),
        COMMAND_TEST(stats_have_count_and_maximum),
        COMMAND_TEST(clients_come_slice_by_slice),
        COMMAND_TEST(the_next_slice_waits_until_the_reader_has_room),
        COMMAND_TEST(a_limit_ends_the_list),
        COMMAND_TEST(a_client_that_is_not_there_is_not_found),
        COMMAND_TEST(a_kick_is_silent_unless_asked_to_speak),
        COMMAND_TEST(listeners_are_blocks),
        COMMAND_TEST(a_listener_is_named_in_one_word_or_two),
        COMMAND_TEST(a_stop_in_two_words_answers_as_the_original),
        COMMAND_TEST(a_reload_answers_for_each_listener),
        COMMAND_TEST(help_for_listeners_has_examples),
        COMMAND_TEST(wrong_words_show_the_usage),
        COMMAND_TEST(a_view_that_cannot_answer_fails_the_command),
        COMMAND_TEST(node_stops_and_restarts_after_its_answer),
        cmocka_unit_test(the_version_is_the_build_s),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
