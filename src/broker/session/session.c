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
#include "broker/session/retained_feed.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "mqtt/message.h"

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

void session_publish_will(struct session *session)
{
    struct message *will = session->will;

    session->will = NULL;
    if (session->absence != NULL)
        session->absence->will_at_ms = UINT64_MAX;
    if (will == NULL)
        return;
    will->created_ms = now_of(session); /* nobody else has seen it yet */
    session->host->ops->publish(session->host, will);
    message_unref(will);
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
    if (session->expiry_interval_s != UINT32_MAX)
        session->absence->expires_at_ms = now_ms + (uint64_t)session->expiry_interval_s * 1000;
    if (session->will != NULL && session->will_delay_s == 0)
        session_publish_will(session);
    else if (session->will != NULL)
        session->absence->will_at_ms = now_ms + (uint64_t)session->will_delay_s * 1000;
    start_detached_timer(session);
    keep_limit(session->host);
}

static void free_session(void *object)
{
    free(object);
}

/* The shared subscriptions of a session whose queue may hold messages for them, as far as memory allows. */
static struct shared_targets find_shared(const struct session *session)
{
    struct shared_targets targets = {0};

    if (!session->has_shared || session->flow == NULL || session->flow->mqueue.count == 0)
        return targets;
    targets.items = malloc(session->subscriptions.count * sizeof(*targets.items) + 1);
    for (uint32_t i = 0; i < session->subscriptions.count && targets.items != NULL; i++) {
        const struct subscription *subscription = pointer_list_get(&session->subscriptions, i);
        if (subscription->is_shared)
            targets.items[targets.count++] = subscription->shared;
    }
    return targets;
}

/* Ends up to `most` subscriptions. How many. */
static uint32_t drop_subscriptions(struct session *session, uint32_t most)
{
    uint32_t count = 0;

    for (; session->subscriptions.count > 0 && count < most; count++)
        subscription_remove(pointer_list_get(&session->subscriptions, session->subscriptions.count - 1));
    return count;
}

/* Hands queued shared messages on and frees the rest. Returns what is left of the retained messages, or NULL. */
static struct retained_feed *drop_flow(struct session *session, const struct shared_targets *targets)
{
    struct session_flow *flow = session->flow;
    struct retained_feed *feed = NULL;

    if (flow != NULL) {
        feed = flow->retained;
        session_redispatch_shared(session, targets);
        inflight_fini(&flow->inflight);
        mqueue_fini(&flow->mqueue);
        awaiting_rel_fini(&flow->awaiting_rel);
        worker_run_cancel(session->host->worker, &flow->work);
        free(flow);
    }
    session->flow = NULL;
    return feed;
}

/* Takes down up to `most` subscriptions, and filters that wait for retained messages, of ended sessions. */
static void take_down(struct session_host *host, uint32_t most)
{
    while (host->ending != NULL && most > 0) {
        struct session *session = host->ending;
        most -= drop_subscriptions(session, most);
        if (session->ending_feed != NULL)
            most -= retained_feed_drop(session->ending_feed, most);
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

static void take_down_later(struct session *session, struct retained_feed *feed)
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
    while (host->ending != NULL)
        take_down(host, UINT32_MAX);
    worker_run_cancel(host->worker, &host->ending_work);
}

/* Subscriptions, queues and what is in flight. True when the memory of the session may go. */
static bool drop_contents(struct session *session)
{
    struct shared_targets targets = find_shared(session);
    bool at_once = session->subscriptions.count <= END_AT_ONCE_MAX;
    struct retained_feed *feed;

    if (at_once)
        drop_subscriptions(session, END_AT_ONCE_MAX);
    feed = drop_flow(session, &targets);
    free(targets.items);
    session_publish_will(session); /* not to the session itself */
    if (at_once)
        retained_feed_free(feed);
    else
        take_down_later(session, feed);
    return at_once;
}

void session_end(struct session *session, const char *reason)
{
    struct session_host *host = session->host;

    if (session->ended)
        return;
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
    atomic_fetch_sub_explicit(&host->session_count, 1, memory_order_relaxed);
    stat_add(STAT_SESSIONS, -1);
    if (drop_contents(session))
        rcu_retire(session, free_session);
}
