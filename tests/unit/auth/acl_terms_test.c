/*
 * acl_terms: every form of a term, where each stands, the bytes of texts, and every error with its place and words.
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

#include "auth/acl_terms.h"

#define DUMP_BYTES 4096

/* A term as text: atoms as they are, texts in their quotes with bytes above 0x7E as \xHH. */
static void dump(const struct acl_terms *terms, const struct acl_term *term, FILE *out)
{
    struct slice text = acl_term_text(terms, term);
    bool is_tuple = term->type == ACL_TERM_TUPLE;

    if (term->type == ACL_TERM_INTEGER) {
        fprintf(out, "%lld", (long long)term->integer);
    } else if (is_tuple || term->type == ACL_TERM_LIST) {
        fputc(is_tuple ? '{' : '[', out);
        for (uint32_t i = 0; i < term->child_count; i++) {
            fputs(i == 0 ? "" : ",", out);
            dump(terms, acl_term_child(terms, term, i), out);
        }
        fputc(is_tuple ? '}' : ']', out);
    } else {
        fputs(term->type == ACL_TERM_STRING ? "\"" : term->type == ACL_TERM_BINARY ? "<" : "", out);
        for (size_t i = 0; i < text.len; i++)
            fprintf(out, text.data[i] >= ' ' && text.data[i] < 0x7F ? "%c" : "\\x%02X", text.data[i]);
        fputs(term->type == ACL_TERM_STRING ? "\"" : term->type == ACL_TERM_BINARY ? ">" : "", out);
    }
}

/* All terms of a text, each with a full stop; or the error. */
static void read_all(struct slice text, char out_text[DUMP_BYTES])
{
    uint8_t *copy = malloc(text.len + (text.len == 0)); /* of its own size, so that a read past the end is seen */
    FILE *out = fmemopen(out_text, DUMP_BYTES, "w");
    struct acl_error error = {.text = ""};
    const struct acl_term *term;
    struct acl_terms *terms;
    int more;

    assert_non_null(copy);
    assert_non_null(out);
    memcpy(copy, text.data, text.len);
    terms = acl_terms_new(slice_make(copy, text.len));
    assert_non_null(terms);
    while ((more = acl_terms_next(terms, &term, &error)) > 0) {
        dump(terms, term, out);
        fputc('.', out);
    }
    if (more < 0) {
        assert_int_equal(more, -EINVAL);
        fprintf(out, "%u:%u: %s", error.place.line, error.place.column, error.text);
    }
    fclose(out);
    acl_terms_free(terms);
    free(copy);
}

static void assert_reads(const char *text, const char *expected)
{
    char dumped[DUMP_BYTES] = "";

    read_all(slice_from_string(text), dumped);
    assert_string_equal(dumped, expected);
}

static void reads_every_kind_of_term(void **state)
{
    (void)state;
    assert_reads("", "");
    assert_reads(" % nothing\n\n%% more", "");
    assert_reads("allow.", "allow.");
    assert_reads("{allow, all}.", "{allow,all}.");
    assert_reads("{}. []. {{[]}}.", "{}.[].{{[]}}.");
    assert_reads("'and'. 'two words'. ''. a@_9Z.", "and.two words..a@_9Z.");
    assert_reads("\"a/b\". <<\"a/b\">>. <<>>. \"\".", "\"a/b\".<a/b>.<>.\"\".");
    assert_reads("5. -5. +7. 16#fF. 2#101.", "5.-5.7.255.5.");
    assert_reads("{deny,{'or',[{user,\"a\"},{ipaddr,\"::1\"}]},pubsub,[{eq,\"#\"}]}.",
                 "{deny,{or,[{user,\"a\"},{ipaddr,\"::1\"}]},pubsub,[{eq,\"#\"}]}.");
}

static void white_space_and_comments_stand_anywhere_between_tokens(void **state)
{
    (void)state;
    assert_reads("{allow,% why\n\n\tall\r\n}\n.%end\n{deny ,all} .", "{allow,all}.{deny,all}.");
    assert_reads("\"100%\". <<\"%c\">>.", "\"100%\".<%c>.");
    assert_reads("a.\nb.% c.\nd.", "a.b.d.");
}

static void neighboring_strings_are_one(void **state)
{
    (void)state;
    assert_reads("\"a\" \"b\"\n%x\n\"c\".", "\"abc\".");
    assert_reads("[\"a\" \"b\", \"c\"].", "[\"ab\",\"c\"].");
    assert_reads("<<\"a\" \"b\">>. <<\"a\", \"b\">>. <<97, \"b\", 255>>.", "<ab>.<ab>.<ab\\xFF>.");
}

static void escapes_are_those_of_erlang(void **state)
{
    (void)state;
    assert_reads("\"\\b\\d\\e\\f\\n\\r\\s\\t\\v\".", "\"\\x08\\x7F\\x1B\\x0C\\x0A\\x0D \\x09\\x0B\".");
    assert_reads("\"\\\"\\'\\\\\\q\". 'it\\'s'.", "\"\"'\\q\".it's.");
    assert_reads("\"\\101\\0601\\7x\".", "\"A01\\x07x\".");
    assert_reads("\"\\x41\\x{42}\\x{00043}4\".", "\"ABC4\".");
    assert_reads("\"\\^A\\^[\\^@\".", "\"\\x01\\x1B\\x00\".");
    assert_reads("\"two\nlines \\\nhere\".", "\"two\\x0Alines \\x0Ahere\".");
}

static void bytes_are_themselves_unless_the_file_says_utf8(void **state)
{
    (void)state;
    assert_reads("\"\xE9\xC3\xA9\\xE9\".", "\"\\xE9\\xC3\\xA9\\xE9\".");
    assert_reads("<<\"\xE9\"/utf8>>. <<\"a\"/utf8, \"\xE9\">>.", "<\\xC3\\xA9>.<a\\xE9>.");
    assert_reads("%% -*- coding: utf-8 -*-\n\"\xC3\xA9\\xE9\\x{20AC}\\x{1F600}\".",
                 "\"\\xC3\\xA9\\xC3\\xA9\\xE2\\x82\\xAC\\xF0\\x9F\\x98\\x80\".");
    assert_reads("% first\n%% coding=UTF-8\n<<\"\\xE9\"/utf8>>.", "<\\xC3\\xA9>.");
    assert_reads("\xEF\xBB\xBF\"\\xE9\".", "\"\\xC3\\xA9\".");
    /* Elsewhere the comment means nothing, nor do other names. */
    assert_reads("%\n%\n%% coding: utf-8\n\"\\xE9\".", "\"\\xE9\".");
    assert_reads("%% encoding: latin-1\n\"\\xE9\".", "\"\\xE9\".");
    assert_reads("a. %% coding: utf-8\n\"\\xE9\".", "a.\"\\xE9\".");
}

static void a_full_stop_needs_space_behind_it(void **state)
{
    (void)state;
    assert_reads("a.b.", "1:2: found a full stop inside a term, expected white space or a comment after it");
    assert_reads("a", "1:2: found the end of the file, expected a full stop after the rule");
    assert_reads("{allow, all}\n{deny, all}.", "2:1: found {, expected a full stop after the rule");
    assert_reads("a b.", "1:3: found the word b, expected a full stop after the rule");
    assert_reads(".", "1:1: found a full stop, expected a term: a tuple, a list, a word or a text in double quotes");
}

static void errors_of_structure_say_what_is_missing(void **state)
{
#define ITEM "expected a term: a tuple, a list, a word or a text in double quotes"
    (void)state;
    assert_reads("{allow all}.", "1:8: found the word all, expected a comma or }");
    assert_reads("[\"a\" b].", "1:6: found the word b, expected a comma or ]");
    assert_reads("{allow, all].", "1:12: found ], expected a comma or }");
    assert_reads("{allow, all.", "1:12: found a full stop, expected a comma or }");
    assert_reads("{allow,\n all", "2:5: found the end of the file, expected a comma or }");
    assert_reads("{allow,}.", "1:8: found }, " ITEM);
    assert_reads("[,a].", "1:2: found a comma, " ITEM);
    assert_reads("}.", "1:1: found }, " ITEM);
    assert_reads("{", "1:2: found the end of the file, " ITEM);
    assert_reads("[a|b].", "1:3: found |, expected a comma or ]");
    assert_reads("a/b.", "1:2: found /, expected a full stop after the rule");
#undef ITEM
}

static void errors_of_words_and_texts_say_what_is_meant(void **state)
{
    (void)state;
    assert_reads("{allow, All}.", "1:9: found a word that begins with a capital or _, which is no value; "
                                  "words of the rules are in lower case, names stand in double quotes");
    assert_reads("_.", "1:1: found a word that begins with a capital or _, which is no value; "
                       "words of the rules are in lower case, names stand in double quotes");
    assert_reads("# comment", "1:1: found #, expected a term; comments begin with %, topics stand in double quotes");
    assert_reads("[a, $SYS].", "1:5: found $, expected a term; texts stand in double quotes");
    assert_reads("[\xC3\xA9].", "1:2: found the byte 0xC3 outside of a string; texts stand in double quotes");
    assert_reads("\x01.\"a", "1:2: found a full stop inside a term, expected white space or a comment after it");
    assert_reads("\n  \"abc\n", "2:3: found a string without its closing \": the file ends inside it");
    assert_reads("'abc", "1:1: found a quoted word without its closing ': the file ends inside it");
    assert_reads("\"abc\\", "1:1: found a string without its closing \": the file ends inside it");
}

static void errors_of_escapes_and_numbers(void **state)
{
    (void)state;
    assert_reads("\"a\\x4\".", "1:3: found a broken escape, expected \\xHH or \\x{H...} with hexadecimal digits");
    assert_reads("\"\\x{}\".", "1:2: found a broken escape, expected \\xHH or \\x{H...} with hexadecimal digits");
    assert_reads("\"\\x{41\".", "1:2: found a broken escape, expected \\xHH or \\x{H...} with hexadecimal digits");
    assert_reads("\"\\x{20AC}\".",
                 "1:2: found an escape above \\xFF, which needs \"%% coding: utf-8\" in the first line "
                 "of the file");
    assert_reads("%% coding: utf-8\n\"\\x{D800}\".", "2:2: found an escape for U+D800, which is no character");
    assert_reads("%% coding: utf-8\n\"\\x{110000}\".", "2:2: found an escape for U+110000, which is no character");
    assert_reads("%% coding: utf-8\n[\"\xE9\"].", "2:2: this text is not UTF-8, which the file says that it is");
    assert_reads("{ipaddr, 127.0.0.1}.",
                 "1:10: found a number with more behind it; text, also an address, stands in double quotes");
    assert_reads("12ab.", "1:1: found a number with more behind it; text, also an address, stands in double quotes");
    assert_reads("99999999999999999999.", "1:1: found a number that is too large for anything here");
    assert_reads("1#0.", "1:1: found a broken number, expected digits or BASE#DIGITS");
    assert_reads("16#.", "1:1: found a broken number, expected digits or BASE#DIGITS");
    assert_reads("<<256>>.", "1:3: found the number 256, expected a string or a number from 0 to 255 in a binary");
    assert_reads("<<a>>.", "1:3: found the word a, expected a string or a number from 0 to 255 in a binary");
    assert_reads("<<\"a\",>>.", "1:7: found >>, expected a string after the comma");
    assert_reads("<<\"a\" 5>>.", "1:7: found the number 5, expected >>");
    assert_reads("<<\"a\"/utf16>>.", "1:7: found the word utf16, expected utf8 after / in a binary");
    assert_reads("<<\"a\".", "1:6: found a full stop, expected >>");
    assert_reads("{a, <b>}.", "1:5: found <, expected a term; texts stand in double quotes");
}

static void columns_count_characters(void **state)
{
    (void)state;
    assert_reads("[\"\xC3\xA9\xE2\x82\xAC\", X].",
                 "1:8: found a word that begins with a capital or _, which is no value; "
                 "words of the rules are in lower case, names stand in double quotes");
}

static void what_is_found_is_shown_short_and_harmless(void **state)
{
    (void)state;
    assert_reads("\"a\\e[31m\" b.", "1:11: found the word b, expected a full stop after the rule");
    assert_reads("b \"a\\e[31m\".", "1:3: found \"a?[31m\", expected a full stop after the rule");
    assert_reads("b \"01234567890123456789012345678901234567890123456789\".",
                 "1:3: found \"0123456789012345678901234567890123456789...\", expected a full stop after the rule");
}

/* `count` times `text`. */
static char *repeated(const char *begin, const char *text, uint32_t count, const char *end)
{
    size_t len = strlen(text);
    char *made = malloc(strlen(begin) + len * count + strlen(end) + 1), *at = made;

    assert_non_null(made);
    at = stpcpy(at, begin);
    for (uint32_t i = 0; i < count; i++)
        at = stpcpy(at, text);
    strcpy(at, end);
    return made;
}

static int count_of_one(const char *text, struct acl_error *out_error)
{
    struct acl_terms *terms = acl_terms_new(slice_from_string(text));
    const struct acl_term *term;
    int result = acl_terms_next(terms, &term, out_error);

    if (result > 0)
        result = (int)term->child_count;
    acl_terms_free(terms);
    return result;
}

static void depth_and_size_are_bounded(void **state)
{
    char *deep = repeated("", "[", ACL_DEPTH_MAX, ""), *deeper = repeated(deep, "[", 1, "");
    char *most = repeated("[a", ",a", ACL_TERM_NODES_MAX - 2, "]."),
         *more = repeated("[a", ",a", ACL_TERM_NODES_MAX - 1, "].");
    struct acl_error error;
    char expected[100];

    (void)state;
    assert_int_equal(count_of_one(deep, &error), -EINVAL);
    assert_non_null(strstr(error.text, "the end of the file"));
    assert_int_equal(count_of_one(deeper, &error), -EINVAL);
    snprintf(expected, sizeof(expected), "more than %u tuples and lists are inside one another", ACL_DEPTH_MAX);
    assert_string_equal(error.text, expected);
    assert_int_equal(count_of_one(most, &error), ACL_TERM_NODES_MAX - 1);
    assert_int_equal(count_of_one(more, &error), -EINVAL);
    snprintf(expected, sizeof(expected), "this term has more than %u parts: use several rules", ACL_TERM_NODES_MAX);
    assert_string_equal(error.text, expected);
    free(deep);
    free(deeper);
    free(most);
    free(more);
}

static void a_term_knows_its_place_and_its_source(void **state)
{
    struct acl_terms *terms = acl_terms_new(slice_from_string("% x\n{allow,\n  all} .\n[b]. "));
    const struct acl_term *term;
    struct acl_error error;

    (void)state;
    assert_int_equal(acl_terms_next(terms, &term, &error), 1);
    assert_int_equal(term->place.line, 2);
    assert_int_equal(term->place.column, 1);
    assert_true(slice_equal(acl_terms_source(terms), SLICE_LITERAL("{allow,\n  all}")));
    term = acl_term_child(terms, term, 1);
    assert_int_equal(term->place.line, 3);
    assert_int_equal(term->place.column, 3);
    assert_true(acl_term_is(terms, term, "all"));
    assert_null(acl_term_next(terms, term));
    assert_int_equal(acl_terms_next(terms, &term, &error), 1);
    assert_true(slice_equal(acl_terms_source(terms), SLICE_LITERAL("[b]")));
    assert_int_equal(acl_terms_next(terms, &term, &error), 0);
    acl_terms_free(terms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_term),
        cmocka_unit_test(white_space_and_comments_stand_anywhere_between_tokens),
        cmocka_unit_test(neighboring_strings_are_one),
        cmocka_unit_test(escapes_are_those_of_erlang),
        cmocka_unit_test(bytes_are_themselves_unless_the_file_says_utf8),
        cmocka_unit_test(a_full_stop_needs_space_behind_it),
        cmocka_unit_test(errors_of_structure_say_what_is_missing),
        cmocka_unit_test(errors_of_words_and_texts_say_what_is_meant),
        cmocka_unit_test(errors_of_escapes_and_numbers),
        cmocka_unit_test(columns_count_characters),
        cmocka_unit_test(what_is_found_is_shown_short_and_harmless),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(a_term_knows_its_place_and_its_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
