/*
 * broker_internal: what the files of broker/ share.
 */
#ifndef BROKER_BROKER_INTERNAL_H
#define BROKER_BROKER_INTERNAL_H

#include "broker/session/session_host.h"
#include "event/mailbox.h"

struct broker_worker;

extern const struct session_host_ops broker_session_host_ops;

/* A batch of deliveries from another worker. */
void broker_take_in(struct worker *worker, const struct delivery *deliveries, uint32_t count);

/* A retained message with an expiry interval was stored on this worker: sees to its end. Thread: worker. */
void broker_watch_retained_expiry(struct broker_worker *worker);

#endif
