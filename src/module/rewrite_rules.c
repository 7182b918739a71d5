/*
 * rewrite_rules: see rewrite_rules.h. PCRE2 calls count_step() before each item of an expression (PCRE2_AUTO_CALLOUT), which its own match limit
 * does not do: that one starts anew at each place of the topic where a match could begin.
 */
#include "module/rewrite_rules.h"

#include "mqtt/topic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define RULE_WORDS 3u
#define STEP_BYTES 256u /* of a topic: for each of them a step counts one more */

/* A piece of the new topic. */
struct part {
    struct slice text; /* of a piece that stays as it is */
    uint32_t group;    /* 0: it is text */
};

struct rule {
    char *text; /* all of it; the slices point into it */
    struct slice filter;
    pcre2_code *code;
    struct part *parts;
    uint32_t part_count;
};

struct rewrite_rules {
    struct rule *items;
    size_t count;
    uint32_t groups_max; /* of all expressions */
};

struct rewrite_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
    uint32_t steps;
    uint8_t *text;
    size_t capacity;
};

struct rewrite_rules *rewrite_rules_new(void)
{
    return calloc(1, sizeof(struct rewrite_rules));
}

static void rule_fini(struct rule *rule)
{
    pcre2_code_free(rule->code);
    free(rule->parts);
    free(rule->text);
}

void rewrite_rules_free(struct rewrite_rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->count; i++)
        rule_fini(&rules->items[i]);
    free(rules->items);
    free(rules);
}

size_t rewrite_rules_count(const struct rewrite_rules *rules)
{
    return rules->count;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

/* The number of words; the first RULE_WORDS of them in `words`. */
static size_t split_words(struct slice text, struct slice words[RULE_WORDS])
{
    size_t count = 0;

    while (text.len > 0) {
        size_t len = 0;
        while (len < text.len && is_blank(text.data[len]) == is_blank(text.data[0]))
            len++;
        struct slice word = slice_take(&text, len);
        if (is_blank(word.data[0]))
            continue;
        if (count < RULE_WORDS)
            words[count] = word;
        count++;
    }
    return count;
}

static int compile(struct rule *rule, struct slice expression, uint32_t *out_groups,
                   char out_error[REWRITE_ERROR_BYTES])
{
    PCRE2_UCHAR8 reason[128];
    size_t at;
    int code;

    rule->code = pcre2_compile(expression.data, expression.len,
                               PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT, &code, &at, NULL);
    if (rule->code == NULL && code == PCRE2_ERROR_HEAP_FAILED)
        return -ENOMEM;
    if (rule->code == NULL) {
        pcre2_get_error_message(code, reason, sizeof(reason));
        snprintf(out_error, REWRITE_ERROR_BYTES, "the regular expression %.*s is wrong at its character %zu: %s",
                 (int)(expression.len < 200 ? expression.len : 200), (const char *)expression.data, at + 1,
                 (const char *)reason);
        return -EINVAL;
    }
    pcre2_pattern_info(rule->code, PCRE2_INFO_CAPTURECOUNT, out_groups);
    return 0;
}

/* The group that the digits at the beginning of `text` name, as many of them as make sense; 0: none. */
static uint32_t take_group(struct slice *text, uint32_t groups)
{
    uint32_t group = 0;
    size_t len = 0;

    while (len < text->len && text->data[len] >= '0' && text->data[len] <= '9') {
        uint32_t longer = group * 10 + (text->data[len] - '0');
        if (longer == 0 || longer > groups)
            break;
        group = longer;
        len++;
    }
    *text = slice_skip(*text, len);
    return group;
}

/* Cuts the new topic into pieces. */
static int parse_destination(struct rule *rule, struct slice text, uint32_t groups, char out_error[REWRITE_ERROR_BYTES])
{
    rule->parts = calloc(text.len, sizeof(*rule->parts)); /* more pieces than bytes there are not */
    if (rule->parts == NULL)
        return -ENOMEM;
    while (text.len > 0) {
        struct part *part = &rule->parts[rule->part_count++];
        struct slice rest = slice_skip(text, 1);
        if (text.data[0] == '$' && rest.len > 0 && rest.data[0] >= '1' && rest.data[0] <= '9') {
            part->group = take_group(&rest, groups);
            if (part->group == 0) {
                snprintf(out_error, REWRITE_ERROR_BYTES,
                         "the new topic has $%c, but the regular expression has %u group%s in parentheses",
                         rest.data[0], groups, groups == 1 ? "" : "s");
                return -EINVAL;
            }
            text = rest;
            continue;
        }
        const uint8_t *next = memchr(rest.data, '$', rest.len);
        part->text = slice_take(&text, next == NULL ? text.len : (size_t)(next - text.data));
    }
    return 0;
}

/* Would this be a filter with `value` for each group? A topic name is one, too. */
static int could_be_filter(const struct rule *rule, const char *value, size_t room)
{
    char *text = malloc(room * 2);
    size_t len = 0;
    bool is_valid;

    if (text == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < rule->part_count; i++) {
        const struct part *part = &rule->parts[i];
        struct slice from = part->group > 0 ? slice_from_string(value) : part->text;
        memcpy(text + len, from.data, from.len);
        len += from.len;
    }
    is_valid = mqtt_filter_valid(slice_make(text, len));
    free(text);
    return is_valid;
}

static int check_destination(const struct rule *rule, struct slice text, char out_error[REWRITE_ERROR_BYTES])
{
    static const char *const values[] = {"v", "v/", ""};
    int is_valid = 0;

    for (size_t i = 0; i < ARRAY_COUNT(values) && is_valid == 0; i++)
        is_valid = could_be_filter(rule, values[i], text.len);
    if (is_valid > 0)
        return 0;
    snprintf(out_error, REWRITE_ERROR_BYTES, "%.*s makes no topic", (int)(text.len < 200 ? text.len : 200),
             (const char *)text.data);
    return is_valid < 0 ? is_valid : -EINVAL;
}

static int rule_parse(struct rule *rule, const char *text, uint32_t *out_groups, char out_error[REWRITE_ERROR_BYTES])
{
    struct slice words[RULE_WORDS];
    size_t count;
    int err;

    rule->text = strdup(text);
    if (rule->text == NULL)
        return -ENOMEM;
    count = split_words(slice_from_string(rule->text), words);
    if (count != RULE_WORDS) {
        snprintf(out_error, REWRITE_ERROR_BYTES, "it has %zu word%s", count, count == 1 ? "" : "s");
        return -EINVAL;
    }
    if (!mqtt_filter_valid(words[0])) {
        snprintf(out_error, REWRITE_ERROR_BYTES, "%.*s is no topic filter",
                 (int)(words[0].len < 200 ? words[0].len : 200), (const char *)words[0].data);
        return -EINVAL;
    }
    rule->filter = words[0];
    err = compile(rule, words[1], out_groups, out_error);
    if (err == 0)
        err = parse_destination(rule, words[2], *out_groups, out_error);
    return err == 0 ? check_destination(rule, words[2], out_error) : err;
}

int rewrite_rules_add(struct rewrite_rules *rules, const char *text, char out_error[REWRITE_ERROR_BYTES])
{
    struct rule *items = realloc(rules->items, (rules->count + 1) * sizeof(*items));
    struct rule rule = {0};
    uint32_t groups = 0;
    int err;

    if (items == NULL)
        return -ENOMEM;
    rules->items = items;
    err = rule_parse(&rule, text, &groups, out_error);
    if (err < 0) {
        rule_fini(&rule);
        return err;
    }
    items[rules->count++] = rule;
    if (groups > rules->groups_max)
        rules->groups_max = groups;
    return 0;
}

static int count_step(pcre2_callout_block *block, void *data)
{
    struct rewrite_scratch *scratch = data;

    scratch->steps += 1 + (uint32_t)(block->subject_length / STEP_BYTES);
    return scratch->steps > REWRITE_STEPS_MAX ? PCRE2_ERROR_CALLOUT : 0;
}

struct rewrite_scratch *rewrite_scratch_new(const struct rewrite_rules *rules)
{
    struct rewrite_scratch *scratch = calloc(1, sizeof(*scratch));

    if (scratch == NULL)
        return NULL;
    scratch->match = pcre2_match_data_create(rules->groups_max + 1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    if (scratch->match == NULL || scratch->context == NULL) {
        rewrite_scratch_free(scratch);
        return NULL;
    }
    pcre2_set_callout(scratch->context, count_step, scratch);
    pcre2_set_heap_limit(scratch->context, REWRITE_HEAP_KB_MAX);
    return scratch;
}

void rewrite_scratch_free(struct rewrite_scratch *scratch)
{
    if (scratch == NULL)
        return;
    pcre2_match_context_free(scratch->context);
    pcre2_match_data_free(scratch->match);
    free(scratch->text);
    free(scratch);
}

static struct slice part_text(const struct rewrite_scratch *scratch, struct slice subject, const struct part *part)
{
    const PCRE2_SIZE *groups;

    if (part->group == 0)
        return part->text;
    groups = pcre2_get_ovector_pointer(scratch->match);
    if (groups[2 * part->group] == PCRE2_UNSET)
        return slice_make(NULL, 0);
    return slice_make(subject.data + groups[2 * part->group], groups[2 * part->group + 1] - groups[2 * part->group]);
}

static bool is_valid(const struct rewrite_request *request, struct slice text)
{
    struct mqtt_shared_filter shared;

    if (!request->is_filter)
        return mqtt_topic_valid(text);
    return mqtt_filter_valid(text) && mqtt_shared_filter_parse(text, &shared) && shared.group.data == NULL;
}

static enum rewrite_result build(const struct rule *rule, struct rewrite_scratch *scratch,
                                 const struct rewrite_request *request, struct slice *out_text)
{
    size_t len = request->prefix.len, at = request->prefix.len;

    for (uint32_t i = 0; i < rule->part_count; i++)
        len += part_text(scratch, request->text, &rule->parts[i]).len;
    if (len == request->prefix.len || len > MQTT_TOPIC_LEN_MAX)
        return REWRITE_INVALID;
    if (len > scratch->capacity) {
        uint8_t *text = realloc(scratch->text, len);
        if (text == NULL)
            return REWRITE_NO_MEMORY;
        scratch->text = text;
        scratch->capacity = len;
    }
    if (at > 0)
        memcpy(scratch->text, request->prefix.data, at);
    for (uint32_t i = 0; i < rule->part_count; i++) {
        struct slice part = part_text(scratch, request->text, &rule->parts[i]);
        if (part.len > 0)
            memcpy(scratch->text + at, part.data, part.len);
        at += part.len;
    }
    struct slice result = slice_make(scratch->text + request->prefix.len, len - request->prefix.len);
    if (!is_valid(request, result))
        return REWRITE_INVALID;
    if (slice_equal(result, request->text))
        return REWRITE_SAME;
    *out_text = slice_make(scratch->text, len);
    return REWRITE_CHANGED;
}

static enum rewrite_result apply(const struct rule *rule, struct rewrite_scratch *scratch,
                                 const struct rewrite_request *request, struct slice *out_text)
{
    int result;

    scratch->steps = 0;
    result = pcre2_match(rule->code, request->text.data, request->text.len, 0, 0, scratch->match, scratch->context);
    if (result == PCRE2_ERROR_NOMATCH)
        return REWRITE_SAME;
    if (result == PCRE2_ERROR_NOMEMORY)
        return REWRITE_NO_MEMORY;
    return result < 0 ? REWRITE_GIVEN_UP : build(rule, scratch, request, out_text);
}

enum rewrite_result rewrite_rules_apply(const struct rewrite_rules *rules, struct rewrite_scratch *scratch,
                                        const struct rewrite_request *request, struct slice *out_text)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (mqtt_topic_matches(request->text, rules->items[i].filter))
            return apply(&rules->items[i], scratch, request, out_text);
    }
    return REWRITE_SAME;
}
