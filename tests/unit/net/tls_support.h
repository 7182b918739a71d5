/*
 * tls_support: certificates made for a test, and a TLS client at the other end of a socket pair.
 */
#ifndef TESTS_UNIT_NET_TLS_SUPPORT_H
#define TESTS_UNIT_NET_TLS_SUPPORT_H

#include "net/stream.h"
#include "net/tls.h"

#include <openssl/ssl.h>

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these before it */
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#define DAY_S 86400
#define TEXT(literal) ((char *)(uintptr_t)(literal)) /* options hold texts that they own elsewhere */

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
};

struct identity_options {
    const char *name;              /* CN; "A,B" makes two */
    const char *organization;      /* NULL: none */
    const struct identity *issuer; /* NULL: self-signed */
    bool authority;
    long from_s, until_s; /* from now; 0 and 0: an hour ago to in 30 days */
};

/* The folder of this test's files; made by the first call, removed by support_fini(). */
const char *support_folder(void);
void support_fini(void);

struct identity identity_make(const struct identity_options *options);
void identity_free(struct identity *identity);
/* "FOLDER/NAME"; valid until the process ends. */
char *support_path(const char *name);
char *write_file(const char *name, const void *bytes, size_t len);
/* PEM files; a certificate file holds up to two, NULL: only one. */
char *write_certificates(const char *name, const X509 *first, const X509 *second);
char *write_key(const char *name, EVP_PKEY *key);
/* A CRL of `issuer` with the serial numbers of `revoked` (NULL: none). */
char *write_crl(const char *name, const struct identity *issuer, const X509 *revoked, long until_s);
/* A DER OCSP response of `issuer` that says good (or revoked) about `subject`. */
char *write_ocsp(const char *name, const struct identity *issuer, X509 *subject, bool good, long until_s);

/* One connection: the broker's end is a stream with the layer, the other end OpenSSL's client. */
struct pair {
    struct stream_pool *pool;
    struct stream stream;
    SSL *client; /* NULL: the test speaks through client_fd itself */
    int client_fd;
    ssize_t server_result; /* of the last stream_read() that was not -EAGAIN or -EBUSY */
    int client_error;      /* SSL_get_error() of the client's last failure */
    uint8_t *received;     /* plaintext at the server */
    size_t received_len;
};

/* `client_context` NULL: no client. */
void pair_init(struct pair *pair, struct stream_pool *pool, struct tls_context *context, SSL_CTX *client_context);
void pair_fini(struct pair *pair);
/* The server reads what is there and sends what it has; a turn ends. */
void pair_server_turn(struct pair *pair);
/* Both go on until the handshake is done at both ends; false when one failed. */
bool pair_handshake(struct pair *pair);
/* The client reads what is there: how many bytes, appended to `out` up to `capacity`. */
size_t client_read(struct pair *pair, void *out, size_t capacity);
/* What the broker would log about the failure; "" when there is nothing. */
const char *pair_error(const struct pair *pair);

/* A handshake with this client, whose context is freed: the broker's error, "" when it comes in. Valid until the next call. */
const char *handshake_error(struct stream_pool *pool, struct tls_context *context, SSL_CTX *client_context);

/* A client that trusts `authority` (NULL: it checks nothing) and takes versions from `version_min` to `version_max` (0: any). */
SSL_CTX *client_context_make(const struct identity *authority, int version_min, int version_max);
void client_context_identity(SSL_CTX *context, const struct identity *identity);

/* The options of a listener with this certificate, in files, that resumes sessions and takes 100 handshakes at once. */
struct tls_options options_make(const struct identity *server, const char *ciphers);
/* A context that must be fine. */
struct tls_context *context_make(const struct tls_options *options);

#endif
