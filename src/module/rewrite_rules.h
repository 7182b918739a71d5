/*
 * rewrite_rules: rules by which topics and filters become others: `x/# ^x/y/(.+)$ z/y/$1`.
 *
 * A rule has three words: a topic filter, a regular expression (PCRE, on characters, found anywhere unless it says ^ and $) and the new
 * topic, in which $1, $2, ... stand for the groups of the expression; a group that took no part is empty. The first rule whose filter matches
 * decides: if its expression does not match, the topic stays.
 *
 * The expressions are the operator's, the topics anybody's: matching takes at most REWRITE_STEPS_MAX steps, whatever the two are, and
 * then gives up.
 *
 * Rules are immutable once all are added. Pure. Thread: any, each with a scratch of its own.
 */
#ifndef MODULE_REWRITE_RULES_H
#define MODULE_REWRITE_RULES_H

#include "base/compiler.h"
#include "base/slice.h"

struct rewrite_rules;   /* opaque */
struct rewrite_scratch; /* opaque: what matching needs */

#define REWRITE_ERROR_BYTES 512
/* Items of the expression that are looked at for one topic, those tried again included; one counts more in a long topic, where it may have
 * all of it to walk through. About a millisecond at the very worst. At the limit the topic stays as it is. */
#define REWRITE_STEPS_MAX 10000u
/* Memory of a scratch for going back in an expression; over it the topic stays as it is. */
#define REWRITE_HEAP_KB_MAX 1024u

/* NULL: memory is short. */
struct rewrite_rules *rewrite_rules_new(void);
/* NULL is fine. */
void rewrite_rules_free(struct rewrite_rules *rules);

/* Adds a rule behind the others. -EINVAL: `out_error` says what is wrong with it, as the end of a sentence; -ENOMEM. */
MUST_USE int rewrite_rules_add(struct rewrite_rules *rules, const char *text, char out_error[REWRITE_ERROR_BYTES]);
size_t rewrite_rules_count(const struct rewrite_rules *rules);

/* For these rules, of which none is added any more. NULL: memory is short. */
struct rewrite_scratch *rewrite_scratch_new(const struct rewrite_rules *rules);
/* NULL is fine. */
void rewrite_scratch_free(struct rewrite_scratch *scratch);

enum rewrite_result {
    REWRITE_SAME,     /* no rule is for it, or it has this topic already */
    REWRITE_CHANGED,  /* `out_text` is the new one */
    REWRITE_INVALID,  /* what would come out is no topic name, or no filter, or too long: it stays as it is */
    REWRITE_GIVEN_UP, /* too much work, or not UTF-8: likewise */
    REWRITE_NO_MEMORY /* likewise */
};

struct rewrite_request {
    struct slice text;   /* a topic name, or a filter without share prefix, which rules take as if it were a name */
    struct slice prefix; /* of a filter: put before the result */
    bool is_filter;
};

/* The result is in the scratch, until its next use. */
MUST_USE enum rewrite_result rewrite_rules_apply(const struct rewrite_rules *rules, struct rewrite_scratch *scratch,
                                                 const struct rewrite_request *request, struct slice *out_text);

#endif
