/*
 * hook: the points at which features and plugins take part in what the broker does, with the original's names and meanings.
 *
 * A point has a chain of callbacks: higher priority first, equal ones in the order in which they were added. hook_call() runs them with one
 * event (hook/events.h), which they read and, where its comment says so, change, until one says HOOK_STOP. An empty chain costs one load.
 *
 * A callback runs on the worker where the event happens and must not block. One that needs to wait returns HOOK_PENDING where the point
 * allows it, and answers later from any thread (hook_run.h); only the client whose event it is waits meanwhile.
 *
 * Chains are snapshots under RCU: added to and removed from while events flow. hook_remove() returns when the callback runs nowhere
 * any more, and no event is pending with it.
 */
#ifndef HOOK_HOOK_H
#define HOOK_HOOK_H

#include "base/compiler.h"
#include "base/rcu.h"

#include <limits.h>
#include <stdbool.h>

struct hook;
struct hook_chain;

enum hook_point {
    HOOK_CLIENT_AUTHENTICATE,
    HOOK_CLIENT_CHECK_ACL,
    HOOK_CLIENT_CONNECTED,
    HOOK_CLIENT_DISCONNECTED,
    HOOK_CLIENT_SUBSCRIBE,
    HOOK_CLIENT_UNSUBSCRIBE,
    HOOK_SESSION_CREATED,
    HOOK_SESSION_RESUMED,
    HOOK_SESSION_SUBSCRIBED,
    HOOK_SESSION_UNSUBSCRIBED,
    HOOK_SESSION_TERMINATED,
    HOOK_MESSAGE_PUBLISH,
    HOOK_MESSAGE_DELIVER,
    HOOK_MESSAGE_ACKED,
    HOOK_MESSAGE_DROPPED,
    HOOK_TLS_PSK_LOOKUP,
    HOOK_CLIENT_ENHANCED_AUTHENTICATE, /* ours */
    HOOK_POINT_COUNT
};

enum hook_verdict {
    HOOK_NEXT,    /* the next callback is asked; what was changed in the event stays */
    HOOK_STOP,    /* the event as it is now is the result */
    HOOK_PENDING, /* hook_complete() will tell (hook_run.h); only for points that allow it */
};

typedef enum hook_verdict hook_fn(void *context, void *event);

#define HOOK_CALLBACKS_MAX 64u      /* of a point */
#define HOOK_PRIORITY_GUARD INT_MAX /* who has a say whatever the others find out: bans */

struct hook_options {
    enum hook_point point;
    int priority; /* 0: plugins and modules; -1: acl_file; HOOK_PRIORITY_GUARD: bans */
    hook_fn *run;
    void *context;
    const char *owner; /* who added it, for logs and lists; lives as long as the hook */
};

/* "client.authenticate", ... Thread: any. */
const char *hook_point_name(enum hook_point point);

/* -EEXIST (the same callback with the same context is there), -ENOSPC (HOOK_CALLBACKS_MAX), -ENOMEM. Waits for the readers of the chain that was
 * there; thread: as hook_remove(). */
MUST_USE int hook_add(const struct hook_options *options, struct hook **out_hook);
/* Returns when the callback runs nowhere and no event waits for it: its context may go then. Events that wait fail first, for which their
 * workers must be running. NULL is fine. Thread: control, not one that holds shared pointers, and no callback. */
void hook_remove(struct hook *hook);

extern struct hook_chain *hook_chains[HOOK_POINT_COUNT]; /* NULL: empty. Through the functions below only. */

/* Is there a callback? One load. Thread: any, online. */
static inline bool hook_any(enum hook_point point)
{
    return UNLIKELY(RCU_READ(hook_chains[point]) != NULL);
}

/* Runs the chain; never HOOK_PENDING: a callback that says so here is logged and counts as HOOK_NEXT. Thread: any, online. */
enum hook_verdict hook_call(enum hook_point point, void *event);
/* The same for the callbacks of HOOK_PRIORITY_GUARD only. */
enum hook_verdict hook_call_guards(enum hook_point point, void *event);

#endif
