/*
 * simple: runs conn, pub or sub: opens the clients at their interval, lets them do what the command says, counts.
 * It ends at a signal, when --duration has passed, when --limit is reached or when no connection is left.
 */
#include "simple.h"

#include "stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static struct simple_client *of_client(struct client *client)
{
    return CONTAINER_OF(client, struct simple_client, client);
}

static void note_fault(struct simple *simple, const char *why)
{
    if (simple->first_fault[0] == '\0')
        (void)snprintf(simple->first_fault, sizeof(simple->first_fault), "%s", why);
}

static void on_ready(struct client *client)
{
    struct simple_client *one = of_client(client);
    struct simple *simple = one->simple;

    simple->opening--;
    one->was_connected = true;
    simple->counts.connected++;
    simple->connected_ns = simple->loop.now_ns;
    histogram_record(&simple->connect_latency, simple->loop.now_ns - client->opened_ns);
    if (simple->options->command == COMMAND_PUB) {
        simple_publish_start(one);
    } else if (simple->options->command == COMMAND_SUB) {
        char *filter = simple_topic(one);
        const char *filters[1] = {filter};
        if (filter == NULL)
            client_fail(client, "no memory");
        else
            client_subscribe(client, filters, 1, (uint8_t)simple->options->qos);
        free(filter);
    }
}

static void on_suback(struct client *client, struct slice codes)
{
    struct simple *simple = of_client(client)->simple;

    if (codes.len == 1 && codes.data[0] < 0x80) {
        simple->counts.subscribed++;
        return;
    }
    simple->counts.refused_subscriptions++;
    note_fault(simple, "the broker refused a subscription");
}

static void on_publish(struct client *client, const struct wire_publish *publish)
{
    struct simple *simple = of_client(client)->simple;
    struct stamp stamp;

    simple->counts.received++;
    simple->last_message_ns = simple->loop.now_ns;
    if (simple->first_message_ns == 0)
        simple->first_message_ns = simple->loop.now_ns;
    if (stamp_read(publish->payload.data, publish->payload.len, &stamp) && stamp.sent_ns <= simple->loop.now_ns)
        histogram_record(&simple->receive_latency, simple->loop.now_ns - stamp.sent_ns);
}

static void on_released(struct client *client, uint64_t sent_ns, uint8_t code)
{
    struct simple *simple = of_client(client)->simple;

    if (code >= 0x80) {
        simple->counts.refused++;
        note_fault(simple, "the broker refused a message");
        return;
    }
    simple->counts.acknowledged++;
    histogram_record(&simple->acknowledge_latency, simple->loop.now_ns - sent_ns);
}

static void on_closed(struct client *client, const char *why)
{
    struct simple_client *one = of_client(client);
    struct simple *simple = one->simple;

    if (one->was_connected) {
        simple->counts.closed++;
    } else {
        simple->counts.failed++;
        simple->opening--;
    }
    note_fault(simple, why);
}

static const struct client_handler handler = {
    .on_ready = on_ready,
    .on_suback = on_suback,
    .on_publish = on_publish,
    .on_released = on_released,
    .on_closed = on_closed,
};

/* PREFIX_NUMBER; without a prefix host and process make it unique, as in emqtt-bench. */
static char *make_client_id(const struct simple *simple, uint32_t number)
{
    const struct options *options = simple->options;
    char host[64] = "host";
    char *id = NULL;
    int len;

    (void)gethostname(host, sizeof(host) - 1);
    if (options->prefix != NULL)
        len = asprintf(&id, "%s_%u", options->prefix, number);
    else
        len = asprintf(&id, "%s_bench_%s_%u_%u", host, options_command_name(options->command), (unsigned)getpid(),
                       number);
    return len < 0 ? NULL : id;
}

static int init_clients(struct simple *simple)
{
    const struct options *options = simple->options;

    simple->clients = calloc(options->count, sizeof(*simple->clients));
    if (simple->clients == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < options->count; i++) {
        struct simple_client *one = &simple->clients[i];
        char *id = make_client_id(simple, options->start_number + i);
        if (id == NULL)
            return -ENOMEM;
        one->simple = simple;
        one->number = options->start_number + i;
        client_init(&one->client, &simple->loop, &simple->settings, &handler, id);
        one->client.publishes = options->command == COMMAND_PUB && options->qos > 0;
        if (options->command == COMMAND_PUB && simple_publish_init(one) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* May another connection be opened now? */
static bool may_open(const struct simple *simple)
{
    const struct options *options = simple->options;
    const struct tls *tls = simple->settings.transport.tls;
    uint32_t concurrency = tls != NULL && tls_awaits_session(tls) ? 1 : options->concurrency;

    return simple->opened < options->count && simple->opening < concurrency;
}

static void open_due(struct simple *simple)
{
    const struct options *options = simple->options;

    while (may_open(simple) && clock_ns() >= simple->next_open_ns) {
        int err = client_open(&simple->clients[simple->opened].client);
        simple->opened++;
        simple->next_open_ns += options->connect_interval_ms * NS_PER_MS;
        if (err < 0) {
            simple->counts.failed++;
            note_fault(simple, strerror(-err));
            continue;
        }
        simple->opening++;
    }
}

static bool finished(const struct simple *simple)
{
    const struct options *options = simple->options;
    const struct simple_counts *counts = &simple->counts;

    if (stop_requested() ||
        (options->duration_s > 0 && simple->loop.now_ns >= simple->start_ns + options->duration_s * NS_PER_S))
        return true;
    if (simple->opened == options->count && counts->failed + counts->closed == options->count)
        return true;
    if (options->limit == 0)
        return false;
    if (options->command == COMMAND_SUB)
        return counts->received >= options->limit;
    /* pub: until all is written, and answered at QoS 1 and 2. */
    if (counts->sent < options->limit)
        return false;
    if (options->qos > 0)
        return counts->acknowledged + counts->refused >= counts->sent;
    for (uint32_t i = 0; i < simple->opened; i++)
        if (client_has_output(&simple->clients[i].client))
            return false;
    return true;
}

static uint64_t next_deadline_ns(const struct simple *simple, uint64_t tick_ns)
{
    uint64_t deadline_ns = simple_publish_next_ns(simple);

    if (tick_ns < deadline_ns)
        deadline_ns = tick_ns;
    if (may_open(simple) && simple->next_open_ns < deadline_ns)
        deadline_ns = simple->next_open_ns;
    return deadline_ns;
}

static void run(struct simple *simple)
{
    struct simple_counts before = {0};
    uint64_t tick_ns;

    simple->start_ns = clock_ns();
    simple->next_open_ns = simple->start_ns;
    tick_ns = simple->start_ns + NS_PER_S;
    while (!finished(simple)) {
        open_due(simple);
        loop_turn(&simple->loop, next_deadline_ns(simple, tick_ns));
        simple_publish_due(simple);
        loop_flush(&simple->loop);
        if (simple->loop.now_ns < tick_ns)
            continue;
        tick_ns += NS_PER_S;
        if (!simple->options->quiet)
            simple_print_counters(simple, &before);
        before = simple->counts;
        for (uint32_t i = 0; i < simple->opened; i++)
            client_keep_alive(&simple->clients[i].client, simple->loop.now_ns);
    }
}

static int report(struct simple *simple)
{
    int err = 0;

    simple_print_report(simple);
    if (simple->options->json_path != NULL)
        err = simple_write_json(simple);
    if (err < 0)
        (void)fprintf(stderr, "emqx_bench: cannot write %s: %s\n", simple->options->json_path, strerror(-err));
    return err < 0 || simple->counts.connected == 0 ? 1 : 0;
}

static void fini_clients(struct simple *simple)
{
    for (uint32_t i = 0; simple->clients != NULL && i < simple->options->count; i++) {
        if (simple->clients[i].simple == NULL)
            break;
        client_disconnect(&simple->clients[i].client);
        client_fini(&simple->clients[i].client);
        publish_frame_fini(&simple->clients[i].frame);
    }
    free(simple->clients);
}

int simple_main(const struct options *options)
{
    struct simple *simple = calloc(1, sizeof(*simple));
    struct rlimit limit;
    int code = 1;

    if (simple == NULL)
        return 1;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    simple->options = options;
    simple->topic_counts = options->topic != NULL && strstr(options->topic, "%s") != NULL;
    stop_catch_signals();
    if (loop_init(&simple->loop) == 0 && options_client_settings(options, &simple->settings) == 0 &&
        init_clients(simple) == 0) {
        run(simple);
        code = report(simple);
    }
    fini_clients(simple);
    options_client_settings_fini(&simple->settings);
    loop_fini(&simple->loop);
    free(simple);
    return code;
}
