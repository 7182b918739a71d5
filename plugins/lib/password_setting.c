/*
 * password_setting: `sha256`, `salt,sha256`, `pbkdf2,sha256,1000,20` and checks by them.
 */
#include "lib/password_setting.h"
#include "lib/password_digest.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <string.h>

#define WORDS_MAX 4u

struct named_digest {
    const char *word;
    const char *digest; /* OpenSSL's name */
    bool is_mac_only;   /* known after pbkdf2 alone */
};

static const struct named_digest digests[] = {
    {"md5", "MD5", false},
    {"sha", "SHA1", false},
    {"sha256", "SHA256", false},
    {"sha512", "SHA512", false},
    {"ripemd160", "RIPEMD160", true},
    {"sha224", "SHA224", true},
    {"sha384", "SHA384", true},
    {"md4", "MD4", true},
};

static bool is_word(struct emqc_slice word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.data, text, word.len) == 0;
}

static const char *digest_named(struct emqc_slice word, bool is_mac)
{
    for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
        if (is_word(word, digests[i].word) && (is_mac || !digests[i].is_mac_only))
            return digests[i].digest;
    }
    return NULL;
}

/* 0: more than WORDS_MAX. */
static size_t split(struct emqc_slice text, struct emqc_slice out_words[WORDS_MAX])
{
    const char *from = text.data, *end = text.data + text.len;
    size_t count = 0;

    while (count < WORDS_MAX) {
        const char *comma = memchr(from, ',', (size_t)(end - from));
        out_words[count++] = password_slice(from, (size_t)((comma == NULL ? end : comma) - from));
        if (comma == NULL)
            return count;
        from = comma + 1;
    }
    return 0;
}

/* A decimal number, 1 to `max`. */
static bool read_number(struct emqc_slice word, uint32_t max, uint32_t *out_value)
{
    uint64_t value = 0;

    if (word.len == 0 || word.len > 10)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] < '0' || word.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(word.data[i] - '0');
    }
    if (value == 0 || value > max)
        return false;
    *out_value = (uint32_t)value;
    return true;
}

static bool read_method(struct emqc_slice word, struct password_setting *setting)
{
    if (is_word(word, "plain")) {
        setting->method = PASSWORD_METHOD_PLAIN;
        return true;
    }
    if (is_word(word, "bcrypt")) {
        setting->method = PASSWORD_METHOD_BCRYPT;
        return true;
    }
    setting->method = PASSWORD_METHOD_DIGEST;
    setting->digest = digest_named(word, false);
    return setting->digest != NULL;
}

static int read_pbkdf2(const struct emqc_slice words[WORDS_MAX], struct password_setting *setting, const char **out_why)
{
    setting->method = PASSWORD_METHOD_PBKDF2;
    setting->is_salted = true;
    setting->digest = digest_named(words[1], true);
    if (setting->digest == NULL) {
        *out_why = "the mac of pbkdf2 is one of md5, ripemd160, sha, sha224, sha256, sha384, sha512";
        return -EINVAL;
    }
    if (!password_digest_exists(setting->digest)) {
        *out_why = "OpenSSL does not have this mac here; better ones are sha256 and sha512";
        return -ENOTSUP;
    }
    if (!read_number(words[2], PASSWORD_ITERATIONS_MAX, &setting->iterations)) {
        *out_why = "the iterations of pbkdf2 are a number from 1 to 10000000";
        return -EINVAL;
    }
    if (!read_number(words[3], PASSWORD_KEY_BYTES_MAX, &setting->key_bytes)) {
        *out_why = "the length of pbkdf2 is a number of bytes from 1 to 256";
        return -EINVAL;
    }
    return 0;
}

int password_setting_parse(struct emqc_slice text, struct password_setting *out_setting, const char **out_why)
{
    struct password_setting setting = {.method = PASSWORD_METHOD_PLAIN};
    struct emqc_slice words[WORDS_MAX] = {{NULL, 0}};
    size_t count = text.data == NULL ? 0 : split(text, words);
    bool is_known = false;

    if (count == 4 && is_word(words[0], "pbkdf2")) {
        int err = read_pbkdf2(words, &setting, out_why);
        if (err == 0)
            *out_setting = setting;
        return err;
    }
    if (count == 1) {
        is_known = read_method(words[0], &setting);
    } else if (count == 2) {
        setting.is_salted = true;
        setting.is_salt_first = is_word(words[0], "salt");
        is_known = (setting.is_salt_first || is_word(words[1], "salt")) &&
                   read_method(words[setting.is_salt_first ? 1 : 0], &setting);
    }
    if (!is_known) {
        *out_why = "one of plain, md5, sha, sha256, sha512, bcrypt; with salt, before or ,salt behind it; or "
                   "pbkdf2,<mac>,<iterations>,<length>; without blanks";
        return -EINVAL;
    }
    *out_setting = setting;
    return 0;
}

bool password_setting_is_slow(const struct password_setting *setting)
{
    return setting->method == PASSWORD_METHOD_BCRYPT || setting->method == PASSWORD_METHOD_PBKDF2;
}

/* What password_equal() and password_bcrypt() say, as a result of ours. */
static int verdict(int is_same)
{
    return is_same == 1 ? 0 : is_same == 0 ? -EACCES : is_same;
}

static int verify_hex(const uint8_t *hash, size_t len, struct emqc_slice stored)
{
    char text[2 * PASSWORD_KEY_BYTES_MAX];
    int is_same;

    password_hex(hash, len, text);
    is_same = password_equal(password_slice(text, 2 * len), stored);
    OPENSSL_cleanse(text, sizeof(text));
    return verdict(is_same);
}

static int verify_plain(struct emqc_slice stored, struct emqc_slice first, struct emqc_slice second)
{
    /* The stored text is cut where the first part ends; both parts are compared, so that the time tells nothing of the first. */
    int head, tail;

    if (stored.len != first.len + second.len)
        return -EACCES;
    head = password_equal(password_slice(stored.data, first.len), first);
    tail = password_equal(password_slice(stored.data + first.len, second.len), second);
    if (head < 0 || tail < 0)
        return -EIO;
    return verdict(head & tail);
}

static int verify_digest(const struct password_setting *setting, struct emqc_slice stored, struct emqc_slice first,
                         struct emqc_slice second)
{
    uint8_t hash[PASSWORD_DIGEST_MAX];
    size_t len = 0;
    int err = password_digest(setting->digest, first, second, hash, &len);

    if (err == 0)
        err = verify_hex(hash, len, stored);
    OPENSSL_cleanse(hash, sizeof(hash));
    return err;
}

static int verify_pbkdf2(const struct password_setting *setting, struct emqc_slice stored, struct emqc_slice salt,
                         struct emqc_slice password)
{
    uint8_t key[PASSWORD_KEY_BYTES_MAX];
    int err = password_pbkdf2(setting->digest, password, salt, setting->iterations, key, setting->key_bytes);

    if (err == 0)
        err = verify_hex(key, setting->key_bytes, stored);
    OPENSSL_cleanse(key, sizeof(key));
    return err;
}

int password_setting_verify(const struct password_setting *setting, struct emqc_slice stored, struct emqc_slice salt,
                            struct emqc_slice password)
{
    bool is_salt_there = salt.data != NULL;
    struct emqc_slice first = password, second = {"", 0};

    if (stored.data == NULL || password.data == NULL || is_salt_there != setting->is_salted)
        return -EACCES;
    if (setting->method == PASSWORD_METHOD_PBKDF2)
        return verify_pbkdf2(setting, stored, salt, password);
    if (setting->method == PASSWORD_METHOD_BCRYPT)
        return verdict(password_bcrypt(password, setting->is_salted ? salt : stored, stored));
    if (setting->is_salted) {
        first = setting->is_salt_first ? salt : password;
        second = setting->is_salt_first ? password : salt;
    }
    return setting->method == PASSWORD_METHOD_PLAIN ? verify_plain(stored, first, second)
                                                    : verify_digest(setting, stored, first, second);
}
