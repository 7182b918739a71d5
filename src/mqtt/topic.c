/*
 * topic: the syntax of topic names and filters and how one matches the other.
 */
#include "mqtt/topic.h"
#include "mqtt/text_internal.h"

static bool has_byte(struct slice text, uint8_t byte)
{
    return text.len > 0 && memchr(text.data, byte, text.len) != NULL;
}

bool mqtt_topic_valid(struct slice topic)
{
    if (topic.len == 0 || topic.len > MQTT_TOPIC_LEN_MAX)
        return false;
    if (LIKELY(text_is_plain_topic(topic.data, topic.len)))
        return true;
    return !has_byte(topic, '+') && !has_byte(topic, '#');
}

/* Does the byte at `at` fill its level? */
static bool stands_alone(struct slice filter, size_t at)
{
    return (at == 0 || filter.data[at - 1] == '/') && (at + 1 == filter.len || filter.data[at + 1] == '/');
}

bool mqtt_filter_valid(struct slice filter)
{
    if (filter.len == 0 || filter.len > MQTT_TOPIC_LEN_MAX)
        return false;
    if (text_is_plain_topic(filter.data, filter.len))
        return true;
    for (size_t at = 0; at < filter.len; at++) {
        uint8_t byte = filter.data[at];

        if (byte == '+' && !stands_alone(filter, at))
            return false; /* [MQTT-4.7.1-2] */
        if (byte == '#' && (!stands_alone(filter, at) || at + 1 != filter.len))
            return false; /* [MQTT-4.7.1-1] */
    }
    return true;
}

bool mqtt_filter_has_wildcard(struct slice filter)
{
    if (text_is_plain_topic(filter.data, filter.len))
        return false;
    return has_byte(filter, '+') || has_byte(filter, '#');
}

uint32_t mqtt_topic_level_count(struct slice topic)
{
    uint32_t count = 1;

    for (size_t at = 0; at < topic.len; at++)
        count += topic.data[at] == '/';
    return count;
}

bool mqtt_topic_matches(struct slice topic, struct slice filter)
{
    size_t topic_at = 0;

    if (topic.len == 0 || filter.len == 0)
        return false;
    if (topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#'))
        return false; /* [MQTT-4.7.2-1] */
    /* In a valid filter a wildcard fills its level, so its neighbours need no look. */
    for (size_t at = 0; at < filter.len; at++) {
        uint8_t byte = filter.data[at];

        if (byte == '#')
            return true;
        if (byte == '+') {
            while (topic_at < topic.len && topic.data[topic_at] != '/')
                topic_at++;
            continue;
        }
        /* "a/#" matches "a" too: section 4.7.1.2. */
        if (topic_at == topic.len)
            return byte == '/' && at + 2 == filter.len && filter.data[at + 1] == '#';
        if (topic.data[topic_at] != byte)
            return false;
        topic_at++;
    }
    return topic_at == topic.len;
}

#define SHARE_PREFIX SLICE_LITERAL("$share/")
#define QUEUE_PREFIX SLICE_LITERAL("$queue/")

/* The level that starts at `at`, up to the next separator or the end. */
static struct slice level_at(struct slice text, size_t at)
{
    size_t end = at;

    while (end < text.len && text.data[end] != '/')
        end++;
    return slice_make(text.data + at, end - at);
}

static bool has_share_prefix(struct slice text)
{
    return slice_starts_with(text, SHARE_PREFIX) || slice_starts_with(text, QUEUE_PREFIX);
}

bool mqtt_shared_filter_parse(struct slice text, struct mqtt_shared_filter *out_shared)
{
    struct slice group = {NULL, 0};
    struct slice filter = text;

    if (slice_starts_with(text, QUEUE_PREFIX)) {
        group = slice_make(text.data, QUEUE_PREFIX.len - 1);
        filter = slice_skip(text, QUEUE_PREFIX.len);
    } else if (slice_starts_with(text, SHARE_PREFIX)) {
        group = level_at(text, SHARE_PREFIX.len);
        if (group.len == 0 || has_byte(group, '+') || has_byte(group, '#'))
            return false; /* [MQTT-4.8.2-1] */
        if (SHARE_PREFIX.len + group.len == text.len)
            return false; /* [MQTT-4.8.2-2] */
        filter = slice_skip(text, SHARE_PREFIX.len + group.len + 1);
    }
    if (group.data != NULL && (filter.len == 0 || has_share_prefix(filter)))
        return false;
    *out_shared = (struct mqtt_shared_filter){.group = group, .filter = filter};
    return true;
}
