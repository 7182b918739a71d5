/*
 * session_record: the layouts. Keys are big-endian, records little-endian.
 *
 *   subscription key   session number (8), kind (1); plain: filter; shared: group, zero, filter
 *   session            version (1), protocol version (1), window (2), lengths of client ID (2), zone (2) and will (4), expiry interval (4),
 *                      will delay (4), created (8), left (8), sent through (8), reserved through (8); client ID, zone, will
 *   subscription       version (1), flags (1: QoS in bits 0-1, no local 2, retain as published 3, retain handling 4-5), identifier (4)
 *   queue entry        version (1), flags (1: QoS in bits 0-1, RETAIN 2), priority (2), subscription identifier (4), share (4), body (8)
 */
#include "broker/session/session_record.h"

#include "base/bytes.h"

#include <errno.h>

#define RECORD_VERSION 1

#define KIND_PLAIN 0
#define KIND_SHARED 1
#define SUBSCRIPTION_KEY_HEAD (SESSION_KEY_LEN + 1)

#define SESSION_RECORD_HEAD 52u

#define QOS_MASK 3u
#define SUBSCRIPTION_NO_LOCAL 4u
#define SUBSCRIPTION_AS_PUBLISHED 8u
#define SUBSCRIPTION_HANDLING_SHIFT 4
#define SUBSCRIPTION_FLAGS_KNOWN 63u
#define QUEUE_RETAIN 4u
#define QUEUE_FLAGS_KNOWN 7u

#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* ---- keys ---- */

void session_key(uint64_t number, uint8_t out[SESSION_KEY_LEN])
{
    bytes_put_big(out, number, 8);
}

void queue_key(uint64_t session_number, uint64_t sequence, uint8_t out[QUEUE_KEY_LEN])
{
    bytes_put_big(out, session_number, 8);
    bytes_put_big(out + 8, sequence, 8);
}

void awaiting_rel_key(uint64_t session_number, uint16_t packet_id, uint8_t out[AWAITING_REL_KEY_LEN])
{
    bytes_put_big(out, session_number, 8);
    bytes_put_big(out + 8, packet_id, 2);
}

int session_key_decode(struct slice key, uint64_t *out_number)
{
    if (key.len != SESSION_KEY_LEN)
        return -EBADMSG;
    *out_number = bytes_get_big(key.data, 8);
    return 0;
}

int queue_key_decode(struct slice key, uint64_t *out_session_number, uint64_t *out_sequence)
{
    uint64_t sequence;

    if (key.len != QUEUE_KEY_LEN)
        return -EBADMSG;
    sequence = bytes_get_big(key.data + 8, 8);
    if (sequence == 0)
        return -EBADMSG;
    *out_session_number = bytes_get_big(key.data, 8);
    *out_sequence = sequence;
    return 0;
}

int awaiting_rel_key_decode(struct slice key, uint64_t *out_session_number, uint16_t *out_packet_id)
{
    uint16_t packet_id;

    if (key.len != AWAITING_REL_KEY_LEN)
        return -EBADMSG;
    packet_id = (uint16_t)bytes_get_big(key.data + 8, 2);
    if (packet_id == 0)
        return -EBADMSG;
    *out_session_number = bytes_get_big(key.data, 8);
    *out_packet_id = packet_id;
    return 0;
}

int subscription_key(uint64_t session_number, const struct mqtt_shared_filter *filter, struct buffer *out)
{
    bool shared = filter->group.data != NULL;
    size_t len = SUBSCRIPTION_KEY_HEAD + (shared ? filter->group.len + 1 : 0) + filter->filter.len;
    uint8_t *space;
    int err = buffer_reserve(out, len, &space);

    if (err < 0)
        return err;
    bytes_put_big(space, session_number, 8);
    space[SESSION_KEY_LEN] = shared ? KIND_SHARED : KIND_PLAIN;
    space += SUBSCRIPTION_KEY_HEAD;
    if (shared) {
        memcpy(space, filter->group.data, filter->group.len);
        space[filter->group.len] = 0;
        space += filter->group.len + 1;
    }
    memcpy(space, filter->filter.data, filter->filter.len);
    buffer_commit(out, len);
    return 0;
}

int subscription_key_decode(struct slice key, uint64_t *out_session_number, struct mqtt_shared_filter *out_filter)
{
    struct mqtt_shared_filter filter = {0};
    struct slice rest;

    if (key.len <= SUBSCRIPTION_KEY_HEAD || key.data[SESSION_KEY_LEN] > KIND_SHARED)
        return -EBADMSG;
    rest = slice_skip(key, SUBSCRIPTION_KEY_HEAD);
    if (key.data[SESSION_KEY_LEN] == KIND_SHARED) {
        const uint8_t *end = memchr(rest.data, 0, rest.len);
        if (end == NULL || end == rest.data || (size_t)(end - rest.data) > MQTT_TOPIC_LEN_MAX)
            return -EBADMSG;
        filter.group = slice_make(rest.data, (size_t)(end - rest.data));
        rest = slice_skip(rest, filter.group.len + 1);
    }
    /* The router takes nothing else for granted. */
    if (!mqtt_filter_valid(rest) || memchr(rest.data, 0, rest.len) != NULL)
        return -EBADMSG;
    filter.filter = rest;
    *out_session_number = bytes_get_big(key.data, 8);
    *out_filter = filter;
    return 0;
}

static uint64_t fnv(uint64_t hash, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ text.data[i]) * FNV_PRIME;
    return hash;
}

/* Of our own rather than hash_text(), whose seed changes: a client that makes collisions harms only its own session. */
uint32_t queue_share_hash(const struct mqtt_shared_filter *filter)
{
    uint64_t hash = fnv(FNV_OFFSET, filter->group);
    uint32_t folded;

    hash = fnv(hash, slice_make("", 1));
    hash = fnv(hash, filter->filter);
    folded = (uint32_t)(hash ^ hash >> 32);
    return folded == 0 ? 1 : folded;
}

/* ---- records ---- */

int session_record_encode(const struct session_record *record, struct buffer *out)
{
    const struct slice texts[] = {record->client_id, record->zone, record->will};
    size_t len = SESSION_RECORD_HEAD + record->client_id.len + record->zone.len + record->will.len;
    uint8_t *space;
    int err = buffer_reserve(out, len, &space);

    if (err < 0)
        return err;
    ASSERT(record->client_id.len <= UINT16_MAX && record->zone.len <= UINT16_MAX && record->will.len <= UINT32_MAX);
    space[0] = RECORD_VERSION;
    space[1] = record->version;
    bytes_put_little(space + 2, record->window, 2);
    bytes_put_little(space + 4, record->client_id.len, 2);
    bytes_put_little(space + 6, record->zone.len, 2);
    bytes_put_little(space + 8, record->will.len, 4);
    bytes_put_little(space + 12, record->expiry_interval_s, 4);
    bytes_put_little(space + 16, record->will_delay_s, 4);
    bytes_put_little(space + 20, record->created_at_s, 8);
    bytes_put_little(space + 28, record->left_ms, 8);
    bytes_put_little(space + 36, record->sent_through, 8);
    bytes_put_little(space + 44, record->reserved_through, 8);
    space += SESSION_RECORD_HEAD;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        if (texts[i].len > 0)
            memcpy(space, texts[i].data, texts[i].len);
        space += texts[i].len;
    }
    buffer_commit(out, len);
    return 0;
}

int session_record_decode(struct slice bytes, struct session_record *out_record)
{
    const uint8_t *head = bytes.data;

    if (bytes.len < SESSION_RECORD_HEAD || head[0] != RECORD_VERSION || head[1] < MQTT_V3_1 || head[1] > MQTT_V5)
        return -EBADMSG;
    size_t client_id_len = bytes_get_little(head + 4, 2), zone_len = bytes_get_little(head + 6, 2);
    size_t will_len = bytes_get_little(head + 8, 4);
    if (client_id_len == 0 || bytes.len - SESSION_RECORD_HEAD != client_id_len + zone_len + will_len)
        return -EBADMSG;
    struct session_record record = {
        .expiry_interval_s = (uint32_t)bytes_get_little(head + 12, 4),
        .will_delay_s = (uint32_t)bytes_get_little(head + 16, 4),
        .created_at_s = bytes_get_little(head + 20, 8),
        .left_ms = bytes_get_little(head + 28, 8),
        .sent_through = bytes_get_little(head + 36, 8),
        .reserved_through = bytes_get_little(head + 44, 8),
        .window = (uint16_t)bytes_get_little(head + 2, 2),
        .version = head[1],
    };
    if (record.window == 0)
        return -EBADMSG;
    struct slice rest = slice_skip(bytes, SESSION_RECORD_HEAD);
    record.client_id = slice_take(&rest, client_id_len);
    record.zone = slice_take(&rest, zone_len);
    record.will = slice_take(&rest, will_len);
    *out_record = record;
    return 0;
}

void subscription_record_encode(const struct subscription_record *record, uint8_t out[SUBSCRIPTION_RECORD_LEN])
{
    out[0] = RECORD_VERSION;
    out[1] = (uint8_t)((record->qos & QOS_MASK) | (record->no_local ? SUBSCRIPTION_NO_LOCAL : 0) |
                       (record->retain_as_published ? SUBSCRIPTION_AS_PUBLISHED : 0) |
                       (record->retain_handling & 3u) << SUBSCRIPTION_HANDLING_SHIFT);
    bytes_put_little(out + 2, record->subscription_id, 4);
}

int subscription_record_decode(struct slice bytes, struct subscription_record *out_record)
{
    const uint8_t *in = bytes.data;

    if (bytes.len != SUBSCRIPTION_RECORD_LEN || in[0] != RECORD_VERSION || (in[1] & ~SUBSCRIPTION_FLAGS_KNOWN) != 0 ||
        (in[1] & QOS_MASK) == 3 || in[1] >> SUBSCRIPTION_HANDLING_SHIFT == 3)
        return -EBADMSG;
    *out_record = (struct subscription_record){
        .subscription_id = (uint32_t)bytes_get_little(in + 2, 4),
        .qos = in[1] & QOS_MASK,
        .retain_handling = (uint8_t)(in[1] >> SUBSCRIPTION_HANDLING_SHIFT),
        .no_local = (in[1] & SUBSCRIPTION_NO_LOCAL) != 0,
        .retain_as_published = (in[1] & SUBSCRIPTION_AS_PUBLISHED) != 0,
    };
    return 0;
}

void queue_record_encode(const struct queue_record *record, uint8_t out[QUEUE_RECORD_HEAD])
{
    ASSERT(record->qos == 1 || record->qos == 2);
    out[0] = RECORD_VERSION;
    out[1] = (uint8_t)(record->qos | (record->retain ? QUEUE_RETAIN : 0));
    bytes_put_little(out + 2, record->priority, 2);
    bytes_put_little(out + 4, record->subscription_id, 4);
    bytes_put_little(out + 8, record->share_hash, 4);
    bytes_put_little(out + 12, record->body_number, 8);
}

int queue_record_decode(struct slice bytes, struct queue_record *out_record)
{
    const uint8_t *in = bytes.data;

    if (bytes.len < QUEUE_RECORD_HEAD || in[0] != RECORD_VERSION || (in[1] & ~QUEUE_FLAGS_KNOWN) != 0)
        return -EBADMSG;
    struct queue_record record = {
        .subscription_id = (uint32_t)bytes_get_little(in + 4, 4),
        .share_hash = (uint32_t)bytes_get_little(in + 8, 4),
        .priority = (uint16_t)bytes_get_little(in + 2, 2),
        .qos = in[1] & QOS_MASK,
        .retain = (in[1] & QUEUE_RETAIN) != 0,
        .body_number = bytes_get_little(in + 12, 8),
        .message = slice_skip(bytes, QUEUE_RECORD_HEAD),
    };
    /* Either the message is here or its number is. */
    if (record.qos == 0 || record.qos == 3 || (record.body_number == 0) != (record.message.len > 0))
        return -EBADMSG;
    *out_record = record;
    return 0;
}
