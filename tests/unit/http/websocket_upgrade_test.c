/*
 * The upgrade request: what is accepted, what is refused with which answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/websocket_upgrade.h"

#define LINE "GET /mqtt HTTP/1.1\r\n"
#define HOST "Host: broker\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: keep-alive, Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"
#define COMMON HOST UPGRADE CONNECTION VERSION KEY

static char path[] = "/mqtt";
static char origin_one[] = "https://one.example", origin_two[] = "https://two.example";
static char *origins[] = {origin_one, origin_two};

static struct websocket_options plain_options(void)
{
    return (struct websocket_options){.path = path,
                                      .verify_protocol_header = true,
                                      .deflate_mem_level = 8,
                                      .server_window_bits = 15,
                                      .client_window_bits = 15,
                                      .server_context_takeover = true,
                                      .client_context_takeover = true};
}

/* Feeds the request, `step` bytes at a time; the verdict must come with its last byte. */
static enum websocket_verdict feed(struct websocket_upgrade *upgrade, const char *request, size_t len, size_t step)
{
    enum websocket_verdict verdict = WEBSOCKET_UPGRADE_MORE;

    for (size_t at = 0; at < len && verdict == WEBSOCKET_UPGRADE_MORE; at += step) {
        size_t used, part = len - at < step ? len - at : step;
        verdict = websocket_upgrade_feed(upgrade, (const uint8_t *)request + at, part, &used);
        if (verdict == WEBSOCKET_UPGRADE_MORE || verdict == WEBSOCKET_UPGRADE_ACCEPTED)
            assert_int_equal(used, part);
    }
    return verdict;
}

static void check(const struct websocket_options *options, const char *request, const char *status, const char *has)
{
    for (size_t step = 1; step < 4000; step = step * 2 + 1) {
        struct websocket_upgrade *upgrade = websocket_upgrade_new(options);
        enum websocket_verdict verdict = feed(upgrade, request, strlen(request), step);
        char answer[WEBSOCKET_ANSWER_MAX + 1] = "";
        struct slice text = websocket_upgrade_answer(upgrade);

        memcpy(answer, text.data, text.len);
        assert_int_equal(verdict,
                         strncmp(status, "101", 3) == 0 ? WEBSOCKET_UPGRADE_ACCEPTED : WEBSOCKET_UPGRADE_REFUSED);
        if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || strncmp(answer + 9, status, strlen(status)) != 0 ||
            strstr(answer, has) == NULL)
            fail_msg("wrong answer to %s: %s", request, answer);
        if (verdict == WEBSOCKET_UPGRADE_REFUSED) {
            assert_non_null(strstr(answer, "Connection: close\r\n"));
            assert_non_null(strstr(answer, websocket_upgrade_error(upgrade))); /* the body says what is wrong */
        }
        websocket_upgrade_free(upgrade);
    }
}

static void the_example_of_the_standard_is_answered(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    check(&options, LINE COMMON PROTOCOL "\r\n", "101", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    check(&options, LINE COMMON PROTOCOL "\r\n", "101",
          "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
          "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
    check(&options, "GET /mqtt?token=1 HTTP/1.1\r\n" COMMON PROTOCOL "\r\n", "101", "\r\n\r\n");
    check(&options,
          LINE "host: b\r\nupgrade: WebSocket\r\nCONNECTION: upgrade\r\n" VERSION KEY
               "sec-websocket-protocol: other ,\tmqtt\r\n\r\n",
          "101", "Sec-WebSocket-Protocol: mqtt\r\n");
}

static void the_best_subprotocol_of_a_list_is_echoed(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    check(&options, LINE COMMON "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n", "101",
          "Sec-WebSocket-Protocol: mqttv3.1\r\n");
    check(&options, LINE COMMON "Sec-WebSocket-Protocol: mqttv3.1.1, mqttv3.1, mqtt\r\n\r\n", "101",
          "Sec-WebSocket-Protocol: mqtt\r\n");
    check(&options, LINE COMMON "Sec-WebSocket-Protocol: mqttv3.1\r\n" PROTOCOL "\r\n", "101",
          "Sec-WebSocket-Protocol: mqtt\r\n");
}

static void without_a_subprotocol_the_key_decides(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    check(&options, LINE COMMON "\r\n", "400", "subprotocol mqtt");
    check(&options, LINE COMMON "Sec-WebSocket-Protocol: amqp, xmqtt\r\n\r\n", "400", "subprotocol mqtt");
    options.verify_protocol_header = false;
    check(&options, LINE COMMON "\r\n", "101", "xOo=\r\n\r\n");
    check(&options, LINE COMMON "Sec-WebSocket-Protocol: amqp\r\n\r\n", "101", "xOo=\r\n\r\n");
    check(&options, LINE COMMON PROTOCOL "\r\n", "101", PROTOCOL "\r\n");
}

static void wrong_requests_are_refused(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    check(&options, "POST /mqtt HTTP/1.1\r\n" COMMON PROTOCOL "\r\n", "405", "Allow: GET\r\n");
    check(&options, "GET /mqtt HTTP/1.0\r\n" COMMON PROTOCOL "\r\n", "505", "HTTP/1.1");
    check(&options, "GET / HTTP/1.1\r\n" COMMON PROTOCOL "\r\n", "404", "mqtt_path");
    check(&options, "GET /mqtt/ HTTP/1.1\r\n" COMMON PROTOCOL "\r\n", "404", "mqtt_path");
    check(&options, "GET /MQTT HTTP/1.1\r\n" COMMON PROTOCOL "\r\n", "404", "mqtt_path");
    check(&options, LINE UPGRADE CONNECTION VERSION KEY PROTOCOL "\r\n", "400", "Host");
    check(&options, LINE HOST COMMON PROTOCOL "\r\n", "400", "Host");
    check(&options, LINE HOST CONNECTION VERSION KEY PROTOCOL "\r\n", "400", "Upgrade");
    check(&options, LINE HOST "Upgrade: h2c\r\n" CONNECTION VERSION KEY PROTOCOL "\r\n", "400", "Upgrade");
    check(&options, LINE HOST UPGRADE "Connection: close\r\n" VERSION KEY PROTOCOL "\r\n", "400", "Connection");
    check(&options, LINE HOST UPGRADE CONNECTION KEY PROTOCOL "\r\n", "426", "Sec-WebSocket-Version: 13\r\n");
    check(&options, LINE HOST UPGRADE CONNECTION "Sec-WebSocket-Version: 8\r\n" KEY PROTOCOL "\r\n", "426",
          "Sec-WebSocket-Version: 13\r\n");
    check(&options, LINE HOST UPGRADE CONNECTION VERSION PROTOCOL "\r\n", "400", "Sec-WebSocket-Key");
    check(&options, LINE COMMON KEY PROTOCOL "\r\n", "400", "Sec-WebSocket-Key");
    check(&options, LINE HOST UPGRADE CONNECTION VERSION "Sec-WebSocket-Key: c2hvcnQ=\r\n" PROTOCOL "\r\n", "400",
          "Sec-WebSocket-Key");
    check(&options,
          LINE HOST UPGRADE CONNECTION VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n" PROTOCOL "\r\n", "400",
          "Sec-WebSocket-Key");
    check(&options, LINE COMMON PROTOCOL "Content-Length: 5\r\n\r\n", "400", "body");
    check(&options, "\x16\x03\x01\x02\x00\x01", "400", "not HTTP");
    check(&options, "PRI * HTTP/2.0\r\n\r\n", "400", "not HTTP");
}

static void a_foreign_origin_is_refused_when_origins_are_named(void **state)
{
    struct websocket_options options = plain_options();

    (void)state;
    check(&options, LINE COMMON PROTOCOL "Origin: https://evil.example\r\n\r\n", "101", "");
    options.origins = origins;
    options.origin_count = 2;
    check(&options, LINE COMMON PROTOCOL "Origin: https://evil.example\r\n\r\n", "403", "origins");
    check(&options, LINE COMMON PROTOCOL "Origin: null\r\n\r\n", "403", "origins");
    check(&options, LINE COMMON PROTOCOL "Origin: https://two.example\r\n\r\n", "101", "");
    check(&options, LINE COMMON PROTOCOL "\r\n", "101", "");
}

static void a_long_request_is_refused(void **state)
{
    struct websocket_options options = plain_options();
    static char request[20000];
    size_t len;

    (void)state;
    len = (size_t)snprintf(request, sizeof(request), "%s", LINE HOST "X-Long: ");
    memset(request + len, 'x', 9000);
    check(&options, request, "431", "8192");
    memset(request, 0, sizeof(request));
    len = (size_t)snprintf(request, sizeof(request), "%s", LINE COMMON);
    for (unsigned i = 0; i < 100; i++)
        len += (size_t)snprintf(request + len, sizeof(request) - len, "A%u: b\r\n", i);
    strcpy(request + len, "\r\n");
    check(&options, request, "431", "100 headers");
    memset(request, '\r', 9000); /* blank lines before the request count too */
    request[9000] = '\0';
    check(&options, request, "431", "8192");
}

static void a_request_of_the_largest_size_is_accepted(void **state)
{
    struct websocket_options options = plain_options();
    static char request[WEBSOCKET_REQUEST_MAX + 1];
    size_t len = (size_t)snprintf(request, sizeof(request), "%s", LINE COMMON PROTOCOL "X-Long: ");

    (void)state;
    memset(request + len, 'x', WEBSOCKET_REQUEST_MAX - len - 4);
    strcpy(request + WEBSOCKET_REQUEST_MAX - 4, "\r\n\r\n");
    check(&options, request, "101", "mqtt");
}

static void what_follows_the_request_is_left(void **state)
{
    static const char request[] = LINE COMMON PROTOCOL "\r\n\x82\x80";
    struct websocket_options options = plain_options();
    struct websocket_upgrade *upgrade = websocket_upgrade_new(&options);
    size_t used;

    (void)state;
    assert_int_equal(websocket_upgrade_feed(upgrade, (const uint8_t *)request, sizeof(request) - 1, &used),
                     WEBSOCKET_UPGRADE_ACCEPTED);
    assert_int_equal(used, sizeof(request) - 3);
    websocket_upgrade_free(upgrade);
}

static void a_proxy_hands_over_address_and_port(void **state)
{
    static char address_header[] = "X-Forwarded-For", port_header[] = "x-forwarded-port";
    static const char request[] = LINE COMMON PROTOCOL
        "x-forwarded-FOR:  192.0.2.7 , 10.0.0.1\r\nX-Forwarded-Port: 4711\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n";
    struct websocket_options options = plain_options();
    struct websocket_upgrade *upgrade;
    struct slice text;

    (void)state;
    upgrade = websocket_upgrade_new(&options);
    assert_int_equal(feed(upgrade, request, sizeof(request) - 1, 7), WEBSOCKET_UPGRADE_ACCEPTED);
    assert_null(websocket_upgrade_address(upgrade).data);
    assert_null(websocket_upgrade_port(upgrade).data);
    websocket_upgrade_free(upgrade);
    options.proxy_address_header = address_header;
    options.proxy_port_header = port_header;
    upgrade = websocket_upgrade_new(&options);
    assert_int_equal(feed(upgrade, request, sizeof(request) - 1, 7), WEBSOCKET_UPGRADE_ACCEPTED);
    text = websocket_upgrade_address(upgrade);
    assert_true(slice_equal(text, SLICE_LITERAL("192.0.2.7")));
    text = websocket_upgrade_port(upgrade);
    assert_true(slice_equal(text, SLICE_LITERAL("4711")));
    websocket_upgrade_free(upgrade);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_standard_is_answered),
        cmocka_unit_test(the_best_subprotocol_of_a_list_is_echoed),
        cmocka_unit_test(without_a_subprotocol_the_key_decides),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(a_foreign_origin_is_refused_when_origins_are_named),
        cmocka_unit_test(a_long_request_is_refused),
        cmocka_unit_test(a_request_of_the_largest_size_is_accepted),
        cmocka_unit_test(what_follows_the_request_is_left),
        cmocka_unit_test(a_proxy_hands_over_address_and_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
