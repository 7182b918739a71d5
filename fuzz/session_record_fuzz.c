/*
 * session_record_fuzz: any bytes as a row of the store. The first byte chooses the decoder. What one takes, it has read whole, lies inside
 * the row, and is written again as the same bytes; what it takes of a message can be made a message.
 */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "broker/session/session_record.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum row { SESSION, SUBSCRIPTION, QUEUE, MESSAGE, KEYS, SUBSCRIPTION_KEY, ROW_COUNT };

static void inside(struct slice part, struct slice row)
{
    ASSERT(part.len == 0 || (part.data >= row.data && part.data + part.len <= row.data + row.len));
}

static void same(struct buffer *written, struct slice row)
{
    ASSERT(slice_equal(buffer_slice(written), row));
    buffer_fini(written);
}

static void check_session(struct slice row)
{
    struct session_record record;
    struct buffer again;

    if (session_record_decode(row, &record) < 0)
        return;
    inside(record.client_id, row);
    inside(record.zone, row);
    inside(record.will, row);
    ASSERT(record.window > 0 && record.client_id.len > 0 && record.version >= MQTT_V3_1 && record.version <= MQTT_V5);
    buffer_init(&again, UINT32_MAX);
    if (session_record_encode(&record, &again) < 0)
        abort();
    same(&again, row);
}

static void check_subscription(struct slice row)
{
    struct subscription_record record;
    uint8_t again[SUBSCRIPTION_RECORD_LEN];

    if (subscription_record_decode(row, &record) < 0)
        return;
    ASSERT(record.qos <= 2 && record.retain_handling <= 2);
    subscription_record_encode(&record, again);
    ASSERT(slice_equal(slice_make(again, sizeof(again)), row));
}

static void check_message(struct slice row)
{
    uint8_t head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];
    struct message_record record;
    struct message *message;
    bool expired;

    if (message_record_decode(row, &record) < 0)
        return;
    inside(record.client_id, row);
    inside(record.topic, row);
    inside(record.properties, row);
    inside(record.payload, row);
    message = message_record_restore(&record, 1000, record.created_ms, &expired);
    ASSERT((message == NULL) == expired); /* memory is not short */
    if (message == NULL)
        return;
    ASSERT(message_record_bytes(message) == row.len);
    message_record_encode(message, record.created_ms, head, parts);
    for (size_t i = 0; i < MESSAGE_RECORD_PARTS; i++) {
        /* The interval of a message that has none is not kept. */
        bool is_head = i == 0 && !record.has_expiry;
        ASSERT(is_head || slice_equal(parts[i], slice_make(row.data, parts[i].len)));
        row = slice_skip(row, parts[i].len);
    }
    ASSERT(row.len == 0);
    message_unref(message);
}

static void check_queue(struct slice row)
{
    uint8_t again[QUEUE_RECORD_HEAD];
    struct queue_record record;

    if (queue_record_decode(row, &record) < 0)
        return;
    inside(record.message, row);
    ASSERT((record.qos == 1 || record.qos == 2) && (record.body_number == 0) == (record.message.len > 0));
    queue_record_encode(&record, again);
    ASSERT(memcmp(again, row.data, sizeof(again)) == 0);
    check_message(record.message);
}

static void check_keys(struct slice key)
{
    uint8_t session[SESSION_KEY_LEN], queue[QUEUE_KEY_LEN], rel[AWAITING_REL_KEY_LEN];
    uint64_t number, sequence;
    uint16_t packet_id;

    if (session_key_decode(key, &number) == 0) {
        session_key(number, session);
        ASSERT(slice_equal(slice_make(session, sizeof(session)), key));
    }
    if (queue_key_decode(key, &number, &sequence) == 0) {
        queue_key(number, sequence, queue);
        ASSERT(sequence != 0 && slice_equal(slice_make(queue, sizeof(queue)), key));
    }
    if (awaiting_rel_key_decode(key, &number, &packet_id) == 0) {
        awaiting_rel_key(number, packet_id, rel);
        ASSERT(packet_id != 0 && slice_equal(slice_make(rel, sizeof(rel)), key));
    }
}

static void check_subscription_key(struct slice key)
{
    struct mqtt_shared_filter filter;
    struct buffer again;
    uint64_t number;

    if (subscription_key_decode(key, &number, &filter) < 0)
        return;
    inside(filter.group, key);
    inside(filter.filter, key);
    ASSERT(mqtt_filter_valid(filter.filter) && queue_share_hash(&filter) != 0);
    buffer_init(&again, UINT32_MAX);
    if (subscription_key(number, &filter, &again) < 0)
        abort();
    same(&again, key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[ROW_COUNT])(struct slice row) = {
        [SESSION] = check_session, [SUBSCRIPTION] = check_subscription,
        [QUEUE] = check_queue,     [MESSAGE] = check_message,
        [KEYS] = check_keys,       [SUBSCRIPTION_KEY] = check_subscription_key,
    };
    uint8_t *row;

    if (size == 0)
        return 0;
    row = malloc(size); /* ends where the row does, so that a read behind it is seen; never of length 0 */
    if (row == NULL)
        abort();
    memcpy(row, data + 1, size - 1);
    checks[data[0] % ROW_COUNT](slice_make(row, size - 1));
    free(row);
    return 0;
}
