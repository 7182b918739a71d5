/*
 * message_record: see message_record.h for the layout.
 */
#include "mqtt/message_record.h"

#include "base/bytes.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdlib.h>

#define RECORD_VERSION 1
#define FLAG_RETAIN 4u
#define FLAG_EXPIRY 8u
#define FLAGS_KNOWN 15u

size_t message_record_bytes(const struct message *message)
{
    return MESSAGE_RECORD_HEAD + (size_t)message->client_id_len + message->topic_len + message->properties_len +
           message->payload_len;
}

void message_record_encode(const struct message *message, uint64_t created_ms, uint8_t head[MESSAGE_RECORD_HEAD],
                           struct slice parts[MESSAGE_RECORD_PARTS])
{
    head[0] = RECORD_VERSION;
    head[1] = (uint8_t)(message->qos | (message->retain ? FLAG_RETAIN : 0) | (message->has_expiry ? FLAG_EXPIRY : 0));
    bytes_put_little(head + 2, message->topic_len, 2);
    bytes_put_little(head + 4, message->client_id_len, 2);
    bytes_put_little(head + 6, message->properties_len, 4);
    bytes_put_little(head + 10, message->payload_len, 4);
    bytes_put_little(head + 14, created_ms, 8);
    bytes_put_little(head + 22, message->expiry_interval_s, 4);
    parts[0] = slice_make(head, MESSAGE_RECORD_HEAD);
    parts[1] = message_client_id(message);
    parts[2] = message_topic(message);
    parts[3] = slice_make(message->properties, message->properties_len);
    parts[4] = message_payload(message);
}

int message_record_decode(struct slice record, struct message_record *out_record)
{
    const uint8_t *head = record.data;

    if (record.len < MESSAGE_RECORD_HEAD || head[0] != RECORD_VERSION || (head[1] & ~FLAGS_KNOWN) != 0 ||
        (head[1] & 3) == 3)
        return -EBADMSG;
    size_t topic_len = bytes_get_little(head + 2, 2), client_id_len = bytes_get_little(head + 4, 2);
    size_t properties_len = bytes_get_little(head + 6, 4), payload_len = bytes_get_little(head + 10, 4);
    if (record.len - MESSAGE_RECORD_HEAD != client_id_len + topic_len + properties_len + payload_len)
        return -EBADMSG;
    struct slice rest = slice_make(head + MESSAGE_RECORD_HEAD, record.len - MESSAGE_RECORD_HEAD);
    *out_record = (struct message_record){
        .created_ms = bytes_get_little(head + 14, 8),
        .expiry_interval_s = (uint32_t)bytes_get_little(head + 22, 4),
        .qos = head[1] & 3,
        .retain = (head[1] & FLAG_RETAIN) != 0,
        .has_expiry = (head[1] & FLAG_EXPIRY) != 0,
    };
    out_record->client_id = slice_take(&rest, client_id_len);
    out_record->topic = slice_take(&rest, topic_len);
    out_record->properties = slice_take(&rest, properties_len);
    out_record->payload = slice_take(&rest, payload_len);
    return 0;
}

struct message *message_record_restore(const struct message_record *record, uint64_t mono_ms, uint64_t store_ms,
                                       bool *out_expired)
{
    uint64_t age_s = store_ms > record->created_ms ? (store_ms - record->created_ms) / 1000 : 0;
    struct message_parts parts = {
        .client_id = record->client_id,
        .topic = record->topic,
        .properties = record->properties,
        .payload = record->payload,
        .now_ms = mono_ms,
        .qos = record->qos,
        .retain = record->retain,
        .has_expiry = record->has_expiry,
    };

    *out_expired = record->has_expiry && age_s >= record->expiry_interval_s;
    if (*out_expired)
        return NULL;
    parts.expiry_interval_s = record->has_expiry ? (uint32_t)(record->expiry_interval_s - age_s) : 0;
    return message_new_from_parts(&parts);
}
