/*
 * password_setting: the `password_hash` settings of the database plugins (EMQ X 3), which say how a database stores passwords.
 *
 *   plain, md5, sha, sha256, sha512, bcrypt              of the password
 *   salt,sha256   sha256,salt   (any of those)           of salt and password, in that order
 *   pbkdf2,sha256,1000,20                                mac, iterations, length in bytes
 *
 * Stored values are lower-case hexadecimal text, those of plain and bcrypt as they are. Words are not trimmed. Different from EMQ X 3: a setting
 * that is none of these is an error, not `plain`; what is missing at a check is a failed check, not a client that is let in.
 *
 * Pure. Thread: any; but what password_setting_is_slow() belongs on no worker.
 */
#ifndef PLUGINS_LIB_PASSWORD_SETTING_H
#define PLUGINS_LIB_PASSWORD_SETTING_H

#include <emqc/plugin.h>

#define PASSWORD_KEY_BYTES_MAX 256u /* the longest that pbkdf2,... may ask for */

enum password_method { PASSWORD_METHOD_PLAIN, PASSWORD_METHOD_DIGEST, PASSWORD_METHOD_BCRYPT, PASSWORD_METHOD_PBKDF2 };

struct password_setting {
    enum password_method method;
    bool is_salted;      /* the database gives a salt as well */
    bool is_salt_first;  /* hash(salt ‖ password), else hash(password ‖ salt) */
    const char *digest;  /* OpenSSL's name, static; of DIGEST and PBKDF2 */
    uint32_t iterations; /* PBKDF2 */
    uint32_t key_bytes;  /* PBKDF2 */
};

/* -EINVAL: none of the above; -ENOTSUP: a mac that OpenSSL does not have here (md4 is off by default). `*out_why` (on error): static text that
 * says what would be right. */
int password_setting_parse(struct emqc_slice text, struct password_setting *out_setting, const char **out_why);

/* Does checking take milliseconds? */
bool password_setting_is_slow(const struct password_setting *setting);

/* 0: that is the password. -EACCES: it is not; one of the three that is needed is absent (NULL in the database, no password in CONNECT); the
 * database gives a salt and the setting has none. -ENOMEM, -EIO: cannot be said, which must not count as right. */
int password_setting_verify(const struct password_setting *setting, struct emqc_slice stored, struct emqc_slice salt,
                            struct emqc_slice password);

#endif
