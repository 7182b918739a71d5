/*
 * node_delayed: answers the commands' questions about delayed messages (mgmt/broker_view.h).
 *
 * A list asks all workers at once for their next few; the control thread sorts what they give. What the store alone has is
 * read by a job. A delete goes to one worker after another, which each look at a slice of their messages a turn.
 */
#include "main/node.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "broker/delayed.h"
#include "event/mailbox.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"

#include <errno.h>
#include <stdlib.h>

#define LIST_ROWS_MAX 64u     /* of one answer; with the largest payloads a job reads some 64 MB for it */
#define DELETE_LOOK_MAX 2000u /* messages that a worker looks at in one turn: some tenths of a millisecond */

struct found_row {
    struct delayed_key key;
    struct message *message; /* a reference; NULL: in the store only */
    uint32_t payload_len;
    bool gone; /* sent or deleted meanwhile */
};

struct list_part {
    struct post post; /* to the worker */
    struct list_query *query;
    uint32_t count;
    bool more;
    struct found_row rows[LIST_ROWS_MAX];
};

struct list_query {
    struct loop_post answer;
    uv_work_t request;
    struct node *node;
    struct store *store;
    struct delayed_key from;
    uint32_t limit;
    broker_delayed_fn *on_rows;
    void *context;
    _Atomic uint32_t parts_left;
    uint32_t part_count;
    struct found_row *rows; /* of all parts, in order */
    uint32_t count;
    bool more;
    struct list_part parts[];
};

static void free_list(struct list_query *query)
{
    for (uint32_t i = 0; i < query->count; i++)
        message_unref(query->rows[i].message);
    free(query->rows);
    free(query);
}

static struct delayed_row make_row(const struct found_row *found, uint64_t now_ms, uint64_t wall_ms)
{
    struct delayed_row row = {
        .id = found->key.number,
        .left_ms = found->key.due_ms > now_ms ? found->key.due_ms - now_ms : 0,
        .due_ms = (int64_t)(wall_ms + found->key.due_ms - now_ms),
        .payload_bytes = found->payload_len,
    };

    if (found->message == NULL)
        return row;
    row.topic = message_topic(found->message);
    row.client_id = message_client_id(found->message);
    row.qos = found->message->qos;
    row.retain = found->message->retain;
    return row;
}

static void answer_list(struct list_query *query)
{
    uint64_t now_ms = delayed_now_ms(query->node->broker), wall_ms = clock_wall_ms();
    struct delayed_row rows[LIST_ROWS_MAX];
    struct delayed_place next = {0, 0};
    uint32_t count = 0;

    for (uint32_t i = 0; i < query->count; i++) {
        if (!query->rows[i].gone)
            rows[count++] = make_row(&query->rows[i], now_ms, wall_ms);
        next = (struct delayed_place){query->rows[i].key.due_ms, query->rows[i].key.number};
    }
    query->on_rows(query->context, rows, count, query->more ? &next : NULL);
    free_list(query);
}

/* What a row says without its payload. Thread: job. */
static void read_row(struct store *store, struct found_row *row)
{
    struct message_record record;
    struct slice value;
    int found = delayed_read_record(store, row->key, &value);

    row->gone = found == 0;
    if (found <= 0)
        return;
    if (message_record_decode(value, &record) == 0) {
        struct message_parts parts = {
            .client_id = record.client_id, .topic = record.topic, .qos = record.qos, .retain = record.retain};
        row->message = message_new_from_parts(&parts);
    }
    slice_free(&value);
}

/* Thread: job. */
static void read_rows(uv_work_t *request)
{
    struct list_query *query = CONTAINER_OF(request, struct list_query, request);

    for (uint32_t i = 0; i < query->count; i++) {
        if (query->rows[i].message == NULL)
            read_row(query->store, &query->rows[i]);
    }
}

static void on_rows_read(uv_work_t *request, int status)
{
    (void)status; /* never cancelled */
    answer_list(CONTAINER_OF(request, struct list_query, request));
}

static int compare_rows(const void *left, const void *right)
{
    struct delayed_key a = ((const struct found_row *)left)->key, b = ((const struct found_row *)right)->key;

    if (a.due_ms != b.due_ms)
        return a.due_ms < b.due_ms ? -1 : 1;
    return a.number < b.number ? -1 : a.number > b.number;
}

/* Puts the first `limit` rows of all parts into query->rows; drops the others. */
static void merge_parts(struct list_query *query)
{
    for (uint32_t i = 0; i < query->part_count; i++) {
        const struct list_part *part = &query->parts[i];
        memcpy(query->rows + query->count, part->rows, part->count * sizeof(part->rows[0]));
        query->count += part->count;
        query->more |= part->more;
    }
    qsort(query->rows, query->count, sizeof(query->rows[0]), compare_rows);
    query->more |= query->count > query->limit;
    while (query->count > query->limit)
        message_unref(query->rows[--query->count].message);
}

static void on_parts(struct loop_post *post)
{
    struct list_query *query = CONTAINER_OF(post, struct list_query, answer);
    bool read = false;

    merge_parts(query);
    for (uint32_t i = 0; i < query->count && query->store != NULL; i++)
        read |= query->rows[i].message == NULL;
    if (!read || uv_queue_work(&query->node->loop, &query->request, read_rows, on_rows_read) < 0)
        answer_list(query);
}

static void collect_row(void *context, const struct delayed_entry *entry)
{
    struct list_part *part = context;

    part->rows[part->count++] = (struct found_row){
        .key = entry->key,
        .message = entry->message == NULL ? NULL : message_ref(entry->message),
        .payload_len = entry->payload_len,
    };
}

static void collect_part(struct worker *worker, struct post *post)
{
    struct list_part *part = CONTAINER_OF(post, struct list_part, post);
    struct list_query *query = part->query;
    struct delayed_key cursor = query->from;

    part->more = delayed_visit(broker_worker_of(worker), &cursor, query->limit, collect_row, part);
    if (atomic_fetch_sub(&query->parts_left, 1) == 1)
        loop_mailbox_post(query->node->mailbox, &query->answer);
}

int node_list_delayed(void *broker, struct delayed_place place, uint32_t limit, broker_delayed_fn *on_rows,
                      void *context)
{
    struct node *node = broker;
    uint32_t count = worker_pool_count(node->broker->pool);
    struct list_query *query;

    if (node->state == BROKER_STOPPING)
        return -ESHUTDOWN;
    query = calloc(1, sizeof(*query) + count * sizeof(query->parts[0]));
    if (query == NULL)
        return -ENOMEM;
    query->rows = malloc(count * LIST_ROWS_MAX * sizeof(*query->rows));
    if (query->rows == NULL) {
        free(query);
        return -ENOMEM;
    }
    query->answer.run = on_parts;
    query->node = node;
    query->store = node->broker->workers[0]->host.store;
    query->from = (struct delayed_key){.due_ms = place.due_ms, .number = place.id};
    query->limit = limit == 0 || limit > LIST_ROWS_MAX ? LIST_ROWS_MAX : limit;
    query->on_rows = on_rows;
    query->context = context;
    query->parts_left = query->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        query->parts[i].post.run = collect_part;
        query->parts[i].query = query;
        worker_post(worker_pool_get(node->broker->pool, i), &query->parts[i].post);
    }
    return 0;
}

/* ---- delete ---- */

struct delete_query {
    struct post post;        /* to the worker */
    struct loop_post answer; /* back */
    struct node *node;
    uint64_t number;
    uint32_t worker;
    struct delayed_key cursor; /* on that worker */
    bool found;
    broker_delete_fn *on_done;
    void *context;
};

static void answer_delete(struct loop_post *post)
{
    struct delete_query *query = CONTAINER_OF(post, struct delete_query, answer);

    query->on_done(query->context, query->found);
    free(query);
}

static void look_and_delete(struct worker *worker, struct post *post)
{
    struct delete_query *query = CONTAINER_OF(post, struct delete_query, post);
    struct worker_pool *pool = query->node->broker->pool;
    int result = delayed_delete(broker_worker_of(worker), query->number, &query->cursor, DELETE_LOOK_MAX);

    if (result == 0 && ++query->worker < worker_pool_count(pool)) {
        query->cursor = (struct delayed_key){0, 0};
        result = -EAGAIN;
    }
    if (result == -EAGAIN) {
        worker_post(worker_pool_get(pool, query->worker), &query->post);
        return;
    }
    query->found = result == 1;
    loop_mailbox_post(query->node->mailbox, &query->answer);
}

int node_delete_delayed(void *broker, uint64_t id, broker_delete_fn *on_done, void *context)
{
    struct node *node = broker;
    struct delete_query *query;

    if (node->state == BROKER_STOPPING)
        return -ESHUTDOWN;
    query = calloc(1, sizeof(*query));
    if (query == NULL)
        return -ENOMEM;
    query->post.run = look_and_delete;
    query->answer.run = answer_delete;
    query->node = node;
    query->number = id;
    query->on_done = on_done;
    query->context = context;
    worker_post(worker_pool_get(node->broker->pool, 0), &query->post);
    return 0;
}

struct delayed_summary node_sum_delayed(void *broker)
{
    struct node *node = broker;
    struct delayed_figures figures = delayed_figures(node->broker->delayed);
    struct delayed_summary summary = {
        .count = figures.count,
        .count_limit = figures.settings.max_messages,
        .memory_bytes = figures.memory_bytes,
        .memory_limit = figures.settings.memory_max,
        .published = metrics_read(METRIC_MESSAGES_DELAYED_PUBLISHED),
        .dropped = metrics_read(METRIC_MESSAGES_DELAYED_DROPPED),
    };

    (void)stats_read(STAT_DELAYED, &summary.count_max);
    return summary;
}
