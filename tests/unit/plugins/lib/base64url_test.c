/* base64url: vectors of RFC 4648, section 10, all bytes, and everything that is not base64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "lib/base64url.h"

static void expect(enum base64_alphabet alphabet, const char *text, const char *bytes)
{
    unsigned char made[64];
    size_t len = 99;

    assert_int_equal(base64_decode(alphabet, text, strlen(text), made, sizeof(made), &len), 0);
    assert_int_equal(len, strlen(bytes));
    assert_memory_equal(made, bytes, len);
}

static void expect_wrong(enum base64_alphabet alphabet, const char *text)
{
    unsigned char made[64];
    size_t len = 99;

    assert_int_equal(base64_decode(alphabet, text, strlen(text), made, sizeof(made), &len), -EINVAL);
    assert_int_equal(len, 99);
}

static void decodes_with_and_without_padding(void **state)
{
    (void)state;
    expect(BASE64_URL, "", "");
    expect(BASE64_URL, "Zg==", "f");
    expect(BASE64_URL, "Zg", "f");
    expect(BASE64_URL, "Zm8=", "fo");
    expect(BASE64_URL, "Zm8", "fo");
    expect(BASE64_URL, "Zm9v", "foo");
    expect(BASE64_URL, "Zm9vYg", "foob");
    expect(BASE64_URL, "Zm9vYmE=", "fooba");
    expect(BASE64_URL, "Zm9vYmFy", "foobar");
}

static void knows_both_alphabets(void **state)
{
    (void)state;
    expect(BASE64_URL, "--__", "\xFB\xEF\xFF");
    expect(BASE64_ANY, "--__", "\xFB\xEF\xFF");
    expect(BASE64_ANY, "++//", "\xFB\xEF\xFF");
    expect_wrong(BASE64_URL, "++//");
}

static void refuses_what_is_none(void **state)
{
    static const char *const texts[] = {"Z",    "Zm9vY", "Zm 9", "Zm9v\n", "Zg=",  "Z===",   "====", "=",
                                        "Zg=a", "Zm=v",  "Zm9.", "Z\x80g", "Zh==", "Zm9vYh", "Zm9",  "Zg==Zg=="};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect_wrong(BASE64_URL, texts[i]);
}

static void writes_no_more_than_there_is_room(void **state)
{
    unsigned char made[3];
    size_t len;

    (void)state;
    assert_int_equal(base64_decode(BASE64_URL, "Zm9vYmFy", 8, made, sizeof(made), &len), -ENOSPC);
    assert_int_equal(base64_decode(BASE64_URL, "Zm9v", 4, made, sizeof(made), &len), 0);
    assert_int_equal(len, 3);
    assert_true(BASE64_DECODED_MAX(4) >= 3 && BASE64_DECODED_MAX(2) >= 1 && BASE64_DECODED_MAX(0) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_with_and_without_padding),
        cmocka_unit_test(knows_both_alphabets),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(writes_no_more_than_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
