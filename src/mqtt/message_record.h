/*
 * message_record: a message as bytes that survive the process (store/store.h), and back.
 *
 * Layout, little-endian: version (1), flags (1: QoS in bits 0-1, RETAIN 2, has expiry 3), topic length (2), client ID length (2),
 * properties length (4), payload length (4), created (8, the store's clock in milliseconds), expiry interval (4, seconds); then client ID,
 * topic, properties, payload. Pure. Thread: any.
 */
#ifndef MQTT_MESSAGE_RECORD_H
#define MQTT_MESSAGE_RECORD_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdint.h>

struct message;

#define MESSAGE_RECORD_HEAD 26u
#define MESSAGE_RECORD_PARTS 5u

/* Writes the head into `head`; `parts` become the head and the message's texts, borrowed: their concatenation is the record.
 * `created_ms` is the message's creation by the store's clock. */
void message_record_encode(const struct message *message, uint64_t created_ms, uint8_t head[MESSAGE_RECORD_HEAD],
                           struct slice parts[MESSAGE_RECORD_PARTS]);

/* The length of the whole record. */
size_t message_record_bytes(const struct message *message);

/* What to know of a record without making the message of it. */
struct message_record {
    struct slice client_id;
    struct slice topic;
    struct slice properties;
    struct slice payload;
    uint64_t created_ms; /* the store's clock */
    uint32_t expiry_interval_s;
    uint8_t qos;
    bool retain;
    bool has_expiry;
};

/* -EBADMSG: not a record of ours. The slices point into `record`. */
MUST_USE int message_record_decode(struct slice record, struct message_record *out_record);

/* A message of it, with one reference, as if created now (`mono_ms` is CLOCK_MONOTONIC, `store_ms` the same moment by the store's
 * clock): of its expiry interval what is left. NULL: short memory, or `*out_expired` is true: it has expired. */
MUST_USE struct message *message_record_restore(const struct message_record *record, uint64_t mono_ms,
                                                uint64_t store_ms, bool *out_expired);

#endif
