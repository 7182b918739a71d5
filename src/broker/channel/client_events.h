/*
 * client_events: tells callbacks that clients have come, were refused and have gone. Nobody attached: costs a load.
 *
 * client.connected with success comes when CONNACK is out of our hands: for one that waits for the store (hold.h), when it is released. A
 * connection that ends before that has neither come nor gone.
 * Thread: owner.
 */
#ifndef BROKER_CHANNEL_CLIENT_EVENTS_H
#define BROKER_CHANNEL_CLIENT_EVENTS_H

#include "broker/channel/connection.h"

/* CONNACK with success is in the socket, as far as that takes it. */
void channel_tell_connected(struct connection *connection);
/* CONNECT was refused; `connect` is what it said. */
void channel_tell_refused(const struct connection *connection, const struct mqtt_connect *connect,
                          struct slice client_id, enum reason_code code);
/* session.created or session.resumed, of the connection's session. */
void channel_tell_session(const struct connection *connection, bool was_present);
/* Before the connection leaves its session. Told already, or never come: nothing. `reason` is static. */
void channel_tell_disconnected(struct connection *connection, const char *reason);

#endif
