/*
 * Every packet and property through the encoder and back, the inline writers, and what can't be said.
 */
#include "codec_test.h"

static const enum mqtt_version versions[] = {MQTT_V3_1, MQTT_V3_1_1, MQTT_V5};

/* Encodes, decodes, compares; then checks that one byte less of room is refused. */
static void assert_round_trip(enum mqtt_version version, enum mqtt_role role, const struct mqtt_packet *packet)
{
    size_t size = mqtt_encoded_size(version, packet);
    uint8_t *bytes = malloc(size);
    struct mqtt_frame frame;
    struct mqtt_packet again;
    const char *error = "none";

    assert_non_null(bytes);
    assert_true(size > 0);
    assert_int_equal(mqtt_encode(version, packet, bytes, size - 1), 0);
    assert_int_equal(mqtt_encode(version, packet, bytes, size), size);
    assert_int_equal(mqtt_frame_peek(bytes, size, &frame), MQTT_PEEK_OK);
    assert_int_equal(frame.header_len + frame.remaining_len, size);
    if (mqtt_decode(version, role, &frame, bytes + frame.header_len, &again, &error) != REASON_SUCCESS)
        fail_msg("%s, version %d: %s", mqtt_type_name(packet->type), (int)version, error);
    if (!packet_equal(packet, &again))
        fail_msg("%s, version %d: not the same", mqtt_type_name(packet->type), (int)version);
    free(bytes);
}

#define BIT(property) MQTT_PROP_BIT(MQTT_PROP_##property)

/* All properties with values of their own; `present` says which a packet takes. */
static struct mqtt_properties all_properties(uint32_t present)
{
    static uint8_t raw[128]; /* as a decoder leaves it: what repeats */
    struct mqtt_properties properties = {
        .present = present,
        .content_type = SLICE_LITERAL("text/plain"),
        .response_topic = SLICE_LITERAL("reply/to"),
        .correlation_data = SLICE_LITERAL("\0\xFF"),
        .assigned_client_id = SLICE_LITERAL("assigned"),
        .authentication_method = SLICE_LITERAL("method"),
        .authentication_data = SLICE_LITERAL("\xFE\0"),
        .response_information = SLICE_LITERAL("information"),
        .server_reference = SLICE_LITERAL("other:1883"),
        .reason_string = SLICE_LITERAL("because"),
        .message_expiry_interval_s = 0x01020304,
        .session_expiry_interval_s = UINT32_MAX,
        .will_delay_interval_s = 0x0A0B0C0D,
        .maximum_packet_size = 1048576,
        .subscription_id = 268435455,
        .server_keep_alive_s = 0x1234,
        .receive_maximum = 65535,
        .topic_alias_maximum = 10,
        .topic_alias = 0x4321,
        .payload_format_indicator = 1,
        .request_problem_information = 0,
        .request_response_information = 1,
        .maximum_qos = 1,
        .retain_available = 0,
        .wildcard_subscription_available = 1,
        .subscription_id_available = 0,
        .shared_subscription_available = 1,
    };

    properties.raw = slice_make(raw, 0);
    if ((present & BIT(SUBSCRIPTION_IDENTIFIER)) != 0)
        properties.raw.len = mqtt_write_subscription_id(raw, properties.subscription_id);
    if ((present & BIT(USER_PROPERTY)) != 0) {
        properties.raw.len += mqtt_write_user_property(SLICE_LITERAL("name"), SLICE_LITERAL("first"),
                                                       raw + properties.raw.len);
        properties.raw.len += mqtt_write_user_property(SLICE_LITERAL("name"), SLICE_LITERAL("second"),
                                                       raw + properties.raw.len);
    }
    return properties;
}

#define REASON_PROPERTIES (BIT(REASON_STRING) | BIT(USER_PROPERTY))
#define CONNECT_PROPERTIES                                                                                             \
    (BIT(SESSION_EXPIRY_INTERVAL) | BIT(RECEIVE_MAXIMUM) | BIT(MAXIMUM_PACKET_SIZE) | BIT(TOPIC_ALIAS_MAXIMUM) |       \
     BIT(REQUEST_RESPONSE_INFORMATION) | BIT(REQUEST_PROBLEM_INFORMATION) | BIT(USER_PROPERTY) |                       \
     BIT(AUTHENTICATION_METHOD) | BIT(AUTHENTICATION_DATA))
#define CONNACK_PROPERTIES                                                                                             \
    (BIT(SESSION_EXPIRY_INTERVAL) | BIT(RECEIVE_MAXIMUM) | BIT(MAXIMUM_QOS) | BIT(RETAIN_AVAILABLE) |                  \
     BIT(MAXIMUM_PACKET_SIZE) | BIT(ASSIGNED_CLIENT_IDENTIFIER) | BIT(TOPIC_ALIAS_MAXIMUM) | REASON_PROPERTIES |       \
     BIT(WILDCARD_SUBSCRIPTION_AVAILABLE) | BIT(SUBSCRIPTION_IDENTIFIER_AVAILABLE) |                                   \
     BIT(SHARED_SUBSCRIPTION_AVAILABLE) | BIT(SERVER_KEEP_ALIVE) | BIT(RESPONSE_INFORMATION) | BIT(SERVER_REFERENCE) | \
     BIT(AUTHENTICATION_METHOD) | BIT(AUTHENTICATION_DATA))
#define WILL_PROPERTIES                                                                                                \
    (BIT(WILL_DELAY_INTERVAL) | BIT(PAYLOAD_FORMAT_INDICATOR) | BIT(MESSAGE_EXPIRY_INTERVAL) | BIT(CONTENT_TYPE) |     \
     BIT(RESPONSE_TOPIC) | BIT(CORRELATION_DATA) | BIT(USER_PROPERTY))
#define PUBLISH_PROPERTIES                                                                                             \
    (BIT(PAYLOAD_FORMAT_INDICATOR) | BIT(MESSAGE_EXPIRY_INTERVAL) | BIT(TOPIC_ALIAS) | BIT(RESPONSE_TOPIC) |           \
     BIT(CORRELATION_DATA) | BIT(USER_PROPERTY) | BIT(SUBSCRIPTION_IDENTIFIER) | BIT(CONTENT_TYPE))

/* The sample packet of each type, with all its properties if `version` has them. */
static struct mqtt_packet sample(enum mqtt_version version, enum mqtt_type type, uint32_t present)
{
    struct mqtt_packet packet = {.type = type};
    struct mqtt_properties properties = all_properties(version == MQTT_V5 ? present : 0);
    bool v5 = version == MQTT_V5;

    switch (type) {
    case MQTT_CONNECT:
        packet.connect = (struct mqtt_connect){
            .protocol_name = version == MQTT_V3_1 ? SLICE_LITERAL("MQIsdp") : SLICE_LITERAL("MQTT"),
            .level = (uint8_t)version,
            .clean_start = true,
            .has_will = true,
            .keep_alive_s = 0x1122,
            .client_id = SLICE_LITERAL("client"),
            .user_name = SLICE_LITERAL("user"),
            .password = SLICE_LITERAL("pass\0word"),
            .will = {.topic = SLICE_LITERAL("will"),
                     .payload = SLICE_LITERAL("\0\1"),
                     .qos = 2,
                     .retain = true,
                     .properties = all_properties(v5 ? WILL_PROPERTIES : 0)},
            .properties = properties,
        };
        break;
    case MQTT_CONNACK: packet.connack = (struct mqtt_connack){.session_present = true, .properties = properties}; break;
    case MQTT_PUBLISH:
        packet.publish = (struct mqtt_publish){.topic = SLICE_LITERAL("a/topic"),
                                               .payload = SLICE_LITERAL("payload\0"),
                                               .packet_id = 0xABCD,
                                               .qos = 2,
                                               .dup = true,
                                               .retain = true,
                                               .properties = properties};
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
        packet.ack = (struct mqtt_ack){0xABCD, v5 ? REASON_QUOTA_EXCEEDED : REASON_SUCCESS, properties};
        break;
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        packet.ack = (struct mqtt_ack){0xABCD, v5 ? REASON_PACKET_ID_NOT_FOUND : REASON_SUCCESS, properties};
        break;
    case MQTT_SUBSCRIBE:
        packet.subscribe = (struct mqtt_subscribe){0xABCD, 2, SLICE_LITERAL("\0\3a/b\1\0\1#\2"), properties};
        break;
    case MQTT_UNSUBSCRIBE:
        packet.subscribe = (struct mqtt_subscribe){0xABCD, 2, SLICE_LITERAL("\0\3a/b\0\1#"), properties};
        break;
    case MQTT_SUBACK: packet.suback = (struct mqtt_suback){0xABCD, SLICE_LITERAL("\0\1\2\x80"), properties}; break;
    case MQTT_UNSUBACK:
        packet.suback = (struct mqtt_suback){0xABCD, v5 ? SLICE_LITERAL("\0\x11") : SLICE_LITERAL(""), properties};
        break;
    case MQTT_DISCONNECT:
        packet.disconnect = (struct mqtt_disconnect){v5 ? REASON_DISCONNECT_WITH_WILL : REASON_SUCCESS, properties};
        break;
    case MQTT_AUTH: packet.disconnect = (struct mqtt_disconnect){REASON_CONTINUE_AUTHENTICATION, properties}; break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: break;
    }
    return packet;
}

static const struct {
    enum mqtt_type type;
    enum mqtt_role role;
    uint32_t present;
} kinds[] = {
    {MQTT_CONNECT, C, CONNECT_PROPERTIES},
    {MQTT_CONNACK, S, CONNACK_PROPERTIES},
    {MQTT_PUBLISH, C, PUBLISH_PROPERTIES},
    {MQTT_PUBACK, C, REASON_PROPERTIES},
    {MQTT_PUBREC, S, REASON_PROPERTIES},
    {MQTT_PUBREL, C, REASON_PROPERTIES},
    {MQTT_PUBCOMP, S, REASON_PROPERTIES},
    {MQTT_SUBSCRIBE, C, BIT(SUBSCRIPTION_IDENTIFIER) | BIT(USER_PROPERTY)},
    {MQTT_SUBACK, S, REASON_PROPERTIES},
    {MQTT_UNSUBSCRIBE, C, BIT(USER_PROPERTY)},
    {MQTT_UNSUBACK, S, REASON_PROPERTIES},
    {MQTT_PINGREQ, C, 0},
    {MQTT_PINGRESP, S, 0},
    {MQTT_DISCONNECT, C, BIT(SESSION_EXPIRY_INTERVAL) | BIT(SERVER_REFERENCE) | REASON_PROPERTIES},
    {MQTT_AUTH, C, BIT(AUTHENTICATION_METHOD) | BIT(AUTHENTICATION_DATA) | REASON_PROPERTIES},
};

static void every_packet_comes_back_the_same_in_every_version(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
            struct mqtt_packet packet = sample(versions[v], kinds[k].type, kinds[k].present);

            if (kinds[k].type == MQTT_AUTH && versions[v] != MQTT_V5)
                assert_int_equal(mqtt_encoded_size(versions[v], &packet), 0);
            else
                assert_round_trip(versions[v], kinds[k].role, &packet);
        }
    }
}

/* Each property alone, so that no other can stand in for it. */
static void every_property_comes_back_alone(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
        for (unsigned property = 0; property <= MQTT_PROP_COUNT; property++) {
            uint32_t present = property == MQTT_PROP_COUNT ? 0 : kinds[k].present & MQTT_PROP_BIT(property);
            struct mqtt_packet packet;

            if (kinds[k].type == MQTT_AUTH || (present & BIT(AUTHENTICATION_DATA)) != 0)
                present |= BIT(AUTHENTICATION_METHOD);
            packet = sample(MQTT_V5, kinds[k].type, present);
            assert_round_trip(MQTT_V5, kinds[k].role, &packet);
        }
    }
}

static void properties_are_left_out_where_they_may_not_be(void **state)
{
    struct mqtt_packet packet = sample(MQTT_V5, MQTT_PUBACK, UINT32_MAX >> (32 - MQTT_PROP_COUNT));
    struct mqtt_packet expected = sample(MQTT_V5, MQTT_PUBACK, REASON_PROPERTIES);

    (void)state;
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), mqtt_encoded_size(MQTT_V5, &expected));
}

static void several_subscription_identifiers_are_kept(void **state)
{
    struct mqtt_packet packet = sample(MQTT_V5, MQTT_PUBLISH, BIT(SUBSCRIPTION_IDENTIFIER));
    uint8_t raw[16];
    size_t len = mqtt_write_subscription_id(raw, 300);

    (void)state;
    len += mqtt_write_subscription_id(raw + len, 7);
    packet.publish.properties.raw = slice_make(raw, len);
    packet.publish.properties.subscription_id = 7;
    assert_round_trip(MQTT_V5, S, &packet);
}

static void a_subscription_identifier_without_raw_is_taken_from_its_field(void **state)
{
    struct mqtt_packet packet = sample(MQTT_V5, MQTT_PUBLISH, 0);
    uint8_t out[64];

    (void)state;
    packet.publish.properties.present = BIT(SUBSCRIPTION_IDENTIFIER);
    packet.publish.properties.subscription_id = 300;
    packet.publish.qos = 0;
    packet.publish.dup = false;
    assert_int_equal(mqtt_encode(MQTT_V5, &packet, out, sizeof(out)), 23);
    assert_memory_equal(out + 2 + 2 + 7, "\3\x0B\xAC\2payload\0", 12);
}

static void optional_parts_of_connect_come_back_absent_or_empty(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        struct mqtt_packet packet = sample(versions[v], MQTT_CONNECT, 0);

        packet.connect.is_bridge = true;
        packet.connect.password = (struct slice){NULL, 0};
        assert_round_trip(versions[v], C, &packet);
        packet.connect.user_name = SLICE_LITERAL("");
        assert_round_trip(versions[v], C, &packet);
        packet.connect.user_name = (struct slice){NULL, 0};
        packet.connect.has_will = false;
        packet.connect.clean_start = false;
        assert_round_trip(versions[v], C, &packet);
    }
}

static void a_connect_without_name_and_level_gets_those_of_the_version(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        struct mqtt_packet packet = sample(versions[v], MQTT_CONNECT, 0);
        struct mqtt_packet bare = packet;
        uint8_t bytes[128];
        uint8_t bare_bytes[128];
        size_t size = mqtt_encode(versions[v], &packet, bytes, sizeof(bytes));

        bare.connect.protocol_name = (struct slice){NULL, 0};
        bare.connect.level = 0;
        assert_int_equal(mqtt_encode(versions[v], &bare, bare_bytes, sizeof(bare_bytes)), size);
        assert_memory_equal(bare_bytes, bytes, size);
    }
}

static void a_password_alone_can_be_said_in_mqtt_5_only(void **state)
{
    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        struct mqtt_packet packet = sample(versions[v], MQTT_CONNECT, 0);

        packet.connect.user_name = (struct slice){NULL, 0};
        if (versions[v] == MQTT_V5)
            assert_round_trip(MQTT_V5, C, &packet);
        else
            assert_int_equal(mqtt_encoded_size(versions[v], &packet), 0);
    }
}

static void too_long_strings_and_packets_are_refused(void **state)
{
    static uint8_t bytes[65536];
    struct mqtt_packet packet = sample(MQTT_V5, MQTT_PUBLISH, BIT(CONTENT_TYPE));

    (void)state;
    memset(bytes, 'a', sizeof(bytes));
    packet.publish.topic = slice_make(bytes, 65535);
    packet.publish.properties.content_type = slice_make(bytes, 65535);
    assert_round_trip(MQTT_V5, C, &packet);
    packet.publish.properties.content_type.len = 65536;
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), 0);
    packet.publish.properties.content_type.len = 1;
    packet.publish.topic.len = 65536;
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), 0);
    packet.publish.topic.len = 1;
    packet.publish.qos = 0;
    packet.publish.properties.present = 0;
    packet.publish.payload.len = MQTT_REMAINING_LENGTH_MAX - 4; /* never read: only the size is asked for */
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), MQTT_REMAINING_LENGTH_MAX + 5u);
    packet.publish.payload.len++;
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), 0);
    assert_int_equal(mqtt_encode(MQTT_V5, &packet, bytes, sizeof(bytes)), 0);
    assert_int_equal(mqtt_write_filter(slice_make(bytes, 65536), NULL, NULL), 0);
    assert_int_equal(mqtt_write_user_property(slice_make(bytes, 65536), SLICE_LITERAL(""), NULL), 0);
}

static void a_type_that_does_not_exist_has_no_size(void **state)
{
    struct mqtt_packet packet = {.type = (enum mqtt_type)0};

    (void)state;
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), 0);
    packet.type = (enum mqtt_type)16;
    assert_int_equal(mqtt_encoded_size(MQTT_V5, &packet), 0);
}

static void older_clients_get_what_they_know(void **state)
{
    struct mqtt_packet connack = {.type = MQTT_CONNACK, .connack = {.code = REASON_BANNED}};
    struct mqtt_packet suback = {.type = MQTT_SUBACK,
                                 .suback = {.packet_id = 1, .codes = SLICE_LITERAL("\2\x87\x8F\0")}};
    struct mqtt_packet unsuback = {.type = MQTT_UNSUBACK, .suback = {.packet_id = 1, .codes = SLICE_LITERAL("\x11")}};
    struct mqtt_packet puback = {.type = MQTT_PUBACK, .ack = {.packet_id = 1, .code = REASON_NOT_AUTHORIZED}};
    uint8_t out[16];

    (void)state;
    assert_int_equal(mqtt_encode(MQTT_V3_1_1, &connack, out, sizeof(out)), 4);
    assert_memory_equal(out, "\x20\2\0\5", 4);
    assert_int_equal(mqtt_encode(MQTT_V3_1_1, &suback, out, sizeof(out)), 8);
    assert_memory_equal(out, "\x90\6\0\1\2\x80\x80\0", 8);
    assert_int_equal(mqtt_encode(MQTT_V3_1_1, &unsuback, out, sizeof(out)), 4);
    assert_memory_equal(out, "\xB0\2\0\1", 4);
    assert_int_equal(mqtt_encode(MQTT_V3_1_1, &puback, out, sizeof(out)), 4);
    assert_memory_equal(out, "\x40\2\0\1", 4);
}

static void the_ack_hot_path_writes_what_the_encoder_writes(void **state)
{
    static const enum reason_code codes[] = {REASON_SUCCESS, REASON_PACKET_ID_NOT_FOUND};

    (void)state;
    for (size_t v = 0; v < ARRAY_COUNT(versions); v++) {
        for (enum mqtt_type type = MQTT_PUBACK; type <= MQTT_PUBCOMP; type++) {
            for (size_t c = 0; c < ARRAY_COUNT(codes); c++) {
                struct mqtt_packet packet = {.type = type, .ack = {.packet_id = 0x1234, .code = codes[c]}};
                uint8_t expected[8];
                uint8_t out[MQTT_ACK_SIZE_MAX];
                size_t size = mqtt_encode(versions[v], &packet, expected, sizeof(expected));

                assert_int_equal(mqtt_encode_ack(versions[v], type, 0x1234, codes[c], out), size);
                assert_memory_equal(out, expected, size);
            }
        }
    }
}

static void the_publish_hot_path_writes_what_the_encoder_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(versions) * 3; i++) {
        enum mqtt_version version = versions[i % 3];
        struct mqtt_packet packet = sample(version, MQTT_PUBLISH, BIT(MESSAGE_EXPIRY_INTERVAL) | BIT(TOPIC_ALIAS));
        uint8_t extra[8];
        uint8_t expected[64];
        uint8_t out[64];
        size_t packet_id_at;
        size_t extra_len = mqtt_write_message_expiry(extra, packet.publish.properties.message_expiry_interval_s);
        struct mqtt_publish_head head = {.topic = packet.publish.topic,
                                         .payload_len = packet.publish.payload.len,
                                         .packet_id = packet.publish.packet_id,
                                         .qos = (uint8_t)(i / 3),
                                         .dup = i / 3 > 0,
                                         .retain = true};
        size_t size;
        size_t head_size;

        extra_len += mqtt_write_topic_alias(extra + extra_len, packet.publish.properties.topic_alias);
        head.extra = slice_make(extra, extra_len);
        packet.publish.qos = head.qos;
        packet.publish.dup = head.dup;
        size = mqtt_encode(version, &packet, expected, sizeof(expected));
        head_size = mqtt_publish_head_size(version, &head);
        assert_int_equal(head_size + packet.publish.payload.len, size);
        assert_int_equal(mqtt_publish_head_write(version, &head, out, &packet_id_at), head_size);
        assert_memory_equal(out, expected, head_size);
        assert_int_equal(packet_id_at, 2 + 2 + head.topic.len);
        if (head.qos > 0)
            assert_memory_equal(out + packet_id_at, "\xAB\xCD", 2);
    }
}

static void forwarded_properties_go_through_the_publish_hot_path(void **state)
{
    static const char properties[] = "\1\1\x26\0\1n\0\1v";
    uint8_t out[64];
    struct mqtt_publish_head head = {
        .topic = SLICE_LITERAL("t"), .properties = slice_make(properties, sizeof(properties) - 1), .payload_len = 0};
    size_t size = mqtt_publish_head_write(MQTT_V5, &head, out, NULL);
    struct mqtt_frame frame;
    struct mqtt_publish publish;

    (void)state;
    assert_int_equal(mqtt_frame_peek(out, size, &frame), MQTT_PEEK_OK);
    assert_int_equal(frame.header_len + frame.remaining_len, size);
    assert_int_equal(mqtt_decode_publish(MQTT_V5, S, &frame, out + frame.header_len, &publish, NULL), REASON_SUCCESS);
    assert_int_equal(publish.properties.present, BIT(PAYLOAD_FORMAT_INDICATOR) | BIT(USER_PROPERTY));
    assert_true(slice_equal(publish.properties.raw, head.properties));
}

static void filters_written_are_filters_read(void **state)
{
    static const struct mqtt_subscription_options options = {2, true, true, 1};
    struct mqtt_subscription_options again;
    uint8_t out[16];
    struct slice rest;
    struct slice filter;
    size_t len = mqtt_write_filter(SLICE_LITERAL("a/#"), &options, out);

    (void)state;
    assert_int_equal(len, 6);
    assert_int_equal(mqtt_write_filter(SLICE_LITERAL("a/#"), &options, NULL), len);
    rest = slice_make(out, len);
    assert_true(mqtt_filter_next(&rest, &filter, &again));
    ASSERT_SLICE(filter, "a/#");
    assert_memory_equal(&again, &options, sizeof(again));
    assert_int_equal(rest.len, 0);
    assert_int_equal(mqtt_write_filter(SLICE_LITERAL("b"), NULL, out), 3);
    assert_memory_equal(out, "\0\1b", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packet_comes_back_the_same_in_every_version),
        cmocka_unit_test(every_property_comes_back_alone),
        cmocka_unit_test(properties_are_left_out_where_they_may_not_be),
        cmocka_unit_test(several_subscription_identifiers_are_kept),
        cmocka_unit_test(a_subscription_identifier_without_raw_is_taken_from_its_field),
        cmocka_unit_test(optional_parts_of_connect_come_back_absent_or_empty),
        cmocka_unit_test(a_connect_without_name_and_level_gets_those_of_the_version),
        cmocka_unit_test(a_password_alone_can_be_said_in_mqtt_5_only),
        cmocka_unit_test(too_long_strings_and_packets_are_refused),
        cmocka_unit_test(a_type_that_does_not_exist_has_no_size),
        cmocka_unit_test(older_clients_get_what_they_know),
        cmocka_unit_test(the_ack_hot_path_writes_what_the_encoder_writes),
        cmocka_unit_test(the_publish_hot_path_writes_what_the_encoder_writes),
        cmocka_unit_test(forwarded_properties_go_through_the_publish_hot_path),
        cmocka_unit_test(filters_written_are_filters_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
