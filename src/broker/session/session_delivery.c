/*
 * session_delivery: messages to the client (send at once, queue, or drop) and the acknowledgements both ways.
 *
 * References: while a message is dispatched, keeping it costs host->refs_taken + 1 instead of an atomic operation; the
 * dispatcher, which holds a reference of its own until the end, adds them all at once.
 */
#include "broker/session/session.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/session/retained_backlog.h"
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
    if (interval_ms == 0 || session->link == NULL)
        return;
    uint64_t deadline_ms = now_of(session) + interval_ms;
    if (UNLIKELY(!timer_running(&session->timer) || session->timer.deadline_ms > deadline_ms))
        timer_start(worker_timers(session->host->worker), &session->timer, deadline_ms);
}

static uint64_t retry_interval_ms(const struct session *session)
{
    /* MQTT 5 resends only on reconnect [MQTT-4.4.0-1]. */
    return session->version >= MQTT_V5 ? 0 : session->zone->session.retry_interval_ms;
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

    session->stats.deliver_msg++;
    return session->link->ops->publish(session->link, &publish);
}

/* Sends a QoS 1 or 2 item. True: the window keeps the item's reference now. */
static bool send_kept(struct session *session, const struct delivery_item *item)
{
    uint16_t packet_id;

    if (inflight_push_take(&session->inflight, item, now_of(session), &packet_id) < 0) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        return false;
    }
    if (UNLIKELY(write_publish(session, item, packet_id, false) == SESSION_TOO_LARGE)) {
        /* As if it had been acknowledged [MQTT-3.1.2-25]. */
        inflight_remove(&session->inflight, inflight_find(&session->inflight, packet_id));
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
        return false;
    }
    inflight_find(&session->inflight, packet_id)->sent = true;
    want_tick(session, retry_interval_ms(session));
    return true;
}

static void send_qos0(struct session *session, const struct delivery_item *item)
{
    if (UNLIKELY(write_publish(session, item, 0, false) == SESSION_TOO_LARGE))
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
}

/* Queues the item of a dispatch. */
static void enqueue(struct session *session, const struct delivery_item *item)
{
    struct delivery_item dropped;
    uint32_t expired;

    session->stats.enqueue_msg++;
    if (mqueue_push_take(&session->mqueue, &session->zone->session, item, now_of(session), &dropped, &expired) < 0) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        return;
    }
    session->host->refs_taken++;
    if (expired > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, expired);
    if (dropped.message == NULL)
        return;
    session->stats.mqueue_dropped++;
    metric_add(METRIC_MESSAGES_QUEUE_FULL, 1);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                       "[Session] the message queue is full (max_mqueue_len = %u), dropping the oldest message",
                       session->zone->session.max_mqueue_len);
    if (dropped.message == item->message)
        session->host->refs_taken--;
    else
        message_unref(dropped.message);
}

static void deliver_qos0(struct session *session, const struct delivery_item *item)
{
    if (LIKELY(session->link != NULL && session->link->ops->writable(session->link))) {
        /* Overtakes QoS 1 and 2 messages that wait for the window, never QoS 0 or retained ones. */
        if (LIKELY(session->mqueue.qos0_count == 0 && session->retained == NULL)) {
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
    return session->link != NULL && session->inflight.count < session->window && session->inflight.held_back == 0 &&
           session->mqueue.count == 0 && session->retained == NULL && session->link->ops->writable(session->link);
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

/* Sends one item whose reference is ours. False: it can't be sent now. */
static bool drain_item(struct session *session, const struct delivery_item *item)
{
    if (message_expired(item->message, now_of(session))) {
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
        message_unref(item->message);
        return true;
    }
    if (!session->link->ops->writable(session->link))
        return false;
    if (item->qos == 0) {
        send_qos0(session, item);
        message_unref(item->message);
        return true;
    }
    if (session->inflight.count >= session->window)
        return false;
    if (!send_kept(session, item))
        message_unref(item->message);
    return true;
}

static void resend(struct session *session, struct inflight_entry *entry, uint64_t now_ms)
{
    entry->sent_ms = (uint32_t)now_ms;
    inflight_hold_back(&session->inflight, entry, false);
    if (entry->state == INFLIGHT_WAIT_PUBCOMP) {
        session->link->ops->pubrel(session->link, entry->packet_id);
        return;
    }
    /* A QoS 2 message that the client may have got stays: its ID without it would be taken for a duplicate later. */
    if (!(entry->sent && entry->state == INFLIGHT_WAIT_PUBREC) && message_expired(entry->message, now_ms)) {
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
        message_unref(inflight_remove(&session->inflight, entry));
        return;
    }
    struct delivery_item item = {
        .message = entry->message,
        .subscription_id = entry->subscription_id,
        .qos = entry->state == INFLIGHT_WAIT_PUBREC ? 2 : 1,
        .retain = entry->retain,
        .shared = entry->shared,
    };
    bool dup = entry->sent;
    entry->sent = true;
    if (write_publish(session, &item, entry->packet_id, dup) == SESSION_TOO_LARGE) {
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
        message_unref(inflight_remove(&session->inflight, entry));
    }
}

/* Resends the entries last sent `age_ms` ago or longer, oldest first. Removal closes holes only at the front, so a
 * place that moves is found again by counting from the end. */
static void resend_older(struct session *session, uint64_t now_ms, uint32_t age_ms)
{
    struct inflight *window = &session->inflight;

    for (uint32_t left = window->span; left > 0; left--) {
        if (left > window->span)
            continue; /* it was among the holes just closed */
        struct inflight_entry *entry = inflight_at(window, window->span - left);
        if (entry->state != INFLIGHT_FREE && !entry->held_back && (uint32_t)now_ms - entry->sent_ms >= age_ms)
            resend(session, entry, now_ms);
    }
}

/* Resends for a new connection: as many messages as it takes at once [MQTT-3.3.4-9], and every PUBREL. */
static void resend_all(struct session *session, uint64_t now_ms)
{
    struct inflight *window = &session->inflight;
    uint32_t used = 0;

    for (uint32_t left = window->span; left > 0; left--) {
        if (left > window->span)
            continue;
        struct inflight_entry *entry = inflight_at(window, window->span - left);
        if (entry->state == INFLIGHT_FREE)
            continue;
        if (entry->state != INFLIGHT_WAIT_PUBCOMP && used >= session->window) {
            inflight_hold_back(window, entry, true);
            continue;
        }
        uint32_t before = window->count;
        resend(session, entry, now_ms);
        used += window->count == before;
    }
}

/* Resends what resend_all() left, oldest first, as acknowledgements make room. False: some is left. */
static bool resend_held_back(struct session *session)
{
    struct inflight *window = &session->inflight;

    for (uint32_t left = window->span; left > 0 && window->held_back > 0; left--) {
        if (left > window->span)
            continue;
        struct inflight_entry *entry = inflight_at(window, window->span - left);
        if (entry->state == INFLIGHT_FREE || !entry->held_back)
            continue;
        if (window->count - window->held_back >= session->window || !session->link->ops->writable(session->link))
            break;
        resend(session, entry, now_of(session));
    }
    return window->held_back == 0;
}

void session_drain(struct session *session)
{
    struct delivery_item item;

    if (session->link == NULL || session->draining)
        return;
    session->draining = true;
    if (LIKELY(session->inflight.held_back == 0) || resend_held_back(session)) {
        while (retained_backlog_peek(session->retained, &item) && drain_item(session, &item))
            retained_backlog_pop(&session->retained);
        while (session->retained == NULL && mqueue_peek(&session->mqueue, &item) && drain_item(session, &item))
            mqueue_pop(&session->mqueue);
    }
    session->draining = false;
}

/* The window has room again. */
static void drain_after_ack(struct session *session)
{
    if (session->mqueue.count > 0 || session->retained != NULL || session->inflight.held_back > 0)
        session_drain(session);
}

void session_resume(struct session *session)
{
    resend_all(session, now_of(session));
    if (session->inflight.count > 0)
        want_tick(session, retry_interval_ms(session));
    if (session->awaiting_rel != NULL)
        want_tick(session, session->zone->session.await_rel_timeout_ms);
    session_drain(session);
}

void session_tick(struct session *session, uint64_t now_ms)
{
    const struct zone_session *settings = &session->zone->session;
    uint64_t retry_ms = retry_interval_ms(session), next_ms = 0;

    if (retry_ms > 0 && session->inflight.count > 0) {
        resend_older(session, now_ms, (uint32_t)retry_ms);
        next_ms = retry_ms;
    }
    if (session->awaiting_rel != NULL && settings->await_rel_timeout_ms > 0) {
        uint64_t timeout_ms = settings->await_rel_timeout_ms;
        uint32_t expired =
            now_ms > timeout_ms ? awaiting_rel_expire(session->awaiting_rel, (uint32_t)((now_ms - timeout_ms) / 1000))
                                : 0;
        metric_add(METRIC_MESSAGES_QOS2_EXPIRED, expired);
        if (expired > 0)
            log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                               "[Session] forgot %u QoS 2 packet ids: no PUBREL came within await_rel_timeout", expired);
        if (session->awaiting_rel->count > 0 && (next_ms == 0 || timeout_ms < next_ms))
            next_ms = timeout_ms;
    }
    if (session->mqueue.count > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, mqueue_purge(&session->mqueue, now_ms));
    want_tick(session, next_ms > 2000 ? next_ms / 2 : next_ms);
}

int session_on_puback(struct session *session, uint16_t packet_id)
{
    struct inflight_entry *entry = inflight_find(&session->inflight, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state != INFLIGHT_WAIT_PUBACK)
        return -EPROTO;
    message_unref(inflight_remove(&session->inflight, entry));
    drain_after_ack(session);
    return 0;
}

int session_on_pubrec(struct session *session, uint16_t packet_id, enum reason_code code)
{
    struct inflight_entry *entry = inflight_find(&session->inflight, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state == INFLIGHT_WAIT_PUBACK)
        return -EPROTO;
    if (code >= REASON_UNSPECIFIED_ERROR) { /* the client refused it: the exchange is over [MQTT-4.3.3-4] */
        message_unref(inflight_remove(&session->inflight, entry));
        drain_after_ack(session);
        return 0;
    }
    inflight_hold_back(&session->inflight, entry, false);
    entry->message = message_unref(entry->message);
    entry->state = INFLIGHT_WAIT_PUBCOMP;
    entry->sent_ms = (uint32_t)now_of(session);
    session->link->ops->pubrel(session->link, packet_id);
    return 0;
}

int session_on_pubcomp(struct session *session, uint16_t packet_id)
{
    struct inflight_entry *entry = inflight_find(&session->inflight, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state != INFLIGHT_WAIT_PUBCOMP)
        return -EPROTO;
    inflight_remove(&session->inflight, entry);
    drain_after_ack(session);
    return 0;
}

enum session_qos2 session_on_publish_qos2(struct session *session, uint16_t packet_id)
{
    uint32_t max = session->zone->session.max_awaiting_rel;

    if (session->awaiting_rel == NULL) {
        session->awaiting_rel = calloc(1, sizeof(*session->awaiting_rel));
        if (session->awaiting_rel == NULL)
            return SESSION_QOS2_NO_MEMORY;
    }
    if (awaiting_rel_has(session->awaiting_rel, packet_id))
        return SESSION_QOS2_DUPLICATE;
    if (max > 0 && session->awaiting_rel->count >= max)
        return SESSION_QOS2_FULL;
    if (awaiting_rel_add(session->awaiting_rel, packet_id, (uint32_t)(now_of(session) / 1000)) < 0)
        return SESSION_QOS2_NO_MEMORY;
    want_tick(session, session->zone->session.await_rel_timeout_ms);
    return SESSION_QOS2_NEW;
}

void session_forget_qos2(struct session *session, uint16_t packet_id)
{
    if (session->awaiting_rel != NULL)
        awaiting_rel_remove(session->awaiting_rel, packet_id);
}

bool session_on_pubrel(struct session *session, uint16_t packet_id)
{
    return session->awaiting_rel != NULL && awaiting_rel_remove(session->awaiting_rel, packet_id);
}

/* The `skip`-th of the targets whose filter matches, or NULL. */
static struct shared_target *target_matching(const struct shared_targets *targets, struct slice topic, uint32_t skip)
{
    for (uint32_t i = 0; i < targets->count; i++) {
        struct shared_target *target = targets->items[i];
        struct slice filter = slice_make(target->text + target->name_len, target->filter_len);
        if (mqtt_topic_matches(topic, filter) && skip-- == 0)
            return target;
    }
    return NULL;
}

/* Only what was never sent: a message in flight may already have been received [MQTT-4.8.2-5]. A message that came
 * through several groups stands in the queue once for each, so the n-th copy goes to the n-th group that matches. */
void session_redispatch_shared(struct session *session, const struct shared_targets *targets)
{
    struct session_host *host = session->host;
    struct delivery_item item;
    const struct message *last = NULL;
    uint32_t copies = 0;

    while (targets->count > 0 && mqueue_peek(&session->mqueue, &item)) {
        struct shared_target *target = NULL;
        mqueue_pop(&session->mqueue);
        if (item.shared) {
            copies = item.message == last ? copies + 1 : 0;
            last = item.message;
            target = target_matching(targets, message_topic(item.message), copies);
        }
        if (target != NULL)
            host->ops->redispatch_lost(host, slice_make(target->text, target->name_len),
                                       slice_make(target->text + target->name_len, target->filter_len), item.message);
        message_unref(item.message);
    }
}
