/*
 * packet_equal: do two decoded packets say the same? For the unit tests and the fuzz targets.
 */
#ifndef TESTS_MQTT_PACKET_EQUAL_H
#define TESTS_MQTT_PACKET_EQUAL_H

#include "mqtt/packet.h"

/* Compares what is present; User Properties and repeated Subscription Identifiers with their order. */
bool properties_equal(const struct mqtt_properties *left, const struct mqtt_properties *right);

/* Compares type and all fields. An absent slice differs from an empty one where the packet can tell them apart. */
bool packet_equal(const struct mqtt_packet *left, const struct mqtt_packet *right);

#endif
