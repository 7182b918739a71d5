/*
 * retained_feed: an array of messages read from the front, and the subscriptions whose matching goes on: in order, but for those
 * that wait for the loading, which let the others pass.
 */
#include "broker/session/retained_feed.h"

#include "base/hash.h"
#include "base/rcu_table.h"
#include "broker/retainer/retained_read.h"
#include "broker/retainer/retainer.h"
#include "event/worker.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

struct waiting {
    struct message *message; /* NULL: it could not be read, or there is none any more */
    uint32_t subscription_id;
    uint8_t qos; /* the subscription's */
    bool upgrade_qos;
};

struct pending {
    struct pending *next;
    struct pending *prev;
    uint64_t hash; /* of the filter */
    struct retainer_position position;
    uint32_t subscription_id;
    uint8_t qos;
    bool upgrade_qos;
    bool has_wildcard;
    bool repeat; /* subscribed to again since it began: once more from the beginning [MQTT-3.8.4-4] */
    uint16_t filter_len;
    uint8_t filter[];
};

struct retained_feed {
    struct waiting *items;
    uint32_t first;
    uint32_t count; /* one past the last */
    uint32_t capacity;
    bool short_of_memory;
    struct pending *pending; /* the first one's matching goes on next */
    struct pending *pending_last;
    uint32_t pending_count;
    uint32_t not_yet_count; /* asked one after the other, and all that they match from here on is still to be loaded */
    uint64_t load_version;  /* before the first of those was asked */
    struct retained_waiter waiter; /* for the loading */
    struct retained_read *read;    /* of the first item, and some behind it; NULL: none */
    struct worker *worker;         /* where `work` runs; NULL: it was not asked yet */
    void (*wake)(void *context);   /* when the wait is over; NULL: nobody cares */
    void *context;                 /* of `wake` */
    struct work work;              /* calls it in the next turn */
    struct rcu_table *index;       /* the pending ones by filter: thousands may come in one packet */
};

static void collect(struct retained_feed *feed, struct message *message, const struct pending *pending)
{
    if (feed->count == feed->capacity) {
        uint32_t capacity = feed->capacity == 0 ? 8 : feed->capacity * 2;
        struct waiting *grown = realloc(feed->items, capacity * sizeof(*grown));
        if (grown == NULL) {
            feed->short_of_memory = true;
            return;
        }
        feed->items = grown;
        feed->capacity = capacity;
    }
    feed->items[feed->count++] = (struct waiting){.message = message_ref(message),
                                                  .subscription_id = pending->subscription_id,
                                                  .qos = pending->qos,
                                                  .upgrade_qos = pending->upgrade_qos};
}

struct collecting {
    struct retained_feed *feed;
    const struct pending *pending;
};

static void on_match(void *context, struct message *message)
{
    const struct collecting *collecting = context;

    collect(collecting->feed, message, collecting->pending);
}

static void pending_free(struct pending *pending)
{
    retainer_position_fini(&pending->position);
    free(pending);
}

static void pending_append(struct retained_feed *feed, struct pending *pending)
{
    pending->next = NULL;
    pending->prev = feed->pending_last;
    if (feed->pending_last != NULL)
        feed->pending_last->next = pending;
    else
        feed->pending = pending;
    feed->pending_last = pending;
    feed->pending_count++;
}

static void pending_unlink(struct retained_feed *feed, struct pending *pending)
{
    if (pending->prev != NULL)
        pending->prev->next = pending->next;
    else
        feed->pending = pending->next;
    if (pending->next != NULL)
        pending->next->prev = pending->prev;
    else
        feed->pending_last = pending->prev;
    feed->pending_count--;
}

static void pending_end(struct retained_feed *feed, struct pending *pending)
{
    rcu_table_remove(feed->index, pending->hash, pending);
    pending_unlink(feed, pending);
    pending_free(pending);
}

/* What comes next of it is still to be loaded: the others first. */
static void put_off(struct retained_feed *feed, struct pending *pending)
{
    feed->not_yet_count++;
    pending_unlink(feed, pending);
    pending_append(feed, pending);
}

static void rewind_position(struct pending *pending)
{
    retainer_position_fini(&pending->position);
    pending->position = (struct retainer_position){0};
}

/* Counts what a slice may look at; false when the turn has done enough. */
static bool take_budget(const struct retained_source *source, const struct pending *pending)
{
    uint64_t there = retainer_count(source->retainer);
    uint32_t cost = !pending->has_wildcard            ? 1
                    : there < RETAINED_FEED_SLICE - 1 ? (uint32_t)there + 1
                                                      : RETAINED_FEED_SLICE;

    if (*source->used >= RETAINED_TURN_MAX)
        return false;
    *source->used += cost;
    return true;
}

/* One slice of the first pending subscription; takes it off the list at its end. False when the turn has done enough. */
static bool match_slice(struct retained_feed *feed, const struct retained_source *source)
{
    struct pending *pending = feed->pending;
    struct collecting collecting = {.feed = feed, .pending = pending};
    int more;

    if (!take_budget(source, pending))
        return false;
    if (feed->not_yet_count == 0)
        feed->load_version = retained_load_version(source->retainer);
    if (feed->first == feed->count)
        feed->first = feed->count = 0;
    more = retainer_match_slice(source->retainer, slice_make(pending->filter, pending->filter_len), &pending->position,
                                RETAINED_FEED_SLICE, source->now_ms, on_match, &collecting);
    feed->short_of_memory |= more < 0;
    if (more == RETAINER_NOT_YET)
        put_off(feed, pending);
    else if (more <= 0 && pending->repeat) {
        pending->repeat = false;
        rewind_position(pending);
    } else if (more <= 0) {
        pending_end(feed, pending);
    }
    return true;
}

static uint64_t pending_hash(const void *element, const void *context)
{
    (void)context;
    return ((const struct pending *)element)->hash;
}

static bool pending_matches(const void *element, const void *key)
{
    const struct pending *pending = element;

    return slice_equal(slice_make(pending->filter, pending->filter_len), *(const struct slice *)key);
}

static struct pending *pending_new(const struct retained_request *request)
{
    struct pending *pending = calloc(1, sizeof(*pending) + request->filter.len);

    if (pending == NULL)
        return NULL;
    pending->hash = hash_text(request->filter);
    pending->subscription_id = request->subscription_id;
    pending->qos = request->qos;
    pending->upgrade_qos = request->upgrade_qos;
    pending->has_wildcard = mqtt_filter_has_wildcard(request->filter);
    pending->filter_len = (uint16_t)request->filter.len;
    memcpy(pending->filter, request->filter.data, request->filter.len);
    return pending;
}

static void on_work(struct worker *worker, struct work *work)
{
    const struct retained_feed *feed = CONTAINER_OF(work, struct retained_feed, work);

    (void)worker;
    feed->wake(feed->context);
}

void retained_feed_go_on_later(struct retained_feed *feed)
{
    worker_run_later(feed->worker, &feed->work);
}

static void wake_session(struct retained_feed *feed)
{
    if (feed->wake != NULL)
        retained_feed_go_on_later(feed);
}

static void on_loaded(struct worker *worker, struct retained_waiter *waiter)
{
    struct retained_feed *feed = CONTAINER_OF(waiter, struct retained_feed, waiter);

    (void)worker;
    feed->not_yet_count = 0;
    wake_session(feed);
}

static struct retained_feed *feed_new(void)
{
    struct retained_feed *feed = calloc(1, sizeof(*feed));

    if (feed == NULL)
        return NULL;
    retained_waiter_init(&feed->waiter, on_loaded);
    feed->work.run = on_work;
    feed->index = rcu_table_new(1, pending_hash, NULL);
    if (feed->index == NULL) {
        free(feed);
        return NULL;
    }
    return feed;
}

int retained_feed_add(struct retained_feed **feed, const struct retained_source *source,
                      const struct retained_request *request)
{
    struct retained_feed *list = *feed == NULL ? feed_new() : *feed;
    struct pending *pending = list == NULL ? NULL : pending_new(request);
    void *found = NULL;
    int err;

    *feed = list;
    if (pending == NULL)
        return -ENOMEM;
    err = rcu_table_insert(list->index, pending->hash, pending_matches, &request->filter, pending, &found);
    if (err < 0) {
        struct pending *waiting = found;
        free(pending);
        if (err != -EEXIST)
            return err;
        waiting->repeat = true;
        waiting->subscription_id = request->subscription_id;
        waiting->qos = request->qos;
        return 0;
    }
    pending_append(list, pending);
    list->not_yet_count = 0;
    if (list->pending == pending && list->count - list->first < RETAINED_FEED_SLICE)
        match_slice(list, source); /* else in a later turn */
    return list->short_of_memory ? -ENOMEM : 0;
}

void retained_feed_cancel(struct retained_feed *feed, struct slice filter)
{
    struct pending *pending = rcu_table_find(feed->index, hash_text(filter), pending_matches, &filter);

    if (pending != NULL)
        pending_end(feed, pending);
}

/* Puts what was read in the place of what it stood for. The first item has not left meanwhile. */
static void on_read(struct worker *worker, void *context, struct retained_read *read)
{
    struct retained_feed *feed = context;
    uint32_t item = feed->first;

    (void)worker;
    feed->read = NULL;
    for (uint32_t i = 0; i < retained_read_count(read); i++) {
        struct message *wanted = retained_read_wanted(read, i);
        while (feed->items[item].message != wanted)
            item++;
        message_unref(wanted); /* the item's; the read has its own */
        feed->items[item++].message = retained_read_steal(read, i);
    }
    wake_session(feed);
}

/* Has the first item read that is on disk only, and those behind it. */
static void begin_read(struct retained_feed *feed, const struct retained_source *source)
{
    struct message *wanted[RETAINED_READ_COUNT_MAX];
    uint32_t count = 0;

    for (uint32_t i = feed->first; i < feed->count && count < RETAINED_READ_COUNT_MAX; i++) {
        struct message *message = feed->items[i].message;
        if (message != NULL && retained_is_on_disk(message))
            wanted[count++] = message;
    }
    feed->read = retained_read_start(source->retainer, source->worker, wanted, count, on_read, feed);
    if (feed->read == NULL) /* without memory for it, this one is left out */
        feed->items[feed->first].message = message_unref(feed->items[feed->first].message);
}

/* Finds the item to send next. False: none now. */
static bool find_first(struct retained_feed *feed, const struct retained_source *source)
{
    while (feed->first < feed->count || feed->pending != NULL) {
        if (feed->first == feed->count && feed->not_yet_count >= feed->pending_count) {
            if (retained_wait(source->retainer, source->worker, &feed->waiter, feed->load_version))
                return false;
            feed->not_yet_count = 0;
        }
        if (feed->first == feed->count && !match_slice(feed, source))
            return false;
        if (feed->first == feed->count)
            continue; /* many filters match nothing */
        struct message *message = feed->items[feed->first].message;
        if (message == NULL) {
            feed->first++;
            continue;
        }
        if (LIKELY(!retained_is_on_disk(message)))
            return true;
        if (feed->read == NULL)
            begin_read(feed, source);
        if (feed->read != NULL)
            return false;
    }
    return false;
}

bool retained_feed_peek(struct retained_feed *feed, const struct retained_source *source,
                        struct delivery_item *out_item)
{
    feed->worker = source->worker;
    feed->wake = source->wake;
    feed->context = source->context;
    if (!find_first(feed, source))
        return false;
    const struct waiting *waiting = &feed->items[feed->first];
    const struct message *message = waiting->message;
    bool lower = waiting->upgrade_qos ? message->qos > waiting->qos : message->qos < waiting->qos;
    *out_item = (struct delivery_item){
        .message = waiting->message,
        .subscription_id = waiting->subscription_id,
        .qos = lower ? message->qos : waiting->qos,
        .retain = true,
        .copy = true,
    };
    return true;
}

bool retained_feed_waits(const struct retained_feed *feed)
{
    return feed->read != NULL || !list_empty(&feed->waiter.list);
}

void retained_feed_stop(struct retained_feed *feed)
{
    if (feed == NULL)
        return;
    retained_read_cancel(feed->read);
    feed->read = NULL;
    retained_wait_cancel(&feed->waiter);
    feed->wake = NULL;
    if (feed->work.queued)
        worker_run_cancel(feed->worker, &feed->work);
}

void retained_feed_pop(struct retained_feed *feed)
{
    feed->first++;
}

bool retained_feed_ended(const struct retained_feed *feed)
{
    return feed->first == feed->count && feed->pending == NULL;
}

uint32_t retained_feed_drop(struct retained_feed *feed, uint32_t most)
{
    uint32_t count = 0;

    for (; feed->pending != NULL && count < most; count++) {
        struct pending *first = feed->pending;
        pending_end(feed, first);
        ASSERT(feed->pending != first);
    }
    return count;
}

void retained_feed_free(struct retained_feed *feed)
{
    if (feed == NULL)
        return;
    retained_feed_stop(feed);
    for (uint32_t i = feed->first; i < feed->count; i++)
        message_unref(feed->items[i].message);
    while (feed->pending != NULL) {
        struct pending *next = feed->pending->next;
        pending_free(feed->pending);
        feed->pending = next;
    }
    rcu_table_free(feed->index, NULL);
    free(feed->items);
    free(feed);
}
