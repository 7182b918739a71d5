/*
 * acl_rules: rules from terms, and the first one that fits a request.
 */
#include "auth/acl_rules_internal.h"

#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RULE_EXPECTED "{allow | deny, all} or {allow | deny, WHO, subscribe | publish | pubsub, [TOPIC, ...]}"

struct acl_rules {
    struct acl_memory memory;
    struct compiled_rule *rules;
    uint32_t count;
    uint32_t capacity;
    enum acl_filter_match filter_match;
    struct acl_index for_subscribe;
    struct acl_index for_publish;
};

/* ---- compiling ---- */

struct compiler {
    struct acl_rules *rules;
    struct acl_terms *terms;
    struct acl_error *error;
};

static int unexpected(const struct compiler *compiler, const struct acl_term *term, const char *expected)
{
    acl_term_unexpected(compiler->terms, term, expected, compiler->error);
    return -EINVAL;
}

static int read_access(const struct compiler *compiler, const struct acl_term *term, uint8_t *out_accesses)
{
    if (acl_term_is(compiler->terms, term, "subscribe"))
        *out_accesses = ACL_SUBSCRIBE;
    else if (acl_term_is(compiler->terms, term, "publish"))
        *out_accesses = ACL_PUBLISH;
    else if (acl_term_is(compiler->terms, term, "pubsub"))
        *out_accesses = ACL_SUBSCRIBE | ACL_PUBLISH;
    else
        return unexpected(compiler, term, "subscribe, publish or pubsub");
    return 0;
}

/* "topic", <<"topic">> or {eq, "topic"}. */
static int read_topic(const struct compiler *compiler, const struct acl_term *term, struct acl_topic *out_topic)
{
    struct acl_memory *memory = &compiler->rules->memory;
    const struct acl_term *text_term = term;
    const char *problem = NULL;
    struct slice text;
    bool is_literal = false;
    int err;

    if (term->type == ACL_TERM_TUPLE && term->child_count == 2 &&
        acl_term_is(compiler->terms, acl_term_child(compiler->terms, term, 0), "eq")) {
        is_literal = true;
        text_term = acl_term_child(compiler->terms, term, 1);
    }
    if (text_term->type != ACL_TERM_STRING && text_term->type != ACL_TERM_BINARY)
        return unexpected(compiler, text_term,
                          is_literal ? "a topic in double quotes" : "a topic in double quotes, or {eq, \"topic\"}");
    text = acl_memory_dup(memory, acl_term_text(compiler->terms, text_term));
    if (text.data == NULL)
        return -ENOMEM;
    err = acl_topic_init(out_topic, text, is_literal, memory, &problem);
    if (err == -EINVAL)
        acl_error_set(compiler->error, text_term->place, "%s", problem);
    return err;
}

static int read_topics(const struct compiler *compiler, const struct acl_term *term, struct compiled_rule *rule)
{
    bool is_one = term->type == ACL_TERM_BINARY;
    uint32_t count = is_one ? 1 : term->child_count;
    const struct acl_term *topic;
    int err = 0;

    if (term->type == ACL_TERM_STRING)
        return unexpected(compiler, term, "a list of topics, also for a single one: [\"topic\"]");
    if (!is_one && term->type != ACL_TERM_LIST)
        return unexpected(compiler, term, "a list of topics: [\"topic\", ...]");
    rule->topics = acl_memory_get(&compiler->rules->memory, count, sizeof(*rule->topics));
    if (rule->topics == NULL)
        return -ENOMEM;
    if (is_one) {
        rule->topic_count = 1;
        return read_topic(compiler, term, rule->topics);
    }
    topic = count == 0 ? NULL : acl_term_child(compiler->terms, term, 0);
    for (; topic != NULL && err == 0; topic = acl_term_next(compiler->terms, topic))
        err = read_topic(compiler, topic, &rule->topics[rule->topic_count++]);
    return err;
}

static int read_rule(const struct compiler *compiler, const struct acl_term *term, struct compiled_rule *rule)
{
    const struct acl_term *permission, *who;
    int err;

    if (term->type != ACL_TERM_TUPLE || (term->child_count != 2 && term->child_count != 4))
        return unexpected(compiler, term, RULE_EXPECTED);
    permission = acl_term_child(compiler->terms, term, 0);
    who = acl_term_child(compiler->terms, term, 1);
    rule->seen.is_allow = acl_term_is(compiler->terms, permission, "allow");
    if (!rule->seen.is_allow && !acl_term_is(compiler->terms, permission, "deny"))
        return unexpected(compiler, permission, "allow or deny");
    if (term->child_count == 2) {
        rule->is_any_topic = true;
        rule->accesses = ACL_SUBSCRIBE | ACL_PUBLISH;
        if (!acl_term_is(compiler->terms, who, "all"))
            return unexpected(compiler, who, "all; a rule for some has four parts: " RULE_EXPECTED);
        return 0;
    }
    err = acl_who_init(&rule->who, compiler->terms, who, &compiler->rules->memory, compiler->error);
    if (err == 0)
        err = read_access(compiler, acl_term_child(compiler->terms, term, 2), &rule->accesses);
    if (err == 0)
        err = read_topics(compiler, acl_term_child(compiler->terms, term, 3), rule);
    return err;
}

static int add_rule(const struct compiler *compiler, const struct acl_term *term)
{
    struct acl_rules *rules = compiler->rules;
    struct compiled_rule *rule;

    if (rules->count == ACL_RULES_MAX) {
        acl_error_set(compiler->error, term->place, "found more than %u rules", ACL_RULES_MAX);
        return -EINVAL;
    }
    if (rules->count == rules->capacity) {
        uint32_t capacity = rules->capacity == 0 ? 16 : rules->capacity * 2;
        rule = realloc(rules->rules, capacity * sizeof(*rule));
        if (rule == NULL)
            return -ENOMEM;
        rules->rules = rule;
        rules->capacity = capacity;
    }
    rule = &rules->rules[rules->count++];
    *rule = (struct compiled_rule){.seen = {.number = rules->count, .line = term->place.line}};
    rule->seen.source = acl_memory_dup(&rules->memory, acl_terms_source(compiler->terms));
    return rule->seen.source.data == NULL ? -ENOMEM : read_rule(compiler, term, rule);
}

int acl_rules_new(struct slice text, enum acl_filter_match filter_match, struct acl_rules **out_rules,
                  struct acl_error *out_error)
{
    struct acl_rules *rules = calloc(1, sizeof(*rules));
    struct compiler compiler = {rules, acl_terms_new(text), out_error};
    const struct acl_term *term;
    int more = -ENOMEM;

    if (rules == NULL || compiler.terms == NULL)
        goto end;
    rules->filter_match = filter_match;
    while ((more = acl_terms_next(compiler.terms, &term, out_error)) > 0) {
        more = add_rule(&compiler, term);
        if (more < 0)
            goto end;
    }
    if (more == 0)
        more = acl_index_make(&rules->for_subscribe, rules->rules, rules->count, ACL_SUBSCRIBE, &rules->memory);
    if (more == 0)
        more = acl_index_make(&rules->for_publish, rules->rules, rules->count, ACL_PUBLISH, &rules->memory);
end:
    acl_terms_free(compiler.terms);
    if (more < 0)
        acl_rules_free(rules);
    else
        *out_rules = rules;
    return more;
}

void acl_rules_free(struct acl_rules *rules)
{
    if (rules == NULL)
        return;
    acl_memory_fini(&rules->memory);
    free(rules->rules);
    free(rules);
}

uint32_t acl_rules_count(const struct acl_rules *rules)
{
    return rules->count;
}

/* ---- matching ---- */

static bool rule_fits(const struct acl_rules *rules, const struct compiled_rule *rule,
                      const struct hook_check_acl *request, bool has_wildcard)
{
    const struct acl_names names = {request->client->client_id, request->client->user_name};
    enum acl_match match = rule->seen.is_allow ? ACL_MATCH_COVER : ACL_MATCH_OVERLAP;

    if (!acl_who_matches(&rule->who, request->client))
        return false;
    if (rule->is_any_topic)
        return true;
    if (rules->filter_match == ACL_FILTER_TEXT)
        match = ACL_MATCH_TEXT;
    for (uint32_t i = 0; i < rule->topic_count; i++) {
        if (acl_topic_matches(&rule->topics[i], request->topic, has_wildcard, match, &names))
            return true;
    }
    return false;
}

/* The lists of a request's user and client. */
struct named_rules {
    struct rule_list user;
    struct rule_list client;
};

/* The lowest number of both; UINT32_MAX when they are empty. */
static uint32_t lowest_named(const struct named_rules *named)
{
    uint32_t user = named->user.count > 0 ? *named->user.rules : UINT32_MAX;
    uint32_t client = named->client.count > 0 ? *named->client.rules : UINT32_MAX;

    return user < client ? user : client;
}

static void drop_lowest(struct named_rules *named, uint32_t lowest)
{
    struct rule_list *list = named->user.count > 0 && *named->user.rules == lowest ? &named->user : &named->client;

    list->rules++;
    list->count--;
}

const struct acl_rule *acl_rules_find(const struct acl_rules *rules, const struct hook_check_acl *request)
{
    bool is_subscribe = request->access == ACL_SUBSCRIBE;
    bool has_wildcard = is_subscribe && mqtt_filter_has_wildcard(request->topic);
    const struct acl_index *index = is_subscribe ? &rules->for_subscribe : &rules->for_publish;
    struct named_rules named = {acl_index_find(&index->users, request->client->user_name),
                                acl_index_find(&index->clients, request->client->client_id)};
    struct acl_probe probe;
    uint32_t number, lowest;

    acl_probe_init(&probe, request, has_wildcard, rules->filter_match);
    do {
        lowest = lowest_named(&named);
        while ((number = acl_index_next(index, &probe, lowest)) != UINT32_MAX) {
            if (rule_fits(rules, &rules->rules[number], request, has_wildcard))
                return &rules->rules[number].seen;
        }
        if (lowest == UINT32_MAX)
            return NULL;
        drop_lowest(&named, lowest);
    } while (!rule_fits(rules, &rules->rules[lowest], request, has_wildcard));
    return &rules->rules[lowest].seen;
}
