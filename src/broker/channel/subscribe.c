/*
 * subscribe: SUBSCRIBE and UNSUBSCRIBE. Each filter gets its own answer: a refused one does not touch the others.
 */
#include "broker/channel/connection.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/session/retained_feed.h"
#include "broker/session/subscription.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <stdlib.h>

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
    const struct zone *zone = connection->zone;

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
    const struct zone_capabilities *caps = &connection->zone->caps;

    if (caps->max_topic_levels > 0 && mqtt_topic_level_count(filter->filter) > caps->max_topic_levels)
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
    uint32_t max = connection->zone->session.max_subscriptions;
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
        .upgrade_qos = connection->zone->session.upgrade_qos,
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

/* Retained messages for all filters that were granted. */
static void send_all_retained(struct connection *connection, const struct mqtt_subscribe *subscribe,
                              uint32_t subscription_id, const uint8_t *outcomes)
{
    struct mqtt_subscription_options options;
    struct slice filters = subscribe->filters, text;
    enum reason_code code;

    for (uint32_t i = 0; mqtt_filter_next(&filters, &text, &options); i++) {
        struct request request = {.options = options};
        if ((outcomes[i] & WAS_GRANTED) == 0)
            continue;
        parse_filter(text, &request.filter, &code);
        adjust_options(connection, &request.options);
        if (mount(connection, &request))
            queue_retained(connection, &request, subscription_id, (outcomes[i] & WAS_NEW) != 0);
        free(request.mounted);
    }
    session_drain(connection->link.session);
}

/* `codes` and `outcomes` have room for all filters. */
static void serve_filters(struct connection *connection, const struct mqtt_subscribe *subscribe, uint8_t *codes,
                          uint8_t *outcomes)
{
    uint32_t subscription_id = mqtt_properties_have(&subscribe->properties, MQTT_PROP_SUBSCRIPTION_IDENTIFIER)
                                   ? subscribe->properties.subscription_id
                                   : 0;
    struct mqtt_subscription_options options;
    struct slice filters = subscribe->filters, text;
    struct request request;

    for (uint32_t i = 0; mqtt_filter_next(&filters, &text, &options); i++) {
        bool is_new = false;
        codes[i] = (uint8_t)serve_filter(connection, text, options, subscription_id, &request, &is_new);
        outcomes[i] = codes[i] >= REASON_UNSPECIFIED_ERROR ? 0 : (uint8_t)(WAS_GRANTED | (is_new ? WAS_NEW : 0));
        free(request.mounted);
    }
    send_suback(connection, MQTT_SUBACK, subscribe->packet_id, codes, subscribe->filter_count);
    if (connection_open(connection))
        send_all_retained(connection, subscribe, subscription_id, outcomes);
}

enum handled channel_on_subscribe(struct connection *connection, const struct mqtt_subscribe *subscribe)
{
    enum reason_code code;
    const char *error;
    uint8_t *codes;

    code = check_filters(subscribe->filters, true, connection->version >= MQTT_V5, &error);
    if (code != REASON_SUCCESS)
        return connection_refuse(connection, code, error);
    codes = calloc(subscribe->filter_count, 2);
    if (codes == NULL) {
        connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem");
        return HANDLED_STOP;
    }
    serve_filters(connection, subscribe, codes, codes + subscribe->filter_count);
    free(codes);
    return connection_open(connection) ? HANDLED : HANDLED_STOP;
}

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

enum handled channel_on_unsubscribe(struct connection *connection, const struct mqtt_subscribe *unsubscribe)
{
    uint8_t *codes = calloc(unsubscribe->filter_count, 1);
    struct slice filters = unsubscribe->filters, text;
    enum reason_code code;
    const char *error;

    if (codes == NULL) {
        connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem");
        return HANDLED_STOP;
    }
    code = check_filters(filters, false, false, &error);
    if (code != REASON_SUCCESS) {
        free(codes);
        metric_add(METRIC_PACKETS_UNSUBSCRIBE_ERROR, 1);
        return connection_refuse(connection, code, error);
    }
    for (uint32_t i = 0; mqtt_filter_next(&filters, &text, NULL); i++)
        codes[i] = (uint8_t)unsubscribe_one(connection, text);
    send_suback(connection, MQTT_UNSUBACK, unsubscribe->packet_id, codes, unsubscribe->filter_count);
    free(codes);
    return HANDLED;
}
