/*
 * tls_support: see tls_support.h. All keys are P-256: quick to make.
 */
#include "tls_support.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILES_MAX 256
static char folder[64];
static char *paths[FILES_MAX];
static size_t path_count;
static long serial = 1;

const char *support_folder(void)
{
    if (folder[0] == '\0') {
        strcpy(folder, "/tmp/emqc-tls-test-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    return folder;
}

char *support_path(const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", support_folder(), name);
    for (size_t i = 0; i < path_count; i++) {
        if (strcmp(paths[i], path) == 0)
            return paths[i];
    }
    assert_true(path_count < FILES_MAX);
    paths[path_count] = strdup(path);
    assert_non_null(paths[path_count]);
    return paths[path_count++];
}

void support_fini(void)
{
    for (size_t i = 0; i < path_count; i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    path_count = 0;
    if (folder[0] != '\0')
        rmdir(folder);
    folder[0] = '\0';
}

static void add_extension(X509 *certificate, const X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, (X509 *)(uintptr_t)issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_name(X509_NAME *name, const char *field, const char *text, size_t len)
{
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)text, (int)len, -1, 0), 1);
}

struct identity identity_make(const struct identity_options *options)
{
    struct identity identity = {EVP_EC_gen("P-256"), X509_new()};
    X509 *certificate = identity.certificate;
    X509_NAME *name = X509_get_subject_name(certificate);
    const struct identity *issuer = options->issuer == NULL ? &identity : options->issuer;
    bool usual = options->from_s == 0 && options->until_s == 0;

    assert_non_null(identity.key);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), usual ? -3600 : options->from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), usual ? 30L * DAY_S : options->until_s);
    if (options->organization != NULL)
        add_name(name, "O", options->organization, strlen(options->organization));
    for (const char *cn = options->name; cn != NULL; cn = *cn == '\0' ? NULL : cn + 1) {
        size_t len = strcspn(cn, "|");
        add_name(name, "CN", cn, len);
        cn += len;
        if (*cn == '\0')
            break;
    }
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer->certificate));
    X509_set_pubkey(certificate, identity.key);
    add_extension(certificate, issuer->certificate, NID_basic_constraints,
                  options->authority ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(certificate, issuer->certificate, NID_subject_key_identifier, "hash");
    assert_true(X509_sign(certificate, issuer->key, EVP_sha256()) > 0);
    return identity;
}

void identity_free(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
    *identity = (struct identity){NULL, NULL};
}

static FILE *create(const char *name)
{
    FILE *file = fopen(support_path(name), "wb");

    assert_non_null(file);
    return file;
}

char *write_file(const char *name, const void *bytes, size_t len)
{
    FILE *file = create(name);

    assert_int_equal(fwrite(bytes, 1, len, file), len);
    fclose(file);
    return support_path(name);
}

char *write_certificates(const char *name, const X509 *first, const X509 *second)
{
    FILE *file = create(name);

    assert_int_equal(PEM_write_X509(file, first), 1);
    if (second != NULL)
        assert_int_equal(PEM_write_X509(file, second), 1);
    fclose(file);
    return support_path(name);
}

char *write_key(const char *name, EVP_PKEY *key)
{
    FILE *file = create(name);

    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    return support_path(name);
}

char *write_crl(const char *name, const struct identity *issuer, const X509 *revoked, long until_s)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *at = X509_gmtime_adj(NULL, -3600), *until = X509_gmtime_adj(NULL, until_s);
    FILE *file = create(name);

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->certificate));
    X509_CRL_set1_lastUpdate(crl, at);
    X509_CRL_set1_nextUpdate(crl, until);
    if (revoked != NULL) {
        X509_REVOKED *entry = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(entry, (ASN1_INTEGER *)(uintptr_t)X509_get0_serialNumber(revoked));
        X509_REVOKED_set_revocationDate(entry, at);
        X509_CRL_add0_revoked(crl, entry);
    }
    assert_true(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509_CRL(file, crl), 1);
    fclose(file);
    ASN1_TIME_free(at);
    ASN1_TIME_free(until);
    X509_CRL_free(crl);
    return support_path(name);
}

char *write_ocsp(const char *name, const struct identity *issuer, X509 *subject, bool good, long until_s)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, subject, issuer->certificate);
    ASN1_TIME *from = X509_gmtime_adj(NULL, -3600), *until = X509_gmtime_adj(NULL, until_s);
    OCSP_RESPONSE *response;
    unsigned char *der = NULL;
    int der_len;

    assert_non_null(OCSP_basic_add1_status(basic, id, good ? V_OCSP_CERTSTATUS_GOOD : V_OCSP_CERTSTATUS_REVOKED,
                                           OCSP_REVOKED_STATUS_KEYCOMPROMISE, from, from, until));
    assert_int_equal(OCSP_basic_sign(basic, issuer->certificate, issuer->key, EVP_sha256(), NULL, 0), 1);
    response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    assert_non_null(response);
    der_len = i2d_OCSP_RESPONSE(response, &der);
    assert_true(der_len > 0);
    write_file(name, der, (size_t)der_len);
    OPENSSL_free(der);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    OCSP_CERTID_free(id);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return support_path(name);
}

void pair_init(struct pair *pair, struct stream_pool *pool, struct tls_context *context, SSL_CTX *client_context)
{
    struct stream_layer *layer;
    int fds[2];

    memset(pair, 0, sizeof(*pair));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    pair->pool = pool;
    pair->client_fd = fds[1];
    pair->server_result = 1;
    stream_init(&pair->stream, fds[0]);
    assert_int_equal(tls_layer_new(context, &layer), 0);
    stream_push_layer(&pair->stream, layer);
    if (client_context != NULL) {
        pair->client = SSL_new(client_context);
        assert_non_null(pair->client);
        SSL_set_fd(pair->client, fds[1]);
        SSL_set_connect_state(pair->client);
    }
}

void pair_fini(struct pair *pair)
{
    stream_close(pair->pool, &pair->stream);
    stream_pool_flush(pair->pool);
    if (pair->client != NULL) /* else the client thinks ill of its session */
        SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(pair->client);
    if (pair->client_fd >= 0)
        close(pair->client_fd);
    free(pair->received);
}

void pair_server_turn(struct pair *pair)
{
    ssize_t got = 1;

    for (unsigned i = 0; got > 0 && i < 4; i++) {
        got = stream_read(pair->pool, &pair->stream, pair->pool->read_buffer, STREAM_READ_BUFFER);
        if (got > 0) {
            pair->received = realloc(pair->received, pair->received_len + (size_t)got);
            assert_non_null(pair->received);
            memcpy(pair->received + pair->received_len, pair->pool->read_buffer, (size_t)got);
            pair->received_len += (size_t)got;
            if (got < (ssize_t)STREAM_READ_BUFFER)
                break; /* nothing more is there, says the contract */
        }
    }
    if (got != -EAGAIN && got != -EBUSY)
        pair->server_result = got;
    stream_pool_flush(pair->pool);
}

bool pair_handshake(struct pair *pair)
{
    for (unsigned i = 0; i < 100; i++) {
        ERR_clear_error();
        int result = SSL_do_handshake(pair->client);
        int error = SSL_get_error(pair->client, result);

        if (result != 1 && error != SSL_ERROR_WANT_READ) {
            pair->client_error = error;
            pair_server_turn(pair); /* it reads the alert */
            return false;
        }
        pair_server_turn(pair);
        if (pair->server_result <= 0)
            return false;
        if (result == 1 && stream_established(&pair->stream))
            return true;
    }
    return false;
}

size_t client_read(struct pair *pair, void *out, size_t capacity)
{
    size_t total = 0, got;

    while (total < capacity) {
        ERR_clear_error();
        if (SSL_read_ex(pair->client, (uint8_t *)out + total, capacity - total, &got) != 1) {
            pair->client_error = SSL_get_error(pair->client, 0);
            break;
        }
        total += got;
    }
    return total;
}

const char *pair_error(const struct pair *pair)
{
    const char *error = stream_error(&pair->stream);

    return error == NULL ? "" : error;
}

SSL_CTX *client_context_make(const struct identity *authority, int version_min, int version_max)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    assert_non_null(context);
    SSL_CTX_set_min_proto_version(context, version_min);
    SSL_CTX_set_max_proto_version(context, version_max);
    if (authority != NULL) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority->certificate);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
    return context;
}

void client_context_identity(SSL_CTX *context, const struct identity *identity)
{
    assert_int_equal(SSL_CTX_use_certificate(context, identity->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, identity->key), 1);
}

struct tls_options options_make(const struct identity *server, const char *ciphers)
{
    return (struct tls_options){
        .key_prefix = TEXT("listener.ssl.test"),
        .cert_file = write_certificates("cert.pem", server->certificate, NULL),
        .key_file = write_key("key.pem", server->key),
        .ciphers = TEXT(ciphers),
        .handshakes_max = 100,
        .reuse_sessions = true,
    };
}

const char *handshake_error(struct stream_pool *pool, struct tls_context *context, SSL_CTX *client_context)
{
    static char error[TLS_ERROR_MAX];
    struct pair pair;

    pair_init(&pair, pool, context, client_context);
    bool done = pair_handshake(&pair);
    strcpy(error, pair_error(&pair));
    assert_true(done == (error[0] == '\0'));
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    return error;
}

struct tls_context *context_make(const struct tls_options *options)
{
    struct tls_context *context = NULL;
    char error[TLS_ERROR_MAX] = "";

    if (tls_context_new(options, NULL, &context, error) < 0)
        fail_msg("%s", error);
    return context;
}
