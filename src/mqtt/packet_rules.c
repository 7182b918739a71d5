/*
 * packet_rules: flags are from table 2-2 of MQTT 5, senders from 2-1, properties from 2-4.
 */
#include "mqtt/packet_rules_internal.h"
#include "mqtt/reason_code_internal.h"

#define CLIENT (1 << MQTT_FROM_CLIENT)
#define SERVER (1 << MQTT_FROM_SERVER)
#define BOTH (CLIENT | SERVER)
#define DUP 0x8

#define BIT(property) MQTT_PROP_BIT(MQTT_PROP_##property)
#define REASON_PROPERTIES (BIT(REASON_STRING) | BIT(USER_PROPERTY))

/* MQTT 3.1, section 2.1: DUP marks also a PUBREL, SUBSCRIBE or UNSUBSCRIBE that is sent again. */
const struct packet_rule packet_rules[16] = {
    [0] = {.name = "reserved"},
    [MQTT_CONNECT] = {.name = "CONNECT",
                      .senders = CLIENT,
                      .version_min = MQTT_V3_1,
                      .properties = {BIT(SESSION_EXPIRY_INTERVAL) | BIT(RECEIVE_MAXIMUM) | BIT(MAXIMUM_PACKET_SIZE) |
                                         BIT(TOPIC_ALIAS_MAXIMUM) | BIT(REQUEST_RESPONSE_INFORMATION) |
                                         BIT(REQUEST_PROBLEM_INFORMATION) | BIT(USER_PROPERTY) |
                                         BIT(AUTHENTICATION_METHOD) | BIT(AUTHENTICATION_DATA),
                                     BIT(USER_PROPERTY)}},
    [MQTT_CONNACK] = {.name = "CONNACK",
                      .senders = SERVER,
                      .version_min = MQTT_V3_1,
                      .carriers = {0, IN_CONNACK},
                      .properties = {BIT(SESSION_EXPIRY_INTERVAL) | BIT(RECEIVE_MAXIMUM) | BIT(MAXIMUM_QOS) |
                                         BIT(RETAIN_AVAILABLE) | BIT(MAXIMUM_PACKET_SIZE) |
                                         BIT(ASSIGNED_CLIENT_IDENTIFIER) | BIT(TOPIC_ALIAS_MAXIMUM) |
                                         REASON_PROPERTIES | BIT(WILDCARD_SUBSCRIPTION_AVAILABLE) |
                                         BIT(SUBSCRIPTION_IDENTIFIER_AVAILABLE) | BIT(SHARED_SUBSCRIPTION_AVAILABLE) |
                                         BIT(SERVER_KEEP_ALIVE) | BIT(RESPONSE_INFORMATION) | BIT(SERVER_REFERENCE) |
                                         BIT(AUTHENTICATION_METHOD) | BIT(AUTHENTICATION_DATA),
                                     BIT(USER_PROPERTY)}},
    [MQTT_PUBLISH] = {.name = "PUBLISH",
                      .senders = BOTH,
                      .version_min = MQTT_V3_1,
                      .properties = {BIT(PAYLOAD_FORMAT_INDICATOR) | BIT(MESSAGE_EXPIRY_INTERVAL) | BIT(TOPIC_ALIAS) |
                                         BIT(RESPONSE_TOPIC) | BIT(CORRELATION_DATA) | BIT(USER_PROPERTY) |
                                         BIT(SUBSCRIPTION_IDENTIFIER) | BIT(CONTENT_TYPE),
                                     BIT(USER_PROPERTY) | BIT(SUBSCRIPTION_IDENTIFIER)}},
    [MQTT_PUBACK] = {.name = "PUBACK",
                     .senders = BOTH,
                     .version_min = MQTT_V3_1,
                     .carriers = {IN_PUBACK_PUBREC, IN_PUBACK_PUBREC},
                     .properties = {REASON_PROPERTIES, BIT(USER_PROPERTY)}},
    [MQTT_PUBREC] = {.name = "PUBREC",
                     .senders = BOTH,
                     .version_min = MQTT_V3_1,
                     .carriers = {IN_PUBACK_PUBREC, IN_PUBACK_PUBREC},
                     .properties = {REASON_PROPERTIES, BIT(USER_PROPERTY)}},
    [MQTT_PUBREL] = {.name = "PUBREL",
                     .flags = 0x2,
                     .v3_1_ignored = DUP,
                     .senders = BOTH,
                     .version_min = MQTT_V3_1,
                     .carriers = {IN_PUBREL_PUBCOMP, IN_PUBREL_PUBCOMP},
                     .properties = {REASON_PROPERTIES, BIT(USER_PROPERTY)}},
    [MQTT_PUBCOMP] = {.name = "PUBCOMP",
                      .senders = BOTH,
                      .version_min = MQTT_V3_1,
                      .carriers = {IN_PUBREL_PUBCOMP, IN_PUBREL_PUBCOMP},
                      .properties = {REASON_PROPERTIES, BIT(USER_PROPERTY)}},
    [MQTT_SUBSCRIBE] = {.name = "SUBSCRIBE",
                        .flags = 0x2,
                        .v3_1_ignored = DUP,
                        .senders = CLIENT,
                        .version_min = MQTT_V3_1,
                        .properties = {BIT(SUBSCRIPTION_IDENTIFIER) | BIT(USER_PROPERTY), BIT(USER_PROPERTY)}},
    [MQTT_SUBACK] = {.name = "SUBACK",
                     .senders = SERVER,
                     .version_min = MQTT_V3_1,
                     .carriers = {0, IN_SUBACK},
                     .properties = {REASON_PROPERTIES, BIT(USER_PROPERTY)}},
    [MQTT_UNSUBSCRIBE] = {.name = "UNSUBSCRIBE",
                          .flags = 0x2,
                          .v3_1_ignored = DUP,
                          .senders = CLIENT,
                          .version_min = MQTT_V3_1,
                          .properties = {BIT(USER_PROPERTY), BIT(USER_PROPERTY)}},
    [MQTT_UNSUBACK] = {.name = "UNSUBACK",
                       .senders = SERVER,
                       .version_min = MQTT_V3_1,
                       .carriers = {0, IN_UNSUBACK},
                       .properties = {REASON_PROPERTIES, BIT(USER_PROPERTY)}},
    [MQTT_PINGREQ] = {.name = "PINGREQ", .senders = CLIENT, .version_min = MQTT_V3_1},
    [MQTT_PINGRESP] = {.name = "PINGRESP", .senders = SERVER, .version_min = MQTT_V3_1},
    [MQTT_DISCONNECT] = {.name = "DISCONNECT",
                         .senders = BOTH, /* from a server only in MQTT 5; decode.c looks */
                         .version_min = MQTT_V3_1,
                         .carriers = {IN_CLIENT_DISCONNECT, IN_SERVER_DISCONNECT},
                         .properties = {BIT(SESSION_EXPIRY_INTERVAL) | BIT(SERVER_REFERENCE) | REASON_PROPERTIES,
                                        BIT(USER_PROPERTY)}},
    [MQTT_AUTH] = {.name = "AUTH",
                   .senders = BOTH,
                   .version_min = MQTT_V5,
                   .carriers = {IN_CLIENT_AUTH, IN_SERVER_AUTH},
                   .properties = {BIT(AUTHENTICATION_METHOD) | BIT(AUTHENTICATION_DATA) | REASON_PROPERTIES,
                                  BIT(USER_PROPERTY)}},
};

const char *mqtt_type_name(enum mqtt_type type)
{
    return (unsigned)type < ARRAY_COUNT(packet_rules) ? packet_rules[type].name : packet_rules[0].name;
}
