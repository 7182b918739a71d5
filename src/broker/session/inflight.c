/*
 * inflight: see inflight.h.
 */
#include "broker/session/inflight.h"

#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 8
#define PACKET_ID_COUNT 65535u

void inflight_fini(struct inflight *window)
{
    for (uint32_t i = 0; i < window->span; i++)
        message_unref(inflight_at(window, i)->message);
    free(window->entries);
    *window = (struct inflight){0};
}

/* Presses the holes out if they are at least half of the full ring, else doubles it. */
static int make_room(struct inflight *window)
{
    uint32_t capacity = window->capacity == 0 ? FIRST_CAPACITY : window->capacity * 2, kept = 0;
    struct inflight_entry *entries;

    if (window->count <= window->capacity / 2)
        capacity = window->capacity == 0 ? FIRST_CAPACITY : window->capacity;
    entries = malloc(capacity * sizeof(*entries));
    if (entries == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < window->span; i++) {
        if (inflight_at(window, i)->state != INFLIGHT_FREE)
            entries[kept++] = *inflight_at(window, i);
    }
    free(window->entries);
    window->entries = entries;
    window->capacity = capacity;
    window->head = 0;
    window->span = kept;
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
    if (window->span == window->capacity && make_room(window) < 0)
        return -ENOMEM;
    while (inflight_find(window, packet_id) != NULL)
        packet_id = packet_id_after(packet_id);
    struct inflight_entry *entry = inflight_at(window, window->span);
    *entry = (struct inflight_entry){
        .message = item->message,
        .subscription_id = item->subscription_id,
        .sent_ms = (uint32_t)now_ms,
        .packet_id = packet_id,
        .state = item->qos == 2 ? INFLIGHT_WAIT_PUBREC : INFLIGHT_WAIT_PUBACK,
        .retain = item->retain,
        .shared = item->shared,
    };
    window->span++;
    window->count++;
    window->next_packet_id = packet_id_after(packet_id);
    *out_packet_id = packet_id;
    return 0;
}

/* Steps from one packet ID to another, round the end of their range. */
static uint32_t id_distance(uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + PACKET_ID_COUNT - from;
}

static bool is_at(struct inflight *window, uint32_t place, uint16_t packet_id)
{
    const struct inflight_entry *entry;

    if (place >= window->span)
        return false;
    entry = inflight_at(window, place);
    return entry->packet_id == packet_id && entry->state != INFLIGHT_FREE;
}

struct inflight_entry *inflight_find(struct inflight *window, uint16_t packet_id)
{
    if (window->span == 0 || packet_id == 0)
        return NULL;
    uint32_t first = inflight_at(window, 0)->packet_id;
    uint32_t last = inflight_at(window, window->span - 1)->packet_id;
    uint32_t from_front = id_distance(first, packet_id), from_back = id_distance(packet_id, last);
    if (LIKELY(is_at(window, from_front, packet_id)))
        return inflight_at(window, from_front);
    if (is_at(window, window->span - 1 - from_back, packet_id))
        return inflight_at(window, window->span - 1 - from_back);
    if (from_front > id_distance(first, last))
        return NULL; /* not between the oldest and the newest */
    for (uint32_t i = 0; i < window->span; i++) {
        if (is_at(window, i, packet_id))
            return inflight_at(window, i);
    }
    return NULL;
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
    return message;
}
