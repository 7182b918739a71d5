/*
 * message_event: see message_event.h.
 */
#include "hook/message_event.h"

#include "base/clock.h"
#include "hook/hook.h"
#include "mqtt/message.h"

struct hook_message hook_message_of(const struct message *message, uint64_t now_ms)
{
    return (struct hook_message){
        .client_id = message_client_id(message),
        .topic = message_topic(message),
        .payload = message_payload(message),
        .published_at_ms = clock_wall_ms() - message_age_ms(message, now_ms),
        .qos = message->qos,
        .retain = message->retain,
    };
}

void hook_tell_dropped(struct slice client_id, struct slice user_name, const char *reason,
                       const struct message *message, uint64_t now_ms)
{
    struct hook_dropped event = {.client_id = client_id, .user_name = user_name, .reason = reason};

    if (message != NULL)
        event.message = hook_message_of(message, now_ms);
    (void)hook_call(HOOK_MESSAGE_DROPPED, &event);
}
