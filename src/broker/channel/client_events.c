/*
 * client_events: see client_events.h.
 */
#include "broker/channel/client_events.h"

#include "base/clock.h"
#include "broker/channel/access.h"
#include "broker/channel/authenticate.h"
#include "hook/hook.h"

/* What CONNECT or our Server Keep Alive said, from the silence that ends the connection. */
static uint16_t keep_alive_s(const struct connection *connection)
{
    double factor = 2000.0 * connection_zone(connection)->keepalive_backoff;
    double seconds = factor > 0 ? (double)connection->keep_alive_ms / factor + 0.5 : 0;

    return seconds < UINT16_MAX ? (uint16_t)seconds : UINT16_MAX;
}

void channel_tell_session(const struct connection *connection, bool was_present)
{
    enum hook_point point = was_present ? HOOK_SESSION_RESUMED : HOOK_SESSION_CREATED;
    struct client_info client;
    struct hook_session event = {.client = &client,
                                 .expiry_interval_s = connection->link.session->expiry_interval_s,
                                 .clean_start = connection->clean_start};

    if (!hook_any(point))
        return;
    channel_client_info(connection, connection_client_id(connection), &client);
    (void)hook_call(point, &event);
}

void channel_tell_connected(struct connection *connection)
{
    struct client_info client;
    struct hook_connected event = {.client = &client, .code = REASON_SUCCESS};

    if (connection->state != CONNECTION_CONNECTED || connection->stream.failed || connection->link.session == NULL)
        return;
    connection->was_told = true;
    if (!hook_any(HOOK_CLIENT_CONNECTED))
        return;
    channel_client_info(connection, connection_client_id(connection), &client);
    channel_local_address(connection, &client);
    event.connected_at_ms = clock_wall_ms() -
                            (connection_now(connection) / 1000 - connection->connected_at_s) * UINT64_C(1000);
    event.keep_alive_s = keep_alive_s(connection);
    event.clean_start = connection->clean_start;
    event.is_bridge = connection->is_bridge;
    (void)hook_call(HOOK_CLIENT_CONNECTED, &event);
}

void channel_tell_refused(const struct connection *connection, const struct mqtt_connect *connect,
                          struct slice client_id, enum reason_code code)
{
    struct client_info client;
    struct hook_connected event = {.client = &client, .code = code};

    if (!hook_any(HOOK_CLIENT_CONNECTED))
        return;
    channel_client_info(connection, client_id, &client);
    client.user_name = connect->user_name;
    channel_local_address(connection, &client);
    (void)hook_call(HOOK_CLIENT_CONNECTED, &event);
}

void channel_tell_disconnected(struct connection *connection, const char *reason)
{
    struct client_info client;
    struct hook_disconnected event = {.client = &client, .reason = reason};
    bool was_told = connection->was_told;

    connection->was_told = false;
    if (!was_told || !hook_any(HOOK_CLIENT_DISCONNECTED))
        return;
    channel_client_info(connection, connection_client_id(connection), &client);
    channel_local_address(connection, &client);
    (void)hook_call(HOOK_CLIENT_DISCONNECTED, &event);
}
