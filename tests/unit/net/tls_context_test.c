/*
 * The context of a listener: files and what is wrong with them, who may come in, reload, SNI, CRL, OCSP, PSK.
 */
#include "tls_support.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct stream_pool pool;
static struct identity authority, server, other_server, client, expired, self_signed;
static struct tls_options base;

static int set_up(void **state)
{
    (void)state;
    authority = identity_make(&(struct identity_options){.name = "Authority", .authority = true});
    server = identity_make(&(struct identity_options){.name = "broker", .issuer = &authority});
    other_server = identity_make(&(struct identity_options){.name = "other", .issuer = &authority});
    client = identity_make(&(struct identity_options){.name = "c1", .issuer = &authority});
    expired = identity_make(
        &(struct identity_options){.name = "old", .issuer = &authority, .from_s = -2L * DAY_S, .until_s = -DAY_S});
    self_signed = identity_make(&(struct identity_options){.name = "self"});
    base = options_make(&server, "ECDHE-ECDSA-AES256-GCM-SHA384,AES256-SHA");
    base.ca_cert_file = write_certificates("ca.pem", authority.certificate, NULL);
    return stream_pool_init(&pool);
}

static int tear_down(void **state)
{
    struct identity *identities[] = {&authority, &server, &other_server, &client, &expired, &self_signed};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(identities); i++)
        identity_free(identities[i]);
    stream_pool_fini(&pool);
    support_fini();
    return 0;
}

/* The context of these options must fail with exactly this error, where "~" stands for the folder of the files. */
static void assert_refused(const struct tls_options *options, const char *expected)
{
    struct tls_context *context = NULL;
    char error[TLS_ERROR_MAX] = "", full[TLS_ERROR_MAX] = "";

    for (; *expected != '\0'; expected++) {
        const char one[2] = {*expected, '\0'};
        strcat(full, *expected == '~' ? support_folder() : one);
    }
    assert_int_not_equal(tls_context_new(options, NULL, &context, error), 0);
    assert_string_equal(error, full);
}

static void wrong_files_are_named_with_key_and_reason(void **state)
{
    struct tls_options options = base;
    static const char passphrase[] = "secret";
    FILE *file;

    (void)state;
    options.cert_file = support_path("missing.pem");
    assert_refused(&options, "listener.ssl.test.certfile: cannot read ~/missing.pem: No such file or directory");
    options.cert_file = (char *)(uintptr_t)support_folder();
    assert_refused(&options, "listener.ssl.test.certfile: ~ is not a file");
    options.cert_file = write_file("text.pem", "hello", 5);
    assert_refused(&options, "listener.ssl.test.certfile: ~/text.pem holds no certificate: it must be PEM, with a line "
                             "-----BEGIN CERTIFICATE-----");
    options.cert_file = NULL;
    assert_refused(&options,
                   "listener.ssl.test.certfile: is not set: a PEM file with the server's certificate is needed");
    options = base;
    options.key_file = write_file("empty.pem", "", 0);
    assert_refused(&options, "listener.ssl.test.keyfile: ~/empty.pem holds no private key: it must be PEM, with a line "
                             "-----BEGIN PRIVATE KEY-----");
    options.key_file = write_key("wrong.pem", client.key);
    assert_refused(&options, "listener.ssl.test.keyfile: the key in ~/wrong.pem does not belong to the certificate in "
                             "~/cert.pem");
    file = fopen(support_path("locked.pem"), "wb");
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, server.key, EVP_aes_128_cbc(), passphrase, 6, NULL, NULL), 1);
    fclose(file);
    options.key_file = support_path("locked.pem");
    assert_refused(&options,
                   "listener.ssl.test.keyfile: the key in ~/locked.pem is encrypted: a key without a passphrase "
                   "is needed (openssl pkey -in ~/locked.pem -out …)");
    options = base;
    options.ca_cert_file = support_path("empty.pem");
    assert_refused(&options,
                   "listener.ssl.test.cacertfile: ~/empty.pem holds no certificate: it must be PEM, with a line "
                   "-----BEGIN CERTIFICATE-----");
    options.ca_cert_file = NULL;
    options.verify_peer = true;
    assert_refused(&options,
                   "listener.ssl.test.verify: verify_peer needs listener.ssl.test.cacertfile, a PEM file with "
                   "the authorities of the clients' certificates");
    options = base;
    options.dh_file = support_path("cert.pem");
    assert_refused(&options, "listener.ssl.test.dhfile: ~/cert.pem holds no Diffie-Hellman parameters: it must be PEM, "
                             "with a line -----BEGIN DH PARAMETERS-----");
    options = base;
    options.crl_check = TLS_CRL_LEAF;
    assert_refused(&options, "listener.ssl.test.crl_check: needs listener.ssl.test.crl_file, a PEM file with the "
                             "authorities' CRLs");
}

static void broken_certificates_are_told_by_number(void **state)
{
    struct tls_options options = base;
    static const char broken[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    char error[TLS_ERROR_MAX];
    struct tls_context *context;

    (void)state;
    options.cert_file = write_file("broken.pem", broken, sizeof(broken) - 1);
    assert_int_equal(tls_context_new(&options, NULL, &context, error), -EINVAL);
    assert_non_null(strstr(error, "listener.ssl.test.certfile: certificate 1 of "));
    assert_non_null(strstr(error, "is broken"));
}

static void relative_paths_begin_at_home(void **state)
{
    struct tls_options options = base;
    struct tls_context *context;
    char error[TLS_ERROR_MAX];

    (void)state;
    options.cert_file = TEXT("cert.pem");
    assert_int_equal(tls_context_new(&options, support_folder(), &context, error), 0);
    tls_context_free(context);
}

static void ciphers_that_are_gone_are_left_out_with_a_note(void **state)
{
    struct tls_options options = base;

    (void)state;
    options.ciphers = TEXT("ECDH-RSA-AES256-SHA384, ECDHE-ECDSA-AES128-GCM-SHA256,NULL-SHA256,Nonsense");
    struct tls_context *context = context_make(&options);
    assert_string_equal(tls_context_notes(context), "listener.ssl.test.ciphers: left out what OpenSSL does not have: "
                                                    "ECDH-RSA-AES256-SHA384, NULL-SHA256, Nonsense");
    tls_context_free(context);
    options.ciphers = TEXT("Nonsense");
    assert_refused(&options,
                   "listener.ssl.test.ciphers: OpenSSL has no cipher of these: Nonsense; `openssl ciphers -s` lists "
                   "what it has");
    options.ciphers = TEXT("TLS_AES_256_GCM_SHA384"); /* then there is only TLS 1.3 */
    context = context_make(&options);
    SSL_CTX *client_context = client_context_make(NULL, 0, TLS1_2_VERSION);
    struct pair pair;
    pair_init(&pair, &pool, context, client_context);
    assert_false(pair_handshake(&pair));
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    tls_context_free(context);
    options = base;
    options.version_unknown = TEXT("tls9");
    assert_refused(&options,
                   "listener.ssl.test.tls_versions: 'tls9' is not known; there are tlsv1.3, tlsv1.2, tlsv1.1, "
                   "tlsv1");
}

static void only_the_configured_versions_are_spoken(void **state)
{
    static const struct {
        uint32_t versions;
        int spoken[4]; /* 1.0 to 1.3 */
    } cases[] = {
        {0, {0, 0, 1, 1}},
        {TLS_VERSION_1_2, {0, 0, 1, 0}},
        {TLS_VERSION_1_3, {0, 0, 0, 1}},
        {TLS_VERSION_1_0 | TLS_VERSION_1_1 | TLS_VERSION_1_2, {1, 1, 1, 0}},
        {TLS_VERSION_1_1 | TLS_VERSION_1_3, {0, 1, 0, 1}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct tls_options options = base;

        options.ciphers = TEXT("ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-ECDSA-AES256-SHA");
        options.versions = cases[i].versions;
        struct tls_context *context = context_make(&options);
        for (int v = 0; v < 4; v++) {
            SSL_CTX *client_context = client_context_make(NULL, TLS1_VERSION + v, TLS1_VERSION + v);
            struct pair pair;

            SSL_CTX_set_security_level(client_context, 0);
            pair_init(&pair, &pool, context, client_context);
            if (pair_handshake(&pair) != cases[i].spoken[v])
                fail_msg("case %zu, version 1.%d", i, v);
            pair_fini(&pair);
            SSL_CTX_free(client_context);
        }
        tls_context_free(context);
    }
}

/* Handshake of a client with this certificate (NULL: none); the broker's error, "" when it comes in. */
static const char *comes_in(struct tls_context *context, const struct identity *identity)
{
    SSL_CTX *client_context = client_context_make(NULL, 0, 0);

    if (identity != NULL)
        client_context_identity(client_context, identity);
    return handshake_error(&pool, context, client_context);
}

static void clients_without_a_good_certificate_are_refused_with_the_reason(void **state)
{
    struct tls_options options = base;
    struct identity stranger_authority = identity_make(&(struct identity_options){.name = "X", .authority = true});
    struct identity stranger = identity_make(&(struct identity_options){.name = "s", .issuer = &stranger_authority});

    (void)state;
    options.verify_peer = options.fail_if_no_peer_cert = true;
    struct tls_context *context = context_make(&options);
    assert_string_equal(comes_in(context, &client), "");
    assert_string_equal(comes_in(context, NULL),
                        "the client sent no certificate (OpenSSL: peer did not return a certificate)");
    assert_string_equal(comes_in(context, &expired),
                        "the client's certificate has expired: CN=old (OpenSSL: certificate has expired)");
    assert_string_equal(comes_in(context, &self_signed),
                        "the client's certificate is self-signed: CN=self (OpenSSL: self-signed certificate)");
    assert_string_equal(
        comes_in(context, &stranger),
        "the client's certificate is of an unknown CA: CN=s (OpenSSL: unable to get local issuer certificate)");
    tls_context_free(context);
    options.fail_if_no_peer_cert = false;
    context = context_make(&options);
    assert_string_equal(comes_in(context, NULL), "");
    assert_string_not_equal(comes_in(context, &expired), "");
    tls_context_free(context);
    identity_free(&stranger_authority);
    identity_free(&stranger);
}

static void revoked_clients_are_refused_also_after_a_reload(void **state)
{
    struct tls_options options = base;
    struct identity unlisted_authority = identity_make(&(struct identity_options){.name = "No CRL", .authority = true});
    struct identity unlisted = identity_make(&(struct identity_options){.name = "u", .issuer = &unlisted_authority});
    char error[TLS_ERROR_MAX];

    (void)state;
    options.verify_peer = options.fail_if_no_peer_cert = true;
    options.ca_cert_file = write_certificates("two.pem", authority.certificate, unlisted_authority.certificate);
    options.crl_check = TLS_CRL_LEAF;
    options.crl_file = write_crl("crl.pem", &authority, NULL, DAY_S);
    struct tls_context *context = context_make(&options);
    assert_string_equal(comes_in(context, &client), "");
    assert_string_equal(comes_in(context, &unlisted),
                        "crl_file has no CRL of the issuer of the client's certificate: CN=u "
                        "(OpenSSL: unable to get certificate CRL)");
    write_crl("crl.pem", &authority, client.certificate, DAY_S);
    assert_true(tls_context_files_changed(context));
    assert_string_equal(comes_in(context, &client), ""); /* not yet read */
    assert_int_equal(tls_context_reload(context, error), 0);
    assert_false(tls_context_files_changed(context));
    assert_string_equal(comes_in(context, &client),
                        "the client's certificate is revoked: CN=c1 (OpenSSL: certificate revoked)");
    write_crl("crl.pem", &authority, NULL, -60);
    assert_int_equal(tls_context_reload(context, error), 0);
    assert_non_null(strstr(tls_context_notes(context), "listener.ssl.test.crl_file: CRL 1 of "));
    assert_string_equal(comes_in(context, &client),
                        "the CRL of the issuer of the client's certificate is out of date: CN=c1 "
                        "(OpenSSL: CRL has expired)");
    tls_context_free(context);
    identity_free(&unlisted_authority);
    identity_free(&unlisted);
}

/* The common name of the certificate that a client gets that asks for `host` (NULL: for none). */
static const char *certificate_for(struct tls_context *context, const char *host)
{
    static char name[64];
    SSL_CTX *client_context = client_context_make(&authority, 0, 0);
    struct pair pair;

    pair_init(&pair, &pool, context, client_context);
    if (host != NULL)
        SSL_set_tlsext_host_name(pair.client, host);
    assert_true(pair_handshake(&pair));
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(pair.client)), NID_commonName, name,
                              sizeof(name));
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    return name;
}

static void a_client_gets_the_certificate_of_the_host_it_asks_for(void **state)
{
    struct tls_sni_options sni[] = {
        {TEXT("1"), TEXT("*.example.com"), write_key("other-key.pem", other_server.key),
         write_certificates("other.pem", other_server.certificate, NULL)},
        {TEXT("2"), TEXT("main.example.com"), base.key_file, base.cert_file},
    };
    struct tls_options options = base;

    (void)state;
    options.sni = sni;
    options.sni_count = 2;
    struct tls_context *context = context_make(&options);
    assert_string_equal(certificate_for(context, NULL), "broker");
    assert_string_equal(certificate_for(context, "a.Example.com"), "other");
    assert_string_equal(certificate_for(context, "main.example.com"), "broker");
    assert_string_equal(certificate_for(context, "a.b.example.com"), "broker");
    assert_string_equal(certificate_for(context, "example.com"), "broker");
    tls_context_free(context);
    sni[0].host = NULL;
    assert_refused(&options, "listener.ssl.test.sni.1.host: is not set: the host that clients ask for is needed");
    sni[0].host = TEXT("x");
    sni[0].key_file = base.key_file;
    assert_refused(&options,
                   "listener.ssl.test.sni.1.keyfile: the key in ~/key.pem does not belong to the certificate in "
                   "~/other.pem");
}

static void a_reload_holds_for_new_connections_and_keeps_the_old_files_on_errors(void **state)
{
    struct tls_options options = base;
    char error[TLS_ERROR_MAX] = "";
    SSL_CTX *client_context = client_context_make(&authority, 0, 0);
    struct pair early, half;

    (void)state;
    options.cert_file = write_certificates("live.pem", server.certificate, NULL);
    options.key_file = write_key("live-key.pem", server.key);
    struct tls_context *context = context_make(&options);
    assert_false(tls_context_files_changed(context));
    assert_int_equal(tls_context_expires_at_s(context) / DAY_S, time(NULL) / DAY_S + 30);
    pair_init(&early, &pool, context, client_context);
    assert_true(pair_handshake(&early));
    pair_init(&half, &pool, context, client_context); /* in the middle of its handshake */
    SSL_do_handshake(half.client);
    pair_server_turn(&half);

    write_certificates("live.pem", other_server.certificate, NULL);
    assert_true(tls_context_files_changed(context));
    assert_int_equal(tls_context_reload(context, error), -EINVAL);
    assert_non_null(strstr(error, "listener.ssl.test.keyfile: the key in "));
    assert_string_equal(certificate_for(context, NULL), "broker");
    write_key("live-key.pem", other_server.key);
    assert_int_equal(tls_context_reload(context, error), 0);
    assert_string_equal(certificate_for(context, NULL), "other");

    assert_true(pair_handshake(&half));
    size_t written;
    assert_int_equal(SSL_write_ex(early.client, "still here", 10, &written), 1);
    pair_server_turn(&early);
    assert_int_equal(early.received_len, 10);
    pair_fini(&early);
    pair_fini(&half);
    SSL_CTX_free(client_context);
    tls_context_free(context);
}

static void certificates_for_trying_out_and_expired_ones_are_told(void **state)
{
    struct identity trial = identity_make(&(struct identity_options){
        .name = "t", .organization = "emqc trial certificates, not for production", .authority = true});
    struct identity of_trial = identity_make(&(struct identity_options){.name = "t2", .issuer = &trial});
    struct tls_options options = base;

    (void)state;
    struct tls_context *context = context_make(&options);
    assert_false(tls_context_is_trial(context));
    assert_string_equal(tls_context_notes(context), "");
    tls_context_free(context);
    options.cert_file = write_certificates("trial.pem", of_trial.certificate, NULL);
    options.key_file = write_key("trial-key.pem", of_trial.key);
    context = context_make(&options);
    assert_true(tls_context_is_trial(context));
    tls_context_free(context);
    options.cert_file = write_certificates("old.pem", expired.certificate, NULL);
    options.key_file = write_key("old-key.pem", expired.key);
    context = context_make(&options);
    assert_non_null(strstr(tls_context_notes(context), "listener.ssl.test.certfile: certificate 1 of "));
    assert_non_null(strstr(tls_context_notes(context), "has expired"));
    tls_context_free(context);
    identity_free(&trial);
    identity_free(&of_trial);
}

/* The response that a client gets that asks for one; its length, -1: none. */
static long stapled(struct tls_context *context)
{
    SSL_CTX *client_context = client_context_make(&authority, 0, 0);
    const unsigned char *response;
    struct pair pair;
    long len;

    pair_init(&pair, &pool, context, client_context);
    SSL_set_tlsext_status_type(pair.client, TLSEXT_STATUSTYPE_ocsp);
    assert_true(pair_handshake(&pair));
    len = SSL_get_tlsext_status_ocsp_resp(pair.client, &response);
    pair_fini(&pair);
    SSL_CTX_free(client_context);
    return len;
}

static void a_good_ocsp_response_is_stapled_and_a_wrong_one_refused(void **state)
{
    struct tls_options options = base;
    struct identity impostor = identity_make(&(struct identity_options){.name = "Authority", .authority = true});

    (void)state;
    struct tls_context *context = context_make(&options);
    assert_int_equal(stapled(context), -1);
    tls_context_free(context);
    options.ocsp_file = write_ocsp("ocsp.der", &authority, server.certificate, true, DAY_S);
    context = context_make(&options);
    assert_true(stapled(context) > 100);
    tls_context_free(context);
    write_ocsp("ocsp.der", &authority, server.certificate, true, -60);
    context = context_make(&options);
    assert_int_equal(stapled(context), -1);
    assert_non_null(strstr(tls_context_notes(context), "is out of date (nextUpdate) and not stapled"));
    tls_context_free(context);
    write_ocsp("ocsp.der", &authority, client.certificate, true, DAY_S);
    assert_refused(&options, "listener.ssl.test.ocsp_file: the response in ~/ocsp.der is not about the certificate of "
                             "certfile");
    write_ocsp("ocsp.der", &authority, server.certificate, false, DAY_S);
    assert_refused(&options, "listener.ssl.test.ocsp_file: ~/ocsp.der says about our certificate: revoked");
    write_ocsp("ocsp.der", &impostor, server.certificate, true, DAY_S);
    struct tls_context *none = NULL;
    char error[TLS_ERROR_MAX];
    assert_int_equal(tls_context_new(&options, NULL, &none, error), -EINVAL);
    write_file("ocsp.der", "x", 1);
    assert_int_equal(tls_context_new(&options, NULL, &none, error), -EINVAL);
    assert_non_null(strstr(error, "holds no OCSP response in DER form"));
    identity_free(&impostor);
}

static const char *psk_identity, *psk_key;

static unsigned int on_psk_client(SSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                                  unsigned char *key, unsigned int key_max)
{
    (void)ssl;
    (void)hint;
    assert_true(strlen(psk_identity) < identity_max && strlen(psk_key) <= key_max);
    strcpy(identity, psk_identity);
    memcpy(key, psk_key, strlen(psk_key));
    return (unsigned int)strlen(psk_key);
}

static const char *psk_comes_in(struct tls_context *context, int version, const char *identity, const char *key)
{
    SSL_CTX *client_context = client_context_make(NULL, version, version);

    psk_identity = identity;
    psk_key = key;
    if (identity != NULL)
        SSL_CTX_set_psk_client_callback(client_context, on_psk_client);
    SSL_CTX_set_cipher_list(client_context, identity == NULL ? "DEFAULT" : "PSK");
    return handshake_error(&pool, context, client_context);
}

static void psk_clients_come_in_with_their_key_only(void **state)
{
    static const char keys[] = "# a comment\nclient1:1234\nclient2:ab:cd\r\n\nclient1:later\nclient4:hex:6a6B6c\n";
    struct tls_options options = base;

    (void)state;
    options.ciphers = NULL;
    options.cert_file = options.key_file = options.ca_cert_file = NULL;
    options.psk_ciphers = TEXT("PSK-AES128-CBC-SHA,PSK-AES256-CBC-SHA,PSK-3DES-EDE-CBC-SHA,PSK-RC4-SHA");
    options.psk_file = write_file("psk.txt", keys, sizeof(keys) - 1);
    struct tls_context *context = context_make(&options);
    assert_string_equal(tls_context_notes(context),
                        "listener.ssl.test.psk_ciphers: left out what OpenSSL does not have: "
                        "PSK-3DES-EDE-CBC-SHA, PSK-RC4-SHA");
    assert_int_equal(tls_context_expires_at_s(context), 0);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_string_equal(psk_comes_in(context, version, "client1", "later"), "");
        assert_string_equal(psk_comes_in(context, version, "client2", "ab:cd"), "");
        assert_string_equal(psk_comes_in(context, version, "client4", "jkl"), "");
        assert_string_not_equal(psk_comes_in(context, version, "client2", "abcd"), "");
        assert_string_not_equal(psk_comes_in(context, version, "client3", "abcd"), "");
        assert_string_not_equal(psk_comes_in(context, version, NULL, NULL), "");
    }
    assert_string_equal(psk_comes_in(context, TLS1_2_VERSION, "client3", "x"),
                        "the client's PSK identity is unknown (OpenSSL: psk identity not found; identity: client3)");
    assert_string_equal(psk_comes_in(context, TLS1_3_VERSION, "client3", "x"),
                        "the client's PSK identity is unknown (OpenSSL: no suitable signature algorithm; "
                        "identity: client3)");
    assert_string_equal(psk_comes_in(context, TLS1_3_VERSION, "client2", "x"),
                        "the client has another pre-shared key than the broker (OpenSSL: binder does not verify)");
    tls_context_free(context);
}

static uint32_t lookups;

static size_t look_up(struct slice identity, uint8_t *out_key)
{
    lookups++;
    if (!slice_equal(identity, slice_from_string("client5")) && !slice_equal(identity, slice_from_string("client1")))
        return 0;
    memcpy(out_key, "elsewhere", 9);
    return 9;
}

static void identities_that_the_file_does_not_name_are_asked_for_elsewhere(void **state)
{
    static const char keys[] = "client1:1234\n";
    struct tls_options options = base;

    (void)state;
    options.ciphers = NULL;
    options.cert_file = options.key_file = options.ca_cert_file = NULL;
    options.psk_ciphers = TEXT("PSK-AES128-CBC-SHA");
    options.psk_file = write_file("psk.txt", keys, sizeof(keys) - 1);
    struct tls_context *context = context_make(&options);
    tls_psk_set_lookup(look_up);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        lookups = 0;
        assert_string_equal(psk_comes_in(context, version, "client1", "1234"), "");
        assert_int_equal(lookups, 0);
        assert_string_equal(psk_comes_in(context, version, "client5", "elsewhere"), "");
        assert_int_equal(lookups, 1);
        assert_string_not_equal(psk_comes_in(context, version, "client1", "elsewhere"), "");
        assert_string_not_equal(psk_comes_in(context, version, "client5", "1234"), "");
        assert_string_not_equal(psk_comes_in(context, version, "client6", "elsewhere"), "");
    }
    tls_context_free(context);
    options.psk_file = NULL;
    context = context_make(&options);
    assert_string_equal(tls_context_notes(context),
                        "listener.ssl.test.psk_ciphers: there is no psk_file: keys come from plugins only");
    assert_string_equal(psk_comes_in(context, TLS1_3_VERSION, "client1", "elsewhere"), "");
    tls_psk_set_lookup(NULL);
    assert_string_equal(psk_comes_in(context, TLS1_2_VERSION, "client1", "elsewhere"),
                        "the client's PSK identity is unknown (OpenSSL: psk identity not found; identity: client1)");
    tls_context_free(context);
}

static void wrong_lines_of_the_psk_file_are_told_by_number(void **state)
{
    struct tls_options options = base;

    (void)state;
    options.ciphers = NULL;
    options.psk_ciphers = TEXT("PSK-AES128-CBC-SHA");
    options.psk_file = write_file("psk.txt", "a:b\nnonsense\n", 13);
    assert_refused(&options, "listener.ssl.test.psk_file: ~/psk.txt, line 2: there is no ':' in it; a line is "
                             "identity:key or identity:hex:key");
    write_file("psk.txt", "a:hex:0g", 8);
    assert_refused(&options, "listener.ssl.test.psk_file: ~/psk.txt, line 1: what follows hex: is no even number of "
                             "hexadecimal digits; a line is identity:key or identity:hex:key");
    write_file("psk.txt", "a:", 2);
    assert_refused(&options, "listener.ssl.test.psk_file: ~/psk.txt, line 1: the key is empty; a line is "
                             "identity:key or identity:hex:key");
    options.psk_ciphers = TEXT("ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_refused(&options,
                   "listener.ssl.test.psk_ciphers: ECDHE-ECDSA-AES128-GCM-SHA256 is no cipher with a pre-shared "
                   "key: PSK-AES128-CBC-SHA is");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_named_with_key_and_reason),
        cmocka_unit_test(broken_certificates_are_told_by_number),
        cmocka_unit_test(relative_paths_begin_at_home),
        cmocka_unit_test(ciphers_that_are_gone_are_left_out_with_a_note),
        cmocka_unit_test(only_the_configured_versions_are_spoken),
        cmocka_unit_test(clients_without_a_good_certificate_are_refused_with_the_reason),
        cmocka_unit_test(revoked_clients_are_refused_also_after_a_reload),
        cmocka_unit_test(a_client_gets_the_certificate_of_the_host_it_asks_for),
        cmocka_unit_test(a_reload_holds_for_new_connections_and_keeps_the_old_files_on_errors),
        cmocka_unit_test(certificates_for_trying_out_and_expired_ones_are_told),
        cmocka_unit_test(a_good_ocsp_response_is_stapled_and_a_wrong_one_refused),
        cmocka_unit_test(psk_clients_come_in_with_their_key_only),
        cmocka_unit_test(identities_that_the_file_does_not_name_are_asked_for_elsewhere),
        cmocka_unit_test(wrong_lines_of_the_psk_file_are_told_by_number),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
