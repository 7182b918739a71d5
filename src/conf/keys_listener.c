/*
 * keys_listener: the rows of listener.tcp, ssl, ws, wss and unix, in the order of the shipped file.
 */
#include "conf/keys_listener_internal.h"

static const struct conf_key tcp_keys[] = {
    ROW_BIND("tcp", CONF_IN_EFFECT, "external: 0.0.0.0:1883\ninternal: 127.0.0.1:11883", "MQTT over TCP"),
    ROW_ACCEPTORS("tcp", "external: 8\ninternal: 4"),
    ROW_MAX_CONNECTIONS("tcp", CONF_IN_EFFECT, "external: 1024000\ninternal: 1024000"),
    ROW_MAX_CONN_RATE("tcp", CONF_IN_EFFECT, "external: 1000\ninternal: 1000"),
    ROW_ACTIVE_N("tcp", "external: 100\ninternal: 1000"),
    ROW_ZONE("tcp", CONF_IN_EFFECT, "external: external\ninternal: internal"),
    ROW_RATE_LIMIT("tcp", CONF_IN_EFFECT, "external: 1024,52428800\ninternal: 1000000,524288000"),
    ROW_ACCESS("tcp", CONF_IN_EFFECT, "external.1: allow all"),
    ROW_PROXY_PROTOCOL("tcp", "external: on"),
    ROW_PROXY_PROTOCOL_TIMEOUT("tcp", "external: 3s"),
    ROW_PEER_CERT("tcp", "external: cn"),
    ROW_BACKLOG("tcp", CONF_IN_EFFECT, "external: 1024\ninternal: 512", NULL),
    ROW_SEND_TIMEOUT("tcp", CONF_IN_EFFECT, "external: 15s\ninternal: 5s", NULL),
    ROW_SEND_TIMEOUT_CLOSE("tcp", CONF_IN_EFFECT, "external: on\ninternal: on", NULL),
    ROW_RECBUF("tcp", CONF_IN_EFFECT, "external: 2KB\ninternal: 16KB"),
    ROW_SNDBUF("tcp", CONF_IN_EFFECT, "external: 2KB\ninternal: 16KB"),
    ROW_BUFFER("tcp", "external: 2KB\ninternal: 16KB"),
    ROW_TUNE_BUFFER("tcp", "external: off\ninternal: off"),
    ROW_NODELAY("tcp", CONF_IN_EFFECT, "external: true\ninternal: false", NULL),
    ROW_REUSEADDR("tcp", CONF_IN_EFFECT, "external: true\ninternal: true"),
};

const struct conf_table conf_tcp_table = {tcp_keys, ARRAY_COUNT(tcp_keys)};

static const struct conf_key ssl_keys[] = {
    ROW_BIND("ssl", CONF_IN_EFFECT, "external: 8883", "MQTT over TLS"),
    ROW_ACCEPTORS("ssl", "external: 16"),
    ROW_MAX_CONNECTIONS("ssl", CONF_IN_EFFECT, "external: 102400"),
    ROW_MAX_CONN_RATE("ssl", CONF_IN_EFFECT, "external: 500"),
    ROW_ACTIVE_N("ssl", "external: 100"),
    ROW_ZONE("ssl", CONF_IN_EFFECT, "external: external"),
    ROW_ACCESS("ssl", CONF_IN_EFFECT, "external.1: allow all"),
    ROW_RATE_LIMIT("ssl", CONF_IN_EFFECT, "external: 1024,52428800"),
    ROW_PROXY_PROTOCOL("ssl", "external: on"),
    ROW_PROXY_PROTOCOL_TIMEOUT("ssl", "external: 3s"),
    ROW_TLS_VERSIONS("ssl", "external: tlsv1.2,tlsv1.1,tlsv1"),
    TLS_ROW("ssl", ".handshake_timeout", CONF_DURATION_MS, "15s", "external: 15s", NULL, NULL,
            "Time for the TLS handshake."),
    ROW_KEYFILE("ssl", "external: etc/certs/key.pem"),
    ROW_CERTFILE("ssl", "external: etc/certs/cert.pem"),
    ROW_CACERTFILE("ssl", "external: etc/certs/cacert.pem"),
    TLS_ROW("ssl", ".dhfile", CONF_STRING, NULL, NULL, "external: etc/certs/dh-params.pem", NULL,
            "Diffie-Hellman parameters (PEM)."),
    ROW_VERIFY("ssl", "external: verify_peer"),
    ROW_FAIL_IF_NO_PEER_CERT("ssl", "external: true"),
    ROW_CIPHERS("ssl", "external: " LISTENER_CIPHERS),
    ROW_PSK_CIPHERS("ssl", "external: " LISTENER_PSK_CIPHERS),
    ROW_SECURE_RENEGOTIATE("ssl", "external: off"),
    ROW_REUSE_SESSIONS("ssl", "external: on"),
    ROW_HONOR_CIPHER_ORDER("ssl", "external: on"),
    ROWS_TLS_OURS("ssl"),
    ROW_PEER_CERT("ssl", "external: cn"),
    ROW_BACKLOG("ssl", CONF_IN_EFFECT, NULL, "external: 1024"),
    ROW_SEND_TIMEOUT("ssl", CONF_IN_EFFECT, NULL, "external: 15s"),
    ROW_SEND_TIMEOUT_CLOSE("ssl", CONF_IN_EFFECT, NULL, "external: on"),
    ROW_RECBUF("ssl", CONF_IN_EFFECT, "external: 4KB"),
    ROW_SNDBUF("ssl", CONF_IN_EFFECT, "external: 4KB"),
    ROW_BUFFER("ssl", "external: 4KB"),
    ROW_TUNE_BUFFER("ssl", "external: off"),
    ROW_NODELAY("ssl", CONF_IN_EFFECT, NULL, "external: true"),
    ROW_REUSEADDR("ssl", CONF_IN_EFFECT, "external: true"),
};

const struct conf_table conf_ssl_table = {ssl_keys, ARRAY_COUNT(ssl_keys)};

static const struct conf_key ws_keys[] = {
    ROW_BIND("ws", CONF_IN_EFFECT, "external: 8083", "MQTT over WebSocket"),
    ROW_MQTT_PATH("ws"),
    ROW_ACCEPTORS("ws", "external: 4"),
    ROW_MAX_CONNECTIONS("ws", CONF_IN_EFFECT, "external: 102400"),
    ROW_MAX_CONN_RATE("ws", CONF_IN_EFFECT, "external: 1000"),
    ROW_ZONE("ws", CONF_IN_EFFECT, "external: external"),
    ROW_RATE_LIMIT("ws", CONF_IN_EFFECT, "external: 1024,524288"),
    ROW_ACCESS("ws", CONF_IN_EFFECT, "external.1: allow all"),
    ROW_VERIFY_PROTOCOL_HEADER("ws"),
    ROW_ORIGINS("ws"),
    ROW_PROXY_ADDRESS_HEADER("ws"),
    ROW_PROXY_PORT_HEADER("ws"),
    ROW_PROXY_PROTOCOL("ws", "external: on"),
    ROW_PROXY_PROTOCOL_TIMEOUT("ws", "external: 3s"),
    ROW_BACKLOG("ws", CONF_IN_EFFECT, "external: 1024", NULL),
    ROW_SEND_TIMEOUT("ws", CONF_IN_EFFECT, "external: 15s", NULL),
    ROW_SEND_TIMEOUT_CLOSE("ws", CONF_IN_EFFECT, "external: on", NULL),
    ROW_RECBUF("ws", CONF_IN_EFFECT, "external: 2KB"),
    ROW_SNDBUF("ws", CONF_IN_EFFECT, "external: 2KB"),
    ROW_BUFFER("ws", "external: 2KB"),
    ROW_TUNE_BUFFER("ws", "external: off"),
    ROW_NODELAY("ws", CONF_IN_EFFECT, "external: true", NULL),
    ROWS_WS_TAIL("ws"),
};

const struct conf_table conf_ws_table = {ws_keys, ARRAY_COUNT(ws_keys)};

static const struct conf_key wss_keys[] = {
    ROW_BIND("wss", CONF_IN_EFFECT, "external: 8084", "MQTT over WebSocket over TLS"),
    ROW_MQTT_PATH("wss"),
    ROW_ACCEPTORS("wss", "external: 4"),
    ROW_MAX_CONNECTIONS("wss", CONF_IN_EFFECT, "external: 16"),
    ROW_MAX_CONN_RATE("wss", CONF_IN_EFFECT, "external: 1000"),
    ROW_ZONE("wss", CONF_IN_EFFECT, "external: external"),
    ROW_RATE_LIMIT("wss", CONF_IN_EFFECT, "external: 1024,524288"),
    ROW_ACCESS("wss", CONF_IN_EFFECT, "external.1: allow all"),
    ROW_VERIFY_PROTOCOL_HEADER("wss"),
    ROW_ORIGINS("wss"),
    ROW_PROXY_ADDRESS_HEADER("wss"),
    ROW_PROXY_PORT_HEADER("wss"),
    ROW_PROXY_PROTOCOL("wss", "external: on"),
    ROW_PROXY_PROTOCOL_TIMEOUT("wss", "external: 3s"),
    ROW_TLS_VERSIONS("wss", "external: tlsv1.2,tlsv1.1,tlsv1"),
    ROW_KEYFILE("wss", "external: etc/certs/key.pem"),
    ROW_CERTFILE("wss", "external: etc/certs/cert.pem"),
    ROW_CACERTFILE("wss", "external: etc/certs/cacert.pem"),
    ROW_VERIFY("wss", "external: verify_peer"),
    ROW_FAIL_IF_NO_PEER_CERT("wss", "external: true"),
    ROW_CIPHERS("wss", "external: " LISTENER_CIPHERS),
    ROW_PSK_CIPHERS("wss", "external: " LISTENER_PSK_CIPHERS),
    ROW_SECURE_RENEGOTIATE("wss", "external: off"),
    ROW_REUSE_SESSIONS("wss", "external: on"),
    ROW_HONOR_CIPHER_ORDER("wss", "external: on"),
    ROWS_TLS_OURS("wss"),
    ROW_PEER_CERT("wss", "external: cn"),
    ROW_BACKLOG("wss", CONF_IN_EFFECT, "external: 1024", NULL),
    ROW_SEND_TIMEOUT("wss", CONF_IN_EFFECT, "external: 15s", NULL),
    ROW_SEND_TIMEOUT_CLOSE("wss", CONF_IN_EFFECT, "external: on", NULL),
    ROW_RECBUF("wss", CONF_IN_EFFECT, "external: 4KB"),
    ROW_SNDBUF("wss", CONF_IN_EFFECT, "external: 4KB"),
    ROW_BUFFER("wss", "external: 4KB"),
    ROW_TUNE_BUFFER("wss", NULL),
    ROW_NODELAY("wss", CONF_IN_EFFECT, NULL, "external: true"),
    ROWS_WS_TAIL("wss"),
};

const struct conf_table conf_wss_table = {wss_keys, ARRAY_COUNT(wss_keys)};

/* Ours: the same MQTT on a socket of this machine. */
#define UNIX_ROW(KEY, KIND, FALLBACK, EXAMPLE, MIN, MAX, HELP)                                                         \
    {                                                                                                                  \
        .name = "listener.unix.$name" KEY, .type = (KIND), .fallback = (FALLBACK), .example = (EXAMPLE), .min = (MIN), \
        .max = (MAX), .ours = true, .help = (HELP)                                                                     \
    }

static const struct conf_key unix_keys[] = {
    UNIX_ROW(
        "", CONF_STRING, NULL, "local: mqtt.sock", 0, 0,
        "Opens a listener for MQTT on a Unix socket: its path, which starts at the data directory if it is relative. "
        "Its other settings count only with this line."),
    UNIX_ROW(".mode", CONF_STRING, "0660", "local: 0660", 0, 0,
             "Permissions of the socket in octal: who may write to it may connect."),
    UNIX_ROW(".max_connections", CONF_INTEGER, "1024", "local: 1024", 1, UINT32_MAX,
             "Connections at once. Further ones are closed right after they were accepted."),
    UNIX_ROW(".max_conn_rate", CONF_INTEGER, NULL, "local: 1000", 1, UINT32_MAX,
             "New connections in one second. Further ones wait. Unset means no limit."),
    UNIX_ROW(".zone", CONF_STRING, NULL, "local: internal", 0, 0,
             "The zone whose settings hold for the listener's clients."),
    UNIX_ROW(".rate_limit", CONF_RATE, NULL, "local: 1000000,524288000", 0, 0,
             "Bytes that one client may send: rate,burst in bytes per second and bytes, or size,duration."),
    UNIX_ROW(".proxy_protocol", CONF_BOOL, "off", "local: on", 0, 0,
             "Expect the PROXY protocol (version 1 or 2) of a load balancer on this machine before each connection."),
    UNIX_ROW(".proxy_protocol_timeout", CONF_DURATION_MS, "5s", "local: 3s", 1, UINT32_MAX,
             "Close a connection whose PROXY header has not come by then."),
    UNIX_ROW(".backlog", CONF_INTEGER, "1024", "local: 1024", 1, 2147483647,
             "Connections that wait in the system to be accepted."),
    UNIX_ROW(".send_timeout", CONF_DURATION_MS, "15s", "local: 15s", 1, UINT32_MAX,
             "Sending to a client that takes nothing for so long has failed."),
    UNIX_ROW(".send_timeout_close", CONF_BOOL, "on", "local: on", 0, 0, "Close such a connection."),
    UNIX_ROW(".recbuf", CONF_BYTESIZE, NULL, "local: 16KB", 1, SOCKET_BYTES_MAX,
             "Receive buffer of the system for each connection. Unset leaves it to the system."),
    UNIX_ROW(".sndbuf", CONF_BYTESIZE, NULL, "local: 16KB", 1, SOCKET_BYTES_MAX,
             "Send buffer of the system for each connection. Unset leaves it to the system."),
};

const struct conf_table conf_unix_table = {unix_keys, ARRAY_COUNT(unix_keys)};
