/*
 * simple_publish: when each client of `pub` sends, and to which topic.
 *
 * All clients have one interval, so a queue in the order of being due needs no sorting: a client that has sent goes
 * to the end. Those that still wait to begin have a queue of their own.
 */
#include "simple.h"

#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS UINT64_C(1000000)
#define BATCH_MAX 64u                     /* messages of one client a turn, without an interval */
#define OUTPUT_WAITING_MAX (256u * 1024u) /* bytes unwritten, then the client waits */
#define BLOCKED_RETRY_NS UINT64_C(100000)

static void queue_push(struct simple_queue *queue, struct simple_client *one)
{
    one->next = NULL;
    if (queue->last == NULL)
        queue->first = one;
    else
        queue->last->next = one;
    queue->last = one;
}

static struct simple_client *queue_pop_due(struct simple_queue *queue, uint64_t now_ns)
{
    struct simple_client *one = queue->first;

    if (one == NULL || one->due_ns > now_ns)
        return NULL;
    queue->first = one->next;
    if (queue->first == NULL)
        queue->last = NULL;
    return one;
}

/* What stands for the character behind a '%'; NULL: nothing does. */
static const char *variable(const struct simple_client *one, char name, char number[24])
{
    switch (name) {
    case 'i': (void)snprintf(number, 24, "%u", one->number); return number;
    case 's': (void)snprintf(number, 24, "%llu", (unsigned long long)one->sent); return number;
    case 'c': return one->client.client_id;
    case 'u': return one->simple->options->user_name != NULL ? one->simple->options->user_name : "";
    default: return NULL;
    }
}

char *simple_topic(const struct simple_client *one)
{
    char *topic = NULL;
    size_t size;
    FILE *out = open_memstream(&topic, &size);

    if (out == NULL)
        return NULL;
    for (const char *at = one->simple->options->topic; *at != '\0'; at++) {
        char number[24];
        const char *value = *at == '%' ? variable(one, at[1], number) : NULL;
        if (value == NULL) {
            (void)fputc(*at, out);
            continue;
        }
        (void)fputs(value, out);
        at++;
    }
    return fclose(out) == 0 ? topic : NULL;
}

int simple_publish_init(struct simple_client *one)
{
    const struct options *options = one->simple->options;
    char *topic = simple_topic(one);
    struct publish_frame_options frame = {
        .topic = topic,
        .payload = (const uint8_t *)options->message,
        .payload_len = options->message != NULL ? (uint32_t)strlen(options->message) : options->size,
        .version = one->simple->settings.version,
        .qos = (uint8_t)options->qos,
        .retain = options->retain,
    };
    int err = topic == NULL ? -1 : publish_frame_init(&one->frame, &frame);

    free(topic);
    return err;
}

void simple_publish_start(struct simple_client *one)
{
    one->due_ns = one->simple->loop.now_ns + one->simple->options->wait_before_publishing_ms * NS_PER_MS;
    queue_push(&one->simple->starting, one);
}

static bool limit_reached(const struct simple *simple)
{
    return simple->options->limit > 0 && simple->counts.sent >= simple->options->limit;
}

static bool may_send(const struct simple_client *one)
{
    const struct client *client = &one->client;

    return client->state == CLIENT_READY && (one->frame.qos == 0 || !client_window_full(client)) &&
           buffer_len(&client->out) < OUTPUT_WAITING_MAX && !limit_reached(one->simple);
}

static void send_message(struct simple_client *one, uint64_t now_ns)
{
    struct simple *simple = one->simple;
    struct stamp stamp = {STAMP_MAGIC, one->number, one->sent, now_ns};
    bool stamped = simple->options->message == NULL && one->frame.payload_len >= STAMP_SIZE;

    if (simple->topic_counts) {
        publish_frame_fini(&one->frame);
        if (simple_publish_init(one) < 0) {
            client_fail(&one->client, "no memory");
            return;
        }
    }
    publish_frame_send(&one->frame, &one->client, stamped ? &stamp : NULL, now_ns);
    one->sent++;
    simple->counts.sent++;
    if (simple->first_message_ns == 0)
        simple->first_message_ns = now_ns;
    simple->last_message_ns = now_ns;
}

/* Without an interval: as much as the window and the socket take. */
static void send_batch(struct simple_client *one, uint64_t now_ns)
{
    uint32_t count = 0;

    while (count < BATCH_MAX && may_send(one)) {
        send_message(one, now_ns);
        count++;
    }
    one->due_ns = count > 0 ? now_ns : now_ns + BLOCKED_RETRY_NS;
}

static void send_due(struct simple_client *one, uint64_t now_ns)
{
    uint64_t interval_ns = one->simple->options->publish_interval_ms * NS_PER_MS;

    if (one->client.state != CLIENT_READY || limit_reached(one->simple))
        return; /* it does not go back into the queue */
    if (interval_ns == 0) {
        send_batch(one, now_ns);
    } else {
        if (may_send(one))
            send_message(one, now_ns);
        else
            one->simple->counts.skipped++;
        one->due_ns += interval_ns;
    }
    queue_push(&one->simple->running, one);
}

/* Sends for all that are due now; a client that becomes due again by that waits for the next turn. */
static void send_queue(struct simple_queue *queue, uint64_t now_ns)
{
    struct simple_queue due = {0};
    struct simple_client *one;

    while ((one = queue_pop_due(queue, now_ns)) != NULL)
        queue_push(&due, one);
    while ((one = queue_pop_due(&due, UINT64_MAX)) != NULL)
        send_due(one, now_ns);
}

void simple_publish_due(struct simple *simple)
{
    uint64_t now_ns = clock_ns();

    send_queue(&simple->starting, now_ns);
    send_queue(&simple->running, now_ns);
}

uint64_t simple_publish_next_ns(const struct simple *simple)
{
    uint64_t next_ns = simple->running.first != NULL ? simple->running.first->due_ns : UINT64_MAX;

    if (simple->starting.first != NULL && simple->starting.first->due_ns < next_ns)
        next_ns = simple->starting.first->due_ns;
    return next_ns;
}
