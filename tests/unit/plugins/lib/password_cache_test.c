/*
 * password_cache: what was added is there, nothing else is, and it stays within its size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lib/password_cache.h"

static struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, strlen(text)};
}

static struct password_tag tag_of(const struct password_cache *cache, const char *entry, const char *password)
{
    struct password_tag tag;

    assert_true(password_cache_tag(cache, slice_of(entry), slice_of(password), &tag));
    return tag;
}

static bool has(const struct password_cache *cache, const char *entry, const char *password)
{
    struct password_tag tag = tag_of(cache, entry, password);

    return password_cache_has(cache, &tag);
}

static void has_what_was_added(void **state)
{
    struct password_cache *cache = password_cache_new(100), *other = password_cache_new(100);
    struct password_tag tag;

    (void)state;
    assert_non_null(cache);
    assert_non_null(other);
    assert_false(has(cache, "entry", "password"));
    tag = tag_of(cache, "entry", "password");
    password_cache_add(cache, &tag);
    password_cache_add(cache, &tag);
    assert_true(has(cache, "entry", "password"));
    assert_false(has(cache, "entry", "Password"));
    assert_false(has(cache, "entry2", "password"));
    assert_false(has(cache, "entryp", "assword"));
    assert_false(has(cache, "", "entrypassword"));
    /* Another key: a tag says nothing elsewhere. */
    assert_false(password_cache_has(other, &tag));
    password_cache_add(other, &tag);
    assert_false(has(other, "entry", "password"));
    password_cache_free(cache);
    password_cache_free(other);
    password_cache_free(NULL);
}

static void keeps_about_as_many_as_it_is_made_for(void **state)
{
    struct password_cache *cache = password_cache_new(1024);
    char password[16];
    size_t kept = 0;

    (void)state;
    assert_non_null(cache);
    for (int i = 0; i < 10000; i++) {
        struct password_tag tag;
        snprintf(password, sizeof(password), "p%d", i);
        tag = tag_of(cache, "entry", password);
        password_cache_add(cache, &tag);
        assert_true(password_cache_has(cache, &tag)); /* a new one always finds a place */
    }
    for (int i = 0; i < 10000; i++) {
        snprintf(password, sizeof(password), "p%d", i);
        kept += has(cache, "entry", password);
    }
    assert_in_range(kept, 1000, 1024);
    password_cache_free(cache);
}

static void texts_that_are_too_long_are_not_remembered(void **state)
{
    static char text[PASSWORD_CACHE_TEXTS_MAX + 1];
    struct password_cache *cache = password_cache_new(0);
    struct password_tag tag;

    (void)state;
    assert_non_null(cache);
    assert_true(
        password_cache_tag(cache, (struct emqc_slice){text, PASSWORD_CACHE_TEXTS_MAX - 3}, slice_of("abc"), &tag));
    assert_false(
        password_cache_tag(cache, (struct emqc_slice){text, PASSWORD_CACHE_TEXTS_MAX - 3}, slice_of("abcd"), &tag));
    assert_false(password_cache_tag(cache, (struct emqc_slice){text, sizeof(text)}, slice_of(""), &tag));
    password_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_what_was_added),
        cmocka_unit_test(keeps_about_as_many_as_it_is_made_for),
        cmocka_unit_test(texts_that_are_too_long_are_not_remembered),
    };

    return cmocka_run_group_tests_name("password_cache", tests, NULL, NULL);
}
