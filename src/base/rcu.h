/*
 * rcu: read-mostly shared data under liburcu's QSBR flavour, in the words of this code base.
 *
 * A reader (a worker) is online while it works and offline while it waits; it is quiescent once a turn. Reading a
 * shared pointer is RCU_READ(), publishing one is RCU_PUBLISH() (C11 acquire and release, so that
 * ThreadSanitizer understands them too). What was unlinked is given to rcu_retire(), which frees it after a grace
 * period.
 */
#ifndef BASE_RCU_H
#define BASE_RCU_H

#include <stdatomic.h>

#define RCU_READ(pointer) __atomic_load_n(&(pointer), __ATOMIC_ACQUIRE)
#define RCU_PUBLISH(pointer, value) __atomic_store_n(&(pointer), (value), __ATOMIC_RELEASE)

/* Each thread that reads or retires: at its start (it is then online) and its end. The last one to end waits until
 * everything retired has been freed. */
void rcu_thread_register(void);
void rcu_thread_unregister(void);
/* The thread holds no shared pointer now. Thread: registered. */
void rcu_thread_quiescent(void);
/* Around a wait; going offline flushes what the thread retired. Thread: registered. */
void rcu_thread_offline(void);
void rcu_thread_online(void);

/* Calls `free_fn(object)` after a grace period, on the reclaiming thread. Many retirements share one grace
 * period (collected per thread until rcu_retire_flush(), which a worker calls once a turn). Never blocks.
 * Thread: registered. */
void rcu_retire(void *object, void (*free_fn)(void *object));
void rcu_retire_flush(void);

/* Waits until all that was retired and flushed before has been freed. The caller holds no shared pointer.
 * Thread: control, shutdown, tests, registered or not; never a worker. */
void rcu_barrier_all(void);

#endif
