/*
 * node_store: the durable store as a part of the node: opened from the configuration, its troubles told to people.
 * Thread: control.
 */
#ifndef MAIN_NODE_STORE_H
#define MAIN_NODE_STORE_H

#include "base/compiler.h"

struct node;

/* Opens `store` in the data directory, which is locked, as node->store. A failure has been reported. -errno. */
MUST_USE int node_open_store(struct node *node);
/* Nothing is logged any more, jobs of `emqx_ctl store` end; before the loop ends. Not open is fine. */
void node_unwatch_store(struct node *node);
/* At the very end: nobody uses the store any more. Writes what waits. Not open is fine. */
void node_close_store(struct node *node);

#endif
