/*
 * ban_queue: the heap. A ban knows its place (queue_index), so that it can be taken out of the middle.
 */
#include "auth/ban_queue.h"

#include "auth/ban.h"

#include <errno.h>
#include <stdlib.h>

#define CAPACITY_FIRST 16u

void ban_queue_fini(struct ban_queue *queue)
{
    free(queue->bans);
    *queue = (struct ban_queue){0};
}

static void put(struct ban_queue *queue, uint32_t index, struct ban *ban)
{
    queue->bans[index] = ban;
    ban->queue_index = index;
}

static void move_up(struct ban_queue *queue, uint32_t index, struct ban *ban)
{
    for (; index > 1 && queue->bans[index / 2]->until_s > ban->until_s; index /= 2)
        put(queue, index, queue->bans[index / 2]);
    put(queue, index, ban);
}

static void move_down(struct ban_queue *queue, uint32_t index, struct ban *ban)
{
    for (uint32_t child = 2 * index; child <= queue->count; child = 2 * index) {
        if (child < queue->count && queue->bans[child + 1]->until_s < queue->bans[child]->until_s)
            child++;
        if (queue->bans[child]->until_s >= ban->until_s)
            break;
        put(queue, index, queue->bans[child]);
        index = child;
    }
    put(queue, index, ban);
}

int ban_queue_push(struct ban_queue *queue, struct ban *ban)
{
    if (queue->count + 1 >= queue->capacity) {
        uint32_t capacity = queue->capacity == 0 ? CAPACITY_FIRST : queue->capacity * 2;
        struct ban **bans = realloc(queue->bans, capacity * sizeof(struct ban *));

        if (bans == NULL)
            return -ENOMEM;
        queue->bans = bans;
        queue->capacity = capacity;
    }
    move_up(queue, ++queue->count, ban);
    return 0;
}

void ban_queue_remove(struct ban_queue *queue, struct ban *ban)
{
    uint32_t index = ban->queue_index;
    struct ban *last;

    if (index == 0)
        return;
    ASSERT(index <= queue->count && queue->bans[index] == ban);
    last = queue->bans[queue->count--];
    ban->queue_index = 0;
    if (last == ban)
        return;
    if (index > 1 && queue->bans[index / 2]->until_s > last->until_s)
        move_up(queue, index, last);
    else
        move_down(queue, index, last);
}

struct ban *ban_queue_first(const struct ban_queue *queue)
{
    return queue->count == 0 ? NULL : queue->bans[1];
}
