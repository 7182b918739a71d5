/*
 * acl_rules: what compiling (acl_rules.c), finding by name (acl_index.c) and matching share.
 */
#ifndef AUTH_ACL_RULES_INTERNAL_H
#define AUTH_ACL_RULES_INTERNAL_H

#include "auth/acl_rules.h"
#include "auth/acl_topic.h"
#include "auth/acl_who.h"

struct compiled_rule {
    struct acl_rule seen;
    bool is_any_topic; /* {allow, all}, {deny, all} */
    uint8_t accesses;  /* of enum acl_access, ORed */
    uint32_t topic_count;
    struct acl_topic *topics;
    struct acl_who who;
};

/* Numbers of rules, rising. */
struct rule_list {
    const uint32_t *rules;
    uint32_t count;
};

/* A topic of a rule that is not bound to one name, with the bytes by which most of them are passed over. */
struct general_entry {
    uint64_t front;    /* the first 8 bytes of its head (acl_topic.h), zeros behind a shorter one */
    uint64_t tail;     /* the last 8 bytes of it; of a shorter one as `front` */
    uint32_t rule;     /* number */
    uint16_t head_len; /* 0: every request has to be looked at */
    bool is_allow;
};

/* Rules that are about one user or client. */
struct name_slot {
    struct slice name; /* data NULL: free */
    uint32_t *rules;
    uint32_t count;
};

struct name_table {
    struct name_slot *slots; /* NULL: no names */
    uint32_t mask;
};

/* The rules for one kind of access, parted by whom they are about. */
struct acl_index {
    struct general_entry *general; /* in the order of the file */
    uint32_t general_count;
    struct name_table users;
    struct name_table clients;
};

/* Makes the index of the rules with that access, in `memory`. -ENOMEM. */
MUST_USE int acl_index_make(struct acl_index *index, const struct compiled_rule *rules, uint32_t count,
                            enum acl_access access, struct acl_memory *memory);
/* A request, ready to be compared with many entries. */
struct acl_probe {
    struct slice topic;
    uint64_t front;      /* its first 8 bytes, zeros behind a shorter one */
    uint64_t front_mask; /* those before the first wildcard */
    bool deny_overlaps;  /* a filter with wildcards, for which a deny need not have its head */
    uint32_t at;         /* the next entry */
};

void acl_probe_init(struct acl_probe *probe, const struct hook_check_acl *request, bool has_wildcard,
                    enum acl_filter_match filter_match);
/* The next rule that is not bound to a name, may fit the topic and has a number below `below`; UINT32_MAX: none. A rule may come twice. */
uint32_t acl_index_next(const struct acl_index *index, struct acl_probe *probe, uint32_t below);
/* The rules about that name; an empty list for nobody (data NULL). */
struct rule_list acl_index_find(const struct name_table *table, struct slice name);

#endif
