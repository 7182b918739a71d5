/*
 * websocket_upgrade: see websocket_upgrade.h. http-parser cuts the request; each header is judged as soon as it is whole, and only what
 * the answer needs is kept. Wrong requests are refused when their last header has come, so that the client reads the answer.
 */
#include "http/websocket_upgrade.h"

#include "base/buffer.h"
#include "http/http_token_internal.h"

#include <assert.h>
#include <http_parser.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_LEN 24u /* 16 bytes in base64 */
#define DIGEST_TEXT_LEN 28u
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* section 1.3 */

enum refusal {
    NOT_REFUSED,
    REFUSED_SYNTAX,
    REFUSED_LARGE,
    REFUSED_HEADERS,
    REFUSED_VERSION,
    REFUSED_METHOD,
    REFUSED_PATH,
    REFUSED_HOST,
    REFUSED_BODY,
    REFUSED_UPGRADE,
    REFUSED_CONNECTION,
    REFUSED_ORIGIN,
    REFUSED_WS_VERSION,
    REFUSED_KEY,
    REFUSED_PROTOCOL,
};

struct refusal_row {
    const char *status;
    const char *header; /* a further one, with its line end */
    const char *error;  /* also the body */
};

static const struct refusal_row refusals[] = {
    [REFUSED_SYNTAX] = {"400 Bad Request", "", "the request is not HTTP"},
    [REFUSED_LARGE] = {"431 Request Header Fields Too Large", "", "the request is longer than 8192 bytes"},
    [REFUSED_HEADERS] = {"431 Request Header Fields Too Large", "", "the request has more than 100 headers"},
    [REFUSED_VERSION] = {"505 HTTP Version Not Supported", "", "WebSocket needs HTTP/1.1"},
    [REFUSED_METHOD] = {"405 Method Not Allowed", "Allow: GET\r\n", "WebSocket needs the method GET"},
    [REFUSED_PATH] = {"404 Not Found", "", "there is nothing at this path, MQTT is at the listener's mqtt_path"},
    [REFUSED_HOST] = {"400 Bad Request", "", "the header Host is missing or there are several"},
    [REFUSED_BODY] = {"400 Bad Request", "", "a WebSocket request has no body"},
    [REFUSED_UPGRADE] = {"400 Bad Request", "", "the header Upgrade does not ask for websocket"},
    [REFUSED_CONNECTION] = {"400 Bad Request", "", "the header Connection does not name Upgrade"},
    [REFUSED_ORIGIN] = {"403 Forbidden", "", "the Origin is not among the listener's origins"},
    [REFUSED_WS_VERSION] = {"426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                            "Sec-WebSocket-Version is not 13"},
    [REFUSED_KEY] = {"400 Bad Request", "", "Sec-WebSocket-Key is not 16 bytes in base64"},
    [REFUSED_PROTOCOL] = {"400 Bad Request", "", "Sec-WebSocket-Protocol names no subprotocol mqtt"},
};

struct short_text {
    uint8_t len;
    char bytes[WEBSOCKET_PROTOCOL_MAX];
};

static_assert(WEBSOCKET_FORWARDED_MAX <= WEBSOCKET_PROTOCOL_MAX, "short_text holds both");

struct websocket_upgrade {
    const struct websocket_options *options;
    http_parser parser;
    struct buffer text; /* the URL, or the name and then the value of the header that is being read */
    uint32_t name_len;  /* of `text` */
    uint32_t total;     /* bytes of the request so far */
    uint8_t header_count;
    uint8_t host_count, key_count, version_count; /* up to 2 */
    bool in_value, url_done, complete, no_memory;
    bool upgrade_seen, connection_seen, version_right, origin_wrong, has_body, path_right, deflate_agreed;
    enum refusal early; /* found before the end */
    char key[KEY_LEN];
    struct short_text protocol, address, port;
    struct websocket_deflate_terms deflate;
    const char *error;
    size_t answer_len;
    char answer[WEBSOCKET_ANSWER_MAX];
};

struct websocket_upgrade *websocket_upgrade_new(const struct websocket_options *options)
{
    struct websocket_upgrade *upgrade = calloc(1, sizeof(*upgrade));

    if (upgrade == NULL)
        return NULL;
    upgrade->options = options;
    buffer_init(&upgrade->text, WEBSOCKET_REQUEST_MAX);
    http_parser_init(&upgrade->parser, HTTP_REQUEST);
    upgrade->parser.data = upgrade;
    return upgrade;
}

void websocket_upgrade_free(struct websocket_upgrade *upgrade)
{
    if (upgrade == NULL)
        return;
    buffer_fini(&upgrade->text);
    free(upgrade);
}

static void keep(struct short_text *out, struct slice text)
{
    if (text.len == 0 || text.len > sizeof(out->bytes))
        return;
    memcpy(out->bytes, text.data, text.len);
    out->len = (uint8_t)text.len;
}

static void count(uint8_t *counter)
{
    if (*counter < 2)
        (*counter)++;
}

static bool list_has(struct slice list, struct slice token)
{
    struct slice element;

    while (http_next(&list, ',', &element)) {
        if (http_same(element, token))
            return true;
    }
    return false;
}

static bool is_token(struct slice text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && (c == 0 || strchr(others, c) == NULL))
            return false;
    }
    return text.len > 0;
}

static void on_host(struct websocket_upgrade *upgrade, struct slice value)
{
    (void)value;
    count(&upgrade->host_count);
}

static void on_upgrade(struct websocket_upgrade *upgrade, struct slice value)
{
    upgrade->upgrade_seen |= list_has(value, SLICE_LITERAL("websocket"));
}

static void on_connection(struct websocket_upgrade *upgrade, struct slice value)
{
    upgrade->connection_seen |= list_has(value, SLICE_LITERAL("upgrade"));
}

static void on_version(struct websocket_upgrade *upgrade, struct slice value)
{
    count(&upgrade->version_count);
    upgrade->version_right = slice_equal(value, SLICE_LITERAL("13"));
}

static void on_key(struct websocket_upgrade *upgrade, struct slice value)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    count(&upgrade->key_count);
    upgrade->key[0] = '\0';
    if (value.len != KEY_LEN || memcmp(value.data + KEY_LEN - 2, "==", 2) != 0)
        return;
    for (size_t i = 0; i < KEY_LEN - 2; i++) {
        if (value.data[i] == 0 || strchr(alphabet, value.data[i]) == NULL)
            return;
    }
    memcpy(upgrade->key, value.data, KEY_LEN);
}

/* `mqtt` [MQTT-6.0.0-3] before what older clients call it: mqttv3.1, mqttv3.1.1. */
static void on_protocol(struct websocket_upgrade *upgrade, struct slice value)
{
    struct slice element;

    while (http_next(&value, ',', &element)) {
        bool best = slice_equal(element, SLICE_LITERAL("mqtt"));
        if (best ||
            (upgrade->protocol.len == 0 && slice_starts_with(element, SLICE_LITERAL("mqtt")) && is_token(element)))
            keep(&upgrade->protocol, element);
        if (best)
            return;
    }
}

static void on_extensions(struct websocket_upgrade *upgrade, struct slice value)
{
    if (!upgrade->deflate_agreed)
        upgrade->deflate_agreed = websocket_deflate_negotiate(upgrade->options, value, &upgrade->deflate);
}

static void on_origin(struct websocket_upgrade *upgrade, struct slice value)
{
    for (uint32_t i = 0; i < upgrade->options->origin_count; i++) {
        if (http_same(value, slice_from_string(upgrade->options->origins[i])))
            return;
    }
    upgrade->origin_wrong = upgrade->options->origin_count > 0;
}

static void on_body_length(struct websocket_upgrade *upgrade, struct slice value)
{
    upgrade->has_body |= !slice_equal(value, SLICE_LITERAL("0"));
}

static void on_forwarded(struct short_text *out, const char *wanted, struct slice name, struct slice value)
{
    struct slice first;

    if (wanted != NULL && out->len == 0 && http_same(name, slice_from_string(wanted)) && http_next(&value, ',', &first))
        keep(out, first);
}

static const struct header_row {
    const char *name;
    void (*on_value)(struct websocket_upgrade *upgrade, struct slice value);
} header_rows[] = {
    {"Host", on_host},
    {"Upgrade", on_upgrade},
    {"Connection", on_connection},
    {"Sec-WebSocket-Version", on_version},
    {"Sec-WebSocket-Key", on_key},
    {"Sec-WebSocket-Protocol", on_protocol},
    {"Sec-WebSocket-Extensions", on_extensions},
    {"Origin", on_origin},
    {"Content-Length", on_body_length},
    {"Transfer-Encoding", on_body_length},
};

static void header_done(struct websocket_upgrade *upgrade)
{
    struct slice text = buffer_slice(&upgrade->text);
    struct slice name = slice_make(text.data, upgrade->name_len);
    struct slice value = http_trim(slice_skip(text, upgrade->name_len));

    for (size_t i = 0; i < ARRAY_COUNT(header_rows); i++) {
        if (http_same(name, slice_from_string(header_rows[i].name)))
            header_rows[i].on_value(upgrade, value);
    }
    on_forwarded(&upgrade->address, upgrade->options->proxy_address_header, name, value);
    on_forwarded(&upgrade->port, upgrade->options->proxy_port_header, name, value);
    buffer_clear(&upgrade->text);
    upgrade->in_value = false;
}

static void url_done(struct websocket_upgrade *upgrade)
{
    struct slice path;
    struct slice url = buffer_slice(&upgrade->text);

    if (upgrade->url_done)
        return;
    upgrade->url_done = true;
    upgrade->path_right = http_next(&url, '?', &path) && slice_equal(path, slice_from_string(upgrade->options->path));
    buffer_clear(&upgrade->text);
}

/* What was read up to here is whole: the URL or a header. */
static void text_done(struct websocket_upgrade *upgrade)
{
    url_done(upgrade);
    if (upgrade->in_value)
        header_done(upgrade);
}

static int add_text(struct websocket_upgrade *upgrade, const char *bytes, size_t len)
{
    if (buffer_append(&upgrade->text, slice_make(bytes, len)) == 0)
        return 0;
    upgrade->no_memory = true; /* the request is shorter than the buffer may become */
    return -1;
}

static int on_url(http_parser *parser, const char *bytes, size_t len)
{
    return add_text(parser->data, bytes, len);
}

static int on_header_field(http_parser *parser, const char *bytes, size_t len)
{
    struct websocket_upgrade *upgrade = parser->data;

    if (upgrade->in_value || !upgrade->url_done)
        text_done(upgrade);
    if (buffer_length(&upgrade->text) == 0 && upgrade->header_count++ == WEBSOCKET_HEADERS_MAX) {
        upgrade->early = REFUSED_HEADERS;
        return -1;
    }
    return add_text(upgrade, bytes, len);
}

static int on_header_value(http_parser *parser, const char *bytes, size_t len)
{
    struct websocket_upgrade *upgrade = parser->data;

    if (!upgrade->in_value)
        upgrade->name_len = buffer_length(&upgrade->text);
    upgrade->in_value = true;
    return add_text(upgrade, bytes, len);
}

static int on_headers_complete(http_parser *parser)
{
    struct websocket_upgrade *upgrade = parser->data;

    text_done(upgrade);
    upgrade->complete = true;
    return 2; /* no body, no further request: the parser stops here */
}

/* Section 4.2.1. */
static enum refusal judge(const struct websocket_upgrade *upgrade)
{
    const struct {
        bool wrong;
        enum refusal refusal;
    } checks[] = {
        {upgrade->parser.http_major != 1 || upgrade->parser.http_minor != 1, REFUSED_VERSION},
        {upgrade->parser.method != HTTP_GET, REFUSED_METHOD},
        {!upgrade->path_right, REFUSED_PATH},
        {upgrade->host_count != 1, REFUSED_HOST},
        {upgrade->has_body, REFUSED_BODY},
        {!upgrade->upgrade_seen, REFUSED_UPGRADE},
        {!upgrade->connection_seen, REFUSED_CONNECTION},
        {upgrade->origin_wrong, REFUSED_ORIGIN},
        {upgrade->version_count != 1 || !upgrade->version_right, REFUSED_WS_VERSION},
        {upgrade->key_count != 1 || upgrade->key[0] == '\0', REFUSED_KEY},
        {upgrade->options->verify_protocol_header && upgrade->protocol.len == 0, REFUSED_PROTOCOL},
    };

    for (size_t i = 0; i < ARRAY_COUNT(checks); i++) {
        if (checks[i].wrong)
            return checks[i].refusal;
    }
    return NOT_REFUSED;
}

static void append_answer(struct websocket_upgrade *upgrade, int len)
{
    ASSERT(len >= 0 && (size_t)len < sizeof(upgrade->answer) - upgrade->answer_len);
    upgrade->answer_len += (size_t)len;
}

static enum websocket_verdict refuse(struct websocket_upgrade *upgrade, enum refusal refusal)
{
    const struct refusal_row *row = &refusals[refusal];

    upgrade->error = row->error;
    append_answer(upgrade,
                  snprintf(upgrade->answer, sizeof(upgrade->answer),
                           "HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: text/plain\r\n%sContent-Length: %zu"
                           "\r\n\r\n%s\n",
                           row->status, row->header, strlen(row->error) + 1, row->error));
    return WEBSOCKET_UPGRADE_REFUSED;
}

static enum websocket_verdict accept_request(struct websocket_upgrade *upgrade)
{
    uint8_t text[KEY_LEN + sizeof(ACCEPT_GUID) - 1];
    uint8_t digest[SHA_DIGEST_LENGTH];
    char digest_text[DIGEST_TEXT_LEN + 1], extensions[WEBSOCKET_EXTENSION_MAX];
    char *answer = upgrade->answer;
    size_t room = sizeof(upgrade->answer);

    memcpy(text, upgrade->key, KEY_LEN);
    memcpy(text + KEY_LEN, ACCEPT_GUID, sizeof(ACCEPT_GUID) - 1);
    SHA1(text, sizeof(text), digest);
    EVP_EncodeBlock((uint8_t *)digest_text, digest, sizeof(digest));
    append_answer(upgrade, snprintf(answer, room,
                                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                    "Sec-WebSocket-Accept: %s\r\n",
                                    digest_text));
    if (upgrade->protocol.len > 0)
        append_answer(upgrade,
                      snprintf(answer + upgrade->answer_len, room - upgrade->answer_len,
                               "Sec-WebSocket-Protocol: %.*s\r\n", upgrade->protocol.len, upgrade->protocol.bytes));
    if (upgrade->deflate_agreed) {
        websocket_deflate_answer(&upgrade->deflate, extensions);
        append_answer(upgrade, snprintf(answer + upgrade->answer_len, room - upgrade->answer_len,
                                        "Sec-WebSocket-Extensions: %s\r\n", extensions));
    }
    append_answer(upgrade, snprintf(answer + upgrade->answer_len, room - upgrade->answer_len, "\r\n"));
    return WEBSOCKET_UPGRADE_ACCEPTED;
}

enum websocket_verdict websocket_upgrade_feed(struct websocket_upgrade *upgrade, const uint8_t *in, size_t len,
                                              size_t *out_used)
{
    static const http_parser_settings settings = {.on_url = on_url,
                                                  .on_header_field = on_header_field,
                                                  .on_header_value = on_header_value,
                                                  .on_headers_complete = on_headers_complete};
    size_t room = WEBSOCKET_REQUEST_MAX - upgrade->total;
    size_t offered = len < room ? len : room;
    enum refusal refusal;

    *out_used = http_parser_execute(&upgrade->parser, &settings, (const char *)in, offered);
    upgrade->total += (uint32_t)*out_used;
    if (upgrade->no_memory)
        return WEBSOCKET_UPGRADE_NO_MEMORY;
    if (upgrade->early != NOT_REFUSED)
        return refuse(upgrade, upgrade->early);
    if (upgrade->complete) {
        refusal = judge(upgrade);
        return refusal != NOT_REFUSED ? refuse(upgrade, refusal) : accept_request(upgrade);
    }
    if (HTTP_PARSER_ERRNO(&upgrade->parser) != HPE_OK)
        return refuse(upgrade, REFUSED_SYNTAX);
    return offered < len || upgrade->total == WEBSOCKET_REQUEST_MAX ? refuse(upgrade, REFUSED_LARGE)
                                                                    : WEBSOCKET_UPGRADE_MORE;
}

struct slice websocket_upgrade_answer(const struct websocket_upgrade *upgrade)
{
    return slice_make(upgrade->answer, upgrade->answer_len);
}

const char *websocket_upgrade_error(const struct websocket_upgrade *upgrade)
{
    return upgrade->error;
}

const struct websocket_deflate_terms *websocket_upgrade_deflate(const struct websocket_upgrade *upgrade)
{
    return upgrade->deflate_agreed ? &upgrade->deflate : NULL;
}

static struct slice short_slice(const struct short_text *text)
{
    return text->len == 0 ? (struct slice){NULL, 0} : slice_make(text->bytes, text->len);
}

struct slice websocket_upgrade_address(const struct websocket_upgrade *upgrade)
{
    return short_slice(&upgrade->address);
}

struct slice websocket_upgrade_port(const struct websocket_upgrade *upgrade)
{
    return short_slice(&upgrade->port);
}
