/*
 * tls: see tls.h. OpenSSL reads and writes through a BIO of its own: from the bytes being fed, to the output buffer, so
 * that nothing is copied on the way.
 */
#include "tls.h"

#include "stamp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#define CIPHERS_MAX 1024u /* bytes of a list of ciphers */

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_connection *connection = BIO_get_data(bio);

    if (len <= 0)
        return 0;
    memcpy(buffer_reserve(connection->out, (size_t)len), data, (size_t)len);
    buffer_commit(connection->out, (size_t)len);
    return len;
}

static int bio_read(BIO *bio, char *data, int len)
{
    struct tls_connection *connection = BIO_get_data(bio);
    size_t count = (size_t)len < connection->in_len ? (size_t)len : connection->in_len;

    BIO_clear_retry_flags(bio);
    if (count == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(data, connection->in, count);
    connection->in += count;
    connection->in_len -= count;
    return (int)count;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "emqx_bench");

    if (method != NULL && (BIO_meth_set_write(method, bio_write) != 1 || BIO_meth_set_read(method, bio_read) != 1 ||
                           BIO_meth_set_ctrl(method, bio_control) != 1)) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return reason != NULL ? reason : "not accepted";
}

static int bad_option(const char *option, const char *value, const char *why)
{
    (void)fprintf(stderr, "emqx_bench: --%s '%s': %s\n", option, value, why);
    return -EINVAL;
}

static int set_version(struct tls *tls, const char *text)
{
    static const struct {
        const char *name;
        int version;
    } versions[] = {{"1.0", TLS1_VERSION}, {"1.1", TLS1_1_VERSION}, {"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}};

    if (text == NULL)
        return SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) == 1 ? 0 : -EINVAL;
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        if (strcmp(strncmp(text, "tlsv", 4) == 0 ? text + 4 : text, versions[i].name) != 0)
            continue;
        if (versions[i].version < TLS1_2_VERSION) /* the library's default level refuses their signatures */
            SSL_CTX_set_security_level(tls->context, 0);
        if (SSL_CTX_set_min_proto_version(tls->context, versions[i].version) == 1 &&
            SSL_CTX_set_max_proto_version(tls->context, versions[i].version) == 1)
            return 0;
        return bad_option("tls-version", text, "this OpenSSL does not have it");
    }
    return bad_option("tls-version", text, "must be 1.0, 1.1, 1.2 or 1.3");
}

/* The suites of TLS 1.3 are named in another list than those before it. */
static int set_ciphers(struct tls *tls, const char *text)
{
    char suites[CIPHERS_MAX] = "";
    char others[CIPHERS_MAX] = "";

    if (text == NULL)
        return 0;
    if (strlen(text) >= CIPHERS_MAX - 1)
        return bad_option("ciphers", text, "the list is too long");
    while (*text != '\0') {
        size_t len = strcspn(text, ":,");
        char *list = strncmp(text, "TLS_", 4) == 0 ? suites : others;
        size_t used = strlen(list);
        (void)snprintf(list + used, CIPHERS_MAX - used, "%s%.*s", used > 0 ? ":" : "", (int)len, text);
        text += len + (text[len] != '\0' ? 1 : 0);
    }
    if (suites[0] != '\0' && SSL_CTX_set_ciphersuites(tls->context, suites) != 1)
        return bad_option("ciphers", suites, openssl_reason());
    if (others[0] != '\0' && SSL_CTX_set_cipher_list(tls->context, others) != 1)
        return bad_option("ciphers", others, openssl_reason());
    return 0;
}

/* OpenSSL would check the chain and then not look at the outcome. */
static int accept_certificate(X509_STORE_CTX *store, void *argument)
{
    (void)argument;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static int set_certificates(struct tls *tls, const struct tls_settings *settings)
{
    const char *key_file = settings->key_file != NULL ? settings->key_file : settings->cert_file;

    if (settings->cert_file == NULL && settings->key_file != NULL)
        return bad_option("keyfile", settings->key_file, "needs --certfile too");
    if (settings->cert_file != NULL && SSL_CTX_use_certificate_chain_file(tls->context, settings->cert_file) != 1)
        return bad_option("certfile", settings->cert_file, openssl_reason());
    if (key_file != NULL && SSL_CTX_use_PrivateKey_file(tls->context, key_file, SSL_FILETYPE_PEM) != 1)
        return bad_option("keyfile", key_file, openssl_reason());
    if (settings->ca_cert_file == NULL) {
        SSL_CTX_set_cert_verify_callback(tls->context, accept_certificate, NULL);
        return 0;
    }
    if (SSL_CTX_load_verify_file(tls->context, settings->ca_cert_file) != 1)
        return bad_option("cacertfile", settings->ca_cert_file, openssl_reason());
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    return 0;
}

static unsigned give_psk(SSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *psk,
                         unsigned psk_max)
{
    const struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    (void)hint;
    if (tls->psk_len > psk_max || strlen(tls->psk_identity) > identity_max)
        return 0;
    memcpy(identity, tls->psk_identity, strlen(tls->psk_identity) + 1); /* identity_max leaves room for the zero */
    memcpy(psk, tls->psk, tls->psk_len);
    return tls->psk_len;
}

static int set_psk(struct tls *tls, const struct tls_settings *settings)
{
    size_t len = 0;

    if (settings->psk == NULL && settings->psk_identity == NULL)
        return 0;
    if (settings->psk == NULL || settings->psk_identity == NULL) {
        (void)fprintf(stderr, "emqx_bench: --psk-identity and --psk belong together\n");
        return -EINVAL;
    }
    if (OPENSSL_hexstr2buf_ex(tls->psk, sizeof(tls->psk), &len, settings->psk, '\0') != 1 || len == 0)
        return bad_option("psk", settings->psk, "must be hexadecimal, 256 bytes at most");
    if (strlen(settings->psk_identity) > PSK_MAX_IDENTITY_LEN)
        return bad_option("psk-identity", settings->psk_identity, "is too long");
    tls->psk_len = (uint32_t)len;
    tls->psk_identity = settings->psk_identity;
    SSL_CTX_set_psk_client_callback(tls->context, give_psk);
    return 0;
}

int tls_init(struct tls *tls, const struct tls_settings *settings)
{
    struct in6_addr address;
    int err;

    memset(tls, 0, sizeof(*tls));
    tls->reuse_sessions = settings->reuse_sessions;
    if (inet_pton(AF_INET, settings->host, &address) != 1 && inet_pton(AF_INET6, settings->host, &address) != 1)
        tls->host = settings->host;
    tls->bio_method = make_bio_method();
    tls->context = SSL_CTX_new(TLS_client_method());
    if (tls->bio_method == NULL || tls->context == NULL) {
        (void)fprintf(stderr, "emqx_bench: TLS: %s\n", openssl_reason());
        return -EINVAL;
    }
    (void)SSL_CTX_set_app_data(tls->context, tls);
    (void)SSL_CTX_set_mode(tls->context, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF); /* kept by hand */
    err = set_version(tls, settings->version);
    if (err == 0)
        err = set_ciphers(tls, settings->ciphers);
    if (err == 0)
        err = set_certificates(tls, settings);
    return err == 0 ? set_psk(tls, settings) : err;
}

void tls_fini(struct tls *tls)
{
    SSL_SESSION_free(tls->session);
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->bio_method);
    memset(tls, 0, sizeof(*tls));
}

double tls_handshakes_per_s(const struct tls_handshakes *handshakes)
{
    if (handshakes->count == 0 || handshakes->last_ns <= handshakes->first_ns)
        return 0;
    return (double)handshakes->count * 1e9 / (double)(handshakes->last_ns - handshakes->first_ns);
}

/* Notes why the connection failed. */
static void note_fault(struct tls_connection *connection)
{
    struct tls *tls = connection->tls;
    long verified = SSL_get_verify_result(connection->ssl);

    if (!connection->established && verified != X509_V_OK && SSL_CTX_get_verify_mode(tls->context) != SSL_VERIFY_NONE)
        (void)snprintf(tls->fault, sizeof(tls->fault), "TLS: the broker's certificate: %s",
                       X509_verify_cert_error_string(verified));
    else
        (void)snprintf(tls->fault, sizeof(tls->fault), "TLS: %s", openssl_reason());
    ERR_clear_error();
}

static void count_handshake(struct tls_connection *connection)
{
    struct tls *tls = connection->tls;
    struct tls_handshakes *kind = connection->offered_session && SSL_session_reused(connection->ssl) == 1
                                      ? &tls->resumed
                                      : &tls->full;
    uint64_t now_ns = clock_ns();

    if (kind->count == 0 || connection->opened_ns < kind->first_ns)
        kind->first_ns = connection->opened_ns;
    kind->count++;
    kind->last_ns = now_ns;
    histogram_record(&kind->duration, now_ns - connection->opened_ns);
    (void)snprintf(tls->cipher, sizeof(tls->cipher), "%s, %s", SSL_get_version(connection->ssl),
                   SSL_get_cipher_name(connection->ssl));
}

/* Goes on with the handshake as far as the bytes that are there let it. False: it has failed. */
static bool shake_hands(struct tls_connection *connection)
{
    int result;

    ERR_clear_error();
    result = SSL_do_handshake(connection->ssl);
    if (result == 1) {
        connection->established = true;
        count_handshake(connection);
        return true;
    }
    if (SSL_get_error(connection->ssl, result) == SSL_ERROR_WANT_READ)
        return true;
    note_fault(connection);
    return false;
}

int tls_connection_open(struct tls_connection *connection, struct tls *tls, struct buffer *out, uint64_t now_ns)
{
    BIO *bio = BIO_new(tls->bio_method);

    *connection = (struct tls_connection){.tls = tls, .out = out, .opened_ns = now_ns, .ssl = SSL_new(tls->context)};
    if (bio == NULL || connection->ssl == NULL) {
        (void)BIO_free(bio);
        return -ENOMEM;
    }
    BIO_set_data(bio, connection);
    BIO_set_init(bio, 1);
    SSL_set_bio(connection->ssl, bio, bio);
    SSL_set_connect_state(connection->ssl);
    if (tls->host != NULL)
        (void)SSL_set_tlsext_host_name(connection->ssl, tls->host);
    if (tls->session != NULL) /* a pre-shared key of TLS 1.3 looks like one too */
        connection->offered_session = SSL_set_session(connection->ssl, tls->session) == 1;
    return shake_hands(connection) ? 0 : -EPROTO;
}

void tls_connection_close(struct tls_connection *connection)
{
    if (connection->ssl != NULL) {
        /* Otherwise OpenSSL takes the session, which others use too, for spoilt. */
        SSL_set_shutdown(connection->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(connection->ssl);
    }
    memset(connection, 0, sizeof(*connection));
}

ssize_t tls_connection_receive(struct tls_connection *connection, const uint8_t *data, size_t len, uint8_t *plain,
                               size_t capacity)
{
    size_t total = 0;
    size_t count = 0;

    connection->in = data;
    connection->in_len = len;
    if (UNLIKELY(!connection->established)) {
        if (!shake_hands(connection))
            return -1;
        if (!connection->established)
            return 0;
    }
    while (SSL_read_ex(connection->ssl, plain + total, capacity - total, &count) == 1)
        total += count;
    switch (SSL_get_error(connection->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_ZERO_RETURN: /* close_notify: the end of the file follows */
        ASSERT(connection->in_len == 0 || SSL_get_shutdown(connection->ssl) != 0);
        return (ssize_t)total;
    default: note_fault(connection); return -1;
    }
}

bool tls_connection_send(struct tls_connection *connection, const uint8_t *data, size_t len)
{
    size_t written = 0;

    if (SSL_write_ex(connection->ssl, data, len, &written) == 1) /* the BIO takes all: whole or failed */
        return true;
    note_fault(connection);
    return false;
}

void tls_connection_shut(struct tls_connection *connection)
{
    if (connection->established)
        (void)SSL_shutdown(connection->ssl);
    ERR_clear_error();
}

void tls_connection_keep_session(struct tls_connection *connection)
{
    struct tls *tls = connection->tls;
    SSL_SESSION *session;

    if (!tls->reuse_sessions || tls->session != NULL)
        return;
    tls->session_sought = true;
    session = SSL_get1_session(connection->ssl);
    if (session != NULL && SSL_SESSION_is_resumable(session) == 1)
        tls->session = session;
    else
        SSL_SESSION_free(session);
}
