/*
 * rcu: what is retired is freed, after its readers and not before, and nothing is left at the end.
 */
#include "base/rcu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static _Atomic uint32_t freed;

static void count_and_free(void *object)
{
    free(object);
    atomic_fetch_add(&freed, 1);
}

static void retire_one(void)
{
    void *object = malloc(16);

    assert_non_null(object);
    rcu_retire(object, count_and_free);
}

static int reset(void **state)
{
    (void)state;
    atomic_store(&freed, 0);
    return 0;
}

static int set_up(void **state)
{
    reset(state);
    rcu_thread_register();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rcu_thread_unregister();
    return 0;
}

static void frees_what_was_retired(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        retire_one();
    rcu_barrier_all();
    assert_int_equal(freed, 1000);
}

static void the_last_thread_to_end_leaves_nothing(void **state)
{
    (void)state;
    rcu_thread_register();
    retire_one();
    rcu_thread_unregister();
    assert_int_equal(freed, 1);
}

static void retire_from_free(void *object)
{
    rcu_retire(object, count_and_free);
}

static void a_free_function_may_retire(void **state)
{
    void *object = malloc(16);

    (void)state;
    rcu_thread_register();
    rcu_retire(object, retire_from_free);
    rcu_thread_unregister();
    assert_int_equal(freed, 1);
}

static void a_thread_that_is_not_registered_may_wait(void **state)
{
    (void)state;
    rcu_barrier_all();
    rcu_thread_register();
    retire_one();
    rcu_thread_unregister();
    rcu_barrier_all();
    assert_int_equal(freed, 1);
}

struct handshake {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int step;
};

static void handshake_set(struct handshake *handshake, int step)
{
    pthread_mutex_lock(&handshake->lock);
    handshake->step = step;
    pthread_cond_broadcast(&handshake->changed);
    pthread_mutex_unlock(&handshake->lock);
}

static void handshake_wait(struct handshake *handshake, int step)
{
    pthread_mutex_lock(&handshake->lock);
    while (handshake->step < step)
        pthread_cond_wait(&handshake->changed, &handshake->lock);
    pthread_mutex_unlock(&handshake->lock);
}

/* Stays online over step 2, so nothing retired since may be freed by then. */
static void *hold_reader(void *argument)
{
    struct handshake *handshake = argument;

    rcu_thread_register();
    handshake_set(handshake, 1);
    handshake_wait(handshake, 2);
    assert_int_equal(atomic_load(&freed), 0);
    rcu_thread_unregister();
    return NULL;
}

static void waits_for_a_reader_that_is_online(void **state)
{
    struct handshake handshake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t reader;

    (void)state;
    assert_int_equal(pthread_create(&reader, NULL, hold_reader, &handshake), 0);
    handshake_wait(&handshake, 1);
    retire_one();
    rcu_thread_offline(); /* flushes */
    handshake_set(&handshake, 2);
    pthread_join(reader, NULL);
    rcu_thread_online();
    rcu_barrier_all();
    assert_int_equal(freed, 1);
}

struct box {
    uint64_t left;
    uint64_t right; /* the same number while the box lives */
};

struct stress {
    struct box *box;
    _Atomic bool done;
    _Atomic uint64_t torn;
};

static void spoil_and_free(void *object)
{
    struct box *box = object;

    box->left++;
    free(box);
    atomic_fetch_add(&freed, 1);
}

static void *read_boxes(void *argument)
{
    struct stress *stress = argument;

    rcu_thread_register();
    while (!atomic_load(&stress->done)) {
        const struct box *box = RCU_READ(stress->box);

        if (box->left != box->right)
            atomic_fetch_add(&stress->torn, 1);
        rcu_thread_quiescent();
    }
    rcu_thread_unregister();
    return NULL;
}

static struct box *box_new(uint64_t number)
{
    struct box *box = malloc(sizeof(*box));

    assert_non_null(box);
    *box = (struct box){number, number};
    return box;
}

static void readers_see_whole_objects_only(void **state)
{
    enum { CHANGES = 20000 };
    struct stress stress = {.box = box_new(0)};
    pthread_t readers[2];

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_boxes, &stress), 0);
    for (uint64_t i = 1; i <= CHANGES; i++) {
        struct box *old = stress.box;

        RCU_PUBLISH(stress.box, box_new(i));
        rcu_retire(old, spoil_and_free);
        if (i % 16 == 0) {
            rcu_retire_flush();
            rcu_thread_quiescent();
        }
    }
    atomic_store(&stress.done, true);
    rcu_thread_offline();
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    rcu_thread_online();
    rcu_barrier_all();
    assert_int_equal(stress.torn, 0);
    assert_int_equal(freed, CHANGES);
    free(stress.box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frees_what_was_retired, set_up, tear_down),
        cmocka_unit_test_setup(the_last_thread_to_end_leaves_nothing, reset),
        cmocka_unit_test_setup(a_free_function_may_retire, reset),
        cmocka_unit_test_setup(a_thread_that_is_not_registered_may_wait, reset),
        cmocka_unit_test_setup_teardown(waits_for_a_reader_that_is_online, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_see_whole_objects_only, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
