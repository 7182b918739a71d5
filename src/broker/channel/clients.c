/*
 * clients: what commands and the shutdown do with a worker's connections: list, kick, close.
 *
 * A listing, or the closing of a listener's clients, comes slice by slice and knows only the sequence number that it has
 * reached. So that the next slice need not walk there from the head, the worker keeps a mark for each: the last connection
 * that it has passed. When that one leaves the list, its mark moves to the one before. A mark that is lost costs the walk
 * from the nearest one.
 */
#include "broker/channel/access.h"
#include "broker/channel/channel.h"
#include "broker/channel/connection.h"

#include "base/clock.h"

#define LOOKED_AT_MAX 2000 /* connections in one slice, those that it passes over too */

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

void connection_list_unmark(struct channel_worker *host, const struct connection *connection)
{
    for (uint32_t i = 0; i < LIST_MARKS_MAX; i++) {
        if (host->marks[i].after == connection)
            host->marks[i].after = connection->prev;
    }
}

/* The mark that is the nearest to `sequence` and not past it, or NULL. */
static struct list_mark *find_mark(struct channel_worker *host, uint64_t sequence)
{
    struct list_mark *nearest = NULL;

    for (uint32_t i = 0; i < LIST_MARKS_MAX && host->mark_count > 0; i++) {
        struct list_mark *mark = &host->marks[i];
        if (mark->sequence != 0 && mark->sequence <= sequence &&
            (nearest == NULL || mark->sequence > nearest->sequence))
            nearest = mark;
    }
    return nearest;
}

/* The first connection after `sequence`, or NULL. `*out_mark` is that listing's own mark, or NULL. */
static struct connection *find_after(struct channel_worker *host, uint64_t sequence, struct list_mark **out_mark)
{
    struct list_mark *mark = find_mark(host, sequence);
    struct connection *connection = mark == NULL || mark->after == NULL ? host->head : mark->after->next;

    *out_mark = mark != NULL && sequence != 0 && mark->sequence == sequence ? mark : NULL;
    while (connection != NULL && connection->sequence <= sequence)
        connection = connection->next;
    return connection;
}

/* A mark that is not used, else the one not used for longest. */
static struct list_mark *take_mark(struct channel_worker *host)
{
    struct list_mark *oldest = &host->marks[0];

    for (uint32_t i = 0; i < LIST_MARKS_MAX; i++) {
        struct list_mark *mark = &host->marks[i];
        if (mark->sequence == 0) {
            host->mark_count++;
            return mark;
        }
        if (mark->used < oldest->used)
            oldest = mark;
    }
    return oldest;
}

/* The end of a slice: the next one goes on with `next`, behind `sequence`. False: nothing is left. */
static bool end_slice(struct channel_worker *host, struct list_mark *mark, const struct connection *next,
                      uint64_t sequence)
{
    if (next == NULL) {
        if (mark != NULL) {
            *mark = (struct list_mark){0};
            host->mark_count--;
        }
        return false;
    }
    if (mark == NULL)
        mark = take_mark(host);
    *mark = (struct list_mark){.after = next->prev, .sequence = sequence, .used = ++host->slice_count};
    return true;
}

bool channel_visit(struct worker *worker, uint64_t *cursor, uint32_t limit,
                   void (*visit)(void *context, const struct channel_client *client), void *context)
{
    struct channel_worker *host = broker_worker_of(worker)->channel;
    struct list_mark *mark;
    struct connection *connection = find_after(host, *cursor, &mark);

    ASSERT(limit > 0);
    for (uint32_t looked = 0; connection != NULL && limit > 0 && looked < LOOKED_AT_MAX; looked++) {
        if (connection->state == CONNECTION_CONNECTED) {
            visit_connection(connection, visit, context);
            limit--;
        }
        *cursor = connection->sequence;
        connection = connection->next;
    }
    return end_slice(host, mark, connection, *cursor);
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

static bool close_if(struct connection *connection, channel_match_fn *match, void *context, const char *word)
{
    struct client_info client;

    channel_client_info(connection, session_client_id(connection->link.session), &client);
    if (!match(context, &client))
        return false;
    connection_close(connection, REASON_ADMINISTRATIVE_ACTION, word);
    return true;
}

bool channel_close_one(struct worker *worker, struct slice client_id, channel_match_fn *match, void *context,
                       const char *word)
{
    struct connection *connection = find_connected(worker, client_id);

    return connection != NULL && close_if(connection, match, context, word);
}

bool channel_close_matching(struct worker *worker, uint64_t *cursor, uint32_t limit, channel_match_fn *match,
                            void *context, const char *word)
{
    struct channel_worker *host = broker_worker_of(worker)->channel;
    struct list_mark *mark;
    struct connection *connection = find_after(host, *cursor, &mark), *next;

    ASSERT(limit > 0);
    for (uint32_t looked = 0; connection != NULL && limit > 0 && looked < LOOKED_AT_MAX; looked++) {
        next = connection->next;
        *cursor = connection->sequence;
        if (connection->state == CONNECTION_CONNECTED && connection->link.session != NULL)
            limit -= close_if(connection, match, context, word);
        connection = next;
    }
    return end_slice(host, mark, connection, *cursor);
}

/* A delayed will of a session that outlives the process waits for its time. */
static bool keeps_will(const struct session *session)
{
    return session_is_durable(session) && session->will_delay_s > 0 && session->expiry_interval_s > 0;
}

void channel_publish_wills(struct worker *worker)
{
    struct connection *connection = broker_worker_of(worker)->channel->head;

    for (; connection != NULL; connection = connection->next) {
        if (connection->state == CONNECTION_CONNECTED && connection->link.session != NULL &&
            !keeps_will(connection->link.session))
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

bool channel_close_stopped(struct worker *worker, uint64_t *cursor, uint32_t limit)
{
    struct channel_worker *host = broker_worker_of(worker)->channel;
    struct list_mark *mark;
    struct connection *connection = find_after(host, *cursor, &mark), *next;

    ASSERT(limit > 0);
    for (uint32_t looked = 0; connection != NULL && limit > 0 && looked < LOOKED_AT_MAX; looked++) {
        next = connection->next;
        *cursor = connection->sequence;
        if (connection->state < CONNECTION_LINGER && listener_is_closing(connection->listener)) {
            connection_close(connection, REASON_ADMINISTRATIVE_ACTION, "listener_stopped");
            limit--;
        }
        connection = next;
    }
    return end_slice(host, mark, connection, *cursor);
}

uint32_t channel_connection_count(struct worker *worker)
{
    return broker_worker_of(worker)->channel->connection_count;
}
