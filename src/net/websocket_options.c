/*
 * websocket_options: the WebSocket settings of one listener, typed. The types ws and wss have the same keys.
 */
#include "net/websocket_options.h"

#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BITS_MIN 9u /* zlib cannot do 8, which the keys allow */

struct websocket_keys {
    const char *path, *verify_protocol_header, *proxy_address_header, *proxy_port_header, *origins, *compress, *level,
        *mem_level, *strategy, *server_takeover, *client_takeover, *server_bits, *client_bits, *idle_timeout,
        *max_frame_size;
};

#define KEY(TYPE, REST) "listener." TYPE ".$name." REST
#define KEYS_OF(TYPE)                                                                                                  \
    {                                                                                                                  \
        .path = KEY(TYPE, "mqtt_path"), .verify_protocol_header = KEY(TYPE, "verify_protocol_header"),                 \
        .proxy_address_header = KEY(TYPE, "proxy_address_header"),                                                     \
        .proxy_port_header = KEY(TYPE, "proxy_port_header"), .origins = KEY(TYPE, "origins"),                          \
        .compress = KEY(TYPE, "compress"), .level = KEY(TYPE, "deflate_opts.level"),                                   \
        .mem_level = KEY(TYPE, "deflate_opts.mem_level"), .strategy = KEY(TYPE, "deflate_opts.strategy"),              \
        .server_takeover = KEY(TYPE, "deflate_opts.server_context_takeover"),                                          \
        .client_takeover = KEY(TYPE, "deflate_opts.client_context_takeover"),                                          \
        .server_bits = KEY(TYPE, "deflate_opts.server_max_window_bits"),                                               \
        .client_bits = KEY(TYPE, "deflate_opts.client_max_window_bits"), .idle_timeout = KEY(TYPE, "idle_timeout"),    \
        .max_frame_size = KEY(TYPE, "max_frame_size")                                                                  \
    }

static const struct websocket_keys ws_keys = KEYS_OF("ws");
static const struct websocket_keys wss_keys = KEYS_OF("wss");

/* Indices are those of the rows' enum_words. */
static const enum websocket_deflate_level levels[] = {DEFLATE_LEVEL_NONE, DEFLATE_LEVEL_DEFAULT, DEFLATE_LEVEL_BEST,
                                                      DEFLATE_LEVEL_SPEED};
static const enum websocket_deflate_strategy strategies[] = {DEFLATE_STRATEGY_DEFAULT, DEFLATE_STRATEGY_FILTERED,
                                                             DEFLATE_STRATEGY_HUFFMAN_ONLY, DEFLATE_STRATEGY_RLE};

/* A copy of the text of `key` or of `otherwise`; both NULL: NULL. */
static int read_text(const struct conf *conf, const char *key, const char *name, const char *otherwise, char **out_text)
{
    const char *text = conf_get_string(conf, key, name);

    if (text == NULL)
        text = otherwise;
    *out_text = text == NULL ? NULL : strdup(text);
    return text != NULL && *out_text == NULL ? -ENOMEM : 0;
}

/* The words of a comma list without blanks around them; empty ones are left out. */
static int read_origins(struct websocket_options *options, const char *list)
{
    size_t count_max = 1;

    if (list == NULL)
        return 0;
    for (const char *at = list; *at != '\0'; at++)
        count_max += *at == ',';
    options->origins = calloc(count_max, sizeof(*options->origins));
    if (options->origins == NULL)
        return -ENOMEM;
    while (*list != '\0') {
        size_t skip = strspn(list, ", \t");
        size_t len = strcspn(list + skip, ",");
        const char *word = list + skip;
        list = word + len;
        while (len > 0 && (word[len - 1] == ' ' || word[len - 1] == '\t'))
            len--;
        if (len == 0)
            continue;
        options->origins[options->origin_count] = strndup(word, len);
        if (options->origins[options->origin_count] == NULL)
            return -ENOMEM;
        options->origin_count++;
    }
    return 0;
}

static uint8_t window_bits(const struct conf *conf, const char *key, const char *name)
{
    uint8_t bits = (uint8_t)conf_get_integer(conf, key, name, 15);

    return bits < WINDOW_BITS_MIN ? WINDOW_BITS_MIN : bits;
}

static void deflate_init(struct websocket_options *options, const struct conf *conf, const struct websocket_keys *keys,
                         const char *name)
{
    options->compress = conf_get_bool(conf, keys->compress, name, false);
    options->deflate_level = levels[conf_get_enum(conf, keys->level, name, 1)];
    options->deflate_strategy = strategies[conf_get_enum(conf, keys->strategy, name, 0)];
    options->deflate_mem_level = (uint8_t)conf_get_integer(conf, keys->mem_level, name, 8);
    options->server_window_bits = window_bits(conf, keys->server_bits, name);
    options->client_window_bits = window_bits(conf, keys->client_bits, name);
    options->server_context_takeover = conf_get_enum(conf, keys->server_takeover, name, 0) == 0;
    options->client_context_takeover = conf_get_enum(conf, keys->client_takeover, name, 0) == 0;
}

int websocket_options_read(const struct conf *conf, const char *type, const char *name,
                           struct websocket_options **out_options)
{
    const struct websocket_keys *keys = strcmp(type, "wss") == 0 ? &wss_keys : &ws_keys;
    struct websocket_options *options = calloc(1, sizeof(*options));

    if (options == NULL)
        return -ENOMEM;
    if (read_text(conf, keys->path, name, "/mqtt", &options->path) < 0 ||
        read_text(conf, keys->proxy_address_header, name, NULL, &options->proxy_address_header) < 0 ||
        read_text(conf, keys->proxy_port_header, name, NULL, &options->proxy_port_header) < 0 ||
        read_origins(options, conf_get_string(conf, keys->origins, name)) < 0) {
        websocket_options_free(options);
        return -ENOMEM;
    }
    options->verify_protocol_header = conf_get_bool(conf, keys->verify_protocol_header, name, true);
    options->idle_timeout_ms = conf_get_duration(conf, keys->idle_timeout, name, 7200000);
    options->max_frame_bytes = (uint64_t)conf_get_integer(conf, keys->max_frame_size, name, 0);
    deflate_init(options, conf, keys, name);
    *out_options = options;
    return 0;
}

void websocket_options_free(struct websocket_options *options)
{
    if (options == NULL)
        return;
    for (uint32_t i = 0; i < options->origin_count; i++)
        free(options->origins[i]);
    free(options->origins);
    free(options->path);
    free(options->proxy_address_header);
    free(options->proxy_port_header);
    free(options);
}
