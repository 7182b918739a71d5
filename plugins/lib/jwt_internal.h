/* jwt_internal: what the files of jwt share. */
#ifndef PLUGINS_LIB_JWT_INTERNAL_H
#define PLUGINS_LIB_JWT_INTERNAL_H

#include <jansson.h>
#include <openssl/evp.h>

#include "jwt.h"

enum jwt_key_kind { JWT_SECRET, JWT_RSA, JWT_P256, JWT_P384, JWT_P521 };

struct jwt_key {
    EVP_PKEY *pkey;
    enum jwt_key_kind kind;
    int algorithm; /* enum jwt_algorithm that it is for alone; -1: all of its kind */
    char *id;      /* kid; NULL: none */
};

struct jwt_keys {
    int reference_count; /* atomic */
    size_t count;
    struct jwt_key keys[JWT_KEYS_MAX];
};

/* All about an algorithm. RFC 7518, section 3.1. */
struct jwt_algorithm_row {
    const char *name;
    const EVP_MD *(*digest)(void);
    enum jwt_key_kind kind;
    size_t number_len; /* of ES*: bytes of each half of the signature */
};

/* JWT_ALGORITHM_COUNT rows. */
extern const struct jwt_algorithm_row jwt_algorithms[];

/* The algorithm of that name; -1: none of ours. */
int jwt_algorithm_find(const char *name);

/* Reads a JSON object, nothing behind it, at most JWT_DEPTH_MAX deep, no member twice. NULL; then `*out_is_object` says whether it was one but
 * for such a rule. The caller drops it. */
json_t *jwt_json_object(const char *text, size_t len, bool *out_is_object);

#endif
