/*
 * tls: the client side of TLS 1.0 to 1.3 on OpenSSL, without a socket: what comes from the peer is fed in, what goes to
 * it gathers in a buffer that the caller writes when it likes.
 *
 * A `struct tls` is what the connections of a run have in common, with the counts of their handshakes and the session
 * that later ones resume. Thread: one.
 */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include "buffer.h"
#include "histogram.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

#define TLS_PSK_BYTES_MAX 256u

/* Texts are borrowed; NULL: not given. */
struct tls_settings {
    const char *host;         /* SNI, unless it is an address */
    const char *version;      /* "1.2", "tlsv1.3", …; NULL: from 1.2 on, the highest both have */
    const char *ciphers;      /* OpenSSL's names with ':' between; TLS_… are those of TLS 1.3 */
    const char *cert_file;    /* PEM, ours, with its chain */
    const char *key_file;     /* PEM */
    const char *ca_cert_file; /* PEM; the broker's certificate must come from it. NULL: any will do */
    const char *psk_identity;
    const char *psk; /* hexadecimal */
    bool reuse_sessions;
};

/* Handshakes of one kind. */
struct tls_handshakes {
    uint64_t count;
    uint64_t first_ns; /* when the first one began and the last one ended */
    uint64_t last_ns;
    struct histogram duration; /* from the connection being opened */
};

struct tls {
    SSL_CTX *context;
    BIO_METHOD *bio_method;
    const char *host; /* for SNI; NULL: not sent */
    const char *psk_identity;
    uint8_t psk[TLS_PSK_BYTES_MAX];
    uint32_t psk_len;
    bool reuse_sessions;
    bool session_sought;  /* a connection has got so far that its session was looked at */
    SSL_SESSION *session; /* NULL: none to be resumed */
    struct tls_handshakes full;
    struct tls_handshakes resumed;
    char cipher[96]; /* version and cipher of the last handshake */
    char fault[256]; /* of the last connection that failed */
};

struct tls_connection {
    struct tls *tls;
    SSL *ssl;
    struct buffer *out; /* for the peer */
    const uint8_t *in;  /* from the peer, not yet read by OpenSSL */
    size_t in_len;
    uint64_t opened_ns;
    bool offered_session;
    bool established;
};

/* Reads the files and checks the texts. Returns 0 or -EINVAL, with the fault printed. */
int tls_init(struct tls *tls, const struct tls_settings *settings);
/* Half-built and zeroed ones are fine. */
void tls_fini(struct tls *tls);

/* With reuse of sessions: is it too early for a second connection, because the first one's session is not there yet? */
static inline bool tls_awaits_session(const struct tls *tls)
{
    return tls->reuse_sessions && !tls->session_sought;
}

/* Handshakes/s between the beginning of the first and the end of the last; 0: none. */
double tls_handshakes_per_s(const struct tls_handshakes *handshakes);

/* Begins a handshake: its first bytes are in `out` then, which must outlive the connection. Returns 0 or -ENOMEM. */
int tls_connection_open(struct tls_connection *connection, struct tls *tls, struct buffer *out, uint64_t now_ns);
/* Zeroed ones are fine. */
void tls_connection_close(struct tls_connection *connection);

/* Takes all `len` bytes from the peer and writes the plain text, at most `len` + 16 KiB, to `plain`. Returns its bytes or
 * -1: the connection has failed, tls->fault says why. Goes on with the handshake and counts it when it is done. */
ssize_t tls_connection_receive(struct tls_connection *connection, const uint8_t *data, size_t len, uint8_t *plain,
                               size_t capacity);

/* Encrypts `data` into `out`: after the handshake. False: failed, tls->fault says why. */
bool tls_connection_send(struct tls_connection *connection, const uint8_t *data, size_t len);

/* Puts close_notify into `out`. */
void tls_connection_shut(struct tls_connection *connection);

/* The broker has spoken: its session tickets are here, the session can be kept for the next connections. */
void tls_connection_keep_session(struct tls_connection *connection);

#endif
