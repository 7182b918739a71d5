/*
 * Behaviour of the command registry and of requests, with an output in memory.
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

#include "hook/ctl_command.h"

struct memory_sink {
    struct ctl_sink sink;
    struct ctl_request *request;
    char out[4096];
    char err[1024];
    bool congested;
    int finish_count;
    int exit_status;
};

static void memory_write(struct ctl_sink *sink, bool to_stderr, const char *data, size_t len)
{
    struct memory_sink *memory = CONTAINER_OF(sink, struct memory_sink, sink);

    strncat(to_stderr ? memory->err : memory->out, data, len);
}

static bool memory_congested(struct ctl_sink *sink)
{
    return CONTAINER_OF(sink, struct memory_sink, sink)->congested;
}

static void memory_finish(struct ctl_sink *sink, int exit_status)
{
    struct memory_sink *memory = CONTAINER_OF(sink, struct memory_sink, sink);

    memory->finish_count++;
    memory->exit_status = exit_status;
}

static struct memory_sink memory_sink(void)
{
    return (struct memory_sink){.sink = {.write = memory_write, .congested = memory_congested, .finish = memory_finish},
                                .exit_status = -1};
}

static void run_words(struct ctl_registry *registry, struct memory_sink *memory, bool legacy, int count,
                      const char *const *words)
{
    assert_int_equal(ctl_run(registry, &memory->sink, legacy, count, words, &memory->request), 0);
}

static void echo_run(struct ctl_request *request, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        ctl_print(request, "[%s]", argv[i]);
    assert_null(argv[argc]);
    ctl_print(request, "%s\n", (const char *)ctl_context(request));
    ctl_printerr(request, "aside\n");
    ctl_finish(request, CTL_OK);
}

static void refuse_run(struct ctl_request *request, int argc, char **argv)
{
    (void)argv;
    if (argc == 1)
        ctl_finish(request, CTL_FAILED);
    else
        ctl_finish_usage(request);
}

static const struct ctl_usage echo_usage[] = {{"echo <Word>", "Say it again"}, {NULL, NULL}};
static const struct ctl_usage refuse_usage[] = {
    {"refuse", "Never works"}, {"refuse a very very very long syntax that is not cut off", "Neither"}, {NULL, NULL}};
static const struct ctl_command echo_command = {"echo", echo_usage, echo_run};
static const struct ctl_command refuse_command = {"refuse", refuse_usage, refuse_run};
static const struct ctl_command hidden_command = {"hidden", NULL, echo_run};

static struct ctl_registry *registry_with_commands(void)
{
    static char context[] = "context";
    struct ctl_registry *registry = ctl_registry_new();

    assert_non_null(registry);
    assert_int_equal(ctl_register(registry, &echo_command, context), 0);
    assert_int_equal(ctl_register(registry, &hidden_command, context), 0);
    assert_int_equal(ctl_register(registry, &refuse_command, context), 0);
    return registry;
}

static void runs_a_command_with_its_words_and_context(void **state)
{
    struct ctl_registry *registry = registry_with_commands();
    struct memory_sink memory = memory_sink();

    (void)state;
    run_words(registry, &memory, false, 3, (const char *const[]){"echo", "a b", ""});
    assert_string_equal(memory.out, "[a b][]context\n");
    assert_string_equal(memory.err, "aside\n");
    assert_int_equal(memory.finish_count, 1);
    assert_int_equal(memory.exit_status, 0);
    assert_null(memory.request);
    ctl_registry_free(registry);
}

static void full_usage_has_the_commands_in_order_without_the_hidden_ones(void **state)
{
    struct ctl_registry *registry = registry_with_commands();
    struct memory_sink memory = memory_sink();

    (void)state;
    run_words(registry, &memory, false, 1, (const char *const[]){"unknown"});
    assert_string_equal(memory.out, "Usage: emqx_ctl\n"
                                    "--------------------------------------------------------------------------------\n"
                                    "echo <Word>                                     # Say it again\n"
                                    "--------------------------------------------------------------------------------\n"
                                    "refuse                                          # Never works\n"
                                    "refuse a very very very long syntax that is not cut off# Neither\n");
    assert_int_equal(memory.exit_status, 1);
    ctl_registry_free(registry);
}

static void exit_statuses_follow_the_results_and_the_legacy_wish(void **state)
{
    static const struct {
        const char *words[3];
        int count;
        int status;
        int legacy_status;
    } rows[] = {
        {{"refuse"}, 1, 1, 0},           /* failed */
        {{"refuse", "x"}, 2, 1, 0},      /* wrong words */
        {{"help"}, 1, 0, 1},             /* help */
        {{"refuse", "--help"}, 2, 0, 1}, /* help of one */
        {{"unknown"}, 1, 1, 1},
        {{"echo"}, 1, 0, 0},
    };
    struct ctl_registry *registry = registry_with_commands();

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct memory_sink memory = memory_sink();
        struct memory_sink legacy = memory_sink();

        run_words(registry, &memory, false, rows[i].count, rows[i].words);
        run_words(registry, &legacy, true, rows[i].count, rows[i].words);
        assert_int_equal(memory.exit_status, rows[i].status);
        assert_int_equal(legacy.exit_status, rows[i].legacy_status);
    }
    ctl_registry_free(registry);
}

static void prints_text_of_any_length(void **state)
{
    struct ctl_registry *registry = registry_with_commands();
    struct memory_sink memory = memory_sink();
    char word[2001];

    (void)state;
    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    run_words(registry, &memory, false, 2, (const char *const[]){"echo", word});
    assert_int_equal(strlen(memory.out), 2000 + strlen("[]context\n"));
    assert_int_equal(memory.out[2000], 'x');
    ctl_registry_free(registry);
}

static void slice_run(struct ctl_request *request, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    ctl_print_slice(request, slice_make("\x1b[2Ja\nb\x7f", 8));
    ctl_finish(request, CTL_OK);
}

static void control_characters_from_the_wire_are_made_visible(void **state)
{
    static const struct ctl_command command = {"slice", NULL, slice_run};
    struct ctl_registry *registry = ctl_registry_new();
    struct memory_sink memory = memory_sink();

    (void)state;
    assert_int_equal(ctl_register(registry, &command, NULL), 0);
    run_words(registry, &memory, false, 1, (const char *const[]){"slice"});
    assert_string_equal(memory.out, "\\x1b[2Ja\\x0ab\\x7f");
    ctl_registry_free(registry);
}

/* A handler that waits for room and then ends. */
static int resumed_count;

static void on_room(struct ctl_request *request, void *context)
{
    resumed_count++;
    assert_ptr_equal(context, &resumed_count);
    ctl_print(request, ctl_abandoned(request) ? "dropped" : "resumed");
    ctl_finish(request, CTL_OK);
}

static void wait_run(struct ctl_request *request, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    ctl_when_writable(request, on_room, &resumed_count);
}

static const struct ctl_command wait_command = {"wait", NULL, wait_run};

static void a_handler_waits_while_the_output_is_congested(void **state)
{
    struct ctl_registry *registry = ctl_registry_new();
    struct memory_sink memory = memory_sink();

    (void)state;
    resumed_count = 0;
    memory.congested = true;
    assert_int_equal(ctl_register(registry, &wait_command, NULL), 0);
    run_words(registry, &memory, false, 1, (const char *const[]){"wait"});
    assert_int_equal(resumed_count, 0);
    assert_int_equal(ctl_unregister(registry, "wait"), -EBUSY);
    ctl_drained(memory.request);
    assert_int_equal(resumed_count, 1);
    assert_string_equal(memory.out, "resumed");
    assert_int_equal(memory.finish_count, 1);
    assert_int_equal(ctl_unregister(registry, "wait"), 0);
    assert_int_equal(ctl_unregister(registry, "wait"), -ENOENT);
    ctl_registry_free(registry);
}

static void a_handler_whose_caller_left_ends_without_output(void **state)
{
    struct ctl_registry *registry = ctl_registry_new();
    struct memory_sink memory = memory_sink();

    (void)state;
    resumed_count = 0;
    memory.congested = true;
    assert_int_equal(ctl_register(registry, &wait_command, NULL), 0);
    run_words(registry, &memory, false, 1, (const char *const[]){"wait"});
    ctl_detach(memory.request);
    assert_null(memory.request);
    assert_int_equal(resumed_count, 1);
    assert_string_equal(memory.out, "");
    assert_int_equal(memory.finish_count, 0);
    ctl_registry_free(registry);
}

static void refuses_a_second_command_of_a_name(void **state)
{
    struct ctl_registry *registry = registry_with_commands();

    (void)state;
    assert_int_equal(ctl_register(registry, &echo_command, NULL), -EEXIST);
    ctl_registry_free(registry);
}

static void refuses_more_commands_than_it_has_room_for(void **state)
{
    static char names[CTL_COMMANDS_MAX + 1][16];
    static struct ctl_command commands[CTL_COMMANDS_MAX + 1];
    struct ctl_registry *registry = ctl_registry_new();

    (void)state;
    for (size_t i = 0; i <= CTL_COMMANDS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "c%zu", i);
        commands[i] = (struct ctl_command){names[i], NULL, echo_run};
        assert_int_equal(ctl_register(registry, commands + i, NULL), i < CTL_COMMANDS_MAX ? 0 : -ENOSPC);
    }
    ctl_registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_a_command_with_its_words_and_context),
        cmocka_unit_test(full_usage_has_the_commands_in_order_without_the_hidden_ones),
        cmocka_unit_test(exit_statuses_follow_the_results_and_the_legacy_wish),
        cmocka_unit_test(prints_text_of_any_length),
        cmocka_unit_test(control_characters_from_the_wire_are_made_visible),
        cmocka_unit_test(a_handler_waits_while_the_output_is_congested),
        cmocka_unit_test(a_handler_whose_caller_left_ends_without_output),
        cmocka_unit_test(refuses_a_second_command_of_a_name),
        cmocka_unit_test(refuses_more_commands_than_it_has_room_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
