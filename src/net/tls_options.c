/*
 * tls_options: the TLS settings of a listener out of the configuration. ssl and wss share their keys but for two, whose row is
 * NULL for wss.
 */
#include "net/tls_options.h"

#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_TIMEOUT_MS 15000
#define HANDSHAKES_MAX 4096

struct tls_keys {
    const char *key_file, *cert_file, *ca_cert_file, *dh_file, *ciphers, *psk_ciphers, *psk_file, *ocsp_file, *crl_file,
        *crl_check, *versions, *handshakes_max, *handshake_timeout, *verify, *fail_if_no_peer_cert, *secure_renegotiate,
        *reuse_sessions, *honor_cipher_order, *sni, *sni_host, *sni_key_file, *sni_cert_file;
};

#define KEY(TYPE, KEY) "listener." TYPE ".$name." KEY
#define KEYS_OF(TYPE, DH_FILE, HANDSHAKE_TIMEOUT)                                                                      \
    {                                                                                                                  \
        .key_file = KEY(TYPE, "keyfile"), .cert_file = KEY(TYPE, "certfile"), .ca_cert_file = KEY(TYPE, "cacertfile"), \
        .dh_file = (DH_FILE), .ciphers = KEY(TYPE, "ciphers"), .psk_ciphers = KEY(TYPE, "psk_ciphers"),                \
        .psk_file = KEY(TYPE, "psk_file"), .ocsp_file = KEY(TYPE, "ocsp_file"), .crl_file = KEY(TYPE, "crl_file"),     \
        .crl_check = KEY(TYPE, "crl_check"), .versions = KEY(TYPE, "tls_versions"),                                    \
        .handshakes_max = KEY(TYPE, "max_handshakes"), .handshake_timeout = (HANDSHAKE_TIMEOUT),                       \
        .verify = KEY(TYPE, "verify"), .fail_if_no_peer_cert = KEY(TYPE, "fail_if_no_peer_cert"),                      \
        .secure_renegotiate = KEY(TYPE, "secure_renegotiate"), .reuse_sessions = KEY(TYPE, "reuse_sessions"),          \
        .honor_cipher_order = KEY(TYPE, "honor_cipher_order"), .sni = KEY(TYPE, "sni"),                                \
        .sni_host = KEY(TYPE, "sni.$id.host"), .sni_key_file = KEY(TYPE, "sni.$id.keyfile"),                           \
        .sni_cert_file = KEY(TYPE, "sni.$id.certfile"),                                                                \
    }

static const struct tls_keys ssl_keys = KEYS_OF("ssl", KEY("ssl", "dhfile"), KEY("ssl", "handshake_timeout"));
static const struct tls_keys wss_keys = KEYS_OF("wss", NULL, NULL);

static int copy(const char *text, char **out_copy)
{
    *out_copy = text == NULL ? NULL : strdup(text);
    return text != NULL && *out_copy == NULL ? -ENOMEM : 0;
}

static int texts_read(struct tls_options *options, const struct conf *conf, const struct tls_keys *keys,
                      const char *name)
{
    const struct {
        const char *key;
        char **out_text;
    } texts[] = {
        {keys->key_file, &options->key_file},         {keys->cert_file, &options->cert_file},
        {keys->ca_cert_file, &options->ca_cert_file}, {keys->dh_file, &options->dh_file},
        {keys->ciphers, &options->ciphers},           {keys->psk_ciphers, &options->psk_ciphers},
        {keys->psk_file, &options->psk_file},         {keys->ocsp_file, &options->ocsp_file},
        {keys->crl_file, &options->crl_file},
    };

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        if (texts[i].key != NULL && copy(conf_get_string(conf, texts[i].key, name), texts[i].out_text) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* A comma list; the first word that is not known is kept for tls_context_new() to complain about. */
static int versions_read(struct tls_options *options, const char *list)
{
    static const struct {
        const char *word;
        uint32_t version;
    } words[] = {
        {"tlsv1.3", TLS_VERSION_1_3},
        {"tlsv1.2", TLS_VERSION_1_2},
        {"tlsv1.1", TLS_VERSION_1_1},
        {"tlsv1", TLS_VERSION_1_0},
        {"sslv3", 0},
    };

    for (; list != NULL && *list != '\0'; list += strspn(list, ", ")) {
        size_t len = strcspn(list, ", "), i = 0;

        while (i < ARRAY_COUNT(words) && (strlen(words[i].word) != len || strncmp(words[i].word, list, len) != 0))
            i++;
        if (i < ARRAY_COUNT(words)) {
            options->versions |= words[i].version;
            options->version_ssl3 = options->version_ssl3 || words[i].version == 0;
        } else if (len > 0 && options->version_unknown == NULL) {
            options->version_unknown = strndup(list, len);
            if (options->version_unknown == NULL)
                return -ENOMEM;
        }
        list += len;
    }
    return 0;
}

static int sni_read(struct tls_options *options, const struct conf *conf, const struct tls_keys *keys, const char *name)
{
    const char **ids = NULL;
    size_t count = 0;
    int err = conf_names(conf, keys->sni, name, &ids, &count);

    if (err == 0 && count > 0) {
        options->sni = calloc(count, sizeof(*options->sni));
        err = options->sni == NULL ? -ENOMEM : 0;
    }
    for (size_t i = 0; err == 0 && i < count; i++) {
        struct tls_sni_options *sni = &options->sni[options->sni_count++];
        const struct conf_value *host = conf_find(conf, keys->sni_host, name, ids[i]);
        const struct conf_value *key_file = conf_find(conf, keys->sni_key_file, name, ids[i]);
        const struct conf_value *cert_file = conf_find(conf, keys->sni_cert_file, name, ids[i]);

        if (copy(ids[i], &sni->id) < 0 || copy(host == NULL ? NULL : host->text, &sni->host) < 0 ||
            copy(key_file == NULL ? NULL : key_file->text, &sni->key_file) < 0 ||
            copy(cert_file == NULL ? NULL : cert_file->text, &sni->cert_file) < 0)
            err = -ENOMEM;
    }
    free(ids);
    return err;
}

static int options_init(struct tls_options *options, const struct conf *conf, const struct tls_keys *keys,
                        const char *type, const char *name)
{
    if (asprintf(&options->key_prefix, "listener.%s.%s", type, name) < 0) {
        options->key_prefix = NULL;
        return -ENOMEM;
    }
    options->handshakes_max = (uint32_t)conf_get_integer(conf, keys->handshakes_max, name, HANDSHAKES_MAX);
    options->handshake_timeout_ms = keys->handshake_timeout == NULL
                                        ? HANDSHAKE_TIMEOUT_MS
                                        : conf_get_duration(conf, keys->handshake_timeout, name, HANDSHAKE_TIMEOUT_MS);
    options->crl_check = (enum tls_crl_check)conf_get_enum(conf, keys->crl_check, name, TLS_CRL_OFF);
    options->verify_peer = conf_get_enum(conf, keys->verify, name, 1) == 0; /* verify_peer, verify_none */
    options->fail_if_no_peer_cert = conf_get_bool(conf, keys->fail_if_no_peer_cert, name, false);
    options->secure_renegotiate = conf_get_bool(conf, keys->secure_renegotiate, name, true);
    options->reuse_sessions = conf_get_bool(conf, keys->reuse_sessions, name, true);
    options->honor_cipher_order = conf_get_bool(conf, keys->honor_cipher_order, name, false);
    if (texts_read(options, conf, keys, name) < 0 ||
        versions_read(options, conf_get_string(conf, keys->versions, name)) < 0)
        return -ENOMEM;
    return sni_read(options, conf, keys, name);
}

int tls_options_read(const struct conf *conf, const char *type, const char *name, struct tls_options **out_options)
{
    struct tls_options *options = calloc(1, sizeof(*options));

    if (options == NULL)
        return -ENOMEM;
    if (options_init(options, conf, strcmp(type, "wss") == 0 ? &wss_keys : &ssl_keys, type, name) < 0) {
        tls_options_free(options);
        return -ENOMEM;
    }
    *out_options = options;
    return 0;
}

void tls_options_free(struct tls_options *options)
{
    if (options == NULL)
        return;
    char *const texts[] = {
        options->key_prefix, options->key_file, options->cert_file,       options->ca_cert_file,
        options->dh_file,    options->ciphers,  options->psk_ciphers,     options->psk_file,
        options->ocsp_file,  options->crl_file, options->version_unknown,
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        free(texts[i]);
    for (uint32_t i = 0; i < options->sni_count; i++) {
        free(options->sni[i].id);
        free(options->sni[i].host);
        free(options->sni[i].key_file);
        free(options->sni[i].cert_file);
    }
    free(options->sni);
    free(options);
}
