/*
 * enhanced: see enhanced.h.
 *
 * The callback that has answered the first packet leads the whole exchange. Its state is the exchange's memory, so that nothing of a plugin that
 * is unloaded meanwhile is called to free it.
 */
#include "broker/channel/enhanced.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/unique_id.h"
#include "broker/channel/access.h"
#include "hook/events.h"
#include "hook/hook_memory.h"
#include "hook/hook_run.h"

#include <stdlib.h>
#include <string.h>

#define WHY_MAX 100u /* bytes of a reason, so that it fits into REASON_STRING_ROOM; the rest is left out */

/* While it is under way. */
struct exchange {
    struct connection *connection;
    struct hook_run run;
    struct hook_enhanced_authenticate event; /* its data is owned */
    struct client_info client;
    struct timer timer; /* of a re-authentication */
    uint64_t
        leader; /* the callback that wants another packet (hook_run.only); 0: it is the first one that they look at */
    uint32_t step_count;
    bool is_again;
    size_t texts_len;
    _Alignas(max_align_t) uint8_t state[ENHANCED_STATE_BYTES];
    uint8_t texts[]; /* copies: client ID, user name */
};

/* Of a connection whose CONNECT has named a method; in its extras. */
struct enhanced {
    struct exchange *exchange;               /* NULL: none is under way */
    struct slice connect;                    /* owned: the whole packet, while it waits; data NULL: it does not */
    struct slice answer;                     /* owned: data for CONNACK */
    struct slice shown_name;                 /* owned; data NULL: CONNECT's is meant */
    char generated_id[CLIENT_ID_TEXT_BYTES]; /* "": none */
    bool is_decided;                         /* what becomes of CONNECT: */
    enum reason_code code;
    char *why; /* owned: the callback and its texts may be gone by then; NULL: what the code says */
    size_t method_len;
    uint8_t method[];
};

static struct enhanced *enhanced_of(const struct connection *connection)
{
    return connection->extras == NULL ? NULL : connection->extras->enhanced;
}

static struct slice method_of(const struct enhanced *enhanced)
{
    return slice_make(enhanced->method, enhanced->method_len);
}

bool channel_in_exchange(const struct connection *connection)
{
    const struct enhanced *enhanced = enhanced_of(connection);

    return enhanced != NULL && enhanced->exchange != NULL;
}

struct slice channel_shown_name(const struct connection *connection)
{
    const struct enhanced *enhanced = enhanced_of(connection);

    return enhanced == NULL ? slice_make(NULL, 0) : enhanced->shown_name;
}

const char *channel_enhanced_generated_id(const struct connection *connection)
{
    const struct enhanced *enhanced = enhanced_of(connection);

    return enhanced == NULL || enhanced->generated_id[0] == '\0' ? NULL : enhanced->generated_id;
}

/* ---- the exchange's memory ---- */

static void free_data(struct hook_enhanced_authenticate *event)
{
    if (event->data.data != NULL)
        explicit_bzero((void *)(uintptr_t)event->data.data, event->data.len);
    slice_free(&event->data);
}

/* What was of the last step. */
static void forget_step(struct exchange *exchange)
{
    struct hook_enhanced_authenticate *event = &exchange->event;

    free_data(event);
    event->answer = event->user_name = slice_make(NULL, 0);
    hook_memory_free(&event->memory);
}

/* Its leader, if it waits for a packet that will not come, is told. */
static void tell_end(struct exchange *exchange)
{
    if (exchange->leader == 0)
        return;
    forget_step(exchange);
    exchange->event.step = ENHANCED_ENDED;
    exchange->run.only = exchange->leader;
    if (hook_run_start(&exchange->run) == HOOK_WAITS)
        hook_run_cancel(&exchange->run);
}

static void end_exchange(struct enhanced *enhanced)
{
    struct exchange *exchange = enhanced->exchange;

    if (exchange == NULL)
        return;
    enhanced->exchange = NULL;
    timer_stop(worker_timers(exchange->run.worker), &exchange->timer);
    hook_run_cancel(&exchange->run);
    tell_end(exchange);
    forget_step(exchange);
    explicit_bzero(exchange->state, sizeof(exchange->state));
    free(exchange);
}

void channel_forget_answer(struct connection *connection)
{
    struct enhanced *enhanced = enhanced_of(connection);

    if (enhanced != NULL)
        slice_free(&enhanced->answer);
}

void channel_end_enhanced(struct connection *connection)
{
    struct enhanced *enhanced = enhanced_of(connection);

    if (enhanced == NULL)
        return;
    end_exchange(enhanced);
    connection->extras->enhanced = NULL;
    slice_free(&enhanced->connect);
    slice_free(&enhanced->answer);
    slice_free(&enhanced->shown_name);
    free(enhanced->why);
    free(enhanced);
}

/* Appends a copy of `text` to the texts. What is absent stays absent. */
static struct slice keep(struct exchange *exchange, struct slice text)
{
    uint8_t *copy = exchange->texts + exchange->texts_len;

    if (text.data == NULL)
        return text;
    memcpy(copy, text.data, text.len);
    exchange->texts_len += text.len;
    return slice_make(copy, text.len);
}

static void on_answered(struct hook_run *run, enum hook_result result);
static void on_too_late(struct timer *timer, uint64_t now_ms);

/* NULL when memory is short. */
static struct exchange *exchange_new(struct connection *connection, const struct enhanced *enhanced,
                                     struct slice client_id, struct slice user_name)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange) + client_id.len + user_name.len);

    if (exchange == NULL)
        return NULL;
    exchange->connection = connection;
    exchange->is_again = connection->state == CONNECTION_CONNECTED;
    exchange->timer.on_due = on_too_late;
    channel_client_info(connection, keep(exchange, client_id), &exchange->client);
    exchange->client.user_name = keep(exchange, user_name);
    channel_local_address(connection, &exchange->client);
    exchange->client.mountpoint = slice_make(NULL, 0); /* not known before; borrowed from the connection after */
    exchange->event = (struct hook_enhanced_authenticate){
        .client = &exchange->client, .method = method_of(enhanced), .state = exchange->state};
    exchange->run = (struct hook_run){.point = HOOK_CLIENT_ENHANCED_AUTHENTICATE,
                                      .worker = connection->worker->host.worker,
                                      .event = &exchange->event,
                                      .on_done = on_answered};
    return exchange;
}

/* ---- what comes of it ---- */

/* Have bans something against this client? */
static bool guards_refuse(struct exchange *exchange, struct slice user_name, enum reason_code *out_code,
                          const char **out_why)
{
    struct client_info client = exchange->client;
    struct hook_authenticate event = {.client = &client, .result = REASON_SUCCESS};

    if (!hook_any(HOOK_CLIENT_AUTHENTICATE))
        return false;
    if (user_name.data != NULL)
        client.user_name = user_name;
    (void)hook_call_guards(HOOK_CLIENT_AUTHENTICATE, &event);
    hook_memory_free(&event.memory);
    if (event.result == REASON_SUCCESS)
        return false;
    *out_code = event.result >= REASON_UNSPECIFIED_ERROR ? event.result : REASON_NOT_AUTHORIZED;
    *out_why = event.reason != NULL ? event.reason : reason_code_text(*out_code);
    return true;
}

/* DISCONNECT cannot have all that CONNACK can (section 3.14.2.1; 0x8C is in section 2.4 only, and not every client takes it). */
static enum reason_code disconnect_code(enum reason_code code)
{
    switch (code) {
    case REASON_UNSPECIFIED_ERROR:
    case REASON_MALFORMED_PACKET:
    case REASON_PROTOCOL_ERROR:
    case REASON_IMPLEMENTATION_SPECIFIC_ERROR:
    case REASON_SERVER_BUSY:
    case REASON_QUOTA_EXCEEDED: return code;
    case REASON_SERVER_UNAVAILABLE: return REASON_SERVER_BUSY;
    default: return REASON_NOT_AUTHORIZED;
    }
}

static void send_auth(struct connection *connection, enum reason_code code, struct slice data)
{
    struct mqtt_packet packet = {.type = MQTT_AUTH, .disconnect = {.code = code}};
    struct mqtt_properties *properties = &packet.disconnect.properties;

    properties->present = MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_METHOD);
    properties->authentication_method = method_of(enhanced_of(connection));
    if (data.data != NULL) {
        properties->present |= MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_DATA);
        properties->authentication_data = data;
    }
    connection_send(connection, &packet);
    metric_add(METRIC_PACKETS_AUTH_SENT, 1);
}

/* The exchange is over: CONNECT, or the connection, will see what has come of it. */
static enum handled decide(struct connection *connection, enum reason_code code, const char *why)
{
    struct enhanced *enhanced = enhanced_of(connection);
    bool is_again = connection->state == CONNECTION_CONNECTED;

    end_exchange(enhanced);
    if (!is_again) {
        enhanced->is_decided = true;
        enhanced->code = code;
        enhanced->why = why == NULL ? NULL : strndup(why, WHY_MAX);
        connection->paused |= PAUSE_CONNECT;
        return HANDLED;
    }
    if (code == REASON_SUCCESS)
        return HANDLED;
    connection_log_limited(connection, LOG_LEVEL_WARNING, "re-authentication: %s (0x%02X %s), closing the connection",
                           why, code, reason_code_name(code));
    connection_close(connection, disconnect_code(code), reason_code_name(code));
    return HANDLED_STOP;
}

/* The client is who it says. NULL, or why it is refused all the same. */
static const char *take_success(struct exchange *exchange, enum reason_code *out_code)
{
    struct connection *connection = exchange->connection;
    struct enhanced *enhanced = enhanced_of(connection);
    const struct hook_enhanced_authenticate *event = &exchange->event;
    const char *why = "short of memory";

    if (guards_refuse(exchange, event->user_name, out_code, &why))
        return why;
    if (exchange->is_again && event->user_name.data != NULL &&
        !slice_equal(event->user_name, connection_user_name(connection))) {
        *out_code = REASON_NOT_AUTHORIZED; /* its session, topics and rights are the other's */
        return "another user than before";
    }
    *out_code = REASON_SERVER_UNAVAILABLE;
    if (!exchange->is_again &&
        (slice_dup(event->user_name, &enhanced->shown_name) < 0 || slice_dup(event->answer, &enhanced->answer) < 0))
        return why;
    *out_code = REASON_SUCCESS;
    connection->is_superuser = event->is_superuser;
    connection->is_anonymous = false;
    connection->is_authenticated = true;
    return NULL;
}

static enum handled succeed(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    enum reason_code code;
    const char *why = take_success(exchange, &code);

    if (why == NULL && exchange->is_again)
        send_auth(connection, REASON_SUCCESS, exchange->event.answer);
    if (!connection_open(connection))
        return HANDLED_STOP; /* the answer was over its Maximum Packet Size */
    return decide(connection, code, why);
}

static enum handled refuse_by_event(struct exchange *exchange)
{
    const struct hook_enhanced_authenticate *event = &exchange->event;
    enum reason_code code = event->result >= REASON_UNSPECIFIED_ERROR ? event->result : REASON_NOT_AUTHORIZED;
    const char *why = event->reason != NULL ? event->reason : reason_code_text(code);

    if (event->result == REASON_BAD_AUTHENTICATION_METHOD && event->reason == NULL)
        why = "the authentication method is not offered";
    return decide(exchange->connection, code, why);
}

/* A step has been looked at. */
static enum handled apply(struct exchange *exchange, enum hook_result result)
{
    struct connection *connection = exchange->connection;
    struct hook_enhanced_authenticate *event = &exchange->event;

    if (result == HOOK_BUSY)
        return decide(connection, REASON_SERVER_BUSY, "too many clients wait for authentication (hook.pending_max)");
    if (result != HOOK_RAN)
        return decide(connection, REASON_SERVER_UNAVAILABLE, "authentication gave no answer");
    exchange->leader = 0; /* unless it wants to go on, it knows the end */
    if (event->result == REASON_SUCCESS && exchange->run.stopped_by != 0)
        return succeed(exchange);
    if (event->result != REASON_CONTINUE_AUTHENTICATION || exchange->run.stopped_by == 0)
        return refuse_by_event(exchange);
    exchange->leader = exchange->run.stopped_by;
    send_auth(connection, REASON_CONTINUE_AUTHENTICATION, event->answer);
    if (!connection_open(connection))
        return HANDLED_STOP;
    stream_flush(&connection_host(connection)->streams, &connection->stream); /* the client can do nothing else */
    forget_step(exchange);
    return HANDLED;
}

static void on_answered(struct hook_run *run, enum hook_result result)
{
    struct exchange *exchange = CONTAINER_OF(run, struct exchange, run);
    struct connection *connection = exchange->connection;

    (void)apply(exchange, result);
    if ((connection->paused & PAUSE_CONNECT) != 0)
        channel_put_connect_back(connection);
}

static void on_too_late(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    (void)decide(CONTAINER_OF(timer, struct exchange, timer)->connection, REASON_NOT_AUTHORIZED,
                 "the client took longer than idle_timeout");
}

/* ---- what comes in ---- */

/* Asks about a packet with `data`, which is copied. */
static enum handled ask(struct exchange *exchange, enum enhanced_step step, struct slice data)
{
    struct hook_enhanced_authenticate *event = &exchange->event;
    enum hook_result result;

    if (++exchange->step_count > ENHANCED_STEPS_MAX)
        return decide(exchange->connection, REASON_NOT_AUTHORIZED, "too many steps of authentication");
    if (slice_dup(data, &event->data) < 0)
        return decide(exchange->connection, REASON_SERVER_UNAVAILABLE, "short of memory");
    event->step = step;
    /* A leader that has gone leaves this as it is. */
    event->result = step == ENHANCED_CONTINUE ? REASON_SERVER_UNAVAILABLE : REASON_BAD_AUTHENTICATION_METHOD;
    event->reason = NULL;
    event->is_superuser = false;
    exchange->run.only = exchange->leader;
    result = hook_run_start(&exchange->run);
    return result == HOOK_WAITS ? HANDLED : apply(exchange, result);
}

static struct slice data_of(const struct mqtt_properties *properties)
{
    return mqtt_properties_have(properties, MQTT_PROP_AUTHENTICATION_DATA) ? properties->authentication_data
                                                                           : slice_make(NULL, 0);
}

/* NULL when memory is short. */
static struct enhanced *enhanced_new(struct connection *connection, const struct mqtt_connect *connect,
                                     struct slice client_id, struct slice packet)
{
    struct slice method = connect->properties.authentication_method;
    struct connection_extras *extras = connection_extras_get(connection);
    struct enhanced *enhanced = extras == NULL ? NULL : calloc(1, sizeof(*enhanced) + method.len);

    if (enhanced == NULL)
        return NULL;
    extras->enhanced = enhanced;
    enhanced->method_len = method.len;
    if (method.len > 0)
        memcpy(enhanced->method, method.data, method.len);
    if (connect->client_id.len == 0 && client_id.len < sizeof(enhanced->generated_id))
        memcpy(enhanced->generated_id, client_id.data, client_id.len);
    enhanced->exchange = exchange_new(connection, enhanced, client_id, connect->user_name);
    if (enhanced->exchange == NULL || slice_dup(packet, &enhanced->connect) < 0)
        return NULL; /* what is there goes with the connection */
    return enhanced;
}

enum authentication_state channel_enhance(struct connection *connection, const struct mqtt_connect *connect,
                                          struct slice client_id, struct slice packet, enum reason_code *out_code,
                                          const char **out_why)
{
    struct enhanced *enhanced = enhanced_of(connection);

    if (connection->is_authenticated)
        return AUTHENTICATION_ACCEPTED;
    if (enhanced != NULL && enhanced->is_decided) {
        *out_code = enhanced->code;
        *out_why = enhanced->why == NULL ? reason_code_text(enhanced->code) : enhanced->why;
        return AUTHENTICATION_REFUSED;
    }
    if (!hook_any(HOOK_CLIENT_ENHANCED_AUTHENTICATE)) {
        *out_code = REASON_BAD_AUTHENTICATION_METHOD; /* [MQTT-4.12.0-1] */
        *out_why = "no authentication method is offered";
        return AUTHENTICATION_REFUSED;
    }
    enhanced = enhanced_new(connection, connect, client_id, packet);
    if (enhanced == NULL) {
        *out_code = REASON_SERVER_UNAVAILABLE;
        *out_why = "short of memory";
        return AUTHENTICATION_REFUSED;
    }
    if (guards_refuse(enhanced->exchange, slice_make(NULL, 0), out_code, out_why)) {
        end_exchange(enhanced);
        return AUTHENTICATION_REFUSED;
    }
    (void)ask(enhanced->exchange, ENHANCED_START, data_of(&connect->properties));
    return AUTHENTICATION_WAITS;
}

void channel_put_connect_back(struct connection *connection)
{
    struct slice *connect = &enhanced_of(connection)->connect;
    size_t len = connect->len + connection->partial_len;
    uint8_t *bytes = realloc((void *)(uintptr_t)connect->data, len);

    if (bytes == NULL) {
        connection_close(connection, REASON_SUCCESS, "enomem");
        return;
    }
    if (connection->partial_len > 0)
        memcpy(bytes + connect->len, connection->partial, connection->partial_len);
    connection_free_partial(connection);
    *connect = slice_make(NULL, 0);
    connection->partial = bytes;
    connection->partial_len = connection->partial_capacity = (uint32_t)len;
    connection_unpause(connection, PAUSE_CONNECT);
}

/* A re-authentication begins. */
static enum handled begin_again(struct connection *connection, struct enhanced *enhanced, struct slice data)
{
    struct slice client_id = connection_client_id(connection);
    struct worker *worker = connection->worker->host.worker;
    enum reason_code code;
    const char *why;

    enhanced->exchange = exchange_new(connection, enhanced, client_id, connection_user_name(connection));
    if (enhanced->exchange == NULL)
        return decide(connection, REASON_SERVER_UNAVAILABLE, "short of memory");
    enhanced->exchange->client.mountpoint = connection_mountpoint(connection);
    timer_start(worker_timers(worker), &enhanced->exchange->timer,
                worker_now_ms(worker) + connection_zone(connection)->idle_timeout_ms);
    if (guards_refuse(enhanced->exchange, slice_make(NULL, 0), &code, &why))
        return decide(connection, code, why);
    return ask(enhanced->exchange, ENHANCED_AGAIN, data);
}

/* What is wrong is said in CONNACK before it, in DISCONNECT after it. */
static enum handled refuse_auth(struct connection *connection, enum reason_code code, const char *error)
{
    if (connection->state != CONNECTION_CONNECTED)
        return decide(connection, code, error);
    return connection_refuse(connection, code, error);
}

enum handled channel_on_auth(struct connection *connection, const struct mqtt_disconnect *auth)
{
    struct enhanced *enhanced = enhanced_of(connection);
    struct slice data = data_of(&auth->properties);
    bool begins = auth->code == REASON_RE_AUTHENTICATE;

    metric_add(METRIC_PACKETS_AUTH_RECEIVED, 1);
    if (enhanced == NULL)
        return connection_refuse(connection, REASON_PROTOCOL_ERROR, "AUTH without an authentication method in CONNECT");
    if (!slice_equal(auth->properties.authentication_method, method_of(enhanced)))
        return refuse_auth(connection,
                           connection->state == CONNECTION_CONNECTED ? REASON_PROTOCOL_ERROR
                                                                     : REASON_BAD_AUTHENTICATION_METHOD,
                           "AUTH with another method than CONNECT");
    if (begins && enhanced->exchange == NULL)
        return begin_again(connection, enhanced, data);
    if (begins || enhanced->exchange == NULL || enhanced->exchange->run.ticket != NULL)
        return refuse_auth(connection, REASON_PROTOCOL_ERROR, "AUTH although it is not the client's turn");
    return ask(enhanced->exchange, ENHANCED_CONTINUE, data);
}

enum handled channel_on_exchange_packet(struct connection *connection, const struct mqtt_frame *frame,
                                        const uint8_t *body)
{
    struct mqtt_packet packet;
    const char *error = "malformed packet";
    enum reason_code code;

    metric_add(METRIC_PACKETS_RECEIVED, 1);
    if (frame->type != MQTT_AUTH && frame->type != MQTT_DISCONNECT)
        return decide(connection, REASON_PROTOCOL_ERROR, "neither AUTH nor DISCONNECT before CONNACK");
    code = mqtt_decode((enum mqtt_version)connection->version, MQTT_FROM_CLIENT, frame, body, &packet, &error);
    if (code != REASON_SUCCESS)
        return decide(connection, code, error);
    if (frame->type == MQTT_AUTH)
        return channel_on_auth(connection, &packet.disconnect);
    metric_add(METRIC_PACKETS_DISCONNECT_RECEIVED, 1);
    connection_close_normal(connection);
    return HANDLED_STOP;
}

void channel_announce_method(const struct connection *connection, struct mqtt_properties *out)
{
    const struct enhanced *enhanced = enhanced_of(connection);

    if (enhanced == NULL)
        return;
    out->present |= MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_METHOD);
    out->authentication_method = method_of(enhanced);
    if (enhanced->answer.data == NULL)
        return;
    out->present |= MQTT_PROP_BIT(MQTT_PROP_AUTHENTICATION_DATA);
    out->authentication_data = enhanced->answer;
}
