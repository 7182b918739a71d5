/*
 * load: publishers and subscribers of one traffic pattern in one process, as a closed loop.
 *
 * Each publisher keeps up to `window` messages under way from end to end: the credit for a message returns when its
 * last delivery is settled: has arrived, and at QoS 2 was released by the broker. So the broker's queues stay short, nothing is dropped for lack of room, and the rate is
 * what the broker sustains. With --rate the messages start on a fixed schedule instead, and a message's latency
 * counts from when it was due, also when it had to wait for a slow broker.
 *
 * load.c runs the phases, load_pattern.c knows the patterns, load_traffic.c is the hot path, load_report.c tells the
 * result. Thread: one for all.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "histogram.h"
#include "options.h"
#include "process.h"
#include "publish_frame.h"
#include "tracker.h"

#define LOAD_TOPIC_MAX 512u        /* bytes, with the terminating zero */
#define LOAD_TOPIC_PREFIX_MAX 129u /* the same */

struct load;

struct publisher {
    struct client client;
    struct load *load;
    uint32_t index;
    bool is_listed;
    struct publisher *next_listed;
    struct publish_frame frame;
    uint64_t owed; /* with a rate: messages that are due and not sent */
    uint64_t sent;
};

/* The publishers of the messages that a QoS 2 subscriber has received and the broker not yet released, oldest first.
 * The credit windows bound how many there are. */
struct unsettled {
    uint32_t *publishers;
    uint32_t head; /* counts all that were taken */
    uint32_t tail; /* counts all that were added */
    uint32_t mask;
};

struct subscriber {
    struct client client;
    struct load *load;
    uint32_t index;
    uint32_t filter_next; /* index of the next filter to subscribe */
    uint32_t filter_goal; /* filters it is to have */
    struct flow_view view;
    struct unsettled unsettled; /* QoS 2 */
};

/* One traffic pattern. */
struct load_pattern {
    const char *name;
    uint32_t publisher_count; /* unless the options say */
    uint32_t subscriber_count;
    uint32_t filter_count; /* in all; 0: one a subscriber */
    bool whole_flows;      /* see struct tracker */
    /* Deliveries of one message. */
    uint32_t (*deliveries)(const struct load *load);
    /* Filter `index` (0..) of a subscriber, LOAD_TOPIC_MAX bytes at most. */
    void (*filter)(const struct subscriber *subscriber, uint32_t index, char *out);
    /* A publisher's topic; a pattern with more than one has `topic_count`, and the number's place in it. */
    void (*topic)(const struct publisher *publisher, char *out);
};

/* What was seen at one moment. */
struct load_sample {
    uint64_t time_ns;
    uint64_t sent;
    uint64_t delivered;
    uint64_t broker_cpu_ns;
    struct process_cpu own_cpu;
    uint64_t read_count;
    uint64_t write_count;
};

/* A group of connections or subscriptions being made. */
struct load_step {
    uint64_t count;
    double seconds;
    uint64_t own_cpu_ns;    /* of connections */
    uint64_t broker_cpu_ns; /* the same */
};

struct load {
    const struct options *options;
    const struct load_pattern *pattern;
    struct client_settings settings;
    struct loop loop;
    struct tracker tracker;
    struct publisher *publishers;
    struct subscriber *subscribers;
    uint32_t publisher_count;
    uint32_t subscriber_count;
    uint32_t filter_count; /* in all */
    uint32_t window;
    char topic_prefix[LOAD_TOPIC_PREFIX_MAX];
    uint32_t topic_count; /* topics a publisher goes through; 1: its own */
    uint32_t topic_number_at;
    struct publisher *listed; /* publishers that may have something to send */
    bool publishing;
    bool measuring; /* neither warm-up nor drain: latencies are recorded */
    uint64_t sent;
    uint64_t refused; /* PUBLISHes answered with an error */
    /* schedule of --rate */
    uint64_t rate_start_ns;
    uint64_t rate_cursor; /* messages that have become due */
    /* phases */
    uint32_t opened;
    uint32_t opening;
    uint32_t done; /* connections or subscribers that finished the phase */
    bool launching_publishers;
    uint64_t progress; /* grows with whatever moves forward */
    char failure[256]; /* why the run had to end; empty: it has not */
    /* results */
    struct histogram latency;
    struct load_sample at_start, at_end;
    struct load_step connect, subscribe, extra_filters;
    struct process_memory memory_before, memory_connected, memory_subscribed, memory_extra, memory_loaded;
    uint64_t lost;
};

/* The subcommand. Returns the exit code: 0, 1 (could not run) or 3 (messages lost, doubled or out of order). */
int load_main(const struct options *options);

/* load_pattern.c: resolves the counts and makes clients, tracker and frames. Returns 0, or -errno with the fault
 * printed. load_topology_fini() takes half-built ones too. */
int load_topology_init(struct load *load);
void load_topology_fini(struct load *load);

/* load_traffic.c: one turn: reads, publishes what may be published, writes. Waits until `deadline_ns` at most. */
void load_turn(struct load *load, uint64_t deadline_ns);
/* Lets the publishers begin, or end; with a rate, the schedule starts now. */
void load_start_publishing(struct load *load);
void load_stop_publishing(struct load *load);
extern const struct client_handler load_publisher_handler;
extern const struct client_handler load_subscriber_handler;

/* load.c: notes the first fault; the run then ends. */
void load_fail(struct load *load, const char *who, uint32_t index, const char *why);
/* load.c: sends a subscriber's next SUBSCRIBE, or counts it as done. */
void load_subscribe_next(struct subscriber *subscriber);

/* load_report.c */
void load_print_report(const struct load *load);
int load_write_json(const struct load *load);
/* True when no message was lost, doubled, out of order, foreign or refused. */
bool load_is_clean(const struct load *load);

#endif
