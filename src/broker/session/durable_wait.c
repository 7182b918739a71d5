/*
 * durable_wait: what of durable sessions waits for the store: entries for their own batch, or for the publisher's.
 *
 * Own batch: a worker writes down who put entries into which batch (struct durable_note), oldest first, so that the work is in proportion
 * to what was committed. Publisher's batch: sessions that found a message UNSTORED are in a list; each change looks at all of it once,
 * a bounded number in a turn.
 */
#include "base/log.h"
#include "broker/session/durable_internal.h"
#include "broker/session/queue_load.h"
#include "broker/session/session.h"
#include "broker/session/session_host.h"
#include "mqtt/message.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 64
#define KEPT_CAPACITY 4096 /* an emptied ring that was larger gives its memory back */
#define STORED_SLICE 256   /* sessions that wait for a store_state looked at in one turn */

static struct durable_note *note_at(struct durable_host *host, uint64_t place)
{
    return &host->notes[place & (host->note_capacity - 1)];
}

static int grow_notes(struct durable_host *host)
{
    uint32_t capacity = host->note_capacity == 0 ? FIRST_CAPACITY : host->note_capacity * 2;
    struct durable_note *notes = malloc(capacity * sizeof(*notes));

    if (notes == NULL)
        return -ENOMEM;
    for (uint64_t i = host->note_first; i != host->note_end; i++)
        notes[i & (capacity - 1)] = *note_at(host, i);
    free(host->notes);
    host->notes = notes;
    host->note_capacity = capacity;
    return 0;
}

/* Bounded by what the store lets wait (store_congested()). */
void durable_note_entry(struct session *session, uint64_t sequence)
{
    struct durable_host *host = &session->host->durable;
    struct durable *durable = session->durable;
    uint64_t batch = store_open_number(session->host->client);

    uint64_t place = host->note_first + (uint32_t)(durable->note - (uint32_t)host->note_first);
    if (place < host->note_end) {
        struct durable_note *note = note_at(host, place);
        if (note->durable == durable && note->batch == batch) {
            note->through = sequence;
            return;
        }
    }
    if (host->note_end - host->note_first == host->note_capacity && grow_notes(host) < 0) {
        log_client_limited(LOG_LEVEL_ERROR, session_client_id(session), NULL,
                           "[Session] short of memory: a message is only known to be on disk when the next one is");
        return;
    }
    place = host->note_end++;
    durable->note = (uint32_t)place;
    *note_at(host, place) = (struct durable_note){.durable = durable_ref(durable), .batch = batch, .through = sequence};
}

static void go_on(struct session *session)
{
    session_drain(session);
    durable_page_out(session);
}

void session_host_on_committed(struct session_host *session_host, uint64_t number)
{
    struct durable_host *host = &session_host->durable;

    while (host->note_first != host->note_end && note_at(host, host->note_first)->batch <= number) {
        struct durable_note note = *note_at(host, host->note_first++);
        note.durable->committed_through = note.through;
        if (note.durable->session != NULL && !note.durable->session->ended)
            go_on(note.durable->session);
        durable_unref(note.durable);
    }
    if (host->note_first == host->note_end && host->note_capacity > KEPT_CAPACITY) {
        free(host->notes);
        host->notes = NULL;
        host->note_capacity = 0;
    }
}

void durable_host_init(struct durable_host *host)
{
    list_init(&host->waiting);
    list_init(&host->loads);
    list_init(&host->redispatching);
}

void durable_host_fini(struct durable_host *host)
{
    for (; host->note_first != host->note_end; host->note_first++)
        durable_unref(note_at(host, host->note_first)->durable);
    free(host->notes);
    host->notes = NULL;
    host->note_capacity = 0;
}

/* ---- store_state ---- */

static void wait_for_stored(struct session *session)
{
    struct durable_host *host = &session->host->durable;
    struct durable *durable = session->durable;

    if (!list_empty(&durable->waiting))
        return;
    list_append(&host->waiting, &durable->waiting);
    host->waiting_count++;
}

void durable_stop_waiting(struct durable *durable)
{
    if (list_empty(&durable->waiting))
        return;
    list_remove(&durable->waiting);
    durable->session->host->durable.waiting_count--;
}

/* Who still waits is put at the end again, behind those that are to be looked at. */
static void look_at_waiting(struct session_host *session_host)
{
    struct durable_host *host = &session_host->durable;

    for (uint32_t i = 0; i < STORED_SLICE && host->waiting_left > 0 && !list_empty(&host->waiting); i++) {
        struct session *session = LIST_ENTRY(list_first(&host->waiting), struct durable, waiting)->session;
        durable_stop_waiting(session->durable);
        host->waiting_left--;
        go_on(session);
    }
    if (list_empty(&host->waiting))
        host->waiting_left = 0;
    if (host->waiting_left > 0)
        worker_run_later(session_host->worker, &host->waiting_work);
}

static void run_waiting(struct worker *worker, struct work *work)
{
    struct durable_host *host = CONTAINER_OF(work, struct durable_host, waiting_work);

    (void)worker;
    look_at_waiting(CONTAINER_OF(host, struct session_host, durable));
}

void session_host_on_stored(struct session_host *host)
{
    host->durable.waiting_left = host->durable.waiting_count;
    host->durable.waiting_work.run = run_waiting;
    if (!host->durable.waiting_work.queued)
        look_at_waiting(host);
}

void durable_on_sent(struct session *session, const struct delivery_item *item)
{
    if (item->sequence > session->durable->sent_through)
        session->durable->sent_through = item->sequence & SEQUENCE_MAX;
}

bool durable_next_id_free(const struct session *session)
{
    return session->flow == NULL ||
           inflight_find(&session->flow->inflight, inflight_packet_id(session->durable->next_sequence)) == NULL;
}

enum durable_leave durable_may_leave(struct session *session, const struct delivery_item *item)
{
    const struct message *message = item->message;

    if (inflight_find(&session->flow->inflight, inflight_packet_id(item->sequence)) != NULL)
        return DURABLE_WAIT; /* an acknowledgement drains */
    if (item->sent)
        return DURABLE_SEND;
    if (item->body != NULL && message->qos == 2) {
        uint8_t state = atomic_load_explicit(&message->store_state, memory_order_acquire);
        if (state == MESSAGE_GIVEN_UP)
            return DURABLE_DROP;
        if (state == MESSAGE_STORED || item->qos == 1)
            return DURABLE_SEND;
        wait_for_stored(session);
        return DURABLE_WAIT;
    }
    return item->qos == 2 && item->sequence > session->durable->committed_through ? DURABLE_WAIT : DURABLE_SEND;
}

/* ---- memory ---- */

static void page_out(struct session *session, bool again)
{
    bool here = session->link != NULL;
    struct mqueue_paging paging = {
        .committed_through = session->durable->committed_through,
        .keep_count = here ? QUEUE_LOADED_COUNT : 0,
        .keep_bytes = here ? QUEUE_LOADED_BYTES : 0,
        .again = again,
    };

    if (session->flow == NULL)
        return;
    if (session->flow->mqueue.count > 0 && mqueue_page_out(&session->flow->mqueue, &paging))
        wait_for_stored(session);
    queue_load_recount(session);
}

void durable_page_out(struct session *session)
{
    page_out(session, false);
}

void durable_page_all_out(struct session *session)
{
    page_out(session, true);
}
