/* jwt_keys: public keys from PEM files and JWK sets. */
#include "jwt_internal.h"

#include "base64url.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define EXPONENT_BYTES_MAX 8 /* of RSA keys; all real ones have 3. A long one makes checks slow */
#define POINT_BYTES_MAX 133  /* P-521: 1 + 2 * 66 */

struct jwt_keys *jwt_keys_new(void)
{
    struct jwt_keys *keys = calloc(1, sizeof(*keys));

    if (keys != NULL)
        keys->reference_count = 1;
    return keys;
}

struct jwt_keys *jwt_keys_ref(struct jwt_keys *keys)
{
    if (keys != NULL)
        (void)__atomic_add_fetch(&keys->reference_count, 1, __ATOMIC_RELAXED);
    return keys;
}

void jwt_keys_unref(struct jwt_keys *keys)
{
    if (keys == NULL || __atomic_sub_fetch(&keys->reference_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < keys->count; i++) {
        EVP_PKEY_free(keys->keys[i].pkey);
        free(keys->keys[i].id);
    }
    free(keys);
}

size_t jwt_keys_count(const struct jwt_keys *keys)
{
    return keys->count;
}

/* What algorithms a key is for. -1: none of ours; `*out_why` says why. */
static int kind_of(const EVP_PKEY *pkey, const char **out_why)
{
    char curve[64];
    size_t len;

    *out_why = "it is neither an RSA key nor one on P-256, P-384 or P-521";
    if (EVP_PKEY_is_a(pkey, "RSA")) {
        *out_why = "an RSA key must have 2048 to 8192 bits (RFC 7518, section 3.3)";
        return EVP_PKEY_get_bits(pkey) < JWT_RSA_BITS_MIN || EVP_PKEY_get_bits(pkey) > JWT_RSA_BITS_MAX ? -1 : JWT_RSA;
    }
    if (!EVP_PKEY_is_a(pkey, "EC") || EVP_PKEY_get_group_name(pkey, curve, sizeof(curve), &len) != 1)
        return -1;
    switch (OBJ_txt2nid(curve)) {
    case NID_X9_62_prime256v1: return JWT_P256;
    case NID_secp384r1: return JWT_P384;
    case NID_secp521r1: return JWT_P521;
    default: return -1;
    }
}

/* Adds a key, and takes it in any case. -EINVAL and why not; -ENOMEM. */
static int key_add_take(struct jwt_keys *keys, EVP_PKEY *pkey, const char *id, int algorithm, const char **out_why)
{
    int kind = kind_of(pkey, out_why), err = -EINVAL;
    char *id_copy = NULL;

    if (kind < 0)
        goto fail;
    *out_why = "its kind is not the one that alg says";
    if (algorithm >= 0 && jwt_algorithms[algorithm].kind != (enum jwt_key_kind)kind)
        goto fail;
    *out_why = "there are too many keys";
    if (keys->count == JWT_KEYS_MAX)
        goto fail;
    err = -ENOMEM;
    if (id != NULL && (id_copy = strdup(id)) == NULL)
        goto fail;
    keys->keys[keys->count++] = (struct jwt_key){pkey, (enum jwt_key_kind)kind, algorithm, id_copy};
    return 0;
fail:
    EVP_PKEY_free(pkey);
    return err;
}

/* ---- PEM ---- */

/* A block's key. NULL: it has none that can be read. */
static EVP_PKEY *block_key(const char *name, const unsigned char *data, long len)
{
    EVP_PKEY *pkey = NULL;
    X509 *certificate;

    if (strcmp(name, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &data, len);
    if (strcmp(name, PEM_STRING_RSA_PUBLIC) == 0)
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &data, len);
    certificate = d2i_X509(NULL, &data, len);
    if (certificate != NULL)
        pkey = X509_get_pubkey(certificate);
    X509_free(certificate);
    return pkey;
}

static int block_add(struct jwt_keys *keys, const char *name, const unsigned char *data, long len, const char **out_why)
{
    EVP_PKEY *pkey;

    if (strcmp(name, PEM_STRING_ECPARAMETERS) == 0)
        return 0; /* openssl ecparam writes it in front of a key, which says it again */
    *out_why = "it holds a private key; here belongs the public one";
    if (strstr(name, "PRIVATE KEY") != NULL)
        return -EINVAL;
    *out_why = "it holds something else than public keys and certificates";
    if (strcmp(name, PEM_STRING_PUBLIC) != 0 && strcmp(name, PEM_STRING_RSA_PUBLIC) != 0 &&
        strcmp(name, PEM_STRING_X509) != 0)
        return -EINVAL;
    *out_why = "a key in it cannot be read";
    pkey = block_key(name, data, len);
    return pkey == NULL ? -EINVAL : key_add_take(keys, pkey, NULL, -1, out_why);
}

int jwt_keys_add_pem(struct jwt_keys *keys, struct emqc_slice text, const char **out_why)
{
    BIO *bio = text.len > INT32_MAX ? NULL : BIO_new_mem_buf(text.data, (int)text.len);
    size_t count = keys->count;
    unsigned char *data;
    char *name, *header;
    int err = 0;
    long len;

    if (bio == NULL)
        return -ENOMEM;
    /* Ends with the text: each block has at least one line of it. */
    while (err == 0 && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        err = block_add(keys, name, data, len, out_why);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)len);
    }
    BIO_free(bio);
    if (err == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        *out_why = "a block of it is damaged";
        err = -EINVAL;
    }
    ERR_clear_error();
    if (err == 0 && keys->count == count) {
        *out_why = "there is no key in it (PEM begins with -----BEGIN PUBLIC KEY-----)";
        err = -EINVAL;
    }
    return err;
}

/* ---- JWK sets ---- */

static const char *text_member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name)); /* NULL: absent, or no text */
}

/* A number in base64url, big endian, at most `size` bytes; its length, 0: there is none. */
static size_t number_member(const json_t *jwk, const char *name, unsigned char *out_bytes, size_t size)
{
    const char *text = text_member(jwk, name);
    size_t len = 0;

    if (text == NULL || base64_decode(BASE64_URL, text, strlen(text), out_bytes, size, &len) < 0)
        return 0;
    return len;
}

/* A key of these parameters, checked. NULL: it is none. */
static EVP_PKEY *pkey_from(const char *type, OSSL_PARAM *parameters)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL), *check = NULL;
    EVP_PKEY *pkey = NULL;

    if (context != NULL && parameters != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, parameters) == 1)
        check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (check == NULL || EVP_PKEY_public_check_quick(check) != 1) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(context);
    return pkey;
}

/* RFC 7518, section 6.3.1. */
static EVP_PKEY *rsa_from(const json_t *jwk)
{
    unsigned char modulus[JWT_RSA_BITS_MAX / 8], exponent[EXPONENT_BYTES_MAX];
    size_t modulus_len = number_member(jwk, "n", modulus, sizeof(modulus));
    size_t exponent_len = number_member(jwk, "e", exponent, sizeof(exponent));
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn(modulus, (int)modulus_len, NULL), *e = BN_bin2bn(exponent, (int)exponent_len, NULL);
    OSSL_PARAM *parameters = NULL;
    EVP_PKEY *pkey = NULL;

    if (builder != NULL && n != NULL && e != NULL && modulus_len > 0 && BN_num_bits(n) >= JWT_RSA_BITS_MIN &&
        BN_is_odd(n) && BN_is_odd(e) && !BN_is_one(e) && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e))
        parameters = OSSL_PARAM_BLD_to_param(builder);
    if (parameters != NULL)
        pkey = pkey_from("RSA", parameters);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return pkey;
}

/* RFC 7518, section 6.2.1: "The length of this octet string MUST be the full size of a coordinate". */
static EVP_PKEY *ec_from(const json_t *jwk)
{
    static const struct {
        const char *name, *group;
        size_t number_len;
    } curves[] = {{"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    const char *name = text_member(jwk, "crv");
    unsigned char point[POINT_BYTES_MAX] = {POINT_CONVERSION_UNCOMPRESSED};
    OSSL_PARAM parameters[3];

    for (size_t i = 0; name != NULL && i < sizeof(curves) / sizeof(curves[0]); i++) {
        size_t len = curves[i].number_len;
        if (strcmp(curves[i].name, name) != 0)
            continue;
        if (number_member(jwk, "x", point + 1, len) != len || number_member(jwk, "y", point + 1 + len, len) != len)
            return NULL;
        parameters[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curves[i].group, 0);
        parameters[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * len);
        parameters[2] = OSSL_PARAM_construct_end();
        return pkey_from("EC", parameters);
    }
    return NULL;
}

/* Is it for checking signatures? RFC 7517, sections 4.2 and 4.3. */
static bool for_signatures(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use"), *operations = json_object_get(jwk, "key_ops");

    if (use != NULL && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
        return false;
    if (operations == NULL)
        return true;
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const char *operation = json_string_value(json_array_get(operations, i));
        if (operation != NULL && strcmp(operation, "verify") == 0)
            return true;
    }
    return false;
}

/* -EINVAL: it is not for us. */
static int jwk_add(struct jwt_keys *keys, const json_t *jwk)
{
    const json_t *id = json_object_get(jwk, "kid"), *algorithm = json_object_get(jwk, "alg");
    const char *type = text_member(jwk, "kty"), *why;
    EVP_PKEY *pkey = NULL;
    int index = -1;

    if (type == NULL || !for_signatures(jwk) || keys->count == JWT_KEYS_MAX)
        return -EINVAL;
    if (id != NULL && (!json_is_string(id) || json_string_length(id) > JWT_KEY_ID_MAX || json_string_length(id) == 0))
        return -EINVAL;
    if (algorithm != NULL &&
        (!json_is_string(algorithm) || (index = jwt_algorithm_find(json_string_value(algorithm))) < 0))
        return -EINVAL;
    if (strcmp(type, "RSA") == 0)
        pkey = rsa_from(jwk);
    else if (strcmp(type, "EC") == 0)
        pkey = ec_from(jwk);
    ERR_clear_error();
    return pkey == NULL ? -EINVAL : key_add_take(keys, pkey, json_string_value(id), index, &why);
}

int jwt_keys_add_jwks(struct jwt_keys *keys, struct emqc_slice text, size_t *out_left_out, const char **out_why)
{
    bool is_object;
    json_t *set = jwt_json_object(text.data, text.len, &is_object);
    const json_t *list = json_object_get(set, "keys");
    size_t left_out = 0;
    int err = 0;

    if (!json_is_array(list)) {
        *out_why = set == NULL ? "it is not a JSON object" : "it has no array \"keys\"";
        err = -EINVAL;
    }
    for (size_t i = 0; err == 0 && i < json_array_size(list); i++) {
        err = jwk_add(keys, json_array_get(list, i));
        left_out += err == -EINVAL;
        err = err == -EINVAL ? 0 : err;
    }
    json_decref(set);
    if (err == 0)
        *out_left_out = left_out;
    return err;
}
