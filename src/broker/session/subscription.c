/*
 * subscription: see subscription.h for the lifetimes.
 *
 * A lookup of (session, filter) walks the shorter of two lists: the session's subscriptions or the filter's
 * subscribers on this worker.
 */
#include "broker/session/subscription.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/session/session.h"
#include "broker/session/session_internal.h"
#include "broker/session/session_record.h"
#include "broker/zone.h"
#include "event/mailbox.h"
#include "hook/hook.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

/* Frees an object first after a grace period and then after this worker's mailbox. */
struct reaper {
    struct post post;
    struct worker *worker;
    void *object;
};

static void reap(struct worker *worker, struct post *post)
{
    struct reaper *reaper = CONTAINER_OF(post, struct reaper, post);

    (void)worker;
    free(reaper->object);
    free(reaper);
}

static void on_grace_period(void *object)
{
    struct reaper *reaper = object;

    worker_post(reaper->worker, &reaper->post);
}

static void free_after_readers(struct session_host *host, void *object)
{
    struct reaper *reaper = malloc(sizeof(*reaper));

    if (reaper == NULL) {
        log_error("[Session] Short of memory: %p can't be freed safely, leaving it", object);
        return;
    }
    *reaper = (struct reaper){.post.run = reap, .worker = host->worker, .object = object};
    rcu_retire(reaper, on_grace_period);
}

struct slice subscription_filter(const struct subscription *subscription)
{
    if (subscription->is_shared)
        return share_group_filter(subscription->shared->group);
    return slice_make(subscription->list->filter, subscription->list->filter_len);
}

static bool is_of(const struct subscription *subscription, const struct mqtt_shared_filter *filter)
{
    if (subscription->is_shared != (filter->group.data != NULL))
        return false;
    if (!slice_equal(subscription_filter(subscription), filter->filter))
        return false;
    return !subscription->is_shared || slice_equal(share_group_name(subscription->shared->group), filter->group);
}

static struct subscription *find_in_list(struct session *session, struct subscriber_list *list)
{
    for (uint32_t i = 0; i < list->subscribers.count; i++) {
        struct subscription *subscription = pointer_list_get(&list->subscribers, i);
        if (subscription->session == session)
            return subscription;
    }
    return NULL;
}

/* The text by which this worker's list of a filter or of a group's members is found. A zero byte can't stand in
 * either. `stack` is used when it is large enough; else `*out_heap` is to be freed. NULL data: memory is short. */
static struct slice lookup_text(const struct mqtt_shared_filter *filter, uint8_t *stack, size_t stack_size,
                                uint8_t **out_heap)
{
    size_t len = filter->group.len + 1 + filter->filter.len;
    uint8_t *text = stack;

    *out_heap = NULL;
    if (filter->group.data == NULL)
        return filter->filter;
    if (len > stack_size)
        text = *out_heap = malloc(len);
    if (text == NULL)
        return slice_make(NULL, 0);
    memcpy(text, filter->group.data, filter->group.len);
    text[filter->group.len] = 0;
    memcpy(text + filter->group.len + 1, filter->filter.data, filter->filter.len);
    return slice_make(text, len);
}

static struct subscriber_list *find_list(struct session_host *host, const struct mqtt_shared_filter *filter)
{
    uint8_t stack[256], *heap;
    struct slice text = lookup_text(filter, stack, sizeof(stack), &heap);
    struct subscriber_list *list = filter_table_find(&host->filters, text);

    free(heap);
    return list;
}

struct subscription *subscription_find(struct session *session, const struct mqtt_shared_filter *filter)
{
    struct subscriber_list *list = find_list(session->host, filter);

    if (list == NULL)
        return NULL;
    if (list->subscribers.count < session->subscriptions.count)
        return find_in_list(session, list);
    for (uint32_t i = 0; i < session->subscriptions.count; i++) {
        struct subscription *subscription = pointer_list_get(&session->subscriptions, i);
        if (is_of(subscription, filter))
            return subscription;
    }
    return NULL;
}

static struct subscriber_list *list_new(struct session_host *host, struct slice text)
{
    struct subscriber_list *list = malloc(sizeof(*list) + text.len);

    if (list == NULL)
        return NULL;
    *list = (struct subscriber_list){.filter_len = (uint16_t)text.len};
    memcpy(list->filter, text.data, text.len);
    if (filter_table_add(&host->filters, list) < 0) {
        free(list);
        return NULL;
    }
    return list;
}

/* A list that the router shall know. */
static struct subscriber_list *list_new_routed(struct session_host *host, struct slice filter)
{
    struct subscriber_list *list = list_new(host, filter);

    if (list == NULL || router_add(host->router, filter, (uint16_t)worker_index(host->worker), list) == 0)
        return list;
    filter_table_remove(&host->filters, list);
    free(list);
    return NULL;
}

static void list_end(struct session_host *host, struct subscriber_list *list)
{
    struct slice filter = slice_make(list->filter, list->filter_len);

    router_remove(host->router, filter, (uint16_t)worker_index(host->worker));
    filter_table_remove(&host->filters, list);
    free_after_readers(host, list);
}

static int join_list(struct session *session, struct subscription *subscription, struct slice filter)
{
    struct session_host *host = session->host;
    struct subscriber_list *list = filter_table_find(&host->filters, filter);

    if (list == NULL)
        list = list_new_routed(host, filter);
    if (list == NULL)
        return -ENOMEM;
    if (pointer_list_add(&list->subscribers, subscription) < 0) {
        if (list->subscribers.count == 0)
            list_end(host, list);
        return -ENOMEM;
    }
    subscription->list = list;
    subscription->list_index = list->subscribers.count - 1;
    if (session_is_durable(session))
        atomic_fetch_add_explicit(&list->durable_count, 1, memory_order_relaxed);
    stat_add(STAT_SUBSCRIBERS, 1);
    return 0;
}

/* The list of this worker's members of a group, joined. NULL when memory is short. */
static struct subscriber_list *join_members(struct session_host *host, struct subscription *subscription,
                                            const struct mqtt_shared_filter *filter)
{
    struct subscriber_list *list = find_list(host, filter);
    uint8_t stack[256], *heap;

    if (list == NULL) {
        struct slice text = lookup_text(filter, stack, sizeof(stack), &heap);
        list = text.data == NULL ? NULL : list_new(host, text);
        free(heap);
    }
    if (list == NULL)
        return NULL;
    if (pointer_list_add(&list->subscribers, subscription) < 0) {
        if (list->subscribers.count == 0) {
            filter_table_remove(&host->filters, list);
            free(list);
        }
        return NULL;
    }
    subscription->list_index = list->subscribers.count - 1;
    return list;
}

static void leave_members(struct session_host *host, const struct subscription *subscription,
                          struct subscriber_list *list)
{
    struct subscription *moved = pointer_list_remove(&list->subscribers, subscription->list_index);

    if (moved != NULL)
        moved->list_index = subscription->list_index;
    if (list->subscribers.count > 0)
        return;
    filter_table_remove(&host->filters, list);
    free(list); /* nobody else knows it */
}

/* Once round, after four thousand million of them, nobody can have one of the first left in a queue. */
static uint32_t next_share_number(struct session_host *host)
{
    if (++host->share_number == 0)
        host->share_number = 1;
    return host->share_number;
}

static int join_group(struct session *session, struct subscription *subscription,
                      const struct mqtt_shared_filter *filter)
{
    struct session_host *host = session->host;
    struct shared_target *target = calloc(1, sizeof(*target) + filter->group.len + filter->filter.len);

    if (target == NULL)
        return -ENOMEM;
    target->name_len = (uint16_t)filter->group.len;
    target->filter_len = (uint16_t)filter->filter.len;
    memcpy(target->text, filter->group.data, filter->group.len);
    memcpy(target->text + filter->group.len, filter->filter.data, filter->filter.len);
    target->number = next_share_number(host);
    target->share_hash = queue_share_hash(filter);
    target->subscription = subscription;
    target->member.destination = (uint16_t)worker_index(host->worker);
    target->member.subscription = target;
    atomic_init(&target->member.online, session->link != NULL);
    atomic_init(&target->member.durable, session_is_durable(session));
    target->members = join_members(host, subscription, filter);
    if (target->members == NULL) {
        free(target);
        return -ENOMEM;
    }
    if (router_group_join(host->router, filter->filter, filter->group, &target->member, &target->group) < 0) {
        leave_members(host, subscription, target->members);
        free(target);
        return -ENOMEM;
    }
    subscription->shared = target;
    session->has_shared = true;
    stat_add(STAT_SUBSCRIPTIONS_SHARED, 1);
    return 0;
}

static void set_options(struct subscription *subscription, const struct mqtt_subscription_options *options,
                        uint32_t subscription_id)
{
    subscription->qos = options->qos & 3u;
    subscription->no_local = options->no_local;
    subscription->retain_as_published = options->retain_as_published;
    subscription->retain_handling = options->retain_handling & 3u;
    subscription->subscription_id = subscription_id;
}

int subscription_add(struct session *session, const struct mqtt_shared_filter *filter,
                     const struct mqtt_subscription_options *options, uint32_t subscription_id, bool *out_is_new)
{
    struct subscription *subscription = subscription_find(session, filter);
    int err;

    *out_is_new = subscription == NULL;
    if (subscription != NULL) {
        set_options(subscription, options, subscription_id);
        if (session_is_durable(session))
            durable_put_subscription(subscription);
        return 0;
    }
    subscription = calloc(1, sizeof(*subscription));
    if (subscription == NULL)
        return -ENOMEM;
    subscription->session = session;
    set_options(subscription, options, subscription_id);
    if (pointer_list_add(&session->subscriptions, subscription) < 0) {
        free(subscription);
        return -ENOMEM;
    }
    subscription->session_index = session->subscriptions.count - 1;
    subscription->is_shared = filter->group.data != NULL;
    err = subscription->is_shared ? join_group(session, subscription, filter)
                                  : join_list(session, subscription, filter->filter);
    if (err < 0) {
        pointer_list_remove(&session->subscriptions, subscription->session_index);
        free(subscription);
        return err;
    }
    if (session_is_durable(session))
        durable_put_subscription(subscription);
    stat_add(STAT_SUBSCRIPTIONS, 1);
    stat_add(STAT_SUBOPTIONS, 1);
    return 0;
}

static void leave_group(struct session_host *host, struct subscription *subscription)
{
    struct shared_target *target = subscription->shared;
    struct share_group *group = target->group;

    leave_members(host, subscription, target->members);
    share_group_remove(group, &target->member);
    router_group_release(host->router, group);
    target->subscription = NULL;
    free_after_readers(host, target);
    stat_add(STAT_SUBSCRIPTIONS_SHARED, -1);
}

static void leave_list(struct session_host *host, struct subscription *subscription)
{
    struct subscriber_list *list = subscription->list;
    struct subscription *moved = pointer_list_remove(&list->subscribers, subscription->list_index);

    if (moved != NULL)
        moved->list_index = subscription->list_index;
    if (session_is_durable(subscription->session))
        atomic_fetch_sub_explicit(&list->durable_count, 1, memory_order_relaxed);
    if (list->subscribers.count == 0)
        list_end(host, list);
    stat_add(STAT_SUBSCRIBERS, -1);
}

void subscription_remove(struct subscription *subscription)
{
    struct session *session = subscription->session;
    struct subscription *moved = pointer_list_remove(&session->subscriptions, subscription->session_index);

    if (moved != NULL)
        moved->session_index = subscription->session_index;
    if (session_is_durable(session))
        durable_delete_subscription(subscription);
    if (subscription->is_shared)
        leave_group(session->host, subscription);
    else
        leave_list(session->host, subscription);
    free(subscription);
    stat_add(STAT_SUBSCRIPTIONS, -1);
    stat_add(STAT_SUBOPTIONS, -1);
}

void subscriptions_set_online(struct session *session, bool online)
{
    for (uint32_t i = 0; session->has_shared && i < session->subscriptions.count; i++) {
        struct subscription *subscription = pointer_list_get(&session->subscriptions, i);
        if (subscription->is_shared)
            atomic_store_explicit(&subscription->shared->member.online, online, memory_order_relaxed);
    }
}

void subscriptions_set_durable(struct session *session, bool durable)
{
    for (uint32_t i = 0; i < session->subscriptions.count; i++) {
        struct subscription *subscription = pointer_list_get(&session->subscriptions, i);
        if (subscription->is_shared)
            atomic_store_explicit(&subscription->shared->member.durable, durable, memory_order_relaxed);
        else
            atomic_fetch_add_explicit(&subscription->list->durable_count, durable ? 1u : UINT32_MAX,
                                      memory_order_relaxed);
    }
}

uint32_t subscriptions_share_hash(const struct session *session, uint32_t share_number)
{
    for (uint32_t i = 0; i < session->subscriptions.count; i++) {
        const struct subscription *subscription = pointer_list_get(&session->subscriptions, i);
        if (subscription->is_shared && subscription->shared->number == share_number)
            return subscription->shared->share_hash;
    }
    return 0;
}

/* No Local: the publisher's own connection does not get it. */
static void drop_own(struct session *session, const struct message *message)
{
    metric_add(METRIC_MESSAGES_DROPPED_NO_LOCAL, 1);
    if (UNLIKELY(hook_any(HOOK_MESSAGE_DROPPED)))
        session_tell_dropped(session, message, "no_local");
}

static inline void deliver(struct subscription *subscription, struct message *message)
{
    struct session *session = subscription->session;
    const struct zone_session *settings = &session->zone->session;

    if (subscription->no_local && slice_equal(message_client_id(message), session_client_id(session))) {
        drop_own(session, message);
        return;
    }
    bool lower = settings->upgrade_qos ? message->qos > subscription->qos : message->qos < subscription->qos;
    struct delivery_item item = {
        .message = message,
        .subscription_id = subscription->subscription_id,
        .qos = lower ? message->qos : subscription->qos,
        .retain = subscription->retain_as_published && message->retain,
        .share_number = subscription->is_shared ? subscription->shared->number : 0,
        .share_hash = subscription->is_shared ? subscription->shared->share_hash : 0,
        .copy = session->host->copy_bodies,
    };
    session_deliver(session, &item);
}

void subscriber_list_deliver(struct session_host *host, struct subscriber_list *list, struct message *message)
{
    void **items = pointer_list_items(&list->subscribers);
    uint32_t count = list->subscribers.count;

    (void)host;
    for (uint32_t i = 0; i < count; i++) {
        if (LIKELY(i + 2 < count))
            __builtin_prefetch(items[i + 2]);
        deliver(items[i], message);
    }
}

bool shared_target_ended(struct shared_target *target)
{
    if (target->subscription != NULL && UNLIKELY(target->subscription->session->ended)) {
        subscription_remove(target->subscription); /* the target itself stays until its readers are done */
        ASSERT(target->subscription == NULL);
    }
    return target->subscription == NULL;
}

void shared_target_deliver(struct session_host *host, struct shared_target *target, struct message *message,
                           bool want_room, uint32_t attempt)
{
    struct subscription *subscription;

    if (UNLIKELY(shared_target_ended(target))) {
        host->ops->redispatch_lost(host, slice_make(target->text, target->name_len),
                                   slice_make(target->text + target->name_len, target->filter_len), message);
        return;
    }
    subscription = target->subscription;
    if (want_room && attempt + 1 < share_group_member_count(target->group) &&
        !session_has_room(subscription->session)) {
        host->ops->redispatch(host, target, message, attempt + 1);
        return;
    }
    deliver(subscription, message);
}
