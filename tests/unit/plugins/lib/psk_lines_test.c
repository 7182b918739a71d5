/* psk_lines: every form of a line, what is left out and why, and many identities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/psk_lines.h"

static struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, strlen(text)};
}

static struct psk_lines *read_bytes(const char *text, size_t len, const char *delimiter, struct psk_report *report)
{
    struct psk_lines *lines = NULL;
    char *copy = malloc(len + (len == 0)); /* of its own size, so that a read past the end is seen */

    memcpy(copy, text, len);
    assert_int_equal(psk_lines_new_take(copy, len, delimiter, &lines, report), 0);
    return lines;
}

static struct psk_lines *read_text(const char *text, struct psk_report *report)
{
    return read_bytes(text, strlen(text), ":", report);
}

static void expect_key(const struct psk_lines *lines, const char *identity, const char *key)
{
    struct emqc_slice found = psk_lines_find(lines, slice_of(identity));

    if (key == NULL) {
        assert_null(found.data);
        return;
    }
    assert_non_null(found.data);
    assert_int_equal(found.len, strlen(key));
    assert_memory_equal(found.data, key, found.len);
}

/* The one line is wrong, and that is why. */
static void expect_wrong(const char *text, size_t len, const char *why)
{
    struct psk_report report;
    struct psk_lines *lines = read_bytes(text, len, ":", &report);

    assert_int_equal(report.key_count, 0);
    assert_int_equal(report.problem_count, 1);
    assert_int_equal(report.problems[0].line, 1);
    assert_non_null(strstr(report.problems[0].text, why));
    psk_lines_free(lines);
}

static void reads_the_file_that_the_original_ships(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("client1:1234\nclient2:abcd\n", &report);

    (void)state;
    assert_int_equal(report.key_count, 2);
    assert_int_equal(report.problem_count, 0);
    expect_key(lines, "client1", "1234");
    expect_key(lines, "client2", "abcd");
    expect_key(lines, "client3", NULL);
    expect_key(lines, "client", NULL);
    expect_key(lines, "client11", NULL);
    expect_key(lines, "", NULL);
    psk_lines_free(lines);
}

static void reads_text_and_hexadecimal_keys(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("a:hex:41424aFf\nb:a:b:c\r\nc: x \nd:hex\ne:HEX:4142", &report);

    (void)state;
    assert_int_equal(report.key_count, 5);
    expect_key(lines, "a", "ABJ\xFF");
    expect_key(lines, "b", "a:b:c");
    expect_key(lines, "c", " x ");
    expect_key(lines, "d", "hex");
    expect_key(lines, "e", "HEX:4142");
    psk_lines_free(lines);
}

static void a_hexadecimal_key_may_hold_zeros(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("a:hex:0000", &report);
    struct emqc_slice key = psk_lines_find(lines, slice_of("a"));

    (void)state;
    assert_int_equal(key.len, 2);
    assert_memory_equal(key.data, "\0\0", 2);
    psk_lines_free(lines);
}

static void goes_on_behind_empty_and_wrong_lines(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("\xEF\xBB\xBF"
                                        "a:1\n\n\r\n# a comment: x\nno delimiter\nb:2\n:3\nc:\nd:4",
                                        &report);

    (void)state;
    assert_int_equal(report.key_count, 3);
    assert_int_equal(report.problem_count, 3);
    assert_int_equal(report.problems[0].line, 5);
    assert_int_equal(report.problems[1].line, 7);
    assert_int_equal(report.problems[2].line, 8);
    expect_key(lines, "a", "1");
    expect_key(lines, "b", "2");
    expect_key(lines, "d", "4");
    expect_key(lines, "# a comment", NULL);
    psk_lines_free(lines);
}

static void says_what_is_wrong(void **state)
{
    char *identity = malloc(700), *key = malloc(700);

    (void)state;
    expect_wrong("abc", 3, "delimiter");
    expect_wrong(":abc", 4, "identity is empty");
    expect_wrong("abc:", 4, "key is empty");
    expect_wrong("abc:hex:", 8, "key is empty");
    expect_wrong("abc:\r\n", 6, "key is empty");
    expect_wrong("abc:hex:123", 11, "hexadecimal");
    expect_wrong("abc:hex:12x4", 12, "hexadecimal");
    expect_wrong("a\0c:12", 6, "zero byte");
    expect_wrong("abc:1\0", 6, "zero byte");
    memset(identity, 'i', 257);
    strcpy(identity + 257, ":k");
    expect_wrong(identity, 259, "identity is too long");
    strcpy(key, "i:");
    memset(key + 2, 'k', 513);
    expect_wrong(key, 515, "key is too long");
    free(identity);
    free(key);
}

static void takes_the_longest_identity_and_key(void **state)
{
    struct psk_report report;
    struct psk_lines *lines;
    char text[256 + 1 + 512 + 1], identity[257], key[513];

    (void)state;
    snprintf(identity, sizeof(identity), "%0256d", 1);
    snprintf(key, sizeof(key), "%0512d", 2);
    snprintf(text, sizeof(text), "%s:%s", identity, key);
    lines = read_text(text, &report);
    assert_int_equal(report.key_count, 1);
    expect_key(lines, identity, key);
    psk_lines_free(lines);
}

static void names_some_wrong_lines_and_counts_all(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\na:b\n", &report);

    (void)state;
    assert_int_equal(report.problem_count, 12);
    assert_int_equal(report.problems[PSK_PROBLEMS_MAX - 1].line, PSK_PROBLEMS_MAX);
    expect_key(lines, "a", "b");
    psk_lines_free(lines);
}

static void the_last_of_several_lines_counts(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("a:1\nb:1\na:2\nb:2\na:3\n", &report);

    (void)state;
    assert_int_equal(report.key_count, 2);
    expect_key(lines, "a", "3");
    expect_key(lines, "b", "2");
    psk_lines_free(lines);
}

static void takes_other_delimiters(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_bytes("a:b => c\nd=>hex:41", 18, "=>", &report);

    (void)state;
    assert_int_equal(report.key_count, 2);
    expect_key(lines, "a:b ", " c");
    expect_key(lines, "d", "A");
    psk_lines_free(lines);
}

static void finds_each_of_many(void **state)
{
    enum { COUNT = 10000 };
    char *text = malloc(COUNT * 24), *at = text, identity[24], key[24];
    struct psk_report report;
    struct psk_lines *lines;

    (void)state;
    for (unsigned i = 0; i < COUNT; i++)
        at += sprintf(at, "%u:k%u\n", i * 7919 % COUNT, i * 7919 % COUNT);
    lines = read_text(text, &report);
    assert_int_equal(report.key_count, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        sprintf(identity, "%u", i);
        sprintf(key, "k%u", i);
        expect_key(lines, identity, key);
    }
    expect_key(lines, "10000", NULL);
    psk_lines_free(lines);
    free(text);
}

static void an_empty_file_has_no_keys(void **state)
{
    struct psk_report report;
    struct psk_lines *lines = read_text("", &report);

    (void)state;
    assert_int_equal(report.key_count, 0);
    assert_int_equal(report.problem_count, 0);
    expect_key(lines, "a", NULL);
    psk_lines_free(lines);
    psk_lines_free(NULL);
}

static void refuses_text_that_is_too_long(void **state)
{
    struct psk_lines *lines = NULL;
    struct psk_report report;
    char *text = calloc(1, PSK_LINES_BYTES_MAX + 1);

    (void)state;
    assert_int_equal(psk_lines_new_take(text, PSK_LINES_BYTES_MAX + 1, ":", &lines, &report), -EFBIG);
    assert_null(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_file_that_the_original_ships),
        cmocka_unit_test(reads_text_and_hexadecimal_keys),
        cmocka_unit_test(a_hexadecimal_key_may_hold_zeros),
        cmocka_unit_test(goes_on_behind_empty_and_wrong_lines),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(takes_the_longest_identity_and_key),
        cmocka_unit_test(names_some_wrong_lines_and_counts_all),
        cmocka_unit_test(the_last_of_several_lines_counts),
        cmocka_unit_test(takes_other_delimiters),
        cmocka_unit_test(finds_each_of_many),
        cmocka_unit_test(an_empty_file_has_no_keys),
        cmocka_unit_test(refuses_text_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
