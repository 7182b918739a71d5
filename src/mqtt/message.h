/*
 * message: one application message; immutable and counted, one allocation for all of it.
 *
 * It is made once where it was published and read by every subscriber's worker. Only the reference count changes.
 * A large payload stays in the buffer in which it was received: the message takes that buffer over.
 * Thread: any, with a reference.
 */
#ifndef MQTT_MESSAGE_H
#define MQTT_MESSAGE_H

#include "base/compiler.h"
#include "mqtt/packet.h"

#include <stdatomic.h>

struct message_body; /* broker/session/message_body.h */

/* Of a QoS 2 message that durable sessions get: none of them may send it before it is on disk that its publisher has been
 * heard, else a crash could make two of it. */
enum message_store_state {
    MESSAGE_UNSTORED, /* on its way; also of all messages that this does not concern */
    MESSAGE_STORED,   /* may be sent */
    MESSAGE_GIVEN_UP, /* its publisher was told that it was not taken: drop it */
};

struct message {
    _Atomic uint32_t refs;
    uint8_t qos;
    bool retain;     /* as published */
    bool sys;        /* made by the broker for a $SYS topic: not counted in metrics */
    bool has_expiry; /* expiry_interval_s is valid */
    uint32_t expiry_interval_s;
    uint32_t payload_len;
    uint32_t properties_len;
    uint16_t topic_len;
    uint16_t client_id_len;
    const uint8_t *topic;      /* with mountpoint */
    const uint8_t *properties; /* v5, forwardable ones (mqtt_properties_forwardable()) */
    const uint8_t *payload;
    uint64_t created_ms; /* CLOCK_MONOTONIC */
    void *taken_buffer;  /* freed with the message; NULL: none */
    /* What the store keeps of it for the queues of several sessions. Set before it is dispatched and valid only during that; NULL: who stores
     * it makes a copy. */
    struct message_body *body;
    _Atomic uint8_t store_state; /* enum message_store_state */
    uint8_t data[];              /* client id, topic, properties, payload */
};

struct message_options {
    struct slice mountpoint; /* put before the topic */
    struct slice topic;
    struct slice payload;
    struct slice client_id;                   /* of the publisher, or the name of a part of the broker */
    const struct mqtt_properties *properties; /* NULL: none */
    uint64_t now_ms;
    uint8_t qos;
    bool retain;
    bool sys;
    void *take_buffer; /* malloc'ed; holds `payload`, which is then not copied; NULL: copy the payload */
};

/* A message with one reference; copies what the options point at. NULL when memory is short; `take_buffer` is
 * then still the caller's. */
MUST_USE struct message *message_new(const struct message_options *options);

/* What a record of a message has (message_record.h). */
struct message_parts {
    struct slice client_id;
    struct slice topic;
    struct slice properties; /* forwardable ones, encoded */
    struct slice payload;
    uint64_t now_ms;
    uint32_t expiry_interval_s;
    uint8_t qos;
    bool retain;
    bool has_expiry;
};

/* A message with one reference; copies the parts, whose lengths fit (client ID and topic: 65,535). NULL when memory is short. */
MUST_USE struct message *message_new_from_parts(const struct message_parts *parts);

static inline struct message *message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

/* Adds `count` references at once: one atomic operation for a whole fan-out. */
static inline void message_ref_many(struct message *message, uint32_t count)
{
    if (count > 0)
        atomic_fetch_add_explicit(&message->refs, count, memory_order_relaxed);
}

/* Drops one reference; the last one frees. NULL is fine. Always NULL: `message = message_unref(message);` */
struct message *message_unref(struct message *message);

static inline struct slice message_topic(const struct message *message)
{
    return slice_make(message->topic, message->topic_len);
}

static inline struct slice message_payload(const struct message *message)
{
    return slice_make(message->payload, message->payload_len);
}

static inline struct slice message_client_id(const struct message *message)
{
    return slice_make(message->data, message->client_id_len);
}

/* Memory that the message holds, in bytes. */
size_t message_bytes(const struct message *message);

/* The time since it was published; 0 for a reader whose turn began before the publisher's. */
static inline uint64_t message_age_ms(const struct message *message, uint64_t now_ms)
{
    return now_ms > message->created_ms ? now_ms - message->created_ms : 0;
}

/* Has its Message Expiry Interval passed (section 3.3.2.3.3)? */
static inline bool message_expired(const struct message *message, uint64_t now_ms)
{
    return message->has_expiry && message_age_ms(message, now_ms) > (uint64_t)message->expiry_interval_s * 1000;
}

/* The first moment at which message_expired() is true; UINT64_MAX: never. */
static inline uint64_t message_expires_ms(const struct message *message)
{
    return message->has_expiry ? message->created_ms + (uint64_t)message->expiry_interval_s * 1000 + 1 : UINT64_MAX;
}

/* The interval to send: what is left of it in whole seconds, at least 1 [MQTT-3.3.2-6]. Only with has_expiry. */
static inline uint32_t message_expiry_left_s(const struct message *message, uint64_t now_ms)
{
    uint64_t elapsed_s = message_age_ms(message, now_ms) / 1000;

    return elapsed_s >= message->expiry_interval_s ? 1 : (uint32_t)(message->expiry_interval_s - elapsed_s);
}

#endif
