/*
 * store_fixture: a store in a directory of its own, with a client whose progress comes through a loop that the test runs.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "event/loop_mailbox.h"
#include "store/store.h"

struct fixture {
    char parent[64]; /* removed at the end, with what is in it */
    char dir[80];
    struct store_options options;
    uv_loop_t loop;
    struct loop_mailbox *mailbox;
    struct store *store;
    struct store_client *client;
    uint32_t told; /* calls of on_progress */
};

/* For cmocka: *state is the fixture. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);
/* Opens the store and a client. */
void fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
void fixture_reopen(struct fixture *fixture);
/* Another client, told through the same loop; its on_progress() counts in `told`. */
struct store_client *fixture_client(struct fixture *fixture);
/* Runs the loop until the client's batch is committed, or the store is in `state`. */
void fixture_wait(struct fixture *fixture, const struct store_client *client, uint64_t number);
void fixture_wait_for_state(struct fixture *fixture, enum store_state state);

void put_text(struct store_client *client, enum store_table table, const char *key, const char *value);
/* The row's value, or "-" when there is none; valid until the next call. */
const char *get_text(struct store *store, enum store_table table, const char *key);
/* All rows as "key=value ", in order, from `from`, with `prefix`; valid until the next call. */
const char *scan_text(struct store *store, enum store_table table, const char *prefix, const char *from);

#endif
