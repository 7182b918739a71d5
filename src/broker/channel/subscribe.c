/*
 * subscribe: SUBSCRIBE and UNSUBSCRIBE. Each filter gets its own answer: a refused one does not touch the others.
 *
 * A packet of some hundred filters is served at once. A larger one, of up to max_packet_size, would hold the worker for
 * a tenth of a second: its filters are copied and wait in the worker's queue of such packets, which serves some hundreds in
 * each turn and takes its packets in rotation. The connection is not read meanwhile, so its packets keep their order. The
 * answer goes out when all filters are done, and the retained messages after it. A connection that ends in the
 * middle leaves the session with the filters that were done.
 */
#include "broker/channel/connection.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/session/retained_feed.h"
#include "broker/session/subscription.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

#define FILTERS_PER_TURN                                                                                               \
    256u /* of packets with more than that, of all of a worker's clients: under half a millisecond */

/* Levels of a filter where max_topic_levels is 0. No topic in use comes near it, and a filter of 64 KB with a node of the
 * router's tree for every second byte would cost megabytes. Refused like any filter over max_topic_levels. */
#define FILTER_LEVELS_MAX 1024u

/* One filter of the packet, checked. */
struct request {
    struct mqtt_shared_filter filter; /* with mountpoint */
    uint8_t *mounted;                 /* memory of filter.filter when there is a mountpoint */
    struct mqtt_subscription_options options;
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

static enum reason_code subscribe_one(struct connection *connection, struct request *request, uint32_t subscription_id,
                                      bool *out_is_new)
{
    struct session *session = connection->link.session;
    uint32_t max = connection_zone(connection)->session.max_subscriptions;
    enum reason_code code = check_filter(connection, &request->filter);

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

    for (uint32_t i = 0; i < count && connection->version < MQTT_V5; i++) {
        if (codes[i] >= REASON_UNSPECIFIED_ERROR)
            codes[i] = REASON_UNSPECIFIED_ERROR; /* MQTT 3.1.1 knows 0x80 only */
    }
    if (type == MQTT_UNSUBACK && connection->version < MQTT_V5)
        packet.suback.codes = slice_make(codes, 0);
    connection_send(connection, &packet);
    metric_add(type == MQTT_SUBACK ? METRIC_PACKETS_SUBACK_SENT : METRIC_PACKETS_UNSUBACK_SENT, 1);
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

static enum reason_code serve_filter(struct connection *connection, struct slice text,
                                     struct mqtt_subscription_options options, uint32_t subscription_id,
                                     struct request *out_request, bool *out_is_new)
{
    enum reason_code code;

    *out_request = (struct request){.options = options};
    parse_filter(text, &out_request->filter, &code);
    adjust_options(connection, &out_request->options);
    if (code == REASON_SUCCESS)
        code = subscribe_one(connection, out_request, subscription_id, out_is_new);
    if (code >= REASON_UNSPECIFIED_ERROR) {
        metric_add(METRIC_PACKETS_SUBSCRIBE_ERROR, 1);
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
    uint32_t subscription_id;
    uint32_t count;
    uint32_t done;        /* of them, before or after the answer */
    struct slice filters; /* borrowed */
    struct slice left;    /* behind the done ones */
    uint8_t *codes;       /* `count` of them */
    uint8_t *outcomes;    /* of SUBSCRIBE: WAS_ */
};

/* A packet that takes more than a turn. In the worker's queue. */
struct filter_job {
    struct filter_job *next;
    struct filter_job *prev;
    struct connection *connection; /* NULL: it ended while the job was being run */
    bool running;
    struct filter_service service;
    uint8_t bytes[]; /* its filters, codes and outcomes */
};

static enum reason_code unsubscribe_one(struct connection *connection, struct slice text)
{
    struct request request = {.mounted = NULL};
    struct subscription *subscription = NULL;
    enum reason_code code;

    parse_filter(text, &request.filter, &code);
    if (code != REASON_SUCCESS)
        return code;
    if (mount(connection, &request)) {
        subscription = subscription_find(connection->link.session, &request.filter);
        if (request.filter.group.data == NULL)
            session_cancel_retained(connection->link.session, request.filter.filter);
    }
    free(request.mounted);
    if (subscription == NULL)
        return REASON_NO_SUBSCRIPTION_EXISTED;
    subscription_remove(subscription);
    return REASON_SUCCESS;
}

/* Retained messages for the next `most` filters, as far as they were granted. */
static void request_retained(struct connection *connection, struct filter_service *service, uint32_t most)
{
    struct mqtt_subscription_options options;
    enum reason_code code;
    struct slice text;

    for (; most > 0 && mqtt_filter_next(&service->left, &text, &options); most--) {
        struct request request = {.options = options};
        uint8_t outcome = service->outcomes[service->done++];
        if ((outcome & WAS_GRANTED) == 0)
            continue;
        parse_filter(text, &request.filter, &code);
        adjust_options(connection, &request.options);
        if (mount(connection, &request))
            queue_retained(connection, &request, service->subscription_id, (outcome & WAS_NEW) != 0);
        free(request.mounted);
    }
    session_drain(connection->link.session);
}

static void subscribe_some(struct connection *connection, struct filter_service *service, uint32_t most)
{
    struct mqtt_subscription_options options;
    struct request request;
    struct slice text;

    for (; most > 0 && mqtt_filter_next(&service->left, &text, &options); most--) {
        bool is_new = false;
        enum reason_code code = serve_filter(connection, text, options, service->subscription_id, &request, &is_new);
        service->codes[service->done] = (uint8_t)code;
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

/* Serves the next `most` filters and answers after the last one. True: all is done. Look whether the connection is still open. */
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
    service->answered = true;
    service->done = 0;
    service->left = service->filters;
    return !is_subscribe;
}

static void queue_push(struct channel_worker *host, struct filter_job *job)
{
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
    queue_remove(connection_host(connection), job);
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
    if (job->connection != NULL && !done) {
        queue_push(host, job);
    } else {
        if (job->connection != NULL) {
            job->connection->extras->filter_job = NULL;
            connection_unpause(job->connection, PAUSE_FILTERS);
        }
        free(job);
    }
    if (host->filter_jobs != NULL)
        worker_run_later(worker, work);
}

/* Serves the packet from the next turn on. -ENOMEM. */
static int serve_later(struct connection *connection, const struct filter_service *service)
{
    struct channel_worker *host = connection_host(connection);
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
    job->service.filters = job->service.left = slice_make(job->bytes, len);
    job->service.codes = job->bytes + len;
    job->service.outcomes = job->service.codes + service->count;
    extras->filter_job = job;
    connection->paused |= PAUSE_FILTERS;
    queue_push(host, job);
    host->filter_work.run = run_filters;
    worker_run_later(connection->worker->host.worker, &host->filter_work);
    return 0;
}

static enum handled start(struct connection *connection, const struct filter_service *service)
{
    uint8_t codes[2 * FILTERS_PER_TURN];
    struct filter_service now = *service;

    if (service->count > FILTERS_PER_TURN) {
        if (serve_later(connection, service) < 0)
            connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem");
    } else {
        now.left = now.filters;
        now.codes = codes;
        now.outcomes = codes + now.count;
        while (connection_open(connection) && !serve(connection, &now, FILTERS_PER_TURN))
            continue;
    }
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
