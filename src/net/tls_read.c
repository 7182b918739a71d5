/*
 * tls_read: what comes up: ciphertext in large reads into the pool's buffer, whole records out of it, the rest kept.
 */
#include "net/tls_layer_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD_BODY_MAX (RECORD_PLAIN_MAX + 2048u) /* of TLS 1.2 and below; 1.3 allows 256 */
#define IDLE_READS_MAX 8u                          /* reads that give no plaintext, then it is the others' turn */
#define USELESS_READS_MAX 64u                      /* the same behind plaintext; who sends more means no good */
#define EMPTY_RECORDS_MAX 32u                      /* records without data in a row, as in OpenSSL */

/* Where the whole records in these bytes end. What is no record of TLS is for OpenSSL to refuse at once. */
static size_t whole_records(const uint8_t *bytes, size_t len)
{
    size_t at = 0;

    while (len - at >= RECORD_HEADER) {
        const uint8_t *header = bytes + at;
        size_t body = (size_t)header[3] << 8 | header[4];

        if (header[0] < SSL3_RT_CHANGE_CIPHER_SPEC || header[0] > SSL3_RT_APPLICATION_DATA + 1 || header[1] != 3 ||
            body > RECORD_BODY_MAX)
            return len;
        if (len - at < RECORD_HEADER + body)
            break;
        at += RECORD_HEADER + body;
    }
    return at;
}

/* Reads ciphertext behind what is there. 0, or -errno as of the read. */
static int fill_in(struct tls_layer *tls, struct tls_call *call, size_t wanted)
{
    size_t room;
    ssize_t got;

    memmove(call->in, call->in + call->in_at, call->in_end - call->in_at);
    call->in_end -= call->in_at;
    call->in_at = 0;
    call->in_ready = whole_records(call->in, call->in_end); /* of what was there none is whole, also if no more comes */
    room = STREAM_LAYER_BUFFER - call->in_end;              /* what is there is less than a record */
    if (wanted < RECORD_HEADER + RECORD_BODY_MAX)
        wanted = RECORD_HEADER + RECORD_BODY_MAX; /* else a small capacity costs a read for every few bytes */
    if (wanted > room)
        wanted = room;
    got = stream_layer_read_below(call->pool, call->stream, &tls->layer, call->in + call->in_end, wanted);
    call->in_drained = got < (ssize_t)wanted;
    if (got < 0)
        return got == -EAGAIN || got == -EWOULDBLOCK ? 0 : (int)got;
    if (got == 0)
        tls->ended = true;
    if (got > 0 && !tls->spoke) {
        tls->spoke = true;
        tls->first_byte = call->in[0];
    }
    call->in_end += (size_t)got;
    call->in_ready = whole_records(call->in, call->in_end);
    return 0;
}

/* Uses the client's next key, and ours if it asks for that. */
static int update_keys(struct tls_layer *tls, struct tls_call *call, bool asked)
{
    if (!tls_records_update(tls->records, true))
        return tls_layer_fail(tls, call, -EPROTO, "cannot make the next keys");
    tls->asked_for_key = false;
    if (!asked || tls->shut)
        return 0;
    return tls_hold_key_update(tls, false) == 0
               ? 0
               : tls_layer_fail(tls, call, -ENOBUFS, "the client makes us answer and takes no answer");
}

/* A part of a KeyUpdate of TLS 1.3 (RFC 8446, 4.6.3); nothing else comes after its handshake. It ends its record, for the next one has
 * another key (5.1). */
static int handle_key_update(struct tls_layer *tls, struct tls_call *call, const uint8_t *bytes, size_t len)
{
    static const uint8_t head[TLS_KEY_UPDATE_BYTES - 1] = {SSL3_MT_KEY_UPDATE, 0, 0, 1};
    size_t have = tls->key_update_len;
    uint8_t request;

    if (len > TLS_KEY_UPDATE_BYTES - have)
        return tls_refuse(tls, call, SSL_AD_UNEXPECTED_MESSAGE);
    memcpy(tls->key_update + have, bytes, len);
    have += len;
    if (memcmp(tls->key_update, head, have < sizeof(head) ? have : sizeof(head)) != 0)
        return tls_refuse(tls, call, SSL_AD_UNEXPECTED_MESSAGE);
    tls->key_update_len = have == TLS_KEY_UPDATE_BYTES ? 0 : (uint8_t)have;
    if (have < TLS_KEY_UPDATE_BYTES)
        return 0;
    request = tls->key_update[TLS_KEY_UPDATE_BYTES - 1];
    if (request > SSL_KEY_UPDATE_REQUESTED)
        return tls_refuse(tls, call, SSL_AD_ILLEGAL_PARAMETER);
    return update_keys(tls, call, request == SSL_KEY_UPDATE_REQUESTED);
}

/* The client should have changed its key by now: asks for it, once. */
static int care_for_key(struct tls_layer *tls, struct tls_call *call)
{
    if (!tls_records_is_tls13(tls->records) || tls->asked_for_key || tls->shut ||
        !tls_records_key_is_used_up(tls->records, true))
        return 0;
    tls->asked_for_key = true;
    return tls_hold_key_update(tls, true) == 0 ? 0 : tls_layer_fail(tls, call, -ENOBUFS, "the client takes no answer");
}

static int handle_alert(struct tls_layer *tls, struct tls_call *call, const uint8_t *alert, size_t len)
{
    char text[TLS_ERROR_MAX];

    if (len != 2)
        return tls_refuse(tls, call, SSL_AD_DECODE_ERROR);
    if (!tls_records_is_tls13(tls->records) && alert[0] != SSL3_AL_WARNING && alert[0] != SSL3_AL_FATAL)
        return tls_refuse(tls, call, SSL_AD_ILLEGAL_PARAMETER);
    if (alert[1] == SSL_AD_CLOSE_NOTIFY)
        tls->ended = true;
    else if (alert[1] != SSL_AD_USER_CANCELLED && (alert[0] == SSL3_AL_FATAL || tls_records_is_tls13(tls->records))) {
        snprintf(text, sizeof(text), "the client ended the connection with the alert \"%s\"",
                 SSL_alert_desc_string_long(alert[1]));
        return tls_layer_fail(tls, call, -EPROTO, text);
    }
    return 0;
}

/* A record that is no data. Renegotiation of TLS 1.2 is declined, as often as records without data may come in a row. */
static int handle_control(struct tls_layer *tls, struct tls_call *call, enum tls_record_type type, const uint8_t *bytes,
                          size_t len)
{
    static const uint8_t no_renegotiation[] = {SSL3_AL_WARNING, SSL_AD_NO_RENEGOTIATION};

    if (type == TLS_RECORD_ALERT)
        return handle_alert(tls, call, bytes, len);
    if (tls_records_is_tls13(tls->records))
        return handle_key_update(tls, call, bytes, len);
    if (bytes[0] != SSL3_MT_CLIENT_HELLO)
        return tls_refuse(tls, call, SSL_AD_UNEXPECTED_MESSAGE);
    if (!tls->shut && tls_hold(tls, TLS_RECORD_ALERT, no_renegotiation, sizeof(no_renegotiation)) < 0)
        return tls_layer_fail(tls, call, -ENOBUFS, "the client makes us answer and takes no answer");
    return 0;
}

/* Opens the next record, which is whole: into `out` if it is sure to fit, else the rest is kept. */
static int read_record(struct tls_layer *tls, struct tls_call *call, uint8_t *out, size_t capacity, size_t *total)
{
    uint8_t *record = call->in + call->in_at, *plain;
    size_t ready = call->in_ready - call->in_at, record_len, room = capacity - *total, len;
    enum tls_record_type type;
    int alert;

    record_len = ready < RECORD_HEADER ? 0 : RECORD_HEADER + ((size_t)record[3] << 8 | record[4]);
    if (record_len == 0 || record_len > ready || record[1] != 3) /* whole_records() let it through to be refused */
        return tls_refuse(tls, call, SSL_AD_DECODE_ERROR);
    call->in_at += record_len;
    alert = tls_records_open(tls->records, record, record_len, record_len <= room ? out + *total : NULL, &type, &plain,
                             &len);
    if (alert != 0)
        return tls_refuse(tls, call, alert);
    tls->empty_records = type == TLS_RECORD_DATA && len > 0 ? 0 : tls->empty_records + 1;
    if (tls->empty_records > EMPTY_RECORDS_MAX ||
        (tls->key_update_len > 0 && type != TLS_RECORD_HANDSHAKE)) /* nothing between its parts [RFC 8446, 5.1] */
        return tls_refuse(tls, call, SSL_AD_UNEXPECTED_MESSAGE);
    if (type != TLS_RECORD_DATA)
        return handle_control(tls, call, type, plain, len);
    if (record_len > room) {
        size_t fitting = len < room ? len : room;
        memcpy(out + *total, plain, fitting);
        if (fitting < len && buffer_append(&tls->plain, slice_make(plain + fitting, len - fitting)) < 0)
            return tls_layer_fail(tls, call, -ENOMEM, "no memory");
        len = fitting;
    }
    *total += len;
    return care_for_key(tls, call);
}

static int read_records(struct tls_layer *tls, struct tls_call *call, uint8_t *out, size_t capacity, size_t *total)
{
    int err = 0;

    while (err == 0 && *total < capacity && !tls->ended && call->in_at < call->in_ready)
        err = read_record(tls, call, out, capacity, total);
    return err;
}

/* The same with OpenSSL, for old ciphers. `ended` is set by close_notify. */
static int read_plain(struct tls_layer *tls, struct tls_call *call, uint8_t *out, size_t capacity, size_t *total)
{
    while (*total < capacity && !tls->ended && (call->in_at < call->in_ready || SSL_pending(tls->ssl) > 0)) {
        size_t at_before = call->in_at, got = 0;
        int result, error;

        ERR_clear_error();
        result = SSL_read_ex(tls->ssl, out + *total, capacity - *total, &got);
        *total += got;
        if (result == 1)
            continue;
        error = SSL_get_error(tls->ssl, result);
        if (error == SSL_ERROR_ZERO_RETURN)
            tls->ended = true;
        else if (error != SSL_ERROR_WANT_READ)
            return tls_layer_fail(tls, call, -EPROTO,
                                  buffer_length(&tls->held) + RECORD_PLAIN_MAX > TLS_HELD_BYTES_MAX
                                      ? "the client makes us answer and takes no answer"
                                      : NULL);
        else if (call->in_at == at_before)
            break;
    }
    return 0;
}

/* Everything that is there. 0 or -errno. */
static int read_everything(struct tls_layer *tls, struct tls_call *call, uint8_t *out, size_t capacity, size_t *total)
{
    for (unsigned reads = 0;; reads++) {
        int err = tls->layer.established ? 0 : tls_handshake_step(tls, call);

        if (err == 0 && tls->layer.established)
            err = tls->records != NULL ? read_records(tls, call, out, capacity, total)
                                       : read_plain(tls, call, out, capacity, total);
        if (err < 0 || tls->ended || *total == capacity || call->in_drained)
            return err;
        if (*total == 0 && reads == IDLE_READS_MAX)
            return -EBUSY;
        if (reads == USELESS_READS_MAX)
            return tls_layer_fail(tls, call, -EPROTO, "the client sends records without content");
        err = fill_in(tls, call, capacity - *total);
        if (err < 0 || tls->ended)
            return err;
    }
}

/* What is left waits in memory of the layer. */
static int save_input(struct tls_layer *tls, struct tls_call *call)
{
    size_t left = call->in_end - call->in_at;

    if (left == 0 || tls->failed < 0 || tls->ended)
        return 0;
    if (buffer_append(&tls->input, slice_make(call->in + call->in_at, left)) < 0)
        return tls_layer_fail(tls, call, -ENOMEM, "no memory");
    return 0;
}

static void begin_reading(struct tls_layer *tls, struct tls_call *call, uint8_t *out, size_t capacity)
{
    const struct iovec part = {out, capacity};
    struct slice input = buffer_slice(&tls->input);

    call->in = tls_spare_buffer(call->pool, call->pool->layer_in, &part, 1);
    memcpy(call->in, input.data, input.len);
    call->in_end = input.len;
    call->in_ready = whole_records(call->in, call->in_end);
    buffer_fini(&tls->input);
}

/* What did not fit the last time. */
static size_t take_plain(struct tls_layer *tls, uint8_t *out, size_t capacity)
{
    struct slice plain = buffer_slice(&tls->plain);
    size_t count = plain.len < capacity ? plain.len : capacity;

    if (count == 0)
        return 0;
    memcpy(out, plain.data, count);
    buffer_consume(&tls->plain, count);
    if (count == plain.len)
        buffer_fini(&tls->plain);
    return count;
}

static ssize_t read_result(struct tls_layer *tls, struct tls_call *call, int err, size_t total)
{
    if (total > 0) {
        /* Fewer bytes than asked for: nobody reads again until the socket says something. It says now that it has ended. */
        if (tls->failed < 0 || tls->ended)
            shutdown(call->stream->watch.fd, SHUT_RD);
        return (ssize_t)total;
    }
    if (err < 0)
        return err;
    if (!tls->ended)
        return -EAGAIN;
    if (tls->spoke && !tls->layer.established)
        return tls_layer_fail(tls, call, -ECONNRESET,
                              "the client closed the connection in the middle of the handshake");
    return 0;
}

ssize_t tls_read(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                 size_t capacity)
{
    struct tls_layer *tls = tls_layer_of(layer);
    struct tls_call call = {.pool = pool, .stream = stream};
    uint32_t held_before = layer->held_bytes;
    size_t total = 0;
    int err, saved;

    total = take_plain(tls, out, capacity);
    if (total > 0 && (total == capacity || tls->failed < 0 || tls->ended))
        return read_result(tls, &call, 0, total);
    if (tls->failed < 0 || tls->ended)
        return tls->failed;
    if (!layer->established && pool->handshakes_left == 0)
        return -EBUSY;
    err = stream_pool_need_layer_buffers(pool);
    if (err < 0)
        return err;
    begin_reading(tls, &call, out, capacity);
    tls->call = &call;
    err = read_everything(tls, &call, out, capacity, &total);
    saved = save_input(tls, &call);
    if (err == 0)
        err = saved;
    tls->call = NULL;
    if (layer->held_bytes > held_before)
        stream_layer_wants_flush(pool, stream);
    return read_result(tls, &call, err, total);
}
