/*
 * password_digest: thin over EVP and crypt(3).
 */
#include "lib/password_digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BCRYPT_SALT_BYTES 29u /* "$2b$10$" and 22 characters */
#define BCRYPT_COST_MIN 4

int password_digest(const char *digest, struct emqc_slice first, struct emqc_slice second,
                    uint8_t out_hash[PASSWORD_DIGEST_MAX], size_t *out_len)
{
    EVP_MD *type = EVP_MD_fetch(NULL, digest, NULL);
    EVP_MD_CTX *state = EVP_MD_CTX_new();
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int err = -EIO;

    if (type != NULL && state != NULL && EVP_DigestInit_ex2(state, type, NULL) == 1 &&
        EVP_DigestUpdate(state, first.data, first.len) == 1 && EVP_DigestUpdate(state, second.data, second.len) == 1 &&
        EVP_DigestFinal_ex(state, hash, &len) == 1 && len <= PASSWORD_DIGEST_MAX) {
        memcpy(out_hash, hash, len);
        *out_len = len;
        err = 0;
    }
    OPENSSL_cleanse(hash, sizeof(hash));
    EVP_MD_CTX_free(state);
    EVP_MD_free(type);
    return err;
}

bool password_digest_exists(const char *digest)
{
    EVP_MD *type = EVP_MD_fetch(NULL, digest, NULL);

    EVP_MD_free(type);
    return type != NULL;
}

/* Of digests of the two, as those have one length whatever the texts have. */
int password_equal(struct emqc_slice left, struct emqc_slice right)
{
    uint8_t left_hash[PASSWORD_DIGEST_MAX], right_hash[PASSWORD_DIGEST_MAX];
    const struct emqc_slice none = {"", 0};
    size_t left_len = 0, right_len = 0;
    int result = -EIO;

    if (password_digest("SHA256", left, none, left_hash, &left_len) == 0 &&
        password_digest("SHA256", right, none, right_hash, &right_len) == 0)
        result = left_len == right_len && CRYPTO_memcmp(left_hash, right_hash, left_len) == 0;
    OPENSSL_cleanse(left_hash, sizeof(left_hash));
    OPENSSL_cleanse(right_hash, sizeof(right_hash));
    return result;
}

int password_pbkdf2(const char *digest, struct emqc_slice password, struct emqc_slice salt, uint32_t iterations,
                    uint8_t *out_key, size_t out_len)
{
    EVP_MD *type = EVP_MD_fetch(NULL, digest, NULL);
    int done = 0;

    if (type != NULL)
        done = PKCS5_PBKDF2_HMAC(password.data, (int)password.len, (const unsigned char *)salt.data, (int)salt.len,
                                 (int)iterations, type, (int)out_len, out_key);
    EVP_MD_free(type);
    return done == 1 ? 0 : -EIO;
}

/* "$2b$10$" and 22 characters of its alphabet, with a cost that ends some day. */
static bool is_bcrypt_salt(struct emqc_slice salt)
{
    static const char alphabet[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *text = salt.data;
    int cost;

    if (salt.len < BCRYPT_SALT_BYTES || text[0] != '$' || text[1] != '2' || strchr("aby", text[2]) == NULL ||
        text[2] == '\0' || text[3] != '$' || text[6] != '$')
        return false;
    if (text[4] < '0' || text[4] > '9' || text[5] < '0' || text[5] > '9')
        return false;
    cost = (text[4] - '0') * 10 + text[5] - '0';
    if (cost < BCRYPT_COST_MIN || cost > PASSWORD_BCRYPT_COST_MAX)
        return false;
    for (size_t i = 7; i < BCRYPT_SALT_BYTES; i++) {
        if (text[i] == '\0' || strchr(alphabet, text[i]) == NULL)
            return false;
    }
    return true;
}

int password_bcrypt(struct emqc_slice password, struct emqc_slice salt, struct emqc_slice stored)
{
    char phrase[CRYPT_MAX_PASSPHRASE_SIZE], setting[BCRYPT_SALT_BYTES + 1] = "";
    struct crypt_data *state; /* 32 KiB: too much for the stack of a thread that others set up */
    const char *text;
    int result = 0;

    if (password.data == NULL || stored.data == NULL || salt.data == NULL || !is_bcrypt_salt(salt))
        return 0;
    if (password.len >= sizeof(phrase) || memchr(password.data, '\0', password.len) != NULL)
        return 0;
    state = calloc(1, sizeof(*state));
    if (state == NULL)
        return -ENOMEM;
    memcpy(phrase, password.data, password.len);
    phrase[password.len] = '\0';
    memcpy(setting, salt.data, BCRYPT_SALT_BYTES);
    text = crypt_rn(phrase, setting, state, (int)sizeof(*state));
    if (text != NULL)
        result = password_equal(password_slice(text, strlen(text)), stored);
    OPENSSL_cleanse(phrase, sizeof(phrase));
    OPENSSL_cleanse(state, sizeof(*state));
    free(state);
    return result;
}

void password_hex(const uint8_t *bytes, size_t count, char *out_text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        out_text[2 * i] = digits[bytes[i] >> 4];
        out_text[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

int password_unhex(struct emqc_slice text, uint8_t *out_bytes, size_t size, size_t *out_len)
{
    if (text.len % 2 != 0)
        return -EINVAL;
    if (text.len / 2 > size)
        return -ENOSPC;
    for (size_t i = 0; i < text.len / 2; i++) {
        int high = digit_value(text.data[2 * i]), low = digit_value(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        out_bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out_len = text.len / 2;
    return 0;
}
