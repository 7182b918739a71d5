/*
 * node_acl: the rules of acl_file are in effect before the first client is.
 */
#include "main/node.h"

#include "auth/acl_command.h"
#include "auth/acl_file.h"
#include "base/log.h"
#include "main/access_rules.h"

#include <errno.h>

/* There is no file to read. 0: that is no obstacle. */
static int judge_missing(struct node *node, int err, const char *error)
{
    int may_be_missing = access_rules_may_be_missing(node->conf);
    int allows = access_rules_any_nomatch_allows(node->conf);
    char text[ACL_FILE_ERROR_BYTES + 512];

    if (may_be_missing < 0 || allows < 0)
        return -ENOMEM;
    if (!may_be_missing) {
        snprintf(text, sizeof(text), "The access rules are missing: acl_file: %s\n%s", error,
                 access_rules_missing_advice);
        daemon_report_failure(node->options->report, text);
        return err;
    }
    snprintf(text, sizeof(text), "There are no access rules: %s. Clients may publish and subscribe to %s", error,
             allows ? "everything" : "nothing unless a plugin allows it");
    log_write(LOG_LEVEL_ALERT, "[ACL] %s", text);
    if (daemon_report_is_remote(node->options->report) || !node->log_to_console)
        daemon_report_warning(node->options->report, "%s", text);
    return 0;
}

int node_open_acl(struct node *node)
{
    struct acl_file_options options = {
        .path = conf_get_string(node->conf, "acl_file", NULL),
        .filter_match = access_rules_filter_match(node->conf),
        .nomatch_allows = access_rules_nomatch_allows(node->conf),
    };
    char error[ACL_FILE_ERROR_BYTES], text[ACL_FILE_ERROR_BYTES + 64];
    int err;

    if (options.path == NULL)
        return 0;
    err = acl_file_open(&options, &node->acl_file);
    if (err < 0) {
        daemon_report_failure(node->options->report, "Cannot load the access rules: memory is short");
        return err;
    }
    err = acl_file_load(node->acl_file, error);
    if (err == 0) {
        log_info("[ACL] %u rules loaded from %s", acl_rules_count(acl_file_rules(node->acl_file)), options.path);
        return 0;
    }
    if (err != -EINVAL && err != -ENOMEM)
        return judge_missing(node, err, error);
    snprintf(text, sizeof(text), "The access rules are wrong: %s", error);
    daemon_report_failure(node->options->report, text);
    return err;
}

int node_register_acl_command(struct node *node)
{
    return ctl_register(node->ctl_registry, &acl_command, node->acl_file);
}

void node_close_acl(struct node *node)
{
    acl_file_close(node->acl_file);
    node->acl_file = NULL;
}
