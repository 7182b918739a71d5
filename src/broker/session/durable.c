/*
 * durable: see durable.h. Here: the life of it, its rows, and the memory it gives up; what waits for the store is in durable_wait.c.
 */
#include "broker/session/durable.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/session/durable_internal.h"
#include "broker/session/message_body.h"
#include "broker/session/queue_load.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/session_record.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define RECORD_BYTES_MAX (512u << 20) /* of a session with its will: more than any packet brings */

static struct store_client *client_of(const struct session *session)
{
    return session->host->client;
}

/* ---- the session's record ---- */

static int encode_will(const struct session *session, struct buffer *out)
{
    uint8_t head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];
    int err = 0;

    if (session->will == NULL)
        return 0;
    message_record_encode(session->will, store_now_ms(session->host->store), head, parts);
    for (uint32_t i = 0; i < MESSAGE_RECORD_PARTS && err == 0; i++)
        err = buffer_append(out, parts[i]);
    return err;
}

static int encode_session(struct session *session, struct buffer *out)
{
    struct durable *durable = session->durable;
    const char *zone = session->zone->name;
    struct buffer will;
    int err;

    buffer_init(&will, RECORD_BYTES_MAX);
    err = encode_will(session, &will);
    struct session_record record = {
        .client_id = session_client_id(session),
        .zone = slice_from_string(zone == NULL ? "" : zone),
        .will = buffer_slice(&will),
        .expiry_interval_s = session->expiry_interval_s,
        .will_delay_s = session->will_delay_s,
        .created_at_s = session->created_at_s,
        .left_ms = durable->left_ms,
        .sent_through = durable->sent_through,
        .reserved_through = durable->next_sequence - 1 + durable->reserved_count,
        .window = session->window,
        .version = session->version,
    };
    if (err == 0)
        err = session_record_encode(&record, out);
    buffer_fini(&will);
    return err;
}

void durable_write_session(struct session *session)
{
    struct durable *durable = session->durable;
    uint8_t key[SESSION_KEY_LEN];
    struct buffer bytes;
    struct slice value;

    durable->reserved_count = SESSION_RESERVE;
    buffer_init(&bytes, RECORD_BYTES_MAX);
    if (encode_session(session, &bytes) < 0) {
        log_client_limited(LOG_LEVEL_ERROR, session_client_id(session), NULL,
                           "[Session] short of memory: what is stored of the session stays as it was");
    } else {
        session_key(durable->number, key);
        value = buffer_slice(&bytes);
        store_put(client_of(session), STORE_SESSION, slice_make(key, sizeof(key)), &value, 1);
    }
    buffer_fini(&bytes);
}

/* ---- written when others have what was handed on ---- */

struct settled_record {
    struct commit_step step;
    struct durable *durable; /* with a reference */
    struct session_host *host;
    bool delete;
};

static void delete_record(struct session_host *host, uint64_t number)
{
    uint8_t key[SESSION_KEY_LEN];

    session_key(number, key);
    store_delete(host->client, STORE_SESSION, slice_make(key, sizeof(key)));
}

static void on_settled(struct broker_worker *worker, struct commit_step *step)
{
    struct settled_record *record = CONTAINER_OF(step, struct settled_record, step);
    struct session *session = record->durable->session;

    (void)worker;
    if (record->delete)
        delete_record(record->host, record->durable->number);
    else if (session != NULL && !session->ended)
        durable_write_session(session);
    durable_unref(record->durable);
    free(record);
}

/* False: memory is short. */
static bool when_settled(struct session *session, bool delete)
{
    struct settled_record *record = malloc(sizeof(*record));

    if (record == NULL)
        return false;
    *record = (struct settled_record){
        .step.run = on_settled, .durable = durable_ref(session->durable), .host = session->host, .delete = delete};
    session->host->ops->when_settled(session->host, &record->step);
    return true;
}

void durable_delete_session_settled(struct session *session)
{
    if (!when_settled(session, true))
        durable_delete_session(session);
}

void durable_write_session_settled(struct session *session)
{
    if (!when_settled(session, false))
        durable_write_session(session);
}

/* ---- life ---- */

struct durable *durable_ref(struct durable *durable)
{
    durable->refs++;
    return durable;
}

struct durable *durable_unref(struct durable *durable)
{
    if (durable != NULL && --durable->refs == 0)
        free(durable);
    return NULL;
}

static void forget_queued(struct mqueue *queue, const struct delivery_item *item)
{
    durable_delete_entry(CONTAINER_OF(queue, struct session_flow, mqueue)->session, item);
}

void durable_on_flow(struct session *session)
{
    session->flow->mqueue.forget = forget_queued;
}

static int durable_make(struct session *session, uint64_t number)
{
    struct durable *durable = calloc(1, sizeof(*durable));

    if (durable == NULL)
        return -ENOMEM;
    durable->number = number;
    durable->session = session;
    durable->next_sequence = 1;
    durable->refs = 1;
    list_init(&durable->waiting);
    session->durable = durable;
    if (session->host->durable_count != NULL)
        atomic_fetch_add_explicit(session->host->durable_count, 1, memory_order_relaxed);
    if (session->flow != NULL)
        durable_on_flow(session);
    subscriptions_set_durable(session, true);
    return 0;
}

static uint64_t store_queued(void *context, const struct delivery_item *queued, uint16_t priority)
{
    struct session *session = context;
    struct delivery_item item = *queued;

    item.copy = true;
    item.share_hash = item.share_number == 0 ? 0 : subscriptions_share_hash(session, item.share_number);
    durable_put_entry_in(session, &item, priority);
    return item.sequence;
}

/* What a session brings that was not durable before. What it has in flight is not among that: its packet IDs were given in
 * another way, and nobody was promised more. */
static void store_all(struct session *session)
{
    struct session_flow *flow = session->flow;

    for (uint32_t i = 0; i < session->subscriptions.count; i++)
        durable_put_subscription(pointer_list_get(&session->subscriptions, i));
    if (flow == NULL)
        return;
    mqueue_store_all(&flow->mqueue, store_queued, session);
    for (uint32_t i = 0; i < awaiting_rel_count(flow->awaiting_rel); i++)
        durable_put_awaiting_rel(session, flow->awaiting_rel->ids[flow->awaiting_rel->head + i]);
}

void durable_begin(struct session *session)
{
    struct session_host *host = session->host;

    if (session->expiry_interval_s == 0 || host->store == NULL || session->zone->durability == DURABILITY_NONE)
        return;
    if (durable_make(session, store_next_number(host->store)) < 0) {
        log_client_limited(LOG_LEVEL_ERROR, session_client_id(session), NULL,
                           "[Session] short of memory: the session is not stored");
        return;
    }
    durable_write_session(session);
    store_all(session);
}

void durable_on_attached(struct session *session)
{
    session->durable->left_ms = 0;
    durable_write_session(session);
}

/* Newest first, so that they are in the order of sending again. PUBRELs stay. */
static void return_to_queue(struct session *session)
{
    struct inflight *window = &session->flow->inflight;

    for (uint32_t i = window->span; i > 0; i--) {
        struct inflight_entry *entry = inflight_at(window, i - 1);
        if (!entry->stored || entry->state == INFLIGHT_FREE || entry->state == INFLIGHT_WAIT_PUBCOMP)
            continue;
        struct delivery_item item = inflight_item(entry);
        if (mqueue_push_front_take(&session->flow->mqueue, &session->zone->session, &item) == 0)
            inflight_remove(window, entry);
    }
    if (window->count == 0)
        inflight_fini(window);
    session->durable->held_count = 0;
}

void durable_on_left(struct session *session)
{
    struct durable *durable = session->durable;

    durable->left_ms = store_now_ms(session->host->store) & DURABLE_MS_MAX;
    durable_write_session(session);
    queue_load_cancel(durable);
    if (session->flow == NULL)
        return;
    return_to_queue(session);
    durable_page_all_out(session);
}

void durable_on_ended(struct session *session)
{
    queue_load_cancel(session->durable);
    durable_stop_waiting(session->durable);
}

void durable_delete_session(struct session *session)
{
    delete_record(session->host, session->durable->number);
}

static uint32_t take_down_window(struct session *session, uint32_t most)
{
    struct inflight *window = &session->flow->inflight;
    uint32_t count = 0;

    for (; window->count > 0 && count < most; count++) {
        struct inflight_entry *entry = inflight_at(window, 0); /* never a hole */
        if (entry->state == INFLIGHT_WAIT_PUBCOMP) {
            durable_completed(session, entry);
        } else {
            struct delivery_item item = inflight_item(entry);
            durable_delete_entry(session, &item);
        }
        message_unref(inflight_remove(window, entry));
    }
    return count;
}

uint32_t durable_take_down(struct session *session, uint32_t most)
{
    struct session_flow *flow = session->flow;
    struct delivery_item item;
    uint32_t count;

    if (flow == NULL)
        return 0;
    count = take_down_window(session, most);
    for (; count < most && mqueue_peek(&flow->mqueue, &item); count++) {
        mqueue_pop(&flow->mqueue);
        durable_delete_entry(session, &item);
        message_unref(item.message);
    }
    for (; count < most && awaiting_rel_count(flow->awaiting_rel) > 0; count++) {
        uint16_t packet_id = flow->awaiting_rel->ids[flow->awaiting_rel->head];
        durable_delete_awaiting_rel(session, packet_id);
        awaiting_rel_remove(flow->awaiting_rel, packet_id);
    }
    return count;
}

void durable_end(struct session *session)
{
    struct durable *durable = session->durable;

    if (durable == NULL)
        return;
    if (session->host->durable_count != NULL)
        atomic_fetch_sub_explicit(session->host->durable_count, 1, memory_order_relaxed);
    durable->session = NULL;
    session->durable = durable_unref(durable);
}

static void drop_bodies(struct session_flow *flow)
{
    struct delivery_item item;

    for (uint32_t i = 0; i < flow->inflight.span; i++) {
        struct inflight_entry *entry = inflight_at(&flow->inflight, i);
        if (entry->state != INFLIGHT_FREE && entry->has_body && entry->message != NULL)
            message_body_unref(entry->message->body, NULL);
    }
    while (mqueue_peek(&flow->mqueue, &item)) {
        mqueue_pop(&flow->mqueue);
        message_body_unref(item.body, NULL);
        message_unref(item.message);
    }
}

void durable_drop_memory(struct session *session)
{
    queue_load_cancel(session->durable);
    durable_stop_waiting(session->durable);
    if (session->flow != NULL)
        drop_bodies(session->flow);
    subscriptions_set_durable(session, false);
    durable_end(session);
}

/* ---- after a restart ---- */

int durable_restore(struct session *session, uint64_t number)
{
    return durable_make(session, number);
}

int durable_restore_entry(struct session *session, uint64_t sequence, const struct queue_record *record,
                          struct message_body *body, uint32_t share_number, bool sent)
{
    struct durable *durable = session->durable;
    struct session_flow *flow = session_flow_get(session);
    struct delivery_item item = {
        .body = body,
        .sequence = sequence,
        .subscription_id = record->subscription_id,
        .share_number = share_number,
        .qos = record->qos,
        .retain = record->retain,
        .sent = sent,
    };

    if (flow == NULL || mqueue_restore_take(&flow->mqueue, record->priority, &item) < 0)
        return -ENOMEM;
    if (durable->next_sequence <= sequence)
        durable->next_sequence = (sequence + 1) & SEQUENCE_MAX;
    if (durable->committed_through < sequence)
        durable->committed_through = sequence;
    return 0;
}

int durable_restore_released(struct session *session, uint64_t sequence)
{
    struct session_flow *flow = session_flow_get(session);
    struct delivery_item item = {.sequence = sequence, .qos = 2};
    uint16_t packet_id;

    if (flow == NULL || inflight_push_take(&flow->inflight, &item, 0, &packet_id) < 0)
        return -ENOMEM;
    inflight_find(&flow->inflight, packet_id)->state = INFLIGHT_WAIT_PUBCOMP;
    if (session->durable->next_sequence <= sequence)
        session->durable->next_sequence = (sequence + 1) & SEQUENCE_MAX;
    return 0;
}

/* ---- rows ---- */

static int subscription_row_key(const struct subscription *subscription, struct buffer *out)
{
    struct mqtt_shared_filter filter = {.filter = subscription_filter(subscription)};

    if (subscription->is_shared)
        filter.group = share_group_name(subscription->shared->group);
    buffer_init(out, RECORD_BYTES_MAX);
    return subscription_key(subscription->session->durable->number, &filter, out);
}

void durable_put_subscription(const struct subscription *subscription)
{
    struct subscription_record record = {
        .subscription_id = subscription->subscription_id,
        .qos = subscription->qos,
        .retain_handling = subscription->retain_handling,
        .no_local = subscription->no_local,
        .retain_as_published = subscription->retain_as_published,
    };
    uint8_t value[SUBSCRIPTION_RECORD_LEN];
    struct slice part = slice_make(value, sizeof(value));
    struct buffer key;

    subscription_record_encode(&record, value);
    if (subscription_row_key(subscription, &key) < 0)
        log_client_limited(LOG_LEVEL_ERROR, session_client_id(subscription->session), NULL,
                           "[Session] short of memory: a subscription is not stored");
    else
        store_put(client_of(subscription->session), STORE_SUBSCRIPTION, buffer_slice(&key), &part, 1);
    buffer_fini(&key);
}

void durable_delete_subscription(const struct subscription *subscription)
{
    struct buffer key;

    if (subscription_row_key(subscription, &key) < 0)
        log_client_limited(LOG_LEVEL_ERROR, session_client_id(subscription->session), NULL,
                           "[Session] short of memory: a subscription that ended stays stored");
    else
        store_delete(client_of(subscription->session), STORE_SUBSCRIPTION, buffer_slice(&key));
    buffer_fini(&key);
}

void durable_put_entry_in(struct session *session, struct delivery_item *item, uint16_t priority)
{
    struct durable *durable = session->durable;
    const struct message *message = item->message;
    uint8_t key[QUEUE_KEY_LEN], head[QUEUE_RECORD_HEAD], message_head[MESSAGE_RECORD_HEAD];
    struct slice parts[1 + MESSAGE_RECORD_PARTS] = {slice_make(head, sizeof(head))};
    struct queue_record record = {
        .subscription_id = item->subscription_id,
        .share_hash = item->share_hash,
        .priority = priority,
        .qos = item->qos,
        .retain = item->retain,
    };

    item->sequence = durable->next_sequence++;
    if (UNLIKELY(durable->reserved_count == 0))
        durable_write_session(session);
    else
        durable->reserved_count--;
    if (message->body != NULL && !item->copy) {
        item->body = message_body_ref(message->body);
        record.body_number = item->body->number;
    } else {
        message_record_encode(message, store_time_ms(session->host->store, message->created_ms), message_head,
                              parts + 1);
    }
    if (item->qos == 2 && session->zone->durability == DURABILITY_FSYNC) { /* it waits for that (durable_may_leave()) */
        if (item->body != NULL && message->qos == 2)
            atomic_store_explicit(&item->body->awaited, true, memory_order_relaxed);
        else
            session->host->want_sync = true;
    }
    queue_record_encode(&record, head);
    queue_key(durable->number, item->sequence, key);
    store_put(client_of(session), STORE_QUEUE, slice_make(key, sizeof(key)), parts,
              item->body != NULL ? 1 : 1 + MESSAGE_RECORD_PARTS);
    durable_note_entry(session, item->sequence);
}

void durable_put_entry(struct session *session, struct delivery_item *item)
{
    durable_put_entry_in(session, item, mqueue_priority(&session->zone->session, item->message));
}

void durable_delete_row(struct session_host *host, uint64_t session_number, uint64_t sequence,
                        struct message_body *body)
{
    uint8_t key[QUEUE_KEY_LEN];

    queue_key(session_number, sequence, key);
    store_delete(host->client, STORE_QUEUE, slice_make(key, sizeof(key)));
    message_body_unref(body, host->client);
}

void durable_delete_entry(struct session *session, const struct delivery_item *item)
{
    if (item->sequence != 0)
        durable_delete_row(session->host, session->durable->number, item->sequence, item->body);
}

void durable_received(struct session *session, const struct inflight_entry *entry)
{
    struct delivery_item item = inflight_item(entry);
    uint8_t key[QUEUE_KEY_LEN];

    if (item.sequence == 0)
        return;
    queue_key(session->durable->number, item.sequence, key);
    store_put(client_of(session), STORE_INFLIGHT, slice_make(key, sizeof(key)), NULL, 0);
    durable_delete_entry(session, &item);
}

void durable_completed(struct session *session, const struct inflight_entry *entry)
{
    uint8_t key[QUEUE_KEY_LEN];

    if (!entry->stored)
        return;
    queue_key(session->durable->number, inflight_sequence(entry), key);
    store_delete(client_of(session), STORE_INFLIGHT, slice_make(key, sizeof(key)));
}

void durable_put_awaiting_rel(struct session *session, uint16_t packet_id)
{
    uint8_t key[AWAITING_REL_KEY_LEN];

    awaiting_rel_key(session->durable->number, packet_id, key);
    store_put(client_of(session), STORE_AWAITING_REL, slice_make(key, sizeof(key)), NULL, 0);
}

void durable_delete_awaiting_rel(struct session *session, uint16_t packet_id)
{
    uint8_t key[AWAITING_REL_KEY_LEN];

    awaiting_rel_key(session->durable->number, packet_id, key);
    store_delete(client_of(session), STORE_AWAITING_REL, slice_make(key, sizeof(key)));
}
