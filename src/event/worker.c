/*
 * worker: the loop of one thread. A turn, in this order:
 *
 *   wait ─► ready watches ─► mailbox ─► timers ─► queued work ─► batches out ─► turn end (sockets) ─► wait
 *
 * RCU: online during the whole turn, offline while waiting; everything retired in a turn is handed to the reclaiming
 * thread at its end, after the batches left, so that a grace period also covers what the batches point at.
 */
#include "event/worker.h"
#include "event/worker_internal.h"

#include "base/rcu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 512
#define IN_PERSON_EVENTS_MAX 4 /* ready sockets in a turn: more mean that there is load enough for several processors */
#define LOAD_PERIOD_NS 500000000u /* how far back worker_load_permille() looks */

static _Thread_local struct worker *current_worker;

static uint64_t mono_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct worker *worker_current(void)
{
    return current_worker;
}

uint32_t worker_index(const struct worker *worker)
{
    return worker->index;
}

void *worker_context(const struct worker *worker)
{
    return worker->context;
}

void worker_set_context(struct worker *worker, void *context)
{
    worker->context = context;
}

void worker_set_turn_end(struct worker *worker, worker_turn_end_fn *turn_end)
{
    worker->turn_end = turn_end;
}

void worker_set_hand_over(struct worker *worker, worker_turn_end_fn *hand_over)
{
    worker->hand_over = hand_over;
}

static void hand_over(struct worker *worker)
{
    if (worker->hand_over != NULL)
        worker->hand_over(worker, worker->context);
}

uint64_t worker_now_ms(const struct worker *worker)
{
    return worker->now_ms;
}

struct timer_wheel *worker_timers(struct worker *worker)
{
    return worker->wheel;
}

struct uv_loop_s *worker_uv_loop(struct worker *worker)
{
    return &worker->uv;
}

uint32_t worker_load_permille(const struct worker *worker)
{
    return atomic_load_explicit(&worker->load_permille, memory_order_relaxed);
}

int worker_watch(struct worker *worker, struct io_watch *watch, uint32_t epoll_events)
{
    struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

    if ((epoll_events & EPOLLEXCLUSIVE) == 0)
        event.events |= EPOLLET;
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

void worker_unwatch(struct worker *worker, struct io_watch *watch)
{
    epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < worker->ready_count; i++) {
        if (worker->ready[i].data.ptr == watch)
            worker->ready[i].data.ptr = NULL;
    }
}

void worker_run_later(struct worker *worker, struct work *work)
{
    if (work->queued)
        return;
    work->queued = true;
    work->next = NULL;
    *worker->work_tail = work;
    worker->work_tail = &work->next;
}

/* False: it is not in the list. */
static bool take_out(struct work **link, struct work *work, struct work ***tail)
{
    while (*link != NULL && *link != work)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    *link = work->next;
    if (*tail == &work->next)
        *tail = link;
    return true;
}

void worker_run_cancel(struct worker *worker, struct work *work)
{
    if (!work->queued)
        return;
    if (!take_out(&worker->work_running, work, &worker->work_tail))
        take_out(&worker->work_head, work, &worker->work_tail);
    work->queued = false;
}

static void on_wake(struct worker *worker, struct io_watch *watch, uint32_t events)
{
    (void)worker; /* the mailbox is drained every turn; and the counter need not be read: each write is an edge */
    (void)watch;
    (void)events;
}

/* The edge is told once. It may come when the last job is done already (uv_async_send() follows the job into the list), and
 * uv_run() does not look at the descriptors of a loop with nothing alive: the event would stay there, and those of later jobs
 * would make no edge. So uv_alive is. */
static void on_uv_ready(struct worker *worker, struct io_watch *watch, uint32_t events)
{
    (void)watch;
    (void)events;
    uv_run(&worker->uv, UV_RUN_NOWAIT);
}

/* Runs only what is queued now: what it queues again waits for the next turn. */
static void run_work(struct worker *worker)
{
    worker->work_running = worker->work_head;
    worker->work_head = NULL;
    worker->work_tail = &worker->work_head;
    while (worker->work_running != NULL) {
        struct work *work = worker->work_running;
        worker->work_running = work->next;
        work->queued = false;
        work->run(worker, work);
    }
}

static int wait_ms(struct worker *worker)
{
    int64_t timer_ms = timer_wheel_next_ms(worker->wheel, worker->now_ms);
    int uv_ms = uv_backend_timeout(&worker->uv);

    if (worker->work_head != NULL || worker->taken != NULL)
        return 0;
    if (timer_ms > 60000)
        timer_ms = 60000;
    if (uv_ms >= 0 && (timer_ms < 0 || uv_ms < timer_ms))
        return uv_ms;
    return (int)timer_ms;
}

static void account_load(struct worker *worker, uint64_t turn_start_ns, uint64_t now_ns)
{
    worker->load_busy_ns += now_ns - turn_start_ns;
    if (now_ns - worker->load_since_ns < LOAD_PERIOD_NS)
        return;
    uint64_t permille = worker->load_busy_ns * 1000 / (now_ns - worker->load_since_ns);
    atomic_store_explicit(&worker->load_permille, (uint32_t)permille, memory_order_relaxed);
    worker->load_since_ns = now_ns;
    worker->load_busy_ns = 0;
}

/* After a wait: the worker is its own thread's again. A lent turn is short: it ends after a few deliveries. */
static void take_back(struct worker *worker)
{
    uint8_t state = WORKER_SLEEPING;

    while (!atomic_compare_exchange_strong(&worker->mailbox.state, &state, WORKER_AWAKE) && state != WORKER_AWAKE) {
        sched_yield();
        state = WORKER_SLEEPING;
    }
}

static int wait_for_events(struct worker *worker, struct epoll_event *events)
{
    int timeout = wait_ms(worker);
    int count;

    worker->sleep_until_ms = timeout < 0 ? UINT64_MAX : worker->now_ms + (uint64_t)timeout;
    rcu_retire_flush();
    if (timeout == 0) { /* nobody need know */
        rcu_thread_offline();
        count = epoll_wait(worker->epoll_fd, events, EVENTS_PER_TURN, 0);
        rcu_thread_online();
        return count;
    }
    rcu_thread_offline();
    atomic_store(&worker->mailbox.state, WORKER_SLEEPING);
    if (atomic_load(&worker->mailbox.head) != NULL || atomic_load(&worker->stop))
        timeout = 0;
    count = epoll_wait(worker->epoll_fd, events, EVENTS_PER_TURN, timeout);
    take_back(worker);
    rcu_thread_online();
    return count;
}

static void run_watches(struct worker *worker, struct epoll_event *events, int count)
{
    worker->ready = events;
    worker->ready_count = count;
    while (worker->ready_count > 0) {
        struct epoll_event *event = worker->ready++;
        struct io_watch *watch = event->data.ptr;
        worker->ready_count--;
        if (LIKELY(watch != NULL)) /* else taken out in this turn */
            watch->on_ready(worker, watch, event->events);
    }
}

static void worker_turn(struct worker *worker, struct epoll_event *events, int count)
{
    run_watches(worker, events, count);
    mailbox_drain(worker);
    timer_wheel_advance(worker->wheel, worker->now_ms);
    run_work(worker);
    uv_update_time(&worker->uv);
    if (uv_backend_timeout(&worker->uv) == 0)
        uv_run(&worker->uv, UV_RUN_NOWAIT);
    hand_over(worker);
    /* Before our own sockets are written: the others can begin. */
    if (count <= IN_PERSON_EVENTS_MAX)
        mailbox_flush_in_person(worker);
    else
        mailbox_flush(worker);
    if (worker->turn_end != NULL)
        worker->turn_end(worker, worker->context);
    mailbox_flush(worker);
}

void worker_run_lent_turn(struct worker *from, struct worker *to)
{
    bool wake;

    current_worker = to;
    to->in_lent_turn = true;
    if (from->now_ms > to->now_ms)
        to->now_ms = from->now_ms;
    mailbox_drain(to);
    hand_over(to);
    mailbox_flush(to);
    if (to->turn_end != NULL)
        to->turn_end(to, to->context);
    mailbox_flush(to);
    to->in_lent_turn = false;
    current_worker = from;
    int64_t timer_ms = timer_wheel_next_ms(to->wheel, to->now_ms);
    wake = to->work_head != NULL || to->taken != NULL ||
           (timer_ms >= 0 && to->now_ms + (uint64_t)timer_ms < to->sleep_until_ms);
    atomic_store(&to->mailbox.state, WORKER_SLEEPING);
    if (wake || atomic_load(&to->mailbox.head) != NULL)
        worker_wake(to);
}

bool worker_in_lent_turn(const struct worker *worker)
{
    return worker->in_lent_turn;
}

void worker_run_turn(struct worker *worker, uint64_t now_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    struct worker *outer = current_worker;
    int count = epoll_wait(worker->epoll_fd, events, EVENTS_PER_TURN, 0);

    current_worker = worker;
    worker->now_ms = now_ms;
    worker_turn(worker, events, count);
    rcu_retire_flush();
    rcu_thread_quiescent();
    current_worker = outer;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event events[EVENTS_PER_TURN];
    char name[16];

    snprintf(name, sizeof(name), "worker-%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    current_worker = worker;
    rcu_thread_register();
    worker->load_since_ns = mono_ns();
    while (!atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
        int count = wait_for_events(worker, events);
        uint64_t start_ns = mono_ns();
        worker->now_ms = start_ns / 1000000u;
        worker_turn(worker, events, count);
        account_load(worker, start_ns, mono_ns());
    }
    rcu_retire_flush();
    rcu_thread_unregister();
    return NULL;
}

static void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    if (worker->epoll_fd >= 0) {
        uv_close((uv_handle_t *)&worker->uv_alive, NULL);
        uv_run(&worker->uv, UV_RUN_NOWAIT);
        uv_loop_close(&worker->uv);
        close(worker->epoll_fd);
    }
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    timer_wheel_free(worker->wheel);
    free(worker);
}

static int worker_open(struct worker *worker)
{
    int err;

    worker->now_ms = mono_ns() / 1000000u;
    worker->wheel = timer_wheel_new(worker->now_ms);
    if (worker->wheel == NULL)
        return -ENOMEM;
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->wake_fd < 0)
        return -errno;
    err = uv_loop_init(&worker->uv);
    if (err < 0)
        return err;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    err = worker->epoll_fd < 0 ? -errno : uv_async_init(&worker->uv, &worker->uv_alive, NULL);
    if (err < 0) {
        uv_loop_close(&worker->uv);
        if (worker->epoll_fd >= 0)
            close(worker->epoll_fd);
        worker->epoll_fd = -1;
        return err;
    }
    worker->wake_watch = (struct io_watch){.on_ready = on_wake, .fd = worker->wake_fd};
    worker->uv_watch = (struct io_watch){.on_ready = on_uv_ready, .fd = uv_backend_fd(&worker->uv)};
    err = worker_watch(worker, &worker->wake_watch, EPOLLIN);
    return err < 0 ? err : worker_watch(worker, &worker->uv_watch, EPOLLIN);
}

static int worker_new(struct worker_pool *pool, uint32_t index, struct worker **out_worker)
{
    struct worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) / 64 * 64);
    int err;

    if (worker == NULL)
        return -ENOMEM;
    memset(worker, 0, sizeof(*worker));
    worker->pool = pool;
    worker->index = index;
    worker->epoll_fd = worker->wake_fd = -1;
    worker->work_tail = &worker->work_head;
    mailbox_init(worker);
    err = worker_open(worker);
    if (err < 0) {
        worker_free(worker);
        return err;
    }
    *out_worker = worker;
    return 0;
}

int worker_pool_new(uint32_t count, uint64_t mailbox_bytes_max, struct worker_pool **out_pool)
{
    struct worker_pool *pool = calloc(1, sizeof(*pool));

    ASSERT(count >= 1 && count <= WORKER_COUNT_MAX);
    if (pool == NULL)
        return -ENOMEM;
    pool->mailbox_bytes_max = mailbox_bytes_max;
    for (uint32_t i = 0; i < count; i++) {
        int err = worker_new(pool, i, &pool->workers[i]);
        if (err < 0) {
            worker_pool_free(pool);
            return err;
        }
        pool->count++;
    }
    *out_pool = pool;
    return 0;
}

int worker_pool_start(struct worker_pool *pool)
{
    for (uint32_t i = 0; i < pool->count; i++) {
        int err = pthread_create(&pool->workers[i]->thread, NULL, worker_main, pool->workers[i]);
        if (err != 0) {
            worker_pool_stop(pool);
            return -err;
        }
        pool->started++;
    }
    return 0;
}

void worker_pool_stop(struct worker_pool *pool)
{
    for (uint32_t i = 0; i < pool->started; i++) {
        uint64_t one = 1;
        atomic_store(&pool->workers[i]->stop, true);
        ssize_t written = write(pool->workers[i]->wake_fd, &one, sizeof(one));
        (void)written;
    }
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i]->thread, NULL);
    pool->started = 0;
}

void worker_pool_drain(struct worker_pool *pool)
{
    bool any;

    do {
        any = false;
        for (uint32_t i = 0; i < pool->count; i++) {
            hand_over(pool->workers[i]);
            mailbox_flush(pool->workers[i]);
        }
        for (uint32_t i = 0; i < pool->count; i++)
            any |= mailbox_drain(pool->workers[i]);
    } while (any);
}

void worker_pool_free(struct worker_pool *pool)
{
    if (pool == NULL)
        return;
    for (uint32_t i = 0; i < pool->count; i++)
        worker_free(pool->workers[i]);
    free(pool);
}

uint32_t worker_pool_count(const struct worker_pool *pool)
{
    return pool->count;
}

struct worker *worker_pool_get(struct worker_pool *pool, uint32_t index)
{
    ASSERT(index < pool->count);
    return pool->workers[index];
}
