/*
 * naive_match: the matching rules of MQTT 5, section 4.7, written down as plainly as can be, to compare with.
 * And random filters and topics over a small alphabet, so that many match.
 */
#ifndef TESTS_BROKER_ROUTER_NAIVE_MATCH_H
#define TESTS_BROKER_ROUTER_NAIVE_MATCH_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline bool naive_match_from(const char *topic, const char *filter)
{
    size_t topic_len = strcspn(topic, "/");
    size_t filter_len = strcspn(filter, "/");

    if (strcmp(filter, "#") == 0)
        return true;
    if (strcmp(filter, "+") != 0 && strncmp(filter, "+/", 2) != 0 &&
        (topic_len != filter_len || memcmp(topic, filter, topic_len) != 0))
        return false;
    if (topic[topic_len] == '\0')
        return filter[filter_len] == '\0' || strcmp(filter + filter_len, "/#") == 0;
    return filter[filter_len] == '/' && naive_match_from(topic + topic_len + 1, filter + filter_len + 1);
}

static inline bool naive_match(const char *topic, const char *filter)
{
    if (topic[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
        return false;
    return naive_match_from(topic, filter);
}

/* A xorshift generator: the same numbers in every run. */
static inline uint32_t naive_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline void naive_random_text(uint32_t *state, char *text, bool is_filter)
{
    static const char *const levels[] = {"a", "b", "", "cc", "$s", "longer-level-name", "+", "+", "+"};
    uint32_t count = 1 + naive_random(state) % 5;

    text[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            strcat(text, "/");
        if (is_filter && i + 1 == count && naive_random(state) % 4 == 0)
            strcat(text, "#");
        else
            strcat(text, levels[naive_random(state) % (is_filter ? 9 : 6)]);
    }
    if (text[0] == '\0')
        strcpy(text, "a");
}

#endif
