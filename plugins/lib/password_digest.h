/*
 * password_digest: what password_hash and password_setting share: digests of salt and password, PBKDF2, bcrypt, hexadecimal text, and
 * comparing without telling by the time taken where two texts differ.
 *
 * On OpenSSL 3 and crypt(3). Pure. Thread: any.
 */
#ifndef PLUGINS_LIB_PASSWORD_DIGEST_H
#define PLUGINS_LIB_PASSWORD_DIGEST_H

#include <emqc/plugin.h>

#define PASSWORD_DIGEST_MAX 64u           /* bytes: SHA-512 */
#define PASSWORD_ITERATIONS_MAX 10000000u /* of PBKDF2: some ten seconds. More is refused where it is read */
#define PASSWORD_BCRYPT_COST_MAX 16       /* of bcrypt: some six seconds. More is refused */

static inline struct emqc_slice password_slice(const void *data, size_t len)
{
    return (struct emqc_slice){(const char *)data, len};
}

/* Are they the same bytes? The time tells at most how long the longer one is. -EIO: OpenSSL fails; else 1 or 0. */
int password_equal(struct emqc_slice left, struct emqc_slice right);

/* digest(first ‖ second) by OpenSSL's name of the digest: "MD5", "SHA256". -EIO: there is no such digest here, or OpenSSL fails. */
int password_digest(const char *digest, struct emqc_slice first, struct emqc_slice second,
                    uint8_t out_hash[PASSWORD_DIGEST_MAX], size_t *out_len);

/* Is it there? MD4, for one, is not, unless OpenSSL's configuration adds it. */
bool password_digest_exists(const char *digest);

/* PBKDF2-HMAC (RFC 8018): `out_len` bytes. -EIO as above. Takes about a microsecond for each iteration and each digest length of output. */
int password_pbkdf2(const char *digest, struct emqc_slice password, struct emqc_slice salt, uint32_t iterations,
                    uint8_t *out_key, size_t out_len);

/* Is bcrypt(password, salt) the text `stored`? `salt`: "$2b$10$" and 22 characters, what follows is not looked at. 1 or 0 (also: not a salt
 * of bcrypt, a cost over PASSWORD_BCRYPT_COST_MAX, a password with a zero byte); -ENOMEM, -EIO. */
int password_bcrypt(struct emqc_slice password, struct emqc_slice salt, struct emqc_slice stored);

/* Lower case, two digits a byte, without final zero. */
void password_hex(const uint8_t *bytes, size_t count, char *out_text);

/* Digits of either case. -EINVAL: an odd number, or something else; -ENOSPC: more than `size` bytes. */
int password_unhex(struct emqc_slice text, uint8_t *out_bytes, size_t size, size_t *out_len);

#endif
