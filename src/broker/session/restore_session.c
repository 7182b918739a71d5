/*
 * restore_session: one session of restore.h, from its rows in five tables.
 */
#include "broker/session/restore_internal.h"

#include "broker/session/durable.h"
#include "broker/session/message_body.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"

#include <errno.h>
#include <stdlib.h>

#define LEFT_FIRST_CAPACITY 256u
#define SHARED_FIRST_CAPACITY 4u

/* ---- rows ---- */

void restore_damaged(struct restore *restore, enum store_table table)
{
    restore->findings.damaged[table]++;
    restore->counts.damaged++;
}

void restore_delete_row(struct restore *restore, enum store_table table, struct slice key)
{
    restore->findings.orphans[table]++;
    restore->counts.orphans++;
    store_delete(restore->client, table, key);
    if (store_open_bytes(restore->client) > RESTORE_SUBMIT_BYTES)
        store_submit(restore->client, false);
}

int restore_next_row(struct restore *restore, struct table_cursor *cursor, uint64_t number, struct slice *key,
                     struct slice *value)
{
    for (;;) {
        uint64_t found;
        int err = table_cursor_peek(cursor, key, value);
        if (err != 1)
            return err;
        if (key->len < SESSION_KEY_LEN || session_key_decode(slice_make(key->data, SESSION_KEY_LEN), &found) < 0) {
            restore_damaged(restore, cursor->table);
        } else if (found >= number) {
            return found == number;
        } else {
            restore_delete_row(restore, cursor->table, *key);
        }
        table_cursor_next(cursor);
    }
}

/* The function is called for each row of the session in the order of keys. 0 or -errno. */
typedef int visit_row_fn(struct restore *restore, struct slice key, struct slice value);

static int each_row(struct restore *restore, struct table_cursor *cursor, visit_row_fn *visit)
{
    struct slice key, value;
    int err;

    while ((err = restore_next_row(restore, cursor, restore->now.number, &key, &value)) == 1) {
        err = visit(restore, key, value);
        if (err < 0)
            return err;
        table_cursor_next(cursor);
    }
    return err;
}

/* ---- subscriptions ---- */

static int note_shared(struct restore *restore, const struct mqtt_shared_filter *filter)
{
    struct subscription *subscription = subscription_find(restore->now.session, filter);

    if (subscription == NULL || !subscription->is_shared)
        return 0;
    if (restore->now.shared_count == restore->now.shared_capacity) {
        uint32_t capacity = restore->now.shared_capacity == 0 ? SHARED_FIRST_CAPACITY
                                                              : restore->now.shared_capacity * 2;
        struct shared_row *grown = realloc(restore->now.shared, capacity * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        restore->now.shared = grown;
        restore->now.shared_capacity = capacity;
    }
    restore->now.shared[restore->now.shared_count++] = (struct shared_row){.hash = subscription->shared->share_hash,
                                                                           .number = subscription->shared->number};
    return 0;
}

static int restore_subscription(struct restore *restore, struct slice key, struct slice value)
{
    struct subscription_record record;
    struct mqtt_shared_filter filter;
    uint64_t number;
    bool is_new;
    int err;

    if (subscription_key_decode(key, &number, &filter) < 0 || subscription_record_decode(value, &record) < 0) {
        restore_damaged(restore, STORE_SUBSCRIPTION);
        return 0;
    }
    struct mqtt_subscription_options options = {
        .qos = record.qos,
        .no_local = record.no_local,
        .retain_as_published = record.retain_as_published,
        .retain_handling = record.retain_handling,
    };
    err = subscription_add(restore->now.session, &filter, &options, record.subscription_id, &is_new);
    if (err < 0)
        return err;
    restore->counts.subscriptions++;
    return filter.group.data == NULL ? 0 : note_shared(restore, &filter);
}

/* 0: none that the session still has. */
static uint32_t share_number_of(const struct restore *restore, uint32_t hash)
{
    for (uint32_t i = 0; hash != 0 && i < restore->now.shared_count; i++) {
        if (restore->now.shared[i].hash == hash)
            return restore->now.shared[i].number;
    }
    return 0;
}

/* ---- queue, window, received IDs ---- */

/* May this entry have been sent? What was sent when the client left is known. When the process died, it was, in each class,
 * what the window let through at most. */
static bool may_be_sent(struct restore *restore, uint64_t sequence, uint16_t priority)
{
    uint16_t class = priority < RESTORE_PRIORITIES ? priority : RESTORE_PRIORITIES - 1;

    if (sequence <= restore->now.record.sent_through)
        return true;
    return restore->now.record.left_ms == 0 && restore->now.unsent_count[class]++ < restore->now.record.window;
}

static int restore_entry(struct restore *restore, struct slice key, struct slice value)
{
    struct message_body *body = NULL;
    struct queue_record record;
    uint64_t number, sequence;
    bool sent;
    int err;

    if (queue_key_decode(key, &number, &sequence) < 0 || queue_record_decode(value, &record) < 0) {
        restore_damaged(restore, STORE_QUEUE);
        return 0;
    }
    restore->now.last_sequence = sequence;
    if (record.body_number != 0) {
        err = body_index_refer(&restore->bodies, record.body_number, &body);
        if (err == -ENOENT) { /* of a QoS 2 publish that was never acknowledged: its body is written last */
            restore_delete_row(restore, STORE_QUEUE, key);
            return 0;
        }
        if (err < 0)
            return err;
    }
    sent = may_be_sent(restore, sequence, record.priority);
    if (sent)
        restore->now.sent_through = sequence;
    restore->counts.entries++;
    return durable_restore_entry(restore->now.session, sequence, &record, body,
                                 share_number_of(restore, record.share_hash), sent);
}

static int restore_released(struct restore *restore, struct slice key, struct slice value)
{
    uint64_t number, sequence;

    (void)value;
    if (queue_key_decode(key, &number, &sequence) < 0) {
        restore_damaged(restore, STORE_INFLIGHT);
        return 0;
    }
    if (restore->now.last_sequence < sequence)
        restore->now.last_sequence = sequence;
    if (restore->now.session->flow != NULL &&
        inflight_find(&restore->now.session->flow->inflight, inflight_packet_id(sequence)) != NULL) {
        restore_damaged(restore, STORE_INFLIGHT); /* we never give an ID twice */
        return 0;
    }
    return durable_restore_released(restore->now.session, sequence);
}

/* Its time begins anew: await_rel_timeout is for clients that never come back to it, not for a broker that was away. */
static int restore_awaiting_rel(struct restore *restore, struct slice key, struct slice value)
{
    struct awaiting_rel *set = session_awaiting_rel_get(restore->now.session);
    uint64_t number;
    uint16_t packet_id;

    (void)value;
    if (set == NULL)
        return -ENOMEM;
    if (awaiting_rel_key_decode(key, &number, &packet_id) < 0) {
        restore_damaged(restore, STORE_AWAITING_REL);
        return 0;
    }
    return awaiting_rel_add(set, packet_id, (uint32_t)(restore->mono_ms / 1000));
}

/* ---- one session ---- */

static const struct zone *zone_of(struct restore *restore)
{
    bool known = false;
    const struct zone *zone = restore->options->find_zone(restore->options->context, restore->now.record.zone, &known);

    if (!known) {
        size_t len = restore->now.record.zone.len;
        restore->findings.foreign_count++;
        len = len < sizeof(restore->findings.foreign_zone) ? len : sizeof(restore->findings.foreign_zone) - 1;
        memcpy(restore->findings.foreign_zone, restore->now.record.zone.data, len);
        restore->findings.foreign_zone[len] = '\0';
    }
    return zone;
}

/* Its expiry interval begins when it is published: of that nothing has passed. */
static int restore_will(struct restore *restore, struct session *session)
{
    struct message_record record;
    bool expired;

    if (restore->now.record.will.len == 0)
        return 0;
    if (message_record_decode(restore->now.record.will, &record) < 0) {
        restore_damaged(restore, STORE_SESSION);
        return 0;
    }
    session->will = message_record_restore(&record, restore->mono_ms, record.created_ms, &expired);
    session->will_delay_s = restore->now.record.will_delay_s;
    return session->will == NULL && !expired ? -ENOMEM : 0;
}

/* Two with one client ID are there when the older one's end was not yet on disk: it ends again. */
static int register_session(struct restore *restore, struct session *session)
{
    struct slice client_id = session_client_id(session);
    uint64_t hash = session_hash_of(client_id);
    struct rcu_table *registry = session->host->registry;
    void *older = NULL;
    int err = rcu_table_insert(registry, hash, session_matches, &client_id, session, &older);

    if (err == -EEXIST) {
        struct session *replaced = older;
        replaced->registered = false;
        rcu_table_remove(registry, hash, replaced);
        for (uint64_t i = restore->left_count; i-- > 0;) {
            if (restore->left[i].session == replaced)
                restore->left[i].ended = true;
        }
        err = rcu_table_insert(registry, hash, session_matches, &client_id, session, NULL);
    }
    session->registered = err == 0;
    return err;
}

static bool has_expired(const struct restore *restore, uint64_t left_ms)
{
    uint32_t interval_s = restore->now.record.expiry_interval_s;

    return interval_s != UINT32_MAX && left_ms + (uint64_t)interval_s * 1000 <= restore->store_ms;
}

static int note_left(struct restore *restore, struct session *session)
{
    uint64_t left_ms = restore->now.record.left_ms == 0 ? restore->store_ms : restore->now.record.left_ms;

    if (restore->left_count == restore->left_capacity) {
        uint64_t capacity = restore->left_capacity == 0 ? LEFT_FIRST_CAPACITY : restore->left_capacity * 2;
        struct left_session *grown = realloc(restore->left, capacity * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        restore->left = grown;
        restore->left_capacity = capacity;
    }
    restore->left[restore->left_count++] = (struct left_session){
        .session = session,
        .left_ms = left_ms,
        .number = restore->now.number,
        .ended = has_expired(restore, left_ms),
    };
    return 0;
}

static int make_session(struct restore *restore)
{
    const struct restore_options *options = restore->options;
    const struct session_record *record = &restore->now.record;
    uint64_t hash = session_hash_of(record->client_id);
    struct session_host *host = options->hosts[hash % options->host_count];
    struct session *session = session_new(host, record->client_id, zone_of(restore));
    int err;

    if (session == NULL)
        return -ENOMEM;
    session->created_at_s = (uint32_t)record->created_at_s;
    session->window = record->window;
    session->version = record->version;
    session->clean_start = false;
    session_set_expiry(session, record->expiry_interval_s);
    restore->now.session = session;
    err = register_session(restore, session);
    if (err == 0)
        err = note_left(restore, session);
    if (err == 0)
        err = restore_will(restore, session);
    return err;
}

/* Everything after the record, in the order in which one needs the other. */
static int fill_session(struct restore *restore)
{
    struct durable *durable;
    uint64_t last_given;
    int err = each_row(restore, &restore->subscriptions, restore_subscription);

    if (err == 0)
        err = durable_restore(restore->now.session, restore->now.number);
    if (err == 0)
        err = each_row(restore, &restore->queue, restore_entry);
    if (err == 0)
        err = each_row(restore, &restore->inflight, restore_released);
    if (err == 0)
        err = each_row(restore, &restore->awaiting_rel, restore_awaiting_rel);
    if (err < 0)
        return err;
    if (restore->now.session->flow != NULL)
        mqueue_trim(&restore->now.session->flow->mqueue, MQUEUE_TRIM_ALL); /* most of them wait as they are for long */
    durable = restore->now.session->durable;
    last_given = restore->now.record.reserved_through;
    if (last_given < restore->now.last_sequence)
        last_given = restore->now.last_sequence;
    durable->next_sequence = (last_given + 1) & SEQUENCE_MAX;
    durable->reserved_count = 0;
    durable->committed_through = last_given;
    durable->sent_through = restore->now.sent_through & SEQUENCE_MAX;
    durable->left_ms = restore->left[restore->left_count - 1].left_ms & DURABLE_MS_MAX;
    return 0;
}

int restore_session(struct restore *restore)
{
    struct session_host *host;
    int err;

    restore->now.shared_count = 0;
    restore->now.last_sequence = 0;
    restore->now.sent_through = restore->now.record.sent_through;
    memset(restore->now.unsent_count, 0, sizeof(restore->now.unsent_count));
    err = make_session(restore);
    if (err == 0)
        err = fill_session(restore);
    if (err < 0)
        return err;
    restore->counts.sessions++;
    host = restore->now.session->host;
    if (restore->now.record.left_ms == 0) /* so that its expiry goes on from now if this run dies, too */
        durable_write_session(restore->now.session);
    if (store_open_bytes(host->client) > RESTORE_SUBMIT_BYTES)
        store_submit(host->client, false);
    return 0;
}

/* ---- a record that means nothing: what belongs to it stays as well ---- */

static int leave_row(struct restore *restore, struct slice key, struct slice value)
{
    (void)restore;
    (void)key;
    (void)value;
    return 0;
}

static int leave_entry(struct restore *restore, struct slice key, struct slice value)
{
    struct queue_record record;

    (void)key;
    if (queue_record_decode(value, &record) < 0)
        restore_damaged(restore, STORE_QUEUE);
    else if (record.body_number != 0)
        body_index_keep(&restore->bodies, record.body_number);
    return 0;
}

int restore_leave_session(struct restore *restore)
{
    int err = each_row(restore, &restore->subscriptions, leave_row);

    restore_damaged(restore, STORE_SESSION);
    if (err == 0)
        err = each_row(restore, &restore->queue, leave_entry);
    if (err == 0)
        err = each_row(restore, &restore->inflight, leave_row);
    if (err == 0)
        err = each_row(restore, &restore->awaiting_rel, leave_row);
    return err;
}
