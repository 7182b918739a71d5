/*
 * access_rules: what a start makes of the configuration's acl_file.
 *
 * A wrong file ends it. A missing one does, too, when without it everybody could do everything; acl_file_missing = ignore says that
 * this is meant.
 */
#include "main/access_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOMATCH_ALLOW, NOMATCH_DENY }; /* the words of acl_nomatch */

const char access_rules_missing_advice[] =
    "Without them acl_nomatch = allow would let every client publish and subscribe to everything.\n"
    "Put the file back, set acl_nomatch = deny, or say that this is meant: acl_file_missing = ignore";

enum acl_filter_match access_rules_filter_match(const struct conf *conf)
{
    return strcmp(conf_get_string(conf, "acl_filter_match", NULL), "text") == 0 ? ACL_FILTER_TEXT : ACL_FILTER_COVER;
}

bool access_rules_nomatch_allows(const struct conf *conf)
{
    return conf_get_enum(conf, "acl_nomatch", NULL, NOMATCH_DENY) == NOMATCH_ALLOW;
}

int access_rules_any_nomatch_allows(const struct conf *conf)
{
    bool allows = access_rules_nomatch_allows(conf);
    const char **names = NULL;
    size_t count = 0;
    int err = conf_names(conf, "zone.$name", NULL, &names, &count);

    if (err < 0)
        return err;
    for (size_t i = 0; i < count; i++)
        allows |= conf_get_enum(conf, "zone.$name.acl_nomatch", names[i], NOMATCH_DENY) == NOMATCH_ALLOW;
    free(names);
    return allows;
}

int access_rules_may_be_missing(const struct conf *conf)
{
    int allows = access_rules_any_nomatch_allows(conf);

    if (allows < 0)
        return allows;
    return !allows || strcmp(conf_get_string(conf, "acl_file_missing", NULL), "ignore") == 0;
}

int access_rules_check(const struct conf *conf, const struct paths *paths, char out_error[ACL_FILE_ERROR_BYTES])
{
    const char *configured = conf_get_string(conf, "acl_file", NULL);
    struct acl_rules *rules = NULL;
    char path[PATH_MAX];
    int err, may_be_missing;

    if (configured == NULL)
        return 0;
    snprintf(out_error, ACL_FILE_ERROR_BYTES, "acl_file is too long a path");
    err = paths_join(paths->root, configured, path);
    if (err < 0)
        return err;
    err = acl_file_read(path, access_rules_filter_match(conf), &rules, out_error);
    acl_rules_free(rules);
    if (err == 0 || err == -EINVAL || err == -ENOMEM)
        return err;
    may_be_missing = access_rules_may_be_missing(conf);
    return may_be_missing == 1 ? 0 : err;
}
