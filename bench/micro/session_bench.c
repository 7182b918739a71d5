/*
 * session_bench: what a delivery costs on one worker, without network: to a session that is not stored, into a durable one's queue, and out of it
 * again once it is on disk only.
 *
 * Usage: session_bench [MESSAGES [WINDOW]]. A window of 0 leaves the store out. The store is in a directory of its own under TMPDIR (/tmp). The client takes all and acknowledges at once
 * what it got in a turn, as one with a fast network does. Prints messages per second.
 */
#include "../../tests/temporary_dir.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "broker/retainer/retainer.h"
#include "broker/router/router.h"
#include "broker/session/durable.h"
#include "broker/session/message_body.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/session_record.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "event/loop_mailbox.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define PAYLOAD_BYTES 100
#define BATCH 512u /* messages of one turn */

struct bench {
    struct worker_pool *pool;
    struct session_host host;
    struct zone zone;
    struct store *store;
    uv_loop_t loop;
    struct loop_mailbox *mailbox;
    struct session_link link;
    uint16_t *to_ack;
    uint32_t to_ack_count;
    uint64_t received;
};

static void must(bool fact, const char *what)
{
    if (fact)
        return;
    fprintf(stderr, "session_bench: %s failed\n", what);
    exit(1);
}

static enum session_write on_publish(struct session_link *link, const struct session_publish *publish)
{
    struct bench *bench = CONTAINER_OF(link, struct bench, link);

    bench->received++;
    if (publish->packet_id != 0)
        bench->to_ack[bench->to_ack_count++] = publish->packet_id;
    return SESSION_WRITTEN;
}

static bool on_writable(struct session_link *link)
{
    (void)link;
    return true;
}

static const struct session_link_ops link_ops = {.publish = on_publish, .writable = on_writable};

static uint32_t ack(struct bench *bench)
{
    uint32_t count = bench->to_ack_count;

    bench->to_ack_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t packet_id = bench->to_ack[i];
        must(session_on_puback(bench->link.session, packet_id) == 0, "an acknowledgement");
    }
    return count;
}

static uint64_t no_hash(const void *element, const void *context)
{
    (void)context;
    return session_hash_of(session_client_id(element));
}

static void on_progress(struct store_client *client, void *context)
{
    (void)client;
    (void)context;
}

static void set_up(struct bench *bench, char *parent)
{
    char dir[512];
    struct store_options options = {.dir = dir,
                                    .cache_bytes = 32u << 20,
                                    .write_buffer_bytes = 64u << 20,
                                    .queue_bytes_max = 1u << 30,
                                    .sync_interval_ms = 1000};
    struct store_client_options client = {.on_progress = on_progress};

    rcu_thread_register();
    must(worker_pool_new(1, 1 << 20, &bench->pool) == 0, "a worker");
    bench->host.worker = worker_pool_get(bench->pool, 0);
    durable_host_init(&bench->host.durable);
    bench->host.router = router_new();
    bench->host.registry = rcu_table_new(1, no_hash, NULL);
    bench->host.retainer = retainer_new(&(struct retainer_options){0});
    bench->zone.session = (struct zone_session){.max_inflight = 65535};
    bench->to_ack = malloc(65536 * sizeof(*bench->to_ack));
    must(bench->to_ack != NULL && mkdtemp(parent) != NULL, "a directory");
    snprintf(dir, sizeof(dir), "%s/store", parent);
    must(uv_loop_init(&bench->loop) == 0 && loop_mailbox_open(&bench->loop, &bench->mailbox) == 0, "a loop");
    must(store_open(&options, &bench->store, NULL) == 0, "a store");
    bench->host.store = bench->store;
    client.mailbox = bench->mailbox;
    must(store_client_open(bench->store, &client, &bench->host.client) == 0, "a store client");
    bench->host.link_ops = &link_ops;
    worker_run_turn(bench->host.worker, clock_mono_ms());
}

static void commit(struct bench *bench, bool wait)
{
    uint64_t number = store_submit(bench->host.client, true);

    while (wait && store_committed(bench->host.client) < number)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_run(&bench->loop, UV_RUN_NOWAIT);
    session_host_on_committed(&bench->host, store_committed(bench->host.client));
}

static struct message *make(struct bench *bench, bool with_body)
{
    static uint8_t payload[PAYLOAD_BYTES];
    struct message_options options = {.topic = SLICE_LITERAL("bench/topic"),
                                      .payload = slice_make(payload, sizeof(payload)),
                                      .client_id = SLICE_LITERAL("publisher"),
                                      .now_ms = worker_now_ms(bench->host.worker),
                                      .qos = 1};
    struct message *message = message_new(&options);
    uint8_t key[SESSION_KEY_LEN], head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];

    must(message != NULL, "a message");
    if (!with_body)
        return message;
    message->body = message_body_new(store_next_number(bench->store));
    must(message->body != NULL, "a body");
    message_record_encode(message, store_now_ms(bench->store), head, parts);
    session_key(message->body->number, key);
    store_put(bench->host.client, STORE_MESSAGE, slice_make(key, sizeof(key)), parts, MESSAGE_RECORD_PARTS);
    message->body->written = true;
    return message;
}

static void deliver(struct bench *bench, struct subscription *subscription, bool with_body)
{
    struct message *message = make(bench, with_body);

    subscriber_list_deliver(&bench->host, subscription->list, message);
    message_ref_many(message, (uint32_t)bench->host.refs_taken);
    bench->host.refs_taken = 0;
    message_body_unref(message->body, bench->host.client);
    message_unref(message);
}

static struct subscription *subscribe(struct session *session)
{
    struct mqtt_subscription_options options = {.qos = 1};
    struct mqtt_shared_filter filter = {.filter = SLICE_LITERAL("bench/topic")};
    bool is_new;

    must(subscription_add(session, &filter, &options, 0, &is_new) == 0, "a subscription");
    return subscription_find(session, &filter);
}

static void attach(struct bench *bench, struct session *session, uint16_t window, uint32_t expiry_interval_s)
{
    struct session_attach_options options = {
        .link = &bench->link, .expiry_interval_s = expiry_interval_s, .window = window, .version = MQTT_V5};

    session_attach(session, &options);
    session_resume(session);
}

static void report(const char *what, uint64_t count, uint64_t began_us)
{
    uint64_t us = clock_mono_us() - began_us;

    printf("%-60s %12.0f messages/s\n", what, (double)count * 1e6 / (double)(us == 0 ? 1 : us));
}

/* Sent at once and acknowledged; or through the queue. */
static void run_volatile(struct bench *bench, uint32_t messages, uint16_t window)
{
    struct session *session = session_new(&bench->host, SLICE_LITERAL("volatile"), &bench->zone);
    struct subscription *subscription = subscribe(session);
    uint64_t began_us = clock_mono_us();

    attach(bench, session, window, 0);
    for (uint32_t i = 0; i < messages; i += BATCH) {
        for (uint32_t j = 0; j < BATCH; j++)
            deliver(bench, subscription, false);
        while (ack(bench) > 0)
            continue;
    }
    report("not stored: delivered and acknowledged", messages, began_us);
    session_end(session, "bench");
}

static void run_durable(struct bench *bench, uint32_t messages, uint16_t window, bool with_body)
{
    struct session *session = session_new(&bench->host, SLICE_LITERAL("durable"), &bench->zone);
    struct subscription *subscription = subscribe(session);
    uint64_t began_us;

    attach(bench, session, window, 3600);
    session_detach(session, true);
    began_us = clock_mono_us();
    for (uint32_t i = 0; i < messages; i++) {
        deliver(bench, subscription, with_body);
        if (i % BATCH == BATCH - 1)
            commit(bench, store_congested(bench->store));
    }
    commit(bench, true);
    report(with_body ? "durable, message apart: queued for an absent client" : "durable: queued for an absent client",
           messages, began_us);
    must(session->flow->mqueue.bytes == 0, "giving the memory up");
    bench->received = 0;
    began_us = clock_mono_us();
    attach(bench, session, window, 3600);
    while (bench->received < messages) {
        if (ack(bench) == 0)
            uv_run(worker_uv_loop(bench->host.worker), UV_RUN_ONCE);
        if (store_open_bytes(bench->host.client) > 65536)
            commit(bench, false);
        uv_run(worker_uv_loop(bench->host.worker), UV_RUN_NOWAIT);
    }
    ack(bench);
    commit(bench, true);
    report(with_body ? "durable, message apart: read back, delivered, acknowledged"
                     : "durable: read back, delivered, acknowledged",
           messages, began_us);
    session_end(session, "bench");
    commit(bench, true);
}

int main(int argc, char **argv)
{
    uint32_t messages = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 300000;
    uint16_t window = argc > 2 ? (uint16_t)strtoul(argv[2], NULL, 10) : 100;
    const char *tmp = getenv("TMPDIR");
    char parent[256];
    struct bench *bench = calloc(1, sizeof(*bench));

    must(bench != NULL, "memory");
    snprintf(parent, sizeof(parent), "%s/emqc-session-bench-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    set_up(bench, parent);
    run_volatile(bench, messages, 10);
    run_volatile(bench, messages, UINT16_MAX);
    if (window > 0)
        run_durable(bench, messages, window, false);
    if (window > 0)
        run_durable(bench, messages, window, true);
    session_host_finish(&bench->host);
    store_client_close(bench->host.client);
    store_close(bench->store);
    temporary_dir_remove(parent);
    return 0;
}
