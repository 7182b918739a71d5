/*
 * PROXY headers, whole, cut at every byte, and wrong in every way.
 */
#include "net/proxy_header.h"

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these before it */
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define FROM_10_1_2_3 "\x0a\x01\x02\x03\xc0\xa8\x00\x01\x9c\x40\x07\x5b" /* 10.1.2.3:40000 to 192.168.0.1:1883 */
#define FROM_2001_DB8                                                                                                  \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x08\x9c\x40\x07\x5b"
#define SSL_VERIFIED "\x07\0\0\0\0" /* TLS with a certificate in this connection; verification: 0, good */

struct bytes {
    uint8_t data[PROXY_HEADER_MAX + 64];
    size_t len;
};

static void append(struct bytes *bytes, const void *data, size_t len)
{
    assert_true(len <= sizeof(bytes->data) - bytes->len);
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

static struct bytes v2(uint8_t command, uint8_t family, const void *body, size_t len)
{
    const uint8_t head[] = {command, family, (uint8_t)(len >> 8), (uint8_t)len};
    struct bytes bytes = {.len = 0};

    append(&bytes, SIGNATURE, 12);
    append(&bytes, head, sizeof(head));
    append(&bytes, body, len);
    return bytes;
}

#define V2(command, family, body) v2(command, family, body, sizeof(body) - 1)

/* The parser may read what it was given and nothing behind it: each call gets a block of its own for the sanitizer. */
static enum proxy_parse parse_copy(const uint8_t *bytes, size_t len, struct proxy_header *out_header,
                                   const char **out_error)
{
    uint8_t *copy = malloc(len == 0 ? 1 : len);
    enum proxy_parse result;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    *out_error = NULL;
    result = proxy_header_parse(copy, len, out_header, out_error);
    if (result == PROXY_PARSED && out_header->common_name.data != NULL)
        out_header->common_name.data = bytes + (out_header->common_name.data - copy);
    free(copy);
    return result;
}

/* Whole, with an MQTT packet behind it, and as every beginning of it. */
static struct proxy_header parsed(const uint8_t *bytes, size_t len)
{
    static const uint8_t behind[] = {0x10, 0x0c, 0, 4, 'M', 'Q', 'T', 'T'};
    static uint8_t more[PROXY_HEADER_MAX + 128];
    struct proxy_header header;
    const char *error;

    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(parse_copy(bytes, cut, &header, &error), PROXY_MORE);
    memcpy(more, bytes, len);
    memcpy(more + len, behind, sizeof(behind));
    assert_int_equal(parse_copy(more, len + sizeof(behind), &header, &error), PROXY_PARSED);
    assert_int_equal(header.len, len);
    assert_int_equal(parse_copy(bytes, len, &header, &error), PROXY_PARSED);
    assert_null(error);
    assert_int_equal(header.len, len);
    return header;
}

/* Refused at byte `at` (counted from 1) and not before, whatever follows, with a text that has `word` in it. */
static void refused(const uint8_t *bytes, size_t len, size_t at, const char *word)
{
    struct proxy_header header;
    const char *error;

    for (size_t cut = 0; cut <= len; cut++) {
        assert_int_equal(parse_copy(bytes, cut, &header, &error), cut < at ? PROXY_MORE : PROXY_BAD);
        if (cut >= at)
            assert_non_null(error);
    }
    assert_true(at <= len);
    if (strstr(error, word) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", word, error);
}

static struct proxy_header parsed_text(const char *text)
{
    return parsed((const uint8_t *)text, strlen(text));
}

static void refused_text(const char *text, size_t at, const char *word)
{
    refused((const uint8_t *)text, strlen(text), at, word);
}

static void assert_address(const struct sockaddr_storage *address, const char *text, uint16_t port)
{
    char found[INET6_ADDRSTRLEN];

    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *inet = (const struct sockaddr_in *)address;

        inet_ntop(AF_INET, &inet->sin_addr, found, sizeof(found));
        assert_int_equal(ntohs(inet->sin_port), port);
    } else {
        const struct sockaddr_in6 *inet6 = (const struct sockaddr_in6 *)address;

        assert_int_equal(address->ss_family, AF_INET6);
        inet_ntop(AF_INET6, &inet6->sin6_addr, found, sizeof(found));
        assert_int_equal(ntohs(inet6->sin6_port), port);
    }
    assert_string_equal(found, text);
}

/* --- version 1 */

static void v1_gives_ipv4_addresses(void **state)
{
    struct proxy_header header = parsed_text("PROXY TCP4 10.1.2.3 192.168.0.1 40000 1883\r\n");

    (void)state;
    assert_true(header.has_addresses);
    assert_address(&header.source, "10.1.2.3", 40000);
    assert_address(&header.destination, "192.168.0.1", 1883);
    assert_null(header.common_name.data);
    header = parsed_text("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n");
    assert_address(&header.source, "255.255.255.255", 65535);
    assert_address(&header.destination, "0.0.0.0", 0);
}

static void v1_gives_ipv6_addresses(void **state)
{
    struct proxy_header header = parsed_text("PROXY TCP6 2001:db8::7 ::1 40000 1883\r\n");

    (void)state;
    assert_true(header.has_addresses);
    assert_address(&header.source, "2001:db8::7", 40000);
    assert_address(&header.destination, "::1", 1883);
    header = parsed_text("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff FFFF:ffff:ffff:ffff:ffff:ffff:ffff:fffe "
                         "65535 65535\r\n");
    assert_address(&header.destination, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 65535);
    header = parsed_text("PROXY TCP6 ::ffff:10.1.2.3 ::ffff:10.1.2.4 1 2\r\n");
    assert_address(&header.source, "::ffff:10.1.2.3", 1);
}

static void v1_unknown_keeps_the_sockets_addresses(void **state)
{
    (void)state;
    assert_false(parsed_text("PROXY UNKNOWN\r\n").has_addresses);
    assert_false(parsed_text("PROXY UNKNOWN 10.1.2.3 192.168.0.1 1 2\r\n").has_addresses);
    assert_false(parsed_text("PROXY UNKNOWN whatever \x01 stands  here\r\n").has_addresses);
    /* The longest line there is: 107 bytes. */
    assert_int_equal(parsed_text("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n")
                         .len,
                     107);
}

static void v1_lines_end_within_107_bytes(void **state)
{
    char line[160];

    (void)state;
    /* CR is the 107th byte: the CRLF cannot end in time, and it is known before that byte comes. */
    snprintf(line, sizeof(line), "PROXY UNKNOWN %092d\r\n", 0);
    refused_text(line, 106, "107");
    snprintf(line, sizeof(line), "PROXY TCP4 %0140d", 0);
    refused_text(line, 106, "107");
}

static void v1_wants_a_known_family(void **state)
{
    (void)state;
    refused_text("PROXY TCP5 10.1.2.3 192.168.0.1 1 2\r\n", 10, "TCP4, TCP6 or UNKNOWN");
    refused_text("PROXY tcp4 10.1.2.3 192.168.0.1 1 2\r\n", 7, "TCP4, TCP6 or UNKNOWN");
    refused_text("PROXY UDP4 10.1.2.3 192.168.0.1 1 2\r\n", 8, "TCP4, TCP6 or UNKNOWN");
    refused_text("PROXY TCP4\r\n", 11, "one blank");
    refused_text("PROXY TCP42 10.1.2.3", 11, "one blank");
    refused_text("PROXY  TCP4 10.1.2.3 192.168.0.1 1 2\r\n", 7, "TCP4");
    refused_text("PROXY UNKNOWNS\r\n", 14, "UNKNOWN");
    refused_text("PROXY\tTCP4 10.1.2.3 192.168.0.1 1 2\r\n", 6, "not a PROXY header");
}

static void v1_wants_single_blanks_and_all_four_fields(void **state)
{
    static const struct {
        const char *line;
        const char *word;
    } wrong[] = {
        {"PROXY TCP4  10.1.2.3 192.168.0.1 1 2\r\n", "client's IPv4"},
        {"PROXY TCP4 10.1.2.3  192.168.0.1 1 2\r\n", "destination's"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1  1 2\r\n", "client's port"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1 1  2\r\n", "destination's port"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1 1 2 \r\n", "destination's port"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1 1 2 3\r\n", "destination's port"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1 1 \r\n", "destination's port"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1 1\r\n", "client's port"},
        {"PROXY TCP4 10.1.2.3 192.168.0.1\r\n", "destination's"},
        {"PROXY TCP4 10.1.2.3\r\n", "client's IPv4"},
        {"PROXY TCP4 \r\n", "client's IPv4"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refused_text(wrong[i].line, strlen(wrong[i].line), wrong[i].word);
}

static void v1_wants_addresses_of_the_family_in_their_plain_form(void **state)
{
    static const char *const wrong[] = {
        "PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
        "PROXY TCP6 10.1.2.3 192.168.0.1 1 2\r\n",
        "PROXY TCP4 10.1.2.3 ::1 1 2\r\n",
        "PROXY TCP4 10.1.2 192.168.0.1 1 2\r\n",
        "PROXY TCP4 10.1.2.256 192.168.0.1 1 2\r\n",
        "PROXY TCP4 10.01.2.3 192.168.0.1 1 2\r\n",
        "PROXY TCP4 10.1.2.3.4 192.168.0.1 1 2\r\n",
        "PROXY TCP6 2001:db8::7::1 ::1 1 2\r\n",
        "PROXY TCP6 2001:db8 ::1 1 2\r\n",
        "PROXY TCP6 00000000000000000000000000000000000000000000001 ::1 1 2\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refused_text(wrong[i], strlen(wrong[i]), "address");
}

static void v1_wants_ports_from_0_to_65535_without_leading_zeros(void **state)
{
    static const char *const wrong[] = {"65536", "99999", "100000", "00", "01", "0080", "1a", "1.5", ":1"};
    char line[107];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(line, sizeof(line), "PROXY TCP4 10.1.2.3 192.168.0.1 %s 1883\r\n", wrong[i]);
        refused_text(line, strlen(line), "client's port");
        snprintf(line, sizeof(line), "PROXY TCP4 10.1.2.3 192.168.0.1 40000 %s\r\n", wrong[i]);
        refused_text(line, strlen(line), "destination's port");
    }
}

static void v1_wants_crlf_and_nothing_strange_before_it(void **state)
{
    static const char zero[] = "PROXY TCP4 10.1.2.3\0";

    (void)state;
    refused_text("PROXY TCP4 10.1.2.3 192.168.0.1 1 2\n", 36, "CRLF");
    refused_text("PROXY TCP4 10.1.2.3 192.168.0.1 1 2\r\r\n", 37, "CRLF");
    refused_text("PROXY UNKNOWN\n", 14, "CRLF");
    refused_text("PROXY UNKNOWN x\n", 16, "CRLF");
    refused_text("PROXY UNKNOWN x\r.", 17, "CRLF");
    refused_text("PROXY TCP4 10.1.2.3\t", 20, "character");
    refused_text("PROXY TCP4 host.example", 12, "character");
    refused_text("PROXY TCP4 -1", 12, "character");
    refused((const uint8_t *)zero, sizeof(zero) - 1, 20, "character");
}

/* --- version 2 */

static void v2_gives_ipv4_addresses(void **state)
{
    struct bytes bytes = V2(0x21, 0x11, FROM_10_1_2_3);
    struct proxy_header header = parsed(bytes.data, bytes.len);

    (void)state;
    assert_true(header.has_addresses);
    assert_address(&header.source, "10.1.2.3", 40000);
    assert_address(&header.destination, "192.168.0.1", 1883);
    assert_null(header.common_name.data);
}

static void v2_gives_ipv6_addresses(void **state)
{
    struct bytes bytes = V2(0x21, 0x21, FROM_2001_DB8);
    struct proxy_header header = parsed(bytes.data, bytes.len);

    (void)state;
    assert_true(header.has_addresses);
    assert_address(&header.source, "2001:db8::7", 40000);
    assert_address(&header.destination, "2001:db8::8", 1883);
}

static void v2_local_keeps_the_sockets_addresses_and_discards_the_rest(void **state)
{
    struct bytes empty = V2(0x20, 0x00, "");
    struct bytes addresses = V2(0x20, 0x11, FROM_10_1_2_3);
    struct bytes datagram = V2(0x20, 0x12, "\x03\xff\xff nobody reads this");

    (void)state;
    assert_false(parsed(empty.data, empty.len).has_addresses);
    assert_false(parsed(addresses.data, addresses.len).has_addresses);
    assert_false(parsed(datagram.data, datagram.len).has_addresses);
}

static void v2_unix_sockets_and_unknown_families_keep_the_sockets_addresses(void **state)
{
    static const uint8_t tlv[] = {0x20, 0, 7, 7, 0, 0, 0, 0, 0x22, 0}; /* SSL, and in it two bytes of a TLV */
    uint8_t paths[216 + sizeof(tlv)] = "/run/client";
    struct bytes unspecified = V2(0x21, 0x00, "\xff");
    struct bytes bytes;
    struct proxy_header header;

    (void)state;
    memcpy(paths + 216, tlv, sizeof(tlv));
    bytes = v2(0x21, 0x31, paths, 216);
    header = parsed(bytes.data, bytes.len);
    assert_false(header.has_addresses);
    bytes = v2(0x21, 0x31, paths, sizeof(paths));
    refused(bytes.data, bytes.len, bytes.len, "TLV");
    assert_false(parsed(unspecified.data, unspecified.len).has_addresses);
}

static void v2_refuses_what_is_no_stream(void **state)
{
    static const uint8_t families[] = {0x01, 0x02, 0x10, 0x12, 0x13, 0x20, 0x22, 0x30, 0x32, 0x41, 0xff};

    (void)state;
    for (size_t i = 0; i < sizeof(families); i++) {
        struct bytes bytes = v2(0x21, families[i], FROM_10_1_2_3, 12);

        refused(bytes.data, bytes.len, 14, "not a stream");
    }
}

static void v2_wants_its_signature_version_and_a_known_command(void **state)
{
    static const uint8_t commands[] = {0x00, 0x01, 0x11, 0x22, 0x2f, 0x31};

    (void)state;
    for (size_t i = 1; i < 12; i++) {
        struct bytes bytes = V2(0x21, 0x11, FROM_10_1_2_3);

        bytes.data[i] ^= 0x20;
        refused(bytes.data, bytes.len, i + 1, "signature");
    }
    for (size_t i = 0; i < sizeof(commands); i++) {
        struct bytes bytes = v2(commands[i], 0x11, FROM_10_1_2_3, 12);

        refused(bytes.data, bytes.len, 13, "LOCAL");
    }
}

static void v2_wants_room_for_the_addresses(void **state)
{
    struct bytes inet = v2(0x21, 0x11, FROM_10_1_2_3, 11);
    struct bytes inet6 = v2(0x21, 0x21, FROM_2001_DB8, 35);
    struct bytes path = v2(0x21, 0x31, "/run/client", 12);

    (void)state;
    refused(inet.data, inet.len, 16, "room");
    refused(inet6.data, inet6.len, 16, "room");
    refused(path.data, path.len, 16, "room");
}

static void v2_headers_end_at_4096_bytes(void **state)
{
    static uint8_t body[PROXY_HEADER_MAX - 15] = FROM_10_1_2_3;
    struct bytes bytes;

    (void)state;
    body[12] = 0x04; /* NOOP up to the end */
    body[13] = (uint8_t)((sizeof(body) - 1 - 15) >> 8);
    body[14] = (uint8_t)(sizeof(body) - 1 - 15);
    bytes = v2(0x21, 0x11, body, sizeof(body) - 1);
    assert_int_equal(bytes.len, PROXY_HEADER_MAX);
    assert_true(parsed(bytes.data, bytes.len).has_addresses);
    bytes = v2(0x21, 0x11, body, sizeof(body));
    refused(bytes.data, bytes.len, 16, "4096");
}

static void v2_skips_tlvs_it_does_not_need(void **state)
{
    struct bytes bytes = V2(0x21, 0x11,
                            FROM_10_1_2_3 "\x01\0\x04mqtt" /* ALPN */
                                          "\x02\0\x0b"
                                          "example.com"          /* AUTHORITY */
                                          "\x04\0\x05\0\0\0\0\0" /* NOOP */
                                          "\x04\0\0"             /* NOOP, empty */
                                          "\x05\0\x02\x01\x02"   /* UNIQUE_ID */
                                          "\x30\0\x04"
                                          "blue"                     /* NETNS */
                                          "\xea\0\x03\x01\x02\x03"); /* somebody's own */
    struct proxy_header header = parsed(bytes.data, bytes.len);

    (void)state;
    assert_address(&header.source, "10.1.2.3", 40000);
    assert_null(header.common_name.data);
}

static void v2_tlvs_end_where_their_container_ends(void **state)
{
    static const struct {
        const char *tlv;
        size_t len;
    } wrong[] = {
        {"\x04", 1},
        {"\x04\0", 2},
        {"\x04\0\x01", 3},
        {"\x04\xff\xff x", 5},
        {"\x04\0\x02xyz\0", 7},
        {"\x20\0\x04\x07\0\0\0", 7},           /* SSL without its five bytes */
        {"\x20\0\x06" SSL_VERIFIED "\x22", 9}, /* a sub-TLV without its length */
        {"\x20\0\x08" SSL_VERIFIED "\x22\0\x01"
         "\x04\0\0",
         14}, /* a sub-TLV that reaches into the next TLV */
        {"\x03\0\x03xyz", 6},
        {"\x03\0\x05vwxyz", 8},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct bytes body = {.len = 0};
        struct bytes bytes;

        append(&body, FROM_10_1_2_3, 12);
        append(&body, wrong[i].tlv, wrong[i].len);
        bytes = v2(0x21, 0x11, body.data, body.len);
        refused(bytes.data, bytes.len, bytes.len, "TLV");
    }
}

static void v2_gives_the_common_name_of_a_verified_certificate(void **state)
{
    struct bytes bytes = V2(0x21, 0x11,
                            FROM_10_1_2_3 "\x01\0\x04mqtt"
                                          "\x20\0\x1a" SSL_VERIFIED "\x21\0\x07TLSv1.3"
                                          "\x22\0\x08sensor 1"
                                          "\x04\0\0");
    struct bytes resumed = V2(0x21, 0x11, FROM_10_1_2_3 "\x20\0\x0a\x05\0\0\0\0\x22\0\x02id");
    struct proxy_header header = parsed(bytes.data, bytes.len);

    (void)state;
    assert_int_equal(header.common_name.len, 8);
    assert_memory_equal(header.common_name.data, "sensor 1", 8);
    header = parsed(resumed.data, resumed.len);
    assert_true(slice_equal(header.common_name, SLICE_LITERAL("id")));
}

static void v2_gives_no_common_name_that_was_not_verified(void **state)
{
    struct bytes bad_verify = V2(0x21, 0x11, FROM_10_1_2_3 "\x20\0\x0a\x07\0\0\0\x12\x22\0\x02id");
    struct bytes no_certificate = V2(0x21, 0x11, FROM_10_1_2_3 "\x20\0\x0a\x01\0\0\0\0\x22\0\x02id");
    struct bytes empty = V2(0x21, 0x11, FROM_10_1_2_3 "\x20\0\x08" SSL_VERIFIED "\x22\0\0");
    struct bytes elsewhere = V2(0x21, 0x11, FROM_10_1_2_3 "\x22\0\x02id");

    (void)state;
    assert_null(parsed(bad_verify.data, bad_verify.len).common_name.data);
    assert_null(parsed(no_certificate.data, no_certificate.len).common_name.data);
    assert_null(parsed(empty.data, empty.len).common_name.data);
    assert_null(parsed(elsewhere.data, elsewhere.len).common_name.data);
}

static void v2_refuses_two_common_names(void **state)
{
    struct bytes inside = V2(0x21, 0x11, FROM_10_1_2_3 "\x20\0\x0f" SSL_VERIFIED "\x22\0\x02id\x22\0\x02me");
    struct bytes apart = V2(0x21, 0x11,
                            FROM_10_1_2_3 "\x20\0\x0a" SSL_VERIFIED "\x22\0\x02id"
                                          "\x20\0\x0a" SSL_VERIFIED "\x22\0\x02me");

    (void)state;
    refused(inside.data, inside.len, inside.len, "common name");
    refused(apart.data, apart.len, apart.len, "common name");
}

static uint32_t crc32c(const uint8_t *bytes, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    }
    return crc ^ UINT32_MAX;
}

static void v2_checks_the_checksum_when_there_is_one(void **state)
{
    struct bytes bytes = V2(0x21, 0x11,
                            FROM_10_1_2_3 "\x01\0\x04mqtt"
                                          "\x03\0\x04\0\0\0\0"
                                          "\x04\0\x01x");
    uint8_t *field = bytes.data + 16 + 12 + 7 + 3;
    uint32_t crc;

    (void)state;
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xe3069283); /* the check value of CRC-32C */
    crc = htonl(crc32c(bytes.data, bytes.len));
    memcpy(field, &crc, 4);
    assert_true(parsed(bytes.data, bytes.len).has_addresses);
    for (size_t i = 16; i < bytes.len; i++) {
        if (i >= 16 + 12) /* of the TLVs only values may change, or the walk ends elsewhere */
            i = i < (size_t)(field - bytes.data) ? (size_t)(field - bytes.data) : i;
        if (i == (size_t)(field - bytes.data) + 4)
            i = bytes.len - 1;
        bytes.data[i] ^= 1;
        refused(bytes.data, bytes.len, bytes.len, "checksum");
        bytes.data[i] ^= 1;
    }
}

/* --- neither */

static void what_is_no_header_is_refused_by_its_first_byte(void **state)
{
    (void)state;
    for (unsigned int first = 0; first <= UINT8_MAX; first++) {
        const uint8_t byte = (uint8_t)first;

        if (byte != 'P' && byte != '\r')
            refused(&byte, 1, 1, "no PROXY header");
    }
    refused_text("\x10\x0c", 1, "MQTT");
    refused_text("\x16\x03\x01", 1, "TLS");
    refused_text("GET /mqtt HTTP/1.1\r\n", 1, "HTTP");
    refused_text("POST / HTTP/1.1\r\n", 2, "not a PROXY header");
    refused_text("\r\nPROXY", 3, "not a PROXY header");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v1_gives_ipv4_addresses),
        cmocka_unit_test(v1_gives_ipv6_addresses),
        cmocka_unit_test(v1_unknown_keeps_the_sockets_addresses),
        cmocka_unit_test(v1_lines_end_within_107_bytes),
        cmocka_unit_test(v1_wants_a_known_family),
        cmocka_unit_test(v1_wants_single_blanks_and_all_four_fields),
        cmocka_unit_test(v1_wants_addresses_of_the_family_in_their_plain_form),
        cmocka_unit_test(v1_wants_ports_from_0_to_65535_without_leading_zeros),
        cmocka_unit_test(v1_wants_crlf_and_nothing_strange_before_it),
        cmocka_unit_test(v2_gives_ipv4_addresses),
        cmocka_unit_test(v2_gives_ipv6_addresses),
        cmocka_unit_test(v2_local_keeps_the_sockets_addresses_and_discards_the_rest),
        cmocka_unit_test(v2_unix_sockets_and_unknown_families_keep_the_sockets_addresses),
        cmocka_unit_test(v2_refuses_what_is_no_stream),
        cmocka_unit_test(v2_wants_its_signature_version_and_a_known_command),
        cmocka_unit_test(v2_wants_room_for_the_addresses),
        cmocka_unit_test(v2_headers_end_at_4096_bytes),
        cmocka_unit_test(v2_skips_tlvs_it_does_not_need),
        cmocka_unit_test(v2_tlvs_end_where_their_container_ends),
        cmocka_unit_test(v2_gives_the_common_name_of_a_verified_certificate),
        cmocka_unit_test(v2_gives_no_common_name_that_was_not_verified),
        cmocka_unit_test(v2_refuses_two_common_names),
        cmocka_unit_test(v2_checks_the_checksum_when_there_is_one),
        cmocka_unit_test(what_is_no_header_is_refused_by_its_first_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
