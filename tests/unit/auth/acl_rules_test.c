/*
 * acl_rules: every form of a rule, every error, the tables of who and topics, order and selection; and covering and overlapping against a
 * plain search for topics.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/acl_rules.h"
#include "mqtt/topic.h"
#include "net/ip_address.h"

#define TEXT_BYTES 512

static struct acl_rules *compile(const char *text, enum acl_filter_match match)
{
    struct acl_rules *rules = NULL;
    struct acl_error error = {.text = ""};
    int err = acl_rules_new(slice_from_string(text), match, &rules, &error);

    if (err < 0)
        print_error("%u:%u: %s\n", error.place.line, error.place.column, error.text);
    assert_int_equal(err, 0);
    return rules;
}

static struct in6_addr address(const char *text)
{
    struct in_addr ipv4;
    struct in6_addr ipv6;

    if (inet_pton(AF_INET, text, &ipv4) == 1)
        return ip_address_mapped(ipv4);
    assert_int_equal(inet_pton(AF_INET6, text, &ipv6), 1);
    return ipv6;
}

struct person {
    const char *client_id;
    const char *user_name; /* NULL: none */
    const char *address;
};

static const struct person nobody = {"c", NULL, "192.0.2.1"};

/* The line of the rule that decides; 0: none; negative: it denies. */
static int decide(const struct acl_rules *rules, const struct person *person, enum acl_access access, const char *topic)
{
    struct client_info client = {.client_id = slice_from_string(person->client_id),
                                 .user_name = slice_from_string(person->user_name),
                                 .peer_address = address(person->address)};
    struct hook_check_acl request = {.client = &client, .access = access, .topic = slice_from_string(topic)};
    const struct acl_rule *rule = acl_rules_find(rules, &request);

    if (rule == NULL)
        return 0;
    return rule->is_allow ? (int)rule->line : -(int)rule->line;
}

/* ---- forms ---- */

static void every_form_of_a_rule_is_taken(void **state)
{
    static const char text[] = "{allow, all}.\n"
                               "{deny, all}.\n"
                               "{allow, all, subscribe, [\"a\"]}.\n"
                               "{deny, {user, \"u\"}, publish, [\"a\", \"b/#\"]}.\n"
                               "{allow, {user, all}, pubsub, [{eq, \"#\"}, <<\"x\">>, {eq, <<\"y\">>}]}.\n"
                               "{allow, {client, <<\"c\">>}, pubsub, <<\"one\">>}.\n"
                               "{allow, {client, all}, pubsub, []}.\n"
                               "{allow, {ipaddr, \"10.0.0.0/8\"}, pubsub, [\"%c/%u\"]}.\n"
                               "{allow, {ipaddr, <<\"::1\">>}, pubsub, [\"+/+\"]}.\n"
                               "{allow, {'and', []}, pubsub, [\"a\"]}.\n"
                               "{allow, {'or', [{'and', [all, {user, \"u\"}]}, {client, \"c\"}]}, pubsub, [\"a\"]}.\n";
    struct acl_rules *rules = compile(text, ACL_FILTER_COVER);

    (void)state;
    assert_int_equal(acl_rules_count(rules), 11);
    acl_rules_free(rules);
    rules = compile("% nothing\n", ACL_FILTER_COVER);
    assert_int_equal(acl_rules_count(rules), 0);
    assert_int_equal(decide(rules, &nobody, ACL_PUBLISH, "a"), 0);
    acl_rules_free(rules);
}

static void assert_error(const char *text, const char *expected)
{
    struct acl_rules *rules = NULL;
    struct acl_error error = {.text = ""};
    char said[ACL_ERROR_BYTES + 32];

    assert_int_equal(acl_rules_new(slice_from_string(text), ACL_FILTER_COVER, &rules, &error), -EINVAL);
    assert_null(rules);
    snprintf(said, sizeof(said), "%u:%u: %s", error.place.line, error.place.column, error.text);
    assert_string_equal(said, expected);
}

#define RULE "{allow | deny, all} or {allow | deny, WHO, subscribe | publish | pubsub, [TOPIC, ...]}"
#define WHO                                                                                                            \
    "all, {user, \"name\"}, {client, \"client id\"}, {ipaddr, \"address or network\"}, {'and', [...]} or {'or', [...]}"
#define NETWORK "an address or network in double quotes, such as \"10.0.0.0/8\" or \"2001:db8::/32\""

static void a_rule_of_a_wrong_shape_is_told(void **state)
{
    (void)state;
    assert_error("{allow, all}.\nallow.", "2:1: found the word allow, expected " RULE);
    assert_error("[allow, all].", "1:1: found a list, expected " RULE);
    assert_error("{}.", "1:1: found a tuple of 0, expected " RULE);
    assert_error("{allow, all, subscribe}.", "1:1: found a tuple of 3, expected " RULE);
    assert_error("{allow, all, subscribe, [\"a\"], 1}.", "1:1: found a tuple of 5, expected " RULE);
    assert_error("{alow, all}.", "1:2: found the word alow, expected allow or deny");
    assert_error("{\"allow\", all}.", "1:2: found \"allow\", expected allow or deny");
    assert_error("{[], all, publish, [\"a\"]}.", "1:2: found an empty list, expected allow or deny");
    assert_error("{deny, {user, \"a\"}}.",
                 "1:8: found a tuple of 2, expected all; a rule for some has four parts: " RULE);
    assert_error("{deny,\n all, sub, [\"a\"]}.", "2:7: found the word sub, expected subscribe, publish or pubsub");
    assert_error("{deny, all, 2, [\"a\"]}.", "1:13: found the number 2, expected subscribe, publish or pubsub");
}

static void a_wrong_who_is_told(void **state)
{
    (void)state;
    assert_error("{deny, \"dashboard\", publish, [\"a\"]}.", "1:8: found \"dashboard\", expected " WHO);
    assert_error("{deny, {user}, publish, [\"a\"]}.", "1:8: found a tuple of 1, expected " WHO);
    assert_error("{deny, none, publish, [\"a\"]}.", "1:8: found the word none, expected " WHO);
    assert_error("{deny, {username, \"a\"}, publish, [\"a\"]}.",
                 "1:9: found the word username, expected user, client, ipaddr, 'and' or 'or'");
    assert_error("{deny, {user, bob}, publish, [\"a\"]}.",
                 "1:15: found the word bob, expected a name in double quotes, or all");
    assert_error("{deny, {client, 5}, publish, [\"a\"]}.",
                 "1:17: found the number 5, expected a name in double quotes, or all");
    assert_error("{deny, {client, \"\xE9\"}, publish, [\"a\"]}.",
                 "1:17: this name is not UTF-8, as all names are: save the file as UTF-8");
    assert_error("{deny, {'and', {user, \"a\"}}, publish, [\"a\"]}.",
                 "1:16: found a tuple of 2, expected a list of conditions: [..., ...]");
    assert_error("{deny, {'or', [all, {'and', [x]}]}, publish, [\"a\"]}.", "1:30: found the word x, expected " WHO);
}

static void a_wrong_address_is_told(void **state)
{
    static const char *const wrong[] = {"",           "localhost", "10.0.0.0/33", "10.0.0.0/",    "10.0.0.0/-1",
                                        "10.0.0.0/x", "10.0.0",    "::1/129",     "10.0.0.0/08x", "1.2.3.4/0001",
                                        "::1/8/8",    "10.0.0.256"};
    char text[TEXT_BYTES], expected[TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        snprintf(text, sizeof(text), "{deny, {ipaddr, \"%s\"}, publish, [\"a\"]}.", wrong[i]);
        snprintf(expected, sizeof(expected), "1:17: found \"%s\", expected " NETWORK, wrong[i]);
        assert_error(text, expected);
    }
    assert_error("{deny, {ipaddr, all}, publish, [\"a\"]}.", "1:17: found the word all, expected " NETWORK);
    assert_error("{deny, {ipaddr, \"1.2.3.4\\0\"}, publish, [\"a\"]}.", "1:17: found \"1.2.3.4\", expected " NETWORK);
    assert_error(
        "{deny, {ipaddr, \"11111111111111111111111111111111111111111111111111111111111111111\"}, publish, []}.",
        "1:17: found \"1111111111111111111111111111111111111111...\", expected " NETWORK);
}

static void a_wrong_topic_is_told(void **state)
{
#define FILTER "this is no topic filter: + stands alone in its level, # alone in the last one"
    (void)state;
    assert_error("{deny, all, publish, \"a\"}.",
                 "1:22: found \"a\", expected a list of topics, also for a single one: [\"topic\"]");
    assert_error("{deny, all, publish, all}.", "1:22: found the word all, expected a list of topics: [\"topic\", ...]");
    assert_error("{deny, all, publish, {eq, \"a\"}}.",
                 "1:22: found a tuple of 2, expected a list of topics: [\"topic\", ...]");
    assert_error("{deny, all, publish, [a]}.",
                 "1:23: found the word a, expected a topic in double quotes, or {eq, \"topic\"}");
    assert_error("{deny, all, publish, [{ne, \"a\"}]}.",
                 "1:23: found a tuple of 2, expected a topic in double quotes, or {eq, \"topic\"}");
    assert_error("{deny, all, publish, [\"a\", {eq, b}]}.",
                 "1:33: found the word b, expected a topic in double quotes");
    assert_error("{deny, all, publish, [\"\"]}.", "1:23: an empty topic matches nothing");
    assert_error("{deny, all, publish, [\"a/#/b\"]}.", "1:23: " FILTER);
    assert_error("{deny, all, publish, [\"a+\"]}.", "1:23: " FILTER);
    assert_error("{deny, all, publish, [{eq, \"a#\"}]}.", "1:28: " FILTER);
    assert_error("{deny, all, publish, <<\"#/a\">>}.", "1:22: " FILTER);
    assert_error("{deny, all, publish, [\"\xE9\"]}.",
                 "1:23: this topic is not UTF-8, as all topics are: save the file as UTF-8");
#undef FILTER
}

static void the_number_of_rules_is_bounded(void **state)
{
    static const char rule[] = "{deny,all}.\n";
    size_t len = sizeof(rule) - 1;
    char *text = malloc((ACL_RULES_MAX + 1) * len + 1);
    struct acl_rules *rules;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i <= ACL_RULES_MAX; i++)
        memcpy(text + i * len, rule, len + 1);
    assert_error(text, "100001:1: found more than 100000 rules");
    text[ACL_RULES_MAX * len] = '\0';
    rules = compile(text, ACL_FILTER_COVER);
    assert_int_equal(acl_rules_count(rules), ACL_RULES_MAX);
    acl_rules_free(rules);
    free(text);
}

/* ---- who ---- */

static bool is_meant(const char *who, const struct person *person)
{
    char text[TEXT_BYTES];
    struct acl_rules *rules;
    bool result;

    snprintf(text, sizeof(text), "{allow, %s, publish, [\"#\"]}.", who);
    rules = compile(text, ACL_FILTER_COVER);
    result = decide(rules, person, ACL_PUBLISH, "t") == 1;
    acl_rules_free(rules);
    return result;
}

static void users_and_clients_are_compared_byte_by_byte(void **state)
{
    const struct person alice = {"phone", "alice", "192.0.2.1"}, unnamed = {"phone", NULL, "192.0.2.1"},
                        empty = {"phone", "", "192.0.2.1"}, unicode = {"phone", "\xC3\xA9", "192.0.2.1"};

    (void)state;
    assert_true(is_meant("all", &unnamed));
    assert_true(is_meant("{user, all}", &unnamed));
    assert_true(is_meant("{client, all}", &alice));
    assert_true(is_meant("{user, \"alice\"}", &alice));
    assert_true(is_meant("{user, \"al\" \"ice\"}", &alice));
    assert_false(is_meant("{user, \"Alice\"}", &alice));
    assert_false(is_meant("{user, \"alic\"}", &alice));
    assert_false(is_meant("{user, \"phone\"}", &alice));
    assert_false(is_meant("{user, \"alice\"}", &unnamed));
    assert_false(is_meant("{user, \"\"}", &unnamed));
    assert_true(is_meant("{user, \"\"}", &empty));
    assert_true(is_meant("{user, <<\"\xC3\xA9\">>}", &unicode));
    assert_true(is_meant("{user, <<\"\\xE9\"/utf8>>}", &unicode));
    assert_true(is_meant("{client, \"phone\"}", &alice));
    assert_false(is_meant("{client, \"alice\"}", &alice));
}

static void addresses_are_compared_within_their_family(void **state)
{
    static const struct {
        const char *network, *address;
        bool is_in;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"127.0.0.1", "::ffff:127.0.0.1", true},
        {"127.0.0.1", "::1", false},
        {"10.1.2.3/8", "10.255.0.0", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/9", "10.127.255.255", true},
        {"10.0.0.0/9", "10.128.0.0", false},
        {"192.168.77.0/23", "192.168.76.1", true},
        {"192.168.77.0/23", "192.168.78.1", false},
        {"1.2.3.4/32", "1.2.3.4", true},
        {"1.2.3.4/32", "1.2.3.5", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"2001:db8::1/128", "2001:db8::1", true},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"::ffff:10.0.0.0/104", "11.9.9.9", false},
    };
    char who[TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct person person = {"c", NULL, rows[i].address};
        snprintf(who, sizeof(who), "{ipaddr, \"%s\"}", rows[i].network);
        if (is_meant(who, &person) != rows[i].is_in)
            fail_msg("%s in %s", rows[i].address, rows[i].network);
    }
}

static void conditions_are_joined(void **state)
{
    const struct person both = {"phone", "alice", "10.0.0.1"}, one = {"lamp", "alice", "10.0.0.1"};

    (void)state;
    assert_true(is_meant("{'and', []}", &nobody));
    assert_false(is_meant("{'or', []}", &nobody));
    assert_true(is_meant("{'and', [{user, \"alice\"}, {client, \"phone\"}]}", &both));
    assert_true(is_meant("{'and', [{ipaddr, \"10.0.0.1\"}, {client, \"phone\"}]}", &both));
    assert_false(is_meant("{'and', [{user, \"alice\"}, {client, \"phone\"}]}", &one));
    assert_true(is_meant("{'or', [{user, \"bob\"}, {client, \"lamp\"}]}", &one));
    assert_false(is_meant("{'or', [{user, \"bob\"}, {client, \"phone\"}]}", &one));
    assert_true(is_meant("{'and', [{'or', [{user, \"x\"}, {user, \"alice\"}]}, {'or', [all]}]}", &one));
    assert_false(is_meant("{'or', [{'and', [all, {'or', []}]}]}", &one));
}

/* ---- topics ---- */

enum { NO, YES };

struct vector {
    const char *rule; /* as it stands in the list */
    enum acl_access access;
    const char *request;
    bool text;    /* does it fit as in the original */
    bool allowed; /* does an allow hold */
    bool denied;  /* does a deny hold */
};

static bool fits(const struct vector *vector, const char *permission, enum acl_filter_match match,
                 const struct person *person)
{
    char text[TEXT_BYTES];
    struct acl_rules *rules;
    bool result;

    snprintf(text, sizeof(text), "{%s, all, pubsub, [\"$never\", %s]}.", permission, vector->rule);
    rules = compile(text, match);
    result = decide(rules, person, vector->access, vector->request) != 0;
    acl_rules_free(rules);
    return result;
}

static void assert_vectors(const struct vector *vectors, size_t count, const struct person *person)
{
    for (size_t i = 0; i < count; i++) {
        const struct vector *vector = &vectors[i];
        if (fits(vector, "allow", ACL_FILTER_TEXT, person) != vector->text ||
            fits(vector, "deny", ACL_FILTER_TEXT, person) != vector->text ||
            fits(vector, "allow", ACL_FILTER_COVER, person) != vector->allowed ||
            fits(vector, "deny", ACL_FILTER_COVER, person) != vector->denied)
            fail_msg("row %zu: %s, %s", i, vector->rule, vector->request);
    }
}

static void topics_match_level_by_level(void **state)
{
    static const struct vector vectors[] = {
        {"\"a/b\"", ACL_PUBLISH, "a/b", YES, YES, YES},
        {"\"a/b\"", ACL_SUBSCRIBE, "a/b", YES, YES, YES},
        {"\"a/b\"", ACL_PUBLISH, "a", NO, NO, NO},
        {"\"a/b\"", ACL_PUBLISH, "a/bc", NO, NO, NO},
        {"\"a/b\"", ACL_PUBLISH, "a/b/", NO, NO, NO},
        {"\"a/b\"", ACL_PUBLISH, "a/b/c", NO, NO, NO},
        {"\"/\"", ACL_PUBLISH, "/", YES, YES, YES},
        {"\"/\"", ACL_PUBLISH, "//", NO, NO, NO},
        {"\"/+\"", ACL_PUBLISH, "/", YES, YES, YES},
        {"\"a//b\"", ACL_PUBLISH, "a//b", YES, YES, YES},
        {"\"a/+\"", ACL_PUBLISH, "a/b", YES, YES, YES},
        {"\"a/+\"", ACL_PUBLISH, "a/", YES, YES, YES},
        {"\"a/+\"", ACL_PUBLISH, "a", NO, NO, NO},
        {"\"a/+\"", ACL_SUBSCRIBE, "a", NO, NO, NO},
        {"\"a/+\"", ACL_PUBLISH, "a/b/c", NO, NO, NO},
        {"\"a/#\"", ACL_PUBLISH, "a", YES, YES, YES},
        {"\"a/#\"", ACL_PUBLISH, "ab", NO, NO, NO},
        {"\"a/#\"", ACL_PUBLISH, "a/b", YES, YES, YES},
        {"\"a/#\"", ACL_PUBLISH, "a/b/c", YES, YES, YES},
        {"\"+/b\"", ACL_PUBLISH, "a/b", YES, YES, YES},
        {"\"+/+/#\"", ACL_PUBLISH, "a", NO, NO, NO},
        {"\"#\"", ACL_PUBLISH, "a", YES, YES, YES},
        /* No protection of $ in rules. */
        {"\"#\"", ACL_PUBLISH, "$SYS/x", YES, YES, YES},
        {"\"#\"", ACL_SUBSCRIBE, "$SYS/#", YES, YES, YES},
        {"\"+/x\"", ACL_SUBSCRIBE, "$SYS/x", YES, YES, YES},
        /* Without meaning: parts of levels. */
        {"\"dev-%c\"", ACL_PUBLISH, "dev-c", NO, NO, NO},
        {"\"dev-%c\"", ACL_PUBLISH, "dev-%c", YES, YES, YES},
    };

    (void)state;
    assert_vectors(vectors, ARRAY_COUNT(vectors), &nobody);
}

static void filters_are_covered_or_overlap(void **state)
{
    static const struct vector vectors[] = {
        {"\"a/+\"", ACL_SUBSCRIBE, "a/+", YES, YES, YES},
        {"\"a/+\"", ACL_SUBSCRIBE, "a/#", YES, NO, YES}, /* the original's hole: a/# is more than a/+ */
        {"\"a/+\"", ACL_SUBSCRIBE, "+/b", NO, NO, YES},
        {"\"a/#\"", ACL_SUBSCRIBE, "a/+", YES, YES, YES},
        {"\"a/#\"", ACL_SUBSCRIBE, "a/#", YES, YES, YES},
        {"\"a/#\"", ACL_SUBSCRIBE, "+", NO, NO, YES},
        {"\"a/#\"", ACL_SUBSCRIBE, "#", NO, NO, YES},
        {"\"a/b\"", ACL_SUBSCRIBE, "a/+", NO, NO, YES},
        {"\"a/b\"", ACL_SUBSCRIBE, "a/b/#", NO, NO, YES},
        {"\"a/b\"", ACL_SUBSCRIBE, "a/b/c/#", NO, NO, NO},
        {"\"a/b\"", ACL_SUBSCRIBE, "a/+/c", NO, NO, NO},
        {"\"#\"", ACL_SUBSCRIBE, "#", YES, YES, YES},
        {"\"#\"", ACL_SUBSCRIBE, "+/+", YES, YES, YES},
        {"\"+/+\"", ACL_SUBSCRIBE, "a/#", YES, NO, YES},
        {"\"+\"", ACL_SUBSCRIBE, "#", YES, NO, YES},
        {"\"+/#\"", ACL_SUBSCRIBE, "#", YES, YES, YES}, /* every topic has a first level */
        {"\"+/+/#\"", ACL_SUBSCRIBE, "#", NO, NO, YES},
        /* A filter that begins with a wildcard matches nothing that begins with $. */
        {"\"$SYS/#\"", ACL_SUBSCRIBE, "#", NO, NO, NO},
        {"\"$SYS/#\"", ACL_SUBSCRIBE, "+/#", NO, NO, NO},
        {"\"$SYS/#\"", ACL_SUBSCRIBE, "$SYS/#", YES, YES, YES},
        {"\"$SYS/#\"", ACL_SUBSCRIBE, "$SYS", YES, YES, YES},
        {"\"$SYS/#\"", ACL_SUBSCRIBE, "$SYS/+/x", YES, YES, YES},
        {"\"$SYS/a\"", ACL_SUBSCRIBE, "$SYS/+", NO, NO, YES},
    };

    (void)state;
    assert_vectors(vectors, ARRAY_COUNT(vectors), &nobody);
}

static void eq_means_the_text(void **state)
{
    static const struct vector vectors[] = {
        {"{eq, \"#\"}", ACL_SUBSCRIBE, "#", YES, YES, YES},
        {"{eq, \"#\"}", ACL_SUBSCRIBE, "a/#", NO, NO, NO},
        {"{eq, \"#\"}", ACL_SUBSCRIBE, "+/#", NO, NO, NO},
        {"{eq, \"#\"}", ACL_PUBLISH, "a", NO, NO, NO},
        {"{eq, \"a/+\"}", ACL_SUBSCRIBE, "a/+", YES, YES, YES},
        {"{eq, \"a/+\"}", ACL_SUBSCRIBE, "a/b", NO, NO, NO},
        {"{eq, \"a/+\"}", ACL_PUBLISH, "a/b", NO, NO, NO},
        {"{eq, \"a/%c\"}", ACL_PUBLISH, "a/c", NO, NO, NO},
        {"{eq, \"a/%c\"}", ACL_PUBLISH, "a/%c", YES, YES, YES},
        /* As a topic name it is that topic. */
        {"{eq, \"a/b\"}", ACL_PUBLISH, "a/b", YES, YES, YES},
        {"{eq, \"a/b\"}", ACL_SUBSCRIBE, "a/+", NO, NO, YES},
        {"{eq, \"$SYS/b\"}", ACL_SUBSCRIBE, "+/b", NO, NO, NO},
    };

    (void)state;
    assert_vectors(vectors, ARRAY_COUNT(vectors), &nobody);
}

static void variables_are_whole_levels(void **state)
{
    static const struct vector vectors[] = {
        {"\"c/%c\"", ACL_PUBLISH, "c/x", YES, YES, YES},   {"\"c/%c\"", ACL_PUBLISH, "c/y", NO, NO, NO},
        {"\"c/%c\"", ACL_PUBLISH, "c/%c", NO, NO, NO},     {"\"c/%c\"", ACL_SUBSCRIBE, "c/+", NO, NO, YES},
        {"\"%c/#\"", ACL_SUBSCRIBE, "x/#", YES, YES, YES}, {"\"%u/%c/#\"", ACL_SUBSCRIBE, "u/x", YES, YES, YES},
        {"\"%u/%c/#\"", ACL_SUBSCRIBE, "u/y", NO, NO, NO}, {"\"+/%u\"", ACL_PUBLISH, "x/u", YES, YES, YES},
    };
    const struct person person = {"x", "u", "192.0.2.1"};

    (void)state;
    assert_vectors(vectors, ARRAY_COUNT(vectors), &person);
}

static void names_that_look_like_filters_match_only_themselves(void **state)
{
    static const struct vector plus[] = {
        {"\"c/%c\"", ACL_PUBLISH, "c/y", NO, NO, NO},
        {"\"c/%c\"", ACL_SUBSCRIBE, "c/+", NO, NO, YES}, /* not everybody's */
        {"\"c/%u\"", ACL_SUBSCRIBE, "c/#", NO, NO, YES},
    };
    static const struct vector slash[] = {
        {"\"c/%c\"", ACL_PUBLISH, "c/a/b", NO, NO, NO},
        {"\"c/%c\"", ACL_SUBSCRIBE, "c/a/b", NO, NO, NO},
        {"\"c/%c/#\"", ACL_PUBLISH, "c/a/b", NO, NO, NO},
        /* Topics beginning with $ are hidden from wildcards here, too. */
        {"\"%u/#\"", ACL_SUBSCRIBE, "+/x", NO, NO, NO},
        {"\"%u/#\"", ACL_SUBSCRIBE, "#", NO, NO, NO},
        {"\"%u/#\"", ACL_SUBSCRIBE, "$x/#", YES, YES, YES},
    };
    const struct person plus_person = {"+", "#", "192.0.2.1"}, slash_person = {"a/b", "$x", "192.0.2.1"};

    (void)state;
    assert_vectors(plus, ARRAY_COUNT(plus), &plus_person);
    assert_vectors(slash, ARRAY_COUNT(slash), &slash_person);
}

static void a_variable_without_a_value_matches_nothing(void **state)
{
    static const struct vector vectors[] = {
        {"\"u/%u\"", ACL_PUBLISH, "u/%u", NO, NO, NO},   {"\"u/%u\"", ACL_PUBLISH, "u/", NO, NO, NO},
        {"\"u/%u\"", ACL_SUBSCRIBE, "u/+", NO, NO, NO},  {"\"u/%u\"", ACL_SUBSCRIBE, "u/#", NO, NO, NO},
        {"\"u/%u\"", ACL_SUBSCRIBE, "u/%u", NO, NO, NO},
    };
    static const struct vector empty[] = {{"\"u/%u\"", ACL_PUBLISH, "u/", YES, YES, YES}};
    const struct person empty_person = {"c", "", "192.0.2.1"};

    (void)state;
    assert_vectors(vectors, ARRAY_COUNT(vectors), &nobody);
    assert_vectors(empty, ARRAY_COUNT(empty), &empty_person);
}

/* ---- covering and overlapping by searching ---- */

#define TOPIC_LEVELS 4u /* one more than the filters have, so that # reaches beyond them */
#define FILTER_LEVELS 3u
#define SET_MAX 200u

struct text_set {
    char texts[SET_MAX][16];
    uint32_t count;
};

/* All texts of up to `levels` levels from the words; "#" only at the end. */
static void add_texts(struct text_set *set, const char *prefix, const char *const *words, uint32_t word_count,
                      uint32_t levels)
{
    for (uint32_t i = 0; i < word_count && levels > 0; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%s%s%s", prefix, prefix[0] == '\0' ? "" : "/", words[i]);
        assert_true(set->count < SET_MAX);
        strcpy(set->texts[set->count++], text);
        if (words[i][0] != '#')
            add_texts(set, text, words, word_count, levels - 1);
    }
}

/* A rule topic, which knows no protection of $. */
static bool plain_match(const char *topic, const char *rule)
{
    char shifted_topic[20], shifted_rule[20];

    snprintf(shifted_topic, sizeof(shifted_topic), "t/%s", topic);
    snprintf(shifted_rule, sizeof(shifted_rule), "t/%s", rule);
    return strcmp(rule, "#") == 0 ||
           mqtt_topic_matches(slice_from_string(shifted_topic), slice_from_string(shifted_rule));
}

static void covering_and_overlapping_agree_with_a_search(void **state)
{
    static const char *const names[] = {"a", "z", "$a"}, *const words[] = {"a", "$a", "+", "#"};
    static struct text_set topics, filters;
    uint32_t covered_count = 0;

    (void)state;
    add_texts(&topics, "", names, ARRAY_COUNT(names), TOPIC_LEVELS);
    add_texts(&filters, "", words, ARRAY_COUNT(words), FILTER_LEVELS);
    for (uint32_t r = 0; r < filters.count; r++) {
        char text[TEXT_BYTES];
        struct acl_rules *allow, *deny;
        snprintf(text, sizeof(text), "{allow, all, subscribe, [\"%s\"]}.", filters.texts[r]);
        allow = compile(text, ACL_FILTER_COVER);
        snprintf(text, sizeof(text), "{deny, all, subscribe, [\"%s\"]}.", filters.texts[r]);
        deny = compile(text, ACL_FILTER_COVER);
        for (uint32_t f = 0; f < filters.count; f++) {
            bool covered = true, overlaps = false;
            for (uint32_t t = 0; t < topics.count; t++) {
                bool both;
                if (!mqtt_topic_matches(slice_from_string(topics.texts[t]), slice_from_string(filters.texts[f])))
                    continue;
                both = plain_match(topics.texts[t], filters.texts[r]);
                covered &= both;
                overlaps |= both;
            }
            covered_count += covered;
            if ((decide(allow, &nobody, ACL_SUBSCRIBE, filters.texts[f]) == 1) != covered ||
                (decide(deny, &nobody, ACL_SUBSCRIBE, filters.texts[f]) == -1) != overlaps)
                fail_msg("rule %s, filter %s", filters.texts[r], filters.texts[f]);
        }
        acl_rules_free(allow);
        acl_rules_free(deny);
    }
    assert_true(covered_count > filters.count); /* the search found something */
}

/* ---- evaluation ---- */

static void the_first_rule_that_fits_decides(void **state)
{
    static const char text[] = "{allow, {user, \"a\"}, publish, [\"t\"]}.\n"
                               "{deny, all, publish, [\"t\"]}.\n"
                               "{allow, {client, \"x\"}, publish, [\"t\"]}.\n"
                               "{allow, all, subscribe, [\"t\"]}.\n"
                               "{deny, {user, \"a\"}, pubsub, [\"u\"]}.\n"
                               "{allow, {client, \"x\"}, pubsub, [\"u\"]}.\n"
                               "{deny, {'and', [{ipaddr, \"10.0.0.1\"}, {user, \"b\"}]}, pubsub, [\"v\"]}.\n"
                               "{allow, {user, \"b\"}, pubsub, [\"v\"]}.\n";
    const struct person ax = {"x", "a", "10.0.0.1"}, bx = {"x", "b", "10.0.0.1"}, b_far = {"y", "b", "10.0.0.2"};
    struct acl_rules *rules = compile(text, ACL_FILTER_COVER);

    (void)state;
    assert_int_equal(decide(rules, &ax, ACL_PUBLISH, "t"), 1);
    assert_int_equal(decide(rules, &bx, ACL_PUBLISH, "t"), -2);
    assert_int_equal(decide(rules, &bx, ACL_SUBSCRIBE, "t"), 4);
    assert_int_equal(decide(rules, &ax, ACL_PUBLISH, "u"), -5);
    assert_int_equal(decide(rules, &bx, ACL_SUBSCRIBE, "u"), 6);
    assert_int_equal(decide(rules, &bx, ACL_PUBLISH, "v"), -7);
    assert_int_equal(decide(rules, &b_far, ACL_PUBLISH, "v"), 8);
    assert_int_equal(decide(rules, &nobody, ACL_PUBLISH, "v"), 0);
    acl_rules_free(rules);
}

static void an_allow_before_a_deny_opens_what_it_covers(void **state)
{
    struct acl_rules *rules = compile("{allow, all, subscribe, [\"a/public/#\"]}.\n"
                                      "{deny, all, subscribe, [\"a/#\"]}.\n{allow, all}.",
                                      ACL_FILTER_COVER);

    (void)state;
    assert_int_equal(decide(rules, &nobody, ACL_SUBSCRIBE, "a/public/+"), 1);
    assert_int_equal(decide(rules, &nobody, ACL_SUBSCRIBE, "a/+"), -2);
    assert_int_equal(decide(rules, &nobody, ACL_SUBSCRIBE, "#"), -2);
    assert_int_equal(decide(rules, &nobody, ACL_SUBSCRIBE, "b/#"), 3);
    acl_rules_free(rules);
}

/* So many names and rules that the tables have collisions and lists grow. */
static void many_rules_are_found_by_name_in_order(void **state)
{
    enum { NAMES = 500, ROUNDS = 3 };
    char *text = NULL, name[16], topic[16];
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct acl_rules *rules;

    (void)state;
    assert_non_null(out);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < NAMES; i++)
            fprintf(out, "{allow, {%s, \"n%d\"}, publish, [\"t/%d\", \"r/%d\"]}.\n", i % 2 == 0 ? "user" : "client", i,
                    i, round);
    }
    fputs("{deny, all}.\n", out);
    fclose(out);
    rules = compile(text, ACL_FILTER_COVER);
    for (int i = 0; i < NAMES; i++) {
        struct person person = {i % 2 == 0 ? "other" : name, i % 2 == 0 ? name : "other", "192.0.2.1"};
        snprintf(name, sizeof(name), "n%d", i);
        snprintf(topic, sizeof(topic), "t/%d", i);
        assert_int_equal(decide(rules, &person, ACL_PUBLISH, topic), i + 1);
        assert_int_equal(decide(rules, &person, ACL_PUBLISH, "r/2"), 2 * NAMES + i + 1);
        assert_int_equal(decide(rules, &person, ACL_PUBLISH, "t/none"), -(NAMES * ROUNDS + 1));
        assert_int_equal(decide(rules, &person, ACL_SUBSCRIBE, topic), -(NAMES * ROUNDS + 1));
    }
    acl_rules_free(rules);
    free(text);
}

static void a_rule_knows_where_it_stands(void **state)
{
    struct acl_rules *rules = compile("% x\n{deny, all, publish, [\"t\"]}.\n\n{allow,\n all}.", ACL_FILTER_COVER);
    struct client_info client = {.client_id = SLICE_LITERAL("c")};
    struct hook_check_acl request = {.client = &client, .access = ACL_SUBSCRIBE, .topic = SLICE_LITERAL("t")};
    const struct acl_rule *rule = acl_rules_find(rules, &request);

    (void)state;
    assert_non_null(rule);
    assert_int_equal(rule->number, 2);
    assert_int_equal(rule->line, 4);
    assert_true(rule->is_allow);
    assert_true(slice_equal(rule->source, SLICE_LITERAL("{allow,\n all}")));
    acl_rules_free(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_rule_is_taken),
        cmocka_unit_test(a_rule_of_a_wrong_shape_is_told),
        cmocka_unit_test(a_wrong_who_is_told),
        cmocka_unit_test(a_wrong_address_is_told),
        cmocka_unit_test(a_wrong_topic_is_told),
        cmocka_unit_test(the_number_of_rules_is_bounded),
        cmocka_unit_test(users_and_clients_are_compared_byte_by_byte),
        cmocka_unit_test(addresses_are_compared_within_their_family),
        cmocka_unit_test(conditions_are_joined),
        cmocka_unit_test(topics_match_level_by_level),
        cmocka_unit_test(filters_are_covered_or_overlap),
        cmocka_unit_test(eq_means_the_text),
        cmocka_unit_test(variables_are_whole_levels),
        cmocka_unit_test(names_that_look_like_filters_match_only_themselves),
        cmocka_unit_test(a_variable_without_a_value_matches_nothing),
        cmocka_unit_test(covering_and_overlapping_agree_with_a_search),
        cmocka_unit_test(the_first_rule_that_fits_decides),
        cmocka_unit_test(an_allow_before_a_deny_opens_what_it_covers),
        cmocka_unit_test(many_rules_are_found_by_name_in_order),
        cmocka_unit_test(a_rule_knows_where_it_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
