/*
 * durable_fixture: session_fixture with a store in a directory of its own. The test says when a turn's batch is submitted and
 * waits for what comes of it.
 */
#ifndef TESTS_BROKER_SESSION_DURABLE_FIXTURE_H
#define TESTS_BROKER_SESSION_DURABLE_FIXTURE_H

#include "session_fixture.h"

#include <uv.h>

#include "event/loop_mailbox.h"
#include "store/store.h"

struct durable_fixture {
    struct fixture *base;
    struct session_host *host;
    char parent[64]; /* removed at the end */
    uv_loop_t loop;
    struct loop_mailbox *mailbox;
    struct store *store;
    _Atomic uint64_t durable_count;
};

/* A client that writes down the payloads, as numbers, that it gets, and acknowledges if asked to. */
struct reader {
    struct session_link link;
    uint32_t *numbers;
    uint32_t count;
    uint32_t capacity;
    uint16_t *to_ack; /* packet IDs received and not acknowledged, QoS 1 */
    uint32_t to_ack_count;
    uint32_t dup_count;
    bool blocked;
};

/* cmocka's; the state is a struct durable_fixture. */
int durable_set_up(void **state);
int durable_tear_down(void **state);

/* Submits what the turn wrote, waits until it is on disk and tells the host. */
void durable_commit(struct durable_fixture *fixture);
/* Waits for one job of the worker's loop at least; what it starts is not waited for. */
void durable_run_job(struct durable_fixture *fixture);
/* Rows of a table, as far as committed. */
uint32_t durable_rows(struct durable_fixture *fixture, enum store_table table);
/* In all tables but STORE_META. */
uint32_t durable_all_rows(struct durable_fixture *fixture);

/* A session of a client that is not connected, with one subscription to "t" of `qos`. */
struct session *durable_absent(struct durable_fixture *fixture, const char *client_id, uint8_t qos,
                               struct subscription **out_subscription);
/* Delivers a message on `topic` whose payload is the number. */
void durable_deliver(struct durable_fixture *fixture, struct subscription *subscription, const char *topic,
                     uint32_t number, uint8_t qos);

void reader_connect(struct session *session, struct reader *reader, uint16_t window);
/* Acknowledges what has come. How many. */
uint32_t reader_ack(struct reader *reader);
void reader_fini(struct reader *reader);

#endif
