/*
 * plugin_list: which plugins a file names, and what a change leaves of it.
 */
#include "plugin/plugin_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char error[PLUGIN_ERROR_BYTES];

/* The names with blanks between them, "" for none; NULL: an error. */
static const char *parsed(int result, struct plugin_list *list)
{
    static char text[1024];

    if (result < 0)
        return NULL;
    text[0] = '\0';
    for (uint32_t i = 0; i < list->count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i == 0 ? "" : " ", list->names[i]);
    plugin_list_free(list);
    return text;
}

static const char *parse(const char *text)
{
    struct plugin_list list;
    int err = plugin_list_parse(text, strlen(text), &list, error);

    return parsed(err, &list);
}

static const char *parse_words(const char *text)
{
    struct plugin_list list;
    int err = plugin_list_parse_words(text, &list, error);

    return parsed(err, &list);
}

static void both_forms_name_what_is_loaded_in_order(void **state)
{
    (void)state;
    assert_string_equal(parse(""), "");
    assert_string_equal(parse("{b, true}.\na.\n{c,false}.\n  { d , true } .  % comment\n\n%% e.\n"), "b a d");
    assert_string_equal(parse("last."), "last");
    assert_string_equal(parse("a.\r\n{a, true}.\r\n"), "a");
}

static void a_name_is_refused_by_false_alone(void **state)
{
    static const char text[] = "{a, false}.\n{b, true}.\n{c, false}.\nc.\n{d, true}.\n{d, false}.\n";
    struct plugin_list list;

    (void)state;
    assert_int_equal(plugin_list_parse(text, strlen(text), &list, error), 0);
    assert_int_equal(list.count, 3);
    assert_true(plugin_list_refuses(&list, "a"));
    assert_false(plugin_list_refuses(&list, "b"));
    assert_false(plugin_list_refuses(&list, "c"));
    assert_false(plugin_list_refuses(&list, "d"));
    assert_false(plugin_list_refuses(&list, "e"));
    plugin_list_free(&list);
    assert_false(plugin_list_refuses(&list, "a"));
}

static void what_is_no_entry_is_an_error_with_its_line(void **state)
{
    static const char *const wrong[] = {"a",         "a.b.",      "A.",        "{a}.",  "{a, yes}.",
                                        "{a, true}", "{a, true.", "{, true}.", "a. b.", "{a, true}. x",
                                        "1a.",       "{a true}.", "\xff.",     "[a].",  "{a, truee}."};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        char text[64];

        snprintf(text, sizeof(text), "ok.\n%s\n", wrong[i]);
        assert_null(parse(text));
        assert_non_null(strstr(error, "line 2: "));
    }
}

static void names_and_their_number_are_bounded(void **state)
{
    char text[8192] = "", name[PLUGIN_NAME_MAX + 3];

    (void)state;
    memset(name, 'a', PLUGIN_NAME_MAX);
    memcpy(name + PLUGIN_NAME_MAX, ".", 2);
    assert_int_equal(strlen(parse(name)), PLUGIN_NAME_MAX);
    memcpy(name + PLUGIN_NAME_MAX, "a.", 3);
    assert_null(parse(name));
    for (unsigned i = 0; i < PLUGIN_LIST_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "p%u.\n", i);
    assert_non_null(parse(text));
    strcat(text, "p0.\nq.\n");
    assert_null(parse(text));
    assert_non_null(strstr(error, "at most 256"));
}

static void words_of_the_environment_are_names(void **state)
{
    (void)state;
    assert_string_equal(parse_words(""), "");
    assert_string_equal(parse_words(" a,b , c\td,,a "), "a b c d");
    assert_null(parse_words("a,B"));
    assert_non_null(strstr(error, "\"B\""));
}

static int make_file(void **state)
{
    static char path[64];

    strcpy(path, "/tmp/emqc-plugin-list-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    *state = path;
    return 0;
}

static int remove_file(void **state)
{
    unlink(*state);
    return 0;
}

static void assert_file(const char *path, const char *wanted)
{
    char text[1024] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    fclose(file);
    assert_string_equal(text, wanted);
}

static void a_change_leaves_the_other_lines(void **state)
{
    const char *path = *state;
    struct plugin_list list;
    FILE *file = fopen(path, "w");

    fputs("%% mine\na.\n{b, true}.\nnot an entry\n{a, false}.", file);
    fclose(file);
    assert_int_equal(plugin_list_change(path, "a", true), 0);
    assert_file(path, "%% mine\n{b, true}.\nnot an entry\n{a, true}.\n");
    assert_int_equal(plugin_list_change(path, "b", false), 0);
    assert_file(path, "%% mine\nnot an entry\n{a, true}.\n{b, false}.\n");
    assert_int_equal(plugin_list_read(path, &list, error), -EINVAL);
    unlink(path);
    assert_int_equal(plugin_list_read(path, &list, error), 0);
    assert_int_equal(list.count, 0);
    assert_int_equal(plugin_list_change(path, "c", true), 0);
    assert_file(path, "{c, true}.\n");
    assert_int_equal(plugin_list_change("/nowhere/at/all", "c", true), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_name_what_is_loaded_in_order),
        cmocka_unit_test(a_name_is_refused_by_false_alone),
        cmocka_unit_test(what_is_no_entry_is_an_error_with_its_line),
        cmocka_unit_test(names_and_their_number_are_bounded),
        cmocka_unit_test(words_of_the_environment_are_names),
        cmocka_unit_test_setup_teardown(a_change_leaves_the_other_lines, make_file, remove_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
