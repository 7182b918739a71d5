/*
 * broker: builds and takes down the node's parts; the registry of client IDs; the placing of sessions.
 */
#include "broker/broker.h"

#include "base/rcu.h"
#include "broker/broker_internal.h"
#include "broker/retainer/retainer.h"
#include "broker/session/session.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

#define REGISTRY_SHARDS 64
#define LOAD_DIFFERS_PERMILLE 100

static uint64_t session_hash(const void *element, const void *context)
{
    (void)context;
    return session_hash_of(session_client_id(element));
}

static bool session_matches(const void *element, const void *key)
{
    return slice_equal(session_client_id(element), *(const struct slice *)key);
}

static struct broker_worker *broker_worker_new(struct broker *broker, struct worker *worker)
{
    struct broker_worker *here = calloc(1, sizeof(*here));

    if (here == NULL)
        return NULL;
    here->host.worker = worker;
    here->host.ops = &broker_session_host_ops;
    here->host.router = broker->router;
    here->host.registry = broker->registry;
    here->host.retainer = broker->retainer;
    here->host.absent_count = &broker->absent_count;
    here->host.absent_max = broker->settings.max_detached_sessions;
    here->broker = broker;
    here->hits_capacity = 64;
    here->hits = malloc(here->hits_capacity * sizeof(*here->hits));
    here->random_state = UINT64_C(0x2545F4914F6CDD1D) * (worker_index(worker) + 1);
    if (here->hits == NULL) {
        free(here);
        return NULL;
    }
    worker_set_context(worker, here);
    worker_set_deliver(worker, broker_take_in);
    return here;
}

int broker_new(const struct broker_settings *settings, struct broker **out_broker)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    int err = -ENOMEM;

    if (broker == NULL)
        return err;
    broker->settings = *settings;
    broker->router = router_new();
    broker->registry = rcu_table_new(REGISTRY_SHARDS, session_hash, NULL);
    broker->retainer = retainer_new(settings->max_retained_messages, settings->max_retained_payload);
    if (broker->router == NULL || broker->registry == NULL || broker->retainer == NULL)
        goto fail;
    err = worker_pool_new(settings->worker_count, settings->mailbox_bytes_max, &broker->pool);
    if (err < 0)
        goto fail;
    for (uint32_t i = 0; i < settings->worker_count; i++) {
        broker->workers[i] = broker_worker_new(broker, worker_pool_get(broker->pool, i));
        err = -ENOMEM;
        if (broker->workers[i] == NULL)
            goto fail;
    }
    *out_broker = broker;
    return 0;
fail:
    broker_free(broker);
    return err;
}

void broker_free(struct broker *broker)
{
    if (broker == NULL)
        return;
    for (uint32_t i = 0; i < broker->settings.worker_count; i++) {
        struct broker_worker *here = broker->workers[i];
        if (here == NULL)
            continue;
        filter_table_fini(&here->host.filters);
        free(here->hits);
        free(here);
    }
    worker_pool_free(broker->pool);
    retainer_free(broker->retainer);
    rcu_table_free(broker->registry, NULL);
    router_free(broker->router);
    free(broker);
}

struct session *broker_find_session(struct broker *broker, struct slice client_id)
{
    return rcu_table_find(broker->registry, session_hash_of(client_id), session_matches, &client_id);
}

int broker_register_session(struct broker *broker, struct session *session, struct session **out_existing)
{
    struct slice client_id = session_client_id(session);
    void *existing = NULL;
    int err = rcu_table_insert(broker->registry, session_hash_of(client_id), session_matches, &client_id, session,
                               &existing);

    *out_existing = existing;
    session->registered = err == 0;
    return err;
}

struct broker_worker *broker_place_session(struct broker_worker *worker)
{
    struct broker *broker = worker->broker;
    uint32_t count = broker->settings.worker_count;
    uint64_t x = worker->random_state = worker->random_state * UINT64_C(6364136223846793005) + 1;

    if (count == 1)
        return worker;
    uint32_t self = worker_index(worker->host.worker);
    struct broker_worker *other = broker->workers[(self + 1 + (uint32_t)(x >> 33) % (count - 1)) % count];
    uint32_t load_here = worker_load_permille(worker->host.worker);
    uint32_t load_there = worker_load_permille(other->host.worker);
    if (load_here > load_there + LOAD_DIFFERS_PERMILLE)
        return other;
    if (load_there > load_here + LOAD_DIFFERS_PERMILLE)
        return worker;
    uint32_t here = atomic_load_explicit(&worker->host.session_count, memory_order_relaxed);
    uint32_t there = atomic_load_explicit(&other->host.session_count, memory_order_relaxed);
    return here > there + there / 8 + 4 ? other : worker;
}
