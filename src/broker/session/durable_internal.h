/*
 * durable_internal: what durable.c and durable_wait.c share. Thread: owner.
 */
#ifndef BROKER_SESSION_DURABLE_INTERNAL_H
#define BROKER_SESSION_DURABLE_INTERNAL_H

#include "broker/session/durable.h"

/* The session's flow was made, or the session has become durable. */
void durable_on_flow(struct session *session);

/* durable_put_entry() for an item whose class is known. */
void durable_put_entry_in(struct session *session, struct delivery_item *item, uint16_t priority);

/* Deletes the queue row of that sequence, and its reference of the body (NULL: none); also of a session that has gone. */
void durable_delete_row(struct session_host *host, uint64_t session_number, uint64_t sequence,
                        struct message_body *body);

/* An entry was put into the open batch. */
void durable_note_entry(struct session *session, uint64_t sequence);

/* Out of the list of those that wait for a store_state. */
void durable_stop_waiting(struct durable *durable);

/* The client is gone: durable_page_out() also for what was kept for it. */
void durable_page_all_out(struct session *session);

#endif
