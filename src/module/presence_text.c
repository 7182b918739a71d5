/*
 * presence_text: see presence_text.h. What could not be appended is noted once, in `err`, and ends the rest.
 */
#include "module/presence_text.h"

#include "hook/events.h"
#include "mqtt/topic.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>

struct writer {
    struct buffer *out;
    int err;
};

static void put(struct writer *writer, struct slice text)
{
    if (writer->err == 0)
        writer->err = buffer_append(writer->out, text);
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, slice_from_string(text));
}

static void put_number(struct writer *writer, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    put_text(writer, text);
}

/* Bytes of the well-formed character at the beginning; 0: there is none. */
static size_t character_len(struct slice text)
{
    for (size_t len = 1; len <= 4 && len <= text.len; len++) {
        if (mqtt_utf8_valid(slice_make(text.data, len)))
            return len;
    }
    return 0;
}

static void put_in_topic(struct writer *writer, struct slice text)
{
    while (text.len > 0) {
        size_t len = character_len(text);
        char escaped[4];
        if (len > 0 && text.data[0] != '+' && text.data[0] != '#') {
            put(writer, slice_take(&text, len));
            continue;
        }
        snprintf(escaped, sizeof(escaped), "%%%02X", text.data[0]);
        put_text(writer, escaped);
        text = slice_skip(text, 1);
    }
}

int presence_topic(struct buffer *out, struct slice node_name, struct slice client_id, struct slice event)
{
    struct writer writer = {.out = out};

    put_text(&writer, "$SYS/brokers/");
    put(&writer, node_name);
    put_text(&writer, "/clients/");
    put_in_topic(&writer, client_id);
    put_text(&writer, "/");
    put(&writer, event);
    return writer.err;
}

/* Of a control character, a quotation mark or a backslash. */
static void put_escaped(struct writer *writer, uint8_t byte)
{
    static const char short_from[] = "\"\\\b\f\n\r\t", short_to[] = "\"\\bfnrt";
    const char *found = byte == 0 ? NULL : strchr(short_from, byte);
    char text[8];

    if (found != NULL)
        snprintf(text, sizeof(text), "\\%c", short_to[found - short_from]);
    else
        snprintf(text, sizeof(text), "\\u%04x", byte);
    put_text(writer, text);
}

/* Bytes at the beginning that stand in a JSON string as they are. */
static size_t plain_len(struct slice text)
{
    size_t len = 0;

    while (len < text.len && text.data[len] >= 0x20 && text.data[len] < 0x80 && text.data[len] != '"' &&
           text.data[len] != '\\')
        len++;
    return len;
}

static void put_string(struct writer *writer, struct slice text)
{
    put_text(writer, "\"");
    while (text.len > 0) {
        size_t len = plain_len(text);
        put(writer, slice_take(&text, len));
        if (text.len == 0)
            break;
        len = text.data[0] < 0x80 ? 1 : character_len(text);
        if (text.data[0] < 0x80)
            put_escaped(writer, text.data[0]);
        else
            put(writer, len > 0 ? slice_make(text.data, len) : SLICE_LITERAL("\xEF\xBF\xBD")); /* U+FFFD */
        text = slice_skip(text, len > 0 ? len : 1);
    }
    put_text(writer, "\"");
}

static void put_user_name(struct writer *writer, struct slice user_name)
{
    put_string(writer, user_name.data == NULL ? SLICE_LITERAL("undefined") : user_name);
}

static void put_address(struct writer *writer, const struct in6_addr *address)
{
    char text[INET6_ADDRSTRLEN];

    if (IN6_IS_ADDR_V4MAPPED(address))
        inet_ntop(AF_INET, &address->s6_addr[12], text, sizeof(text));
    else
        inet_ntop(AF_INET6, address, text, sizeof(text));
    put_text(writer, text);
}

int presence_connected(struct buffer *out, const struct hook_connected *event, uint64_t ts_ms)
{
    const struct client_info *client = event->client;
    struct writer writer = {.out = out};

    put_text(&writer, event->clean_start ? "{\"clean_start\":true" : "{\"clean_start\":false");
    put_text(&writer, ",\"clientid\":");
    put_string(&writer, client->client_id);
    put_text(&writer, ",\"connack\":");
    put_number(&writer, event->code);
    put_text(&writer, ",\"ipaddress\":\"");
    put_address(&writer, &client->peer_address);
    put_text(&writer, "\",\"keepalive\":");
    put_number(&writer, event->keep_alive_s);
    put_text(&writer, ",\"proto_name\":\"");
    put_text(&writer, client->version == MQTT_V3_1 ? "MQIsdp" : "MQTT");
    put_text(&writer, "\",\"proto_ver\":");
    put_number(&writer, client->version);
    put_text(&writer, ",\"ts\":");
    put_number(&writer, ts_ms);
    put_text(&writer, ",\"username\":");
    put_user_name(&writer, client->user_name);
    put_text(&writer, "}");
    return writer.err;
}

int presence_disconnected(struct buffer *out, const struct hook_disconnected *event, uint64_t ts_ms)
{
    struct writer writer = {.out = out};

    put_text(&writer, "{\"clientid\":");
    put_string(&writer, event->client->client_id);
    put_text(&writer, ",\"username\":");
    put_user_name(&writer, event->client->user_name);
    put_text(&writer, ",\"reason\":");
    put_string(&writer, slice_from_string(event->reason));
    put_text(&writer, ",\"ts\":");
    put_number(&writer, ts_ms);
    put_text(&writer, "}");
    return writer.err;
}
