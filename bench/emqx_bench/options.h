/*
 * options: the command line, driven by one table row an option; emqtt-bench's names where it has them.
 *
 * Thread: start-up.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "client.h"

enum command { COMMAND_CONN, COMMAND_PUB, COMMAND_SUB, COMMAND_LOAD, COMMAND_QUEUE, COMMAND_COUNT };

struct options {
    enum command command;
    /* all commands */
    const char *host;
    uint32_t port; /* 0: the usual one of the transport */
    uint32_t version;
    const char *user_name;
    const char *password;
    uint32_t keep_alive_s;
    bool clean;
    uint32_t expiry_s;
    const char *prefix; /* of client ids; NULL: made from host and process */
    uint32_t qos;
    uint32_t inflight;    /* QoS 1 and 2 handshakes a publisher has open */
    uint32_t receive_max; /* sent by subscribers with v5; 0: not sent */
    uint32_t duration_s;  /* conn, pub, sub: 0: until a signal or the limit; load, queue: what is measured */
    const char *json_path;
    uint32_t broker_pid; /* 0: none */
    bool quiet;
    bool ssl;
    struct tls_settings tls; /* with ssl */
    bool websocket;
    const char *websocket_path;
    /* conn, pub, sub */
    uint32_t count;
    uint32_t start_number;
    uint32_t connect_interval_ms;
    uint32_t publish_interval_ms;
    uint32_t wait_before_publishing_ms;
    const char *topic;
    const char *message;
    uint32_t size;
    bool retain;
    uint32_t limit; /* messages; 0: none */
    /* load */
    const char *pattern;
    uint32_t publisher_count;  /* 0: the pattern's own */
    uint32_t subscriber_count; /* 0: the pattern's own */
    uint32_t filter_count;
    uint32_t window; /* 0: computed */
    uint32_t rate;   /* messages/s of all publishers; 0: closed loop */
    uint32_t warm_up_ms;
    uint32_t stall_s;
    uint32_t concurrency;
    const char *topic_prefix;
    uint32_t hold_s;
    /* queue: also publisher_count, warm_up_ms, stall_s, topic_prefix; qos is 1 or 2 */
    uint32_t session_count; /* 0: as many as publishers */
    uint32_t messages;      /* of each session; 0: as many as duration_s lets */
    const char *steps;
};

/* Fills `out_options` from the arguments behind the command's name. Returns 0, 1 (help was asked for and printed) or
 * -EINVAL (the fault was printed to stderr). Texts are borrowed from `argv`. */
int options_parse(enum command command, int argc, char **argv, struct options *out_options);

/* Fills the connections' settings, with the address looked up and TLS made ready. Returns 0 or -EINVAL, with the fault
 * printed; options_client_settings_fini() takes the settings in either case, and zeroed ones. */
int options_client_settings(const struct options *options, struct client_settings *out_settings);
void options_client_settings_fini(struct client_settings *settings);

/* "tcp", "tls", "ws", "wss". Static text. */
const char *options_transport_name(const struct options *options);

/* "conn", "pub", "sub", "load", "queue". Static text. */
const char *options_command_name(enum command command);

#endif
