/*
 * session_delivery: messages to the client (send at once, queue, or drop) and the acknowledgements both ways.
 *
 * References: while a message is dispatched, keeping it costs host->refs_taken + 1 instead of an atomic operation; the
 * dispatcher, which holds a reference of its own until the end, adds them all at once.
 */
#include "broker/session/session.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/retainer/retainer.h"
#include "broker/session/retained_feed.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t now_of(const struct session *session)
{
    return worker_now_ms(session->host->worker);
}

/* Makes sure that the slow tick runs while there is something to resend or to forget. */
static inline void want_tick(struct session *session, uint64_t interval_ms)
{
    uint64_t at_ms = now_of(session) + interval_ms;

    if (interval_ms == 0 || (timer_running(&session->timer) && session->timer.deadline_ms <= at_ms))
        return;
    if (session->link != NULL)
        timer_start(worker_timers(session->host->worker), &session->timer, at_ms);
}

static uint64_t retry_interval_ms(const struct session *session)
{
    /* MQTT 5 resends only on reconnect [MQTT-4.4.0-1]. */
    return session->version >= MQTT_V5 ? 0 : session->zone->session.retry_interval_ms;
}

static void on_work(struct worker *worker, struct work *work)
{
    (void)worker;
    session_drain(CONTAINER_OF(work, struct session_flow, work)->session);
}

struct session_flow *session_flow_get(struct session *session)
{
    if (session->flow == NULL) {
        session->flow = calloc(1, sizeof(*session->flow));
        if (session->flow == NULL)
            return NULL;
        session->flow->session = session;
        session->flow->work.run = on_work;
    }
    return session->flow;
}

static enum session_write write_publish(struct session *session, const struct delivery_item *item, uint16_t packet_id,
                                        bool dup)
{
    struct session_publish publish = {
        .message = item->message,
        .subscription_id = item->subscription_id,
        .packet_id = packet_id,
        .qos = item->qos,
        .dup = dup,
        .retain = item->retain,
    };

    session->deliver_count++;
    return session->link->ops->publish(session->link, &publish);
}

/* Sends a QoS 1 or 2 item. True: the window keeps the item's reference now. */
static bool send_kept(struct session *session, const struct delivery_item *item)
{
    struct session_flow *flow = session_flow_get(session);
    uint16_t packet_id;

    if (flow == NULL || inflight_push_take(&flow->inflight, item, now_of(session), &packet_id) < 0) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        return false;
    }
    if (UNLIKELY(write_publish(session, item, packet_id, false) == SESSION_TOO_LARGE)) {
        /* As if it had been acknowledged [MQTT-3.1.2-25]. */
        inflight_remove(&flow->inflight, inflight_find(&flow->inflight, packet_id));
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
        return false;
    }
    want_tick(session, retry_interval_ms(session));
    return true;
}

static void send_qos0(struct session *session, const struct delivery_item *item)
{
    if (UNLIKELY(write_publish(session, item, 0, false) == SESSION_TOO_LARGE))
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
}

/* A message that the queue had to give up. `dispatched` is the one being dispatched, whose references are not added yet. */
static void drop_queued(struct session *session, const struct delivery_item *dropped, const struct message *dispatched)
{
    session->flow->drop_count++;
    metric_add(METRIC_MESSAGES_QUEUE_FULL, 1);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                       "[Session] the message queue is full (%u messages), dropping the oldest one",
                       session->flow->mqueue.count);
    if (dropped->message == dispatched)
        session->host->refs_taken--;
    else
        message_unref(dropped->message);
}

/* force_shutdown_policy: a connected client that lets so much pile up is closed; an absent one's queue only gives up
 * its oldest messages. */
static void guard_queue(struct session *session, const struct message *dispatched)
{
    const struct zone *zone = session->zone;
    struct mqueue *queue = &session->flow->mqueue;
    bool too_long = zone->force_shutdown_len > 0 && queue->count > zone->force_shutdown_len;
    bool too_large = zone->force_shutdown_bytes > 0 && queue->bytes > zone->force_shutdown_bytes;

    if (LIKELY(!too_long && !too_large))
        return;
    if (session->link != NULL) {
        session->link->ops->overload(session->link);
        return;
    }
    while (too_large && queue->count > 1 && queue->bytes > zone->force_shutdown_bytes) {
        struct delivery_item dropped = mqueue_steal_least(queue);
        drop_queued(session, &dropped, dispatched);
    }
}

/* Queues the item of a dispatch. */
static void enqueue(struct session *session, const struct delivery_item *item)
{
    struct session_flow *flow;
    struct delivery_item dropped;
    uint32_t expired;

    if (UNLIKELY(session->ended))
        return; /* its subscriptions are still being taken down */
    flow = session_flow_get(session);
    if (flow == NULL ||
        mqueue_push_take(&flow->mqueue, &session->zone->session, item, now_of(session), &dropped, &expired) < 0) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        return;
    }
    flow->enqueue_count++;
    session->host->refs_taken++;
    if (expired > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, expired);
    if (dropped.message != NULL)
        drop_queued(session, &dropped, item->message);
    guard_queue(session, item->message);
}

static void deliver_qos0(struct session *session, const struct delivery_item *item)
{
    const struct session_flow *flow = session->flow;

    if (LIKELY(session->link != NULL && session->link->ops->writable(session->link))) {
        /* Overtakes QoS 1 and 2 messages that wait for the window, never QoS 0 or retained ones. */
        if (LIKELY(flow == NULL || (flow->mqueue.qos0_count == 0 && flow->retained == NULL))) {
            send_qos0(session, item);
            return;
        }
    } else if (!session->zone->session.mqueue_store_qos0) {
        if (session->link != NULL)
            metric_add(METRIC_MESSAGES_DROPPED_SLOW_CONSUMER, 1);
        return;
    }
    enqueue(session, item);
}

bool session_has_room(const struct session *session)
{
    const struct session_flow *flow = session->flow;

    return session->link != NULL &&
           (flow == NULL || (flow->inflight.count < session->window && flow->mqueue.count == 0 &&
                             flow->retained == NULL && flow->resend_left == 0)) &&
           session->link->ops->writable(session->link);
}

void session_deliver(struct session *session, const struct delivery_item *item)
{
    if (item->qos == 0) {
        deliver_qos0(session, item);
    } else if (LIKELY(session_has_room(session))) {
        if (LIKELY(send_kept(session, item)))
            session->host->refs_taken++;
    } else {
        enqueue(session, item);
    }
}

/* Can this waiting item leave its queue now, be it only because it has expired? */
static bool can_leave(struct session *session, const struct delivery_item *item)
{
    if (message_expired(item->message, now_of(session)))
        return true;
    return session->link->ops->writable(session->link) &&
           (item->qos == 0 || session->flow->inflight.count < session->window);
}

/* Sends an item that can_leave() and has left its queue: its reference is ours. */
static void send_left(struct session *session, const struct delivery_item *item)
{
    if (message_expired(item->message, now_of(session))) {
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
    } else if (item->qos == 0) {
        send_qos0(session, item);
    } else if (send_kept(session, item)) {
        return; /* the window has the reference */
    }
    message_unref(item->message);
}

/* True when it went out: the end of its exchange then gives the place back. A PUBREL takes one too, else its PUBCOMP
 * would make room for a PUBLISH over the window. */
static bool resend(struct session *session, struct inflight_entry *entry, uint64_t now_ms)
{
    entry->sent_ms = (uint32_t)now_ms;
    if (entry->state == INFLIGHT_WAIT_PUBCOMP) {
        session->link->ops->pubrel(session->link, entry->packet_id);
        return true;
    }
    /* Its delivery has begun: it goes on although the message may have expired meanwhile [MQTT-3.3.2-5]. */
    struct delivery_item item = {
        .message = entry->message,
        .subscription_id = entry->subscription_id,
        .qos = entry->state == INFLIGHT_WAIT_PUBREC ? 2 : 1,
        .retain = entry->retain,
    };
    if (write_publish(session, &item, entry->packet_id, true) == SESSION_TOO_LARGE) {
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
        message_unref(inflight_remove(&session->flow->inflight, entry));
        return false;
    }
    return true;
}

/* Resends the entries last sent `age_ms` ago or longer, oldest first. Removal closes holes only at the front, so a
 * place that moves is found again by counting from the end. */
static void resend_older(struct session *session, uint64_t now_ms, uint32_t age_ms)
{
    struct inflight *window = &session->flow->inflight;

    for (uint32_t left = window->span; left > 0; left--) {
        if (left > window->span)
            continue; /* it was among the holes just closed */
        struct inflight_entry *entry = inflight_at(window, window->span - left);
        if (entry->state == INFLIGHT_FREE || (uint32_t)now_ms - entry->sent_ms < age_ms)
            continue;
        if (!session->link->ops->writable(session->link))
            return; /* the first copy may still be waiting to go out */
        resend(session, entry, now_ms);
    }
}

/* After a reconnect: goes on resending in order, while what the client has not acknowledged on this connection is
 * less than its window, which may be smaller than the last one's [MQTT-3.3.4-9]. Nothing new is pushed meanwhile, so
 * places count from the end. */
static void resend_after_resume(struct session *session)
{
    struct session_flow *flow = session->flow;
    struct inflight *window = &flow->inflight;

    while (flow->resend_left > 0) {
        if (flow->resend_left > window->span) { /* acknowledged meanwhile */
            flow->resend_left = window->span;
            continue;
        }
        struct inflight_entry *entry = inflight_at(window, window->span - flow->resend_left);
        bool is_publish = entry->state == INFLIGHT_WAIT_PUBACK || entry->state == INFLIGHT_WAIT_PUBREC;
        if (is_publish && (flow->resent_count >= session->window || !session->link->ops->writable(session->link)))
            return;
        flow->resend_left--;
        if (entry->state != INFLIGHT_FREE && resend(session, entry, now_of(session)))
            flow->resent_count++;
    }
}

static struct retained_source retained_source_of(const struct session *session)
{
    struct session_host *host = session->host;

    return (struct retained_source){
        .retainer = host->retainer, .now_ms = now_of(session), .used = &host->retained_used};
}

/* Retained messages, slice by slice. True when there are none left. */
static bool drain_retained(struct session *session)
{
    struct session_flow *flow = session->flow;
    struct retained_source source = retained_source_of(session);
    struct delivery_item item;
    uint32_t budget = RETAINED_FEED_SLICE;

    if (flow->retained == NULL)
        return true;
    while (budget-- > 0 && retained_feed_peek(flow->retained, &source, &item)) {
        if (!can_leave(session, &item))
            return false;
        retained_feed_pop(flow->retained);
        send_left(session, &item);
    }
    if (!retained_feed_ended(flow->retained)) {
        worker_run_later(session->host->worker, &flow->work);
        return false;
    }
    retained_feed_free(flow->retained);
    flow->retained = NULL;
    return true;
}

/* A flow that only served some retained messages of QoS 0 goes again. */
static void trim_flow(struct session *session)
{
    struct session_flow *flow = session->flow;

    if (flow->retained != NULL || flow->inflight.entries != NULL || flow->mqueue.classes != NULL ||
        flow->awaiting_rel.ids != NULL || flow->drop_count > 0)
        return;
    worker_run_cancel(session->host->worker, &flow->work);
    free(flow);
    session->flow = NULL;
}

void session_drain(struct session *session)
{
    struct session_flow *flow = session->flow;
    struct delivery_item item;

    if (session->link == NULL || flow == NULL || session->draining)
        return;
    session->draining = true;
    resend_after_resume(session);
    if (flow->resend_left == 0 && drain_retained(session)) {
        while (mqueue_peek(&flow->mqueue, &item) && can_leave(session, &item)) {
            mqueue_pop(&flow->mqueue);
            send_left(session, &item);
        }
    }
    session->draining = false;
    trim_flow(session);
}

void session_resume(struct session *session)
{
    struct session_flow *flow = session->flow;

    if (flow == NULL)
        return;
    flow->resend_left = flow->inflight.span;
    flow->resent_count = 0;
    if (flow->inflight.count > 0)
        want_tick(session, retry_interval_ms(session));
    if (flow->awaiting_rel.count > 0)
        want_tick(session, session->zone->session.await_rel_timeout_ms);
    session_drain(session);
}

/* Forgets inbound QoS 2 IDs that were never released. */
static void expire_awaiting_rel(struct session *session, uint64_t now_ms, uint64_t timeout_ms)
{
    uint32_t expired;

    if (timeout_ms == 0 || now_ms <= timeout_ms)
        return;
    expired = awaiting_rel_expire(&session->flow->awaiting_rel, (uint32_t)((now_ms - timeout_ms) / 1000));
    if (expired == 0)
        return;
    metric_add(METRIC_MESSAGES_QOS2_EXPIRED, expired);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                       "[Session] forgot %u QoS 2 packet ids: no PUBREL came within await_rel_timeout", expired);
}

void session_tick(struct session *session, uint64_t now_ms)
{
    uint64_t timeout_ms = session->zone->session.await_rel_timeout_ms;
    uint64_t retry_ms = retry_interval_ms(session), next_ms = 0;
    struct session_flow *flow = session->flow;

    if (flow == NULL)
        return;
    if (retry_ms > 0 && flow->inflight.count > 0 && flow->resend_left == 0) {
        resend_older(session, now_ms, (uint32_t)retry_ms);
        next_ms = retry_ms;
    } else if (flow->inflight.count > 0) {
        next_ms = retry_ms; /* resending after a reconnect is still under way */
    }
    expire_awaiting_rel(session, now_ms, timeout_ms);
    if (flow->awaiting_rel.count > 0 && timeout_ms > 0 && (next_ms == 0 || timeout_ms < next_ms))
        next_ms = timeout_ms;
    if (flow->mqueue.count > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, mqueue_purge(&flow->mqueue, now_ms));
    want_tick(session, next_ms > 2000 ? next_ms / 2 : next_ms);
}

/* The window's entry, or NULL. */
static struct inflight_entry *find_inflight(struct session *session, uint16_t packet_id)
{
    return session->flow == NULL ? NULL : inflight_find(&session->flow->inflight, packet_id);
}

/* An acknowledgement made room. The end of any exchange gives the send quota one back, up to its size (MQTT 5, section 4.9). */
static inline void drain_if_waiting(struct session *session)
{
    struct session_flow *flow = session->flow;

    if (UNLIKELY(flow->resent_count > 0))
        flow->resent_count--;
    if (flow->mqueue.count > 0 || flow->retained != NULL || flow->resend_left > 0)
        session_drain(session);
}

int session_on_puback(struct session *session, uint16_t packet_id)
{
    struct inflight_entry *entry = find_inflight(session, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state != INFLIGHT_WAIT_PUBACK)
        return -EPROTO;
    message_unref(inflight_remove(&session->flow->inflight, entry));
    drain_if_waiting(session);
    return 0;
}

int session_on_pubrec(struct session *session, uint16_t packet_id, enum reason_code code)
{
    struct inflight_entry *entry = find_inflight(session, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state == INFLIGHT_WAIT_PUBACK)
        return -EPROTO;
    if (code >= REASON_UNSPECIFIED_ERROR) { /* the client refused it: the exchange is over [MQTT-4.3.3-4] */
        message_unref(inflight_remove(&session->flow->inflight, entry));
        drain_if_waiting(session);
        return 0;
    }
    entry->message = message_unref(entry->message);
    entry->state = INFLIGHT_WAIT_PUBCOMP;
    entry->sent_ms = (uint32_t)now_of(session);
    session->link->ops->pubrel(session->link, packet_id);
    return 0;
}

int session_on_pubcomp(struct session *session, uint16_t packet_id)
{
    struct inflight_entry *entry = find_inflight(session, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state != INFLIGHT_WAIT_PUBCOMP)
        return -EPROTO;
    inflight_remove(&session->flow->inflight, entry);
    drain_if_waiting(session);
    return 0;
}

enum session_qos2 session_on_publish_qos2(struct session *session, uint16_t packet_id)
{
    uint32_t max = session->zone->session.max_awaiting_rel;
    struct session_flow *flow = session_flow_get(session);

    if (flow == NULL)
        return SESSION_QOS2_NO_MEMORY;
    if (awaiting_rel_has(&flow->awaiting_rel, packet_id))
        return SESSION_QOS2_DUPLICATE;
    if (max > 0 && flow->awaiting_rel.count >= max)
        return SESSION_QOS2_FULL;
    if (awaiting_rel_add(&flow->awaiting_rel, packet_id, (uint32_t)(now_of(session) / 1000)) < 0)
        return SESSION_QOS2_NO_MEMORY;
    want_tick(session, session->zone->session.await_rel_timeout_ms);
    return SESSION_QOS2_NEW;
}

void session_forget_qos2(struct session *session, uint16_t packet_id)
{
    session_on_pubrel(session, packet_id);
}

bool session_on_pubrel(struct session *session, uint16_t packet_id)
{
    return session->flow != NULL && awaiting_rel_remove(&session->flow->awaiting_rel, packet_id);
}

int session_push_retained(struct session *session, const struct retained_request *request)
{
    struct retained_source source = retained_source_of(session);
    struct session_flow *flow;
    int err = -ENOMEM;

    if (retainer_count(session->host->retainer) == 0)
        return 0;
    flow = session_flow_get(session);
    if (flow != NULL)
        err = retained_feed_add(&flow->retained, &source, request);
    return err;
}

void session_cancel_retained(struct session *session, struct slice filter)
{
    if (session->flow != NULL && session->flow->retained != NULL)
        retained_feed_cancel(session->flow->retained, filter);
}

static int compare_targets(const void *left, const void *right)
{
    uint32_t a = (*(struct shared_target *const *)left)->number, b = (*(struct shared_target *const *)right)->number;

    return (a > b) - (a < b);
}

/* The target of that number, or NULL: the session had left its group before. The targets are sorted. */
static struct shared_target *find_target(const struct shared_targets *targets, uint32_t number)
{
    struct shared_target key = {.number = number}, *wanted = &key;
    struct shared_target **found = bsearch(&wanted, targets->items, targets->count, sizeof(struct shared_target *),
                                           compare_targets);

    return found == NULL ? NULL : *found;
}

/* Only what was never sent: a message in flight may already have been received [MQTT-4.8.2-5]. Each copy goes to the group
 * through which it came, whatever other groups it matches. */
void session_redispatch_shared(struct session *session, const struct shared_targets *targets)
{
    struct session_host *host = session->host;
    struct delivery_item item;

    if (targets->count > 0)
        qsort(targets->items, targets->count, sizeof(struct shared_target *), compare_targets);
    while (targets->count > 0 && mqueue_peek(&session->flow->mqueue, &item)) {
        mqueue_pop(&session->flow->mqueue);
        ASSERT(item.message != NULL);
        struct shared_target *target = item.share_number == 0 ? NULL : find_target(targets, item.share_number);
        if (target != NULL)
            host->ops->redispatch_lost(host, slice_make(target->text, target->name_len),
                                       slice_make(target->text + target->name_len, target->filter_len), item.message);
        message_unref(item.message);
    }
}
