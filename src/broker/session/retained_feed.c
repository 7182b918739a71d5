/*
 * retained_feed: an array of messages read from the front, and the subscriptions whose matching goes on.
 */
#include "broker/session/retained_feed.h"

#include "base/hash.h"
#include "base/rcu_table.h"
#include "broker/retainer/retainer.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

#define SLICES_PER_PEEK 8

struct waiting {
    struct message *message;
    uint32_t subscription_id;
    uint8_t qos;
};

struct pending {
    struct pending *next;
    uint64_t hash; /* of the filter */
    struct retainer_position position;
    uint32_t subscription_id;
    uint8_t qos;
    bool upgrade_qos;
    bool cancelled; /* unsubscribed meanwhile */
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
    struct pending **pending_tail;
    struct rcu_table *index; /* the pending ones by filter: thousands may come in one packet */
};

static void collect(struct retained_feed *feed, struct message *message, const struct pending *pending)
{
    bool lower = pending->upgrade_qos ? message->qos > pending->qos : message->qos < pending->qos;

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
                                                  .qos = lower ? message->qos : pending->qos};
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

/* One slice of the first pending subscription; takes it off the list at its end. */
static void match_slice(struct retained_feed *feed, struct retainer *retainer, uint64_t now_ms)
{
    struct pending *pending = feed->pending;
    struct collecting collecting = {.feed = feed, .pending = pending};
    int more = 0;

    if (feed->first == feed->count)
        feed->first = feed->count = 0;
    if (!pending->cancelled)
        more = retainer_match_slice(retainer, slice_make(pending->filter, pending->filter_len), &pending->position,
                                    RETAINED_FEED_SLICE, now_ms, on_match, &collecting);
    feed->short_of_memory |= more < 0;
    if (more > 0)
        return;
    rcu_table_remove(feed->index, pending->hash, pending);
    feed->pending = pending->next;
    if (feed->pending == NULL)
        feed->pending_tail = &feed->pending;
    pending_free(pending);
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
    pending->filter_len = (uint16_t)request->filter.len;
    memcpy(pending->filter, request->filter.data, request->filter.len);
    return pending;
}

static struct retained_feed *feed_new(void)
{
    struct retained_feed *feed = calloc(1, sizeof(*feed));

    if (feed == NULL)
        return NULL;
    feed->pending_tail = &feed->pending;
    feed->index = rcu_table_new(1, pending_hash, NULL);
    if (feed->index == NULL) {
        free(feed);
        return NULL;
    }
    return feed;
}

/* A filter that waits already was subscribed to once more. */
static void again(struct pending *pending, const struct retained_request *request)
{
    if (pending->cancelled) { /* a subscription of its own: from the beginning */
        retainer_position_fini(&pending->position);
        pending->position = (struct retainer_position){0};
        pending->cancelled = false;
    }
    pending->subscription_id = request->subscription_id;
    pending->qos = request->qos;
}

int retained_feed_add(struct retained_feed **feed, struct retainer *retainer, const struct retained_request *request,
                      uint64_t now_ms)
{
    struct retained_feed *list = *feed == NULL ? feed_new() : *feed;
    struct pending *pending = list == NULL ? NULL : pending_new(request);
    void *waiting = NULL;
    int err;

    *feed = list;
    if (pending == NULL)
        return -ENOMEM;
    err = rcu_table_insert(list->index, pending->hash, pending_matches, &request->filter, pending, &waiting);
    if (err < 0) {
        free(pending);
        if (err != -EEXIST)
            return err;
        again(waiting, request);
        return 0;
    }
    *list->pending_tail = pending;
    list->pending_tail = &pending->next;
    if (list->pending == pending && list->count - list->first < RETAINED_FEED_SLICE)
        match_slice(list, retainer, now_ms);
    return list->short_of_memory ? -ENOMEM : 0;
}

void retained_feed_cancel(struct retained_feed *feed, struct slice filter)
{
    struct pending *pending = rcu_table_find(feed->index, hash_text(filter), pending_matches, &filter);

    if (pending != NULL)
        pending->cancelled = true;
}

bool retained_feed_peek(struct retained_feed *feed, struct retainer *retainer, uint64_t now_ms,
                        struct delivery_item *out_item)
{
    for (int slices = 0; feed->first == feed->count && feed->pending != NULL && slices < SLICES_PER_PEEK; slices++)
        match_slice(feed, retainer, now_ms); /* many filters match nothing */
    if (feed->first == feed->count)
        return false;
    const struct waiting *waiting = &feed->items[feed->first];
    *out_item = (struct delivery_item){
        .message = waiting->message,
        .subscription_id = waiting->subscription_id,
        .qos = waiting->qos,
        .retain = true,
    };
    return true;
}

void retained_feed_pop(struct retained_feed *feed)
{
    feed->first++;
}

bool retained_feed_ended(const struct retained_feed *feed)
{
    return feed->first == feed->count && feed->pending == NULL;
}

void retained_feed_free(struct retained_feed *feed)
{
    if (feed == NULL)
        return;
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
