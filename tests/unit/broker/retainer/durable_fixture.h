/*
 * durable_fixture: a retainer over a store in a directory of its own, with workers whose turns the test runs.
 *
 * The loading can be held at a topic, the gate: all of an earlier chunk is loaded then, nothing behind the gate is.
 */
#ifndef TESTS_BROKER_RETAINER_DURABLE_FIXTURE_H
#define TESTS_BROKER_RETAINER_DURABLE_FIXTURE_H

#include "../message_fixture.h"

#include "broker/retainer/retainer_internal.h"
#include "store/store.h"

#define FIXTURE_WORKERS 2
#define FIXTURE_GATE "m"
#define FIXTURE_BEFORE_GATE 6000 /* rows: more than a chunk */

struct durable_fixture {
    char dir[64];
    struct store_options store_options;
    struct retainer_options options;
    struct store *store;
    struct store_client *client; /* of the test */
    uint64_t progress_count;
    struct worker_pool *pool;
    struct retainer *retainer;
    uint32_t loaded_count; /* calls of on_loaded */
    struct retained_place gate;
    bool gate_closed;
    char found[4096];
};

/* For cmocka: *state is the fixture, with an empty store open and no retainer. */
int durable_set_up(void **state);
int durable_tear_down(void **state);

/* Makes the retainer and begins to load. */
void durable_open_loading(struct durable_fixture *fixture);
/* The same; waits until everything is loaded. */
void durable_open(struct durable_fixture *fixture);
/* Ends the retainer and the store. */
void durable_close(struct durable_fixture *fixture);
/* Opens the store anew, with the options of now; without a retainer. */
void durable_restart_store(struct durable_fixture *fixture);
/* Ends the retainer and the store, and opens both anew. */
void durable_restart(struct durable_fixture *fixture);

/* Opens with FIXTURE_BEFORE_GATE rows ("a/00000"..., payload: the topic), the gate's and those of `behind` (NULL-terminated; payload: the
 * topic): the loading is held when a chunk has been loaded. No other topic named here shares the gate's lock. */
void durable_open_gated(struct durable_fixture *fixture, const char *const *behind);
/* Lets the loading go on, and waits for its end. */
void durable_open_gate(struct durable_fixture *fixture);

/* Runs a turn of each worker. */
void durable_turn(struct durable_fixture *fixture);
/* Runs turns until everything submitted is committed, and the retainer's progress has been told. */
void durable_commit(struct durable_fixture *fixture);

/* Stores a message and drops the reference. */
enum retainer_result durable_store(struct durable_fixture *fixture, struct message *message, bool durable);
/* The payloads of what a filter finds, those on disk read from there, with a space between; "..." at the end: not everything is loaded. */
const char *durable_match(struct durable_fixture *fixture, const char *filter);
/* The stored payload of a topic, "-": none. */
const char *durable_row(struct durable_fixture *fixture, const char *topic);
/* Writes a row as it is. */
void durable_write_row(struct durable_fixture *fixture, const char *topic, struct slice value);

#endif
