/*
 * session_fixture: see session_fixture.h.
 */
#include "session_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "broker/retainer/retainer.h"
#include "mqtt/topic.h"

#define CLOCK_START_MS UINT64_C(1000000)

static void add_word(char *log, size_t *log_len, size_t size, const char *word)
{
    int len = snprintf(log + *log_len, size - *log_len, "%s%s", *log_len > 0 ? " " : "", word);

    assert_true(len > 0 && (size_t)len < size - *log_len);
    *log_len += (size_t)len;
}

void fixture_assert_log(char *log, size_t *log_len, const char *expected, const char *file, int line)
{
    if (strcmp(log, expected) != 0)
        print_error("found '%s', expected '%s'\n", log, expected);
    _assert_int_equal((unsigned long)strcmp(log, expected), 0, file, line);
    log[0] = '\0';
    *log_len = 0;
}

static enum session_write peer_publish(struct session_link *link, const struct session_publish *publish)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);
    const struct message *message = publish->message;
    char word[128];
    int len;

    if (peer->result == SESSION_TOO_LARGE)
        return peer->result;
    assert_int_equal(publish->packet_id == 0, publish->qos == 0);
    len = snprintf(word, sizeof(word), "%.*s%u", (int)message->payload_len, (const char *)message->payload,
                   publish->qos);
    if (publish->qos > 0)
        len += snprintf(word + len, sizeof(word) - (size_t)len, ":%u", publish->packet_id);
    len += snprintf(word + len, sizeof(word) - (size_t)len, "%s%s", publish->dup ? "!" : "",
                    publish->retain ? "r" : "");
    if (publish->subscription_id > 0)
        snprintf(word + len, sizeof(word) - (size_t)len, "#%u", publish->subscription_id);
    add_word(peer->log, &peer->log_len, sizeof(peer->log), word);
    return peer->result;
}

static void peer_pubrel(struct session_link *link, uint16_t packet_id)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);
    char word[16];

    snprintf(word, sizeof(word), "rel:%u", packet_id);
    add_word(peer->log, &peer->log_len, sizeof(peer->log), word);
}

static bool peer_writable(struct session_link *link)
{
    return !CONTAINER_OF(link, struct peer, link)->blocked;
}

static void peer_overload(struct session_link *link)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);

    add_word(peer->log, &peer->log_len, sizeof(peer->log), "overload");
}

static void peer_close(struct session_link *link, enum reason_code code, const char *reason)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);
    char word[16];

    (void)reason;
    snprintf(word, sizeof(word), "close:%02x", (unsigned)code);
    add_word(peer->log, &peer->log_len, sizeof(peer->log), word);
}

static const struct session_link_ops peer_ops = {.publish = peer_publish,
                                                 .pubrel = peer_pubrel,
                                                 .writable = peer_writable,
                                                 .overload = peer_overload,
                                                 .close = peer_close};

static struct fixture *fixture_of(struct session_host *host)
{
    return CONTAINER_OF(host, struct fixture, host);
}

static void host_publish(struct session_host *host, struct message *message)
{
    struct fixture *fixture = fixture_of(host);
    char word[128];

    fixture->will_qos = message->qos;
    snprintf(word, sizeof(word), "will:%.*s", (int)message->payload_len, (const char *)message->payload);
    add_word(fixture->log, &fixture->log_len, sizeof(fixture->log), word);
}

static void host_redispatch(struct session_host *host, struct shared_target *target, struct message *message,
                            uint32_t attempt)
{
    struct fixture *fixture = fixture_of(host);
    char word[128];

    (void)target;
    snprintf(word, sizeof(word), "next:%.*s:%u", (int)message->payload_len, (const char *)message->payload, attempt);
    add_word(fixture->log, &fixture->log_len, sizeof(fixture->log), word);
}

static void host_redispatch_lost(struct session_host *host, struct slice group, struct slice filter,
                                 struct message *message)
{
    struct fixture *fixture = fixture_of(host);
    char word[128];

    snprintf(word, sizeof(word), "again:%.*s/%.*s:%.*s", (int)group.len, (const char *)group.data, (int)filter.len,
             (const char *)filter.data, (int)message->payload_len, (const char *)message->payload);
    add_word(fixture->log, &fixture->log_len, sizeof(fixture->log), word);
}

static void host_when_settled(struct session_host *host, struct commit_step *step)
{
    (void)host;
    step->run(NULL, step); /* there are no others */
}

static const struct session_host_ops host_ops = {.publish = host_publish,
                                                 .redispatch = host_redispatch,
                                                 .redispatch_lost = host_redispatch_lost,
                                                 .when_settled = host_when_settled};

static uint64_t session_hash(const void *element, const void *context)
{
    (void)context;
    return session_hash_of(session_client_id(element));
}

int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    rcu_thread_register();
    assert_int_equal(worker_pool_new(1, 1 << 20, &fixture->pool), 0);
    fixture->host.worker = worker_pool_get(fixture->pool, 0);
    durable_host_init(&fixture->host.durable);
    fixture->host.ops = &host_ops;
    fixture->host.link_ops = &peer_ops;
    fixture->host.router = router_new();
    fixture->host.registry = rcu_table_new(1, session_hash, NULL);
    fixture->host.retainer = retainer_new(&(struct retainer_options){0});
    assert_non_null(fixture->host.retainer);
    assert_non_null(fixture->host.router);
    assert_non_null(fixture->host.registry);
    fixture->zone.session = (struct zone_session){.max_inflight = 32,
                                                  .max_mqueue_len = 4,
                                                  .retry_interval_ms = 20000,
                                                  .await_rel_timeout_ms = 300000,
                                                  .mqueue_store_qos0 = true};
    /* The wheel began with the clock of the machine: time goes on from there, but only as the test says. */
    fixture->now_ms = worker_now_ms(fixture->host.worker) + CLOCK_START_MS;
    fixture_pass(fixture, 0);
    *state = fixture;
    return 0;
}

static void end_session(void *context, void *element)
{
    (void)context;
    ((struct session *)element)->link = NULL; /* a peer of the test, which is gone */
    session_end(element, "end of the test");
}

int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;
    uint64_t cursor = 0;

    do
        rcu_table_visit(fixture->host.registry, &cursor, 100, end_session, NULL);
    while (cursor != 0);
    session_host_finish(&fixture->host);
    assert_int_equal(fixture->host.session_count, 0);
    assert_int_equal(fixture->host.filters.count, 0);
    assert_int_equal(fixture->host.refs_taken, 0);
    fixture_reclaim(fixture);
    rcu_table_free(fixture->host.registry, NULL);
    retainer_free(fixture->host.retainer);
    router_free(fixture->host.router);
    filter_table_fini(&fixture->host.filters);
    worker_pool_free(fixture->pool);
    rcu_thread_unregister();
    free(fixture);
    return 0;
}

void fixture_pass(struct fixture *fixture, uint64_t ms)
{
    fixture->now_ms += ms;
    worker_run_turn(fixture->host.worker, fixture->now_ms);
}

void fixture_reclaim(struct fixture *fixture)
{
    rcu_barrier_all();
    worker_pool_drain(
        fixture->pool); /* what the grace period posted: a pass alone leaves some of it when it takes long */
}

struct session *fixture_session(struct fixture *fixture, const char *client_id)
{
    struct slice id = slice_from_string(client_id);
    struct session *session = session_new(&fixture->host, id, &fixture->zone);
    void *existing;

    assert_non_null(session);
    assert_int_equal(
        rcu_table_insert(fixture->host.registry, session_hash_of(id), session_matches, &id, session, &existing), 0);
    session->registered = true;
    return session;
}

struct subscription *fixture_subscribe(struct session *session, const char *filter, uint8_t qos)
{
    struct mqtt_subscription_options options = {.qos = qos};
    struct mqtt_shared_filter parsed;
    struct subscription *subscription;
    bool is_new;

    assert_true(mqtt_shared_filter_parse(slice_from_string(filter), &parsed));
    assert_int_equal(subscription_add(session, &parsed, &options, 0, &is_new), 0);
    subscription = subscription_find(session, &parsed);
    assert_non_null(subscription);
    return subscription;
}

void fixture_connect_with(struct session *session, struct peer *peer, struct session_attach_options options)
{
    memset(peer, 0, sizeof(*peer));
    options.link = &peer->link;
    session_attach(session, &options);
    session_resume(session);
}

void fixture_connect(struct session *session, struct peer *peer, uint16_t window)
{
    fixture_connect_with(session, peer,
                         (struct session_attach_options){
                             .expiry_interval_s = 3600, .window = window, .version = MQTT_V5, .clean_start = false});
}

void fixture_deliver_take(struct fixture *fixture, struct subscription *subscription, struct message *message)
{
    struct session_host *host = &fixture->host;

    assert_int_equal(host->refs_taken, 0);
    if (subscription->is_shared)
        shared_target_deliver(host, subscription->shared, message, false, 0);
    else
        subscriber_list_deliver(host, subscription->list, message);
    assert_true(host->refs_taken >= 0);
    message_ref_many(message, (uint32_t)host->refs_taken);
    host->refs_taken = 0;
    message_unref(message);
}

void fixture_deliver(struct fixture *fixture, struct subscription *subscription, const char *payload, uint8_t qos)
{
    fixture_deliver_take(fixture, subscription, make_message("t", payload, qos, fixture->now_ms));
}
