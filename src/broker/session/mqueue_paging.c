/*
 * mqueue_paging: entries of durable sessions: their messages leave the memory once they are on disk, and come back. See mqueue.h.
 */
#include "broker/session/mqueue_internal.h"

#include <stdlib.h>

void mqueue_store_all(struct mqueue *queue, mqueue_store_fn *store, void *context)
{
    for (uint32_t c = 0; c < queue->class_count; c++) {
        struct mqueue_class *class = &queue->classes[c];
        for (uint32_t i = 0; i < class->count; i++) {
            struct queued *queued = mqueue_item_at(class, i);
            if (queued->qos == 0 || queued->sequence != 0)
                continue;
            struct delivery_item item = mqueue_item_of(class, queued);
            queued->sequence = store(context, &item, class->priority) & 0xFFFFFFFFFFFFu;
        }
        class->settled = 0;
        class->near = class->count; /* not counted before */
    }
}

/* What becomes of an entry whose message might leave the memory. */
enum page { PAGE_KEEP, PAGE_OUT, PAGE_DROP, PAGE_NOT_COMMITTED, PAGE_NOT_STORED };

/* `kept_bytes` are in memory before it. */
static enum page page_of(const struct mqueue_class *class, uint32_t place, const struct mqueue_paging *paging,
                         uint64_t kept_bytes)
{
    const struct queued *queued = mqueue_item_at(class, place);

    if (queued->on_disk || queued->dead || queued->sequence == 0)
        return PAGE_KEEP;
    if (queued->sequence > paging->committed_through)
        return PAGE_NOT_COMMITTED;
    if (queued->has_body && queued->message->qos == 2) {
        /* Its record is written when it is clear that the publisher was heard. */
        uint8_t state = atomic_load_explicit(&queued->message->store_state, memory_order_acquire);
        if (state == MESSAGE_UNSTORED)
            return PAGE_NOT_STORED;
        if (state == MESSAGE_GIVEN_UP)
            return PAGE_DROP;
    }
    /* What is kept has nothing before it that is on disk only: so it is found again. */
    if (place >= paging->keep_count || place > class->near)
        return PAGE_OUT;
    return place == 0 || kept_bytes + message_bytes(queued->message) <= paging->keep_bytes ? PAGE_KEEP : PAGE_OUT;
}

static void page_out(struct mqueue *queue, struct queued *queued)
{
    struct message_body *body = mqueue_body_of(queued);
    struct message *message = queued->message;

    mqueue_count_out(queue, queued);
    queued->on_disk = true;
    queued->body = body;
    message_unref(message);
}

static void mark_dead(struct queued *queued)
{
    queued->dead = true;
    queued->on_disk = false;
    queued->has_body = false;
    queued->message = NULL;
}

static void bury(struct mqueue *queue, const struct mqueue_class *class, struct queued *queued)
{
    struct delivery_item item = mqueue_item_of(class, queued);

    mqueue_count_out(queue, queued);
    queue->forget(queue, &item);
    mark_dead(queued);
    message_unref(item.message);
}

/* The bytes in memory before `place`; 0 when it does not matter. */
static uint64_t kept_before(const struct mqueue *queue, const struct mqueue_class *class, uint32_t place,
                            const struct mqueue_paging *paging)
{
    uint64_t bytes = queue->bytes;

    if (paging->keep_count == 0 || bytes <= paging->keep_bytes)
        return 0;
    for (; place < class->count; place++)
        bytes -= mqueue_memory_of(mqueue_item_at(class, place));
    return bytes;
}

/* Looks at the places from `place` on up to `end`; true: it stopped for a store_state. `*out_stopped`: where. */
static bool page_range(struct mqueue *queue, struct mqueue_class *class, uint32_t place, uint32_t end,
                       const struct mqueue_paging *paging, uint32_t *out_stopped)
{
    enum page page = PAGE_KEEP;
    uint64_t kept_bytes = 0;
    bool counted = false;

    for (; place < end; place++) {
        struct queued *queued = mqueue_item_at(class, place);
        page = page_of(class, place, paging, kept_bytes);
        if (page == PAGE_NOT_COMMITTED || page == PAGE_NOT_STORED)
            break;
        if (page == PAGE_KEEP && !counted) { /* counted only for those who need it */
            kept_bytes = kept_before(queue, class, place, paging);
            counted = true;
            page = page_of(class, place, paging, kept_bytes);
        }
        if (page == PAGE_KEEP)
            kept_bytes += mqueue_memory_of(queued);
        if (page == PAGE_DROP)
            bury(queue, class, queued);
        if (page != PAGE_OUT)
            continue;
        page_out(queue, queued);
        if (place < class->near)
            class->near = place;
    }
    *out_stopped = place;
    return place < end && page == PAGE_NOT_STORED;
}

bool mqueue_page_out(struct mqueue *queue, const struct mqueue_paging *paging)
{
    bool waits = false;
    uint32_t stopped;

    for (uint32_t c = 0; c < queue->class_count; c++) {
        struct mqueue_class *class = &queue->classes[c];
        if (paging->again) { /* what was kept lies before the first that was not */
            uint32_t end = class->near < class->settled ? class->near : class->settled;
            waits |= page_range(queue, class, 0, end, paging, &stopped);
            if (stopped < end)
                class->settled = stopped;
        }
        waits |= page_range(queue, class, class->settled, class->count, paging, &stopped);
        class->settled = stopped;
    }
    return waits;
}

/* Where the entries to read next begin. NULL: nothing need be read. */
static const struct mqueue_class *wanted_class(const struct mqueue *queue, uint32_t ahead)
{
    uint32_t ready = 0;

    for (uint32_t c = 0; c < queue->class_count && ready < ahead; c++) {
        const struct mqueue_class *class = &queue->classes[c];
        ready += class->near;
        if (class->near < class->count)
            return ready < ahead ? class : NULL;
    }
    return NULL;
}

uint32_t mqueue_wanted(const struct mqueue *queue, uint32_t ahead, struct mqueue_loaded *out_items, uint32_t max,
                       uint16_t *out_priority)
{
    const struct mqueue_class *class = wanted_class(queue, ahead);
    uint32_t count = 0;

    if (class == NULL)
        return 0;
    *out_priority = class->priority;
    for (uint32_t i = class->near; i < class->count && count < max; i++) {
        const struct queued *queued = mqueue_item_at(class, i);
        if (!queued->on_disk)
            break; /* what came after it is there already, or not on disk yet */
        out_items[count++] = (struct mqueue_loaded){
            .sequence = queued->sequence, .kind = MQUEUE_NOT_READ, .sent = queued->sent};
    }
    return count;
}

/* Puts what was read into its place. The bytes. */
static uint64_t fill(struct mqueue *queue, const struct mqueue_class *class, struct queued *queued,
                     struct mqueue_loaded *item)
{
    uint64_t bytes;

    if (item->kind != MQUEUE_READ) {
        struct delivery_item gone = mqueue_item_of(class, queued);
        if (item->kind == MQUEUE_EXPIRED)
            queue->forget(queue, &gone);
        else
            message_body_unref(gone.body, NULL); /* the record stays for whoever repairs it */
        mark_dead(queued);
        return 0;
    }
    bytes = message_bytes(item->message);
    item->message->body = queued->body;
    atomic_store_explicit(&item->message->store_state, MESSAGE_STORED, memory_order_relaxed);
    queued->on_disk = false;
    queued->message = item->message;
    item->message = NULL;
    queue->bytes += bytes;
    return bytes;
}

uint64_t mqueue_fill_take(struct mqueue *queue, uint16_t priority, struct mqueue_loaded *items, uint32_t count,
                          uint32_t *out_expired_count, uint32_t *out_lost_count)
{
    struct mqueue_class *class = mqueue_class_get(queue, priority);
    uint64_t bytes = 0;
    uint32_t i = 0;

    *out_expired_count = *out_lost_count = 0;
    for (; class != NULL && i < count && class->near < class->count; class->near++) {
        struct queued *queued = mqueue_item_at(class, class->near);
        if (!queued->on_disk)
            continue;
        while (i < count && items[i].sequence != queued->sequence)
            i++; /* it has gone */
        if (i == count || items[i].kind == MQUEUE_NOT_READ)
            break;
        *out_expired_count += items[i].kind == MQUEUE_EXPIRED;
        *out_lost_count += items[i].kind == MQUEUE_LOST;
        bytes += fill(queue, class, queued, &items[i++]);
    }
    while (class != NULL && class->near < class->count && !mqueue_item_at(class, class->near)->on_disk)
        class->near++;
    for (i = 0; i < count; i++)
        message_unref(items[i].message);
    return bytes;
}

static void class_trim(struct mqueue_class *class, enum mqueue_trim trim)
{
    bool mostly_free = class->count <= class->capacity / 2;

    if (class->count == 0)
        mqueue_class_release(class);
    else if (class->count < class->capacity && (trim == MQUEUE_TRIM_ALL || mostly_free) &&
             mqueue_class_resize(class, class->count, class->has_origins) < 0)
        return; /* without memory for the smaller array the larger one stays */
}

void mqueue_trim(struct mqueue *queue, enum mqueue_trim trim)
{
    if (queue->count == 0) { /* dead places are counted, too */
        mqueue_fini(queue);
        return;
    }
    for (uint32_t c = 0; c < queue->class_count; c++)
        class_trim(&queue->classes[c], trim);
}
