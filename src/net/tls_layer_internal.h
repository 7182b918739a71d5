/*
 * tls_layer_internal: the layer's parts: tls.c (the handshake, beginning and end), tls_read.c (what comes up), tls_write.c (what goes
 * down). Thread: owner of the stream.
 */
#ifndef NET_TLS_LAYER_INTERNAL_H
#define NET_TLS_LAYER_INTERNAL_H

#include "net/stream.h"
#include "net/tls_internal.h"
#include "net/tls_records.h"

#define TLS_KEY_UPDATE_BYTES 5u
#define TLS_RECORD_SHORT_MAX 64u          /* a record of ours with at most 16 bytes */
#define TLS_HELD_BYTES_MAX (192u * 1024u) /* a client that makes us answer more and takes nothing is closed */

struct tls_call {
    struct stream_pool *pool;
    struct stream *stream;
    uint8_t *in;     /* STREAM_LAYER_BUFFER bytes; NULL: not reading */
    size_t in_at;    /* next byte for OpenSSL */
    size_t in_ready; /* end of the whole records */
    size_t in_end;
    bool in_drained; /* nothing more is there below */
    uint8_t *out;    /* STREAM_LAYER_BUFFER bytes for records; NULL: they go to `held` */
    size_t out_len;
};

struct tls_layer {
    struct stream_layer layer;
    SSL *ssl;                    /* from the first record to the end of the handshake; of old ciphers to the end */
    struct tls_records *records; /* its successor */
    struct tls_context *context;
    struct tls_files *files; /* until the handshake is done */
    struct tls_call *call;   /* during SSL_…() */
    struct buffer input;     /* ciphertext that OpenSSL has not seen */
    struct buffer held;      /* ciphertext that below has not taken */
    struct buffer plain;     /* the rest of a record that did not fit into what was asked for */
    uint8_t *peer;           /* the client's certificate (DER); NULL: none, or the SSL has it */
    int peer_len;
    char *error_text;
    char *refused;         /* the subject of the client's certificate that was not accepted; NULL: none */
    int failed;            /* -errno for every further call */
    uint8_t first_byte;    /* that the client sent, for error texts */
    uint8_t empty_records; /* in a row */
    uint8_t key_update[TLS_KEY_UPDATE_BYTES]; /* the beginning of one that comes in several records */
    uint8_t key_update_len;
    bool asked_for_key; /* the client shall change its key */
    bool spoke;         /* the client sent something */
    bool ended;         /* the client said that it says nothing more */
    bool shut;          /* we said so */
};

static inline struct tls_layer *tls_layer_of(struct stream_layer *layer)
{
    return CONTAINER_OF(layer, struct tls_layer, layer);
}

/* Takes a step of the handshake with the whole records that are there. 0 (look at `established`), -EBUSY or -errno. */
MUST_USE int tls_handshake_step(struct tls_layer *tls, struct tls_call *call);

/* Sends what is held. 0: all is sent; -EAGAIN: below is full; or -errno. */
int tls_send_held(struct stream_pool *pool, struct stream *stream, struct tls_layer *tls);
/* Keeps the first reason and returns its `err`. `text` is copied; NULL: OpenSSL's reason. */
int tls_layer_fail(struct tls_layer *tls, struct tls_call *call, int err, const char *text);
/* Puts a short message of ours, at most 16 bytes, into what is held. After the handshake, without an SSL. 0, -EPROTO or -ENOBUFS. */
int tls_hold(struct tls_layer *tls, enum tls_record_type type, const uint8_t *bytes, size_t len);
/* Makes a KeyUpdate of TLS 1.3 at `out`, which has room for TLS_RECORD_SHORT_MAX bytes, and uses the next key from then on; `asks`: the
 * client shall do so too. The record's length, or 0: OpenSSL failed. */
size_t tls_change_key(struct tls_layer *tls, bool asks, uint8_t *out);
/* The same into what is held. 0, -EPROTO or -ENOBUFS: the connection cannot go on. */
int tls_hold_key_update(struct tls_layer *tls, bool asks);
/* The client broke a rule: tells it so (SSL_AD_…) and fails. */
int tls_refuse(struct tls_layer *tls, struct tls_call *call, int alert);
/* `wanted`, one of the pool's buffers, or the other one if the layer above uses it in this call. */
uint8_t *tls_spare_buffer(const struct stream_pool *pool, uint8_t *wanted, const struct iovec *parts, int count);

/* The ops of the layer (stream_layer.h). */
ssize_t tls_read(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                 size_t capacity);
ssize_t tls_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                  const struct iovec *parts, int count);
int tls_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer);
void tls_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer);

#endif
