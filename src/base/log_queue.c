/*
 * log_queue: lines on their way to the writer thread (Vyukov's bounded queue).
 *
 * Each slot has a turn: position p may be filled when the turn is p, and emptied when it is p + 1; emptying sets it to
 * p + capacity. The turn is stored less the slot's index, so that the zeroed array is an empty queue.
 *
 * Sleeping: the consumer stores `sleeping` and then looks at the slot; a producer fills the slot and then looks at
 * `sleeping`. All four are sequentially consistent, so at least one of the two sees the other's store: no line waits
 * while the consumer sleeps.
 */
#include "base/log_queue_internal.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

struct slot {
    uint64_t turn;
    struct log_line *line;
};

static struct slot slots[LOG_QUEUE_LINES_MAX];
static uint64_t tail; /* next position to fill; producers */
static uint64_t head; /* next position to empty; consumer */
static uint64_t bytes;
static uint32_t sleeping;
static uint32_t woken;

static sem_t wakeup;
static pthread_once_t wakeup_once = PTHREAD_ONCE_INIT;

static void wakeup_init(void)
{
    sem_init(&wakeup, 0, 0);
}

static uint64_t slot_turn(const struct slot *slot)
{
    return __atomic_load_n(&slot->turn, __ATOMIC_SEQ_CST) + (uint64_t)(slot - slots);
}

static void slot_set_turn(struct slot *slot, uint64_t turn)
{
    __atomic_store_n(&slot->turn, turn - (uint64_t)(slot - slots), __ATOMIC_SEQ_CST);
}

static void end_sleep(void)
{
    if (__atomic_load_n(&sleeping, __ATOMIC_SEQ_CST) != 0 && __atomic_exchange_n(&sleeping, 0, __ATOMIC_SEQ_CST) != 0) {
        pthread_once(&wakeup_once, wakeup_init);
        sem_post(&wakeup);
    }
}

bool log_queue_push_take(struct log_line *line)
{
    uint64_t length = line->length;
    uint64_t position = __atomic_load_n(&tail, __ATOMIC_RELAXED);

    if (__atomic_add_fetch(&bytes, length, __ATOMIC_RELAXED) > LOG_QUEUE_BYTES_MAX)
        goto full;
    for (;;) {
        struct slot *slot = &slots[position % LOG_QUEUE_LINES_MAX];
        uint64_t turn = slot_turn(slot);

        if (turn == position) {
            if (__atomic_compare_exchange_n(&tail, &position, position + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
                slot->line = line;
                slot_set_turn(slot, position + 1);
                end_sleep();
                return true;
            }
        } else if (turn < position) {
            goto full;
        } else {
            position = __atomic_load_n(&tail, __ATOMIC_RELAXED);
        }
    }
full:
    __atomic_sub_fetch(&bytes, length, __ATOMIC_RELAXED);
    return false;
}

struct log_line *log_queue_pop(void)
{
    uint64_t position = __atomic_load_n(&head, __ATOMIC_RELAXED);
    struct slot *slot = &slots[position % LOG_QUEUE_LINES_MAX];
    struct log_line *line;

    if (slot_turn(slot) != position + 1)
        return NULL;
    line = slot->line;
    slot_set_turn(slot, position + LOG_QUEUE_LINES_MAX);
    __atomic_store_n(&head, position + 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&bytes, line->length, __ATOMIC_RELAXED);
    return line;
}

uint64_t log_queue_pushed(void)
{
    return __atomic_load_n(&tail, __ATOMIC_RELAXED);
}

uint64_t log_queue_popped(void)
{
    return __atomic_load_n(&head, __ATOMIC_RELAXED);
}

/* Consumer: is there a reason not to sleep? */
static bool has_work(void)
{
    uint64_t position = __atomic_load_n(&head, __ATOMIC_RELAXED);

    return slot_turn(&slots[position % LOG_QUEUE_LINES_MAX]) == position + 1 ||
           __atomic_load_n(&woken, __ATOMIC_SEQ_CST) != 0;
}

void log_queue_wait(uint32_t timeout_ms)
{
    pthread_once(&wakeup_once, wakeup_init);
    __atomic_store_n(&sleeping, 1, __ATOMIC_SEQ_CST);
    /* A post that comes after a wait gave up only makes the next wait return early. */
    if (!has_work()) {
        if (timeout_ms == UINT32_MAX) {
            sem_wait(&wakeup);
        } else {
            struct timespec end;

            clock_gettime(CLOCK_MONOTONIC, &end);
            end.tv_sec += timeout_ms / 1000U;
            end.tv_nsec += (long)(timeout_ms % 1000U) * 1000000L;
            if (end.tv_nsec >= 1000000000L) {
                end.tv_sec++;
                end.tv_nsec -= 1000000000L;
            }
            sem_clockwait(&wakeup, CLOCK_MONOTONIC, &end);
        }
    }
    __atomic_store_n(&sleeping, 0, __ATOMIC_SEQ_CST);
    /* An exchange, because it reads: what the waker did before is then seen by the consumer's next turn. */
    (void)__atomic_exchange_n(&woken, 0, __ATOMIC_SEQ_CST);
}

void log_queue_wake(void)
{
    __atomic_store_n(&woken, 1, __ATOMIC_SEQ_CST);
    end_sleep();
}
