/*
 * packet: the MQTT control packets as structs of borrowed slices, for 3.1, 3.1.1 and 5.0.
 *
 * decode.h fills them from bytes, encode.h writes them. All slices point into the bytes that were decoded and
 * live as long as those. Section numbers are those of MQTT 5.0. Pure. Thread: any.
 */
#ifndef MQTT_PACKET_H
#define MQTT_PACKET_H

#include "base/slice.h"
#include "mqtt/reason_code.h"

#include <stdbool.h>
#include <stdint.h>

enum mqtt_version {
    MQTT_V3_1 = 3,   /* "MQIsdp" */
    MQTT_V3_1_1 = 4, /* "MQTT" */
    MQTT_V5 = 5,
};

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH,
};

/* "CONNECT" … "AUTH"; "reserved" for a type that does not exist. Static text. Thread: any. */
const char *mqtt_type_name(enum mqtt_type type);

/* Indexes into `mqtt_properties.present`; the wire identifiers are in properties.c's table. */
enum mqtt_property {
    MQTT_PROP_PAYLOAD_FORMAT_INDICATOR,
    MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
    MQTT_PROP_CONTENT_TYPE,
    MQTT_PROP_RESPONSE_TOPIC,
    MQTT_PROP_CORRELATION_DATA,
    MQTT_PROP_SUBSCRIPTION_IDENTIFIER,
    MQTT_PROP_SESSION_EXPIRY_INTERVAL,
    MQTT_PROP_ASSIGNED_CLIENT_IDENTIFIER,
    MQTT_PROP_SERVER_KEEP_ALIVE,
    MQTT_PROP_AUTHENTICATION_METHOD,
    MQTT_PROP_AUTHENTICATION_DATA,
    MQTT_PROP_REQUEST_PROBLEM_INFORMATION,
    MQTT_PROP_WILL_DELAY_INTERVAL,
    MQTT_PROP_REQUEST_RESPONSE_INFORMATION,
    MQTT_PROP_RESPONSE_INFORMATION,
    MQTT_PROP_SERVER_REFERENCE,
    MQTT_PROP_REASON_STRING,
    MQTT_PROP_RECEIVE_MAXIMUM,
    MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
    MQTT_PROP_TOPIC_ALIAS,
    MQTT_PROP_MAXIMUM_QOS,
    MQTT_PROP_RETAIN_AVAILABLE,
    MQTT_PROP_USER_PROPERTY,
    MQTT_PROP_MAXIMUM_PACKET_SIZE,
    MQTT_PROP_WILDCARD_SUBSCRIPTION_AVAILABLE,
    MQTT_PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    MQTT_PROP_SHARED_SUBSCRIPTION_AVAILABLE,
    MQTT_PROP_COUNT,
};

/* The property's name as the standard writes it: "Session Expiry Interval". Static text. Thread: any. */
const char *mqtt_property_name(enum mqtt_property property);

#define MQTT_PROP_BIT(property) (UINT32_C(1) << (property))

/*
 * The properties of one packet (section 2.2.2). A field is valid only when its bit is set in `present`; the
 * decoder writes nothing else, so an empty section costs one store. `raw` is the whole section without its
 * length, as received; User Property and (in PUBLISH) repeated Subscription Identifiers are read from it in
 * order with mqtt_property_next().
 */
struct mqtt_properties {
    uint32_t present; /* MQTT_PROP_BIT(...) of what the section has */
    struct slice raw;
    struct slice content_type;
    struct slice response_topic;
    struct slice correlation_data;
    struct slice assigned_client_id;
    struct slice authentication_method;
    struct slice authentication_data;
    struct slice response_information;
    struct slice server_reference;
    struct slice reason_string;
    uint32_t message_expiry_interval_s;
    uint32_t session_expiry_interval_s; /* UINT32_MAX: never */
    uint32_t will_delay_interval_s;
    uint32_t maximum_packet_size; /* bytes, never 0 */
    uint32_t subscription_id;     /* 1..268,435,455; the last one when a PUBLISH repeats it */
    uint16_t server_keep_alive_s;
    uint16_t receive_maximum; /* never 0 */
    uint16_t topic_alias_maximum;
    uint16_t topic_alias; /* 0 is passed on for the channel to refuse with 0x94 */
    uint8_t payload_format_indicator;
    uint8_t request_problem_information;
    uint8_t request_response_information;
    uint8_t maximum_qos;
    uint8_t retain_available;
    uint8_t wildcard_subscription_available;
    uint8_t subscription_id_available;
    uint8_t shared_subscription_available;
};

static inline bool mqtt_properties_have(const struct mqtt_properties *properties, enum mqtt_property property)
{
    return (properties->present & MQTT_PROP_BIT(property)) != 0;
}

struct mqtt_will {
    struct slice topic;
    struct slice payload;
    uint8_t qos;
    bool retain;
    struct mqtt_properties properties;
};

struct mqtt_connect {
    struct slice protocol_name;
    uint8_t level;  /* as sent, without the bridge bit 0x80 */
    bool is_bridge; /* mosquitto's convention: level | 0x80 */
    bool clean_start;
    bool has_will;
    uint16_t keep_alive_s; /* 0: off */
    struct slice client_id;
    struct slice user_name; /* data NULL: absent */
    struct slice password;  /* data NULL: absent */
    struct mqtt_will will;
    struct mqtt_properties properties;
};

struct mqtt_connack {
    bool session_present;
    enum reason_code code; /* encoded as a v3 return code for MQTT 3.x */
    struct mqtt_properties properties;
};

struct mqtt_publish {
    struct slice topic; /* empty when a v5 topic alias stands for it */
    struct slice payload;
    uint16_t packet_id; /* 0 at QoS 0 */
    uint8_t qos;
    bool dup;
    bool retain;
    struct mqtt_properties properties;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP */
struct mqtt_ack {
    uint16_t packet_id;
    enum reason_code code;
    struct mqtt_properties properties;
};

struct mqtt_subscription_options {
    uint8_t qos;
    bool no_local;
    bool retain_as_published;
    uint8_t retain_handling; /* 0, 1, 2 */
};

/* SUBSCRIBE and UNSUBSCRIBE; the filters are read with mqtt_filter_next(), which can no longer fail. */
struct mqtt_subscribe {
    uint16_t packet_id;
    uint32_t filter_count; /* at least 1 */
    struct slice filters;  /* raw payload */
    struct mqtt_properties properties;
};

/* SUBACK and UNSUBACK */
struct mqtt_suback {
    uint16_t packet_id;
    struct slice codes; /* one byte a filter; empty in a v3 UNSUBACK */
    struct mqtt_properties properties;
};

/* DISCONNECT and AUTH */
struct mqtt_disconnect {
    enum reason_code code;
    struct mqtt_properties properties;
};

struct mqtt_packet {
    enum mqtt_type type;
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
        struct mqtt_suback suback;
        struct mqtt_disconnect disconnect;
    };
};

#endif
