/*
 * simple: the commands conn, pub and sub, as users know them from emqtt-bench. Thread: one.
 */
#ifndef BENCH_SIMPLE_H
#define BENCH_SIMPLE_H

#include "histogram.h"
#include "options.h"
#include "process.h"
#include "publish_frame.h"

struct simple;

/* One client of the run. */
struct simple_client {
    struct client client;
    struct simple *simple;
    bool was_connected;
    uint32_t number; /* from --startnumber on */
    uint64_t due_ns; /* of its next message */
    uint64_t sent;
    struct simple_client *next; /* in a queue below */
    struct publish_frame frame;
};

/* Clients by when their next message is due. */
struct simple_queue {
    struct simple_client *first;
    struct simple_client *last;
};

/* All that is counted. */
struct simple_counts {
    uint64_t connected;
    uint64_t failed; /* never connected */
    uint64_t closed; /* connected and then lost */
    uint64_t subscribed;
    uint64_t refused_subscriptions;
    uint64_t sent;
    uint64_t acknowledged;
    uint64_t refused; /* PUBLISHes answered with an error */
    uint64_t skipped; /* not sent when due: the window was full */
    uint64_t received;
};

struct simple {
    const struct options *options;
    struct client_settings settings;
    struct loop loop;
    struct simple_client *clients;
    uint32_t opened;  /* clients that client_open() was called for */
    uint32_t opening; /* of these, neither connected nor failed yet */
    uint64_t next_open_ns;
    struct simple_queue starting; /* wait for --wait to pass */
    struct simple_queue running;
    bool topic_counts; /* the topic has %s: it is made anew for each message */
    struct simple_counts counts;
    uint64_t start_ns;
    uint64_t connected_ns;     /* the last connection made */
    uint64_t first_message_ns; /* sent or received; 0: none yet */
    uint64_t last_message_ns;
    struct histogram connect_latency;
    struct histogram acknowledge_latency;
    struct histogram receive_latency; /* of messages with a stamp */
    char first_fault[128];            /* empty: none */
};

/* The subcommand. Returns the exit code: 0, 1 when no client could connect. */
int simple_main(const struct options *options);

/* simple_publish.c: a connected client begins; the messages that are due are sent. */
int simple_publish_init(struct simple_client *one);
void simple_publish_start(struct simple_client *one);
void simple_publish_due(struct simple *simple);
/* When the next message is due; UINT64_MAX: none. */
uint64_t simple_publish_next_ns(const struct simple *simple);
/* Replaces %i, %c, %u and %s. Returns a malloc'ed text, NULL without memory. */
char *simple_topic(const struct simple_client *one);

/* simple_report.c */
void simple_print_counters(const struct simple *simple, const struct simple_counts *before);
void simple_print_report(const struct simple *simple);
int simple_write_json(const struct simple *simple);

#endif
