/*
 * tls_context: what the connections of a listener share, in generations.
 *
 * A generation (struct tls_files) is made whole from all files or not at all and then never changes. A handshake keeps the one it
 * began with; a connection keeps OpenSSL's part of it. Session tickets are encrypted with keys of the generation: after a
 * reload nobody resumes a session that other authorities, CRLs or keys let in.
 * `lock` guards the pointer to the present generation; nothing else is done under it.
 */
#include "net/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CACHED_SESSIONS_MAX 4096     /* of clients that cannot keep a ticket (TLS 1.2); the oldest go first */
#define CERTIFICATES_BYTES_MAX 65536 /* of a client's chain; a longer one ends the handshake */
#define TICKETS_PER_CLIENT 1         /* TLS 1.3; with each resumption comes the next */
#define KEY_TEXT_MAX 256
#define TRIAL_ORGANIZATION "emqc trial certificates, not for production"

struct tls_context {
    const struct tls_options *options;
    char *home;
    pthread_mutex_t lock;
    struct tls_files *files; /* under the lock */
    atomic_uint handshakes;
};

void tls_files_unref(struct tls_files *files)
{
    if (files == NULL || atomic_fetch_sub(&files->refs, 1) != 1)
        return;
    SSL_CTX_free(files->ssl);
    for (uint32_t i = 0; i < files->host_count; i++)
        SSL_CTX_free(files->hosts[i].ssl);
    free(files->hosts);
    for (uint32_t i = 0; i < files->watched_count; i++)
        free(files->watched[i].path);
    free(files->watched);
    tls_psk_free(files->psk);
    OPENSSL_free(files->ocsp);
    free(files);
}

/* "*.example.com" stands for one more label before the dot (RFC 6125, 6.4.3). */
static bool host_fits(const char *pattern, const char *host)
{
    if (strncmp(pattern, "*.", 2) == 0) {
        const char *dot = strchr(host, '.');
        return dot != NULL && dot != host && strcasecmp(pattern + 1, dot) == 0;
    }
    return strcasecmp(pattern, host) == 0;
}

static int on_server_name(SSL *ssl, int *out_alert, void *context)
{
    const struct tls_files *files = context;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const struct tls_host *found = NULL;

    (void)out_alert;
    for (uint32_t i = 0; asked != NULL && i < files->host_count; i++) {
        const struct tls_host *host = &files->hosts[i];
        bool wildcard = host->host[0] == '*';
        if (host_fits(host->host, asked) && (found == NULL || !wildcard))
            found = host; /* a name goes before a pattern */
    }
    if (found == NULL)
        return SSL_TLSEXT_ERR_NOACK; /* the listener's own certificate */
    return SSL_set_SSL_CTX(ssl, found->ssl) == NULL ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_OK;
}

static bool has_trial_organization(const X509_NAME *name)
{
    int at = -1;

    while ((at = X509_NAME_get_index_by_NID(name, NID_organizationName, at)) >= 0) {
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
        if (ASN1_STRING_length(value) == (int)strlen(TRIAL_ORGANIZATION) &&
            memcmp(ASN1_STRING_get0_data(value), TRIAL_ORGANIZATION, strlen(TRIAL_ORGANIZATION)) == 0)
            return true;
    }
    return false;
}

static void note_certificates(struct tls_loader *loader, const char *key, const char *path, STACK_OF(X509) * chain)
{
    struct tls_files *files = loader->files;

    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        int64_t expires_at_s = tls_time_s(X509_get0_notAfter(certificate));

        if (files->expires_at_s == 0 || expires_at_s < files->expires_at_s)
            files->expires_at_s = expires_at_s;
        if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
            tls_note(loader, key, "certificate %d of %s has expired: clients that check it will not connect", i + 1,
                     path);
        else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
            tls_note(loader, key, "certificate %d of %s is not valid yet: clients that check it will not connect",
                     i + 1, path);
    }
    if (has_trial_organization(X509_get_issuer_name(sk_X509_value(chain, 0))) ||
        has_trial_organization(X509_get_subject_name(sk_X509_value(chain, 0))))
        files->trial = true;
}

/* The certificates that go out with the first one: the rest of its file, else what cacertfile has. Found once, not in every
 * handshake. */
static int chain_apply(struct tls_loader *loader, SSL_CTX *ssl, const char *key, const char *path,
                       STACK_OF(X509) * chain)
{
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
    for (int i = 1; i < sk_X509_num(chain); i++) {
        if (SSL_CTX_add1_chain_cert(ssl, sk_X509_value(chain, i)) != 1)
            return tls_fail(loader, -EINVAL, key, "cannot use certificate %d of %s: %s", i + 1, path,
                            tls_openssl_reason());
    }
    if (sk_X509_num(chain) == 1 && loader->authorities != NULL)
        (void)SSL_CTX_build_cert_chain(ssl, SSL_BUILD_CHAIN_FLAG_NO_ROOT | SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR |
                                                SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR);
    ERR_clear_error();
    return 0;
}

/* Where the keys of a certificate stand: the listener's own, or one for a host. */
struct certificate_keys {
    char cert_key[KEY_TEXT_MAX], key_key[KEY_TEXT_MAX];
    const char *cert_file, *key_file;
};

static int pair_apply(struct tls_loader *loader, SSL_CTX *ssl, const struct certificate_keys *keys,
                      STACK_OF(X509) * chain, EVP_PKEY *key)
{
    X509 *certificate = sk_X509_value(chain, 0);

    if (X509_check_private_key(certificate, key) != 1)
        return tls_fail(loader, -EINVAL, keys->key_key, "the key in %s does not belong to the certificate in %s",
                        keys->key_file, keys->cert_file);
    if (SSL_CTX_use_certificate(ssl, certificate) != 1)
        return tls_fail(loader, -EINVAL, keys->cert_key, "cannot use %s: %s", keys->cert_file, tls_openssl_reason());
    if (SSL_CTX_use_PrivateKey(ssl, key) != 1)
        return tls_fail(loader, -EINVAL, keys->key_key, "cannot use %s: %s", keys->key_file, tls_openssl_reason());
    return chain_apply(loader, ssl, keys->cert_key, keys->cert_file, chain);
}

/* `out_chain`: the certificates of the file; the caller frees them also after an error. */
static int certificate_apply(struct tls_loader *loader, SSL_CTX *ssl, const struct certificate_keys *keys,
                             STACK_OF(X509) * *out_chain)
{
    EVP_PKEY *key = NULL;
    int err;

    if (keys->cert_file == NULL)
        return tls_fail(loader, -EINVAL, keys->cert_key,
                        "is not set: a PEM file with the server's certificate is needed");
    if (keys->key_file == NULL)
        return tls_fail(loader, -EINVAL, keys->key_key,
                        "is not set: a PEM file with the server's private key is needed");
    err = tls_certificates_read(loader, keys->cert_key, keys->cert_file, out_chain);
    if (err == 0)
        err = tls_key_read(loader, keys->key_key, keys->key_file, &key);
    if (err == 0)
        err = pair_apply(loader, ssl, keys, *out_chain, key);
    EVP_PKEY_free(key);
    if (err == 0)
        note_certificates(loader, keys->cert_key, keys->cert_file, *out_chain);
    return err;
}

static int authorities_load(struct tls_loader *loader)
{
    const struct tls_options *options = loader->options;
    int err;

    loader->store = X509_STORE_new();
    if (loader->store == NULL)
        return tls_fail(loader, -ENOMEM, "cacertfile", "no memory");
    if (options->ca_cert_file == NULL)
        return 0;
    err = tls_certificates_read(loader, "cacertfile", options->ca_cert_file, &loader->authorities);
    for (int i = 0; err == 0 && i < sk_X509_num(loader->authorities); i++) {
        if (X509_STORE_add_cert(loader->store, sk_X509_value(loader->authorities, i)) != 1)
            err = tls_fail(loader, -EINVAL, "cacertfile", "cannot use certificate %d of %s: %s", i + 1,
                           options->ca_cert_file, tls_openssl_reason());
    }
    return err;
}

static int crls_load(struct tls_loader *loader)
{
    const struct tls_options *options = loader->options;
    unsigned long flags = X509_V_FLAG_CRL_CHECK;
    int err;

    if (options->crl_check == TLS_CRL_OFF) {
        if (options->crl_file != NULL)
            tls_note(loader, "crl_file", "is not looked at: crl_check is off");
        return 0;
    }
    if (options->crl_file == NULL)
        return tls_fail(loader, -EINVAL, "crl_check", "needs %s.crl_file, a PEM file with the authorities' CRLs",
                        options->key_prefix);
    err = tls_crls_read(loader, "crl_file", options->crl_file);
    if (options->crl_check == TLS_CRL_CHAIN)
        flags |= X509_V_FLAG_CRL_CHECK_ALL;
    if (err == 0 && X509_STORE_set_flags(loader->store, flags) != 1)
        err = tls_fail(loader, -EINVAL, "crl_check", "%s", tls_openssl_reason());
    return err;
}

static int on_verified(int good, X509_STORE_CTX *verifying)
{
    const X509 *certificate = X509_STORE_CTX_get_current_cert(verifying);
    const SSL *ssl = X509_STORE_CTX_get_ex_data(verifying, SSL_get_ex_data_X509_STORE_CTX_idx());

    if (!good && certificate != NULL)
        tls_layer_on_refused(ssl, certificate);
    return good;
}

/* Who clients must be. With pre-shared keys there are no certificates to ask for. */
static int verify_apply(struct tls_loader *loader, SSL_CTX *ssl)
{
    const struct tls_options *options = loader->options;
    int mode = SSL_VERIFY_PEER;

    SSL_CTX_set1_cert_store(ssl, loader->store);
    if (!options->verify_peer || options->psk_ciphers != NULL)
        return 0;
    if (loader->authorities == NULL)
        return tls_fail(loader, -EINVAL, "verify",
                        "verify_peer needs %s.cacertfile, a PEM file with the authorities of the clients' certificates",
                        options->key_prefix);
    for (int i = 0; i < sk_X509_num(loader->authorities); i++) {
        if (SSL_CTX_add_client_CA(ssl, sk_X509_value(loader->authorities, i)) != 1)
            return tls_fail(loader, -ENOMEM, "cacertfile", "%s", tls_openssl_reason());
    }
    if (options->fail_if_no_peer_cert)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ssl, mode, on_verified);
    return 0;
}

static void sessions_apply(struct tls_loader *loader, SSL_CTX *ssl)
{
    const char *prefix = loader->options->key_prefix;
    size_t len = strlen(prefix);

    /* Sessions of one listener are not resumed at another one, which may ask for other certificates. */
    if (len > SSL_MAX_SID_CTX_LENGTH)
        prefix += len - SSL_MAX_SID_CTX_LENGTH;
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)prefix, (unsigned int)strlen(prefix));
    if (!loader->options->reuse_sessions) {
        SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
        return;
    }
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
    SSL_CTX_sess_set_cache_size(ssl, CACHED_SESSIONS_MAX);
    SSL_CTX_set_num_tickets(ssl, TICKETS_PER_CLIENT);
}

/* All but the certificate. Renegotiation is refused whatever secure_renegotiate says: MQTT has no use for it. */
static int base_make(struct tls_loader *loader, SSL_CTX **out_ssl)
{
    const struct tls_options *options = loader->options;
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    int err;

    if (ssl == NULL)
        return tls_fail(loader, -ENOMEM, "certfile", "%s", tls_openssl_reason());
    *out_ssl = ssl;
    SSL_CTX_set_app_data(ssl, loader->files);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    if (options->honor_cipher_order)
        SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 0);
    SSL_CTX_set_keylog_callback(ssl, tls_layer_on_key_log);
    SSL_CTX_set_max_cert_list(ssl, CERTIFICATES_BYTES_MAX);
    sessions_apply(loader, ssl);
    err = tls_ciphers_apply(loader, ssl);
    if (err == 0)
        err = verify_apply(loader, ssl);
    if (err == 0 && options->dh_file != NULL)
        err = tls_dh_read(loader, "dhfile", options->dh_file, ssl);
    else if (err == 0)
        SSL_CTX_set_dh_auto(ssl, 1);
    return err;
}

static int own_load(struct tls_loader *loader)
{
    const struct tls_options *options = loader->options;
    struct certificate_keys keys = {"certfile", "keyfile", options->cert_file, options->key_file};
    STACK_OF(X509) *chain = NULL;
    int err = base_make(loader, &loader->files->ssl);

    if (err == 0 && options->psk_ciphers != NULL) {
        err = tls_psk_load(loader);
        if (err == 0)
            tls_psk_apply(loader->files, loader->files->ssl);
        return err; /* no certificate: whoever has no key would come in with it */
    }
    if (err == 0 && options->psk_file != NULL)
        tls_note(loader, "psk_file", "is not looked at: psk_ciphers is not set");
    if (err == 0)
        err = certificate_apply(loader, loader->files->ssl, &keys, &chain);
    if (err == 0 && options->ocsp_file != NULL)
        err = tls_ocsp_load(loader, loader->files->ssl, chain);
    sk_X509_pop_free(chain, X509_free);
    return err;
}

static int host_load(struct tls_loader *loader, const struct tls_sni_options *sni)
{
    struct certificate_keys keys = {.cert_file = sni->cert_file, .key_file = sni->key_file};
    struct tls_files *files = loader->files;
    struct tls_host *host = &files->hosts[files->host_count++];
    size_t notes_len = strlen(files->notes);
    char host_key[KEY_TEXT_MAX];
    STACK_OF(X509) *chain = NULL;
    int err;

    snprintf(host_key, sizeof(host_key), "sni.%s.host", sni->id);
    snprintf(keys.cert_key, sizeof(keys.cert_key), "sni.%s.certfile", sni->id);
    snprintf(keys.key_key, sizeof(keys.key_key), "sni.%s.keyfile", sni->id);
    if (sni->host == NULL || sni->host[0] == '\0')
        return tls_fail(loader, -EINVAL, host_key, "is not set: the host that clients ask for is needed");
    host->host = sni->host;
    err = base_make(loader, &host->ssl);
    files->notes[notes_len] = '\0'; /* they were said for the listener's own certificate */
    if (err == 0)
        err = certificate_apply(loader, host->ssl, &keys, &chain);
    sk_X509_pop_free(chain, X509_free);
    return err;
}

static int hosts_load(struct tls_loader *loader)
{
    const struct tls_options *options = loader->options;
    struct tls_files *files = loader->files;
    int err = 0;

    if (options->sni_count == 0 || options->psk_ciphers != NULL)
        return 0;
    files->hosts = calloc(options->sni_count, sizeof(*files->hosts));
    if (files->hosts == NULL)
        return tls_fail(loader, -ENOMEM, "sni", "no memory");
    for (uint32_t i = 0; err == 0 && i < options->sni_count; i++)
        err = host_load(loader, &options->sni[i]);
    SSL_CTX_set_tlsext_servername_callback(files->ssl, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(files->ssl, files);
    return err;
}

static int load(struct tls_context *context, struct tls_files **out_files, char error[TLS_ERROR_MAX])
{
    struct tls_loader loader = {.options = context->options, .home = context->home, .error = error};
    int err;

    error[0] = '\0';
    loader.files = calloc(1, sizeof(*loader.files));
    if (loader.files == NULL)
        return tls_fail(&loader, -ENOMEM, "certfile", "no memory");
    atomic_init(&loader.files->refs, 1);
    err = authorities_load(&loader);
    if (err == 0)
        err = crls_load(&loader);
    if (err == 0)
        err = own_load(&loader);
    if (err == 0)
        err = hosts_load(&loader);
    sk_X509_pop_free(loader.authorities, X509_free);
    X509_STORE_free(loader.store);
    ERR_clear_error();
    if (err < 0)
        tls_files_unref(loader.files);
    else
        *out_files = loader.files;
    return err;
}

int tls_context_new(const struct tls_options *options, const char *home, struct tls_context **out_context,
                    char error[TLS_ERROR_MAX])
{
    struct tls_context *context = calloc(1, sizeof(*context));
    int err = -ENOMEM;

    if (context == NULL) {
        snprintf(error, TLS_ERROR_MAX, "%s: no memory", options->key_prefix);
        return -ENOMEM;
    }
    context->options = options;
    pthread_mutex_init(&context->lock, NULL);
    if (home != NULL && (context->home = strdup(home)) == NULL)
        snprintf(error, TLS_ERROR_MAX, "%s: no memory", options->key_prefix);
    else
        err = load(context, &context->files, error);
    if (err < 0)
        tls_context_free(context);
    else
        *out_context = context;
    return err;
}

int tls_context_reload(struct tls_context *context, char error[TLS_ERROR_MAX])
{
    struct tls_files *fresh = NULL, *old;
    int err = load(context, &fresh, error);

    if (err < 0)
        return err;
    pthread_mutex_lock(&context->lock);
    old = context->files;
    context->files = fresh;
    pthread_mutex_unlock(&context->lock);
    tls_files_unref(old);
    return 0;
}

bool tls_context_files_changed(const struct tls_context *context)
{
    const struct tls_files *files = context->files; /* only the control thread, this one, changes the pointer */

    for (uint32_t i = 0; i < files->watched_count; i++) {
        const struct stat *seen = &files->watched[i].seen;
        struct stat now;

        if (stat(files->watched[i].path, &now) < 0 || now.st_size != seen->st_size || now.st_ino != seen->st_ino ||
            now.st_dev != seen->st_dev || now.st_mtim.tv_sec != seen->st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != seen->st_mtim.tv_nsec)
            return true;
    }
    return false;
}

int64_t tls_context_expires_at_s(const struct tls_context *context)
{
    return context->files->expires_at_s;
}

bool tls_context_is_trial(const struct tls_context *context)
{
    return context->files->trial;
}

const char *tls_context_notes(const struct tls_context *context)
{
    return context->files->notes;
}

void tls_context_free(struct tls_context *context)
{
    if (context == NULL)
        return;
    tls_files_unref(context->files);
    pthread_mutex_destroy(&context->lock);
    free(context->home);
    free(context);
}

struct tls_files *tls_context_files_ref(struct tls_context *context)
{
    struct tls_files *files;

    pthread_mutex_lock(&context->lock);
    files = context->files;
    atomic_fetch_add(&files->refs, 1);
    pthread_mutex_unlock(&context->lock);
    return files;
}

bool tls_context_handshake_begin(struct tls_context *context)
{
    uint32_t max = context->options->handshakes_max;

    if (atomic_fetch_add(&context->handshakes, 1) < max || max == 0)
        return true;
    atomic_fetch_sub(&context->handshakes, 1);
    return false;
}

void tls_context_handshake_end(struct tls_context *context)
{
    atomic_fetch_sub(&context->handshakes, 1);
}
