/*
 * tls_records: the protection of records after the handshake (RFC 8446 section 5, RFC 5246 section 6.2.3.3, RFC 5288, RFC 7905).
 *
 * An SSL of OpenSSL takes 14 KiB for as long as its connection lives, nearly all of it for the handshake. With the AEAD ciphers
 * that everybody uses its work afterwards is little: so the keys are taken over (TLS 1.3: from the secrets that the key log
 * gives; 1.2: from the master secret), the SSL is freed, and records are sealed and opened here with OpenSSL's ciphers. Other
 * ciphers (CBC) keep their SSL.
 * Belongs to one layer. Thread: owner.
 */
#ifndef NET_TLS_RECORDS_H
#define NET_TLS_RECORDS_H

#include "base/compiler.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_HEADER 5u
#define RECORD_PLAIN_MAX 16384u
#define RECORD_OVERHEAD 512u /* more than header, nonce, padding and tag of any cipher */

struct tls_records;

/* What a client said in a record that is no data. */
enum tls_record_type { TLS_RECORD_ALERT = 21, TLS_RECORD_HANDSHAKE = 22, TLS_RECORD_DATA = 23 };

/* Empty, for the secrets to come. NULL: memory is short. */
struct tls_records *tls_records_new(void);
/* Wipes all keys. NULL is fine. */
void tls_records_free(struct tls_records *records);
/* A line of the key log (SSL_CTX_set_keylog_callback): keeps the two secrets of TLS 1.3's data. */
void tls_records_log_line(struct tls_records *records, const char *line);
/* Whole records that OpenSSL wrote (or read) in a step of the handshake: counts those since ChangeCipherSpec, for TLS 1.2. Returns
 * how many they were. Every step must be told. */
uint64_t tls_records_watch(struct tls_records *records, const uint8_t *bytes, size_t len, bool reading);
/* Takes over from `ssl`, whose handshake is done; of TLS 1.3 it wrote `records_sent` records with the new keys since (tickets). False:
 * not with this cipher, the numbers of the next records are not certain, or memory is short; then `ssl` goes on. */
MUST_USE bool tls_records_begin(struct tls_records *records, SSL *ssl, uint64_t records_sent);
/* The largest plaintext of a record that either may send (RFC 6066, section 4). */
size_t tls_records_fragment_max(const struct tls_records *records);
bool tls_records_is_tls13(const struct tls_records *records);

/* Has the present key protected as much as one may (RFC 8446, 5.5)? Then TLS 1.3 needs a KeyUpdate; 1.2 seals nothing more. */
bool tls_records_key_is_used_up(const struct tls_records *records, bool reading);
/* Another limit, in blocks of 16 bytes, a record counting for two more; for tests. After tls_records_begin(). */
void tls_records_set_key_limit(struct tls_records *records, uint64_t blocks);

/* Makes one record of at most tls_records_fragment_max() bytes at `out`, which has room for RECORD_OVERHEAD more. Its length, or
 * 0: OpenSSL failed, or the key of TLS 1.2 is used up. `plain` must not overlap `out`. */
size_t tls_records_seal(struct tls_records *records, enum tls_record_type type, const uint8_t *plain, size_t len,
                        uint8_t *out);
/* Opens one whole record into `out`, which has room for its length without the header; NULL: in place. `*out_plain` points to its
 * content. 0, or the alert (SSL_AD_…) that says what is wrong with it. */
int tls_records_open(struct tls_records *records, uint8_t *record, size_t record_len, uint8_t *out,
                     enum tls_record_type *out_type, uint8_t **out_plain, size_t *out_len);
/* The next keys for what is read (or written), after a KeyUpdate. False: OpenSSL failed. */
MUST_USE bool tls_records_update(struct tls_records *records, bool reading);

#endif
