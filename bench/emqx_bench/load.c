/*
 * load: the phases of a run, one after the other:
 *
 *   connect subscribers -> subscribe -> (idle: further filters, hold) -> connect publishers -> warm up -> measure ->
 *   drain (until nothing is under way, or nothing moves any more) -> disconnect -> report
 */
#include "load.h"

#include "stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define FILTERS_PER_SUBSCRIBE 100u

/* The line of counters each second, and what has to be done that often. */
struct ticker {
    uint64_t start_ns;
    uint64_t next_ns;
    uint64_t sent;
    uint64_t delivered;
};

void load_fail(struct load *load, const char *who, uint32_t index, const char *why)
{
    if (load->failure[0] == '\0')
        (void)snprintf(load->failure, sizeof(load->failure), "%s %u: %s", who, index, why);
}

static bool failed(const struct load *load)
{
    return load->failure[0] != '\0';
}

static bool ended(const struct load *load)
{
    return failed(load) || stop_requested();
}

static void tick(struct load *load, struct ticker *ticker, const char *phase)
{
    uint64_t now_ns = load->loop.now_ns;

    if (now_ns < ticker->next_ns)
        return;
    ticker->next_ns += NS_PER_S;
    if (!load->options->quiet) {
        (void)printf("%3.0fs %-10s connected=%u sent=%llu (%llu/s) delivered=%llu (%llu/s)\n",
                     (double)(now_ns - ticker->start_ns) / 1e9, phase, load->opened - load->opening,
                     (unsigned long long)load->sent, (unsigned long long)(load->sent - ticker->sent),
                     (unsigned long long)load->tracker.delivered,
                     (unsigned long long)(load->tracker.delivered - ticker->delivered));
        (void)fflush(stdout);
    }
    ticker->sent = load->sent;
    ticker->delivered = load->tracker.delivered;
    for (uint32_t i = 0; i < load->subscriber_count; i++)
        client_keep_alive(&load->subscribers[i].client, now_ns);
    for (uint32_t i = 0; i < load->publisher_count; i++)
        client_keep_alive(&load->publishers[i].client, now_ns);
}

/* Runs turns until `deadline_ns`; sooner when the run has ended. */
static void run_until(struct load *load, struct ticker *ticker, const char *phase, uint64_t deadline_ns)
{
    while (!ended(load) && load->loop.now_ns < deadline_ns) {
        load_turn(load, ticker->next_ns < deadline_ns ? ticker->next_ns : deadline_ns);
        tick(load, ticker, phase);
    }
}

static struct client *launch_client(struct load *load, uint32_t index)
{
    return load->launching_publishers ? &load->publishers[index].client : &load->subscribers[index].client;
}

/* Connections that may be being opened at a time. */
static uint32_t concurrency(const struct load *load)
{
    const struct tls *tls = load->settings.transport.tls;

    return tls != NULL && tls_awaits_session(tls) ? 1 : load->options->concurrency;
}

/* Opens connections as long as few enough are being opened. */
static void launch(struct load *load, uint32_t count)
{
    while (!failed(load) && load->opened < count && load->opening < concurrency(load)) {
        int err = client_open(launch_client(load, load->opened));
        if (err < 0) {
            load_fail(load, load->launching_publishers ? "publisher" : "subscriber", load->opened, strerror(-err));
            return;
        }
        load->opened++;
        load->opening++;
    }
}

/* Turns until `count` are done; fails when nothing moved for the stall time. */
static void wait_done(struct load *load, struct ticker *ticker, const char *phase, uint32_t count, bool launching)
{
    uint64_t stall_ns = load->options->stall_s * NS_PER_S;
    uint64_t seen = load->progress;
    uint64_t moved_ns = load->loop.now_ns;

    while (!ended(load) && load->done < count) {
        if (launching)
            launch(load, count);
        load_turn(load, ticker->next_ns);
        tick(load, ticker, phase);
        if (load->progress != seen) {
            seen = load->progress;
            moved_ns = load->loop.now_ns;
        } else if (load->loop.now_ns > moved_ns + stall_ns) {
            load_fail(load, phase, load->done, "the broker does not answer any more");
        }
    }
}

static struct process_memory broker_memory(const struct load *load)
{
    struct process_memory memory = {0};

    if (load->options->broker_pid > 0)
        (void)process_memory((pid_t)load->options->broker_pid, &memory);
    return memory;
}

static struct load_sample take_sample(const struct load *load)
{
    struct load_sample sample = {
        .time_ns = clock_ns(),
        .sent = load->sent,
        .delivered = load->tracker.delivered,
        .own_cpu = process_own_cpu(),
        .read_count = load->loop.read_count,
        .write_count = load->loop.write_count,
    };

    if (load->options->broker_pid > 0)
        (void)process_cpu_ns((pid_t)load->options->broker_pid, &sample.broker_cpu_ns);
    return sample;
}

static struct load_step connect_all(struct load *load, struct ticker *ticker, bool publishers)
{
    struct load_sample start = take_sample(load);
    struct load_sample end;
    uint32_t count = publishers ? load->publisher_count : load->subscriber_count;

    load->launching_publishers = publishers;
    load->opened = 0;
    load->opening = 0;
    load->done = 0;
    wait_done(load, ticker, "connect", count, true);
    end = take_sample(load);
    return (struct load_step){
        .count = count,
        .seconds = (double)(end.time_ns - start.time_ns) / 1e9,
        .own_cpu_ns = end.own_cpu.user_ns + end.own_cpu.system_ns - start.own_cpu.user_ns - start.own_cpu.system_ns,
        .broker_cpu_ns = end.broker_cpu_ns - start.broker_cpu_ns,
    };
}

void load_subscribe_next(struct subscriber *subscriber)
{
    struct load *load = subscriber->load;
    static char texts[FILTERS_PER_SUBSCRIBE][LOAD_TOPIC_MAX];
    const char *filters[FILTERS_PER_SUBSCRIBE];
    uint32_t count = 0;

    if (subscriber->filter_next == subscriber->filter_goal) {
        load->done++;
        return;
    }
    while (count < FILTERS_PER_SUBSCRIBE && subscriber->filter_next < subscriber->filter_goal) {
        load->pattern->filter(subscriber, subscriber->filter_next++, texts[count]);
        filters[count] = texts[count];
        count++;
    }
    client_subscribe(&subscriber->client, filters, count, (uint8_t)load->options->qos);
}

static struct load_step subscribe_all(struct load *load, struct ticker *ticker)
{
    struct load_step step = {0};
    uint64_t start_ns = clock_ns();

    load->done = 0;
    for (uint32_t i = 0; i < load->subscriber_count; i++) {
        struct subscriber *subscriber = &load->subscribers[i];
        step.count += subscriber->filter_goal - subscriber->filter_next;
        load_subscribe_next(subscriber);
    }
    wait_done(load, ticker, "subscribe", load->subscriber_count, false);
    step.seconds = (double)(clock_ns() - start_ns) / 1e9;
    return step;
}

/* The pattern `idle`: further filters on the connections, all alike or the first ones one more. */
static void run_idle(struct load *load, struct ticker *ticker)
{
    for (uint32_t i = 0; i < load->subscriber_count; i++) {
        uint32_t share = load->filter_count / load->subscriber_count;
        load->subscribers[i].filter_goal += share + (i < load->filter_count % load->subscriber_count ? 1 : 0);
    }
    if (load->filter_count > 0 && !ended(load))
        load->extra_filters = subscribe_all(load, ticker);
    load->memory_extra = broker_memory(load);
    run_until(load, ticker, "hold", clock_ns() + load->options->hold_s * NS_PER_S);
}

/* Waits for what is under way; what has not come when nothing moves any more is lost. */
static void drain(struct load *load, struct ticker *ticker)
{
    uint64_t stall_ns = load->options->stall_s * NS_PER_S;
    uint64_t seen = load->tracker.delivered;
    uint64_t moved_ns = clock_ns();

    load_stop_publishing(load);
    while (!failed(load) && tracker_missing(&load->tracker) > 0 && load->loop.now_ns < moved_ns + stall_ns) {
        load_turn(load, ticker->next_ns);
        tick(load, ticker, "drain");
        if (load->tracker.delivered != seen) {
            seen = load->tracker.delivered;
            moved_ns = load->loop.now_ns;
        }
    }
    load->lost = tracker_missing(&load->tracker);
}

static void run_traffic(struct load *load, struct ticker *ticker)
{
    const struct options *options = load->options;

    load_start_publishing(load);
    run_until(load, ticker, "warm-up", clock_ns() + options->warm_up_ms * NS_PER_MS);
    load->at_start = take_sample(load);
    load->measuring = true;
    run_until(load, ticker, "measure", load->at_start.time_ns + options->duration_s * NS_PER_S);
    load->measuring = false;
    load->at_end = take_sample(load);
    load->memory_loaded = broker_memory(load);
    drain(load, ticker);
}

static void run_phases(struct load *load)
{
    struct ticker ticker = {.start_ns = clock_ns()};

    ticker.next_ns = ticker.start_ns + NS_PER_S;
    load->memory_before = broker_memory(load);
    load->connect = connect_all(load, &ticker, false);
    load->memory_connected = broker_memory(load);
    if (!ended(load))
        load->subscribe = subscribe_all(load, &ticker);
    load->memory_subscribed = broker_memory(load);
    if (strcmp(load->pattern->name, "idle") == 0) {
        run_idle(load, &ticker);
        return;
    }
    if (!ended(load))
        (void)connect_all(load, &ticker, true);
    if (!ended(load))
        run_traffic(load, &ticker);
}

static void disconnect_all(struct load *load)
{
    for (uint32_t i = 0; i < load->publisher_count; i++)
        client_disconnect(&load->publishers[i].client);
    for (uint32_t i = 0; i < load->subscriber_count; i++)
        client_disconnect(&load->subscribers[i].client);
}

static int finish(struct load *load)
{
    if (failed(load)) {
        (void)fprintf(stderr, "emqx_bench: %s\n", load->failure);
        return 1;
    }
    load_print_report(load);
    if (load->options->json_path != NULL) {
        int err = load_write_json(load);
        if (err < 0) {
            (void)fprintf(stderr, "emqx_bench: cannot write %s: %s\n", load->options->json_path, strerror(-err));
            return 1;
        }
    }
    return load_is_clean(load) ? 0 : 3;
}

/* As many descriptors as the system lets us have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int load_main(const struct options *options)
{
    struct load *load = calloc(1, sizeof(*load));
    int code = 1;

    if (load == NULL)
        return 1;
    load->options = options;
    stop_catch_signals();
    raise_descriptor_limit();
    if (loop_init(&load->loop) == 0 && options_client_settings(options, &load->settings) == 0 &&
        load_topology_init(load) == 0) {
        run_phases(load);
        disconnect_all(load);
        code = finish(load);
    }
    load_topology_fini(load);
    options_client_settings_fini(&load->settings);
    loop_fini(&load->loop);
    free(load);
    return code;
}
