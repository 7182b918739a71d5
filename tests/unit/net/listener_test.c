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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/rcu.h"
#include "net/listener.h"
#include "net/unix_peer.h"

#define CLIENTS 8

static struct worker_pool *pool;
static struct listener_options options; /* for the next listener */
static char directory[64];
static struct listener *listener;
static int clients[CLIENTS];
static int accepted[CLIENTS];
static uint32_t client_count, accepted_count;
static uint64_t now_ms;
static struct sockaddr_storage last_peer;
static char error[LISTENER_ERROR_MAX];

static struct worker
    *meanwhile; /* runs a turn, a second later, while the next accept4() is under way; then nobody is there */

int __real_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    static bool nobody;
    struct worker *other = meanwhile;

    if (other != NULL) {
        meanwhile = NULL;
        nobody = true;
        worker_run_turn(other, now_ms + 1000);
        nobody = false;
    }
    if (nobody || other != NULL) {
        errno = EAGAIN;
        return -1;
    }
    return __real_accept4(fd, address, len, flags);
}

static void on_accept(struct worker *worker, struct listener *of, int fd, const struct sockaddr_storage *peer)
{
    (void)worker;
    assert_ptr_equal(of, listener);
    assert_ptr_equal(listener_context(of), &options);
    last_peer = *peer;
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true(accepted_count < CLIENTS);
    accepted[accepted_count++] = fd;
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    client_count = accepted_count = 0;
    options = (struct listener_options){.type = LISTENER_TCP,
                                        .bind_text = strdup("127.0.0.1:0"),
                                        .max_connections = 100,
                                        .backlog = 64,
                                        .reuseaddr = true};
    struct sockaddr_in *address = (struct sockaddr_in *)&options.address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    options.address_len = sizeof(*address);
    listener = NULL;
    snprintf(directory, sizeof(directory), "/tmp/listener_test.XXXXXX");
    assert_non_null(mkdtemp(directory));
    return worker_pool_new(2, 1 << 20, &pool);
}

static struct listener *make_listener(void)
{
    struct listener_places places = {.home = directory, .data_dir = directory};
    struct listener *made = NULL;

    assert_int_equal(listener_new(&options, &places, &options, on_accept, &made, error), 0);
    assert_null(options.bind_text); /* it is the listener's now */
    return made;
}

static void watch_listener(void)
{
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(listener_watch(listener, worker_pool_get(pool, i)), 0);
    now_ms = worker_now_ms(worker_pool_get(pool, 0)) / 1000 * 1000 + 1000; /* the beginning of a second */
}

static void unwatch_listener(void)
{
    for (uint32_t i = 0; i < 2; i++)
        listener_unwatch(listener, worker_pool_get(pool, i));
}

static void open_listener(void)
{
    listener = make_listener();
    assert_int_equal(listener_open(listener, error), 0);
    watch_listener();
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < client_count; i++)
        close(clients[i]);
    for (uint32_t i = 0; i < accepted_count; i++)
        close(accepted[i]);
    if (listener != NULL) {
        unwatch_listener();
        listener_close(listener);
    }
    listener_free(listener);
    listener_options_fini(&options);
    worker_pool_free(pool);
    assert_int_equal(rmdir(directory), 0); /* no socket was left behind */
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

/* Options for another listener at `address`. */
static void options_for(const char *text, struct sockaddr_in address)
{
    listener_options_fini(&options);
    options = (struct listener_options){
        .type = LISTENER_TCP, .bind_text = strdup(text), .max_connections = 100, .backlog = 64, .reuseaddr = true};
    memcpy(&options.address, &address, sizeof(address));
    options.address_len = sizeof(address);
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
    assert_int_equal(last_peer.ss_family, AF_INET);
    assert_string_equal(listener_options_of(listener)->bind_text, "127.0.0.1:0");
    assert_null(listener_tls_context(listener));
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
    options.access_rules = malloc(sizeof(rules));
    assert_non_null(options.access_rules);
    memcpy(options.access_rules, rules, sizeof(rules));
    options.access_rule_count = 2;
    open_listener();
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 0);
    expect_closed(clients[0]);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.128.0.0", &listener_options_of(listener)->access_rules[0].address),
                     1);
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

static void a_client_that_is_gone_gives_nothing_back_to_the_next_second(void **state)
{
    (void)state;
    options.max_conn_rate = 2;
    open_listener();
    connect_clients(1);
    meanwhile = worker_pool_get(pool, 1);
    worker_run_turn(worker_pool_get(pool, 0), now_ms);
    assert_int_equal(accepted_count, 0);
    worker_run_turn(worker_pool_get(pool, 1), now_ms + 1000);
    assert_int_equal(accepted_count, 1);
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
    struct listener *second;

    (void)state;
    open_listener();
    options_for("127.0.0.1", bound_address());
    second = make_listener();
    assert_int_equal(listener_open(second, error), -EADDRINUSE);
    assert_false(listener_is_open(second));
    listener_free(second);
    listener_free(NULL);
}

static void a_closed_listener_opens_again_with_what_it_had(void **state)
{
    (void)state;
    open_listener();
    options_for("127.0.0.1", bound_address());
    unwatch_listener();
    listener_free(listener);
    open_listener(); /* now with a port that stays */
    struct sockaddr_in address = bound_address();
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 1);
    unwatch_listener();
    listener_close(listener);
    assert_false(listener_is_open(listener));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    assert_int_equal(listener_connection_count(listener), 1); /* who is connected stays so */
    assert_int_equal(listener_open(listener, error), 0);
    watch_listener();
    connect_clients(1);
    run_turns();
    assert_int_equal(accepted_count, 2);
}

static void a_successor_takes_the_socket_and_who_waits_there(void **state)
{
    struct listener *old;

    (void)state;
    open_listener();
    options_for("127.0.0.1", bound_address());
    unwatch_listener();
    listener_free(listener);
    open_listener();
    struct sockaddr_in address = bound_address();
    unwatch_listener();
    connect_clients(2); /* nobody accepts them yet */
    options_for("127.0.0.1", address);
    old = listener;
    listener = make_listener();
    listener_succeed(listener, old);
    assert_true(listener_take_socket(listener, old));
    assert_false(listener_is_open(old));
    listener_free(old);
    watch_listener();
    run_turns();
    assert_int_equal(accepted_count, 2);
    assert_int_equal(listener_connection_count(listener), 2);
    address.sin_port = htons((uint16_t)(ntohs(address.sin_port) ^ 1));
    options_for("127.0.0.1", address);
    struct listener *elsewhere = make_listener();
    assert_false(listener_take_socket(elsewhere, listener));
    assert_true(listener_is_open(listener));
    listener_free(elsewhere);
}

static void a_successor_counts_the_connections_of_before(void **state)
{
    struct listener_shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];
    struct listener *old;

    (void)state;
    open_listener();
    struct sockaddr_in address = bound_address();
    connect_clients(2);
    run_turns();
    assert_int_equal(accepted_count, 2);
    unwatch_listener();
    listener_close(listener);
    old = listener;
    options_for("127.0.0.1", address);
    options.max_connections = 3;
    listener = make_listener();
    listener_succeed(listener, old);
    assert_int_equal(listener_open(listener, error), 0);
    watch_listener();
    connect_clients(2);
    run_turns();
    assert_int_equal(accepted_count, 3);
    expect_closed(clients[3]);
    assert_int_equal(listener_connection_count(listener), 3);
    listener_release(old, "kicked");
    listener_drop(old);
    listener_drop(old);
    assert_false(listener_is_held(old));
    listener_free(old);
    assert_int_equal(listener_connection_count(listener), 2);
    assert_int_equal(listener_shutdown_counts(listener, counts), 2);
    assert_string_equal(counts[1].reason, "kicked");
}

static void what_was_accepted_holds_the_listener_until_it_is_dropped(void **state)
{
    (void)state;
    open_listener();
    assert_false(listener_is_held(listener));
    connect_clients(1);
    run_turns();
    assert_true(listener_is_held(listener));
    listener_release(listener, "normal");
    assert_int_equal(listener_connection_count(listener), 0);
    assert_true(listener_is_held(listener)); /* what is left of the connection still looks at its options */
    listener_drop(listener);
    assert_false(listener_is_held(listener));
}

/* The lowest free descriptor is the next that the system gives. */
static int next_descriptor(void)
{
    int fd = dup(0);

    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static void clients_do_not_get_the_last_descriptors(void **state)
{
    struct listener_shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];
    struct rlimit before, low;
    uint64_t metric = metrics_read(METRIC_CONNECTIONS_NO_DESCRIPTOR);

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    open_listener();
    connect_clients(3);
    low = before;
    low.rlim_cur = (rlim_t)next_descriptor() + 8 + 1; /* one client, then the eight that are kept */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    run_turns();
    assert_int_equal(accepted_count, 1);
    expect_closed(clients[1]);
    expect_closed(clients[2]);
    assert_int_equal(next_descriptor(), low.rlim_cur - 8); /* they are there for others */
    assert_int_equal(listener_shutdown_counts(listener, counts), 1);
    assert_string_equal(counts[0].reason, "emfile");
    assert_int_equal(listener_connection_count(listener), 1);
    assert_int_equal(metrics_read(METRIC_CONNECTIONS_NO_DESCRIPTOR), metric + 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    connect_clients(1);
    worker_run_turn(worker_pool_get(pool, 0), now_ms);
    assert_int_equal(accepted_count, 1); /* the worker that met the end pauses */
    now_ms += 1000;
    run_turns();
    run_turns();
    assert_int_equal(accepted_count, 2);
}

static void no_descriptor_at_all_is_waited_for(void **state)
{
    struct rlimit before, low;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    open_listener();
    connect_clients(1);
    low = before;
    low.rlim_cur = (rlim_t)next_descriptor();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    run_turns();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(accepted_count, 0);
    now_ms += 1000;
    run_turns();
    run_turns();
    assert_int_equal(accepted_count, 1); /* it waited in the backlog */
}

/* ---- Unix sockets ---- */

static void unix_options(const char *path)
{
    listener_options_fini(&options);
    options = (struct listener_options){.type = LISTENER_UNIX,
                                        .bind_text = strdup(path),
                                        .unix_path = strdup(path),
                                        .unix_mode = 0600,
                                        .max_connections = 100,
                                        .backlog = 64};
}

static struct sockaddr_un unix_address(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", directory, name);
    return address;
}

static int unix_connect(const char *name)
{
    struct sockaddr_un address = unix_address(name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void a_unix_socket_has_its_mode_names_its_peer_and_goes_at_the_end(void **state)
{
    struct sockaddr_un address = unix_address("s");
    char text[64], expected[64];
    struct stat status;

    (void)state;
    unix_options("s"); /* below the data directory */
    open_listener();
    assert_int_equal(stat(address.sun_path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    clients[client_count++] = unix_connect("s");
    run_turns();
    assert_int_equal(accepted_count, 1);
    assert_int_equal(last_peer.ss_family, AF_INET6);
    assert_true(unix_peer_text(&((struct sockaddr_in6 *)&last_peer)->sin6_addr, text, sizeof(text)));
    snprintf(expected, sizeof(expected), "unix:%d/%u", (int)getpid(), getuid());
    assert_string_equal(text, expected);
    assert_false(unix_peer_text(&in6addr_loopback, text, sizeof(text)));
    unwatch_listener();
    listener_close(listener);
    assert_int_equal(stat(address.sun_path, &status), -1);
}

static void a_socket_that_a_dead_process_left_is_replaced(void **state)
{
    struct sockaddr_un address = unix_address("s");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
    unix_options("s");
    open_listener();
    clients[client_count++] = unix_connect("s");
    run_turns();
    assert_int_equal(accepted_count, 1);
}

static void a_socket_that_somebody_listens_on_is_refused_with_his_name(void **state)
{
    struct sockaddr_un address = unix_address("s");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char pid[32];

    (void)state;
    snprintf(pid, sizeof(pid), "process %d (", (int)getpid());
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    unix_options("s");
    listener = make_listener();
    assert_int_equal(listener_open(listener, error), -EADDRINUSE);
    assert_non_null(strstr(error, pid));
    assert_non_null(strstr(error, address.sun_path));
    close(fd);
    assert_int_equal(unlink(address.sun_path), 0); /* it was left alone */
}

static void what_is_not_a_socket_is_never_removed(void **state)
{
    struct sockaddr_un address = unix_address("s");
    int fd = open(address.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    unix_options("s");
    listener = make_listener();
    assert_int_equal(listener_open(listener, error), -EEXIST);
    assert_non_null(strstr(error, "is not a socket"));
    assert_int_equal(unlink(address.sun_path), 0);
    /* Nor what somebody else put there while we listened. */
    assert_int_equal(listener_open(listener, error), 0);
    assert_int_equal(unlink(address.sun_path), 0);
    fd = open(address.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    listener_close(listener);
    assert_int_equal(unlink(address.sun_path), 0);
}

static void a_path_that_is_too_long_says_how_long_it_may_be(void **state)
{
    char path[200];

    (void)state;
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    unix_options(path);
    listener = make_listener();
    assert_int_equal(listener_open(listener, error), -ENAMETOOLONG);
    assert_non_null(strstr(error, "at most 107 bytes"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepts_peers_and_counts_them),
        TEST(refuses_peers_over_max_connections),
        TEST(the_first_access_rule_that_matches_decides),
        TEST(accepts_no_more_in_a_second_than_the_rate),
        TEST(a_client_that_is_gone_gives_nothing_back_to_the_next_second),
        TEST(a_worker_whose_clock_is_behind_gives_no_second_budget),
        TEST(accepts_nothing_when_nobody_watches),
        TEST(a_taken_address_is_an_error),
        TEST(a_closed_listener_opens_again_with_what_it_had),
        TEST(a_successor_takes_the_socket_and_who_waits_there),
        TEST(a_successor_counts_the_connections_of_before),
        TEST(what_was_accepted_holds_the_listener_until_it_is_dropped),
        TEST(clients_do_not_get_the_last_descriptors),
        TEST(no_descriptor_at_all_is_waited_for),
        TEST(a_unix_socket_has_its_mode_names_its_peer_and_goes_at_the_end),
        TEST(a_socket_that_a_dead_process_left_is_replaced),
        TEST(a_socket_that_somebody_listens_on_is_refused_with_his_name),
        TEST(what_is_not_a_socket_is_never_removed),
        TEST(a_path_that_is_too_long_says_how_long_it_may_be),
    };

    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
