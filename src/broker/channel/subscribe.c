/*
 * subscribe: SUBSCRIBE and UNSUBSCRIBE. Each filter gets its own answer: a refused one does not touch the others.
 *
 * A packet of some hundred filters is served at once. A larger one, of up to max_packet_size, would hold the worker for
 * a tenth of a second: its filters are copied and wait in the worker's queue of such packets, which serves some hundreds in
 * each turn and takes its packets in rotation. The connection is not read meanwhile, so its packets keep their order. The
 * answer goes out when all filters are done, and the retained messages after it. A connection that ends in the
 * middle leaves the session with the filters that were done.
 */
#include "broker/channel/access.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/channel/hold.h"
#include "broker/session/retained_feed.h"
#include "broker/session/subscription.h"
#include "hook/hook.h"
#include "hook/hook_memory.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

#define FILTERS_PER_TURN                                                                                               \
    256u /* of packets with more than that, of all of a worker's clients: under half a millisecond */

/* Levels of a filter where max_topic_levels is 0. No topic in use comes near it, and a filter of 64 KB with a node of the
 * router's tree for every second byte would cost megabytes. Refused like any filter over max_topic_levels. */
#define FILTER_LEVELS_MAX 1024u

/* A filter that client.subscribe has changed, until its retained messages are asked for. */
struct changed_filter {
    struct changed_filter *next; /* behind it in the packet */
    uint32_t index;              /* in the packet */
    struct mqtt_subscription_options options;
    struct slice text;
    uint8_t bytes[];
};

/* One filter of the packet, checked. */
struct request {
    struct mqtt_shared_filter filter; /* with mountpoint */
    uint8_t *mounted;                 /* memory of filter.filter when there is a mountpoint */
    struct slice text;                /* as it came */
    struct changed_filter *changed;   /* owned: what client.subscribe made of it; NULL: nothing else */
    struct mqtt_subscription_options options;
    bool waits; /* for client.check_acl */
};

static bool mount(const struct connection *connection, struct request *request)
{
    struct slice mountpoint = connection_mountpoint(connection), filter = request->filter.filter;

    request->mounted = NULL;
    if (mountpoint.len == 0)
        return true;
    if (mountpoint.len + filter.len + request->filter.group.len >= MQTT_TOPIC_LEN_MAX)
        return false;
    request->mounted = malloc(mountpoint.len + filter.len);
    if (request->mounted == NULL)
        return false;
    memcpy(request->mounted, mountpoint.data, mountpoint.len);
    memcpy(request->mounted + mountpoint.len, filter.data, filter.len);
    request->filter.filter = slice_make(request->mounted, mountpoint.len + filter.len);
    return true;
}

static void adjust_options(const struct connection *connection, struct mqtt_subscription_options *options)
{
    const struct zone *zone = connection_zone(connection);

    if (connection->version < MQTT_V5) {
        options->no_local = zone->session.ignore_loop_deliver;
        options->retain_as_published = connection->is_bridge;
        options->retain_handling = 0;
    }
    if (options->qos > zone->caps.max_qos_allowed)
        options->qos = zone->caps.max_qos_allowed;
}

/* What is allowed to be subscribed; 0 or the reason to refuse this filter. */
static enum reason_code check_filter(const struct connection *connection, const struct mqtt_shared_filter *filter)
{
    const struct zone_capabilities *caps = &connection_zone(connection)->caps;
    uint32_t levels_max = caps->max_topic_levels > 0 ? caps->max_topic_levels : FILTER_LEVELS_MAX;

    if (filter->filter.len >= levels_max && mqtt_topic_level_count(filter->filter) > levels_max)
        return REASON_TOPIC_FILTER_INVALID;
    if (filter->group.data != NULL && !caps->shared_subscription)
        return REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    if (!caps->wildcard_subscription && mqtt_filter_has_wildcard(filter->filter))
        return REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    return REASON_SUCCESS;
}

/* A filter whose syntax is wrong breaks the protocol; a share prefix with a wrong group is only refused. */
static bool parse_filter(struct slice text, struct mqtt_shared_filter *out_filter, enum reason_code *out_code)
{
    *out_code = REASON_SUCCESS;
    if (!mqtt_shared_filter_parse(text, out_filter)) {
        *out_code = REASON_TOPIC_FILTER_INVALID;
        return true;
    }
    return mqtt_filter_valid(out_filter->filter);
}

/* Takes over what a callback has changed. */
static enum reason_code take_change(const struct connection *connection, const struct hook_subscribe *event,
                                    struct request *request)
{
    enum reason_code code;

    if (event->filter.len == 0 || event->filter.len > MQTT_TOPIC_LEN_MAX || event->options.qos > 2 ||
        event->options.retain_handling > 2)
        return REASON_TOPIC_FILTER_INVALID;
    request->changed = malloc(sizeof(*request->changed) + event->filter.len);
    if (request->changed == NULL)
        return REASON_IMPLEMENTATION_SPECIFIC_ERROR;
    memcpy(request->changed->bytes, event->filter.data, event->filter.len);
    request->changed->text = slice_make(request->changed->bytes, event->filter.len);
    request->changed->options = request->options = event->options;
    if (!parse_filter(request->changed->text, &request->filter, &code))
        return REASON_TOPIC_FILTER_INVALID;
    return code == REASON_SUCCESS ? check_filter(connection, &request->filter) : code;
}

static bool same_options(const struct mqtt_subscription_options *left, const struct mqtt_subscription_options *right)
{
    return left->qos == right->qos && left->no_local == right->no_local &&
           left->retain_as_published == right->retain_as_published && left->retain_handling == right->retain_handling;
}

/* client.subscribe */
static enum reason_code run_subscribe(struct connection *connection, struct request *request)
{
    struct client_info client;
    struct hook_subscribe event = {
        .client = &client, .filter = request->text, .options = request->options, .code = REASON_SUCCESS};
    enum reason_code code = REASON_SUCCESS;

    channel_client_info(connection, connection_client_id(connection), &client);
    (void)hook_call(HOOK_CLIENT_SUBSCRIBE, &event);
    if (event.code >= REASON_UNSPECIFIED_ERROR)
        code = event.code;
    else if (event.filter.data != request->text.data || event.filter.len != request->text.len ||
             !same_options(&event.options, &request->options))
        code = take_change(connection, &event, request);
    hook_memory_free(&event.memory);
    return code;
}

/* session.subscribed and session.unsubscribed */
static void tell_subscription(const struct connection *connection, enum hook_point point, const struct request *request,
                              uint32_t subscription_id, bool is_new)
{
    struct client_info client;
    struct hook_session_filter event = {
        .client = &client,
        .filter = request->filter.filter,
        .group = request->filter.group,
        .options = request->options,
        .subscription_id = subscription_id,
        .is_new = is_new,
    };

    channel_client_info(connection, connection_client_id(connection), &client);
    (void)hook_call(point, &event);
}

static enum reason_code subscribe_one(struct connection *connection, struct request *request, uint32_t subscription_id,
                                      bool *out_is_new)
{
    struct session *session = connection->link.session;
    uint32_t max = connection_zone(connection)->session.max_subscriptions;
    enum reason_code code = check_filter(connection, &request->filter);

    if (code == REASON_SUCCESS) {
        enum access_answer may = channel_may(connection, ACL_SUBSCRIBE, request->filter.filter);
        request->waits = may == ACCESS_LATER;
        if (request->waits)
            return REASON_SUCCESS;
        code = may == ACCESS_YES ? REASON_SUCCESS : REASON_NOT_AUTHORIZED;
    }
    if (code == REASON_SUCCESS && session_is_durable(session))
        code = broker_store_problem(connection->worker->broker);
    if (code == REASON_SUCCESS && hook_any(HOOK_CLIENT_SUBSCRIBE))
        code = run_subscribe(connection, request);
    if (code != REASON_SUCCESS)
        return code;
    if (!mount(connection, request))
        return REASON_IMPLEMENTATION_SPECIFIC_ERROR;
    if (request->mounted != NULL && !mqtt_filter_valid(request->filter.filter))
        return REASON_TOPIC_FILTER_INVALID; /* a mountpoint without a last slash before "#" */
    if (max > 0 && session->subscriptions.count >= max && subscription_find(session, &request->filter) == NULL)
        return REASON_QUOTA_EXCEEDED;
    if (subscription_add(session, &request->filter, &request->options, subscription_id, out_is_new) < 0)
        return REASON_IMPLEMENTATION_SPECIFIC_ERROR;
    if (UNLIKELY(hook_any(HOOK_SESSION_SUBSCRIBED)))
        tell_subscription(connection, HOOK_SESSION_SUBSCRIBED, request, subscription_id, *out_is_new);
    return (enum reason_code)request->options.qos;
}

/* Retained messages for a subscription just made; the SUBACK is before them in the output [MQTT-3.3.1-9 ff.]. */
static void queue_retained(struct connection *connection, const struct request *request, uint32_t subscription_id,
                           bool is_new)
{
    struct session *session = connection->link.session;
    struct retained_request wanted = {
        .filter = request->filter.filter,
        .subscription_id = subscription_id,
        .qos = request->options.qos,
        .upgrade_qos = connection_zone(connection)->session.upgrade_qos,
    };
    uint8_t handling = request->options.retain_handling;

    if (request->filter.group.data != NULL || handling == 2 || (handling == 1 && !is_new))
        return;
    if (session_push_retained(session, &wanted) < 0)
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
}

static void send_suback(struct connection *connection, enum mqtt_type type, uint16_t packet_id, uint8_t *codes,
                        uint32_t count)
{
    struct mqtt_packet packet = {.type = type, .suback = {.packet_id = packet_id, .codes = slice_make(codes, count)}};

    bool promises = false;

    for (uint32_t i = 0; i < count; i++) {
        if (codes[i] < REASON_UNSPECIFIED_ERROR)
            promises = true;
        else if (connection->version < MQTT_V5)
            codes[i] = REASON_UNSPECIFIED_ERROR; /* MQTT 3.1.1 knows 0x80 only */
    }
    if (type == MQTT_UNSUBACK && connection->version < MQTT_V5)
        packet.suback.codes = slice_make(codes, 0);
    if (promises && session_is_durable(connection->link.session))
        channel_hold(connection);
    connection_send(connection, &packet);
    metric_add(type == MQTT_SUBACK ? METRIC_PACKETS_SUBACK_SENT : METRIC_PACKETS_UNSUBACK_SENT, 1);
}

/* Are all filters legal? Asked before the first one takes effect. */
static enum reason_code check_filters(struct slice filters, bool is_subscribe, bool is_v5, const char **out_error)
{
    struct mqtt_subscription_options options;
    struct mqtt_shared_filter shared;
    enum reason_code code;
    struct slice text;

    while (mqtt_filter_next(&filters, &text, is_subscribe ? &options : NULL)) {
        if (!parse_filter(text, &shared, &code)) {
            *out_error = "a topic filter that is not well-formed";
            return REASON_MALFORMED_PACKET;
        }
        if (is_subscribe && is_v5 && code == REASON_SUCCESS && shared.group.data != NULL && options.no_local) {
            *out_error = "No Local on a shared subscription"; /* [MQTT-3.8.3-4] */
            return REASON_PROTOCOL_ERROR;
        }
    }
    return REASON_SUCCESS;
}

/* Means nothing when the request waits: it is served again then. */
static enum reason_code serve_filter(struct connection *connection, struct slice text,
                                     struct mqtt_subscription_options options, uint32_t subscription_id,
                                     struct request *out_request, bool *out_is_new)
{
    enum reason_code code;

    *out_request = (struct request){.options = options, .text = text};
    parse_filter(text, &out_request->filter, &code);
    adjust_options(connection, &out_request->options);
    if (code == REASON_SUCCESS)
        code = subscribe_one(connection, out_request, subscription_id, out_is_new);
    if (code >= REASON_UNSPECIFIED_ERROR) {
        metric_add(METRIC_PACKETS_SUBSCRIBE_ERROR, 1);
        metric_add(METRIC_PACKETS_SUBSCRIBE_AUTH_ERROR, code == REASON_NOT_AUTHORIZED);
        log_client_limited(LOG_LEVEL_WARNING, session_client_id(connection->link.session), NULL,
                           "[Channel] Cannot subscribe %.*s for %s", (int)text.len, (const char *)text.data,
                           reason_code_text(code));
    }
    return code;
}

#define WAS_GRANTED 1u
#define WAS_NEW 2u

/* What a packet asks for and how far that has come. */
struct filter_service {
    enum mqtt_type type; /* MQTT_SUBSCRIBE or MQTT_UNSUBSCRIBE */
    uint16_t packet_id;
    bool answered; /* SUBACK is out; retained messages come next */
    bool denied;   /* the client is not authorized for one of the filters */
    bool waits;    /* for an answer about the filter that is next */
    uint32_t subscription_id;
    uint32_t count;
    uint32_t done;        /* of them, before or after the answer */
    struct slice filters; /* borrowed */
    struct slice left;    /* behind the done ones */
    uint8_t *codes;       /* `count` of them */
    uint8_t *outcomes;    /* of SUBSCRIBE: WAS_ */
    struct changed_filter *changed;
    struct changed_filter *changed_last;
};

/* A packet that takes more than a turn. In the worker's queue. */
struct filter_job {
    struct filter_job *next;
    struct filter_job *prev;
    struct connection *connection; /* NULL: it ended while the job was being run */
    bool running;
    bool queued;
    struct filter_service service;
    uint8_t bytes[]; /* its filters, codes and outcomes */
};

static void push_changed(struct filter_service *service, struct changed_filter *changed)
{
    changed->next = NULL;
    changed->index = service->done;
    if (service->changed == NULL)
        service->changed = changed;
    else
        service->changed_last->next = changed;
    service->changed_last = changed;
}

/* What became of the filter that is next; NULL: it is as it came. The caller frees it. */
static struct changed_filter *pop_changed(struct filter_service *service)
{
    struct changed_filter *changed = service->changed;

    if (LIKELY(changed == NULL) || changed->index != service->done)
        return NULL;
    service->changed = changed->next;
    return changed;
}

static void free_changed(struct filter_service *service)
{
    while (service->changed != NULL) {
        struct changed_filter *changed = service->changed;
        service->changed = changed->next;
        free(changed);
    }
}

/* client.unsubscribe: the filter to end, perhaps kept in `memory`. */
static struct slice run_unsubscribe(struct connection *connection, struct slice text, struct hook_memory **memory)
{
    struct client_info client;
    struct hook_unsubscribe event = {.client = &client, .filter = text};

    channel_client_info(connection, connection_client_id(connection), &client);
    (void)hook_call(HOOK_CLIENT_UNSUBSCRIBE, &event);
    *memory = event.memory;
    return event.filter;
}

static enum reason_code unsubscribe_parsed(struct connection *connection, struct slice text)
{
    struct request request = {.mounted = NULL};
    struct subscription *subscription = NULL;
    enum reason_code code;

    if (!parse_filter(text, &request.filter, &code))
        return REASON_TOPIC_FILTER_INVALID; /* only what a callback has made can be that wrong */
    if (code != REASON_SUCCESS)
        return code;
    if (mount(connection, &request)) {
        subscription = subscription_find(connection->link.session, &request.filter);
        if (request.filter.group.data == NULL)
            session_cancel_retained(connection->link.session, request.filter.filter);
    }
    if (subscription != NULL) {
        subscription_remove(subscription);
        if (UNLIKELY(hook_any(HOOK_SESSION_UNSUBSCRIBED)))
            tell_subscription(connection, HOOK_SESSION_UNSUBSCRIBED, &request, 0, false);
    }
    free(request.mounted);
    return subscription == NULL ? REASON_NO_SUBSCRIPTION_EXISTED : REASON_SUCCESS;
}

static enum reason_code unsubscribe_one(struct connection *connection, struct slice text)
{
    struct hook_memory *memory = NULL;
    enum reason_code code;

    if (UNLIKELY(hook_any(HOOK_CLIENT_UNSUBSCRIBE)))
        text = run_unsubscribe(connection, text, &memory);
    code = unsubscribe_parsed(connection, text);
    hook_memory_free(&memory);
    return code;
}

/* Retained messages for the next `most` filters, as far as they were granted. */
static void request_retained(struct connection *connection, struct filter_service *service, uint32_t most)
{
    struct mqtt_subscription_options options;
    enum reason_code code;
    struct slice text;

    for (; most > 0 && mqtt_filter_next(&service->left, &text, &options); most--) {
        struct request request = {.options = options, .changed = pop_changed(service)};
        uint8_t outcome = service->outcomes[service->done++];
        if ((outcome & WAS_GRANTED) == 0)
            continue;
        adjust_options(connection, &request.options);
        if (UNLIKELY(request.changed != NULL)) {
            text = request.changed->text;
            request.options = request.changed->options;
        }
        parse_filter(text, &request.filter, &code);
        if (mount(connection, &request))
            queue_retained(connection, &request, service->subscription_id, (outcome & WAS_NEW) != 0);
        free(request.mounted);
        free(request.changed);
    }
    session_drain(connection->link.session);
}

static void subscribe_some(struct connection *connection, struct filter_service *service, uint32_t most)
{
    struct mqtt_subscription_options options;
    struct slice rest = service->left;
    struct request request;
    struct slice text;

    for (; most > 0 && mqtt_filter_next(&rest, &text, &options); most--) {
        bool is_new = false;
        enum reason_code code = serve_filter(connection, text, options, service->subscription_id, &request, &is_new);
        service->waits = request.waits;
        if (UNLIKELY(request.waits))
            return;
        service->left = rest;
        if (UNLIKELY(request.changed != NULL) && code < REASON_UNSPECIFIED_ERROR)
            push_changed(service, request.changed);
        else
            free(request.changed);
        service->codes[service->done] = (uint8_t)code;
        service->denied |= code == REASON_NOT_AUTHORIZED;
        service->outcomes[service->done++] = code >= REASON_UNSPECIFIED_ERROR
                                                 ? 0
                                                 : (uint8_t)(WAS_GRANTED | (is_new ? WAS_NEW : 0));
        free(request.mounted);
    }
}

static void unsubscribe_some(struct connection *connection, struct filter_service *service, uint32_t most)
{
    struct slice text;

    for (; most > 0 && mqtt_filter_next(&service->left, &text, NULL); most--)
        service->codes[service->done++] = (uint8_t)unsubscribe_one(connection, text);
}

/* Serves the next `most` filters, or fewer when it waits, and answers after the last one. True: all is done. Look whether the connection is still
 * open. */
static bool serve(struct connection *connection, struct filter_service *service, uint32_t most)
{
    bool is_subscribe = service->type == MQTT_SUBSCRIBE;

    if (service->answered)
        request_retained(connection, service, most);
    else if (is_subscribe)
        subscribe_some(connection, service, most);
    else
        unsubscribe_some(connection, service, most);
    if (service->done < service->count)
        return false;
    if (service->answered)
        return true;
    send_suback(connection, is_subscribe ? MQTT_SUBACK : MQTT_UNSUBACK, service->packet_id, service->codes,
                service->count);
    if (service->denied && connection_zone(connection)->acl.disconnects) {
        connection_close(connection, REASON_NOT_AUTHORIZED, reason_code_name(REASON_NOT_AUTHORIZED));
        return true;
    }
    service->answered = true;
    service->done = 0;
    service->left = service->filters;
    return !is_subscribe;
}

static void queue_push(struct channel_worker *host, struct filter_job *job)
{
    job->queued = true;
    job->next = NULL;
    job->prev = host->filter_jobs_last;
    if (job->prev != NULL)
        job->prev->next = job;
    else
        host->filter_jobs = job;
    host->filter_jobs_last = job;
}

static void queue_remove(struct channel_worker *host, struct filter_job *job)
{
    job->queued = false;
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        host->filter_jobs = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        host->filter_jobs_last = job->prev;
}

void channel_cancel_filters(struct connection *connection)
{
    struct filter_job *job = connection->extras == NULL ? NULL : connection->extras->filter_job;

    if (job == NULL)
        return;
    connection->extras->filter_job = NULL;
    job->connection = NULL;
    if (job->running)
        return; /* run_filters() frees it */
    if (job->queued)
        queue_remove(connection_host(connection), job);
    free_changed(&job->service);
    free(job);
}

/* A turn's share of the packet that is next. */
static void run_filters(struct worker *worker, struct work *work)
{
    struct channel_worker *host = CONTAINER_OF(work, struct channel_worker, filter_work);
    struct filter_job *job = host->filter_jobs;

    if (job == NULL)
        return;
    queue_remove(host, job);
    job->running = true;
    bool done = serve(job->connection, &job->service, FILTERS_PER_TURN);
    job->running = false;
    if (job->connection != NULL && job->service.waits) {
        job->connection->packet_seen = true; /* channel_go_on_filters() follows */
    } else if (job->connection != NULL && !done) {
        queue_push(host, job);
    } else {
        if (job->connection != NULL) {
            job->connection->extras->filter_job = NULL;
            connection_unpause(job->connection, PAUSE_FILTERS);
        }
        free_changed(&job->service);
        free(job);
    }
    if (host->filter_jobs != NULL)
        worker_run_later(worker, work);
}

/* The packet's job is the next turn's. */
static void run_later(struct connection *connection, struct filter_job *job)
{
    struct channel_worker *host = connection_host(connection);

    queue_push(host, job);
    host->filter_work.run = run_filters;
    worker_run_later(connection->worker->host.worker, &host->filter_work);
}

bool channel_go_on_filters(struct connection *connection)
{
    struct filter_job *job = connection->extras == NULL ? NULL : connection->extras->filter_job;

    if (job == NULL)
        return false;
    ASSERT(job->service.waits && !job->queued);
    job->service.waits = false;
    run_later(connection, job);
    return true;
}

/* Serves the packet, or what is left of it, from the next turn on, or when client.check_acl has answered. Takes over what was changed. -ENOMEM. */
static int serve_later(struct connection *connection, const struct filter_service *service)
{
    struct connection_extras *extras = connection_extras_get(connection);
    size_t len = service->filters.len;
    struct filter_job *job = extras == NULL ? NULL : malloc(sizeof(*job) + len + 2 * (size_t)service->count);

    if (job == NULL)
        return -ENOMEM;
    ASSERT(extras->filter_job == NULL); /* it is not read while there is one */
    memcpy(job->bytes, service->filters.data, len);
    job->connection = connection;
    job->running = false;
    job->service = *service;
    job->queued = false;
    job->service.filters = slice_make(job->bytes, len);
    job->service.left = slice_skip(job->service.filters, len - service->left.len);
    job->service.codes = job->bytes + len;
    job->service.outcomes = job->service.codes + service->count;
    if (service->done > 0) {
        memcpy(job->service.codes, service->codes, service->done);
        memcpy(job->service.outcomes, service->outcomes, service->done);
    }
    extras->filter_job = job;
    connection->paused |= PAUSE_FILTERS;
    if (service->waits)
        connection->packet_seen = true; /* channel_go_on_filters() follows */
    else
        run_later(connection, job);
    return 0;
}

static enum handled start(struct connection *connection, const struct filter_service *service)
{
    uint8_t codes[2 * FILTERS_PER_TURN];
    struct filter_service now = *service;
    bool is_large = service->count > FILTERS_PER_TURN;

    now.left = now.filters;
    now.codes = codes;
    now.outcomes = codes + now.count;
    while (!is_large && !now.waits && connection_open(connection) && !serve(connection, &now, FILTERS_PER_TURN))
        continue;
    if (is_large || now.waits) {
        if (serve_later(connection, &now) == 0)
            return HANDLED;
        connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem");
    }
    free_changed(&now);
    return connection_open(connection) ? HANDLED : HANDLED_STOP;
}

enum handled channel_on_subscribe(struct connection *connection, const struct mqtt_subscribe *subscribe)
{
    struct filter_service service = {
        .type = MQTT_SUBSCRIBE,
        .packet_id = subscribe->packet_id,
        .filters = subscribe->filters,
        .count = subscribe->filter_count,
        .subscription_id = mqtt_properties_have(&subscribe->properties, MQTT_PROP_SUBSCRIPTION_IDENTIFIER)
                               ? subscribe->properties.subscription_id
                               : 0,
    };
    const char *error;
    enum reason_code code = check_filters(subscribe->filters, true, connection->version >= MQTT_V5, &error);

    if (code != REASON_SUCCESS)
        return connection_refuse(connection, code, error);
    return start(connection, &service);
}

enum handled channel_on_unsubscribe(struct connection *connection, const struct mqtt_subscribe *unsubscribe)
{
    struct filter_service service = {
        .type = MQTT_UNSUBSCRIBE,
        .packet_id = unsubscribe->packet_id,
        .filters = unsubscribe->filters,
        .count = unsubscribe->filter_count,
    };
    const char *error;
    enum reason_code code = check_filters(unsubscribe->filters, false, false, &error);

    if (code != REASON_SUCCESS) {
        metric_add(METRIC_PACKETS_UNSUBSCRIBE_ERROR, 1);
        return connection_refuse(connection, code, error);
    }
    return start(connection, &service);
}
