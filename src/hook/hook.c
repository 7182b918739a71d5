/*
 * hook: the chains of callbacks.
 *
 * A chain is an immutable snapshot: an array in calling order that holds what a call needs. Adding and removing make a new one, publish it
 * and free the old one after a grace period. A point without callbacks has no chain, so that a call costs the load of one pointer.
 *
 * Removing cannot fail for want of memory: each hook brings a spare chain along, the largest there can be, which is the one its removal
 * publishes. Writers hold a lock while they exchange a chain and none while they wait for readers.
 */
#include "hook/hook_internal.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

struct hook_chain *hook_chains[HOOK_POINT_COUNT];

static pthread_mutex_t chains_lock = PTHREAD_MUTEX_INITIALIZER; /* who exchanges a chain */
static uint64_t last_sequence;                                  /* under the lock */

static const char *const point_names[] = {
    [HOOK_CLIENT_AUTHENTICATE] = "client.authenticate",
    [HOOK_CLIENT_CHECK_ACL] = "client.check_acl",
    [HOOK_CLIENT_CONNECTED] = "client.connected",
    [HOOK_CLIENT_DISCONNECTED] = "client.disconnected",
    [HOOK_CLIENT_SUBSCRIBE] = "client.subscribe",
    [HOOK_CLIENT_UNSUBSCRIBE] = "client.unsubscribe",
    [HOOK_SESSION_CREATED] = "session.created",
    [HOOK_SESSION_RESUMED] = "session.resumed",
    [HOOK_SESSION_SUBSCRIBED] = "session.subscribed",
    [HOOK_SESSION_UNSUBSCRIBED] = "session.unsubscribed",
    [HOOK_SESSION_TERMINATED] = "session.terminated",
    [HOOK_MESSAGE_PUBLISH] = "message.publish",
    [HOOK_MESSAGE_DELIVER] = "message.deliver",
    [HOOK_MESSAGE_ACKED] = "message.acked",
    [HOOK_MESSAGE_DROPPED] = "message.dropped",
    [HOOK_TLS_PSK_LOOKUP] = "tls_handshake.psk_lookup",
    [HOOK_CLIENT_ENHANCED_AUTHENTICATE] = "client.enhanced_authenticate",
};
_Static_assert(ARRAY_COUNT(point_names) == HOOK_POINT_COUNT, "each point has a name");

const char *hook_point_name(enum hook_point point)
{
    return point_names[point];
}

static size_t chain_bytes(uint32_t count)
{
    return sizeof(struct hook_chain) + count * sizeof(struct hook_entry);
}

/* Where a callback of `priority` goes: behind all that are not below it. */
static uint32_t place_of(const struct hook_chain *chain, int priority)
{
    uint32_t i = 0;

    while (i < chain->count && chain->entries[i].hook->options.priority >= priority)
        i++;
    return i;
}

static int find_twin(const struct hook_chain *chain, const struct hook_options *options)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        if (chain->entries[i].run == options->run && chain->entries[i].context == options->context)
            return -EEXIST;
    }
    return 0;
}

/* A chain with `hook` in its place. The caller holds the lock. */
static int chain_with(const struct hook_chain *old, struct hook *hook, struct hook_chain **out_chain)
{
    static const struct hook_chain empty = {.count = 0};
    const struct hook_options *options = &hook->options;
    struct hook_chain *chain;

    if (old == NULL)
        old = &empty;
    if (find_twin(old, options) < 0)
        return -EEXIST;
    if (old->count >= HOOK_CALLBACKS_MAX)
        return -ENOSPC;
    chain = malloc(chain_bytes(old->count + 1));
    if (chain == NULL)
        return -ENOMEM;
    uint32_t place = place_of(old, options->priority);
    chain->count = old->count + 1;
    for (uint32_t i = 0; i < place; i++)
        chain->entries[i] = old->entries[i];
    chain->entries[place] = (struct hook_entry){options->run, options->context, hook};
    for (uint32_t i = place; i < old->count; i++)
        chain->entries[i + 1] = old->entries[i];
    *out_chain = chain;
    return 0;
}

/* Puts what is left without `hook` into its spare chain. NULL: nothing is left. The caller holds the lock. */
static struct hook_chain *chain_without(const struct hook_chain *old, struct hook *hook)
{
    struct hook_chain *chain = hook->spare;

    chain->count = 0;
    for (uint32_t i = 0; i < old->count; i++) {
        if (old->entries[i].hook != hook)
            chain->entries[chain->count++] = old->entries[i];
    }
    ASSERT(chain->count == old->count - 1);
    if (chain->count == 0)
        return NULL;
    hook->spare = NULL;
    return chain;
}

static void hook_free(struct hook *hook)
{
    if (hook == NULL)
        return;
    free(hook->spare);
    free(hook);
}

int hook_add(const struct hook_options *options, struct hook **out_hook)
{
    struct hook *hook = calloc(1, sizeof(*hook));
    struct hook_chain *old, *chain;
    int err = -ENOMEM;

    if (hook == NULL || (hook->spare = malloc(chain_bytes(HOOK_CALLBACKS_MAX))) == NULL)
        goto fail;
    hook->options = *options;
    list_init(&hook->tickets);
    pthread_mutex_lock(&chains_lock);
    old = hook_chains[options->point];
    hook->sequence = ++last_sequence;
    err = chain_with(old, hook, &chain);
    if (err == 0)
        RCU_PUBLISH(hook_chains[options->point], chain);
    pthread_mutex_unlock(&chains_lock);
    if (err < 0)
        goto fail;
    if (old != NULL)
        rcu_barrier_all();
    free(old);
    *out_hook = hook;
    return 0;
fail:
    hook_free(hook);
    return err;
}

void hook_remove(struct hook *hook)
{
    struct hook_chain *old;
    enum hook_point point;

    if (hook == NULL)
        return;
    point = hook->options.point;
    pthread_mutex_lock(&chains_lock);
    old = hook_chains[point];
    RCU_PUBLISH(hook_chains[point], chain_without(old, hook));
    pthread_mutex_unlock(&chains_lock);
    /* A grace period later every worker has been between two events: the callback runs nowhere, nobody has the old chain. */
    rcu_barrier_all();
    free(old);
    hook_fail_tickets(hook);
    hook_free(hook);
}

/* Its author's mistake, which must not hold up the client nor fill the log. */
static void report_pending(enum hook_point point, const struct hook *hook)
{
    static struct log_limit limit = LOG_LIMIT_INIT(LOG_LIMIT_PER_SECOND);

    if (log_enabled(LOG_LEVEL_ERROR) && log_limit_pass(&limit))
        log_write_line(LOG_LEVEL_ERROR,
                       "[Hooks] a callback of %s wants to answer %s later, which cannot wait: going on without it",
                       hook->options.owner, hook_point_name(point));
}

enum hook_verdict hook_call(enum hook_point point, void *event)
{
    const struct hook_chain *chain = RCU_READ(hook_chains[point]);

    if (chain == NULL)
        return HOOK_NEXT;
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct hook_entry *entry = &chain->entries[i];
        enum hook_verdict verdict = entry->run(entry->context, event);

        if (verdict == HOOK_STOP)
            return HOOK_STOP;
        if (UNLIKELY(verdict == HOOK_PENDING))
            report_pending(point, entry->hook);
    }
    return HOOK_NEXT;
}

enum hook_verdict hook_call_guards(enum hook_point point, void *event)
{
    const struct hook_chain *chain = RCU_READ(hook_chains[point]);

    for (uint32_t i = 0; chain != NULL && i < chain->count; i++) {
        const struct hook_entry *entry = &chain->entries[i];
        if (entry->hook->options.priority < HOOK_PRIORITY_GUARD)
            break; /* they come first */
        enum hook_verdict verdict = entry->run(entry->context, event);
        if (verdict == HOOK_STOP)
            return HOOK_STOP;
        if (UNLIKELY(verdict == HOOK_PENDING))
            report_pending(point, entry->hook);
    }
    return HOOK_NEXT;
}
