/*
 * transport: what lies between an accepted socket and the first byte of MQTT: PROXY header, TLS, WebSocket upgrade.
 * Internal to broker/channel/. Thread: owner of the connection.
 */
#ifndef BROKER_CHANNEL_TRANSPORT_H
#define BROKER_CHANNEL_TRANSPORT_H

#include "base/buffer.h"
#include "broker/channel/connection.h"

/* A new connection: builds what its listener asks for and starts the time limit of the first phase. -ENOMEM, or -EBUSY: too
 * many handshakes are in flight. */
MUST_USE int transport_begin(struct connection *connection);
/* Ends a connection that could not begin, with a line in the log when that was a limit. */
void transport_refuse(struct connection *connection, int err);
/* Before each read: true when the stream may be read. False: not enough has come yet, or the connection was closed. */
bool transport_prepare(struct connection *connection);
/* After each read, whatever it gave: a phase may have ended. */
void transport_after_read(struct connection *connection);
/* After a read of an open one: a WebSocket frame may have come that holds nothing of MQTT. */
void transport_note_frames(struct connection *connection);
/* Milliseconds until a WebSocket connection has been silent for idle_timeout; 0: it has. One that we do not read has the
 * whole time again. */
uint64_t transport_idle_left_ms(const struct connection *connection);
/* The user name that the client's certificate gives (peer_cert_as_username), TLS's or a load balancer's word, appended to `out`. False: none. */
bool transport_certificate_name(const struct connection *connection, struct buffer *out);
/* The static word for a connection whose phase took too long. */
const char *transport_timeout_reason(const struct connection *connection);

#endif
