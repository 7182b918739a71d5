/*
 * password_hash: reading, checking and making of entries. One row of `kinds` says all about a kind.
 */
#include "lib/password_hash.h"
#include "lib/password_digest.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MADE_SALT_BYTES 16u
#define SLOW_SALT_MIN 8u  /* argon2 takes no less */
#define SLOW_HASH_MIN 16u /* shorter ones are not worth their time */
#define ARGON2_MEMORY_MAX_KIB (256u * 1024)
#define ARGON2_WORK_MAX_KIB (1024u * 1024) /* memory times passes: some three seconds */
#define ARGON2_LANES_MAX 16u

struct kind {
    const char *name;
    const char *digest;  /* OpenSSL's name; NULL: argon2id, plain */
    uint32_t iterations; /* of new entries; 0: no PBKDF2 */
    uint32_t hash_bytes; /* of new entries; of digests of any entry */
};

static const struct kind kinds[PASSWORD_KIND_COUNT] = {
    [PASSWORD_PLAIN] = {"plain", NULL, 0, 0},
    [PASSWORD_MD5] = {"md5", "MD5", 0, 16},
    [PASSWORD_SHA] = {"sha", "SHA1", 0, 20},
    [PASSWORD_SHA256] = {"sha256", "SHA256", 0, 32},
    [PASSWORD_PBKDF2_SHA256] = {"pbkdf2-sha256", "SHA256", PASSWORD_PBKDF2_SHA256_ITERATIONS, 32},
    [PASSWORD_PBKDF2_SHA512] = {"pbkdf2-sha512", "SHA512", PASSWORD_PBKDF2_SHA512_ITERATIONS, 64},
    [PASSWORD_ARGON2ID] = {"argon2id", NULL, 0, 32},
};

const char *password_kind_name(enum password_kind kind)
{
    return kinds[kind].name;
}

/* ---- reading ---- */

/* Cuts off what stands before the next `end`, or all. False: nothing is left to cut. */
static bool cut(struct emqc_slice *rest, char end, struct emqc_slice *out_word)
{
    const char *at;

    if (rest->data == NULL)
        return false;
    at = memchr(rest->data, end, rest->len);
    *out_word = password_slice(rest->data, at == NULL ? rest->len : (size_t)(at - rest->data));
    *rest = at == NULL ? (struct emqc_slice){NULL, 0} : password_slice(at + 1, rest->len - out_word->len - 1);
    return true;
}

static bool is_word(struct emqc_slice word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.data, text, word.len) == 0;
}

/* "i=210000": a decimal number without leading zeros, 1 to `max`. */
static bool read_number(struct emqc_slice word, char name, uint32_t max, uint32_t *out_value)
{
    uint64_t value = 0;

    if (word.len < 3 || word.len > 12 || word.data[0] != name || word.data[1] != '=' || word.data[2] == '0')
        return false;
    for (size_t i = 2; i < word.len; i++) {
        if (word.data[i] < '0' || word.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(word.data[i] - '0');
    }
    if (value > max)
        return false;
    *out_value = (uint32_t)value;
    return true;
}

static int base64_value(char digit)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = digit == '\0' ? NULL : strchr(alphabet, digit);

    return at == NULL ? -1 : (int)(at - alphabet);
}

/* Without padding; bits behind the last byte must be zero, so that there is one text for each value. */
static bool read_base64(struct emqc_slice word, uint8_t *out_bytes, size_t size, size_t *out_len)
{
    size_t count = 0, bit_count = 0;
    uint32_t bits = 0;

    if (word.len % 4 == 1 || word.len * 3 / 4 > size)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        int value = base64_value(word.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out_bytes[count++] = (uint8_t)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    *out_len = count;
    return bits == 0;
}

static bool read_slow_tail(struct emqc_slice rest, struct password_entry *entry)
{
    struct emqc_slice salt, hash;

    return cut(&rest, '$', &salt) && cut(&rest, '$', &hash) && rest.data == NULL &&
           read_base64(salt, entry->salt, sizeof(entry->salt), &entry->salt_len) &&
           read_base64(hash, entry->hash, sizeof(entry->hash), &entry->hash_len) && entry->salt_len >= SLOW_SALT_MIN &&
           entry->hash_len >= SLOW_HASH_MIN;
}

static bool read_argon2id(struct emqc_slice rest, struct password_entry *entry)
{
    struct emqc_slice version, work, memory, passes, lanes;

    if (!cut(&rest, '$', &version) || !is_word(version, "v=19") || !cut(&rest, '$', &work))
        return false;
    if (!cut(&work, ',', &memory) || !cut(&work, ',', &passes) || !cut(&work, ',', &lanes) || work.data != NULL)
        return false;
    return read_number(memory, 'm', ARGON2_MEMORY_MAX_KIB, &entry->memory_kib) &&
           read_number(passes, 't', ARGON2_WORK_MAX_KIB, &entry->iterations) &&
           read_number(lanes, 'p', ARGON2_LANES_MAX, &entry->lanes) && entry->memory_kib >= 8 * entry->lanes &&
           (uint64_t)entry->memory_kib * entry->iterations <= ARGON2_WORK_MAX_KIB && read_slow_tail(rest, entry);
}

static bool read_pbkdf2(struct emqc_slice rest, struct password_entry *entry)
{
    struct emqc_slice work;

    return cut(&rest, '$', &work) && read_number(work, 'i', PASSWORD_ITERATIONS_MAX, &entry->iterations) &&
           read_slow_tail(rest, entry);
}

static bool read_digest(struct emqc_slice rest, struct password_entry *entry)
{
    struct emqc_slice salt, hash;

    return cut(&rest, '$', &salt) && cut(&rest, '$', &hash) && rest.data == NULL &&
           password_unhex(salt, entry->salt, sizeof(entry->salt), &entry->salt_len) == 0 &&
           password_unhex(hash, entry->hash, sizeof(entry->hash), &entry->hash_len) == 0 &&
           entry->hash_len == kinds[entry->kind].hash_bytes;
}

static bool read_rest(struct emqc_slice rest, struct password_entry *entry)
{
    if (entry->kind == PASSWORD_PLAIN) {
        entry->plain = rest;
        return true;
    }
    if (entry->kind == PASSWORD_ARGON2ID)
        return read_argon2id(rest, entry);
    return kinds[entry->kind].iterations > 0 ? read_pbkdf2(rest, entry) : read_digest(rest, entry);
}

int password_entry_parse(struct emqc_slice text, struct password_entry *out_entry)
{
    struct password_entry entry = {.kind = PASSWORD_PLAIN};
    struct emqc_slice rest = text, empty, name;
    bool is_known = false;

    if (text.len > PASSWORD_ENTRY_BYTES || !cut(&rest, '$', &empty) || empty.len > 0 || !cut(&rest, '$', &name) ||
        rest.data == NULL)
        return -EINVAL;
    for (int i = 0; i < PASSWORD_KIND_COUNT && !is_known; i++) {
        is_known = is_word(name, kinds[i].name);
        entry.kind = (enum password_kind)i;
    }
    if (!is_known || !read_rest(rest, &entry))
        return -EINVAL;
    *out_entry = entry;
    return 0;
}

/* ---- checking and making ---- */

bool password_entry_is_slow(const struct password_entry *entry)
{
    return entry->kind == PASSWORD_ARGON2ID || kinds[entry->kind].iterations > 0;
}

/* All in the calling thread: lanes are a matter of the result, threads are not. */
static int hash_argon2id(const struct password_entry *entry, struct emqc_slice password, uint8_t *out_hash)
{
    argon2_context context = {
        .out = out_hash,
        .outlen = (uint32_t)entry->hash_len,
        .pwd = (uint8_t *)(uintptr_t)password.data, /* not written without ARGON2_FLAG_CLEAR_PASSWORD */
        .pwdlen = (uint32_t)password.len,
        .salt = (uint8_t *)(uintptr_t)entry->salt,
        .saltlen = (uint32_t)entry->salt_len,
        .t_cost = entry->iterations,
        .m_cost = entry->memory_kib,
        .lanes = entry->lanes,
        .threads = 1,
        .version = ARGON2_VERSION_13,
        .flags = ARGON2_DEFAULT_FLAGS,
    };
    int result = argon2_ctx(&context, Argon2_id);

    if (result == ARGON2_OK)
        return 0;
    return result == ARGON2_MEMORY_ALLOCATION_ERROR ? -ENOMEM : -EIO;
}

/* entry->hash_len bytes of the hash that the entry would have if this were its password. */
static int hash_as(const struct password_entry *entry, struct emqc_slice password, uint8_t out_hash[PASSWORD_HASH_MAX])
{
    const struct kind *kind = &kinds[entry->kind];
    struct emqc_slice salt = password_slice(entry->salt, entry->salt_len);
    size_t len;

    if (entry->kind == PASSWORD_ARGON2ID)
        return hash_argon2id(entry, password, out_hash);
    if (kind->iterations > 0)
        return password_pbkdf2(kind->digest, password, salt, entry->iterations, out_hash, entry->hash_len);
    return password_digest(kind->digest, salt, password, out_hash, &len);
}

int password_entry_verify(const struct password_entry *entry, struct emqc_slice password)
{
    uint8_t hash[PASSWORD_HASH_MAX];
    int err;

    if (password.data == NULL || password.len > PASSWORD_BYTES_MAX)
        return -EACCES;
    if (entry->kind == PASSWORD_PLAIN) {
        int is_same = password_equal(entry->plain, password);
        return is_same == 1 ? 0 : is_same == 0 ? -EACCES : is_same;
    }
    err = hash_as(entry, password, hash);
    if (err == 0 && CRYPTO_memcmp(hash, entry->hash, entry->hash_len) != 0)
        err = -EACCES;
    OPENSSL_cleanse(hash, sizeof(hash));
    return err;
}

static size_t write_base64(const uint8_t *bytes, size_t count, char *out_text)
{
    unsigned char text[(PASSWORD_HASH_MAX + 2) / 3 * 4 + 1];
    size_t len = (size_t)EVP_EncodeBlock(text, bytes, (int)count);

    while (len > 0 && text[len - 1] == '=')
        len--;
    memcpy(out_text, text, len);
    return len;
}

/* Everything fits: the longest has a head of some 50 bytes and two values of 64. */
static size_t write_entry(const struct password_entry *entry, char out_text[PASSWORD_ENTRY_BYTES])
{
    const struct kind *kind = &kinds[entry->kind];
    char *to = out_text;

    if (entry->kind == PASSWORD_ARGON2ID)
        to += snprintf(to, PASSWORD_ENTRY_BYTES, "$%s$v=19$m=%" PRIu32 ",t=%" PRIu32 ",p=%" PRIu32 "$", kind->name,
                       entry->memory_kib, entry->iterations, entry->lanes);
    else if (kind->iterations > 0)
        to += snprintf(to, PASSWORD_ENTRY_BYTES, "$%s$i=%" PRIu32 "$", kind->name, entry->iterations);
    else
        to += snprintf(to, PASSWORD_ENTRY_BYTES, "$%s$", kind->name);
    if (entry->kind == PASSWORD_PLAIN) {
        memcpy(to, entry->plain.data, entry->plain.len);
        return (size_t)(to - out_text) + entry->plain.len;
    }
    if (password_entry_is_slow(entry)) {
        to += write_base64(entry->salt, entry->salt_len, to);
        *to++ = '$';
        return (size_t)(to - out_text) + write_base64(entry->hash, entry->hash_len, to);
    }
    password_hex(entry->salt, entry->salt_len, to);
    to += 2 * entry->salt_len;
    *to++ = '$';
    password_hex(entry->hash, entry->hash_len, to);
    return (size_t)(to - out_text) + 2 * entry->hash_len;
}

int password_entry_make(enum password_kind kind, uint32_t iterations, struct emqc_slice password,
                        char out_text[PASSWORD_ENTRY_BYTES], size_t *out_len)
{
    struct password_entry entry = {.kind = kind, .plain = password, .hash_len = kinds[kind].hash_bytes};
    int err = 0;

    if (password.data == NULL)
        return -EINVAL;
    if (password.len > PASSWORD_BYTES_MAX)
        return -E2BIG;
    if (kind != PASSWORD_PLAIN) {
        entry.salt_len = MADE_SALT_BYTES;
        if (RAND_bytes(entry.salt, MADE_SALT_BYTES) != 1)
            return -EIO;
        entry.iterations = iterations > 0 ? iterations : kinds[kind].iterations;
        if (kind == PASSWORD_ARGON2ID) {
            entry.memory_kib = PASSWORD_ARGON2_MEMORY_KIB;
            entry.iterations = PASSWORD_ARGON2_PASSES;
            entry.lanes = PASSWORD_ARGON2_LANES;
        }
        err = hash_as(&entry, password, entry.hash);
    }
    if (err == 0)
        *out_len = write_entry(&entry, out_text);
    return err;
}
