/*
 * listener_options: what listener.<type>.$name.* says, as typed values. Filled from the configuration at
 * start-up; immutable afterwards. Fields are named after their keys with their unit.
 */
#ifndef NET_LISTENER_OPTIONS_H
#define NET_LISTENER_OPTIONS_H

#include "net/tls_options.h"
#include "net/websocket_options.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum listener_type { LISTENER_TCP, LISTENER_SSL, LISTENER_WS, LISTENER_WSS, LISTENER_UNIX };
#define LISTENER_TYPE_COUNT 5

/* "tcp", "ssl", "ws", "wss", "unix". Thread: any. */
const char *listener_type_name(enum listener_type type);

struct listener_access_rule {
    bool allow;
    bool all;                /* the word "all": address and prefix are not looked at */
    struct in6_addr address; /* IPv4 as IPv4-mapped */
    uint8_t prefix_len;      /* of 128 bits */
};

struct listener_options {
    enum listener_type type;
    char *name;                      /* $name */
    char *bind_text;                 /* as configured, the form `listeners` prints: "0.0.0.0:1883" or "8883" */
    char *zone;                      /* NULL: defaults */
    struct sockaddr_storage address; /* all types but unix */
    socklen_t address_len;
    char *unix_path; /* unix, else NULL; relative: below the data directory */
    uint32_t unix_mode;
    uint32_t acceptors; /* a hint */
    uint32_t max_connections;
    uint32_t max_conn_rate; /* accepts per second; 0: unlimited */
    uint32_t active_n;
    uint32_t rate_limit_bytes_per_s; /* 0: none */
    uint64_t rate_limit_burst_bytes;
    struct listener_access_rule *access_rules; /* ascending by $id */
    uint32_t access_rule_count;
    uint32_t backlog;
    uint64_t send_timeout_ms;
    bool send_timeout_close;
    uint32_t recbuf_bytes; /* 0: the system's */
    uint32_t sndbuf_bytes; /* 0: the system's */
    bool nodelay;
    bool reuseaddr;
    bool proxy_protocol; /* a PROXY header comes first */
    uint64_t proxy_protocol_timeout_ms;
    uint8_t peer_cert_as_username;       /* enum tls_name (net/tls.h); 0: off */
    struct tls_options *tls;             /* owned; ssl and wss, else NULL */
    struct websocket_options *websocket; /* owned; ws and wss, else NULL */
};

struct conf; /* conf/conf.h */

/* Reads all listeners of `type` from the configuration, in the order of the file. -ENOMEM; bad values were
 * refused when the configuration was read. The caller frees with listener_options_free(). Thread: start-up and control. */
int listener_options_read(const struct conf *conf, enum listener_type type, struct listener_options **out_options,
                          uint32_t *out_count);

/* Frees what the options hold, not the struct. Empty is fine. Thread: control. */
void listener_options_fini(struct listener_options *options);
/* NULL is fine. Thread: control. */
void listener_options_free(struct listener_options *options, uint32_t count);

#endif
