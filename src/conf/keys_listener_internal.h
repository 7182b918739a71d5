/*
 * keys_listener_internal: rows that listeners of several types share. The four tables differ in what is shipped
 * and in effect, so a row is a macro: TYPE is the word behind "listener.", EFFECT a conf_effect, SHIPPED and
 * EXAMPLE the lines of the shipped file or NULL.
 */
#ifndef CONF_KEYS_LISTENER_INTERNAL_H
#define CONF_KEYS_LISTENER_INTERNAL_H

#include "conf/keys_internal.h"

#define SOCKET_BYTES_MAX 1073741824 /* what the system takes for a buffer is an int */

#define LISTENER_ROW(TYPE, KEY, KIND, FALLBACK, SHIPPED, EXAMPLE, WORDS, MIN, MAX, EFFECT, HELP)                       \
    {                                                                                                                  \
        .name = "listener." TYPE ".$name" KEY, .type = (KIND), .fallback = (FALLBACK), .shipped = (SHIPPED),           \
        .example = (EXAMPLE), .enum_words = (WORDS), .min = (MIN), .max = (MAX), .effect = (EFFECT), .help = (HELP)    \
    }

#define ROW_BIND(TYPE, EFFECT, SHIPPED, WHAT)                                                                          \
    LISTENER_ROW(TYPE, "", CONF_ADDRESS, NULL, SHIPPED, NULL, NULL, 0, 0, EFFECT,                                      \
                 "Opens a listener for " WHAT ": a port on all IPv4 addresses, or address:port. "                      \
                 "Its other settings count only with this line.")
#define ROW_ACCEPTORS(TYPE, SHIPPED)                                                                                   \
    LISTENER_ROW(TYPE, ".acceptors", CONF_INTEGER, "8", SHIPPED, NULL, NULL, 1, 65535, CONF_NO_EFFECT,                 \
                 "Processes of the original that accept connections. Here the worker threads do.")
#define ROW_MAX_CONNECTIONS(TYPE, EFFECT, SHIPPED)                                                                     \
    LISTENER_ROW(TYPE, ".max_connections", CONF_INTEGER, "1024", SHIPPED, NULL, NULL, 1, UINT32_MAX, EFFECT,           \
                 "Connections at once. Further ones are closed right after they were accepted.")
#define ROW_MAX_CONN_RATE(TYPE, EFFECT, SHIPPED)                                                                       \
    LISTENER_ROW(TYPE, ".max_conn_rate", CONF_INTEGER, NULL, SHIPPED, NULL, NULL, 1, UINT32_MAX, EFFECT,               \
                 "New connections in one second. Further ones wait. Unset means no limit.")
#define ROW_ACTIVE_N(TYPE, SHIPPED)                                                                                    \
    LISTENER_ROW(TYPE, ".active_n", CONF_INTEGER, "100", SHIPPED, NULL, NULL, 1, 32767, CONF_NO_EFFECT,                \
                 "Reads between two looks at a client's rate limits in the original. Here every read keeps to them.")
#define ROW_ZONE(TYPE, EFFECT, SHIPPED)                                                                                \
    LISTENER_ROW(TYPE, ".zone", CONF_STRING, NULL, SHIPPED, NULL, NULL, 0, 0, EFFECT,                                  \
                 "The zone whose settings hold for the listener's clients.")
#define ROW_RATE_LIMIT(TYPE, EFFECT, EXAMPLE)                                                                          \
    LISTENER_ROW(TYPE, ".rate_limit", CONF_RATE, NULL, NULL, EXAMPLE, NULL, 0, 0, EFFECT,                              \
                 "Bytes that one client may send: rate,burst in bytes per second and bytes, or size,duration. "        \
                 "Reading from a client that sends more pauses.")
#define ROW_ACCESS(TYPE, EFFECT, SHIPPED)                                                                              \
    LISTENER_ROW(TYPE, ".access.$id", CONF_ACCESS, NULL, SHIPPED, NULL, NULL, 0, 0, EFFECT,                            \
                 "Who may connect: allow or deny, then all, an address or a network. The first rule that fits "        \
                 "decides, in ascending order of their numbers; when none fits, the client may.")
#define ROW_PROXY_PROTOCOL(TYPE, EXAMPLE)                                                                              \
    LISTENER_ROW(TYPE, ".proxy_protocol", CONF_BOOL, "off", NULL, EXAMPLE, NULL, 0, 0, CONF_IN_EFFECT,                 \
                 "Expect the PROXY protocol (version 1 or 2) of a load balancer before each connection.")
#define ROW_PROXY_PROTOCOL_TIMEOUT(TYPE, EXAMPLE)                                                                      \
    LISTENER_ROW(TYPE, ".proxy_protocol_timeout", CONF_DURATION_MS, "5s", NULL, EXAMPLE, NULL, 1, UINT32_MAX,          \
                 CONF_IN_EFFECT, "Close a connection whose PROXY header has not come by then.")
#define ROW_PEER_CERT(TYPE, EXAMPLE)                                                                                   \
    LISTENER_ROW(TYPE, ".peer_cert_as_username", CONF_ENUM, NULL, NULL, EXAMPLE, "cn, dn, crt", 0, 0, CONF_IN_EFFECT,  \
                 "Take the user name from the client's certificate: its common name, its subject or all of it.")
#define ROW_BACKLOG(TYPE, EFFECT, SHIPPED, EXAMPLE)                                                                    \
    LISTENER_ROW(TYPE, ".backlog", CONF_INTEGER, "1024", SHIPPED, EXAMPLE, NULL, 1, 2147483647, EFFECT,                \
                 "Connections that wait in the system to be accepted.")
#define ROW_SEND_TIMEOUT(TYPE, EFFECT, SHIPPED, EXAMPLE)                                                               \
    LISTENER_ROW(TYPE, ".send_timeout", CONF_DURATION_MS, "15s", SHIPPED, EXAMPLE, NULL, 1, UINT32_MAX, EFFECT,        \
                 "Sending to a client that takes nothing for so long has failed.")
#define ROW_SEND_TIMEOUT_CLOSE(TYPE, EFFECT, SHIPPED, EXAMPLE)                                                         \
    LISTENER_ROW(TYPE, ".send_timeout_close", CONF_BOOL, "on", SHIPPED, EXAMPLE, NULL, 0, 0, EFFECT,                   \
                 "Close such a connection.")
#define ROW_RECBUF(TYPE, EFFECT, EXAMPLE)                                                                              \
    LISTENER_ROW(TYPE, ".recbuf", CONF_BYTESIZE, NULL, NULL, EXAMPLE, NULL, 1, SOCKET_BYTES_MAX, EFFECT,               \
                 "Receive buffer of the system for each connection. Unset leaves it to the system.")
#define ROW_SNDBUF(TYPE, EFFECT, EXAMPLE)                                                                              \
    LISTENER_ROW(TYPE, ".sndbuf", CONF_BYTESIZE, NULL, NULL, EXAMPLE, NULL, 1, SOCKET_BYTES_MAX, EFFECT,               \
                 "Send buffer of the system for each connection. Unset leaves it to the system.")
#define ROW_BUFFER(TYPE, EXAMPLE)                                                                                      \
    LISTENER_ROW(TYPE, ".buffer", CONF_BYTESIZE, NULL, NULL, EXAMPLE, NULL, 1, SOCKET_BYTES_MAX, CONF_NO_EFFECT,       \
                 "Read buffer of each connection in the original. Here the connections of a worker share one.")
#define ROW_TUNE_BUFFER(TYPE, EXAMPLE)                                                                                 \
    LISTENER_ROW(TYPE, ".tune_buffer", CONF_BOOL, "off", NULL, EXAMPLE, NULL, 0, 0, CONF_NO_EFFECT,                    \
                 "Fit the read buffer to those of the system. Here the connections of a worker share one.")
#define ROW_NODELAY(TYPE, EFFECT, SHIPPED, EXAMPLE)                                                                    \
    LISTENER_ROW(TYPE, ".nodelay", CONF_BOOL, "true", SHIPPED, EXAMPLE, NULL, 0, 0, EFFECT,                            \
                 "Send small packets at once (TCP_NODELAY).")
#define ROW_REUSEADDR(TYPE, EFFECT, SHIPPED)                                                                           \
    LISTENER_ROW(TYPE, ".reuseaddr", CONF_BOOL, "true", SHIPPED, NULL, NULL, 0, 0, EFFECT,                             \
                 "Open the port although connections of an earlier run linger on it (SO_REUSEADDR).")

/* TLS */
#define TLS_ROW(TYPE, KEY, KIND, FALLBACK, SHIPPED, EXAMPLE, WORDS, HELP)                                              \
    LISTENER_ROW(TYPE, KEY, KIND, FALLBACK, SHIPPED, EXAMPLE, WORDS, 0, 0, CONF_IN_EFFECT, HELP)
#define TLS_ROW_OURS(TYPE, KEY, KIND, FALLBACK, EXAMPLE, WORDS, MIN, MAX, HELP)                                        \
    {                                                                                                                  \
        .name = "listener." TYPE ".$name" KEY, .type = (KIND), .fallback = (FALLBACK), .example = (EXAMPLE),           \
        .enum_words = (WORDS), .min = (MIN), .max = (MAX), .effect = CONF_IN_EFFECT, .ours = true, .help = (HELP)      \
    }
#define ROW_TLS_VERSIONS(TYPE, EXAMPLE)                                                                                \
    TLS_ROW(TYPE, ".tls_versions", CONF_STRING, NULL, NULL, EXAMPLE, NULL,                                             \
            "Versions of TLS, separated by commas: tlsv1.3, tlsv1.2, tlsv1.1, tlsv1. Unset means 1.3 and 1.2.")
#define ROW_KEYFILE(TYPE, SHIPPED)                                                                                     \
    TLS_ROW(TYPE, ".keyfile", CONF_STRING, NULL, SHIPPED, NULL, NULL, "The server's private key (PEM).")
#define ROW_CERTFILE(TYPE, SHIPPED)                                                                                    \
    TLS_ROW(TYPE, ".certfile", CONF_STRING, NULL, SHIPPED, NULL, NULL, "The server's certificate with its chain (PEM).")
#define ROW_CACERTFILE(TYPE, EXAMPLE)                                                                                  \
    TLS_ROW(TYPE, ".cacertfile", CONF_STRING, NULL, NULL, EXAMPLE, NULL,                                               \
            "Certificates of the authorities that clients' certificates are checked with (PEM).")
#define ROW_VERIFY(TYPE, EXAMPLE)                                                                                      \
    TLS_ROW(TYPE, ".verify", CONF_ENUM, "verify_none", NULL, EXAMPLE, "verify_peer, verify_none",                      \
            "Ask clients for a certificate and check it.")
#define ROW_FAIL_IF_NO_PEER_CERT(TYPE, EXAMPLE)                                                                        \
    TLS_ROW(TYPE, ".fail_if_no_peer_cert", CONF_BOOL, "false", NULL, EXAMPLE, NULL,                                    \
            "Refuse clients without a certificate. Needs verify_peer.")
#define ROW_CIPHERS(TYPE, SHIPPED)                                                                                     \
    TLS_ROW(                                                                                                           \
        TYPE, ".ciphers", CONF_STRING, NULL, SHIPPED, NULL, NULL,                                                      \
        "Ciphers by the names of OpenSSL, separated by commas; those that OpenSSL does not have any more are "         \
        "left out. TLS 1.3 has its own unless the list names some (TLS_…). Either this or psk_ciphers must be set.")
#define ROW_PSK_CIPHERS(TYPE, EXAMPLE)                                                                                           \
    TLS_ROW(                                                                                                                     \
        TYPE, ".psk_ciphers", CONF_STRING, NULL, NULL, EXAMPLE, NULL,                                                            \
        "Ciphers with a pre-shared key, separated by commas. Keys come from psk_file and from plugins. Such a listener uses no " \
        "certificate. Either this or ciphers must be set.")
#define ROW_SECURE_RENEGOTIATE(TYPE, EXAMPLE)                                                                          \
    LISTENER_ROW(TYPE, ".secure_renegotiate", CONF_BOOL, "on", NULL, EXAMPLE, NULL, 0, 0, CONF_NO_EFFECT,              \
                 "Refuse insecure renegotiation. Here every renegotiation is refused.")
#define ROW_REUSE_SESSIONS(TYPE, EXAMPLE)                                                                              \
    TLS_ROW(TYPE, ".reuse_sessions", CONF_BOOL, "on", NULL, EXAMPLE, NULL, "Let clients resume a TLS session.")
#define ROW_HONOR_CIPHER_ORDER(TYPE, EXAMPLE)                                                                          \
    TLS_ROW(TYPE, ".honor_cipher_order", CONF_BOOL, "off", NULL, EXAMPLE, NULL,                                        \
            "Choose the cipher by the server's order, not by the client's.")
#define ROWS_TLS_OURS(TYPE)                                                                                            \
    TLS_ROW_OURS(                                                                                                      \
        TYPE, ".psk_file", CONF_STRING, NULL, "external: etc/psk.txt", NULL, 0, 0,                                     \
        "Pre-shared keys for psk_ciphers: lines identity:hex:key with the key in hexadecimal, or identity:key "        \
        "with the key as text. Lines that begin with # are left out. Plugins are asked for other identities."),        \
        TLS_ROW_OURS(TYPE, ".crl_file", CONF_STRING, NULL, "external: etc/certs/crl.pem", NULL, 0, 0,                  \
                     "Revoked client certificates: the CRLs of the authorities in cacertfile (PEM)."),                 \
        TLS_ROW_OURS(TYPE, ".crl_check", CONF_ENUM, "off", "external: leaf", "off, leaf, chain", 0, 0,                 \
                     "Whether clients' certificates, or all of their chain too, must not be in crl_file."),            \
        TLS_ROW_OURS(TYPE, ".ocsp_file", CONF_STRING, NULL, "external: etc/certs/ocsp.der", NULL, 0, 0,                \
                     "OCSP response (DER) about certfile that is stapled for clients that ask for it."),               \
        TLS_ROW_OURS(                                                                                                  \
            TYPE, ".max_handshakes", CONF_INTEGER, "4096", "external: 4096", NULL, 1, UINT32_MAX,                      \
            "TLS handshakes at once. A further one ends the oldest whose client has said nothing, or is refused."),    \
        TLS_ROW_OURS(TYPE, ".sni.$id.host", CONF_STRING, NULL, "external.1: broker.example.com", NULL, 0, 0,           \
                     "Another certificate for clients that ask for this host (SNI): a name, or *.example.com."),       \
        TLS_ROW_OURS(TYPE, ".sni.$id.keyfile", CONF_STRING, NULL, "external.1: etc/certs/broker-key.pem", NULL, 0, 0,  \
                     "Its private key (PEM)."),                                                                        \
        TLS_ROW_OURS(TYPE, ".sni.$id.certfile", CONF_STRING, NULL, "external.1: etc/certs/broker.pem", NULL, 0, 0,     \
                     "The certificate with its chain (PEM).")

#define LISTENER_CIPHERS                                                                                               \
    "ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-AES256-SHA384,"                             \
    "ECDHE-RSA-AES256-SHA384,ECDHE-ECDSA-DES-CBC3-SHA,ECDH-ECDSA-AES256-GCM-SHA384,"                                   \
    "ECDH-RSA-AES256-GCM-SHA384,ECDH-ECDSA-AES256-SHA384,ECDH-RSA-AES256-SHA384,"                                      \
    "DHE-DSS-AES256-GCM-SHA384,DHE-DSS-AES256-SHA256,AES256-GCM-SHA384,AES256-SHA256,"                                 \
    "ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES128-SHA256,"                             \
    "ECDHE-RSA-AES128-SHA256,ECDH-ECDSA-AES128-GCM-SHA256,ECDH-RSA-AES128-GCM-SHA256,"                                 \
    "ECDH-ECDSA-AES128-SHA256,ECDH-RSA-AES128-SHA256,DHE-DSS-AES128-GCM-SHA256,DHE-DSS-AES128-SHA256,"                 \
    "AES128-GCM-SHA256,AES128-SHA256,ECDHE-ECDSA-AES256-SHA,ECDHE-RSA-AES256-SHA,DHE-DSS-AES256-SHA,"                  \
    "ECDH-ECDSA-AES256-SHA,ECDH-RSA-AES256-SHA,AES256-SHA,ECDHE-ECDSA-AES128-SHA,ECDHE-RSA-AES128-SHA,"                \
    "DHE-DSS-AES128-SHA,ECDH-ECDSA-AES128-SHA,ECDH-RSA-AES128-SHA,AES128-SHA"
#define LISTENER_PSK_CIPHERS "PSK-AES128-CBC-SHA,PSK-AES256-CBC-SHA,PSK-3DES-EDE-CBC-SHA,PSK-RC4-SHA"

/* WebSocket */
#define WS_ROW(TYPE, KEY, KIND, FALLBACK, SHIPPED, EXAMPLE, WORDS, MIN, MAX, HELP)                                     \
    LISTENER_ROW(TYPE, KEY, KIND, FALLBACK, SHIPPED, EXAMPLE, WORDS, MIN, MAX, CONF_IN_EFFECT, HELP)
#define ROW_MQTT_PATH(TYPE)                                                                                            \
    WS_ROW(TYPE, ".mqtt_path", CONF_STRING, "/mqtt", "external: /mqtt", NULL, NULL, 0, 0,                              \
           "Path of the URL. Every other path is answered with 404.")
#define ROW_VERIFY_PROTOCOL_HEADER(TYPE)                                                                               \
    WS_ROW(TYPE, ".verify_protocol_header", CONF_BOOL, "on", "external: on", NULL, NULL, 0, 0,                         \
           "Insist on the header Sec-WebSocket-Protocol. off lets in clients that cannot send it.")
#define ROW_PROXY_ADDRESS_HEADER(TYPE)                                                                                 \
    WS_ROW(TYPE, ".proxy_address_header", CONF_STRING, NULL, NULL, "external: X-Forwarded-For", NULL, 0, 0,            \
           "HTTP header in which a proxy hands over the client's address.")
#define ROW_PROXY_PORT_HEADER(TYPE)                                                                                    \
    WS_ROW(TYPE, ".proxy_port_header", CONF_STRING, NULL, NULL, "external: X-Forwarded-Port", NULL, 0, 0,              \
           "HTTP header in which a proxy hands over the client's port.")
#define ROW_ORIGINS(TYPE)                                                                                              \
    {                                                                                                                  \
        .name = "listener." TYPE ".$name.origins", .type = CONF_STRING,                                                \
        .example = "external: https://example.com, https://www.example.com", .effect = CONF_IN_EFFECT, .ours = true,   \
        .help = "Web pages whose scripts may connect: values of the header Origin, separated by commas. Every other "  \
                "page is answered with 403; clients that are no browsers send no such header and may always. "         \
                "Unset lets in every page.",                                                                           \
    }
#define ROWS_WS_TAIL(TYPE)                                                                                             \
    WS_ROW(TYPE, ".compress", CONF_BOOL, "false", NULL, "external: true", NULL, 0, 0,                                  \
           "Compress messages with clients that can (permessage-deflate)."),                                           \
        WS_ROW(TYPE, ".deflate_opts.level", CONF_ENUM, "default", NULL, "external: default",                           \
               "none, default, best_compression, best_speed", 0, 0, "How much effort compressing takes."),             \
        WS_ROW(TYPE, ".deflate_opts.mem_level", CONF_INTEGER, "8", NULL, "external: 8", NULL, 1, 9,                    \
               "Memory for compressing."),                                                                             \
        WS_ROW(TYPE, ".deflate_opts.strategy", CONF_ENUM, "default", NULL, "external: default",                        \
               "default, filtered, huffman_only, rle", 0, 0, "Strategy of compressing."),                              \
        WS_ROW(TYPE, ".deflate_opts.server_context_takeover", CONF_ENUM, "takeover", NULL, "external: takeover",       \
               "takeover, no_takeover", 0, 0, "Keep the server's dictionary from message to message."),                \
        WS_ROW(TYPE, ".deflate_opts.client_context_takeover", CONF_ENUM, "takeover", NULL, "external: takeover",       \
               "takeover, no_takeover", 0, 0, "Keep the client's dictionary from message to message."),                \
        WS_ROW(TYPE, ".deflate_opts.server_max_window_bits", CONF_INTEGER, "15", NULL, "external: 15", NULL, 8, 15,    \
               "Size of the server's dictionary as a power of two."),                                                  \
        WS_ROW(TYPE, ".deflate_opts.client_max_window_bits", CONF_INTEGER, "15", NULL, "external: 15", NULL, 8, 15,    \
               "Size of the client's dictionary as a power of two."),                                                  \
        WS_ROW(TYPE, ".idle_timeout", CONF_DURATION_MS, "2h", NULL, "external: 60s", NULL, 1, UINT32_MAX,              \
               "Close a connection without any WebSocket frame for so long."),                                         \
        WS_ROW(TYPE, ".max_frame_size", CONF_INTEGER, "0", NULL, "external: 0", NULL, 0, UINT32_MAX,                   \
               "Largest WebSocket frame in bytes. 0 sets no limit.")

#endif
