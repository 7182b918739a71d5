/*
 * presence: see presence.h.
 */
#include "module/presence.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "broker/broker.h"
#include "event/mailbox.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "module/presence_text.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

/* No text is larger: two strings of 64 KB of which each byte takes six. */
#define PAYLOAD_BYTES_MAX (1024u * 1024u)

struct presence {
    struct presence_options options;
    struct hook *connected;
    struct hook *disconnected;
};

struct presence_post {
    struct post post;
    struct message *message;
};

static void on_post(struct worker *worker, struct post *post)
{
    struct presence_post *publish = CONTAINER_OF(post, struct presence_post, post);

    broker_publish_own_take(broker_worker_of(worker), publish->message);
    free(publish);
}

/* From a turn of its own: a client is in the middle of coming or going, and may be one of those who get the message. Bounded by the clients that
 * come and go in a turn. */
static void publish_later(const struct message_options *options)
{
    struct worker *worker = worker_current();
    struct presence_post *publish;
    struct message *message;

    if (worker == NULL)
        return; /* the workers have stopped: nobody is connected any more */
    publish = malloc(sizeof(*publish));
    message = publish == NULL ? NULL : message_new(options);
    if (message == NULL) {
        metric_add(METRIC_MESSAGES_DROPPED_NO_MEMORY, 1);
        free(publish);
        return;
    }
    *publish = (struct presence_post){.post.run = on_post, .message = message};
    worker_post(worker, &publish->post);
}

struct texts {
    struct buffer topic;
    struct buffer payload;
};

static void texts_init(struct texts *texts)
{
    buffer_init(&texts->topic, MQTT_TOPIC_LEN_MAX);
    buffer_init(&texts->payload, PAYLOAD_BYTES_MAX);
}

/* Publishes and frees the texts, if all is well with them. */
static void finish(const struct presence *presence, const struct client_info *client, struct texts *texts, int err)
{
    struct message_options options = {
        .topic = buffer_slice(&texts->topic),
        .payload = buffer_slice(&texts->payload),
        .client_id = SLICE_LITERAL("emqx_mod_presence"),
        .now_ms = clock_mono_ms(),
        .qos = presence->options.qos,
        .sys = true,
    };

    if (err == 0)
        publish_later(&options);
    else
        log_client_limited(LOG_LEVEL_WARNING, client->client_id, NULL,
                           "[Presence] cannot tell that the client has come or gone: %s",
                           err == -ENOBUFS ? "its client id is too long for a topic" : "memory is short");
    buffer_fini(&texts->topic);
    buffer_fini(&texts->payload);
}

static enum hook_verdict on_connected(void *context, void *data)
{
    const struct presence *presence = context;
    const struct hook_connected *event = data;
    struct texts texts;
    int err;

    if (event->code != REASON_SUCCESS)
        return HOOK_NEXT;
    texts_init(&texts);
    err = presence_topic(&texts.topic, slice_from_string(presence->options.node_name), event->client->client_id,
                         SLICE_LITERAL("connected"));
    if (err == 0)
        err = presence_connected(&texts.payload, event, clock_wall_ms());
    finish(presence, event->client, &texts, err);
    return HOOK_NEXT;
}

static enum hook_verdict on_disconnected(void *context, void *data)
{
    const struct presence *presence = context;
    const struct hook_disconnected *event = data;
    struct texts texts;
    int err;

    texts_init(&texts);
    err = presence_topic(&texts.topic, slice_from_string(presence->options.node_name), event->client->client_id,
                         SLICE_LITERAL("disconnected"));
    if (err == 0)
        err = presence_disconnected(&texts.payload, event, clock_wall_ms());
    finish(presence, event->client, &texts, err);
    return HOOK_NEXT;
}

int presence_open(const struct presence_options *options, struct presence **out_presence)
{
    struct presence *presence = calloc(1, sizeof(*presence));
    struct hook_options connected = {
        .point = HOOK_CLIENT_CONNECTED, .run = on_connected, .context = presence, .owner = "module presence"};
    struct hook_options disconnected = {
        .point = HOOK_CLIENT_DISCONNECTED, .run = on_disconnected, .context = presence, .owner = "module presence"};
    int err;

    if (presence == NULL)
        return -ENOMEM;
    presence->options = *options;
    err = hook_add(&connected, &presence->connected);
    if (err == 0)
        err = hook_add(&disconnected, &presence->disconnected);
    if (err < 0) {
        presence_close(presence);
        return err;
    }
    *out_presence = presence;
    return 0;
}

void presence_close(struct presence *presence)
{
    if (presence == NULL)
        return;
    hook_remove(presence->connected);
    hook_remove(presence->disconnected);
    free(presence);
}
