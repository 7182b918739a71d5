/*
 * auto_subscription: see auto_subscription.h.
 */
#include "module/auto_subscription.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/broker.h"
#include "broker/session/retained_feed.h"
#include "broker/session/session.h"
#include "broker/session/subscription.h"
#include "broker/zone.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "mqtt/topic.h"
#include "mqtt/topic_pattern.h"

#include <errno.h>
#include <stdlib.h>

struct auto_subscription {
    struct hook *hook;
    size_t count;
    struct auto_filter filters[];
};

/* A subscription about to be made. */
struct request {
    const struct client_info *client;
    struct session *session;
    struct mqtt_shared_filter filter;
    struct mqtt_subscription_options options;
};

static bool parse_filter(struct slice text, struct mqtt_shared_filter *out_filter)
{
    return text.len <= MQTT_TOPIC_LEN_MAX && mqtt_shared_filter_parse(text, out_filter) &&
           mqtt_filter_valid(out_filter->filter);
}

bool auto_subscription_check(const char *pattern)
{
    struct mqtt_shared_filter filter;

    return parse_filter(slice_from_string(pattern), &filter);
}

static void tell(const struct request *request, bool is_new)
{
    struct hook_session_filter event = {
        .client = request->client,
        .filter = request->filter.filter,
        .group = request->filter.group,
        .options = request->options,
        .is_new = is_new,
    };

    if (hook_any(HOOK_SESSION_SUBSCRIBED))
        (void)hook_call(HOOK_SESSION_SUBSCRIBED, &event);
}

/* -ENOMEM; -EINVAL: it would be no filter. */
static int subscribe(struct request *request, struct slice text)
{
    struct retained_request retained = {.qos = request->options.qos,
                                        .upgrade_qos = request->session->zone->session.upgrade_qos};
    bool is_new;
    int err;

    if (!parse_filter(text, &request->filter))
        return -EINVAL;
    err = subscription_add(request->session, &request->filter, &request->options, 0, &is_new);
    if (err < 0)
        return err;
    tell(request, is_new);
    retained.filter = request->filter.filter;
    if (request->filter.group.data == NULL && session_push_retained(request->session, &retained) < 0)
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
    return 0;
}

/* Do the client's values suit the pattern? */
static bool values_fit(struct slice pattern, const struct client_info *client)
{
    return (topic_pattern_value_fits(client->client_id) || !topic_pattern_has(pattern, 'c')) &&
           (topic_pattern_value_fits(client->user_name) || !topic_pattern_has(pattern, 'u'));
}

static void serve(const struct auto_filter *filter, const struct client_info *client, struct session *session)
{
    struct request request = {.client = client, .session = session, .options = {.qos = filter->qos}};
    struct slice pattern = slice_from_string(filter->pattern), text = slice_make(NULL, 0);
    int err = values_fit(pattern, client) ? 0 : -EINVAL;

    if (err == 0)
        err = topic_pattern_expand(pattern, client->client_id, client->user_name, &text);
    if (err == 0)
        err = subscribe(&request, text);
    if (err < 0)
        log_client_limited(LOG_LEVEL_WARNING, client->client_id, NULL,
                           "[Subscription] the client is not subscribed to %s: %s", filter->pattern,
                           err == -ENOMEM ? "memory is short"
                                          : "with its client id or user name in it that is no filter for it alone");
    slice_free(&text);
}

static enum hook_verdict on_created(void *context, void *data)
{
    const struct auto_subscription *subscription = context;
    const struct hook_session *event = data;
    struct broker_worker *worker = broker_worker_of(worker_current());
    struct session *session = broker_find_session(worker->broker, event->client->client_id);

    ASSERT(session != NULL && session->host == &worker->host); /* it was made just now */
    for (size_t i = 0; i < subscription->count; i++)
        serve(&subscription->filters[i], event->client, session);
    return HOOK_NEXT;
}

int auto_subscription_open(const struct auto_filter *filters, size_t count, struct auto_subscription **out_subscription)
{
    struct auto_subscription *subscription = calloc(1, sizeof(*subscription) + count * sizeof(filters[0]));
    struct hook_options hook = {
        .point = HOOK_SESSION_CREATED, .run = on_created, .context = subscription, .owner = "module subscription"};
    int err;

    if (subscription == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        subscription->filters[i] = filters[i];
    subscription->count = count;
    err = hook_add(&hook, &subscription->hook);
    if (err < 0) {
        auto_subscription_close(subscription);
        return err;
    }
    *out_subscription = subscription;
    return 0;
}

void auto_subscription_close(struct auto_subscription *subscription)
{
    if (subscription == NULL)
        return;
    hook_remove(subscription->hook);
    free(subscription);
}
