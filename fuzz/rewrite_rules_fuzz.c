/*
 * rewrite_rules_fuzz: any bytes as a topic, under any rule. The input is cut at its first newline: rule, then topic. What comes out must be a
 * topic name or filter, UTF-8 if what goes in is, and must not take long (libFuzzer's -timeout).
 */
#include <stdlib.h>

#include "base/compiler.h"
#include "module/rewrite_rules.h"
#include "mqtt/topic.h"

/* Longer ones are only slower: the length of an expression is the operator's business. */
#define RULE_BYTES_MAX 200u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(const struct rewrite_rules *rules, struct rewrite_scratch *scratch, struct slice topic,
                  bool is_filter, bool is_text)
{
    struct rewrite_request request = {
        .text = topic,
        .prefix = is_filter ? SLICE_LITERAL("$share/g/") : slice_make(NULL, 0),
        .is_filter = is_filter,
    };
    struct mqtt_shared_filter shared;
    struct slice text;

    if (rewrite_rules_apply(rules, scratch, &request, &text) != REWRITE_CHANGED)
        return;
    ASSERT(text.len <= MQTT_TOPIC_LEN_MAX);
    ASSERT(!is_text || mqtt_utf8_valid(text));
    if (!is_filter) {
        ASSERT(mqtt_topic_valid(text) && !slice_equal(text, topic));
        return;
    }
    ASSERT(mqtt_shared_filter_parse(text, &shared) && slice_equal(shared.group, SLICE_LITERAL("g")));
    ASSERT(mqtt_filter_valid(shared.filter) && !slice_equal(shared.filter, topic));
}

static void run(const char *rule, const uint8_t *topic, size_t topic_len)
{
    struct rewrite_rules *rules = rewrite_rules_new();
    struct rewrite_scratch *scratch;
    char error[REWRITE_ERROR_BYTES] = "";
    bool is_text = mqtt_utf8_valid(slice_from_string(rule)) && mqtt_utf8_valid(slice_make(topic, topic_len));
    uint8_t *copy = malloc(topic_len + 1); /* of its own size, so that a read past the end is seen */

    ASSERT(rules != NULL && copy != NULL);
    if (topic_len > 0)
        memcpy(copy, topic, topic_len);
    if (rewrite_rules_add(rules, rule, error) == 0) {
        scratch = rewrite_scratch_new(rules);
        ASSERT(scratch != NULL);
        if (mqtt_topic_valid(slice_make(copy, topic_len)))
            apply(rules, scratch, slice_make(copy, topic_len), false, is_text);
        if (mqtt_filter_valid(slice_make(copy, topic_len)))
            apply(rules, scratch, slice_make(copy, topic_len), true, is_text);
        rewrite_scratch_free(scratch);
    } else {
        ASSERT(error[0] != '\0');
    }
    free(copy);
    rewrite_rules_free(rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);
    char rule[RULE_BYTES_MAX + 1];
    size_t rule_len = end == NULL ? 0 : (size_t)(end - data);

    if (end == NULL || rule_len > RULE_BYTES_MAX || memchr(data, '\0', rule_len) != NULL)
        return 0;
    memcpy(rule, data, rule_len);
    rule[rule_len] = '\0';
    run(rule, end + 1, size - rule_len - 1);
    return 0;
}
