/*
 * clients: what commands and the shutdown do with a worker's connections: list, kick, close.
 */
#include "broker/channel/channel.h"
#include "broker/channel/connection.h"

#include "base/clock.h"

static void visit_connection(const struct connection *connection,
                             void (*visit)(void *context, const struct channel_client *client), void *context)
{
    char peer[PEER_TEXT_MAX];
    uint64_t age_s = connection_now(connection) / 1000 - connection->connected_at_s;
    struct channel_client client = {
        .client_id = session_client_id(connection->link.session),
        .user_name = connection_user_name(connection),
        .peer_name = peer,
        .connected_at_s = clock_wall_ms() / 1000 - age_s,
        .clean_start = connection->clean_start,
        .version = connection->version,
    };

    peer_format(&connection->peer, peer);
    visit(context, &client);
}

bool channel_visit(struct worker *worker, uint64_t *cursor, uint32_t limit,
                   void (*visit)(void *context, const struct channel_client *client), void *context)
{
    struct connection *connection = broker_worker_of(worker)->channel->head;

    for (; connection != NULL; connection = connection->next) {
        if (connection->sequence <= *cursor || connection->state != CONNECTION_CONNECTED)
            continue;
        if (limit-- == 0)
            return true;
        visit_connection(connection, visit, context);
        *cursor = connection->sequence;
    }
    return false;
}

/* The connection of a client whose session lives here, or NULL. */
static struct connection *find_connected(struct worker *worker, struct slice client_id)
{
    struct broker_worker *here = broker_worker_of(worker);
    struct session *session = broker_find_session(here->broker, client_id);

    if (session == NULL || session->host != &here->host || session->link == NULL)
        return NULL;
    return CONTAINER_OF(session->link, struct connection, link);
}

bool channel_visit_one(struct worker *worker, struct slice client_id,
                       void (*visit)(void *context, const struct channel_client *client), void *context)
{
    struct connection *connection = find_connected(worker, client_id);

    if (connection == NULL)
        return false;
    visit_connection(connection, visit, context);
    return true;
}

bool channel_kick(struct worker *worker, struct slice client_id)
{
    struct connection *connection = find_connected(worker, client_id);

    if (connection == NULL)
        return false;
    connection_close(connection, REASON_ADMINISTRATIVE_ACTION, "kicked");
    return true;
}

void channel_publish_wills(struct worker *worker)
{
    struct connection *connection = broker_worker_of(worker)->channel->head;

    for (; connection != NULL; connection = connection->next) {
        if (connection->state == CONNECTION_CONNECTED && connection->link.session != NULL)
            session_publish_will(connection->link.session);
    }
}

void channel_close_all(struct worker *worker)
{
    struct channel_worker *host = broker_worker_of(worker)->channel;
    struct connection *connection = host->head, *next;

    host->closing = true;
    for (; connection != NULL; connection = next) {
        next = connection->next;
        connection_close(connection, REASON_SERVER_SHUTTING_DOWN, "shutdown");
    }
}

bool channel_close_listener(struct worker *worker, const struct listener *listener, uint32_t limit)
{
    struct connection *connection = broker_worker_of(worker)->channel->head, *next;

    for (; connection != NULL; connection = next) {
        next = connection->next;
        if (connection->listener != listener || connection->state >= CONNECTION_LINGER)
            continue;
        if (limit-- == 0)
            return true;
        connection_close(connection, REASON_ADMINISTRATIVE_ACTION, "listener_stopped");
    }
    return false;
}

uint32_t channel_connection_count(struct worker *worker)
{
    return broker_worker_of(worker)->channel->connection_count;
}
