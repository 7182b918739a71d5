/*
 * connection_end: how conversations end: what the client is told, what becomes of its session, and the lingering that lets
 * our last packet arrive.
 */
#include "broker/channel/connection.h"

#include "base/log.h"
#include "base/metrics.h"
#include "broker/channel/access.h"
#include "broker/channel/access_cache.h"
#include "broker/channel/authenticate.h"
#include "broker/channel/client_events.h"
#include "broker/channel/enhanced.h"
#include "broker/channel/hold.h"

#include <errno.h>
#include <stdlib.h>

#define LINGER_MS 1000
#define LINGER_BYTES_MAX (1024u * 1024u) /* dropped in one go while lingering */

struct slice connection_client_id(const struct connection *connection)
{
    return connection->link.session == NULL ? slice_make(NULL, 0) : session_client_id(connection->link.session);
}

static void free_extras(struct connection_extras *extras)
{
    if (extras == NULL)
        return;
    worker_wait_cancel(&extras->waiter);
    list_remove(&extras->store_place);
    slice_free(&extras->user_name);
    slice_free(&extras->proxy_common_name);
    slice_free(&extras->mountpoint);
    free(extras->given_mountpoint);
    access_cache_free(extras->access_cache);
    alias_table_free(extras->aliases_in);
    alias_table_free(extras->aliases_out);
    free(extras);
}

void connection_release(struct connection *connection, const char *reason)
{
    listener_release(connection->listener, reason);
}

void connection_finish(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);
    struct worker *worker = connection->worker->host.worker;

    if (connection->state == CONNECTION_CLOSED)
        return;
    connection->state = CONNECTION_CLOSED;
    timer_stop(worker_timers(worker), &connection->timer);
    worker_unwatch(worker, &connection->stream.watch);
    channel_hold_end(connection);
    stream_close(&host->streams, &connection->stream);
    connection_list_remove(connection);
    channel_end_authentication(connection);
    channel_end_enhanced(connection);
    channel_end_question(connection);
    channel_cancel_publish(connection);
    free_extras(connection->extras);
    connection->extras = NULL;
    connection_free_partial(connection);
    metric_add(METRIC_CONNECTIONS_CLOSED, 1);
    connection->next = host->closed;
    host->closed = connection;
}

static void leave_session(struct connection *connection, const char *reason, bool drop_will)
{
    if (connection->state != CONNECTION_CONNECTED)
        return;
    atomic_fetch_sub_explicit(&connection->worker->broker->connected_count, 1, memory_order_relaxed);
    stat_add(STAT_CONNECTIONS, -1);
    channel_tell_disconnected(connection, reason);
    if (connection->link.session != NULL)
        session_detach(connection->link.session, drop_will);
}

/* Stops the conversation. `linger`: our last packet shall arrive. */
static void end(struct connection *connection, const char *reason, bool drop_will, bool linger)
{
    struct worker *worker = connection->worker->host.worker;

    connection->handing_over = false;
    channel_cancel_filters(connection);
    channel_end_authentication(connection);
    channel_end_enhanced(connection);
    channel_end_question(connection);
    channel_cancel_publish(connection);
    leave_session(connection, reason, drop_will);
    if (connection->extras != NULL)
        worker_wait_cancel(&connection->extras->waiter);
    connection_release(connection, reason);
    if (!linger && connection->stream.layer != NULL && !connection->stream.failed)
        stream_shut(&connection_host(connection)->streams, &connection->stream); /* a goodbye as far as there is room */
    if (!linger || connection->stream.failed ||
        stream_flush(&connection_host(connection)->streams, &connection->stream) < 0) {
        connection_finish(connection);
        return;
    }
    connection->state = CONNECTION_LINGER;
    stream_shut(&connection_host(connection)->streams, &connection->stream);
    timer_start(worker_timers(worker), &connection->timer, connection_now(connection) + LINGER_MS);
    connection_make_ready(connection); /* it may have nothing more to say */
}

/* Something of ours shall still arrive: packets, or the goodbye of TLS and WebSocket. */
static bool has_last_words(const struct connection *connection)
{
    return stream_pending_bytes(&connection->stream) > 0 ||
           (connection->stream.layer != NULL && stream_established(&connection->stream));
}

static void send_disconnect(struct connection *connection, enum reason_code code)
{
    struct mqtt_packet packet = {.type = MQTT_DISCONNECT, .disconnect = {.code = code}};

    if (connection->problem_information && connection->client_packet_max >= REASON_STRING_ROOM) {
        packet.disconnect.properties.present = MQTT_PROP_BIT(MQTT_PROP_REASON_STRING);
        packet.disconnect.properties.reason_string = slice_from_string(reason_code_text(code));
    }
    connection_send(connection, &packet);
    metric_add(METRIC_PACKETS_DISCONNECT_SENT, 1);
}

void connection_close(struct connection *connection, enum reason_code code, const char *reason)
{
    bool tell = connection->state == CONNECTION_CONNECTED && connection->version >= MQTT_V5 && code != REASON_SUCCESS;

    if (connection->state >= CONNECTION_LINGER)
        return;
    if (log_enabled(LOG_LEVEL_INFO)) {
        char peer[PEER_TEXT_MAX];
        peer_format(&connection->peer, peer);
        log_client(LOG_LEVEL_INFO, connection_client_id(connection), peer, "[Channel] closing: %s", reason);
    }
    if (tell)
        send_disconnect(connection, code);
    end(connection, reason, false, tell || has_last_words(connection));
}

void connection_close_normal(struct connection *connection)
{
    end(connection, "normal", true, has_last_words(connection));
}

void connection_close_abnormal(struct connection *connection)
{
    end(connection, "abnormal_disconnet", false, has_last_words(connection)); /* sic: the original's word */
}

enum handled connection_refuse(struct connection *connection, enum reason_code code, const char *error)
{
    connection_log_limited(connection, LOG_LEVEL_WARNING, "%s (0x%02X %s), closing the connection", error, code,
                           reason_code_name(code));
    metric_add(METRIC_CONNECTIONS_MALFORMED, 1);
    connection_close(connection, code, code == REASON_MALFORMED_PACKET ? "parse_error" : reason_code_name(code));
    return HANDLED_STOP;
}

/* TLS or WebSocket could not go on: what the layer has to say to the peer (an alert, an HTTP error) still goes out. */
static void layer_failed(struct connection *connection, const char *error)
{
    const char *layer = connection->stream.layer->ops->name;

    for (const struct stream_layer *each = connection->stream.layer; each != NULL; each = each->below)
        layer = each->error != NULL ? each->ops->name : layer;
    connection_log_limited(connection, LOG_LEVEL_WARNING, "%s: %s, closing the connection", layer, error);
    metric_add(METRIC_CONNECTIONS_MALFORMED, 1);
    end(connection, layer, false, stream_pending_bytes(&connection->stream) > 0);
}

void connection_peer_gone(struct connection *connection, ssize_t result)
{
    const char *error = result < 0 ? stream_error(&connection->stream) : NULL;
    const char *reason = result == 0             ? "closed"
                         : result == -ECONNRESET ? "econnreset"
                         : result == -ETIMEDOUT  ? "etimedout"
                                                 : "einval";

    if (connection->state == CONNECTION_LINGER)
        connection_finish(connection);
    else if (error != NULL)
        layer_failed(connection, error);
    else
        end(connection, reason, false, false);
}

void connection_linger(struct connection *connection)
{
    struct channel_worker *host = connection_host(connection);
    size_t dropped = 0;

    stream_shut(&host->streams, &connection->stream);
    if (connection->stream.failed) {
        connection_finish(connection);
        return;
    }
    for (;;) {
        ssize_t got = stream_drop_input(&host->streams, &connection->stream);
        if (got == -EAGAIN || got == -EWOULDBLOCK)
            return;
        if (got <= 0 || (dropped += (size_t)got) > LINGER_BYTES_MAX) {
            connection_finish(connection);
            return;
        }
    }
}
