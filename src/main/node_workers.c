/*
 * node_workers: the control thread asks all workers for something and waits: at start and stop only.
 */
#include "main/node.h"

#include "base/rcu.h"
#include "broker/channel/channel.h"
#include "broker/session/session.h"
#include "event/mailbox.h"
#include "mqtt/message.h"

#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#define CLOSE_WAIT_MS 2000
#define CLOSE_LOOK_MS 20

struct call {
    struct post post;
    void (*run)(struct worker *worker, void *context);
    void *context;
    sem_t *done;
};

static void on_call(struct worker *worker, struct post *post)
{
    struct call *call = CONTAINER_OF(post, struct call, post);

    call->run(worker, call->context);
    sem_post(call->done);
}

void node_on_all_workers(struct node *node, void (*run)(struct worker *worker, void *context), void *context)
{
    struct call calls[WORKER_COUNT_MAX];
    uint32_t count = worker_pool_count(node->broker->pool);
    sem_t done;

    sem_init(&done, 0, 0);
    for (uint32_t i = 0; i < count; i++) {
        calls[i] = (struct call){.post.run = on_call, .run = run, .context = context, .done = &done};
        worker_post(worker_pool_get(node->broker->pool, i), &calls[i].post);
    }
    for (uint32_t i = 0; i < count; i++) {
        while (sem_wait(&done) < 0)
            continue; /* a signal */
    }
    sem_destroy(&done);
}

static void publish_wills(struct worker *worker, void *context)
{
    (void)context;
    channel_publish_wills(worker);
}

static void take_in(struct worker *worker, void *context)
{
    (void)worker;
    (void)context;
}

static void close_all(struct worker *worker, void *context)
{
    (void)context;
    channel_close_all(worker);
}

static void count_connections(struct worker *worker, void *context)
{
    atomic_fetch_add((_Atomic uint32_t *)context, channel_connection_count(worker));
}

void node_close_clients(struct node *node)
{
    struct timespec pause = {.tv_nsec = CLOSE_LOOK_MS * 1000000L};
    _Atomic uint32_t left;

    node_on_all_workers(node, publish_wills, NULL);
    node_on_all_workers(node, take_in, NULL); /* one turn more: what they sent each other is delivered */
    node_on_all_workers(node, take_in, NULL);
    node_on_all_workers(node, close_all, NULL);
    for (int waited_ms = 0; waited_ms < CLOSE_WAIT_MS; waited_ms += CLOSE_LOOK_MS) {
        atomic_store(&left, 0);
        node_on_all_workers(node, count_connections, (void *)&left);
        if (atomic_load(&left) == 0)
            return;
        nanosleep(&pause, NULL); /* peers close their side within a moment or not at all */
    }
}

static void suspend_session(void *context, void *element)
{
    struct session *session = element;

    (void)context;
    if (!session_is_durable(session))
        session->will = message_unref(session->will); /* everybody who could get it has gone */
    session_suspend(session);
}

void node_end_sessions(struct node *node)
{
    uint64_t cursor = 0;

    rcu_thread_online();
    worker_pool_drain(node->broker->pool);
    do
        rcu_table_visit(node->broker->registry, &cursor, 1000, suspend_session, NULL);
    while (cursor != 0);
    for (uint32_t i = 0; i < node->broker->settings.worker_count; i++)
        session_host_finish(&node->broker->workers[i]->host);
    /* Ending sessions handed shared messages on: those deliveries must be taken in before what they name is freed. */
    worker_pool_drain(node->broker->pool);
    broker_close_store(node->broker);
    broker_close_retained(node->broker); /* before the last drain: what the store has told it is taken in there */
    rcu_retire_flush();
    rcu_thread_offline();
    rcu_barrier_all();
    worker_pool_drain(node->broker->pool); /* what the grace periods posted */
}
