/*
 * Behaviour of the mailboxes: turn by turn on one thread, then many workers at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rcu.h"
#include "event/mailbox.h"

#define WORKERS 4
#define LIMIT (1u << 20)
#define SMALL_LIMIT 16384 /* met all the time */

/* What each worker has taken in, as text: a digit for a post, a letter for a delivery, '|' where a batch began. */
struct log {
    char text[512];
    size_t len;
    uint32_t batches;
    uint32_t deliveries;
};

static struct log logs[WORKERS];

static void note(struct worker *worker, char what)
{
    struct log *log = &logs[worker_index(worker)];

    if (log->len + 1 < sizeof(log->text))
        log->text[log->len++] = what;
}

static void take_in(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    (void)from;
    note(worker, '|');
    logs[worker_index(worker)].batches++;
    logs[worker_index(worker)].deliveries += count;
    for (uint32_t i = 0; i < count; i++)
        note(worker, (char)(uintptr_t)deliveries[i].message);
}

struct noted_post {
    struct post post;
    char what;
};

static void on_noted_post(struct worker *worker, struct post *post)
{
    note(worker, CONTAINER_OF(post, struct noted_post, post)->what);
}

static void make_pool(struct worker_pool **out_pool, uint64_t mailbox_bytes_max, worker_deliver_fn *deliver)
{
    memset(logs, 0, sizeof(logs));
    assert_int_equal(worker_pool_new(WORKERS, mailbox_bytes_max, out_pool), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_set_deliver(worker_pool_get(*out_pool, i), deliver);
}

static int set_up(void **state)
{
    rcu_thread_register();
    make_pool((struct worker_pool **)state, LIMIT, take_in);
    return 0;
}

static int tear_down(void **state)
{
    worker_pool_drain(*state);
    worker_pool_free(*state);
    rcu_thread_unregister();
    return 0;
}

static void deliver(struct worker *from, struct worker *to, char what, size_t bytes)
{
    struct delivery delivery = {.message = (void *)(uintptr_t)what};

    assert_int_equal(worker_deliver(from, to, &delivery, bytes), 0);
}

static void posts_run_in_the_order_they_came(void **state)
{
    struct worker *worker = worker_pool_get(*state, 1);
    struct noted_post posts[3];

    for (int i = 0; i < 3; i++) {
        posts[i] = (struct noted_post){.post.run = on_noted_post, .what = (char)('1' + i)};
        worker_post(worker, &posts[i].post);
    }
    assert_string_equal(logs[1].text, "");
    worker_run_turn(worker, 0);
    assert_string_equal(logs[1].text, "123");
    worker_run_turn(worker, 0);
    assert_string_equal(logs[1].text, "123");
}

/* Run by a worker as queued work, so that what it hands over comes from its own turn. */
struct script {
    struct work work;
    struct worker_pool *pool;
    struct noted_post posts[2];
};

static void hand_over_mixed(struct worker *worker, struct work *work)
{
    struct script *script = CONTAINER_OF(work, struct script, work);
    struct worker *to = worker_pool_get(script->pool, 1);

    deliver(worker, to, 'a', 0);
    deliver(worker, to, 'b', 0);
    worker_post(to, &script->posts[0].post);
    deliver(worker, to, 'c', 0);
    worker_post(worker_pool_get(script->pool, 2), &script->posts[1].post);
    deliver(worker, to, 'd', 0);
}

static void posts_and_deliveries_of_a_worker_keep_their_order(void **state)
{
    struct worker *from = worker_pool_get(*state, 0), *to = worker_pool_get(*state, 1);
    struct script script = {.work.run = hand_over_mixed, .pool = *state};

    for (int i = 0; i < 2; i++)
        script.posts[i] = (struct noted_post){.post.run = on_noted_post, .what = (char)('1' + i)};
    worker_run_later(from, &script.work);
    worker_run_turn(from, 0);
    worker_run_turn(to, 0);
    worker_run_turn(worker_pool_get(*state, 2), 0);
    /* A post to the same worker lets the open batch go first; one to another worker does not. */
    assert_string_equal(logs[1].text, "|ab1|cd");
    assert_string_equal(logs[2].text, "2");
}

static void a_turns_deliveries_leave_together_at_its_end(void **state)
{
    struct worker *from = worker_pool_get(*state, 0), *to = worker_pool_get(*state, 1);

    for (int i = 0; i < 1000; i++)
        deliver(from, to, 'x', 0);
    worker_run_turn(to, 0);
    assert_int_equal(logs[1].batches, 0);
    worker_run_turn(from, 0);
    worker_run_turn(to, 0);
    assert_int_equal(logs[1].deliveries, 1000);
}

/* Takes as long as a turn may take in at least. */
static void take_in_slowly(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    uint64_t start_ns = clock_mono_ns();

    take_in(worker, from, deliveries, count);
    while (clock_mono_ns() < start_ns + 20000000u)
        continue;
}

static void a_turn_leaves_to_the_next_what_takes_too_long(void **state)
{
    struct worker *from = worker_pool_get(*state, 0), *to = worker_pool_get(*state, 1);
    struct noted_post post = {.post.run = on_noted_post, .what = '1'};
    uint32_t before;

    worker_set_deliver(to, take_in_slowly);
    for (int i = 0; i < 300; i++)
        deliver(from, to, 'x', 0);
    worker_run_turn(from, 0);
    worker_post(to, &post.post);
    do {
        before = logs[1].deliveries;
        worker_run_turn(to, 0);
        assert_in_range(logs[1].deliveries, before + 1, before + 150);
        assert_int_equal(strchr(logs[1].text, '1') != NULL, logs[1].deliveries == 300);
    } while (logs[1].deliveries < 300);
}

static void a_full_batch_leaves_at_once(void **state)
{
    struct worker *from = worker_pool_get(*state, 0), *to = worker_pool_get(*state, 1);

    for (int i = 0; i < 5000; i++)
        deliver(from, to, 'x', 0);
    worker_run_turn(to, 0);
    assert_in_range(logs[1].deliveries, 1024, 5000);
    worker_run_turn(from, 0);
    worker_run_turn(to, 0);
    assert_int_equal(logs[1].deliveries, 5000);
}

static void a_batch_of_large_messages_leaves_before_the_turns_end(void **state)
{
    struct worker *from = worker_pool_get(*state, 0), *to = worker_pool_get(*state, 1);

    /* Else a turn could gather any number of bytes that nobody sees. */
    deliver(from, to, 'x', LIMIT * 2);
    assert_true(worker_congested(to));
}

struct waiting_publisher {
    struct mailbox_waiter waiter;
    struct worker *waits_for; /* again, when resumed; NULL: no more */
    uint32_t resumed;
};

static void on_resumed(struct worker *worker, struct mailbox_waiter *waiter)
{
    struct waiting_publisher *publisher = CONTAINER_OF(waiter, struct waiting_publisher, waiter);

    assert_true(publisher->resumed < 100);
    publisher->resumed++;
    if (publisher->waits_for != NULL)
        worker_wait_for_drain(worker, publisher->waits_for, waiter);
}

/* Five batches of a quarter of the limit each, from workers 1 and 2 to worker 3. */
static struct worker *congest(struct worker_pool *pool)
{
    struct worker *to = worker_pool_get(pool, 3);

    for (uint32_t i = 0; i < 5; i++) {
        struct worker *from = worker_pool_get(pool, 1 + i % 2);
        deliver(from, to, 'x', LIMIT / 4);
        worker_run_turn(from, 0);
    }
    assert_true(worker_congested(to));
    return to;
}

static void a_publisher_is_resumed_when_the_mailbox_has_drained(void **state)
{
    struct worker *self = worker_pool_get(*state, 0), *to = congest(*state);
    struct waiting_publisher one = {.waiter.resume = on_resumed}, other = {.waiter.resume = on_resumed};

    worker_wait_for_drain(self, to, &one.waiter);
    worker_wait_for_drain(self, to, &other.waiter);
    worker_run_turn(self, 0);
    assert_int_equal(one.resumed, 0);
    worker_run_turn(to, 0);
    assert_false(worker_congested(to));
    worker_run_turn(self, 0);
    assert_int_equal(one.resumed, 1);
    assert_int_equal(other.resumed, 1);
    worker_run_turn(to, 0);
    worker_run_turn(self, 0);
    assert_int_equal(one.resumed, 1);
}

static void publishers_of_several_workers_are_resumed(void **state)
{
    struct worker *to = congest(*state);
    struct waiting_publisher publishers[3] = {
        {.waiter.resume = on_resumed}, {.waiter.resume = on_resumed}, {.waiter.resume = on_resumed}};

    for (uint32_t i = 0; i < 3; i++)
        worker_wait_for_drain(worker_pool_get(*state, i), to, &publishers[i].waiter);
    worker_run_turn(to, 0);
    for (uint32_t i = 0; i < 3; i++) {
        worker_run_turn(worker_pool_get(*state, i), 0);
        assert_int_equal(publishers[i].resumed, 1);
    }
}

static void a_wait_for_a_mailbox_that_has_drained_already_ends(void **state)
{
    struct worker *self = worker_pool_get(*state, 0), *to = worker_pool_get(*state, 3);
    struct waiting_publisher publisher = {.waiter.resume = on_resumed};

    worker_wait_for_drain(self, to, &publisher.waiter);
    assert_int_equal(publisher.resumed, 0);
    worker_run_turn(self, 0);
    assert_int_equal(publisher.resumed, 1);
}

static void a_cancelled_wait_is_not_resumed(void **state)
{
    struct worker *self = worker_pool_get(*state, 0), *to = congest(*state);
    struct waiting_publisher gone = {.waiter.resume = on_resumed}, stays = {.waiter.resume = on_resumed};

    worker_wait_cancel(&gone.waiter); /* does not wait yet: fine */
    worker_wait_for_drain(self, to, &gone.waiter);
    worker_wait_for_drain(self, to, &stays.waiter);
    worker_wait_cancel(&gone.waiter);
    worker_wait_cancel(&gone.waiter);
    worker_run_turn(to, 0);
    worker_run_turn(self, 0);
    assert_int_equal(gone.resumed, 0);
    assert_int_equal(stays.resumed, 1);
}

static void a_publisher_that_waits_again_is_resumed_once_for_each_drain(void **state)
{
    struct worker *self = worker_pool_get(*state, 0), *to = congest(*state);
    struct waiting_publisher publisher = {.waiter.resume = on_resumed, .waits_for = to};

    worker_wait_for_drain(self, to, &publisher.waiter);
    worker_run_turn(to, 0);
    congest(*state);
    worker_run_turn(self, 0); /* resumed, and waits again */
    assert_int_equal(publisher.resumed, 1);
    publisher.waits_for = NULL;
    worker_run_turn(self, 0);
    assert_int_equal(publisher.resumed, 1);
    worker_run_turn(to, 0);
    worker_run_turn(self, 0);
    assert_int_equal(publisher.resumed, 2);
}

/* Hands what it gets to the worker before it, down to worker 0. */
static void pass_down(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    (void)from;
    uint32_t index = worker_index(worker);

    for (uint32_t i = 0; i < count; i++) {
        note(worker, (char)(uintptr_t)deliveries[i].message);
        if (index > 0)
            assert_int_equal(
                worker_deliver(worker, worker_pool_get(deliveries[i].target, index - 1), &deliveries[i], 0), 0);
    }
}

static void draining_the_pool_takes_in_what_the_workers_send_each_other(void **state)
{
    struct worker_pool *pool;
    struct delivery delivery = {.message = (void *)(uintptr_t)'x'};

    (void)state;
    make_pool(&pool, LIMIT, pass_down);
    delivery.target = pool;
    assert_int_equal(worker_deliver(worker_pool_get(pool, 0), worker_pool_get(pool, 3), &delivery, 0), 0);
    worker_pool_drain(pool);
    assert_string_equal(logs[3].text, "x");
    assert_string_equal(logs[0].text, "x");
    worker_pool_free(pool);
}

/*
 * Many at once: each worker sends TOTAL numbers to each other one, most as deliveries and some as posts, and stops
 * whenever it meets a congested mailbox.
 */
#define TOTAL 30000u
#define ROUNDS_PER_TURN 50
#define POST_EVERY 41

struct party {
    struct work work;
    struct mailbox_waiter waiter;
    struct worker_pool *pool;
    uint32_t sent[WORKERS];
    uint32_t received[WORKERS];
    uint32_t disorder;
    _Atomic uint32_t waits;
};

struct numbered_post {
    struct post post;
    uint32_t from;
    uint32_t number;
};

static struct party parties[WORKERS];
static sem_t all_received;

static void receive(struct worker *worker, uint32_t from, uint32_t number)
{
    struct party *party = &parties[worker_index(worker)];

    party->disorder += party->received[from] != number;
    if (++party->received[from] == TOTAL)
        sem_post(&all_received);
}

static void take_in_numbers(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count)
{
    (void)from;
    for (uint32_t i = 0; i < count; i++)
        receive(worker, deliveries[i].kind, (uint32_t)(uintptr_t)deliveries[i].message);
}

static void on_numbered_post(struct worker *worker, struct post *post)
{
    struct numbered_post *numbered = CONTAINER_OF(post, struct numbered_post, post);

    receive(worker, numbered->from, numbered->number);
    free(numbered);
}

static void send_number(struct worker *self, struct worker *to, uint32_t number)
{
    if (number % POST_EVERY == 0) {
        struct numbered_post *numbered = malloc(sizeof(*numbered));
        if (numbered == NULL)
            abort();
        *numbered = (struct numbered_post){.post.run = on_numbered_post, .from = worker_index(self), .number = number};
        worker_post(to, &numbered->post);
        return;
    }
    struct delivery delivery = {.message = (void *)(uintptr_t)number, .kind = worker_index(self)};
    if (worker_deliver(self, to, &delivery, 100) < 0)
        abort();
}

static void send_numbers(struct worker *self, struct work *work)
{
    struct party *party = CONTAINER_OF(work, struct party, work);
    bool more = false;

    for (int round = 0; round < ROUNDS_PER_TURN; round++) {
        for (uint32_t i = 0; i < WORKERS; i++) {
            struct worker *to = worker_pool_get(party->pool, i);
            if (i == worker_index(self) || party->sent[i] == TOTAL)
                continue;
            more = true;
            if (worker_congested(to)) {
                atomic_fetch_add(&party->waits, 1);
                worker_wait_for_drain(self, to, &party->waiter);
                return;
            }
            send_number(self, to, party->sent[i]++);
        }
    }
    if (more)
        worker_run_later(self, work);
}

static void on_party_resumed(struct worker *worker, struct mailbox_waiter *waiter)
{
    worker_run_later(worker, &CONTAINER_OF(waiter, struct party, waiter)->work);
}

static void start_sending(struct worker *worker, struct post *post)
{
    free(post);
    worker_run_later(worker, &parties[worker_index(worker)].work);
}

static void many_producers_lose_nothing_and_keep_their_order(void **state)
{
    struct worker_pool *pool;

    (void)state;
    make_pool(&pool, SMALL_LIMIT, take_in_numbers);
    memset(parties, 0, sizeof(parties));
    assert_int_equal(sem_init(&all_received, 0, 0), 0);
    assert_int_equal(worker_pool_start(pool), 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct post *post = malloc(sizeof(*post));
        assert_non_null(post);
        post->run = start_sending;
        parties[i].pool = pool;
        parties[i].work.run = send_numbers;
        parties[i].waiter.resume = on_party_resumed;
        worker_post(worker_pool_get(pool, i), post);
    }
    for (int flow = 0; flow < WORKERS * (WORKERS - 1); flow++) {
        while (sem_wait(&all_received) < 0)
            continue; /* a signal */
    }
    worker_pool_stop(pool);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(parties[i].disorder, 0);
        assert_false(worker_congested(worker_pool_get(pool, i)));
        for (uint32_t from = 0; from < WORKERS; from++)
            assert_int_equal(parties[i].received[from], from == i ? 0 : TOTAL);
    }
    print_message("waits for a drain: %u %u %u %u\n", parties[0].waits, parties[1].waits, parties[2].waits,
                  parties[3].waits);
    worker_pool_free(pool);
    sem_destroy(&all_received);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(posts_run_in_the_order_they_came),
        TEST(posts_and_deliveries_of_a_worker_keep_their_order),
        TEST(a_turns_deliveries_leave_together_at_its_end),
        TEST(a_turn_leaves_to_the_next_what_takes_too_long),
        TEST(a_full_batch_leaves_at_once),
        TEST(a_batch_of_large_messages_leaves_before_the_turns_end),
        TEST(a_publisher_is_resumed_when_the_mailbox_has_drained),
        TEST(publishers_of_several_workers_are_resumed),
        TEST(a_wait_for_a_mailbox_that_has_drained_already_ends),
        TEST(a_cancelled_wait_is_not_resumed),
        TEST(a_publisher_that_waits_again_is_resumed_once_for_each_drain),
        TEST(draining_the_pool_takes_in_what_the_workers_send_each_other),
        TEST(many_producers_lose_nothing_and_keep_their_order),
    };

    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
