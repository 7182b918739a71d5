/*
 * Listeners out of the configuration.
 */
#include "conf/conf.h"
#include "net/listener_options.h"
#include "net/tls.h"

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these before it */
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <string.h>

struct listeners {
    struct conf *conf;
    struct listener_options *options;
    uint32_t count;
};

static struct listeners listeners_from(const char *text, enum listener_type type)
{
    const struct conf_load_options options = {.file = "test.conf"};
    struct conf_errors *errors = NULL;
    struct listeners listeners = {0};

    assert_int_equal(conf_load_text(&options, text, strlen(text), &listeners.conf, &errors), 0);
    assert_int_equal(listener_options_read(listeners.conf, type, &listeners.options, &listeners.count), 0);
    return listeners;
}

static void listeners_fini(struct listeners *listeners)
{
    listener_options_free(listeners->options, listeners->count);
    conf_free(listeners->conf);
}

static void opens_only_names_with_an_address_in_file_order(void **state)
{
    struct listeners listeners = listeners_from("listener.tcp.z.backlog = 9\nlistener.tcp.z = 0.0.0.0:1883\n"
                                                "listener.tcp.unopened.backlog = 5\nlistener.tcp.a = 1884\n"
                                                "listener.ws.w = 8083\n",
                                                LISTENER_TCP);

    (void)state;
    assert_int_equal(listeners.count, 2);
    assert_string_equal(listeners.options[0].name, "z");
    assert_string_equal(listeners.options[0].bind_text, "0.0.0.0:1883");
    assert_int_equal(listeners.options[0].backlog, 9);
    assert_string_equal(listeners.options[1].name, "a");
    assert_string_equal(listeners.options[1].bind_text, "1884");
    listeners_fini(&listeners);
}

static void a_bare_listener_has_the_defaults(void **state)
{
    struct listeners listeners = listeners_from("listener.tcp.a = 1884\n", LISTENER_TCP);
    const struct listener_options *options = listeners.options;
    struct sockaddr_in address;

    (void)state;
    assert_int_equal(options->type, LISTENER_TCP);
    assert_int_equal(options->address_len, sizeof(address));
    memcpy(&address, &options->address, sizeof(address));
    assert_int_equal(address.sin_family, AF_INET);
    assert_int_equal(ntohs(address.sin_port), 1884);
    assert_int_equal(address.sin_addr.s_addr, htonl(INADDR_ANY));
    assert_null(options->zone);
    assert_int_equal(options->acceptors, 8);
    assert_int_equal(options->max_connections, 1024);
    assert_int_equal(options->max_conn_rate, 0);
    assert_int_equal(options->active_n, 100);
    assert_int_equal(options->rate_limit_bytes_per_s, 0);
    assert_int_equal(options->access_rule_count, 0);
    assert_int_equal(options->backlog, 1024);
    assert_int_equal(options->send_timeout_ms, 15000);
    assert_true(options->send_timeout_close && options->nodelay && options->reuseaddr);
    assert_int_equal(options->recbuf_bytes, 0);
    assert_int_equal(options->sndbuf_bytes, 0);
    assert_false(options->proxy_protocol);
    assert_int_equal(options->proxy_protocol_timeout_ms, 5000);
    assert_int_equal(options->peer_cert_as_username, 0);
    assert_null(options->tls);
    assert_null(options->websocket);
    assert_null(options->unix_path);
    listeners_fini(&listeners);
}

static void reads_every_value_of_a_listener(void **state)
{
    struct listeners listeners = listeners_from(
        "listener.tcp.a = [::1]:1884\nlistener.tcp.a.acceptors = 4\nlistener.tcp.a.max_connections = 5\n"
        "listener.tcp.a.max_conn_rate = 6\nlistener.tcp.a.active_n = 7\nlistener.tcp.a.zone = internal\n"
        "listener.tcp.a.rate_limit = 1024,4096\nlistener.tcp.a.send_timeout = 5s\n"
        "listener.tcp.a.send_timeout_close = off\nlistener.tcp.a.recbuf = 2KB\nlistener.tcp.a.sndbuf = 4KB\n"
        "listener.tcp.a.nodelay = false\nlistener.tcp.a.reuseaddr = false\nlistener.tcp.a.proxy_protocol = on\n"
        "listener.tcp.a.proxy_protocol_timeout = 3s\nlistener.tcp.a.peer_cert_as_username = dn\n",
        LISTENER_TCP);
    const struct listener_options *options = listeners.options;
    struct sockaddr_in6 address;

    (void)state;
    assert_int_equal(options->address_len, sizeof(address));
    memcpy(&address, &options->address, sizeof(address));
    assert_int_equal(address.sin6_family, AF_INET6);
    assert_int_equal(ntohs(address.sin6_port), 1884);
    assert_memory_equal(&address.sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
    assert_int_equal(options->acceptors, 4);
    assert_int_equal(options->max_connections, 5);
    assert_int_equal(options->max_conn_rate, 6);
    assert_int_equal(options->active_n, 7);
    assert_string_equal(options->zone, "internal");
    assert_int_equal(options->rate_limit_bytes_per_s, 1024);
    assert_int_equal(options->rate_limit_burst_bytes, 4096);
    assert_int_equal(options->send_timeout_ms, 5000);
    assert_int_equal(options->recbuf_bytes, 2048);
    assert_int_equal(options->sndbuf_bytes, 4096);
    assert_true(options->proxy_protocol);
    assert_int_equal(options->proxy_protocol_timeout_ms, 3000);
    assert_int_equal(options->peer_cert_as_username, TLS_NAME_DN);
    assert_false(options->send_timeout_close || options->nodelay || options->reuseaddr);
    listeners_fini(&listeners);
}

static void access_rules_ascend_by_number(void **state)
{
    struct listeners listeners = listeners_from(
        "listener.tcp.a = 1884\nlistener.tcp.a.access.10 = allow all\nlistener.tcp.a.access.x = deny all\n"
        "listener.tcp.a.access.2 = deny 10.0.0.0/8\nlistener.tcp.b.access.1 = deny all\n",
        LISTENER_TCP);
    const struct listener_access_rule *rules = listeners.options[0].access_rules;
    static const uint8_t ten[16] = {[10] = 0xff, [11] = 0xff, [12] = 10};

    (void)state;
    assert_int_equal(listeners.options[0].access_rule_count, 3);
    assert_false(rules[0].allow || rules[0].all);
    assert_memory_equal(&rules[0].address, ten, 16);
    assert_int_equal(rules[0].prefix_len, 104);
    assert_true(rules[1].allow && rules[1].all);
    assert_false(rules[2].allow);
    listeners_fini(&listeners);
}

static void reads_the_other_types_as_well(void **state)
{
    static const struct {
        const char *text;
        enum listener_type type;
    } cases[] = {
        {"listener.ssl.a = 8883\nlistener.ssl.a.ciphers = X\nlistener.ssl.a.backlog = 3\n", LISTENER_SSL},
        {"listener.ws.a = 8083\nlistener.ws.a.backlog = 3\n", LISTENER_WS},
        {"listener.wss.a = 8084\nlistener.wss.a.ciphers = X\nlistener.wss.a.backlog = 3\n", LISTENER_WSS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listeners listeners = listeners_from(cases[i].text, cases[i].type);

        assert_int_equal(listeners.count, 1);
        assert_int_equal(listeners.options[0].type, cases[i].type);
        assert_int_equal(listeners.options[0].backlog, 3);
        assert_int_equal(listeners.options[0].active_n, 100);
        assert_int_equal(listeners.options[0].tls != NULL, cases[i].type != LISTENER_WS);
        assert_int_equal(listeners.options[0].websocket != NULL, cases[i].type != LISTENER_SSL);
        listeners_fini(&listeners);
    }
}

static void a_unix_socket_has_a_path_and_a_mode(void **state)
{
    struct listeners listeners = listeners_from(
        "listener.unix.a = mqtt.sock\nlistener.unix.b = /run/mqtt.sock\nlistener.unix.b.mode = 0600\n"
        "listener.unix.b.max_connections = 5\nlistener.unix.b.zone = internal\nlistener.unix.b.rate_limit = 10,20\n"
        "listener.unix.b.proxy_protocol = on\n",
        LISTENER_UNIX);

    (void)state;
    assert_int_equal(listeners.count, 2);
    assert_int_equal(listeners.options[0].type, LISTENER_UNIX);
    assert_string_equal(listeners.options[0].unix_path, "mqtt.sock");
    assert_string_equal(listeners.options[0].bind_text, "mqtt.sock");
    assert_int_equal(listeners.options[0].unix_mode, 0660);
    assert_int_equal(listeners.options[0].max_connections, 1024);
    assert_string_equal(listeners.options[1].unix_path, "/run/mqtt.sock");
    assert_int_equal(listeners.options[1].unix_mode, 0600);
    assert_int_equal(listeners.options[1].max_connections, 5);
    assert_string_equal(listeners.options[1].zone, "internal");
    assert_int_equal(listeners.options[1].rate_limit_burst_bytes, 20);
    assert_true(listeners.options[1].proxy_protocol);
    listeners_fini(&listeners);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_only_names_with_an_address_in_file_order),
        cmocka_unit_test(a_bare_listener_has_the_defaults),
        cmocka_unit_test(reads_every_value_of_a_listener),
        cmocka_unit_test(access_rules_ascend_by_number),
        cmocka_unit_test(reads_the_other_types_as_well),
        cmocka_unit_test(a_unix_socket_has_a_path_and_a_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
