/*
 * packet_rules: what the standard allows each packet type, one row a type. Pure. Thread: any.
 */
#ifndef MQTT_PACKET_RULES_INTERNAL_H
#define MQTT_PACKET_RULES_INTERNAL_H

#include "mqtt/decode.h"
#include "mqtt/properties_internal.h"

struct packet_rule {
    const char *name;
    uint8_t flags;        /* low nibble of the first byte; PUBLISH has rules of its own */
    uint8_t v3_1_ignored; /* bits of it that MQTT 3.1 leaves free */
    uint8_t senders;      /* 1 << enum mqtt_role */
    uint8_t version_min;  /* enum mqtt_version */
    uint16_t carriers[2]; /* by enum mqtt_role: which reason codes fit (reason_code_internal.h); 0: has none */
    struct property_set properties;
};

/* By enum mqtt_type; row 0 has no senders. */
extern const struct packet_rule packet_rules[16];

#endif
