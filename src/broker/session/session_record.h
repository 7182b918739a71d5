/*
 * session_record: what of a session is stored, as bytes and back: the session, its subscriptions, its queue (store/store.h
 * names the tables and their keys). Pure. Numbers little-endian, the first byte of each record its version. Thread: any.
 */
#ifndef BROKER_SESSION_SESSION_RECORD_H
#define BROKER_SESSION_SESSION_RECORD_H

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

#include <stdint.h>

/* STORE_SESSION. */
struct session_record {
    struct slice client_id;
    struct slice zone; /* name */
    struct slice will; /* message_record; empty: none */
    uint32_t
        expiry_interval_s; /* 0: the session ends with its connection, so it has ended when the process did; UINT32_MAX: never */
    uint32_t will_delay_s;
    uint64_t created_at_s; /* wall clock */
    uint64_t left_ms;      /* store's clock: the client was gone since then; 0: it was connected */
    uint64_t
        sent_through; /* the last sequence that may have been sent, as far as known when the client left; 0: none */
    /* Sequences up to this may have been given; the record is written again before, or together with, the entry of one above it
     * (SESSION_RESERVE at a time). After a restart sequences go on behind it, so that the packet ID of a QoS 2 message the client
     * knows half of, whose entry has gone meanwhile (expired, pushed out), is not soon another message's. */
    uint64_t reserved_through;
    uint16_t window; /* not 0 */
    uint8_t version; /* enum mqtt_version of the last connection */
};

/* How many sequences a session record reserves when the last reserved one is used up. */
#define SESSION_RESERVE 1000u

/* STORE_SUBSCRIPTION. */
struct subscription_record {
    uint32_t subscription_id;
    uint8_t qos;
    uint8_t retain_handling;
    bool no_local;
    bool retain_as_published;
};

/* STORE_QUEUE. */
struct queue_record {
    uint32_t subscription_id;
    uint32_t share_hash;  /* queue_share_hash() of the shared subscription it came through; 0: none */
    uint16_t priority;    /* class of the queue */
    uint8_t qos;          /* granted, 1 or 2 */
    bool retain;          /* RETAIN flag to send */
    uint64_t body_number; /* of STORE_MESSAGE; 0: the message is here */
    struct slice message; /* message_record, when body_number is 0 */
};

#define SESSION_KEY_LEN 8u
#define QUEUE_KEY_LEN 16u
#define AWAITING_REL_KEY_LEN 10u
#define QUEUE_RECORD_HEAD 20u

/* Keys. */
void session_key(uint64_t number, uint8_t out[SESSION_KEY_LEN]);
void queue_key(uint64_t session_number, uint64_t sequence, uint8_t out[QUEUE_KEY_LEN]);
void awaiting_rel_key(uint64_t session_number, uint16_t packet_id, uint8_t out[AWAITING_REL_KEY_LEN]);
/* Appends the session number, then the filter with its group. -ENOMEM, -ENOBUFS. */
MUST_USE int subscription_key(uint64_t session_number, const struct mqtt_shared_filter *filter, struct buffer *out);
/* -EBADMSG. The filter's slices point into `key`. */
MUST_USE int subscription_key_decode(struct slice key, uint64_t *out_session_number,
                                     struct mqtt_shared_filter *out_filter);
/* Of a key with one or two numbers. -EBADMSG. */
MUST_USE int session_key_decode(struct slice key, uint64_t *out_number);
MUST_USE int queue_key_decode(struct slice key, uint64_t *out_session_number, uint64_t *out_sequence);
MUST_USE int awaiting_rel_key_decode(struct slice key, uint64_t *out_session_number, uint16_t *out_packet_id);

/* The same in each run. Never 0. */
uint32_t queue_share_hash(const struct mqtt_shared_filter *filter);

/* Appends the record. -ENOMEM, -ENOBUFS. */
MUST_USE int session_record_encode(const struct session_record *record, struct buffer *out);
/* -EBADMSG. Slices point into `bytes`. */
MUST_USE int session_record_decode(struct slice bytes, struct session_record *out_record);
#define SUBSCRIPTION_RECORD_LEN 6u
void subscription_record_encode(const struct subscription_record *record, uint8_t out[SUBSCRIPTION_RECORD_LEN]);
MUST_USE int subscription_record_decode(struct slice bytes, struct subscription_record *out_record);
/* The head; the message follows it when body_number is 0. QoS 1 or 2. */
void queue_record_encode(const struct queue_record *record, uint8_t out[QUEUE_RECORD_HEAD]);
MUST_USE int queue_record_decode(struct slice bytes, struct queue_record *out_record);

#endif
