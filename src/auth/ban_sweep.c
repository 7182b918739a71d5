/*
 * ban_sweep: the walk over the workers.
 *
 * While it runs, `worker`, `cursor` and `post` belong to the worker that has the post; the control thread has the rest.
 */
#include "auth/ban_sweep.h"

#include "auth/banned.h"
#include "base/metrics.h"
#include "base/rcu.h"
#include "broker/broker.h"
#include "broker/channel/channel.h"
#include "broker/session/session.h"
#include "broker/zone.h"
#include "event/loop_mailbox.h"
#include "event/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#define CLOSED_MAX 200u /* connections that a worker ends in one turn */

struct ban_sweep {
    struct broker *broker;
    const struct banned *banned;
    struct loop_mailbox *mailbox;
    uv_timer_t again;
    struct post post;        /* to a worker */
    struct loop_post answer; /* back */
    uint32_t worker;
    uint64_t cursor;
    bool running;
    bool wanted; /* another one, when this one ends */
    bool stopped;
    bool added; /* a ban, since `again` was started */
};

/* The connection of one client ID. */
struct one {
    struct post post;
    const struct banned *banned;
    size_t len;
    uint8_t client_id[];
};

static bool is_banned(void *context, const struct client_info *client)
{
    bool found = client->zone_settings->enable_ban && banned_find(context, client) != NULL;

    metric_add(METRIC_BANNED_DISCONNECTED, found);
    return found;
}

static void look_at_worker(struct worker *worker, struct post *post)
{
    struct ban_sweep *sweep = CONTAINER_OF(post, struct ban_sweep, post);
    struct worker_pool *pool = sweep->broker->pool;

    if (channel_close_matching(worker, &sweep->cursor, CLOSED_MAX, is_banned, (void *)(uintptr_t)sweep->banned,
                               "banned")) {
        worker_post(worker, &sweep->post);
        return;
    }
    sweep->cursor = 0;
    if (++sweep->worker < worker_pool_count(pool))
        worker_post(worker_pool_get(pool, sweep->worker), &sweep->post);
    else
        loop_mailbox_post(sweep->mailbox, &sweep->answer);
}

static void begin(struct ban_sweep *sweep)
{
    sweep->wanted = sweep->running;
    if (sweep->running || sweep->stopped)
        return;
    sweep->running = true;
    sweep->worker = 0;
    sweep->cursor = 0;
    worker_post(worker_pool_get(sweep->broker->pool, 0), &sweep->post);
}

static void on_answer(struct loop_post *post)
{
    struct ban_sweep *sweep = CONTAINER_OF(post, struct ban_sweep, answer);

    sweep->running = false;
    if (sweep->wanted)
        begin(sweep);
}

static void on_again(uv_timer_t *timer);

static void start_again(struct ban_sweep *sweep)
{
    sweep->added = false;
    uv_timer_start(&sweep->again, on_again, BAN_SWEEP_AGAIN_MS, 0);
}

static void on_again(uv_timer_t *timer)
{
    struct ban_sweep *sweep = timer->data;

    begin(sweep);
    if (sweep->added)
        start_again(sweep);
}

static void look_at_one(struct worker *worker, struct post *post)
{
    struct one *one = CONTAINER_OF(post, struct one, post);

    channel_close_one(worker, slice_make(one->client_id, one->len), is_banned, (void *)(uintptr_t)one->banned,
                      "banned");
    free(one);
}

/* The worker on which the client's session lives, or NULL. */
static struct worker *worker_of_client(struct broker *broker, struct slice client_id)
{
    struct worker *worker = NULL;
    struct session *session;

    rcu_thread_online();
    session = broker_find_session(broker, client_id);
    if (session != NULL)
        worker = session->host->worker;
    rcu_thread_offline();
    return worker;
}

static void begin_one(struct ban_sweep *sweep, struct slice client_id)
{
    struct worker *worker = worker_of_client(sweep->broker, client_id);
    struct one *one;

    if (worker == NULL)
        return;
    one = malloc(sizeof(*one) + client_id.len);
    if (one == NULL) {
        begin(sweep);
        return;
    }
    one->post.run = look_at_one;
    one->banned = sweep->banned;
    one->len = client_id.len;
    memcpy(one->client_id, client_id.data, client_id.len);
    worker_post(worker, &one->post);
}

void ban_sweep_start(struct ban_sweep *sweep, const struct ban *ban)
{
    if (sweep->stopped)
        return;
    if (ban->key.kind == BAN_CLIENT_ID)
        begin_one(sweep, ban->who);
    else
        begin(sweep);
    sweep->added = true;
    if (!uv_is_active((uv_handle_t *)&sweep->again))
        start_again(sweep);
}

static void on_again_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int ban_sweep_open(struct uv_loop_s *loop, struct broker *broker, struct ban_sweep **out_sweep)
{
    struct ban_sweep *sweep = calloc(1, sizeof(*sweep));
    int err;

    if (sweep == NULL)
        return -ENOMEM;
    sweep->broker = broker;
    sweep->post.run = look_at_worker;
    sweep->answer.run = on_answer;
    sweep->again.data = sweep;
    err = uv_timer_init(loop, &sweep->again);
    if (err < 0) {
        free(sweep);
        return err;
    }
    err = loop_mailbox_open(loop, &sweep->mailbox);
    if (err < 0) {
        ban_sweep_close(sweep);
        return err;
    }
    *out_sweep = sweep;
    return 0;
}

void ban_sweep_set_table(struct ban_sweep *sweep, const struct banned *banned)
{
    sweep->banned = banned;
}

void ban_sweep_stop(struct ban_sweep *sweep)
{
    if (sweep != NULL)
        sweep->stopped = true;
}

void ban_sweep_close(struct ban_sweep *sweep)
{
    if (sweep == NULL)
        return;
    sweep->stopped = true;
    loop_mailbox_close(sweep->mailbox);
    uv_close((uv_handle_t *)&sweep->again, on_again_closed);
}
