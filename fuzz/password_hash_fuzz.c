/*
 * password_hash_fuzz: any text as a stored password. The input is cut at its first three newlines: a stored value, a `password_hash` setting, a
 * salt, and then a password.
 *
 * The value is read as an entry, and checked by the setting. Neither crashes; an entry of which the same text can be made is one that takes its
 * own password; nothing is right without a password.
 */
#include "lib/password_hash.h"
#include "lib/password_setting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ITERATIONS_MAX 50u /* of what is tried: more would be slow, not different */
#define ARGON2_WORK_MAX 256u

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

/* Up to the next newline, or all that is left; in memory of its own size, so that a read past the end is seen. */
static struct emqc_slice next_text(struct input *input, bool is_last)
{
    const uint8_t *end = is_last || input->left == 0 ? NULL : memchr(input->at, '\n', input->left);
    size_t len = end == NULL ? input->left : (size_t)(end - input->at);
    size_t used = len + (end != NULL);
    char *copy = malloc(len + (len == 0));

    CHECK(copy != NULL);
    if (len > 0)
        memcpy(copy, input->at, len);
    input->at += used;
    input->left -= used;
    return (struct emqc_slice){copy, len};
}

static void check_verdict(int verdict)
{
    CHECK(verdict == 0 || verdict == -EACCES || verdict == -EIO || verdict == -ENOMEM);
}

static void try_entry(struct emqc_slice text, struct emqc_slice password)
{
    const struct emqc_slice absent = {NULL, 0};
    struct password_entry entry;
    int err = password_entry_parse(text, &entry);

    CHECK(err == 0 || err == -EINVAL);
    if (err < 0 || entry.iterations > ITERATIONS_MAX || (uint64_t)entry.memory_kib * entry.iterations > ARGON2_WORK_MAX)
        return;
    CHECK(entry.salt_len <= sizeof(entry.salt) && entry.hash_len <= sizeof(entry.hash));
    check_verdict(password_entry_verify(&entry, password));
    CHECK(password_entry_verify(&entry, absent) == -EACCES);
}

/* Made with the password, the entry is right for it and for no other. */
static void try_making(enum password_kind kind, struct emqc_slice password)
{
    char text[PASSWORD_ENTRY_BYTES];
    struct password_entry entry;
    size_t len = 0;

    if (password.len > PASSWORD_BYTES_MAX)
        return;
    CHECK(password_entry_make(kind, 1, password, text, &len) == 0);
    CHECK(password_entry_parse((struct emqc_slice){text, len}, &entry) == 0);
    CHECK(entry.kind == kind);
    CHECK(password_entry_verify(&entry, password) == 0);
    /* HMAC, and so PBKDF2, does not see zeros at the end. */
    if (password.len > 0 && password.data[password.len - 1] != '\0') {
        password.len--;
        CHECK(password_entry_verify(&entry, password) == -EACCES);
    }
}

static bool is_bcrypt_quick(struct emqc_slice salt)
{
    return salt.len < 7 || (salt.data[4] == '0' && salt.data[5] <= '4');
}

static void try_setting(struct emqc_slice text, struct emqc_slice stored, struct emqc_slice salt,
                        struct emqc_slice password)
{
    const struct emqc_slice absent = {NULL, 0};
    struct password_setting setting;
    const char *why = NULL;
    int err = password_setting_parse(text, &setting, &why);

    CHECK(err == 0 || ((err == -EINVAL || err == -ENOTSUP) && why != NULL));
    if (err < 0 || (setting.method == PASSWORD_METHOD_PBKDF2 && setting.iterations > ITERATIONS_MAX))
        return;
    if (!setting.is_salted)
        salt = absent;
    if (setting.method == PASSWORD_METHOD_BCRYPT && !is_bcrypt_quick(setting.is_salted ? salt : stored))
        return;
    check_verdict(password_setting_verify(&setting, stored, salt, password));
    CHECK(password_setting_verify(&setting, stored, salt, absent) == -EACCES);
    CHECK(password_setting_verify(&setting, absent, salt, password) == -EACCES);
    if (setting.is_salted)
        CHECK(password_setting_verify(&setting, stored, absent, password) == -EACCES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct emqc_slice stored = next_text(&input, false), setting = next_text(&input, false),
                      salt = next_text(&input, false), password = next_text(&input, true);

    try_entry(stored, password);
    try_setting(setting, stored, salt, password);
    try_making((enum password_kind)(size % PASSWORD_ARGON2ID), password); /* argon2id has no cheap form */
    free((char *)(uintptr_t)stored.data);
    free((char *)(uintptr_t)setting.data);
    free((char *)(uintptr_t)salt.data);
    free((char *)(uintptr_t)password.data);
    return 0;
}
