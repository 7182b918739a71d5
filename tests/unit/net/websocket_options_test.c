/*
 * The WebSocket settings of a listener out of the configuration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "conf/conf.h"
#include "net/websocket_options.h"

static struct conf *conf;

static struct websocket_options *options_from(const char *text, const char *type)
{
    const struct conf_load_options load = {.file = "test.conf"};
    struct conf_errors *errors = NULL;
    struct websocket_options *options = NULL;

    assert_int_equal(conf_load_text(&load, text, strlen(text), &conf, &errors), 0);
    assert_int_equal(websocket_options_read(conf, type, "a", &options), 0);
    conf_free(conf); /* the options keep nothing of it */
    return options;
}

static void a_bare_listener_has_the_defaults(void **state)
{
    struct websocket_options *options = options_from("listener.ws.a = 8083\n", "ws");

    (void)state;
    assert_string_equal(options->path, "/mqtt");
    assert_null(options->proxy_address_header);
    assert_null(options->proxy_port_header);
    assert_int_equal(options->origin_count, 0);
    assert_true(options->verify_protocol_header);
    assert_false(options->compress);
    assert_int_equal(options->deflate_level, DEFLATE_LEVEL_DEFAULT);
    assert_int_equal(options->deflate_strategy, DEFLATE_STRATEGY_DEFAULT);
    assert_int_equal(options->deflate_mem_level, 8);
    assert_int_equal(options->server_window_bits, 15);
    assert_int_equal(options->client_window_bits, 15);
    assert_true(options->server_context_takeover);
    assert_true(options->client_context_takeover);
    assert_int_equal(options->idle_timeout_ms, 7200000);
    assert_int_equal(options->max_frame_bytes, 0);
    websocket_options_free(options);
}

static void check_all_keys(const char *text, const char *type)
{
    struct websocket_options *options = options_from(text, type);

    assert_string_equal(options->path, "/broker");
    assert_string_equal(options->proxy_address_header, "X-Forwarded-For");
    assert_string_equal(options->proxy_port_header, "X-Forwarded-Port");
    assert_int_equal(options->origin_count, 2);
    assert_string_equal(options->origins[0], "https://one.example");
    assert_string_equal(options->origins[1], "https://two.example");
    assert_false(options->verify_protocol_header);
    assert_true(options->compress);
    assert_int_equal(options->deflate_level, DEFLATE_LEVEL_SPEED);
    assert_int_equal(options->deflate_strategy, DEFLATE_STRATEGY_RLE);
    assert_int_equal(options->deflate_mem_level, 3);
    assert_int_equal(options->server_window_bits, 9); /* zlib has no 8 */
    assert_int_equal(options->client_window_bits, 12);
    assert_false(options->server_context_takeover);
    assert_false(options->client_context_takeover);
    assert_int_equal(options->idle_timeout_ms, 60000);
    assert_int_equal(options->max_frame_bytes, 70000);
    websocket_options_free(options);
}

#define ALL_KEYS(TYPE)                                                                                                 \
    "listener." TYPE ".a.mqtt_path = /broker\n"                                                                        \
    "listener." TYPE ".a.proxy_address_header = X-Forwarded-For\n"                                                     \
    "listener." TYPE ".a.proxy_port_header = X-Forwarded-Port\n"                                                       \
    "listener." TYPE ".a.origins = https://one.example, ,https://two.example \n"                                       \
    "listener." TYPE ".a.verify_protocol_header = off\n"                                                               \
    "listener." TYPE ".a.compress = true\n"                                                                            \
    "listener." TYPE ".a.deflate_opts.level = best_speed\n"                                                            \
    "listener." TYPE ".a.deflate_opts.strategy = rle\n"                                                                \
    "listener." TYPE ".a.deflate_opts.mem_level = 3\n"                                                                 \
    "listener." TYPE ".a.deflate_opts.server_max_window_bits = 8\n"                                                    \
    "listener." TYPE ".a.deflate_opts.client_max_window_bits = 12\n"                                                   \
    "listener." TYPE ".a.deflate_opts.server_context_takeover = no_takeover\n"                                         \
    "listener." TYPE ".a.deflate_opts.client_context_takeover = no_takeover\n"                                         \
    "listener." TYPE ".a.idle_timeout = 60s\n"                                                                         \
    "listener." TYPE ".a.max_frame_size = 70000\n"

static void every_key_is_read_for_both_types(void **state)
{
    (void)state;
    check_all_keys(ALL_KEYS("ws"), "ws");
    check_all_keys(ALL_KEYS("wss"), "wss");
}

static void words_of_enums_mean_what_they_say(void **state)
{
    static const struct {
        const char *word;
        enum websocket_deflate_level level;
    } levels[] = {{"none", DEFLATE_LEVEL_NONE},
                  {"default", DEFLATE_LEVEL_DEFAULT},
                  {"best_compression", DEFLATE_LEVEL_BEST},
                  {"best_speed", DEFLATE_LEVEL_SPEED}};

    (void)state;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        char text[128] = "listener.ws.a = 8083\nlistener.ws.a.deflate_opts.level = ";
        struct websocket_options *options;
        strcat(text, levels[i].word);
        strcat(text, "\n");
        options = options_from(text, "ws");
        assert_int_equal(options->deflate_level, levels[i].level);
        websocket_options_free(options);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_listener_has_the_defaults),
        cmocka_unit_test(every_key_is_read_for_both_types),
        cmocka_unit_test(words_of_enums_mean_what_they_say),
    };

    websocket_options_free(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
