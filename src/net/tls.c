/*
 * tls: the layer: TLS between the ciphertext of the layer below and the plaintext above.
 *
 *   read:   below ─► pool's buffer ─► whole records ─► the caller's memory
 *   write:  parts ─► records of up to 16 KiB ─► pool's buffer ─► below; what is not taken ─► `held`
 *
 * OpenSSL does the handshake. It is given whole records only and is made with the first one, within the budget of handshakes: who
 * says nothing costs a few hundred bytes. Afterwards tls_records.h takes over and the SSL is freed, unless the cipher is an
 * old one; the beginning of a record waits in `input`, which is as large as what has come.
 *
 *   new ──first record──► handshake ──Finished──► established ──close_notify──► ended
 *            make_ssl()      handshake_step()        read_plain()
 *   any state ──► failed (fail()): `error` says why; the alert that was written is sent at once if the socket takes it
 */
#include "net/tls_internal.h"

#include "net/stream.h"
#include "net/tls_records.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD_BODY_MAX (RECORD_PLAIN_MAX + 2048u) /* of TLS 1.2 and below; 1.3 allows 256 */
#define RECORD_WORTH 4096u                         /* a buffer with less room is sent before the next record */
#define HELD_BYTES_MAX (192u * 1024u)              /* a client that makes us answer more and takes nothing is closed */
#define IDLE_READS_MAX 8u                          /* reads that give no plaintext, then it is the others' turn */
#define USELESS_READS_MAX 64u /* records without plaintext behind plaintext; who sends more means no good */
#define EMPTY_RECORDS_MAX 32u /* records without data in a row, as in OpenSSL */

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
    uint8_t *peer;           /* the client\'s certificate (DER); NULL: none, or the SSL has it */
    int peer_len;
    char *error_text;
    int failed;            /* -errno for every further call */
    uint8_t first_byte;    /* that the client sent, for error texts */
    uint8_t empty_records; /* in a row */
    bool spoke;            /* the client sent something */
    bool ended;            /* the client said that it says nothing more */
    bool shut;             /* we said so */
};

static struct tls_layer *tls_of(struct stream_layer *layer)
{
    return CONTAINER_OF(layer, struct tls_layer, layer);
}

/* ---- OpenSSL's view of what is below */

static int bio_read(BIO *bio, char *out, int capacity)
{
    struct tls_call *call = ((struct tls_layer *)BIO_get_data(bio))->call;
    size_t count = call->in_ready - call->in_at;

    BIO_clear_retry_flags(bio);
    if (count == 0 || capacity <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (count > (size_t)capacity)
        count = (size_t)capacity;
    memcpy(out, call->in + call->in_at, count);
    call->in_at += count;
    return (int)count;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls_layer *tls = BIO_get_data(bio);
    struct tls_call *call = tls->call;

    BIO_clear_retry_flags(bio);
    if (call->out != NULL) {
        ASSERT(STREAM_LAYER_BUFFER - call->out_len >= (size_t)len); /* tls_write() sees to it */
        memcpy(call->out + call->out_len, bytes, (size_t)len);
        call->out_len += (size_t)len;
        return len;
    }
    if (buffer_append(&tls->held, slice_make(bytes, (size_t)len)) < 0)
        return -1;
    tls->layer.held_bytes = buffer_length(&tls->held);
    return len;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_method_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream layer");

    if (method != NULL && BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_write(method, bio_write) == 1 &&
        BIO_meth_set_ctrl(method, bio_control) == 1)
        bio_method = method; /* of the process */
    else
        BIO_meth_free(method);
}

static int make_ssl(struct tls_layer *tls)
{
    BIO *bio;

    pthread_once(&bio_method_once, make_bio_method);
    bio = bio_method == NULL ? NULL : BIO_new(bio_method);
    if (bio == NULL)
        return -ENOMEM;
    tls->records = tls_records_new();
    tls->ssl = tls->records == NULL ? NULL : SSL_new(tls->files->ssl);
    if (tls->ssl == NULL) {
        BIO_free(bio);
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_accept_state(tls->ssl);
    return 0;
}

void tls_layer_on_key_log(const SSL *ssl, const char *line)
{
    const struct tls_layer *tls = BIO_get_data(SSL_get_rbio(ssl));

    tls_records_log_line(tls->records, line);
}

X509 *tls_layer_peer(const struct stream_layer *layer)
{
    const struct tls_layer *tls = CONTAINER_OF(layer, const struct tls_layer, layer);
    const unsigned char *at = tls->peer;

    if (tls->ssl != NULL)
        return SSL_get1_peer_certificate(tls->ssl);
    return at == NULL ? NULL : d2i_X509(NULL, &at, tls->peer_len);
}

/* ---- What goes down */

/* 0: all is sent; -EAGAIN: below is full; or -errno. */
static int send_held(struct stream_pool *pool, struct stream *stream, struct tls_layer *tls)
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
static int fail(struct tls_layer *tls, struct tls_call *call, int err, const char *text)
{
    char described[TLS_ERROR_MAX];

    if (tls->failed < 0)
        return tls->failed;
    tls->failed = err;
    if (text == NULL) {
        tls_describe_failure(tls->ssl, tls->first_byte, described);
        text = described;
    }
    tls->error_text = strdup(text);
    tls->layer.error = tls->error_text == NULL ? "TLS failed" : tls->error_text;
    if (tls->layer.held_bytes > 0) /* the alert; no other chance comes, and whether it arrives changes nothing */
        (void)send_held(call->pool, call->stream, tls);
    return err;
}

/* A short message of ours for `held`. */
static int hold(struct tls_layer *tls, enum tls_record_type type, const uint8_t *bytes, size_t len)
{
    uint8_t record[64];
    size_t record_len = tls_records_seal(tls->records, type, bytes, len, record);

    if (record_len == 0)
        return -EPROTO;
    if (buffer_append(&tls->held, slice_make(record, record_len)) < 0)
        return -ENOBUFS;
    tls->layer.held_bytes = buffer_length(&tls->held);
    return 0;
}

/* The client broke a rule: tells it so and ends the connection. */
static int refuse(struct tls_layer *tls, struct tls_call *call, int alert)
{
    const uint8_t message[] = {SSL3_AL_FATAL, (uint8_t)alert};
    char text[TLS_ERROR_MAX];

    snprintf(text, sizeof(text), "%s (%s)",
             alert == SSL_AD_BAD_RECORD_MAC ? "what the client sent cannot be decrypted"
                                            : "the client breaks the protocol",
             SSL_alert_desc_string_long(alert));
    if (!tls->shut)
        (void)hold(tls, TLS_RECORD_ALERT, message, sizeof(message));
    return fail(tls, call, -EPROTO, text);
}

static bool overlap(const uint8_t *buffer, const void *bytes, size_t len)
{
    uintptr_t begin = (uintptr_t)buffer, at = (uintptr_t)bytes;

    return at < begin + STREAM_LAYER_BUFFER && begin < at + len;
}

/* One of the pool's buffers that the layer above does not use in this call. */
static uint8_t *spare_buffer(const struct stream_pool *pool, uint8_t *wanted, const struct iovec *parts, int count)
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

/* Makes one record behind those that are there. */
static int add_record(struct tls_layer *tls, struct tls_call *call, const uint8_t *plain, size_t len)
{
    size_t written;

    if (tls->records != NULL) {
        written = tls_records_seal(tls->records, TLS_RECORD_DATA, plain, len, call->out + call->out_len);
        call->out_len += written;
        return written == 0 ? fail(tls, call, -EPROTO, "cannot encrypt") : 0;
    }
    ERR_clear_error();
    return SSL_write_ex(tls->ssl, plain, len, &written) == 1 ? 0 : fail(tls, call, -EPROTO, NULL);
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
        if (count > room - RECORD_OVERHEAD)
            count = room - RECORD_OVERHEAD;
        while (cursor->part->iov_len == cursor->offset) { /* empty parts */
            cursor->part++;
            cursor->offset = 0;
        }
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
            return fail(tls, call, -ENOMEM, "no memory");
        tls->layer.held_bytes = buffer_length(&tls->held);
    }
    call->out_len = 0;
    return 0;
}

static ssize_t tls_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                         const struct iovec *parts, int count)
{
    struct tls_layer *tls = tls_of(layer);
    size_t offered = parts_length(parts, count);
    struct part_cursor cursor = {parts, 0, offered};
    struct tls_call call = {.pool = pool, .stream = stream};
    int err;

    if (tls->failed < 0 || tls->shut)
        return tls->failed < 0 ? tls->failed : -EPIPE;
    if (!layer->established)
        return -EAGAIN;
    err = send_held(pool, stream, tls);
    if (err == 0)
        err = stream_pool_need_layer_buffers(pool);
    if (err < 0)
        return err;
    call.out = spare_buffer(pool, pool->layer_out, parts, count);
    tls->call = &call;
    while (err == 0 && cursor.left > 0 && tls->layer.held_bytes == 0) {
        err = fill_out(tls, &call, &cursor);
        if (err == 0)
            err = send_out(tls, &call);
    }
    tls->call = NULL;
    return err < 0 ? err : (ssize_t)(offered - cursor.left);
}

static int tls_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    return send_held(pool, stream, tls_of(layer));
}

static void tls_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    struct tls_layer *tls = tls_of(layer);
    struct tls_call call = {.pool = pool, .stream = stream};

    if (tls->shut || tls->failed < 0 || !layer->established)
        return;
    tls->shut = true;
    if (tls->records != NULL) {
        static const uint8_t close_notify[] = {SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY};
        (void)hold(tls, TLS_RECORD_ALERT, close_notify, sizeof(close_notify));
        return;
    }
    tls->call = &call;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl); /* writes close_notify into `held`; its answer is not waited for */
    ERR_clear_error();
    tls->call = NULL;
}

/* ---- What comes up */

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
    room = STREAM_LAYER_BUFFER - call->in_end; /* what is there is less than a record */
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

/* A session may be resumed for hours, a certificate may end in between. */
static bool resumed_after_expiry(SSL *ssl)
{
    X509 *certificate = SSL_session_reused(ssl) ? SSL_get0_peer_certificate(ssl) : NULL;

    return certificate != NULL && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

/* How many records these bytes are. */
static uint64_t count_records(const uint8_t *bytes, size_t len)
{
    uint64_t count = 0;

    for (size_t at = 0; at + RECORD_HEADER <= len; count++)
        at += RECORD_HEADER + ((size_t)bytes[at + 3] << 8 | bytes[at + 4]);
    return count;
}

/* Keeps of OpenSSL's SSL what is needed on and frees it, if the cipher allows. What lies in `held` from `held_before` on was written
 * by the step that ended the handshake. */
static void take_over(struct tls_layer *tls, uint32_t held_before)
{
    struct slice written = slice_skip(buffer_slice(&tls->held), held_before);
    X509 *peer = SSL_get0_peer_certificate(tls->ssl);

    if (peer != NULL)
        tls->peer_len = i2d_X509(peer, &tls->peer);
    if ((peer != NULL && tls->peer_len <= 0) ||
        !tls_records_begin(tls->records, tls->ssl, count_records(written.data, written.len))) {
        tls_records_free(tls->records);
        tls->records = NULL;
        SSL_free_buffers(tls->ssl);
    } else {
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session were forgotten */
        SSL_free(tls->ssl);
        tls->ssl = NULL;
    }
    ERR_clear_error();
}

static int establish(struct tls_layer *tls, struct tls_call *call, uint32_t held_before)
{
    if (resumed_after_expiry(tls->ssl))
        return fail(tls, call, -EPROTO, "the client's certificate has expired (since its session began)");
    take_over(tls, held_before);
    tls->layer.established = true;
    tls_context_handshake_end(tls->context);
    tls_files_unref(tls->files);
    tls->files = NULL;
    return 0;
}

/* Did this step compute what a budget is for? Not the last one of TLS 1.3 unless the client signed, not one of a resumed
 * session of 1.2, not the reading of a part of a message. */
static bool was_costly(struct tls_layer *tls, bool finished, bool answered)
{
    if (SSL_version(tls->ssl) >= TLS1_3_VERSION)
        return finished ? SSL_get0_peer_certificate(tls->ssl) != NULL : answered;
    return !SSL_session_reused(tls->ssl) && (finished || answered || SSL_get_state(tls->ssl) != TLS_ST_BEFORE);
}

/* Takes one step with the records that are there. 0 (look at `established`), -EBUSY or -errno. */
static int handshake_step(struct tls_layer *tls, struct tls_call *call)
{
    uint32_t held_before = tls->layer.held_bytes;
    int result;

    if (call->in_at == call->in_ready)
        return 0;
    if (call->pool->handshakes_left == 0)
        return -EBUSY;
    if (tls->ssl == NULL && make_ssl(tls) < 0)
        return fail(tls, call, -ENOMEM, "no memory");
    ERR_clear_error();
    result = SSL_do_handshake(tls->ssl);
    if (was_costly(tls, result == 1, tls->layer.held_bytes > held_before))
        call->pool->handshakes_left--;
    if (result != 1 && SSL_get_error(tls->ssl, result) != SSL_ERROR_WANT_READ)
        return fail(tls, call, -EPROTO, NULL);
    return result == 1 ? establish(tls, call, held_before) : 0;
}

/* A KeyUpdate of TLS 1.3 (RFC 8446, 4.6.3); nothing else comes after its handshake. */
static int update_keys(struct tls_layer *tls, struct tls_call *call, const uint8_t *message, size_t len)
{
    static const uint8_t answer[] = {SSL3_MT_KEY_UPDATE, 0, 0, 1, SSL_KEY_UPDATE_NOT_REQUESTED};

    if (len != sizeof(answer) || memcmp(message, answer, 4) != 0)
        return refuse(tls, call, SSL_AD_UNEXPECTED_MESSAGE);
    if (message[4] > SSL_KEY_UPDATE_REQUESTED)
        return refuse(tls, call, SSL_AD_ILLEGAL_PARAMETER);
    if (!tls_records_update(tls->records, true))
        return fail(tls, call, -EPROTO, "cannot make the next keys");
    if (message[4] == SSL_KEY_UPDATE_NOT_REQUESTED || tls->shut)
        return 0;
    if (hold(tls, TLS_RECORD_HANDSHAKE, answer, sizeof(answer)) < 0)
        return fail(tls, call, -ENOBUFS, "the client makes us answer and takes no answer");
    return tls_records_update(tls->records, false) ? 0 : fail(tls, call, -EPROTO, "cannot make the next keys");
}

static int handle_alert(struct tls_layer *tls, struct tls_call *call, const uint8_t *alert, size_t len)
{
    char text[TLS_ERROR_MAX];

    if (len != 2)
        return refuse(tls, call, SSL_AD_DECODE_ERROR);
    if (alert[1] == SSL_AD_CLOSE_NOTIFY)
        tls->ended = true;
    else if (alert[1] != SSL_AD_USER_CANCELLED && (alert[0] == SSL3_AL_FATAL || tls_records_is_tls13(tls->records))) {
        snprintf(text, sizeof(text), "the client ended the connection with the alert \"%s\"",
                 SSL_alert_desc_string_long(alert[1]));
        return fail(tls, call, -EPROTO, text);
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
        return update_keys(tls, call, bytes, len);
    if (!tls->shut && hold(tls, TLS_RECORD_ALERT, no_renegotiation, sizeof(no_renegotiation)) < 0)
        return fail(tls, call, -ENOBUFS, "the client makes us answer and takes no answer");
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
        return refuse(tls, call, SSL_AD_DECODE_ERROR);
    call->in_at += record_len;
    alert = tls_records_open(tls->records, record, record_len, record_len <= room ? out + *total : NULL, &type, &plain,
                             &len);
    if (alert != 0)
        return refuse(tls, call, alert);
    tls->empty_records = type == TLS_RECORD_DATA && len > 0 ? 0 : tls->empty_records + 1;
    if (tls->empty_records > EMPTY_RECORDS_MAX)
        return refuse(tls, call, SSL_AD_UNEXPECTED_MESSAGE);
    if (type != TLS_RECORD_DATA)
        return handle_control(tls, call, type, plain, len);
    if (record_len > room) {
        size_t fitting = len < room ? len : room;
        memcpy(out + *total, plain, fitting);
        if (fitting < len && buffer_append(&tls->plain, slice_make(plain + fitting, len - fitting)) < 0)
            return fail(tls, call, -ENOMEM, "no memory");
        len = fitting;
    }
    *total += len;
    return 0;
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
            return fail(tls, call, -EPROTO,
                        buffer_length(&tls->held) + RECORD_PLAIN_MAX > HELD_BYTES_MAX
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
        int err = tls->layer.established ? 0 : handshake_step(tls, call);

        if (err == 0 && tls->layer.established)
            err = tls->records != NULL ? read_records(tls, call, out, capacity, total)
                                       : read_plain(tls, call, out, capacity, total);
        if (err < 0 || tls->ended || *total == capacity || call->in_drained)
            return err;
        if (*total == 0 && reads == IDLE_READS_MAX)
            return -EBUSY;
        if (reads == USELESS_READS_MAX)
            return fail(tls, call, -EPROTO, "the client sends records without content");
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
        return fail(tls, call, -ENOMEM, "no memory");
    return 0;
}

static void begin_reading(struct tls_layer *tls, struct tls_call *call, uint8_t *out, size_t capacity)
{
    const struct iovec part = {out, capacity};
    struct slice input = buffer_slice(&tls->input);

    call->in = spare_buffer(call->pool, call->pool->layer_in, &part, 1);
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
        return fail(tls, call, -ECONNRESET, "the client closed the connection in the middle of the handshake");
    return 0;
}

static ssize_t tls_read(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                        size_t capacity)
{
    struct tls_layer *tls = tls_of(layer);
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

/* ---- Beginning and end */

static void tls_free(struct stream_layer *layer)
{
    struct tls_layer *tls = tls_of(layer);

    if (!layer->established)
        tls_context_handshake_end(tls->context);
    if (tls->ssl != NULL && tls->failed == 0)
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    tls_records_free(tls->records);
    tls_files_unref(tls->files);
    buffer_fini(&tls->input);
    buffer_fini(&tls->held);
    if (tls->plain.memory != NULL)
        OPENSSL_cleanse(tls->plain.memory, tls->plain.capacity);
    buffer_fini(&tls->plain);
    OPENSSL_free(tls->peer);
    free(tls->error_text);
    free(tls);
}

const struct stream_layer_ops tls_layer_ops = {
    .name = "tls",
    .read = tls_read,
    .write = tls_write,
    .flush = tls_flush,
    .shut = tls_shut,
    .free = tls_free,
};

int tls_layer_new(struct tls_context *context, struct stream_layer **out_layer)
{
    struct tls_layer *tls;

    if (!tls_context_handshake_begin(context))
        return -EBUSY;
    tls = calloc(1, sizeof(*tls));
    if (tls == NULL) {
        tls_context_handshake_end(context);
        return -ENOMEM;
    }
    tls->layer.ops = &tls_layer_ops;
    tls->context = context;
    tls->files = tls_context_files_ref(context);
    buffer_init(&tls->input, STREAM_LAYER_BUFFER);
    buffer_init(&tls->held, HELD_BYTES_MAX);
    buffer_init(&tls->plain, RECORD_PLAIN_MAX);
    *out_layer = &tls->layer;
    return 0;
}
