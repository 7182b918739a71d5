/*
 * The TLS layer of a stream: handshakes, data in all sizes, full sockets, broken peers, budgets, memory.
 */
#include "tls_support.h"

#include "base/allocator.h"
#include "base/clock.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct stream_pool pool;
static struct identity authority, server, client;
static struct tls_options options;
static struct tls_context *context;
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static int set_up(void **state)
{
    (void)state;
    authority = identity_make(&(struct identity_options){.name = "Authority", .authority = true});
    server = identity_make(&(struct identity_options){.name = "broker", .issuer = &authority});
    client = identity_make(&(struct identity_options){.name = "c1", .organization = "Acme", .issuer = &authority});
    options = options_make(&server, "ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-ECDSA-AES128-SHA256");
    options.ca_cert_file = write_certificates("ca.pem", authority.certificate, NULL);
    options.handshakes_max = 10000;
    context = context_make(&options);
    return stream_pool_init(&pool);
}

static int tear_down(void **state)
{
    (void)state;
    tls_context_free(context);
    stream_pool_fini(&pool);
    identity_free(&authority);
    identity_free(&server);
    identity_free(&client);
    support_fini();
    return 0;
}

static void write_stream(struct pair *pair, const void *bytes, size_t len)
{
    while (len > 0) {
        size_t step = len < STREAM_CHUNK_MAX ? len : STREAM_CHUNK_MAX;
        uint8_t *out = stream_reserve(pair->pool, &pair->stream, step);

        assert_non_null(out);
        memcpy(out, bytes, step);
        stream_commit(pair->pool, &pair->stream, step);
        bytes = (const uint8_t *)bytes + step;
        len -= step;
    }
}

static uint8_t *make_pattern(size_t len)
{
    uint8_t *bytes = malloc(len + 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    return bytes;
}

/* Sends `len` bytes from the client while the server reads, and checks them. */
static void client_to_server(struct pair *pair, size_t len)
{
    uint8_t *bytes = make_pattern(len);
    size_t sent = 0, before = pair->received_len;

    SSL_set_mode(pair->client, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    while (sent < len || pair->received_len - before < len) {
        size_t step;
        ERR_clear_error();
        if (sent < len && SSL_write_ex(pair->client, bytes + sent, len - sent, &step) == 1)
            sent += step;
        pair_server_turn(pair);
        assert_true(pair->server_result > 0);
    }
    assert_int_equal(pair->received_len - before, len);
    assert_memory_equal(pair->received + before, bytes, len);
    free(bytes);
}

static void server_to_client(struct pair *pair, size_t len)
{
    uint8_t *bytes = make_pattern(len), *got = malloc(len + 1);
    size_t got_len = 0;
    uint32_t most_held = 0;

    assert_non_null(got);
    write_stream(pair, bytes, len);
    while (got_len < len) {
        assert_int_equal(stream_flush(pair->pool, &pair->stream), 0);
        if (pair->stream.layer->held_bytes > most_held)
            most_held = pair->stream.layer->held_bytes;
        got_len += client_read(pair, got + got_len, len - got_len);
    }
    assert_memory_equal(got, bytes, len);
    assert_true(most_held <= STREAM_LAYER_BUFFER);
    assert_int_equal(stream_flush(pair->pool, &pair->stream), 0);
    assert_int_equal(stream_pending_bytes(&pair->stream), 0);
    stream_pool_flush(pair->pool);
    free(bytes);
    free(got);
}

static void carries_bytes_of_all_sizes_both_ways(void **state)
{
    static const size_t sizes[] = {1, 2, 100, 16383, 16384, 16385, 40000, 65536, 65537, 300000, 5000000};

    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        SSL_CTX *client_context = client_context_make(&authority, versions[v], versions[v]);
        struct pair pair;

        pair_init(&pair, &pool, context, client_context);
        assert_true(pair_handshake(&pair));
        assert_int_equal(SSL_version(pair.client), versions[v]);
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            client_to_server(&pair, sizes[i]);
            server_to_client(&pair, sizes[i]);
        }
        pair_fini(&pair);
        SSL_CTX_free(client_context);
    }
}

static void works_with_a_cipher_that_is_no_aead(void **state)
{
    SSL_CTX *client_context = client_context_make(&authority, TLS1_2_VERSION, TLS1_2_VERSION);
    struct pair pair;

    (void)state;
    SSL_CTX_set_cipher_list(client_context, "ECDHE-ECDSA-AES128-SHA256");
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    client_to_server(&pair, 100000);
    server_to_client(&pair, 100000);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

/* Reads with 10 bytes of room at a time: what does not fit must not be lost. */
static void a_small_capacity_loses_nothing(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);
    struct pair pair;
    uint8_t *bytes = make_pattern(50000), *got = malloc(50000);
    size_t written, got_len = 0;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    assert_int_equal(SSL_write_ex(pair.client, bytes, 50000, &written), 1);
    assert_int_equal(written, 50000);
    while (got_len < 50000) {
        ssize_t count = stream_read(&pool, &pair.stream, got + got_len, 50000 - got_len < 10 ? 50000 - got_len : 10);
        assert_true(count > 0); /* never "nothing there" while something is */
        got_len += (size_t)count;
    }
    assert_memory_equal(got, bytes, 50000);
    assert_int_equal(stream_read(&pool, &pair.stream, got, 10), -EAGAIN);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    free(bytes);
    free(got);
}

/* A read that gets all it asked for ends within a record, and the next one finds nothing. */
static void a_beginning_of_a_record_waits_for_its_end(void **state)
{
    static uint8_t wire[40000], got[20000];
    uint8_t *bytes = make_pattern(32768);
    size_t written;

    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        SSL_CTX *client_context = client_context_make(NULL, versions[v], versions[v]);
        struct pair pair;

        pair_init(&pair, &pool, context, client_context);
        assert_true(pair_handshake(&pair));
        assert_int_equal(SSL_write_ex(pair.client, bytes, 32768, &written), 1);
        ssize_t len = recv(pair.stream.watch.fd, wire, sizeof(wire), 0); /* two records on their way */
        assert_true(len > 32768);
        assert_int_equal(send(pair.client_fd, wire, sizeof(got), 0), sizeof(got));
        assert_int_equal(stream_read(&pool, &pair.stream, got, sizeof(got)), 16384);
        assert_memory_equal(got, bytes, 16384);
        assert_int_equal(stream_read(&pool, &pair.stream, got, sizeof(got)), -EAGAIN);
        assert_int_equal(send(pair.client_fd, wire + sizeof(got), (size_t)len - sizeof(got), 0),
                         len - (ssize_t)sizeof(got));
        assert_int_equal(stream_read(&pool, &pair.stream, got, sizeof(got)), 16384);
        assert_memory_equal(got, bytes + 16384, 16384);
        pair_fini(&pair);
        SSL_CTX_free(client_context);
    }
    free(bytes);
}

/* The layer above may read into, and write from, one of the pool's buffers. */
static void leaves_the_buffer_of_the_layer_above_alone(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);
    struct pair pair;
    uint8_t *bytes = make_pattern(60000), *got = malloc(60000);
    size_t written;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    client_to_server(&pair, 1);
    assert_int_equal(SSL_write_ex(pair.client, bytes, 16000, &written), 1);
    assert_int_equal(stream_read(&pool, &pair.stream, pool.layer_in, STREAM_LAYER_BUFFER), 16000);
    assert_memory_equal(pool.layer_in, bytes, 16000);
    memcpy(pool.layer_out, bytes, 60000);
    const struct iovec parts[] = {{pool.layer_out, 1}, {pool.layer_out, 0}, {pool.layer_out + 1, 59999}};
    assert_int_equal(pair.stream.layer->ops->write(&pool, &pair.stream, pair.stream.layer, parts, 3), 60000);
    assert_int_equal(client_read(&pair, got, 60000), 60000);
    assert_memory_equal(got, bytes, 60000);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    free(bytes);
    free(got);
}

/* Every byte of the client's arrives alone. */
static void a_handshake_in_single_bytes_succeeds(void **state)
{
    SSL_CTX *client_context = client_context_make(&authority, 0, 0);
    struct pair pair;
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    SSL_set_bio(pair.client, to_client, to_server);
    for (unsigned i = 0; i < 100 && !(stream_established(&pair.stream) && SSL_is_init_finished(pair.client)); i++) {
        uint8_t chunk[4096];
        ssize_t got;

        SSL_do_handshake(pair.client);
        while (BIO_read(to_server, chunk, 1) == 1) {
            assert_int_equal(send(pair.client_fd, chunk, 1, 0), 1);
            pair_server_turn(&pair);
        }
        while ((got = recv(pair.client_fd, chunk, sizeof(chunk), 0)) > 0)
            BIO_write(to_client, chunk, (int)got);
    }
    assert_true(stream_established(&pair.stream));
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void without_budget_a_handshake_waits_for_the_next_turn(void **state)
{
    SSL_CTX *client_context = client_context_make(&authority, 0, 0);
    struct pair pair;
    uint8_t byte;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    SSL_do_handshake(pair.client);
    pool.handshakes_left = 0;
    assert_int_equal(stream_read(&pool, &pair.stream, &byte, 1), -EBUSY);
    assert_int_equal(stream_read(&pool, &pair.stream, &byte, 1), -EBUSY);
    stream_pool_flush(&pool); /* the turn ends */
    uint32_t before = pool.handshakes_left;
    assert_int_equal(stream_read(&pool, &pair.stream, &byte, 1), -EAGAIN);
    assert_int_equal(pool.handshakes_left, before - 1);
    assert_true(pair.stream.layer->held_bytes > 0); /* the server's flight */
    assert_true(pair_handshake(&pair));
    pool.handshakes_left = 0; /* no matter once it is done */
    server_to_client(&pair, 100);
    client_to_server(&pair, 100);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void handshakes_in_flight_are_limited(void **state)
{
    struct tls_options few = options;
    struct stream_layer *layers[3];

    (void)state;
    few.handshakes_max = 2;
    struct tls_context *limited = context_make(&few);
    assert_int_equal(tls_layer_new(limited, &layers[0]), 0);
    assert_int_equal(tls_layer_new(limited, &layers[1]), 0);
    assert_int_equal(tls_layer_new(limited, &layers[2]), -EBUSY);
    layers[0]->ops->free(layers[0]);
    /* One that is done does not count. */
    SSL_CTX *client_context = client_context_make(&authority, 0, 0);
    struct pair pair;
    pair_init(&pair, &pool, limited, client_context);
    assert_int_equal(tls_layer_new(limited, &layers[2]), -EBUSY);
    assert_true(pair_handshake(&pair));
    assert_int_equal(tls_layer_new(limited, &layers[2]), 0);
    layers[1]->ops->free(layers[1]);
    layers[2]->ops->free(layers[2]);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    tls_context_free(limited);
}

static void send_raw(struct pair *pair, const char *bytes, size_t len)
{
    assert_int_equal(send(pair->client_fd, bytes, len, 0), len);
}

static void what_is_not_tls_is_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *error;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, "not TLS at all (an HTTP request?) (OpenSSL: http request)"},
        {"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", 14, "not TLS at all (a plain MQTT client?) (OpenSSL: "},
        {"SSH-2.0-OpenSSH_9.2\r\n", 21, "not TLS at all"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct pair pair;

        pair_init(&pair, &pool, context, NULL);
        send_raw(&pair, cases[i].bytes, cases[i].len);
        pair_server_turn(&pair);
        assert_int_equal(pair.server_result, -EPROTO);
        if (strncmp(pair_error(&pair), cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: %s", i, pair_error(&pair));
        pair_fini(&pair);
    }
}

static void a_handshake_that_is_cut_is_an_error_and_silence_is_none(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, &pool, context, NULL);
    close(pair.client_fd);
    pair.client_fd = -1;
    pair_server_turn(&pair);
    assert_int_equal(pair.server_result, 0);
    assert_string_equal(pair_error(&pair), "");
    pair_fini(&pair);

    pair_init(&pair, &pool, context, NULL);
    send_raw(&pair, "\x16\x03\x01\x02\x00\x01\x00\x01", 8);
    pair_server_turn(&pair);
    assert_int_equal(pair.server_result, 1); /* it waits */
    close(pair.client_fd);
    pair.client_fd = -1;
    pair_server_turn(&pair);
    assert_int_equal(pair.server_result, -ECONNRESET);
    assert_string_equal(pair_error(&pair), "the client closed the connection in the middle of the handshake");
    pair_fini(&pair);
}

static void versions_and_ciphers_in_common_are_needed(void **state)
{
    struct tls_options only_13 = options;
    SSL_CTX *client_context = client_context_make(NULL, TLS1_2_VERSION, TLS1_2_VERSION);
    struct pair pair;

    (void)state;
    only_13.versions = TLS_VERSION_1_3;
    struct tls_context *strict = context_make(&only_13);
    pair_init(&pair, &pool, strict, client_context);
    assert_false(pair_handshake(&pair));
    assert_string_equal(pair_error(&pair), "no version of TLS in common (OpenSSL: unsupported protocol)");
    pair_fini(&pair);

    SSL_CTX_set_cipher_list(client_context, "ECDHE-RSA-AES128-GCM-SHA256");
    pair_init(&pair, &pool, context, client_context);
    assert_false(pair_handshake(&pair));
    assert_string_equal(pair_error(&pair), "no cipher in common (OpenSSL: no shared cipher)");
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    tls_context_free(strict);
}

static void the_alert_of_a_client_is_told(void **state)
{
    struct identity stranger = identity_make(&(struct identity_options){.name = "Stranger", .authority = true});
    SSL_CTX *client_context = client_context_make(&stranger, 0, 0);
    struct pair pair;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_false(pair_handshake(&pair));
    pair_server_turn(&pair);
    assert_string_equal(pair_error(&pair),
                        "the client ended the handshake with the alert \"unknown CA\": it does not know "
                        "the CA of our certificate");
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    identity_free(&stranger);
}

/* Data and close_notify in one go: the data comes first, and the end is told although the socket stays open. */
static void the_end_follows_the_data(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);
    struct pair pair;
    uint8_t bytes[100], byte;
    size_t written;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    SSL_write_ex(pair.client, "last", 4, &written);
    SSL_shutdown(pair.client);
    assert_int_equal(stream_read(&pool, &pair.stream, bytes, sizeof(bytes)), 4);
    assert_int_equal(recv(pair.stream.watch.fd, &byte, 1, 0), 0); /* so the poll of the owner wakes up */
    assert_int_equal(stream_read(&pool, &pair.stream, bytes, sizeof(bytes)), 0);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void shutting_says_goodbye_once(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);
    struct pair pair;
    char bytes[16];

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    write_stream(&pair, "bye", 3);
    assert_int_equal(stream_flush(&pool, &pair.stream), 0);
    assert_true(stream_shut(&pool, &pair.stream));
    assert_true(stream_shut(&pool, &pair.stream));
    assert_int_equal(client_read(&pair, bytes, sizeof(bytes)), 3);
    assert_int_equal(pair.client_error, SSL_ERROR_ZERO_RETURN);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void renegotiation_is_refused(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, TLS1_2_VERSION, TLS1_2_VERSION);
    struct pair pair;

    (void)state;
    SSL_CTX_clear_options(client_context, SSL_OP_NO_RENEGOTIATION);
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    assert_int_equal(SSL_renegotiate(pair.client), 1);
    for (unsigned i = 0; i < 4; i++) {
        SSL_do_handshake(pair.client);
        pair_server_turn(&pair);
    }
    assert_int_equal(SSL_num_renegotiations(pair.client), 1); /* it asked, ... */
    assert_false(SSL_is_init_finished(pair.client));          /* ... and never got it */
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void garbage_after_the_handshake_ends_the_connection(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);
    struct pair pair;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    send_raw(&pair,
             "\x17\x03\x03\x00\x20"
             "0123456789012345678901234567890123",
             37);
    pair_server_turn(&pair);
    assert_int_equal(pair.server_result, -EPROTO);
    assert_non_null(strstr(pair_error(&pair), "bad record mac"));
    pair_server_turn(&pair); /* and so on */
    assert_int_equal(pair.server_result, -EPROTO);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void a_session_is_resumed(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        for (int tickets = 0; tickets < 2; tickets++) {
            SSL_CTX *client_context = client_context_make(&authority, versions[v], versions[v]);
            struct pair pair;
            char bytes[8];

            if (!tickets && versions[v] == TLS1_2_VERSION)
                SSL_CTX_set_options(client_context, SSL_OP_NO_TICKET); /* the cache then */
            pair_init(&pair, &pool, context, client_context);
            assert_true(pair_handshake(&pair));
            assert_false(SSL_session_reused(pair.client));
            assert_int_equal(client_read(&pair, bytes, sizeof(bytes)), 0); /* takes the ticket */
            SSL_SESSION *session = SSL_get1_session(pair.client);
            pair_fini(&pair);
            pair_init(&pair, &pool, context, client_context);
            SSL_set_session(pair.client, session);
            assert_true(pair_handshake(&pair));
            assert_true(SSL_session_reused(pair.client));
            client_to_server(&pair, 1000);
            SSL_SESSION_free(session);
            pair_fini(&pair);
            SSL_CTX_free(client_context);
        }
    }
}

static void no_session_is_resumed_when_it_shall_not(void **state)
{
    struct tls_options none = options;

    (void)state;
    none.reuse_sessions = false;
    struct tls_context *forgetful = context_make(&none);
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        SSL_CTX *client_context = client_context_make(&authority, versions[v], versions[v]);
        struct pair pair;
        char bytes[8];

        pair_init(&pair, &pool, forgetful, client_context);
        assert_true(pair_handshake(&pair));
        client_read(&pair, bytes, sizeof(bytes));
        SSL_SESSION *session = SSL_get1_session(pair.client);
        pair_fini(&pair);
        pair_init(&pair, &pool, forgetful, client_context);
        SSL_set_session(pair.client, session);
        assert_true(pair_handshake(&pair));
        assert_false(SSL_session_reused(pair.client));
        SSL_SESSION_free(session);
        pair_fini(&pair);
        SSL_CTX_free(client_context);
    }
    tls_context_free(forgetful);
}

static void the_client_is_named_by_its_certificate(void **state)
{
    struct identity many = identity_make(
        &(struct identity_options){.name = "c1|#a, b+\"é\"", .organization = " Acme\\;<x>", .issuer = &authority});
    struct tls_options asking = options;
    struct buffer name;
    struct pair pair;

    (void)state;
    asking.verify_peer = true;
    struct tls_context *verifying = context_make(&asking);
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);
    client_context_identity(client_context, &many);
    buffer_init(&name, 4096);
    pair_init(&pair, &pool, verifying, client_context);
    assert_false(tls_layer_peer_name(pair.stream.layer, TLS_NAME_CN, &name));
    assert_true(pair_handshake(&pair));
    assert_true(tls_layer_peer_name(pair.stream.layer, TLS_NAME_CN, &name));
    assert_true(slice_equal(buffer_slice(&name), SLICE_LITERAL("c1,#a, b+\"é\"")));
    buffer_clear(&name);
    assert_true(tls_layer_peer_name(pair.stream.layer, TLS_NAME_DN, &name));
    assert_true(slice_equal(buffer_slice(&name),
                            SLICE_LITERAL("CN=\\#a\\, b\\+\\\"\\C3\\A9\\\",CN=c1,O=\\ Acme\\\\\\;\\<x\\>")));
    buffer_clear(&name);
    assert_true(tls_layer_peer_name(pair.stream.layer, TLS_NAME_CRT, &name));
    unsigned char *der = NULL;
    int der_len = i2d_X509(many.certificate, &der);
    assert_true(slice_equal(buffer_slice(&name), slice_make(der, (size_t)der_len)));
    OPENSSL_free(der);
    buffer_fini(&name);
    pair_fini(&pair);
    SSL_CTX_free(client_context);

    client_context = client_context_make(NULL, 0, 0);
    pair_init(&pair, &pool, verifying, client_context); /* no certificate, and that is allowed */
    assert_true(pair_handshake(&pair));
    assert_false(tls_layer_peer_name(pair.stream.layer, TLS_NAME_CN, &name));
    assert_false(tls_layer_peer_name(NULL, TLS_NAME_CN, &name));
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    tls_context_free(verifying);
    identity_free(&many);
}

static void every_cipher_carries_bytes(void **state)
{
    static const struct {
        int version;
        const char *cipher;
    } cases[] = {
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"}, {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"}, {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384"},     {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
        {TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct tls_options one = options;
        SSL_CTX *client_context = client_context_make(&authority, cases[i].version, cases[i].version);
        struct pair pair;

        one.ciphers = TEXT(cases[i].cipher);
        struct tls_context *single = context_make(&one);
        SSL_CTX_set_cipher_list(client_context, "ALL");
        SSL_CTX_set_ciphersuites(client_context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                                 "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256");
        pair_init(&pair, &pool, single, client_context);
        if (!pair_handshake(&pair))
            fail_msg("%s: %s", cases[i].cipher, pair_error(&pair));
        assert_string_equal(SSL_get_cipher_name(pair.client), cases[i].cipher);
        client_to_server(&pair, 70000);
        server_to_client(&pair, 70000);
        pair_fini(&pair);
        SSL_CTX_free(client_context);
        tls_context_free(single);
    }
}

static void keys_are_updated_in_both_directions(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, TLS1_3_VERSION, TLS1_3_VERSION);
    struct pair pair;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(
            SSL_key_update(pair.client, i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        client_to_server(&pair, 20000);
        server_to_client(&pair, 20000);
    }
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

static void a_client_with_little_memory_gets_small_records(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        SSL_CTX *client_context = client_context_make(NULL, versions[v], versions[v]);
        struct pair pair;
        uint8_t header[5];

        SSL_CTX_set_tlsext_max_fragment_length(client_context, TLSEXT_max_fragment_length_512);
        pair_init(&pair, &pool, context, client_context);
        assert_true(pair_handshake(&pair));
        client_read(&pair, header, 1); /* the ticket */
        server_to_client(&pair, 10000);
        uint8_t *bytes = make_pattern(10000);
        write_stream(&pair, bytes, 10000);
        assert_int_equal(stream_flush(&pool, &pair.stream), 0);
        assert_int_equal(recv(pair.client_fd, header, 5, 0), 5);
        assert_in_range(header[3] << 8 | header[4], 512, 512 + 64);
        free(bytes);
        pair_fini(&pair);
        SSL_CTX_free(client_context);
    }
}

/* Every record counts, once and in its place. */
static void a_record_that_comes_twice_ends_the_connection(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        SSL_CTX *client_context = client_context_make(NULL, versions[v], versions[v]);
        struct pair pair;
        uint8_t record[256];
        size_t written;

        pair_init(&pair, &pool, context, client_context);
        assert_true(pair_handshake(&pair));
        assert_int_equal(SSL_write_ex(pair.client, "once", 4, &written), 1);
        ssize_t len = recv(pair.stream.watch.fd, record, sizeof(record), 0); /* on its way */
        assert_true(len > 4);
        send_raw(&pair, (const char *)record, (size_t)len);
        send_raw(&pair, (const char *)record, (size_t)len);
        pair_server_turn(&pair);
        assert_int_equal(pair.received_len, 4);
        pair_server_turn(&pair);
        assert_int_equal(pair.server_result, -EPROTO);
        assert_string_equal(pair_error(&pair), "what the client sent cannot be decrypted (bad record mac)");
        assert_int_equal(client_read(&pair, record, 1), 0);
        assert_int_equal(pair.client_error, SSL_ERROR_SSL); /* it got the alert */
        pair_fini(&pair);
        SSL_CTX_free(client_context);
    }
}

/* The server's part of many connections that said a little and are idle now. */
static void measure_idle(struct tls_context *measured, int version, const struct identity *identity, const char *what)
{
    enum { COUNT = 400 };
    static struct pair pairs[COUNT];
    SSL_CTX *client_context = client_context_make(NULL, version, version);
    struct allocator_stats before, after;

    if (identity != NULL)
        client_context_identity(client_context, identity);
    for (size_t i = 0; i < COUNT; i++) {
        pair_init(&pairs[i], &pool, measured, client_context);
        assert_true(pair_handshake(&pairs[i]));
        client_to_server(&pairs[i], 200);
        server_to_client(&pairs[i], 200);
    }
    allocator_stats(&before);
    for (size_t i = 0; i < COUNT; i++)
        stream_close(&pool, &pairs[i].stream);
    stream_pool_flush(&pool);
    allocator_stats(&after);
    if (before.allocated_bytes > 0) { /* not in sanitizer builds */
        uint64_t each = (before.allocated_bytes - after.allocated_bytes) / COUNT;
        printf("%s: %llu bytes for an idle connection\n", what, (unsigned long long)each);
        assert_in_range(each, 1000, 12u * 1024u);
    }
    for (size_t i = 0; i < COUNT; i++)
        pair_fini(&pairs[i]);
    SSL_CTX_free(client_context);
}

static void an_idle_connection_takes_less_than_12_kib(void **state)
{
    struct tls_options asking = options;

    (void)state;
    asking.verify_peer = asking.fail_if_no_peer_cert = true;
    struct tls_context *verifying = context_make(&asking);
    measure_idle(context, TLS1_2_VERSION, NULL, "TLS 1.2");
    measure_idle(context, TLS1_3_VERSION, NULL, "TLS 1.3");
    measure_idle(verifying, TLS1_2_VERSION, &client, "TLS 1.2 with a client certificate");
    measure_idle(verifying, TLS1_3_VERSION, &client, "TLS 1.3 with a client certificate");
    tls_context_free(verifying);
}

/* A client that asks for answers and takes none is not answered without end. */
static void a_silent_reader_does_not_grow_our_memory(void **state)
{
    SSL_CTX *client_context = client_context_make(NULL, TLS1_3_VERSION, TLS1_3_VERSION);
    struct pair pair;

    (void)state;
    pair_init(&pair, &pool, context, client_context);
    assert_true(pair_handshake(&pair));
    for (unsigned i = 0; i < 20000 && pair.server_result > 0; i++) {
        size_t written;
        if (SSL_key_update(pair.client, SSL_KEY_UPDATE_REQUESTED) == 1)
            SSL_write_ex(pair.client, "x", 1, &written);
        pair_server_turn(&pair);
        assert_true(pair.stream.layer->held_bytes <= 192 * 1024);
    }
    pair_fini(&pair);
    SSL_CTX_free(client_context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_bytes_of_all_sizes_both_ways),
        cmocka_unit_test(works_with_a_cipher_that_is_no_aead),
        cmocka_unit_test(a_small_capacity_loses_nothing),
        cmocka_unit_test(a_beginning_of_a_record_waits_for_its_end),
        cmocka_unit_test(leaves_the_buffer_of_the_layer_above_alone),
        cmocka_unit_test(a_handshake_in_single_bytes_succeeds),
        cmocka_unit_test(without_budget_a_handshake_waits_for_the_next_turn),
        cmocka_unit_test(handshakes_in_flight_are_limited),
        cmocka_unit_test(what_is_not_tls_is_named),
        cmocka_unit_test(a_handshake_that_is_cut_is_an_error_and_silence_is_none),
        cmocka_unit_test(versions_and_ciphers_in_common_are_needed),
        cmocka_unit_test(the_alert_of_a_client_is_told),
        cmocka_unit_test(the_end_follows_the_data),
        cmocka_unit_test(shutting_says_goodbye_once),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(garbage_after_the_handshake_ends_the_connection),
        cmocka_unit_test(a_session_is_resumed),
        cmocka_unit_test(no_session_is_resumed_when_it_shall_not),
        cmocka_unit_test(the_client_is_named_by_its_certificate),
        cmocka_unit_test(every_cipher_carries_bytes),
        cmocka_unit_test(keys_are_updated_in_both_directions),
        cmocka_unit_test(a_client_with_little_memory_gets_small_records),
        cmocka_unit_test(a_record_that_comes_twice_ends_the_connection),
        cmocka_unit_test(an_idle_connection_takes_less_than_12_kib),
        cmocka_unit_test(a_silent_reader_does_not_grow_our_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
