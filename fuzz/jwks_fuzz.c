/*
 * jwks_fuzz: any bytes as a JWK set and as a PEM file. What is taken is a set of at most JWT_KEYS_MAX keys, and no key that the fuzzer finds has made
 * the signature of a token that is fixed here.
 */
#include "lib/jwt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(fact)                                                                                                    \
    do {                                                                                                               \
        if (!(fact))                                                                                                   \
            abort();                                                                                                   \
    } while (0)

/* {"alg":"ES256"} and {"alg":"RS256"} with signatures of nobody. */
static const char *const tokens[] = {
    "eyJhbGciOiJFUzI1NiJ9.e30.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    "eyJhbGciOiJSUzI1NiJ9.e30.AQAB"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_keys(struct jwt_keys *keys)
{
    struct jwt_trust trust = {.keys = {keys, NULL}};
    struct jwt jwt;

    CHECK(jwt_keys_count(keys) <= JWT_KEYS_MAX);
    for (size_t i = 0; i < 2; i++) {
        CHECK(jwt_parse((struct emqc_slice){tokens[i], strlen(tokens[i])}, &jwt) == JWT_OK);
        CHECK(jwt_verify(&jwt, &trust) != JWT_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + (size == 0)); /* of its own size, so that a read past the end is seen */
    struct jwt_keys *keys = jwt_keys_new(), *pem_keys = jwt_keys_new();
    const char *why = NULL;
    size_t left_out = 0;
    int err;

    CHECK(text != NULL && keys != NULL && pem_keys != NULL);
    if (size > 0)
        memcpy(text, data, size);
    err = jwt_keys_add_jwks(keys, (struct emqc_slice){text, size}, &left_out, &why);
    CHECK(err == 0 || (err == -EINVAL && why != NULL && jwt_keys_count(keys) == 0));
    check_keys(keys);
    why = NULL;
    err = jwt_keys_add_pem(pem_keys, (struct emqc_slice){text, size}, &why);
    CHECK(err == 0 ? jwt_keys_count(pem_keys) > 0 : err == -EINVAL && why != NULL);
    check_keys(pem_keys);
    jwt_keys_unref(keys);
    jwt_keys_unref(pem_keys);
    free(text);
    return 0;
}
