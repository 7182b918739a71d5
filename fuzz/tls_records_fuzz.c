/*
 * tls_records_fuzz: the layer of TLS behind a real handshake with OpenSSL's client, in memory. The input is a program: what the client and
 * the broker write, key updates, and what the network does with the client's records (changes, drops, repeats, swaps, inserts and
 * cuts them). What comes through must be the beginning of what was written, and all of it when the network did nothing bad.
 *
 * Byte 0: version, cipher, and whether keys are used up soon. Then operations, each with the bytes it takes.
 */
#include "net/tls_layer_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIANTS 5u
#define RECORDS_MAX 64u
#define RECORD_BYTES_MAX (5u + 65535u)
#define WRITTEN_MAX (192u * 1024u) /* in one direction; more operations write nothing */
#define WIRE_MAX (1024u * 1024u)
#define SIZE_STEP 37u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    int version;
    const char *cipher;
} variants[VARIANTS] = {
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"}, {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM"}, /* keeps its SSL */
};

static struct tls_options options;
static struct tls_context *context;
static SSL_CTX *clients[VARIANTS];
static SSL_SESSION *sessions[VARIANTS]; /* resumed: quicker than a handshake for each input */

/* The input, from the front; 0 when it is used up. */
struct program {
    const uint8_t *at, *end;
};

static uint8_t next_byte(struct program *program)
{
    return program->at < program->end ? *program->at++ : 0;
}

/* Between the client and the layer. */
struct network {
    struct stream_layer base;
    uint8_t *wire; /* from the client */
    size_t read, arrived, written;
    size_t room; /* that the way to the client has */
    BIO *to_client;
};

struct record {
    uint8_t *bytes; /* RECORD_BYTES_MAX */
    size_t len;
};

struct run {
    struct network network;
    struct stream_pool pool;
    struct stream stream;
    SSL *client;
    BIO *from_client;
    struct record records[RECORDS_MAX]; /* on their way to the wire */
    size_t record_count;
    uint64_t up_made, up_got, down_made, down_got;
    bool tampered, said_goodbye, over; /* over: reading has ended */
};

static ssize_t network_read(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer, uint8_t *out,
                            size_t capacity)
{
    struct network *network = CONTAINER_OF(layer, struct network, base);
    size_t len = network->arrived - network->read;

    (void)pool;
    (void)stream;
    if (len == 0)
        return -EAGAIN;
    len = len < capacity ? len : capacity;
    memcpy(out, network->wire + network->read, len);
    network->read += len;
    return (ssize_t)len;
}

static ssize_t network_write(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer,
                             const struct iovec *parts, int count)
{
    struct network *network = CONTAINER_OF(layer, struct network, base);
    ssize_t total = 0;

    (void)pool;
    (void)stream;
    for (int i = 0; i < count && network->room > 0; i++) {
        size_t len = parts[i].iov_len < network->room ? parts[i].iov_len : network->room;
        if (len > 0)
            ASSERT(BIO_write(network->to_client, parts[i].iov_base, (int)len) == (int)len);
        network->room -= len;
        total += (ssize_t)len;
    }
    return total == 0 ? -EAGAIN : total;
}

static int network_flush(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    (void)pool;
    (void)stream;
    (void)layer;
    return 0;
}

static void network_shut(struct stream_pool *pool, struct stream *stream, struct stream_layer *layer)
{
    (void)network_flush(pool, stream, layer);
}

static void network_free(struct stream_layer *layer)
{
    (void)layer;
}

static const struct stream_layer_ops network_ops = {.name = "network",
                                                    .read = network_read,
                                                    .write = network_write,
                                                    .flush = network_flush,
                                                    .shut = network_shut,
                                                    .free = network_free};

/* ---- Set-up */

static void make_certificate(char *cert_path, char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    FILE *file;

    ASSERT(key != NULL && certificate != NULL);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 30 * 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const uint8_t *)"b", 1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, key);
    ASSERT(X509_sign(certificate, key, EVP_sha256()) > 0);
    file = fopen(cert_path, "wb");
    ASSERT(file != NULL && PEM_write_X509(file, certificate) == 1);
    fclose(file);
    file = fopen(key_path, "wb");
    ASSERT(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void set_up(void)
{
    static char prefix[] = "listener.ssl.fuzz", ciphers[512] = "", cert_path[64], key_path[64];
    char folder[] = "/tmp/emqc-tls-fuzz-XXXXXX", error[TLS_ERROR_MAX];

    ASSERT(mkdtemp(folder) != NULL);
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
    make_certificate(cert_path, key_path);
    for (size_t i = 0; i < VARIANTS; i++) {
        snprintf(ciphers + strlen(ciphers), sizeof(ciphers) - strlen(ciphers), "%s%s", i == 0 ? "" : ",",
                 variants[i].cipher);
        clients[i] = SSL_CTX_new(TLS_client_method());
        ASSERT(clients[i] != NULL);
        SSL_CTX_set_min_proto_version(clients[i], variants[i].version);
        SSL_CTX_set_max_proto_version(clients[i], variants[i].version);
        if (variants[i].version == TLS1_3_VERSION)
            ASSERT(SSL_CTX_set_ciphersuites(clients[i], variants[i].cipher) == 1);
        else
            ASSERT(SSL_CTX_set_cipher_list(clients[i], variants[i].cipher) == 1);
    }
    options = (struct tls_options){.key_prefix = prefix,
                                   .cert_file = cert_path,
                                   .key_file = key_path,
                                   .ciphers = ciphers,
                                   .handshakes_max = 10,
                                   .reuse_sessions = true};
    ASSERT(tls_context_new(&options, NULL, &context, error) == 0);
    unlink(cert_path);
    unlink(key_path);
    rmdir(folder);
}

static uint8_t pattern_at(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void check(uint64_t *got, uint64_t made, const uint8_t *bytes, size_t len)
{
    ASSERT(*got + len <= made);
    for (size_t i = 0; i < len; i++)
        ASSERT(bytes[i] == pattern_at((*got)++));
}

/* ---- What both ends do */

static void add_record(struct run *run, const uint8_t *bytes, size_t len)
{
    struct record *record = &run->records[run->record_count++];

    memcpy(record->bytes, bytes, len);
    record->len = len;
}

/* Everything that waits goes to the wire. */
static void send_records(struct run *run)
{
    struct network *network = &run->network;

    for (size_t i = 0; i < run->record_count; i++) {
        struct record *record = &run->records[i];
        if (network->written + record->len <= WIRE_MAX) {
            memcpy(network->wire + network->written, record->bytes, record->len);
            network->written += record->len;
        } else {
            run->tampered = true; /* never arrives */
        }
    }
    run->record_count = 0;
}

/* Takes the records that the client has written. */
static void collect(struct run *run)
{
    static uint8_t record[RECORD_BYTES_MAX];

    while (BIO_ctrl_pending(run->from_client) > 0) {
        size_t len;

        ASSERT(BIO_read(run->from_client, record, 5) == 5);
        len = (size_t)record[3] << 8 | record[4];
        ASSERT(BIO_read(run->from_client, record + 5, (int)len) == (int)len);
        if (run->record_count == RECORDS_MAX)
            send_records(run);
        add_record(run, record, 5 + len);
    }
}

static void server_reads(struct run *run, size_t capacity)
{
    static uint8_t bytes[65536];
    ssize_t got;

    ERR_clear_error();
    got = stream_read(&run->pool, &run->stream, bytes, capacity);
    ASSERT(ERR_peek_error() == 0);
    if (got > 0)
        check(&run->up_got, run->up_made, bytes, (size_t)got);
    else if (got != -EAGAIN && got != -EBUSY) {
        ASSERT(run->tampered || (got == 0 && run->said_goodbye));
        run->over = true;
    }
    stream_pool_flush(&run->pool);
    ASSERT(run->stream.layer->held_bytes <= TLS_HELD_BYTES_MAX);
}

static void server_writes(struct run *run, size_t len)
{
    uint8_t *out;

    if (run->down_made + len > WRITTEN_MAX || len == 0 || run->over)
        return;
    len = len < STREAM_CHUNK_MAX ? len : STREAM_CHUNK_MAX;
    out = stream_reserve(&run->pool, &run->stream, len);
    ASSERT(out != NULL);
    for (size_t i = 0; i < len; i++)
        out[i] = pattern_at(run->down_made++);
    stream_commit(&run->pool, &run->stream, len);
    stream_pool_flush(&run->pool);
}

static void client_reads(struct run *run, size_t capacity)
{
    static uint8_t bytes[65536];
    size_t got;
    int result;

    ERR_clear_error();
    result = SSL_read_ex(run->client, bytes, capacity, &got);
    if (result == 1)
        check(&run->down_got, run->down_made, bytes, got);
    else
        ASSERT(run->tampered || SSL_get_error(run->client, result) == SSL_ERROR_WANT_READ);
    collect(run);
}

static void client_writes(struct run *run, size_t len)
{
    static uint8_t bytes[65536];
    size_t written;

    if (run->up_made + len > WRITTEN_MAX || len == 0 || run->said_goodbye)
        return;
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern_at(run->up_made + i);
    ERR_clear_error();
    if (SSL_write_ex(run->client, bytes, len, &written) == 1)
        run->up_made += written;
    else
        ASSERT(run->tampered); /* it got our alert */
    collect(run);
}

static void client_updates_key(struct run *run, bool asks)
{
    if (run->said_goodbye || SSL_version(run->client) != TLS1_3_VERSION)
        return;
    ERR_clear_error();
    (void)SSL_key_update(run->client, asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
    (void)SSL_do_handshake(run->client);
    collect(run);
}

static void client_says_goodbye(struct run *run)
{
    if (run->said_goodbye) /* the second time it would read */
        return;
    ERR_clear_error();
    (void)SSL_shutdown(run->client);
    run->said_goodbye = true;
    collect(run);
}

/* ---- What the network does */

static void change(struct run *run, struct program *program)
{
    struct record *record = &run->records[next_byte(program) % run->record_count];
    size_t at = next_byte(program);
    uint8_t bits = next_byte(program);

    at = at >= 128 && record->len > 256 - at ? record->len - (256 - at) : at; /* from the end */
    if (at < record->len && bits != 0) {
        record->bytes[at] ^= bits;
        run->tampered = true;
    }
}

static void drop(struct run *run, struct program *program)
{
    size_t which = next_byte(program) % run->record_count;
    struct record dropped = run->records[which]; /* its memory is for the next one */

    memmove(&run->records[which], &run->records[which + 1], (run->record_count - which - 1) * sizeof(run->records[0]));
    run->records[--run->record_count] = dropped;
    run->tampered = true;
}

static void swap(struct run *run, struct program *program)
{
    size_t one = next_byte(program) % run->record_count, other = next_byte(program) % run->record_count;
    struct record kept = run->records[one];

    run->records[one] = run->records[other];
    run->records[other] = kept;
    run->tampered = run->tampered || one != other;
}

static void repeat(struct run *run, struct program *program)
{
    const struct record *record = &run->records[next_byte(program) % run->record_count];

    if (run->record_count == RECORDS_MAX)
        return;
    add_record(run, record->bytes, record->len);
    run->tampered = true;
}

/* Bytes of the input as they are, or as the body of a record of any type. */
static void insert(struct run *run, struct program *program)
{
    uint8_t kind = next_byte(program), record[5 + 255];
    size_t len = next_byte(program), left = (size_t)(program->end - program->at);

    len = len < left ? len : left;
    if (run->record_count == RECORDS_MAX || len == 0)
        return;
    memcpy(record + 5, program->at, len);
    program->at += len;
    record[0] = (uint8_t)(kind % 8 + 18);
    record[1] = record[2] = 3;
    record[3] = 0;
    record[4] = (uint8_t)len;
    if (kind >= 128)
        add_record(run, record + 5, len);
    else
        add_record(run, record, 5 + len);
    run->tampered = true;
}

static void tamper(struct run *run, struct program *program)
{
    uint8_t what = next_byte(program) % 6;

    if (what == 0)
        insert(run, program);
    if (run->record_count == 0)
        return;
    switch (what) {
    case 1: change(run, program); break;
    case 2: drop(run, program); break;
    case 3: swap(run, program); break;
    case 4: repeat(run, program); break;
    case 5: { /* cut short */
        struct record *record = &run->records[next_byte(program) % run->record_count];
        size_t cut = next_byte(program);
        record->len = cut < record->len ? record->len - cut : 0;
        run->tampered = run->tampered || cut > 0;
        break;
    }
    default: break;
    }
}

static void arrive(struct run *run, size_t len)
{
    size_t left = run->network.written - run->network.arrived;

    run->network.arrived += len < left ? len : left;
}

static size_t next_size(struct program *program)
{
    uint8_t small = next_byte(program);

    return small < 200 ? small : (size_t)(small - 199) * next_byte(program) * SIZE_STEP % 65536;
}

static void take_a_step(struct run *run, struct program *program)
{
    switch (next_byte(program) % 10) {
    case 0:
    case 1: client_writes(run, next_size(program)); break;
    case 2: client_updates_key(run, (next_byte(program) & 1) != 0); break;
    case 3: tamper(run, program); break;
    case 4: send_records(run); break;
    case 5: arrive(run, next_size(program)); break;
    case 6: server_reads(run, 1 + next_size(program) % 65536); break;
    case 7: server_writes(run, next_size(program)); break;
    case 8:
        run->network.room += next_size(program);
        (void)stream_flush(&run->pool, &run->stream);
        client_reads(run, 1 + next_size(program) % 65536);
        break;
    default:
        if (next_byte(program) % 8 == 0)
            client_says_goodbye(run);
    }
}

/* ---- One input */

static void shake_hands(struct run *run, size_t variant)
{
    uint8_t byte;

    for (unsigned i = 0; i < 10 && !(stream_established(&run->stream) && SSL_is_init_finished(run->client)); i++) {
        ERR_clear_error();
        (void)SSL_do_handshake(run->client);
        collect(run);
        send_records(run);
        arrive(run, WIRE_MAX);
        ASSERT(stream_read(&run->pool, &run->stream, &byte, 1) == -EAGAIN);
        stream_pool_flush(&run->pool);
    }
    ASSERT(stream_established(&run->stream) && SSL_is_init_finished(run->client));
    if (!SSL_session_reused(run->client)) {
        client_reads(run, 1); /* the ticket */
        SSL_SESSION_free(sessions[variant]);
        sessions[variant] = SSL_get1_session(run->client);
    }
}

static void begin(struct run *run, size_t variant)
{
    static uint8_t wire[WIRE_MAX], records[RECORDS_MAX][RECORD_BYTES_MAX];
    struct stream_layer *layer;

    for (size_t i = 0; i < RECORDS_MAX; i++)
        run->records[i].bytes = records[i];
    ASSERT(stream_pool_init(&run->pool) == 0);
    run->network.base.ops = &network_ops;
    run->network.base.established = true;
    run->network.wire = wire;
    run->network.room = WIRE_MAX;
    run->network.to_client = BIO_new(BIO_s_mem());
    run->from_client = BIO_new(BIO_s_mem());
    run->client = SSL_new(clients[variant]);
    ASSERT(run->client != NULL);
    SSL_set_bio(run->client, run->network.to_client, run->from_client);
    SSL_set_connect_state(run->client);
    if (sessions[variant] != NULL) {
        SSL_SESSION *session = SSL_SESSION_dup(sessions[variant]); /* the client forbids it after an alert */
        SSL_set_session(run->client, session);
        SSL_SESSION_free(session);
    }
    stream_init(&run->stream, -1);
    stream_push_layer(&run->stream, &run->network.base);
    ASSERT(tls_layer_new(context, &layer) == 0);
    layer->below = &run->network.base;
    stream_push_layer(&run->stream, layer);
}

/* The rest of everything, so that nothing is left out. */
static void finish(struct run *run)
{
    send_records(run);
    arrive(run, WIRE_MAX);
    run->network.room = WIRE_MAX;
    for (unsigned i = 0; i < 64 && !run->over; i++) {
        server_reads(run, 65536);
        client_reads(run, 65536);
        send_records(run);
        arrive(run, WIRE_MAX);
        (void)stream_flush(&run->pool, &run->stream);
    }
    if (!run->tampered) {
        ASSERT(run->up_got == run->up_made);
        ASSERT(run->over == run->said_goodbye);
        ASSERT(run->over || run->down_got == run->down_made);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct program program = {data, data + size};
    struct run run = {.record_count = 0};
    uint8_t first = next_byte(&program);
    size_t variant = first % VARIANTS;
    struct tls_records *records;

    if (context == NULL)
        set_up();
    begin(&run, variant);
    shake_hands(&run, variant);
    records = tls_layer_of(run.stream.layer)->records;
    ASSERT((records == NULL) == (variant == 4));
    if (first >= 128 && variants[variant].version == TLS1_3_VERSION)
        tls_records_set_key_limit(records, 64);
    while (program.at < program.end)
        take_a_step(&run, &program);
    finish(&run);
    stream_close(&run.pool, &run.stream);
    stream_pool_fini(&run.pool);
    SSL_set_shutdown(run.client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(run.client);
    ERR_clear_error();
    return 0;
}
