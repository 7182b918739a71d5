/*
 * sys_topics: one row per topic; two timers.
 */
#include "monitor/sys_topics.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/version.h"
#include "broker/broker.h"
#include "mqtt/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define TOPIC_MAX 512
#define PAYLOAD_MAX 512

struct sys_topics {
    struct sys_topics_options options;
    uint64_t started_ms;
    uv_timer_t interval;
    uv_timer_t heartbeat;
    uint32_t open_handles;
};

struct sys_topic {
    const char *name; /* below $SYS/brokers/${node}/; NULL: $SYS/brokers itself */
    bool retain;
    void (*payload)(const struct sys_topics *topics, char out[PAYLOAD_MAX]);
};

static void payload_brokers(const struct sys_topics *topics, char out[PAYLOAD_MAX])
{
    snprintf(out, PAYLOAD_MAX, "%s", topics->options.node_name);
}

static void payload_version(const struct sys_topics *topics, char out[PAYLOAD_MAX])
{
    (void)topics;
    snprintf(out, PAYLOAD_MAX, "%s", EMQX_COMPAT_VERSION);
}

static void payload_sysdescr(const struct sys_topics *topics, char out[PAYLOAD_MAX])
{
    (void)topics;
    snprintf(out, PAYLOAD_MAX, "EMQ X Broker");
}

static void payload_uptime(const struct sys_topics *topics, char out[PAYLOAD_MAX])
{
    char text[CLOCK_UPTIME_TEXT_BYTES];

    clock_format_uptime((clock_mono_ms() - topics->started_ms) / 1000, text);
    snprintf(out, PAYLOAD_MAX, "%s", text);
}

static void payload_datetime(const struct sys_topics *topics, char out[PAYLOAD_MAX])
{
    char text[CLOCK_LOCAL_TEXT_BYTES];

    (void)topics;
    clock_format_local(clock_wall_ms(), text);
    snprintf(out, PAYLOAD_MAX, "%.19s", text); /* without milliseconds */
}

static const struct sys_topic interval_topics[] = {
    {NULL, true, payload_brokers},
    {"version", true, payload_version},
    {"sysdescr", true, payload_sysdescr},
};

static const struct sys_topic heartbeat_topics[] = {
    {"uptime", false, payload_uptime},
    {"datetime", false, payload_datetime},
};

static void publish(const struct sys_topics *topics, const struct sys_topic *row)
{
    char topic[TOPIC_MAX], payload[PAYLOAD_MAX];

    if (row->name == NULL)
        snprintf(topic, sizeof(topic), "$SYS/brokers");
    else
        snprintf(topic, sizeof(topic), "$SYS/brokers/%s/%s", topics->options.node_name, row->name);
    row->payload(topics, payload);
    struct message_options options = {
        .topic = slice_from_string(topic),
        .payload = slice_from_string(payload),
        .client_id = SLICE_LITERAL("emqx_sys"),
        .now_ms = clock_mono_ms(),
        .retain = row->retain,
        .sys = true,
    };
    struct message *message = message_new(&options);
    if (message != NULL)
        broker_publish_post_take(topics->options.broker, message);
}

static void on_interval(uv_timer_t *timer)
{
    for (size_t i = 0; i < ARRAY_COUNT(interval_topics); i++)
        publish(timer->data, &interval_topics[i]);
}

static void on_heartbeat(uv_timer_t *timer)
{
    stats_refresh();
    for (size_t i = 0; i < ARRAY_COUNT(heartbeat_topics); i++)
        publish(timer->data, &heartbeat_topics[i]);
}

static void start(struct sys_topics *topics, uv_timer_t *timer, uv_timer_cb on_due, uint64_t period_ms)
{
    uv_timer_init(topics->options.loop, timer);
    timer->data = topics;
    topics->open_handles++;
    if (period_ms > 0)
        uv_timer_start(timer, on_due, period_ms, period_ms);
}

int sys_topics_open(const struct sys_topics_options *options, struct sys_topics **out_topics)
{
    struct sys_topics *topics = calloc(1, sizeof(*topics));

    if (topics == NULL)
        return -ENOMEM;
    topics->options = *options;
    topics->started_ms = clock_mono_ms();
    start(topics, &topics->interval, on_interval, options->interval_ms);
    start(topics, &topics->heartbeat, on_heartbeat, options->heartbeat_ms);
    *out_topics = topics;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct sys_topics *topics = handle->data;

    if (--topics->open_handles == 0)
        free(topics);
}

void sys_topics_close(struct sys_topics *topics)
{
    if (topics == NULL)
        return;
    uv_close((uv_handle_t *)&topics->interval, on_closed);
    uv_close((uv_handle_t *)&topics->heartbeat, on_closed);
}
