/*
 * tls: TLS 1.0 to 1.3 for accepted connections, on OpenSSL: a layer of a stream (stream_layer.h), and the context that the
 * connections of a listener share (certificates, keys, ciphers, PSK identities, CRL, OCSP response, session tickets).
 *
 * A context can be reloaded while it is used: connections that exist keep what they began with. If anything in the new files is
 * wrong the old ones stay in use.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/buffer.h"
#include "base/compiler.h"
#include "net/stream_layer.h"
#include "net/tls_options.h"

struct tls_context;

#define TLS_PSK_KEY_MAX 512u /* bytes: what OpenSSL takes */

#define TLS_ERROR_MAX 512 /* bytes of an error text with its zero */

/* Reads the files of `options`, which must outlive the context. `home`: relative paths begin there; NULL: the current folder.
 * -EINVAL, -ENOENT, -EACCES, -ENOMEM, with `error` naming the key, the file, the reason and what would be right.
 * Thread: start-up and control. */
MUST_USE int tls_context_new(const struct tls_options *options, const char *home, struct tls_context **out_context,
                             char error[TLS_ERROR_MAX]);
/* Reads the files again and uses them for new connections. Errors as above; then nothing has changed. Thread: control. */
MUST_USE int tls_context_reload(struct tls_context *context, char error[TLS_ERROR_MAX]);
/* Has a file of the context changed since it was read? Thread: control. */
bool tls_context_files_changed(const struct tls_context *context);
/* The first day-of-expiry among the certificates in use, seconds since 1970; 0: there is none (PSK). Thread: control. */
int64_t tls_context_expires_at_s(const struct tls_context *context);
/* The certificate was made by tools/make-certs.sh for trying out: whoever has a copy of its key can read along. */
bool tls_context_is_trial(const struct tls_context *context);
/* What the last load found worth a line in the log (ciphers left out, certificates out of date): lines with newlines between
 * them, each beginning with its key; "" when there is nothing. Valid until the next reload. Thread: control. */
const char *tls_context_notes(const struct tls_context *context);
/* After the last connection is gone. NULL is fine. Thread: control. */
void tls_context_free(struct tls_context *context);

/* Asked for the key of an identity that the listener's psk_file, if it has one, does not name. Its length, written to `out_key`; 0: not
 * known. `identity`: from outside, any bytes, not empty. Must not block. Thread: worker. */
typedef size_t tls_psk_lookup_fn(struct slice identity, uint8_t out_key[TLS_PSK_KEY_MAX]);
/* Who is asked, of all contexts; NULL: nobody. Thread: start-up. */
void tls_psk_set_lookup(tls_psk_lookup_fn *lookup);

/* A new layer for an accepted connection, above the socket. -ENOMEM, or -EBUSY: handshakes_max are in flight. Thread: worker. */
MUST_USE int tls_layer_new(struct tls_context *context, struct stream_layer **out_layer);

/* Has the client not even sent a whole first record of its handshake yet? `layer`: TLS's or one above it. Thread: owner. */
bool tls_layer_waits_for_hello(const struct stream_layer *layer);

enum tls_name { TLS_NAME_CN = 1, TLS_NAME_DN, TLS_NAME_CRT }; /* the order of peer_cert_as_username's words */
/* The client's certificate as a user name (`peer_cert_as_username`), appended to `out`: its common names joined with commas, its
 * subject (RFC 4514, the most specific part first, what is not printable ASCII as \XX) or its DER bytes. `layer`: TLS's or one
 * above it. False when there is no TLS, no certificate or no name in it, when the name holds a zero byte, or when memory is short
 * or `out` full. Thread: owner. */
bool tls_layer_peer_name(const struct stream_layer *layer, enum tls_name kind, struct buffer *out);

#endif
