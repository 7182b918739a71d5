/*
 * acl_command: emqx_ctl acl: reload the access rules; ask what they would say.
 */
#ifndef AUTH_ACL_COMMAND_H
#define AUTH_ACL_COMMAND_H

#include "hook/ctl_command.h"

/* To be registered with the `struct acl_file` as context; NULL: the configuration names none. Thread: control. */
extern const struct ctl_command acl_command;

#endif
