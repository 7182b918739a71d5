/*
 * Behaviour of the mailbox of a libuv loop: order, posts from other threads, posts that still wait at its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <uv.h>

#include "event/loop_mailbox.h"

#define THREADS 3
#define POSTS 5000u

struct numbered {
    struct loop_post post;
    uint32_t from;
    uint32_t number;
};

static uv_loop_t loop;
static struct loop_mailbox *mailbox;
static struct numbered posts[THREADS][POSTS];
static uint32_t next_number[THREADS];
static uint32_t received, disorder;

static int set_up(void **state)
{
    (void)state;
    received = disorder = 0;
    for (uint32_t i = 0; i < THREADS; i++)
        next_number[i] = 0;
    return uv_loop_init(&loop) < 0 || loop_mailbox_open(&loop, &mailbox) < 0 ? -1 : 0;
}

static void on_numbered(struct loop_post *post)
{
    const struct numbered *numbered = CONTAINER_OF(post, struct numbered, post);

    disorder += numbered->number != next_number[numbered->from]++;
    if (++received == THREADS * POSTS)
        uv_stop(&loop);
}

static void *post_all(void *argument)
{
    uint32_t from = *(const uint32_t *)argument;

    for (uint32_t i = 0; i < POSTS; i++) {
        posts[from][i] = (struct numbered){.post.run = on_numbered, .from = from, .number = i};
        loop_mailbox_post(mailbox, &posts[from][i].post);
    }
    return NULL;
}

static void runs_posts_of_many_threads_on_the_loops_thread_in_their_order(void **state)
{
    static const uint32_t indexes[THREADS] = {0, 1, 2};
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, (void *)(uintptr_t)&indexes[i]), 0);
    uv_run(&loop, UV_RUN_DEFAULT); /* until the last one has come */
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    loop_mailbox_close(mailbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(received, THREADS * POSTS);
    assert_int_equal(disorder, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void closing_runs_what_still_waits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        posts[0][i] = (struct numbered){.post.run = on_numbered, .number = i};
        loop_mailbox_post(mailbox, &posts[0][i].post);
    }
    assert_int_equal(received, 0);
    loop_mailbox_close(mailbox);
    assert_int_equal(received, 3);
    assert_int_equal(disorder, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    loop_mailbox_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(runs_posts_of_many_threads_on_the_loops_thread_in_their_order, set_up),
        cmocka_unit_test_setup(closing_runs_what_still_waits, set_up),
    };

    return cmocka_run_group_tests_name("loop_mailbox", tests, NULL, NULL);
}
