/*
 * mqueue: a ring per priority class. Without a priority table there is one class, whatever the topic. What concerns entries that are on
 * disk only is in mqueue_paging.c.
 */
#include "broker/session/mqueue.h"

#include "broker/session/mqueue_internal.h"
#include "broker/zone.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 8
#define DOUBLED_FROM 16  /* places; below, a ring grows by a half: absent sessions have small ones */
#define KEPT_CAPACITY 64 /* an emptied backlog that was larger gives its memory back */
#define PURGE_INTERVAL_MS 1000
#define PRIORITY_HIGHEST 256 /* above every number of the table */
#define PRIORITY_LOWEST 0

void mqueue_fini(struct mqueue *queue)
{
    for (uint32_t c = 0; c < queue->class_count; c++) {
        struct mqueue_class *class = &queue->classes[c];
        for (uint32_t i = 0; i < class->count; i++) {
            struct queued *queued = mqueue_item_at(class, i);
            if (!queued->on_disk && !queued->dead)
                message_unref(queued->message);
        }
        free(class->items);
    }
    free(queue->classes);
    *queue = (struct mqueue){.forget = queue->forget};
}

uint16_t mqueue_priority(const struct zone_session *settings, const struct message *message)
{
    for (uint32_t i = 0; i < settings->mqueue_priority_count; i++) {
        const struct mqueue_priority *row = &settings->mqueue_priorities[i];
        if (slice_equal(slice_from_string(row->topic), message_topic(message)))
            return row->priority;
    }
    return settings->mqueue_priority_count > 0 && settings->mqueue_default_highest ? PRIORITY_HIGHEST : PRIORITY_LOWEST;
}

struct mqueue_class *mqueue_class_get(struct mqueue *queue, uint16_t priority)
{
    uint32_t place = 0;

    while (place < queue->class_count && queue->classes[place].priority > priority)
        place++;
    if (place < queue->class_count && queue->classes[place].priority == priority)
        return &queue->classes[place];
    struct mqueue_class *grown = realloc(queue->classes, (queue->class_count + 1) * sizeof(*grown));
    if (grown == NULL)
        return NULL;
    memmove(&grown[place + 1], &grown[place], (queue->class_count - place) * sizeof(*grown));
    grown[place] = (struct mqueue_class){.priority = priority};
    queue->classes = grown;
    queue->class_count++;
    return &grown[place];
}

int mqueue_class_resize(struct mqueue_class *class, uint32_t capacity, bool has_origins)
{
    size_t each = sizeof(struct queued) + (has_origins ? sizeof(struct queued_origin) : 0);
    struct mqueue_class resized = *class;

    ASSERT(capacity >= class->count && (has_origins || !class->has_origins));
    resized.items = malloc(capacity * each);
    if (resized.items == NULL)
        return -ENOMEM;
    resized.capacity = capacity;
    resized.head = 0;
    resized.has_origins = has_origins;
    for (uint32_t i = 0; i < class->count; i++) {
        const struct queued *queued = mqueue_item_at(class, i);
        resized.items[i] = *queued;
        if (has_origins)
            *mqueue_origin_of(&resized, &resized.items[i]) = class->has_origins ? *mqueue_origin_of(class, queued)
                                                                                : (struct queued_origin){0};
    }
    free(class->items);
    *class = resized;
    return 0;
}

static int class_grow(struct mqueue_class *class, bool has_origins)
{
    uint32_t capacity = class->capacity;

    if (class->count == capacity)
        capacity = capacity < FIRST_CAPACITY ? FIRST_CAPACITY
                   : capacity < DOUBLED_FROM ? capacity + capacity / 2
                                             : capacity * 2;
    return mqueue_class_resize(class, capacity, has_origins);
}

static inline bool has_origin(const struct delivery_item *item)
{
    return (item->subscription_id | item->share_number) != 0;
}

/* Room for one more, that is `item`. */
static inline int class_make_room(struct mqueue_class *class, const struct delivery_item *item)
{
    bool has_origins = class->has_origins || has_origin(item);

    if (LIKELY(class->count < class->capacity && has_origins == class->has_origins))
        return 0;
    return class_grow(class, has_origins);
}

/* Puts the item into a place for which class_make_room() was called. */
static inline void class_put(struct mqueue_class *class, struct queued *place, const struct delivery_item *item)
{
    ASSERT(item->body == NULL || item->message == NULL || item->message->body == item->body);
    struct queued queued = {
        .sequence = item->sequence & 0xFFFFFFFFFFFFu,
        .qos = item->qos & 3u,
        .retain = item->retain,
        .sent = item->sent,
        .on_disk = item->message == NULL,
        .has_body = item->body != NULL,
    };
    if (item->message != NULL)
        queued.message = item->message;
    else
        queued.body = item->body;
    *place = queued;
    if (UNLIKELY(class->has_origins))
        *mqueue_origin_of(class, place) = (struct queued_origin){.subscription_id = item->subscription_id,
                                                                 .share_number = item->share_number};
}

static uint32_t less_one(uint32_t count)
{
    return count - (count > 0);
}

/* Of a durable session: the first place goes. */
static void count_places(struct mqueue_class *class)
{
    class->sent_count = less_one(class->sent_count);
    class->settled = less_one(class->settled);
    if (class->near > 0) {
        class->near--;
    } else { /* it was on disk only */
        while (class->near < class->count && !mqueue_item_at(class, class->near)->on_disk)
            class->near++;
    }
}

void mqueue_class_release(struct mqueue_class *class)
{
    free(class->items);
    class->items = NULL;
    class->capacity = class->head = 0;
    class->has_origins = false;
}

static void class_emptied(struct mqueue_class *class)
{
    if (class->capacity <= KEPT_CAPACITY)
        return;
    mqueue_class_release(class);
}

/* Takes the first place of a class away. */
static inline void shift(struct mqueue *queue, struct mqueue_class *class)
{
    class->head = class->head + 1 == class->capacity ? 0 : class->head + 1;
    class->count--;
    queue->count--;
    if (UNLIKELY(queue->forget != NULL))
        count_places(class);
    if (UNLIKELY(class->count == 0))
        class_emptied(class);
}

static inline void drop_first(struct mqueue *queue, struct mqueue_class *class)
{
    const struct queued *queued = mqueue_item_at(class, 0);

    mqueue_count_out(queue, queued);
    if (queued->qos == 0)
        queue->qos0_count--;
    shift(queue, class);
}

static struct delivery_item take_first(struct mqueue *queue, struct mqueue_class *class)
{
    struct delivery_item item = mqueue_item_of(class, mqueue_item_at(class, 0));

    drop_first(queue, class);
    return item;
}

static void skip_dead(struct mqueue *queue, struct mqueue_class *class)
{
    while (UNLIKELY(class->count > 0 && mqueue_item_at(class, 0)->dead))
        shift(queue, class);
}

/* The oldest one that was never sent: those before it move one place up. There is one, and it is not dead. */
static struct delivery_item take_oldest_unsent(struct mqueue *queue, struct mqueue_class *class)
{
    uint32_t place = class->sent_count;
    struct queued oldest = *mqueue_item_at(class, place);
    struct delivery_item item = mqueue_item_of(class, mqueue_item_at(class, place));

    for (uint32_t i = place; i > 0; i--)
        mqueue_copy(class, i, i - 1);
    *mqueue_item_at(class, 0) = oldest;
    if (place > 0)
        class->sent_count++;                 /* shift() takes the first place for one of them */
    if (place > 0 && class->near <= place) { /* places up to it were exchanged: count anew */
        for (class->near = 0; class->near < class->count && !mqueue_item_at(class, class->near)->on_disk;)
            class->near++;
    }
    drop_first(queue, class);
    return item;
}

static void drop_expired(struct mqueue *queue, const struct mqueue_class *class, const struct queued *queued)
{
    struct delivery_item item = mqueue_item_of(class, queued);

    if (item.qos == 0)
        queue->qos0_count--;
    mqueue_count_out(queue, queued);
    if (item.sequence != 0)
        queue->forget(queue, &item);
    message_unref(item.message);
}

static uint32_t class_purge(struct mqueue *queue, struct mqueue_class *class, uint64_t now_ms)
{
    uint32_t kept = 0, count = class->count, sent = 0, settled = 0, expired = 0;

    class->near = count;
    for (uint32_t i = 0; i < count; i++) {
        struct queued *queued = mqueue_item_at(class, i);
        if (queued->dead)
            continue;
        if (!queued->on_disk && !queued->sent && message_expired(queued->message, now_ms)) {
            drop_expired(queue, class, queued);
            expired++;
            continue;
        }
        if (queued->on_disk && class->near == count)
            class->near = kept;
        sent += queued->sent;
        settled += i < class->settled;
        mqueue_copy(class, kept++, i);
    }
    class->count = kept;
    if (class->near > kept)
        class->near = kept;
    class->sent_count = sent;
    class->settled = settled;
    queue->count -= count - kept;
    return expired;
}

/* Makes place for one more in a class that may be full. */
static void keep_limit(struct mqueue *queue, struct mqueue_class *class, uint32_t len_max, uint64_t now_ms,
                       struct delivery_item *out_dropped, uint32_t *out_expired_count)
{
    const struct queued *oldest;

    if (len_max == 0 || class->count - class->sent_count < len_max)
        return;
    oldest = mqueue_item_at(class, class->sent_count);
    /* The oldest is looked at each time, all of them once a second: that costs a walk. */
    if (now_ms - class->purged_ms >= PURGE_INTERVAL_MS || oldest->dead ||
        (!oldest->on_disk && message_expired(oldest->message, now_ms))) {
        *out_expired_count = class_purge(queue, class, now_ms);
        class->purged_ms = now_ms;
    }
    if (class->count - class->sent_count >= len_max)
        *out_dropped = take_oldest_unsent(queue, class);
}

/* At the end of the class, which has room. */
static inline void append(struct mqueue *queue, struct mqueue_class *class, const struct delivery_item *item)
{
    class_put(class, mqueue_item_at(class, class->count), item);
    if (UNLIKELY(queue->forget != NULL) && class->near == class->count && item->message != NULL)
        class->near++;
    class->count++;
    queue->count++;
    if (item->message != NULL)
        queue->bytes += message_bytes(item->message);
    if (item->qos == 0)
        queue->qos0_count++;
}

int mqueue_push_take(struct mqueue *queue, const struct zone_session *settings, const struct delivery_item *item,
                     uint64_t now_ms, struct delivery_item *out_dropped, uint32_t *out_expired_count)
{
    bool one_class = settings->mqueue_priority_count == 0 && queue->class_count == 1;
    struct mqueue_class *class = LIKELY(one_class) && queue->classes[0].priority == PRIORITY_LOWEST
                                     ? &queue->classes[0]
                                     : mqueue_class_get(queue, mqueue_priority(settings, item->message));

    out_dropped->message = NULL;
    out_dropped->sequence = 0;
    *out_expired_count = 0;
    if (class == NULL)
        return -ENOMEM;
    keep_limit(queue, class, settings->max_mqueue_len, now_ms, out_dropped, out_expired_count);
    if (class_make_room(class, item) < 0)
        return -ENOMEM;
    append(queue, class, item);
    return 0;
}

int mqueue_push_front_take(struct mqueue *queue, const struct zone_session *settings, const struct delivery_item *item)
{
    struct mqueue_class *class = mqueue_class_get(queue, mqueue_priority(settings, item->message));

    if (class == NULL || class_make_room(class, item) < 0)
        return -ENOMEM;
    class->head = (class->head == 0 ? class->capacity : class->head) - 1;
    class_put(class, mqueue_item_at(class, 0), item);
    class->count++;
    class->near++;
    class->settled = 0;
    if (item->sent)
        class->sent_count++;
    queue->count++;
    queue->bytes += message_bytes(item->message);
    return 0;
}

int mqueue_restore_take(struct mqueue *queue, uint16_t priority, const struct delivery_item *item)
{
    struct mqueue_class *class = mqueue_class_get(queue, priority);

    ASSERT(item->message == NULL && item->sequence != 0);
    if (class == NULL || class_make_room(class, item) < 0)
        return -ENOMEM;
    append(queue, class, item);
    class->settled = class->count;
    if (item->sent && class->sent_count + 1 == class->count)
        class->sent_count++;
    else
        mqueue_item_at(class, class->count - 1)
            ->sent = false; /* one before it was never sent: so it can't have been either */
    return 0;
}

static inline struct mqueue_class *first_class(const struct mqueue *queue)
{
    uint32_t c = 0;

    while (queue->classes[c].count == 0)
        c++;
    return &queue->classes[c];
}

bool mqueue_peek(struct mqueue *queue, struct delivery_item *out_item)
{
    while (queue->count > 0) {
        struct mqueue_class *class = first_class(queue);
        const struct queued *queued = mqueue_item_at(class, 0);
        if (LIKELY(!queued->dead)) {
            *out_item = mqueue_item_of(class, queued);
            return true;
        }
        skip_dead(queue, class);
    }
    return false;
}

void mqueue_pop(struct mqueue *queue)
{
    ASSERT(queue->count > 0);
    drop_first(queue, first_class(queue));
}

struct delivery_item mqueue_steal_least(struct mqueue *queue)
{
    uint32_t c = queue->class_count - 1;

    ASSERT(queue->count > 0);
    while (queue->classes[c].count == 0)
        c--;
    return take_first(queue, &queue->classes[c]);
}

uint32_t mqueue_purge(struct mqueue *queue, uint64_t now_ms)
{
    uint32_t purged = 0;

    for (uint32_t c = 0; c < queue->class_count; c++)
        purged += class_purge(queue, &queue->classes[c], now_ms);
    return purged;
}
