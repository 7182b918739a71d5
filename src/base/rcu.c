/*
 * rcu: see rcu.h. A thin layer over liburcu's QSBR flavour.
 *
 * What a thread retires is collected in a chunk of its own; rcu_retire_flush() hands the chunk to call_rcu(), so
 * that one callback and one grace period serve all of a turn's retirements. The first chunk of a turn is small,
 * those that follow in the same turn are large.
 *
 * One helper thread runs the callbacks. It lives from the first rcu_thread_register() to the last
 * rcu_thread_unregister(), which waits until everything retired has been freed and joins it.
 *
 * liburcu comes without ThreadSanitizer's instrumentation, so the order it gives is told to the sanitizer here:
 * each quiescent state is a release and each callback an acquire on one address.
 */
#include "base/rcu.h"

#include "base/compiler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <urcu/urcu-qsbr.h>

#if defined(__SANITIZE_THREAD__)
#define RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_TSAN 1
#endif
#endif

#ifdef RCU_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define SYNC_RELEASE(address) __tsan_release(address)
#define SYNC_ACQUIRE(address) __tsan_acquire(address)
static char reader_sync;  /* readers' quiescent states, before callbacks */
static char reclaim_sync; /* callbacks, before who waited for them */
#else
#define SYNC_RELEASE(address) ((void)0)
#define SYNC_ACQUIRE(address) ((void)0)
#endif

#define CHUNK_ITEMS_SMALL 6
#define CHUNK_ITEMS_LARGE 62

struct retired {
    void *object;
    void (*free_fn)(void *object);
};

struct chunk {
    struct rcu_head head;
    uint32_t count;
    uint32_t capacity;
    struct retired items[];
};

static _Thread_local struct chunk *current_chunk;
static _Thread_local bool current_turn_large; /* a chunk has filled up in this turn */

/* Chunks handed to call_rcu() whose callback has not ended yet. */
static _Atomic uint64_t chunks_pending;

static _Thread_local bool is_registered;

static pthread_mutex_t helper_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t helper_users;        /* under helper_lock */
static struct call_rcu_data *helper; /* under helper_lock */

/* Waits on the helper for its callback to run. */
struct barrier {
    struct rcu_head head;
    pthread_mutex_t lock;
    pthread_cond_t passed_cond;
    bool passed; /* under the lock */
};

static void barrier_pass(struct rcu_head *head)
{
    struct barrier *barrier = CONTAINER_OF(head, struct barrier, head);

    SYNC_ACQUIRE(&reader_sync);
    pthread_mutex_lock(&barrier->lock);
    barrier->passed = true;
    pthread_cond_signal(&barrier->passed_cond);
    pthread_mutex_unlock(&barrier->lock);
}

/* Callbacks run in the order in which they were handed over, so one that is handed over now comes after all others.
 * (liburcu's own barrier does the same, but ThreadSanitizer does not see how it synchronises.) Thread: registered. */
static void barrier_wait(void)
{
    struct barrier barrier = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .passed_cond = PTHREAD_COND_INITIALIZER, .passed = false};
    bool was_online = urcu_qsbr_read_ongoing();

    urcu_qsbr_thread_online();
    SYNC_RELEASE(&reader_sync);
    urcu_qsbr_call_rcu(&barrier.head, barrier_pass);
    urcu_qsbr_thread_offline();
    pthread_mutex_lock(&barrier.lock);
    while (!barrier.passed)
        pthread_cond_wait(&barrier.passed_cond, &barrier.lock);
    pthread_mutex_unlock(&barrier.lock);
    if (was_online)
        urcu_qsbr_thread_online();
    SYNC_ACQUIRE(&reclaim_sync);
}

void rcu_thread_register(void)
{
    struct call_rcu_data *mine;

    pthread_mutex_lock(&helper_lock);
    if (helper_users++ == 0)
        helper = urcu_qsbr_create_call_rcu_data(0, -1);
    mine = helper;
    pthread_mutex_unlock(&helper_lock);

    urcu_qsbr_register_thread();
    urcu_qsbr_set_thread_call_rcu_data(mine);
    is_registered = true;
    SYNC_ACQUIRE(&reclaim_sync);
}

/* Stops the helper, which has nothing left to do. */
static void helper_stop(void)
{
    pthread_t thread = urcu_qsbr_get_call_rcu_thread(helper);

    /* Stops the thread and frees the data, but does not join it. */
    urcu_qsbr_call_rcu_data_free(helper);
    pthread_join(thread, NULL);
    helper = NULL;
}

void rcu_thread_unregister(void)
{
    bool is_last;

    rcu_retire_flush();
    pthread_mutex_lock(&helper_lock);
    ASSERT(helper_users > 0);
    is_last = --helper_users == 0;
    /* A free function may retire something itself, hence the loop. */
    while (is_last && atomic_load(&chunks_pending) > 0)
        barrier_wait();

    SYNC_RELEASE(&reader_sync);
    urcu_qsbr_set_thread_call_rcu_data(NULL);
    urcu_qsbr_unregister_thread();
    is_registered = false;
    if (is_last)
        helper_stop();
    pthread_mutex_unlock(&helper_lock);
    SYNC_ACQUIRE(&reclaim_sync);
}

void rcu_thread_quiescent(void)
{
    SYNC_RELEASE(&reader_sync);
    urcu_qsbr_quiescent_state();
}

void rcu_thread_offline(void)
{
    /* The thread may sleep for long; what it retired shall not wait for that. */
    rcu_retire_flush();
    SYNC_RELEASE(&reader_sync);
    urcu_qsbr_thread_offline();
}

void rcu_thread_online(void)
{
    urcu_qsbr_thread_online();
}

static void reclaim(struct rcu_head *head)
{
    struct chunk *chunk = CONTAINER_OF(head, struct chunk, head);

    SYNC_ACQUIRE(&reader_sync);
    for (uint32_t i = 0; i < chunk->count; i++)
        chunk->items[i].free_fn(chunk->items[i].object);
    free(chunk);
    rcu_retire_flush(); /* what the free functions retired in turn */
    SYNC_RELEASE(&reclaim_sync);
    atomic_fetch_sub(&chunks_pending, 1);
}

static struct chunk *chunk_new(uint32_t capacity)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + capacity * sizeof(chunk->items[0]));

    if (chunk != NULL) {
        chunk->count = 0;
        chunk->capacity = capacity;
    }
    return chunk;
}

static void chunk_hand_over(void)
{
    struct chunk *chunk = current_chunk;

    current_chunk = NULL;
    atomic_fetch_add(&chunks_pending, 1);
    SYNC_RELEASE(&reader_sync);
    urcu_qsbr_call_rcu(&chunk->head, reclaim);
}

void rcu_retire(void *object, void (*free_fn)(void *object))
{
    if (current_chunk != NULL && current_chunk->count == current_chunk->capacity) {
        chunk_hand_over();
        current_turn_large = true;
    }
    if (current_chunk == NULL) {
        current_chunk = chunk_new(current_turn_large ? CHUNK_ITEMS_LARGE : CHUNK_ITEMS_SMALL);
        /* Without memory for the note the object is lost: readers may still hold it, waiting for them is not
         * allowed here, and a caller could do nothing about an error. */
        if (UNLIKELY(current_chunk == NULL))
            return;
    }
    current_chunk->items[current_chunk->count++] = (struct retired){object, free_fn};
}

void rcu_retire_flush(void)
{
    current_turn_large = false;
    if (current_chunk != NULL)
        chunk_hand_over();
}

void rcu_barrier_all(void)
{
    bool was_registered = is_registered;

    if (!was_registered)
        rcu_thread_register();
    rcu_retire_flush();
    barrier_wait();
    if (!was_registered)
        rcu_thread_unregister();
}
