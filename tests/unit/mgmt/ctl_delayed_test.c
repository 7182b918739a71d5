/*
 * Texts of the command `delayed`, with a view on paper that answers when the test says so.
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
#include <time.h>

#include "mgmt/ctl_commands.h"

#define OUT_BYTES_MAX 8192

struct fixture {
    struct broker_view view;
    struct ctl_registry *registry;
    struct ctl_sink sink;
    struct ctl_request *request;
    char out[OUT_BYTES_MAX];
    bool congested;
    int status;                 /* -1: not finished */
    struct delayed_place place; /* what the view was asked */
    uint32_t limit;
    uint64_t id;
    broker_delayed_fn *on_rows;
    broker_delete_fn *on_deleted;
    void *context;
    struct delayed_summary summary;
    int err; /* the view's result */
};

static int view_list(void *broker, struct delayed_place place, uint32_t limit, broker_delayed_fn *on_rows,
                     void *context)
{
    struct fixture *fixture = broker;

    fixture->place = place;
    fixture->limit = limit;
    fixture->on_rows = on_rows;
    fixture->context = context;
    return fixture->err;
}

static int view_delete(void *broker, uint64_t id, broker_delete_fn *on_done, void *context)
{
    struct fixture *fixture = broker;

    fixture->id = id;
    fixture->on_deleted = on_done;
    fixture->context = context;
    return fixture->err;
}

static struct delayed_summary view_sum(void *broker)
{
    return ((struct fixture *)broker)->summary;
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

    setenv("TZ", "UTC", 1);
    tzset();
    assert_non_null(fixture);
    fixture->view = (struct broker_view){
        .broker = fixture, .list_delayed = view_list, .delete_delayed = view_delete, .sum_delayed = view_sum};
    fixture->sink = (struct ctl_sink){.write = sink_write, .congested = sink_congested, .finish = sink_finish};
    fixture->registry = ctl_registry_new();
    assert_non_null(fixture->registry);
    assert_int_equal(ctl_register(fixture->registry, &ctl_delayed_command, &fixture->view), 0);
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

    assert_in_range(snprintf(copy, sizeof(copy), "%s", line), 1, sizeof(copy) - 1);
    while ((word = strsep(&rest, " ")) != NULL)
        words[count++] = word;
    fixture->out[0] = '\0';
    fixture->status = -1;
    fixture->on_rows = NULL;
    fixture->on_deleted = NULL;
    assert_int_equal(ctl_run(fixture->registry, &fixture->sink, false, count, words, &fixture->request), 0);
}

static void expect(struct fixture *fixture, int status, const char *out)
{
    assert_string_equal(fixture->out, out);
    assert_int_equal(fixture->status, status);
}

static const struct delayed_row rows[] = {
    {.id = 4711,
     .due_ms = INT64_C(1795409719123),
     .left_ms = 4001,
     .client_id = {(const uint8_t *)"c\n", 2},
     .topic = {(const uint8_t *)"a/b", 3},
     .payload_bytes = 12,
     .qos = 2,
     .retain = true},
    {.id = 4712, .due_ms = INT64_C(1795409800000), .payload_bytes = 5000},
};

static void a_list_is_asked_for_in_slices(void **state)
{
    struct fixture *fixture = *state;
    struct delayed_place next = {99, 4711};

    run_line(fixture, "delayed list");
    assert_int_equal(fixture->place.due_ms, 0);
    assert_int_equal(fixture->place.id, 0);
    fixture->congested = true;
    fixture->on_rows(fixture->context, rows, 1, &next);
    assert_int_equal(fixture->place.id, 0); /* the reader comes first */
    fixture->congested = false;
    ctl_drained(fixture->request);
    assert_int_equal(fixture->place.due_ms, 99);
    assert_int_equal(fixture->place.id, 4711);
    fixture->on_rows(fixture->context, rows + 1, 1, NULL);
    expect(fixture, 0,
           "Delayed(4711, due=2026-11-23 04:55:19, left=5s, topic=a/b, qos=2, retain=true, payload_size=12, "
           "client_id=c\\x0a)\n"
           "Delayed(4712, due=2026-11-23 04:56:40, left=0s, topic=<cannot be read>, qos=0, retain=false, "
           "payload_size=5000, client_id=)\n");
}

static void a_limit_ends_the_list(void **state)
{
    static const char *const lines[] = {"delayed list 1", "delayed list --limit 1"};
    struct fixture *fixture = *state;
    struct delayed_place next = {99, 4711};

    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        run_line(fixture, lines[i]);
        assert_int_equal(fixture->limit, 1);
        fixture->on_rows(fixture->context, rows, 2, &next);
        assert_int_equal(fixture->status, 0);
        assert_null(strstr(fixture->out, "4712"));
    }
}

static void the_list_ends_when_its_reader_has_gone(void **state)
{
    struct fixture *fixture = *state;
    struct delayed_place next = {99, 4711};

    run_line(fixture, "delayed list");
    ctl_detach(fixture->request);
    fixture->on_rows(fixture->context, rows, 1, &next);
    assert_int_equal(fixture->place.id, 0);
    assert_null(fixture->request);
}

static void info_says_how_many_wait(void **state)
{
    struct fixture *fixture = *state;

    fixture->summary = (struct delayed_summary){.count = 2,
                                                .count_max = 3,
                                                .count_limit = 100,
                                                .memory_bytes = 400,
                                                .memory_limit = 1000,
                                                .published = 5,
                                                .dropped = 6};
    run_line(fixture, "delayed info");
    fixture->on_rows(fixture->context, rows, 1, NULL);
    expect(fixture, 0,
           "waiting   : 2\nmax       : 3\nlimit     : 100\nmemory    : 400 of 1000 bytes\n"
           "published : 5\ndropped   : 6\nnext      : 2026-11-23 04:55:19\n");
    fixture->summary = (struct delayed_summary){.memory_limit = 1};
    run_line(fixture, "delayed info");
    fixture->on_rows(fixture->context, NULL, 0, NULL);
    assert_non_null(strstr(fixture->out, "limit     : none\n"));
    assert_non_null(strstr(fixture->out, "next      : none\n"));
}

static void a_message_is_deleted_or_not_found(void **state)
{
    struct fixture *fixture = *state;

    run_line(fixture, "delayed delete 4711");
    assert_int_equal(fixture->id, 4711);
    fixture->on_deleted(fixture->context, true);
    expect(fixture, 0, "ok\n");
    run_line(fixture, "delayed delete 4711");
    fixture->on_deleted(fixture->context, false);
    expect(fixture, 1, "Not Found.\n");
}

static void wrong_words_show_the_usage(void **state)
{
    static const char *const lines[] = {
        "delayed",          "delayed list 0",     "delayed list -1",    "delayed list x", "delayed list --limit",
        "delayed delete",   "delayed delete 0",   "delayed delete 1 2", "delayed info 1", "delayed list 1x",
        "delayed delete x", "delayed delete 1.5", "delayed list 1 2",   "delayed lists",
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        run_line(fixture, lines[i]);
        assert_null(fixture->on_rows);
        assert_null(fixture->on_deleted);
        assert_int_equal(fixture->status, 1);
        assert_non_null(strstr(fixture->out, "delayed delete <Id>"));
    }
}

static void help_has_examples(void **state)
{
    struct fixture *fixture = *state;

    run_line(fixture, "delayed --help");
    assert_int_equal(fixture->status, 0);
    assert_non_null(strstr(fixture->out, "emqx_ctl delayed list 10\n"));
}

static void a_view_that_cannot_answer_fails_the_command(void **state)
{
    static const char *const lines[] = {"delayed list", "delayed info", "delayed delete 1"};
    struct fixture *fixture = *state;

    fixture->err = -ESHUTDOWN;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        run_line(fixture, lines[i]);
        assert_int_equal(fixture->status, 1);
        assert_non_null(strstr(fixture->out, "cannot "));
    }
}

#define DELAYED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELAYED_TEST(a_list_is_asked_for_in_slices),
        DELAYED_TEST(a_limit_ends_the_list),
        DELAYED_TEST(the_list_ends_when_its_reader_has_gone),
        DELAYED_TEST(info_says_how_many_wait),
        DELAYED_TEST(a_message_is_deleted_or_not_found),
        DELAYED_TEST(wrong_words_show_the_usage),
        DELAYED_TEST(help_has_examples),
        DELAYED_TEST(a_view_that_cannot_answer_fails_the_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
