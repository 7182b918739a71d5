/*
 * What only the codec asks about reason codes. Pure. Thread: any.
 */
#ifndef MQTT_REASON_CODE_INTERNAL_H
#define MQTT_REASON_CODE_INTERNAL_H

#include "mqtt/reason_code.h"

#include <stdbool.h>

/* Carriers: packets that have a reason code, apart where the standard gives them different lists. */
enum {
    IN_CONNACK = 1 << 0,
    IN_PUBACK_PUBREC = 1 << 1,
    IN_PUBREL_PUBCOMP = 1 << 2,
    IN_SUBACK = 1 << 3,
    IN_UNSUBACK = 1 << 4,
    IN_CLIENT_DISCONNECT = 1 << 5,
    IN_SERVER_DISCONNECT = 1 << 6,
    IN_CLIENT_AUTH = 1 << 7,
    IN_SERVER_AUTH = 1 << 8,
};

/* May `code` stand in one of `carriers`? False for a code that the standard does not have. */
bool reason_code_allowed(uint8_t code, uint16_t carriers);

/* The reason code for a CONNACK return code of MQTT 3.x. False above 5. */
bool reason_code_from_v3_connack(uint8_t return_code, enum reason_code *out_code);

#endif
