/*
 * redispatch: see redispatch.h.
 */
#include "broker/session/redispatch.h"

#include "base/metrics.h"
#include "broker/session/durable_internal.h"
#include "broker/session/queue_load.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "broker/session/session_internal.h"
#include "broker/session/subscription.h"
#include "mqtt/message.h"

#include <stdlib.h>

#define SLICE 512u       /* messages handed on in one turn */
#define HANDED_FIRST 16u /* rows */

/* The session leaves the group while its messages are handed on: so its texts are copied. */
struct lost_target {
    uint32_t number; /* of struct shared_target */
    struct slice group;
    struct slice filter;
};

/* Rows of messages that were handed on. */
struct handed_rows {
    struct commit_step step;
    struct session_host *host;
    uint64_t session_number;
    uint32_t count;
    uint32_t capacity;
    struct {
        uint64_t sequence;
        struct message_body *body; /* with a reference; NULL: none */
    } rows[];
};

struct redispatch {
    struct list place; /* in the host's list, once begun */
    struct work work;  /* goes on in the next turn */
    struct session *session;
    struct retained_feed *feed;
    uint8_t *texts;
    struct handed_rows *handed; /* of this turn; NULL: none yet */
    uint32_t count;
    struct lost_target targets[]; /* by number */
};

static int compare_targets(const void *left, const void *right)
{
    uint32_t a = ((const struct lost_target *)left)->number, b = ((const struct lost_target *)right)->number;

    return (a > b) - (a < b);
}

static void add_target(struct redispatch *redispatch, const struct shared_target *target, uint8_t **text)
{
    memcpy(*text, target->text, (size_t)target->name_len + target->filter_len);
    redispatch->targets[redispatch->count++] = (struct lost_target){
        .number = target->number,
        .group = slice_make(*text, target->name_len),
        .filter = slice_make(*text + target->name_len, target->filter_len),
    };
    *text += (size_t)target->name_len + target->filter_len;
}

struct redispatch *redispatch_new(const struct session *session)
{
    const struct pointer_list *list = &session->subscriptions;
    struct redispatch *redispatch;
    size_t text_bytes = 1;
    uint32_t count = 0;
    uint8_t *text;

    if (!session->has_shared || session->flow == NULL || session->flow->mqueue.count == 0)
        return NULL;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct subscription *subscription = pointer_list_get(list, i);
        if (!subscription->is_shared)
            continue;
        text_bytes += (size_t)subscription->shared->name_len + subscription->shared->filter_len;
        count++;
    }
    if (count == 0)
        return NULL;
    redispatch = calloc(1, sizeof(*redispatch) + count * sizeof(redispatch->targets[0]));
    text = malloc(text_bytes);
    if (redispatch == NULL || text == NULL) {
        free(redispatch);
        free(text);
        return NULL;
    }
    redispatch->texts = text;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct subscription *subscription = pointer_list_get(list, i);
        if (subscription->is_shared)
            add_target(redispatch, subscription->shared, &text);
    }
    qsort(redispatch->targets, count, sizeof(redispatch->targets[0]), compare_targets);
    return redispatch;
}

void redispatch_free(struct redispatch *redispatch)
{
    if (redispatch == NULL)
        return;
    free(redispatch->texts);
    free(redispatch);
}

/* The group through which an item came that was never sent (one in flight may already have been received
 * [MQTT-4.8.2-5]); NULL: none, or the session had left it before. */
static const struct lost_target *target_of(const struct redispatch *redispatch, const struct delivery_item *item)
{
    struct lost_target key = {.number = item->share_number};

    if (item->share_number == 0 || item->sent)
        return NULL;
    return bsearch(&key, redispatch->targets, redispatch->count, sizeof(key), compare_targets);
}

static void delete_handed(struct broker_worker *worker, struct commit_step *step)
{
    struct handed_rows *handed = CONTAINER_OF(step, struct handed_rows, step);

    (void)worker;
    for (uint32_t i = 0; i < handed->count; i++)
        durable_delete_row(handed->host, handed->session_number, handed->rows[i].sequence, handed->rows[i].body);
    free(handed);
}

/* False: memory is short. */
static bool add_handed(struct session *session, struct redispatch *redispatch, const struct delivery_item *item)
{
    struct handed_rows *handed = redispatch->handed;
    uint32_t count = handed == NULL ? 0 : handed->count;

    if (handed == NULL || count == handed->capacity) {
        uint32_t capacity = count == 0 ? HANDED_FIRST : count * 2;
        handed = realloc(handed, sizeof(*handed) + capacity * sizeof(handed->rows[0]));
        if (handed == NULL)
            return false;
        handed->step.run = delete_handed;
        handed->host = session->host;
        handed->session_number = session->durable->number;
        handed->count = count;
        handed->capacity = capacity;
        redispatch->handed = handed;
    }
    handed->rows[count].sequence = item->sequence;
    handed->rows[count].body = item->body;
    handed->count++;
    return true;
}

/* What was handed on until now is deleted when the others have it. */
static void end_slice(struct session *session, struct redispatch *redispatch)
{
    struct handed_rows *handed = redispatch->handed;

    redispatch->handed = NULL;
    if (handed != NULL)
        session->host->ops->when_settled(session->host, &handed->step);
}

/* Each copy goes to the group through which it came, whatever other groups it matches. */
static void take_first(struct session *session, struct redispatch *redispatch, const struct delivery_item *item,
                       const struct lost_target *target)
{
    bool handed = target != NULL && item->message != NULL;

    mqueue_pop(&session->flow->mqueue);
    if (handed)
        session->host->ops->redispatch_lost(session->host, target->group, target->filter, item->message);
    if (session_is_durable(session) && !(handed && item->sequence != 0 && add_handed(session, redispatch, item)))
        durable_delete_entry(session, item);
    message_unref(item->message);
}

bool redispatch_at_once(struct session *session, struct redispatch *redispatch)
{
    struct delivery_item item;
    bool all = true;

    while (all && mqueue_peek(&session->flow->mqueue, &item)) {
        const struct lost_target *target = target_of(redispatch, &item);
        if (target != NULL && item.message == NULL)
            all = false;
        else
            take_first(session, redispatch, &item, target);
    }
    end_slice(session, redispatch);
    return all;
}

static void on_work(struct worker *worker, struct work *work)
{
    (void)worker;
    redispatch_go_on(CONTAINER_OF(work, struct redispatch, work)->session);
}

void redispatch_begin_take(struct session *session, struct redispatch *redispatch, struct retained_feed *feed)
{
    redispatch->session = session;
    redispatch->feed = feed;
    redispatch->work.run = on_work;
    list_append(&session->host->durable.redispatching, &redispatch->place);
    session->redispatch = redispatch;
    redispatch_go_on(session);
}

static void end(struct session *session)
{
    struct redispatch *redispatch = session->redispatch;
    struct retained_feed *feed = redispatch->feed;

    list_remove(&redispatch->place);
    worker_run_cancel(session->host->worker, &redispatch->work);
    redispatch_free(redispatch);
    session_take_down_later(session, feed);
}

void redispatch_go_on(struct session *session)
{
    struct session_flow *flow = session->flow;
    struct delivery_item item;

    for (uint32_t i = 0; i < SLICE && mqueue_peek(&flow->mqueue, &item); i++) {
        const struct lost_target *target = target_of(session->redispatch, &item);
        if (target != NULL && item.message == NULL && queue_load_want(session)) {
            end_slice(session, session->redispatch);
            return;
        }
        if (target != NULL && item.message == NULL)
            metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        take_first(session, session->redispatch, &item, target);
    }
    end_slice(session, session->redispatch);
    if (flow->mqueue.count > 0) {
        worker_run_later(session->host->worker, &session->redispatch->work);
        return;
    }
    queue_load_cancel(session->durable);
    durable_delete_session_settled(session);
    end(session);
}

void redispatch_finish(struct session_host *host)
{
    while (!list_empty(&host->durable.redispatching)) {
        struct redispatch *first = LIST_ENTRY(list_first(&host->durable.redispatching), struct redispatch, place);
        struct session *session = first->session;
        durable_drop_memory(session);
        end(session);
    }
}
