/*
 * Behaviour of the listing of a worker's clients: in slices, while clients come and go. Connections without sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "broker/channel/channel.h"
#include "broker/channel/connection.h"

#define CLIENT_MAX 20000

static struct worker_pool *pool;
static struct broker_worker *here;
static struct connection *connections[CLIENT_MAX]; /* by number; NULL: not there */
static uint32_t visit_counts[CLIENT_MAX];
static uint32_t last_visited;
static struct listener *listener; /* of all; not closing */

static int set_up(void **state)
{
    struct listener_options options = {.type = LISTENER_TCP};
    char error[LISTENER_ERROR_MAX];

    (void)state;
    rcu_thread_register();
    here = calloc(1, sizeof(*here));
    assert_non_null(here);
    here->channel = calloc(1, sizeof(*here->channel));
    assert_non_null(here->channel);
    assert_int_equal(worker_pool_new(1, 1 << 20, &pool), 0);
    here->host.worker = worker_pool_get(pool, 0);
    durable_host_init(&here->host.durable);
    worker_set_context(here->host.worker, here);
    memset(visit_counts, 0, sizeof(visit_counts));
    assert_int_equal(listener_new(&options, &(struct listener_places){0}, NULL, channel_on_accept, &listener, error),
                     0);
    return 0;
}

static void come(uint32_t number, enum connection_state state)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    char id[16];
    int len = snprintf(id, sizeof(id), "%u", number);

    assert_non_null(connection);
    connection->link.session = calloc(1, sizeof(struct session) + (size_t)len);
    assert_non_null(connection->link.session);
    connection->link.session->client_id_len = (uint16_t)len;
    memcpy(connection->link.session->client_id, id, (size_t)len);
    connection->worker = here;
    connection->listener = listener;
    connection->state = (uint8_t)state;
    connections[number] = connection;
    connection_list_add(connection);
}

static void come_many(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        come(i, CONNECTION_CONNECTED);
}

static void go(uint32_t number)
{
    connection_list_remove(connections[number]);
    free(connections[number]->link.session);
    memset(connections[number], 0xA5, sizeof(*connections[number])); /* who still looks at it will be sorry */
    free(connections[number]);
    connections[number] = NULL;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CLIENT_MAX; i++) {
        if (connections[i] != NULL)
            go(i);
    }
    assert_null(here->channel->head);
    listener_free(listener);
    worker_pool_free(pool);
    free(here->channel);
    free(here);
    rcu_thread_unregister();
    return 0;
}

static void note(void *context, const struct channel_client *client)
{
    uint32_t *count = context, number = (uint32_t)strtoul((const char *)client->client_id.data, NULL, 10);

    assert_true(number < CLIENT_MAX);
    visit_counts[number]++;
    last_visited = number;
    (*count)++;
}

static void count_only(void *context, const struct channel_client *client)
{
    (void)client;
    (*(uint32_t *)context)++;
}

/* One slice. */
static bool visit(uint64_t *cursor, uint32_t limit, uint32_t expected_count)
{
    uint32_t count = 0;
    bool more = channel_visit(here->host.worker, cursor, limit, note, &count);

    assert_int_equal(count, expected_count);
    return more;
}

static void slices_make_the_whole_list(void **state)
{
    uint64_t cursor = 0;

    (void)state;
    come_many(25);
    assert_true(visit(&cursor, 10, 10));
    assert_int_equal(last_visited, 9);
    assert_true(visit(&cursor, 10, 10));
    assert_false(visit(&cursor, 10, 5));
    for (uint32_t i = 0; i < 25; i++)
        assert_int_equal(visit_counts[i], 1);
    assert_int_equal(here->channel->mark_count, 0); /* nothing is left behind */
    cursor = 0;
    assert_false(visit(&cursor, 25, 25));
}

static void the_next_slice_walks_past_nobody_again(void **state)
{
    struct connection *head;
    uint64_t cursor = 0;

    (void)state;
    come_many(30);
    assert_true(visit(&cursor, 10, 10));
    head = here->channel->head;
    here->channel->head = NULL; /* who starts there finds nobody */
    assert_true(visit(&cursor, 10, 10));
    here->channel->head = head;
    go(19); /* the last one passed */
    go(18);
    go(20); /* and the next one */
    head = here->channel->head;
    here->channel->head = NULL;
    assert_false(visit(&cursor, 10, 9));
    here->channel->head = head;
    assert_int_equal(last_visited, 29);
}

static void all_that_was_passed_may_go(void **state)
{
    uint64_t cursor = 0;

    (void)state;
    come_many(6);
    assert_true(visit(&cursor, 3, 3));
    for (uint32_t i = 0; i < 3; i++)
        go(i);
    assert_false(visit(&cursor, 3, 3));
    assert_int_equal(last_visited, 5);
}

static void a_slice_may_be_empty_but_not_endless(void **state)
{
    uint64_t cursor = 0;
    uint32_t slices = 1, count = 0;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++)
        come(i, i % 2 == 0 ? CONNECTION_WAIT_CONNECT : CONNECTION_LINGER);
    come(10000, CONNECTION_CONNECTED);
    while (channel_visit(here->host.worker, &cursor, 1, note, &count)) {
        assert_int_equal(count, 0);
        assert_true(++slices < 10);
    }
    assert_int_equal(count, 1); /* the last one finds it */
    assert_true(slices > 2);
}

static void more_listings_than_marks_are_all_whole(void **state)
{
    enum { LISTINGS = LIST_MARKS_MAX + 4, CLIENTS = 100 };
    uint64_t cursors[LISTINGS] = {0};

    (void)state;
    come_many(CLIENTS);
    for (uint32_t slice = 0; slice < CLIENTS / 10; slice++) {
        for (uint32_t i = 0; i < LISTINGS; i++)
            assert_int_equal(visit(&cursors[i], 10, 10), slice + 1 < CLIENTS / 10);
        assert_true(here->channel->mark_count <= LIST_MARKS_MAX);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_int_equal(visit_counts[i], LISTINGS);
}

/* Among listings that are given up and clients that come and go, who is there all the time is met exactly once. */
static void who_stays_is_visited_once_while_others_come_and_go(void **state)
{
    enum { STAY_EVERY = 7 };
    uint32_t random = 1, next = 2000, count;
    uint64_t cursor = 0, abandoned;
    bool more;

    (void)state;
    come_many(next);
    do {
        count = 0;
        more = channel_visit(here->host.worker, &cursor, 20, note, &count);
        for (uint32_t i = 0; i < 40; i++) {
            random = random * 1664525u + 1013904223u;
            uint32_t number = (random >> 8) % next;
            if (number % STAY_EVERY != 0 && connections[number] != NULL)
                go(number);
        }
        if (next < 4000)
            come(next++, CONNECTION_CONNECTED);
        abandoned = 0; /* a listing of somebody else, who takes one slice only */
        channel_visit(here->host.worker, &abandoned, 1 + random % 100, count_only, &count);
    } while (more);
    for (uint32_t i = 0; i < 2000; i += STAY_EVERY)
        assert_int_equal(visit_counts[i], 1);
    for (uint32_t i = 0; i < CLIENT_MAX; i++)
        assert_true(visit_counts[i] <= 1);
}

static void closing_stopped_clients_looks_at_so_many_others_in_a_turn(void **state)
{
    struct connection *head;
    uint64_t cursor = 0;
    uint32_t slices = 1;

    (void)state;
    come_many(10000);
    assert_true(channel_close_stopped(here->host.worker, &cursor, 1));
    head = here->channel->head;
    here->channel->head = NULL; /* who starts there again finds nobody */
    do
        assert_true(++slices < 10);
    while (channel_close_stopped(here->host.worker, &cursor, 1));
    here->channel->head = head;
    assert_true(slices > 2);
    assert_int_equal(cursor, 10000);
    assert_int_equal(here->channel->mark_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(slices_make_the_whole_list),
        TEST(the_next_slice_walks_past_nobody_again),
        TEST(all_that_was_passed_may_go),
        TEST(a_slice_may_be_empty_but_not_endless),
        TEST(more_listings_than_marks_are_all_whole),
        TEST(who_stays_is_visited_once_while_others_come_and_go),
        TEST(closing_stopped_clients_looks_at_so_many_others_in_a_turn),
    };

    return cmocka_run_group_tests_name("clients", tests, NULL, NULL);
}
