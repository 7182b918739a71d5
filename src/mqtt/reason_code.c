/*
 * reason_code: one row holds all that is known of a reason code. The array is indexed by the code itself, so a
 * lookup is one load; a row without a name is a code that the standard does not have.
 */
#include "mqtt/reason_code.h"
#include "base/compiler.h"
#include "mqtt/reason_code_internal.h"

#define V3_SERVER_UNAVAILABLE 3

struct reason_row {
    const char *name;
    const char *text;
    uint8_t v3_connack; /* CONNACK return code of MQTT 3.x */
    uint16_t carriers;  /* IN_...: the packets whose reason code this may be (MQTT 5, section 2.4) */
};

/* Short names of the carriers, for the table below only. */
#define CA IN_CONNACK
#define PA IN_PUBACK_PUBREC
#define PR IN_PUBREL_PUBCOMP
#define SA IN_SUBACK
#define UA IN_UNSUBACK
#define DC IN_CLIENT_DISCONNECT
#define DS IN_SERVER_DISCONNECT
#define DCS (IN_CLIENT_DISCONNECT | IN_SERVER_DISCONNECT)
#define AC IN_CLIENT_AUTH
#define AS IN_SERVER_AUTH

/* Which side may send a code in DISCONNECT and AUTH is from sections 3.14.2.1 and 3.15.2.1. "malformed_Packet" is
 * spelled as users' tools look for it. */
static const struct reason_row reason_rows[] = {
    [0x00] = {"success", "Success", 0, CA | PA | PR | SA | UA | DC | AS},
    [0x01] = {"granted_qos1", "Granted QoS 1", 3, SA},
    [0x02] = {"granted_qos2", "Granted QoS 2", 3, SA},
    [0x04] = {"disconnect_with_will_message", "Disconnect with Will Message", 3, DC},
    [0x10] = {"no_matching_subscribers", "No matching subscribers", 3, PA},
    [0x11] = {"no_subscription_existed", "No subscription existed", 3, UA},
    [0x18] = {"continue_authentication", "Continue authentication", 3, AC | AS},
    [0x19] = {"re_authenticate", "Re-authenticate", 3, AC},
    [0x80] = {"unspecified_error", "Unspecified error", 1, CA | PA | SA | UA | DCS},
    [0x81] = {"malformed_Packet", "Malformed Packet", 1, CA | DCS},
    [0x82] = {"protocol_error", "Protocol Error", 1, CA | DCS},
    [0x83] = {"implementation_specific_error", "Implementation specific error", 1, CA | PA | SA | UA | DCS},
    [0x84] = {"unsupported_protocol_version", "Unsupported Protocol Version", 1, CA},
    [0x85] = {"client_identifier_not_valid", "Client Identifier not valid", 2, CA},
    [0x86] = {"bad_username_or_password", "Bad User Name or Password", 4, CA},
    [0x87] = {"not_authorized", "Not authorized", 5, CA | PA | SA | UA | DS},
    [0x88] = {"server_unavailable", "Server unavailable", 3, CA},
    [0x89] = {"server_busy", "Server busy", 3, CA | DS},
    [0x8A] = {"banned", "Banned", 5, CA},
    [0x8B] = {"server_shutting_down", "Server shutting down", 3, DS},
    [0x8C] = {"bad_authentication_method", "Bad authentication method", 5, CA | DCS},
    [0x8D] = {"keepalive_timeout", "Keep Alive timeout", 3, DS},
    [0x8E] = {"session_taken_over", "Session taken over", 3, DS},
    [0x8F] = {"topic_filter_invalid", "Topic Filter invalid", 3, SA | UA | DS},
    [0x90] = {"topic_name_invalid", "Topic Name invalid", 3, CA | PA | DCS},
    [0x91] = {"packet_identifier_inuse", "Packet Identifier in use", 3, PA | SA | UA},
    [0x92] = {"packet_identifier_not_found", "Packet Identifier not found", 3, PR},
    [0x93] = {"receive_maximum_exceeded", "Receive Maximum exceeded", 3, DCS},
    [0x94] = {"topic_alias_invalid", "Topic Alias invalid", 3, DCS},
    [0x95] = {"packet_too_large", "Packet too large", 3, CA | DCS},
    [0x96] = {"message_rate_too_high", "Message rate too high", 3, DCS},
    [0x97] = {"quota_exceeded", "Quota exceeded", 3, CA | PA | SA | DCS},
    [0x98] = {"administrative_action", "Administrative action", 3, DCS},
    [0x99] = {"payload_format_invalid", "Payload format invalid", 3, CA | PA | DCS},
    [0x9A] = {"retain_not_supported", "Retain not supported", 3, CA | DS},
    [0x9B] = {"qos_not_supported", "QoS not supported", 3, CA | DS},
    [0x9C] = {"use_another_server", "Use another server", 3, CA | DS},
    [0x9D] = {"server_moved", "Server moved", 3, CA | DS},
    [0x9E] = {"shared_subscriptions_not_supported", "Shared Subscriptions not supported", 3, SA | DS},
    [0x9F] = {"connection_rate_exceeded", "Connection rate exceeded", 3, CA | DS},
    [0xA0] = {"maximum_connect_time", "Maximum connect time", 3, DS},
    [0xA1] = {"subscription_identifiers_not_supported", "Subscription Identifiers not supported", 3, SA | DS},
    [0xA2] = {"wildcard_subscriptions_not_supported", "Wildcard Subscriptions not supported", 3, SA | DS},
};

/* NULL when the standard does not have the code. */
static const struct reason_row *reason_row_find(unsigned code)
{
    if (code >= ARRAY_COUNT(reason_rows) || reason_rows[code].name == NULL)
        return NULL;
    return &reason_rows[code];
}

const char *reason_code_name(enum reason_code code)
{
    const struct reason_row *row = reason_row_find((unsigned)code);

    return row == NULL ? "unknown_error" : row->name;
}

const char *reason_code_text(enum reason_code code)
{
    const struct reason_row *row = reason_row_find((unsigned)code);

    return row == NULL ? "Unknown error" : row->text;
}

uint8_t reason_code_to_v3_connack(enum reason_code code)
{
    const struct reason_row *row = reason_row_find((unsigned)code);

    return row == NULL ? V3_SERVER_UNAVAILABLE : row->v3_connack;
}

bool reason_code_allowed(uint8_t code, uint16_t carriers)
{
    const struct reason_row *row = reason_row_find(code);

    return row != NULL && (row->carriers & carriers) != 0;
}

bool reason_code_from_v3_connack(uint8_t return_code, enum reason_code *out_code)
{
    static const enum reason_code codes[] = {
        REASON_SUCCESS,
        REASON_UNSUPPORTED_PROTOCOL_VERSION,
        REASON_CLIENT_ID_NOT_VALID,
        REASON_SERVER_UNAVAILABLE,
        REASON_BAD_USER_NAME_OR_PASSWORD,
        REASON_NOT_AUTHORIZED,
    };

    if (return_code >= ARRAY_COUNT(codes))
        return false;
    *out_code = codes[return_code];
    return true;
}
