/*
 * acl_bench: what one question to the rules of acl_file costs, without the cache of the connection.
 *
 * Usage: acl_bench. For each kind of rule, 10 and 1,000 of them stand before a last {deny, all}; printed are nanoseconds of CPU for a
 * question that a rule in the middle decides, and for one that the last rule decides after all that may concern it, the best of
 * several rounds; and how long compiling took.
 */
#include "auth/acl_rules.h"
#include "net/ip_address.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 10u
#define ROUND_NS UINT64_C(10000000)
#define BATCH 100u
#define TEXT_MAX 128

/* In the texts @ stands for the number of a rule. */
struct kind {
    const char *name;
    const char *rule;
    enum acl_access access;
    const char *middle; /* topic or filter that a rule in the middle decides about */
    const char *last;   /* that the last rule decides about */
};

static const struct kind kinds[] = {
    {"of one user each, publish", "{allow, {user, \"n-@\"}, publish, [\"site/@/#\"]}.", ACL_PUBLISH, "site/@/temp",
     "other/1/temp"},
    {"of one client each, filter", "{allow, {client, \"n-@\"}, subscribe, [\"site/@/#\"]}.", ACL_SUBSCRIBE, "site/@/+",
     "other/+/temp"},
    {"for all, publish", "{allow, all, publish, [\"site/@/dev/+/temp\"]}.", ACL_PUBLISH, "site/@/dev/room7/temp",
     "site/x/dev/room7/temp"},
    {"for all, filter", "{allow, all, subscribe, [\"site/@/dev/#\"]}.", ACL_SUBSCRIBE, "site/@/dev/+/temp",
     "site/x/dev/+/temp"},
    {"for all, with %c, publish", "{allow, all, publish, [\"app@/%c/#\"]}.", ACL_PUBLISH, "app@/n-@/x", "other/n/x"},
    {"denials, filter", "{deny, all, subscribe, [\"secret/@/#\"]}.", ACL_SUBSCRIBE, "secret/@/+", "public/+/temp"},
    {"of a network each, publish", "{allow, {ipaddr, \"2001:db8:@::/48\"}, publish, [\"site/#\"]}.", ACL_PUBLISH,
     "site/1/temp", "other/1/temp"},
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void put(FILE *out, const char *text, uint32_t number)
{
    for (; *text != '\0'; text++) {
        if (*text == '@')
            fprintf(out, "%" PRIu32, number);
        else
            fputc(*text, out);
    }
}

static struct acl_rules *compile(const struct kind *kind, uint32_t count, uint64_t *out_ns)
{
    struct acl_rules *rules = NULL;
    struct acl_error error;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        put(out, kind->rule, i);
        fputc('\n', out);
    }
    fputs("{deny, all}.\n", out);
    fclose(out);
    *out_ns = now_ns();
    if (acl_rules_new(slice_make(text, len), ACL_FILTER_COVER, &rules, &error) < 0)
        abort();
    *out_ns = now_ns() - *out_ns;
    free(text);
    return rules;
}

/* Nanoseconds of one question, which rule number `expected` has to decide. */
static double measure(const struct acl_rules *rules, const struct hook_check_acl *question, uint32_t expected)
{
    double best = 1e9;

    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns(), spent = 0, calls = 0;
        for (; spent < ROUND_NS; spent = now_ns() - begin) {
            for (uint32_t i = 0; i < BATCH; i++) {
                const struct acl_rule *rule = acl_rules_find(rules, question);
                if (rule == NULL || rule->number != expected)
                    abort();
            }
            calls += BATCH;
        }
        if ((double)spent / (double)calls < best)
            best = (double)spent / (double)calls;
    }
    return best;
}

static double measure_topic(const struct acl_rules *rules, const struct kind *kind, const char *topic_format,
                            uint32_t number, uint32_t expected)
{
    char topic[TEXT_MAX] = "", name[TEXT_MAX] = "", peer[TEXT_MAX] = "";
    struct client_info client = {0};
    struct hook_check_acl question = {.client = &client, .access = kind->access};
    FILE *out = fmemopen(topic, sizeof(topic), "w");

    if (out == NULL)
        abort();
    put(out, topic_format, number);
    fclose(out);
    snprintf(name, sizeof(name), "n-%" PRIu32, number);
    snprintf(peer, sizeof(peer), "2001:db8:%" PRIu32 "::1", number);
    if (inet_pton(AF_INET6, peer, &client.peer_address) != 1)
        abort();
    client.client_id = client.user_name = slice_from_string(name);
    question.topic = slice_from_string(topic);
    return measure(rules, &question, expected);
}

int main(void)
{
    static const uint32_t counts[] = {10, 1000};

    printf("%-28s %6s %12s %12s %12s\n", "rules", "count", "middle ns", "last ns", "compile us");
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        for (size_t c = 0; c < ARRAY_COUNT(counts); c++) {
            uint64_t compile_ns;
            uint32_t count = counts[c], middle = count / 2;
            struct acl_rules *rules = compile(&kinds[i], count, &compile_ns);
            printf("%-28s %6" PRIu32 " %12.1f %12.1f %12.0f\n", kinds[i].name, count,
                   measure_topic(rules, &kinds[i], kinds[i].middle, middle, middle + 1),
                   measure_topic(rules, &kinds[i], kinds[i].last, middle, count + 1), (double)compile_ns / 1000);
            acl_rules_free(rules);
        }
    }
    return 0;
}
