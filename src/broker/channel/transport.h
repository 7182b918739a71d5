/*
 * transport: what lies between an accepted socket and the first byte of MQTT: PROXY header, TLS, WebSocket upgrade.
 * Internal to broker/channel/. Thread: owner of the connection.
 */
#ifndef BROKER_CHANNEL_TRANSPORT_H
#define BROKER_CHANNEL_TRANSPORT_H

#include "broker/channel/connection.h"

/* A new connection: builds what its listener asks for and starts the time limit of the first phase. -ENOMEM, or -EBUSY: too
 * many handshakes are in flight. */
MUST_USE int transport_begin(struct connection *connection);
/* Before each read: true when the stream may be read. False: not enough has come yet, or the connection was closed. */
bool transport_prepare(struct connection *connection);
/* After each read, whatever it gave: a phase may have ended. */
void transport_after_read(struct connection *connection);
/* The static word for a connection whose phase took too long. */
const char *transport_timeout_reason(const struct connection *connection);

#endif
