/*
 * hook_run: events whose callbacks answer later: turn by turn on one thread, then with workers that run and threads that answer.
 */
#include "hook/hook_run.h"

#include "base/clock.h"
#include "event/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CALLS_MAX 16
#define TIMEOUT_MS 1000u
#define PENDING_MAX 3u

/* An event with who was called for it, in order, and how its run ended. */
struct trace {
    struct hook_run run;
    char calls[CALLS_MAX];
    uint32_t count;
    uint32_t done_count;
    enum hook_result result;
};

static void trace_note(struct trace *trace, char what)
{
    assert_true(trace->count < CALLS_MAX - 1);
    trace->calls[trace->count++] = what;
}

/* A callback that says `verdict`; with HOOK_PENDING it keeps its ticket. */
struct caller {
    char name;
    enum hook_verdict verdict;
    bool takes_ticket;
    struct hook_ticket *ticket;
};

static enum hook_verdict note(void *context, void *event)
{
    struct caller *caller = context;

    trace_note(event, caller->name);
    if (caller->takes_ticket)
        caller->ticket = hook_defer(event);
    return caller->verdict;
}

static uint32_t answers_freed; /* answers nobody wanted */

struct answer {
    char name;
    enum hook_verdict verdict;
};

static enum hook_verdict apply(void *context, void *event)
{
    struct answer *answer = context;
    enum hook_verdict verdict = answer->verdict;

    if (event == NULL)
        answers_freed++;
    else
        trace_note(event, answer->name);
    free(answer);
    return verdict;
}

static void answer(struct caller *caller, char name, enum hook_verdict verdict)
{
    struct answer *made = malloc(sizeof(*made));

    assert_non_null(made);
    *made = (struct answer){name, verdict};
    hook_complete(caller->ticket, apply, made);
    caller->ticket = NULL;
}

static void on_done(struct hook_run *run, enum hook_result result)
{
    struct trace *trace = CONTAINER_OF(run, struct trace, run);

    trace->done_count++;
    trace->result = result;
}

static struct hook *add(struct caller *caller, int priority)
{
    struct hook_options options = {
        .point = HOOK_CLIENT_AUTHENTICATE, .priority = priority, .run = note, .context = caller, .owner = "test"};
    struct hook *hook = NULL;

    assert_int_equal(hook_add(&options, &hook), 0);
    return hook;
}

/* ---- turn by turn ---- */

static struct worker_pool *pool;
static uint64_t now_ms;

static void turn(void)
{
    worker_run_turn(worker_pool_get(pool, 0), now_ms);
}

static enum hook_result start(struct trace *trace)
{
    *trace = (struct trace){
        .run = {
            .point = HOOK_CLIENT_AUTHENTICATE, .worker = worker_pool_get(pool, 0), .event = trace, .on_done = on_done}};
    return hook_run_start(&trace->run);
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    hook_set_limits(TIMEOUT_MS, PENDING_MAX);
    answers_freed = 0;
    assert_int_equal(worker_pool_new(1, 1u << 20, &pool), 0);
    now_ms = clock_mono_ms();
    turn();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_false(hook_any(HOOK_CLIENT_AUTHENTICATE));
    assert_int_equal(hook_pending_count(worker_pool_get(pool, 0)), 0);
    worker_pool_free(pool);
    rcu_thread_unregister();
    return 0;
}

static void without_waiting_it_is_a_call(void **state)
{
    struct caller a = {.name = 'a'}, b = {.name = 'b', .verdict = HOOK_STOP}, c = {.name = 'c'};
    struct hook *first = add(&a, 1), *second = add(&b, 0), *third = add(&c, -1);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_RAN);
    assert_string_equal(trace.calls, "ab");
    assert_int_equal(trace.done_count, 0);
    hook_remove(first);
    hook_remove(second);
    hook_remove(third);
    assert_int_equal(start(&trace), HOOK_RAN);
    assert_int_equal(trace.count, 0);
}

static void the_chain_goes_on_behind_the_answer(void **state)
{
    struct caller a = {.name = 'a'}, p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true},
                  q = {.name = 'q', .verdict = HOOK_PENDING, .takes_ticket = true}, z = {.name = 'z'};
    struct hook *hooks[] = {add(&a, 0), add(&p, 0), add(&q, 0), add(&z, -1)};
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_WAITS);
    assert_string_equal(trace.calls, "ap");
    turn();
    assert_int_equal(trace.done_count, 0);
    answer(&p, 'P', HOOK_NEXT);
    assert_string_equal(trace.calls, "ap"); /* the event is changed on its worker, in a turn */
    turn();
    assert_string_equal(trace.calls, "apPq");
    answer(&q, 'Q', HOOK_NEXT);
    turn();
    assert_string_equal(trace.calls, "apPqQz");
    assert_int_equal(trace.done_count, 1);
    assert_int_equal(trace.result, HOOK_RAN);
    for (size_t i = 0; i < ARRAY_COUNT(hooks); i++)
        hook_remove(hooks[i]);
    assert_int_equal(answers_freed, 0);
}

static void who_has_stopped_it_can_be_called_alone(void **state)
{
    struct caller a = {.name = 'a'}, b = {.name = 'b', .verdict = HOOK_STOP},
                  p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true}, z = {.name = 'z'};
    struct hook *hooks[] = {add(&a, 2), add(&b, 0), add(&z, -1)}, *above;
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_RAN);
    uint64_t number = trace.run.stopped_by;
    assert_true(number != 0);
    trace.run.only = number;
    assert_int_equal(hook_run_start(&trace.run), HOOK_RAN);
    assert_string_equal(trace.calls, "abb");
    assert_int_equal(trace.run.stopped_by, number);
    b.verdict = HOOK_NEXT;
    assert_int_equal(hook_run_start(&trace.run), HOOK_RAN);
    assert_string_equal(trace.calls, "abbb");
    assert_int_equal(trace.run.stopped_by, 0);
    above = add(&p, 1);
    assert_int_equal(start(&trace), HOOK_WAITS);
    answer(&p, 'P', HOOK_STOP);
    turn();
    assert_string_equal(trace.calls, "apP");
    assert_true(trace.run.stopped_by != 0 && trace.run.stopped_by != number);
    trace.run.only = trace.run.stopped_by;
    hook_remove(above);
    assert_int_equal(hook_run_start(&trace.run), HOOK_RAN); /* it has gone */
    assert_string_equal(trace.calls, "apP");
    assert_int_equal(trace.run.stopped_by, 0);
    for (size_t i = 0; i < ARRAY_COUNT(hooks); i++)
        hook_remove(hooks[i]);
}

static void an_answer_may_stop_the_chain(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true}, z = {.name = 'z'};
    struct hook *first = add(&p, 0), *second = add(&z, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_WAITS);
    answer(&p, 'P', HOOK_STOP);
    turn();
    assert_string_equal(trace.calls, "pP");
    assert_int_equal(trace.result, HOOK_RAN);
    assert_int_equal(trace.done_count, 1);
    hook_remove(first);
    hook_remove(second);
}

static void the_chain_may_change_while_an_event_waits(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true}, before = {.name = 'b'},
                  gone = {.name = 'g'}, behind = {.name = 'z'};
    struct hook *first = add(&p, 0), *removed = add(&gone, 0), *second, *third;
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_WAITS);
    hook_remove(removed);
    second = add(&before, 1);
    third = add(&behind, 0);
    answer(&p, 'P', HOOK_NEXT);
    turn();
    assert_string_equal(trace.calls, "pPz");
    hook_remove(first);
    hook_remove(second);
    hook_remove(third);
}

static void who_does_not_answer_in_time_fails(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true};
    struct hook *hook = add(&p, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_WAITS);
    now_ms += TIMEOUT_MS - 50;
    turn();
    assert_int_equal(trace.done_count, 0);
    now_ms += 100;
    turn();
    assert_int_equal(trace.done_count, 1);
    assert_int_equal(trace.result, HOOK_FAILED);
    answer(&p, 'P', HOOK_NEXT); /* too late */
    turn();
    assert_string_equal(trace.calls, "p");
    assert_int_equal(trace.done_count, 1);
    assert_int_equal(answers_freed, 1);
    hook_remove(hook);
}

static void a_cancelled_event_hears_nothing(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true};
    struct hook *hook = add(&p, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_WAITS);
    hook_run_cancel(&trace.run);
    hook_run_cancel(&trace.run);
    now_ms += 2 * TIMEOUT_MS;
    turn();
    answer(&p, 'P', HOOK_NEXT);
    turn();
    assert_int_equal(trace.done_count, 0);
    assert_string_equal(trace.calls, "p");
    assert_int_equal(answers_freed, 1);
    hook_remove(hook);
}

static void over_the_limit_events_are_busy(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true};
    struct hook *hook = add(&p, 0);
    struct trace traces[PENDING_MAX], more;
    struct hook_ticket *tickets[PENDING_MAX];

    (void)state;
    for (uint32_t i = 0; i < PENDING_MAX; i++) {
        assert_int_equal(start(&traces[i]), HOOK_WAITS);
        tickets[i] = p.ticket;
    }
    assert_int_equal(start(&more), HOOK_BUSY);
    hook_run_cancel(&traces[0].run); /* its answer is still owed */
    assert_int_equal(start(&more), HOOK_BUSY);
    p.ticket = tickets[0];
    answer(&p, 'P', HOOK_NEXT);
    turn();
    assert_int_equal(start(&more), HOOK_WAITS);
    answer(&p, 'P', HOOK_NEXT);
    for (uint32_t i = 1; i < PENDING_MAX; i++) {
        p.ticket = tickets[i];
        answer(&p, 'P', HOOK_NEXT);
    }
    turn();
    assert_int_equal(more.result, HOOK_RAN);
    for (uint32_t i = 1; i < PENDING_MAX; i++)
        assert_int_equal(traces[i].done_count, 1);
    hook_remove(hook);
}

static void pending_without_a_ticket_fails(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING}, z = {.name = 'z'};
    struct hook *first = add(&p, 0), *second = add(&z, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_FAILED);
    assert_string_equal(trace.calls, "p");
    hook_remove(first);
    hook_remove(second);
}

static void a_ticket_that_was_not_needed_changes_nothing(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_NEXT, .takes_ticket = true}, z = {.name = 'z'};
    struct hook *first = add(&p, 0), *second = add(&z, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_RAN);
    assert_string_equal(trace.calls, "pz");
    answer(&p, 'P', HOOK_STOP);
    turn();
    assert_string_equal(trace.calls, "pz");
    assert_int_equal(answers_freed, 1);
    hook_remove(first);
    hook_remove(second);
}

static void no_ticket_where_nobody_can_wait(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true};
    struct hook *hook = add(&p, 0);
    struct trace trace = {.count = 0};

    (void)state;
    assert_int_equal(hook_call(HOOK_CLIENT_AUTHENTICATE, &trace), HOOK_NEXT);
    assert_null(p.ticket);
    assert_null(hook_defer(&trace));
    hook_remove(hook);
}

static void an_answer_that_wants_to_wait_again_fails(void **state)
{
    struct caller p = {.name = 'p', .verdict = HOOK_PENDING, .takes_ticket = true};
    struct hook *hook = add(&p, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(start(&trace), HOOK_WAITS);
    answer(&p, 'P', HOOK_PENDING);
    turn();
    assert_int_equal(trace.done_count, 1);
    assert_int_equal(trace.result, HOOK_FAILED);
    hook_remove(hook);
}

/* ---- with threads ---- */

#define STORM_WORKERS 3
#define STORM_PENDING_MAX 200u
#define STORM_EVENTS 4000u /* of each worker */
#define STORM_AT_ONCE 16u  /* of each worker */
#define STORM_ROUNDS 20

/* A backend: takes tickets from the callback and answers from a thread of its own. */
struct backend {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct hook_ticket *tickets[STORM_PENDING_MAX * STORM_WORKERS];
    uint32_t count;
    bool done;
    _Atomic bool is_there; /* false once hook_remove() has returned */
    _Atomic uint32_t asked;
    _Atomic uint32_t applied;
    _Atomic uint32_t applied_when_gone;
};

static enum hook_verdict ask_backend(void *context, void *event)
{
    struct backend *backend = context;
    struct hook_ticket *ticket = hook_defer(event);

    if (ticket == NULL)
        return HOOK_PENDING;
    atomic_fetch_add(&backend->asked, 1);
    pthread_mutex_lock(&backend->lock);
    assert_true(backend->count < ARRAY_COUNT(backend->tickets));
    backend->tickets[backend->count++] = ticket;
    pthread_cond_signal(&backend->changed);
    pthread_mutex_unlock(&backend->lock);
    return HOOK_PENDING;
}

static enum hook_verdict apply_backend(void *answer_given, void *event)
{
    struct backend *backend = answer_given;

    atomic_fetch_add(&backend->applied, 1);
    if (event != NULL && !atomic_load(&backend->is_there))
        atomic_fetch_add(&backend->applied_when_gone, 1);
    return HOOK_NEXT;
}

static void *answer_all(void *argument)
{
    struct backend *backend = argument;

    pthread_mutex_lock(&backend->lock);
    while (!backend->done || backend->count > 0) {
        if (backend->count == 0) {
            pthread_cond_wait(&backend->changed, &backend->lock);
            continue;
        }
        struct hook_ticket *ticket = backend->tickets[--backend->count];
        pthread_mutex_unlock(&backend->lock);
        hook_complete(ticket, apply_backend, backend);
        pthread_mutex_lock(&backend->lock);
    }
    pthread_mutex_unlock(&backend->lock);
    return NULL;
}

static void backend_init(struct backend *backend)
{
    *backend = (struct backend){
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .is_there = true};
}

static struct hook *backend_attach(struct backend *backend)
{
    struct hook_options options = {
        .point = HOOK_CLIENT_AUTHENTICATE, .run = ask_backend, .context = backend, .owner = "test"};
    struct hook *hook = NULL;

    atomic_store(&backend->is_there, true);
    assert_int_equal(hook_add(&options, &hook), 0);
    return hook;
}

/* A worker's clients: each fires an event, waits for its end and fires the next one. */
struct client {
    struct hook_run run;
    struct storm *storm;
};

struct storm {
    struct client clients[STORM_AT_ONCE];
    struct post post;
    struct worker *worker;
    uint32_t started;
    uint32_t ended;
    uint32_t results[HOOK_BUSY + 1];
    _Atomic bool is_over;
};

static void fire(struct client *client);

static void on_client_done(struct hook_run *run, enum hook_result result)
{
    struct client *client = CONTAINER_OF(run, struct client, run);

    client->storm->ended++;
    client->storm->results[result]++;
    fire(client);
}

/* Until one waits, or none is left. */
static void fire(struct client *client)
{
    struct storm *storm = client->storm;

    while (storm->started < STORM_EVENTS) {
        storm->started++;
        client->run = (struct hook_run){
            .point = HOOK_CLIENT_AUTHENTICATE, .worker = storm->worker, .event = client, .on_done = on_client_done};
        enum hook_result result = hook_run_start(&client->run);
        if (result == HOOK_WAITS)
            return;
        storm->ended++;
        storm->results[result]++;
    }
    if (storm->ended == STORM_EVENTS)
        atomic_store(&storm->is_over, true);
}

static void begin_storm(struct worker *worker, struct post *post)
{
    struct storm *storm = CONTAINER_OF(post, struct storm, post);

    storm->worker = worker;
    for (uint32_t i = 0; i < STORM_AT_ONCE; i++) {
        storm->clients[i].storm = storm;
        fire(&storm->clients[i]);
    }
}

static void begin_storms(struct storm storms[STORM_WORKERS])
{
    assert_int_equal(worker_pool_new(STORM_WORKERS, 1u << 20, &pool), 0);
    assert_int_equal(worker_pool_start(pool), 0);
    for (uint32_t i = 0; i < STORM_WORKERS; i++) {
        storms[i] = (struct storm){.post.run = begin_storm};
        worker_post(worker_pool_get(pool, i), &storms[i].post);
    }
}

static void end_storms(struct storm storms[STORM_WORKERS])
{
    for (uint32_t i = 0; i < STORM_WORKERS; i++) {
        while (!atomic_load(&storms[i].is_over))
            sched_yield();
    }
    worker_pool_stop(pool);
    worker_pool_drain(pool);
    for (uint32_t i = 0; i < STORM_WORKERS; i++)
        assert_int_equal(hook_pending_count(worker_pool_get(pool, i)), 0);
    worker_pool_free(pool);
}

static int set_up_threads(void **state)
{
    (void)state;
    rcu_thread_register();
    rcu_thread_offline();
    hook_set_limits(60000, STORM_PENDING_MAX);
    return 0;
}

static int tear_down_threads(void **state)
{
    (void)state;
    assert_false(hook_any(HOOK_CLIENT_AUTHENTICATE));
    rcu_thread_online();
    rcu_thread_unregister();
    return 0;
}

static void answers_come_from_any_thread(void **state)
{
    struct storm storms[STORM_WORKERS];
    struct backend backend;
    pthread_t threads[2];

    (void)state;
    backend_init(&backend);
    struct hook *hook = backend_attach(&backend);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, answer_all, &backend), 0);
    begin_storms(storms);
    end_storms(storms);
    pthread_mutex_lock(&backend.lock);
    backend.done = true;
    pthread_cond_broadcast(&backend.changed);
    pthread_mutex_unlock(&backend.lock);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    hook_remove(hook);
    assert_int_equal(backend.asked, STORM_WORKERS * STORM_EVENTS);
    assert_int_equal(backend.applied, backend.asked);
    for (uint32_t i = 0; i < STORM_WORKERS; i++)
        assert_int_equal(storms[i].results[HOOK_RAN], STORM_EVENTS);
}

/* One thread takes the callback away again and again while another answers its events. */
static void a_callback_may_be_removed_while_events_wait_for_it(void **state)
{
    struct storm storms[STORM_WORKERS];
    struct backend backend;
    pthread_t thread;
    uint32_t ended = 0;

    (void)state;
    backend_init(&backend);
    struct hook *hook = backend_attach(&backend);
    assert_int_equal(pthread_create(&thread, NULL, answer_all, &backend), 0);
    begin_storms(storms);
    for (int round = 0; round < STORM_ROUNDS; round++) {
        hook_remove(hook);
        atomic_store(&backend.is_there, false);
        sched_yield();
        hook = backend_attach(&backend);
    }
    end_storms(storms);
    hook_remove(hook);
    atomic_store(&backend.is_there, false);
    pthread_mutex_lock(&backend.lock);
    backend.done = true;
    pthread_cond_broadcast(&backend.changed);
    pthread_mutex_unlock(&backend.lock);
    pthread_join(thread, NULL);
    assert_int_equal(backend.applied, backend.asked);
    assert_int_equal(backend.applied_when_gone, 0);
    for (uint32_t i = 0; i < STORM_WORKERS; i++) {
        ended += storms[i].results[HOOK_RAN] + storms[i].results[HOOK_FAILED];
    }
    assert_int_equal(ended, STORM_WORKERS * STORM_EVENTS);
}

/* Nobody answers: removing ends the waiting of all of them, before it returns. */
static void removal_fails_the_events_that_wait(void **state)
{
    static struct storm storms[STORM_WORKERS];
    struct backend backend;

    (void)state;
    backend_init(&backend);
    struct hook *hook = backend_attach(&backend);
    begin_storms(storms);
    while (atomic_load(&backend.asked) < STORM_WORKERS * STORM_AT_ONCE)
        sched_yield();
    hook_remove(hook);
    atomic_store(&backend.is_there, false);
    end_storms(storms);
    assert_int_equal(backend.count, STORM_WORKERS * STORM_AT_ONCE);
    for (uint32_t i = 0; i < STORM_WORKERS; i++)
        assert_int_equal(storms[i].results[HOOK_FAILED], STORM_AT_ONCE);
    while (backend.count > 0) /* their answers come in vain, even when the workers are gone */
        hook_complete(backend.tickets[--backend.count], apply_backend, &backend);
    assert_int_equal(backend.applied, STORM_WORKERS * STORM_AT_ONCE);
    assert_int_equal(backend.applied_when_gone, 0);
}

#define STEPWISE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define THREADED(test) cmocka_unit_test_setup_teardown(test, set_up_threads, tear_down_threads)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STEPWISE(without_waiting_it_is_a_call),
        STEPWISE(the_chain_goes_on_behind_the_answer),
        STEPWISE(an_answer_may_stop_the_chain),
        STEPWISE(the_chain_may_change_while_an_event_waits),
        STEPWISE(who_does_not_answer_in_time_fails),
        STEPWISE(a_cancelled_event_hears_nothing),
        STEPWISE(over_the_limit_events_are_busy),
        STEPWISE(pending_without_a_ticket_fails),
        STEPWISE(a_ticket_that_was_not_needed_changes_nothing),
        STEPWISE(no_ticket_where_nobody_can_wait),
        STEPWISE(who_has_stopped_it_can_be_called_alone),
        STEPWISE(an_answer_that_wants_to_wait_again_fails),
        THREADED(answers_come_from_any_thread),
        THREADED(a_callback_may_be_removed_while_events_wait_for_it),
        THREADED(removal_fails_the_events_that_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
