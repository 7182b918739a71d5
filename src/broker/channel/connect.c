/*
 * connect: CONNECT, in the order of checks that the original has (first failure wins), the choice of the worker, the
 * opening of the session and the CONNACK.
 *
 * The packet may be decoded twice: on the worker that accepted the socket and, if the session lives elsewhere, again there.
 */
#include "broker/channel/transport.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/unique_id.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

struct opening {
    struct connection *connection;
    const struct mqtt_connect *connect;
    struct slice client_id;
    struct message *will; /* NULL: none, or the session has it */
    char generated_id[CLIENT_ID_TEXT_BYTES];
    bool is_generated;
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

static enum handled refuse(struct connection *connection, enum reason_code code, struct slice client_id,
                           const char *why)
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
        return refuse(connection, code, slice_make(NULL, 0), "unsupported protocol name or level");
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

static enum reason_code check_will(const struct zone *zone, const struct mqtt_connect *connect, const char **out_why)
{
    if (!connect->has_will)
        return REASON_SUCCESS;
    if (!mqtt_topic_valid(connect->will.topic)) {
        *out_why = "the will topic is not a topic name";
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

/* What goes into topics must not bring wildcards along: `+` as a client id would open everybody's branch. */
static bool fits_mountpoint(struct slice value)
{
    return value.len == 0 || (memchr(value.data, '+', value.len) == NULL && memchr(value.data, '#', value.len) == NULL);
}

static enum reason_code check_mountpoint(const struct zone *zone, const struct mqtt_connect *connect,
                                         const char **out_why)
{
    if (zone->mountpoint == NULL)
        return REASON_SUCCESS;
    *out_why = "a client id or user name with + or # cannot stand in the mountpoint";
    if (strstr(zone->mountpoint, "%c") != NULL && !fits_mountpoint(connect->client_id))
        return REASON_CLIENT_ID_NOT_VALID;
    if (strstr(zone->mountpoint, "%u") != NULL && !fits_mountpoint(connect->user_name))
        return REASON_BAD_USER_NAME_OR_PASSWORD;
    if (zone->use_username_as_clientid && !fits_mountpoint(connect->user_name))
        return REASON_BAD_USER_NAME_OR_PASSWORD;
    return REASON_SUCCESS;
}

static enum reason_code check(struct connection *connection, const struct mqtt_connect *connect, const char **out_why)
{
    const struct broker *broker = connection->worker->broker;
    enum reason_code code = check_client_id(connection_zone(connection), connect, out_why);

    if (code == REASON_SUCCESS)
        code = check_will(connection_zone(connection), connect, out_why);
    if (code == REASON_SUCCESS)
        code = check_mountpoint(connection_zone(connection), connect, out_why);
    if (code != REASON_SUCCESS)
        return code;
    if (mqtt_properties_have(&connect->properties, MQTT_PROP_AUTHENTICATION_METHOD) && connect->level == MQTT_V5) {
        *out_why = "no authentication method is offered"; /* [MQTT-4.12.0-1] */
        return REASON_BAD_AUTHENTICATION_METHOD;
    }
    if (broker->settings.max_clients > 0 &&
        atomic_load_explicit(&broker->connected_count, memory_order_relaxed) >= broker->settings.max_clients) {
        *out_why = "node.max_clients is reached";
        return REASON_QUOTA_EXCEEDED;
    }
    if (!connection_zone(connection)->allow_anonymous) {
        *out_why = "allow_anonymous is off and no authentication is loaded";
        return REASON_NOT_AUTHORIZED;
    }
    metric_add(METRIC_AUTH_MQTT_ANONYMOUS, connection->hops == 0);
    return REASON_SUCCESS;
}

/* Replaces %c and %u where they are whole levels. An absent user name leaves %u. Absent when memory is short. */
static struct slice expand_mountpoint(const char *pattern, struct slice client_id, struct slice user_name)
{
    size_t len = strlen(pattern), out_len = 0;
    uint8_t *out = malloc(len + len / 2 * (client_id.len + user_name.len) + 1);

    for (size_t i = 0; out != NULL && i < len; i++) {
        bool level_start = i == 0 || pattern[i - 1] == '/';
        bool level_end = i + 2 == len || (i + 2 < len && pattern[i + 2] == '/');
        struct slice with = slice_make(NULL, 0);
        if (level_start && level_end && pattern[i] == '%')
            with = pattern[i + 1] == 'c' ? client_id : pattern[i + 1] == 'u' ? user_name : with;
        if (with.data != NULL) {
            memcpy(out + out_len, with.data, with.len);
            out_len += with.len;
            i++;
        } else {
            out[out_len++] = (uint8_t)pattern[i];
        }
    }
    return slice_make(out, out == NULL ? 0 : out_len);
}

/* User name, mount point, limits. -ENOMEM. */
static int take_extras(struct opening *opening)
{
    struct connection *connection = opening->connection;
    const struct mqtt_connect *connect = opening->connect;
    const struct zone *zone = connection_zone(connection);
    const struct listener_options *options = listener_options_of(connection->listener);
    uint64_t now_ms = connection_now(connection);
    struct connection_extras *extras;

    if (connect->user_name.data == NULL && zone->mountpoint == NULL && zone->publish_limit.count == 0 &&
        options->rate_limit_bytes_per_s == 0)
        return 0;
    extras = connection_extras_get(connection);
    if (extras == NULL)
        return -ENOMEM;
    slice_free(&extras->user_name); /* after a second hand-over */
    slice_free(&extras->mountpoint);
    if (slice_dup(connect->user_name, &extras->user_name) < 0)
        return -ENOMEM;
    if (zone->mountpoint != NULL) {
        extras->mountpoint = expand_mountpoint(zone->mountpoint, opening->client_id, connect->user_name);
        if (extras->mountpoint.data == NULL)
            return -ENOMEM; /* without it the client would see what is not its own */
    }
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

/* NULL when memory is short. */
static struct message *make_will(struct opening *opening)
{
    const struct mqtt_will *will = &opening->connect->will;
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

    return message_new(&options);
}

static uint32_t expiry_interval_s(const struct connection *connection, const struct mqtt_connect *connect)
{
    if (connect->level == MQTT_V5)
        return mqtt_properties_have(&connect->properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL)
                   ? connect->properties.session_expiry_interval_s
                   : 0;
    return connect->clean_start ? 0 : connection_zone(connection)->session.session_expiry_interval_s;
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
    session->link = NULL;
    link->session = NULL;
    link->ops->close(link, REASON_SESSION_TAKEN_OVER, reason);
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
    atomic_fetch_add_explicit(&connection->worker->broker->connected_count, 1, memory_order_relaxed);
    stat_add(STAT_CONNECTIONS, 1);
    announce(opening, &properties);
    send_connack(connection, REASON_SUCCESS, present, &properties);
    connection_start_timer(connection);
    session_resume(session);
    /* Now, not at the turn's end: with a hundred others in this turn their clients would all wait for the last one. */
    stream_flush(&connection_host(connection)->streams, &connection->stream);
    return HANDLED;
}

static enum handled refuse_no_memory(struct connection *connection, struct slice client_id)
{
    return refuse(connection, REASON_SERVER_UNAVAILABLE, client_id, "short of memory");
}

/* The worker for a client that has no session yet, chosen once, on the worker that accepted it. */
static struct broker_worker *choose_worker(struct connection *connection, struct slice client_id)
{
    struct session *existing = broker_find_session(connection->worker->broker, client_id);

    if (existing != NULL)
        return (struct broker_worker *)existing->host;
    return connection->hops > 0 ? connection->worker : broker_place_session(connection->worker);
}

static void choose_client_id(struct opening *opening)
{
    const struct mqtt_connect *connect = opening->connect;

    opening->client_id = connect->client_id;
    if (connection_zone(opening->connection)->use_username_as_clientid && connect->user_name.len > 0)
        opening->client_id = connect->user_name;
    opening->is_generated = opening->client_id.len == 0;
    if (opening->is_generated) {
        client_id_generate(opening->generated_id);
        opening->client_id = slice_from_string(opening->generated_id);
    }
}

static enum handled open_conversation(struct opening *opening, struct mqtt_packet *packet,
                                      const struct mqtt_frame *frame, const uint8_t *body)
{
    struct connection *connection = opening->connection;
    const char *why = "malformed CONNECT";
    struct session_host *elsewhere;
    struct session *session;
    bool present;

    packet->connect.level = MQTT_V3_1_1;
    packet->connect.protocol_name = slice_make(NULL, 0);
    enum reason_code code = mqtt_decode(MQTT_V3_1_1, MQTT_FROM_CLIENT, frame, body, packet, &why);
    metric_add(METRIC_PACKETS_CONNECT_RECEIVED, connection->hops == 0);
    if (packet->connect.level >= MQTT_V3_1 && packet->connect.level <= MQTT_V5)
        connection->version = packet->connect.level;
    if (code != REASON_SUCCESS)
        return refuse_malformed(connection, &packet->connect, code, why);
    if (connection->version >= MQTT_V5 &&
        mqtt_properties_have(&packet->connect.properties, MQTT_PROP_MAXIMUM_PACKET_SIZE))
        connection->client_packet_max = packet->connect.properties.maximum_packet_size;
    connection->problem_information = connection->version >= MQTT_V5 &&
                                      (!mqtt_properties_have(&packet->connect.properties,
                                                             MQTT_PROP_REQUEST_PROBLEM_INFORMATION) ||
                                       packet->connect.properties.request_problem_information != 0);
    if (transport_certificate_name(connection, &opening->certificate_name))
        packet->connect.user_name = buffer_slice(&opening->certificate_name);
    code = check(connection, &packet->connect, &why);
    choose_client_id(opening);
    if (code != REASON_SUCCESS)
        return refuse(connection, code, opening->client_id, why);
    struct broker_worker *home = choose_worker(connection, opening->client_id);
    if (home != connection->worker) {
        connection_hand_over(connection, home);
        return HANDLED_STOP;
    }
    if (take_extras(opening) < 0)
        return refuse_no_memory(connection, opening->client_id);
    if (opening->connect->has_will && (opening->will = make_will(opening)) == NULL)
        return refuse_no_memory(connection, opening->client_id);
    session = open_session(opening, &present, &elsewhere);
    if (session == NULL)
        message_unref(opening->will);
    if (session == NULL && elsewhere != NULL) {
        connection_hand_over(connection, (struct broker_worker *)elsewhere);
        return HANDLED_STOP;
    }
    if (session == NULL)
        return refuse_no_memory(connection, opening->client_id);
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
