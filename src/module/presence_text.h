/*
 * presence_text: topics and JSON payloads of the messages about clients that come and go, as the original writes them. Pure. Thread: any.
 */
#ifndef MODULE_PRESENCE_TEXT_H
#define MODULE_PRESENCE_TEXT_H

#include "base/buffer.h"

#include <stdint.h>

struct hook_connected;
struct hook_disconnected;

/* Appends $SYS/brokers/NODE/clients/CLIENTID/`event`. A slash of the client ID makes levels; what no topic name may have (+, #, ill-formed
 * UTF-8) becomes %XX. -ENOBUFS (over the buffer's limit), -ENOMEM. */
MUST_USE int presence_topic(struct buffer *out, struct slice node_name, struct slice client_id, struct slice event);

/* Appends the object; `ts_ms`: since 1970. -ENOBUFS, -ENOMEM. */
MUST_USE int presence_connected(struct buffer *out, const struct hook_connected *event, uint64_t ts_ms);
MUST_USE int presence_disconnected(struct buffer *out, const struct hook_disconnected *event, uint64_t ts_ms);

#endif
