/*
 * broker_internal: what the files of broker/ share.
 */
#ifndef BROKER_BROKER_INTERNAL_H
#define BROKER_BROKER_INTERNAL_H

#include "broker/session/session_host.h"
#include "event/mailbox.h"

struct broker_worker;

extern const struct session_host_ops broker_session_host_ops;

enum delivery_kind {
    DELIVERY_LIST,        /* target: struct subscriber_list */
    DELIVERY_SHARED,      /* target: struct shared_target */
    DELIVERY_SHARED_ACK,  /* the same; it must have room or hand on */
    DELIVERY_SHARED_LATE, /* as DELIVERY_SHARED, of a message that was queued elsewhere: its body may be gone */
    DELIVERY_MARKER,      /* target: struct commit_turn; no message */
};

/* Deliveries from worker `from`. */
void broker_take_in(struct worker *worker, uint32_t from, const struct delivery *deliveries, uint32_t count);

/* A retained message with an expiry interval was stored on this worker: sees to its end. Thread: worker. */
void broker_watch_retained_expiry(struct broker_worker *worker);

#endif
