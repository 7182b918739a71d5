/*
 * load_traffic: the hot path: credits in, messages out.
 *
 * A publisher gets on the list when a delivery of its is settled, a handshake ends, it becomes
 * ready or a scheduled message is due. At the end of the turn each listed publisher sends all it may, and each
 * connection's output goes out in one write.
 */
#include "load.h"

/* Bytes a publisher may have unwritten; then it waits until one of these messages has been delivered. */
#define OUTPUT_WAITING_MAX (1u << 20)
#define NS_PER_S UINT64_C(1000000000)

static void list_publisher(struct publisher *publisher)
{
    if (publisher->is_listed)
        return;
    publisher->is_listed = true;
    publisher->next_listed = publisher->load->listed;
    publisher->load->listed = publisher;
}

/* When message `number` of the whole schedule is due. */
static uint64_t due_ns(const struct load *load, uint64_t number)
{
    return load->rate_start_ns + (uint64_t)((double)number * (double)NS_PER_S / load->options->rate);
}

static bool may_send(const struct publisher *publisher)
{
    const struct load *load = publisher->load;
    const struct client *client = &publisher->client;

    return load->publishing && client->state == CLIENT_READY &&
           !flow_full(&load->tracker.flows[publisher->index], load->window, load->tracker.deliveries) &&
           (publisher->frame.qos == 0 || !client_window_full(client)) &&
           (load->options->rate == 0 || publisher->owed > 0) && buffer_len(&client->out) < OUTPUT_WAITING_MAX;
}

static void send_message(struct publisher *publisher, uint64_t now_ns)
{
    struct load *load = publisher->load;
    struct stamp stamp = {STAMP_MAGIC, publisher->index, 0, now_ns};

    stamp.sequence = flow_send(&load->tracker.flows[publisher->index], load->tracker.deliveries);
    if (load->options->rate > 0) {
        stamp.sent_ns = due_ns(load, publisher->sent * load->publisher_count + publisher->index);
        publisher->owed--;
    }
    if (load->topic_count > 1) { /* all topics in turn, far apart, another one for each publisher */
        uint64_t topic = (stamp.sequence * 7919 + (uint64_t)publisher->index * 104729) % load->topic_count;
        publish_frame_set_number(&publisher->frame, load->topic_number_at, 7, (uint32_t)topic);
    }
    publish_frame_send(&publisher->frame, &publisher->client, &stamp, now_ns);
    publisher->sent++;
    load->sent++;
}

static void send_listed(struct load *load)
{
    uint64_t now_ns;

    if (load->listed == NULL)
        return;
    now_ns = clock_ns();
    while (load->listed != NULL) {
        struct publisher *publisher = load->listed;
        load->listed = publisher->next_listed;
        publisher->is_listed = false;
        while (may_send(publisher))
            send_message(publisher, now_ns);
    }
}

/* Hands the messages that have become due to their publishers, who take turns. */
static void run_schedule(struct load *load)
{
    uint64_t now_ns = clock_ns();

    while (due_ns(load, load->rate_cursor) <= now_ns) {
        struct publisher *publisher = &load->publishers[load->rate_cursor % load->publisher_count];
        publisher->owed++;
        list_publisher(publisher);
        load->rate_cursor++;
    }
}

void load_turn(struct load *load, uint64_t deadline_ns)
{
    bool scheduled = load->publishing && load->options->rate > 0;

    if (scheduled) {
        uint64_t next_ns = due_ns(load, load->rate_cursor);
        deadline_ns = next_ns < deadline_ns ? next_ns : deadline_ns;
    }
    loop_turn(&load->loop, load->listed == NULL ? deadline_ns : 0);
    if (scheduled)
        run_schedule(load);
    send_listed(load);
    loop_flush(&load->loop);
}

void load_start_publishing(struct load *load)
{
    load->publishing = true;
    load->rate_start_ns = clock_ns();
    for (uint32_t i = 0; i < load->publisher_count; i++)
        list_publisher(&load->publishers[i]);
}

void load_stop_publishing(struct load *load)
{
    load->publishing = false;
}

static void on_publisher_ready(struct client *client)
{
    struct load *load = CONTAINER_OF(client, struct publisher, client)->load;

    load->opening--;
    load->done++;
    load->progress++;
}

static void on_publisher_released(struct client *client, uint64_t sent_ns, uint8_t code)
{
    struct publisher *publisher = CONTAINER_OF(client, struct publisher, client);

    (void)sent_ns;
    if (UNLIKELY(code >= 0x80))
        publisher->load->refused++;
    list_publisher(publisher);
}

static void on_publisher_closed(struct client *client, const char *why)
{
    struct publisher *publisher = CONTAINER_OF(client, struct publisher, client);

    load_fail(publisher->load, "publisher", publisher->index, why);
}

static void on_subscriber_ready(struct client *client)
{
    struct load *load = CONTAINER_OF(client, struct subscriber, client)->load;

    load->opening--;
    load->done++;
    load->progress++;
}

static void on_subscriber_suback(struct client *client, struct slice codes)
{
    struct subscriber *subscriber = CONTAINER_OF(client, struct subscriber, client);

    subscriber->load->progress++;
    for (size_t i = 0; i < codes.len; i++) {
        if (codes.data[i] >= 0x80) {
            load_fail(subscriber->load, "subscriber", subscriber->index, "the broker refused a subscription");
            return;
        }
    }
    load_subscribe_next(subscriber);
}

/* One delivery less is under way: a credit may have returned. */
static void settle(struct load *load, uint32_t publisher)
{
    load->tracker.flows[publisher].settled++;
    list_publisher(&load->publishers[publisher]);
}

static void unsettled_push(struct unsettled *unsettled, uint32_t publisher)
{
    ASSERT(unsettled->tail - unsettled->head <= unsettled->mask);
    unsettled->publishers[unsettled->tail++ & unsettled->mask] = publisher;
}

static void on_subscriber_publish(struct client *client, const struct wire_publish *publish)
{
    struct subscriber *subscriber = CONTAINER_OF(client, struct subscriber, client);
    struct load *load = subscriber->load;
    struct stamp stamp;

    if (UNLIKELY(!stamp_read(publish->payload.data, publish->payload.len, &stamp))) {
        load->tracker.foreign++;
        return;
    }
    if (UNLIKELY(!tracker_receive(&load->tracker, &subscriber->view, &stamp)))
        return;
    if (load->measuring)
        histogram_record(&load->latency, load->loop.now_ns - stamp.sent_ns);
    if (publish->qos < 2)
        settle(load, stamp.publisher);
    else
        unsettled_push(&subscriber->unsettled, stamp.publisher);
}

/* The broker answers in the order of our PUBRECs; and as only credits are counted, the order does not matter. */
static void on_subscriber_pubrel(struct client *client)
{
    struct subscriber *subscriber = CONTAINER_OF(client, struct subscriber, client);
    struct unsettled *unsettled = &subscriber->unsettled;

    if (unsettled->head != unsettled->tail)
        settle(subscriber->load, unsettled->publishers[unsettled->head++ & unsettled->mask]);
}

static void on_subscriber_closed(struct client *client, const char *why)
{
    struct subscriber *subscriber = CONTAINER_OF(client, struct subscriber, client);

    load_fail(subscriber->load, "subscriber", subscriber->index, why);
}

const struct client_handler load_publisher_handler = {
    .on_ready = on_publisher_ready,
    .on_released = on_publisher_released,
    .on_closed = on_publisher_closed,
};

const struct client_handler load_subscriber_handler = {
    .on_ready = on_subscriber_ready,
    .on_suback = on_subscriber_suback,
    .on_publish = on_subscriber_publish,
    .on_pubrel = on_subscriber_pubrel,
    .on_closed = on_subscriber_closed,
};
