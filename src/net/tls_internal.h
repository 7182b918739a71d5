/*
 * tls_internal: what the files of TLS share: one generation of a context's files, and what loads it.
 */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include "net/tls.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define TLS_FILE_BYTES_MAX                                                                                             \
    (64u * 1024u * 1024u)   /* larger files are refused: no certificate or list of keys is so large */
#define TLS_NOTES_MAX 4096u /* bytes of all notes of one generation; what exceeds it is cut */

struct tls_psk_table;

/* A file as it was when it was read. */
struct tls_watched_file {
    char *path;
    struct stat seen;
};

/* A certificate for clients that ask for `host`. */
struct tls_host {
    const char *host; /* the options' */
    SSL_CTX *ssl;
};

/* What one load of all files gave; immutable. The context holds one reference, each handshake one. */
struct tls_files {
    atomic_uint refs;
    SSL_CTX *ssl;
    struct tls_host *hosts;
    uint32_t host_count;
    struct tls_psk_table *psk;
    uint8_t *ocsp; /* DER response to staple; NULL: none */
    size_t ocsp_len;
    int64_t ocsp_until_s; /* its nextUpdate, seconds since 1970 */
    int64_t expires_at_s; /* 0: no certificate */
    bool trial;
    struct tls_watched_file *watched;
    uint32_t watched_count;
    char notes[TLS_NOTES_MAX];
};

/* Releases a reference; NULL is fine. Thread: any. */
void tls_files_unref(struct tls_files *files);

/* While a generation is made. Thread: start-up and control. */
struct tls_loader {
    const struct tls_options *options;
    const char *home;
    struct tls_files *files;
    STACK_OF(X509) * authorities; /* of cacertfile */
    X509_STORE *store;            /* the same with the CRLs */
    char *error;                  /* TLS_ERROR_MAX bytes */
};

/* Writes "KEY_PREFIX.`key`: …" as the error; `err` is returned. */
int tls_fail(struct tls_loader *loader, int err, const char *key, const char *format, ...) PRINTF_LIKE(4, 5);
/* Appends "KEY_PREFIX.`key`: …" as a line of the notes. */
void tls_note(struct tls_loader *loader, const char *key, const char *format, ...) PRINTF_LIKE(3, 4);
/* OpenSSL's reason for the last failure on this thread, or "unknown reason". Empties its queue. */
const char *tls_openssl_reason(void);

/* The content of a file of the configuration with a zero behind it, watched from now on. The caller frees `*out_text` with
 * OPENSSL_clear_free(…, *out_len + 1). */
MUST_USE int tls_file_read(struct tls_loader *loader, const char *key, const char *path, char **out_text,
                           size_t *out_len);
/* All certificates of a PEM file, at least one. The caller frees the list with sk_X509_pop_free(…, X509_free). */
MUST_USE int tls_certificates_read(struct tls_loader *loader, const char *key, const char *path,
                                   STACK_OF(X509) * *out_certificates);
/* The private key of a PEM file; it must not be encrypted. */
MUST_USE int tls_key_read(struct tls_loader *loader, const char *key, const char *path, EVP_PKEY **out_key);
/* Adds the CRLs of a PEM file, at least one, to the loader's store. */
MUST_USE int tls_crls_read(struct tls_loader *loader, const char *key, const char *path);
/* Uses the Diffie-Hellman parameters of a PEM file. */
MUST_USE int tls_dh_read(struct tls_loader *loader, const char *key, const char *path, SSL_CTX *ssl);

/* Sets what of `tls_versions` and the list of ciphers OpenSSL has. -EINVAL: nothing is left. */
MUST_USE int tls_ciphers_apply(struct tls_loader *loader, SSL_CTX *ssl);

/* Reads psk_file, if there is one, into the generation. */
MUST_USE int tls_psk_load(struct tls_loader *loader);
/* Looks identities up in the generation's table from now on. */
void tls_psk_apply(struct tls_files *files, SSL_CTX *ssl);
/* NULL is fine. Wipes the keys. */
void tls_psk_free(struct tls_psk_table *table);
/* The identity that the handshake of `ssl` looked up last on this thread, if nobody has it; `data` NULL: it was found, or none was
 * looked up. Until the thread's next look-up. Thread: owner. */
struct slice tls_psk_unknown(const SSL *ssl);

/* Reads ocsp_file, checks that it is about the first of `chain` and staples it in `ssl`. */
MUST_USE int tls_ocsp_load(struct tls_loader *loader, SSL_CTX *ssl, STACK_OF(X509) * chain);

/* Seconds since 1970 of a time of ASN.1. */
int64_t tls_time_s(const ASN1_TIME *time);

/* In plain words why the last call on `ssl` failed, from OpenSSL's queue, which it empties; `first_byte`: what the client said
 * first; `refused`: the certificate that was not accepted, NULL: none. Thread: owner. */
void tls_describe_failure(SSL *ssl, uint8_t first_byte, const char *refused, char out_text[TLS_ERROR_MAX]);

/* Takes the context's present generation, with a reference. Thread: any. */
struct tls_files *tls_context_files_ref(struct tls_context *context);
/* Counts a handshake; false: handshakes_max are in flight. Thread: any. */
bool tls_context_handshake_begin(struct tls_context *context);
void tls_context_handshake_end(struct tls_context *context);

extern const struct stream_layer_ops tls_layer_ops;
/* The client's certificate with a reference, which the caller frees; NULL: there is none. Thread: owner. */
X509 *tls_layer_peer(const struct stream_layer *layer);
/* A certificate in the client's chain was not accepted: kept for the error text. Thread: owner. */
void tls_layer_on_refused(const SSL *ssl, const X509 *certificate);
/* OpenSSL tells secrets of a handshake: for tls_records. Thread: owner. */
void tls_layer_on_key_log(const SSL *ssl, const char *line);

#endif
