/*
 * mqueue_internal: what mqueue.c and mqueue_paging.c share: the places of a class. Thread: owner.
 */
#ifndef BROKER_SESSION_MQUEUE_INTERNAL_H
#define BROKER_SESSION_MQUEUE_INTERNAL_H

#include "broker/session/message_body.h"
#include "broker/session/mqueue.h"
#include "mqtt/message.h"

#include <assert.h>

struct queued {
    union {
        struct message *message;   /* in memory; the body is then message->body, with has_body */
        struct message_body *body; /* on disk only; NULL: its stored entry has the message */
    };
    uint64_t sequence : 48; /* at most SEQUENCE_MAX (durable.h); 0: not stored */
    uint64_t qos : 2;
    uint64_t retain : 1;
    uint64_t sent : 1;
    uint64_t on_disk : 1; /* only */
    uint64_t has_body : 1;
    uint64_t dead : 1; /* nothing is left of it but its place, which goes when it is the first */
};
static_assert(sizeof(struct queued) == 16,
              "an absent session may have many of them, and nothing else of its messages in memory");

/* The subscription through which an item came, as far as it matters. Most have none of it. */
struct queued_origin {
    uint32_t subscription_id; /* 0: none */
    uint32_t share_number;    /* 0: none */
};

struct mqueue_class {
    struct queued *items; /* `capacity` places, and behind them, with `has_origins`, as many of struct queued_origin */
    uint32_t capacity;
    uint32_t head;
    uint32_t count;
    uint32_t sent_count; /* the first ones, back from the window */
    uint32_t near;    /* the first place that is on disk only, or `count`; this and the next only of durable sessions */
    uint32_t settled; /* places before this one have been looked at for paging */
    uint16_t priority;
    bool has_origins;   /* some item has, or had, one that is not zero */
    uint64_t purged_ms; /* when expired messages were last looked for */
};
static_assert(sizeof(struct mqueue_class) == 48,
              "each absent session with messages has one: a size class of the allocator");

static inline struct queued *mqueue_item_at(const struct mqueue_class *class, uint32_t index)
{
    uint32_t place = class->head + index;

    return &class->items[place < class->capacity ? place : place - class->capacity];
}

/* Of the item at which `queued` points, in a class with origins. */
static inline struct queued_origin *mqueue_origin_of(const struct mqueue_class *class, const struct queued *queued)
{
    return (struct queued_origin *)(void *)(class->items + class->capacity) + (queued - class->items);
}

/* Copies an item to another place of its class. */
static inline void mqueue_copy(struct mqueue_class *class, uint32_t to, uint32_t from)
{
    struct queued *target = mqueue_item_at(class, to), *source = mqueue_item_at(class, from);

    *target = *source;
    if (UNLIKELY(class->has_origins))
        *mqueue_origin_of(class, target) = *mqueue_origin_of(class, source);
}

static inline struct message_body *mqueue_body_of(const struct queued *queued)
{
    if (queued->on_disk)
        return queued->body;
    return queued->has_body ? queued->message->body : NULL;
}

/* The item in that place of the class. */
static inline struct delivery_item mqueue_item_of(const struct mqueue_class *class, const struct queued *queued)
{
    struct queued_origin origin = {0};

    if (UNLIKELY(class->has_origins))
        origin = *mqueue_origin_of(class, queued);
    return (struct delivery_item){
        .message = queued->on_disk ? NULL : queued->message,
        .body = mqueue_body_of(queued),
        .sequence = queued->sequence,
        .subscription_id = origin.subscription_id,
        .share_number = origin.share_number,
        .qos = queued->qos,
        .retain = queued->retain,
        .sent = queued->sent,
    };
}

/* The bytes that it counts for. */
static inline uint64_t mqueue_memory_of(const struct queued *queued)
{
    return queued->on_disk || queued->dead ? 0 : message_bytes(queued->message);
}

/* Its message leaves the memory, or the queue. */
static inline void mqueue_count_out(struct mqueue *queue, const struct queued *queued)
{
    queue->bytes -= mqueue_memory_of(queued);
}

/* Gives the class room for `capacity` items, at least as many as it has. -ENOMEM: nothing has changed. */
MUST_USE int mqueue_class_resize(struct mqueue_class *class, uint32_t capacity, bool has_origins);

/* Gives the memory of an empty class's places back. */
void mqueue_class_release(struct mqueue_class *class);

/* The class of that priority, made when it is the first message. NULL when memory is short. */
struct mqueue_class *mqueue_class_get(struct mqueue *queue, uint16_t priority);

#endif
