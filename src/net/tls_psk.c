/*
 * tls_psk: pre-shared keys: the file of identities, and OpenSSL's questions for one (TLS 1.2, and 1.3 with SHA-256).
 *
 * A line is identity:key as in the original, where the key is the text itself, or identity:hex:key; lines that begin with '#' and
 * empty ones are left out. The text of the file stays in memory, with such keys decoded in their places; an open hash table points
 * into it. Immutable once loaded.
 *
 * A listener's own file is asked first: what the operator has written there holds whatever else is loaded, and costs nobody a question.
 * Of other identities, or without a file, tls_psk_set_lookup()'s function decides.
 */
#include "net/tls_internal.h"

#include "base/hash.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define IDENTITY_MAX PSK_MAX_IDENTITY_LEN
#define KEY_MAX PSK_MAX_PSK_LEN
_Static_assert(TLS_PSK_KEY_MAX == KEY_MAX, "what others may give, OpenSSL takes");
#define HEX_MARK "hex:"
static tls_psk_lookup_fn *lookup_elsewhere; /* NULL: nobody else is asked */

static const unsigned char cipher_of_keys[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */

struct psk_entry {
    struct slice identity; /* data NULL: free */
    struct slice key;
};

struct tls_psk_table {
    char *text;
    size_t text_len;
    struct psk_entry *entries;
    size_t entry_count; /* a power of two, more than twice the identities */
};

/* What a client asked for last on this thread, if it was in vain: OpenSSL does not keep it, and the handshake fails in the same call. */
static _Thread_local struct {
    const SSL *ssl; /* NULL: it was found. Compared only */
    size_t len;
    uint8_t identity[IDENTITY_MAX];
} unknown;

void tls_psk_free(struct tls_psk_table *table)
{
    if (table == NULL)
        return;
    OPENSSL_clear_free(table->text, table->text_len + 1);
    free(table->entries);
    free(table);
}

/* The entry of `identity`, or the free one that is to be its. */
static struct psk_entry *entry_of(const struct tls_psk_table *table, struct slice identity)
{
    size_t at = (size_t)hash_text(identity) & (table->entry_count - 1);

    while (table->entries[at].identity.data != NULL && !slice_equal(table->entries[at].identity, identity))
        at = (at + 1) & (table->entry_count - 1);
    return &table->entries[at];
}

static int entries_alloc(struct tls_psk_table *table)
{
    size_t lines = 1;

    for (size_t i = 0; i < table->text_len; i++)
        lines += table->text[i] == '\n';
    table->entry_count = 4;
    while (table->entry_count <= 2 * lines)
        table->entry_count *= 2;
    table->entries = calloc(table->entry_count, sizeof(*table->entries));
    return table->entries == NULL ? -ENOMEM : 0;
}

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal digits become the bytes that they stand for, in their place. False: they are none, or one is left over. */
static bool key_decode(uint8_t *text, size_t *len)
{
    size_t count = *len / 2;

    for (size_t i = 0; i < count; i++) {
        int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        text[i] = (uint8_t)(high << 4 | low);
    }
    if (*len % 2 != 0)
        return false;
    *len = count;
    return true;
}

/* identity:key or identity:hex:digits. NULL, or what is wrong with it. A later line of the same identity wins. */
static const char *line_add(struct tls_psk_table *table, uint8_t *line, size_t len)
{
    uint8_t *colon = memchr(line, ':', len), *key;
    struct slice identity;
    size_t key_len;

    if (colon == NULL)
        return "there is no ':' in it";
    if (memchr(line, '\0', len) != NULL)
        return "it holds a zero byte";
    identity = slice_make(line, (size_t)(colon - line));
    key = colon + 1;
    key_len = len - identity.len - 1;
    if (slice_starts_with(slice_make(key, key_len), SLICE_LITERAL(HEX_MARK))) {
        key += strlen(HEX_MARK);
        key_len -= strlen(HEX_MARK);
        if (!key_decode(key, &key_len))
            return "what follows " HEX_MARK " is no even number of hexadecimal digits";
    }
    if (identity.len == 0 || key_len == 0)
        return identity.len == 0 ? "the identity is empty" : "the key is empty";
    if (identity.len > IDENTITY_MAX || key_len > KEY_MAX)
        return identity.len > IDENTITY_MAX ? "the identity is too long" : "the key is too long";
    *entry_of(table, identity) = (struct psk_entry){identity, slice_make(key, key_len)};
    return NULL;
}

static int lines_load(struct tls_loader *loader, struct tls_psk_table *table)
{
    uint8_t *line = (uint8_t *)table->text, *end = line + table->text_len;

    for (unsigned line_number = 1; line < end; line_number++) {
        uint8_t *newline = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)((newline == NULL ? end : newline) - line);
        const char *wrong = NULL;

        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len > 0 && line[0] != '#')
            wrong = line_add(table, line, len);
        if (wrong != NULL)
            return tls_fail(loader, -EINVAL, "psk_file", "%s, line %u: %s; a line is identity:key or identity:hex:key",
                            loader->options->psk_file, line_number, wrong);
        line = newline == NULL ? end : newline + 1;
    }
    return 0;
}

int tls_psk_load(struct tls_loader *loader)
{
    const char *path = loader->options->psk_file;
    struct tls_psk_table *table;
    int err;

    if (path == NULL) {
        tls_note(loader, "psk_ciphers", "there is no psk_file: keys come from plugins only");
        return 0;
    }
    table = loader->files->psk = calloc(1, sizeof(*table));
    if (table == NULL)
        return tls_fail(loader, -ENOMEM, "psk_file", "no memory");
    err = tls_file_read(loader, "psk_file", path, &table->text, &table->text_len);
    if (err < 0)
        return err;
    if (entries_alloc(table) < 0)
        return tls_fail(loader, -ENOMEM, "psk_file", "no memory for %s", path);
    return lines_load(loader, table);
}

struct slice tls_psk_unknown(const SSL *ssl)
{
    return unknown.ssl == ssl ? slice_make(unknown.identity, unknown.len) : slice_make(NULL, 0);
}

/* Writes the key. Its length; 0: nobody knows the identity. */
static size_t find_key(SSL *ssl, struct slice identity, uint8_t out_key[KEY_MAX])
{
    const struct tls_files *files = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct slice key = slice_make(NULL, 0);

    if (identity.len == 0 || identity.len > IDENTITY_MAX)
        return 0;
    if (files->psk != NULL)
        key = entry_of(files->psk, identity)->key;
    if (key.data == NULL)
        return lookup_elsewhere == NULL ? 0 : lookup_elsewhere(identity, out_key);
    memcpy(out_key, key.data, key.len);
    return key.len;
}

static size_t key_of(SSL *ssl, struct slice identity, uint8_t out_key[KEY_MAX])
{
    size_t len = find_key(ssl, identity, out_key);

    ASSERT(len <= KEY_MAX);
    unknown.ssl = len == 0 ? ssl : NULL;
    unknown.len = identity.len < IDENTITY_MAX ? identity.len : IDENTITY_MAX;
    if (unknown.len > 0)
        memcpy(unknown.identity, identity.data, unknown.len);
    return len;
}

/* TLS 1.2 and below. */
static unsigned int on_identity(SSL *ssl, const char *identity, unsigned char *out_key, unsigned int key_max)
{
    uint8_t key[KEY_MAX];
    size_t len = key_of(ssl, slice_from_string(identity), key);

    if (len > key_max)
        len = 0;
    if (len > 0)
        memcpy(out_key, key, len);
    OPENSSL_cleanse(key, sizeof(key));
    return (unsigned int)len;
}

/* NULL when memory is short. */
static SSL_SESSION *session_of(SSL *ssl, const uint8_t *key, size_t len)
{
    SSL_SESSION *session = SSL_SESSION_new();

    if (session != NULL && SSL_SESSION_set1_master_key(session, key, len) == 1 &&
        SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, cipher_of_keys)) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

/* TLS 1.3. No session and success: OpenSSL goes on without a key, which ends the handshake, for there is no certificate. */
static int on_find_session(SSL *ssl, const unsigned char *identity, size_t identity_len, SSL_SESSION **out_session)
{
    uint8_t key[KEY_MAX];
    size_t len = key_of(ssl, slice_make(identity, identity_len), key);

    *out_session = len == 0 ? NULL : session_of(ssl, key, len);
    OPENSSL_cleanse(key, sizeof(key));
    return len == 0 || *out_session != NULL;
}

void tls_psk_apply(struct tls_files *files, SSL_CTX *ssl)
{
    SSL_CTX_set_app_data(ssl, files);
    SSL_CTX_set_psk_server_callback(ssl, on_identity);
    SSL_CTX_set_psk_find_session_callback(ssl, on_find_session);
}

void tls_psk_set_lookup(tls_psk_lookup_fn *lookup)
{
    lookup_elsewhere = lookup;
}
