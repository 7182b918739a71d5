/*
 * node_view: answers the commands' questions (mgmt/broker_view.h) from broker/ and net/.
 *
 * A question about clients goes to one worker after another; each collects a slice of rows and posts it back.
 */
#include "main/node.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "broker/channel/channel.h"
#include "broker/session/session.h"
#include "event/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_ROWS_MAX 500
#define CURSOR_WORKER_SHIFT 48 /* a cursor: worker + 1, and its last sequence number */

/* One row with its texts, as collected on a worker. */
struct stored_row {
    struct client_row row;
    char peer[64];
};

struct query {
    struct post post;        /* to the worker */
    struct loop_post answer; /* back */
    struct node *node;
    uint32_t worker;
    uint64_t sequence;
    uint32_t limit;
    bool more;
    struct slice client_id; /* one client; data NULL: a list */
    struct stored_row *rows;
    uint32_t count;
    bool found; /* kick */
    broker_clients_fn *on_rows;
    broker_kick_fn *on_kicked;
    void *context;
};

/* A client whose texts don't fit into memory is left out of the answer. */
static void store_row(void *context, const struct channel_client *client)
{
    struct query *query = context;
    struct stored_row *stored = &query->rows[query->count];
    struct slice client_id, username;

    if (slice_dup(client->client_id, &client_id) < 0)
        return;
    if (slice_dup(client->user_name, &username) < 0) {
        slice_free(&client_id);
        return;
    }
    query->count++;
    stored->row = (struct client_row){
        .client_id = client_id,
        .username = username,
        .connected_at_s = (int64_t)client->connected_at_s,
        .clean_start = client->clean_start,
    };
    snprintf(stored->peer, sizeof(stored->peer), "%s", client->peer_name);
    stored->row.peername = stored->peer;
}

static void free_query(struct query *query)
{
    for (uint32_t i = 0; i < query->count; i++) {
        slice_free(&query->rows[i].row.client_id);
        slice_free(&query->rows[i].row.username);
    }
    free(query->rows);
    free(query);
}

static uint64_t next_cursor(const struct query *query)
{
    if (query->client_id.data != NULL)
        return 0;
    if (query->more)
        return (uint64_t)(query->worker + 1) << CURSOR_WORKER_SHIFT | query->sequence;
    if (query->worker + 1 < worker_pool_count(query->node->broker->pool))
        return (uint64_t)(query->worker + 2) << CURSOR_WORKER_SHIFT;
    return 0;
}

static void answer_rows(struct loop_post *post)
{
    struct query *query = CONTAINER_OF(post, struct query, answer);
    struct client_row *rows = malloc((query->count + 1) * sizeof(*rows));
    uint32_t count = rows == NULL ? 0 : query->count;

    for (uint32_t i = 0; i < count; i++)
        rows[i] = query->rows[i].row;
    query->on_rows(query->context, rows, count, next_cursor(query));
    free(rows);
    free_query(query);
}

static void collect_rows(struct worker *worker, struct post *post)
{
    struct query *query = CONTAINER_OF(post, struct query, post);

    if (query->client_id.data != NULL)
        channel_visit_one(worker, query->client_id, store_row, query);
    else
        query->more = channel_visit(worker, &query->sequence, query->limit, store_row, query);
    query->answer.run = answer_rows;
    loop_mailbox_post(query->node->mailbox, &query->answer);
}

/* The worker on which the client's session lives; 0 when there is none (that worker then says so). */
static uint32_t worker_of_client(struct node *node, struct slice client_id)
{
    uint32_t index = 0;

    rcu_thread_online();
    struct session *session = broker_find_session(node->broker, client_id);
    if (session != NULL)
        index = worker_index(session->host->worker);
    rcu_thread_offline();
    return index;
}

static int view_list_clients(void *broker, uint64_t cursor, uint32_t limit, struct slice client_id,
                             broker_clients_fn *on_rows, void *context)
{
    struct node *node = broker;
    struct query *query = node->state == BROKER_STOPPING ? NULL : calloc(1, sizeof(*query));
    uint32_t worker = cursor == 0 ? 0 : (uint32_t)(cursor >> CURSOR_WORKER_SHIFT) - 1;

    if (query == NULL)
        return -ENOMEM;
    if (client_id.data != NULL)
        worker = worker_of_client(node, client_id);
    query->limit = limit == 0 || limit > SLICE_ROWS_MAX ? SLICE_ROWS_MAX : limit;
    query->rows = malloc((query->limit + 1) * sizeof(*query->rows));
    if (query->rows == NULL) {
        free(query);
        return -ENOMEM;
    }
    query->post.run = collect_rows;
    query->node = node;
    query->worker = worker;
    query->sequence = cursor & ((UINT64_C(1) << CURSOR_WORKER_SHIFT) - 1);
    query->client_id = client_id;
    query->on_rows = on_rows;
    query->context = context;
    worker_post(worker_pool_get(node->broker->pool, worker), &query->post);
    return 0;
}

static void answer_kick(struct loop_post *post)
{
    struct query *query = CONTAINER_OF(post, struct query, answer);

    query->on_kicked(query->context, query->found);
    free_query(query);
}

static void do_kick(struct worker *worker, struct post *post)
{
    struct query *query = CONTAINER_OF(post, struct query, post);

    query->found = channel_kick(worker, query->client_id);
    query->answer.run = answer_kick;
    loop_mailbox_post(query->node->mailbox, &query->answer);
}

static int view_kick(void *broker, struct slice client_id, broker_kick_fn *on_done, void *context)
{
    struct node *node = broker;
    struct query *query = node->state == BROKER_STOPPING ? NULL : calloc(1, sizeof(*query));

    if (query == NULL)
        return -ENOMEM;
    query->post.run = do_kick;
    query->node = node;
    query->client_id = client_id;
    query->on_kicked = on_done;
    query->context = context;
    worker_post(worker_pool_get(node->broker->pool, worker_of_client(node, client_id)), &query->post);
    return 0;
}

static const char *view_node_name(void *broker)
{
    return ((struct node *)broker)->name;
}

static enum broker_state view_state(void *broker)
{
    return ((struct node *)broker)->state;
}

static uint64_t view_uptime_s(void *broker)
{
    return (clock_mono_ms() - ((struct node *)broker)->started_ms) / 1000;
}

static void view_stop(void *broker, bool restart)
{
    node_stop(broker, restart);
}

void node_make_view(struct node *node)
{
    node->view = (struct broker_view){
        .broker = node,
        .store = node->store,
        .loop = &node->loop,
        .node_name = view_node_name,
        .state = view_state,
        .uptime_s = view_uptime_s,
        .list_clients = view_list_clients,
        .kick = view_kick,
        .list_listeners = node_list_listeners,
        .command_listener = node_command_listener,
        .list_delayed = node_list_delayed,
        .delete_delayed = node_delete_delayed,
        .sum_delayed = node_sum_delayed,
        .stop = view_stop,
    };
}
