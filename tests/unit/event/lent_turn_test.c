/*
 * Behaviour of lent turns: a worker with a few deliveries for one that sleeps runs that one's turn itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "event/mailbox.h"

#define LIMIT (1u << 20)
#define TRIES_MAX 100000 /* the receiver falls asleep within microseconds; far fewer are needed */

struct shot {
    struct post post; /* to the sender: it delivers to the receiver, as many as `count` */
    uint32_t count;
};

static struct worker_pool *pool;
static struct worker *sender, *receiver;
static pthread_t sender_thread;
static sem_t taken;
static uint32_t taken_in_lent_turns, taken_count, awaited_count;
static bool timer_fired_on_own_thread;
/* Read by turns that any worker takes meanwhile. */
static _Atomic bool start_timer, send_late_post;
static struct timer timer;
static struct post late_post; /* comes from elsewhere while the lent turn begins */
static bool post_ran_in_lent_turn;

uint64_t __real_clock_mono_tick_ns(void);
uint64_t __wrap_clock_mono_tick_ns(void);

static void on_late_post(struct worker *worker, struct post *post)
{
    (void)post;
    post_ran_in_lent_turn = worker_in_lent_turn(worker);
    sem_post(&taken);
}

/* A turn looks at the clock before it takes the mailbox out: whoever posts in that moment finds the receiver lent. */
uint64_t __wrap_clock_mono_tick_ns(void)
{
    if (send_late_post && worker_current() == receiver && worker_in_lent_turn(receiver)) {
        send_late_post = false;
        late_post.run = on_late_post;
        worker_post(receiver, &late_post);
    }
    return __real_clock_mono_tick_ns();
}

static void on_due(struct timer *due, uint64_t now_ms)
{
    (void)due;
    (void)now_ms;
    timer_fired_on_own_thread = pthread_equal(pthread_self(), sender_thread) == 0 && worker_current() == receiver;
    sem_post(&taken);
}

/* Whoever's thread this is, it acts for the receiver. */
static void take_in(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    (void)from;
    bool lent = pthread_equal(pthread_self(), sender_thread) != 0;

    (void)deliveries;
    assert_ptr_equal(worker, receiver);
    assert_ptr_equal(worker_current(), receiver);
    assert_int_equal(worker_in_lent_turn(worker), lent);
    taken_count += count;
    taken_in_lent_turns += lent ? count : 0;
    if (lent && start_timer) {
        start_timer = false;
        timer.on_due = on_due;
        timer_start(worker_timers(worker), &timer, worker_now_ms(worker) + 20);
    }
    if (taken_count == awaited_count) /* it may have come in several parts */
        sem_post(&taken);
}

static void shoot(struct worker *worker, struct post *post)
{
    struct shot *shot = CONTAINER_OF(post, struct shot, post);

    sender_thread = pthread_self();
    for (uint32_t i = 0; i < shot->count; i++) {
        struct delivery delivery = {.message = NULL};
        assert_int_equal(worker_deliver(worker, receiver, &delivery, 1), 0);
    }
    free(shot);
}

static void deliver(uint32_t count)
{
    struct shot *shot = malloc(sizeof(*shot));

    assert_non_null(shot);
    *shot = (struct shot){.post.run = shoot, .count = count};
    awaited_count = taken_count + count;
    worker_post(sender, &shot->post);
    sem_wait(&taken);
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    sem_init(&taken, 0, 0);
    taken_count = taken_in_lent_turns = 0;
    assert_int_equal(worker_pool_new(2, LIMIT, &pool), 0);
    sender = worker_pool_get(pool, 0);
    receiver = worker_pool_get(pool, 1);
    worker_set_deliver(sender, take_in);
    worker_set_deliver(receiver, take_in);
    assert_int_equal(worker_pool_start(pool), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    worker_pool_stop(pool);
    worker_pool_drain(pool);
    worker_pool_free(pool);
    sem_destroy(&taken);
    rcu_thread_unregister();
    return 0;
}

static void a_few_deliveries_for_a_sleeper_are_taken_in_by_their_sender(void **state)
{
    uint32_t sent = 0;

    (void)state;
    while (taken_in_lent_turns == 0 && sent < TRIES_MAX) {
        deliver(1);
        sent++;
    }
    assert_int_equal(taken_count, sent);
    assert_true(taken_in_lent_turns > 0);
}

static void many_deliveries_wake_the_sleeper(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        deliver(100);
    assert_int_equal(taken_count, 100 * 100);
    assert_int_equal(taken_in_lent_turns, 0);
}

static void a_timer_that_a_lent_turn_starts_fires_on_the_own_thread_in_time(void **state)
{
    uint32_t tries = 0;

    (void)state;
    start_timer = true;
    while (taken_in_lent_turns == 0 && tries++ < TRIES_MAX)
        deliver(1);
    assert_true(taken_in_lent_turns > 0);
    sem_wait(&taken); /* without a wake-up nothing would come here */
    assert_true(timer_fired_on_own_thread);
}

/* It may free what the sleeper's epoll set is just naming. */
static void a_post_waits_for_the_own_thread(void **state)
{
    uint32_t tries = 0;

    (void)state;
    post_ran_in_lent_turn = true;
    send_late_post = true;
    while (taken_in_lent_turns == 0 && tries++ < TRIES_MAX)
        deliver(1);
    assert_true(taken_in_lent_turns > 0);
    sem_wait(&taken);
    assert_false(post_ran_in_lent_turn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_few_deliveries_for_a_sleeper_are_taken_in_by_their_sender),
        TEST(many_deliveries_wake_the_sleeper),
        TEST(a_timer_that_a_lent_turn_starts_fires_on_the_own_thread_in_time),
        TEST(a_post_waits_for_the_own_thread),
    };

    return cmocka_run_group_tests_name("lent_turn", tests, NULL, NULL);
}
