/*
 * rewrite: the module `rewrite`: topics of PUBLISH and filters of SUBSCRIBE and UNSUBSCRIBE become others (rewrite_rules.h).
 *
 * Runs after the access rules, which see what the client said. A filter is seen without share prefix and mountpoint, a topic with mountpoint, as
 * in the original.
 */
#ifndef MODULE_REWRITE_H
#define MODULE_REWRITE_H

#include "base/compiler.h"

struct rewrite;
struct rewrite_rules;

/* Takes the rules over, also when it fails. -ENOMEM, -ENOSPC. Thread: control. */
MUST_USE int rewrite_open_take(struct rewrite_rules *rules, struct rewrite **out_rewrite);
/* NULL is fine. Thread: control, as hook_remove(). */
void rewrite_close(struct rewrite *rewrite);

#endif
