/*
 * scram_record: users as rows of the table. See scram_users.h.
 */
#include "scram_users.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define RECORD_VERSION 1u
#define FLAG_SUPERUSER 1u

_Static_assert(3 + SCRAM_MECHANISM_COUNT * (6 + SCRAM_SALT_MAX + 2 * SCRAM_KEY_MAX) <= SCRAM_RECORD_MAX,
               "a record fits");

static size_t write_bytes(uint8_t *out, const void *bytes, size_t len)
{
    memcpy(out, bytes, len);
    return len;
}

size_t scram_record_write(const struct scram_user *user, uint8_t out_record[SCRAM_RECORD_MAX])
{
    size_t len = 0;

    out_record[len++] = RECORD_VERSION;
    out_record[len++] = user->is_superuser ? FLAG_SUPERUSER : 0;
    out_record[len++] = (uint8_t)user->count;
    for (uint32_t i = 0; i < user->count; i++) {
        const struct scram_credentials *credentials = &user->credentials[i];
        size_t key_bytes = scram_key_bytes(credentials->mechanism);
        out_record[len++] = (uint8_t)credentials->mechanism;
        for (int shift = 24; shift >= 0; shift -= 8)
            out_record[len++] = (uint8_t)(credentials->iterations >> shift);
        out_record[len++] = (uint8_t)credentials->salt_len;
        len += write_bytes(out_record + len, credentials->salt, credentials->salt_len);
        len += write_bytes(out_record + len, credentials->stored_key, key_bytes);
        len += write_bytes(out_record + len, credentials->server_key, key_bytes);
    }
    return len;
}

struct reading {
    const uint8_t *bytes;
    size_t left;
    bool is_short;
};

static void read_bytes(struct reading *reading, void *out, size_t len)
{
    if (reading->is_short || reading->left < len) {
        reading->is_short = true;
        memset(out, 0, len);
        return;
    }
    memcpy(out, reading->bytes, len);
    reading->bytes += len;
    reading->left -= len;
}

static bool read_credentials(struct reading *reading, struct scram_credentials *out)
{
    uint8_t head[6];

    read_bytes(reading, head, sizeof(head));
    if (reading->is_short || head[0] >= SCRAM_MECHANISM_COUNT || head[5] == 0 || head[5] > SCRAM_SALT_MAX)
        return false;
    *out = (struct scram_credentials){
        .mechanism = (enum scram_mechanism)head[0],
        .iterations = (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4],
        .salt_len = head[5],
    };
    read_bytes(reading, out->salt, out->salt_len);
    read_bytes(reading, out->stored_key, scram_key_bytes(out->mechanism));
    read_bytes(reading, out->server_key, scram_key_bytes(out->mechanism));
    return !reading->is_short && out->iterations >= SCRAM_ITERATIONS_MIN && out->iterations <= SCRAM_ITERATIONS_MAX;
}

int scram_record_read(const uint8_t *record, size_t len, struct scram_user *out_user)
{
    struct reading reading = {record, len, false};
    uint8_t head[3];

    read_bytes(&reading, head, sizeof(head));
    if (reading.is_short || head[0] != RECORD_VERSION || head[2] > SCRAM_MECHANISM_COUNT)
        return -EINVAL;
    *out_user = (struct scram_user){.is_superuser = (head[1] & FLAG_SUPERUSER) != 0, .count = head[2]};
    for (uint32_t i = 0; i < out_user->count; i++) {
        if (!read_credentials(&reading, &out_user->credentials[i]))
            return -EINVAL;
    }
    return reading.left == 0 ? 0 : -EINVAL;
}

const struct scram_credentials *scram_user_credentials(const struct scram_user *user, enum scram_mechanism mechanism)
{
    for (uint32_t i = 0; i < user->count; i++) {
        if (user->credentials[i].mechanism == mechanism)
            return &user->credentials[i];
    }
    return NULL;
}

int scram_user_make(struct emqc_slice password, uint32_t iterations, bool is_superuser, struct scram_user *out_user)
{
    struct scram_user made = {.is_superuser = is_superuser, .count = SCRAM_MECHANISM_COUNT};
    uint8_t salt[SCRAM_SALT_BYTES];
    int err = 0;

    for (uint32_t i = 0; err == 0 && i < made.count; i++) {
        if (RAND_bytes(salt, sizeof(salt)) != 1)
            return -EIO;
        err = scram_derive((enum scram_mechanism)i, password, (struct emqc_slice){(const char *)salt, sizeof(salt)},
                           iterations, &made.credentials[i]);
    }
    if (err == 0)
        *out_user = made;
    OPENSSL_cleanse(&made, sizeof(made));
    return err;
}
