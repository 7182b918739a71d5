/*
 * hook: order, results and limits of a chain; and that it may be changed while threads run it.
 */
#include "hook/hook.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CALLS_MAX 16

/* The event of these tests: who was called, in order, and a value that callbacks change. */
struct trace {
    char calls[CALLS_MAX];
    uint32_t count;
    int value;
};

struct caller {
    char name;
    enum hook_verdict verdict;
    int add;
};

static enum hook_verdict note(void *context, void *event)
{
    const struct caller *caller = context;
    struct trace *trace = event;

    assert_true(trace->count < CALLS_MAX - 1);
    trace->calls[trace->count++] = caller->name;
    trace->value += caller->add;
    return caller->verdict;
}

static enum hook_verdict note_too(void *context, void *event)
{
    return note(context, event);
}

static struct hook *add_to(enum hook_point point, struct caller *caller, int priority)
{
    struct hook_options options = {
        .point = point, .priority = priority, .run = note, .context = caller, .owner = "test"};
    struct hook *hook = NULL;

    assert_int_equal(hook_add(&options, &hook), 0);
    return hook;
}

static struct hook *add(struct caller *caller, int priority)
{
    return add_to(HOOK_MESSAGE_PUBLISH, caller, priority);
}

static enum hook_verdict call(struct trace *out_trace)
{
    *out_trace = (struct trace){.count = 0};
    return hook_call(HOOK_MESSAGE_PUBLISH, out_trace);
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    return 0;
}

/* The tests leave nothing behind. */
static int tear_down(void **state)
{
    (void)state;
    for (int point = 0; point < HOOK_POINT_COUNT; point++)
        assert_false(hook_any((enum hook_point)point));
    rcu_thread_unregister();
    return 0;
}

static void an_empty_chain_calls_nobody(void **state)
{
    struct trace trace;

    (void)state;
    assert_false(hook_any(HOOK_MESSAGE_PUBLISH));
    assert_int_equal(call(&trace), HOOK_NEXT);
    assert_int_equal(trace.count, 0);
}

static void higher_priorities_come_first_and_equal_ones_in_the_order_of_adding(void **state)
{
    struct caller a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'}, e = {.name = 'e'};
    struct hook *hooks[5];
    struct trace trace;

    (void)state;
    hooks[0] = add(&a, 0);
    hooks[1] = add(&b, -1);
    hooks[2] = add(&c, 0);
    hooks[3] = add(&d, INT32_MAX);
    hooks[4] = add(&e, INT32_MIN);
    assert_true(hook_any(HOOK_MESSAGE_PUBLISH));
    assert_int_equal(call(&trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "dacbe");
    hook_remove(hooks[0]);
    hooks[0] = add(&a, 0); /* now behind c */
    assert_int_equal(call(&trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "dcabe");
    for (int i = 0; i < 5; i++)
        hook_remove(hooks[i]);
    assert_int_equal(call(&trace), HOOK_NEXT);
    assert_int_equal(trace.count, 0);
}

static void the_next_callback_sees_what_was_changed_and_stop_ends_the_chain(void **state)
{
    struct caller a = {.name = 'a', .add = 1}, b = {.name = 'b', .verdict = HOOK_STOP, .add = 10},
                  c = {.name = 'c', .add = 100};
    struct hook *first = add(&a, 2), *second = add(&b, 1), *third = add(&c, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(call(&trace), HOOK_STOP);
    assert_string_equal(trace.calls, "ab");
    assert_int_equal(trace.value, 11);
    hook_remove(second);
    assert_int_equal(call(&trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "ac");
    assert_int_equal(trace.value, 101);
    hook_remove(first);
    hook_remove(third);
}

static void pending_is_next_where_nobody_can_wait(void **state)
{
    struct caller a = {.name = 'a', .verdict = HOOK_PENDING}, b = {.name = 'b'};
    struct hook *first = add(&a, 0), *second = add(&b, 0);
    struct trace trace;

    (void)state;
    assert_int_equal(call(&trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "ab");
    hook_remove(first);
    hook_remove(second);
}

static void each_point_has_a_chain_of_its_own(void **state)
{
    struct caller a = {.name = 'a'}, b = {.name = 'b'};
    struct hook *first = add_to(HOOK_CLIENT_CONNECTED, &a, 0), *second = add_to(HOOK_MESSAGE_ACKED, &b, 0);
    struct trace trace = {.count = 0};

    (void)state;
    assert_int_equal(hook_call(HOOK_CLIENT_CONNECTED, &trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "a");
    assert_int_equal(hook_call(HOOK_CLIENT_DISCONNECTED, &trace), HOOK_NEXT);
    assert_int_equal(hook_call(HOOK_MESSAGE_ACKED, &trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "ab");
    hook_remove(first);
    hook_remove(second);
}

static void the_same_callback_with_the_same_context_is_there_once(void **state)
{
    struct caller a = {.name = 'a'}, b = {.name = 'b'};
    struct hook_options options = {.point = HOOK_MESSAGE_PUBLISH, .run = note, .context = &a, .owner = "test"};
    struct hook *hooks[3], *twin = NULL;

    (void)state;
    assert_int_equal(hook_add(&options, &hooks[0]), 0);
    options.priority = 5;
    assert_int_equal(hook_add(&options, &twin), -EEXIST);
    assert_null(twin);
    options.context = &b;
    assert_int_equal(hook_add(&options, &hooks[1]), 0);
    options.context = &a;
    options.run = note_too;
    assert_int_equal(hook_add(&options, &hooks[2]), 0);
    for (int i = 0; i < 3; i++)
        hook_remove(hooks[i]);
    hook_remove(NULL);
}

static void a_chain_is_bounded(void **state)
{
    struct caller callers[HOOK_CALLBACKS_MAX + 1] = {{.name = 'x'}};
    struct hook *hooks[HOOK_CALLBACKS_MAX], *more = NULL;
    struct hook_options options = {.point = HOOK_MESSAGE_PUBLISH, .run = note, .owner = "test"};

    (void)state;
    for (uint32_t i = 0; i < HOOK_CALLBACKS_MAX; i++)
        hooks[i] = add(&callers[i], 0);
    options.context = &callers[HOOK_CALLBACKS_MAX];
    assert_int_equal(hook_add(&options, &more), -ENOSPC);
    hook_remove(hooks[17]);
    assert_int_equal(hook_add(&options, &hooks[17]), 0);
    for (uint32_t i = 0; i < HOOK_CALLBACKS_MAX; i++)
        hook_remove(hooks[i]);
}

static void guards_can_be_called_alone(void **state)
{
    struct caller a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c', .verdict = HOOK_STOP}, d = {.name = 'd'};
    struct trace trace = {.count = 0};
    struct hook *hooks[4];

    (void)state;
    assert_int_equal(hook_call_guards(HOOK_MESSAGE_PUBLISH, &trace), HOOK_NEXT);
    hooks[0] = add(&a, HOOK_PRIORITY_GUARD - 1);
    assert_int_equal(hook_call_guards(HOOK_MESSAGE_PUBLISH, &trace), HOOK_NEXT);
    assert_int_equal(trace.count, 0);
    hooks[1] = add(&b, HOOK_PRIORITY_GUARD);
    assert_int_equal(hook_call_guards(HOOK_MESSAGE_PUBLISH, &trace), HOOK_NEXT);
    assert_string_equal(trace.calls, "b");
    hooks[2] = add(&c, HOOK_PRIORITY_GUARD);
    hooks[3] = add(&d, HOOK_PRIORITY_GUARD);
    assert_int_equal(hook_call_guards(HOOK_MESSAGE_PUBLISH, &trace), HOOK_STOP);
    assert_string_equal(trace.calls, "bbc");
    for (int i = 0; i < 4; i++)
        hook_remove(hooks[i]);
}

static void every_point_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(hook_point_name(HOOK_CLIENT_AUTHENTICATE), "client.authenticate");
    assert_string_equal(hook_point_name(HOOK_TLS_PSK_LOOKUP), "tls_handshake.psk_lookup");
    assert_string_equal(hook_point_name(HOOK_CLIENT_ENHANCED_AUTHENTICATE), "client.enhanced_authenticate");
    for (int point = 0; point < HOOK_POINT_COUNT; point++) {
        assert_non_null(hook_point_name((enum hook_point)point));
        for (int other = 0; other < point; other++)
            assert_string_not_equal(hook_point_name((enum hook_point)point), hook_point_name((enum hook_point)other));
    }
}

/* ---- while threads call ---- */

#define CALLING_THREADS 3
#define HOOKS_AT_ONCE 4
#define ROUNDS 100
#define CALLS_PER_ROUND 20 /* at least so many between two changes */

/* A callback's context, which is made invalid once hook_remove() has returned: a call after that would be seen. */
struct living {
    _Atomic uint64_t calls;
    uint64_t sign;
    int priority;
};

#define SIGN_OF_LIFE UINT64_C(0x6c6976696e672121)

struct storm {
    _Atomic bool done;
    _Atomic uint64_t calls;
    _Atomic uint64_t dead_calls;
    _Atomic uint64_t wrong_orders;
};

struct storm_event {
    struct storm *storm;
    int last_priority;
};

static enum hook_verdict live(void *context, void *event)
{
    struct living *living = context;
    struct storm_event *storm_event = event;

    if (living->sign != SIGN_OF_LIFE)
        atomic_fetch_add(&storm_event->storm->dead_calls, 1);
    if (living->priority > storm_event->last_priority)
        atomic_fetch_add(&storm_event->storm->wrong_orders, 1);
    storm_event->last_priority = living->priority;
    atomic_fetch_add_explicit(&living->calls, 1, memory_order_relaxed);
    return HOOK_NEXT;
}

static void *call_at_full_rate(void *argument)
{
    struct storm *storm = argument;

    rcu_thread_register();
    while (!atomic_load_explicit(&storm->done, memory_order_relaxed)) {
        for (int i = 0; i < 64; i++) {
            struct storm_event event = {.storm = storm, .last_priority = INT32_MAX};

            (void)hook_call(HOOK_MESSAGE_PUBLISH, &event);
        }
        atomic_fetch_add(&storm->calls, 64);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static struct hook *bring_to_life(struct living **out_living, int priority)
{
    struct living *living = calloc(1, sizeof(*living));
    struct hook *hook = NULL;

    assert_non_null(living);
    living->sign = SIGN_OF_LIFE;
    living->priority = priority;
    struct hook_options options = {
        .point = HOOK_MESSAGE_PUBLISH, .priority = priority, .run = live, .context = living, .owner = "test"};
    assert_int_equal(hook_add(&options, &hook), 0);
    *out_living = living;
    return hook;
}

static uint64_t bury(struct hook *hook, struct living *living)
{
    uint64_t calls;

    hook_remove(hook);
    calls = atomic_load(&living->calls);
    living->sign = 0; /* not atomic: ThreadSanitizer sees a callback that still runs */
    free(living);
    return calls;
}

static void wait_for_calls(struct storm *storm, uint64_t count)
{
    uint64_t start = atomic_load(&storm->calls);

    while (atomic_load(&storm->calls) - start < count)
        ;
}

static void chains_change_while_threads_call_at_full_rate(void **state)
{
    struct storm storm = {.done = false};
    pthread_t threads[CALLING_THREADS];
    struct living *living[HOOKS_AT_ONCE];
    struct hook *hooks[HOOKS_AT_ONCE];
    uint64_t heard = 0;

    (void)state;
    rcu_thread_offline(); /* as the control thread is while it waits */
    for (int i = 0; i < HOOKS_AT_ONCE; i++)
        hooks[i] = bring_to_life(&living[i], i);
    for (int i = 0; i < CALLING_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_at_full_rate, &storm), 0);
    for (int round = 0; round < ROUNDS; round++) {
        int which = round % HOOKS_AT_ONCE;

        heard += bury(hooks[which], living[which]);
        hooks[which] = bring_to_life(&living[which], round % 7);
        wait_for_calls(&storm, CALLS_PER_ROUND);
    }
    for (int i = 0; i < HOOKS_AT_ONCE; i++)
        heard += bury(hooks[i], living[i]);
    wait_for_calls(&storm, CALLS_PER_ROUND); /* on the empty chain */
    atomic_store(&storm.done, true);
    for (int i = 0; i < CALLING_THREADS; i++)
        pthread_join(threads[i], NULL);
    rcu_thread_online();
    assert_int_equal(storm.dead_calls, 0);
    assert_int_equal(storm.wrong_orders, 0);
    assert_true(heard > ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_chain_calls_nobody),
        cmocka_unit_test(higher_priorities_come_first_and_equal_ones_in_the_order_of_adding),
        cmocka_unit_test(the_next_callback_sees_what_was_changed_and_stop_ends_the_chain),
        cmocka_unit_test(pending_is_next_where_nobody_can_wait),
        cmocka_unit_test(each_point_has_a_chain_of_its_own),
        cmocka_unit_test(the_same_callback_with_the_same_context_is_there_once),
        cmocka_unit_test(a_chain_is_bounded),
        cmocka_unit_test(guards_can_be_called_alone),
        cmocka_unit_test(every_point_has_its_name),
        cmocka_unit_test(chains_change_while_threads_call_at_full_rate),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
