/*
 * password_setting: each setting against known values, and a failed check for all that is missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "lib/password_setting.h"

#define BCRYPT_SALT "$2a$05$CCCCCCCCCCCCCCCCCCCCC."
#define BCRYPT BCRYPT_SALT "E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"

static struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, text == NULL ? 0 : strlen(text)};
}

static struct password_setting parse(const char *text)
{
    struct password_setting setting;
    const char *why = NULL;

    if (password_setting_parse(slice_of(text), &setting, &why) != 0)
        fail_msg("%s: %s", text, why);
    return setting;
}

static int verify(const char *text, const char *stored, const char *salt, const char *password)
{
    struct password_setting setting = parse(text);

    return password_setting_verify(&setting, slice_of(stored), slice_of(salt), slice_of(password));
}

static const struct {
    const char *setting, *stored, *salt, *password;
} vectors[] = {
    {"plain", "public", NULL, "public"},
    {"plain", "", NULL, ""},
    {"salt,plain", "saltpublic", "salt", "public"},
    {"plain,salt", "publicsalt", "salt", "public"},
    {"md5", "4c9184f37cff01bcdc32dc486ec36961", NULL, "public"},
    {"salt,md5", "c91e85973ceee05f005996584f067a72", "salt", "public"},
    {"md5,salt", "b8fe9a6d76f4fa94adda07a7833e6402", "salt", "public"},
    {"sha", "61c9b2b17db77a27841bbeeabff923448b0f6388", NULL, "public"},
    {"salt,sha", "54625c8c5d22e86e9a3d2732bf48d0f43d343366", "salt", "public"},
    {"sha,salt", "43e71834067d59d83ae934bb80670178b810b9be", "salt", "public"},
    {"sha256", "efa1f375d76194fa51a3556a97e641e61685f914d446979da50a551a4333ffd7", NULL, "public"},
    {"salt,sha256", "f2ef7f9aedb2c3b5040bc16691a1177758a92ad91e1ee77770215a332bf6099f", "salt", "public"},
    {"sha256,salt", "f4a8615be301fbaf6213df33cfe5f22953aafc0c31beb8f2daef55b127444d27", "salt", "public"},
    {"sha512",
     "d32997e9747b65a3ecf65b82533a4c843c4e16dd30cf371e8c81ab60a341de00051da422d41ff29c55695f233a1e06fac8b79aeb0a4d91ae5"
     "d3d18c8e09b8c73",
     NULL, "public"},
    {"salt,sha512",
     "82112846414ba6fd95be5ac402188c3a7cf1a178485e937fded30f9e398c94094d2d742a41dd0982febd36484be12f19d3cf9130fe2d903d6"
     "1b5c7ae9a327185",
     "salt", "public"},
    {"sha512,salt",
     "7ffaf674fc0b94835d6cdba9f3e80b7d7dc8efe5fe7cfe9f01d38d309718cef339fc3014fb007d2133d65d6fea8e904817670aeb69ca47a74"
     "554804c15e1bd4f",
     "salt", "public"},
    {"bcrypt", BCRYPT, NULL, "U*U"},
    {"bcrypt", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", NULL, ""},
    {"bcrypt", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", NULL, "a"},
    {"salt,bcrypt", BCRYPT, BCRYPT_SALT, "U*U"},
    {"bcrypt,salt", BCRYPT, BCRYPT_SALT, "U*U"},
    /* RFC 6070, RFC 7914 and the usual one for SHA-512. */
    {"pbkdf2,sha,1,20", "0c60c80f961f0e71f3a9b524af6012062fe037a6", "salt", "password"},
    {"pbkdf2,sha,4096,20", "4b007901b765489abead49d926f721d065a429c1", "salt", "password"},
    {"pbkdf2,sha,4096,5", "4b007901b7", "salt", "password"},
    {"pbkdf2,sha256,1,64",
     "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd50"
     "9112041d3a19783",
     "salt", "passwd"},
    {"pbkdf2,sha512,1,64",
     "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252c02d470a285a0501bad999bfe943c08f050235d7d68b1da55"
     "e63f73b60a57fce",
     "salt", "password"},
};

static void knows_the_vectors_of_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const char *setting = vectors[i].setting, *stored = vectors[i].stored, *salt = vectors[i].salt;
        if (verify(setting, stored, salt, vectors[i].password) != 0)
            fail_msg("%s: %s", setting, stored);
        assert_int_equal(verify(setting, stored, salt, "Public"), -EACCES);
        assert_int_equal(verify(setting, "0c60c80f961f0e71f3a9b524af6012062fe037a7", salt, vectors[i].password),
                         -EACCES);
        assert_int_equal(verify(setting, "short", salt, vectors[i].password), -EACCES);
    }
}

static void fails_when_something_is_missing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const char *setting = vectors[i].setting, *stored = vectors[i].stored, *salt = vectors[i].salt,
                   *password = vectors[i].password;
        assert_int_equal(verify(setting, NULL, salt, password), -EACCES);
        assert_int_equal(verify(setting, stored, salt, NULL), -EACCES);
        assert_int_equal(verify(setting, NULL, NULL, NULL), -EACCES);
        assert_int_equal(verify(setting, stored, salt == NULL ? "" : NULL, password), -EACCES);
    }
}

static void fails_for_salts_that_are_not_of_bcrypt(void **state)
{
    static const char *const salts[] = {
        "",
        "$",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC",  /* one short */
        "$2a$17$CCCCCCCCCCCCCCCCCCCCC.", /* would take for ever */
        "$2a$31$CCCCCCCCCCCCCCCCCCCCC.",
        "$2a$03$CCCCCCCCCCCCCCCCCCCCC.",
        "$2a$5a$CCCCCCCCCCCCCCCCCCCCC.",
        "$2z$05$CCCCCCCCCCCCCCCCCCCCC.",
        "$1$05$$CCCCCCCCCCCCCCCCCCCCC.",
        "$6$rounds=999999999$CCCCCCCCC",
        "$2a$05$CCCCCCCCCC*CCCCCCCCCC.",
        "$2a$05-CCCCCCCCCCCCCCCCCCCCC.",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(salts) / sizeof(salts[0]); i++) {
        assert_int_equal(verify("salt,bcrypt", BCRYPT, salts[i], "U*U"), -EACCES);
        assert_int_equal(verify("bcrypt", salts[i], NULL, "U*U"), -EACCES);
        assert_int_equal(verify("salt,bcrypt", "*0", salts[i], "U*U"), -EACCES);
    }
}

/* What C strings would cut off counts. */
static void bcrypt_does_not_stop_at_a_zero_byte(void **state)
{
    struct password_setting setting = parse("bcrypt");
    struct emqc_slice none = {NULL, 0}, password = {"U*U\0x", 5};
    char long_password[600];

    (void)state;
    assert_int_equal(password_setting_verify(&setting, slice_of(BCRYPT), none, password), -EACCES);
    memset(long_password, 'x', sizeof(long_password));
    password = (struct emqc_slice){long_password, sizeof(long_password)};
    assert_int_equal(password_setting_verify(&setting, slice_of(BCRYPT), none, password), -EACCES);
}

static void refuses_other_settings(void **state)
{
    static const char *const rows[] = {
        "",
        "SHA256",
        "sha-256",
        "sha224",
        "md4",
        "salt",
        "salt,salt",
        "salt, sha256",
        " sha256",
        "sha256,",
        ",sha256",
        "sha256,sha256",
        "salt,sha256,salt",
        "pbkdf2",
        "salt,pbkdf2",
        "pbkdf2,sha256",
        "pbkdf2,sha256,1000",
        "pbkdf2,sha256,0,20",
        "pbkdf2,sha256,1000,0",
        "pbkdf2,sha256,10000001,20",
        "pbkdf2,sha256,99999999999999999999,20",
        "pbkdf2,sha256,1000,257",
        "pbkdf2,sha256,1000,-1",
        "pbkdf2,sha256,1000,20,",
        "pbkdf2,whirlpool,1000,20",
        "pbkdf2,sha256,,20",
    };
    struct password_setting setting;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *why = NULL;
        if (password_setting_parse(slice_of(rows[i]), &setting, &why) != -EINVAL || why == NULL)
            fail_msg("%s", rows[i]);
    }
    const char *why = NULL;
    assert_int_equal(password_setting_parse((struct emqc_slice){NULL, 0}, &setting, &why), -EINVAL);
    assert_non_null(why);
}

static void knows_which_are_slow(void **state)
{
    struct password_setting setting;

    (void)state;
    setting = parse("bcrypt");
    assert_true(password_setting_is_slow(&setting));
    setting = parse("pbkdf2,ripemd160,1000,20");
    assert_true(password_setting_is_slow(&setting));
    setting = parse("salt,sha512");
    assert_false(password_setting_is_slow(&setting));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_vectors_of_others),
        cmocka_unit_test(fails_when_something_is_missing),
        cmocka_unit_test(fails_for_salts_that_are_not_of_bcrypt),
        cmocka_unit_test(bcrypt_does_not_stop_at_a_zero_byte),
        cmocka_unit_test(refuses_other_settings),
        cmocka_unit_test(knows_which_are_slow),
    };

    return cmocka_run_group_tests_name("password_setting", tests, NULL, NULL);
}
