/*
 * auth_users_internal: what the parts of auth_users share.
 */
#ifndef PLUGINS_LIB_AUTH_USERS_INTERNAL_H
#define PLUGINS_LIB_AUTH_USERS_INTERNAL_H

#include "lib/auth_users.h"
#include "lib/password_cache.h"

/* One loaded plugin. Not changed after load(). */
struct auth_users {
    const struct auth_users_kind *kind;
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    struct emqc_table *table;
    struct password_cache *cache; /* NULL: nothing is remembered */
    struct emqc_metric *success, *failure, *ignore;
    enum password_kind hash; /* of new entries */
    uint32_t iterations;     /* likewise; 0: as advised for the kind */
};

static inline const char *auth_users_key(const struct auth_users *users, enum auth_users_key key)
{
    return users->kind->keys[key].name;
}

/* Is there an entry of that name? Thread: control. */
bool auth_users_has(const struct auth_users *users, const char *name);

/* client.authenticate; `context`: the struct auth_users. Thread: worker. */
enum emqc_verdict auth_users_authenticate(void *context, struct emqc_event *event);

/* Adds the command. 0 or the errors of command_add(). Thread: control. */
int auth_users_add_command(struct auth_users *users);

#endif
