/* jwt_claims: the payload of a token whose signature has been checked. */
#include "jwt_internal.h"

#include "base64url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct jwt_claims {
    json_t *object;
};

enum jwt_result jwt_claims_new(const struct jwt *jwt, struct jwt_claims **out_claims)
{
    size_t size = BASE64_DECODED_MAX(jwt->payload_text.len), len;
    unsigned char *bytes = malloc(size);
    struct jwt_claims *claims = calloc(1, sizeof(*claims));
    enum jwt_result result = JWT_NO_MEMORY;
    bool is_object;

    if (bytes == NULL || claims == NULL)
        goto fail;
    result = JWT_MALFORMED;
    if (base64_decode(BASE64_URL, jwt->payload_text.data, jwt->payload_text.len, bytes, size, &len) < 0)
        goto fail;
    claims->object = jwt_json_object((const char *)bytes, len, &is_object);
    if (claims->object == NULL)
        goto fail;
    free(bytes);
    *out_claims = claims;
    return JWT_OK;
fail:
    free(bytes);
    free(claims);
    return result;
}

void jwt_claims_free(struct jwt_claims *claims)
{
    if (claims == NULL)
        return;
    json_decref(claims->object);
    free(claims);
}

/* A claim with a time, in seconds; they may have a fraction (RFC 7519, section 2, NumericDate). False: it is there and not a number. */
static bool time_read(const struct jwt_claims *claims, const char *name, double otherwise, double *out_s)
{
    const json_t *value = json_object_get(claims->object, name);

    if (value != NULL && !json_is_number(value))
        return false;
    *out_s = value == NULL ? otherwise : json_number_value(value);
    return true;
}

enum jwt_result jwt_claims_check_time(const struct jwt_claims *claims, int64_t now_s, int64_t leeway_s)
{
    double early_s = (double)now_s - (double)leeway_s, late_s = (double)now_s + (double)leeway_s;
    double expiry_s, not_before_s, issued_s;

    if (!time_read(claims, "exp", early_s + 1, &expiry_s) || !time_read(claims, "nbf", late_s, &not_before_s) ||
        !time_read(claims, "iat", late_s, &issued_s))
        return JWT_WRONG_TYPE;
    if (early_s >= expiry_s)
        return JWT_EXPIRED;
    if (late_s < not_before_s)
        return JWT_NOT_YET_VALID;
    return late_s < issued_s ? JWT_ISSUED_IN_FUTURE : JWT_OK;
}

static bool text_equal(struct emqc_slice text, const char *other, size_t other_len)
{
    return text.len == other_len && memcmp(text.data, other, other_len) == 0;
}

static bool string_equal(const json_t *value, struct emqc_slice text)
{
    return json_is_string(value) && text_equal(text, json_string_value(value), json_string_length(value));
}

static bool literal_equal(const json_t *value, struct emqc_slice text)
{
    char number[24];

    if (json_is_boolean(value))
        return json_is_true(value) ? text_equal(text, "true", 4) : text_equal(text, "false", 5);
    if (!json_is_integer(value))
        return string_equal(value, text);
    return text_equal(text, number,
                      (size_t)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value)));
}

bool jwt_claims_match(const struct jwt_claims *claims, const char *name, struct emqc_slice text, bool is_literal)
{
    const json_t *value = json_object_get(claims->object, name);

    if (text.data == NULL || value == NULL)
        return text.data == NULL && value == NULL;
    if (!is_literal)
        return string_equal(value, text);
    if (strcmp(name, "aud") != 0 || !json_is_array(value))
        return literal_equal(value, text);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (string_equal(json_array_get(value, i), text))
            return true;
    return false;
}
