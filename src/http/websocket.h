/*
 * websocket: the server side of RFC 6455 as a layer of a stream (net/stream_layer.h): the upgrade request, then frames. What is
 * above sees one byte stream: the payloads of the peer's binary messages, however they are cut; what is flushed in one go leaves as one
 * binary message (MQTT 5, section 6). permessage-deflate (RFC 7692) where the listener allows it.
 *
 * Pings are answered (the last one, when several came), Close is answered, text messages and broken frames end the
 * connection with the right close code. A refused upgrade gets an HTTP error, then the stream ends.
 */
#ifndef HTTP_WEBSOCKET_H
#define HTTP_WEBSOCKET_H

#include "base/compiler.h"
#include "base/slice.h"
#include "net/stream_layer.h"
#include "net/websocket_options.h"

/* A new layer above `below` (NULL: the socket). `options` must outlive it. -ENOMEM. Thread: worker. */
MUST_USE int websocket_layer_new(const struct websocket_options *options, struct stream_layer *below,
                                 struct stream_layer **out_layer);

/* What proxy_address_header and proxy_port_header said: the first address of the list, without blanks. `data` NULL: nothing. Valid
 * until the layer is freed. Thread: owner. */
struct slice websocket_layer_forwarded_address(const struct stream_layer *layer);
struct slice websocket_layer_forwarded_port(const struct stream_layer *layer);

/* Milliseconds of silence: 0 when a frame, or a part of one, has come since the last call, otherwise the time since the last call
 * that found one. The first call begins the silence. Thread: owner. */
uint32_t websocket_layer_silence_ms(struct stream_layer *layer, uint64_t now_ms);

#endif
