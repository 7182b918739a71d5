/*
 * acl_file: the rules of the configuration's acl_file, in effect for client.check_acl.
 *
 * The callback has priority -1: it is asked after all plugins. A rule that fits gives its verdict, else the one so far stays; the chain goes on
 * either way. The rules are a snapshot under RCU: a reload replaces them as a whole while clients are served, or, when the new file is
 * wrong, not at all.
 * Thread: control, unless a function says otherwise.
 */
#ifndef AUTH_ACL_FILE_H
#define AUTH_ACL_FILE_H

#include "auth/acl_rules.h"

#define ACL_FILE_BYTES_MAX (16u << 20)                       /* a larger file is refused */
#define ACL_FILE_ERROR_BYTES (ACL_ERROR_BYTES + 4096u + 64u) /* error, path, place */

struct acl_file;

/* Reads a file and compiles its rules, without putting them into effect. On an error `out_error` says why in one line: -EINVAL (what is
 * wrong and where: "etc/acl.conf:3:9: ..."), the -errno of the file, -EFBIG (over ACL_FILE_BYTES_MAX), -ENOMEM. Thread: any. */
MUST_USE int acl_file_read(const char *path, enum acl_filter_match filter_match, struct acl_rules **out_rules,
                           char out_error[ACL_FILE_ERROR_BYTES]);

struct acl_file_options {
    const char *path; /* copied */
    enum acl_filter_match filter_match;
    bool nomatch_allows; /* acl_nomatch, for who asks what would be decided; zones may have their own */
};

/* Registers the callback; there are no rules yet. -ENOMEM, -ENOSPC. */
MUST_USE int acl_file_open(const struct acl_file_options *options, struct acl_file **out_file);
/* Removes the callback and waits until it runs nowhere. NULL is fine. */
void acl_file_close(struct acl_file *file);

/* Reads the file and puts its rules in place of those before, then makes all remembered verdicts void (hook/acl_generation.h). Errors
 * are those of acl_file_read(); the rules are then those before. Waits for readers. */
MUST_USE int acl_file_load(struct acl_file *file, char out_error[ACL_FILE_ERROR_BYTES]);

const char *acl_file_path(const struct acl_file *file);
/* NULL: none have been loaded. Valid until the next acl_file_load(). */
const struct acl_rules *acl_file_rules(const struct acl_file *file);
bool acl_file_nomatch_allows(const struct acl_file *file);

#endif
