/*
 * connection_timer: what a connection may not do for ever: say nothing, take nothing, not finish a packet.
 *
 * Keep alive counts whole packets, so a client that drips a packet byte by byte is as silent as one that says nothing
 * [MQTT-3.1.2-22]. A client that is sending a large packet can't send anything else meanwhile: it counts as alive as long as each
 * keep-alive period brings a 64th of the packet, and 1 KiB at least. So no packet takes longer than 65 periods, and
 * 1 MB at a keep alive of 60 s needs 182 bytes a second. A client without keep alive may be silent for ever, but not in the
 * middle of a packet: for it four times idle_timeout is the period.
 */
#include "broker/channel/connection.h"

#include "base/metrics.h"
#include "broker/channel/transport.h"

#include <errno.h>

#define PACKET_PERIODS 64u /* a large packet may take so many keep-alive periods */
#define PROGRESS_MIN 1024u /* bytes of an unfinished packet that a period must bring at least */
#define IDLE_TIMEOUTS 4u   /* the period, for clients without keep alive */

/* How long nothing may come; 0: for ever. */
static uint32_t silence_max_ms(const struct connection *connection)
{
    uint64_t idle_ms = connection_zone(connection)->idle_timeout_ms * IDLE_TIMEOUTS;

    if (connection->keep_alive_ms > 0 || connection->partial_len == 0)
        return connection->keep_alive_ms;
    return idle_ms < INT32_MAX ? (uint32_t)idle_ms : INT32_MAX;
}

void connection_watch_packet(struct connection *connection)
{
    connection->received_ms = (uint32_t)connection_now(connection);
    connection_start_timer(connection);
}

/* When a socket that takes nothing is given up. */
static uint64_t send_timeout_at(const struct connection *connection)
{
    const struct listener_options *options = listener_options_of(connection->listener);

    if (!options->send_timeout_close || options->send_timeout_ms == 0 || connection->extras == NULL ||
        !connection->stream.blocked)
        return UINT64_MAX;
    return connection->extras->blocked_since_ms + options->send_timeout_ms;
}

/* Milliseconds since received_ms. */
static uint32_t silence_ms(const struct connection *connection, uint64_t now_ms)
{
    int32_t silence = (int32_t)((uint32_t)now_ms - connection->received_ms);

    return silence < 0 ? 0 : (uint32_t)silence; /* the clock of the worker it came from may be a little ahead */
}

void connection_start_timer(struct connection *connection)
{
    struct timer_wheel *timers = worker_timers(connection->worker->host.worker);
    uint64_t now_ms = connection_now(connection), deadline = send_timeout_at(connection);
    uint32_t max_ms = silence_max_ms(connection);
    const struct listener_options *options = listener_options_of(connection->listener);

    if (connection->state != CONNECTION_CONNECTED)
        return;
    if (max_ms > 0) {
        uint64_t keep_alive_at = now_ms - silence_ms(connection, now_ms) + max_ms;
        deadline = keep_alive_at < deadline ? keep_alive_at : deadline;
    }
    if (connection->extras != NULL && connection->extras->resume_ms > 0 && connection->extras->resume_ms < deadline)
        deadline = connection->extras->resume_ms;
    if (options->websocket != NULL) {
        uint64_t idle_at = now_ms + transport_idle_left_ms(connection);
        deadline = idle_at < deadline ? idle_at : deadline;
    }
    if (deadline == UINT64_MAX)
        timer_stop(timers, &connection->timer);
    else
        timer_start(timers, &connection->timer, deadline);
}

/* Has this period brought enough of an unfinished packet? Then the next one begins. */
static bool packet_grows(struct connection *connection, uint64_t now_ms)
{
    struct mqtt_frame frame;
    uint32_t least;

    if (mqtt_frame_peek(connection->partial, connection->partial_len, &frame) != MQTT_PEEK_OK)
        return false;
    least = (frame.header_len + frame.remaining_len) / PACKET_PERIODS;
    least = least > PROGRESS_MIN ? least : PROGRESS_MIN;
    if (connection->partial_len < connection->progress_len + least)
        return false;
    connection->progress_len = connection->partial_len;
    connection->received_ms = (uint32_t)now_ms;
    return true;
}

/* Closes a client that was silent for too long. True: it did. */
static bool end_silence(struct connection *connection, uint64_t now_ms)
{
    uint32_t max_ms = silence_max_ms(connection);

    if (max_ms == 0 || silence_ms(connection, now_ms) < max_ms || packet_grows(connection, now_ms))
        return false;
    if (connection->keep_alive_ms > 0) {
        metric_add(METRIC_CONNECTIONS_KEEPALIVE_TIMEOUT, 1);
        connection_close(connection, REASON_KEEP_ALIVE_TIMEOUT, "keepalive_timeout");
    } else {
        connection_close(connection, REASON_UNSPECIFIED_ERROR, "unfinished_packet");
    }
    return true;
}

void connection_on_due(struct timer *timer, uint64_t now_ms)
{
    struct connection *connection = CONTAINER_OF(timer, struct connection, timer);

    if (connection->state == CONNECTION_LINGER) {
        connection_finish(connection);
        return;
    }
    if (connection->state == CONNECTION_WAIT_CONNECT) {
        connection_close(connection, REASON_SUCCESS, transport_timeout_reason(connection));
        return;
    }
    if (connection->paused)
        connection->received_ms = (uint32_t)now_ms; /* it is we who do not read */
    if (connection->extras != NULL && connection->extras->resume_ms > 0 && now_ms >= connection->extras->resume_ms) {
        connection->extras->resume_ms = 0;
        connection_unpause(connection, PAUSE_RATE);
    }
    if (end_silence(connection, now_ms))
        return;
    if (now_ms >= send_timeout_at(connection)) {
        connection_peer_gone(connection, -ETIMEDOUT);
        return;
    }
    if (listener_options_of(connection->listener)->websocket != NULL && transport_idle_left_ms(connection) == 0) {
        connection_close(connection, REASON_KEEP_ALIVE_TIMEOUT, "websocket_idle_timeout");
        return;
    }
    connection_start_timer(connection);
}
