/*
 * websocket_options: the WebSocket settings of one listener (listener.ws.$name.*, listener.wss.$name.*), typed. Immutable after
 * start-up.
 */
#ifndef NET_WEBSOCKET_OPTIONS_H
#define NET_WEBSOCKET_OPTIONS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct conf;

enum websocket_deflate_level { DEFLATE_LEVEL_DEFAULT, DEFLATE_LEVEL_NONE, DEFLATE_LEVEL_BEST, DEFLATE_LEVEL_SPEED };
enum websocket_deflate_strategy {
    DEFLATE_STRATEGY_DEFAULT,
    DEFLATE_STRATEGY_FILTERED,
    DEFLATE_STRATEGY_HUFFMAN_ONLY,
    DEFLATE_STRATEGY_RLE,
};

struct websocket_options {
    char *path;                 /* mqtt_path */
    char *proxy_address_header; /* NULL: not looked at */
    char *proxy_port_header;    /* NULL: not looked at */
    char **origins;             /* ours: allowed values of Origin; none: any */
    uint32_t origin_count;
    bool verify_protocol_header;
    bool compress;
    enum websocket_deflate_level deflate_level;
    enum websocket_deflate_strategy deflate_strategy;
    uint8_t deflate_mem_level;  /* 1 to 9 */
    uint8_t server_window_bits; /* 9 to 15 (zlib cannot do 8) */
    uint8_t client_window_bits;
    bool server_context_takeover;
    bool client_context_takeover;
    uint64_t idle_timeout_ms;
    uint64_t max_frame_bytes; /* 0: no limit */
};

/* Reads listener.`type`.`name`.* (`type`: "ws" or "wss"). -ENOMEM. The caller frees with websocket_options_free(). Thread:
 * start-up and control. */
MUST_USE int websocket_options_read(const struct conf *conf, const char *type, const char *name,
                                    struct websocket_options **out_options);
/* NULL is fine. */
void websocket_options_free(struct websocket_options *options);

#endif
