/*
 * connect: CONNECT, in the order of checks that the original has (first failure wins), the choice of the worker, the
 * opening of the session and the CONNACK.
 *
 * The packet may be decoded twice: on the worker that accepted the socket and, if the session lives elsewhere, again there.
 */
#include "broker/channel/access.h"
#include "broker/channel/transport.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/unique_id.h"
#include "broker/channel/authenticate.h"
#include "broker/channel/client_events.h"
#include "broker/channel/enhanced.h"
#include "broker/channel/hold.h"
#include "broker/commit.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"
#include "mqtt/topic_pattern.h"

#include <errno.h>
#include <stdlib.h>

struct opening {
    struct connection *connection;
    const struct mqtt_connect *connect;
    struct slice client_id;
    struct message *will; /* NULL: none, or the session has it */
    char generated_id[CLIENT_ID_TEXT_BYTES];
    bool is_generated;
    uint64_t mark;                  /* commit_mark() before the session was opened */
    struct buffer certificate_name; /* the user name then */
};

#define CERTIFICATE_NAME_MAX 65535 /* bytes: what a user name may have */

static void send_connack(struct connection *connection, enum reason_code code, bool session_present,
                         const struct mqtt_properties *properties)
{
    struct mqtt_packet packet = {.type = MQTT_CONNACK, .connack = {.session_present = session_present, .code = code}};

    if (properties != NULL)
        packet.connack.properties = *properties;
    connection_send(connection, &packet);
    metric_add(METRIC_PACKETS_CONNACK_SENT, 1);
    if (code == REASON_SUCCESS)
        return;
    metric_add(METRIC_PACKETS_CONNACK_ERROR, 1);
    if (code == REASON_BAD_USER_NAME_OR_PASSWORD || code == REASON_NOT_AUTHORIZED)
        metric_add(METRIC_PACKETS_CONNACK_AUTH_ERROR, 1);
}

/* `connect` NULL: it could not be decoded, and is no event. */
static enum handled refuse(struct connection *connection, const struct mqtt_connect *connect, enum reason_code code,
                           struct slice client_id, const char *why)
{
    char peer[PEER_TEXT_MAX];
    struct mqtt_properties properties = {0};

    peer_format(&connection->peer, peer);
    log_client_limited(LOG_LEVEL_WARNING, client_id, peer, "[Channel] refusing CONNECT: %s (0x%02X %s)", why, code,
                       reason_code_name(code));
    if (connection->problem_information && connection->client_packet_max >= REASON_STRING_ROOM) {
        properties.present = MQTT_PROP_BIT(MQTT_PROP_REASON_STRING);
        properties.reason_string = slice_from_string(why);
    }
    send_connack(connection, code, false, &properties);
    if (connect != NULL)
        channel_tell_refused(connection, connect, client_id, code);
    connection_close(connection, code, reason_code_name(code));
    return HANDLED_STOP;
}

/* A CONNECT that could not be decoded. */
static enum handled refuse_malformed(struct connection *connection, const struct mqtt_connect *connect,
                                     enum reason_code code, const char *error)
{
    if (code == REASON_UNSUPPORTED_PROTOCOL_VERSION) {
        bool newer = slice_equal(connect->protocol_name, SLICE_LITERAL("MQTT")) && connect->level > MQTT_V5;
        connection->version = newer ? MQTT_V5 : MQTT_V3_1_1;
        return refuse(connection, NULL, code, slice_make(NULL, 0), "unsupported protocol name or level");
    }
    connection->problem_information = false;
    if (connection->version >= MQTT_V5)
        send_connack(connection, code, false, NULL);
    return connection_refuse(connection, code, error);
}

static enum reason_code check_client_id(const struct zone *zone, const struct mqtt_connect *connect,
                                        const char **out_why)
{
    if (connect->client_id.len == 0 && connect->level == MQTT_V3_1) {
        *out_why = "an empty client id needs MQTT 3.1.1 or later";
        return REASON_CLIENT_ID_NOT_VALID;
    }
    if (connect->client_id.len == 0 && connect->level == MQTT_V3_1_1 && !connect->clean_start) {
        *out_why = "an empty client id needs clean session 1"; /* [MQTT-3.1.3-8] of 3.1.1 */
        return REASON_CLIENT_ID_NOT_VALID;
    }
    if (connect->client_id.len > zone->caps.max_clientid_len) {
        *out_why = "the client id is longer than max_clientid_len";
        return REASON_CLIENT_ID_NOT_VALID;
    }
    return REASON_SUCCESS;
}

static enum reason_code check_will(const struct connection *connection, const struct mqtt_connect *connect,
                                   const char **out_why)
{
    const struct zone *zone = connection_zone(connection);
    struct slice inner;
    uint64_t delay_ms;

    if (!connect->has_will)
        return REASON_SUCCESS;
    if (!mqtt_topic_valid(connect->will.topic)) {
        *out_why = "the will topic is not a topic name";
        return REASON_TOPIC_NAME_INVALID;
    }
    if (delayed_takes(connection->worker->broker->delayed, connect->will.topic) &&
        delayed_parse(connect->will.topic, clock_wall_ms(), &delay_ms, &inner) == DELAYED_MALFORMED) {
        *out_why = "the will has a malformed $delayed topic";
        return REASON_TOPIC_NAME_INVALID;
    }
    if (connect->will.qos > zone->caps.max_qos_allowed) {
        *out_why = "the will QoS is over max_qos_allowed"; /* [MQTT-3.2.2-12] */
        return REASON_QOS_NOT_SUPPORTED;
    }
    if (connect->will.retain && !zone->caps.retain_available) {
        *out_why = "the will is to be retained, but retain_available is off"; /* [MQTT-3.2.2-13] */
        return REASON_RETAIN_NOT_SUPPORTED;
    }
    return REASON_SUCCESS;
}

static enum reason_code check_mountpoint(const struct connection *connection, const struct mqtt_connect *connect,
                                         const char **out_why)
{
    const char *mountpoint = channel_mountpoint_pattern(connection);

    if (mountpoint == NULL)
        return REASON_SUCCESS;
    *out_why = "a client id or user name with + or # cannot stand in the mountpoint";
    if (strstr(mountpoint, "%c") != NULL && !topic_pattern_value_fits(connect->client_id))
        return REASON_CLIENT_ID_NOT_VALID;
    if (strstr(mountpoint, "%u") != NULL && !topic_pattern_value_fits(connect->user_name))
        return REASON_BAD_USER_NAME_OR_PASSWORD;
    if (connection_zone(connection)->use_username_as_clientid && !topic_pattern_value_fits(connect->user_name))
        return REASON_BAD_USER_NAME_OR_PASSWORD;
    return REASON_SUCCESS;
}

static uint32_t expiry_interval_s(const struct connection *connection, const struct mqtt_connect *connect)
{
    if (connect->level == MQTT_V5)
        return mqtt_properties_have(&connect->properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL)
                   ? connect->properties.session_expiry_interval_s
                   : 0;
    return connect->clean_start ? 0 : connection_zone(connection)->session.session_expiry_interval_s;
}

static enum reason_code check(struct connection *connection, const struct mqtt_connect *connect, const char **out_why)
{
    const struct broker *broker = connection->worker->broker;
    enum reason_code code = check_client_id(connection_zone(connection), connect, out_why);

    if (code == REASON_SUCCESS)
        code = check_will(connection, connect, out_why);
    if (code == REASON_SUCCESS)
        code = check_mountpoint(connection, connect, out_why);
    if (code != REASON_SUCCESS)
        return code;
    if (broker->settings.max_clients > 0 &&
        atomic_load_explicit(&broker->connected_count, memory_order_relaxed) >= broker->settings.max_clients) {
        *out_why = "node.max_clients is reached";
        return REASON_QUOTA_EXCEEDED;
    }
    enum reason_code problem = broker_store_problem(broker);
    if (UNLIKELY(problem != REASON_SUCCESS) && expiry_interval_s(connection, connect) > 0 &&
        connection_zone(connection)->durability != DURABILITY_NONE) {
        *out_why = "sessions that outlive their connection cannot be stored now";
        return connect->level == MQTT_V5 ? problem
                                         : REASON_SERVER_UNAVAILABLE; /* 0x83 would tell them another version */
    }
    return REASON_SUCCESS;
}

/* User name, mount point, limits. -ENOMEM. */
static int take_extras(struct opening *opening)
{
    struct connection *connection = opening->connection;
    const struct mqtt_connect *connect = opening->connect;
    const struct zone *zone = connection_zone(connection);
    const struct listener_options *options = listener_options_of(connection->listener);
    const char *mountpoint = channel_mountpoint_pattern(connection);
    uint64_t now_ms = connection_now(connection);
    struct connection_extras *extras;

    if (connect->user_name.data == NULL && mountpoint == NULL && zone->publish_limit.count == 0 &&
        options->rate_limit_bytes_per_s == 0)
        return 0;
    extras = connection_extras_get(connection);
    if (extras == NULL)
        return -ENOMEM;
    slice_free(&extras->user_name); /* after a second hand-over */
    slice_free(&extras->mountpoint);
    if (slice_dup(connect->user_name, &extras->user_name) < 0)
        return -ENOMEM;
    if (mountpoint != NULL && topic_pattern_expand(slice_from_string(mountpoint), opening->client_id,
                                                   connect->user_name, &extras->mountpoint) < 0)
        return -ENOMEM; /* without it the client would see what is not its own */
    if (zone->publish_limit.count > 0)
        extras->publish_bucket = (struct token_bucket){
            .tokens = zone->publish_limit.count,
            .burst = zone->publish_limit.count,
            .rate_per_ms = (double)zone->publish_limit.count / (double)zone->publish_limit.period_ms,
            .filled_ms = now_ms,
        };
    if (options->rate_limit_bytes_per_s > 0)
        extras->byte_bucket = (struct token_bucket){
            .tokens = (double)options->rate_limit_burst_bytes,
            .burst = (double)options->rate_limit_burst_bytes,
            .rate_per_ms = (double)options->rate_limit_bytes_per_s / 1000.0,
            .filled_ms = now_ms,
        };
    return 0;
}

/* As it will be published: of a delayed one the inner topic. */
static struct slice will_topic(const struct connection *connection, const struct mqtt_will *will)
{
    struct slice topic = will->topic;
    uint64_t delay_ms;

    if (UNLIKELY(delayed_takes(connection->worker->broker->delayed, topic)) &&
        delayed_parse(will->topic, clock_wall_ms(), &delay_ms, &topic) != DELAYED_FINE)
        topic = will->topic; /* the feature was switched on since check_will() */
    return topic;
}

/* Of a delayed will's topic, `$delayed/N/` goes before the mount point and is looked at when the will is published. `options` get the
 * `inner` topic. The caller frees what it returns; NULL when memory is short. */
static char *delay_will(struct message_options *options, struct slice inner)
{
    struct slice whole = options->topic, mountpoint = options->mountpoint;
    char *prefix;

    options->topic = inner;
    size_t head = whole.len - options->topic.len;
    prefix = malloc(head + mountpoint.len);
    if (prefix == NULL)
        return NULL;
    memcpy(prefix, whole.data, head);
    if (mountpoint.len > 0)
        memcpy(prefix + head, mountpoint.data, mountpoint.len);
    options->mountpoint = slice_make(prefix, head + mountpoint.len);
    return prefix;
}

/* NULL when memory is short. */
static struct message *make_will(struct opening *opening)
{
    const struct mqtt_will *will = &opening->connect->will;
    struct slice inner = will_topic(opening->connection, will);
    struct message *message;
    char *prefix = NULL;
    struct message_options options = {
        .mountpoint = connection_mountpoint(opening->connection),
        .topic = will->topic,
        .payload = will->payload,
        .client_id = opening->client_id,
        .properties = &will->properties,
        .now_ms = connection_now(opening->connection),
        .qos = will->qos,
        .retain = will->retain,
    };

    if (UNLIKELY(inner.len != will->topic.len) && (prefix = delay_will(&options, inner)) == NULL)
        return NULL;
    message = message_new(&options);
    free(prefix);
    return message;
}

/* The smaller of the client's Receive Maximum and the zone's max_inflight. */
static uint16_t send_window(const struct connection *connection, const struct mqtt_connect *connect)
{
    uint32_t zone_max = connection_zone(connection)->session.max_inflight;
    uint16_t client_max = UINT16_MAX;

    if (connect->level == MQTT_V5 && mqtt_properties_have(&connect->properties, MQTT_PROP_RECEIVE_MAXIMUM))
        client_max = connect->properties.receive_maximum;
    return zone_max > 0 && zone_max < client_max ? (uint16_t)zone_max : client_max;
}

/* What CONNECT says about the connection itself. */
static void take_connect(struct connection *connection, const struct mqtt_connect *connect)
{
    const struct zone *zone = connection_zone(connection);
    uint32_t keep_alive_s = connect->keep_alive_s;

    connection->is_bridge = connect->is_bridge;
    connection->clean_start = connect->clean_start;
    if (connect->level == MQTT_V5 && zone->server_keepalive_s > 0)
        keep_alive_s = zone->server_keepalive_s; /* [MQTT-3.1.2-21] */
    double silence_ms = keep_alive_s * 1000.0 * zone->keepalive_backoff * 2;
    connection->keep_alive_ms = silence_ms < INT32_MAX ? (uint32_t)silence_ms : INT32_MAX;
    connection->connected_at_s = (uint32_t)(connection_now(connection) / 1000);
}

static void take_alias_maximum(struct connection *connection, const struct mqtt_connect *connect)
{
    uint16_t alias_max = connect->level == MQTT_V5 &&
                                 mqtt_properties_have(&connect->properties, MQTT_PROP_TOPIC_ALIAS_MAXIMUM)
                             ? connect->properties.topic_alias_maximum
                             : 0;

    if (alias_max == 0 || connection_extras_get(connection) == NULL)
        return;
    connection->extras->alias_out_max = alias_max < ALIAS_OUT_MAX ? alias_max : ALIAS_OUT_MAX;
}

static void announce(const struct opening *opening, struct mqtt_properties *out)
{
    const struct zone *zone = connection_zone(opening->connection);

    *out = (struct mqtt_properties){
        .present = MQTT_PROP_BIT(MQTT_PROP_MAXIMUM_PACKET_SIZE) | MQTT_PROP_BIT(MQTT_PROP_RETAIN_AVAILABLE) |
                   MQTT_PROP_BIT(MQTT_PROP_SHARED_SUBSCRIPTION_AVAILABLE) |
                   MQTT_PROP_BIT(MQTT_PROP_SUBSCRIPTION_IDENTIFIER_AVAILABLE) |
                   MQTT_PROP_BIT(MQTT_PROP_TOPIC_ALIAS_MAXIMUM) |
                   MQTT_PROP_BIT(MQTT_PROP_WILDCARD_SUBSCRIPTION_AVAILABLE),
        .maximum_packet_size = zone->caps.max_packet_size,
        .retain_available = zone->caps.retain_available,
        .shared_subscription_available = zone->caps.shared_subscription,
        .subscription_id_available = 1,
        .topic_alias_maximum = zone->caps.max_topic_alias,
        .wildcard_subscription_available = zone->caps.wildcard_subscription,
        .maximum_qos = zone->caps.max_qos_allowed,
        .server_keep_alive_s = zone->server_keepalive_s,
    };
    if (zone->caps.max_qos_allowed < 2)
        out->present |= MQTT_PROP_BIT(MQTT_PROP_MAXIMUM_QOS);
    if (zone->server_keepalive_s > 0)
        out->present |= MQTT_PROP_BIT(MQTT_PROP_SERVER_KEEP_ALIVE);
    if (zone->session.max_awaiting_rel > 0 && zone->session.max_awaiting_rel < UINT16_MAX) {
        out->present |= MQTT_PROP_BIT(MQTT_PROP_RECEIVE_MAXIMUM);
        out->receive_maximum = (uint16_t)zone->session.max_awaiting_rel;
    }
    if (opening->is_generated) {
        out->present |= MQTT_PROP_BIT(MQTT_PROP_ASSIGNED_CLIENT_IDENTIFIER); /* [MQTT-3.2.2-16] */
        out->assigned_client_id = opening->client_id;
    }
}

/* The old connection of the session ends; the session stays. */
static void take_over_link(struct session *session, const char *reason)
{
    struct session_link *link = session->link;

    if (link == NULL)
        return;
    metric_add(METRIC_SESSIONS_TAKEN_OVER, 1);
    channel_tell_disconnected(CONTAINER_OF(link, struct connection, link), reason);
    session->link = NULL;
    link->session = NULL;
    session->host->link_ops->close(link, REASON_SESSION_TAKEN_OVER, reason);
}

/* The session that stays: its old will goes out if it has no delay, as its connection was not ended normally. */
static void prepare_resume(struct session *session)
{
    bool was_attached = session->link != NULL;

    take_over_link(session, "conflict");
    if (was_attached && session->will != NULL && session->will_delay_s == 0)
        session_publish_will(session);
}

/* Finds or makes the session. NULL: `*out_elsewhere` is set (it lives on another worker) or memory is short. */
static struct session *open_session(struct opening *opening, bool *out_present, struct session_host **out_elsewhere)
{
    struct connection *connection = opening->connection;
    struct broker *broker = connection->worker->broker;
    struct session *existing = broker_find_session(broker, opening->client_id);
    struct session *session;

    *out_present = false;
    *out_elsewhere = NULL;
    if (existing != NULL && existing->host != &connection->worker->host) {
        *out_elsewhere = existing->host;
        return NULL;
    }
    if (existing != NULL && !opening->connect->clean_start) {
        prepare_resume(existing);
        *out_present = true;
        return existing;
    }
    if (existing != NULL) {
        take_over_link(existing, "discard");
        session_end(existing, "discarded");
    }
    session = session_new(&connection->worker->host, opening->client_id, connection_zone(connection));
    if (session == NULL)
        return NULL;
    int err = broker_register_session(broker, session, &existing);
    if (err == 0)
        return session;
    if (err == -EEXIST)
        *out_elsewhere = existing->host;
    session_end(session, "lost the race for its client id");
    return NULL;
}

static enum handled accept_client(struct opening *opening, struct session *session, bool present)
{
    struct connection *connection = opening->connection;
    const struct mqtt_connect *connect = opening->connect;
    struct mqtt_properties properties;
    struct session_attach_options attach = {
        .link = &connection->link,
        .will_delay_s = connect->has_will &&
                                mqtt_properties_have(&connect->will.properties, MQTT_PROP_WILL_DELAY_INTERVAL)
                            ? connect->will.properties.will_delay_interval_s
                            : 0,
        .expiry_interval_s = expiry_interval_s(connection, connect),
        .version = connect->level,
        .clean_start = connect->clean_start,
        .will = opening->will,
    };

    opening->will = NULL;
    take_connect(connection, connect);
    take_alias_maximum(connection, connect);
    attach.window = send_window(connection, connect);
    session_attach(session, &attach);
    connection->state = CONNECTION_CONNECTED;
    connection->packet_seen = false;
    atomic_fetch_add_explicit(&connection->worker->broker->connected_count, 1, memory_order_relaxed);
    stat_add(STAT_CONNECTIONS, 1);
    announce(opening, &properties);
    channel_announce_method(connection, &properties);
    channel_end_authentication(connection);
    channel_tell_session(connection, present);
    if (session_is_durable(session) || commit_mark(connection->worker) != opening->mark)
        channel_hold_connack(connection);
    bool is_held = connection->stream.marks != NULL; /* then it is hold.c that tells */
    send_connack(connection, REASON_SUCCESS, present, &properties);
    channel_forget_answer(connection);
    connection_start_timer(connection);
    session_resume(session);
    /* Now, not at the turn's end: with a hundred others in this turn their clients would all wait for the last one. */
    stream_flush(&connection_host(connection)->streams, &connection->stream);
    if (!is_held)
        channel_tell_connected(connection);
    return HANDLED;
}

static enum handled refuse_no_memory(const struct opening *opening)
{
    return refuse(opening->connection, opening->connect, REASON_SERVER_UNAVAILABLE, opening->client_id,
                  "short of memory");
}

/* The worker for a client that has no session yet, chosen once, on the worker that accepted it. */
static struct broker_worker *choose_worker(struct connection *connection, struct slice client_id)
{
    struct session *existing = broker_find_session(connection->worker->broker, client_id);

    if (existing != NULL)
        return (struct broker_worker *)existing->host;
    return connection->hops > 0 ? connection->worker : broker_place_session(connection->worker);
}

/* The same again for a CONNECT that is decoded again. */
static void generate_client_id(struct opening *opening)
{
    const char *before = channel_generated_id(opening->connection);
    struct slice asked = channel_asked_client_id(opening->connection);

    if (before != NULL)
        memcpy(opening->generated_id, before, sizeof(opening->generated_id));
    else if (asked.len == CLIENT_ID_TEXT_LENGTH)
        memcpy(opening->generated_id, asked.data, asked.len); /* a zero is behind it */
    else
        client_id_generate(opening->generated_id);
}

static void choose_client_id(struct opening *opening)
{
    const struct mqtt_connect *connect = opening->connect;

    opening->client_id = connect->client_id;
    if (connection_zone(opening->connection)->use_username_as_clientid && connect->user_name.len > 0)
        opening->client_id = connect->user_name;
    opening->is_generated = opening->client_id.len == 0;
    if (opening->is_generated) {
        generate_client_id(opening);
        opening->client_id = slice_from_string(opening->generated_id);
    }
}

static enum handled refuse_will(struct opening *opening)
{
    connection_log_limited(opening->connection, LOG_LEVEL_WARNING, "Cannot publish will message to %.*s for acl denied",
                           SLICE_ARG(opening->connect->will.topic));
    return refuse(opening->connection, opening->connect, REASON_NOT_AUTHORIZED, opening->client_id,
                  "the will topic is not authorized");
}

/* What our answers have to keep to, refusals as well. */
static void take_limits(struct connection *connection, const struct mqtt_connect *connect)
{
    const struct mqtt_properties *properties = &connect->properties;

    connection->problem_information = connection->version >= MQTT_V5 &&
                                      (!mqtt_properties_have(properties, MQTT_PROP_REQUEST_PROBLEM_INFORMATION) ||
                                       properties->request_problem_information != 0);
    if (connection->version >= MQTT_V5 && mqtt_properties_have(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE))
        connection->client_packet_max = properties->maximum_packet_size;
}

/* What was shown counts more than what is said. */
static void choose_user_name(struct opening *opening, struct mqtt_connect *connect)
{
    struct slice shown = channel_shown_name(opening->connection);

    if (transport_certificate_name(opening->connection, &opening->certificate_name))
        connect->user_name = buffer_slice(&opening->certificate_name);
    if (shown.data != NULL)
        connect->user_name = shown;
}

static enum authentication_state authenticate(const struct opening *opening, const struct mqtt_frame *frame,
                                              const uint8_t *body, enum reason_code *out_code, const char **out_why)
{
    struct slice packet = slice_make(body - frame->header_len, (size_t)frame->header_len + frame->remaining_len);

    if (LIKELY(!channel_is_enhanced(opening->connect)))
        return channel_authenticate(opening->connection, opening->connect, opening->client_id, out_code, out_why);
    return channel_enhance(opening->connection, opening->connect, opening->client_id, packet, out_code, out_why);
}

/* HANDLED: `opening->will` is there. */
static enum handled take_will(struct opening *opening)
{
    struct connection *connection = opening->connection;

    switch (channel_may_leave_will(connection, opening->client_id, will_topic(connection, &opening->connect->will))) {
    case ACCESS_NO: return refuse_will(opening);
    case ACCESS_LATER: connection->paused |= PAUSE_HOOK; return HANDLED_STOP;
    case ACCESS_YES: break;
    }
    opening->will = make_will(opening);
    return opening->will == NULL ? refuse_no_memory(opening) : HANDLED;
}

static enum handled open_conversation(struct opening *opening, struct mqtt_packet *packet,
                                      const struct mqtt_frame *frame, const uint8_t *body)
{
    struct connection *connection = opening->connection;
    const char *why = "malformed CONNECT";
    struct session_host *elsewhere;
    struct session *session;
    enum handled handled;
    bool present;

    packet->connect.level = MQTT_V3_1_1;
    packet->connect.protocol_name = slice_make(NULL, 0);
    enum reason_code code = mqtt_decode(MQTT_V3_1_1, MQTT_FROM_CLIENT, frame, body, packet, &why);
    metric_add(METRIC_PACKETS_CONNECT_RECEIVED, !connection->packet_seen);
    connection->packet_seen = true;
    if (packet->connect.level >= MQTT_V3_1 && packet->connect.level <= MQTT_V5)
        connection->version = packet->connect.level;
    if (code != REASON_SUCCESS)
        return refuse_malformed(connection, &packet->connect, code, why);
    take_limits(connection, &packet->connect);
    choose_user_name(opening, &packet->connect);
    code = check(connection, &packet->connect, &why);
    choose_client_id(opening);
    if (code != REASON_SUCCESS)
        return refuse(connection, &packet->connect, code, opening->client_id, why);
    switch (authenticate(opening, frame, body, &code, &why)) {
    case AUTHENTICATION_ACCEPTED: code = check_mountpoint(connection, &packet->connect, &why); break;
    case AUTHENTICATION_REFUSED: break;
    case AUTHENTICATION_WAITS: return HANDLED;
    }
    if (code != REASON_SUCCESS)
        return refuse(connection, &packet->connect, code, opening->client_id, why);
    struct broker_worker *home = choose_worker(connection, opening->client_id);
    if (home != connection->worker) {
        connection_hand_over(connection, home);
        return HANDLED_STOP;
    }
    if (take_extras(opening) < 0)
        return refuse_no_memory(opening);
    if (opening->connect->has_will && (handled = take_will(opening)) != HANDLED)
        return handled;
    opening->mark = commit_mark(connection->worker);
    session = open_session(opening, &present, &elsewhere);
    if (session == NULL)
        message_unref(opening->will);
    if (session == NULL && elsewhere != NULL) {
        connection_hand_over(connection, (struct broker_worker *)elsewhere);
        return HANDLED_STOP;
    }
    if (session == NULL)
        return refuse_no_memory(opening);
    return accept_client(opening, session, present);
}

enum handled channel_on_connect(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    struct mqtt_packet packet;
    struct opening opening = {.connection = connection, .connect = &packet.connect};
    enum handled handled;

    buffer_init(&opening.certificate_name, CERTIFICATE_NAME_MAX);
    handled = open_conversation(&opening, &packet, frame, body);
    buffer_fini(&opening.certificate_name);
    return handled;
}
