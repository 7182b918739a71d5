/*
 * topic_fuzz: any bytes as a topic and a filter. The input is cut at its first newline: topic, then filter. The fast
 * paths must agree with the plain readings of the standard below.
 */
#include <stdlib.h>

#include "base/compiler.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool contains(struct slice text, uint8_t byte)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == byte)
            return true;
    }
    return false;
}

/* Section 4.7 word by word, one level at a time. */
static bool plain_match(struct slice topic, struct slice filter)
{
    size_t topic_end = 0;
    size_t filter_end = 0;
    bool is_plus;

    while (filter_end < filter.len && filter.data[filter_end] != '/')
        filter_end++;
    if (filter_end == 1 && filter.data[0] == '#')
        return true;
    while (topic_end < topic.len && topic.data[topic_end] != '/')
        topic_end++;
    is_plus = filter_end == 1 && filter.data[0] == '+';
    if (!is_plus && !slice_equal(slice_make(topic.data, topic_end), slice_make(filter.data, filter_end)))
        return false;
    if (topic_end == topic.len && filter_end == filter.len)
        return true;
    if (topic_end == topic.len) /* "a/#" matches "a" */
        return filter.len - filter_end == 2 && memcmp(filter.data + filter_end, "/#", 2) == 0;
    if (filter_end == filter.len)
        return false;
    return plain_match(slice_skip(topic, topic_end + 1), slice_skip(filter, filter_end + 1));
}

static void check_match(struct slice topic, struct slice filter)
{
    bool starts_wild = filter.data[0] == '+' || filter.data[0] == '#';
    bool expected = plain_match(topic, filter) && !(topic.data[0] == '$' && starts_wild);

    ASSERT(mqtt_topic_matches(topic, filter) == expected);
    if (!mqtt_filter_has_wildcard(filter))
        ASSERT(expected == slice_equal(topic, filter));
}

static void check_one(struct slice text)
{
    struct mqtt_shared_filter shared;
    bool has_wildcard = contains(text, '+') || contains(text, '#');

    (void)mqtt_utf8_valid(text);
    ASSERT(mqtt_topic_valid(text) == (text.len > 0 && text.len <= MQTT_TOPIC_LEN_MAX && !has_wildcard));
    if (mqtt_filter_valid(text)) {
        ASSERT(mqtt_filter_has_wildcard(text) == has_wildcard);
        ASSERT(mqtt_topic_level_count(text) >= 1 && mqtt_topic_level_count(text) <= text.len + 1);
    }
    if (!mqtt_shared_filter_parse(text, &shared))
        return;
    if (shared.group.data == NULL) {
        ASSERT(slice_equal(shared.filter, text));
    } else {
        ASSERT(shared.group.len > 0 && shared.filter.len > 0);
        ASSERT(!contains(shared.group, '+') && !contains(shared.group, '#') && !contains(shared.group, '/'));
        ASSERT(shared.filter.data + shared.filter.len == text.data + text.len);
    }
}

/* A copy of its own size, so that a read past the end is seen. */
static struct slice copy_of(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len + (len == 0));

    ASSERT(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return slice_make(copy, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t topic_len = 0;
    struct slice topic;
    struct slice filter;

    while (topic_len < size && data[topic_len] != '\n')
        topic_len++;
    topic = copy_of(data, topic_len);
    filter = topic_len < size ? copy_of(data + topic_len + 1, size - topic_len - 1) : copy_of(data, 0);
    check_one(topic);
    check_one(filter);
    if (mqtt_topic_valid(topic) && mqtt_filter_valid(filter))
        check_match(topic, filter);
    free((void *)topic.data);
    free((void *)filter.data);
    return 0;
}
