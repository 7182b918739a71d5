/*
 * Behaviour of slices: comparing, cutting, copying. malloc() fails when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/slice.h"

static bool memory_is_short;

void *__real_malloc(size_t size); /* NOLINT: the linker's name */
void *__wrap_malloc(size_t size); /* NOLINT */

void *__wrap_malloc(size_t size) /* NOLINT */
{
    return memory_is_short ? NULL : __real_malloc(size);
}

static void a_copy_is_equal_and_apart(void **state)
{
    uint8_t text[] = {'a', 0, 'b'};
    struct slice copy;

    (void)state;
    assert_int_equal(slice_dup(slice_make(text, sizeof(text)), &copy), 0);
    assert_true(slice_equal(copy, slice_make(text, sizeof(text))));
    assert_ptr_not_equal(copy.data, text);
    text[0] = 'x';
    assert_int_equal(copy.data[0], 'a');
    slice_free(&copy);
    assert_null(copy.data);
    assert_int_equal(copy.len, 0);
    slice_free(&copy); /* absent is fine */
}

static void an_absent_slice_stays_absent_and_an_empty_one_empty(void **state)
{
    struct slice copy = SLICE_LITERAL("before");

    (void)state;
    assert_int_equal(slice_dup(slice_make(NULL, 0), &copy), 0);
    assert_null(copy.data);
    assert_int_equal(copy.len, 0);
    assert_int_equal(slice_dup(SLICE_LITERAL(""), &copy), 0);
    assert_non_null(copy.data);
    assert_int_equal(copy.len, 0);
    slice_free(&copy);
}

static void short_memory_is_told_and_writes_nothing(void **state)
{
    struct slice copy = SLICE_LITERAL("before");
    int err, absent_err;

    (void)state;
    memory_is_short = true;
    err = slice_dup(SLICE_LITERAL("text"), &copy);
    absent_err = slice_dup(slice_make(NULL, 0), &(struct slice){0});
    memory_is_short = false;
    assert_int_equal(err, -ENOMEM);
    assert_true(slice_equal(copy, SLICE_LITERAL("before")));
    assert_int_equal(absent_err, 0); /* needs none */
}

static void equal_means_the_same_bytes(void **state)
{
    (void)state;
    assert_true(slice_equal(SLICE_LITERAL("ab"), slice_make("abc", 2)));
    assert_false(slice_equal(SLICE_LITERAL("ab"), SLICE_LITERAL("abc")));
    assert_false(slice_equal(SLICE_LITERAL("ab"), SLICE_LITERAL("ac")));
    assert_true(slice_equal(SLICE_LITERAL(""), slice_make(NULL, 0)));
}

static void a_prefix_is_found_and_skipped(void **state)
{
    (void)state;
    assert_true(slice_starts_with(SLICE_LITERAL("$share/g"), SLICE_LITERAL("$share/")));
    assert_true(slice_starts_with(SLICE_LITERAL("a"), SLICE_LITERAL("")));
    assert_false(slice_starts_with(SLICE_LITERAL("$shar"), SLICE_LITERAL("$share/")));
    assert_true(slice_equal(slice_skip(SLICE_LITERAL("$share/g"), 7), SLICE_LITERAL("g")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_equal_and_apart),
        cmocka_unit_test(an_absent_slice_stays_absent_and_an_empty_one_empty),
        cmocka_unit_test(short_memory_is_told_and_writes_nothing),
        cmocka_unit_test(equal_means_the_same_bytes),
        cmocka_unit_test(a_prefix_is_found_and_skipped),
    };

    return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
