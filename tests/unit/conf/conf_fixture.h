/*
 * conf_fixture: what the tests of the configuration share: loading a text, and errors and notices as one text.
 */
#ifndef TESTS_CONF_FIXTURE_H
#define TESTS_CONF_FIXTURE_H

#include "conf/conf.h"

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these before it */
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Loads a text that must be right; the caller frees. */
static inline struct conf *load(const char *text)
{
    const struct conf_load_options options = {.file = "test.conf"};
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;
    int err = conf_load_text(&options, text, strlen(text), &conf, &errors);

    if (err == -EINVAL)
        conf_errors_print(errors, stderr);
    assert_int_equal(err, 0);
    return conf;
}

/* What a failed load prints, freed by the caller; "" when it did not fail. */
static inline char *errors_with(const struct conf_load_options *options, const char *text)
{
    struct conf *conf = NULL;
    struct conf_errors *errors = NULL;
    char *printed = NULL;
    size_t len = 0;
    int err = text == NULL ? conf_load(options, &conf, &errors)
                           : conf_load_text(options, text, strlen(text), &conf, &errors);
    FILE *out = open_memstream(&printed, &len);

    assert_non_null(out);
    if (err == 0) {
        conf_free(conf);
    } else {
        assert_int_equal(err, -EINVAL);
        conf_errors_print(errors, out);
        conf_errors_free(errors);
    }
    fclose(out);
    return printed;
}

static inline char *errors_of(const char *text)
{
    const struct conf_load_options options = {.file = "test.conf"};

    return errors_with(&options, text);
}

static inline void assert_errors(const char *text, const char *expected)
{
    char *printed = errors_of(text);

    assert_string_equal(printed, expected);
    free(printed);
}

static inline void note_notice(void *context, const char *text)
{
    fprintf(context, "%s\n", text);
}

/* All notices, a line each; the caller frees. */
static inline char *notices_of(const struct conf *conf)
{
    char *printed = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&printed, &len);

    assert_non_null(out);
    assert_int_equal(conf_notices(conf, note_notice, out), 0);
    fclose(out);
    return printed;
}

#endif
