/*
 * The protection of records after the handshake (tls_records.h) and the layer around it: against OpenSSL's client with random sizes, cuts
 * and capacities, and against a client that knows its keys and breaks the rules. That one is a tls_records of its own with the two
 * secrets changed over.
 */
#include "net/tls_layer_internal.h"
#include "tls_support.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LINE_MAX_BYTES 512
#define MFL_NONE 0

static struct stream_pool pool;
static struct identity server;
static struct tls_options options;
static struct tls_context *context;
static char client_line[LINE_MAX_BYTES], server_line[LINE_MAX_BYTES]; /* of the last handshake's key log */

static const struct {
    int version;
    const char *cipher;
} suites[] = {
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"}, {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"}, {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM"},
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},  {TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256"},
};

static int set_up(void **state)
{
    (void)state;
    server = identity_make(&(struct identity_options){.name = "broker"});
    options = options_make(&server,
                           "ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-ECDSA-CHACHA20-POLY1305,"
                           "ECDHE-ECDSA-AES128-CCM,TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,"
                           "TLS_CHACHA20_POLY1305_SHA256,TLS_AES_128_CCM_SHA256");
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

static void on_key_log(const SSL *ssl, const char *line)
{
    const char *secret = strrchr(line, ' ');

    (void)ssl; /* what the client writes is what its tls_records seals: the secret of "the server" */
    if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
        snprintf(server_line, sizeof(server_line), "SERVER_TRAFFIC_SECRET_0 -%s", secret);
    else if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
        snprintf(client_line, sizeof(client_line), "CLIENT_TRAFFIC_SECRET_0 -%s", secret);
}

static SSL_CTX *client_of(int version, const char *cipher)
{
    SSL_CTX *client = client_context_make(NULL, version, version);

    if (cipher != NULL && version == TLS1_2_VERSION)
        assert_int_equal(SSL_CTX_set_cipher_list(client, cipher), 1);
    else if (cipher != NULL)
        assert_int_equal(SSL_CTX_set_ciphersuites(client, cipher), 1);
    SSL_CTX_set_keylog_callback(client, on_key_log);
    return client;
}

static struct tls_records *server_records(struct pair *pair)
{
    struct tls_records *records = tls_layer_of(pair->stream.layer)->records;

    assert_non_null(records);
    return records;
}

static void send_bytes(struct pair *pair, const void *bytes, size_t len)
{
    assert_int_equal(send(pair->client_fd, bytes, len, 0), len);
}

/* ---- Against OpenSSL */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % limit;
}

/* Mostly small, sometimes more than a record. */
static size_t random_size(void)
{
    switch (random_below(8)) {
    case 0: return 16384 - 2 + random_below(5);
    case 1: return 1 + random_below(40000);
    case 2: return 1;
    default: return 1 + random_below(600);
    }
}

/* A direction of a conversation: `made` bytes of the pattern were written, `got` came. */
struct flow {
    uint64_t made, got;
};

static uint8_t pattern_at(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void flow_make(struct flow *flow, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = pattern_at(flow->made++);
}

static void flow_check(struct flow *flow, const uint8_t *bytes, size_t len)
{
    assert_true(flow->got + len <= flow->made);
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != pattern_at(flow->got++))
            fail_msg("byte %llu is wrong", (unsigned long long)flow->got - 1);
    }
}

struct conversation {
    struct pair pair;
    BIO *wire; /* what the client wrote and the network has not delivered */
    struct flow up, down;
    bool updates; /* of keys */
};

static void server_reads(struct conversation *talk)
{
    static uint8_t bytes[70000];
    size_t capacity = random_below(3) == 0 ? 1 + random_below(sizeof(bytes)) : 1 + random_below(2000);
    ssize_t got = stream_read(&pool, &talk->pair.stream, bytes, capacity);

    if (got != -EAGAIN && got != -EBUSY) {
        if (got <= 0)
            fail_msg("%zd: %s", got, pair_error(&talk->pair));
        flow_check(&talk->up, bytes, (size_t)got);
    }
    stream_pool_flush(&pool);
}

static void deliver(struct conversation *talk, size_t len)
{
    static uint8_t bytes[70000];
    int count = BIO_read(talk->wire, bytes, (int)(len < sizeof(bytes) ? len : sizeof(bytes)));
    int sent = 0;

    while (sent < count) {
        ssize_t step = send(talk->pair.client_fd, bytes + sent, (size_t)(count - sent), 0);
        if (step > 0)
            sent += (int)step;
        else
            server_reads(talk);
    }
}

static void client_reads(struct conversation *talk, size_t capacity)
{
    static uint8_t bytes[70000];
    size_t got = client_read(&talk->pair, bytes, capacity < sizeof(bytes) ? capacity : sizeof(bytes));

    flow_check(&talk->down, bytes, got);
    if (got < capacity)
        assert_int_equal(talk->pair.client_error, SSL_ERROR_WANT_READ);
}

static void client_writes(struct conversation *talk)
{
    static uint8_t bytes[70000];
    size_t len = random_size(), written;

    flow_make(&talk->up, bytes, len);
    assert_int_equal(SSL_write_ex(talk->pair.client, bytes, len, &written), 1);
}

static void server_writes(struct conversation *talk)
{
    size_t len = random_size();
    uint8_t *out;

    if (stream_pending_bytes(&talk->pair.stream) > 200000)
        return;
    len = len > STREAM_CHUNK_MAX ? STREAM_CHUNK_MAX : len;
    out = stream_reserve(&pool, &talk->pair.stream, len);
    assert_non_null(out);
    flow_make(&talk->down, out, len);
    stream_commit(&pool, &talk->pair.stream, len);
}

static void take_a_step(struct conversation *talk)
{
    static const size_t cuts[] = {1, 4, 5, 100, 16406, 70000};

    switch (random_below(6)) {
    case 0: client_writes(talk); break;
    case 1: server_writes(talk); break;
    case 2: deliver(talk, 1 + random_below((uint32_t)cuts[random_below(ARRAY_COUNT(cuts))])); break;
    case 3: server_reads(talk); break;
    case 4: client_reads(talk, 1 + random_below(30000)); break;
    default:
        if (talk->updates && random_below(4) == 0) {
            SSL_key_update(talk->pair.client,
                           random_below(2) == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
            SSL_do_handshake(talk->pair.client);
        }
        stream_flush(&pool, &talk->pair.stream);
    }
}

static void carries_random_bytes_in_random_cuts_with_every_cipher(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(suites); i++) {
        SSL_CTX *client = client_of(suites[i].version, suites[i].cipher);
        struct conversation talk = {.updates = suites[i].version == TLS1_3_VERSION};
        struct pair *pair = &talk.pair;

        pair_init(pair, &pool, context, client);
        assert_true(pair_handshake(pair));
        assert_string_equal(SSL_get_cipher_name(pair->client), suites[i].cipher);
        if (strstr(suites[i].cipher, "CCM") == NULL)
            tls_records_set_key_limit(server_records(pair), talk.updates ? 3000 : UINT64_MAX);
        talk.wire = BIO_new(BIO_s_mem());
        SSL_set0_wbio(pair->client, talk.wire);
        for (unsigned step = 0; step < 4000; step++)
            take_a_step(&talk);
        while (BIO_ctrl_pending(talk.wire) > 0 || stream_pending_bytes(&pair->stream) > 0 ||
               talk.up.got < talk.up.made || talk.down.got < talk.down.made) {
            deliver(&talk, 70000);
            server_reads(&talk);
            assert_int_equal(stream_flush(&pool, &pair->stream), 0);
            client_reads(&talk, 70000);
        }
        pair_fini(pair);
        SSL_CTX_free(client);
    }
}

/* ---- Used up keys */

static unsigned updates_seen, requests_seen;

static void on_message(int write, int version, int content_type, const void *bytes, size_t len, SSL *ssl, void *data)
{
    const uint8_t *message = bytes;

    (void)version;
    (void)ssl;
    (void)data;
    if (write == 0 && content_type == SSL3_RT_HANDSHAKE && len == 5 && message[0] == SSL3_MT_KEY_UPDATE) {
        updates_seen++;
        requests_seen += message[4] == SSL_KEY_UPDATE_REQUESTED;
    }
}

static void write_and_read(struct pair *pair, size_t len)
{
    uint8_t *out = stream_reserve(&pool, &pair->stream, len), got[4096];

    assert_non_null(out);
    memset(out, 'x', len);
    stream_commit(&pool, &pair->stream, len);
    assert_int_equal(stream_flush(&pool, &pair->stream), 0);
    assert_int_equal(client_read(pair, got, len), len);
}

static void a_key_is_changed_before_it_is_used_up(void **state)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    struct pair pair;

    (void)state;
    updates_seen = requests_seen = 0;
    pair_init(&pair, &pool, context, client);
    SSL_set_msg_callback(pair.client, on_message);
    assert_true(pair_handshake(&pair));
    tls_records_set_key_limit(server_records(&pair), 100);
    for (unsigned i = 0; i < 10; i++) { /* 22 blocks each */
        write_and_read(&pair, 320);
        assert_int_equal(updates_seen, i / 5); /* with the sixth and so on */
    }
    assert_int_equal(requests_seen, 0);
    pair_fini(&pair);
    SSL_CTX_free(client);
}

static void a_client_is_asked_once_to_change_its_key(void **state)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    struct pair pair;
    uint8_t bytes[320] = {0};
    size_t written;

    (void)state;
    updates_seen = requests_seen = 0;
    pair_init(&pair, &pool, context, client);
    SSL_set_msg_callback(pair.client, on_message);
    assert_true(pair_handshake(&pair));
    tls_records_set_key_limit(server_records(&pair), 100);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(SSL_write_ex(pair.client, bytes, sizeof(bytes), &written), 1);
        pair_server_turn(&pair);
    }
    write_and_read(&pair, 1);
    assert_int_equal(requests_seen, 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(SSL_write_ex(pair.client, bytes, sizeof(bytes), &written), 1); /* the first: its KeyUpdate */
        pair_server_turn(&pair);
        assert_true(pair.server_result > 0);
    }
    write_and_read(&pair, 1);
    assert_int_equal(requests_seen, 2);
    pair_fini(&pair);
    SSL_CTX_free(client);
}

static void a_used_up_key_ends_a_connection_of_tls_1_2(void **state)
{
    SSL_CTX *client = client_of(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256");
    struct pair pair;
    uint8_t *out;

    (void)state;
    pair_init(&pair, &pool, context, client);
    assert_true(pair_handshake(&pair));
    tls_records_set_key_limit(server_records(&pair), 100);
    for (unsigned i = 0; i < 5; i++)
        write_and_read(&pair, 320);
    out = stream_reserve(&pool, &pair.stream, 1);
    assert_non_null(out);
    *out = 'x';
    stream_commit(&pool, &pair.stream, 1);
    assert_true(stream_flush(&pool, &pair.stream) < 0);
    assert_string_equal(pair_error(&pair), "the key is used up, and TLS 1.2 has no next one");
    pair_fini(&pair);
    SSL_CTX_free(client);
}

/* ---- A client that breaks the rules */

struct said {
    int type; /* of the content; 0: the content ends with its type and padding; -1: none, the list ends */
    const char *bytes;
    size_t len;
    bool next_key; /* used from here on */
};

#define KEY_UPDATE "\x18\0\0\1\0"
#define REFUSED(alert) "the client breaks the protocol (" alert ")"

static const struct {
    const char *what;
    struct said said[4];
    ssize_t data_len;  /* that reaches the broker */
    ssize_t end;       /* of reading behind that: -EAGAIN goes on */
    const char *error; /* NULL: none */
} lies[] = {
    {"data", {{23, "abc", 3, false}, {23, "", 0, false}, {23, "d", 1, false}, {.type = -1}}, 4, -EAGAIN, NULL},
    {"padding", {{0, "ab\x17\0\0", 5, false}, {0, "c\x17", 2, false}, {.type = -1}}, 3, -EAGAIN, NULL},
    {"zeros only", {{0, "\0\0\0", 3, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"no bytes", {{0, "", 0, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"key update", {{22, KEY_UPDATE, 5, true}, {23, "x", 1, false}, {.type = -1}}, 1, -EAGAIN, NULL},
    {"key update in parts",
     {{22, KEY_UPDATE, 1, false}, {22, "\0\0\1\0", 4, true}, {23, "x", 1, false}, {.type = -1}},
     1,
     -EAGAIN,
     NULL},
    {"old key after an update",
     {{22, KEY_UPDATE, 5, false}, {23, "x", 1, false}, {.type = -1}},
     0,
     -EPROTO,
     "what the client sent cannot be decrypted (bad record mac)"},
    {"next key without an update",
     {{23, "", 0, true}, {23, "x", 1, false}, {.type = -1}},
     0,
     -EPROTO,
     "what the client sent cannot be decrypted (bad record mac)"},
    {"data within a key update",
     {{22, KEY_UPDATE, 1, false}, {23, "x", 1, false}, {.type = -1}},
     0,
     -EPROTO,
     REFUSED("unexpected_message")},
    {"two key updates in one record",
     {{22, KEY_UPDATE KEY_UPDATE, 10, true}, {.type = -1}},
     0,
     -EPROTO,
     REFUSED("unexpected_message")},
    {"one and a half", {{22, KEY_UPDATE "\x18", 6, true}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"key update with a wrong request",
     {{22, "\x18\0\0\1\2", 5, true}, {.type = -1}},
     0,
     -EPROTO,
     REFUSED("illegal parameter")},
    {"long key update", {{22, "\x18\0\0\2\0", 5, true}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"session ticket", {{22, "\x04\0\0\x0a", 4, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"certificate", {{22, "\x0b\0\0\1", 4, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"Finished", {{22, "\x14\0\0\x20", 4, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"empty handshake record", {{22, "", 0, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"empty alert", {{21, "", 0, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"half an alert", {{21, "\1", 1, false}, {.type = -1}}, 0, -EPROTO, REFUSED("decode error")},
    {"two alerts", {{21, "\1\0\1\0", 4, false}, {.type = -1}}, 0, -EPROTO, REFUSED("decode error")},
    {"ChangeCipherSpec", {{20, "\1", 1, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"heartbeat", {{24, "\1\0\1x", 4, false}, {.type = -1}}, 0, -EPROTO, REFUSED("unexpected_message")},
    {"goodbye", {{23, "x", 1, false}, {21, "\1\0", 2, false}, {23, "y", 1, false}, {.type = -1}}, 1, 0, NULL},
    {"user canceled", {{21, "\1\x5a", 2, false}, {23, "x", 1, false}, {.type = -1}}, 1, -EAGAIN, NULL},
    {"a warning is an end in 1.3",
     {{23, "x", 1, false}, {21, "\1\x2e", 2, false}, {.type = -1}},
     1,
     -EPROTO,
     "the client ended the connection with the alert \"certificate unknown\""},
};

static void say(struct pair *pair, struct tls_records *evil, const struct said *said)
{
    static uint8_t record[RECORD_PLAIN_MAX + 2 * RECORD_OVERHEAD];
    size_t len = tls_records_seal(evil, (enum tls_record_type)said->type, (const uint8_t *)said->bytes, said->len,
                                  record);

    assert_true(len > 0);
    send_bytes(pair, record, len);
    if (said->next_key)
        assert_true(tls_records_update(evil, false));
}

/* A connection of TLS 1.3 and the client's records. */
static struct tls_records *evil_init(struct pair *pair, SSL_CTX *client)
{
    struct tls_records *evil = tls_records_new();

    assert_non_null(evil);
    pair_init(pair, &pool, context, client);
    assert_true(pair_handshake(pair));
    tls_records_log_line(evil, client_line);
    tls_records_log_line(evil, server_line);
    assert_true(tls_records_begin(evil, pair->client, 0));
    return evil;
}

static void whoever_breaks_the_rules_is_refused(void **state)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        struct pair pair;
        struct tls_records *evil = evil_init(&pair, client);
        uint8_t bytes[100];
        ssize_t got;

        for (const struct said *said = lies[i].said; said->type >= 0; said++)
            say(&pair, evil, said);
        got = stream_read(&pool, &pair.stream, bytes, sizeof(bytes));
        if (lies[i].data_len > 0) {
            if (got != lies[i].data_len)
                fail_msg("%s: %zd", lies[i].what, got);
            got = stream_read(&pool, &pair.stream, bytes, sizeof(bytes));
        }
        if (got != lies[i].end || strcmp(pair_error(&pair), lies[i].error == NULL ? "" : lies[i].error) != 0)
            fail_msg("%s: %zd, %s", lies[i].what, got, pair_error(&pair));
        assert_int_equal(ERR_peek_error(), 0); /* left for another connection */
        stream_pool_flush(&pool);
        tls_records_free(evil);
        pair_fini(&pair);
    }
    SSL_CTX_free(client);
}

/* One record of `len` bytes, with `padding` zeros behind its type, to a client that agreed on small records or did not. */
static void send_large(uint8_t fragment, size_t len, size_t padding, bool taken)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    uint8_t *content = calloc(1, len + padding + 1);
    struct said said = {padding > 0 ? 0 : 23, (char *)content, padding > 0 ? len + padding : len, false};
    struct pair pair;
    struct tls_records *evil;

    assert_non_null(content);
    memset(content, 'x', len);
    if (padding > 0)
        content[len] = 23;
    SSL_CTX_set_tlsext_max_fragment_length(client, fragment);
    evil = evil_init(&pair, client);
    say(&pair, evil, &said);
    pair_server_turn(&pair);
    assert_int_equal(pair.received_len, taken ? len : 0);
    assert_string_equal(pair_error(&pair), taken ? "" : REFUSED("record overflow"));
    tls_records_free(evil);
    pair_fini(&pair);
    SSL_CTX_free(client);
    free(content);
}

static void records_larger_than_allowed_are_refused(void **state)
{
    (void)state;
    send_large(MFL_NONE, 16384, 0, true);
    send_large(MFL_NONE, 16385, 0, false);
    send_large(MFL_NONE, 16380, 4, true); /* type and padding of `said`, then one zero more */
    send_large(MFL_NONE, 16380, 5, false);
    send_large(TLSEXT_max_fragment_length_512, 512, 0, true);
    send_large(TLSEXT_max_fragment_length_512, 512, 500, true); /* padding does not count there */
    send_large(TLSEXT_max_fragment_length_512, 513, 0, false);
}

static void records_without_data_in_a_row_are_limited(void **state)
{
    static const struct said nothing = {23, "", 0, false}, data = {23, "x", 1, false};
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    struct pair pair;
    struct tls_records *evil = evil_init(&pair, client);

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 32; i++)
            say(&pair, evil, &nothing);
        say(&pair, evil, &data);
        pair_server_turn(&pair);
        assert_int_equal(pair.server_result, 1);
    }
    for (unsigned i = 0; i < 33; i++)
        say(&pair, evil, &nothing);
    pair_server_turn(&pair);
    assert_int_equal(pair.server_result, -EPROTO);
    tls_records_free(evil);
    pair_fini(&pair);
    SSL_CTX_free(client);
}

/* Data between them is no excuse: each makes us compute. */
static void a_flood_of_key_updates_is_refused(void **state)
{
    static const struct said update = {22, KEY_UPDATE, 5, true}, data = {23, "x", 1, false};
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    struct pair pair;
    struct tls_records *evil = evil_init(&pair, client);

    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < (round < 3 ? 32 : 33); i++) {
            say(&pair, evil, &update);
            say(&pair, evil, &data);
        }
        pair_server_turn(&pair);
        assert_int_equal(pair.received_len, (round + 1) * 32);
    }
    pair_server_turn(&pair);
    assert_int_equal(pair.server_result, -EPROTO);
    assert_string_equal(pair_error(&pair), REFUSED("unexpected_message"));
    tls_records_free(evil);
    pair_fini(&pair);
    SSL_CTX_free(client);
}

/* Every byte of a record is guarded. */
static void a_changed_bit_anywhere_ends_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(suites); i++) {
        SSL_CTX *client = client_of(suites[i].version, suites[i].cipher);

        for (size_t at = 0; at < 40; at++) {
            struct pair pair;
            uint8_t record[200];
            size_t written;

            pair_init(&pair, &pool, context, client);
            assert_true(pair_handshake(&pair));
            assert_int_equal(SSL_write_ex(pair.client, "twenty bytes of text", 20, &written), 1);
            ssize_t len = recv(pair.stream.watch.fd, record, sizeof(record), 0); /* on its way */
            assert_true(len > 40);
            record[at] ^= (uint8_t)(1u << random_below(8));
            memset(record + len, 0, sizeof(record) - (size_t)len); /* if it says that it is longer */
            send_bytes(&pair, record, sizeof(record));
            pair_server_turn(&pair);
            assert_int_equal(pair.received_len, 0);
            if (at != 3 && at != 4) /* its length: perhaps more is to come */
                assert_int_equal(pair.server_result, -EPROTO);
            assert_int_equal(ERR_peek_error(), 0);
            pair_fini(&pair);
        }
        SSL_CTX_free(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_random_bytes_in_random_cuts_with_every_cipher),
        cmocka_unit_test(a_key_is_changed_before_it_is_used_up),
        cmocka_unit_test(a_client_is_asked_once_to_change_its_key),
        cmocka_unit_test(a_used_up_key_ends_a_connection_of_tls_1_2),
        cmocka_unit_test(whoever_breaks_the_rules_is_refused),
        cmocka_unit_test(records_larger_than_allowed_are_refused),
        cmocka_unit_test(records_without_data_in_a_row_are_limited),
        cmocka_unit_test(a_flood_of_key_updates_is_refused),
        cmocka_unit_test(a_changed_bit_anywhere_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
