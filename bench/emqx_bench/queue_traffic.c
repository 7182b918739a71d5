/*
 * queue_traffic: what publishers and sessions do with what comes.
 */
#include "queue.h"

#include <stdio.h>

/* Bytes a publisher may have unwritten; then it waits for an acknowledgement. */
#define OUTPUT_WAITING_MAX (1u << 20)

void queue_topic(const struct queue *queue, uint32_t session, char *out)
{
    (void)snprintf(out, QUEUE_TOPIC_MAX, "%s/queue/%0*u", queue->topic_prefix, (int)QUEUE_TOPIC_DIGITS, session);
}

static void list_publisher(struct queue_publisher *publisher)
{
    if (publisher->is_listed)
        return;
    publisher->is_listed = true;
    publisher->next_listed = publisher->queue->listed;
    publisher->queue->listed = publisher;
}

static bool may_send(const struct queue_publisher *publisher)
{
    const struct queue *queue = publisher->queue;
    const struct client *client = &publisher->client;
    uint64_t limit = (uint64_t)queue->options->messages * publisher->sessions;

    return queue->publishing && client->state == CLIENT_READY && !client_window_full(client) &&
           (limit == 0 || publisher->sent < limit) && buffer_len(&client->out) < OUTPUT_WAITING_MAX;
}

/* Another part of the noise in each payload, behind the stamp. The packet has just been added to the output. */
static void fill_payload(struct queue_publisher *publisher, const struct stamp *stamp)
{
    const struct queue *queue = publisher->queue;
    const struct publish_frame *frame = &publisher->frame;
    uint8_t *packet = publisher->client.out.data + publisher->client.out.end - frame->len;
    uint64_t at = (stamp->sequence * 7919 + (uint64_t)stamp->publisher * 104729) % QUEUE_NOISE_BYTES;

    memcpy(packet + frame->payload_at + STAMP_SIZE, queue->noise + at, frame->payload_len - STAMP_SIZE);
}

static void send_message(struct queue_publisher *publisher, uint64_t now_ns)
{
    struct queue *queue = publisher->queue;
    uint32_t index = publisher->index + publisher->turn * queue->publisher_count;
    struct queue_session *session = &queue->sessions[index];
    struct stamp stamp = {STAMP_MAGIC, index, session->sent++, now_ns};

    if (publisher->sessions > 1) {
        publish_frame_set_number(&publisher->frame, queue->topic_number_at, QUEUE_TOPIC_DIGITS, index);
        publisher->turn = publisher->turn + 1 == publisher->sessions ? 0 : publisher->turn + 1;
    }
    publish_frame_send(&publisher->frame, &publisher->client, &stamp, now_ns);
    fill_payload(publisher, &stamp);
    publisher->sent++;
    queue->sent++;
}

static void send_listed(struct queue *queue)
{
    uint64_t now_ns;

    if (queue->listed == NULL)
        return;
    now_ns = clock_ns();
    while (queue->listed != NULL) {
        struct queue_publisher *publisher = queue->listed;
        queue->listed = publisher->next_listed;
        publisher->is_listed = false;
        while (may_send(publisher))
            send_message(publisher, now_ns);
    }
}

void queue_turn(struct queue *queue, uint64_t deadline_ns)
{
    loop_turn(&queue->loop, queue->listed == NULL ? deadline_ns : 0);
    send_listed(queue);
    loop_flush(&queue->loop);
}

void queue_start_publishing(struct queue *queue)
{
    queue->publishing = true;
    for (uint32_t i = 0; i < queue->publisher_count; i++)
        list_publisher(&queue->publishers[i]);
}

static void on_publisher_ready(struct client *client)
{
    struct queue *queue = CONTAINER_OF(client, struct queue_publisher, client)->queue;

    queue->opening--;
    queue->done++;
    queue->progress++;
}

static void on_publisher_released(struct client *client, uint64_t sent_ns, uint8_t code)
{
    struct queue_publisher *publisher = CONTAINER_OF(client, struct queue_publisher, client);
    struct queue *queue = publisher->queue;

    publisher->answered++;
    queue->progress++;
    if (UNLIKELY(code >= 0x80))
        queue->refused++;
    else
        queue->acknowledged++;
    if (queue->measuring)
        histogram_record(&queue->acknowledge, queue->loop.now_ns - sent_ns);
    list_publisher(publisher);
}

static void on_publisher_closed(struct client *client, const char *why)
{
    struct queue_publisher *publisher = CONTAINER_OF(client, struct queue_publisher, client);

    queue_fail(publisher->queue, "publisher", publisher->index, why);
}

const struct client_handler queue_publisher_handler = {
    .on_ready = on_publisher_ready,
    .on_released = on_publisher_released,
    .on_closed = on_publisher_closed,
};

/* The client has done what the step wants and leaves; its session stays. */
static void leave(struct queue_session *session)
{
    struct queue *queue = session->queue;

    client_disconnect(&session->client); /* with the acknowledgements that are not written yet */
    session->done = true;
    queue->done++;
    queue->open--;
    queue->progress++;
}

static void leave_when_drained(struct queue_session *session)
{
    bool released = session->queue->options->qos < 2 || session->released >= session->sent;

    if (session->queue->step == QUEUE_DRAIN && !session->done && session->received >= session->sent && released)
        leave(session);
}

static void on_session_ready(struct client *client)
{
    struct queue_session *session = CONTAINER_OF(client, struct queue_session, client);
    struct queue *queue = session->queue;
    char topic[QUEUE_TOPIC_MAX];
    const char *filters[1] = {topic};

    queue->opening--;
    queue->progress++;
    if (queue->step == QUEUE_DRAIN) {
        leave_when_drained(session);
        return;
    }
    queue_topic(queue, session->index, topic);
    client_subscribe(client, filters, 1, (uint8_t)queue->options->qos);
}

static void on_session_suback(struct client *client, struct slice codes)
{
    struct queue_session *session = CONTAINER_OF(client, struct queue_session, client);

    if (codes.len != 1 || codes.data[0] >= 0x80)
        queue_fail(session->queue, "session", session->index, "the broker refused a subscription");
    else
        leave(session);
}

/* Which of the session's messages is it? Counts it where it belongs. */
static void count_message(struct queue_session *session, uint64_t number)
{
    struct queue *queue = session->queue;

    if (number >= session->next) {
        session->gaps += number - session->next;
        session->next = number + 1;
    } else if (session->gaps > 0) {
        session->gaps--;
        queue->out_of_order++;
    } else {
        queue->duplicates++;
        return;
    }
    session->received++;
    queue->received++;
}

static void on_session_publish(struct client *client, const struct wire_publish *publish)
{
    struct queue_session *session = CONTAINER_OF(client, struct queue_session, client);
    struct queue *queue = session->queue;
    struct stamp stamp;

    queue->progress++;
    if (UNLIKELY(!stamp_read(publish->payload.data, publish->payload.len, &stamp) ||
                 stamp.publisher != session->index || stamp.sequence >= session->sent)) {
        queue->foreign++;
        return;
    }
    count_message(session, stamp.sequence);
    if (publish->qos < 2)
        leave_when_drained(session);
}

static void on_session_pubrel(struct client *client)
{
    struct queue_session *session = CONTAINER_OF(client, struct queue_session, client);

    session->released++;
    leave_when_drained(session);
}

static void on_session_closed(struct client *client, const char *why)
{
    struct queue_session *session = CONTAINER_OF(client, struct queue_session, client);

    queue_fail(session->queue, "session", session->index, why);
}

const struct client_handler queue_session_handler = {
    .on_ready = on_session_ready,
    .on_suback = on_session_suback,
    .on_publish = on_session_publish,
    .on_pubrel = on_session_pubrel,
    .on_closed = on_session_closed,
};
