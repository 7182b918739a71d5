/*
 * broker: builds and takes down the node's parts; the registry of client IDs; the placing of sessions.
 */
#include "broker/broker.h"

#include "base/rcu.h"
#include "broker/broker_internal.h"
#include "broker/commit.h"
#include "broker/retainer/retainer.h"
#include "broker/session/session.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define REGISTRY_SHARDS 64
#define LOAD_DIFFERS_PERMILLE 100

static uint64_t session_hash(const void *element, const void *context)
{
    (void)context;
    return session_hash_of(session_client_id(element));
}

static void on_store_progress(struct store_client *client, void *context)
{
    struct broker_worker *here = context;
    uint64_t number = store_committed(client);

    session_host_on_committed(&here->host, number);
    delayed_on_committed(here);
    commit_on_progress(here, number);
}

static int open_store_client(struct broker_worker *here, struct worker *worker)
{
    struct store_client_options options = {.worker = worker, .on_progress = on_store_progress, .context = here};

    here->host.store = here->broker->settings.store;
    here->host.durable.load_bytes_max = here->broker->settings.session_memory / here->broker->settings.worker_count;
    here->host.durable_count = &here->broker->durable_count;
    return here->host.store == NULL ? 0 : store_client_open(here->host.store, &options, &here->host.client);
}

static struct broker_worker *broker_worker_new(struct broker *broker, struct worker *worker)
{
    struct broker_worker *here = calloc(1, sizeof(*here));

    if (here == NULL)
        return NULL;
    here->host.worker = worker;
    durable_host_init(&here->host.durable);
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
    if (here->hits == NULL || commit_new(here, &here->commit) < 0 || open_store_client(here, worker) < 0) {
        commit_free(here->commit);
        free(here->hits);
        free(here);
        return NULL;
    }
    worker_set_context(worker, here);
    worker_set_deliver(worker, broker_take_in);
    worker_set_hand_over(worker, commit_turn_end);
    return here;
}

int broker_new(const struct broker_settings *settings, struct broker **out_broker)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    struct retainer_options retainer_options = {.count_max = settings->max_retained_messages,
                                                .payload_max = settings->max_retained_payload,
                                                .payload_in_memory_max = settings->retained_in_memory};
    int err = -ENOMEM;

    if (broker == NULL)
        return err;
    broker->settings = *settings;
    broker->router = router_new();
    broker->registry = rcu_table_new(REGISTRY_SHARDS, session_hash, NULL);
    broker->retainer = retainer_new(&retainer_options);
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
    err = delayed_new(broker, &settings->delayed);
    if (err < 0)
        goto fail;
    *out_broker = broker;
    return 0;
fail:
    broker_free(broker);
    return err;
}

void broker_close_store(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->settings.worker_count; i++) {
        store_client_close(broker->workers[i]->host.client);
        broker->workers[i]->host.client = NULL;
    }
}

void broker_free(struct broker *broker)
{
    if (broker == NULL)
        return;
    delayed_free(broker->delayed);
    for (uint32_t i = 0; i < broker->settings.worker_count; i++) {
        struct broker_worker *here = broker->workers[i];
        if (here == NULL)
            continue;
        filter_table_fini(&here->host.filters);
        store_client_close(here->host.client); /* of a broker that was never whole */
        commit_free(here->commit);
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
