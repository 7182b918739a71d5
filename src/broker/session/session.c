/*
 * session: its life; what it sends and receives is in session_delivery.c.
 *
 * One timer serves all deadlines. Attached, it is a slow tick for retransmission (v3 only) and for inbound QoS 2 IDs, started when
 * there is something to look after; detached, it is set to the earlier of will and expiry.
 */
#include "broker/session/session.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/session/absence.h"
#include "broker/session/durable.h"
#include "broker/session/queue_load.h"
#include "broker/session/redispatch.h"
#include "broker/session/retained_feed.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdlib.h>

#define END_AT_ONCE_MAX 64u /* subscriptions; a session with more of them is taken down in slices, in later turns */
#define END_SLICE 512u /* subscriptions of ended sessions taken down in one turn of a worker: less than a millisecond */

static uint64_t now_of(const struct session *session)
{
    return worker_now_ms(session->host->worker);
}

static bool is_persistent(const struct session *session)
{
    return session->expiry_interval_s > 0;
}

/* The disk fails, and all that may wait for it does. */
static bool store_is_stuck(const struct session_host *host)
{
    return host->store != NULL && store_state(host->store) != STORE_OPEN && store_congested(host->store);
}

/* Nobody can be refused here: what a stuck store could not take goes out at QoS 0,
 * which nothing is stored for. */
static void publish_will_take(struct session *session, struct message *will)
{
    struct session_host *host = session->host;

    will->created_ms = now_of(session); /* nobody else has seen it yet */
    if (will->qos > 0 && UNLIKELY(store_is_stuck(host))) {
        log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                           "[Session] the will cannot be stored anywhere, publishing it at QoS 0");
        will->qos = 0;
    }
    host->ops->publish(host, will);
    message_unref(will);
}

static struct message *take_will(struct session *session)
{
    struct message *will = session->will;

    session->will = NULL;
    return will;
}

void session_publish_will(struct session *session)
{
    struct message *will = take_will(session);

    if (session->absence != NULL)
        session->absence->will_at_ms = UINT64_MAX;
    if (will == NULL)
        return;
    bool stored = session_is_durable(session) && !session->ended, settled = will->qos > 0;
    if (stored && !settled)
        durable_write_session(session);
    publish_will_take(session, will);
    if (stored && settled)
        durable_write_session_settled(session);
}

static void start_detached_timer(struct session *session)
{
    const struct absence *absence = session->absence;
    uint64_t deadline = absence->expires_at_ms < absence->will_at_ms ? absence->expires_at_ms : absence->will_at_ms;

    if (deadline == UINT64_MAX)
        timer_stop(worker_timers(session->host->worker), &session->timer);
    else
        timer_start(worker_timers(session->host->worker), &session->timer, deadline);
}

static void on_due(struct timer *timer, uint64_t now_ms)
{
    struct session *session = CONTAINER_OF(timer, struct session, timer);

    if (session->link != NULL) {
        session_tick(session, now_ms);
        return;
    }
    ASSERT(session->absence != NULL);
    if (now_ms >= session->absence->expires_at_ms) {
        metric_add(METRIC_SESSIONS_EXPIRED, 1);
        session_end(session, "expired");
        return;
    }
    if (now_ms >= session->absence->will_at_ms)
        session_publish_will(session);
    start_detached_timer(session);
}

uint64_t session_hash_of(struct slice client_id)
{
    return hash_text(client_id);
}

bool session_matches(const void *element, const void *key)
{
    return slice_equal(session_client_id(element), *(const struct slice *)key);
}

struct session *session_new(struct session_host *host, struct slice client_id, const struct zone *zone)
{
    struct session *session = calloc(1, sizeof(*session) + client_id.len);

    if (session == NULL)
        return NULL;
    session->host = host;
    session->zone = zone;
    session->timer.on_due = on_due;
    session->created_at_s = (uint32_t)(clock_wall_ms() / 1000);
    session->window = UINT16_MAX;
    session->clean_start = true;
    session->client_id_len = (uint16_t)client_id.len;
    memcpy(session->client_id, client_id.data, client_id.len);
    atomic_fetch_add_explicit(&host->session_count, 1, memory_order_relaxed);
    stat_add(STAT_SESSIONS, 1);
    return session;
}

void session_set_expiry(struct session *session, uint32_t expiry_interval_s)
{
    bool was = is_persistent(session);

    session->expiry_interval_s = expiry_interval_s;
    stat_add(STAT_SESSIONS_PERSISTENT, (int64_t)is_persistent(session) - (int64_t)was);
}

void session_attach(struct session *session, const struct session_attach_options *options)
{
    ASSERT(session->link == NULL && !session->ended);
    timer_stop(worker_timers(session->host->worker), &session->timer);
    absence_end(session);
    message_unref(session->will); /* a delayed will that the client came back for [MQTT-3.1.3-9] */
    session->will = options->will;
    session->will_delay_s = options->will_delay_s;
    session->window = options->window;
    session->version = options->version;
    session->clean_start = options->clean_start;
    session_set_expiry(session, options->expiry_interval_s);
    session->link = options->link;
    options->link->session = session;
    if (session_is_durable(session))
        durable_on_attached(session);
    else
        durable_begin(session);
    subscriptions_set_online(session, true);
}

/* The session that has been left is one too many, or another one is then. */
static void keep_limit(struct session_host *host)
{
    struct session *session = absence_over_limit(host);

    if (session == NULL)
        return;
    metric_add(METRIC_SESSIONS_EVICTED, 1);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                       "[Session] broker.max_detached_sessions is reached (%llu), ending the one left the longest ago",
                       (unsigned long long)host->absent_max);
    session_end(session, "evicted");
}

void session_detach(struct session *session, bool drop_will)
{
    uint64_t now_ms = now_of(session);
    struct message *will_now = NULL;

    if (session->link != NULL)
        session->link->session = NULL;
    session->link = NULL;
    subscriptions_set_online(session, false);
    timer_stop(worker_timers(session->host->worker), &session->timer);
    if (drop_will)
        session->will = message_unref(session->will);
    if (!is_persistent(session)) {
        session_end(session, "normal");
        return;
    }
    if (absence_begin(session) < 0) {
        session_end(session, "enomem");
        return;
    }
    bool now = session->will != NULL && session->will_delay_s == 0;
    bool settled = now && session->will->qos > 0 && session_is_durable(session);
    if (now && !settled)
        will_now = take_will(session);
    if (session_is_durable(session))
        durable_on_left(session);
    session_flow_trim(session);
    if (settled) /* stored until others have it */
        will_now = take_will(session);
    if (session->expiry_interval_s != UINT32_MAX)
        session->absence->expires_at_ms = now_ms + (uint64_t)session->expiry_interval_s * 1000;
    if (will_now != NULL)
        publish_will_take(session, will_now);
    if (settled)
        durable_write_session_settled(session);
    if (session->will != NULL)
        session->absence->will_at_ms = now_ms + (uint64_t)session->will_delay_s * 1000;
    start_detached_timer(session);
    keep_limit(session->host);
}

static void free_session(void *object)
{
    free(object);
}

/* Ends up to `most` subscriptions. How many. */
static uint32_t drop_subscriptions(struct session *session, uint32_t most)
{
    uint32_t count = 0;

    for (; session->subscriptions.count > 0 && count < most; count++)
        subscription_remove(pointer_list_get(&session->subscriptions, session->subscriptions.count - 1));
    return count;
}

/* Frees what it sent and was to send, but what is stored: its rows are deleted before. Returns what is left of the retained messages,
 * or NULL. */
static struct retained_feed *drop_flow(struct session *session)
{
    struct session_flow *flow = session->flow;
    struct retained_feed *feed = NULL;

    if (flow != NULL) {
        feed = flow->retained;
        retained_feed_stop(feed);
        flow->retained = NULL;
        if (session_is_durable(session))
            return feed;
        inflight_fini(&flow->inflight);
        mqueue_fini(&flow->mqueue);
        awaiting_rel_free(flow->awaiting_rel);
        free(flow);
    }
    session->flow = NULL;
    return feed;
}

/* Up to `most` of the rows of an ended session that is durable. How many; then it is not durable any more, and its flow is gone. */
static uint32_t drop_stored(struct session *session, uint32_t most)
{
    uint32_t count = 0;

    if (session_is_durable(session))
        count = durable_take_down(session, most);
    if (count < most) {
        durable_end(session);
        drop_flow(session);
    }
    return count;
}

/* Takes down up to `most` subscriptions, and filters that wait for retained messages, of ended sessions. */
static void take_down(struct session_host *host, uint32_t most)
{
    while (host->ending != NULL && most > 0) {
        struct session *session = host->ending;
        most -= drop_subscriptions(session, most);
        if (session->ending_feed != NULL)
            most -= retained_feed_drop(session->ending_feed, most);
        if (most > 0)
            most -= drop_stored(session, most);
        if (most == 0)
            return; /* perhaps nothing is left of it, as the next turn finds out */
        retained_feed_free(session->ending_feed);
        host->ending = session->ending_next;
        rcu_retire(session, free_session);
    }
    if (host->ending == NULL)
        host->ending_last = NULL;
}

static void run_take_down(struct worker *worker, struct work *work)
{
    struct session_host *host = CONTAINER_OF(work, struct session_host, ending_work);

    take_down(host, END_SLICE);
    if (host->ending != NULL)
        worker_run_later(worker, work);
}

void session_take_down_later(struct session *session, struct retained_feed *feed)
{
    struct session_host *host = session->host;

    session->ending_next = NULL;
    session->ending_feed = feed;
    if (host->ending_last != NULL)
        host->ending_last->ending_next = session;
    else
        host->ending = session;
    host->ending_last = session;
    host->ending_work.run = run_take_down;
    worker_run_later(host->worker, &host->ending_work);
}

void session_host_finish(struct session_host *host)
{
    redispatch_finish(host);
    while (host->ending != NULL)
        take_down(host, UINT32_MAX);
    worker_run_cancel(host->worker, &host->ending_work);
    worker_run_cancel(host->worker, &host->durable.waiting_work);
    queue_load_finish(host);
    durable_host_fini(&host->durable);
}

static uint32_t stored_count(const struct session *session)
{
    const struct session_flow *flow = session->flow;

    if (flow == NULL || !session_is_durable(session))
        return 0;
    return flow->mqueue.count + flow->inflight.count + awaiting_rel_count(flow->awaiting_rel);
}

/* Subscriptions, queues and what is in flight. True when the memory of the session may go. */
static bool drop_contents(struct session *session)
{
    struct redispatch *redispatch = redispatch_new(session);
    bool few = session->subscriptions.count <= END_AT_ONCE_MAX;
    struct retained_feed *feed;
    bool at_once;

    if (few)
        drop_subscriptions(session, END_AT_ONCE_MAX);
    bool handed_on = redispatch == NULL || redispatch_at_once(session, redispatch);
    at_once = few && handed_on && stored_count(session) < END_AT_ONCE_MAX;
    feed = drop_flow(session);
    bool settled = redispatch != NULL || (session->will != NULL && session->will->qos > 0);
    session_publish_will(session); /* not to the session itself */
    if (!handed_on) {
        durable_write_session(session);
        redispatch_begin_take(session, redispatch, feed);
        return false;
    }
    redispatch_free(redispatch);
    if (session_is_durable(session) && settled)
        durable_delete_session_settled(session);
    else if (session_is_durable(session))
        durable_delete_session(session);
    if (at_once) {
        drop_stored(session, END_AT_ONCE_MAX);
        retained_feed_free(feed);
    } else {
        session_take_down_later(session, feed);
    }
    return at_once;
}

/* Its memory is there until the next grace period. */
static void tell_terminated(const struct session *session, const char *reason)
{
    struct hook_session_terminated event = {.client_id = session_client_id(session), .reason = reason};

    (void)hook_call(HOOK_SESSION_TERMINATED, &event);
}

static void end(struct session *session, const char *reason)
{
    struct session_host *host = session->host;

    session->ended = true;
    if (session->link != NULL)
        session->link->session = NULL;
    session->link = NULL;
    absence_end(session);
    timer_stop(worker_timers(host->worker), &session->timer);
    if (session->registered)
        rcu_table_remove(host->registry, session_hash_of(session_client_id(session)), session);
    session->registered = false;
    subscriptions_set_online(session, false);
    log_client(LOG_LEVEL_DEBUG, session_client_id(session), NULL, "[Session] ended: %s", reason);
    session_set_expiry(session, 0);
    if (session_is_durable(session))
        durable_on_ended(session);
    atomic_fetch_sub_explicit(&host->session_count, 1, memory_order_relaxed);
    stat_add(STAT_SESSIONS, -1);
    if (drop_contents(session))
        rcu_retire(session, free_session);
}

void session_end(struct session *session, const char *reason)
{
    bool was_there = session->registered;

    if (session->ended)
        return;
    end(session, reason);
    if (was_there && hook_any(HOOK_SESSION_TERMINATED))
        tell_terminated(session, reason);
}

void session_suspend(struct session *session)
{
    if (session_is_durable(session) && !session->ended) {
        if (session->link != NULL) {
            session->link->session = NULL;
            session->link = NULL;
            durable_on_left(session);
        }
        session->will = message_unref(session->will); /* it is stored, and its time may still come */
        durable_drop_memory(session);
    }
    if (!session->ended)
        end(session, "shutdown");
}
