/*
 * hook_internal: what hook.c and hook_run.c share.
 */
#ifndef HOOK_HOOK_INTERNAL_H
#define HOOK_HOOK_INTERNAL_H

#include "base/list.h"
#include "hook/hook.h"

#include <stdint.h>

struct hook_entry {
    hook_fn *run;
    void *context;
    struct hook *hook;
};

/* In calling order. Shared: snapshot. */
struct hook_chain {
    uint32_t count;
    struct hook_entry entries[];
};

struct hook {
    struct hook_options options;
    struct hook_chain *spare; /* for its removal: room for HOOK_CALLBACKS_MAX */
    uint64_t sequence;        /* rises with each hook added: the order of equal priorities */
    struct list tickets;      /* answers it owes; under hook_run.c's lock */
};

/* The hook is in no chain any more and runs nowhere: the events that wait for an answer of it fail, each on its worker. Returns when that
 * is done. Thread: control. */
void hook_fail_tickets(struct hook *hook);

#endif
