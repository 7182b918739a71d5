/*
 * inflight: see inflight.h.
 */
#include "broker/session/inflight.h"

#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 8
#define KEPT_CAPACITY 64 /* an empty window that was larger gives its memory back */

void inflight_fini(struct inflight *window)
{
    for (uint32_t i = 0; i < window->span; i++)
        message_unref(inflight_at(window, i)->message);
    free(window->entries);
    *window = (struct inflight){0};
}

/* How many IDs `packet_id` comes after `first`, going round. */
static uint32_t distance(uint16_t first, uint16_t packet_id)
{
    return (packet_id >= first ? packet_id : packet_id + PACKET_ID_COUNT) - first;
}

static uint32_t distance_of_last(struct inflight *window)
{
    return distance(inflight_at(window, 0)->packet_id, inflight_at(window, window->span - 1)->packet_id);
}

/* Closes the holes; the entries keep their order. */
static void close_holes(struct inflight *window)
{
    uint32_t kept = 0, last = 0;

    window->disordered = false;
    for (uint32_t i = 0; i < window->span; i++) {
        struct inflight_entry *entry = inflight_at(window, i);
        if (entry->state == INFLIGHT_FREE)
            continue;
        uint32_t place = distance(inflight_at(window, 0)->packet_id, entry->packet_id);
        window->disordered |= kept > 0 && place <= last;
        last = place;
        *inflight_at(window, kept++) = *entry;
    }
    window->span = kept;
}

static int grow(struct inflight *window)
{
    uint32_t capacity = window->capacity == 0 ? FIRST_CAPACITY : window->capacity * 2;
    struct inflight_entry *entries = malloc(capacity * sizeof(*entries));

    if (entries == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < window->span; i++)
        entries[i] = *inflight_at(window, i);
    free(window->entries);
    window->entries = entries;
    window->capacity = capacity;
    window->head = 0;
    return 0;
}

/* A client that acknowledges all but the oldest leaves holes without end: they are closed before the ring grows. */
static int make_room(struct inflight *window)
{
    if (window->span < window->capacity)
        return 0;
    if (window->count > window->capacity / 2 || window->capacity == 0)
        return grow(window);
    close_holes(window);
    return 0;
}

static uint16_t packet_id_after(uint16_t packet_id)
{
    return packet_id == UINT16_MAX ? 1 : (uint16_t)(packet_id + 1);
}

int inflight_push_take(struct inflight *window, const struct delivery_item *item, uint64_t now_ms,
                       uint16_t *out_packet_id)
{
    uint16_t packet_id = window->next_packet_id == 0 ? 1 : window->next_packet_id;

    if (window->count >= PACKET_ID_COUNT)
        return -ENOSPC;
    if (make_room(window) < 0)
        return -ENOMEM;
    if (item->sequence != 0)
        packet_id = inflight_packet_id(item->sequence);
    while (inflight_find(window, packet_id) != NULL) {
        ASSERT(item->sequence == 0);
        packet_id = packet_id_after(packet_id);
    }
    struct inflight_entry *entry = inflight_at(window, window->span);
    *entry = (struct inflight_entry){
        .message = item->message,
        .subscription_id = item->subscription_id,
        .sent_ms = (uint32_t)now_ms,
        .round = LIKELY(item->sequence == 0) ? 0 : (uint32_t)((item->sequence - 1) / PACKET_ID_COUNT),
        .packet_id = packet_id,
        .state = item->qos == 2 ? INFLIGHT_WAIT_PUBREC : INFLIGHT_WAIT_PUBACK,
        .retain = item->retain,
        .stored = item->sequence != 0,
        .has_body = item->body != NULL,
    };
    if (window->span > 0 && distance(inflight_at(window, 0)->packet_id, packet_id) <= distance_of_last(window))
        window->disordered = true; /* once round, past the oldest */
    window->span++;
    window->count++;
    window->next_packet_id = packet_id_after(packet_id);
    *out_packet_id = packet_id;
    return 0;
}

/* The place of an ID in a span whose IDs ascend from the first one, or of the next higher one. */
static uint32_t place_of(struct inflight *window, uint32_t wanted)
{
    uint16_t first = inflight_at(window, 0)->packet_id;
    uint32_t low = 0, high = window->span - 1;

    if (LIKELY(distance_of_last(window) == high))
        return wanted; /* no ID was passed over */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (distance(first, inflight_at(window, middle)->packet_id) < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct inflight_entry *inflight_find(struct inflight *window, uint16_t packet_id)
{
    uint32_t from = 0, to = window->span;

    if (window->span == 0 || packet_id == 0)
        return NULL;
    if (LIKELY(!window->disordered)) {
        uint32_t wanted = distance(inflight_at(window, 0)->packet_id, packet_id);
        if (wanted > distance_of_last(window))
            return NULL;
        from = place_of(window, wanted);
        to = from + 1;
    }
    for (uint32_t i = from; i < to; i++) {
        struct inflight_entry *entry = inflight_at(window, i);
        if (entry->packet_id == packet_id && entry->state != INFLIGHT_FREE)
            return entry;
    }
    return NULL;
}

static void emptied(struct inflight *window)
{
    window->disordered = false;
    if (window->capacity <= KEPT_CAPACITY)
        return;
    free(window->entries);
    window->entries = NULL;
    window->capacity = window->head = 0;
}

struct delivery_item inflight_item(const struct inflight_entry *entry)
{
    return (struct delivery_item){
        .message = entry->message,
        .body = entry->has_body && entry->message != NULL ? entry->message->body : NULL,
        .sequence = inflight_sequence(entry),
        .subscription_id = entry->subscription_id,
        .qos = entry->state == INFLIGHT_WAIT_PUBACK ? 1 : 2,
        .retain = entry->retain,
        .sent = entry->state != INFLIGHT_WAIT_STORE,
    };
}

struct message *inflight_remove(struct inflight *window, struct inflight_entry *entry)
{
    struct message *message = entry->message;

    entry->message = NULL;
    entry->state = INFLIGHT_FREE;
    window->count--;
    while (window->span > 0 && inflight_at(window, 0)->state == INFLIGHT_FREE) {
        window->head = (window->head + 1) & (window->capacity - 1);
        window->span--;
    }
    if (window->span == 0)
        emptied(window);
    return message;
}
