/*
 * authenticate: may this client come in? client.authenticate is asked once per CONNECT, however often its packet is decoded.
 *
 * Without a callback allow_anonymous decides and nothing is kept. Else what callbacks are told is copied, since one of them may answer later:
 * the connection is not read meanwhile (PAUSE_HOOK), its packet stays in `partial` and is decoded again when the answer is there. The zone's
 * idle_timeout for CONNECT runs on. What was found out goes along to another worker.
 * Thread: owner.
 */
#ifndef BROKER_CHANNEL_AUTHENTICATE_H
#define BROKER_CHANNEL_AUTHENTICATE_H

#include "broker/channel/connection.h"

enum authentication_state {
    AUTHENTICATION_ACCEPTED, /* also when it was so before */
    AUTHENTICATION_REFUSED,
    AUTHENTICATION_WAITS, /* the handler ends and is called again with the same packet */
};

/* `client_id` as chosen, `connect` after the other checks. When it is refused `*out_code` and `*out_why` (static text) say why. A callback may
 * have given another mountpoint: channel_mountpoint_pattern(). */
enum authentication_state channel_authenticate(struct connection *connection, const struct mqtt_connect *connect,
                                               struct slice client_id, enum reason_code *out_code,
                                               const char **out_why);
/* The client ID that was generated for a CONNECT that has been decoded before. NULL: there is none. Valid until channel_end_authentication(). */
const char *channel_generated_id(const struct connection *connection);
/* The zone's mountpoint or the one of client.authenticate; may hold %c and %u. NULL: none. Valid while the connection is. */
const char *channel_mountpoint_pattern(const struct connection *connection);
/* CONNECT has been answered, or the connection ends: who may still be asked is not listened to, and the password is wiped. None is fine. */
void channel_end_authentication(struct connection *connection);
/* The socket's own address into `client`; unchanged when there is none (Unix sockets). */
struct client_info; /* hook/client_info.h */
void channel_local_address(const struct connection *connection, struct client_info *client);

#endif
