/*
 * hook_memory: where a callback puts what it changes in an event. It lives as long as the event, also when others answer later.
 */
#ifndef HOOK_HOOK_MEMORY_H
#define HOOK_HOOK_MEMORY_H

#include "base/slice.h"

struct hook_memory; /* NULL: nothing is kept */

/* A copy of `text`, kept in the event's `memory`. With data NULL: memory is short. Thread: the event's. */
struct slice hook_memory_copy(struct hook_memory **memory, struct slice text);
/* For who fires the event, once it is done with it. Thread: the event's. */
void hook_memory_free(struct hook_memory **memory);

#endif
