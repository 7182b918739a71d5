/*
 * connection_move: the way of a connection from the worker that accepted it to the one on which its session lives. It takes
 * along what was read and not handled; the new worker's epoll set reports at once what came meanwhile.
 */
#include "broker/channel/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define HAND_OVER_MAX 8

struct hand_over_post {
    struct post post;
    struct connection *connection;
};

/* On the new worker. */
static void adopt(struct worker *worker, struct post *post)
{
    struct hand_over_post *hand_over = CONTAINER_OF(post, struct hand_over_post, post);
    struct connection *connection = hand_over->connection;
    uint64_t deadline_ms = connection->timer.deadline_ms;

    free(hand_over);
    connection->worker = broker_worker_of(worker);
    connection->handing_over = false;
    connection_list_add(connection);
    timer_start(worker_timers(worker), &connection->timer, deadline_ms);
    if (connection_host(connection)->closing || listener_is_closing(connection->listener)) {
        connection_release(connection, connection_host(connection)->closing ? "shutdown" : "listener_stopped");
        connection_finish(connection);
        return;
    }
    if (worker_watch(worker, &connection->stream.watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP) < 0) {
        connection_release(connection, "enomem");
        connection_finish(connection);
        return;
    }
    connection_make_ready(connection);
}

void connection_hand_over_now(struct connection *connection)
{
    struct worker *from = connection->worker->host.worker;
    struct broker_worker *to = connection->worker->broker->workers[connection->next_worker];
    struct hand_over_post *hand_over = malloc(sizeof(*hand_over));

    if (hand_over == NULL) {
        connection->handing_over = false;
        connection_close(connection, REASON_SUCCESS, "enomem");
        return;
    }
    if (stream_leave(&connection_host(connection)->streams, &connection->stream) < 0) {
        free(hand_over);
        connection->handing_over = false;
        connection_peer_gone(connection, -ECONNRESET);
        return;
    }
    worker_unwatch(from, &connection->stream.watch);
    timer_stop(worker_timers(from), &connection->timer);
    connection_make_unready(connection);
    connection_list_remove(connection);
    *hand_over = (struct hand_over_post){.post.run = adopt, .connection = connection};
    worker_post(to->host.worker, &hand_over->post);
}

void connection_hand_over(struct connection *connection, struct broker_worker *to)
{
    if (connection->hops++ >= HAND_OVER_MAX) { /* two workers that never agree: give up rather than go round */
        connection_close(connection, REASON_SERVER_BUSY, "server_busy");
        return;
    }
    connection->handing_over = true;
    connection->next_worker = (uint8_t)worker_index(to->host.worker);
}
