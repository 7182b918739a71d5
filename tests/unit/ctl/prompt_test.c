/*
 * How the prompt cuts a line into words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ctl/prompt.h"

static void cuts_a_line_like_a_shell(void **state)
{
    static const struct {
        const char *line;
        int count;
        const char *words[4];
    } rows[] = {
        {"\n", 0, {NULL}},
        {" \t ", 0, {NULL}},
        {"clients list\r\n", 2, {"clients", "list"}},
        {"  clients   show\ta ", 3, {"clients", "show", "a"}},
        {"show 'a b' \"c d\"", 3, {"show", "a b", "c d"}},
        {"show ''", 2, {"show", ""}},
        {"a'b c'd", 1, {"ab cd"}},
        {"a\\ b \\'", 2, {"a b", "'"}},
        {"'a\\b' \"a\\\"b\"", 2, {"a\\b", "a\"b"}},
        {"end\\", 1, {"end\\"}},
        {"'open", -EINVAL, {NULL}},
        {"a \"open", -EINVAL, {NULL}},
    };
    char *words[PROMPT_WORDS_MAX + 1];
    char line[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        strcpy(line, rows[i].line);
        assert_int_equal(prompt_split(line, words), rows[i].count);
        for (int word = 0; word < rows[i].count; word++)
            assert_string_equal(words[word], rows[i].words[word]);
        if (rows[i].count >= 0)
            assert_null(words[rows[i].count]);
    }
}

static void refuses_more_words_than_a_request_holds(void **state)
{
    char line[2 * PROMPT_WORDS_MAX + 3];
    char *words[PROMPT_WORDS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(line) - 1; i++)
        line[i] = i % 2 == 0 ? 'x' : ' ';
    line[sizeof(line) - 1] = '\0';
    assert_int_equal(prompt_split(line, words), -E2BIG);
    for (size_t i = 0; i < sizeof(line) - 1; i++)
        line[i] = i % 2 == 0 ? 'x' : ' ';
    line[2 * PROMPT_WORDS_MAX] = '\0';
    assert_int_equal(prompt_split(line, words), PROMPT_WORDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_a_line_like_a_shell),
        cmocka_unit_test(refuses_more_words_than_a_request_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
