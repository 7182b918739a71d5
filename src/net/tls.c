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
 *            make_ssl()      tls_handshake_step()        tls_read.c
 *   any state ──► failed (tls_layer_fail()): `error` says why; the alert that was written is sent at once if the socket takes it
 */
#include "net/tls_layer_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_TEXT_MAX 200 /* of a client's certificate in the log; the rest is cut */

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

    if (tls->records != NULL)
        tls_records_log_line(tls->records, line);
}

void tls_layer_on_refused(const SSL *ssl, const X509 *certificate)
{
    struct tls_layer *tls = BIO_get_data(SSL_get_rbio(ssl));
    BIO *bio = tls->refused == NULL ? BIO_new(BIO_s_mem()) : NULL; /* the first one is the cause */
    char *text;
    long len;

    if (bio == NULL)
        return;
    X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253); /* no byte but printable ASCII */
    BIO_write(bio, "", 1);                                                           /* its end */
    len = BIO_get_mem_data(bio, &text);
    if (len > 1)
        tls->refused = strndup(text, SUBJECT_TEXT_MAX);
    BIO_free(bio);
}

X509 *tls_layer_peer(const struct stream_layer *layer)
{
    const struct tls_layer *tls = CONTAINER_OF(layer, const struct tls_layer, layer);
    const unsigned char *at = tls->peer;

    if (tls->ssl != NULL)
        return SSL_get1_peer_certificate(tls->ssl);
    return at == NULL ? NULL : d2i_X509(NULL, &at, tls->peer_len);
}

/* ---- The handshake */

/* A session may be resumed for hours, a certificate may end in between. */
static bool resumed_after_expiry(SSL *ssl)
{
    X509 *certificate = SSL_session_reused(ssl) ? SSL_get0_peer_certificate(ssl) : NULL;

    return certificate != NULL && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

/* Tells tls_records what OpenSSL read and wrote in one step; how many records it wrote. */
static uint64_t watch_step(struct tls_layer *tls, const struct tls_call *call, size_t in_before, uint32_t held_before)
{
    struct slice written = slice_skip(buffer_slice(&tls->held), held_before);

    (void)tls_records_watch(tls->records, call->in + in_before, call->in_at - in_before, true);
    return tls_records_watch(tls->records, written.data, written.len, false);
}

/* Keeps of OpenSSL's SSL what is needed on and frees it, if the cipher allows. The step that ended the handshake wrote
 * `records_sent` records. */
static void take_over(struct tls_layer *tls, uint64_t records_sent)
{
    X509 *peer = SSL_get0_peer_certificate(tls->ssl);

    if (peer != NULL)
        tls->peer_len = i2d_X509(peer, &tls->peer);
    if ((peer != NULL && tls->peer_len <= 0) || !tls_records_begin(tls->records, tls->ssl, records_sent)) {
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

static int establish(struct tls_layer *tls, struct tls_call *call, uint64_t records_sent)
{
    if (resumed_after_expiry(tls->ssl))
        return tls_layer_fail(tls, call, -EPROTO, "the client's certificate has expired (since its session began)");
    take_over(tls, records_sent);
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
int tls_handshake_step(struct tls_layer *tls, struct tls_call *call)
{
    uint32_t held_before = tls->layer.held_bytes;
    size_t in_before = call->in_at;
    uint64_t records_sent;
    int result;

    if (call->in_at == call->in_ready)
        return 0;
    if (call->pool->handshakes_left == 0)
        return -EBUSY;
    if (tls->ssl == NULL && make_ssl(tls) < 0)
        return tls_layer_fail(tls, call, -ENOMEM, "no memory");
    ERR_clear_error();
    result = SSL_do_handshake(tls->ssl);
    records_sent = watch_step(tls, call, in_before, held_before);
    if (was_costly(tls, result == 1, tls->layer.held_bytes > held_before))
        call->pool->handshakes_left--;
    if (result != 1 && SSL_get_error(tls->ssl, result) != SSL_ERROR_WANT_READ)
        return tls_layer_fail(tls, call, -EPROTO, NULL);
    return result == 1 ? establish(tls, call, records_sent) : 0;
}

/* ---- Beginning and end */

static void tls_free(struct stream_layer *layer)
{
    struct tls_layer *tls = tls_layer_of(layer);

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
    free(tls->refused);
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
    buffer_init(&tls->held, TLS_HELD_BYTES_MAX);
    buffer_init(&tls->plain, RECORD_PLAIN_MAX);
    *out_layer = &tls->layer;
    return 0;
}

bool tls_layer_waits_for_hello(const struct stream_layer *layer)
{
    while (layer != NULL && layer->ops != &tls_layer_ops)
        layer = layer->below;
    return layer != NULL && !layer->established && CONTAINER_OF(layer, const struct tls_layer, layer)->ssl == NULL;
}
