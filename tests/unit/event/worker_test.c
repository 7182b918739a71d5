/*
 * Behaviour of workers: turns replayed on one thread, and the threads themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/rcu.h"
#include "event/mailbox.h"

static struct worker_pool *pool;
static struct worker *worker;

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    if (worker_pool_new(2, 1 << 20, &pool) < 0)
        return -1;
    worker = worker_pool_get(pool, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    worker_pool_free(pool);
    rcu_thread_unregister();
    return 0;
}

/* Queued work that notes when it ran and may queue itself again. */
struct job {
    struct work work;
    uint32_t runs;
    uint32_t order;
    bool again;
    struct job *cancels; /* NULL: none */
};

static uint32_t job_order;

static void run_job(struct worker *here, struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);

    assert_ptr_equal(worker_current(), here);
    job->runs++;
    job->order = ++job_order;
    if (job->again)
        worker_run_later(here, work);
    if (job->cancels != NULL)
        worker_run_cancel(here, &job->cancels->work);
}

#define JOB(...) ((struct job){.work.run = run_job, __VA_ARGS__})

static void queued_work_runs_once_in_order(void **state)
{
    struct job one = JOB(.again = false), two = JOB(.again = false);

    (void)state;
    worker_run_later(worker, &one.work);
    worker_run_later(worker, &two.work);
    worker_run_later(worker, &one.work); /* queued already */
    worker_run_turn(worker, 0);
    worker_run_turn(worker, 0);
    assert_int_equal(one.runs, 1);
    assert_int_equal(two.runs, 1);
    assert_true(one.order < two.order);
    assert_null(worker_current());
}

static void work_that_queues_itself_waits_for_the_next_turn(void **state)
{
    struct job again = JOB(.again = true), other = JOB(.again = true);

    (void)state;
    worker_run_later(worker, &again.work);
    worker_run_later(worker, &other.work);
    for (uint32_t turn = 1; turn <= 3; turn++) {
        worker_run_turn(worker, 0);
        assert_int_equal(again.runs, turn);
        assert_int_equal(other.runs, turn);
    }
    worker_run_cancel(worker, &other.work);
    worker_run_cancel(worker, &other.work);
    worker_run_turn(worker, 0);
    assert_int_equal(again.runs, 4);
    assert_int_equal(other.runs, 3);
    worker_run_cancel(worker, &again.work);
}

static void work_may_cancel_other_work_of_its_turn(void **state)
{
    struct job jobs[4] = {JOB(.again = true), JOB(.again = false), JOB(.again = false), JOB(.again = false)};

    (void)state;
    jobs[1].cancels = &jobs[3]; /* the last one of the turn: what follows it waits all the same */
    for (int i = 0; i < 4; i++)
        worker_run_later(worker, &jobs[i].work);
    worker_run_turn(worker, 0);
    assert_int_equal(jobs[0].runs, 1);
    assert_int_equal(jobs[2].runs, 1);
    assert_int_equal(jobs[3].runs, 0);
    worker_run_later(worker, &jobs[3].work); /* the queue's end is in order */
    worker_run_turn(worker, 0);
    assert_int_equal(jobs[0].runs, 2);
    assert_int_equal(jobs[3].runs, 1);
    worker_run_cancel(worker, &jobs[0].work);
}

struct noted_timer {
    struct timer timer;
    uint64_t fired_ms;
};

static void on_noted_timer(struct timer *timer, uint64_t now_ms)
{
    CONTAINER_OF(timer, struct noted_timer, timer)->fired_ms = now_ms;
}

static void timers_run_at_the_turns_time(void **state)
{
    struct noted_timer noted = {.timer.on_due = on_noted_timer};
    uint64_t start_ms = worker_now_ms(worker);

    (void)state;
    timer_start(worker_timers(worker), &noted.timer, start_ms + 5000);
    worker_run_turn(worker, start_ms + 4999);
    assert_int_equal(worker_now_ms(worker), start_ms + 4999);
    assert_int_equal(noted.fired_ms, 0);
    worker_run_turn(worker, start_ms + 5000 + TIMER_WHEEL_TICK_MS);
    assert_int_equal(noted.fired_ms, start_ms + 5000 + TIMER_WHEEL_TICK_MS);
}

/* One end of a socket pair, watched. */
struct peer {
    struct io_watch watch;
    int other_fd;
    uint32_t ready;
    uint32_t last_events;
    struct peer *unwatches; /* when it is ready; NULL: nobody */
};

static void on_peer_ready(struct worker *here, struct io_watch *watch, uint32_t events)
{
    struct peer *peer = CONTAINER_OF(watch, struct peer, watch);

    peer->ready++;
    peer->last_events = events;
    if (peer->unwatches != NULL)
        worker_unwatch(here, &peer->unwatches->watch);
}

static void open_peer(struct peer *peer)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *peer = (struct peer){.watch = {.on_ready = on_peer_ready, .fd = fds[0]}, .other_fd = fds[1]};
    assert_int_equal(worker_watch(worker, &peer->watch, EPOLLIN), 0);
}

static void close_peer(struct peer *peer)
{
    close(peer->watch.fd);
    close(peer->other_fd);
}

static void a_watch_tells_once_of_what_came(void **state)
{
    struct peer peer;

    (void)state;
    open_peer(&peer);
    worker_run_turn(worker, 0);
    assert_int_equal(peer.ready, 0);
    assert_int_equal(write(peer.other_fd, "x", 1), 1);
    worker_run_turn(worker, 0);
    worker_run_turn(worker, 0); /* edge-triggered: not read, not told again */
    assert_int_equal(peer.ready, 1);
    assert_true((peer.last_events & EPOLLIN) != 0);
    assert_int_equal(write(peer.other_fd, "x", 1), 1);
    worker_run_turn(worker, 0);
    assert_int_equal(peer.ready, 2);
    worker_unwatch(worker, &peer.watch);
    assert_int_equal(write(peer.other_fd, "x", 1), 1);
    worker_run_turn(worker, 0);
    assert_int_equal(peer.ready, 2);
    close_peer(&peer);
}

static void no_event_of_the_turn_reaches_a_watch_taken_out(void **state)
{
    struct peer peers[2];

    (void)state;
    open_peer(&peers[0]);
    open_peer(&peers[1]);
    peers[0].unwatches = &peers[1];
    peers[1].unwatches = &peers[0];
    /* Both are ready in one turn; whoever comes first takes the other one out. */
    assert_int_equal(write(peers[0].other_fd, "x", 1), 1);
    assert_int_equal(write(peers[1].other_fd, "x", 1), 1);
    worker_run_turn(worker, 0);
    assert_int_equal(peers[0].ready + peers[1].ready, 1);
    close_peer(&peers[0]);
    close_peer(&peers[1]);
}

static void a_watch_put_back_in_the_same_turn_is_told_in_the_next(void **state)
{
    struct peer peer;

    (void)state;
    open_peer(&peer);
    assert_int_equal(write(peer.other_fd, "x", 1), 1);
    worker_unwatch(worker, &peer.watch);
    assert_int_equal(worker_watch(worker, &peer.watch, EPOLLIN), 0);
    worker_run_turn(worker, 0);
    assert_int_equal(peer.ready, 1);
    close_peer(&peer);
}

static void watching_a_closed_descriptor_is_an_error(void **state)
{
    struct io_watch watch = {.on_ready = on_peer_ready, .fd = -1};

    (void)state;
    assert_int_equal(worker_watch(worker, &watch, EPOLLIN), -EBADF);
}

static void count_turn_end(struct worker *here, void *context)
{
    (void)here;
    (*(uint32_t *)context)++;
}

static void every_turn_ends_with_the_brokers_callback(void **state)
{
    uint32_t turn_ends = 0;

    (void)state;
    worker_set_context(worker, &turn_ends);
    worker_set_turn_end(worker, count_turn_end);
    assert_ptr_equal(worker_context(worker), &turn_ends);
    worker_run_turn(worker, 0);
    worker_run_turn(worker, 0);
    assert_int_equal(turn_ends, 2);
}

static void on_uv_wake(uv_async_t *wake)
{
    ++*(uint32_t *)wake->data;
}

static void an_event_of_libuv_comes_though_nothing_is_alive_in_its_loop(void **state)
{
    uint32_t count = 0;
    uv_async_t wake = {.data = &count};

    (void)state;
    assert_int_equal(uv_async_init(worker_uv_loop(worker), &wake, on_uv_wake), 0);
    uv_unref((uv_handle_t *)&wake); /* as the one that tells of jobs that are done */
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(uv_async_send(&wake), 0);
        worker_run_turn(worker, 0);
        assert_int_equal(count, i);
    }
    uv_close((uv_handle_t *)&wake, NULL);
    worker_run_turn(worker, 0);
}

static void knows_its_pool(void **state)
{
    (void)state;
    assert_int_equal(worker_pool_count(pool), 2);
    assert_int_equal(worker_index(worker), 0);
    assert_int_equal(worker_index(worker_pool_get(pool, 1)), 1);
    assert_null(worker_current());
}

struct probe_post {
    struct post post;
    struct timer timer;
    uv_timer_t uv_timer;
    struct worker *ran_on;
    sem_t *done;
};

static void on_probe_post(struct worker *here, struct post *post)
{
    struct probe_post *probe = CONTAINER_OF(post, struct probe_post, post);

    probe->ran_on = worker_current();
    assert_ptr_equal(probe->ran_on, here);
    sem_post(probe->done);
}

static void wait_for(sem_t *done)
{
    while (sem_wait(done) < 0)
        continue; /* a signal */
}

static void a_sleeping_worker_wakes_for_a_post(void **state)
{
    struct probe_post probes[2];
    sem_t done;

    (void)state;
    sem_init(&done, 0, 0);
    assert_int_equal(worker_pool_start(pool), 0);
    for (int round = 0; round < 200; round++) { /* each time they have mostly gone to sleep again */
        for (uint32_t i = 0; i < 2; i++) {
            probes[i] = (struct probe_post){.post.run = on_probe_post, .done = &done};
            worker_post(worker_pool_get(pool, i), &probes[i].post);
        }
        wait_for(&done);
        wait_for(&done);
        for (uint32_t i = 0; i < 2; i++)
            assert_ptr_equal(probes[i].ran_on, worker_pool_get(pool, i));
    }
    worker_pool_stop(pool);
    assert_in_range(worker_load_permille(worker), 0, 1000);
    sem_destroy(&done);
}

static void on_uv_closed(uv_handle_t *handle)
{
    sem_post(((struct probe_post *)handle->data)->done);
}

static void on_uv_due(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, on_uv_closed);
}

static void on_wheel_due(struct timer *timer, uint64_t now_ms)
{
    struct probe_post *probe = CONTAINER_OF(timer, struct probe_post, timer);

    (void)now_ms;
    uv_timer_init(worker_uv_loop(worker), &probe->uv_timer);
    probe->uv_timer.data = probe;
    uv_timer_start(&probe->uv_timer, on_uv_due, 1, 0);
}

static void start_timer(struct worker *here, struct post *post)
{
    struct probe_post *probe = CONTAINER_OF(post, struct probe_post, post);

    probe->timer.on_due = on_wheel_due;
    timer_start(worker_timers(here), &probe->timer, worker_now_ms(here) + 1);
}

static void a_sleeping_worker_wakes_for_its_timers_and_those_of_libuv(void **state)
{
    struct probe_post probe = {.post.run = start_timer};
    sem_t done;

    (void)state;
    sem_init(&done, 0, 0);
    probe.done = &done;
    assert_int_equal(worker_pool_start(pool), 0);
    worker_post(worker, &probe.post);
    wait_for(&done);
    worker_pool_stop(pool);
    sem_destroy(&done);
}

static void a_stopped_pool_can_be_drained(void **state)
{
    struct probe_post probe = {.post.run = on_probe_post};
    sem_t done;

    (void)state;
    sem_init(&done, 0, 0);
    probe.done = &done;
    assert_int_equal(worker_pool_start(pool), 0);
    worker_pool_stop(pool);
    worker_post(worker, &probe.post);
    probe.post.run = start_timer; /* what runs needs no thread of its own */
    worker_pool_drain(pool);
    assert_true(timer_running(&probe.timer));
    timer_stop(worker_timers(worker), &probe.timer);
    sem_destroy(&done);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(queued_work_runs_once_in_order),
        TEST(work_that_queues_itself_waits_for_the_next_turn),
        TEST(work_may_cancel_other_work_of_its_turn),
        TEST(timers_run_at_the_turns_time),
        TEST(a_watch_tells_once_of_what_came),
        TEST(no_event_of_the_turn_reaches_a_watch_taken_out),
        TEST(a_watch_put_back_in_the_same_turn_is_told_in_the_next),
        TEST(watching_a_closed_descriptor_is_an_error),
        TEST(every_turn_ends_with_the_brokers_callback),
        TEST(an_event_of_libuv_comes_though_nothing_is_alive_in_its_loop),
        TEST(knows_its_pool),
        TEST(a_sleeping_worker_wakes_for_a_post),
        TEST(a_sleeping_worker_wakes_for_its_timers_and_those_of_libuv),
        TEST(a_stopped_pool_can_be_drained),
    };

    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
