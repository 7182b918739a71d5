/*
 * jwt: the vectors of RFC 7515, 7519 and 7520, every algorithm, and what must not be let in: other algorithms and keys than those agreed on, tokens that
 * were changed, cut off or are none.
 */
#include "token_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "lib/base64url.h"

#define PAYLOAD "{\"sub\":\"c1\"}"
#define SECRET "a secret of more than thirty-two bytes"

/* RFC 7515, appendix A.1.1, A.2.1, A.3.1: the payload; A.2.1: the modulus. */
#define RFC_PAYLOAD "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RFC_MODULUS                                                                                                    \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-"   \
    "pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"                  \
    "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"                      \
    "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"

static struct jwt_keys *keys_of(const char *jwks)
{
    struct jwt_keys *keys = jwt_keys_new();
    const char *why = NULL;
    size_t left_out = 99;

    assert_int_equal(jwt_keys_add_jwks(keys, slice_of(jwks), &left_out, &why), 0);
    assert_int_equal(left_out, 0);
    assert_int_equal(jwt_keys_count(keys), 1);
    return keys;
}

/* Good as it is; with any one character of the signature changed it is not. */
static void expect_good_only_unchanged(const char *token, const struct jwt_trust *trust)
{
    char *copy = strdup(token);
    size_t first = (size_t)(strrchr(token, '.') - token) + 1;

    assert_int_equal(verify(token, trust), JWT_OK);
    for (size_t i = first; i < strlen(token); i += 7) {
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(copy, trust), JWT_OK);
        copy[i] = token[i];
    }
    copy[first - 2] ^= 1;
    assert_int_not_equal(verify(copy, trust), JWT_OK);
    free(copy);
}

static void knows_the_vector_of_hs256(void **state)
{
    static const char key[] = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    unsigned char secret[64];
    struct jwt_trust trust = {.secret = {(char *)secret, 0}};

    (void)state;
    assert_int_equal(base64_decode(BASE64_URL, key, strlen(key), secret, sizeof(secret), &trust.secret.len), 0);
    expect_good_only_unchanged(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_PAYLOAD ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", &trust);
}

static void knows_the_vector_of_rs256(void **state)
{
    struct jwt_keys *keys = keys_of("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" RFC_MODULUS "\",\"e\":\"AQAB\"}]}");
    struct jwt_trust trust = {.keys = {keys, NULL}};

    (void)state;
    expect_good_only_unchanged(
        "eyJhbGciOiJSUzI1NiJ9." RFC_PAYLOAD
        ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7"
        "t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12"
        "jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUP"
        "QGe77Rw",
        &trust);
    jwt_keys_unref(keys);
}

static void knows_the_vector_of_es256(void **state)
{
    struct jwt_keys *keys = keys_of(
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
        "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}");
    struct jwt_trust trust = {.keys = {NULL, keys}};

    (void)state;
    expect_good_only_unchanged(
        "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD
        ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        &trust);
    jwt_keys_unref(keys);
}

/* RFC 7520, sections 3.1 and 4.3. Its payload is a text, not JSON. */
static void knows_the_vector_of_es512(void **state)
{
    struct jwt_keys *keys = keys_of(
        "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"crv\":\"P-521\","
        "\"x\":\"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt\","
        "\"y\":\"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1\"}]}");
    struct jwt_trust trust = {.keys = {keys, NULL}};

    (void)state;
    expect_good_only_unchanged(
        "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9"
        ".SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5k"
        "IGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
        ".AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxX"
        "Pn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
        &trust);
    jwt_keys_unref(keys);
}

/* RFC 7519, section 6.1, and other ways to write it. */
static void refuses_unsigned_tokens(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}", "{\"alg\":\"None\"}",  "{\"alg\":\"NONE\"}",   "{\"alg\":\"\"}",
        "{\"alg\":null}",     "{\"alg\":[]}",        "{\"alg\":5}",          "{}",
        "{\"typ\":\"JWT\"}",  "{\"alg\":\"hs256\"}", "{\"alg\":\"HS256 \"}", "{\"alg\":\"PS256\"}",
        "{\"alg\":\"EdDSA\"}"};
    struct jwt_trust trust = {.secret = slice_of(SECRET)};

    (void)state;
    assert_int_equal(verify("eyJhbGciOiJub25lIn0." RFC_PAYLOAD ".", &trust), JWT_UNSUPPORTED);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        char *token = token_hmac(headers[i], PAYLOAD, 256, SECRET);
        assert_int_equal(verify(token, &trust), JWT_UNSUPPORTED);
        *(strrchr(token, '.') + 1) = '\0';
        assert_int_equal(verify(token, &trust), JWT_UNSUPPORTED);
        free(token);
    }
}

static void checks_every_algorithm_with_its_own_kind_of_key_alone(void **state)
{
    static const struct {
        const char *name, *kind;
        int bits;
    } rows[] = {{"HS256", NULL, 256},    {"HS384", NULL, 384},    {"HS512", NULL, 512},
                {"RS256", "RSA", 256},   {"RS384", "RSA", 384},   {"RS512", "RSA", 512},
                {"ES256", "P-256", 256}, {"ES384", "P-384", 384}, {"ES512", "P-521", 512}};
    static const char *const kinds[] = {NULL, "RSA", "P-256", "P-384", "P-521"};
    EVP_PKEY *pkeys[5] = {NULL};
    struct jwt_keys *sets[5] = {NULL};

    (void)state;
    for (size_t i = 1; i < 5; i++) {
        pkeys[i] = make_key(kinds[i], 2048);
        sets[i] = jwt_keys_new();
        add_public(sets[i], pkeys[i]);
    }
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        size_t own = 0;
        char header[64], *token;
        while (kinds[own] != rows[row].kind && (own == 0 || strcmp(kinds[own], rows[row].kind) != 0))
            own++;
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", rows[row].name);
        token = own == 0 ? token_hmac(header, PAYLOAD, rows[row].bits, SECRET)
                         : token_signed(header, PAYLOAD, rows[row].bits, pkeys[own]);
        for (size_t i = 0; i < 5; i++) {
            struct jwt_trust trust = {.secret = slice_of(i == 0 ? SECRET : NULL), .keys = {sets[i], NULL}};
            enum jwt_result none = own == 0 ? JWT_NO_SECRET : own == 1 ? JWT_NO_RSA_KEY : JWT_NO_EC_KEY;
            assert_int_equal(verify(token, &trust), i == own ? JWT_OK : none);
        }
        assert_string_equal(jwt_algorithm_name((enum jwt_algorithm)row), rows[row].name);
        free(token);
    }
    for (size_t i = 1; i < 5; i++) {
        jwt_keys_unref(sets[i]);
        EVP_PKEY_free(pkeys[i]);
    }
}

/* The public key as HMAC secret, in every form in which an attacker has it. */
static void a_public_key_is_no_secret(void **state)
{
    EVP_PKEY *pkey = make_key("RSA", 2048);
    struct jwt_keys *keys = jwt_keys_new();
    struct jwt_trust trust = {.keys = {keys, NULL}}, both = {.secret = slice_of(SECRET), .keys = {keys, NULL}};
    char *jwk = jwk_text(pkey, ""), *token = token_hmac("{\"alg\":\"HS256\"}", PAYLOAD, 256, jwk), *empty;

    (void)state;
    add_public(keys, pkey);
    assert_int_equal(verify(token, &trust), JWT_NO_SECRET);
    assert_int_equal(verify(token, &both), JWT_BAD_SIGNATURE);
    empty = token_hmac("{\"alg\":\"HS256\"}", PAYLOAD, 256, "");
    assert_int_equal(verify(empty, &trust), JWT_NO_SECRET);
    assert_int_equal(verify(empty, &both), JWT_BAD_SIGNATURE);
    free(empty);
    free(token);
    free(jwk);
    jwt_keys_unref(keys);
    EVP_PKEY_free(pkey);
}

/* A signature that was made with a shorter hash than the header says, or cut off. */
static void refuses_a_signature_of_another_length(void **state)
{
    struct jwt_trust trust = {.secret = slice_of(SECRET)};
    char *token = token_hmac("{\"alg\":\"HS512\"}", PAYLOAD, 256, SECRET), *dot;

    (void)state;
    assert_int_equal(verify(token, &trust), JWT_BAD_SIGNATURE);
    free(token);
    token = token_hmac("{\"alg\":\"HS256\"}", PAYLOAD, 256, SECRET);
    assert_int_equal(verify(token, &trust), JWT_OK);
    dot = strrchr(token, '.');
    for (size_t len = strlen(token); token + len > dot; len -= 4) {
        token[len & ~(size_t)3] = '\0';
        assert_int_not_equal(verify(token, &trust), JWT_OK);
    }
    token[dot - token + 1] = '\0';
    assert_int_equal(verify(token, &trust), JWT_BAD_SIGNATURE);
    *dot = '\0';
    assert_int_equal(verify(token, &trust), JWT_MALFORMED);
    free(token);
}

/* r and s of zero: a verifier that does not look lets everything in. */
static void refuses_an_ecdsa_signature_of_zeros(void **state)
{
    EVP_PKEY *pkey = make_key("P-256", 0);
    struct jwt_keys *keys = jwt_keys_new();
    struct jwt_trust trust = {.keys = {keys, NULL}};
    char *token = token_signed("{\"alg\":\"ES256\"}", PAYLOAD, 256, pkey), *signature = strrchr(token, '.') + 1;

    (void)state;
    add_public(keys, pkey);
    assert_int_equal(verify(token, &trust), JWT_OK);
    memset(signature, 'A', strlen(signature));
    assert_int_equal(verify(token, &trust), JWT_BAD_SIGNATURE);
    signature[strlen(signature) - 4] = '\0';
    assert_int_not_equal(verify(token, &trust), JWT_OK);
    free(token);
    jwt_keys_unref(keys);
    EVP_PKEY_free(pkey);
}

static void tells_tokens_from_passwords(void **state)
{
    static const char *const passwords[] = {"",
                                            "public",
                                            "a.b",
                                            "a.b.c",
                                            ".",
                                            "..",
                                            "...",
                                            "e30",
                                            "W10.e30.",
                                            "bnVsbA.e30.",
                                            "eyJhbGciOiJIUzI1NiJ9",
                                            "eyJhbGciOiJIUzI1NiI.e30.",
                                            "eyJhbGciOiJIUzI1NiJ9 .e30."};
    struct jwt_trust trust = {.secret = slice_of(SECRET)};

    (void)state;
    for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++)
        assert_int_equal(verify(passwords[i], &trust), JWT_NOT_A_TOKEN);
    assert_int_equal(jwt_parse((struct emqc_slice){NULL, 0}, &(struct jwt){.algorithm = JWT_HS256}), JWT_NOT_A_TOKEN);
}

static void refuses_what_only_begins_like_a_token(void **state)
{
    static const char *const tokens[] = {"eyJhbGciOiJIUzI1NiJ9.", "eyJhbGciOiJIUzI1NiJ9.e30",
                                         "eyJhbGciOiJIUzI1NiJ9.e30.a", "eyJhbGciOiJIUzI1NiJ9.e30.aa.aa.aa",
                                         "eyJhbGciOiJIUzI1NiJ9.e30.a+b/"};
    struct jwt_trust trust = {.secret = slice_of(SECRET)};

    (void)state;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_int_equal(verify(tokens[i], &trust), JWT_MALFORMED);
}

static void refuses_headers_against_the_rules(void **state)
{
    char deep[128] = "{\"alg\":\"HS256\",\"x\":", long_id[400];
    const struct {
        const char *header;
        enum jwt_result result;
    } rows[] = {{"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", JWT_MALFORMED},
                {"{\"alg\":\"HS256\",\"kid\":7}", JWT_MALFORMED},
                {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", JWT_UNSUPPORTED},
                {"{\"alg\":\"HS256\",\"crit\":[]}", JWT_UNSUPPORTED},
                {"{\"alg\":\"HS256\\u0000\"}", JWT_NOT_A_TOKEN},
                {"{\"alg\":\"HS256\"} {}", JWT_NOT_A_TOKEN},
                {"{\"alg\":\"HS256\",\"x\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}", JWT_OK},
                {"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"},\"jku\":\"http://127.0.0.1/\"}", JWT_OK},
                {deep, JWT_MALFORMED},
                {long_id, JWT_MALFORMED}};
    struct jwt_trust trust = {.secret = slice_of(SECRET)};

    (void)state;
    memset(deep + strlen(deep), '[', 20);
    memset(deep + strlen(deep), ']', 20);
    strcat(deep, "}");
    strcpy(long_id, "{\"alg\":\"HS256\",\"kid\":\"");
    memset(long_id + strlen(long_id), 'k', JWT_KEY_ID_MAX + 1);
    strcpy(long_id + strlen("{\"alg\":\"HS256\",\"kid\":\"") + JWT_KEY_ID_MAX + 1, "\"}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *token = token_hmac(rows[i].header, PAYLOAD, 256, SECRET);
        assert_int_equal(verify(token, &trust), rows[i].result);
        free(token);
    }
}

static void refuses_what_is_too_long(void **state)
{
    struct jwt_trust trust = {.secret = slice_of(SECRET)};
    char *payload = malloc(JWT_TOKEN_MAX + 1), *token;

    (void)state;
    memset(payload, ' ', JWT_TOKEN_MAX);
    payload[JWT_TOKEN_MAX] = '\0';
    token = token_hmac("{\"alg\":\"HS256\"}", payload, 256, SECRET);
    assert_int_equal(verify(token, &trust), JWT_TOO_LONG);
    free(token);
    memcpy(payload, "{\"alg\":\"HS256\",\"x\":\"", 20);
    memset(payload + 20, 'x', JWT_HEADER_MAX);
    strcpy(payload + 20 + JWT_HEADER_MAX, "\"}");
    token = token_hmac(payload, PAYLOAD, 256, SECRET);
    assert_int_equal(verify(token, &trust), JWT_NOT_A_TOKEN);
    free(token);
    payload[12000] = '\0';
    memset(payload, ' ', 12000);
    token = token_hmac("{\"alg\":\"HS256\"}", payload, 256, SECRET);
    assert_int_equal(verify(token, &trust), JWT_OK);
    free(token);
    free(payload);
}

static void results_have_words(void **state)
{
    (void)state;
    for (int i = 0; i < JWT_RESULT_COUNT; i++)
        assert_true(strlen(jwt_result_text((enum jwt_result)i)) > 1);
    assert_string_equal(jwt_result_text(JWT_NO_SECRET), "hmac_secret_undefined");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_vector_of_hs256),
        cmocka_unit_test(knows_the_vector_of_rs256),
        cmocka_unit_test(knows_the_vector_of_es256),
        cmocka_unit_test(knows_the_vector_of_es512),
        cmocka_unit_test(refuses_unsigned_tokens),
        cmocka_unit_test(checks_every_algorithm_with_its_own_kind_of_key_alone),
        cmocka_unit_test(a_public_key_is_no_secret),
        cmocka_unit_test(refuses_a_signature_of_another_length),
        cmocka_unit_test(refuses_an_ecdsa_signature_of_zeros),
        cmocka_unit_test(tells_tokens_from_passwords),
        cmocka_unit_test(refuses_what_only_begins_like_a_token),
        cmocka_unit_test(refuses_headers_against_the_rules),
        cmocka_unit_test(refuses_what_is_too_long),
        cmocka_unit_test(results_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
