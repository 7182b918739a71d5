/*
 * acl_generation: tells who remembers verdicts of client.check_acl that they may not hold any more.
 *
 * Whoever changes what the callbacks of that point would say (rules are reloaded, a provider is added, somebody is banned) first makes the
 * change visible and then bumps. A cache reads the generation before it asks, keeps it with the verdict, and forgets what was kept under
 * another one: then no verdict of before the change is used once it is done.
 */
#ifndef HOOK_ACL_GENERATION_H
#define HOOK_ACL_GENERATION_H

#include <stdatomic.h>
#include <stdint.h>

extern _Atomic uint32_t acl_generation; /* wraps around; through the functions below only */

/* One load. Thread: any. */
static inline uint32_t acl_generation_read(void)
{
    return atomic_load_explicit(&acl_generation, memory_order_acquire);
}

/* Thread: any. */
static inline void acl_generation_bump(void)
{
    atomic_fetch_add_explicit(&acl_generation, 1, memory_order_acq_rel);
}

#endif
