/*
 * deliver: PUBLISH and PUBREL to the client: what a session asks of its connection (struct session_link_ops).
 *
 * The frame is built in the output chunk itself; a large payload is not copied but sent from the message.
 */
#include "broker/channel/connection.h"

#include "base/metrics.h"
#include "broker/channel/deliver_hook.h"
#include "hook/hook.h"
#include "hook/message_event.h"
#include "mqtt/message.h"

#define PAYLOAD_BY_REFERENCE_AT 8192u

static struct connection *connection_of(struct session_link *link)
{
    return CONTAINER_OF(link, struct connection, link);
}

/* The parts of one PUBLISH before it is written. */
struct frame_plan {
    struct slice topic;
    uint16_t alias;          /* 0: none */
    uint32_t expiry_left_s;  /* with has_expiry */
    uint32_t properties_len; /* v5: without the length itself */
    uint32_t remaining_len;
    uint32_t payload_copied; /* the whole payload or nothing */
};

static struct slice without_mountpoint(const struct connection *connection, struct slice topic)
{
    struct slice mountpoint = connection_mountpoint(connection);

    if (mountpoint.len > 0 && mountpoint.len < topic.len && slice_starts_with(topic, mountpoint))
        return slice_skip(topic, mountpoint.len);
    return topic;
}

static void plan_properties(const struct connection *connection, const struct session_publish *publish,
                            struct frame_plan *plan)
{
    const struct message *message = publish->message;

    plan->properties_len = message->properties_len + (plan->alias > 0 ? 3u : 0u);
    if (message->has_expiry) {
        plan->expiry_left_s = message_expiry_left_s(message, connection_now(connection));
        plan->properties_len += 5;
    }
    if (publish->subscription_id > 0)
        plan->properties_len += (uint32_t)(1 + mqtt_varint_size(publish->subscription_id));
}

/* Is the topic worth an alias, and does the client take any? Assigned only for what will be written. */
static bool wants_alias(const struct connection *connection, struct slice topic)
{
    return connection->extras != NULL && connection->extras->alias_out_max > 0 && topic.len > 3;
}

static uint64_t plan_frame(const struct connection *connection, const struct session_publish *publish,
                           struct frame_plan *plan)
{
    uint64_t remaining = 2 + plan->topic.len + (publish->qos > 0 ? 2u : 0u) + publish->message->payload_len;

    if (connection->version >= MQTT_V5) {
        plan_properties(connection, publish, plan);
        remaining += mqtt_varint_size(plan->properties_len) + plan->properties_len;
    }
    plan->remaining_len = (uint32_t)remaining;
    return remaining > MQTT_REMAINING_LENGTH_MAX ? UINT64_MAX : 1 + mqtt_varint_size((uint32_t)remaining) + remaining;
}

static uint8_t *put_bytes(uint8_t *out, const void *bytes, size_t len)
{
    memcpy(out, bytes, len);
    return out + len;
}

static uint8_t *put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return out + 2;
}

static uint8_t *put_properties(uint8_t *out, const struct session_publish *publish, const struct frame_plan *plan)
{
    const struct message *message = publish->message;

    out += mqtt_write_varint(out, plan->properties_len);
    if (message->has_expiry) {
        *out++ = 0x02; /* Message Expiry Interval */
        out = put_u16(put_u16(out, (uint16_t)(plan->expiry_left_s >> 16)), (uint16_t)plan->expiry_left_s);
    }
    out = put_bytes(out, message->properties, message->properties_len);
    if (publish->subscription_id > 0) {
        *out++ = 0x0B; /* Subscription Identifier */
        out += mqtt_write_varint(out, publish->subscription_id);
    }
    if (plan->alias > 0) {
        *out++ = 0x23; /* Topic Alias */
        out = put_u16(out, plan->alias);
    }
    return out;
}

static uint8_t *put_frame(uint8_t *out, const struct connection *connection, const struct session_publish *publish,
                          const struct frame_plan *plan)
{
    *out++ = (uint8_t)(MQTT_PUBLISH << 4 | (publish->dup ? 8 : 0) | publish->qos << 1 | (publish->retain ? 1 : 0));
    out += mqtt_write_varint(out, plan->remaining_len);
    out = put_bytes(put_u16(out, (uint16_t)plan->topic.len), plan->topic.data, plan->topic.len);
    if (publish->qos > 0)
        out = put_u16(out, publish->packet_id);
    if (connection->version >= MQTT_V5)
        out = put_properties(out, publish, plan);
    return put_bytes(out, publish->message->payload, plan->payload_copied);
}

static void count_sent(const struct session_publish *publish)
{
    if (UNLIKELY(publish->message->sys))
        return;
    metric_add(METRIC_PACKETS_PUBLISH_SENT, 1);
    metric_add(METRIC_MESSAGES_SENT, 1);
    metric_add(publish->qos == 0   ? METRIC_MESSAGES_QOS0_SENT
               : publish->qos == 1 ? METRIC_MESSAGES_QOS1_SENT
                                   : METRIC_MESSAGES_QOS2_SENT,
               1);
}

static void release_message(void *owner)
{
    message_unref(owner);
}

static enum session_write write_frame(struct connection *connection, const struct session_publish *publish,
                                      struct frame_plan *plan, size_t size)
{
    struct message *message = publish->message;
    size_t head_len = size - message->payload_len;
    uint8_t *out;

    plan->payload_copied = message->payload_len < PAYLOAD_BY_REFERENCE_AT && size <= STREAM_CHUNK_MAX
                               ? message->payload_len
                               : 0;
    if (head_len + plan->payload_copied > STREAM_CHUNK_MAX)
        return SESSION_WRITE_FAILED; /* topic and properties alone are over a chunk: write_long() */
    out = connection_reserve(connection, head_len + plan->payload_copied);
    if (out == NULL)
        return SESSION_WRITE_FAILED;
    put_frame(out, connection, publish, plan);
    connection_commit(connection, head_len + plan->payload_copied);
    if (plan->payload_copied == message->payload_len) {
        count_sent(publish);
        return SESSION_WRITTEN;
    }
    if (stream_write_ref(&connection_host(connection)->streams, &connection->stream, message_payload(message),
                         message_ref(message), release_message) < 0) {
        message_unref(message);
        connection->stream.failed = true; /* half a packet is out: nothing sensible can follow */
        return SESSION_WRITE_FAILED;
    }
    count_sent(publish);
    return SESSION_WRITTEN;
}

static void release_bytes(void *owner)
{
    free(owner);
}

/* Topic and properties over the size of a chunk: rare, in memory of its own. */
static enum session_write write_long(struct connection *connection, const struct session_publish *publish,
                                     struct frame_plan *plan, size_t size)
{
    size_t head_len = size - publish->message->payload_len;
    uint8_t *head = malloc(head_len);
    struct stream_pool *streams = &connection_host(connection)->streams;

    plan->payload_copied = 0;
    if (head == NULL)
        return SESSION_WRITE_FAILED;
    put_frame(head, connection, publish, plan);
    if (stream_write_ref(streams, &connection->stream, slice_make(head, head_len), head, release_bytes) < 0) {
        free(head);
        return SESSION_WRITE_FAILED;
    }
    message_ref(publish->message);
    if (stream_write_ref(streams, &connection->stream, message_payload(publish->message), publish->message,
                         release_message) < 0) {
        message_unref(publish->message);
        connection->stream.failed = true;
        return SESSION_WRITE_FAILED;
    }
    count_sent(publish);
    return SESSION_WRITTEN;
}

/* The alias of the topic; if the client knows it already, the topic itself need not be sent. */
static void use_alias(struct connection *connection, struct frame_plan *plan)
{
    struct connection_extras *extras = connection->extras;
    bool known;

    if (extras->aliases_out == NULL)
        extras->aliases_out = alias_table_new(extras->alias_out_max);
    if (extras->aliases_out == NULL)
        return;
    plan->alias = alias_table_assign(extras->aliases_out, plan->topic, &known);
    if (plan->alias > 0 && known)
        plan->topic.len = 0;
}

static enum session_write send_publish(struct connection *connection, const struct session_publish *publish)
{
    struct frame_plan plan = {.topic = slice_make(publish->message->topic, publish->message->topic_len)};
    enum session_write result;
    uint64_t size;

    plan.topic = without_mountpoint(connection, plan.topic);
    size = plan_frame(connection, publish, &plan);
    /* An alias that is new makes it longer by 3 bytes. */
    if (UNLIKELY(size == UINT64_MAX || size > connection->client_packet_max))
        return SESSION_TOO_LARGE;
    if (UNLIKELY(wants_alias(connection, plan.topic)) && size + 4 <= connection->client_packet_max) {
        use_alias(connection, &plan);
        size = plan_frame(connection, publish, &plan);
    }
    if (UNLIKELY(size - publish->message->payload_len > STREAM_CHUNK_MAX))
        result = write_long(connection, publish, &plan, size);
    else
        result = write_frame(connection, publish, &plan, size);
    if (UNLIKELY(result == SESSION_WRITE_FAILED && plan.alias > 0))
        connection->stream.failed = true; /* the client will never learn the alias: nothing sensible can follow */
    return result;
}

/* What is not usual: it was another message, or it was too large. */
static void end_publish(const struct connection *connection, const struct session_publish *publish,
                        const struct session_publish *sent, enum session_write result)
{
    if (sent->message != publish->message)
        message_unref(sent->message);
    if (result == SESSION_TOO_LARGE && hook_any(HOOK_MESSAGE_DROPPED))
        hook_tell_dropped(connection_client_id(connection), connection_user_name(connection), "too_large",
                          publish->message, connection_now(connection));
}

static enum session_write link_publish(struct session_link *link, const struct session_publish *publish)
{
    struct connection *connection = connection_of(link);
    const struct session_publish *sent = publish;
    enum session_write result;
    struct session_publish told;

    if (UNLIKELY(hook_any(HOOK_MESSAGE_DELIVER))) {
        told = *publish;
        if (!channel_run_deliver(connection, &told))
            return SESSION_WRITE_FAILED;
        sent = &told;
    }
    result = send_publish(connection, sent); /* one call, which is inlined */
    if (UNLIKELY(sent != publish || result == SESSION_TOO_LARGE))
        end_publish(connection, publish, sent, result);
    return result;
}

static struct slice link_user_name(struct session_link *link)
{
    return connection_user_name(connection_of(link));
}

static void link_pubrel(struct session_link *link, uint16_t packet_id)
{
    channel_send_durable_ack(connection_of(link), MQTT_PUBREL, packet_id, REASON_SUCCESS);
}

static bool link_writable(struct session_link *link)
{
    struct connection *connection = connection_of(link);
    uint64_t high = connection_zone(connection)->high_watermark_bytes;

    if (LIKELY(stream_pending_bytes(&connection->stream) < high))
        return true;
    if (!connection->stream.blocked) {
        stream_flush(&connection_host(connection)->streams, &connection->stream);
        if (stream_pending_bytes(&connection->stream) < high)
            return true;
    }
    connection->wants_writable = true;
    return false;
}

static void link_overload(struct session_link *link)
{
    struct connection *connection = connection_of(link);

    connection->overloaded = true;
    connection_make_ready(connection);
}

static void link_close(struct session_link *link, enum reason_code code, const char *reason)
{
    connection_close(connection_of(link), code, reason);
}

const struct session_link_ops channel_link_ops = {
    .publish = link_publish,
    .pubrel = link_pubrel,
    .writable = link_writable,
    .overload = link_overload,
    .user_name = link_user_name,
    .close = link_close,
};
