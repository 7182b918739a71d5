/*
 * dispatch: a published message from the router's matches to subscribers.
 *
 * References. The publisher's reference is held until the end. Local sessions that keep the message count in
 * host->refs_taken and are added at once; each delivery to another worker carries a reference of its own, taken before it is
 * posted. A message with one match on another worker, the usual case of one-to-one traffic, is handed over as it is:
 * no atomic operation at all.
 */
#include "broker/broker.h"

#include "base/metrics.h"
#include "broker/broker_internal.h"
#include "broker/commit.h"
#include "broker/retainer/retainer.h"
#include "broker/session/session.h"
#include "broker/session/subscription.h"
#include "event/mailbox.h"
#include "hook/hook.h"
#include "hook/message_event.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <stdlib.h>

#define REDISPATCH_MAX 16    /* members asked for room, at most */
#define BODY_WORTH_BYTES 256 /* of the disk: from here on it pays to store a message once for several queues */

static uint32_t next_random(struct broker_worker *worker)
{
    uint64_t x = worker->random_state; /* xorshift64 */

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    worker->random_state = x;
    return (uint32_t)(x >> 32);
}

/* Adds what local sessions took and drops the dispatcher's own reference. */
static void settle_references(struct session_host *host, struct message *message)
{
    int32_t net = host->refs_taken - 1;

    host->refs_taken = 0;
    if (net > 0)
        message_ref_many(message, (uint32_t)net);
    for (; net < 0; net++)
        message_unref(message); /* also copies of earlier batches that a queue gave up for this one */
}

/* Fills worker->hits. The number of hits. */
static uint32_t match(struct broker_worker *worker, struct slice topic)
{
    struct broker_match_cache *cache = &worker->match_cache;
    struct router *router = worker->broker->router;
    uint64_t version = router_version(router);
    uint32_t count;

    if (LIKELY(cache->topic_len == topic.len && cache->router_version == version &&
               memcmp(cache->topic, topic.data, topic.len) == 0))
        return cache->hit_count;
    cache->topic_len = 0;
    count = router_match(router, topic, worker->hits, worker->hits_capacity);
    while (count > worker->hits_capacity) {
        struct router_hit *grown = realloc(worker->hits, count * sizeof(*grown));
        if (grown == NULL) {
            metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
            count = worker->hits_capacity;
            break;
        }
        worker->hits = grown;
        worker->hits_capacity = count;
        count = router_match(router, topic, worker->hits, worker->hits_capacity);
    }
    if (topic.len <= BROKER_MATCH_CACHE_TOPIC) {
        memcpy(cache->topic, topic.data, topic.len);
        cache->topic_len = (uint16_t)topic.len;
        cache->router_version = version;
        cache->hit_count = count;
    }
    return count;
}

/* Will what this target queues be stored? */
static bool target_is_durable(enum delivery_kind kind, const void *target)
{
    const struct subscriber_list *list = target;
    const struct shared_target *shared = target;

    return kind == DELIVERY_LIST ? atomic_load_explicit(&list->durable_count, memory_order_relaxed) > 0
                                 : atomic_load_explicit(&shared->member.durable, memory_order_relaxed);
}

/* Hands a reference (the caller took it) to another worker. */
static void deliver_remote_take(struct broker_worker *worker, uint16_t id, enum delivery_kind kind, void *target,
                                struct message *message, uint32_t attempt)
{
    struct worker *to = worker_pool_get(worker->broker->pool, id);
    bool stored = message->qos > 0 && target_is_durable(kind, target);
    struct delivery delivery = {.message = message, .target = target, .kind = (uint32_t)kind, .attempt = attempt};

    if (UNLIKELY(worker_deliver(worker->host.worker, to, &delivery, message_bytes(message)) < 0)) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        message_unref(message);
        return;
    }
    if (UNLIKELY(stored))
        commit_expect(worker, id);
    if (UNLIKELY(worker_congested(to)))
        worker->congested = to;
}

static void deliver_local(struct broker_worker *worker, enum delivery_kind kind, void *target, struct message *message,
                          uint32_t attempt)
{
    if (LIKELY(kind == DELIVERY_LIST)) {
        subscriber_list_deliver(&worker->host, target, message);
        return;
    }
    worker->host.copy_bodies = kind == DELIVERY_SHARED_LATE;
    shared_target_deliver(&worker->host, target, message, kind == DELIVERY_SHARED_ACK, attempt);
    worker->host.copy_bodies = false;
}

static struct share_member *pick_member(struct broker_worker *worker, struct share_group *group,
                                        const struct message *message, const struct share_member *not_this,
                                        uint32_t attempt)
{
    struct share_pick pick = {
        .strategy = worker->broker->settings.share_strategy,
        .publisher_hash = session_hash_of(message_client_id(message)),
        .random = next_random(worker),
        .not_this = not_this,
        .attempt = attempt,
    };

    return share_group_pick(group, &pick);
}

static enum delivery_kind shared_kind(const struct broker_worker *worker, const struct message *message)
{
    return worker->broker->settings.dispatch_ack && message->qos > 0 ? DELIVERY_SHARED_ACK : DELIVERY_SHARED;
}

/* One hit's destination; false when a group had nobody. */
static bool resolve(struct broker_worker *worker, const struct router_hit *hit, const struct message *message,
                    uint16_t *out_id, enum delivery_kind *out_kind, void **out_target)
{
    if (LIKELY(hit->group == NULL)) {
        *out_id = hit->id;
        *out_kind = DELIVERY_LIST;
        *out_target = hit->target;
        return true;
    }
    struct share_member *member = pick_member(worker, hit->group, message, NULL, 0);
    if (member == NULL)
        return false;
    *out_id = member->destination;
    *out_kind = shared_kind(worker, message);
    *out_target = member->subscription;
    return true;
}

/* Takes the dispatcher's reference. */
static uint32_t dispatch_hits(struct broker_worker *worker, struct message *message, uint32_t count)
{
    uint32_t self = worker_index(worker->host.worker), routed = 0;
    int32_t outer_refs = worker->host.refs_taken;
    enum delivery_kind kind;
    void *target;
    uint16_t id;

    worker->host.refs_taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!resolve(worker, &worker->hits[i], message, &id, &kind, &target))
            continue;
        routed++;
        if (id == self) {
            deliver_local(worker, kind, target, message, 0);
        } else if (count == 1) {
            worker->host.refs_taken = outer_refs;
            deliver_remote_take(worker, id, kind, target, message, 0);
            return 1;
        } else {
            deliver_remote_take(worker, id, kind, target, message_ref(message), 0);
        }
    }
    settle_references(&worker->host, message);
    worker->host.refs_taken = outer_refs;
    return routed;
}

/* May a stored session be behind this hit? Of a shared group it shows only when a member is picked. */
static uint32_t durable_behind(const struct router_hit *hit)
{
    const struct subscriber_list *list = hit->target;

    return hit->group != NULL ? 1 : atomic_load_explicit(&list->durable_count, memory_order_relaxed);
}

/* How what is stored of a message is laid out: a copy in each queue, or a body to which they refer (struct message_body). The publisher's packet ID goes
 * with it, and never before an earlier one of that publisher: what a crash made it send again would come behind its successors. A delayed QoS 2 message
 * has come with a body. */
static void store_plan(struct broker_worker *worker, struct message *message, uint32_t count, struct session *publisher,
                       uint16_t packet_id)
{
    uint32_t self = worker_index(worker->host.worker), durable = 0;
    bool elsewhere = false, once = publisher != NULL && session_is_durable(publisher);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t behind = durable_behind(&worker->hits[i]);
        durable += behind;
        elsewhere |= behind > 0 && (worker->hits[i].group != NULL || worker->hits[i].id != self);
    }
    if ((once && (elsewhere || publisher->durable->unsettled_count > 0)) ||
        (durable > 1 && (durable - 1) * message_bytes(message) > BODY_WORTH_BYTES)) {
        if (commit_message(worker, message, publisher, packet_id)) {
            if (message->qos == 1 && elsewhere)
                commit_submit(worker); /* others may refer to it at once */
            return;
        }
    }
    if (once)
        session_store_awaiting_rel(publisher, packet_id);
}

static void retain(struct broker_worker *worker, struct message *message)
{
    if (retainer_store(worker->broker->retainer, message, true) == RETAINER_WRITTEN)
        commit_note_written(worker);
    if (UNLIKELY(retainer_expires(worker->broker->retainer, message)))
        broker_watch_retained_expiry(worker);
}

/* message.dropped: nobody has subscribed. */
static void tell_unwanted(const struct broker_worker *worker, const struct message *message)
{
    if (UNLIKELY(hook_any(HOOK_MESSAGE_DROPPED)))
        hook_tell_dropped(slice_make(NULL, 0), slice_make(NULL, 0), "no_subscriber", message,
                          worker_now_ms(worker->host.worker));
}

bool broker_publish_once_take(struct broker_worker *worker, struct message *message, struct session *publisher,
                              uint16_t packet_id)
{
    uint32_t count;

    if (UNLIKELY(message->retain))
        retain(worker, message);
    count = match(worker, message_topic(message));
    if (message->qos > 0 && message->body == NULL &&
        atomic_load_explicit(&worker->broker->durable_count, memory_order_relaxed) > 0)
        store_plan(worker, message, count, publisher, packet_id);
    if (count > 0)
        return dispatch_hits(worker, message, count) > 0;
    if (!message->sys)
        metric_add(METRIC_MESSAGES_DROPPED, 1);
    tell_unwanted(worker, message);
    message_unref(message);
    return false;
}

bool broker_publish_take(struct broker_worker *worker, struct message *message)
{
    return broker_publish_once_take(worker, message, NULL, 0);
}

enum reason_code broker_store_problem(const struct broker *broker)
{
    enum store_state state = broker->settings.store == NULL ? STORE_OPEN : store_state(broker->settings.store);

    return state == STORE_OPEN   ? REASON_SUCCESS
           : state == STORE_FULL ? REASON_QUOTA_EXCEEDED
                                 : REASON_IMPLEMENTATION_SPECIFIC_ERROR;
}

enum reason_code broker_publish_problem(struct broker_worker *worker, const struct message *message)
{
    enum reason_code problem = broker_store_problem(worker->broker);
    bool stored = message->retain && retainer_stores(worker->broker->retainer);

    if (LIKELY(problem == REASON_SUCCESS) || message->qos == 0)
        return REASON_SUCCESS;
    if (!stored && atomic_load_explicit(&worker->broker->durable_count, memory_order_relaxed) > 0) {
        uint32_t count = match(worker, message_topic(message));
        for (uint32_t i = 0; i < count && !stored; i++)
            stored = durable_behind(&worker->hits[i]) > 0;
    }
    return stored ? problem : REASON_SUCCESS;
}

bool broker_store_congested(const struct broker_worker *worker)
{
    const struct store *store = worker->broker->settings.store;

    return store != NULL && (store_congested(store) || store_would_congest(store, worker->host.client));
}

void broker_turn_end(struct broker_worker *worker)
{
    worker->match_cache.topic_len = 0;
    worker->host.retained_used = 0;
    commit_turn_end(worker->host.worker, worker); /* connections that ended while the output left */
}

struct publish_post {
    struct post post;
    struct message *message;
};

static void on_publish_post(struct worker *worker, struct post *post)
{
    struct publish_post *publish = CONTAINER_OF(post, struct publish_post, post);

    broker_publish_own_take(broker_worker_of(worker), publish->message);
    free(publish);
}

void broker_publish_post_take(struct broker *broker, struct message *message)
{
    struct publish_post *publish = malloc(sizeof(*publish));

    if (publish == NULL) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        message_unref(message);
        return;
    }
    *publish = (struct publish_post){.post.run = on_publish_post, .message = message};
    worker_post(worker_pool_get(broker->pool, 0), &publish->post);
}

/* To a member chosen again. Borrows the reference. */
static void deliver_to_member(struct broker_worker *worker, struct share_member *member, enum delivery_kind kind,
                              struct message *message, uint32_t attempt)
{
    if (member->destination != worker_index(worker->host.worker)) {
        deliver_remote_take(worker, member->destination, kind, member->subscription, message_ref(message), attempt);
        return;
    }
    /* Perhaps inside another dispatch of the same message: its count is kept apart. */
    int32_t outer_refs = worker->host.refs_taken;
    worker->host.refs_taken = 0;
    deliver_local(worker, kind, member->subscription, message, attempt);
    if (worker->host.refs_taken > 0)
        message_ref_many(message, (uint32_t)worker->host.refs_taken);
    for (; worker->host.refs_taken < 0; worker->host.refs_taken++)
        message_unref(message); /* the caller still holds one */
    worker->host.refs_taken = outer_refs;
}

static void host_redispatch(struct session_host *host, struct shared_target *target, struct message *message,
                            uint32_t attempt)
{
    struct broker_worker *worker = (struct broker_worker *)host;
    struct share_member *member = pick_member(worker, target->group, message, &target->member, attempt);
    /* All refused: the last one asked gets it without a question, and queues it. */
    bool last = member == NULL || attempt >= REDISPATCH_MAX || attempt + 1 >= share_group_member_count(target->group);

    deliver_to_member(worker, member == NULL ? &target->member : member, last ? DELIVERY_SHARED : DELIVERY_SHARED_ACK,
                      message, attempt);
}

static void host_redispatch_lost(struct session_host *host, struct slice group_name, struct slice filter,
                                 struct message *message)
{
    struct broker_worker *worker = (struct broker_worker *)host;
    struct share_member *member;

    do { /* each of our members that turns out to have ended leaves the group, so this ends */
        struct share_group *group = router_group_get(worker->broker->router, filter, group_name, false);
        member = group == NULL ? NULL : pick_member(worker, group, message, NULL, 0);
    } while (member != NULL && member->destination == worker_index(host->worker) &&
             shared_target_ended(member->subscription));
    if (member == NULL) {
        metric_add(METRIC_MESSAGES_DROPPED, 1);
        tell_unwanted(worker, message);
        return;
    }
    deliver_to_member(worker, member, DELIVERY_SHARED_LATE, message, 0);
}

static void host_publish(struct session_host *host, struct message *message)
{
    struct broker_worker *worker = (struct broker_worker *)host;
    int32_t outer_refs = host->refs_taken;

    if (UNLIKELY(delayed_takes(worker->broker->delayed, message_topic(message)))) {
        delayed_add_whole(worker, message);
        return;
    }
    host->refs_taken = 0;
    int32_t outer_source = commit_take_in(worker, -1); /* ours, though perhaps others' deliveries are being taken in */
    broker_publish_own_take(worker, message_ref(message));
    (void)commit_take_in(worker, outer_source);
    host->refs_taken = outer_refs;
}

static void host_when_settled(struct session_host *host, struct commit_step *step)
{
    commit_then((struct broker_worker *)host, step);
}

const struct session_host_ops broker_session_host_ops = {
    .publish = host_publish,
    .redispatch = host_redispatch,
    .redispatch_lost = host_redispatch_lost,
    .when_settled = host_when_settled,
};

void broker_take_in(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    struct broker_worker *here = broker_worker_of(worker);

    (void)commit_take_in(here, (int32_t)from);
    for (uint32_t i = 0; i < count; i++) {
        if (LIKELY(i + 1 < count))
            __builtin_prefetch(deliveries[i + 1].message);
        if (UNLIKELY(deliveries[i].kind == DELIVERY_MARKER)) {
            commit_on_marker(here, from, deliveries[i].target);
            continue;
        }
        here->host.refs_taken = 0;
        deliver_local(here, (enum delivery_kind)deliveries[i].kind, deliveries[i].target, deliveries[i].message,
                      deliveries[i].attempt);
        settle_references(&here->host, deliveries[i].message);
    }
    (void)commit_take_in(here, -1);
}
