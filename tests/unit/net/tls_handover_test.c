/*
 * Where tls_records takes over from OpenSSL: numbers, nonces and keys go on as the client expects them, after full and resumed handshakes,
 * with pre-shared keys, with data right behind Finished; and a client of TLS 1.2 whose records the test makes itself, with keys
 * of OpenSSL's key derivation.
 */
#include "net/tls_layer_internal.h"
#include "tls_support.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <string.h>
#include <sys/socket.h>

static struct stream_pool pool;
static struct identity server;
static struct tls_options options;
static struct tls_context *context;

static int set_up(void **state)
{
    (void)state;
    server = identity_make(&(struct identity_options){.name = "broker"});
    options = options_make(&server, "ECDHE-ECDSA-AES128-GCM-SHA256,TLS_AES_128_GCM_SHA256");
    context = context_make(&options);
    return stream_pool_init(&pool);
}

static int tear_down(void **state)
{
    (void)state;
    tls_context_free(context);
    stream_pool_fini(&pool);
    identity_free(&server);
    support_fini();
    return 0;
}

/* ---- Nonces */

/* Everything the server wrote that the client has not read. */
static size_t peek(struct pair *pair, uint8_t *out, size_t capacity)
{
    ssize_t len = recv(pair->client_fd, out, capacity, MSG_PEEK);

    assert_true(len > 0);
    return (size_t)len;
}

static uint64_t number_of(const uint8_t *bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Goes through records behind ChangeCipherSpec: each carries the number behind the one before. */
static unsigned check_numbers(const uint8_t *bytes, size_t len, bool *protected_now, uint64_t *number)
{
    unsigned count = 0;

    for (size_t at = 0; at < len; at += 5 + ((size_t)bytes[at + 3] << 8 | bytes[at + 4])) {
        if (bytes[at] == SSL3_RT_CHANGE_CIPHER_SPEC) {
            *protected_now = true;
        } else if (*protected_now) {
            uint64_t here = number_of(bytes + at + 5);
            if (*number != 0)
                assert_true(here == *number + 1);
            *number = here;
            count++;
        }
    }
    return count;
}

static SSL_SESSION *kept_session;

static void numbers_after_handshake(SSL_CTX *client, SSL_SESSION *session)
{
    struct pair pair;
    uint8_t bytes[8192];
    bool protected_now = false;
    uint64_t number = 0;
    unsigned count = 0;

    pair_init(&pair, &pool, context, client);
    if (session != NULL)
        SSL_set_session(pair.client, session);
    for (unsigned i = 0; i < 2; i++) { /* flights of the server */
        (void)SSL_do_handshake(pair.client);
        pair_server_turn(&pair);
        if (!(session != NULL && i == 1))
            count += check_numbers(bytes, peek(&pair, bytes, sizeof(bytes)), &protected_now, &number);
    }
    assert_int_equal(SSL_do_handshake(pair.client), 1);
    assert_int_equal(SSL_session_reused(pair.client), session != NULL);
    assert_int_equal(count, 1); /* Finished */
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *out = stream_reserve(&pool, &pair.stream, 10);
        assert_non_null(out);
        memset(out, 'x', 10);
        stream_commit(&pool, &pair.stream, 10);
        assert_int_equal(stream_flush(&pool, &pair.stream), 0);
    }
    assert_int_equal(check_numbers(bytes, peek(&pair, bytes, sizeof(bytes)), &protected_now, &number), 3);
    assert_int_equal(client_read(&pair, bytes, 30), 30);
    if (session == NULL)
        kept_session = SSL_get1_session(pair.client);
    pair_fini(&pair);
}

/* OpenSSL begins the explicit part of the nonce at random. With numbers of our own it could come twice. */
static void nonces_of_aes_gcm_go_on_where_the_handshake_ended(void **state)
{
    SSL_CTX *client = client_context_make(NULL, TLS1_2_VERSION, TLS1_2_VERSION);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        numbers_after_handshake(client, NULL);
        numbers_after_handshake(client, kept_session);
        SSL_SESSION_free(kept_session);
    }
    SSL_CTX_free(client);
}

/* ---- The first data */

static void both_ways(struct pair *pair)
{
    uint8_t *out = stream_reserve(&pool, &pair->stream, 100), got[100];
    size_t before = pair->received_len, written;

    assert_non_null(tls_layer_of(pair->stream.layer)->records);
    assert_non_null(out);
    memset(out, 'd', 100);
    stream_commit(&pool, &pair->stream, 100);
    assert_int_equal(stream_flush(&pool, &pair->stream), 0);
    assert_int_equal(client_read(pair, got, 100), 100);
    assert_int_equal(got[99], 'd');
    assert_int_equal(SSL_write_ex(pair->client, "uuu", 3, &written), 1);
    pair_server_turn(pair);
    assert_int_equal(pair->received_len, before + 3);
}

/* The client writes as soon as it may: what it says stands behind Finished when the broker reads that. */
static SSL_SESSION *data_behind_finished(SSL_CTX *client, SSL_SESSION *session)
{
    struct pair pair;
    size_t written;

    pair_init(&pair, &pool, context, client);
    if (session != NULL)
        SSL_set_session(pair.client, session);
    for (unsigned i = 0; i < 3 && SSL_do_handshake(pair.client) != 1; i++)
        pair_server_turn(&pair);
    assert_int_equal(SSL_session_reused(pair.client), session != NULL);
    assert_int_equal(SSL_write_ex(pair.client, "hello", 5, &written), 1);
    pair_server_turn(&pair);
    assert_int_equal(pair.received_len, 5);
    assert_memory_equal(pair.received, "hello", 5);
    both_ways(&pair);
    SSL_SESSION_free(session);
    session = SSL_get1_session(pair.client);
    pair_fini(&pair);
    return session;
}

static void data_right_behind_the_handshake_is_read(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        SSL_CTX *client = client_context_make(NULL, versions[v], versions[v]);
        SSL_SESSION *session = NULL;

        for (unsigned i = 0; i < 3; i++)
            session = data_behind_finished(client, session);
        SSL_SESSION_free(session);
        SSL_CTX_free(client);
    }
}

static unsigned int on_psk(SSL *ssl, const char *hint, char *identity, unsigned int identity_max, unsigned char *key,
                           unsigned int key_max)
{
    (void)ssl;
    (void)hint;
    assert_true(identity_max > 2 && key_max > 16);
    memcpy(identity, "c1", 3);
    memset(key, 'k', 16);
    return 16;
}

static void pre_shared_keys_are_taken_over_too(void **state)
{
    static const struct {
        int version;
        const char *cipher;
    } cases[] = {
        {TLS1_2_VERSION, "PSK-AES128-GCM-SHA256"},
        {TLS1_2_VERSION, "PSK-AES256-GCM-SHA384"},
        {TLS1_2_VERSION, "ECDHE-PSK-CHACHA20-POLY1305"},
        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
    };
    struct tls_options shared = options;

    (void)state;
    shared.psk_ciphers = TEXT("PSK-AES128-GCM-SHA256,PSK-AES256-GCM-SHA384,ECDHE-PSK-CHACHA20-POLY1305");
    shared.psk_file = write_file("psk.txt", "c1:kkkkkkkkkkkkkkkk\n", 20);
    struct tls_context *with_keys = context_make(&shared);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        SSL_CTX *client = client_context_make(NULL, cases[i].version, cases[i].version);
        struct pair pair;

        SSL_CTX_set_psk_client_callback(client, on_psk);
        if (cases[i].version == TLS1_2_VERSION)
            assert_int_equal(SSL_CTX_set_cipher_list(client, cases[i].cipher), 1);
        pair_init(&pair, &pool, with_keys, client);
        if (!pair_handshake(&pair))
            fail_msg("%s: %s", cases[i].cipher, pair_error(&pair));
        assert_string_equal(SSL_get_cipher_name(pair.client), cases[i].cipher);
        both_ways(&pair);
        pair_fini(&pair);
        SSL_CTX_free(client);
    }
    tls_context_free(with_keys);
}

/* ---- Nobody knows for certain */

static void without_certain_numbers_or_secrets_openssl_goes_on(void **state)
{
    static const uint8_t good[] = {20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 2, 0, 0}, half[] = {22, 3, 3, 0, 2, 0};
    SSL_CTX *client = client_context_make(NULL, TLS1_2_VERSION, TLS1_2_VERSION);
    struct tls_records *records;
    struct pair pair;

    (void)state;
    pair_init(&pair, &pool, context, client);
    assert_true(pair_handshake(&pair));
    for (unsigned i = 0; i < 5; i++) {
        records = tls_records_new();
        assert_non_null(records);
        assert_int_equal(tls_records_watch(records, good,
                                           i == 0   ? 0
                                           : i == 3 ? 6
                                                    : sizeof(good),
                                           true),
                         i == 0   ? 0
                         : i == 3 ? 1
                                  : 2);
        assert_int_equal(tls_records_watch(records, half, i == 1 ? sizeof(half) : 0, true), 0);
        assert_int_equal(tls_records_watch(records, good, i == 2 ? 0 : sizeof(good), false), i == 2 ? 0 : 2);
        assert_int_equal(tls_records_begin(records, pair.client, 0), i == 4); /* the last one lacks nothing */
        tls_records_free(records);
    }
    pair_fini(&pair);
    SSL_CTX_free(client);

    client = client_context_make(NULL, TLS1_3_VERSION, TLS1_3_VERSION);
    pair_init(&pair, &pool, context, client);
    assert_true(pair_handshake(&pair));
    records = tls_records_new();
    assert_non_null(records);
    tls_records_log_line(records,
                         "CLIENT_TRAFFIC_SECRET_0 00 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    assert_false(tls_records_begin(records, pair.client, 0)); /* the other one is missing */
    tls_records_free(records);
    pair_fini(&pair);
    SSL_CTX_free(client);
}

/* ---- A client of TLS 1.2 that makes its records itself: AES-128-GCM */

struct evil {
    uint8_t key[16], nonce[12];
    uint64_t sequence;
};

static struct evil evil_make(SSL *client)
{
    uint8_t seed[13 + 64] = "key expansion", master[48], block[40];
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    EVP_KDF_CTX *deriving = EVP_KDF_CTX_new(kdf);
    struct evil evil = {.sequence = 1};

    assert_int_equal(SSL_SESSION_get_master_key(SSL_get_session(client), master, sizeof(master)), 48);
    SSL_get_server_random(client, seed + 13, 32);
    SSL_get_client_random(client, seed + 45, 32);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, TEXT("SHA256"), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof(master)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
        OSSL_PARAM_construct_end(),
    };
    assert_int_equal(EVP_KDF_derive(deriving, block, sizeof(block), parameters), 1);
    memcpy(evil.key, block, 16);
    memcpy(evil.nonce, block + 32, 4);
    EVP_KDF_CTX_free(deriving);
    EVP_KDF_free(kdf);
    return evil;
}

static void say(struct pair *pair, struct evil *evil, const uint8_t header[3], const char *bytes, size_t len)
{
    uint8_t record[5 + 8 + 16384 + 16 + 64], text[13] = {0};
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    size_t body = 8 + len + 16;
    int count;

    text[7] = (uint8_t)evil->sequence++;
    memcpy(text + 8, header, 3);
    text[11] = (uint8_t)(len >> 8);
    text[12] = (uint8_t)len;
    memcpy(record, header, 3);
    record[3] = (uint8_t)(body >> 8);
    record[4] = (uint8_t)body;
    evil->nonce[11]++;
    memcpy(record + 5, evil->nonce + 4, 8);
    assert_int_equal(EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), NULL, evil->key, evil->nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(cipher, NULL, &count, text, 13), 1);
    if (len > 0)
        assert_int_equal(EVP_EncryptUpdate(cipher, record + 13, &count, (const uint8_t *)bytes, (int)len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(cipher, record + 13 + len, &count), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, record + 13 + len), 1);
    EVP_CIPHER_CTX_free(cipher);
    assert_int_equal(send(pair->client_fd, record, 5 + body, 0), 5 + body);
}

#define REFUSED(alert) "the client breaks the protocol (" alert ")"
static const char no_bytes[16385];

static const struct {
    const char *what;
    uint8_t header[3];
    const char *bytes;
    size_t len;
    const char *error; /* NULL: the connection goes on */
} lies[] = {
    {"data", {23, 3, 3}, "abc", 3, NULL},
    {"no data", {23, 3, 3}, "", 0, NULL},
    {"most data", {23, 3, 3}, no_bytes, 16384, NULL},
    {"too much data", {23, 3, 3}, no_bytes, 16385, REFUSED("record overflow")},
    {"another version", {23, 3, 1}, "abc", 3, REFUSED("protocol version")},
    {"renegotiation", {22, 3, 3}, "\1\0\0\2xx", 6, NULL},
    {"KeyUpdate of 1.3", {22, 3, 3}, "\x18\0\0\1\0", 5, REFUSED("unexpected_message")},
    {"Finished", {22, 3, 3}, "\x14\0\0\x0c", 4, REFUSED("unexpected_message")},
    {"empty handshake record", {22, 3, 3}, "", 0, REFUSED("unexpected_message")},
    {"ChangeCipherSpec", {20, 3, 3}, "\1", 1, REFUSED("unexpected_message")},
    {"heartbeat", {24, 3, 3}, "\1\0\1x", 4, REFUSED("unexpected_message")},
    {"a warning", {21, 3, 3}, "\1\x2e", 2, NULL},
    {"a level that is none", {21, 3, 3}, "\3\x2e", 2, REFUSED("illegal parameter")},
    {"two alerts", {21, 3, 3}, "\1\x2e\1\x2e", 4, REFUSED("decode error")},
    {"a fatal alert", {21, 3, 3}, "\2\x28", 2, "the client ended the connection with the alert \"handshake failure\""},
};

static void whoever_breaks_the_rules_of_tls_1_2_is_refused(void **state)
{
    SSL_CTX *client = client_context_make(NULL, TLS1_2_VERSION, TLS1_2_VERSION);

    (void)state;
    SSL_CTX_set_cipher_list(client, "ECDHE-ECDSA-AES128-GCM-SHA256");
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        struct pair pair;
        struct evil evil;

        pair_init(&pair, &pool, context, client);
        assert_true(pair_handshake(&pair));
        evil = evil_make(pair.client);
        say(&pair, &evil, lies[i].header, lies[i].bytes, lies[i].len);
        pair_server_turn(&pair);
        if (strcmp(pair_error(&pair), lies[i].error == NULL ? "" : lies[i].error) != 0)
            fail_msg("%s: %s", lies[i].what, pair_error(&pair));
        size_t before = lies[i].header[0] == 23 && lies[i].error == NULL ? lies[i].len : 0;
        assert_int_equal(pair.received_len, before);
        say(&pair, &evil, lies[0].header, "abc", 3);
        pair_server_turn(&pair);
        assert_int_equal(pair.received_len, before + (lies[i].error == NULL ? 3 : 0));
        assert_int_equal(ERR_peek_error(), 0);
        pair_fini(&pair);
    }
    SSL_CTX_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonces_of_aes_gcm_go_on_where_the_handshake_ended),
        cmocka_unit_test(data_right_behind_the_handshake_is_read),
        cmocka_unit_test(pre_shared_keys_are_taken_over_too),
        cmocka_unit_test(without_certain_numbers_or_secrets_openssl_goes_on),
        cmocka_unit_test(whoever_breaks_the_rules_of_tls_1_2_is_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
