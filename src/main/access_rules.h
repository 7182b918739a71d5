/*
 * access_rules: what a start makes of the configuration's acl_file. Thread: any.
 */
#ifndef MAIN_ACCESS_RULES_H
#define MAIN_ACCESS_RULES_H

#include "auth/acl_file.h"
#include "conf/conf.h"
#include "ctl/paths.h"

/* How rules are compared with filters. */
enum acl_filter_match access_rules_filter_match(const struct conf *conf);

/* The global acl_nomatch: does it allow? */
bool access_rules_nomatch_allows(const struct conf *conf);

/* Does acl_nomatch, or that of some zone, allow? 1, 0 or -ENOMEM. */
MUST_USE int access_rules_any_nomatch_allows(const struct conf *conf);

/* May a start go on that cannot read acl_file? 1; 0: then everybody could do everything, and it is not said that this is meant; -ENOMEM. */
MUST_USE int access_rules_may_be_missing(const struct conf *conf);

/* Would a start with this configuration, whose relative paths begin at the root, get over its acl_file? 0; or -errno with a text of a line or
 * several in `out_error`. */
MUST_USE int access_rules_check(const struct conf *conf, const struct paths *paths,
                                char out_error[ACL_FILE_ERROR_BYTES]);

/* What follows the reason when a start is refused as acl_file cannot be read. */
extern const char access_rules_missing_advice[];

#endif
