/*
 * mailbox: an intrusive list that any thread pushes to with one atomic exchange; the worker takes the whole list and
 * turns it round, so what one thread pushed stays in its order.
 *
 * Waking costs a system call, so it is only done for a worker that sleeps: it sets WORKER_SLEEPING, looks into the
 * mailbox once more and then waits; who pushes and finds that state takes it back and writes the eventfd. Both sides
 * use sequentially consistent operations: either the worker sees the post or the poster sees the state.
 *
 * Under light load waking is most of the cost and of the delay: another processor has to come out of its idle state for one
 * message. So who has only a few deliveries for a sleeping worker borrows it (WORKER_LENT) and runs the turn itself; should the sleeper wake
 * meanwhile, it waits for that short turn's end. A worker is thus always run by one thread, and nobody sees two.
 */
#include "event/mailbox.h"

#include "base/clock.h"
#include "event/worker_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_FIRST_COUNT 16
#define BATCH_COUNT_MAX 1024
#define BATCH_EARLY_COUNT 64  /* deliveries worth waking a sleeper for in the middle of a turn */
#define TAKE_IN_NS 5000000u   /* a turn that has taken in for so long leaves the rest to the next one */
#define TAKE_IN_COUNT 64      /* deliveries or posts between two looks at the clock */
#define IN_PERSON_COUNT_MAX 4 /* deliveries; more are worth another processor */
#define BATCH_LIMIT_PARTS 8   /* a batch over this part of the mailbox's limit does not wait for the turn's end */

struct delivery_batch {
    struct post post;
    uint64_t bytes;
    uint32_t count;
    uint32_t capacity;
    uint32_t done; /* taken in */
    uint32_t from; /* index of the worker */
    struct delivery deliveries[];
};

void worker_wake(struct worker *worker)
{
    uint8_t sleeping = WORKER_SLEEPING;

    if (atomic_load(&worker->mailbox.state) == WORKER_SLEEPING &&
        atomic_compare_exchange_strong(&worker->mailbox.state, &sleeping, WORKER_AWAKE)) {
        uint64_t one = 1;
        ssize_t written = write(worker->wake_fd, &one, sizeof(one));
        (void)written; /* fails only when the counter is full, after 2^64 wake-ups */
    }
}

static void mailbox_push(struct worker *to, struct post *post)
{
    struct mailbox *mailbox = &to->mailbox;
    struct post *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);

    do
        post->next = head;
    while (!atomic_compare_exchange_weak(&mailbox->head, &head, post));
    worker_wake(to); /* whoever runs a lent turn looks into the mailbox afterwards */
}

void worker_post(struct worker *worker, struct post *post)
{
    struct worker *self = worker_current();

    /* What this thread delivered before must arrive before. */
    if (self != NULL && self != worker && (self->outgoing_dirty & UINT64_C(1) << worker->index) != 0)
        mailbox_flush(self);
    mailbox_push(worker, post);
}

/* A batch whose deliveries are all taken in. */
static void finish_batch(struct worker *worker, struct post *post)
{
    struct delivery_batch *batch = CONTAINER_OF(post, struct delivery_batch, post);
    struct mailbox *mailbox = &worker->mailbox;
    uint64_t left;

    left = atomic_fetch_sub(&mailbox->bytes, batch->bytes) - batch->bytes;
    free(batch);
    if (left > worker->pool->mailbox_bytes_max / 2 || atomic_load(&mailbox->waiting_workers) == 0)
        return;
    uint64_t waiting = atomic_exchange(&mailbox->waiting_workers, 0);
    for (uint32_t i = 0; waiting != 0; i++, waiting >>= 1) {
        if ((waiting & 1) != 0 && !atomic_exchange(&worker->drain_posts[i].in_flight, true))
            mailbox_push(worker->pool->workers[i], &worker->drain_posts[i].post);
    }
}

static void on_drained(struct worker *worker, struct post *post)
{
    struct drain_post *drain = CONTAINER_OF(post, struct drain_post, post);
    struct mailbox_waiter *head = &worker->waiters[drain->drained];
    struct mailbox_waiter round; /* who waits now: who waits again in `resume` belongs to the next drain */

    atomic_store(&drain->in_flight, false);
    if (head->next == head)
        return;
    round = *head;
    round.next->prev = round.prev->next = &round;
    head->next = head->prev = head;
    while (round.next != &round) {
        struct mailbox_waiter *waiter = round.next;
        worker_wait_cancel(waiter);
        waiter->resume(worker, waiter);
    }
}

void mailbox_init(struct worker *worker)
{
    worker->taken_tail = &worker->taken;
    for (uint32_t i = 0; i < WORKER_COUNT_MAX; i++) {
        worker->waiters[i].next = worker->waiters[i].prev = &worker->waiters[i];
        worker->drain_posts[i].post.run = on_drained;
        worker->drain_posts[i].drained = worker->index;
    }
}

void worker_set_deliver(struct worker *worker, worker_deliver_fn *deliver)
{
    worker->deliver = deliver;
}

static void batch_post(struct worker *from, uint32_t to_index)
{
    struct delivery_batch *batch = from->outgoing[to_index];
    struct worker *to = from->pool->workers[to_index];

    from->outgoing[to_index] = NULL;
    from->outgoing_dirty &= ~(UINT64_C(1) << to_index);
    atomic_fetch_add(&to->mailbox.bytes, batch->bytes);
    mailbox_push(to, &batch->post);
}

/* An open batch of `from` to `to_index` with room for one more, or NULL. */
static struct delivery_batch *batch_with_room(struct worker *from, uint32_t to_index)
{
    struct delivery_batch *batch = from->outgoing[to_index];
    uint32_t capacity = BATCH_FIRST_COUNT;

    if (LIKELY(batch != NULL && batch->count < batch->capacity))
        return batch;
    if (batch != NULL && batch->count >= BATCH_COUNT_MAX) {
        batch_post(from, to_index);
        batch = NULL;
        capacity = BATCH_COUNT_MAX; /* it filled once, it will again */
    } else if (batch != NULL) {
        capacity = batch->capacity * 4;
    }
    struct delivery_batch *grown = realloc(batch, sizeof(*grown) + capacity * sizeof(struct delivery));
    if (grown == NULL)
        return NULL;
    if (batch == NULL) {
        grown->post.run = finish_batch;
        grown->bytes = 0;
        grown->count = grown->done = 0;
        grown->from = from->index;
    }
    grown->capacity = capacity;
    from->outgoing[to_index] = grown;
    from->outgoing_dirty |= UINT64_C(1) << to_index;
    return grown;
}

int worker_deliver(struct worker *from, struct worker *to, const struct delivery *delivery, size_t bytes)
{
    struct delivery_batch *batch = batch_with_room(from, to->index);

    if (UNLIKELY(batch == NULL))
        return -ENOMEM;
    batch->deliveries[batch->count++] = *delivery;
    batch->bytes += bytes + sizeof(*delivery);
    bool worth_waking = batch->count == BATCH_EARLY_COUNT &&
                        atomic_load_explicit(&to->mailbox.state, memory_order_relaxed) == WORKER_SLEEPING;
    if (UNLIKELY(worth_waking || batch->bytes > from->pool->mailbox_bytes_max / BATCH_LIMIT_PARTS))
        batch_post(from, to->index);
    return 0;
}

void mailbox_flush(struct worker *worker)
{
    while (worker->outgoing_dirty != 0)
        batch_post(worker, (uint32_t)__builtin_ctzll(worker->outgoing_dirty));
}

void mailbox_flush_in_person(struct worker *worker)
{
    uint64_t dirty = worker->outgoing_dirty;

    for (uint32_t i = 0; dirty != 0; i++, dirty >>= 1) {
        struct worker *to = worker->pool->workers[i];
        uint8_t sleeping = WORKER_SLEEPING;
        if ((dirty & 1) == 0)
            continue;
        bool lent = worker->outgoing[i]->count <= IN_PERSON_COUNT_MAX &&
                    atomic_load_explicit(&to->mailbox.state, memory_order_relaxed) == WORKER_SLEEPING &&
                    atomic_compare_exchange_strong(&to->mailbox.state, &sleeping, WORKER_LENT);
        batch_post(worker, i);
        if (lent)
            worker_run_lent_turn(worker, to);
    }
}

/* Puts what was pushed behind what is left of earlier turns, in the order in which it was pushed. */
static void take_out(struct worker *worker)
{
    struct post *head = atomic_exchange(&worker->mailbox.head, NULL);
    struct post *last = head, *ordered = NULL;

    if (head == NULL)
        return;
    while (head != NULL) {
        struct post *next = head->next;
        head->next = ordered;
        ordered = head;
        head = next;
    }
    *worker->taken_tail = ordered;
    worker->taken_tail = &last->next;
}

/* Takes in some deliveries of a batch; the number of them. */
static uint32_t take_in_some(struct worker *worker, struct delivery_batch *batch)
{
    uint32_t left = batch->count - batch->done;
    uint32_t count = left < TAKE_IN_COUNT ? left : TAKE_IN_COUNT;

    worker->deliver(worker, batch->from, &batch->deliveries[batch->done], count);
    batch->done += count;
    return count;
}

/* The first of what was taken out, or a part of it. Returns how much work that was. */
static uint32_t take_in_first(struct worker *worker)
{
    struct post *post = worker->taken;
    uint32_t count = 1;

    if (post->run == finish_batch) {
        struct delivery_batch *batch = CONTAINER_OF(post, struct delivery_batch, post);
        count = take_in_some(worker, batch);
        if (batch->done < batch->count)
            return count;
    }
    worker->taken = post->next;
    if (worker->taken == NULL)
        worker->taken_tail = &worker->taken;
    post->run(worker, post);
    return count;
}

/* A lent turn takes in deliveries only: a post may free or move what the sleeper's epoll set is just naming. */
static bool may_take_in(const struct worker *worker)
{
    return worker->taken != NULL && (!worker->in_lent_turn || worker->taken->run == finish_batch);
}

bool mailbox_drain(struct worker *worker)
{
    uint64_t end_ns = clock_mono_tick_ns() + TAKE_IN_NS;
    uint32_t count = 0;
    bool any;

    take_out(worker);
    any = worker->taken != NULL;
    while (may_take_in(worker)) {
        count += take_in_first(worker);
        if (count < TAKE_IN_COUNT)
            continue;
        if (clock_mono_tick_ns() >= end_ns)
            break;
        count = 0;
    }
    return any;
}

bool worker_congested(const struct worker *to)
{
    return atomic_load_explicit(&to->mailbox.bytes, memory_order_relaxed) > to->pool->mailbox_bytes_max;
}

void worker_wait_for_drain(struct worker *self, struct worker *to, struct mailbox_waiter *waiter)
{
    struct mailbox_waiter *head = &self->waiters[to->index];

    waiter->prev = head->prev;
    waiter->next = head;
    head->prev->next = waiter;
    head->prev = waiter;
    atomic_fetch_or(&to->mailbox.waiting_workers, UINT64_C(1) << self->index);
    /* It may have drained before it could see the bit: then nobody would tell us. Our own open batch does not
     * count there yet, so the waiter is told by the batch that follows, or right here. */
    if (atomic_load(&to->mailbox.bytes) <= self->pool->mailbox_bytes_max / 2 &&
        !atomic_exchange(&to->drain_posts[self->index].in_flight, true))
        mailbox_push(self, &to->drain_posts[self->index].post);
}

void worker_wait_cancel(struct mailbox_waiter *waiter)
{
    if (waiter->next == NULL)
        return;
    waiter->prev->next = waiter->next;
    waiter->next->prev = waiter->prev;
    waiter->next = waiter->prev = NULL;
}
