/*
 * tls_write: what goes down: plaintext into records in the pool's buffer, many for one send; what below does not take is held.
 */
#include "net/tls_layer_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_WORTH 4096u /* a buffer with less room is sent before the next record */

/* 0: all is sent; -EAGAIN: below is full; or -errno. */
int tls_send_held(struct stream_pool *pool, struct stream *stream, struct tls_layer *tls)
{
    while (buffer_length(&tls->held) > 0) {
        struct slice held = buffer_slice(&tls->held);
        struct iovec part = {(void *)(uintptr_t)held.data, held.len};
        ssize_t sent = stream_layer_write_below(pool, stream, &tls->layer, &part, 1);

        if (sent < 0)
            return sent == -EWOULDBLOCK ? -EAGAIN : (int)sent;
        buffer_consume(&tls->held, (size_t)sent);
        tls->layer.held_bytes = buffer_length(&tls->held);
        if ((size_t)sent < held.len)
            return -EAGAIN;
    }
    buffer_fini(&tls->held);
    return 0;
}

/* Keeps the first reason. `text`: copied; NULL for OpenSSL's. */
int tls_layer_fail(struct tls_layer *tls, struct tls_call *call, int err, const char *text)
{
    char described[TLS_ERROR_MAX];

    if (tls->failed < 0)
        return tls->failed;
    tls->failed = err;
    if (text == NULL) {
        tls_describe_failure(tls->ssl, tls->first_byte, tls->refused, described);
        text = described;
    }
    tls->error_text = strdup(text);
    tls->layer.error = tls->error_text == NULL ? "TLS failed" : tls->error_text;
    ERR_clear_error(); /* of the thread: nobody shall take what failed here for a failure of another connection */
    if (tls->layer.held_bytes > 0) /* the alert; no other chance comes, and whether it arrives changes nothing */
        (void)tls_send_held(call->pool, call->stream, tls);
    return err;
}

/* `record_len` 0: it could not be made. */
static int hold_record(struct tls_layer *tls, const uint8_t *record, size_t record_len)
{
    if (record_len == 0)
        return -EPROTO;
    if (buffer_append(&tls->held, slice_make(record, record_len)) < 0)
        return -ENOBUFS;
    tls->layer.held_bytes = buffer_length(&tls->held);
    return 0;
}

/* A short message of ours for `held`. */
int tls_hold(struct tls_layer *tls, enum tls_record_type type, const uint8_t *bytes, size_t len)
{
    uint8_t record[TLS_RECORD_SHORT_MAX];

    return hold_record(tls, record, tls_records_seal(tls->records, type, bytes, len, record));
}

size_t tls_change_key(struct tls_layer *tls, bool asks, uint8_t *out)
{
    const uint8_t message[TLS_KEY_UPDATE_BYTES] = {SSL3_MT_KEY_UPDATE, 0, 0, 1,
                                                   asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED};
    size_t len = tls_records_seal(tls->records, TLS_RECORD_HANDSHAKE, message, sizeof(message), out);

    return len > 0 && tls_records_update(tls->records, false) ? len : 0;
}

int tls_hold_key_update(struct tls_layer *tls, bool asks)
{
    uint8_t record[TLS_RECORD_SHORT_MAX];

    return hold_record(tls, record, tls_change_key(tls, asks, record));
}

/* The client broke a rule: tells it so and ends the connection. */
int tls_refuse(struct tls_layer *tls, struct tls_call *call, int alert)
{
    const uint8_t message[] = {SSL3_AL_FATAL, (uint8_t)alert};
    char text[TLS_ERROR_MAX];

    snprintf(text, sizeof(text), "%s (%s)",
             alert == SSL_AD_BAD_RECORD_MAC ? "what the client sent cannot be decrypted"
                                            : "the client breaks the protocol",
             SSL_alert_desc_string_long(alert));
    if (!tls->shut)
        (void)tls_hold(tls, TLS_RECORD_ALERT, message, sizeof(message));
    return tls_layer_fail(tls, call, -EPROTO, text);
}

static bool overlap(const uint8_t *buffer, const void *bytes, size_t len)
{
    uintptr_t begin = (uintptr_t)buffer, at = (uintptr_t)bytes;

    return at < begin + STREAM_LAYER_BUFFER && begin < at + len;
}

/* One of the pool's buffers that the layer above does not use in this call. */
uint8_t *tls_spare_buffer(const struct stream_pool *pool, uint8_t *wanted, const struct iovec *parts, int count)
{
    for (int i = 0; i < count; i++) {
        if (overlap(wanted, parts[i].iov_base, parts[i].iov_len))
            return wanted == pool->layer_in ? pool->layer_out : pool->layer_in;
    }
    return wanted;
}

/* Where in the parts writing stands. */
struct part_cursor {
    const struct iovec *part;
    size_t offset; /* in *part */
    size_t left;   /* in all parts */
};

static size_t parts_length(const struct iovec *parts, int count)
{
    size_t length = 0;

    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    return length;
}

/* The next `count` bytes in a row: in place when they are so, else copied together into `gathered`. */
static const uint8_t *next_bytes(struct part_cursor *cursor, size_t count, uint8_t *gathered)
{
    const uint8_t *direct = (const uint8_t *)cursor->part->iov_base + cursor->offset;
    bool in_a_row = cursor->part->iov_len - cursor->offset >= count;
    size_t done = 0;

    while (done < count) {
        size_t step = cursor->part->iov_len - cursor->offset;
        if (step > count - done)
            step = count - done;
        if (!in_a_row && step > 0)
            memcpy(gathered + done, (const uint8_t *)cursor->part->iov_base + cursor->offset, step);
        done += step;
        cursor->offset += step;
        if (cursor->offset == cursor->part->iov_len) {
            cursor->part++;
            cursor->offset = 0;
        }
    }
    cursor->left -= count;
    return in_a_row ? direct : gathered;
}

/* The next key when the present one is used up; there is room for a short record. */
static int care_for_key(struct tls_layer *tls, struct tls_call *call)
{
    size_t written;

    if (tls->records == NULL || !tls_records_key_is_used_up(tls->records, false))
        return 0;
    if (!tls_records_is_tls13(tls->records))
        return tls_layer_fail(tls, call, -EPROTO, "the key is used up, and TLS 1.2 has no next one");
    written = tls_change_key(tls, false, call->out + call->out_len);
    call->out_len += written;
    return written == 0 ? tls_layer_fail(tls, call, -EPROTO, "cannot make the next keys") : 0;
}

/* Makes one record behind those that are there. */
static int add_record(struct tls_layer *tls, struct tls_call *call, const uint8_t *plain, size_t len)
{
    size_t written;

    if (tls->records != NULL) {
        written = tls_records_seal(tls->records, TLS_RECORD_DATA, plain, len, call->out + call->out_len);
        call->out_len += written;
        return written == 0 ? tls_layer_fail(tls, call, -EPROTO, "cannot encrypt") : 0;
    }
    ERR_clear_error();
    return SSL_write_ex(tls->ssl, plain, len, &written) == 1 ? 0 : tls_layer_fail(tls, call, -EPROTO, NULL);
}

/* Encrypts as much as the buffer takes. */
static int fill_out(struct tls_layer *tls, struct tls_call *call, struct part_cursor *cursor)
{
    size_t max = tls->records == NULL ? RECORD_PLAIN_MAX : tls_records_fragment_max(tls->records);
    uint8_t gathered[RECORD_PLAIN_MAX];
    int err = 0;

    while (err == 0 && cursor->left > 0) {
        size_t room = STREAM_LAYER_BUFFER - call->out_len, count = cursor->left < max ? cursor->left : max;

        if (room < RECORD_WORTH)
            break;
        if (count > room - 2 * RECORD_OVERHEAD) /* once for a change of the key */
            count = room - 2 * RECORD_OVERHEAD;
        while (cursor->part->iov_len == cursor->offset) { /* empty parts */
            cursor->part++;
            cursor->offset = 0;
        }
        err = care_for_key(tls, call);
        if (err == 0)
            err = add_record(tls, call, next_bytes(cursor, count, gathered), count);
    }
    return err;
}

/* Sends what fill_out() made; what below does not take is held. */
static int send_out(struct tls_layer *tls, struct tls_call *call)
{
    struct iovec part = {call->out, call->out_len};
    ssize_t sent = stream_layer_write_below(call->pool, call->stream, &tls->layer, &part, 1);

    if (sent < 0 && sent != -EAGAIN && sent != -EWOULDBLOCK)
        return (int)sent;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < call->out_len) {
        if (buffer_append(&tls->held, slice_make(call->out + sent, call->out_len - (size_t)sent)) < 0)
            return tls_layer_fail(tls, call, -ENOMEM, "no memory");
        tls->layer.held_bytes = buffer_length(&tls->held);
    }
    call->out_len = 0;
    return 0;
}

ssize_t tls_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                  const struct iovec *parts, int count)
{
    struct tls_layer *tls = tls_layer_of(layer);
    size_t offered = parts_length(parts, count);
    struct part_cursor cursor = {parts, 0, offered};
    struct tls_call call = {.pool = pool, .stream = stream};
    int err;

    if (tls->failed < 0 || tls->shut)
        return tls->failed < 0 ? tls->failed : -EPIPE;
    if (!layer->established)
        return -EAGAIN;
    err = tls_send_held(pool, stream, tls);
    if (err == 0)
        err = stream_pool_need_layer_buffers(pool);
    if (err < 0)
        return err;
    call.out = tls_spare_buffer(pool, pool->layer_out, parts, count);
    tls->call = &call;
    while (err == 0 && cursor.left > 0 && tls->layer.held_bytes == 0) {
        err = fill_out(tls, &call, &cursor);
        if (err == 0)
            err = send_out(tls, &call);
    }
    tls->call = NULL;
    return err < 0 ? err : (ssize_t)(offered - cursor.left);
}

int tls_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    return tls_send_held(pool, stream, tls_layer_of(layer));
}

void tls_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    struct tls_layer *tls = tls_layer_of(layer);
    struct tls_call call = {.pool = pool, .stream = stream};

    if (tls->shut || tls->failed < 0 || !layer->established)
        return;
    tls->shut = true;
    if (tls->records != NULL) {
        static const uint8_t close_notify[] = {SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY};
        (void)tls_hold(tls, TLS_RECORD_ALERT, close_notify, sizeof(close_notify));
        return;
    }
    tls->call = &call;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl); /* writes close_notify into `held`; its answer is not waited for */
    ERR_clear_error();
    tls->call = NULL;
}
