/*
 * acl_topic: a topic of an access rule, and whether a request falls under it.
 *
 * A rule topic is split once, when its file is read: the levels up to the first wildcard or variable are one text (`head`), so that most
 * topics that do not match cost one comparison. Topics beginning with $ get no protection from wildcards of a rule: "#" means all of them.
 *
 * A PUBLISH asks about one topic. A SUBSCRIBE asks about a filter, which stands for all topics that it matches:
 *
 *   ACL_MATCH_COVER    the rule topic matches every topic that the filter does: what an `allow` needs
 *   ACL_MATCH_OVERLAP  it matches at least one of them: what a `deny` needs
 *   ACL_MATCH_TEXT     as the original: levels of the filter are texts; + of the rule matches any of them, # what is left
 *
 * {eq, "x"} is the text x. If that is a topic name, it is also that one topic; a filter with wildcards it is only when written so.
 * %c and %u are a whole level and stand for client id and user name, byte by byte; the topic matches nothing when the client has none.
 * Pure. Thread: any; nothing is allocated while matching.
 */
#ifndef AUTH_ACL_TOPIC_H
#define AUTH_ACL_TOPIC_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct acl_memory; /* acl_memory.h */

enum acl_match { ACL_MATCH_COVER, ACL_MATCH_OVERLAP, ACL_MATCH_TEXT };

enum acl_level_kind {
    ACL_LEVEL_TEXT,
    ACL_LEVEL_PLUS,
    ACL_LEVEL_HASH, /* the last one */
    ACL_LEVEL_CLIENT_ID,
    ACL_LEVEL_USER_NAME,
};

struct acl_level {
    enum acl_level_kind kind;
    uint32_t at; /* of its text in that of the topic */
    uint32_t len;
};

struct acl_topic {
    struct slice text;
    struct acl_level *levels; /* not of {eq, ...} */
    uint32_t level_count;
    uint32_t head_levels; /* texts that it begins with */
    uint32_t head_len;    /* bytes of them, without a separator at the end */
    bool is_literal;      /* {eq, ...} */
    bool is_name;         /* has no wildcard */
};

/* Whom the variables stand for; data NULL: the client has none. */
struct acl_names {
    struct slice client_id;
    struct slice user_name;
};

/* Takes a rule topic apart. Its levels are in `memory`; `text` is borrowed for as long as the topic. -EINVAL with `*out_problem`,
 * which says why nothing can match it; -ENOMEM. */
MUST_USE int acl_topic_init(struct acl_topic *topic, struct slice text, bool is_literal, struct acl_memory *memory,
                            const char **out_problem);

/* Does the rule topic match this topic name, or this filter (`has_wildcard`: with + or #) in that way? Both are valid. */
bool acl_topic_matches(const struct acl_topic *topic, struct slice request, bool has_wildcard, enum acl_match match,
                       const struct acl_names *names);

#endif
