/*
 * simple_report: the counters each second and the summary of conn, pub and sub.
 */
#include "json_out.h"
#include "simple.h"
#include "tls_report.h"

/* A counter by the name emqtt-bench gives it. */
struct counter_row {
    const char *name;
    size_t offset;
};

#define COUNTER(member) offsetof(struct simple_counts, member)

static const struct counter_row counters[] = {
    {"connect_succ", COUNTER(connected)},
    {"connect_fail", COUNTER(failed)},
    {"connection_lost", COUNTER(closed)},
    {"sub", COUNTER(subscribed)},
    {"sub_fail", COUNTER(refused_subscriptions)},
    {"pub", COUNTER(sent)},
    {"pub_succ", COUNTER(acknowledged)},
    {"pub_fail", COUNTER(refused)},
    {"pub_overrun", COUNTER(skipped)},
    {"recv", COUNTER(received)},
};

static unsigned long long counter_value(const struct simple_counts *counts, const struct counter_row *row)
{
    uint64_t value;

    memcpy(&value, (const char *)counts + row->offset, sizeof(value));
    return value;
}

void simple_print_counters(const struct simple *simple, const struct simple_counts *before)
{
    unsigned second = (unsigned)((simple->loop.now_ns - simple->start_ns + 500000000) / 1000000000);

    for (size_t i = 0; i < ARRAY_COUNT(counters); i++) {
        unsigned long long total = counter_value(&simple->counts, &counters[i]);
        if (total > 0)
            (void)printf("%us %s total=%llu rate=%llu/sec\n", second, counters[i].name, total,
                         total - counter_value(before, &counters[i]));
    }
    (void)fflush(stdout);
}

static void print_latency(const char *what, const struct histogram *latency)
{
    if (latency->total > 0)
        (void)printf("%-12s p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms\n", what,
                     (double)histogram_percentile(latency, 0.5) / 1e6, (double)histogram_percentile(latency, 0.9) / 1e6,
                     (double)histogram_percentile(latency, 0.99) / 1e6,
                     (double)histogram_percentile(latency, 0.999) / 1e6, (double)latency->max_ns / 1e6);
}

static double messages_seconds(const struct simple *simple)
{
    return (double)(simple->last_message_ns - simple->first_message_ns) / 1e9;
}

static void print_messages(const struct simple *simple, const char *what, uint64_t count)
{
    double seconds = messages_seconds(simple);

    (void)printf("%-12s %llu messages in %.3f s: %.0f/s\n", what, (unsigned long long)count, seconds,
                 seconds > 0 ? (double)count / seconds : 0);
}

static void print_costs(const struct simple *simple, uint64_t messages)
{
    struct process_cpu own = process_own_cpu();
    struct process_memory memory;
    pid_t pid = (pid_t)simple->options->broker_pid;

    if (messages > 0)
        (void)printf("own CPU      %.3f us a message (%.3f user, %.3f system)\n",
                     (double)(own.user_ns + own.system_ns) / 1e3 / (double)messages,
                     (double)own.user_ns / 1e3 / (double)messages, (double)own.system_ns / 1e3 / (double)messages);
    if (pid > 0 && process_memory(pid, &memory) == 0)
        (void)printf("broker       %.1f MiB resident, %.1f MiB own data\n", (double)memory.rss_bytes / 1048576,
                     (double)memory.anonymous_bytes / 1048576);
}

void simple_print_report(const struct simple *simple)
{
    const struct simple_counts *counts = &simple->counts;
    double seconds = (double)(simple->connected_ns - simple->start_ns) / 1e9;

    (void)printf("connections  %llu made, %llu failed, %llu lost", (unsigned long long)counts->connected,
                 (unsigned long long)counts->failed, (unsigned long long)counts->closed);
    if (counts->connected > 0)
        (void)printf("; %.0f/s over %.3f s", (double)counts->connected / seconds, seconds);
    (void)printf("\n");
    print_latency("connect", &simple->connect_latency);
    if (simple->settings.transport.tls != NULL)
        tls_report_print(simple->settings.transport.tls, 12);
    if (simple->options->command == COMMAND_PUB) {
        print_messages(simple, "published", counts->sent);
        if (simple->options->qos > 0)
            (void)printf("acknowledged %llu messages, %llu refused\n", (unsigned long long)counts->acknowledged,
                         (unsigned long long)counts->refused);
        print_latency("acknowledge", &simple->acknowledge_latency);
    } else if (simple->options->command == COMMAND_SUB) {
        print_messages(simple, "received", counts->received);
        print_latency("end to end", &simple->receive_latency);
    }
    print_costs(simple, counts->sent + counts->received);
    if (simple->first_fault[0] != '\0')
        (void)printf("first fault  %s\n", simple->first_fault);
}

static void write_latency(struct json_out *json, const char *key, const struct histogram *latency)
{
    json_out_begin(json, key);
    json_out_number(json, "count", latency->total);
    json_out_real(json, "p50", (double)histogram_percentile(latency, 0.5) / 1e3);
    json_out_real(json, "p90", (double)histogram_percentile(latency, 0.9) / 1e3);
    json_out_real(json, "p99", (double)histogram_percentile(latency, 0.99) / 1e3);
    json_out_real(json, "p99_9", (double)histogram_percentile(latency, 0.999) / 1e3);
    json_out_real(json, "max", (double)latency->max_ns / 1e3);
    json_out_end(json);
}

int simple_write_json(const struct simple *simple)
{
    struct json_out json;
    int err = json_out_open(&json, simple->options->json_path);

    if (err < 0)
        return err;
    json_out_text(&json, "command", options_command_name(simple->options->command));
    json_out_text(&json, "transport", options_transport_name(simple->options));
    if (simple->settings.transport.tls != NULL)
        tls_report_json(simple->settings.transport.tls, &json);
    for (size_t i = 0; i < ARRAY_COUNT(counters); i++)
        json_out_number(&json, counters[i].name, counter_value(&simple->counts, &counters[i]));
    json_out_real(&json, "connect_seconds", (double)(simple->connected_ns - simple->start_ns) / 1e9);
    json_out_real(&json, "message_seconds", messages_seconds(simple));
    write_latency(&json, "connect_us", &simple->connect_latency);
    write_latency(&json, "acknowledge_us", &simple->acknowledge_latency);
    write_latency(&json, "end_to_end_us", &simple->receive_latency);
    json_out_text(&json, "first_fault", simple->first_fault);
    return json_out_close(&json);
}
