/*
 * Behaviour of the control socket's server: a loop here, clients as plain descriptors of the same process, turned step by step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "hook/ctl_command.h"
#include "mgmt/ctl_frame.h"
#include "mgmt/ctl_server.h"
#include "mgmt/ctl_socket.h"

#define SLICE_BYTES 16384

struct fixture {
    uv_loop_t loop;
    struct ctl_registry *registry;
    struct ctl_server *server;
    char dir[64];
    char path[96];
    bool closed;
    /* The command `much` prints slices until this many were printed. */
    int slices_wanted;
    int slices_printed;
    bool finished;
    struct ctl_request *held; /* of the command `hold` */
};

static void much_next(struct ctl_request *request, void *context)
{
    struct fixture *fixture = context;
    char *copy;

    if (ctl_abandoned(request) || fixture->slices_printed == fixture->slices_wanted) {
        fixture->finished = true;
        ctl_finish(request, CTL_OK);
        return;
    }
    copy = malloc(SLICE_BYTES);
    assert_non_null(copy);
    memset(copy, 'x', SLICE_BYTES);
    copy[SLICE_BYTES - 1] = '\0';
    ctl_print(request, "%s\n", copy);
    free(copy);
    fixture->slices_printed++;
    ctl_when_writable(request, much_next, context);
}

static void much_run(struct ctl_request *request, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    much_next(request, ctl_context(request));
}

static void flood_run(struct ctl_request *request, int argc, char **argv)
{
    struct fixture *fixture = ctl_context(request);

    (void)argc;
    (void)argv;
    for (int i = 0; i < 1000000 && !ctl_abandoned(request); i++, fixture->slices_printed++)
        ctl_print(request, "%s\n", "a line that nobody reads, again and again and again and again and again");
    fixture->finished = ctl_abandoned(request);
    ctl_finish(request, CTL_OK);
}

static void hold_run(struct ctl_request *request, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    ((struct fixture *)ctl_context(request))->held = request;
}

static void say_run(struct ctl_request *request, int argc, char **argv)
{
    ctl_print(request, "%s", argc > 1 ? argv[1] : "");
    ctl_printerr(request, "aside");
    ctl_finish(request, CTL_FAILED);
}

static const struct ctl_command commands[] = {
    {"much", NULL, much_run}, {"flood", NULL, flood_run}, {"hold", NULL, hold_run}, {"say", NULL, say_run}};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct ctl_server_options options = {.request_timeout_ms = 50, .stall_timeout_ms = 50};

    assert_non_null(fixture);
    strcpy(fixture->dir, "/tmp/emqc-ctl-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    snprintf(fixture->path, sizeof(fixture->path), "%s/emqx.sock", fixture->dir);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    fixture->registry = ctl_registry_new();
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        assert_int_equal(ctl_register(fixture->registry, commands + i, fixture), 0);
    options.loop = &fixture->loop;
    options.registry = fixture->registry;
    options.socket_path = fixture->path;
    assert_int_equal(ctl_server_open(&options, &fixture->server), 0);
    *state = fixture;
    return 0;
}

static void on_closed(void *context)
{
    ((struct fixture *)context)->closed = true;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    ctl_server_close(fixture->server, on_closed, fixture);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_true(fixture->closed);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    ctl_registry_free(fixture->registry);
    assert_int_equal(access(fixture->path, F_OK), -1);
    assert_int_equal(rmdir(fixture->dir), 0);
    free(fixture);
    return 0;
}

static int connect_client(struct fixture *fixture)
{
    pid_t pid;
    int fd;

    assert_int_equal(ctl_socket_connect(fixture->path, &fd, &pid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void send_words(int fd, int count, const char *const *words)
{
    uint8_t buffer[1024];
    ssize_t len = ctl_request_encode(buffer, sizeof(buffer), 0, count, words);

    assert_true(len > 0);
    assert_int_equal(send(fd, buffer, (size_t)len, MSG_NOSIGNAL), len);
}

static int connect_and_send(struct fixture *fixture, const char *word)
{
    int fd = connect_client(fixture);

    send_words(fd, 1, &word);
    return fd;
}

/* Turns the loop until the server has ended the connection; returns all it sent, which the caller frees. */
static uint8_t *read_to_end(struct fixture *fixture, int fd, size_t *out_len)
{
    size_t capacity = 1 << 23;
    uint8_t *bytes = malloc(capacity);
    size_t len = 0;

    assert_non_null(bytes);
    for (;;) {
        ssize_t more = recv(fd, bytes + len, capacity - len, 0);

        if (more == 0 || (more < 0 && errno == ECONNRESET))
            break;
        if (more > 0) {
            len += (size_t)more;
            continue;
        }
        assert_int_equal(errno, EAGAIN);
        uv_run(&fixture->loop, UV_RUN_ONCE);
    }
    close(fd);
    *out_len = len;
    return bytes;
}

/* The next frame of an answer. */
static struct slice next_frame(struct slice *rest, enum ctl_frame_type type)
{
    struct ctl_frame frame;
    ssize_t taken = ctl_frame_parse(*rest, &frame);

    assert_true(taken > 0);
    assert_int_equal(frame.type, type);
    *rest = slice_skip(*rest, (size_t)taken);
    return frame.payload;
}

static void answers_with_both_outputs_and_the_status(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {"say", "hello"};
    int fd = connect_client(fixture);
    struct slice rest;
    uint8_t *bytes;
    size_t len;

    send_words(fd, 2, words);
    bytes = read_to_end(fixture, fd, &len);
    rest = slice_make(bytes, len);
    assert_true(slice_equal(next_frame(&rest, CTL_FRAME_STDOUT), SLICE_LITERAL("hello")));
    assert_true(slice_equal(next_frame(&rest, CTL_FRAME_STDERR), SLICE_LITERAL("aside")));
    assert_true(slice_equal(next_frame(&rest, CTL_FRAME_EXIT), slice_make("\1", 1)));
    assert_int_equal(rest.len, 0);
    free(bytes);
}

static void takes_a_request_that_comes_byte_by_byte(void **state)
{
    struct fixture *fixture = *state;
    const char *words[] = {"say"};
    uint8_t buffer[64];
    ssize_t request_len = ctl_request_encode(buffer, sizeof(buffer), 0, 1, words);
    int fd = connect_client(fixture);
    uint8_t *bytes;
    size_t len;

    for (ssize_t i = 0; i < request_len; i++) {
        assert_int_equal(send(fd, buffer + i, 1, MSG_NOSIGNAL), 1);
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
    }
    bytes = read_to_end(fixture, fd, &len);
    assert_true(len > 0);
    free(bytes);
}

static void only_the_owner_may_use_the_socket(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;

    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void cuts_nonsense(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t nonsense[][8] = {
        {0xff}, {CTL_FRAME_STDOUT, 0, 0, 0, 0}, {CTL_FRAME_REQUEST, 0xff, 0xff, 0xff, 0xff}};

    for (size_t i = 0; i < ARRAY_COUNT(nonsense); i++) {
        int fd = connect_client(fixture);
        uint8_t *bytes;
        size_t len;

        assert_int_equal(send(fd, nonsense[i], sizeof(nonsense[i]), MSG_NOSIGNAL), sizeof(nonsense[i]));
        bytes = read_to_end(fixture, fd, &len);
        assert_int_equal(len, 0);
        free(bytes);
    }
}

static void cuts_a_client_that_sends_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *bytes;
    size_t len;

    bytes = read_to_end(fixture, connect_client(fixture), &len);
    assert_int_equal(len, 0);
    free(bytes);
}

static void a_reader_gets_all_of_a_large_output(void **state)
{
    struct fixture *fixture = *state;
    size_t text_bytes = 0;
    struct slice rest;
    uint8_t *bytes;
    size_t len;

    fixture->slices_wanted = 300;
    bytes = read_to_end(fixture, connect_and_send(fixture, "much"), &len);
    for (rest = slice_make(bytes, len); rest.data[0] == CTL_FRAME_STDOUT;)
        text_bytes += next_frame(&rest, CTL_FRAME_STDOUT).len;
    next_frame(&rest, CTL_FRAME_EXIT);
    assert_int_equal(text_bytes, 300 * SLICE_BYTES);
    free(bytes);
}

static void a_reader_that_takes_nothing_pauses_its_command_and_is_cut(void **state)
{
    struct fixture *fixture = *state;
    int fd;

    fixture->slices_wanted = 1000000;
    fd = connect_and_send(fixture, "much");
    while (!fixture->finished)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    /* What the kernel takes for the socket, and then the pause. */
    assert_true(fixture->slices_printed * SLICE_BYTES < (int)CTL_OUTPUT_BYTES_MAX);
    close(fd);
}

static void a_command_that_never_pauses_is_cut_at_the_limit(void **state)
{
    struct fixture *fixture = *state;
    int fd = connect_and_send(fixture, "flood");

    while (fixture->slices_printed == 0)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    assert_true(fixture->finished);
    close(fd);
}

static void a_caller_that_leaves_lets_its_command_end(void **state)
{
    struct fixture *fixture = *state;
    int fd = connect_and_send(fixture, "hold");

    while (fixture->held == NULL)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    assert_false(ctl_abandoned(fixture->held));
    close(fd);
    while (!ctl_abandoned(fixture->held))
        uv_run(&fixture->loop, UV_RUN_ONCE);
    ctl_print(fixture->held, "to nobody");
    ctl_finish(fixture->held, CTL_OK);
}

static void more_callers_than_places_wait_for_one(void **state)
{
    struct fixture *fixture = *state;
    struct ctl_request *held[CTL_CONNECTIONS_MAX];
    int fds[CTL_CONNECTIONS_MAX];
    uint8_t *bytes;
    size_t len;
    int late;

    for (size_t i = 0; i < CTL_CONNECTIONS_MAX; i++) {
        fixture->held = NULL;
        fds[i] = connect_and_send(fixture, "hold");
        while (fixture->held == NULL)
            uv_run(&fixture->loop, UV_RUN_ONCE);
        held[i] = fixture->held;
    }
    late = connect_and_send(fixture, "say");
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    assert_int_equal(recv(late, &len, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    ctl_finish(held[0], CTL_OK);
    bytes = read_to_end(fixture, late, &len);
    assert_true(len > 0);
    free(bytes);
    for (size_t i = 1; i < CTL_CONNECTIONS_MAX; i++)
        ctl_finish(held[i], CTL_OK);
    for (size_t i = 0; i < CTL_CONNECTIONS_MAX; i++)
        close(fds[i]);
}

static void a_command_may_outlive_the_server(void **state)
{
    struct fixture *fixture = *state;
    struct ctl_server_options options = {
        .loop = &fixture->loop, .registry = fixture->registry, .socket_path = fixture->path};
    int fd = connect_and_send(fixture, "hold");

    while (fixture->held == NULL)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    ctl_server_close(fixture->server, NULL, NULL);
    assert_true(ctl_abandoned(fixture->held));
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    ctl_finish(fixture->held, CTL_OK);
    close(fd);
    assert_int_equal(ctl_server_open(&options, &fixture->server), 0);
}

static void a_path_longer_than_an_address_works(void **state)
{
    char dir[] = "/tmp/emqc-ctl-XXXXXX";
    char deep[256];
    char path[300];
    pid_t pid;
    int listen_fd;
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(deep, sizeof(deep), "%s/%0150d", dir, 7);
    assert_int_equal(mkdir(deep, 0700), 0);
    snprintf(path, sizeof(path), "%s/emqx.sock", deep);
    assert_int_equal(ctl_socket_bind(path, &listen_fd), 0);
    assert_int_equal(listen(listen_fd, 1), 0);
    assert_int_equal(ctl_socket_connect(path, &fd, &pid), 0);
    assert_true(ctl_socket_peer_allowed(fd));
    close(fd);
    close(listen_fd);
    assert_int_equal(ctl_socket_connect(path, &fd, &pid), -ECONNREFUSED);
    /* A file that an earlier run left is no obstacle. */
    assert_int_equal(ctl_socket_bind(path, &listen_fd), 0);
    close(listen_fd);
    unlink(path);
    rmdir(deep);
    rmdir(dir);
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(answers_with_both_outputs_and_the_status),
        SERVER_TEST(takes_a_request_that_comes_byte_by_byte),
        SERVER_TEST(only_the_owner_may_use_the_socket),
        SERVER_TEST(cuts_nonsense),
        SERVER_TEST(cuts_a_client_that_sends_nothing),
        SERVER_TEST(a_reader_gets_all_of_a_large_output),
        SERVER_TEST(a_reader_that_takes_nothing_pauses_its_command_and_is_cut),
        SERVER_TEST(a_command_that_never_pauses_is_cut_at_the_limit),
        SERVER_TEST(a_caller_that_leaves_lets_its_command_end),
        SERVER_TEST(more_callers_than_places_wait_for_one),
        SERVER_TEST(a_command_may_outlive_the_server),
        cmocka_unit_test(a_path_longer_than_an_address_works),
    };

    /* As the broker does. */
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
