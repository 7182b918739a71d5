/*
 * scram: see scram.h. Names of keys and messages are those of RFC 5802, section 3:
 *
 *   SaltedPassword = PBKDF2(password, salt, i)      ClientKey = HMAC(SaltedPassword, "Client Key")     StoredKey = H(ClientKey)
 *   ServerKey = HMAC(SaltedPassword, "Server Key")  AuthMessage = client-first-bare "," server-first "," client-final-without-proof
 *   ClientSignature = HMAC(StoredKey, AuthMessage)  ClientProof = ClientKey XOR ClientSignature
 *   ServerSignature = HMAC(ServerKey, AuthMessage)
 */
#include "lib/scram.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define CLIENT_FINAL_MAX 1024u
#define GS2_HEADER_MAX SCRAM_CLIENT_FIRST_MAX

enum phase { PHASE_BEGIN, PHASE_CLIENT_FIRST, PHASE_CHALLENGED, PHASE_OVER };

static const struct {
    const char *name;
    size_t key_bytes;
} mechanisms[SCRAM_MECHANISM_COUNT] = {
    [SCRAM_SHA_256] = {"SCRAM-SHA-256", 32},
    [SCRAM_SHA_512] = {"SCRAM-SHA-512", 64},
};

const char *scram_name(enum scram_mechanism mechanism)
{
    return mechanisms[mechanism].name;
}

size_t scram_key_bytes(enum scram_mechanism mechanism)
{
    return mechanisms[mechanism].key_bytes;
}

static const EVP_MD *digest_of(enum scram_mechanism mechanism)
{
    return mechanism == SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();
}

static bool equals(struct emqc_slice text, const char *other)
{
    return text.len == strlen(other) && memcmp(text.data, other, text.len) == 0;
}

bool scram_find(struct emqc_slice name, enum scram_mechanism *out_mechanism)
{
    for (int i = 0; i < SCRAM_MECHANISM_COUNT; i++) {
        if (name.data != NULL && equals(name, mechanisms[i].name)) {
            *out_mechanism = (enum scram_mechanism)i;
            return true;
        }
    }
    return false;
}

/* ---- keys ---- */

/* Over `text` to out_code, which has SCRAM_KEY_MAX bytes. */
static bool keyed_hash(enum scram_mechanism mechanism, const uint8_t *key, size_t key_len, struct emqc_slice text,
                       uint8_t *out_code)
{
    unsigned len = 0;

    return HMAC(digest_of(mechanism), key, (int)key_len, (const uint8_t *)text.data, text.len, out_code, &len) != NULL;
}

static bool hash(enum scram_mechanism mechanism, const uint8_t *bytes, size_t len, uint8_t *out_hash)
{
    unsigned hash_len = 0;

    return EVP_Digest(bytes, len, out_hash, &hash_len, digest_of(mechanism), NULL) == 1;
}

#define TEXT(literal) ((struct emqc_slice){(literal), sizeof(literal) - 1})

int scram_derive(enum scram_mechanism mechanism, struct emqc_slice password, struct emqc_slice salt,
                 uint32_t iterations, struct scram_credentials *out_credentials)
{
    size_t key_bytes = scram_key_bytes(mechanism);
    uint8_t salted[SCRAM_KEY_MAX], client_key[SCRAM_KEY_MAX];
    struct scram_credentials made = {.mechanism = mechanism, .iterations = iterations, .salt_len = salt.len};

    if (!scram_text_fits(password, SCRAM_PASSWORD_MAX) || salt.len == 0 || salt.len > SCRAM_SALT_MAX ||
        iterations < SCRAM_ITERATIONS_MIN || iterations > SCRAM_ITERATIONS_MAX)
        return -EINVAL;
    memcpy(made.salt, salt.data, salt.len);
    bool is_fine = PKCS5_PBKDF2_HMAC(password.data, (int)password.len, made.salt, (int)salt.len, (int)iterations,
                                     digest_of(mechanism), (int)key_bytes, salted) == 1 &&
                   keyed_hash(mechanism, salted, key_bytes, TEXT("Client Key"), client_key) &&
                   hash(mechanism, client_key, key_bytes, made.stored_key) &&
                   keyed_hash(mechanism, salted, key_bytes, TEXT("Server Key"), made.server_key);
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client_key, sizeof(client_key));
    if (is_fine)
        *out_credentials = made;
    OPENSSL_cleanse(&made, sizeof(made));
    return is_fine ? 0 : -EIO;
}

int scram_fake(enum scram_mechanism mechanism, const uint8_t secret[SCRAM_SECRET_BYTES], struct emqc_slice user_name,
               uint32_t iterations, struct scram_credentials *out_credentials)
{
    uint8_t code[SCRAM_KEY_MAX] = {0};
    struct scram_credentials made = {.mechanism = mechanism, .iterations = iterations, .salt_len = SCRAM_SALT_BYTES};

    /* With the mechanism's own hash, so that a name has different salts for both, as a real user has. */
    if (!keyed_hash(mechanism, secret, SCRAM_SECRET_BYTES, user_name, code))
        return -EIO;
    memcpy(made.salt, code, SCRAM_SALT_BYTES);
    memcpy(made.stored_key, secret,
           SCRAM_SECRET_BYTES); /* nothing hashes to it that anybody knows; and is_known is false */
    memcpy(made.server_key, secret, SCRAM_SECRET_BYTES);
    *out_credentials = made;
    return 0;
}

/* ---- reading ---- */

/* The next attribute, up to a comma, without it; false: there is none. `rest` begins behind it; data NULL: it was the last one. */
static bool next_attribute(struct emqc_slice *rest, struct emqc_slice *out_attribute)
{
    const char *comma;

    if (rest->data == NULL)
        return false;
    comma = rest->len == 0 ? NULL : memchr(rest->data, ',', rest->len);
    if (comma == NULL) {
        *out_attribute = *rest;
        *rest = (struct emqc_slice){NULL, 0};
    } else {
        *out_attribute = (struct emqc_slice){rest->data, (size_t)(comma - rest->data)};
        *rest = (struct emqc_slice){comma + 1, rest->len - out_attribute->len - 1};
    }
    return true;
}

/* Is it NAME=VALUE with this name? */
static bool attribute_is(struct emqc_slice attribute, char name, struct emqc_slice *out_value)
{
    if (attribute.len < 2 || attribute.data[0] != name || attribute.data[1] != '=')
        return false;
    *out_value = (struct emqc_slice){attribute.data + 2, attribute.len - 2};
    return true;
}

/* An extension: a letter, = and at least one character. */
static bool is_extension(struct emqc_slice attribute)
{
    char letter = attribute.len < 3 ? '\0' : attribute.data[0];

    return ((letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z')) && attribute.data[1] == '=' &&
           scram_text_fits(attribute, SCRAM_CLIENT_FIRST_MAX);
}

/* saslname: =2C stands for a comma, =3D for itself; no other = may be there. */
static bool read_name(struct emqc_slice escaped, char *out_name, size_t *out_len)
{
    size_t len = 0;

    for (size_t i = 0; i < escaped.len; i++) {
        char character = escaped.data[i];
        if (len == SCRAM_USER_NAME_MAX)
            return false;
        if (character == '=') {
            if (escaped.len - i < 3)
                return false;
            if (memcmp(escaped.data + i, "=2C", 3) != 0 && memcmp(escaped.data + i, "=3D", 3) != 0)
                return false;
            character = escaped.data[i + 1] == '2' ? ',' : '=';
            i += 2;
        }
        out_name[len++] = character;
    }
    *out_len = len;
    return scram_text_fits((struct emqc_slice){out_name, len}, SCRAM_USER_NAME_MAX);
}

static bool is_printable(struct emqc_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < 0x21 || text.data[i] > 0x7E || text.data[i] == ',')
            return false;
    }
    return text.len > 0;
}

/* gs2-header. The authorization identity may be absent: data NULL. */
static const char *read_header(struct emqc_slice *rest, struct emqc_slice *out_authorization)
{
    struct emqc_slice flag, identity;

    *out_authorization = (struct emqc_slice){NULL, 0};
    if (!next_attribute(rest, &flag) || !next_attribute(rest, &identity))
        return "a SCRAM message without its header";
    if (flag.len >= 1 && flag.data[0] == 'p')
        return "SCRAM channel binding is not offered";
    if (!equals(flag, "n") && !equals(flag, "y"))
        return "a SCRAM message with a wrong channel binding flag";
    if (identity.len > 0 && !attribute_is(identity, 'a', out_authorization))
        return "a SCRAM message with a wrong authorization identity";
    return rest->data == NULL ? "a SCRAM message without its header" : NULL;
}

/* client-first-message-bare: the name, the nonce and what may follow. */
static const char *read_bare(struct emqc_slice rest, struct emqc_slice *out_name, struct emqc_slice *out_nonce)
{
    struct emqc_slice attribute;

    if (!next_attribute(&rest, &attribute))
        return "a SCRAM message without a user name";
    if (attribute.len >= 2 && attribute.data[0] == 'm' && attribute.data[1] == '=')
        return "a mandatory SCRAM extension that is not known"; /* RFC 5802, section 5.1 */
    if (!attribute_is(attribute, 'n', out_name))
        return "a SCRAM message without a user name";
    if (!next_attribute(&rest, &attribute) || !attribute_is(attribute, 'r', out_nonce) || !is_printable(*out_nonce) ||
        out_nonce->len > SCRAM_CLIENT_NONCE_MAX)
        return "a SCRAM message without a proper nonce";
    while (next_attribute(&rest, &attribute)) {
        if (!is_extension(attribute))
            return "a SCRAM message with a malformed extension";
    }
    return NULL;
}

static const char *read_first(struct scram_exchange *exchange, struct emqc_slice message)
{
    struct emqc_slice rest = message, authorization, name, nonce;
    char identity[SCRAM_USER_NAME_MAX];
    size_t name_len = 0, identity_len = 0;
    const char *wrong = read_header(&rest, &authorization);

    if (wrong != NULL)
        return wrong;
    exchange->bare_at = (uint16_t)(rest.data - message.data);
    wrong = read_bare(rest, &name, &nonce);
    if (wrong != NULL)
        return wrong;
    if (!read_name(name, exchange->user_name, &name_len))
        return "a SCRAM message with a malformed user name";
    if (authorization.data != NULL && (!read_name(authorization, identity, &identity_len) || identity_len != name_len ||
                                       memcmp(identity, exchange->user_name, name_len) != 0))
        return "a SCRAM authorization identity other than the user name";
    exchange->user_name_len = (uint16_t)name_len;
    exchange->client_nonce_at = (uint16_t)(nonce.data - message.data);
    exchange->client_nonce_len = (uint16_t)nonce.len;
    return NULL;
}

int scram_read_first(struct scram_exchange *exchange, enum scram_mechanism mechanism, struct emqc_slice message,
                     const char **out_why)
{
    const char *wrong = "no SCRAM message, or one that is too long";

    if (exchange->phase == PHASE_BEGIN && message.len > 0 && message.len <= SCRAM_CLIENT_FIRST_MAX)
        wrong = read_first(exchange, message);
    if (wrong != NULL) {
        *out_why = wrong;
        return -EINVAL;
    }
    memcpy(exchange->client_first, message.data, message.len);
    exchange->client_first_len = (uint16_t)message.len;
    exchange->mechanism = (uint8_t)mechanism;
    exchange->phase = PHASE_CLIENT_FIRST;
    return 0;
}

struct emqc_slice scram_user_name(const struct scram_exchange *exchange)
{
    return (struct emqc_slice){exchange->user_name, exchange->user_name_len};
}

struct emqc_slice scram_challenge(struct scram_exchange *exchange, const struct scram_credentials *credentials,
                                  bool is_known, struct emqc_slice server_nonce)
{
    char salt[SCRAM_SALT_MAX / 3 * 4 + 5];
    int len;

    scram_base64_encode((struct emqc_slice){(const char *)credentials->salt, credentials->salt_len}, salt);
    len = snprintf(exchange->server_first, sizeof(exchange->server_first), "r=%.*s%.*s,s=%s,i=%u",
                   (int)exchange->client_nonce_len, exchange->client_first + exchange->client_nonce_at,
                   (int)server_nonce.len, server_nonce.data, salt, credentials->iterations);
    if (exchange->phase != PHASE_CLIENT_FIRST || len < 0 || len >= (int)sizeof(exchange->server_first) ||
        credentials->mechanism != (enum scram_mechanism)exchange->mechanism)
        return (struct emqc_slice){NULL, 0}; /* the caller's mistake; nothing is right after it */
    exchange->credentials = *credentials;
    exchange->is_known = is_known;
    exchange->server_first_len = (uint16_t)len;
    exchange->phase = PHASE_CHALLENGED;
    return (struct emqc_slice){exchange->server_first, (size_t)len};
}

/* ---- the end ---- */

/* c= has the header of client-first as it was. */
static bool has_header(const struct scram_exchange *exchange, struct emqc_slice binding)
{
    uint8_t header[GS2_HEADER_MAX];
    int len = scram_base64_decode(binding, header, sizeof(header));

    return len == exchange->bare_at && memcmp(header, exchange->client_first, exchange->bare_at) == 0;
}

/* r= has the nonce of server-first, the client's and ours. */
static bool has_nonce(const struct scram_exchange *exchange, struct emqc_slice nonce)
{
    struct emqc_slice rest = {exchange->server_first, exchange->server_first_len}, attribute, ours;

    return next_attribute(&rest, &attribute) && attribute_is(attribute, 'r', &ours) && nonce.len == ours.len &&
           CRYPTO_memcmp(nonce.data, ours.data, ours.len) == 0;
}

/* `*out_without_proof` of the message is what comes before ",p=". */
static const char *read_final(const struct scram_exchange *exchange, struct emqc_slice message, uint8_t *out_proof,
                              struct emqc_slice *out_without_proof)
{
    struct emqc_slice rest = message, attribute, value;
    size_t key_bytes = scram_key_bytes((enum scram_mechanism)exchange->mechanism);

    if (!next_attribute(&rest, &attribute) || !attribute_is(attribute, 'c', &value) || !has_header(exchange, value))
        return "a SCRAM proof with another channel binding";
    if (!next_attribute(&rest, &attribute) || !attribute_is(attribute, 'r', &value) || !has_nonce(exchange, value))
        return "a SCRAM proof with another nonce";
    while (next_attribute(&rest, &attribute) && rest.data != NULL) {
        if (!is_extension(attribute) || attribute.data[0] == 'm')
            return "a SCRAM proof with an extension that is malformed or not known";
    }
    if (!attribute_is(attribute, 'p', &value) || scram_base64_decode(value, out_proof, key_bytes) != (int)key_bytes)
        return "a malformed SCRAM proof";
    *out_without_proof = (struct emqc_slice){message.data, (size_t)(attribute.data - message.data) - 1};
    return NULL;
}

/* AuthMessage; gives its length. */
static size_t make_auth_message(const struct scram_exchange *exchange, struct emqc_slice without_proof, char *out)
{
    size_t bare_len = (size_t)exchange->client_first_len - exchange->bare_at;
    char *end = out;

    memcpy(end, exchange->client_first + exchange->bare_at, bare_len);
    end += bare_len;
    *end++ = ',';
    memcpy(end, exchange->server_first, exchange->server_first_len);
    end += exchange->server_first_len;
    *end++ = ',';
    memcpy(end, without_proof.data, without_proof.len);
    return (size_t)(end - out) + without_proof.len;
}

/* Does H(ClientProof XOR ClientSignature) give StoredKey? -EIO. */
static int check_proof(const struct scram_exchange *exchange, struct emqc_slice auth_message, const uint8_t *proof)
{
    enum scram_mechanism mechanism = (enum scram_mechanism)exchange->mechanism;
    size_t key_bytes = scram_key_bytes(mechanism);
    uint8_t key[SCRAM_KEY_MAX], stored[SCRAM_KEY_MAX];
    bool is_fine = keyed_hash(mechanism, exchange->credentials.stored_key, key_bytes, auth_message, key);
    int err = -EIO;

    for (size_t i = 0; is_fine && i < key_bytes; i++)
        key[i] ^= proof[i]; /* ClientKey */
    if (is_fine && hash(mechanism, key, key_bytes, stored)) {
        int differs = CRYPTO_memcmp(stored, exchange->credentials.stored_key, key_bytes);
        err = ((differs != 0) | (exchange->is_known == 0)) ? -EACCES : 0;
    }
    OPENSSL_cleanse(key, sizeof(key));
    return err;
}

static int answer_final(const struct scram_exchange *exchange, struct emqc_slice without_proof, const uint8_t *proof,
                        char *out_server_final)
{
    enum scram_mechanism mechanism = (enum scram_mechanism)exchange->mechanism;
    char text[SCRAM_CLIENT_FIRST_MAX + SCRAM_SERVER_FIRST_MAX + CLIENT_FINAL_MAX + 2];
    struct emqc_slice auth_message = {text, make_auth_message(exchange, without_proof, text)};
    uint8_t signature[SCRAM_KEY_MAX];
    int err = check_proof(exchange, auth_message, proof);

    if (!keyed_hash(mechanism, exchange->credentials.server_key, scram_key_bytes(mechanism), auth_message, signature))
        return -EIO;
    if (err < 0)
        return err;
    out_server_final[0] = 'v';
    out_server_final[1] = '=';
    scram_base64_encode((struct emqc_slice){(const char *)signature, scram_key_bytes(mechanism)}, out_server_final + 2);
    return 0;
}

int scram_finish(struct scram_exchange *exchange, struct emqc_slice message,
                 char out_server_final[SCRAM_SERVER_FINAL_MAX], const char **out_why)
{
    uint8_t proof[SCRAM_KEY_MAX];
    struct emqc_slice without_proof;
    const char *wrong = "no SCRAM proof, or one that is too long";
    int err;

    if (exchange->phase == PHASE_CHALLENGED && message.len > 0 && message.len <= CLIENT_FINAL_MAX)
        wrong = read_final(exchange, message, proof, &without_proof);
    exchange->phase = PHASE_OVER;
    if (wrong != NULL) {
        *out_why = wrong;
        return -EINVAL;
    }
    err = answer_final(exchange, without_proof, proof, out_server_final);
    *out_why = err == -EACCES ? "wrong user name or password" : "OpenSSL cannot compute SCRAM's hashes";
    return err;
}
