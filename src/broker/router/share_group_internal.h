/*
 * share_group, the part that only the router uses: how groups come and go.
 */
#ifndef BROKER_ROUTER_SHARE_GROUP_INTERNAL_H
#define BROKER_ROUTER_SHARE_GROUP_INTERNAL_H

#include "broker/router/share_group.h"

#include <stddef.h>

/* An empty group; copies both texts. NULL when memory is short. */
struct share_group *share_group_new(struct slice filter, struct slice name);
/* No reader may be left. NULL is fine. */
void share_group_free(struct share_group *group);
/* Closes the group if it has no member: nobody can join it any more. True: it is closed now (not: was before). */
bool share_group_close_if_empty(struct share_group *group);
/* After a grace period: share_group_free(). */
void share_group_retire(struct share_group *group);
/* Memory held, without members. Thread: any; of the moment. */
size_t share_group_bytes(const struct share_group *group);

#endif
