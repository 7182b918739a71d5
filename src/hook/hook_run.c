/*
 * hook_run: see hook_run.h.
 *
 * A ticket has two holders: who owes the answer, and the worker. Its state leaves TICKET_OPEN once, by hook_complete() or because its
 * callback is removed; who does that posts the ticket to its worker, where all the rest happens. What waits there may have lost its run
 * meanwhile, never its worker.
 *
 * hook_remove() takes the chain's snapshot away first, so that no further ticket of the hook comes up, then fails the open ones and waits
 * until the worker has seen each, also those whose answer was on its way: after that no code of the callback's owner is called from here.
 */
#include "hook/hook_run.h"

#include "base/log.h"
#include "base/metrics.h"
#include "event/mailbox.h"
#include "hook/hook_internal.h"

#include <pthread.h>
#include <stdlib.h>

enum ticket_state {
    TICKET_OPEN,
    TICKET_COMPLETED, /* `apply` has the answer */
    TICKET_REMOVED,   /* the callback is removed */
};

struct hook_ticket {
    struct post post;
    struct worker *worker;
    struct list place;    /* in the hook's list */
    struct hook_run *run; /* of the worker; NULL: nobody waits any more */
    hook_apply_fn *apply;
    void *answer;
    int priority;      /* of the callback, which may be gone: where the chain goes on */
    uint64_t sequence; /* likewise */
    _Atomic int state; /* enum ticket_state */
    _Atomic int holders;
};

static uint32_t timeout_ms = HOOK_PENDING_TIMEOUT_MS;
static uint32_t pending_max = HOOK_PENDING_MAX;

/* Of all hooks: taken for a moment where an event waits, which is rare beside what it waits for. */
static pthread_mutex_t tickets_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ticket_left = PTHREAD_COND_INITIALIZER;

static uint32_t pending_counts[WORKER_COUNT_MAX]; /* each the worker's */

static _Thread_local struct hook_run *running; /* the run whose callback is being called */

void hook_set_limits(uint32_t pending_timeout_ms, uint32_t new_pending_max)
{
    timeout_ms = pending_timeout_ms;
    pending_max = new_pending_max;
}

uint32_t hook_pending_count(const struct worker *worker)
{
    return pending_counts[worker_index(worker)];
}

static void ticket_drop(struct hook_ticket *ticket)
{
    if (atomic_fetch_sub(&ticket->holders, 1) == 1)
        free(ticket);
}

/* The worker is done with it, and so is its hook. */
static void ticket_leave(struct hook_ticket *ticket)
{
    pending_counts[worker_index(ticket->worker)]--;
    pthread_mutex_lock(&tickets_lock);
    list_remove(&ticket->place);
    pthread_cond_broadcast(&ticket_left);
    pthread_mutex_unlock(&tickets_lock);
    ticket_drop(ticket);
}

static void on_timeout(struct timer *timer, uint64_t now_ms);

/* What a callback's HOOK_PENDING means. */
static enum hook_result begin_waiting(struct hook_run *run)
{
    if (run->ticket == NULL)
        return run->is_busy ? HOOK_BUSY : HOOK_FAILED;
    run->timer = (struct timer){.on_due = on_timeout};
    timer_start(worker_timers(run->worker), &run->timer, worker_now_ms(run->worker) + timeout_ms);
    return HOOK_WAITS;
}

static enum hook_verdict call(struct hook_run *run, const struct hook_entry *entry)
{
    struct hook_run *outer = running;
    enum hook_verdict verdict;

    running = run;
    run->calling = entry->hook;
    run->is_busy = false;
    verdict = entry->run(entry->context, run->event);
    running = outer;
    run->calling = NULL;
    if (verdict != HOOK_PENDING)
        hook_run_cancel(run); /* a ticket it took and did not need */
    return verdict;
}

static bool is_behind(const struct hook_entry *entry, int priority, uint64_t sequence)
{
    const struct hook *hook = entry->hook;

    return hook->options.priority < priority || (hook->options.priority == priority && hook->sequence > sequence);
}

/* The callbacks behind that place. The chain may be another one than before. */
static enum hook_result run_from(struct hook_run *run, int priority, uint64_t sequence)
{
    const struct hook_chain *chain = RCU_READ(hook_chains[run->point]);

    for (uint32_t i = 0; chain != NULL && i < chain->count; i++) {
        const struct hook_entry *entry = &chain->entries[i];
        if (!is_behind(entry, priority, sequence) || (run->only != 0 && run->only != entry->hook->sequence))
            continue;
        enum hook_verdict verdict = call(run, entry);
        if (verdict == HOOK_STOP) {
            run->stopped_by = entry->hook->sequence;
            break;
        }
        if (verdict == HOOK_PENDING)
            return begin_waiting(run);
    }
    return HOOK_RAN;
}

enum hook_result hook_run_start(struct hook_run *run)
{
    run->ticket = NULL;
    run->stopped_by = 0;
    return run_from(run, INT32_MAX, 0); /* sequences begin with 1 */
}

void hook_run_cancel(struct hook_run *run)
{
    if (run->ticket == NULL)
        return;
    timer_stop(worker_timers(run->worker), &run->timer);
    run->ticket->run = NULL;
    run->ticket = NULL;
}

static void on_timeout(struct timer *timer, uint64_t now_ms)
{
    static struct log_limit limit = LOG_LIMIT_INIT(LOG_LIMIT_PER_SECOND);
    struct hook_run *run = CONTAINER_OF(timer, struct hook_run, timer);

    (void)now_ms;
    metric_add(METRIC_HOOKS_PENDING_TIMEOUT, 1);
    if (log_enabled(LOG_LEVEL_WARNING) && log_limit_pass(&limit))
        log_write_line(LOG_LEVEL_WARNING, "[Hooks] %s has not been answered within %u ms, refusing",
                       hook_point_name(run->point), timeout_ms);
    hook_run_cancel(run);
    run->on_done(run, HOOK_FAILED);
}

static void on_ticket(struct worker *worker, struct post *post)
{
    struct hook_ticket *ticket = CONTAINER_OF(post, struct hook_ticket, post);
    bool is_completed = atomic_load(&ticket->state) == TICKET_COMPLETED;
    int priority = ticket->priority;
    uint64_t sequence = ticket->sequence;
    enum hook_verdict verdict = HOOK_PENDING;
    struct hook_run *run;

    (void)worker;
    if (is_completed)
        verdict = ticket->apply(ticket->answer, ticket->run == NULL ? NULL : ticket->run->event);
    run = ticket->run;
    if (run != NULL)
        hook_run_cancel(run);
    ticket_leave(ticket);
    if (run == NULL)
        return;
    enum hook_result result = verdict == HOOK_STOP ? HOOK_RAN : HOOK_FAILED;
    run->stopped_by = verdict == HOOK_STOP ? sequence : 0;
    if (verdict == HOOK_NEXT)
        result = run_from(run, priority, sequence);
    if (result != HOOK_WAITS)
        run->on_done(run, result);
}

static struct hook_ticket *ticket_new(struct hook_run *run)
{
    struct hook_ticket *ticket = malloc(sizeof(*ticket));

    if (ticket == NULL)
        return NULL;
    *ticket = (struct hook_ticket){
        .post.run = on_ticket,
        .worker = run->worker,
        .run = run,
        .priority = run->calling->options.priority,
        .sequence = run->calling->sequence,
        .state = TICKET_OPEN,
        .holders = 2,
    };
    pthread_mutex_lock(&tickets_lock);
    list_append(&run->calling->tickets, &ticket->place);
    pthread_mutex_unlock(&tickets_lock);
    pending_counts[worker_index(run->worker)]++;
    return ticket;
}

struct hook_ticket *hook_defer(void *event)
{
    struct hook_run *run = running;

    if (run == NULL || run->event != event || run->ticket != NULL)
        return NULL;
    if (hook_pending_count(run->worker) >= pending_max) {
        metric_add(METRIC_HOOKS_PENDING_REFUSED, 1);
        run->is_busy = true;
        return NULL;
    }
    run->ticket = ticket_new(run);
    return run->ticket;
}

void hook_complete(struct hook_ticket *ticket, hook_apply_fn *apply, void *answer)
{
    int expected = TICKET_OPEN;

    ticket->apply = apply;
    ticket->answer = answer;
    if (atomic_compare_exchange_strong(&ticket->state, &expected, TICKET_COMPLETED))
        worker_post(ticket->worker, &ticket->post);
    else
        (void)apply(answer, NULL);
    ticket_drop(ticket);
}

void hook_fail_tickets(struct hook *hook)
{
    pthread_mutex_lock(&tickets_lock);
    LIST_EACH(&hook->tickets, node)
    {
        struct hook_ticket *ticket = LIST_ENTRY(node, struct hook_ticket, place);
        int expected = TICKET_OPEN;
        if (atomic_compare_exchange_strong(&ticket->state, &expected, TICKET_REMOVED))
            worker_post(ticket->worker, &ticket->post);
    }
    while (!list_empty(&hook->tickets))
        pthread_cond_wait(&ticket_left, &tickets_lock);
    pthread_mutex_unlock(&tickets_lock);
}
