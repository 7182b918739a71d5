/* watched_file: a change counts once the file is at rest; errors are known, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/watched_file.h"

static char directory[] = "/tmp/watched_file_test.XXXXXX";
static char path[64];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/file", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

/* As a new file, so that it differs whatever the clock of the file system says. */
static void write_file(const char *text)
{
    char other[80];
    FILE *file;

    snprintf(other, sizeof(other), "%s.new", path);
    file = fopen(other, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(rename(other, path), 0);
}

static void expect_text(struct watched_file *file, const char *expected)
{
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(watched_file_read(file, 100, &text, &len), 0);
    assert_int_equal(len, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
}

static void a_change_counts_when_the_file_is_at_rest(void **state)
{
    struct watched_file file;

    (void)state;
    write_file("one");
    watched_file_init(&file, path);
    expect_text(&file, "one");
    assert_false(watched_file_changed(&file));
    write_file("two!");
    assert_false(watched_file_changed(&file));
    write_file("three");
    assert_false(watched_file_changed(&file));
    assert_true(watched_file_changed(&file));
    assert_true(watched_file_changed(&file));
    expect_text(&file, "three");
    assert_false(watched_file_changed(&file));
    assert_false(watched_file_changed(&file));
}

static void a_file_that_goes_and_comes_back_has_changed(void **state)
{
    struct watched_file file;
    char *text = NULL;
    size_t len = 0;

    (void)state;
    write_file("one");
    watched_file_init(&file, path);
    expect_text(&file, "one");
    assert_int_equal(unlink(path), 0);
    assert_false(watched_file_changed(&file));
    assert_true(watched_file_changed(&file));
    assert_int_equal(watched_file_read(&file, 100, &text, &len), -ENOENT);
    assert_false(watched_file_changed(&file));
    assert_false(watched_file_changed(&file));
    write_file("one");
    assert_false(watched_file_changed(&file));
    assert_true(watched_file_changed(&file));
    expect_text(&file, "one");
    assert_null(text);
}

static void refuses_what_is_too_long_or_no_file(void **state)
{
    struct watched_file file;
    char *text = NULL;
    size_t len = 0;

    (void)state;
    write_file("one");
    watched_file_init(&file, path);
    assert_int_equal(watched_file_read(&file, 2, &text, &len), -EFBIG);
    assert_false(watched_file_changed(&file));
    assert_false(watched_file_changed(&file));
    assert_int_equal(watched_file_read(&file, 3, &text, &len), 0);
    free(text);
    watched_file_init(&file, directory);
    assert_int_equal(watched_file_read(&file, 100, &text, &len), -EINVAL);
    write_file("");
    watched_file_init(&file, path);
    expect_text(&file, "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(watched_file_read(&file, 100, &text, &len), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_counts_when_the_file_is_at_rest),
        cmocka_unit_test(a_file_that_goes_and_comes_back_has_changed),
        cmocka_unit_test(refuses_what_is_too_long_or_no_file),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
