/*
 * tls_ciphers: the versions and ciphers of a listener, from the names that the original knows to what OpenSSL still has.
 */
#include "net/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_NULL_CIPHERS ":!aNULL:!eNULL" /* whatever a word stands for: nothing without authentication or encryption */
#define WORD_MAX 128u                    /* no cipher has a longer name; longer words are unknown */

/* Words that fit, joined as OpenSSL wants them, and those that do not. Each has room for the whole list. */
struct cipher_words {
    char *list;   /* for TLS 1.2 and below */
    char *suites; /* for TLS 1.3 */
    char *skipped;
    size_t size; /* of each */
};

static void join(char *text, size_t size, const char *separator, const char *word)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s%s", used == 0 ? "" : separator, word);
}

/* Does `probe`, which was given the word, have a TLS 1.3 cipher of this name? */
static bool has_suite(SSL_CTX *probe, const char *word)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(probe);

    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        if (strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i)), word) == 0)
            return true;
    }
    return false;
}

/* Are all ciphers of TLS 1.2 and below that `probe` has such with a pre-shared key and no certificate? */
static bool only_psk(SSL_CTX *probe)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(probe);

    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        int exchange = SSL_CIPHER_get_kx_nid(sk_SSL_CIPHER_value(ciphers, i));
        if (exchange != NID_kx_any && exchange != NID_kx_psk && exchange != NID_kx_dhe_psk &&
            exchange != NID_kx_ecdhe_psk)
            return false;
    }
    return true;
}

static int word_add(struct tls_loader *loader, SSL_CTX *probe, const char *word, struct cipher_words *words)
{
    bool psk = loader->options->psk_ciphers != NULL;
    char probed[WORD_MAX + sizeof(NO_NULL_CIPHERS)];

    if (strncmp(word, "TLS_", 4) == 0) {
        bool known = SSL_CTX_set_ciphersuites(probe, word) == 1 && has_suite(probe, word);
        join(known ? words->suites : words->skipped, words->size, known ? ":" : ", ", word);
    } else if (strchr("!-+@", word[0]) != NULL) {
        join(words->list, words->size, ":", word); /* an instruction: makes sense only within the whole list */
    } else {
        snprintf(probed, sizeof(probed), "%s%s", word, NO_NULL_CIPHERS);
        bool known = SSL_CTX_set_cipher_list(probe, probed) == 1;
        if (known && psk && !only_psk(probe))
            return tls_fail(loader, -EINVAL, "psk_ciphers",
                            "%s is no cipher with a pre-shared key: PSK-AES128-CBC-SHA is", word);
        join(known ? words->list : words->skipped, words->size, known ? ":" : ", ", word);
    }
    ERR_clear_error();
    return 0;
}

static int words_sort(struct tls_loader *loader, const char *text, struct cipher_words *words)
{
    SSL_CTX *probe = SSL_CTX_new(TLS_server_method());
    int err = 0;

    if (probe == NULL)
        return tls_fail(loader, -ENOMEM, "ciphers", "%s", tls_openssl_reason());
    SSL_CTX_set_security_level(probe, 0); /* unknown and too weak are two things; the listener's level decides later */
    while (err == 0 && *text != '\0') {
        char word[WORD_MAX + 1];
        size_t len = strcspn(text, ",: ");

        if (len > 0) {
            memcpy(word, text, len < WORD_MAX ? len : WORD_MAX);
            word[len < WORD_MAX ? len : WORD_MAX] = '\0';
            err = word_add(loader, probe, word, words);
        }
        text += len + strspn(text + len, ",: ");
    }
    SSL_CTX_free(probe);
    return err;
}

static int words_apply(struct tls_loader *loader, SSL_CTX *ssl, const char *key, struct cipher_words *words)
{
    if (words->skipped[0] != '\0')
        tls_note(loader, key, "left out what OpenSSL does not have: %s", words->skipped);
    if (words->list[0] == '\0' && words->suites[0] == '\0')
        return tls_fail(loader, -EINVAL, key,
                        "OpenSSL has no cipher of these: %s; `openssl ciphers -s` lists what it has", words->skipped);
    if (words->list[0] == '\0')
        SSL_CTX_set_options(ssl, SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2);
    if (words->list[0] != '\0')
        join(words->list, words->size, "", NO_NULL_CIPHERS);
    if (words->list[0] != '\0' && SSL_CTX_set_cipher_list(ssl, words->list) != 1)
        return tls_fail(loader, -EINVAL, key, "no usable cipher is left: %s", tls_openssl_reason());
    if (words->suites[0] != '\0' && SSL_CTX_set_ciphersuites(ssl, words->suites) != 1)
        return tls_fail(loader, -EINVAL, key, "cannot use %s: %s", words->suites, tls_openssl_reason());
    return 0;
}

static int ciphers_apply(struct tls_loader *loader, SSL_CTX *ssl, const char *key, const char *text)
{
    size_t size = 2 * strlen(text) + sizeof(NO_NULL_CIPHERS) + 2; /* a separator of two for one */
    char *memory = calloc(3, size);
    struct cipher_words words;
    int err;

    if (memory == NULL)
        return tls_fail(loader, -ENOMEM, key, "no memory");
    words = (struct cipher_words){.list = memory, .suites = memory + size, .skipped = memory + 2 * size, .size = size};
    err = words_sort(loader, text, &words);
    if (err == 0)
        err = words_apply(loader, ssl, key, &words);
    free(memory);
    return err;
}

static int versions_apply(struct tls_loader *loader, SSL_CTX *ssl)
{
    static const struct {
        uint32_t version;
        uint64_t excluded;
        int number;
    } all[] = {
        {TLS_VERSION_1_0, SSL_OP_NO_TLSv1, TLS1_VERSION},
        {TLS_VERSION_1_1, SSL_OP_NO_TLSv1_1, TLS1_1_VERSION},
        {TLS_VERSION_1_2, SSL_OP_NO_TLSv1_2, TLS1_2_VERSION},
        {TLS_VERSION_1_3, SSL_OP_NO_TLSv1_3, TLS1_3_VERSION},
    };
    uint32_t versions = loader->options->versions;
    int first = 0, last = 0;

    if (loader->options->version_unknown != NULL)
        return tls_fail(loader, -EINVAL, "tls_versions",
                        "'%s' is not known; there are tlsv1.3, tlsv1.2, tlsv1.1, tlsv1",
                        loader->options->version_unknown);
    if (loader->options->version_ssl3)
        tls_note(loader, "tls_versions", "sslv3 is not offered any more: it is broken");
    if (versions == 0 && loader->options->version_ssl3)
        return tls_fail(loader, -EINVAL, "tls_versions", "sslv3 alone is not offered any more: add tlsv1.3 or tlsv1.2");
    if (versions == 0)
        versions = TLS_VERSION_1_2 | TLS_VERSION_1_3;
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        if ((versions & all[i].version) == 0) {
            SSL_CTX_set_options(ssl, all[i].excluded);
            continue;
        }
        last = all[i].number;
        if (first == 0)
            first = last;
    }
    if (first < TLS1_2_VERSION) {
        SSL_CTX_set_security_level(ssl, 0); /* they sign with SHA-1 and MD5, which OpenSSL refuses from level 1 on */
        tls_note(loader, "tls_versions", "tlsv1 and tlsv1.1 are out of date and weak (RFC 8996)");
    }
    if (SSL_CTX_set_min_proto_version(ssl, first) != 1 || SSL_CTX_set_max_proto_version(ssl, last) != 1)
        return tls_fail(loader, -EINVAL, "tls_versions", "%s", tls_openssl_reason());
    return 0;
}

int tls_ciphers_apply(struct tls_loader *loader, SSL_CTX *ssl)
{
    const struct tls_options *options = loader->options;
    int err = versions_apply(loader, ssl);

    if (err < 0)
        return err;
    if (options->psk_ciphers != NULL) {
        /* A key without further words goes with SHA-256 (RFC 8446, 4.2.11). */
        if (SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") != 1)
            return tls_fail(loader, -EINVAL, "psk_ciphers", "%s", tls_openssl_reason());
        return ciphers_apply(loader, ssl, "psk_ciphers", options->psk_ciphers);
    }
    return options->ciphers == NULL ? 0 : ciphers_apply(loader, ssl, "ciphers", options->ciphers);
}
