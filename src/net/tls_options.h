/*
 * tls_options: the TLS settings of one listener (listener.ssl.$name.*, listener.wss.$name.*), typed. Immutable after start-up.
 */
#ifndef NET_TLS_OPTIONS_H
#define NET_TLS_OPTIONS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct conf;

enum tls_crl_check { TLS_CRL_OFF, TLS_CRL_LEAF, TLS_CRL_CHAIN };

/* A certificate for clients that ask for this host (SNI). */
struct tls_sni_options {
    char *id;   /* $id, for messages */
    char *host; /* "broker.example.com" or "*.example.com" */
    char *key_file;
    char *cert_file;
};

struct tls_options {
    char *key_prefix; /* "listener.ssl.external", for messages */
    char *key_file;   /* paths as configured, relative to the broker's home */
    char *cert_file;
    char *ca_cert_file; /* NULL: none */
    char *dh_file;      /* NULL: built-in groups */
    char *ciphers;      /* comma list as configured; NULL with psk_ciphers */
    char *psk_ciphers;  /* NULL: no PSK */
    char *psk_file;     /* ours: identity:key lines; NULL: none */
    char *ocsp_file;    /* ours: DER response to staple; NULL: none */
    char *crl_file;     /* ours: PEM; NULL: none */
    struct tls_sni_options *sni;
    uint32_t sni_count;
    char *version_unknown;   /* a word of tls_versions that is none: tls_context_new() refuses it; NULL: none */
    bool version_ssl3;       /* tls_versions names sslv3, which is left out */
    uint32_t versions;       /* set of TLS_VERSION_*; 0: 1.2 and 1.3 */
    uint32_t handshakes_max; /* ours (max_handshakes): in flight at once; 0: no limit */
    uint64_t handshake_timeout_ms;
    enum tls_crl_check crl_check;
    bool verify_peer;
    bool fail_if_no_peer_cert;
    bool secure_renegotiate; /* nobody looks: every renegotiation is refused */
    bool reuse_sessions;
    bool honor_cipher_order;
};

#define TLS_VERSION_1_0 1u
#define TLS_VERSION_1_1 2u
#define TLS_VERSION_1_2 4u
#define TLS_VERSION_1_3 8u

/* Reads listener.`type`.`name`.* (`type`: "ssl" or "wss"). -ENOMEM. The caller frees with tls_options_free(). Thread: start-up
 * and control. */
MUST_USE int tls_options_read(const struct conf *conf, const char *type, const char *name,
                              struct tls_options **out_options);
/* NULL is fine. */
void tls_options_free(struct tls_options *options);

#endif
