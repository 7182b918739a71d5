/*
 * publish: PUBLISH from a client. The hot path of the broker.
 *
 * decode ─► topic alias ─► capabilities ─► access ─► QoS 2 ID ─► message ─► message.publish ─► route ─► acknowledge ─► limits
 *
 * Two of these may have to wait for a callback. Until access is decided nothing of the packet has taken effect: it is decoded again. From
 * message.publish on there is a message, which waits by itself (struct publication); the packet is done with.
 */
#include "broker/channel/access.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "broker/channel/hold.h"
#include "broker/commit.h"
#include "hook/hook.h"
#include "hook/hook_memory.h"
#include "hook/hook_run.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

#define TAKE_BUFFER_AT 32768u /* bytes of payload from which a message takes the receive buffer over */

/* Puts the topic that an alias stands for in its place, or remembers it [MQTT-3.3.2-7 to 3.3.2-12]. */
static enum reason_code resolve_alias(struct connection *connection, struct mqtt_publish *publish,
                                      const char **out_error)
{
    uint16_t alias = publish->properties.topic_alias;
    uint16_t alias_max = connection_zone(connection)->caps.max_topic_alias;
    struct connection_extras *extras;

    if (!mqtt_properties_have(&publish->properties, MQTT_PROP_TOPIC_ALIAS))
        return REASON_SUCCESS;
    *out_error = "a topic alias that is 0 or over the maximum";
    if (alias == 0 || alias > alias_max)
        return REASON_TOPIC_ALIAS_INVALID;
    extras = connection_extras_get(connection);
    *out_error = "short of memory for topic aliases";
    if (extras != NULL && extras->aliases_in == NULL)
        extras->aliases_in = alias_table_new(alias_max);
    if (extras == NULL || extras->aliases_in == NULL)
        return REASON_IMPLEMENTATION_SPECIFIC_ERROR;
    if (publish->topic.len > 0) {
        int err = alias_table_set(extras->aliases_in, alias, publish->topic);
        if (err == -ENOSPC) {
            *out_error = "the topics of all aliases together are too long";
            return REASON_QUOTA_EXCEEDED;
        }
        return err < 0 ? REASON_IMPLEMENTATION_SPECIFIC_ERROR : REASON_SUCCESS;
    }
    publish->topic = alias_table_get(extras->aliases_in, alias);
    *out_error = "a topic alias that was not set";
    return publish->topic.len == 0 ? REASON_PROTOCOL_ERROR : REASON_SUCCESS;
}

static enum reason_code check_capabilities(const struct connection *connection, const struct mqtt_publish *publish,
                                           const char **out_error)
{
    const struct zone_capabilities *caps = &connection_zone(connection)->caps;

    if (UNLIKELY(publish->qos > caps->max_qos_allowed)) {
        *out_error = "a QoS over max_qos_allowed";
        return REASON_QOS_NOT_SUPPORTED;
    }
    if (UNLIKELY(publish->retain && !caps->retain_available)) {
        *out_error = "RETAIN although retain_available is off";
        return REASON_RETAIN_NOT_SUPPORTED;
    }
    if (UNLIKELY(connection->version >= MQTT_V5 &&
                 mqtt_properties_have(&publish->properties, MQTT_PROP_SUBSCRIPTION_IDENTIFIER))) {
        *out_error = "a subscription identifier in PUBLISH from a client"; /* [MQTT-3.3.4-6] */
        return REASON_PROTOCOL_ERROR;
    }
    return REASON_SUCCESS;
}

/* Does the packet fill the connection's own buffer, so that the message can have it? */
static bool owns_buffer(const struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    return connection->partial != NULL && body > connection->partial &&
           body + frame->remaining_len == connection->partial + connection->partial_len;
}

static struct message *make_message(struct connection *connection, const struct mqtt_publish *publish,
                                    void *take_buffer)
{
    const struct session *session = connection->link.session;
    struct message_options options = {
        .mountpoint = connection_mountpoint(connection),
        .topic = publish->topic,
        .payload = publish->payload,
        .client_id = session_client_id(session),
        .properties = connection->version >= MQTT_V5 ? &publish->properties : NULL,
        .now_ms = connection_now(connection),
        .qos = publish->qos,
        .retain = publish->retain,
        .take_buffer = take_buffer,
    };

    return message_new(&options);
}

static void acknowledge(struct connection *connection, const struct mqtt_publish *publish, enum reason_code code)
{
    if (publish->qos == 1)
        channel_send_ack(connection, MQTT_PUBACK, publish->packet_id, code);
    else if (publish->qos == 2)
        channel_send_ack(connection, MQTT_PUBREC, publish->packet_id, code);
}

static enum handled refuse_no_memory(struct connection *connection, const struct mqtt_publish *publish)
{
    if (publish->qos == 2)
        session_forget_qos2(connection->link.session, publish->packet_id);
    connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem");
    return HANDLED_STOP;
}

/* What would have to be stored cannot be. MQTT 5 has an answer for it; before, no answer is one that lets the client try again. */
static enum handled refuse_unstored(struct connection *connection, const struct mqtt_publish *publish,
                                    enum reason_code problem, bool took_buffer)
{
    metric_add(METRIC_MESSAGES_DROPPED_UNSTORED, 1);
    if (publish->qos == 2)
        session_forget_qos2(connection->link.session, publish->packet_id);
    if (connection->version < MQTT_V5) {
        connection_log_limited(connection, LOG_LEVEL_WARNING, "cannot store a message: %s, closing the connection",
                               reason_code_text(problem));
        connection_close(connection, problem, "store");
        return HANDLED_STOP;
    }
    acknowledge(connection, publish, problem);
    return took_buffer ? HANDLED_TOOK_BUFFER : HANDLED;
}

/* The packet ID cannot be stored. */
static enum handled refuse_packet_id(struct connection *connection, const struct mqtt_publish *publish)
{
    enum reason_code problem = broker_store_problem(connection->worker->broker);

    if (problem == REASON_SUCCESS) /* it has just been solved */
        problem = REASON_QUOTA_EXCEEDED;
    return refuse_unstored(connection, publish, problem, false);
}

/* Registers a QoS 2 packet ID. HANDLED: publish it; else the answer was given. */
static enum handled begin_qos2(struct connection *connection, const struct mqtt_publish *publish, bool *out_new)
{
    *out_new = false;
    switch (session_on_publish_qos2(connection->link.session, publish->packet_id)) {
    case SESSION_QOS2_NEW: *out_new = true; return HANDLED;
    case SESSION_QOS2_DUPLICATE: /* sent again: acknowledged again, not published again [MQTT-4.3.3-10] */
        channel_send_durable_ack(connection, MQTT_PUBREC, publish->packet_id,
                                 publish->dup ? REASON_SUCCESS : REASON_PACKET_ID_IN_USE);
        return HANDLED;
    case SESSION_QOS2_FULL:
        metric_add(METRIC_MESSAGES_QOS2_DROPPED, 1);
        return connection_refuse(connection, REASON_RECEIVE_MAXIMUM_EXCEEDED,
                                 "more QoS 2 messages wait for PUBREL than max_awaiting_rel");
    case SESSION_QOS2_UNSTORED: return refuse_packet_id(connection, publish);
    default: connection_close(connection, REASON_IMPLEMENTATION_SPECIFIC_ERROR, "enomem"); return HANDLED_STOP;
    }
}

/* A packet limit that is used up holds the connection after this packet. */
static void limit_packets(struct connection *connection)
{
    struct token_bucket *bucket = connection->extras == NULL ? NULL : &connection->extras->publish_bucket;

    if (LIKELY(bucket == NULL || bucket->burst <= 0))
        return;
    uint64_t pause_ms = token_bucket_take(bucket, 1, connection_now(connection));
    if (pause_ms > 0)
        connection_pause(connection, pause_ms);
}

/* What was taken in before is not checked but only acknowledged again. `delayed`: its topic is to be taken apart. */
static enum access_answer is_authorized(struct connection *connection, const struct mqtt_publish *publish, bool delayed)
{
    struct slice topic = publish->topic;
    uint64_t delay_ms;

    if (publish->qos == 2 && session_awaits_rel(connection->link.session, publish->packet_id))
        return ACCESS_YES;
    if (UNLIKELY(delayed) && delayed_parse(publish->topic, clock_wall_ms(), &delay_ms, &topic) != DELAYED_FINE)
        topic = publish->topic; /* refused soon, with a better reason */
    return channel_may(connection, ACL_PUBLISH, topic);
}

/* The message is dropped. Older clients get an acknowledgement like any other: they could only repeat it. */
static enum handled refuse_unauthorized(struct connection *connection, const struct mqtt_publish *publish)
{
    connection_log_limited(connection, LOG_LEVEL_WARNING, "Cannot publish qos%u message to %.*s for %s", publish->qos,
                           SLICE_ARG(publish->topic), reason_code_text(REASON_NOT_AUTHORIZED));
    if (publish->qos > 0) {
        metric_add(METRIC_PACKETS_PUBLISH_ERROR, 1);
        metric_add(METRIC_PACKETS_PUBLISH_AUTH_ERROR, 1);
        acknowledge(connection, publish, REASON_NOT_AUTHORIZED);
    }
    if (connection_zone(connection)->acl.disconnects) {
        connection_close(connection, publish->qos > 0 ? REASON_NOT_AUTHORIZED : REASON_SUCCESS,
                         reason_code_name(REASON_NOT_AUTHORIZED));
        return HANDLED_STOP;
    }
    limit_packets(connection);
    return HANDLED;
}

/* Keeps a message for later (broker/delayed.h). `take`: it gets the partial buffer. */
static enum reason_code delay(struct connection *connection, struct mqtt_publish *publish, bool take, bool stored)
{
    uint64_t delay_ms;
    struct message *message;

    if (delayed_parse(publish->topic, clock_wall_ms(), &delay_ms, &publish->topic) != DELAYED_FINE)
        return REASON_TOPIC_NAME_INVALID;
    message = make_message(connection, publish, take ? connection->partial : NULL);
    if (message == NULL)
        return REASON_IMPLEMENTATION_SPECIFIC_ERROR;
    if (take) {
        connection->partial = NULL;
        connection->partial_len = connection->partial_capacity = 0;
    }
    int err = delayed_add_take(connection->worker, message, delay_ms, stored);
    if (err == 0 && publish->qos == 2)
        session_store_awaiting_rel(connection->link.session, publish->packet_id);
    return err == 0 ? REASON_SUCCESS : err == -ENOSPC ? REASON_QUOTA_EXCEEDED : REASON_IMPLEMENTATION_SPECIFIC_ERROR;
}

/* What is refused is dropped. MQTT 5 has a reason for it; older clients get an acknowledgement of a malformed topic, which they
 * could only repeat, and none of what may have room later. */
static void refuse_delayed(struct connection *connection, const struct mqtt_publish *publish, enum reason_code code)
{
    bool answer = connection->version >= MQTT_V5 || code == REASON_TOPIC_NAME_INVALID;

    metric_add(METRIC_PACKETS_PUBLISH_ERROR, 1);
    connection_log_limited(connection, LOG_LEVEL_WARNING, "a delayed message to %.*s: %s, dropping it",
                           SLICE_ARG(publish->topic), reason_code_text(code));
    if (publish->qos == 2 && (connection->version >= MQTT_V5 || !answer))
        session_forget_qos2(connection->link.session, publish->packet_id);
    if (answer)
        acknowledge(connection, publish, code);
}

/* PUBLISH to $delayed/SECONDS/TOPIC. */
static enum handled route_delayed(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body,
                                  struct mqtt_publish *publish)
{
    bool take = publish->payload.len >= TAKE_BUFFER_AT && owns_buffer(connection, frame, body);
    bool stored = connection_zone(connection)->durability != DURABILITY_NONE;
    enum reason_code problem = stored ? broker_store_problem(connection->worker->broker) : REASON_SUCCESS;
    bool congested = broker_store_congested(connection->worker);

    if (UNLIKELY(problem != REASON_SUCCESS && publish->qos > 0))
        return refuse_unstored(connection, publish, problem, false);
    if (UNLIKELY(publish->qos == 0 && (problem != REASON_SUCCESS || congested)))
        stored = false; /* nobody is promised anything: in memory, while there is room */
    uint64_t mark = commit_mark(connection->worker);
    enum reason_code code = delay(connection, publish, take, stored);
    take = take && connection->partial == NULL;
    if (LIKELY(publish->qos > 0 && commit_mark(connection->worker) != mark))
        channel_hold(connection);
    if (LIKELY(code == REASON_SUCCESS))
        acknowledge(connection, publish, code);
    else
        refuse_delayed(connection, publish, code);
    limit_packets(connection);
    if (publish->qos > 0)
        connection_wait_store(connection);
    return take ? HANDLED_TOOK_BUFFER : HANDLED;
}

/* message.publish did not let the message pass; its publisher is answered as if nobody had subscribed. */
static enum handled end_unpublished(struct connection *connection, const struct mqtt_publish *publish, int err,
                                    bool took_buffer)
{
    uint64_t mark = commit_mark(connection->worker);

    if (err == -ENOMEM)
        return refuse_no_memory(connection, publish);
    if (publish->qos == 2)
        session_store_awaiting_rel(connection->link.session, publish->packet_id);
    if (commit_mark(connection->worker) != mark)
        channel_hold(connection);
    acknowledge(connection, publish, REASON_NO_MATCHING_SUBSCRIBERS);
    limit_packets(connection);
    return took_buffer ? HANDLED_TOOK_BUFFER : HANDLED;
}

/* Who was to decide about the message did not: it is not published, and its publisher may try again. Before MQTT 5 only a client that gets no
 * acknowledgement does. */
static enum handled refuse_undecided(struct connection *connection, const struct mqtt_publish *publish,
                                     enum hook_result result, bool took_buffer)
{
    enum reason_code code = result == HOOK_BUSY ? REASON_QUOTA_EXCEEDED : REASON_IMPLEMENTATION_SPECIFIC_ERROR;

    metric_add(METRIC_PACKETS_PUBLISH_ERROR, 1);
    if (publish->qos == 2)
        session_forget_qos2(connection->link.session, publish->packet_id);
    if (publish->qos > 0 && connection->version < MQTT_V5) {
        connection_log_limited(connection, LOG_LEVEL_WARNING,
                               "message.publish gave no answer for a message, closing the connection");
        connection_close(connection, code, "hook");
        return HANDLED_STOP;
    }
    acknowledge(connection, publish, code);
    limit_packets(connection);
    return took_buffer ? HANDLED_TOOK_BUFFER : HANDLED;
}

/* Routes the message, whose reference it takes, and acknowledges it. */
static enum handled route_take(struct connection *connection, const struct mqtt_publish *publish,
                               struct message *message, bool took_buffer)
{
    enum reason_code problem = broker_publish_problem(connection->worker, message);

    if (UNLIKELY(problem != REASON_SUCCESS)) {
        message_unref(message);
        return refuse_unstored(connection, publish, problem, took_buffer);
    }
    uint64_t mark = commit_mark(connection->worker);
    bool routed = publish->qos == 2 ? broker_publish_once_take(connection->worker, message, connection->link.session,
                                                               publish->packet_id)
                                    : broker_publish_take(connection->worker, message);
    if (UNLIKELY(publish->qos > 0 && commit_mark(connection->worker) != mark))
        channel_hold(connection);
    acknowledge(connection, publish, routed ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS);
    limit_packets(connection);
    if (publish->qos > 0)
        connection_wait_store(connection);
    if (UNLIKELY(connection->worker->congested != NULL))
        connection_wait_congestion(connection);
    return took_buffer ? HANDLED_TOOK_BUFFER : HANDLED;
}

/* A message that message.publish is called for. */
struct publication {
    struct hook_run run;
    struct hook_publish event;
    struct client_info client;
    struct connection *connection;
    struct message *message;     /* owned; what the event points at */
    struct mqtt_publish publish; /* of its packet QoS, DUP and packet ID: the texts may be gone */
};

/* The worker's spare one, so that answers given at once cost no memory. NULL when memory is short. */
static struct publication *publication_get(struct channel_worker *host)
{
    struct publication *publication = host->spare_publication;

    host->spare_publication = NULL;
    return publication != NULL ? publication : malloc(sizeof(*publication));
}

static void publication_put(struct channel_worker *host, struct publication *publication)
{
    if (host->spare_publication == NULL)
        host->spare_publication = publication;
    else
        free(publication);
}

void channel_free_spare_publication(struct channel_worker *host)
{
    free(host->spare_publication);
    host->spare_publication = NULL;
}

void channel_cancel_publish(struct connection *connection)
{
    struct publication *publication = connection->extras == NULL ? NULL : connection->extras->publication;

    if (publication == NULL)
        return;
    connection->extras->publication = NULL;
    hook_run_cancel(&publication->run);
    hook_memory_free(&publication->event.memory);
    message_unref(publication->message);
    publication_put(connection_host(connection), publication);
}

/* message.publish has ended: goes on with what it left. */
static enum handled end_publication(struct publication *publication, enum hook_result result, bool took_buffer)
{
    struct connection *connection = publication->connection;
    struct mqtt_publish publish = publication->publish;
    struct message *message = publication->message;
    int err = 0;

    if (LIKELY(result == HOOK_RAN)) {
        err = broker_take_publish(&publication->event, &message);
    } else {
        hook_memory_free(&publication->event.memory);
        message_unref(message);
    }
    publication_put(connection_host(connection), publication);
    if (UNLIKELY(result != HOOK_RAN))
        return refuse_undecided(connection, &publish, result, took_buffer);
    return err < 0 ? end_unpublished(connection, &publish, err, took_buffer)
                   : route_take(connection, &publish, message, took_buffer);
}

/* The answer for which the connection waited. */
static void on_answered(struct hook_run *run, enum hook_result result)
{
    struct publication *publication = CONTAINER_OF(run, struct publication, run);
    struct connection *connection = publication->connection;
    struct mqtt_publish publish = publication->publish;
    bool is_new = true;

    if (publish.qos == 2)
        (void)begin_qos2(connection, &publish, &is_new);
    if (!is_new) {
        channel_cancel_publish(connection); /* it could not be registered again, and was answered so */
    } else {
        connection->extras->publication = NULL;
        (void)end_publication(publication, result, false);
    }
    if (connection_open(connection))
        connection_unpause(connection, PAUSE_PUBLISH);
}

/* Its packet ID is free meanwhile: whatever becomes of the connection, the client may send the message again. Nothing else of it is read, so that
 * nothing can take the ID. */
static enum handled wait_for_answer(struct publication *publication, bool took_buffer)
{
    struct connection *connection = publication->connection;
    struct connection_extras *extras = connection_extras_get(connection);

    if (extras == NULL) {
        hook_run_cancel(&publication->run);
        return end_publication(publication, HOOK_FAILED, took_buffer);
    }
    if (publication->publish.qos == 2)
        session_forget_qos2(connection->link.session, publication->publish.packet_id);
    extras->publication = publication;
    connection->paused |= PAUSE_PUBLISH;
    return took_buffer ? HANDLED_TOOK_BUFFER : HANDLED;
}

/* message.publish, then route_take(). */
static enum handled publish_take(struct connection *connection, const struct mqtt_publish *publish,
                                 struct message *message, bool took_buffer)
{
    struct publication *publication = publication_get(connection_host(connection));
    enum hook_result result;

    if (publication == NULL) {
        message_unref(message);
        return refuse_no_memory(connection, publish);
    }
    *publication = (struct publication){
        .run = {.point = HOOK_MESSAGE_PUBLISH,
                .worker = connection->worker->host.worker,
                .event = &publication->event,
                .on_done = on_answered},
        .connection = connection,
        .message = message,
        .publish = {.qos = publish->qos, .dup = publish->dup, .packet_id = publish->packet_id},
    };
    channel_client_info(connection, session_client_id(connection->link.session), &publication->client);
    broker_tell_publish(&publication->client, message, &publication->event);
    result = hook_run_start(&publication->run);
    return result == HOOK_WAITS ? wait_for_answer(publication, took_buffer)
                                : end_publication(publication, result, took_buffer);
}

static enum handled route(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body,
                          const struct mqtt_publish *publish)
{
    bool take = publish->payload.len >= TAKE_BUFFER_AT && owns_buffer(connection, frame, body);
    struct message *message = make_message(connection, publish, take ? connection->partial : NULL);

    if (UNLIKELY(message == NULL))
        return refuse_no_memory(connection, publish);
    if (take) {
        connection->partial = NULL;
        connection->partial_len = connection->partial_capacity = 0;
    }
    return UNLIKELY(hook_any(HOOK_MESSAGE_PUBLISH)) ? publish_take(connection, publish, message, take)
                                                    : route_take(connection, publish, message, take);
}

/* The packet is decoded again when client.check_acl has answered. */
static enum handled wait_for_access(struct connection *connection)
{
    connection->packet_seen = true;
    connection->paused |= PAUSE_HOOK;
    return HANDLED_STOP;
}

enum handled channel_on_publish(struct connection *connection, const struct mqtt_frame *frame, const uint8_t *body)
{
    struct mqtt_publish publish;
    const char *error = "malformed PUBLISH";
    enum access_answer may;
    enum reason_code code;
    bool is_new, delayed;

    code = mqtt_decode_publish((enum mqtt_version)connection->version, MQTT_FROM_CLIENT, frame, body, &publish, &error);
    if (UNLIKELY(code != REASON_SUCCESS))
        return connection_refuse(connection, code, error);
    if (LIKELY(!connection->packet_seen)) {
        metric_add(METRIC_PACKETS_PUBLISH_RECEIVED, 1);
        metric_add(METRIC_MESSAGES_RECEIVED, 1);
        metric_add(METRIC_MESSAGES_QOS0_RECEIVED + publish.qos * 2u, 1);
    }
    if (connection->version >= MQTT_V5)
        code = resolve_alias(connection, &publish, &error);
    if (code == REASON_SUCCESS)
        code = check_capabilities(connection, &publish, &error);
    if (UNLIKELY(code != REASON_SUCCESS)) {
        metric_add(METRIC_PACKETS_PUBLISH_ERROR, 1);
        return connection_refuse(connection, code, error);
    }
    delayed = delayed_takes(connection->worker->broker->delayed,
                            publish.topic); /* once: what was checked is what is done */
    may = is_authorized(connection, &publish, delayed);
    if (UNLIKELY(may != ACCESS_YES))
        return may == ACCESS_NO ? refuse_unauthorized(connection, &publish) : wait_for_access(connection);
    if (publish.qos == 2) {
        enum handled handled = begin_qos2(connection, &publish, &is_new);
        if (!is_new)
            return handled;
    }
    if (UNLIKELY(delayed))
        return route_delayed(connection, frame, body, &publish);
    return route(connection, frame, body, &publish);
}
