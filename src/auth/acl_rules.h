/*
 * acl_rules: the rules of an access file, compiled; and which of them decides about a request.
 *
 * The first rule of the file that fits decides. Rules that name a user or a client are found by hash, so that a request looks only at its
 * own ones and at those for everybody, in the order of the file.
 *
 * Immutable once made. Pure. Thread: any; nothing is allocated while looking for a rule.
 */
#ifndef AUTH_ACL_RULES_H
#define AUTH_ACL_RULES_H

#include "auth/acl_terms.h"
#include "hook/events.h"

#define ACL_RULES_MAX 100000u /* of a file; more are an error */

struct acl_rules;

/* What a rule's topic means for a SUBSCRIBE with wildcards. */
enum acl_filter_match {
    ACL_FILTER_COVER, /* an allow holds if it covers all that the filter matches, a deny if it has a topic in common with it */
    ACL_FILTER_TEXT, /* as the original: the filter's levels are compared as text */
};

/* The visible part of a rule; lives as long as the rules. */
struct acl_rule {
    bool is_allow;
    uint32_t number; /* in the file, from 1 */
    uint32_t line;
    struct slice source; /* as written */
};

/* Compiles the text of a file. -EINVAL with `*out_error`, -ENOMEM. */
MUST_USE int acl_rules_new(struct slice text, enum acl_filter_match filter_match, struct acl_rules **out_rules,
                           struct acl_error *out_error);
/* NULL is fine. */
void acl_rules_free(struct acl_rules *rules);

uint32_t acl_rules_count(const struct acl_rules *rules);

/* The rule that decides about the request, whose topic or filter is valid; NULL: none fits. `is_allowed` is not looked at. */
const struct acl_rule *acl_rules_find(const struct acl_rules *rules, const struct hook_check_acl *request);

#endif
