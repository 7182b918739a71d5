/*
 * retained_backlog: a growing array read from the front.
 */
#include "broker/session/retained_backlog.h"

#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

struct waiting {
    struct message *message;
    uint32_t subscription_id;
    uint8_t qos;
};

struct retained_backlog {
    uint32_t first;
    uint32_t count; /* one past the last */
    uint32_t capacity;
    struct waiting items[];
};

int retained_backlog_push_take(struct retained_backlog **backlog, const struct delivery_item *item)
{
    struct retained_backlog *list = *backlog;

    if (list == NULL || list->count == list->capacity) {
        uint32_t capacity = list == NULL ? 8 : list->capacity * 2;
        struct retained_backlog *grown = realloc(list, sizeof(*grown) + capacity * sizeof(struct waiting));
        if (grown == NULL)
            return -ENOMEM;
        if (list == NULL)
            grown->first = grown->count = 0;
        grown->capacity = capacity;
        *backlog = list = grown;
    }
    list->items[list->count++] = (struct waiting){
        .message = item->message, .subscription_id = item->subscription_id, .qos = item->qos};
    return 0;
}

bool retained_backlog_peek(const struct retained_backlog *backlog, struct delivery_item *out_item)
{
    if (backlog == NULL)
        return false;
    const struct waiting *waiting = &backlog->items[backlog->first];
    *out_item = (struct delivery_item){
        .message = waiting->message,
        .subscription_id = waiting->subscription_id,
        .qos = waiting->qos,
        .retain = true,
    };
    return true;
}

void retained_backlog_pop(struct retained_backlog **backlog)
{
    (*backlog)->first++;
    if ((*backlog)->first == (*backlog)->count) {
        free(*backlog);
        *backlog = NULL;
    }
}

void retained_backlog_free(struct retained_backlog *backlog)
{
    if (backlog == NULL)
        return;
    for (uint32_t i = backlog->first; i < backlog->count; i++)
        message_unref(backlog->items[i].message);
    free(backlog);
}
