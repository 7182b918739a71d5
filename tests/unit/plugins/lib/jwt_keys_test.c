/* jwt_keys: PEM files, JWK sets, which key a token is checked with, and keys that must not be taken. */
#include "token_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD "{\"sub\":\"c1\"}"

static struct {
    EVP_PKEY *rsa, *other_rsa, *small_rsa, *p256, *p384, *k1;
} pkeys;

static int make_keys(void **state)
{
    (void)state;
    pkeys.rsa = make_key("RSA", 2048);
    pkeys.other_rsa = make_key("RSA", 2048);
    pkeys.small_rsa = make_key("RSA", 1024);
    pkeys.p256 = make_key("P-256", 0);
    pkeys.p384 = make_key("P-384", 0);
    pkeys.k1 = make_key("secp256k1", 0);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(pkeys.rsa);
    EVP_PKEY_free(pkeys.other_rsa);
    EVP_PKEY_free(pkeys.small_rsa);
    EVP_PKEY_free(pkeys.p256);
    EVP_PKEY_free(pkeys.p384);
    EVP_PKEY_free(pkeys.k1);
    return 0;
}

/* ---- PEM ---- */

enum form { PUBLIC, RSA_PUBLIC, PRIVATE, CERTIFICATE };

static X509 *certificate_of(EVP_PKEY *pkey)
{
    X509 *certificate = X509_new();

    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 60);
    assert_int_equal(X509_set_pubkey(certificate, pkey), 1);
    assert_true(X509_sign(certificate, pkey, EVP_sha256()) > 0);
    return certificate;
}

/* Adds a key in this form to the text, and frees the text given. */
static char *pem_add(char *text, EVP_PKEY *pkey, enum form form)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *written, *both = NULL;
    long len;

    if (form == PUBLIC) {
        assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    } else if (form == RSA_PUBLIC) {
        unsigned char *der = NULL;
        int der_len = i2d_PublicKey(pkey, &der);
        assert_true(PEM_write_bio(bio, PEM_STRING_RSA_PUBLIC, "", der, der_len) > 0);
        OPENSSL_free(der);
    } else if (form == PRIVATE) {
        assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    } else {
        X509 *certificate = certificate_of(pkey);
        assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
        X509_free(certificate);
    }
    len = BIO_get_mem_data(bio, &written);
    assert_true(asprintf(&both, "%s%.*s", text == NULL ? "" : text, (int)len, written) > 0);
    BIO_free(bio);
    free(text);
    return both;
}

static int read_pem(const char *text, size_t expected_count, const char **out_why)
{
    struct jwt_keys *keys = jwt_keys_new();
    size_t len = strlen(text);
    char *copy = malloc(len + 1);
    int err;

    memcpy(copy, text, len + 1);
    *out_why = NULL;
    err = jwt_keys_add_pem(keys, (struct emqc_slice){copy, len}, out_why);
    if (err == 0)
        assert_int_equal(jwt_keys_count(keys), expected_count);
    else
        assert_non_null(*out_why);
    free(copy);
    jwt_keys_unref(keys);
    return err;
}

static void reads_all_keys_of_a_pem_file(void **state)
{
    char *text = pem_add(NULL, pkeys.rsa, PUBLIC);
    const char *why;

    (void)state;
    assert_int_equal(read_pem(text, 1, &why), 0);
    text = pem_add(text, pkeys.p256, PUBLIC);
    text = pem_add(text, pkeys.rsa, RSA_PUBLIC);
    text = pem_add(text, pkeys.p384, CERTIFICATE);
    assert_int_equal(read_pem(text, 4, &why), 0);
    free(text);
}

static void refuses_pem_files_that_do_not_fit(void **state)
{
    static const struct {
        EVP_PKEY **pkey;
        enum form form;
        const char *why;
    } rows[] = {{&pkeys.rsa, PRIVATE, "private key"},
                {&pkeys.p256, PRIVATE, "private key"},
                {&pkeys.small_rsa, PUBLIC, "2048"},
                {&pkeys.k1, PUBLIC, "P-256"}};
    const char *why;
    char *text;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        text = pem_add(pem_add(NULL, pkeys.p256, PUBLIC), *rows[i].pkey, rows[i].form);
        assert_int_equal(read_pem(text, 0, &why), -EINVAL);
        assert_non_null(strstr(why, rows[i].why));
        free(text);
    }
    assert_int_equal(read_pem("", 0, &why), -EINVAL);
    assert_int_equal(read_pem("no key\n", 0, &why), -EINVAL);
    assert_int_equal(read_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 0, &why), -EINVAL);
    assert_int_equal(read_pem("-----BEGIN X-----\nAAAA\n-----END X-----\n", 0, &why), -EINVAL);
    text = pem_add(NULL, pkeys.rsa, PUBLIC);
    text[strlen(text) - 60] = '\0';
    assert_int_equal(read_pem(text, 0, &why), -EINVAL);
    free(text);
}

/* ---- JWK sets ---- */

/* A set of these JWKs, which are freed. */
static char *set_of(char *first, char *second)
{
    char *text = NULL;

    assert_true(asprintf(&text, "{\"keys\":[%s%s%s]}", first, second == NULL ? "" : ",", second == NULL ? "" : second) >
                0);
    free(first);
    free(second);
    return text;
}

static struct jwt_keys *read_set(char *text, size_t expected_left_out)
{
    struct jwt_keys *keys = jwt_keys_new();
    const char *why = NULL;
    size_t left_out = 99;

    assert_int_equal(jwt_keys_add_jwks(keys, slice_of(text), &left_out, &why), 0);
    assert_int_equal(left_out, expected_left_out);
    free(text);
    return keys;
}

static void expect(const char *header, EVP_PKEY *pkey, struct jwt_keys *keys, enum jwt_result result)
{
    struct jwt_trust trust = {.keys = {NULL, keys}};
    char *token = token_signed(header, PAYLOAD, 256, pkey);

    assert_int_equal(verify(token, &trust), result);
    free(token);
}

static void a_kid_chooses_the_key(void **state)
{
    struct jwt_keys *keys = read_set(
        set_of(jwk_text(pkeys.rsa, ",\"kid\":\"a\""), jwk_text(pkeys.other_rsa, ",\"kid\":\"b\",\"use\":\"sig\"")), 0);

    (void)state;
    expect("{\"alg\":\"RS256\",\"kid\":\"a\"}", pkeys.rsa, keys, JWT_OK);
    expect("{\"alg\":\"RS256\",\"kid\":\"b\"}", pkeys.other_rsa, keys, JWT_OK);
    expect("{\"alg\":\"RS256\",\"kid\":\"b\"}", pkeys.rsa, keys, JWT_BAD_SIGNATURE);
    expect("{\"alg\":\"RS256\",\"kid\":\"c\"}", pkeys.rsa, keys, JWT_UNKNOWN_KEY);
    expect("{\"alg\":\"RS256\"}", pkeys.rsa, keys, JWT_OK);
    expect("{\"alg\":\"RS256\"}", pkeys.other_rsa, keys, JWT_OK);
    expect("{\"alg\":\"ES256\",\"kid\":\"a\"}", pkeys.p256, keys, JWT_NO_EC_KEY);
    jwt_keys_unref(keys);
}

static uint32_t cost_of(const char *header, EVP_PKEY *pkey, struct jwt_keys *keys)
{
    struct jwt_trust trust = {.keys = {keys, NULL}};
    char *token = token_signed(header, PAYLOAD, 256, pkey);
    uint32_t cost_us;
    struct jwt jwt;

    assert_int_equal(jwt_parse(slice_of(token), &jwt), JWT_OK);
    cost_us = jwt_verify_cost_us(&jwt, &trust);
    free(token);
    return cost_us;
}

static void the_cost_is_that_of_the_keys_that_would_be_tried(void **state)
{
    struct jwt_keys *keys = read_set(
        set_of(jwk_text(pkeys.rsa, ",\"kid\":\"a\""), jwk_text(pkeys.other_rsa, ",\"kid\":\"b\"")), 0);
    uint32_t one = cost_of("{\"alg\":\"RS256\",\"kid\":\"a\"}", pkeys.rsa, keys), many = 0;

    (void)state;
    assert_true(one > 0 && one < 100);
    assert_int_equal(cost_of("{\"alg\":\"RS256\"}", pkeys.rsa, keys), 2 * one);
    assert_int_equal(cost_of("{\"alg\":\"RS256\",\"kid\":\"c\"}", pkeys.rsa, keys), 0);
    assert_int_equal(cost_of("{\"alg\":\"ES256\"}", pkeys.p256, keys), 0);
    for (int i = 0; i < 10; i++)
        add_public(keys, pkeys.p384);
    many = cost_of("{\"alg\":\"ES384\"}", pkeys.p384, keys);
    assert_true(many > 1000 && many % JWT_TRIES_MAX == 0);
    add_public(keys, pkeys.p384);
    assert_int_equal(cost_of("{\"alg\":\"ES384\"}", pkeys.p384, keys), many);
    jwt_keys_unref(keys);
}

static void a_key_without_kid_is_tried_for_every_kid(void **state)
{
    struct jwt_keys *keys = read_set(set_of(jwk_text(pkeys.rsa, ""), NULL), 0);

    (void)state;
    expect("{\"alg\":\"RS256\",\"kid\":\"a\"}", pkeys.rsa, keys, JWT_OK);
    expect("{\"alg\":\"RS256\",\"kid\":\"a\"}", pkeys.other_rsa, keys, JWT_UNKNOWN_KEY);
    expect("{\"alg\":\"RS256\"}", pkeys.other_rsa, keys, JWT_BAD_SIGNATURE);
    jwt_keys_unref(keys);
}

static void alg_pins_a_key_to_one_algorithm(void **state)
{
    struct jwt_keys *keys = read_set(
        set_of(jwk_text(pkeys.rsa, ",\"alg\":\"RS512\""), jwk_text(pkeys.p256, ",\"alg\":\"ES256\"")), 0);

    (void)state;
    expect("{\"alg\":\"RS256\"}", pkeys.rsa, keys, JWT_NO_RSA_KEY);
    expect("{\"alg\":\"ES256\"}", pkeys.p256, keys, JWT_OK);
    jwt_keys_unref(keys);
}

static void no_more_than_some_keys_are_tried(void **state)
{
    char *text = strdup("{\"keys\":["), *jwk = jwk_text(pkeys.p384, ""), *more, *wanted = jwk_text(pkeys.p256, "");
    struct jwt_keys *keys;

    (void)state;
    for (int i = 0; i < 8; i++) {
        EVP_PKEY *pkey = make_key("P-256", 0);
        char *one = jwk_text(pkey, "");
        assert_true(asprintf(&more, "%s%s,", text, one) > 0);
        free(text);
        free(one);
        EVP_PKEY_free(pkey);
        text = more;
    }
    assert_true(asprintf(&more, "%s%s,%s]}", text, jwk, wanted) > 0);
    free(text);
    free(jwk);
    free(wanted);
    keys = read_set(more, 0);
    assert_int_equal(jwt_keys_count(keys), 10);
    expect("{\"alg\":\"ES256\"}", pkeys.p256, keys, JWT_BAD_SIGNATURE);
    jwt_keys_unref(keys);
}

static void leaves_out_what_is_not_for_signatures(void **state)
{
    static const char *const more[] = {",\"use\":\"enc\"",
                                       ",\"use\":5",
                                       ",\"key_ops\":[\"sign\"]",
                                       ",\"key_ops\":[]",
                                       ",\"alg\":\"RSA-OAEP\"",
                                       ",\"alg\":\"HS256\"",
                                       ",\"alg\":\"ES256\"",
                                       ",\"alg\":\"none\"",
                                       ",\"kid\":7",
                                       ",\"kid\":\"\""};

    (void)state;
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        jwt_keys_unref(read_set(set_of(jwk_text(pkeys.rsa, more[i]), NULL), 1));
    jwt_keys_unref(read_set(set_of(jwk_text(pkeys.rsa, ",\"key_ops\":[\"sign\",\"verify\"]"), NULL), 0));
}

/* Secrets in a set that everybody can fetch would be none; and keys that are weak, off their curve or slow. */
static void leaves_out_dangerous_keys(void **state)
{
    static const char *const jwks[] = {
        "{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"alg\":\"HS256\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
        "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        "{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"\"}",
        "{\"kty\":\"RSA\"}",
        "{\"kty\":5}",
        "{}",
        "[]",
        "null"};
    char *small = jwk_text(pkeys.small_rsa, "");

    (void)state;
    for (size_t i = 0; i < sizeof(jwks) / sizeof(jwks[0]); i++)
        jwt_keys_unref(read_set(set_of(strdup(jwks[i]), NULL), 1));
    jwt_keys_unref(read_set(set_of(small, jwk_text(pkeys.rsa, "")), 1));
}

/* With an exponent of 1 every text is its own signature. */
static void leaves_out_rsa_exponents_that_make_no_key(void **state)
{
    static const char *const exponents[] = {"AQ", "Ag", "AA", "AQABAQABAQABAQAB"};
    char *jwk = jwk_text(pkeys.rsa, ""), *at = strstr(jwk, "\"e\":"), *text = NULL;

    (void)state;
    *at = '\0';
    for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++) {
        assert_true(asprintf(&text, "%s\"e\":\"%s\"}", jwk, exponents[i]) > 0);
        jwt_keys_unref(read_set(set_of(text, NULL), 1));
    }
    free(jwk);
}

static void a_set_has_a_limit(void **state)
{
    char *jwk = jwk_text(pkeys.p256, ""), *text = malloc(100 * (strlen(jwk) + 2)), *at = text;
    struct jwt_keys *keys;

    (void)state;
    at = stpcpy(at, "{\"keys\":[");
    for (unsigned i = 0; i < JWT_KEYS_MAX + 3; i++)
        at = stpcpy(stpcpy(at, i == 0 ? "" : ","), jwk);
    strcpy(at, "]}");
    keys = read_set(text, 3);
    assert_int_equal(jwt_keys_count(keys), JWT_KEYS_MAX);
    jwt_keys_unref(keys);
    free(jwk);
}

static void refuses_what_is_no_set(void **state)
{
    static const char *const texts[] = {"",
                                        "[]",
                                        "{}",
                                        "{\"keys\":{}}",
                                        "{\"keys\":[}",
                                        "<html></html>",
                                        "{\"keys\":[],\"keys\":[]}",
                                        "{\"keys\":[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]}"};
    struct jwt_keys *keys = jwt_keys_new();

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *why = NULL;
        size_t left_out;
        assert_int_equal(jwt_keys_add_jwks(keys, slice_of(texts[i]), &left_out, &why), -EINVAL);
        assert_non_null(why);
    }
    assert_int_equal(jwt_keys_count(keys), 0);
    jwt_keys_unref(keys);
    jwt_keys_unref(read_set(strdup("{\"keys\":[]}"), 0));
}

static void a_set_lives_as_long_as_its_last_reference(void **state)
{
    struct jwt_keys *keys = read_set(set_of(jwk_text(pkeys.rsa, ""), NULL), 0), *other = jwt_keys_ref(keys);

    (void)state;
    jwt_keys_unref(keys);
    expect("{\"alg\":\"RS256\"}", pkeys.rsa, other, JWT_OK);
    jwt_keys_unref(other);
    assert_null(jwt_keys_ref(NULL));
    jwt_keys_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_keys_of_a_pem_file),
        cmocka_unit_test(refuses_pem_files_that_do_not_fit),
        cmocka_unit_test(a_kid_chooses_the_key),
        cmocka_unit_test(the_cost_is_that_of_the_keys_that_would_be_tried),
        cmocka_unit_test(a_key_without_kid_is_tried_for_every_kid),
        cmocka_unit_test(alg_pins_a_key_to_one_algorithm),
        cmocka_unit_test(no_more_than_some_keys_are_tried),
        cmocka_unit_test(leaves_out_what_is_not_for_signatures),
        cmocka_unit_test(leaves_out_dangerous_keys),
        cmocka_unit_test(leaves_out_rsa_exponents_that_make_no_key),
        cmocka_unit_test(a_set_has_a_limit),
        cmocka_unit_test(refuses_what_is_no_set),
        cmocka_unit_test(a_set_lives_as_long_as_its_last_reference),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
