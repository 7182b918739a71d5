/*
 * websocket: see websocket.h.
 */
#include "websocket.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESPONSE_BYTES_MAX 16384u
#define KEY_BYTES 16

enum opcode { OPCODE_CONTINUATION, OPCODE_TEXT, OPCODE_BINARY, OPCODE_CLOSE = 8, OPCODE_PING, OPCODE_PONG };

int websocket_settings_init(struct websocket_settings *settings, const char *host, uint32_t port, const char *path)
{
    uint8_t nonce[KEY_BYTES];
    uint8_t digest[SHA_DIGEST_LENGTH];
    char key[32];
    char text[96];
    int len;

    memset(settings, 0, sizeof(*settings));
    if (RAND_bytes(nonce, sizeof(nonce)) != 1)
        return -ENOMEM;
    memcpy(&settings->mask_seed, nonce, sizeof(settings->mask_seed));
    (void)EVP_EncodeBlock((unsigned char *)key, nonce, sizeof(nonce));
    len = snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    (void)SHA1((const unsigned char *)text, (size_t)len, digest);
    (void)EVP_EncodeBlock((unsigned char *)settings->accept, digest, sizeof(digest));
    len = asprintf(&settings->request,
                   "GET %s%s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                   path[0] == '/' ? "" : "/", path, host, port, key);
    if (len < 0) {
        settings->request = NULL;
        return -ENOMEM;
    }
    return 0;
}

void websocket_settings_fini(struct websocket_settings *settings)
{
    free(settings->request);
    memset(settings, 0, sizeof(*settings));
}

static void append(struct buffer *out, const void *data, size_t len)
{
    memcpy(buffer_reserve(out, len), data, len);
    buffer_commit(out, len);
}

void websocket_open(struct websocket *websocket, struct websocket_settings *settings, struct buffer *out)
{
    /* splitmix64: another key for each connection. */
    uint64_t mixed = settings->mask_seed += UINT64_C(0x9E3779B97F4A7C15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    *websocket = (struct websocket){.settings = settings, .mask_key = (uint32_t)(mixed >> 32)};
    append(out, settings->request, strlen(settings->request));
}

void websocket_close(struct websocket *websocket)
{
    buffer_fini(&websocket->response);
    memset(websocket, 0, sizeof(*websocket));
}

static ssize_t fail(struct websocket *websocket, const char *why)
{
    (void)snprintf(websocket->settings->fault, sizeof(websocket->settings->fault), "WebSocket: %s", why);
    return -1;
}

static bool has_accept(const struct websocket *websocket, const char *response)
{
    static const char name[] = "\r\nSec-WebSocket-Accept:";
    const char *value = strcasestr(response, name);

    if (value == NULL)
        return false;
    value += sizeof(name) - 1;
    value += strspn(value, " \t");
    return strncmp(value, websocket->settings->accept, strlen(websocket->settings->accept)) == 0;
}

/* The answer to the upgrade. Moves what follows it to the front; returns its bytes or -1. */
static ssize_t receive_response(struct websocket *websocket, uint8_t *data, size_t len)
{
    struct buffer *response = &websocket->response;
    size_t before = buffer_len(response);
    size_t head_len;
    char status[64];
    char *text;
    char *end;

    append(response, data, len);
    *buffer_reserve(response, 1) = '\0';
    text = (char *)response->data;
    end = strstr(text, "\r\n\r\n");
    if (end == NULL)
        return buffer_len(response) > RESPONSE_BYTES_MAX ? fail(websocket, "an endless answer") : 0;
    end[2] = '\0';
    if (strncmp(text, "HTTP/1.1 101", 12) != 0) {
        (void)snprintf(status, sizeof(status), "refused: %.*s", (int)strcspn(text, "\r\n"), text);
        return fail(websocket, status);
    }
    if (!has_accept(websocket, text))
        return fail(websocket, "the answer lacks the right Sec-WebSocket-Accept");
    head_len = (size_t)(end - text) + 4 - before;
    buffer_fini(response);
    websocket->open = true;
    memmove(data, data + head_len, len - head_len);
    return (ssize_t)(len - head_len);
}

static size_t header_bytes(const uint8_t *header)
{
    return (header[1] & 0x7F) < 126 ? 2 : (header[1] & 0x7F) == 126 ? 4 : 10;
}

/* The frame's header is whole. False: a header that no broker may send. */
static bool begin_frame(struct websocket *websocket)
{
    const uint8_t *header = websocket->header;
    size_t len_bytes = header_bytes(header) - 2;
    uint64_t len = len_bytes == 0 ? header[1] : 0;

    for (size_t i = 0; i < len_bytes; i++)
        len = len << 8 | header[2 + i];
    websocket->opcode = header[0] & 0x0F;
    websocket->payload_len = len;
    websocket->control_len = 0;
    if ((header[0] & 0x70) != 0 || (header[1] & 0x80) != 0)
        return false;
    if (websocket->opcode >= OPCODE_CLOSE)
        return websocket->opcode <= OPCODE_PONG && (header[0] & 0x80) != 0 && len <= WEBSOCKET_CONTROL_MAX;
    return websocket->opcode == OPCODE_BINARY || websocket->opcode == OPCODE_CONTINUATION;
}

/* Takes bytes of the header. Returns how many; the header may not be whole then. */
static size_t read_header(struct websocket *websocket, const uint8_t *data, size_t len)
{
    size_t used = 0;

    while (used < len && (websocket->header_len < 2 || websocket->header_len < header_bytes(websocket->header)))
        websocket->header[websocket->header_len++] = data[used++];
    return used;
}

/* A control frame is whole. False: the end of the connection. */
static bool end_control(struct websocket *websocket)
{
    char why[64] = "the broker closed it";

    if (websocket->opcode == OPCODE_PING) {
        websocket->is_pong_owed = true;
        websocket->pong_len = websocket->control_len;
        memcpy(websocket->pong, websocket->control, websocket->control_len);
    } else if (websocket->opcode == OPCODE_CLOSE) {
        if (websocket->control_len >= 2)
            (void)snprintf(why, sizeof(why), "the broker closed it with code %u",
                           (unsigned)(websocket->control[0] << 8 | websocket->control[1]));
        (void)fail(websocket, why);
        return false;
    }
    return true;
}

/* Takes the frame's payload of at most `len` bytes: to `out` or to the control frame. Returns how many. */
static size_t read_payload(struct websocket *websocket, const uint8_t *data, size_t len, uint8_t *out)
{
    size_t count = len < websocket->payload_len ? len : (size_t)websocket->payload_len;

    if (websocket->opcode < OPCODE_CLOSE) {
        memmove(out, data, count);
    } else {
        memcpy(websocket->control + websocket->control_len, data, count);
        websocket->control_len += (uint8_t)count;
    }
    websocket->payload_len -= count;
    return count;
}

ssize_t websocket_receive(struct websocket *websocket, uint8_t *data, size_t len)
{
    size_t at = 0;
    size_t out = 0;

    if (UNLIKELY(!websocket->open)) {
        ssize_t rest = receive_response(websocket, data, len);
        if (rest < 0)
            return -1;
        len = (size_t)rest;
    }
    while (at < len) {
        if (websocket->payload_len == 0) { /* else: in a frame */
            at += read_header(websocket, data + at, len - at);
            if (websocket->header_len < 2 || websocket->header_len < header_bytes(websocket->header))
                break;
            if (UNLIKELY(!begin_frame(websocket)))
                return fail(websocket, "a frame that no broker may send");
        }
        if (LIKELY(websocket->payload_len > 0)) {
            size_t count = read_payload(websocket, data + at, len - at, data + out);
            at += count;
            out += websocket->opcode < OPCODE_CLOSE ? count : 0;
        }
        if (websocket->payload_len > 0)
            break;
        websocket->header_len = 0;
        if (UNLIKELY(websocket->opcode >= OPCODE_CLOSE && !end_control(websocket)))
            return -1;
    }
    return (ssize_t)out;
}

/* Copies `data` masked to `out`. */
static void copy_masked(uint8_t *out, const uint8_t *data, size_t len, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key;
    uint8_t bytes[sizeof(key)];
    size_t at = 0;

    for (; at + sizeof(wide) <= len; at += sizeof(wide)) {
        uint64_t word;
        memcpy(&word, data + at, sizeof(word));
        word ^= wide;
        memcpy(out + at, &word, sizeof(word));
    }
    memcpy(bytes, &key, sizeof(bytes));
    for (; at < len; at++)
        out[at] = data[at] ^ bytes[at % sizeof(bytes)];
}

static void append_frame(struct websocket *websocket, enum opcode opcode, const uint8_t *data, size_t len,
                         struct buffer *out)
{
    uint8_t *frame = buffer_reserve(out, len + WEBSOCKET_HEADER_MAX);
    size_t at = 2;

    frame[0] = (uint8_t)(0x80 | opcode);
    if (len < 126) {
        frame[1] = (uint8_t)(0x80 | len);
    } else if (len <= UINT16_MAX) {
        frame[1] = 0x80 | 126;
        frame[at++] = (uint8_t)(len >> 8);
        frame[at++] = (uint8_t)len;
    } else {
        frame[1] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            frame[at++] = (uint8_t)((uint64_t)len >> shift);
    }
    memcpy(frame + at, &websocket->mask_key, sizeof(websocket->mask_key));
    at += sizeof(websocket->mask_key);
    copy_masked(frame + at, data, len, websocket->mask_key);
    buffer_commit(out, at + len);
}

void websocket_send(struct websocket *websocket, const uint8_t *data, size_t len, struct buffer *out)
{
    append_frame(websocket, OPCODE_BINARY, data, len, out);
}

void websocket_send_pong(struct websocket *websocket, struct buffer *out)
{
    websocket->is_pong_owed = false;
    append_frame(websocket, OPCODE_PONG, websocket->pong, websocket->pong_len, out);
}

void websocket_send_close(struct websocket *websocket, struct buffer *out)
{
    static const uint8_t code[2] = {1000 >> 8, 1000 & 0xFF};

    append_frame(websocket, OPCODE_CLOSE, code, sizeof(code), out);
}
