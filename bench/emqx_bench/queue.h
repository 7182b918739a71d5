/*
 * queue: persistent sessions whose clients are away: made, filled by publishers, drained by the clients when they are back.
 *
 *   subscribe: each session's client connects, subscribes to a topic of its own and leaves
 *   publish:   publishers fill the sessions, each in turn those that are its own, with a window of unacknowledged messages
 *   drain:     the clients come back and take everything; each leaves when it has all
 *
 * A run takes the steps that --steps names, so that a broker can be restarted between two runs: with the same --prefix and
 * --topic-prefix, a run that only drains knows from --messages what must come. Here a message counts when the broker has acknowledged
 * it, not when it has arrived. Payloads are noise, so that no store makes them smaller than they are.
 *
 * queue.c runs the steps, queue_traffic.c is what happens on connections, queue_report.c tells the result. Thread: one for all.
 */
#ifndef BENCH_QUEUE_H
#define BENCH_QUEUE_H

#include "histogram.h"
#include "options.h"
#include "process.h"
#include "publish_frame.h"

#define QUEUE_TOPIC_PREFIX_MAX 129u /* bytes, with the terminating zero */
#define QUEUE_TOPIC_MAX 160u        /* the same */
#define QUEUE_TOPIC_DIGITS 7u
#define QUEUE_NOISE_BYTES (1u << 20) /* a payload is what begins somewhere in these */

struct queue;

enum queue_step { QUEUE_SUBSCRIBE, QUEUE_PUBLISH, QUEUE_DRAIN, QUEUE_STEP_COUNT };

/* One session and its client. */
struct queue_session {
    struct client client;
    struct queue *queue;
    uint32_t index;
    bool done;         /* with this step */
    uint64_t sent;     /* messages to it; a run that does not publish: what --messages says */
    uint64_t next;     /* one above the highest number received */
    uint64_t gaps;     /* numbers below that which did not come */
    uint64_t received; /* without duplicates */
    uint64_t released; /* QoS 2: PUBRELs */
};

struct queue_publisher {
    struct client client;
    struct queue *queue;
    uint32_t index;
    bool is_listed;
    struct queue_publisher *next_listed;
    struct publish_frame frame;
    uint32_t turn;     /* the session it sends to next is its index + turn * publishers */
    uint32_t sessions; /* that are its own */
    uint64_t sent;
    uint64_t answered;
};

/* What was seen at one moment. */
struct queue_sample {
    uint64_t time_ns;
    uint64_t acknowledged;
    uint64_t received;
    uint64_t broker_cpu_ns;
    uint64_t own_cpu_ns;
};

/* What happened between two moments. */
struct queue_span {
    struct queue_sample start, end;
};

struct queue {
    const struct options *options;
    struct client_settings session_settings;
    struct client_settings publisher_settings; /* the same, with a clean start; transport is borrowed */
    struct loop loop;
    struct queue_session *sessions;
    struct queue_publisher *publishers;
    uint32_t session_count;
    uint32_t publisher_count;
    uint32_t open_max; /* connections at a time: the system's limit */
    uint8_t *noise;    /* QUEUE_NOISE_BYTES and a payload */
    char topic_prefix[QUEUE_TOPIC_PREFIX_MAX];
    uint32_t topic_number_at; /* offset of the session's digits */
    bool steps[QUEUE_STEP_COUNT];
    enum queue_step step; /* now */
    bool publishing;
    bool measuring;
    struct queue_publisher *listed; /* publishers that may have something to send */
    /* progress of a step */
    uint32_t opened;
    uint32_t opening;
    uint32_t open; /* connected sessions */
    uint32_t done;
    uint64_t progress; /* grows with whatever moves forward */
    char failure[256]; /* why the run had to end; empty: it has not */
    /* results */
    uint64_t sent;
    uint64_t acknowledged; /* without the refused */
    uint64_t refused;
    uint64_t received;
    uint64_t duplicates;
    uint64_t out_of_order;
    uint64_t foreign;
    uint64_t lost;
    struct histogram acknowledge; /* PUBLISH to PUBACK or PUBCOMP */
    struct queue_span subscribe, publish, drain;
    struct process_memory memory_before, memory_subscribed, memory_published, memory_drained;
};

/* The subcommand. Returns the exit code: 0, 1 (could not run) or 3 (messages lost, doubled, out of order or refused). */
int queue_main(const struct options *options);

/* queue.c: notes the first fault; the run then ends. */
void queue_fail(struct queue *queue, const char *who, uint32_t index, const char *why);

/* queue_traffic.c: one turn: reads, publishes what may be published, writes. Waits until `deadline_ns` at most. */
void queue_turn(struct queue *queue, uint64_t deadline_ns);
/* Lets the publishers begin. */
void queue_start_publishing(struct queue *queue);
/* A session's topic, of QUEUE_TOPIC_MAX bytes at most. */
void queue_topic(const struct queue *queue, uint32_t session, char *out);
extern const struct client_handler queue_publisher_handler;
extern const struct client_handler queue_session_handler;

/* queue_report.c */
void queue_print_report(const struct queue *queue);
int queue_write_json(const struct queue *queue);
/* True when no message was lost, doubled, out of order, foreign or refused. */
bool queue_is_clean(const struct queue *queue);

#endif
