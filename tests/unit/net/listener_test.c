/*
 * Behaviour of a listener on the loopback interface, with the turns of two workers run by the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rcu.h"
#include "net/listener.h"

#define CLIENTS 8

static char bind_text[] = "127.0.0.1:0";
static struct worker_pool *pool;
static struct listener_options options;
static struct listener *listener;
static int clients[CLIENTS];
static int accepted[CLIENTS];
static uint32_t client_count, accepted_count;
static uint64_t now_ms;

static void on_accept(struct worker *worker, struct listener *of, int fd, const struct sockaddr_storage *peer)
{
    (void)worker;
    assert_ptr_equal(of, listener);
    assert_ptr_equal(listener_context(of), &options);
    assert_int_equal(peer->ss_family, AF_INET);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true(accepted_count < CLIENTS);
    accepted[accepted_count++] = fd;
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    client_count = accepted_count = 0;
    options = (struct listener_options){
        .type = LISTENER_TCP, .bind_text = bind_text, .max_connections = 100, .backlog = 64, .reuseaddr = true};
    struct sockaddr_in *address = (struct sockaddr_in *)&options.address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    options.address_len = sizeof(*address);
    listener = NULL;
    return worker_pool_new(2, 1 << 20, &pool);
}

static void open_listener(void)
{
    assert_int_equal(listener_open(&options, &options, on_accept, &listener), 0);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(listener_watch(listener, worker_pool_get(pool, i)), 0);
    now_ms = worker_now_ms(worker_pool_get(pool, 0)) / 1000 * 1000 + 1000; /* the beginning of a second */
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < client_count; i++)
        close(clients[i]);
    for (uint32_t i = 0; i < accepted_count; i++)
        close(accepted[i]);
    if (listener != NULL) {
        for (uint32_t i = 0; i < 2; i++)
            listener_unwatch(listener, worker_pool_get(pool, i));
        listener_close(listener);
    }
    listener_free(listener);
    worker_pool_free(pool);
    rcu_thread_unregister();
    return 0;
}

/* The port the system chose: the listener's descriptor is found through the only listening socket of the process. */
static struct sockaddr_in bound_address(void)
{
    struct sockaddr_in address = {0};

    for (int fd = 3; fd < 256; fd++) {
        int listening = 0;
        socklen_t len = sizeof(listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening != 0) {
            len = sizeof(address);
            assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
            return address;
        }
    }
    fail_msg("no listening socket");
    return address;
}

static void connect_clients(uint32_t count)
{
    struct sockaddr_in address = bound_address();

    for (uint32_t i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        clients[client_count++] = fd;
    }
}

static void run_turns(void)
{
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 2; i++)
            worker_run_turn(worker_pool_get(pool, i), now_ms);
    }
}

static void expect_closed(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void accepts_peers_and_counts_them(void **state)
{
    struct listener_shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];

    (void)state;
    open_listener();
    connect_clients(3);
    run_turns();
    assert_int_equal(accepted_count, 3);
    assert_int_equal(listener_connection_count(listener), 3);
    assert_ptr_equal(listener_options_of(listener), &options);
    listener_release(listener, "normal");
    listener_release(listener, "kicked");
    listener_release(listener, "normal");
    assert_int_equal(listener_connection_count(listener), 0);
    assert_int_equal(listener_shutdown_counts(listener, counts), 2);
    assert_string_equal(counts[0].reason, "normal");
    assert_int_equal(counts[0].count, 2);
    assert_string_equal(counts[1].reason, "kicked");
    assert_int_equal(counts[1].count, 1);
}

static void refuses_peers_over_max_connections(void **state)
{
    struct listener_shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];

    (void)state;
    options.max_connections = 2;
    open_listener();
    connect_clients(3);
    run_turns();
    assert_int_equal(accepted_count, 2);
    assert_int_equal(listener_connection_count(listener), 2);
    expect_closed(clients[2]);
    assert_int_equal(listener_shutdown_counts(listener, counts), 1);
    assert_string_equal(counts[0].reason, "maxlimit");
    listener_release(listener, "normal");
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 3);
}

static void the_first_access_rule_that_matches_decides(void **state)
{
    struct listener_access_rule rules[] = {
        {.allow = false, .prefix_len = 96 + 9}, /* 127.0.0.0/9 */
        {.allow = true, .all = true},
    };

    (void)state;
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.0", &rules[0].address), 1);
    options.access_rules = rules;
    options.access_rule_count = 2;
    open_listener();
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 0);
    expect_closed(clients[0]);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.128.0.0", &rules[0].address), 1);
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 1);
}

static void accepts_no_more_in_a_second_than_the_rate(void **state)
{
    (void)state;
    options.max_conn_rate = 2;
    open_listener();
    connect_clients(5);
    run_turns();
    assert_int_equal(accepted_count, 2);
    now_ms += 500;
    run_turns();
    assert_int_equal(accepted_count, 2);
    now_ms += 500 + TIMER_WHEEL_TICK_MS;
    run_turns();
    run_turns();
    assert_int_equal(accepted_count, 4);
    now_ms += 1000;
    run_turns();
    run_turns();
    assert_int_equal(accepted_count, 5);
}

static void a_worker_whose_clock_is_behind_gives_no_second_budget(void **state)
{
    (void)state;
    options.max_conn_rate = 2;
    open_listener();
    connect_clients(5);
    worker_run_turn(worker_pool_get(pool, 0), now_ms);
    assert_int_equal(accepted_count, 2);
    worker_run_turn(worker_pool_get(pool, 1), now_ms - 1); /* its turn began in the second before */
    assert_int_equal(accepted_count, 2);
}

static void accepts_nothing_when_nobody_watches(void **state)
{
    (void)state;
    open_listener();
    for (uint32_t i = 0; i < 2; i++) {
        listener_unwatch(listener, worker_pool_get(pool, i));
        listener_unwatch(listener, worker_pool_get(pool, i));
    }
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 0);
    assert_int_equal(listener_watch(listener, worker_pool_get(pool, 1)), 0);
    run_turns();
    assert_int_equal(accepted_count, 1);
}

static void a_taken_address_is_an_error(void **state)
{
    struct listener *second = NULL;

    (void)state;
    open_listener();
    *(struct sockaddr_in *)&options.address = bound_address();
    assert_int_equal(listener_open(&options, NULL, on_accept, &second), -EADDRINUSE);
    assert_null(second);
    listener_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepts_peers_and_counts_them),
        TEST(refuses_peers_over_max_connections),
        TEST(the_first_access_rule_that_matches_decides),
        TEST(accepts_no_more_in_a_second_than_the_rate),
        TEST(a_worker_whose_clock_is_behind_gives_no_second_budget),
        TEST(accepts_nothing_when_nobody_watches),
        TEST(a_taken_address_is_an_error),
    };

    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
