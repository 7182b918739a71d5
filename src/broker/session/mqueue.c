/*
 * mqueue: a ring per priority class. Without a priority table there is one class, whatever the topic.
 */
#include "broker/session/mqueue.h"

#include "broker/zone.h"
#include "mqtt/message.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 8
#define PURGE_INTERVAL_MS 1000
#define PRIORITY_HIGHEST 256 /* above every number of the table */
#define PRIORITY_LOWEST 0

struct queued {
    struct message *message;
    uint32_t subscription_id : 28; /* at most 268,435,455 */
    uint32_t qos : 2;
    bool retain : 1;
    uint32_t share_number;
};
static_assert(sizeof(struct queued) == 16, "a backlog has many of them");

struct mqueue_class {
    struct queued *items;
    uint32_t capacity; /* power of two, or 0 */
    uint32_t head;
    uint32_t count;
    uint16_t priority;
    uint64_t purged_ms; /* when expired messages were last looked for */
};

static struct queued *item_at(struct mqueue_class *class, uint32_t index)
{
    return &class->items[(class->head + index) & (class->capacity - 1)];
}

void mqueue_fini(struct mqueue *queue)
{
    for (uint32_t c = 0; c < queue->class_count; c++) {
        struct mqueue_class *class = &queue->classes[c];
        for (uint32_t i = 0; i < class->count; i++)
            message_unref(item_at(class, i)->message);
        free(class->items);
    }
    free(queue->classes);
    *queue = (struct mqueue){0};
}

static uint16_t priority_of(const struct zone_session *settings, const struct message *message)
{
    for (uint32_t i = 0; i < settings->mqueue_priority_count; i++) {
        const struct mqueue_priority *row = &settings->mqueue_priorities[i];
        if (slice_equal(slice_from_string(row->topic), message_topic(message)))
            return row->priority;
    }
    return settings->mqueue_priority_count > 0 && settings->mqueue_default_highest ? PRIORITY_HIGHEST : PRIORITY_LOWEST;
}

/* The class of that priority, made when it is the first message. NULL when memory is short. */
static struct mqueue_class *class_get(struct mqueue *queue, uint16_t priority)
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

static int class_grow(struct mqueue_class *class)
{
    uint32_t capacity = class->capacity == 0 ? FIRST_CAPACITY : class->capacity * 2;
    struct queued *items = malloc(capacity * sizeof(*items));

    if (items == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < class->count; i++)
        items[i] = *item_at(class, i);
    free(class->items);
    class->items = items;
    class->capacity = capacity;
    class->head = 0;
    return 0;
}

static struct delivery_item take_oldest(struct mqueue *queue, struct mqueue_class *class)
{
    const struct queued *queued = item_at(class, 0);
    struct delivery_item item = {
        .message = queued->message,
        .subscription_id = queued->subscription_id,
        .qos = queued->qos,
        .retain = queued->retain,
        .share_number = queued->share_number,
    };

    class->head = (class->head + 1) & (class->capacity - 1);
    class->count--;
    queue->count--;
    queue->bytes -= message_bytes(item.message);
    if (item.qos == 0)
        queue->qos0_count--;
    if (class->count == 0 && class->capacity > 64) { /* an emptied backlog gives its memory back */
        free(class->items);
        class->items = NULL;
        class->capacity = class->head = 0;
    }
    return item;
}

static uint32_t class_purge(struct mqueue *queue, struct mqueue_class *class, uint64_t now_ms)
{
    uint32_t kept = 0, count = class->count;

    for (uint32_t i = 0; i < count; i++) {
        struct queued *queued = item_at(class, i);
        if (message_expired(queued->message, now_ms)) {
            if (queued->qos == 0)
                queue->qos0_count--;
            queue->bytes -= message_bytes(queued->message);
            message_unref(queued->message);
        } else {
            *item_at(class, kept++) = *queued;
        }
    }
    class->count = kept;
    queue->count -= count - kept;
    return count - kept;
}

int mqueue_push_take(struct mqueue *queue, const struct zone_session *settings, const struct delivery_item *item,
                     uint64_t now_ms, struct delivery_item *out_dropped, uint32_t *out_expired_count)
{
    struct mqueue_class *class = class_get(queue, priority_of(settings, item->message));

    out_dropped->message = NULL;
    *out_expired_count = 0;
    if (class == NULL)
        return -ENOMEM;
    if (settings->max_mqueue_len > 0 && class->count >= settings->max_mqueue_len) {
        /* The oldest is looked at each time, all of them once a second: that costs a walk. */
        if (now_ms - class->purged_ms >= PURGE_INTERVAL_MS || message_expired(item_at(class, 0)->message, now_ms)) {
            *out_expired_count = class_purge(queue, class, now_ms);
            class->purged_ms = now_ms;
        }
        if (class->count >= settings->max_mqueue_len)
            *out_dropped = take_oldest(queue, class);
    }
    if (class->count == class->capacity && class_grow(class) < 0)
        return -ENOMEM;
    *item_at(class, class->count++) = (struct queued){
        .message = item->message,
        .subscription_id = item->subscription_id & 0xFFFFFFFu,
        .qos = item->qos & 3u,
        .retain = item->retain,
        .share_number = item->share_number,
    };
    queue->count++;
    queue->bytes += message_bytes(item->message);
    if (item->qos == 0)
        queue->qos0_count++;
    return 0;
}

static struct mqueue_class *first_class(struct mqueue *queue)
{
    uint32_t c = 0;

    while (queue->classes[c].count == 0)
        c++;
    return &queue->classes[c];
}

bool mqueue_peek(struct mqueue *queue, struct delivery_item *out_item)
{
    if (queue->count == 0)
        return false;
    const struct queued *queued = item_at(first_class(queue), 0);
    *out_item = (struct delivery_item){
        .message = queued->message,
        .subscription_id = queued->subscription_id,
        .qos = queued->qos,
        .retain = queued->retain,
        .share_number = queued->share_number,
    };
    return true;
}

void mqueue_pop(struct mqueue *queue)
{
    ASSERT(queue->count > 0);
    take_oldest(queue, first_class(queue));
}

struct delivery_item mqueue_steal_least(struct mqueue *queue)
{
    uint32_t c = queue->class_count - 1;

    ASSERT(queue->count > 0);
    while (queue->classes[c].count == 0)
        c--;
    return take_oldest(queue, &queue->classes[c]);
}

uint32_t mqueue_purge(struct mqueue *queue, uint64_t now_ms)
{
    uint32_t purged = 0;

    for (uint32_t c = 0; c < queue->class_count; c++)
        purged += class_purge(queue, &queue->classes[c], now_ms);
    return purged;
}
