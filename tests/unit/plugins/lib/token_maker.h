/* token_maker: tokens and keys for the tests of jwt. Failures end the test. */
#ifndef TESTS_PLUGINS_LIB_TOKEN_MAKER_H
#define TESTS_PLUGINS_LIB_TOKEN_MAKER_H

#include <openssl/evp.h>

#include "lib/jwt.h"

/* base64url without padding; the caller frees it. */
char *base64url_text(const void *data, size_t len);

/* header "." payload "." signature by HMAC with SHA-256, -384 or -512 (`bits`); the caller frees it. */
char *token_hmac(const char *header, const char *payload, int bits, const char *secret);

/* Likewise with a private key: RSA with PKCS #1 v1.5, or ECDSA with the two numbers side by side. */
char *token_signed(const char *header, const char *payload, int bits, EVP_PKEY *pkey);

/* A fresh key: "RSA" with so many bits, "P-256", "P-384", "P-521", "secp256k1". */
EVP_PKEY *make_key(const char *kind, unsigned bits);

/* The public half as PEM, added to a set. */
void add_public(struct jwt_keys *keys, EVP_PKEY *pkey);

/* As a JWK with further members (", \"kid\":..."); the caller frees it. */
char *jwk_text(EVP_PKEY *pkey, const char *more);

struct emqc_slice slice_of(const char *text);

/* jwt_parse() and jwt_verify() of a copy of its own size. */
enum jwt_result verify(const char *token, const struct jwt_trust *trust);

#endif
