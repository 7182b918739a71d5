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
#include "broker/session/durable_internal.h"
#include "broker/session/queue_load.h"
#include "broker/session/redispatch.h"
#include "broker/session/retained_feed.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "hook/hook.h"
#include "hook/message_event.h"
#include "mqtt/message.h"
#include "store/store.h"

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

void session_go_on(struct session *session)
{
    if (UNLIKELY(session->ended))
        redispatch_go_on(session);
    else
        session_drain(session);
}

struct session_flow *session_flow_get(struct session *session)
{
    if (session->flow == NULL) {
        session->flow = calloc(1, sizeof(*session->flow));
        if (session->flow == NULL)
            return NULL;
        session->flow->session = session;
        if (session_is_durable(session))
            durable_on_flow(session);
    }
    return session->flow;
}

struct awaiting_rel *session_awaiting_rel_get(struct session *session)
{
    struct session_flow *flow = session_flow_get(session);

    if (flow == NULL)
        return NULL;
    if (flow->awaiting_rel == NULL)
        flow->awaiting_rel = awaiting_rel_new();
    return flow->awaiting_rel;
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
    return session->host->link_ops->publish(session->link, &publish);
}

/* Sends a QoS 1 or 2 item. True: the window keeps the item's reference now, and its row. */
static bool send_kept(struct session *session, const struct delivery_item *item)
{
    struct session_flow *flow = session_flow_get(session);
    uint16_t packet_id;

    if (flow == NULL || inflight_push_take(&flow->inflight, item, now_of(session), &packet_id) < 0) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        return false;
    }
    if (UNLIKELY(item->sequence != 0))
        durable_on_sent(session, item);
    if (UNLIKELY(write_publish(session, item, packet_id, item->sent) == SESSION_TOO_LARGE)) {
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

void session_tell_dropped(const struct session *session, const struct message *message, const char *reason)
{
    struct slice user_name = slice_make(NULL, 0);

    if (session->ended)
        return; /* its subscriptions are still being taken down */
    if (session->link != NULL)
        user_name = session->host->link_ops->user_name(session->link);
    hook_tell_dropped(session_client_id(session), user_name, reason, message, now_of(session));
}

/* A message that the queue had to give up. `dispatched` is the one being dispatched, whose references are not added yet. */
static void drop_queued(struct session *session, const struct delivery_item *dropped, const struct message *dispatched)
{
    session->flow->drop_count++;
    if (dropped->sequence != 0)
        durable_delete_entry(session, dropped);
    metric_add(METRIC_MESSAGES_QUEUE_FULL, 1);
    log_client_limited(LOG_LEVEL_WARNING, session_client_id(session), NULL,
                       "[Session] the message queue is full (%u messages), dropping the oldest one",
                       session->flow->mqueue.count);
    if (UNLIKELY(hook_any(HOOK_MESSAGE_DROPPED)))
        session_tell_dropped(session, dropped->message, "queue_full");
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
        session->host->link_ops->overload(session->link);
        return;
    }
    if (session_is_durable(session))
        return; /* its messages leave the memory when they are on disk */
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
        if (item->sequence != 0)
            durable_delete_entry(session, item);
        return;
    }
    flow->enqueue_count++;
    session->host->refs_taken++;
    if (expired > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, expired);
    if (dropped.message != NULL || dropped.sequence != 0)
        drop_queued(session, &dropped, item->message);
    guard_queue(session, item->message);
}

/* QoS 0 messages of an absent durable session stay in memory, where guard_queue() can't make room. */
static bool is_memory_used_up(const struct session *session)
{
    return session->link == NULL && session_is_durable(session) && session->flow != NULL &&
           session->zone->force_shutdown_bytes > 0 && session->flow->mqueue.bytes > session->zone->force_shutdown_bytes;
}

static void deliver_qos0(struct session *session, const struct delivery_item *item)
{
    const struct session_flow *flow = session->flow;

    if (LIKELY(session->link != NULL && session->host->link_ops->writable(session->link))) {
        /* Overtakes QoS 1 and 2 messages that wait for the window, never QoS 0 or retained ones. */
        if (LIKELY(flow == NULL || (flow->mqueue.qos0_count == 0 && flow->retained == NULL))) {
            send_qos0(session, item);
            return;
        }
    } else if (!session->zone->session.mqueue_store_qos0) {
        if (session->link != NULL)
            metric_add(METRIC_MESSAGES_DROPPED_SLOW_CONSUMER, 1);
        if (UNLIKELY(hook_any(HOOK_MESSAGE_DROPPED)))
            session_tell_dropped(session, item->message, session->link != NULL ? "slow_consumer" : "absent");
        return;
    } else if (UNLIKELY(is_memory_used_up(session))) {
        metric_add(METRIC_MESSAGES_QUEUE_FULL, 1);
        if (UNLIKELY(hook_any(HOOK_MESSAGE_DROPPED)))
            session_tell_dropped(session, item->message, "queue_full");
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
           session->host->link_ops->writable(session->link);
}

/* QoS 1 and 2: whatever becomes of it, it is stored first. */
static void deliver_durable(struct session *session, const struct delivery_item *delivered)
{
    struct delivery_item item = *delivered;

    if (UNLIKELY(session->ended))
        return;
    bool now = item.qos == 1 && session_has_room(session) && durable_next_id_free(session);
    durable_put_entry(session, &item);
    if (!now)
        enqueue(session, &item);
    else if (send_kept(session, &item))
        session->host->refs_taken++;
    else
        durable_delete_entry(session, &item);
}

void session_deliver(struct session *session, const struct delivery_item *item)
{
    if (item->qos == 0) {
        deliver_qos0(session, item);
    } else if (UNLIKELY(session_is_durable(session))) {
        deliver_durable(session, item);
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
    if (UNLIKELY(item->message == NULL))
        return false; /* it is on disk only: queue_load.h */
    if (message_expired(item->message, now_of(session)) && !item->sent)
        return true;
    if (UNLIKELY(item->sequence != 0) && durable_may_leave(session, item) == DURABLE_WAIT)
        return false;
    return session->host->link_ops->writable(session->link) &&
           (item->qos == 0 || session->flow->inflight.count < session->window);
}

/* Sends an item that can_leave() and has left its queue: its reference is ours. */
static void send_left(struct session *session, const struct delivery_item *item)
{
    if (message_expired(item->message, now_of(session)) && !item->sent) {
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
    } else if (item->qos == 0) {
        send_qos0(session, item);
    } else if (UNLIKELY(item->sequence != 0) && durable_may_leave(session, item) == DURABLE_DROP) {
        metric_add(METRIC_MESSAGES_DROPPED_GIVEN_UP, 1);
    } else if (send_kept(session, item)) {
        return; /* the window has the reference */
    }
    if (UNLIKELY(item->sequence != 0))
        durable_delete_entry(session, item);
    message_unref(item->message);
}

/* True when it went out: the end of its exchange then gives the place back. A PUBREL takes one too, else its PUBCOMP
 * would make room for a PUBLISH over the window. */
static bool resend(struct session *session, struct inflight_entry *entry, uint64_t now_ms)
{
    entry->sent_ms = (uint32_t)now_ms;
    if (entry->state == INFLIGHT_WAIT_PUBCOMP) {
        session->host->link_ops->pubrel(session->link, entry->packet_id);
        return true;
    }
    /* Its delivery has begun: it goes on although the message may have expired meanwhile [MQTT-3.3.2-5]. */
    struct delivery_item item = inflight_item(entry);
    if (write_publish(session, &item, entry->packet_id, true) == SESSION_TOO_LARGE) {
        metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
        if (item.sequence != 0)
            durable_delete_entry(session, &item);
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
        if (entry->state == INFLIGHT_FREE || entry->state == INFLIGHT_WAIT_STORE ||
            (uint32_t)now_ms - entry->sent_ms < age_ms)
            continue;
        if (!session->host->link_ops->writable(session->link))
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
        if (is_publish && (flow->resent_count >= session->window || !session->host->link_ops->writable(session->link)))
            return;
        flow->resend_left--;
        if (entry->state != INFLIGHT_FREE && entry->state != INFLIGHT_WAIT_STORE &&
            resend(session, entry, now_of(session)))
            flow->resent_count++;
    }
}

static void wake_session(void *session)
{
    session_go_on(session);
}

static struct retained_source retained_source_of(struct session *session)
{
    struct session_host *host = session->host;

    return (struct retained_source){.retainer = host->retainer,
                                    .worker = host->worker,
                                    .wake = wake_session,
                                    .context = session,
                                    .now_ms = now_of(session),
                                    .used = &host->retained_used};
}

/* Takes a place in the window: it is sent when it is on disk. */
static bool hold_kept(struct session *session, const struct delivery_item *item)
{
    struct session_flow *flow = session->flow;
    uint16_t packet_id;

    if (inflight_push_take(&flow->inflight, item, now_of(session), &packet_id) < 0) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        return false;
    }
    inflight_find(&flow->inflight, packet_id)->state = INFLIGHT_WAIT_STORE;
    session->durable->held_count++;
    return true;
}

/* A retained message of QoS 1 or 2 for a durable session, which can_leave(): its reference is ours. It keeps its order before live
 * ones, which are stored as they come and wait in the queue. */
static void send_retained_durable(struct session *session, struct delivery_item *item)
{
    bool kept;

    if (message_expired(item->message, now_of(session))) {
        metric_add(METRIC_MESSAGES_EXPIRED, 1);
        message_unref(item->message);
        return;
    }
    item->copy = true;
    durable_put_entry(session, item);
    kept = item->qos == 2 ? hold_kept(session, item) : send_kept(session, item);
    if (kept)
        return;
    durable_delete_entry(session, item);
    message_unref(item->message);
}

/* What hold_kept() held back and is on disk now, in its order. */
static void send_held(struct session *session)
{
    struct durable *durable = session->durable;
    struct inflight *window = &session->flow->inflight;

    for (uint32_t left = window->span; left > 0 && durable->held_count > 0; left--) {
        if (left > window->span)
            continue; /* it was among the holes just closed */
        struct inflight_entry *entry = inflight_at(window, window->span - left);
        struct delivery_item item = inflight_item(entry);
        if (entry->state != INFLIGHT_WAIT_STORE)
            continue;
        if (item.sequence > durable->committed_through || !session->host->link_ops->writable(session->link))
            return;
        durable->held_count--;
        durable_on_sent(session, &item);
        entry->state = INFLIGHT_WAIT_PUBREC;
        entry->sent_ms = (uint32_t)now_of(session);
        if (write_publish(session, &item, entry->packet_id, false) == SESSION_TOO_LARGE) {
            metric_add(METRIC_MESSAGES_DROPPED_TOO_LARGE, 1);
            durable_delete_entry(session, &item);
            message_unref(inflight_remove(window, entry));
        }
    }
    want_tick(session, retry_interval_ms(session));
}

/* Retained messages, slice by slice. True when there are none left. */
static bool drain_retained(struct session *session)
{
    struct session_flow *flow = session->flow;
    struct retained_source source;
    struct delivery_item item;
    uint32_t budget = RETAINED_FEED_SLICE;

    if (flow->retained == NULL)
        return true;
    if (!session->host->link_ops->writable(session->link))
        return false; /* nothing is read from the disk for who cannot take it */
    source = retained_source_of(session);
    while (budget-- > 0 && retained_feed_peek(flow->retained, &source, &item)) {
        bool stored = item.qos > 0 && session_is_durable(session);
        if (!can_leave(session, &item) || (stored && !durable_next_id_free(session)))
            return false;
        retained_feed_pop(flow->retained);
        if (stored)
            send_retained_durable(session, &item);
        else
            send_left(session, &item);
    }
    if (!retained_feed_ended(flow->retained)) {
        if (!retained_feed_waits(flow->retained))
            retained_feed_go_on_later(flow->retained);
        return false;
    }
    retained_feed_free(flow->retained);
    flow->retained = NULL;
    return true;
}

/* A flow that nothing is in any more goes again: it may only have served some retained messages of QoS 0. */
static void trim_flow(struct session *session)
{
    struct session_flow *flow = session->flow;

    if (flow->retained != NULL || flow->inflight.entries != NULL || flow->mqueue.classes != NULL ||
        flow->awaiting_rel != NULL || flow->drop_count > 0)
        return;
    free(flow);
    session->flow = NULL;
}

void session_flow_trim(struct session *session)
{
    struct session_flow *flow = session->flow;

    if (flow == NULL)
        return;
    mqueue_trim(&flow->mqueue, MQUEUE_TRIM_FREE);
    if (flow->inflight.count == 0)
        inflight_fini(&flow->inflight);
    if (awaiting_rel_count(flow->awaiting_rel) == 0) {
        awaiting_rel_free(flow->awaiting_rel);
        flow->awaiting_rel = NULL;
    }
    trim_flow(session);
}

/* Sends from the queue what can leave; `only_sent`: what was in flight when the client left. True: there is no more of that. */
static bool drain_queue(struct session *session, bool only_sent)
{
    struct mqueue *queue = &session->flow->mqueue;
    struct delivery_item item;

    while (mqueue_peek(queue, &item) && (item.sent || !only_sent)) {
        if (!can_leave(session, &item))
            return false;
        mqueue_pop(queue);
        send_left(session, &item);
    }
    return true;
}

void session_drain(struct session *session)
{
    struct session_flow *flow = session->flow;
    bool durable = session_is_durable(session);

    if (session->link == NULL || flow == NULL || session->draining)
        return;
    session->draining = true;
    if (durable && session->durable->held_count > 0)
        send_held(session);
    resend_after_resume(session);
    if (flow->resend_left == 0 && (!durable || drain_queue(session, true)) && drain_retained(session))
        drain_queue(session, false);
    if (durable)
        queue_load_want(session);
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
    if (awaiting_rel_count(flow->awaiting_rel) > 0)
        want_tick(session, session->zone->session.await_rel_timeout_ms);
    session_drain(session);
}

/* Forgets inbound QoS 2 IDs that were never released. */
static void expire_awaiting_rel(struct session *session, uint64_t now_ms, uint64_t timeout_ms)
{
    struct awaiting_rel *set = session->flow->awaiting_rel;
    uint32_t expired, before_s;

    if (set == NULL || timeout_ms == 0 || now_ms <= timeout_ms)
        return;
    before_s = (uint32_t)((now_ms - timeout_ms) / 1000);
    for (uint32_t i = set->head;
         session_is_durable(session) && i < set->head + set->count && set->since_s[i] < before_s; i++)
        durable_delete_awaiting_rel(session, set->ids[i]);
    expired = awaiting_rel_expire(set, before_s);
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
    if (awaiting_rel_count(flow->awaiting_rel) > 0 && timeout_ms > 0 && (next_ms == 0 || timeout_ms < next_ms))
        next_ms = timeout_ms;
    if (flow->mqueue.count > 0)
        metric_add(METRIC_MESSAGES_EXPIRED, mqueue_purge(&flow->mqueue, now_ms));
    want_tick(session, next_ms > 2000 ? next_ms / 2 : next_ms);
}

/* The window's entry, or NULL. */
static struct inflight_entry *find_inflight(struct session *session, uint16_t packet_id)
{
    struct inflight_entry *entry = session->flow == NULL ? NULL : inflight_find(&session->flow->inflight, packet_id);

    return entry != NULL && entry->state == INFLIGHT_WAIT_STORE ? NULL : entry; /* that one was not sent yet */
}

const struct message *session_sent_message(struct session *session, uint16_t packet_id, uint8_t qos)
{
    const struct inflight_entry *entry = find_inflight(session, packet_id);

    return entry == NULL || entry->state != (qos == 1 ? INFLIGHT_WAIT_PUBACK : INFLIGHT_WAIT_PUBREC) ? NULL
                                                                                                     : entry->message;
}

/* The exchange of a PUBLISH is over. */
static void delete_row(struct session *session, const struct inflight_entry *entry)
{
    struct delivery_item item;

    if (LIKELY(!entry->stored))
        return;
    item = inflight_item(entry);
    durable_delete_entry(session, &item);
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
    delete_row(session, entry);
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
        if (entry->state == INFLIGHT_WAIT_PUBCOMP)
            durable_completed(session, entry);
        else
            delete_row(session, entry);
        message_unref(inflight_remove(&session->flow->inflight, entry));
        drain_if_waiting(session);
        return 0;
    }
    if (entry->stored && entry->state == INFLIGHT_WAIT_PUBREC)
        durable_received(session, entry);
    entry->message = message_unref(entry->message);
    entry->state = INFLIGHT_WAIT_PUBCOMP;
    entry->sent_ms = (uint32_t)now_of(session);
    session->host->link_ops->pubrel(session->link, packet_id);
    return 0;
}

int session_on_pubcomp(struct session *session, uint16_t packet_id)
{
    struct inflight_entry *entry = find_inflight(session, packet_id);

    if (entry == NULL)
        return -ENOENT;
    if (entry->state != INFLIGHT_WAIT_PUBCOMP)
        return -EPROTO;
    durable_completed(session, entry);
    inflight_remove(&session->flow->inflight, entry);
    drain_if_waiting(session);
    return 0;
}

enum session_qos2 session_on_publish_qos2(struct session *session, uint16_t packet_id)
{
    uint32_t max = session->zone->session.max_awaiting_rel;
    struct awaiting_rel *set = session_awaiting_rel_get(session);

    if (set == NULL)
        return SESSION_QOS2_NO_MEMORY;
    if (awaiting_rel_has(set, packet_id))
        return SESSION_QOS2_DUPLICATE;
    if (max > 0 && awaiting_rel_count(set) >= max)
        return SESSION_QOS2_FULL;
    /* Else each exchange would write two rows that nobody takes, for as long as the disk fails. */
    if (session_is_durable(session) && UNLIKELY(store_state(session->host->store) != STORE_OPEN))
        return SESSION_QOS2_UNSTORED;
    if (awaiting_rel_add(set, packet_id, (uint32_t)(now_of(session) / 1000)) < 0)
        return SESSION_QOS2_NO_MEMORY;
    want_tick(session, session->zone->session.await_rel_timeout_ms);
    return SESSION_QOS2_NEW;
}

bool session_awaits_rel(const struct session *session, uint16_t packet_id)
{
    return session->flow != NULL && awaiting_rel_has(session->flow->awaiting_rel, packet_id);
}

void session_forget_qos2(struct session *session, uint16_t packet_id)
{
    if (session->flow != NULL)
        awaiting_rel_remove(session->flow->awaiting_rel, packet_id);
}

bool session_on_pubrel(struct session *session, uint16_t packet_id)
{
    if (session->flow == NULL || !awaiting_rel_remove(session->flow->awaiting_rel, packet_id))
        return false;
    if (session_is_durable(session))
        durable_delete_awaiting_rel(session, packet_id);
    return true;
}

void session_store_awaiting_rel(struct session *session, uint16_t packet_id)
{
    if (session_is_durable(session))
        durable_put_awaiting_rel(session, packet_id);
}

int session_push_retained(struct session *session, const struct retained_request *request)
{
    struct retained_source source;
    struct session_flow *flow;

    if (retainer_is_empty(session->host->retainer))
        return 0;
    flow = session_flow_get(session);
    if (flow == NULL)
        return -ENOMEM;
    source = retained_source_of(session);
    return retained_feed_add(&flow->retained, &source, request);
}

void session_cancel_retained(struct session *session, struct slice filter)
{
    if (session->flow != NULL && session->flow->retained != NULL)
        retained_feed_cancel(session->flow->retained, filter);
}
