/*
 * options: see options.h.
 */
#include "options.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_type { OPTION_TEXT, OPTION_NUMBER, OPTION_BOOLEAN, OPTION_FLAG };

#define ON(command) (1u << (command))
#define ON_ALL (ON(COMMAND_CONN) | ON(COMMAND_PUB) | ON(COMMAND_SUB) | ON(COMMAND_LOAD) | ON(COMMAND_QUEUE))
#define ON_SIMPLE (ON(COMMAND_CONN) | ON(COMMAND_PUB) | ON(COMMAND_SUB))
#define ON_PUB ON(COMMAND_PUB)
#define ON_LOAD ON(COMMAND_LOAD)
#define ON_QUEUE ON(COMMAND_QUEUE)
#define ON_LOAD_QUEUE (ON_LOAD | ON_QUEUE)

/* One option: where it counts, where its value goes, what it may be. */
struct option_row {
    char letter; /* 0: none */
    const char *name;
    enum option_type type;
    uint32_t commands; /* ON() bits */
    size_t offset;
    uint32_t min, max;
    const char *fallback; /* NULL: none */
    const char *help;
};

#define FIELD(member) offsetof(struct options, member)

static const struct option_row rows[] = {
    {'h', "host", OPTION_TEXT, ON_ALL, FIELD(host), 0, 0, "localhost", "address or name of the broker"},
    {'p', "port", OPTION_NUMBER, ON_ALL, FIELD(port), 1, 65535, NULL,
     "port of the broker (default: 1883; with --ssl 8883, --ws 8083, both 8084)"},
    {'V', "version", OPTION_NUMBER, ON_ALL, FIELD(version), 3, 5, "5", "protocol: 3 (3.1), 4 (3.1.1) or 5"},
    {'c', "count", OPTION_NUMBER, ON_SIMPLE, FIELD(count), 1, 10000000, "200", "number of clients"},
    {'n', "startnumber", OPTION_NUMBER, ON_SIMPLE, FIELD(start_number), 0, UINT32_MAX, "0",
     "number of the first client"},
    {'i', "interval", OPTION_NUMBER, ON_SIMPLE, FIELD(connect_interval_ms), 0, 3600000, "10",
     "ms between two connections being opened; 0: as fast as --concurrency lets"},
    {'I', "interval_of_msg", OPTION_NUMBER, ON_PUB, FIELD(publish_interval_ms), 0, 3600000, "1000",
     "ms between two messages of a client; 0: as fast as the broker takes them"},
    {'w', "wait", OPTION_NUMBER, ON_PUB, FIELD(wait_before_publishing_ms), 0, 3600000, "0",
     "ms a client waits after it has connected before its first message"},
    {'t', "topic", OPTION_TEXT, ON_PUB | ON(COMMAND_SUB), FIELD(topic), 0, 0, NULL,
     "topic or filter; %i: the client's number, %c: client id, %u: user name, %s: number of the message"},
    {'m', "message", OPTION_TEXT, ON_PUB, FIELD(message), 0, 0, NULL, "payload, in place of --size bytes"},
    {'s', "size", OPTION_NUMBER, ON_PUB, FIELD(size), 0, 268435000, "256",
     "bytes of payload; from 24 on they carry number and time for the receiver"},
    {'s', "size", OPTION_NUMBER, ON_LOAD_QUEUE, FIELD(size), 24, 268435000, "64",
     "bytes of payload, which carries number and time"},
    {'q', "qos", OPTION_NUMBER, ON_PUB | ON(COMMAND_SUB) | ON_LOAD, FIELD(qos), 0, 2, "0", "QoS"},
    {'q', "qos", OPTION_NUMBER, ON_QUEUE, FIELD(qos), 1, 2, "1", "QoS; nobody acknowledges 0"},
    {'r', "retain", OPTION_BOOLEAN, ON_PUB, FIELD(retain), 0, 0, "false", "retained messages"},
    {'L', "limit", OPTION_NUMBER, ON_PUB | ON(COMMAND_SUB), FIELD(limit), 0, UINT32_MAX, "0",
     "stop after this many messages of all clients; 0: no limit"},
    {'u', "username", OPTION_TEXT, ON_ALL, FIELD(user_name), 0, 0, NULL, "user name"},
    {'P', "password", OPTION_TEXT, ON_ALL, FIELD(password), 0, 0, NULL, "password"},
    {'k', "keepalive", OPTION_NUMBER, ON_ALL, FIELD(keep_alive_s), 0, 65535, "300", "keep-alive time in s; 0: off"},
    {'C', "clean", OPTION_BOOLEAN, ON_SIMPLE | ON_LOAD, FIELD(clean), 0, 0, "true", "clean session (clean start)"},
    {'x', "session-expiry", OPTION_NUMBER, ON_SIMPLE | ON_LOAD, FIELD(expiry_s), 0, UINT32_MAX, "0",
     "session expiry in s (v5)"},
    {'x', "session-expiry", OPTION_NUMBER, ON_QUEUE, FIELD(expiry_s), 1, UINT32_MAX, "86400",
     "session expiry in s (v5): longer than the run"},
    {'F', "inflight", OPTION_NUMBER, ON_PUB | ON_LOAD_QUEUE, FIELD(inflight), 1, 65535, NULL,
     "QoS 1 and 2 handshakes a publisher has open at most; v5: never more than the broker's Receive Maximum "
     "(default: that; v3: 32)"},
    {0, "receive-maximum", OPTION_NUMBER, ON(COMMAND_SUB) | ON_LOAD_QUEUE, FIELD(receive_max), 0, 65535, "0",
     "Receive Maximum of subscribers (v5); 0: not sent"},
    {0, "prefix", OPTION_TEXT, ON_ALL, FIELD(prefix), 0, 0, NULL, "client ids are PREFIX_NUMBER"},
    {0, "duration", OPTION_NUMBER, ON_SIMPLE, FIELD(duration_s), 0, 86400, "0", "end after this many s; 0: at ^C"},
    {0, "seconds", OPTION_NUMBER, ON_LOAD_QUEUE, FIELD(duration_s), 0, 86400, "5", "how long is measured"},
    {0, "warm-up", OPTION_NUMBER, ON_LOAD_QUEUE, FIELD(warm_up_ms), 0, 3600000, "1000", "ms of load before that"},
    {0, "pattern", OPTION_TEXT, ON_LOAD, FIELD(pattern), 0, 0, "pair",
     "fan-out, fan-in, pair, shared, wildcard or idle"},
    {0, "publishers", OPTION_NUMBER, ON_LOAD, FIELD(publisher_count), 0, 100000, "0", "0: the pattern's own number"},
    {0, "publishers", OPTION_NUMBER, ON_QUEUE, FIELD(publisher_count), 1, 100000, "200",
     "connections that fill the sessions"},
    {0, "subscribers", OPTION_NUMBER, ON_LOAD, FIELD(subscriber_count), 0, 1000000, "0", "0: the pattern's own number"},
    {0, "filters", OPTION_NUMBER, ON_LOAD, FIELD(filter_count), 0, 10000000, "0",
     "wildcard: filters in all; idle: further wildcard filters in all"},
    {'W', "window", OPTION_NUMBER, ON_LOAD, FIELD(window), 0, 65535, "0",
     "messages of one publisher under way from end to end; 0: 200, less where that would be more than 900 for one "
     "subscriber"},
    {0, "rate", OPTION_NUMBER, ON_LOAD, FIELD(rate), 0, 100000000, "0",
     "messages/s of all publishers together; 0: as many as the window lets (closed loop)"},
    {0, "concurrency", OPTION_NUMBER, ON_ALL, FIELD(concurrency), 1, 10000, "100",
     "connections being opened at a time"},
    {0, "stall", OPTION_NUMBER, ON_LOAD_QUEUE, FIELD(stall_s), 1, 3600, "5",
     "s without any progress after which missing messages count as lost"},
    {0, "hold", OPTION_NUMBER, ON_LOAD, FIELD(hold_s), 0, 86400, "0", "idle: keep the connections for this many s"},
    {0, "sessions", OPTION_NUMBER, ON_QUEUE, FIELD(session_count), 0, 9999999, "0",
     "persistent sessions, each with a topic of its own; 0: as many as publishers"},
    {0, "messages", OPTION_NUMBER, ON_QUEUE, FIELD(messages), 0, UINT32_MAX, "0",
     "messages for each session; 0: as many as --seconds let"},
    {0, "steps", OPTION_TEXT, ON_QUEUE, FIELD(steps), 0, 0, "subscribe,publish,drain", "what is done, of these"},
    {0, "topic-prefix", OPTION_TEXT, ON_LOAD_QUEUE, FIELD(topic_prefix), 0, 0, NULL,
     "all topics begin so (default: bench/PROCESS)"},
    {'S', "ssl", OPTION_FLAG, ON_ALL, FIELD(ssl), 0, 0, NULL, "over TLS"},
    {0, "certfile", OPTION_TEXT, ON_ALL, FIELD(tls.cert_file), 0, 0, NULL, "TLS: the clients' certificate (PEM)"},
    {0, "keyfile", OPTION_TEXT, ON_ALL, FIELD(tls.key_file), 0, 0, NULL, "TLS: its key (PEM; default: in --certfile)"},
    {0, "cacertfile", OPTION_TEXT, ON_ALL, FIELD(tls.ca_cert_file), 0, 0, NULL,
     "TLS: authorities of which the broker's certificate must be (PEM; default: any will do)"},
    {0, "psk-identity", OPTION_TEXT, ON_ALL, FIELD(tls.psk_identity), 0, 0, NULL, "TLS: pre-shared key: identity"},
    {0, "psk", OPTION_TEXT, ON_ALL, FIELD(tls.psk), 0, 0, NULL, "TLS: pre-shared key: key, hexadecimal"},
    {0, "tls-version", OPTION_TEXT, ON_ALL, FIELD(tls.version), 0, 0, NULL,
     "TLS: 1.0, 1.1, 1.2 or 1.3, and no other (default: 1.2 or 1.3)"},
    {0, "ssl-version", OPTION_TEXT, ON_ALL, FIELD(tls.version), 0, 0, NULL, "the same, as emqtt-bench calls it"},
    {0, "ciphers", OPTION_TEXT, ON_ALL, FIELD(tls.ciphers), 0, 0, NULL,
     "TLS: OpenSSL's names with ':' between, of TLS 1.3 and before"},
    {0, "reuse-sessions", OPTION_BOOLEAN, ON_ALL, FIELD(tls.reuse_sessions), 0, 0, "false",
     "TLS: all connections resume the session of the first one"},
    {0, "ws", OPTION_FLAG, ON_ALL, FIELD(websocket), 0, 0, NULL, "over WebSocket"},
    {0, "ws-path", OPTION_TEXT, ON_ALL, FIELD(websocket_path), 0, 0, "/mqtt", "WebSocket: path"},
    {0, "broker-pid", OPTION_NUMBER, ON_ALL, FIELD(broker_pid), 1, INT32_MAX, NULL,
     "report processor time and memory of this process too"},
    {0, "json", OPTION_TEXT, ON_ALL, FIELD(json_path), 0, 0, NULL, "write the summary to this file as JSON"},
    {0, "quiet", OPTION_FLAG, ON_ALL, FIELD(quiet), 0, 0, NULL, "no counters each second"},
};

static const char *const command_names[COMMAND_COUNT] = {"conn", "pub", "sub", "load", "queue"};

const char *options_command_name(enum command command)
{
    return command_names[command];
}

static const char *const examples[COMMAND_COUNT] = {
    [COMMAND_CONN] = "  emqx_bench conn -c 10000 -i 1\n",
    [COMMAND_PUB] = "  emqx_bench pub -c 100 -I 10 -t bench/%i -q 1\n",
    [COMMAND_SUB] = "  emqx_bench sub -c 100 -t bench/%i -q 1\n",
    [COMMAND_LOAD] = "  emqx_bench load --pattern fan-out --subscribers 100 --seconds 10\n",
    [COMMAND_QUEUE] = "  emqx_bench queue --publishers 200 -F 32 --seconds 10\n"
                      "  emqx_bench queue --publishers 1 -F 1 --steps subscribe,publish\n"
                      "The same sessions before and after a restart of the broker:\n"
                      "  emqx_bench queue --prefix a --topic-prefix a --sessions 10000 --messages 10 "
                      "--steps subscribe,publish\n"
                      "  emqx_bench queue --prefix a --topic-prefix a --sessions 10000 --messages 10 --steps drain\n",
};

static void print_usage(enum command command)
{
    (void)printf("Usage: emqx_bench %s [OPTION VALUE]...\n\n", command_names[command]);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct option_row *row = &rows[i];
        char letter[4] = {'-', row->letter, ',', '\0'};
        if ((row->commands & ON(command)) == 0)
            continue;
        (void)printf("  %3s --%-16s %s%s%s%s\n", row->letter != 0 ? letter : "", row->name, row->help,
                     row->fallback != NULL ? " [" : "", row->fallback != NULL ? row->fallback : "",
                     row->fallback != NULL ? "]" : "");
    }
    (void)printf("      --%-16s %s\n\nExamples\n%s", "help", "this text", examples[command]);
}

static int parse_number(const struct option_row *row, const char *text, void *field)
{
    char *end;
    unsigned long long value;
    uint32_t number;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < row->min || value > row->max) {
        (void)fprintf(stderr, "emqx_bench: --%s must be a number from %u to %u, not '%s'\n", row->name, row->min,
                      row->max, text);
        return -EINVAL;
    }
    number = (uint32_t)value;
    memcpy(field, &number, sizeof(number));
    return 0;
}

static int parse_boolean(const struct option_row *row, const char *text, void *field)
{
    bool value = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;

    if (!value && strcmp(text, "false") != 0 && strcmp(text, "0") != 0) {
        (void)fprintf(stderr, "emqx_bench: --%s must be true or false, not '%s'\n", row->name, text);
        return -EINVAL;
    }
    memcpy(field, &value, sizeof(value));
    return 0;
}

static bool is_boolean(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

static int set_option(struct options *options, const struct option_row *row, const char *text)
{
    void *field = (char *)options + row->offset;

    switch (row->type) {
    case OPTION_NUMBER: return parse_number(row, text, field);
    case OPTION_TEXT: memcpy(field, &text, sizeof(text)); return 0;
    case OPTION_BOOLEAN:
    case OPTION_FLAG: return parse_boolean(row, text, field);
    }
    return -EINVAL;
}

/* The row of "-c", "-c10", "--count" or "--count=10"; `*out_value` is what is glued to the name, else NULL. */
static const struct option_row *find_row(enum command command, const char *argument, const char **out_value)
{
    bool is_long = strncmp(argument, "--", 2) == 0;
    size_t name_len = is_long ? strcspn(argument + 2, "=") : 0;

    *out_value = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct option_row *row = &rows[i];
        if ((row->commands & ON(command)) == 0)
            continue;
        if (is_long && strlen(row->name) == name_len && strncmp(row->name, argument + 2, name_len) == 0) {
            if (argument[2 + name_len] == '=')
                *out_value = argument + 2 + name_len + 1;
            return row;
        }
        if (!is_long && argument[0] == '-' && argument[1] != '\0' && argument[1] == row->letter) {
            if (argument[2] != '\0')
                *out_value = argument + 2;
            return row;
        }
    }
    return NULL;
}

static int set_defaults(enum command command, struct options *options)
{
    memset(options, 0, sizeof(*options));
    options->command = command;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if ((rows[i].commands & ON(command)) != 0 && rows[i].fallback != NULL &&
            set_option(options, &rows[i], rows[i].fallback) < 0)
            return -EINVAL;
    }
    return 0;
}

static int check(const struct options *options)
{
    bool needs_topic = options->command == COMMAND_PUB || options->command == COMMAND_SUB;

    if (needs_topic && options->topic == NULL) {
        (void)fprintf(stderr, "emqx_bench: %s needs a topic: -t TOPIC\n", command_names[options->command]);
        return -EINVAL;
    }
    if (!options->ssl &&
        (options->tls.cert_file != NULL || options->tls.key_file != NULL || options->tls.ca_cert_file != NULL ||
         options->tls.psk != NULL || options->tls.version != NULL || options->tls.ciphers != NULL ||
         options->tls.reuse_sessions)) {
        (void)fprintf(stderr, "emqx_bench: options of TLS need --ssl\n");
        return -EINVAL;
    }
    return 0;
}

int options_parse(enum command command, int argc, char **argv, struct options *out_options)
{
    int err = set_defaults(command, out_options);

    for (int i = 0; i < argc && err == 0; i++) {
        const struct option_row *row;
        const char *value;
        if (strcmp(argv[i], "--help") == 0) {
            print_usage(command);
            return 1;
        }
        row = find_row(command, argv[i], &value);
        if (row == NULL) {
            (void)fprintf(stderr, "emqx_bench: %s has no option '%s'; --help lists them\n", command_names[command],
                          argv[i]);
            return -EINVAL;
        }
        if (row->type == OPTION_FLAG && value == NULL) /* emqtt-bench's may be followed by a word */
            value = i + 1 < argc && is_boolean(argv[i + 1]) ? argv[++i] : "true";
        else if (value == NULL && i + 1 < argc)
            value = argv[++i];
        if (value == NULL) {
            (void)fprintf(stderr, "emqx_bench: --%s needs a value\n", row->name);
            return -EINVAL;
        }
        err = set_option(out_options, row, value);
    }
    return err < 0 ? err : check(out_options);
}

const char *options_transport_name(const struct options *options)
{
    if (options->ssl)
        return options->websocket ? "wss" : "tls";
    return options->websocket ? "ws" : "tcp";
}

static uint32_t port_of(const struct options *options)
{
    if (options->port != 0)
        return options->port;
    if (options->ssl)
        return options->websocket ? 8084 : 8883;
    return options->websocket ? 8083 : 1883;
}

static int make_transport(const struct options *options, struct transport_settings *transport)
{
    struct tls_settings tls = options->tls;

    if (options->ssl) {
        tls.host = options->host;
        transport->tls = calloc(1, sizeof(*transport->tls));
        if (transport->tls == NULL || tls_init(transport->tls, &tls) < 0)
            return -EINVAL;
    }
    if (options->websocket) {
        transport->websocket = calloc(1, sizeof(*transport->websocket));
        if (transport->websocket == NULL ||
            websocket_settings_init(transport->websocket, options->host, port_of(options), options->websocket_path) < 0)
            return -EINVAL;
    }
    return 0;
}

void options_client_settings_fini(struct client_settings *settings)
{
    struct transport_settings *transport = &settings->transport;

    if (transport->tls != NULL)
        tls_fini(transport->tls);
    if (transport->websocket != NULL)
        websocket_settings_fini(transport->websocket);
    free(transport->tls);
    free(transport->websocket);
    *transport = (struct transport_settings){0};
}

int options_client_settings(const struct options *options, struct client_settings *out_settings)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const struct addrinfo *chosen;
    char port[16];
    int err;

    (void)snprintf(port, sizeof(port), "%u", port_of(options));
    err = getaddrinfo(options->host, port, &hints, &found);
    if (err != 0 || found == NULL) {
        (void)fprintf(stderr, "emqx_bench: cannot look up host '%s': %s\n", options->host, gai_strerror(err));
        return -EINVAL;
    }
    chosen = found; /* IPv4 where there is both: "localhost" is 127.0.0.1, where brokers listen */
    for (const struct addrinfo *one = found; one != NULL && chosen->ai_family != AF_INET; one = one->ai_next)
        chosen = one->ai_family == AF_INET ? one : chosen;
    *out_settings = (struct client_settings){
        .address_len = chosen->ai_addrlen,
        .version = (enum mqtt_version)options->version,
        .user_name = options->user_name,
        .password = options->password,
        .expiry_s = options->expiry_s,
        .keep_alive_s = (uint16_t)options->keep_alive_s,
        .receive_max = (uint16_t)options->receive_max,
        .inflight_max = (uint16_t)options->inflight,
        .clean = options->clean,
    };
    if (options->inflight == 0) /* v5: the broker's Receive Maximum decides; v3 has none: a broker's usual window */
        out_settings->inflight_max = options->version == MQTT_V5 ? UINT16_MAX : 32;
    memcpy(&out_settings->address, chosen->ai_addr, chosen->ai_addrlen);
    freeaddrinfo(found);
    return make_transport(options, &out_settings->transport);
}
