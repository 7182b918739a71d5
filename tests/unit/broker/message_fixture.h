/*
 * message_fixture: messages for the tests of sessions and of the broker.
 */
#ifndef TESTS_BROKER_MESSAGE_FIXTURE_H
#define TESTS_BROKER_MESSAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/message.h"

/* A message with one reference. */
static inline struct message *make_message(const char *topic, const char *payload, uint8_t qos, uint64_t now_ms)
{
    struct message_options options = {.topic = slice_from_string(topic),
                                      .payload = slice_from_string(payload),
                                      .client_id = SLICE_LITERAL("publisher"),
                                      .now_ms = now_ms,
                                      .qos = qos};
    struct message *message = message_new(&options);

    assert_non_null(message);
    return message;
}

static inline struct message *make_retained(const char *topic, const char *payload, uint8_t qos, uint64_t now_ms)
{
    struct message *message = make_message(topic, payload, qos, now_ms);

    message->retain = true; /* nobody else has seen it yet */
    return message;
}

static inline struct message *make_expiring(const char *topic, const char *payload, uint8_t qos, uint64_t now_ms,
                                            uint32_t expiry_interval_s)
{
    struct message *message = make_message(topic, payload, qos, now_ms);

    message->has_expiry = true;
    message->expiry_interval_s = expiry_interval_s;
    return message;
}

static inline uint32_t refs_of(const struct message *message)
{
    return atomic_load(&message->refs);
}

#endif
