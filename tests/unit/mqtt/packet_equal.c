/*
 * packet_equal: compares field by field, so that it does not depend on the tables of the codec.
 */
#include "packet_equal.h"

#include "mqtt/decode.h"

#define SAME(field) (left->field == right->field)
#define SAME_SLICE(field) same_slice(left->field, right->field)
#define SAME_IF_PRESENT(prop, is_same) (!mqtt_properties_have(left, MQTT_PROP_##prop) || (is_same))

/* An absent text differs from an empty one. */
static bool same_slice(struct slice left, struct slice right)
{
    if (left.data == NULL || right.data == NULL)
        return left.data == right.data;
    return slice_equal(left, right);
}

/* The next property of kind `wanted`. */
static bool next_of(struct slice *raw, enum mqtt_property wanted, struct slice *out_name, struct slice *out_value)
{
    enum mqtt_property property;

    while (mqtt_property_next(raw, &property, out_name, out_value)) {
        if (property == wanted)
            return true;
    }
    return false;
}

static bool lists_equal(struct slice left, struct slice right, enum mqtt_property property)
{
    for (;;) {
        struct slice left_name, left_value, right_name, right_value;
        bool left_has = next_of(&left, property, &left_name, &left_value);

        if (left_has != next_of(&right, property, &right_name, &right_value))
            return false;
        if (!left_has)
            return true;
        if (!same_slice(left_name, right_name) || !same_slice(left_value, right_value))
            return false;
    }
}

static bool texts_equal(const struct mqtt_properties *left, const struct mqtt_properties *right)
{
    return SAME_IF_PRESENT(CONTENT_TYPE, SAME_SLICE(content_type)) &&
           SAME_IF_PRESENT(RESPONSE_TOPIC, SAME_SLICE(response_topic)) &&
           SAME_IF_PRESENT(CORRELATION_DATA, SAME_SLICE(correlation_data)) &&
           SAME_IF_PRESENT(ASSIGNED_CLIENT_IDENTIFIER, SAME_SLICE(assigned_client_id)) &&
           SAME_IF_PRESENT(AUTHENTICATION_METHOD, SAME_SLICE(authentication_method)) &&
           SAME_IF_PRESENT(AUTHENTICATION_DATA, SAME_SLICE(authentication_data)) &&
           SAME_IF_PRESENT(RESPONSE_INFORMATION, SAME_SLICE(response_information)) &&
           SAME_IF_PRESENT(SERVER_REFERENCE, SAME_SLICE(server_reference)) &&
           SAME_IF_PRESENT(REASON_STRING, SAME_SLICE(reason_string));
}

static bool numbers_equal(const struct mqtt_properties *left, const struct mqtt_properties *right)
{
    return SAME_IF_PRESENT(PAYLOAD_FORMAT_INDICATOR, SAME(payload_format_indicator)) &&
           SAME_IF_PRESENT(MESSAGE_EXPIRY_INTERVAL, SAME(message_expiry_interval_s)) &&
           SAME_IF_PRESENT(SUBSCRIPTION_IDENTIFIER, SAME(subscription_id)) &&
           SAME_IF_PRESENT(SESSION_EXPIRY_INTERVAL, SAME(session_expiry_interval_s)) &&
           SAME_IF_PRESENT(SERVER_KEEP_ALIVE, SAME(server_keep_alive_s)) &&
           SAME_IF_PRESENT(REQUEST_PROBLEM_INFORMATION, SAME(request_problem_information)) &&
           SAME_IF_PRESENT(WILL_DELAY_INTERVAL, SAME(will_delay_interval_s)) &&
           SAME_IF_PRESENT(REQUEST_RESPONSE_INFORMATION, SAME(request_response_information)) &&
           SAME_IF_PRESENT(RECEIVE_MAXIMUM, SAME(receive_maximum)) &&
           SAME_IF_PRESENT(TOPIC_ALIAS_MAXIMUM, SAME(topic_alias_maximum)) &&
           SAME_IF_PRESENT(TOPIC_ALIAS, SAME(topic_alias)) && SAME_IF_PRESENT(MAXIMUM_QOS, SAME(maximum_qos)) &&
           SAME_IF_PRESENT(RETAIN_AVAILABLE, SAME(retain_available)) &&
           SAME_IF_PRESENT(MAXIMUM_PACKET_SIZE, SAME(maximum_packet_size)) &&
           SAME_IF_PRESENT(WILDCARD_SUBSCRIPTION_AVAILABLE, SAME(wildcard_subscription_available)) &&
           SAME_IF_PRESENT(SUBSCRIPTION_IDENTIFIER_AVAILABLE, SAME(subscription_id_available)) &&
           SAME_IF_PRESENT(SHARED_SUBSCRIPTION_AVAILABLE, SAME(shared_subscription_available));
}

bool properties_equal(const struct mqtt_properties *left, const struct mqtt_properties *right)
{
    return SAME(present) && numbers_equal(left, right) && texts_equal(left, right) &&
           lists_equal(left->raw, right->raw, MQTT_PROP_USER_PROPERTY) &&
           lists_equal(left->raw, right->raw, MQTT_PROP_SUBSCRIPTION_IDENTIFIER);
}

static bool optional_equal(struct slice left, struct slice right)
{
    return same_slice(left, right);
}

static bool wills_equal(const struct mqtt_will *left, const struct mqtt_will *right)
{
    return SAME(qos) && SAME(retain) && SAME_SLICE(topic) && SAME_SLICE(payload) &&
           properties_equal(&left->properties, &right->properties);
}

static bool connects_equal(const struct mqtt_connect *left, const struct mqtt_connect *right)
{
    return SAME_SLICE(protocol_name) && SAME(level) && SAME(is_bridge) && SAME(clean_start) && SAME(has_will) &&
           SAME(keep_alive_s) && SAME_SLICE(client_id) && optional_equal(left->user_name, right->user_name) &&
           optional_equal(left->password, right->password) &&
           (!left->has_will || wills_equal(&left->will, &right->will)) &&
           properties_equal(&left->properties, &right->properties);
}

static bool publishes_equal(const struct mqtt_publish *left, const struct mqtt_publish *right)
{
    return SAME(qos) && SAME(dup) && SAME(retain) && SAME(packet_id) && SAME_SLICE(topic) && SAME_SLICE(payload) &&
           properties_equal(&left->properties, &right->properties);
}

static bool subscribes_equal(const struct mqtt_subscribe *left, const struct mqtt_subscribe *right)
{
    return SAME(packet_id) && SAME(filter_count) && SAME_SLICE(filters) &&
           properties_equal(&left->properties, &right->properties);
}

bool packet_equal(const struct mqtt_packet *left, const struct mqtt_packet *right)
{
    if (left->type != right->type)
        return false;
    switch (left->type) {
    case MQTT_CONNECT: return connects_equal(&left->connect, &right->connect);
    case MQTT_CONNACK:
        return SAME(connack.session_present) && SAME(connack.code) &&
               properties_equal(&left->connack.properties, &right->connack.properties);
    case MQTT_PUBLISH: return publishes_equal(&left->publish, &right->publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return SAME(ack.packet_id) && SAME(ack.code) && properties_equal(&left->ack.properties, &right->ack.properties);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: return subscribes_equal(&left->subscribe, &right->subscribe);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return SAME(suback.packet_id) && SAME_SLICE(suback.codes) &&
               properties_equal(&left->suback.properties, &right->suback.properties);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: return true;
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        return SAME(disconnect.code) && properties_equal(&left->disconnect.properties, &right->disconnect.properties);
    }
    return false;
}
