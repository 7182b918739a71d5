/*
 * password_hash: passwords as entries that are stored, each with the way it was hashed, so that this may change and old entries stay good.
 *
 *   $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH    slow on purpose, and needs memory (RFC 9106)
 *   $pbkdf2-sha512$i=210000$SALT$HASH           slow on purpose (RFC 8018); $pbkdf2-sha256$ likewise
 *   $sha256$SALT$HASH                           hash(salt ‖ password); $sha$ (SHA-1) and $md5$ likewise: the kinds of EMQ X 3
 *   $plain$PASSWORD
 *
 * The first two as in the PHC string format: base64 without padding. The others in hexadecimal, SALT possibly empty: of a row of EMQ X 3 the
 * first four bytes are SALT, the rest is HASH as it stands.
 *
 * Pure: random bytes come from OpenSSL. Thread: any; but what password_entry_is_slow() belongs on no worker.
 */
#ifndef PLUGINS_LIB_PASSWORD_HASH_H
#define PLUGINS_LIB_PASSWORD_HASH_H

#include <emqc/plugin.h>

#define PASSWORD_BYTES_MAX 1024u   /* longer passwords are not stored and never right */
#define PASSWORD_ENTRY_BYTES 2048u /* longer texts are no entries */
#define PASSWORD_SALT_MAX 64u
#define PASSWORD_HASH_MAX 64u

/* What OWASP's password storage cheat sheet asks for in 2026. */
#define PASSWORD_PBKDF2_SHA256_ITERATIONS 600000u
#define PASSWORD_PBKDF2_SHA512_ITERATIONS 210000u
#define PASSWORD_ARGON2_MEMORY_KIB 19456u
#define PASSWORD_ARGON2_PASSES 2u
#define PASSWORD_ARGON2_LANES 1u

enum password_kind {
    PASSWORD_PLAIN,
    PASSWORD_MD5,
    PASSWORD_SHA,
    PASSWORD_SHA256,
    PASSWORD_PBKDF2_SHA256,
    PASSWORD_PBKDF2_SHA512,
    PASSWORD_ARGON2ID,
    PASSWORD_KIND_COUNT
};

/* Their names, in that order, for an EMQC_ENUM. */
#define PASSWORD_KIND_WORDS "plain, md5, sha, sha256, pbkdf2-sha256, pbkdf2-sha512, argon2id"

/* An entry that was read. The caller wipes it, or not: without a plain password nothing in it is secret that the text is not. */
struct password_entry {
    enum password_kind kind;
    uint32_t iterations;     /* PBKDF2; argon2id: passes */
    uint32_t memory_kib;     /* argon2id */
    uint32_t lanes;          /* argon2id */
    struct emqc_slice plain; /* points into the text */
    size_t salt_len, hash_len;
    uint8_t salt[PASSWORD_SALT_MAX];
    uint8_t hash[PASSWORD_HASH_MAX];
};

/* Reads an entry; `text` must outlive it. -EINVAL: none of the forms above, or one that would take too much time or memory to check
 * (over 10,000,000 iterations; over 256 MiB, 1 GiB in all passes, 16 lanes). */
int password_entry_parse(struct emqc_slice text, struct password_entry *out_entry);

/* Does checking take milliseconds? */
bool password_entry_is_slow(const struct password_entry *entry);

/* 0: that is the password (PBKDF2 does not see zero bytes at its end). -EACCES: it is not, or there is none (absent). -ENOMEM, -EIO: cannot be said, which must not count as right. */
int password_entry_verify(const struct password_entry *entry, struct emqc_slice password);

/* Makes an entry with a new random salt of 16 bytes; `out_text` is not terminated. `iterations` is for PBKDF2, 0: the numbers above.
 * -EINVAL: an absent password; -E2BIG: one over PASSWORD_BYTES_MAX; -ENOMEM, -EIO: OpenSSL fails. */
int password_entry_make(enum password_kind kind, uint32_t iterations, struct emqc_slice password,
                        char out_text[PASSWORD_ENTRY_BYTES], size_t *out_len);

/* "argon2id" */
const char *password_kind_name(enum password_kind kind);

#endif
