/*
 * The TLS settings of a listener out of the configuration.
 */
#include "conf/conf.h"
#include "net/tls_options.h"

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these before it */
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

static struct conf *conf_from(const char *text)
{
    const struct conf_load_options options = {.file = "test.conf"};
    struct conf_errors *errors = NULL;
    struct conf *conf = NULL;

    assert_int_equal(conf_load_text(&options, text, strlen(text), &conf, &errors), 0);
    return conf;
}

static void a_bare_listener_has_the_defaults(void **state)
{
    struct conf *conf = conf_from("listener.wss.a = 8084\nlistener.wss.a.ciphers = X\n");
    struct tls_options *options;

    (void)state;
    assert_int_equal(tls_options_read(conf, "wss", "a", &options), 0);
    assert_string_equal(options->key_prefix, "listener.wss.a");
    assert_string_equal(options->ciphers, "X");
    assert_null(options->key_file);
    assert_null(options->dh_file);
    assert_int_equal(options->versions, 0);
    assert_int_equal(options->handshakes_max, 4096);
    assert_int_equal(options->handshake_timeout_ms, 15000);
    assert_int_equal(options->crl_check, TLS_CRL_OFF);
    assert_int_equal(options->sni_count, 0);
    assert_false(options->verify_peer || options->fail_if_no_peer_cert || options->honor_cipher_order);
    assert_true(options->reuse_sessions);
    tls_options_free(options);
    conf_free(conf);
}

static void every_setting_is_read(void **state)
{
    struct conf *conf = conf_from(
        "listener.ssl.a = 8883\nlistener.ssl.a.psk_ciphers = P\nlistener.ssl.a.psk_file = psk\n"
        "listener.ssl.a.keyfile = k\nlistener.ssl.a.certfile = c\nlistener.ssl.a.cacertfile = ca\n"
        "listener.ssl.a.dhfile = dh\nlistener.ssl.a.ocsp_file = o\nlistener.ssl.a.crl_file = r\n"
        "listener.ssl.a.crl_check = chain\nlistener.ssl.a.max_handshakes = 7\nlistener.ssl.a.handshake_timeout = 3s\n"
        "listener.ssl.a.verify = verify_peer\nlistener.ssl.a.fail_if_no_peer_cert = true\n"
        "listener.ssl.a.reuse_sessions = off\nlistener.ssl.a.honor_cipher_order = on\n"
        "listener.ssl.a.tls_versions = tlsv1.3, sslv3,tlsv1,tls9,tls8\n"
        "listener.ssl.a.sni.x.host = x.org\nlistener.ssl.a.sni.x.certfile = xc\nlistener.ssl.a.sni.x.keyfile = xk\n"
        "listener.ssl.a.sni.y.certfile = yc\nlistener.ssl.b.sni.z.host = z.org\n");
    struct tls_options *options;

    (void)state;
    assert_int_equal(tls_options_read(conf, "ssl", "a", &options), 0);
    assert_string_equal(options->psk_ciphers, "P");
    assert_string_equal(options->psk_file, "psk");
    assert_string_equal(options->key_file, "k");
    assert_string_equal(options->cert_file, "c");
    assert_string_equal(options->ca_cert_file, "ca");
    assert_string_equal(options->dh_file, "dh");
    assert_string_equal(options->ocsp_file, "o");
    assert_string_equal(options->crl_file, "r");
    assert_int_equal(options->crl_check, TLS_CRL_CHAIN);
    assert_int_equal(options->handshakes_max, 7);
    assert_int_equal(options->handshake_timeout_ms, 3000);
    assert_true(options->verify_peer && options->fail_if_no_peer_cert && options->honor_cipher_order);
    assert_false(options->reuse_sessions);
    assert_int_equal(options->versions, TLS_VERSION_1_3 | TLS_VERSION_1_0);
    assert_true(options->version_ssl3);
    assert_string_equal(options->version_unknown, "tls9");
    assert_int_equal(options->sni_count, 2);
    assert_string_equal(options->sni[0].id, "x");
    assert_string_equal(options->sni[0].host, "x.org");
    assert_string_equal(options->sni[0].cert_file, "xc");
    assert_string_equal(options->sni[0].key_file, "xk");
    assert_string_equal(options->sni[1].id, "y");
    assert_null(options->sni[1].host);
    tls_options_free(options);
    tls_options_free(NULL);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_listener_has_the_defaults),
        cmocka_unit_test(every_setting_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
