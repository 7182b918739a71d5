/*
 * acl_command: emqx_ctl acl: reload the access rules; ask what they would say.
 */
#include "auth/acl_command.h"

#include "auth/acl_file.h"
#include "base/log.h"
#include "mqtt/topic.h"
#include "net/ip_address.h"

#include <arpa/inet.h>
#include <string.h>

#define RULE_SHOWN_MAX 200u /* bytes of a rule's text; the rest is "..." */

static void fail(struct ctl_request *request, const char *text)
{
    ctl_printerr(request, "%s\n", text);
    ctl_finish(request, CTL_FAILED);
}

static void reload(struct ctl_request *request, struct acl_file *file)
{
    char error[ACL_FILE_ERROR_BYTES];

    if (acl_file_load(file, error) < 0) {
        log_error("[ACL] The rules stay as they were: %s", error);
        ctl_printerr(request, "%s\n%s\n", error,
                     acl_file_rules(file) == NULL ? "There are no rules." : "The rules stay as they were.");
        ctl_finish(request, CTL_FAILED);
        return;
    }
    log_notice("[ACL] %u rules reloaded from %s", acl_rules_count(acl_file_rules(file)), acl_file_path(file));
    ctl_finish(request, CTL_OK);
}

/* ---- check ---- */

static bool parse_address(const char *text, struct in6_addr *out_address)
{
    struct in_addr ipv4;

    if (inet_pton(AF_INET, text, &ipv4) == 1) {
        *out_address = ip_address_mapped(ipv4);
        return true;
    }
    return inet_pton(AF_INET6, text, out_address) == 1;
}

/* Checks the topic as the broker does before it asks, and takes the share prefix off. */
static bool parse_topic(struct hook_check_acl *question, struct slice text)
{
    struct mqtt_shared_filter shared = {.filter = text};

    question->topic = text;
    if (!mqtt_utf8_valid(text))
        return false;
    if (question->access == ACL_PUBLISH)
        return mqtt_topic_valid(text);
    if (!mqtt_shared_filter_parse(text, &shared) || !mqtt_filter_valid(shared.filter))
        return false;
    question->topic = shared.filter;
    return true;
}

/* The rule's text on one line. */
static void print_rule(struct ctl_request *request, struct slice source)
{
    uint8_t line[RULE_SHOWN_MAX];
    size_t len = 0, at = 0;

    for (; at < source.len && len < sizeof(line); at++) {
        bool is_space = source.data[at] <= ' ';
        if (!is_space || (len > 0 && line[len - 1] != ' '))
            line[len++] = is_space ? ' ' : source.data[at];
    }
    ctl_print_slice(request, slice_make(line, len));
    ctl_print(request, "%s\n", at < source.len ? "..." : ".");
}

static void answer(struct ctl_request *request, const struct acl_file *file, const struct hook_check_acl *question)
{
    const struct acl_rules *rules = acl_file_rules(file);
    const struct acl_rule *rule = rules == NULL ? NULL : acl_rules_find(rules, question);

    if (rule == NULL) {
        ctl_print(request, "%s\n%s, acl_nomatch decides\n", acl_file_nomatch_allows(file) ? "allow" : "deny",
                  rules == NULL ? "there are no rules" : "no rule fits");
    } else {
        ctl_print(request, "%s\nrule %u, %s line %u: ", rule->is_allow ? "allow" : "deny", rule->number,
                  acl_file_path(file), rule->line);
        print_rule(request, rule->source);
    }
    ctl_finish(request, CTL_OK);
}

static void check(struct ctl_request *request, const struct acl_file *file, char **words)
{
    struct client_info client = {.client_id = slice_from_string(words[0])};
    struct hook_check_acl question = {.client = &client, .access = ACL_PUBLISH};

    if (words[1][0] != '\0')
        client.user_name = slice_from_string(words[1]);
    if (strcmp(words[3], "subscribe") == 0)
        question.access = ACL_SUBSCRIBE;
    else if (strcmp(words[3], "publish") != 0) {
        ctl_finish_usage(request);
        return;
    }
    if (!parse_address(words[2], &client.peer_address))
        fail(request, "The third word has to be the client's address, such as 192.0.2.1 or 2001:db8::1");
    else if (!parse_topic(&question, slice_from_string(words[4])))
        fail(request, question.access == ACL_PUBLISH ? "The last word has to be a topic, without + and #"
                                                     : "The last word has to be a topic filter");
    else
        answer(request, file, &question);
}

static void run(struct ctl_request *request, int argc, char **argv)
{
    struct acl_file *file = ctl_context(request);
    const char *verb = argc > 1 ? argv[1] : "";
    bool is_reload = strcmp(verb, "reload") == 0 && argc == 2;
    bool is_check = strcmp(verb, "check") == 0 && argc == 7;

    if (argc == 2 && ctl_is_help(verb))
        ctl_finish_help(request);
    else if (!is_reload && !is_check)
        ctl_finish_usage(request);
    else if (file == NULL)
        fail(request, "The configuration names no acl_file");
    else if (is_reload)
        reload(request, file);
    else
        check(request, file, argv + 2);
}

static const char help[] =
    "\n"
    "reload  Reads acl_file again. When it is wrong, the message says where, and the rules stay as they were.\n"
    "check   Asks the rules of acl_file only: superusers, plugins and zones without enable_acl are not looked at.\n"
    "        Id is the client identifier; \"\" as User is a client without a user name.\n"
    "\n"
    "Examples:\n"
    "  emqx_ctl acl reload\n"
    "  emqx_ctl acl check sensor-7 alice 192.0.2.7 publish site/7/temperature\n"
    "  emqx_ctl acl check sensor-7 \"\" 192.0.2.7 subscribe 'site/#'\n";

static const struct ctl_usage usage[] = {
    {"acl reload", "Reload etc/acl.conf"},
    {"acl check <Id> <User> <IP> publish <Topic>", "Would it be allowed, and by which rule"},
    {"acl check <Id> <User> <IP> subscribe <Filter>", "Likewise"},
    {NULL, help}};
const struct ctl_command acl_command = {.name = "acl", .usage = usage, .run = run};
