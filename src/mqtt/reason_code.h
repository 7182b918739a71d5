/*
 * reason_code: MQTT 5 reason codes (MQTT 5, section 2.4), their names and texts, and what they become for
 * MQTT 3.1 and 3.1.1 clients. Pure. Thread: any.
 */
#ifndef MQTT_REASON_CODE_H
#define MQTT_REASON_CODE_H

#include <stdint.h>

enum reason_code {
    REASON_SUCCESS = 0x00, /* also: normal disconnection, granted QoS 0 */
    REASON_GRANTED_QOS_1 = 0x01,
    REASON_GRANTED_QOS_2 = 0x02,
    REASON_DISCONNECT_WITH_WILL = 0x04,
    REASON_NO_MATCHING_SUBSCRIBERS = 0x10,
    REASON_NO_SUBSCRIPTION_EXISTED = 0x11,
    REASON_CONTINUE_AUTHENTICATION = 0x18,
    REASON_RE_AUTHENTICATE = 0x19,
    REASON_UNSPECIFIED_ERROR = 0x80,
    REASON_MALFORMED_PACKET = 0x81,
    REASON_PROTOCOL_ERROR = 0x82,
    REASON_IMPLEMENTATION_SPECIFIC_ERROR = 0x83,
    REASON_UNSUPPORTED_PROTOCOL_VERSION = 0x84,
    REASON_CLIENT_ID_NOT_VALID = 0x85,
    REASON_BAD_USER_NAME_OR_PASSWORD = 0x86,
    REASON_NOT_AUTHORIZED = 0x87,
    REASON_SERVER_UNAVAILABLE = 0x88,
    REASON_SERVER_BUSY = 0x89,
    REASON_BANNED = 0x8A,
    REASON_SERVER_SHUTTING_DOWN = 0x8B,
    REASON_BAD_AUTHENTICATION_METHOD = 0x8C,
    REASON_KEEP_ALIVE_TIMEOUT = 0x8D,
    REASON_SESSION_TAKEN_OVER = 0x8E,
    REASON_TOPIC_FILTER_INVALID = 0x8F,
    REASON_TOPIC_NAME_INVALID = 0x90,
    REASON_PACKET_ID_IN_USE = 0x91,
    REASON_PACKET_ID_NOT_FOUND = 0x92,
    REASON_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    REASON_TOPIC_ALIAS_INVALID = 0x94,
    REASON_PACKET_TOO_LARGE = 0x95,
    REASON_MESSAGE_RATE_TOO_HIGH = 0x96,
    REASON_QUOTA_EXCEEDED = 0x97,
    REASON_ADMINISTRATIVE_ACTION = 0x98,
    REASON_PAYLOAD_FORMAT_INVALID = 0x99,
    REASON_RETAIN_NOT_SUPPORTED = 0x9A,
    REASON_QOS_NOT_SUPPORTED = 0x9B,
    REASON_USE_ANOTHER_SERVER = 0x9C,
    REASON_SERVER_MOVED = 0x9D,
    REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E,
    REASON_CONNECTION_RATE_EXCEEDED = 0x9F,
    REASON_MAXIMUM_CONNECT_TIME = 0xA0,
    REASON_SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1,
    REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2,
};

/* The name that logs, metrics and hooks use: "keepalive_timeout", "malformed_Packet" (sic; the original's
 * spelling); "unknown_error" for a value that no row has. Static text. */
const char *reason_code_name(enum reason_code code);

/* The text for people: "Keep Alive timeout"; "Unknown error" for a value that no row has. Static text. */
const char *reason_code_text(enum reason_code code);

/* The CONNACK return code 0..5 of MQTT 3.1.1, section 3.2.2.3, that says `code` to an older client;
 * 3 (server unavailable) for codes without a counterpart. */
uint8_t reason_code_to_v3_connack(enum reason_code code);

#endif
