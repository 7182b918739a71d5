/*
 * topic: topic names and topic filters (MQTT 5, sections 4.7 and 4.8). Pure. Thread: any.
 */
#ifndef MQTT_TOPIC_H
#define MQTT_TOPIC_H

#include "base/compiler.h"
#include "base/slice.h"

#define MQTT_TOPIC_LEN_MAX 65535u /* bytes; section 4.7.3 */

/* True for a legal UTF-8 encoded string (section 1.5.4): well-formed, no surrogates, no U+0000. Control
 * characters and non-characters pass, as the standard lets a server choose. Fast for ASCII. */
bool mqtt_utf8_valid(struct slice text);

/* True for a topic name: 1..65,535 bytes without '+' and '#' anywhere. UTF-8 is not looked at. */
bool mqtt_topic_valid(struct slice topic);

/* True for a filter: 1..65,535 bytes, '+' alone in its level, '#' alone in the last one [MQTT-4.7.1-1,
 * MQTT-4.7.1-2]. A share prefix must have been taken off. UTF-8 is not looked at. */
bool mqtt_filter_valid(struct slice filter);

/* True when a '+' or '#' level stands in the (valid) filter. */
bool mqtt_filter_has_wildcard(struct slice filter);

/* Number of levels: separators + 1. */
uint32_t mqtt_topic_level_count(struct slice topic);

/* Does a valid topic match a valid filter? A leading wildcard does not match a topic that starts with '$'
 * [MQTT-4.7.2-1]. */
bool mqtt_topic_matches(struct slice topic, struct slice filter);

/* A filter as subscribed, taken apart (section 4.8.2). */
struct mqtt_shared_filter {
    struct slice group;  /* data NULL: not shared; "$queue" for $queue/FILTER */
    struct slice filter; /* without the prefix */
};

/* Takes $share/GROUP/FILTER and $queue/FILTER apart. False when it is a share prefix with a bad group (empty,
 * with '+' or '#'), no filter behind it, or a prefix inside the prefix. The filter's own syntax is not checked. */
MUST_USE bool mqtt_shared_filter_parse(struct slice text, struct mqtt_shared_filter *out_shared);

#endif
