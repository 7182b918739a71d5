/*
 * access: may this client publish or subscribe to that? What the connection remembers, else client.check_acl.
 *
 * A zone with enable_acl off asks nobody; a superuser may do everything. Without a callback acl_nomatch decides. Most clients subscribe once, so the
 * verdicts of a connection's first SUBSCRIBE are not remembered: their memory would stay.
 *
 * A callback may answer later. The connection is paused meanwhile; then it goes on where it was and asks the same again, which uses the answer up:
 *   CONNECT, PUBLISH   PAUSE_HOOK; the packet stays in `partial` and is decoded again (connection.packet_seen)
 *   SUBSCRIBE          PAUSE_FILTERS; the packet's job waits at the filter (subscribe.c)
 * No answer in time is a refusal, which is not remembered.
 * Thread: owner.
 */
#ifndef BROKER_CHANNEL_ACCESS_H
#define BROKER_CHANNEL_ACCESS_H

#include "broker/channel/connection.h"
#include "hook/client_info.h"
#include "hook/events.h"

enum access_answer {
    ACCESS_NO, /* also when a callback that was to answer later did not */
    ACCESS_YES,
    ACCESS_LATER, /* a callback answers later: the caller pauses the connection, and asks the same again when it goes on */
};

/* `topic`, or filter: without mountpoint and share prefix. */
enum access_answer channel_may(struct connection *connection, enum acl_access access, struct slice topic);
/* Before there is a session, so the client's ID is given. */
enum access_answer channel_may_leave_will(struct connection *connection, struct slice client_id, struct slice topic);
/* The client ID with which the will of a CONNECT was asked about that has been decoded before. data NULL: it was not, or the answer has been used.
 * Valid until channel_may_leave_will(). */
struct slice channel_asked_client_id(const struct connection *connection);
/* The connection ends: who may still be asked is not listened to. None is fine. */
void channel_end_question(struct connection *connection);
void channel_free_spare_question(struct channel_worker *host);
/* What callbacks are told: borrowed from the connection. */
void channel_client_info(const struct connection *connection, struct slice client_id, struct client_info *out_info);

#endif
