/* token_maker: signs with OpenSSL what jwt then checks with OpenSSL; that both are right is what the tests of the RFCs' vectors show. */
#include "token_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *base64url_text(const void *data, size_t len)
{
    char *text = malloc(len / 3 * 4 + 8);

    assert_non_null(text);
    EVP_EncodeBlock((unsigned char *)text, data, (int)len);
    for (char *c = text; *c != '\0'; c++)
        *c = (char)(*c == '+' ? '-' : *c == '/' ? '_' : *c);
    text[strcspn(text, "=")] = '\0';
    return text;
}

static char *join(char *left, char *right)
{
    char *text = NULL;

    assert_true(asprintf(&text, "%s.%s", left, right) > 0);
    free(left);
    free(right);
    return text;
}

static char *unsigned_token(const char *header, const char *payload)
{
    return join(base64url_text(header, strlen(header)), base64url_text(payload, strlen(payload)));
}

static const EVP_MD *digest_of(int bits)
{
    return bits == 256 ? EVP_sha256() : bits == 384 ? EVP_sha384() : EVP_sha512();
}

char *token_hmac(const char *header, const char *payload, int bits, const char *secret)
{
    char *text = unsigned_token(header, payload);
    unsigned char made[EVP_MAX_MD_SIZE];
    unsigned int len;

    assert_non_null(
        HMAC(digest_of(bits), secret, (int)strlen(secret), (unsigned char *)text, strlen(text), made, &len));
    return join(text, base64url_text(made, len));
}

/* DER becomes the two numbers. */
static size_t numbers_of(unsigned char *signature, size_t len, int number_len)
{
    const unsigned char *from = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &from, (long)len);

    assert_non_null(pair);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, number_len), number_len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + number_len, number_len), number_len);
    ECDSA_SIG_free(pair);
    return 2 * (size_t)number_len;
}

char *token_signed(const char *header, const char *payload, int bits, EVP_PKEY *pkey)
{
    char *text = unsigned_token(header, payload);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[2048];
    size_t len = sizeof(signature);

    assert_int_equal(EVP_DigestSignInit(context, NULL, digest_of(bits), NULL, pkey), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &len, (unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(context);
    if (EVP_PKEY_is_a(pkey, "EC"))
        len = numbers_of(signature, len, (EVP_PKEY_get_bits(pkey) + 7) / 8);
    return join(text, base64url_text(signature, len));
}

EVP_PKEY *make_key(const char *kind, unsigned bits)
{
    EVP_PKEY *pkey = strcmp(kind, "RSA") == 0 ? EVP_RSA_gen(bits) : EVP_EC_gen(kind);

    assert_non_null(pkey);
    return pkey;
}

void add_public(struct jwt_keys *keys, EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const char *why = NULL;
    char *text;
    long len;

    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    len = BIO_get_mem_data(bio, &text);
    assert_int_equal(jwt_keys_add_pem(keys, (struct emqc_slice){text, (size_t)len}, &why), 0);
    BIO_free(bio);
}

static char *number_text(EVP_PKEY *pkey, const char *name, int len)
{
    unsigned char bytes[2048];
    BIGNUM *number = NULL;
    char *text;

    assert_int_equal(EVP_PKEY_get_bn_param(pkey, name, &number), 1);
    if (len == 0)
        len = BN_num_bytes(number);
    assert_int_equal(BN_bn2binpad(number, bytes, len), len);
    text = base64url_text(bytes, (size_t)len);
    BN_free(number);
    return text;
}

char *jwk_text(EVP_PKEY *pkey, const char *more)
{
    bool is_rsa = EVP_PKEY_is_a(pkey, "RSA");
    int bits = EVP_PKEY_get_bits(pkey), len = is_rsa ? 0 : (bits + 7) / 8;
    char *first = number_text(pkey, is_rsa ? "n" : "qx", len), *second = number_text(pkey, is_rsa ? "e" : "qy", len);
    char *text = NULL;

    if (is_rsa)
        assert_true(asprintf(&text, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", first, second, more) > 0);
    else
        assert_true(asprintf(&text, "{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s}", bits, first,
                             second, more) > 0);
    free(first);
    free(second);
    return text;
}

struct emqc_slice slice_of(const char *text)
{
    return (struct emqc_slice){text, text == NULL ? 0 : strlen(text)};
}

enum jwt_result verify(const char *token, const struct jwt_trust *trust)
{
    size_t len = strlen(token);
    char *copy = malloc(len + (len == 0)); /* so that a read past the end is seen */
    struct jwt jwt;
    enum jwt_result result;

    assert_non_null(copy);
    memcpy(copy, token, len);
    result = jwt_parse((struct emqc_slice){copy, len}, &jwt);
    if (result == JWT_OK)
        result = jwt_verify(&jwt, trust);
    free(copy);
    return result;
}
