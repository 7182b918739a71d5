/*
 * password_hash: entries of each kind against vectors of others (RFC 7914, the reference code of Argon2, Python's hashlib), what is made is read
 * and checked again, and what is no entry is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/password_hash.h"

#define B64_32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" /* 32 zero bytes */

static struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, text == NULL ? 0 : strlen(text)};
}

/* In memory of its own size, so that a read past the end is seen. */
static int parse(struct emqc_slice text, struct password_entry *out_entry, char **out_copy)
{
    *out_copy = malloc(text.len + (text.len == 0));
    assert_non_null(*out_copy);
    memcpy(*out_copy, text.data, text.len);
    return password_entry_parse((struct emqc_slice){*out_copy, text.len}, out_entry);
}

static int verify(const char *text, const char *password)
{
    struct password_entry entry;
    char *copy;
    int err;

    assert_int_equal(parse(slice_of(text), &entry, &copy), 0);
    err = password_entry_verify(&entry, slice_of(password));
    free(copy);
    return err;
}

static void knows_the_vectors_of_others(void **state)
{
    static const struct {
        const char *entry, *password;
    } rows[] = {
        {"$plain$public", "public"},
        {"$plain$", ""},
        {"$plain$a$b", "a$b"},
        {"$md5$01020304$274a116ae66899c55421c57ec999475f", "public"},
        {"$sha$01020304$b86e42bf7ccd9ba13c9d5937338a1414c0bd7f57", "public"},
        {"$sha256$01020304$a103cdb4d4621c292a41cc5bc632db0cbe1272a3f04886c5dc24c72194fe555c", "public"},
        {"$sha256$$EFA1F375D76194FA51A3556A97E641E61685F914D446979DA50A551A4333FFD7", "public"},
        {"$pbkdf2-sha256$i=4096$c2FsdHNhbHQ$ZiMD/VuDIBLM8rT9ZlFkcm8vO44PH2jtvpsH6s4pwvU", "password"},
        {"$pbkdf2-sha512$i=1000$c2FsdHNhbHQ$Q6v4xwJ8a9nWPp2BeEoAYYhHSo2xRmPWART17vTpSxt2q6iNp7BOozW557qqa95eNjUO4gKs0"
         "CyvJbYGGku1tA",
         "password"},
        {"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
        {"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
        {"$argon2id$v=19$m=64,t=3,p=4$c29tZXNhbHQ$T4fNMJtyzPmC46C+DDai6FF5I8o+6vKMbvxnbQkvttU", "password"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(verify(rows[i].entry, rows[i].password), 0);
        assert_int_equal(verify(rows[i].entry, "Password"), -EACCES);
        assert_int_equal(verify(rows[i].entry, "passwor"), -EACCES);
        assert_int_equal(verify(rows[i].entry, "password1"), -EACCES);
        assert_int_equal(verify(rows[i].entry, NULL), -EACCES);
    }
}

static void refuses_what_is_no_entry(void **state)
{
    static const char *const rows[] = {
        "",
        "$",
        "public",
        "$$",
        "$sha256",
        "sha256$00$00",
        "$plain",
        "$PLAIN$x",
        "$sha512$00$00",
        "$md5$0102$274a116ae66899c55421c57ec99947",     /* 15 bytes */
        "$md5$0102$274a116ae66899c55421c57ec999475f00", /* 17 bytes */
        "$md5$01020$274a116ae66899c55421c57ec999475f",  /* half a byte */
        "$md5$0x02$274a116ae66899c55421c57ec999475f",
        "$md5$01$274a116ae66899c55421c57ec999475f$",
        "$md5$274a116ae66899c55421c57ec999475f",
        "$pbkdf2-sha256$i=0$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$i=$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$i=01$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$i=-1$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$i=10000001$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$i=99999999999999999999$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$1000$c2FsdHNhbHQ$" B64_32,
        "$pbkdf2-sha256$i=1000$c2FsdA$" B64_32,     /* a salt of four bytes */
        "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ$AAAAAA", /* a hash of four bytes */
        "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ=$" B64_32,
        "$pbkdf2-sha256$i=1000$c2FsdHNhbHR$" B64_32, /* bits behind the last byte */
        "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ$" B64_32 "AA",
        "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ$" B64_32 B64_32 B64_32,
        "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ",
        "$argon2id$m=256,t=2,p=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$m=256,t=2$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$m=256,t=2,p=1,x=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$t=2,m=256,p=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$m=7,t=2,p=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$m=262144,t=5,p=1$c29tZXNhbHQ$" B64_32,
        "$argon2id$v=19$m=256,t=2,p=17$c29tZXNhbHQ$" B64_32,
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$" B64_32,
    };
    struct password_entry entry;
    char *copy, *long_text = malloc(PASSWORD_ENTRY_BYTES + 1);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (parse(slice_of(rows[i]), &entry, &copy) != -EINVAL)
            fail_msg("%s", rows[i]);
        free(copy);
    }
    assert_int_equal(password_entry_parse((struct emqc_slice){NULL, 0}, &entry), -EINVAL);
    assert_non_null(long_text);
    memset(long_text, 'x', PASSWORD_ENTRY_BYTES + 1);
    memcpy(long_text, "$plain$", 7);
    assert_int_equal(password_entry_parse((struct emqc_slice){long_text, PASSWORD_ENTRY_BYTES}, &entry), 0);
    assert_int_equal(password_entry_parse((struct emqc_slice){long_text, PASSWORD_ENTRY_BYTES + 1}, &entry), -EINVAL);
    free(long_text);
}

static void makes_entries_that_are_right(void **state)
{
    static const char *const passwords[] = {"public", "", "a$b,c=d", "\xC3\xA9\x01"};
    char text[PASSWORD_ENTRY_BYTES + 1], again[PASSWORD_ENTRY_BYTES], head[32] = "$";

    (void)state;
    for (enum password_kind kind = PASSWORD_PLAIN; kind < PASSWORD_KIND_COUNT; kind++) {
        stpcpy(stpcpy(head + 1, password_kind_name(kind)), "$");
        for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++) {
            size_t len = 0, again_len = 0;
            assert_int_equal(password_entry_make(kind, 10, slice_of(passwords[i]), text, &len), 0);
            text[len] = '\0';
            assert_memory_equal(text, head, strlen(head));
            assert_int_equal(verify(text, passwords[i]), 0);
            assert_int_equal(verify(text, "other"), -EACCES);
            assert_int_equal(password_entry_make(kind, 10, slice_of(passwords[i]), again, &again_len), 0);
            assert_int_equal(len, again_len);
            /* Another salt each time. */
            assert_int_equal(memcmp(text, again, len) == 0, kind == PASSWORD_PLAIN);
        }
    }
}

static void makes_slow_entries_as_slow_as_advised(void **state)
{
    static const struct {
        enum password_kind kind;
        uint32_t iterations, memory_kib;
        size_t hash_len;
    } rows[] = {
        {PASSWORD_PBKDF2_SHA256, 600000, 0, 32},
        {PASSWORD_PBKDF2_SHA512, 210000, 0, 64},
        {PASSWORD_ARGON2ID, 2, 19456, 32},
    };
    char text[PASSWORD_ENTRY_BYTES];
    struct password_entry entry;
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(password_entry_make(rows[i].kind, 0, slice_of("public"), text, &len), 0);
        assert_int_equal(password_entry_parse((struct emqc_slice){text, len}, &entry), 0);
        assert_int_equal(entry.kind, rows[i].kind);
        assert_int_equal(entry.iterations, rows[i].iterations);
        assert_int_equal(entry.memory_kib, rows[i].memory_kib);
        assert_int_equal(entry.salt_len, 16);
        assert_int_equal(entry.hash_len, rows[i].hash_len);
        assert_true(password_entry_is_slow(&entry));
    }
    assert_int_equal(password_entry_parse(slice_of("$md5$$274a116ae66899c55421c57ec999475f"), &entry), 0);
    assert_false(password_entry_is_slow(&entry));
}

static void takes_passwords_of_any_bytes_up_to_the_limit(void **state)
{
    char password[PASSWORD_BYTES_MAX + 1], text[PASSWORD_ENTRY_BYTES];
    struct password_entry entry;
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(password); i++)
        password[i] = (char)i; /* zeros as well */
    for (enum password_kind kind = PASSWORD_PLAIN; kind < PASSWORD_KIND_COUNT; kind++) {
        struct emqc_slice longest = {password, PASSWORD_BYTES_MAX};
        assert_int_equal(password_entry_make(kind, 1, longest, text, &len), 0);
        assert_int_equal(password_entry_parse((struct emqc_slice){text, len}, &entry), 0);
        assert_int_equal(password_entry_verify(&entry, longest), 0);
        longest.len--;
        assert_int_equal(password_entry_verify(&entry, longest), -EACCES);
        longest.len = PASSWORD_BYTES_MAX + 1;
        assert_int_equal(password_entry_verify(&entry, longest), -EACCES);
        assert_int_equal(password_entry_make(kind, 1, longest, text, &len), -E2BIG);
        assert_int_equal(password_entry_make(kind, 1, (struct emqc_slice){NULL, 0}, text, &len), -EINVAL);
    }
}

/* The words are those of an enum setting, in the order of enum password_kind. */
static void has_the_kinds_in_the_order_of_their_words(void **state)
{
    char words[] = PASSWORD_KIND_WORDS, *rest = words, *word;
    int count = 0;

    (void)state;
    while ((word = strtok_r(rest, ", ", &rest)) != NULL) {
        assert_in_range(count, 0, PASSWORD_KIND_COUNT - 1);
        assert_string_equal(word, password_kind_name((enum password_kind)count));
        count++;
    }
    assert_int_equal(count, PASSWORD_KIND_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_vectors_of_others),
        cmocka_unit_test(refuses_what_is_no_entry),
        cmocka_unit_test(makes_entries_that_are_right),
        cmocka_unit_test(makes_slow_entries_as_slow_as_advised),
        cmocka_unit_test(takes_passwords_of_any_bytes_up_to_the_limit),
        cmocka_unit_test(has_the_kinds_in_the_order_of_their_words),
    };

    return cmocka_run_group_tests_name("password_hash", tests, NULL, NULL);
}
