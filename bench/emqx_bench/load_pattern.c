/*
 * load_pattern: the traffic patterns, one row each, and the clients made from a row.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WINDOW_DEFAULT 200u
#define WAITING_PER_SUBSCRIBER_MAX 900u /* under the queue of 1,000 messages that brokers give a session */
#define TOPIC_NUMBER_DIGITS 7u
#define VIEW_BYTES_MAX (UINT64_C(1) << 31)

static uint32_t to_one(const struct load *load)
{
    (void)load;
    return 1;
}

static uint32_t to_two(const struct load *load)
{
    (void)load;
    return 2;
}

static uint32_t to_all(const struct load *load)
{
    return load->subscriber_count;
}

static const char *topic_prefix(const struct load *load)
{
    return load->topic_prefix;
}

static void one_topic(const struct publisher *publisher, char *out)
{
    (void)snprintf(out, LOAD_TOPIC_MAX, "%s/all", topic_prefix(publisher->load));
}

static void one_filter(const struct subscriber *subscriber, uint32_t index, char *out)
{
    (void)index;
    (void)snprintf(out, LOAD_TOPIC_MAX, "%s/all", topic_prefix(subscriber->load));
}

static void own_topic(const struct publisher *publisher, char *out)
{
    (void)snprintf(out, LOAD_TOPIC_MAX, "%s/own/%u", topic_prefix(publisher->load), publisher->index);
}

static void own_filter(const struct subscriber *subscriber, uint32_t index, char *out)
{
    (void)index;
    (void)snprintf(out, LOAD_TOPIC_MAX, "%s/own/%u", topic_prefix(subscriber->load), subscriber->index);
}

static void every_filter(const struct subscriber *subscriber, uint32_t index, char *out)
{
    (void)index;
    (void)snprintf(out, LOAD_TOPIC_MAX, "%s/own/+", topic_prefix(subscriber->load));
}

static void shared_filter(const struct subscriber *subscriber, uint32_t index, char *out)
{
    (void)index;
    (void)snprintf(out, LOAD_TOPIC_MAX, "$share/bench/%s/own/+", topic_prefix(subscriber->load));
}

/* Filters 2k and 2k + 1 of all match topic k; as there are at least two subscribers, two different ones get it. */
static void wildcard_filter(const struct subscriber *subscriber, uint32_t index, char *out)
{
    uint32_t number = index * subscriber->load->subscriber_count + subscriber->index;

    (void)snprintf(out, LOAD_TOPIC_MAX, number % 2 == 0 ? "%s/wild/%07u/+/value" : "%s/wild/%07u/#",
                   topic_prefix(subscriber->load), number / 2);
}

static void wildcard_topic(const struct publisher *publisher, char *out)
{
    (void)snprintf(out, LOAD_TOPIC_MAX, "%s/wild/%07u/x/value", topic_prefix(publisher->load), 0u);
}

static void idle_filter(const struct subscriber *subscriber, uint32_t index, char *out)
{
    if (index == 0)
        own_filter(subscriber, index, out);
    else
        (void)snprintf(out, LOAD_TOPIC_MAX, "%s/more/%u/%u/+", topic_prefix(subscriber->load), subscriber->index,
                       index);
}

static const struct load_pattern patterns[] = {
    {"fan-out", 1, 100, 0, true, to_all, one_filter, one_topic},
    {"fan-in", 100, 1, 0, true, to_all, every_filter, own_topic},
    {"pair", 100, 100, 0, true, to_one, own_filter, own_topic},
    {"shared", 100, 4, 0, false, to_one, shared_filter, own_topic},
    {"wildcard", 10, 100, 100000, false, to_two, wildcard_filter, wildcard_topic},
    {"idle", 0, 1000, 0, true, to_one, idle_filter, own_topic},
};

static const struct load_pattern *find_pattern(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(patterns); i++)
        if (strcmp(patterns[i].name, name) == 0)
            return &patterns[i];
    return NULL;
}

static int refuse(const char *why)
{
    (void)fprintf(stderr, "emqx_bench: %s\n", why);
    return -EINVAL;
}

/* Messages one subscriber may have waiting are at most publishers x window. */
static uint32_t default_window(const struct load *load)
{
    uint32_t heard = strcmp(load->pattern->name, "pair") == 0 ? 1 : load->publisher_count;
    uint32_t window = heard == 0 ? 1 : WAITING_PER_SUBSCRIBER_MAX / heard;

    return window == 0 ? 1 : window < WINDOW_DEFAULT ? window : WINDOW_DEFAULT;
}

/* Each run has topics of its own: a broker may still know subscribers of the run before. */
static bool set_topic_prefix(struct load *load)
{
    const char *given = load->options->topic_prefix;
    int len;

    if (given != NULL)
        len = snprintf(load->topic_prefix, sizeof(load->topic_prefix), "%s", given);
    else
        len = snprintf(load->topic_prefix, sizeof(load->topic_prefix), "bench/%u", (unsigned)getpid());
    return len >= 0 && (size_t)len < sizeof(load->topic_prefix);
}

static int resolve_counts(struct load *load)
{
    const struct options *options = load->options;
    const struct load_pattern *pattern = find_pattern(options->pattern);

    if (pattern == NULL)
        return refuse("--pattern must be fan-out, fan-in, pair, shared, wildcard or idle");
    if (!set_topic_prefix(load))
        return refuse("--topic-prefix must be at most 128 bytes");
    load->pattern = pattern;
    load->publisher_count = options->publisher_count > 0 ? options->publisher_count : pattern->publisher_count;
    load->subscriber_count = options->subscriber_count > 0 ? options->subscriber_count : pattern->subscriber_count;
    load->filter_count = options->filter_count > 0 ? options->filter_count : pattern->filter_count;
    load->topic_count = 1;
    if (strcmp(pattern->name, "idle") == 0)
        load->publisher_count = 0;
    if (strcmp(pattern->name, "pair") == 0 && load->publisher_count != load->subscriber_count)
        return refuse("pair needs as many --publishers as --subscribers");
    if (strcmp(pattern->name, "wildcard") == 0) {
        if (load->subscriber_count < 2 || load->filter_count < 2 * load->subscriber_count)
            return refuse("wildcard needs at least 2 subscribers and 2 filters for each");
        load->topic_count = load->filter_count / 2;
        load->topic_number_at = (uint32_t)strlen(load->topic_prefix) + (uint32_t)strlen("/wild/");
    } else if (load->filter_count > 0 && strcmp(pattern->name, "idle") != 0) {
        return refuse("--filters belongs to wildcard and idle");
    }
    load->window = options->window > 0 ? options->window : default_window(load);
    return 0;
}

/* PREFIX_ROLE_NUMBER; without a prefix the process makes it unique on the broker. */
static char *make_client_id(const struct load *load, const char *role, uint32_t index)
{
    char *id = NULL;
    int len;

    if (load->options->prefix != NULL)
        len = asprintf(&id, "%s_%s_%u", load->options->prefix, role, index);
    else
        len = asprintf(&id, "bench_%s_%u_%u", role, (unsigned)getpid(), index);
    return len < 0 ? NULL : id;
}

static int init_publisher(struct load *load, uint32_t index)
{
    struct publisher *publisher = &load->publishers[index];
    char topic[LOAD_TOPIC_MAX];
    char *id = make_client_id(load, "pub", index);
    struct publish_frame_options frame = {
        .topic = topic,
        .payload_len = load->options->size,
        .version = load->settings.version,
        .qos = (uint8_t)load->options->qos,
    };

    if (id == NULL)
        return -ENOMEM;
    client_init(&publisher->client, &load->loop, &load->settings, &load_publisher_handler, id);
    publisher->client.publishes = load->options->qos > 0;
    publisher->load = load;
    publisher->index = index;
    load->pattern->topic(publisher, topic);
    return publish_frame_init(&publisher->frame, &frame);
}

/* The power of two from `count` on. */
static uint32_t power_of_two(uint64_t count)
{
    uint32_t size = 4;

    while (size < count)
        size *= 2;
    return size;
}

/* The credits bound what all subscribers together have not settled, so one of them alone may owe all of it. It never
 * owes more than there are identifiers. */
static int init_unsettled(struct unsettled *unsettled, uint64_t count_max)
{
    uint32_t size = power_of_two(count_max < UINT16_MAX ? count_max : UINT16_MAX);

    unsettled->publishers = calloc(size, sizeof(*unsettled->publishers));
    unsettled->mask = size - 1;
    return unsettled->publishers == NULL ? -ENOMEM : 0;
}

static int init_subscriber(struct load *load, uint32_t index)
{
    struct subscriber *subscriber = &load->subscribers[index];
    bool one_each = load->pattern->deliveries == to_one && load->pattern->whole_flows;
    char *id = make_client_id(load, "sub", index);

    if (id == NULL)
        return -ENOMEM;
    client_init(&subscriber->client, &load->loop, &load->settings, &load_subscriber_handler, id);
    subscriber->load = load;
    subscriber->index = index;
    subscriber->filter_goal = 1;
    if (load->topic_count > 1)
        subscriber->filter_goal = (load->filter_count - index + load->subscriber_count - 1) / load->subscriber_count;
    if (load->publisher_count == 0)
        return 0;
    if (flow_view_init(&subscriber->view, one_each ? index : 0, one_each ? 1 : load->publisher_count) < 0)
        return -ENOMEM;
    return load->options->qos < 2
               ? 0
               : init_unsettled(&subscriber->unsettled,
                                (uint64_t)subscriber->view.count * load->window * load->pattern->deliveries(load));
}

int load_topology_init(struct load *load)
{
    int err = resolve_counts(load);

    if (err < 0)
        return err;
    if ((uint64_t)load->publisher_count * load->subscriber_count * 16 > VIEW_BYTES_MAX &&
        !(load->pattern->deliveries == to_one && load->pattern->whole_flows))
        return refuse("so many publishers times subscribers need more than 2 GiB");
    /* Messages may complete out of order over several subscribers: room for four windows. */
    err = tracker_init(&load->tracker, load->publisher_count, power_of_two(4 * (uint64_t)load->window));
    load->publishers = calloc(load->publisher_count + 1, sizeof(*load->publishers));
    load->subscribers = calloc(load->subscriber_count + 1, sizeof(*load->subscribers));
    if (err < 0 || load->publishers == NULL || load->subscribers == NULL)
        return refuse("no memory for the clients");
    load->tracker.deliveries = load->pattern->deliveries(load);
    load->tracker.whole_flows = load->pattern->whole_flows;
    for (uint32_t i = 0; i < load->publisher_count && err == 0; i++)
        err = init_publisher(load, i);
    for (uint32_t i = 0; i < load->subscriber_count && err == 0; i++)
        err = init_subscriber(load, i);
    return err < 0 ? refuse("no memory for the clients, or a payload over 256 MiB") : 0;
}

void load_topology_fini(struct load *load)
{
    for (uint32_t i = 0; load->publishers != NULL && i < load->publisher_count; i++) {
        if (load->publishers[i].load == NULL)
            break;
        client_fini(&load->publishers[i].client);
        publish_frame_fini(&load->publishers[i].frame);
    }
    for (uint32_t i = 0; load->subscribers != NULL && i < load->subscriber_count; i++) {
        if (load->subscribers[i].load == NULL)
            break;
        client_fini(&load->subscribers[i].client);
        flow_view_fini(&load->subscribers[i].view);
        free(load->subscribers[i].unsettled.publishers);
    }
    free(load->publishers);
    free(load->subscribers);
    load->publishers = NULL;
    load->subscribers = NULL;
    tracker_fini(&load->tracker);
}
