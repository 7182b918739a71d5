/*
 * acl_rules_fuzz: any text as a file of access rules. The input is cut at its first newline: a topic filter, then the file.
 *
 * It compiles or is refused with a place inside the text. What compiles answers: a topic name is the same to both ways of comparing
 * filters, and every topic that a granted filter matches would be granted, too.
 */
#include "auth/acl_rules.h"
#include "mqtt/topic.h"
#include "net/ip_address.h"

#include <errno.h>
#include <stdlib.h>

#define TOPIC_BYTES 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of its own size, so that a read past the end is seen. */
static struct slice copy_of(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len + (len == 0));

    ASSERT(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return slice_make(copy, len);
}

static struct acl_rules *compile(struct slice text, enum acl_filter_match match)
{
    struct acl_rules *rules = NULL;
    struct acl_error error = {.text = ""};
    uint32_t lines = 1;
    int err = acl_rules_new(text, match, &rules, &error);

    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n';
    ASSERT(err == 0 || err == -EINVAL);
    ASSERT((err == 0) == (rules != NULL));
    if (err < 0)
        ASSERT(error.text[0] != '\0' && error.place.line >= 1 && error.place.line <= lines && error.place.column >= 1);
    return rules;
}

/* A topic that the filter matches: with `level` for + and for #. 0: it would be too long. */
static size_t make_topic(struct slice filter, const char *level, char out_topic[TOPIC_BYTES])
{
    size_t len = 0;

    for (size_t i = 0; i < filter.len; i++) {
        bool is_wildcard = filter.data[i] == '+' || filter.data[i] == '#';
        if (len + strlen(level) + 1 >= TOPIC_BYTES)
            return 0;
        if (is_wildcard)
            len = (size_t)(stpcpy(out_topic + len, level) - out_topic);
        else
            out_topic[len++] = (char)filter.data[i];
    }
    return len;
}

static const struct acl_rule *ask(const struct acl_rules *rules, enum acl_access access, struct slice topic, bool named)
{
    struct client_info client = {.client_id = SLICE_LITERAL("c"),
                                 .user_name = named ? SLICE_LITERAL("u") : (struct slice){NULL, 0},
                                 .peer_address = ip_address_mapped((struct in_addr){htonl(0x0A000001)})};
    struct hook_check_acl request = {.client = &client, .access = access, .topic = topic};

    return acl_rules_find(rules, &request);
}

static void check_topic(const struct acl_rules *rules, const struct acl_rules *by_text, struct slice topic, bool named)
{
    for (enum acl_access access = ACL_SUBSCRIBE; access <= ACL_PUBLISH; access++) {
        const struct acl_rule *rule = ask(rules, access, topic, named), *other = ask(by_text, access, topic, named);
        ASSERT((rule == NULL) == (other == NULL));
        ASSERT(rule == NULL || rule->number == other->number);
    }
}

static void check_filter(const struct acl_rules *rules, const struct acl_rules *by_text, struct slice filter,
                         bool has_literals, bool named)
{
    static const char *const levels[] = {"x", "c", "u", "a", ""};
    const struct acl_rule *rule = ask(rules, ACL_SUBSCRIBE, filter, named);

    (void)ask(by_text, ACL_SUBSCRIBE, filter, named);
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        char text[TOPIC_BYTES];
        struct slice topic = slice_make(text, make_topic(filter, levels[i], text));
        if (!mqtt_topic_valid(topic) || !mqtt_topic_matches(topic, filter))
            continue;
        check_topic(rules, by_text, topic, named);
        if (rule != NULL && rule->is_allow && !has_literals) {
            const struct acl_rule *decides = ask(rules, ACL_SUBSCRIBE, topic, named);
            ASSERT(decides != NULL && decides->is_allow);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t filter_len = 0;
    struct slice filter, text;
    struct acl_rules *rules, *by_text;

    while (filter_len < size && data[filter_len] != '\n')
        filter_len++;
    filter = copy_of(data, filter_len);
    text = filter_len < size ? copy_of(data + filter_len + 1, size - filter_len - 1) : copy_of(data, 0);
    rules = compile(text, ACL_FILTER_COVER);
    by_text = compile(text, ACL_FILTER_TEXT);
    ASSERT((rules == NULL) == (by_text == NULL));
    if (rules != NULL && mqtt_filter_valid(filter)) {
        bool has_literals = memmem(text.data, text.len, "eq", 2) != NULL; /* {eq, "#"} allows the text alone */
        check_filter(rules, by_text, filter, has_literals, true);
        check_filter(rules, by_text, filter, has_literals, false);
    }
    acl_rules_free(rules);
    acl_rules_free(by_text);
    free((void *)filter.data);
    free((void *)text.data);
    return 0;
}
