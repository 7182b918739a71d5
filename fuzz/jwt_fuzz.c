/*
 * jwt_fuzz: any bytes as a token.
 *
 * What jwt_parse() takes has its parts inside the token and one way to write each of them; no token that was not signed with the secret
 * or key of the seeds is let in by luck. The claims are read whether the signature is right or not: they must stand any JSON.
 */
#include "lib/base64url.h"
#include "lib/jwt.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(fact)                                                                                                    \
    do {                                                                                                               \
        if (!(fact))                                                                                                   \
            abort();                                                                                                   \
    } while (0)

/* The key of RFC 7515, appendix A.3. */
static const char set[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\","
                          "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                          "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const char secret[] = "the secret of the seeds, which the fuzzer does not know";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Encoded again, it is the same text but for padding. */
static void check_base64(struct emqc_slice text)
{
    size_t room = BASE64_DECODED_MAX(text.len), len;
    unsigned char *bytes = malloc(room), *again = malloc(room / 3 * 4 + 8);

    CHECK(bytes != NULL && again != NULL);
    if (base64_decode(BASE64_URL, text.data, text.len, bytes, room, &len) == 0) {
        int again_len = EVP_EncodeBlock(again, bytes, (int)len);
        while (again_len > 0 && again[again_len - 1] == '=')
            again_len--;
        for (int i = 0; i < again_len; i++)
            CHECK(text.data[i] == (again[i] == '+' ? '-' : again[i] == '/' ? '_' : again[i]));
        for (size_t i = (size_t)again_len; i < text.len; i++)
            CHECK(text.data[i] == '=');
    }
    free(bytes);
    free(again);
}

static void check_claims(const struct jwt *jwt)
{
    struct jwt_claims *claims = NULL;
    struct emqc_slice text = {"c1", 2};
    enum jwt_result result = jwt_claims_new(jwt, &claims);

    CHECK((result == JWT_OK) == (claims != NULL));
    if (claims == NULL)
        return;
    result = jwt_claims_check_time(claims, 1700000000, 5);
    CHECK(result == JWT_OK || (result >= JWT_EXPIRED && result <= JWT_WRONG_TYPE));
    if (jwt_claims_match(claims, "sub", text, false))
        CHECK(jwt_claims_match(claims, "sub", text, true));
    if (jwt_claims_match(claims, "aud", (struct emqc_slice){NULL, 0}, true))
        CHECK(!jwt_claims_match(claims, "aud", text, true));
    jwt_claims_free(claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwt_keys *keys;
    struct jwt_trust trust = {.secret = {secret, sizeof(secret) - 1}};
    char *token = malloc(size + (size == 0)); /* of its own size, so that a read past the end is seen */
    struct jwt jwt;
    enum jwt_result result;
    const char *why;
    size_t left_out;

    CHECK(token != NULL);
    if (keys == NULL) {
        keys = jwt_keys_new();
        CHECK(keys != NULL && jwt_keys_add_jwks(keys, (struct emqc_slice){set, sizeof(set) - 1}, &left_out, &why) == 0);
    }
    trust.keys[0] = keys;
    if (size > 0)
        memcpy(token, data, size);
    check_base64((struct emqc_slice){token, size});
    result = jwt_parse((struct emqc_slice){token, size}, &jwt);
    CHECK(result <= JWT_UNSUPPORTED);
    if (result == JWT_OK) {
        CHECK(jwt.signed_text.data == token && jwt.signed_text.len < size);
        CHECK(jwt.payload_text.data > token &&
              jwt.payload_text.data + jwt.payload_text.len == jwt.signed_text.data + jwt.signed_text.len);
        CHECK(memchr(jwt.key_id, '\0', sizeof(jwt.key_id)) != NULL);
        result = jwt_verify(&jwt, &trust);
        CHECK(result == JWT_OK || (result >= JWT_NO_SECRET && result <= JWT_BAD_SIGNATURE));
        CHECK(result != JWT_OK || jwt.algorithm <= JWT_HS512 || jwt.algorithm == JWT_ES256);
        check_claims(&jwt);
    }
    free(token);
    return 0;
}
