/*
 * The property sections: what is allowed where, what comes once, ranges, walking and forwarding.
 */
#include "codec_test.h"

/* One legal value of each property, and the packets that may carry it (table 2-4), as first bytes; 'w' is a will. */
static const struct {
    uint8_t wire_id;
    const char *value;
    size_t len;
    const char *packets;
    const char *name;
} rows[] = {
    {0x01, "\1", 1, "pw", "Payload Format Indicator"},
    {0x02, "\0\0\0\1", 4, "pw", "Message Expiry Interval"},
    {0x03, "\0\1t", 3, "pw", "Content Type"},
    {0x08, "\0\1r", 3, "pw", "Response Topic"},
    {0x09, "\0\1\0", 3, "pw", "Correlation Data"},
    {0x0B, "\1", 1, "ps", "Subscription Identifier"},
    {0x11, "\0\0\0\1", 4, "cad", "Session Expiry Interval"},
    {0x12, "\0\1i", 3, "a", "Assigned Client Identifier"},
    {0x13, "\0\1", 2, "a", "Server Keep Alive"},
    {0x15, "\0\1m", 3, "cax", "Authentication Method"},
    {0x16, "\0\1d", 3, "cax", "Authentication Data"},
    {0x17, "\1", 1, "c", "Request Problem Information"},
    {0x18, "\0\0\0\1", 4, "w", "Will Delay Interval"},
    {0x19, "\1", 1, "c", "Request Response Information"},
    {0x1A, "\0\1r", 3, "a", "Response Information"},
    {0x1C, "\0\1s", 3, "ad", "Server Reference"},
    {0x1F, "\0\1r", 3, "a4567SUdx", "Reason String"},
    {0x21, "\0\1", 2, "ca", "Receive Maximum"},
    {0x22, "\0\1", 2, "ca", "Topic Alias Maximum"},
    {0x23, "\0\1", 2, "p", "Topic Alias"},
    {0x24, "\1", 1, "a", "Maximum QoS"},
    {0x25, "\1", 1, "a", "Retain Available"},
    {0x26, "\0\1n\0\1v", 6, "capws4567SUudx", "User Property"},
    {0x27, "\0\0\0\1", 4, "ca", "Maximum Packet Size"},
    {0x28, "\1", 1, "a", "Wildcard Subscription Available"},
    {0x29, "\1", 1, "a", "Subscription Identifier Available"},
    {0x2A, "\1", 1, "a", "Shared Subscription Available"},
};

/* What stands around the property section of each packet. */
static const struct {
    char letter;
    uint8_t first_byte;
    enum mqtt_role role;
    const char *before;
    size_t before_len;
    const char *after;
    size_t after_len;
} carriers[] = {
    {'c', 0x10, C, "\0\4MQTT\5\2\0\0", 10, "\0\0", 2},
    {'w', 0x10, C, "\0\4MQTT\5\6\0\0\0\0\0", 13, "\0\1w\0\0", 5},
    {'a', 0x20, S, "\0\0", 2, "", 0},
    {'p', 0x30, C, "\0\1a", 3, "", 0},
    {'4', 0x40, C, "\0\1\0", 3, "", 0},
    {'5', 0x50, C, "\0\1\0", 3, "", 0},
    {'6', 0x62, C, "\0\1\0", 3, "", 0},
    {'7', 0x70, C, "\0\1\0", 3, "", 0},
    {'s', 0x82, C, "\0\1", 2, "\0\1a\0", 4},
    {'S', 0x90, S, "\0\1", 2, "\0", 1},
    {'u', 0xA2, C, "\0\1", 2, "\0\1a", 3},
    {'U', 0xB0, S, "\0\1", 2, "\0", 1},
    {'d', 0xE0, C, "\0", 1, "", 0},
    {'x', 0xF0, C, "\x18", 1, "", 0},
};

/* Decodes carrier `c` with `section` of `len` bytes. */
static enum reason_code decode_in(size_t c, const uint8_t *section, size_t len, struct mqtt_packet *out_packet)
{
    uint8_t body[256];
    size_t at = carriers[c].before_len;

    memcpy(body, carriers[c].before, at);
    body[at++] = (uint8_t)len;
    memcpy(body + at, section, len);
    at += len;
    memcpy(body + at, carriers[c].after, carriers[c].after_len);
    at += carriers[c].after_len;
    return decode_body(MQTT_V5, carriers[c].role, carriers[c].first_byte, body, at, out_packet);
}

static size_t put(uint8_t *out, size_t row)
{
    out[0] = rows[row].wire_id;
    memcpy(out + 1, rows[row].value, rows[row].len);
    return 1 + rows[row].len;
}

/* A method belongs to an AUTH and to Authentication Data. */
static size_t put_needed(uint8_t *out, size_t carrier, uint8_t wire_id)
{
    bool needs_method = carriers[carrier].letter == 'x' || wire_id == 0x16;

    if (!needs_method || wire_id == 0x15 || strchr("cax", carriers[carrier].letter) == NULL)
        return 0;
    memcpy(out, "\x15\0\1m", 4);
    return 4;
}

static void each_property_is_allowed_in_its_packets_only(void **state)
{
    (void)state;
    assert_int_equal(ARRAY_COUNT(rows), MQTT_PROP_COUNT);
    for (size_t row = 0; row < ARRAY_COUNT(rows); row++) {
        for (size_t c = 0; c < ARRAY_COUNT(carriers); c++) {
            uint8_t section[32];
            size_t len = put_needed(section, c, rows[row].wire_id);
            bool allowed = strchr(rows[row].packets, carriers[c].letter) != NULL;
            struct mqtt_packet packet;

            len += put(section + len, row);
            if (decode_in(c, section, len, &packet) != (allowed ? REASON_SUCCESS : REASON_MALFORMED_PACKET))
                fail_msg("%s in packet '%c'", rows[row].name, carriers[c].letter);
        }
    }
}

static void only_user_properties_and_a_publishs_subscription_identifiers_come_twice(void **state)
{
    (void)state;
    for (size_t row = 0; row < ARRAY_COUNT(rows); row++) {
        for (size_t c = 0; c < ARRAY_COUNT(carriers); c++) {
            uint8_t section[32];
            size_t len = put_needed(section, c, rows[row].wire_id);
            bool repeats = rows[row].wire_id == 0x26 || (rows[row].wire_id == 0x0B && carriers[c].letter == 'p');
            struct mqtt_packet packet;

            if (strchr(rows[row].packets, carriers[c].letter) == NULL)
                continue;
            len += put(section + len, row);
            len += put(section + len, row);
            if (decode_in(c, section, len, &packet) != (repeats ? REASON_SUCCESS : REASON_PROTOCOL_ERROR))
                fail_msg("%s twice in packet '%c'", rows[row].name, carriers[c].letter);
        }
    }
}

static void a_property_that_is_cut_off_is_malformed(void **state)
{
    (void)state;
    for (size_t row = 0; row < ARRAY_COUNT(rows); row++) {
        for (size_t c = 0; c < ARRAY_COUNT(carriers); c++) {
            uint8_t section[32];
            size_t needed = put_needed(section, c, rows[row].wire_id);
            size_t len = needed + put(section + needed, row);
            struct mqtt_packet packet;

            if (strchr(rows[row].packets, carriers[c].letter) == NULL)
                continue;
            for (size_t cut = needed + 1; cut < len; cut++)
                assert_int_equal(decode_in(c, section, cut, &packet), REASON_MALFORMED_PACKET);
        }
    }
}

static void an_unknown_identifier_is_malformed(void **state)
{
    (void)state;
    for (unsigned wire_id = 0; wire_id < 256; wire_id++) {
        uint8_t section[8] = {(uint8_t)wire_id};
        struct mqtt_packet packet;
        bool known = false;

        for (size_t row = 0; row < ARRAY_COUNT(rows); row++)
            known |= rows[row].wire_id == wire_id;
        if (!known)
            assert_int_equal(decode_in(0, section, sizeof(section), &packet), REASON_MALFORMED_PACKET);
    }
}

static void numbers_out_of_range_are_protocol_errors(void **state)
{
    struct mqtt_packet packet;
    static const struct {
        size_t carrier;
        const char *section;
        size_t len;
    } bad[] = {
        {0, "\x21\0\0", 3},     /* Receive Maximum 0 */
        {0, "\x27\0\0\0\0", 5}, /* Maximum Packet Size 0 */
        {0, "\x17\2", 2},       /* Request Problem Information 2 */
        {0, "\x19\xFF", 2},     /* Request Response Information 255 */
        {1, "\x01\2", 2},       /* Payload Format Indicator 2, in a will */
        {2, "\x24\2", 2},       /* Maximum QoS 2 */
        {2, "\x25\2", 2},       /* Retain Available 2 */
        {2, "\x28\2", 2},       /* Wildcard Subscription Available 2 */
        {2, "\x29\2", 2},       /* Subscription Identifier Available 2 */
        {2, "\x2A\2", 2},       /* Shared Subscription Available 2 */
        {3, "\x01\2", 2},       /* Payload Format Indicator 2 */
        {3, "\x0B\0", 2},       /* Subscription Identifier 0 */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(decode_in(bad[i].carrier, (const uint8_t *)bad[i].section, bad[i].len, &packet),
                         REASON_PROTOCOL_ERROR);
}

static void variable_integers_must_be_in_their_shortest_form(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\x80\0"); /* [MQTT-1.5.5-1] */
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\x83\0\x23\0\1");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\3\x0B\x81\0");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\6\x0B\xFF\xFF\xFF\xFF\1");
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\5\x0B\xFF\xFF\xFF\x7F", &packet);
    assert_int_equal(packet.publish.properties.subscription_id, 268435455);
}

static void a_section_longer_than_the_packet_is_malformed(void **state)
{
    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\4\x23\0\1");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\xFF\xFF\xFF\x7F");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\xFF\xFF\xFF\xFF\x7F");
}

static void text_must_be_utf_8_and_binary_data_need_not(void **state)
{
    struct mqtt_packet packet;

    (void)state;
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\4\3\0\1\xFF"); /* [MQTT-3.3.2-19] */
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\4\x08\0\1\xFF");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\7\x26\0\1\0\0\1v");
    ASSERT_REFUSED(REASON_MALFORMED_PACKET, MQTT_V5, C, 0x30, "\0\1a\7\x26\0\1n\0\1\xC0");
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\5\x09\0\2\xFF\0", &packet);
    ASSERT_SLICE(packet.publish.properties.correlation_data, "\xFF\0");
}

#define MIXED                                                                                                          \
    "\x26\0\1a\0\1"                                                                                                    \
    "1"                                                                                                                \
    "\x02\0\0\0\5"                                                                                                     \
    "\x0B\x80\1"                                                                                                       \
    "\x26\0\0\0\0"                                                                                                     \
    "\x23\0\7"                                                                                                         \
    "\x03\0\1t"                                                                                                        \
    "\x0B\2"                                                                                                           \
    "\x26\0\1a\0\1"                                                                                                    \
    "2"                                                                                                                \
    "\x01\0"

static void walks_the_section_in_order(void **state)
{
    static const struct {
        enum mqtt_property property;
        const char *name;
        const char *value;
        size_t len;
    } expected[] = {
        {MQTT_PROP_USER_PROPERTY, "a", "1", 1},
        {MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, NULL, "\0\0\0\5", 4},
        {MQTT_PROP_SUBSCRIPTION_IDENTIFIER, NULL, "\x80\1", 2},
        {MQTT_PROP_USER_PROPERTY, "", "", 0},
        {MQTT_PROP_TOPIC_ALIAS, NULL, "\0\7", 2},
        {MQTT_PROP_CONTENT_TYPE, NULL, "t", 1},
        {MQTT_PROP_SUBSCRIPTION_IDENTIFIER, NULL, "\2", 1},
        {MQTT_PROP_USER_PROPERTY, "a", "2", 1},
        {MQTT_PROP_PAYLOAD_FORMAT_INDICATOR, NULL, "\0", 1},
    };
    struct mqtt_packet packet;
    struct slice rest;
    struct slice name;
    struct slice value;
    enum mqtt_property property;

    (void)state;
    assert_int_equal(decode_in(3, (const uint8_t *)MIXED, sizeof(MIXED) - 1, &packet), REASON_SUCCESS);
    assert_int_equal(packet.publish.properties.subscription_id, 2);
    rest = packet.publish.properties.raw;
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_true(mqtt_property_next(&rest, &property, &name, &value));
        assert_int_equal(property, expected[i].property);
        assert_true(slice_equal(name, slice_from_string(expected[i].name)));
        assert_true(slice_equal(value, slice_make(expected[i].value, expected[i].len)));
    }
    assert_false(mqtt_property_next(&rest, &property, &name, &value));
}

static void walking_bytes_that_were_not_decoded_ends(void **state)
{
    struct slice bad[] = {SLICE_LITERAL("\x04"),        SLICE_LITERAL("\xFF\1"),   SLICE_LITERAL("\x02\0\0\0"),
                          SLICE_LITERAL("\x26\0\1n\0"), SLICE_LITERAL("\x0B\x80"), {NULL, 0}};
    struct slice name;
    struct slice value;
    enum mqtt_property property;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(mqtt_property_next(&bad[i], &property, &name, &value));
}

static void forwards_what_concerns_the_message_in_its_order(void **state)
{
    static const char expected[] = "\x26\0\1a\0\1"
                                   "1"
                                   "\x26\0\0\0\0\x03\0\1t\x26\0\1a\0\1"
                                   "2"
                                   "\x01\0";
    struct mqtt_packet packet;
    uint8_t out[64];
    size_t len;

    (void)state;
    assert_int_equal(decode_in(3, (const uint8_t *)MIXED, sizeof(MIXED) - 1, &packet), REASON_SUCCESS);
    len = mqtt_properties_forwardable(&packet.publish.properties, NULL);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_int_equal(mqtt_properties_forwardable(&packet.publish.properties, out), len);
    assert_memory_equal(out, expected, len);
}

static void forwards_all_or_nothing_without_a_walk(void **state)
{
    struct mqtt_packet packet;
    uint8_t out[64];

    (void)state;
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\x0A\x09\0\1c\x08\0\3r/s", &packet);
    assert_int_equal(mqtt_properties_forwardable(&packet.publish.properties, out), 10);
    assert_memory_equal(out, "\x09\0\1c\x08\0\3r/s", 10);
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\3\x23\0\1", &packet);
    assert_int_equal(mqtt_properties_forwardable(&packet.publish.properties, out), 0);
    ASSERT_TAKEN(MQTT_V5, C, 0x30, "\0\1a\0", &packet);
    assert_int_equal(mqtt_properties_forwardable(&packet.publish.properties, out), 0);
}

static void properties_have_the_standards_names(void **state)
{
    bool seen[MQTT_PROP_COUNT] = {false};

    (void)state;
    for (enum mqtt_property property = 0; property < MQTT_PROP_COUNT; property++) {
        for (size_t row = 0; row < ARRAY_COUNT(rows); row++)
            seen[property] |= strcmp(mqtt_property_name(property), rows[row].name) == 0;
        assert_true(seen[property]);
    }
    assert_string_equal(mqtt_property_name(MQTT_PROP_TOPIC_ALIAS), "Topic Alias");
    assert_string_equal(mqtt_property_name(MQTT_PROP_COUNT), "unknown property");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_is_allowed_in_its_packets_only),
        cmocka_unit_test(only_user_properties_and_a_publishs_subscription_identifiers_come_twice),
        cmocka_unit_test(a_property_that_is_cut_off_is_malformed),
        cmocka_unit_test(an_unknown_identifier_is_malformed),
        cmocka_unit_test(numbers_out_of_range_are_protocol_errors),
        cmocka_unit_test(variable_integers_must_be_in_their_shortest_form),
        cmocka_unit_test(a_section_longer_than_the_packet_is_malformed),
        cmocka_unit_test(text_must_be_utf_8_and_binary_data_need_not),
        cmocka_unit_test(walks_the_section_in_order),
        cmocka_unit_test(walking_bytes_that_were_not_decoded_ends),
        cmocka_unit_test(forwards_what_concerns_the_message_in_its_order),
        cmocka_unit_test(forwards_all_or_nothing_without_a_walk),
        cmocka_unit_test(properties_have_the_standards_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
