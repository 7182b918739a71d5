/* jwt: the header of a token and its signature. */
#include "jwt_internal.h"

#include "base64url.h"

#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

#define SECRET_COST_US 5
#define ECDSA_DER_MAX 160 /* bytes: P-521 needs 139 */

const struct jwt_algorithm_row jwt_algorithms[] = {
    [JWT_HS256] = {"HS256", EVP_sha256, JWT_SECRET, 0}, [JWT_HS384] = {"HS384", EVP_sha384, JWT_SECRET, 0},
    [JWT_HS512] = {"HS512", EVP_sha512, JWT_SECRET, 0}, [JWT_RS256] = {"RS256", EVP_sha256, JWT_RSA, 0},
    [JWT_RS384] = {"RS384", EVP_sha384, JWT_RSA, 0},    [JWT_RS512] = {"RS512", EVP_sha512, JWT_RSA, 0},
    [JWT_ES256] = {"ES256", EVP_sha256, JWT_P256, 32},  [JWT_ES384] = {"ES384", EVP_sha384, JWT_P384, 48},
    [JWT_ES512] = {"ES512", EVP_sha512, JWT_P521, 66},
};

/* The words of the original where it has one. */
static const char *const result_texts[JWT_RESULT_COUNT] = {
    [JWT_OK] = "ok",
    [JWT_NOT_A_TOKEN] = "token_not_found",
    [JWT_TOO_LONG] = "token_too_long",
    [JWT_MALFORMED] = "token_malformed",
    [JWT_UNSUPPORTED] = "token_unsupported",
    [JWT_NO_SECRET] = "hmac_secret_undefined",
    [JWT_NO_RSA_KEY] = "rsa_pubkey_undefined",
    [JWT_NO_EC_KEY] = "ecdsa_pubkey_undefined",
    [JWT_UNKNOWN_KEY] = "token_key_unknown",
    [JWT_BAD_SIGNATURE] = "token_signature_invalid",
    [JWT_EXPIRED] = "token_expired",
    [JWT_NOT_YET_VALID] = "token_not_yet_valid",
    [JWT_ISSUED_IN_FUTURE] = "token_issued_in_future",
    [JWT_WRONG_TYPE] = "token_time_not_a_number",
    [JWT_CLAIM_DIFFERS] = "token_claim_differs",
    [JWT_NO_MEMORY] = "no_memory",
};

const char *jwt_result_text(enum jwt_result result)
{
    return result_texts[result];
}

const char *jwt_algorithm_name(enum jwt_algorithm algorithm)
{
    return jwt_algorithms[algorithm].name;
}

int jwt_algorithm_find(const char *name)
{
    for (int i = 0; i < JWT_ALGORITHM_COUNT; i++)
        if (strcmp(jwt_algorithms[i].name, name) == 0)
            return i;
    return -1;
}

/* How deep brackets stand in each other; those in texts do not count. */
static unsigned json_depth(const char *text, size_t len)
{
    unsigned depth = 0, deepest = 0;
    bool in_text = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '"')
            in_text = !in_text;
        else if (in_text)
            i += c == '\\';
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

json_t *jwt_json_object(const char *text, size_t len, bool *out_is_object)
{
    json_error_t error;
    json_t *json;

    *out_is_object = len > 0 && text[0] == '{';
    if (json_depth(text, len) > JWT_DEPTH_MAX)
        return NULL;
    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        *out_is_object = *out_is_object && json_error_code(&error) == json_error_duplicate_key;
    else if (!json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

/* alg, kid and crit. Other members say nothing that matters here. */
static enum jwt_result header_read(const json_t *header, struct jwt *jwt)
{
    const json_t *algorithm = json_object_get(header, "alg"), *key_id = json_object_get(header, "kid");
    int index = json_is_string(algorithm) ? jwt_algorithm_find(json_string_value(algorithm)) : -1;

    /* "If any of the listed extension Header Parameters are not understood and supported by the recipient, then the JWS is
     * invalid." (RFC 7515, section 4.1.11). None is. */
    if (index < 0 || json_object_get(header, "crit") != NULL)
        return JWT_UNSUPPORTED;
    if (key_id != NULL && (!json_is_string(key_id) || json_string_length(key_id) > JWT_KEY_ID_MAX))
        return JWT_MALFORMED;
    jwt->algorithm = (enum jwt_algorithm)index;
    snprintf(jwt->key_id, sizeof(jwt->key_id), "%s", key_id == NULL ? "" : json_string_value(key_id));
    return JWT_OK;
}

static enum jwt_result header_parse(struct emqc_slice text, struct jwt *jwt)
{
    unsigned char bytes[BASE64_DECODED_MAX(JWT_HEADER_MAX)];
    enum jwt_result result;
    bool is_object = false;
    json_t *header;
    size_t len;

    if (text.len > JWT_HEADER_MAX || base64_decode(BASE64_URL, text.data, text.len, bytes, sizeof(bytes), &len) < 0)
        return JWT_NOT_A_TOKEN;
    header = jwt_json_object((const char *)bytes, len, &is_object);
    if (header == NULL)
        return is_object ? JWT_MALFORMED : JWT_NOT_A_TOKEN;
    result = header_read(header, jwt);
    json_decref(header);
    return result;
}

enum jwt_result jwt_parse(struct emqc_slice token, struct jwt *out_jwt)
{
    const char *end = token.data + token.len, *dot, *second;
    enum jwt_result result;

    if (token.len == 0 || (dot = memchr(token.data, '.', token.len)) == NULL)
        return JWT_NOT_A_TOKEN;
    result = header_parse((struct emqc_slice){token.data, (size_t)(dot - token.data)}, out_jwt);
    if (result != JWT_OK)
        return result;
    if (token.len > JWT_TOKEN_MAX)
        return JWT_TOO_LONG;
    dot++;
    second = memchr(dot, '.', (size_t)(end - dot));
    if (second == NULL)
        return JWT_MALFORMED;
    out_jwt->payload_text = (struct emqc_slice){dot, (size_t)(second - dot)};
    out_jwt->signed_text = (struct emqc_slice){token.data, (size_t)(second - token.data)};
    second++;
    if (base64_decode(BASE64_URL, second, (size_t)(end - second), out_jwt->signature, sizeof(out_jwt->signature),
                      &out_jwt->signature_len) < 0)
        return JWT_MALFORMED;
    return JWT_OK;
}

static bool secret_fits(const struct jwt *jwt, struct emqc_slice secret)
{
    unsigned char made[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (secret.len > INT32_MAX ||
        HMAC(jwt_algorithms[jwt->algorithm].digest(), secret.data, (int)secret.len,
             (const unsigned char *)jwt->signed_text.data, jwt->signed_text.len, made, &len) == NULL)
        return false;
    return jwt->signature_len == len && CRYPTO_memcmp(made, jwt->signature, len) == 0;
}

/* The two numbers of a signature one behind the other (RFC 7518, section 3.4), as OpenSSL wants them. 0: the length is wrong. */
static size_t ecdsa_der(const struct jwt *jwt, unsigned char out_der[ECDSA_DER_MAX])
{
    size_t number_len = jwt_algorithms[jwt->algorithm].number_len;
    ECDSA_SIG *pair = NULL;
    BIGNUM *r = NULL, *s = NULL;
    int len = 0;

    if (jwt->signature_len != 2 * number_len)
        return 0;
    pair = ECDSA_SIG_new();
    r = BN_bin2bn(jwt->signature, (int)number_len, NULL);
    s = BN_bin2bn(jwt->signature + number_len, (int)number_len, NULL);
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL;
        if (i2d_ECDSA_SIG(pair, NULL) <= ECDSA_DER_MAX)
            len = i2d_ECDSA_SIG(pair, &out_der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return len > 0 ? (size_t)len : 0;
}

static bool key_fits(const struct jwt *jwt, const struct jwt_key *key)
{
    unsigned char der[ECDSA_DER_MAX];
    const unsigned char *signature = jwt->signature;
    size_t len = jwt->signature_len;
    EVP_MD_CTX *context;
    EVP_PKEY_CTX *key_context; /* the context's */
    bool fits;

    if (key->kind != JWT_RSA) {
        len = ecdsa_der(jwt, der);
        signature = der;
    }
    context = len > 0 ? EVP_MD_CTX_new() : NULL;
    if (context == NULL)
        return false;
    fits = EVP_DigestVerifyInit(context, &key_context, jwt_algorithms[jwt->algorithm].digest(), NULL, key->pkey) == 1 &&
           (key->kind != JWT_RSA || EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PADDING) == 1) &&
           EVP_DigestVerify(context, signature, len, (const unsigned char *)jwt->signed_text.data,
                            jwt->signed_text.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error(); /* what failed here is nobody else's error */
    return fits;
}

/* Is the key for tokens of this algorithm? */
static bool key_is_for(const struct jwt_key *key, const struct jwt *jwt)
{
    return key->kind == jwt_algorithms[jwt->algorithm].kind &&
           (key->algorithm < 0 || key->algorithm == (int)jwt->algorithm);
}

/* Does the token name this key, or leave open which it is? */
static bool key_is_named(const struct jwt_key *key, const struct jwt *jwt)
{
    return key->id == NULL || jwt->key_id[0] == '\0' || strcmp(key->id, jwt->key_id) == 0;
}

/* Measured with bench/micro/jwt_bench on a core of a 2020s server. OpenSSL 3.0 has fast code for P-256 only; RSA grows with the square of the size. */
static uint32_t key_cost_us(const struct jwt_key *key)
{
    uint32_t bits = (uint32_t)EVP_PKEY_get_bits(key->pkey);

    switch (key->kind) {
    case JWT_P256: return 110;
    case JWT_P384: return 1300;
    case JWT_P521: return 1000;
    default: return bits * bits / 180000;
    }
}

uint32_t jwt_verify_cost_us(const struct jwt *jwt, const struct jwt_trust *trust)
{
    uint32_t cost_us = 0, tries = 0;

    if (jwt_algorithms[jwt->algorithm].kind == JWT_SECRET)
        return trust->secret.len > 0 ? SECRET_COST_US : 0;
    for (size_t set = 0; set < sizeof(trust->keys) / sizeof(trust->keys[0]); set++) {
        const struct jwt_keys *keys = trust->keys[set];
        for (size_t i = 0; keys != NULL && i < keys->count && tries < JWT_TRIES_MAX; i++)
            if (key_is_for(&keys->keys[i], jwt) && key_is_named(&keys->keys[i], jwt)) {
                cost_us += key_cost_us(&keys->keys[i]);
                tries++;
            }
    }
    return cost_us;
}

/* What a look through the keys has found. */
struct search {
    bool found_kind;
    bool found_id;
    unsigned tries;
};

static bool set_fits(const struct jwt *jwt, const struct jwt_keys *set, struct search *search)
{
    for (size_t i = 0; set != NULL && i < set->count; i++) {
        const struct jwt_key *key = &set->keys[i];
        if (!key_is_for(key, jwt))
            continue;
        search->found_kind = true;
        if (!key_is_named(key, jwt))
            continue;
        search->found_id |= key->id != NULL && jwt->key_id[0] != '\0';
        if (search->tries == JWT_TRIES_MAX)
            return false;
        search->tries++;
        if (key_fits(jwt, key))
            return true;
    }
    return false;
}

enum jwt_result jwt_verify(const struct jwt *jwt, const struct jwt_trust *trust)
{
    struct search search = {.tries = 0};

    if (jwt_algorithms[jwt->algorithm].kind == JWT_SECRET) {
        if (trust->secret.len == 0)
            return JWT_NO_SECRET;
        return secret_fits(jwt, trust->secret) ? JWT_OK : JWT_BAD_SIGNATURE;
    }
    for (size_t i = 0; i < sizeof(trust->keys) / sizeof(trust->keys[0]); i++)
        if (set_fits(jwt, trust->keys[i], &search))
            return JWT_OK;
    if (!search.found_kind)
        return jwt_algorithms[jwt->algorithm].kind == JWT_RSA ? JWT_NO_RSA_KEY : JWT_NO_EC_KEY;
    return jwt->key_id[0] != '\0' && !search.found_id ? JWT_UNKNOWN_KEY : JWT_BAD_SIGNATURE;
}
