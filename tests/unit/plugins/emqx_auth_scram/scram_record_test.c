/*
 * scram_record: users as rows, and rows that are none.
 */
#include "emqx_auth_scram/scram_users.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct emqc_slice password = {"pencil", 6};

static void a_user_comes_back_as_written(void **state)
{
    struct scram_user user, again;
    uint8_t record[SCRAM_RECORD_MAX];

    (void)state;
    assert_int_equal(scram_user_make(password, 5000, true, &user), 0);
    size_t len = scram_record_write(&user, record);
    assert_true(len <= sizeof(record));
    assert_int_equal(scram_record_read(record, len, &again), 0);
    assert_true(again.is_superuser);
    assert_int_equal(again.count, SCRAM_MECHANISM_COUNT);
    for (int i = 0; i < SCRAM_MECHANISM_COUNT; i++) {
        const struct scram_credentials *wrote = scram_user_credentials(&user, (enum scram_mechanism)i);
        const struct scram_credentials *read = scram_user_credentials(&again, (enum scram_mechanism)i);
        assert_int_equal(read->iterations, 5000);
        assert_int_equal(read->salt_len, SCRAM_SALT_BYTES);
        assert_memory_equal(read->salt, wrote->salt, SCRAM_SALT_BYTES);
        assert_memory_equal(read->stored_key, wrote->stored_key, scram_key_bytes((enum scram_mechanism)i));
        assert_memory_equal(read->server_key, wrote->server_key, scram_key_bytes((enum scram_mechanism)i));
    }
}

static void users_with_the_same_password_have_nothing_in_common(void **state)
{
    struct scram_user one, two;

    (void)state;
    assert_int_equal(scram_user_make(password, 4096, false, &one), 0);
    assert_int_equal(scram_user_make(password, 4096, false, &two), 0);
    assert_memory_not_equal(one.credentials[0].salt, two.credentials[0].salt, SCRAM_SALT_BYTES);
    assert_memory_not_equal(one.credentials[0].stored_key, two.credentials[0].stored_key, 32);
    assert_memory_not_equal(one.credentials[0].salt, one.credentials[1].salt, SCRAM_SALT_BYTES);
}

static void a_user_may_have_one_mechanism(void **state)
{
    struct scram_user user, again;
    uint8_t record[SCRAM_RECORD_MAX];

    (void)state;
    assert_int_equal(scram_user_make(password, 4096, false, &user), 0);
    user.credentials[0] = user.credentials[1];
    user.count = 1;
    assert_int_equal(scram_record_read(record, scram_record_write(&user, record), &again), 0);
    assert_null(scram_user_credentials(&again, SCRAM_SHA_256));
    assert_non_null(scram_user_credentials(&again, SCRAM_SHA_512));
}

/* In memory of its own size, so that a read past the end is seen. */
static int read_copy(const uint8_t *record, size_t len)
{
    struct scram_user user;
    uint8_t *copy = malloc(len + (len == 0));

    assert_non_null(copy);
    memcpy(copy, record, len);
    int err = scram_record_read(copy, len, &user);
    free(copy);
    return err;
}

static void rows_that_are_none_are_refused(void **state)
{
    static const struct {
        size_t place;
        uint8_t value;
    } damages[] = {
        {0, 2},                  /* another version */
        {2, 3},                  /* more mechanisms than there are */
        {2, 1},                  /* something is left over */
        {3, 2},                  /* no such mechanism */
        {8, 0},                  /* no salt */
        {8, SCRAM_SALT_MAX + 1}, /* too much */
        {4, 0x10},               /* far too many iterations */
        {6, 0},                  /* too few */
    };
    struct scram_user user;
    uint8_t record[SCRAM_RECORD_MAX + 1];

    (void)state;
    assert_int_equal(scram_user_make(password, 4096, false, &user), 0);
    size_t len = scram_record_write(&user, record);
    assert_int_equal(read_copy(record, len), 0);
    for (size_t short_len = 0; short_len < len; short_len++)
        assert_int_equal(read_copy(record, short_len), -EINVAL);
    record[len] = 0;
    assert_int_equal(read_copy(record, len + 1), -EINVAL);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        uint8_t before = record[damages[i].place];
        record[damages[i].place] = damages[i].value;
        assert_int_equal(read_copy(record, len), -EINVAL);
        record[damages[i].place] = before;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_comes_back_as_written),
        cmocka_unit_test(users_with_the_same_password_have_nothing_in_common),
        cmocka_unit_test(a_user_may_have_one_mechanism),
        cmocka_unit_test(rows_that_are_none_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
