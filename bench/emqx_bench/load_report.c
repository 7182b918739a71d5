/*
 * load_report: what a run of `load` tells, for people and as JSON.
 */
#include "json_out.h"
#include "load.h"
#include "tls_report.h"

#include <stdio.h>

struct figures {
    double seconds;
    double sent_per_s;
    double delivered_per_s;
    double own_user_us;   /* a delivered message */
    double own_system_us; /* a delivered message */
    double broker_us;     /* a delivered message */
    double broker_load;   /* processors in use */
    double per_read;      /* deliveries a read */
};

static double ratio(double value, double by)
{
    return by > 0 ? value / by : 0;
}

static struct figures compute(const struct load *load)
{
    const struct load_sample *start = &load->at_start;
    const struct load_sample *end = &load->at_end;
    double delivered = (double)(end->delivered - start->delivered);
    double seconds = (double)(end->time_ns - start->time_ns) / 1e9;
    double broker_ns = (double)(end->broker_cpu_ns - start->broker_cpu_ns);

    return (struct figures){
        .seconds = seconds,
        .sent_per_s = ratio((double)(end->sent - start->sent), seconds),
        .delivered_per_s = ratio(delivered, seconds),
        .own_user_us = ratio((double)(end->own_cpu.user_ns - start->own_cpu.user_ns) / 1e3, delivered),
        .own_system_us = ratio((double)(end->own_cpu.system_ns - start->own_cpu.system_ns) / 1e3, delivered),
        .broker_us = ratio(broker_ns / 1e3, delivered),
        .broker_load = ratio(broker_ns / 1e9, seconds),
        .per_read = ratio(delivered, (double)(end->read_count - start->read_count)),
    };
}

bool load_is_clean(const struct load *load)
{
    const struct tracker *tracker = &load->tracker;

    return load->lost == 0 && tracker->duplicates == 0 && tracker->out_of_order == 0 && tracker->foreign == 0 &&
           load->refused == 0;
}

static double percentile_us(const struct load *load, double fraction)
{
    return (double)histogram_percentile(&load->latency, fraction) / 1e3;
}

/* User memory between two moments, for each of `count`. */
static double bytes_each(struct process_memory before, struct process_memory after, uint64_t count)
{
    return ratio((double)after.anonymous_bytes - (double)before.anonymous_bytes, (double)count);
}

static void print_steps(const struct load *load)
{
    (void)printf("connect    %llu subscribers in %.3f s: %.0f/s; processors in use: %.2f own",
                 (unsigned long long)load->connect.count, load->connect.seconds,
                 ratio((double)load->connect.count, load->connect.seconds),
                 ratio((double)load->connect.own_cpu_ns / 1e9, load->connect.seconds));
    if (load->options->broker_pid > 0)
        (void)printf(", %.2f broker", ratio((double)load->connect.broker_cpu_ns / 1e9, load->connect.seconds));
    (void)printf("\n");
    if (load->settings.transport.tls != NULL)
        tls_report_print(load->settings.transport.tls, 10);
    (void)printf("subscribe  %llu filters in %.3f s: %.0f/s\n", (unsigned long long)load->subscribe.count,
                 load->subscribe.seconds, ratio((double)load->subscribe.count, load->subscribe.seconds));
    if (load->extra_filters.count > 0)
        (void)printf("           %llu further filters in %.3f s: %.0f/s\n",
                     (unsigned long long)load->extra_filters.count, load->extra_filters.seconds,
                     ratio((double)load->extra_filters.count, load->extra_filters.seconds));
}

static void print_memory(const struct load *load)
{
    if (load->options->broker_pid == 0)
        return;
    (void)printf("memory     broker: %.1f MiB resident; own data: %.0f bytes a connection, %.0f with its %s",
                 (double)load->memory_subscribed.rss_bytes / 1048576,
                 bytes_each(load->memory_before, load->memory_connected, load->connect.count),
                 bytes_each(load->memory_before, load->memory_subscribed, load->connect.count),
                 load->subscribe.count == load->connect.count ? "subscription" : "subscriptions");
    if (load->extra_filters.count > 0)
        (void)printf(", %.0f each further filter",
                     bytes_each(load->memory_subscribed, load->memory_extra, load->extra_filters.count));
    (void)printf("\n");
}

static void print_traffic(const struct load *load)
{
    struct figures figures = compute(load);

    (void)printf("messages   in %.0f/s, out %.0f/s over %.3f s\n", figures.sent_per_s, figures.delivered_per_s,
                 figures.seconds);
    (void)printf("latency    p50 %.1f us, p90 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n",
                 percentile_us(load, 0.5), percentile_us(load, 0.9), percentile_us(load, 0.99),
                 percentile_us(load, 0.999), (double)load->latency.max_ns / 1e3);
    (void)printf("own CPU    %.3f us a delivery (%.3f user, %.3f system), %.1f deliveries a read\n",
                 figures.own_user_us + figures.own_system_us, figures.own_user_us, figures.own_system_us,
                 figures.per_read);
    if (load->options->broker_pid > 0)
        (void)printf("broker CPU %.3f us a delivery, %.2f processors in use\n", figures.broker_us, figures.broker_load);
    (void)printf("check      %llu sent, %llu delivered: %llu lost, %llu duplicates, %llu out of order, %llu foreign, "
                 "%llu refused: %s\n",
                 (unsigned long long)load->sent, (unsigned long long)load->tracker.delivered,
                 (unsigned long long)load->lost, (unsigned long long)load->tracker.duplicates,
                 (unsigned long long)load->tracker.out_of_order, (unsigned long long)load->tracker.foreign,
                 (unsigned long long)load->refused, load_is_clean(load) ? "ok" : "FAILED");
}

void load_print_report(const struct load *load)
{
    (void)printf("load       %s over %s, %u publishers, %u subscribers, QoS %u, MQTT version %u, %u bytes, ",
                 load->pattern->name, options_transport_name(load->options), load->publisher_count,
                 load->subscriber_count, load->options->qos, load->options->version, load->options->size);
    if (load->options->rate > 0)
        (void)printf("%u messages/s\n", load->options->rate);
    else
        (void)printf("window %u\n", load->window);
    print_steps(load);
    print_memory(load);
    if (load->publisher_count > 0)
        print_traffic(load);
}

static void write_memory(struct json_out *json, const char *key, struct process_memory memory)
{
    json_out_begin(json, key);
    json_out_number(json, "rss_bytes", memory.rss_bytes);
    json_out_number(json, "pss_bytes", memory.pss_bytes);
    json_out_number(json, "anonymous_bytes", memory.anonymous_bytes);
    json_out_end(json);
}

static void write_step(struct json_out *json, const char *key, struct load_step step)
{
    json_out_begin(json, key);
    json_out_number(json, "count", step.count);
    json_out_real(json, "seconds", step.seconds);
    json_out_real(json, "per_s", ratio((double)step.count, step.seconds));
    json_out_real(json, "own_cpu_us", ratio((double)step.own_cpu_ns / 1e3, (double)step.count));
    json_out_real(json, "broker_cpu_us", ratio((double)step.broker_cpu_ns / 1e3, (double)step.count));
    json_out_end(json);
}

static void write_setting(struct json_out *json, const struct load *load)
{
    json_out_text(json, "command", "load");
    json_out_text(json, "transport", options_transport_name(load->options));
    json_out_text(json, "pattern", load->pattern->name);
    json_out_number(json, "publishers", load->publisher_count);
    json_out_number(json, "subscribers", load->subscriber_count);
    json_out_number(json, "filters", load->filter_count);
    json_out_number(json, "qos", load->options->qos);
    json_out_number(json, "version", load->options->version);
    json_out_number(json, "size", load->options->size);
    json_out_number(json, "window", load->window);
    json_out_number(json, "rate", load->options->rate);
    if (load->settings.transport.tls != NULL)
        tls_report_json(load->settings.transport.tls, json);
    write_step(json, "connect", load->connect);
    write_step(json, "subscribe", load->subscribe);
    write_step(json, "extra_filters", load->extra_filters);
}

static void write_traffic(struct json_out *json, const struct load *load)
{
    struct figures figures = compute(load);

    json_out_real(json, "seconds", figures.seconds);
    json_out_real(json, "sent_per_s", figures.sent_per_s);
    json_out_real(json, "delivered_per_s", figures.delivered_per_s);
    json_out_begin(json, "latency_us");
    json_out_real(json, "p50", percentile_us(load, 0.5));
    json_out_real(json, "p90", percentile_us(load, 0.9));
    json_out_real(json, "p99", percentile_us(load, 0.99));
    json_out_real(json, "p99_9", percentile_us(load, 0.999));
    json_out_real(json, "max", (double)load->latency.max_ns / 1e3);
    json_out_number(json, "count", load->latency.total);
    json_out_end(json);
    json_out_real(json, "own_user_us", figures.own_user_us);
    json_out_real(json, "own_system_us", figures.own_system_us);
    json_out_real(json, "deliveries_per_read", figures.per_read);
    json_out_real(json, "broker_cpu_us", figures.broker_us);
    json_out_real(json, "broker_processors", figures.broker_load);
}

static void write_check(struct json_out *json, const struct load *load)
{
    json_out_begin(json, "check");
    json_out_number(json, "sent", load->sent);
    json_out_number(json, "delivered", load->tracker.delivered);
    json_out_number(json, "lost", load->lost);
    json_out_number(json, "duplicates", load->tracker.duplicates);
    json_out_number(json, "out_of_order", load->tracker.out_of_order);
    json_out_number(json, "foreign", load->tracker.foreign);
    json_out_number(json, "refused", load->refused);
    json_out_bool(json, "ok", load_is_clean(load));
    json_out_end(json);
}

int load_write_json(const struct load *load)
{
    struct json_out json;
    int err = json_out_open(&json, load->options->json_path);

    if (err < 0)
        return err;
    write_setting(&json, load);
    write_traffic(&json, load);
    write_check(&json, load);
    json_out_begin(&json, "memory");
    write_memory(&json, "before", load->memory_before);
    write_memory(&json, "connected", load->memory_connected);
    write_memory(&json, "subscribed", load->memory_subscribed);
    write_memory(&json, "extra_filters", load->memory_extra);
    write_memory(&json, "loaded", load->memory_loaded);
    json_out_end(&json);
    return json_out_close(&json);
}
