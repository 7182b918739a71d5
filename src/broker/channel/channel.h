/*
 * channel: the conversation with MQTT clients: takes accepted sockets, speaks the protocol, ends.
 *
 * The door of the folder for main/ and mgmt/. A connection is accepted on any worker; its CONNECT is decoded there, then it is
 * handed to the worker on which its session lives.
 */
#ifndef BROKER_CHANNEL_CHANNEL_H
#define BROKER_CHANNEL_CHANNEL_H

#include "base/compiler.h"
#include "base/slice.h"
#include "hook/client_info.h"
#include "net/listener.h"

#include <stdint.h>

struct broker;
struct worker;

/* Gives each worker its channel state. -ENOMEM. Thread: start-up, before the workers run. */
MUST_USE int channel_init(struct broker *broker);
/* Thread: control, after the workers have stopped. */
void channel_fini(struct broker *broker);

/* For listener_open(); the listener's context must be its `struct zone`. */
void channel_on_accept(struct worker *worker, struct listener *listener, int fd, const struct sockaddr_storage *peer);

/* Publishes the wills of this worker's connected clients: the node is about to leave, and those who shall get them are
 * still connected. Thread: worker. */
void channel_publish_wills(struct worker *worker);
/* Ends every connection of this worker: DISCONNECT 0x8B to v5 clients, wills are published, sessions stay as they
 * are. Thread: worker. */
void channel_close_all(struct worker *worker);
/* Ends at most `limit` (over 0) connections whose listeners are closing (listener_is_closing()): DISCONNECT 0x98 to v5
 * clients. True when there may be more: `*cursor`, 0 at the beginning, says where. One on its way from another worker is closed
 * when it gets here. Thread: worker. */
bool channel_close_stopped(struct worker *worker, uint64_t *cursor, uint32_t limit);
/* Connections of this worker, lingering ones too. Thread: worker. */
uint32_t channel_connection_count(struct worker *worker);

/* Ends the connection of a client of this worker: `kicked`, 0x98. False when it is not connected. Thread: worker. */
bool channel_kick(struct worker *worker, struct slice client_id);

/* Is this the one? `client` has no password and no certificate, and holds during the call. */
typedef bool channel_match_fn(void *context, const struct client_info *client);
/* Ends the connection of a client of this worker if `match` says so: 0x98; `word` (static) is for logs and counts. False: it is not connected, or
 * not the one. Thread: worker. */
bool channel_close_one(struct worker *worker, struct slice client_id, channel_match_fn *match, void *context,
                       const char *word);
/* Ends at most `limit` (over 0) connections of clients for which `match` says so, as above. True when there may be more: `*cursor`, 0 at the
 * beginning, says where. Thread: worker. */
bool channel_close_matching(struct worker *worker, uint64_t *cursor, uint32_t limit, channel_match_fn *match,
                            void *context, const char *word);

/* A row about one connected client; texts are valid during the call. */
struct channel_client {
    struct slice client_id;
    struct slice user_name;  /* data NULL: none */
    const char *peer_name;   /* "ip:port" */
    uint64_t connected_at_s; /* since 1970 */
    bool clean_start;
    uint8_t version;
};

/* Visits connected clients of this worker with a sequence number above `*cursor` (0: all), at most `limit` (at least 1) and
 * perhaps none, as a slice looks at a bounded number of connections; `*cursor` is then where the next slice goes on. Returns
 * false when there are no more. Thread: worker. */
bool channel_visit(struct worker *worker, uint64_t *cursor, uint32_t limit,
                   void (*visit)(void *context, const struct channel_client *client), void *context);
/* The same for one client ID. False when it is not connected. Thread: worker. */
bool channel_visit_one(struct worker *worker, struct slice client_id,
                       void (*visit)(void *context, const struct channel_client *client), void *context);

#endif
