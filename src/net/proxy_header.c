/*
 * proxy_header: see proxy_header.h. Every byte is judged as soon as it is there: whoever sends something else, as a client
 * that speaks MQTT at once, is refused by its first byte and does not wait for the header's timeout. What was refused stays
 * refused whatever follows, and a header that is whole says the same whatever comes behind it.
 */
#include "net/proxy_header.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

/* Version 1: one line of text, its CRLF included (section 2.1). */
#define V1_BYTES_MAX 107u
#define V1_WORD_CAPACITY INET6_ADDRSTRLEN /* the longest word is an IPv6 address with an IPv4 tail */

/* Version 2: signature, version and command, family and protocol, length (section 2.2). */
#define V2_HEAD_BYTES 16u
#define V2_INET_BYTES 12u /* two addresses, two ports */
#define V2_INET6_BYTES 36u
#define V2_UNIX_BYTES 216u /* two paths of 108 bytes */
#define V2_TLV_HEAD_BYTES 3u
#define V2_CRC32C_BYTES 4u
#define V2_SSL_HEAD_BYTES 5u /* flags of the client, result of the verification */

#define V2_COMMAND_LOCAL 0x20u
#define V2_COMMAND_PROXY 0x21u
#define V2_UNSPECIFIED 0x00u
#define V2_TCP4 0x11u
#define V2_TCP6 0x21u
#define V2_UNIX_STREAM 0x31u

#define V2_TYPE_CRC32C 0x03u
#define V2_TYPE_SSL 0x20u
#define V2_SUBTYPE_SSL_CN 0x22u
#define V2_CLIENT_CERT_CONN 0x02u
#define V2_CLIENT_CERT_SESS 0x04u

static const char v1_start[] = "PROXY ";
static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

static enum proxy_parse bad(const char **out_error, const char *text)
{
    *out_error = text;
    return PROXY_BAD;
}

static bool begins_with(const uint8_t *bytes, size_t len, const void *start, size_t start_len)
{
    return memcmp(bytes, start, len < start_len ? len : start_len) == 0;
}

/* --- version 1 */

/* Splits the next word off `line` and terminates it with a zero. Exactly one blank ends it, or the end of the line if it is the
 * last one. */
static bool take_word(struct slice *line, bool last, char out[V1_WORD_CAPACITY])
{
    const uint8_t *blank = line->len == 0 ? NULL : memchr(line->data, ' ', line->len);
    size_t len = blank == NULL ? line->len : (size_t)(blank - line->data);

    if (len == 0 || len >= V1_WORD_CAPACITY || (blank == NULL) != last)
        return false;
    memcpy(out, line->data, len);
    out[len] = '\0';
    *line = slice_skip(*line, last ? len : len + 1);
    return true;
}

/* inet_pton() takes no leading zeros in IPv4 addresses, as the protocol wants it. */
static bool v1_address(struct slice *line, int family, struct sockaddr_storage *out_address)
{
    char word[V1_WORD_CAPACITY];
    void *field = family == AF_INET ? (void *)&((struct sockaddr_in *)out_address)->sin_addr
                                    : (void *)&((struct sockaddr_in6 *)out_address)->sin6_addr;

    memset(out_address, 0, sizeof(*out_address));
    out_address->ss_family = (sa_family_t)family;
    return take_word(line, false, word) && inet_pton(family, word, field) == 1;
}

static void set_port(struct sockaddr_storage *address, in_port_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = port;
    else
        ((struct sockaddr_in6 *)address)->sin6_port = port;
}

static bool v1_port(struct slice *line, bool last, struct sockaddr_storage *address)
{
    char word[V1_WORD_CAPACITY];
    uint32_t port = 0;

    if (!take_word(line, last, word) || (word[0] == '0' && word[1] != '\0') || strlen(word) > 5)
        return false;
    for (const char *digit = word; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        port = port * 10 + (uint32_t)(*digit - '0');
    }
    if (port > UINT16_MAX)
        return false;
    set_port(address, htons((uint16_t)port));
    return true;
}

/* `line` is what stands between the family and CRLF. */
static enum proxy_parse v1_addresses(struct slice line, int family, struct proxy_header *out_header,
                                     const char **out_error)
{
    struct proxy_header header = {.has_addresses = true};

    if (!v1_address(&line, family, &header.source))
        return bad(out_error, family == AF_INET
                                  ? "PROXY v1: TCP4 is not followed by the client's IPv4 address and one blank"
                                  : "PROXY v1: TCP6 is not followed by the client's IPv6 address and one blank");
    if (!v1_address(&line, family, &header.destination))
        return bad(
            out_error,
            "PROXY v1: the client's address is not followed by the destination's of the same family and one blank");
    if (!v1_port(&line, false, &header.source))
        return bad(out_error, "PROXY v1: the addresses are not followed by the client's port (0 to 65535, no leading "
                              "zeros) and one blank");
    if (!v1_port(&line, true, &header.destination))
        return bad(out_error,
                   "PROXY v1: the line does not end with the destination's port (0 to 65535, no leading zeros)");
    *out_header = header;
    return PROXY_PARSED;
}

/* Reads the word behind "PROXY " as far as it has come. */
static enum proxy_parse v1_family(struct slice rest, int *out_family, size_t *out_len, const char **out_error)
{
    static const struct {
        const char *word;
        int family;
    } families[] = {{"TCP4 ", AF_INET}, {"TCP6 ", AF_INET6}, {"UNKNOWN", AF_UNSPEC}};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        size_t len = strlen(families[i].word);

        if (!begins_with(rest.data, rest.len, families[i].word, len))
            continue;
        if (rest.len < len)
            return PROXY_MORE;
        *out_family = families[i].family;
        *out_len = len;
        return PROXY_PARSED;
    }
    return bad(out_error, "PROXY v1: \"PROXY \" is not followed by TCP4, TCP6 or UNKNOWN and one blank");
}

/* Looks for the end of the line from `start` on; *out_end is the offset of CR. */
static enum proxy_parse v1_end(const uint8_t *bytes, size_t len, size_t start, bool addresses, size_t *out_end,
                               const char **out_error)
{
    static const char characters[] = "0123456789abcdefABCDEF:. ";

    for (size_t i = start; i < len && i < V1_BYTES_MAX - 1; i++) {
        if (bytes[i] == '\r') {
            if (i + 1 == len)
                return PROXY_MORE;
            if (bytes[i + 1] == '\n') {
                *out_end = i;
                return PROXY_PARSED;
            }
        }
        if (bytes[i] == '\r' || bytes[i] == '\n')
            return bad(out_error, "PROXY v1: CR or LF alone; CRLF ends the line");
        if (addresses && memchr(characters, bytes[i], sizeof(characters) - 1) == NULL)
            return bad(out_error, "PROXY v1: a character that no address, port or blank has");
    }
    if (len >= V1_BYTES_MAX - 1)
        return bad(out_error, "PROXY v1: no CRLF in the first 107 bytes, the longest line there is");
    return PROXY_MORE;
}

static enum proxy_parse parse_v1(const uint8_t *bytes, size_t len, struct proxy_header *out_header,
                                 const char **out_error)
{
    size_t at = sizeof(v1_start) - 1;
    size_t family_len;
    size_t end;
    int family;
    enum proxy_parse result;

    if (!begins_with(bytes, len, v1_start, at))
        return bad(out_error, "not a PROXY header: the first byte is 'P', but it does not begin with \"PROXY \"");
    if (len <= at)
        return PROXY_MORE;
    result = v1_family(slice_make(bytes + at, len - at), &family, &family_len, out_error);
    if (result != PROXY_PARSED)
        return result;
    at += family_len;
    if (family == AF_UNSPEC && len > at && bytes[at] != ' ' && bytes[at] != '\r')
        return bad(out_error, "PROXY v1: UNKNOWN is not followed by a blank or CRLF");
    result = v1_end(bytes, len, at, family != AF_UNSPEC, &end, out_error);
    if (result != PROXY_PARSED)
        return result;
    if (family == AF_UNSPEC) /* "the receiver must ignore anything presented before the CRLF" */
        *out_header = (struct proxy_header){0};
    else
        result = v1_addresses(slice_make(bytes + at, end - at), family, out_header, out_error);
    if (result == PROXY_PARSED)
        out_header->len = end + 2;
    return result;
}

/* --- version 2 */

/* CRC32C, four bits at a time: a header comes once per connection and is mostly under 100 bytes. */
static uint32_t crc32c_update(uint32_t crc, const uint8_t *bytes, size_t len)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        crc = table[crc & 15] ^ (crc >> 4);
        crc = table[crc & 15] ^ (crc >> 4);
    }
    return crc;
}

/* Is `field`, four bytes inside the header, the checksum of the header with zeros in its place? */
static bool checksum_holds(struct slice header, const uint8_t *field)
{
    static const uint8_t zeros[V2_CRC32C_BYTES];
    const uint8_t *behind = field + sizeof(zeros);
    uint32_t crc = UINT32_MAX;

    crc = crc32c_update(crc, header.data, (size_t)(field - header.data));
    crc = crc32c_update(crc, zeros, sizeof(zeros));
    crc = crc32c_update(crc, behind, (size_t)(header.data + header.len - behind));
    return (crc ^ UINT32_MAX) == bytes_get_big(field, V2_CRC32C_BYTES);
}

/* Takes the next TLV off `rest`. NULL, or what is wrong. */
static const char *take_tlv(struct slice *rest, uint8_t *out_type, struct slice *out_value)
{
    size_t len;

    if (rest->len < V2_TLV_HEAD_BYTES)
        return "PROXY v2: fewer bytes are left than a TLV's type and length take";
    len = bytes_get_big(rest->data + 1, 2);
    if (len > rest->len - V2_TLV_HEAD_BYTES)
        return "PROXY v2: a TLV's length points beyond what contains it";
    *out_type = rest->data[0];
    *out_value = slice_make(rest->data + V2_TLV_HEAD_BYTES, len);
    *rest = slice_skip(*rest, V2_TLV_HEAD_BYTES + len);
    return NULL;
}

/* What the balancer says of the client's certificate. The name counts only when there was a certificate that the balancer has
 * verified: it may let other clients in too (HAProxy's crt-ignore-err), and any name can stand in theirs. */
static const char *read_ssl(struct slice value, struct slice *common_name)
{
    bool verified;
    const char *error = NULL;
    uint8_t type;
    struct slice sub_value;

    if (value.len < V2_SSL_HEAD_BYTES)
        return "PROXY v2: the SSL TLV is shorter than its flags and result of verification";
    verified = (value.data[0] & (V2_CLIENT_CERT_CONN | V2_CLIENT_CERT_SESS)) != 0 &&
               bytes_get_big(value.data + 1, 4) == 0;
    for (struct slice rest = slice_skip(value, V2_SSL_HEAD_BYTES); rest.len > 0 && error == NULL;) {
        error = take_tlv(&rest, &type, &sub_value);
        if (error != NULL || type != V2_SUBTYPE_SSL_CN || !verified || sub_value.len == 0)
            continue;
        if (common_name->data != NULL)
            return "PROXY v2: more than one common name of the client's certificate";
        *common_name = sub_value;
    }
    return error;
}

/* ALPN, AUTHORITY, NOOP, UNIQUE_ID, NETNS and types unknown so far are skipped. NULL, or what is wrong. */
static const char *read_tlvs(struct slice header, size_t at, struct slice *common_name)
{
    const char *error = NULL;
    uint8_t type;
    struct slice value;

    for (struct slice rest = slice_skip(header, at); rest.len > 0 && error == NULL;) {
        error = take_tlv(&rest, &type, &value);
        if (error != NULL)
            return error;
        if (type == V2_TYPE_SSL) {
            error = read_ssl(value, common_name);
        } else if (type == V2_TYPE_CRC32C) {
            if (value.len != V2_CRC32C_BYTES)
                return "PROXY v2: the CRC32C TLV is not of four bytes";
            if (!checksum_holds(header, value.data))
                return "PROXY v2: the CRC32C checksum does not fit the header";
        }
    }
    return error;
}

static void read_tcp4(const uint8_t *at, struct proxy_header *header)
{
    struct sockaddr_in *source = (struct sockaddr_in *)&header->source;
    struct sockaddr_in *destination = (struct sockaddr_in *)&header->destination;

    header->has_addresses = true;
    source->sin_family = destination->sin_family = AF_INET;
    memcpy(&source->sin_addr, at, 4);
    memcpy(&destination->sin_addr, at + 4, 4);
    memcpy(&source->sin_port, at + 8, 2);
    memcpy(&destination->sin_port, at + 10, 2);
}

static void read_tcp6(const uint8_t *at, struct proxy_header *header)
{
    struct sockaddr_in6 *source = (struct sockaddr_in6 *)&header->source;
    struct sockaddr_in6 *destination = (struct sockaddr_in6 *)&header->destination;

    header->has_addresses = true;
    source->sin6_family = destination->sin6_family = AF_INET6;
    memcpy(&source->sin6_addr, at, 16);
    memcpy(&destination->sin6_addr, at + 16, 16);
    memcpy(&source->sin6_port, at + 32, 2);
    memcpy(&destination->sin6_port, at + 34, 2);
}

/* The bytes of addresses that `family` brings; -1: not for a stream. */
static int v2_address_bytes(uint8_t family)
{
    switch (family) {
    case V2_UNSPECIFIED: return 0;
    case V2_TCP4: return V2_INET_BYTES;
    case V2_TCP6: return V2_INET6_BYTES;
    case V2_UNIX_STREAM: return V2_UNIX_BYTES;
    default: return -1;
    }
}

/* Judges what there is of the 16 bytes at the front. PROXY_PARSED: they are right, and *out_len is the whole header's length. */
static enum proxy_parse v2_head(const uint8_t *bytes, size_t len, size_t *out_len, const char **out_error)
{
    bool proxied;
    int address_bytes = 0;
    size_t behind;

    if (!begins_with(bytes, len, v2_signature, sizeof(v2_signature)))
        return bad(out_error,
                   "not a PROXY header: the first byte is CR, but it does not begin with the signature of version 2");
    if (len <= 12)
        return PROXY_MORE;
    proxied = bytes[12] == V2_COMMAND_PROXY;
    if (!proxied && bytes[12] != V2_COMMAND_LOCAL)
        return bad(out_error, "PROXY v2: byte 13 is neither 0x20 (version 2, LOCAL) nor 0x21 (version 2, PROXY)");
    if (len <= 13)
        return PROXY_MORE;
    if (proxied)
        address_bytes = v2_address_bytes(bytes[13]);
    if (address_bytes < 0)
        return bad(out_error,
                   "PROXY v2: byte 14 is not a stream over IPv4 (0x11), IPv6 (0x21) or a Unix socket (0x31)");
    if (len < V2_HEAD_BYTES)
        return PROXY_MORE;
    behind = bytes_get_big(bytes + 14, 2);
    if (behind < (size_t)address_bytes)
        return bad(out_error, "PROXY v2: the length leaves no room for the addresses of the family");
    if (behind > PROXY_HEADER_MAX - V2_HEAD_BYTES)
        return bad(out_error, "PROXY v2: the header is longer than 4096 bytes");
    *out_len = V2_HEAD_BYTES + behind;
    return PROXY_PARSED;
}

static enum proxy_parse parse_v2(const uint8_t *bytes, size_t len, struct proxy_header *out_header,
                                 const char **out_error)
{
    struct proxy_header header = {0};
    enum proxy_parse result = v2_head(bytes, len, &header.len, out_error);
    const char *error = NULL;

    if (result != PROXY_PARSED)
        return result;
    if (len < header.len)
        return PROXY_MORE;
    if (bytes[12] == V2_COMMAND_PROXY && bytes[13] == V2_TCP4)
        read_tcp4(bytes + V2_HEAD_BYTES, &header);
    else if (bytes[12] == V2_COMMAND_PROXY && bytes[13] == V2_TCP6)
        read_tcp6(bytes + V2_HEAD_BYTES, &header);
    /* What is behind the addresses of LOCAL and UNSPEC is to be discarded unread (section 2.2). */
    if (bytes[12] == V2_COMMAND_PROXY && bytes[13] != V2_UNSPECIFIED)
        error = read_tlvs(slice_make(bytes, header.len), V2_HEAD_BYTES + (size_t)v2_address_bytes(bytes[13]),
                          &header.common_name);
    if (error != NULL)
        return bad(out_error, error);
    *out_header = header;
    return PROXY_PARSED;
}

/* --- both */

/* What a peer that sends no header seems to speak. */
static const char *no_header(uint8_t first)
{
    switch (first) {
    case 0x10: /* CONNECT */
        return "no PROXY header: MQTT came first (a client that connects directly, or a balancer that sends no header)";
    case 0x16: /* a TLS record of type handshake */
        return "no PROXY header: TLS came first (a client that connects directly, or a balancer that sends no header)";
    case 'G':
        return "no PROXY header: HTTP came first (a client that connects directly, or a balancer that sends no header)";
    default: return "no PROXY header: the first byte is neither 'P' (version 1) nor CR (version 2)";
    }
}

enum proxy_parse proxy_header_parse(const uint8_t *bytes, size_t len, struct proxy_header *out_header,
                                    const char **out_error)
{
    if (len == 0)
        return PROXY_MORE;
    if (bytes[0] == (uint8_t)v1_start[0])
        return parse_v1(bytes, len, out_header, out_error);
    if (bytes[0] == v2_signature[0])
        return parse_v2(bytes, len, out_header, out_error);
    return bad(out_error, no_header(bytes[0]));
}
