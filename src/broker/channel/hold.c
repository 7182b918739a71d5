/*
 * hold: see hold.h.
 */
#include "broker/channel/hold.h"

#include "broker/channel/client_events.h"
#include "broker/channel/connection.h"
#include "broker/commit.h"

#include <stdlib.h>

#define SPARE_HOLDS_MAX 1024u

struct hold {
    struct stream_marks marks; /* stream->marks while it holds */
    struct connection *connection;
    struct hold *next_spare;
    struct commit_wait waits[2];
    uint8_t current; /* of the two: the older one */
    bool opening;    /* the older part has the CONNACK */
};

static struct hold *hold_get(struct channel_worker *host)
{
    struct hold *hold = host->spare_holds;

    if (hold == NULL)
        return malloc(sizeof(*hold));
    host->spare_holds = hold->next_spare;
    host->spare_hold_count--;
    return hold;
}

static void hold_put(struct channel_worker *host, struct hold *hold)
{
    if (host->spare_hold_count >= SPARE_HOLDS_MAX) {
        free(hold);
        return;
    }
    hold->next_spare = host->spare_holds;
    host->spare_holds = hold;
    host->spare_hold_count++;
}

void channel_free_holds(struct channel_worker *host)
{
    while (host->spare_holds != NULL) {
        struct hold *hold = host->spare_holds;
        host->spare_holds = hold->next_spare;
        free(hold);
    }
}

static struct hold *hold_of(const struct connection *connection)
{
    return connection->stream.marks == NULL ? NULL : CONTAINER_OF(connection->stream.marks, struct hold, marks);
}

/* Who waited for room, or for the end, goes on. */
static void let_go_on(struct connection *connection)
{
    if (connection->state == CONNECTION_LINGER)
        connection_make_ready(connection);
    else if (connection->wants_writable || (connection->paused & PAUSE_OUTPUT) != 0)
        connection_write_on(connection);
}

static void on_released(struct hold *hold, uint8_t which)
{
    struct connection *connection = hold->connection;
    bool opening = hold->opening;

    ASSERT(which == hold->current); /* turns are released in order */
    hold->current = (uint8_t)(1 - which);
    hold->opening = false;
    stream_release(&connection_host(connection)->streams, &connection->stream);
    if (connection->stream.marks == NULL)
        hold_put(connection_host(connection), hold);
    if (opening) {
        stream_flush(&connection_host(connection)->streams, &connection->stream);
        channel_tell_connected(connection);
    }
    let_go_on(connection);
}

static void on_first_released(struct broker_worker *worker, struct commit_wait *wait)
{
    (void)worker;
    on_released(CONTAINER_OF(wait, struct hold, waits[0]), 0);
}

static void on_second_released(struct broker_worker *worker, struct commit_wait *wait)
{
    (void)worker;
    on_released(CONTAINER_OF(wait, struct hold, waits[1]), 1);
}

static void give_up(struct hold *hold)
{
    struct connection *connection = hold->connection;
    enum reason_code problem = broker_store_problem(connection->worker->broker);
    bool opening = hold->opening;

    channel_hold_end(connection);
    /* A DISCONNECT before the CONNACK would mean nothing to it. */
    connection_close(connection, opening ? REASON_SUCCESS : problem, "store");
}

static void on_first_given_up(struct broker_worker *worker, struct commit_wait *wait)
{
    (void)worker;
    give_up(CONTAINER_OF(wait, struct hold, waits[0]));
}

static void on_second_given_up(struct broker_worker *worker, struct commit_wait *wait)
{
    (void)worker;
    give_up(CONTAINER_OF(wait, struct hold, waits[1]));
}

static void begin(struct connection *connection)
{
    struct hold *hold = hold_get(connection_host(connection));

    if (hold == NULL) {
        connection->stream.failed = true; /* what may not be sent yet is not sent at all */
        return;
    }
    *hold = (struct hold){.connection = connection};
    hold->waits[0].run = on_first_released;
    hold->waits[1].run = on_second_released;
    hold->waits[0].give_up = on_first_given_up;
    hold->waits[1].give_up = on_second_given_up;
    list_init(&hold->waits[0].place);
    list_init(&hold->waits[1].place);
    stream_hold(&connection->stream, &hold->marks);
    commit_wait(connection->worker, &hold->waits[0]);
}

void channel_hold(struct connection *connection)
{
    struct hold *hold = hold_of(connection);
    struct commit_wait *other;

    if (connection_zone(connection)->durability != DURABILITY_FSYNC || connection->worker->host.store == NULL ||
        connection->state >= CONNECTION_LINGER)
        return;
    if (hold == NULL) {
        begin(connection);
        return;
    }
    if (hold->waits[hold->current].turn == commit_turn_number(connection->worker))
        return;
    other = &hold->waits[1 - hold->current];
    if (list_empty(&other->place))
        stream_hold_more(&connection->stream);
    else if (other->turn == commit_turn_number(connection->worker))
        return;
    commit_wait_cancel(other);
    commit_wait(connection->worker, other);
}

void channel_hold_connack(struct connection *connection)
{
    channel_hold(connection);
    if (hold_of(connection) != NULL)
        hold_of(connection)->opening = true;
}

void channel_hold_end(struct connection *connection)
{
    struct hold *hold = hold_of(connection);

    if (hold == NULL)
        return;
    commit_wait_cancel(&hold->waits[0]);
    commit_wait_cancel(&hold->waits[1]);
    stream_drop_held(&connection_host(connection)->streams, &connection->stream);
    hold_put(connection_host(connection), hold);
}
