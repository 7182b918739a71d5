/*
 * ctl_server: the control socket on a libuv loop.
 *
 *   accept → reading (request timer) → running → draining the output → closed
 *
 * Output is gathered as frames in `pending` during a turn and handed to libuv just before the loop waits (the
 * prepare handle); while a write is under way the next one gathers. What waits is the sum of both.
 */
#include "mgmt/ctl_server.h"

#include "base/slice.h"
#include "hook/ctl_command.h"
#include "mgmt/ctl_frame.h"
#include "mgmt/ctl_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define INPUT_BYTES_MAX (CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX)
#define BACKLOG 64

/* Bytes in order; `frame_at` is where the last frame starts, so that prints of one kind share a frame. */
struct out_buffer {
    uint8_t *data;
    size_t len;
    size_t capacity;
    size_t frame_at;
};

struct connection {
    struct ctl_server *server;
    struct connection *next;
    struct ctl_sink sink;
    struct ctl_request *request;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_write_t write;
    struct out_buffer pending;
    struct out_buffer writing;
    uint8_t *input;
    size_t input_len;
    uint8_t handles_open;
    bool request_seen;
    bool write_active;
    bool finished; /* the EXIT frame is in the output */
    bool closing;
};

struct ctl_server {
    uv_pipe_t listener;
    uv_prepare_t flusher;
    struct ctl_registry *registry;
    struct connection *connections;
    uint32_t connection_count;
    uint32_t handles_open; /* listener and flusher */
    uint64_t request_timeout_ms;
    uint64_t stall_timeout_ms;
    char *socket_path;
    void (*on_closed)(void *context);
    void *on_closed_context;
    bool accept_waiting; /* somebody waits for a free place */
    bool closing;
};

static void server_free_if_closed(struct ctl_server *server)
{
    void (*on_closed)(void *) = server->on_closed;
    void *context = server->on_closed_context;

    if (!server->closing || server->handles_open > 0 || server->connection_count > 0)
        return;
    free(server->socket_path);
    free(server);
    if (on_closed != NULL)
        on_closed(context);
}

/* ---- a connection's end ---- */

static void connection_on_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    struct ctl_server *server = connection->server;
    struct connection **place = &server->connections;

    if (--connection->handles_open > 0)
        return;
    while (*place != connection)
        place = &(*place)->next;
    *place = connection->next;
    server->connection_count--;
    free(connection->pending.data);
    free(connection->writing.data);
    free(connection->input);
    free(connection);
    server_free_if_closed(server);
}

static void connection_close(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    if (connection->request != NULL)
        ctl_detach(connection->request);
    uv_close((uv_handle_t *)&connection->pipe, connection_on_closed);
    uv_close((uv_handle_t *)&connection->timer, connection_on_closed);
}

static void connection_on_timeout(uv_timer_t *timer)
{
    connection_close(timer->data);
}

/* ---- output ---- */

static size_t connection_waiting_bytes(const struct connection *connection)
{
    return connection->pending.len + connection->writing.len;
}

static int out_reserve(struct out_buffer *out, size_t more)
{
    size_t capacity = out->capacity == 0 ? 4096 : out->capacity;
    uint8_t *data;

    while (capacity - out->len < more)
        capacity *= 2;
    if (capacity == out->capacity)
        return 0;
    data = realloc(out->data, capacity);
    if (data == NULL)
        return -ENOMEM;
    out->data = data;
    out->capacity = capacity;
    return 0;
}

/* Appends to the last frame if it is of the same type and has room, else starts one. Takes as much as one frame holds and
 * returns that, or -ENOMEM. */
static ssize_t out_append(struct out_buffer *out, enum ctl_frame_type type, const char *data, size_t len)
{
    size_t in_frame = out->len - out->frame_at;
    bool extend = out->len > 0 && out->data[out->frame_at] == (uint8_t)type &&
                  in_frame < CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX;
    size_t room = extend ? CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX - in_frame : CTL_PAYLOAD_BYTES_MAX;

    if (len > room)
        len = room;
    if (out_reserve(out, len + CTL_FRAME_HEADER_BYTES) < 0)
        return -ENOMEM;
    if (!extend) {
        out->frame_at = out->len;
        out->len += CTL_FRAME_HEADER_BYTES;
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
    ctl_frame_header(out->data + out->frame_at, type, out->len - out->frame_at - CTL_FRAME_HEADER_BYTES);
    return (ssize_t)len;
}

static void connection_append(struct connection *connection, enum ctl_frame_type type, const char *data, size_t len)
{
    if (connection->closing)
        return;
    if (connection_waiting_bytes(connection) + len > CTL_OUTPUT_BYTES_MAX) {
        connection_close(connection);
        return;
    }
    while (len > 0) {
        ssize_t taken = out_append(&connection->pending, type, data, len);

        if (taken < 0) {
            connection_close(connection);
            return;
        }
        data += taken;
        len -= (size_t)taken;
    }
}

static void connection_flush(struct connection *connection);

static void connection_on_written(uv_write_t *write, int status)
{
    struct connection *connection = write->data;

    connection->write_active = false;
    connection->writing.len = 0;
    if (connection->closing)
        return;
    if (status < 0) {
        connection_close(connection);
        return;
    }
    uv_timer_stop(&connection->timer);
    if (connection->pending.len == 0 && connection->finished) {
        connection_close(connection);
        return;
    }
    connection_flush(connection);
    if (connection->request != NULL && connection_waiting_bytes(connection) < CTL_OUTPUT_PAUSE_BYTES)
        ctl_drained(connection->request);
}

static void connection_flush(struct connection *connection)
{
    struct out_buffer swapped;
    uv_buf_t buffer;

    if (connection->closing || connection->write_active || connection->pending.len == 0)
        return;
    swapped = connection->writing;
    connection->writing = connection->pending;
    connection->pending = swapped;
    connection->pending.len = 0;
    connection->pending.frame_at = 0;
    buffer = uv_buf_init((char *)connection->writing.data, (unsigned int)connection->writing.len);
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->pipe, &buffer, 1, connection_on_written) < 0) {
        connection_close(connection);
        return;
    }
    connection->write_active = true;
    uv_timer_start(&connection->timer, connection_on_timeout, connection->server->stall_timeout_ms, 0);
}

static void sink_write(struct ctl_sink *sink, bool to_stderr, const char *data, size_t len)
{
    connection_append(CONTAINER_OF(sink, struct connection, sink), to_stderr ? CTL_FRAME_STDERR : CTL_FRAME_STDOUT,
                      data, len);
}

static bool sink_congested(struct ctl_sink *sink)
{
    return connection_waiting_bytes(CONTAINER_OF(sink, struct connection, sink)) >= CTL_OUTPUT_PAUSE_BYTES;
}

static void sink_finish(struct ctl_sink *sink, int exit_status)
{
    struct connection *connection = CONTAINER_OF(sink, struct connection, sink);
    char status = (char)exit_status;

    connection_append(connection, CTL_FRAME_EXIT, &status, 1);
    connection->finished = true;
}

/* ---- input ---- */

static void connection_run(struct connection *connection, struct slice payload)
{
    const char *words[CTL_WORDS_MAX + 1];
    uint8_t flags;
    int count = ctl_request_decode(payload, &flags, words);

    connection->request_seen = true;
    uv_timer_stop(&connection->timer);
    if (count < 0 || ctl_run(connection->server->registry, &connection->sink, (flags & CTL_FLAG_LEGACY_EXIT) != 0,
                             count, words, &connection->request) < 0)
        connection_close(connection);
}

static void connection_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out_buffer)
{
    struct connection *connection = handle->data;

    (void)suggested;
    if (connection->input == NULL)
        connection->input = malloc(INPUT_BYTES_MAX);
    *out_buffer = connection->input == NULL ? uv_buf_init(NULL, 0)
                                            : uv_buf_init((char *)connection->input + connection->input_len,
                                                          (unsigned int)(INPUT_BYTES_MAX - connection->input_len));
}

static void connection_on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
    struct connection *connection = stream->data;
    struct ctl_frame frame;
    ssize_t taken;

    (void)buffer;
    if (len == 0)
        return;
    /* The caller went away, or says more than its one request. */
    if (len < 0 || connection->request_seen) {
        connection_close(connection);
        return;
    }
    connection->input_len += (size_t)len;
    taken = ctl_frame_parse(slice_make(connection->input, connection->input_len), &frame);
    if (taken == 0)
        return;
    if (taken < 0 || frame.type != CTL_FRAME_REQUEST || (size_t)taken != connection->input_len) {
        connection_close(connection);
        return;
    }
    connection_run(connection, frame.payload);
    /* The words were copied. A little room is left to notice the caller's end. */
    connection->input_len = 0;
}

/* ---- accepting ---- */

static struct connection *connection_new(struct ctl_server *server)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL)
        return NULL;
    connection->server = server;
    connection->sink = (struct ctl_sink){.write = sink_write, .congested = sink_congested, .finish = sink_finish};
    if (uv_pipe_init(server->listener.loop, &connection->pipe, 0) < 0) {
        free(connection);
        return NULL;
    }
    uv_timer_init(server->listener.loop, &connection->timer);
    connection->pipe.data = connection;
    connection->timer.data = connection;
    connection->handles_open = 2;
    connection->next = server->connections;
    server->connections = connection;
    server->connection_count++;
    return connection;
}

static void server_accept(struct ctl_server *server)
{
    struct connection *connection = connection_new(server);
    uv_os_fd_t fd;

    if (connection == NULL) {
        server->accept_waiting = true;
        return;
    }
    if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&connection->pipe) < 0 ||
        uv_fileno((uv_handle_t *)&connection->pipe, &fd) < 0 || !ctl_socket_peer_allowed(fd) ||
        uv_read_start((uv_stream_t *)&connection->pipe, connection_on_alloc, connection_on_read) < 0) {
        connection_close(connection);
        return;
    }
    uv_timer_start(&connection->timer, connection_on_timeout, server->request_timeout_ms, 0);
}

static void server_on_connection(uv_stream_t *stream, int status)
{
    struct ctl_server *server = stream->data;

    if (status < 0)
        return;
    /* libuv asks the system for no further connection until this one is accepted: the rest waits in the backlog. */
    if (server->connection_count >= CTL_CONNECTIONS_MAX) {
        server->accept_waiting = true;
        return;
    }
    server_accept(server);
}

/* ---- the server ---- */

/* Just before the loop waits. */
static void server_on_prepare(uv_prepare_t *prepare)
{
    struct ctl_server *server = prepare->data;

    for (struct connection *connection = server->connections; connection != NULL; connection = connection->next)
        connection_flush(connection);
    if (server->accept_waiting && server->connection_count < CTL_CONNECTIONS_MAX) {
        server->accept_waiting = false;
        server_accept(server);
    }
}

static int server_listen(struct ctl_server *server)
{
    int fd;
    int err = ctl_socket_bind(server->socket_path, &fd);

    if (err < 0)
        return err;
    err = uv_pipe_open(&server->listener, fd);
    if (err < 0) {
        close(fd);
        unlink(server->socket_path);
        return err;
    }
    err = uv_listen((uv_stream_t *)&server->listener, BACKLOG, server_on_connection);
    if (err < 0)
        unlink(server->socket_path);
    return err;
}

static void server_on_handle_closed(uv_handle_t *handle)
{
    struct ctl_server *server = handle->data;

    server->handles_open--;
    server_free_if_closed(server);
}

int ctl_server_open(const struct ctl_server_options *options, struct ctl_server **out_server)
{
    struct ctl_server *server = calloc(1, sizeof(*server));
    int err;

    if (server == NULL)
        return -ENOMEM;
    server->registry = options->registry;
    server->request_timeout_ms = options->request_timeout_ms != 0 ? options->request_timeout_ms : 5000;
    server->stall_timeout_ms = options->stall_timeout_ms != 0 ? options->stall_timeout_ms : 30000;
    server->socket_path = strdup(options->socket_path);
    if (server->socket_path == NULL || uv_pipe_init(options->loop, &server->listener, 0) < 0) {
        free(server->socket_path);
        free(server);
        return -ENOMEM;
    }
    uv_prepare_init(options->loop, &server->flusher);
    server->listener.data = server;
    server->flusher.data = server;
    server->handles_open = 2;
    err = server_listen(server);
    if (err < 0) {
        server->closing = true;
        uv_close((uv_handle_t *)&server->listener, server_on_handle_closed);
        uv_close((uv_handle_t *)&server->flusher, server_on_handle_closed);
        return err;
    }
    uv_prepare_start(&server->flusher, server_on_prepare);
    *out_server = server;
    return 0;
}

void ctl_server_close(struct ctl_server *server, void (*on_closed)(void *context), void *context)
{
    if (server == NULL)
        return;
    ASSERT(!server->closing);
    server->closing = true;
    server->on_closed = on_closed;
    server->on_closed_context = context;
    unlink(server->socket_path);
    for (struct connection *connection = server->connections; connection != NULL; connection = connection->next) {
        /* An answer that is complete still goes out if the socket takes it at once: `stop` is one. */
        if (connection->finished && !connection->write_active && connection->pending.len > 0) {
            uv_buf_t buffer = uv_buf_init((char *)connection->pending.data, (unsigned int)connection->pending.len);

            (void)uv_try_write((uv_stream_t *)&connection->pipe, &buffer, 1);
        }
        connection_close(connection);
    }
    uv_close((uv_handle_t *)&server->listener, server_on_handle_closed);
    uv_close((uv_handle_t *)&server->flusher, server_on_handle_closed);
}
