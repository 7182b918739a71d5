/*
 * queue_report: what a run of `queue` tells, for people and as JSON.
 */
#include "json_out.h"
#include "queue.h"

#include <stdio.h>

static double ratio(double value, double by)
{
    return by > 0 ? value / by : 0;
}

static double seconds(struct queue_span span)
{
    return (double)(span.end.time_ns - span.start.time_ns) / 1e9;
}

static double broker_us(struct queue_span span, double count)
{
    return ratio((double)(span.end.broker_cpu_ns - span.start.broker_cpu_ns) / 1e3, count);
}

static double own_us(struct queue_span span, double count)
{
    return ratio((double)(span.end.own_cpu_ns - span.start.own_cpu_ns) / 1e3, count);
}

static double acknowledged(struct queue_span span)
{
    return (double)(span.end.acknowledged - span.start.acknowledged);
}

static double received(struct queue_span span)
{
    return (double)(span.end.received - span.start.received);
}

static double percentile_us(const struct queue *queue, double fraction)
{
    return (double)histogram_percentile(&queue->acknowledge, fraction) / 1e3;
}

bool queue_is_clean(const struct queue *queue)
{
    return queue->lost == 0 && queue->duplicates == 0 && queue->out_of_order == 0 && queue->foreign == 0 &&
           queue->refused == 0;
}

static void print_publish(const struct queue *queue)
{
    double count = acknowledged(queue->publish);

    (void)printf("publish    %.0f messages acknowledged in %.3f s: %.0f/s\n", count, seconds(queue->publish),
                 ratio(count, seconds(queue->publish)));
    (void)printf("acknowledge p50 %.1f us, p90 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n",
                 percentile_us(queue, 0.5), percentile_us(queue, 0.9), percentile_us(queue, 0.99),
                 percentile_us(queue, 0.999), (double)queue->acknowledge.max_ns / 1e3);
    (void)printf("           CPU a message: %.3f us own", own_us(queue->publish, count));
    if (queue->options->broker_pid > 0)
        (void)printf(", %.3f us broker", broker_us(queue->publish, count));
    (void)printf("\n");
}

static void print_drain(const struct queue *queue)
{
    double count = received(queue->drain);

    (void)printf("drain      %.0f messages in %.3f s: %.0f/s\n", count, seconds(queue->drain),
                 ratio(count, seconds(queue->drain)));
    (void)printf("           CPU a message: %.3f us own", own_us(queue->drain, count));
    if (queue->options->broker_pid > 0)
        (void)printf(", %.3f us broker", broker_us(queue->drain, count));
    (void)printf("\n");
}

void queue_print_report(const struct queue *queue)
{
    const struct options *options = queue->options;

    (void)printf("queue      %s over %s, %u publishers, %u sessions, QoS %u, MQTT version %u, %u bytes\n",
                 options->steps, options_transport_name(options), queue->publisher_count, queue->session_count,
                 options->qos, options->version, options->size);
    if (queue->steps[QUEUE_SUBSCRIBE])
        (void)printf("subscribe  %u sessions in %.3f s: %.0f/s\n", queue->session_count, seconds(queue->subscribe),
                     ratio(queue->session_count, seconds(queue->subscribe)));
    if (queue->steps[QUEUE_PUBLISH])
        print_publish(queue);
    if (queue->steps[QUEUE_DRAIN])
        print_drain(queue);
    if (options->broker_pid > 0)
        (void)printf(
            "memory     broker: %.1f MiB resident before, %.1f subscribed, %.1f published, %.1f drained\n",
            (double)queue->memory_before.rss_bytes / 1048576, (double)queue->memory_subscribed.rss_bytes / 1048576,
            (double)queue->memory_published.rss_bytes / 1048576, (double)queue->memory_drained.rss_bytes / 1048576);
    (void)printf(
        "check      %llu sent, %llu acknowledged, %llu received: %llu lost, %llu duplicates, %llu out of order, "
        "%llu foreign, %llu refused: %s\n",
        (unsigned long long)queue->sent, (unsigned long long)queue->acknowledged, (unsigned long long)queue->received,
        (unsigned long long)queue->lost, (unsigned long long)queue->duplicates, (unsigned long long)queue->out_of_order,
        (unsigned long long)queue->foreign, (unsigned long long)queue->refused,
        queue_is_clean(queue) ? "ok" : "FAILED");
}

static void write_memory(struct json_out *json, const char *key, struct process_memory memory)
{
    json_out_begin(json, key);
    json_out_number(json, "rss_bytes", memory.rss_bytes);
    json_out_number(json, "anonymous_bytes", memory.anonymous_bytes);
    json_out_end(json);
}

static void write_span(struct json_out *json, const char *key, struct queue_span span, double count)
{
    json_out_begin(json, key);
    json_out_real(json, "count", count);
    json_out_real(json, "seconds", seconds(span));
    json_out_real(json, "per_s", ratio(count, seconds(span)));
    json_out_real(json, "own_cpu_us", own_us(span, count));
    json_out_real(json, "broker_cpu_us", broker_us(span, count));
    json_out_end(json);
}

static void write_setting(struct json_out *json, const struct queue *queue)
{
    const struct options *options = queue->options;

    json_out_text(json, "command", "queue");
    json_out_text(json, "steps", options->steps);
    json_out_text(json, "transport", options_transport_name(options));
    json_out_number(json, "publishers", queue->publisher_count);
    json_out_number(json, "sessions", queue->session_count);
    json_out_number(json, "qos", options->qos);
    json_out_number(json, "version", options->version);
    json_out_number(json, "size", options->size);
}

static void write_check(struct json_out *json, const struct queue *queue)
{
    json_out_begin(json, "check");
    json_out_number(json, "sent", queue->sent);
    json_out_number(json, "acknowledged", queue->acknowledged);
    json_out_number(json, "received", queue->received);
    json_out_number(json, "lost", queue->lost);
    json_out_number(json, "duplicates", queue->duplicates);
    json_out_number(json, "out_of_order", queue->out_of_order);
    json_out_number(json, "foreign", queue->foreign);
    json_out_number(json, "refused", queue->refused);
    json_out_bool(json, "ok", queue_is_clean(queue));
    json_out_end(json);
}

int queue_write_json(const struct queue *queue)
{
    struct json_out json;
    int err = json_out_open(&json, queue->options->json_path);

    if (err < 0)
        return err;
    write_setting(&json, queue);
    write_span(&json, "subscribe", queue->subscribe, queue->steps[QUEUE_SUBSCRIBE] ? queue->session_count : 0);
    write_span(&json, "publish", queue->publish, acknowledged(queue->publish));
    json_out_begin(&json, "acknowledge_us");
    json_out_real(&json, "p50", percentile_us(queue, 0.5));
    json_out_real(&json, "p90", percentile_us(queue, 0.9));
    json_out_real(&json, "p99", percentile_us(queue, 0.99));
    json_out_real(&json, "max", (double)queue->acknowledge.max_ns / 1e3);
    json_out_number(&json, "count", queue->acknowledge.total);
    json_out_end(&json);
    write_span(&json, "drain", queue->drain, received(queue->drain));
    write_check(&json, queue);
    json_out_begin(&json, "memory");
    write_memory(&json, "before", queue->memory_before);
    write_memory(&json, "subscribed", queue->memory_subscribed);
    write_memory(&json, "published", queue->memory_published);
    write_memory(&json, "drained", queue->memory_drained);
    json_out_end(&json);
    return json_out_close(&json);
}
