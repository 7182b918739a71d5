/*
 * Behaviour of the HTTP client against a small server in the test: one thread accepts, each connection has one of its own. What a request is
 * answered with stands in its path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/http_client.h"

#define ANSWERS_MAX 64

struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int connection_count;
    int request_count;
    bool is_released; /* /hold is answered */
    char last_request[4096];
    pthread_t connections[ANSWERS_MAX];
};

struct connection {
    struct server *server;
    int fd;
};

/* The answers of a test. */
struct answers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
    int errs[ANSWERS_MAX];
    int statuses[ANSWERS_MAX];
    char last_body[256];
    char last_error[256];
    struct http_client *client; /* sends another request from within answered() */
    const struct http_request *then;
    int then_result;
};

/* ---- the server ---- */

static bool read_request(int fd, char *text, size_t size)
{
    size_t used = 0, body_bytes = 0;
    char *end, *length;

    for (;;) {
        ssize_t got = recv(fd, text + used, size - 1 - used, 0);
        if (got <= 0)
            return false;
        used += (size_t)got;
        text[used] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (end == NULL)
            continue;
        length = strcasestr(text, "Content-Length: ");
        if (length != NULL)
            body_bytes = strtoul(length + strlen("Content-Length: "), NULL, 10);
        if (used >= (size_t)(end + 4 - text) + body_bytes)
            return true;
    }
}

static void say(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL); /* the client may have seen enough */
}

static void await_release(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    while (!server->is_released)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

static bool path_is(const char *request, const char *path)
{
    return strncmp(strchr(request, ' ') + 1, path, strlen(path)) == 0;
}

/* Answers one request; false: the connection ends. */
static bool answer_request(struct server *server, int fd, const char *request, int number)
{
    if (path_is(request, "/hold")) {
        await_release(server);
    } else if (path_is(request, "/reset")) {
        return false;
    } else if (path_is(request, "/third-time") && number < 3) {
        return false;
    } else if (path_is(request, "/forbidden")) {
        say(fd, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        return true;
    } else if (path_is(request, "/moved")) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /fine\r\nContent-Length: 0\r\n\r\n");
        return true;
    } else if (path_is(request, "/around")) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /around\r\nContent-Length: 0\r\n\r\n");
        return true;
    } else if (path_is(request, "/elsewhere")) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n");
        return true;
    } else if (path_is(request, "/large")) {
        say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n80\r\n");
        for (int i = 0; i < 8; i++)
            say(fd, "0123456789abcdef");
        say(fd, "\r\n0\r\n\r\n");
        return true;
    }
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
    return true;
}

static void *run_connection(void *argument)
{
    struct connection connection = *(struct connection *)argument;
    struct server *server = connection.server;
    char request[4096];
    int number;

    free(argument);
    while (read_request(connection.fd, request, sizeof(request))) {
        pthread_mutex_lock(&server->lock);
        number = ++server->request_count;
        memcpy(server->last_request, request, sizeof(request));
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
        if (!answer_request(server, connection.fd, request, number))
            break;
    }
    close(connection.fd);
    return NULL;
}

static void *run_server(void *argument)
{
    struct server *server = argument;
    int fd;

    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        struct connection *connection = malloc(sizeof(*connection));
        assert_non_null(connection);
        *connection = (struct connection){server, fd};
        assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
        pthread_mutex_lock(&server->lock);
        int index = server->connection_count++;
        assert_true(index < ANSWERS_MAX);
        assert_int_equal(pthread_create(&server->connections[index], NULL, run_connection, connection), 0);
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

static void server_start(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *server = (struct server){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->fd, ANSWERS_MAX), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, run_server, server), 0);
}

static void server_release(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->is_released = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void server_await_requests(struct server *server, int count)
{
    pthread_mutex_lock(&server->lock);
    while (server->request_count < count)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

static int locked_value(struct server *server, const int *value)
{
    pthread_mutex_lock(&server->lock);
    int copy = *value;
    pthread_mutex_unlock(&server->lock);
    return copy;
}

static int request_count(struct server *server)
{
    return locked_value(server, &server->request_count);
}

static int connection_count(struct server *server)
{
    return locked_value(server, &server->connection_count);
}

static const char *last_request(struct server *server)
{
    static char copy[sizeof(server->last_request)];

    pthread_mutex_lock(&server->lock);
    memcpy(copy, server->last_request, sizeof(copy));
    pthread_mutex_unlock(&server->lock);
    return copy;
}

/* The client is closed by now, so that all connections end. */
static void server_stop(struct server *server)
{
    server_release(server);
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
    for (int i = 0; i < server->connection_count; i++)
        pthread_join(server->connections[i], NULL);
}

/* ---- what the tests do ---- */

static void on_answer(void *context, const struct http_answer *answer)
{
    struct answers *answers = context;

    pthread_mutex_lock(&answers->lock);
    if (answers->count < ANSWERS_MAX) {
        answers->errs[answers->count] = answer->err;
        answers->statuses[answers->count] = answer->status;
    }
    answers->count++;
    snprintf(answers->last_body, sizeof(answers->last_body), "%.*s", (int)answer->body_bytes, answer->body);
    snprintf(answers->last_error, sizeof(answers->last_error), "%s", answer->error_text);
    if (answers->then != NULL) {
        answers->then_result = http_client_send(answers->client, answers->then);
        answers->then = NULL;
    }
    pthread_cond_broadcast(&answers->changed);
    pthread_mutex_unlock(&answers->lock);
}

static void answers_await(struct answers *answers, int count)
{
    pthread_mutex_lock(&answers->lock);
    while (answers->count < count)
        pthread_cond_wait(&answers->changed, &answers->lock);
    pthread_mutex_unlock(&answers->lock);
}

static struct http_client_options usual(void)
{
    return (struct http_client_options){
        .connections_max = 4,
        .queue_max = 16,
        .queue_bytes_max = 100000,
        .answer_bytes_max = 100,
        .retries_max = 2,
        .retry_interval_ms = 1,
        .retry_backoff = 2,
        .verify_server = true,
    };
}

struct fixture {
    struct server server;
    struct answers answers;
    struct http_client *client;
};

static void start(struct fixture *fixture, struct http_client_options options)
{
    memset(fixture, 0, sizeof(*fixture));
    server_start(&fixture->server);
    pthread_mutex_init(&fixture->answers.lock, NULL);
    pthread_cond_init(&fixture->answers.changed, NULL);
    assert_int_equal(http_client_open(&options, &fixture->client), 0);
    fixture->answers.client = fixture->client;
}

static void end(struct fixture *fixture)
{
    http_client_close(fixture->client);
    server_stop(&fixture->server);
}

static struct http_request request_for(struct fixture *fixture, const char *path, char url[64])
{
    snprintf(url, 64, "http://127.0.0.1:%u%s", fixture->server.port, path);
    return (struct http_request){.url = url, .answered = on_answer, .context = &fixture->answers};
}

static int get(struct fixture *fixture, const char *path)
{
    char url[64];
    struct http_request request = request_for(fixture, path, url);

    return http_client_send(fixture->client, &request);
}

static void get_has_its_query_and_nothing_unasked_for(void **state)
{
    struct fixture f;
    char url[64], expected[256];

    (void)state;
    start(&f, usual());
    struct http_request request = request_for(&f, "/get", url);
    request.query = "a=1&b=%20";
    request.query_bytes = strlen(request.query);
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], 0);
    assert_int_equal(f.answers.statuses[0], 200);
    assert_string_equal(f.answers.last_body, "fine");
    snprintf(expected, sizeof(expected), "GET /get?a=1&b=%%20 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\n\r\n",
             f.server.port);
    assert_string_equal(last_request(&f.server), expected);
    end(&f);
}

static void a_query_goes_on_behind_the_one_in_the_url(void **state)
{
    struct fixture f;
    char url[64];

    (void)state;
    start(&f, usual());
    struct http_request request = request_for(&f, "/get?key=x", url);
    request.query = "a=1";
    request.query_bytes = 3;
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_memory_equal(last_request(&f.server), "GET /get?key=x&a=1 ", 19);
    end(&f);
}

static void post_has_its_body(void **state)
{
    struct fixture f;
    char url[64], expected[256];

    (void)state;
    start(&f, usual());
    struct http_request request = request_for(&f, "/post", url);
    request.body = "a=1&b=2";
    request.body_bytes = strlen(request.body);
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    snprintf(expected, sizeof(expected),
             "POST /post HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\nContent-Length: 7\r\n"
             "Content-Type: application/x-www-form-urlencoded\r\n\r\na=1&b=2",
             f.server.port);
    assert_string_equal(last_request(&f.server), expected);
    /* The handle is used again, and nothing of the POST is left in it. */
    assert_int_equal(get(&f, "/get"), 0);
    answers_await(&f.answers, 2);
    assert_memory_equal(last_request(&f.server), "GET /get HTTP/1.1\r\n", 19);
    assert_null(strstr(last_request(&f.server), "Content-"));
    end(&f);
}

static void content_type_is_as_the_options_say(void **state)
{
    struct fixture f;
    struct http_client_options options = usual();
    char url[64];

    (void)state;
    options.content_type = "application/json";
    start(&f, options);
    struct http_request request = request_for(&f, "/post", url);
    request.body = "{}";
    request.body_bytes = 2;
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_non_null(strstr(last_request(&f.server), "\r\nContent-Type: application/json\r\n"));
    assert_null(strstr(last_request(&f.server), "urlencoded"));
    end(&f);
}

static void connections_are_used_again(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(get(&f, "/fine"), 0);
        answers_await(&f.answers, i);
    }
    assert_int_equal(connection_count(&f.server), 1);
    assert_int_equal(request_count(&f.server), 10);
    end(&f);
}

static void a_held_request_does_not_hold_others(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    assert_int_equal(get(&f, "/hold"), 0);
    server_await_requests(&f.server, 1);
    assert_int_equal(get(&f, "/forbidden"), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.statuses[0], 403);
    server_release(&f.server);
    answers_await(&f.answers, 2);
    assert_int_equal(f.answers.statuses[1], 200);
    end(&f);
}

static void more_than_the_queue_are_refused_and_connections_bounded(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    for (int i = 0; i < 16; i++)
        assert_int_equal(get(&f, "/hold"), 0);
    assert_int_equal(get(&f, "/fine"), -EAGAIN);
    server_await_requests(&f.server, 4); /* the others wait for a connection */
    assert_int_equal(connection_count(&f.server), 4);
    server_release(&f.server);
    answers_await(&f.answers, 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(f.answers.statuses[i], 200);
    assert_int_equal(connection_count(&f.server), 4);
    assert_int_equal(get(&f, "/fine"), 0);
    answers_await(&f.answers, 17);
    end(&f);
}

static void connections_of_a_host_have_a_limit_of_their_own(void **state)
{
    struct fixture f;
    struct http_client_options options = usual();

    (void)state;
    options.connections_per_host_max = 1;
    start(&f, options);
    for (int i = 0; i < 8; i++)
        assert_int_equal(get(&f, "/fine"), 0);
    answers_await(&f.answers, 8);
    assert_int_equal(connection_count(&f.server), 1);
    end(&f);
}

static void bytes_that_wait_are_bounded(void **state)
{
    struct fixture f;
    struct http_client_options options = usual();
    static char body[60000];
    char url[64];

    (void)state;
    start(&f, options);
    struct http_request request = request_for(&f, "/hold", url);
    memset(body, 'x', sizeof(body));
    request.body = body;
    request.body_bytes = sizeof(body);
    assert_int_equal(http_client_send(f.client, &request), 0);
    assert_int_equal(http_client_send(f.client, &request), -EAGAIN);
    assert_int_equal(get(&f, "/fine"), 0);
    answers_await(&f.answers, 1);
    end(&f);
}

static void what_is_lost_is_tried_again(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    assert_int_equal(get(&f, "/third-time"), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], 0);
    assert_int_equal(request_count(&f.server), 3);
    end(&f);
}

static void tries_end(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    assert_int_equal(get(&f, "/reset"), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], -EIO);
    assert_int_equal(f.answers.statuses[0], 0);
    assert_true(f.answers.last_error[0] != '\0');
    assert_int_equal(request_count(&f.server), 3);
    end(&f);
}

static void a_refusal_is_an_answer_and_not_tried_again(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    assert_int_equal(get(&f, "/forbidden"), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], 0);
    assert_int_equal(f.answers.statuses[0], 403);
    assert_string_equal(f.answers.last_body, "no");
    assert_int_equal(request_count(&f.server), 1);
    end(&f);
}

static void nobody_listens(void **state)
{
    struct fixture f;
    char url[64];

    (void)state;
    start(&f, usual());
    struct http_request request = request_for(&f, "/fine", url);
    request.timeout_ms = 10000;
    server_stop(&f.server);
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], -ECONNREFUSED);
    http_client_close(f.client);
}

static void time_is_limited(void **state)
{
    struct fixture f;
    char url[64];

    (void)state;
    start(&f, usual());
    struct http_request request = request_for(&f, "/hold", url);
    request.timeout_ms = 50;
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], -ETIMEDOUT);
    assert_true(request_count(&f.server) <= 1); /* on a slow machine it has not even come */
    end(&f);
}

static void a_pause_that_would_be_too_long_is_not_waited_for(void **state)
{
    struct fixture f;
    struct http_client_options options = usual();
    char url[64];

    (void)state;
    options.retry_interval_ms = 3600 * 1000;
    start(&f, options);
    struct http_request request = request_for(&f, "/reset", url);
    request.timeout_ms = 1800 * 1000;
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1); /* else the test would run for an hour */
    assert_int_equal(f.answers.errs[0], -EIO);
    assert_int_equal(request_count(&f.server), 1);
    end(&f);
}

static void who_waits_for_a_connection_waits_no_longer_than_its_time(void **state)
{
    struct fixture f;
    char url[64];

    (void)state;
    start(&f, usual());
    for (int i = 0; i < 4; i++)
        assert_int_equal(get(&f, "/hold"), 0);
    server_await_requests(&f.server, 4);
    struct http_request request = request_for(&f, "/fine", url);
    request.timeout_ms = 20;
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], -ETIMEDOUT);
    assert_int_equal(request_count(&f.server), 4);
    end(&f);
}

static void a_long_answer_is_not_taken(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    assert_int_equal(get(&f, "/large"), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], -EMSGSIZE);
    assert_int_equal(request_count(&f.server), 1);
    end(&f);
}

static void redirects_are_followed(void **state)
{
    struct fixture f;
    char url[64];

    (void)state;
    start(&f, usual());
    struct http_request request = request_for(&f, "/moved", url);
    request.body = "a=1";
    request.body_bytes = 3;
    assert_int_equal(http_client_send(f.client, &request), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.statuses[0], 200);
    assert_memory_equal(last_request(&f.server), "POST /fine ", 11);
    assert_non_null(strstr(last_request(&f.server), "\r\n\r\na=1"));
    end(&f);
}

static void redirects_are_bounded_and_stay_with_http(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, usual());
    assert_int_equal(get(&f, "/around"), 0);
    answers_await(&f.answers, 1);
    assert_int_equal(f.answers.errs[0], -ELOOP);
    assert_int_equal(request_count(&f.server), 1 + HTTP_REDIRECTS_MAX);
    assert_int_equal(get(&f, "/elsewhere"), 0);
    answers_await(&f.answers, 2);
    assert_int_equal(f.answers.errs[1], -EIO);
    end(&f);
}

static void close_answers_all_that_waits(void **state)
{
    struct fixture f;
    struct http_client_options options = usual();
    char url[64];

    (void)state;
    options.retry_interval_ms = 3600 * 1000;
    start(&f, options);
    struct http_request then = request_for(&f, "/fine", url);
    for (int i = 0; i < 3; i++)
        assert_int_equal(get(&f, "/hold"), 0);
    assert_int_equal(get(&f, "/reset"), 0); /* pauses for an hour */
    server_await_requests(&f.server, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(get(&f, "/hold"), 0);
    f.answers.then = &then; /* answered() sends another one, which is refused */
    http_client_close(f.client);
    assert_int_equal(f.answers.count, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(f.answers.errs[i], -ECANCELED);
    assert_int_equal(f.answers.then_result, -ECANCELED);
    server_stop(&f.server);
}

static void answered_may_send(void **state)
{
    struct fixture f;
    char url[64];

    (void)state;
    start(&f, usual());
    struct http_request then = request_for(&f, "/forbidden", url);
    f.answers.then = &then;
    assert_int_equal(get(&f, "/fine"), 0);
    answers_await(&f.answers, 2);
    assert_int_equal(f.answers.then_result, 0);
    assert_int_equal(f.answers.statuses[1], 403);
    end(&f);
}

static void urls_are_checked(void **state)
{
    (void)state;
    assert_null(http_url_check("http://127.0.0.1:8991/mqtt/auth"));
    assert_null(http_url_check("https://auth.example.org/?key=1"));
    assert_null(http_url_check("http://[::1]:80/"));
    assert_non_null(http_url_check("127.0.0.1:8991/mqtt/auth"));
    assert_non_null(http_url_check("ftp://127.0.0.1/"));
    assert_non_null(http_url_check("file:///etc/passwd"));
    assert_non_null(http_url_check("http://"));
    assert_non_null(http_url_check("http://a b/"));
    assert_non_null(http_url_check(""));
}

static void wrong_options_are_refused(void **state)
{
    struct http_client *client = NULL;
    struct http_client_options options = usual();

    (void)state;
    options.connections_max = 0;
    assert_int_equal(http_client_open(&options, &client), -EINVAL);
    options = usual();
    options.retries_max = HTTP_RETRIES_MAX + 1;
    assert_int_equal(http_client_open(&options, &client), -EINVAL);
    options = usual();
    options.retry_backoff = 0.5;
    assert_int_equal(http_client_open(&options, &client), -EINVAL);
    assert_null(client);
    http_client_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_has_its_query_and_nothing_unasked_for),
        cmocka_unit_test(a_query_goes_on_behind_the_one_in_the_url),
        cmocka_unit_test(post_has_its_body),
        cmocka_unit_test(content_type_is_as_the_options_say),
        cmocka_unit_test(connections_are_used_again),
        cmocka_unit_test(a_held_request_does_not_hold_others),
        cmocka_unit_test(more_than_the_queue_are_refused_and_connections_bounded),
        cmocka_unit_test(connections_of_a_host_have_a_limit_of_their_own),
        cmocka_unit_test(bytes_that_wait_are_bounded),
        cmocka_unit_test(what_is_lost_is_tried_again),
        cmocka_unit_test(tries_end),
        cmocka_unit_test(a_refusal_is_an_answer_and_not_tried_again),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(time_is_limited),
        cmocka_unit_test(a_pause_that_would_be_too_long_is_not_waited_for),
        cmocka_unit_test(who_waits_for_a_connection_waits_no_longer_than_its_time),
        cmocka_unit_test(a_long_answer_is_not_taken),
        cmocka_unit_test(redirects_are_followed),
        cmocka_unit_test(redirects_are_bounded_and_stay_with_http),
        cmocka_unit_test(close_answers_all_that_waits),
        cmocka_unit_test(answered_may_send),
        cmocka_unit_test(urls_are_checked),
        cmocka_unit_test(wrong_options_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
