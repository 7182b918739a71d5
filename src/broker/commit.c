/*
 * commit: see commit.h.
 *
 * A turn counts the markers that are out (`pending`). Only who holds one may add to it, so it reaches zero once, when all have been answered;
 * who brings it there posts the turn home.
 */
#include "broker/commit.h"

#include "broker/broker.h"
#include "broker/broker_internal.h"
#include "broker/retainer/retainer.h"
#include "broker/session/message_body.h"
#include "broker/session/session.h"
#include "broker/session/session_record.h"
#include "event/mailbox.h"
#include "mqtt/message.h"
#include "mqtt/message_record.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define SPARE_TURNS_MAX 64u
#define OWED_FIRST 16u
#define LOOK_MS 1000u /* between two looks at a store that fails */

/* A message whose body this worker holds. */
struct commit_message {
    struct commit_message *next;
    struct message *message;
    struct durable *publisher; /* NULL: nobody, or not durable */
    uint16_t packet_id;
};

struct commit_turn {
    struct post post; /* home, when `pending` gets zero */
    struct commit_turn *next;
    struct broker_worker *home;
    struct list waits;
    struct commit_step *steps;
    struct commit_step **steps_last;
    struct commit_message *messages;
    struct commit_message **messages_last;
    uint64_t batch;                /* with which it is on disk; 0: not settled */
    bool taken_in;                 /* all markers are answered */
    _Atomic uint64_t participants; /* workers that were handed something durable */
    _Atomic uint32_t pending;      /* markers that are not answered */
};

struct commit {
    struct broker_worker *worker;
    struct commit_turn *open;  /* this turn; NULL: nobody waits for it yet */
    struct commit_turn *first; /* ended and not released, oldest first */
    struct commit_turn **last;
    struct commit_turn *unsettled; /* the oldest of them that is not settled; NULL: all are */
    struct commit_turn *spares;
    uint32_t spare_count;
    uint64_t number;   /* of this turn */
    uint64_t expected; /* workers that were handed something durable in it */
    uint64_t written;  /* part of commit_mark() */
    bool settled;      /* a turn waits for the batch that is submitted next */
    bool sync;         /* and somebody for that turn */
    int32_t source;    /* whose deliveries are taken in; -1: nobody's */
    uint64_t
        handed_on[WORKER_COUNT_MAX]; /* workers to which deliveries of that one were handed on since its last marker */
    struct commit_turn **owed;       /* markers to be answered at this turn's end */
    uint32_t owed_count;
    uint32_t owed_capacity;
    struct timer trouble;    /* while the store fails: give_up() */
    uint64_t released_ms;    /* the last time that a turn was released, or waited for nobody */
    struct post stored_post; /* session_host_on_stored() */
    _Atomic bool stored_posted;
};

static void on_taken_in(struct worker *worker, struct post *post);
static void on_trouble(struct timer *timer, uint64_t now_ms);
static void on_stored(struct worker *worker, struct post *post);

/* ---- life ---- */

int commit_new(struct broker_worker *worker, struct commit **out_commit)
{
    struct commit *commit = calloc(1, sizeof(*commit));

    if (commit == NULL)
        return -ENOMEM;
    commit->worker = worker;
    commit->last = &commit->first;
    commit->number = 1;
    commit->source = -1;
    commit->stored_post.run = on_stored;
    commit->trouble.on_due = on_trouble;
    *out_commit = commit;
    return 0;
}

static struct commit_turn *turn_new(struct commit *commit)
{
    struct commit_turn *turn = commit->spares;

    if (turn == NULL) {
        turn = malloc(sizeof(*turn));
        ASSERT(turn != NULL); /* like the store, whose batches come with it */
    } else {
        commit->spares = turn->next;
        commit->spare_count--;
    }
    *turn = (struct commit_turn){.post.run = on_taken_in, .home = commit->worker};
    list_init(&turn->waits);
    turn->steps_last = &turn->steps;
    turn->messages_last = &turn->messages;
    return turn;
}

static struct commit_turn *open_turn(struct commit *commit)
{
    if (commit->open == NULL)
        commit->open = turn_new(commit);
    return commit->open;
}

static void turn_put(struct commit *commit, struct commit_turn *turn)
{
    if (commit->spare_count >= SPARE_TURNS_MAX) {
        free(turn);
        return;
    }
    turn->next = commit->spares;
    commit->spares = turn;
    commit->spare_count++;
}

static void message_free(struct commit_message *each)
{
    durable_unref(each->publisher);
    message_unref(each->message);
    free(each);
}

/* The process ends, and the store has not taken it. */
static void turn_drop(struct commit_turn *turn)
{
    while (turn->messages != NULL) {
        struct commit_message *each = turn->messages;
        turn->messages = each->next;
        if (turn->batch == 0)
            message_body_unref(each->message->body, NULL);
        message_free(each);
    }
    free(turn);
}

void commit_free(struct commit *commit)
{
    if (commit == NULL)
        return;
    if (commit->open != NULL)
        turn_drop(commit->open);
    while (commit->first != NULL) {
        struct commit_turn *turn = commit->first;
        commit->first = turn->next;
        turn_drop(turn);
    }
    while (commit->spares != NULL) {
        struct commit_turn *turn = commit->spares;
        commit->spares = turn->next;
        free(turn);
    }
    free(commit->owed);
    free(commit);
}

/* ---- what a turn has ---- */

uint64_t commit_mark(const struct broker_worker *worker)
{
    const struct store_client *client = worker->host.client;

    return worker->commit->written + (client == NULL ? 0 : store_open_bytes(client));
}

uint64_t commit_turn_number(const struct broker_worker *worker)
{
    return worker->commit->number;
}

void commit_wait(struct broker_worker *worker, struct commit_wait *wait)
{
    wait->turn = worker->commit->number;
    list_append(&open_turn(worker->commit)->waits, &wait->place);
}

void commit_wait_cancel(struct commit_wait *wait)
{
    list_remove(&wait->place);
}

void commit_then(struct broker_worker *worker, struct commit_step *step)
{
    struct commit_turn *turn = open_turn(worker->commit);

    step->next = NULL;
    *turn->steps_last = step;
    turn->steps_last = &step->next;
}

void commit_note_written(struct broker_worker *worker)
{
    worker->commit->written++;
}

static void put_body(struct broker_worker *worker, struct message *message)
{
    uint8_t key[SESSION_KEY_LEN], head[MESSAGE_RECORD_HEAD];
    struct slice parts[MESSAGE_RECORD_PARTS];
    struct message_body *body = message->body;

    session_key(body->number, key);
    message_record_encode(message, store_time_ms(worker->host.store, message->created_ms), head, parts);
    store_put(worker->host.client, STORE_MESSAGE, slice_make(key, sizeof(key)), parts, MESSAGE_RECORD_PARTS);
    atomic_store_explicit(&body->written, true, memory_order_relaxed);
}

bool commit_message(struct broker_worker *worker, struct message *message, struct session *publisher,
                    uint16_t packet_id)
{
    struct message_body *body = message_body_new(store_next_number(worker->host.store));
    struct commit_message *each = malloc(sizeof(*each));
    struct commit_turn *turn;

    if (body == NULL || each == NULL) {
        message_body_unref(body, NULL);
        free(each);
        return false;
    }
    turn = open_turn(worker->commit);
    message->body = body;
    if (message->qos == 1)
        put_body(worker, message);
    *each = (struct commit_message){.message = message_ref(message), .packet_id = packet_id};
    if (publisher != NULL && publisher->durable != NULL) {
        each->publisher = durable_ref(publisher->durable);
        each->publisher->unsettled_count++;
    }
    *turn->messages_last = each;
    turn->messages_last = &each->next;
    worker->commit->written++;
    return true;
}

void commit_expect(struct broker_worker *worker, uint32_t destination)
{
    struct commit *commit = worker->commit;

    if (commit->source >= 0)
        commit->handed_on[commit->source] |= UINT64_C(1) << destination;
    else
        commit->expected |= UINT64_C(1) << destination;
    commit->written++;
}

int32_t commit_take_in(struct broker_worker *worker, int32_t from)
{
    int32_t before = worker->commit->source;

    worker->commit->source = from;
    return before;
}

/* ---- settled: all have taken in ---- */

static void settle_message(struct broker_worker *worker, struct commit_message *each)
{
    struct session *publisher = each->publisher == NULL ? NULL : each->publisher->session;

    if (each->publisher != NULL)
        each->publisher->unsettled_count--;
    if (each->message->qos == 2) {
        if (atomic_load_explicit(&each->message->body->refs, memory_order_acquire) > 1) /* else nobody queued it */
            put_body(worker, each->message);
        /* It may have been released, or the session have ended, where nobody waits for the disk. */
        if (publisher != NULL && session_awaits_rel(publisher, each->packet_id))
            session_store_awaiting_rel(publisher, each->packet_id);
        worker->commit->sync |= atomic_load_explicit(&each->message->body->awaited, memory_order_relaxed);
    }
    message_body_unref(each->message->body, worker->host.client);
}

static void settle(struct commit *commit, struct commit_turn *turn)
{
    struct broker_worker *worker = commit->worker;

    while (turn->steps != NULL) {
        struct commit_step *step = turn->steps;
        turn->steps = step->next;
        step->run(worker, step);
    }
    for (struct commit_message *each = turn->messages; each != NULL; each = each->next)
        settle_message(worker, each);
    turn->batch = worker->host.client == NULL ? UINT64_MAX : store_open_number(worker->host.client);
    commit->settled = true;
    commit->sync |= !list_empty(&turn->waits);
}

/* In the order of turns, so that a step finds those of earlier turns done. */
static void settle_those_taken_in(struct commit *commit)
{
    while (commit->unsettled != NULL && commit->unsettled->taken_in) {
        settle(commit, commit->unsettled);
        commit->unsettled = commit->unsettled->next;
    }
}

static void on_taken_in(struct worker *worker, struct post *post)
{
    struct commit_turn *turn = CONTAINER_OF(post, struct commit_turn, post);

    (void)worker;
    turn->taken_in = true;
    if (turn->home->host.client != NULL) /* else the process ends: commit_free() */
        settle_those_taken_in(turn->home->commit);
}

/* ---- markers ---- */

static void send_marker(struct broker_worker *worker, uint32_t to, struct commit_turn *turn)
{
    struct delivery marker = {.target = turn, .kind = DELIVERY_MARKER};
    int err = worker_deliver(worker->host.worker, worker_pool_get(worker->broker->pool, to), &marker, 0);

    ASSERT(err == 0);
}

static void send_markers(struct broker_worker *worker, uint64_t to, struct commit_turn *turn)
{
    for (; to != 0; to &= to - 1)
        send_marker(worker, (uint32_t)__builtin_ctzll(to), turn);
}

static void owe(struct commit *commit, struct commit_turn *turn)
{
    if (commit->owed_count == commit->owed_capacity) {
        uint32_t capacity = commit->owed_capacity == 0 ? OWED_FIRST : commit->owed_capacity * 2;
        struct commit_turn **grown = realloc(commit->owed, capacity * sizeof(struct commit_turn *));
        ASSERT(grown != NULL);
        commit->owed = grown;
        commit->owed_capacity = capacity;
    }
    commit->owed[commit->owed_count++] = turn;
}

void commit_on_marker(struct broker_worker *worker, uint32_t from, struct commit_turn *turn)
{
    struct commit *commit = worker->commit;
    uint64_t on = commit->handed_on[from];

    if (UNLIKELY(on != 0)) {
        commit->handed_on[from] = 0;
        atomic_fetch_or_explicit(&turn->participants, on, memory_order_relaxed);
        atomic_fetch_add_explicit(&turn->pending, (uint32_t)__builtin_popcountll(on), memory_order_relaxed);
        send_markers(worker, on, turn);
    }
    owe(commit, turn);
}

/* What the markers asked for has been submitted. */
static void answer(struct commit *commit)
{
    for (uint32_t i = 0; i < commit->owed_count; i++) {
        struct commit_turn *turn = commit->owed[i];
        struct worker *home = turn->home->host.worker;
        if (atomic_fetch_sub_explicit(&turn->pending, 1, memory_order_acq_rel) == 1)
            worker_post(home, &turn->post);
    }
    commit->owed_count = 0;
}

/* ---- the turn's end ---- */

/* Whoever waits for the open batch to be on disk: from here on for nothing else. */
static void submit(struct commit *commit)
{
    struct session_host *host = &commit->worker->host;
    bool sync = commit->sync || host->want_sync;

    /* What memory retains goes first: a publisher's packet ID in our batch says that its message is on disk, too. */
    (void)retainer_submit(commit->worker->broker->retainer, false);
    commit->settled = commit->sync = host->want_sync = false;
    commit->written += store_open_bytes(host->client) + 1;
    store_submit(host->client, sync);
}

void commit_submit(struct broker_worker *worker)
{
    if (worker->host.client != NULL && store_dirty(worker->host.client))
        submit(worker->commit);
}

static void end_open_turn(struct commit *commit)
{
    struct commit_turn *turn = commit->open;
    uint64_t expected = commit->expected;

    commit->expected = 0;
    if (turn == NULL)
        return;
    commit->open = NULL;
    commit->number++;
    if (commit->first == NULL)
        commit->released_ms = worker_now_ms(commit->worker->host.worker);
    turn->next = NULL;
    *commit->last = turn;
    commit->last = &turn->next;
    if (commit->unsettled == NULL)
        commit->unsettled = turn;
    if (expected == 0) {
        turn->taken_in = true;
        settle_those_taken_in(commit);
        return;
    }
    atomic_store_explicit(&turn->participants, expected, memory_order_relaxed);
    atomic_store_explicit(&turn->pending, (uint32_t)__builtin_popcountll(expected), memory_order_relaxed);
    send_markers(commit->worker, expected, turn);
}

void commit_turn_end(struct worker *worker, void *context)
{
    struct broker_worker *here = context;
    struct commit *commit = here->commit;
    struct store_client *client = here->host.client;

    (void)worker;
    end_open_turn(commit);
    if (client != NULL && (commit->settled || store_dirty(client)))
        submit(commit);
    else
        (void)retainer_submit(here->broker->retainer, false);
    if (commit->owed_count > 0)
        answer(commit);
}

/* ---- on disk ---- */

static void on_stored(struct worker *worker, struct post *post)
{
    struct commit *commit = CONTAINER_OF(post, struct commit, stored_post);

    (void)worker;
    /* From here on another change posts again: what it changed before is seen below. */
    atomic_store(&commit->stored_posted, false);
    session_host_on_stored(&commit->worker->host);
}

/* Sessions of these workers may wait for the messages. */
static void tell_stored(struct commit *commit, uint64_t workers)
{
    struct broker *broker = commit->worker->broker;

    session_host_on_stored(&commit->worker->host);
    for (workers &= ~(UINT64_C(1) << worker_index(commit->worker->host.worker)); workers != 0; workers &= workers - 1) {
        struct commit *other = broker->workers[__builtin_ctzll(workers)]->commit;
        if (!atomic_exchange(&other->stored_posted, true))
            worker_post(other->worker->host.worker, &other->stored_post);
    }
}

static void release_messages(struct commit *commit, struct commit_turn *turn)
{
    bool any = false;

    while (turn->messages != NULL) {
        struct commit_message *each = turn->messages;
        turn->messages = each->next;
        any |= each->message->qos == 2;
        atomic_store_explicit(&each->message->store_state, MESSAGE_STORED, memory_order_release);
        message_free(each);
    }
    if (any)
        tell_stored(commit, atomic_load_explicit(&turn->participants, memory_order_relaxed));
}

static void release(struct commit *commit, struct commit_turn *turn)
{
    release_messages(commit, turn);
    while (!list_empty(&turn->waits)) {
        struct commit_wait *wait = LIST_ENTRY(list_first(&turn->waits), struct commit_wait, place);
        list_remove(&wait->place);
        wait->run(commit->worker, wait);
    }
    turn_put(commit, turn);
}

/* ---- the store fails ---- */

/* Who waits is told, as far as that is possible; the turns themselves wait on. */
static void give_up(struct commit *commit)
{
    for (struct commit_turn *turn = commit->first; turn != NULL; turn = turn->next) {
        while (!list_empty(&turn->waits)) {
            struct commit_wait *wait = LIST_ENTRY(list_first(&turn->waits), struct commit_wait, place);
            list_remove(&wait->place);
            wait->give_up(commit->worker, wait);
        }
    }
}

static void watch_trouble(struct commit *commit)
{
    struct worker *worker = commit->worker->host.worker;

    if (!timer_running(&commit->trouble))
        timer_start(worker_timers(worker), &commit->trouble, worker_now_ms(worker) + LOOK_MS);
}

static void on_trouble(struct timer *timer, uint64_t now_ms)
{
    struct commit *commit = CONTAINER_OF(timer, struct commit, trouble);

    if (store_state(commit->worker->host.store) == STORE_OPEN)
        return;
    if (commit->first != NULL && now_ms > commit->released_ms + COMMIT_PATIENCE_MS)
        give_up(commit);
    watch_trouble(commit);
}

void commit_on_progress(struct broker_worker *worker, uint64_t number)
{
    struct commit *commit = worker->commit;

    if (UNLIKELY(store_state(worker->host.store) != STORE_OPEN))
        watch_trouble(commit);
    while (commit->first != NULL && commit->first->batch != 0 && commit->first->batch <= number) {
        struct commit_turn *turn = commit->first;
        commit->first = turn->next;
        if (commit->first == NULL)
            commit->last = &commit->first;
        release(commit, turn);
        commit->released_ms = worker_now_ms(worker->host.worker);
    }
}
