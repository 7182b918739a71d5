/*
 * jwt: JSON Web Tokens in compact form (RFC 7519, RFC 7515), and the keys that they are checked with.
 *
 * The order of use: jwt_parse() looks at the header alone; jwt_verify() checks the signature; only then jwt_claims_new() reads the rest.
 * The kind of key decides which algorithms it is for, never the token: a secret is for HS*, an RSA key for RS*, a key on P-256 for ES256
 * alone. Keys that a token names or brings along (jku, jwk, x5u, x5c) are not looked at. Nothing of a token is kept or logged.
 *
 * Pure, apart from the memory of results. Thread: any; a set of keys may be used by several at a time.
 */
#ifndef PLUGINS_LIB_JWT_H
#define PLUGINS_LIB_JWT_H

#include <stdbool.h>
#include <stdint.h>

#include <emqc/plugin.h>

#define JWT_TOKEN_MAX 16384u   /* bytes; a longer one is refused */
#define JWT_HEADER_MAX 4096u   /* bytes of its text; what begins with more is no token */
#define JWT_KEY_ID_MAX 255u    /* bytes of a kid; a token with a longer one is refused, such a key of a set left out */
#define JWT_SIGNATURE_MAX 1024 /* bytes: RSA with 8192 bits */
#define JWT_DEPTH_MAX 16       /* JSON in JSON; deeper is refused */

enum jwt_algorithm {
    JWT_HS256,
    JWT_HS384,
    JWT_HS512,
    JWT_RS256,
    JWT_RS384,
    JWT_RS512,
    JWT_ES256,
    JWT_ES384,
    JWT_ES512,
    JWT_ALGORITHM_COUNT
};

enum jwt_result {
    JWT_OK,
    JWT_NOT_A_TOKEN,   /* it does not begin with a JSON object in base64url and a dot: a password, say */
    JWT_TOO_LONG,      /* JWT_TOKEN_MAX */
    JWT_MALFORMED,     /* it begins like one, but the rest is none; a member that is there twice */
    JWT_UNSUPPORTED,   /* alg is "none", unknown or missing; or it needs an extension (crit) */
    JWT_NO_SECRET,     /* HS*, but there is no secret */
    JWT_NO_RSA_KEY,    /* RS*, but there is no RSA key */
    JWT_NO_EC_KEY,     /* ES*, but there is no key on its curve */
    JWT_UNKNOWN_KEY,   /* there are keys of that kind, but none with the token's kid, nor does one without a kid fit */
    JWT_BAD_SIGNATURE, /* it was not made with the key */
    JWT_EXPIRED,       /* exp has come */
    JWT_NOT_YET_VALID, /* nbf has not come */
    JWT_ISSUED_IN_FUTURE, /* iat has not come */
    JWT_WRONG_TYPE,       /* exp, nbf or iat is not a number */
    JWT_CLAIM_DIFFERS,    /* a claim is not as it has to be; for callers, see jwt_claims_match() */
    JWT_NO_MEMORY,
    JWT_RESULT_COUNT
};

struct jwt_claims;
struct jwt_keys;

/* What jwt_parse() has found; points into the token. */
struct jwt {
    enum jwt_algorithm algorithm;
    char key_id[JWT_KEY_ID_MAX + 1]; /* "": none */
    struct emqc_slice signed_text;
    struct emqc_slice payload_text;
    unsigned char signature[JWT_SIGNATURE_MAX];
    size_t signature_len;
};

/* What tokens are checked with. */
struct jwt_trust {
    struct emqc_slice secret; /* absent: no HS* */
    struct jwt_keys *keys[2]; /* NULL: none; looked through in this order */
};

/* A word for the log, "token_expired"; static. */
const char *jwt_result_text(enum jwt_result result);

/* "HS256"; static. */
const char *jwt_algorithm_name(enum jwt_algorithm algorithm);

/* Reads the header. JWT_OK, JWT_NOT_A_TOKEN, JWT_TOO_LONG, JWT_MALFORMED or JWT_UNSUPPORTED. */
enum jwt_result jwt_parse(struct emqc_slice token, struct jwt *out_jwt);

/* About how long jwt_verify() will take, in us; 0 when no key fits and it ends at once. For deciding where to do it. */
uint32_t jwt_verify_cost_us(const struct jwt *jwt, const struct jwt_trust *trust);

/* Checks the signature. Of keys that fit, JWT_TRIES_MAX are tried: those with the token's kid and those without one; all, when the token has
 * none. JWT_OK, JWT_NO_*, JWT_UNKNOWN_KEY, JWT_BAD_SIGNATURE. */
enum jwt_result jwt_verify(const struct jwt *jwt, const struct jwt_trust *trust);
#define JWT_TRIES_MAX 8

/* ---- Claims: jwt_claims.c ---- */

/* Reads the payload. JWT_OK, JWT_MALFORMED or JWT_NO_MEMORY. */
enum jwt_result jwt_claims_new(const struct jwt *jwt, struct jwt_claims **out_claims);
void jwt_claims_free(struct jwt_claims *claims);

/* exp, nbf and iat, those that are there, against `now_s` (since 1970); clocks may differ by `leeway_s`. JWT_OK, JWT_EXPIRED,
 * JWT_NOT_YET_VALID, JWT_ISSUED_IN_FUTURE or JWT_WRONG_TYPE. RFC 7519, section 4.1. */
enum jwt_result jwt_claims_check_time(const struct jwt_claims *claims, int64_t now_s, int64_t leeway_s);

/* Is this claim that text? An absent `text` is equal to an absent claim alone. `is_literal`: the text comes from the settings; then
 * integers, true and false are equal to their words, and an array "aud" (RFC 7519, section 4.1.3) is equal if one of its texts is. */
bool jwt_claims_match(const struct jwt_claims *claims, const char *name, struct emqc_slice text, bool is_literal);

/* ---- Keys: jwt_keys.c ---- */

#define JWT_KEYS_MAX 64u      /* of a set; more are left out and counted as such */
#define JWT_RSA_BITS_MIN 2048 /* RFC 7518, section 3.3 */
#define JWT_RSA_BITS_MAX 8192 /* a check with more takes too long */

/* An empty set with one reference; NULL when memory is short. */
struct jwt_keys *jwt_keys_new(void);
struct jwt_keys *jwt_keys_ref(struct jwt_keys *keys);
void jwt_keys_unref(struct jwt_keys *keys); /* NULL is fine */
size_t jwt_keys_count(const struct jwt_keys *keys);

/* Adds the public keys of a PEM file, also those of certificates; without kid. All of them, or -EINVAL and why not: static text. -ENOMEM. */
int jwt_keys_add_pem(struct jwt_keys *keys, struct emqc_slice text, const char **out_why);

/* Adds the keys of a JWK set (RFC 7517, section 5) that are for signatures of ours; the rest, secrets too, is counted in `*out_left_out`.
 * -EINVAL and why not: it is no set at all; -ENOMEM. */
int jwt_keys_add_jwks(struct jwt_keys *keys, struct emqc_slice text, size_t *out_left_out, const char **out_why);

#endif
