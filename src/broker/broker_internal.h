/*
 * broker_internal: what broker.c and dispatch.c share.
 */
#ifndef BROKER_BROKER_INTERNAL_H
#define BROKER_BROKER_INTERNAL_H

#include "broker/session/session_host.h"
#include "event/mailbox.h"

extern const struct session_host_ops broker_session_host_ops;

/* A batch of deliveries from another worker. */
void broker_take_in(struct worker *worker, const struct delivery *deliveries, uint32_t count);

#endif
