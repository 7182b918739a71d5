/*
 * enhanced: enhanced authentication (MQTT 5, section 4.12): a client names a method in CONNECT and shows who it is in an exchange of AUTH
 * packets, which callbacks of client.enhanced_authenticate lead. A connected one may do so again.
 *
 *   CONNECT with a method ─► exchange ── AUTH 0x18 ⇄ AUTH 0x18 ──► decided: the CONNECT is put back in front of what is unread, and is
 *                                                                  accepted or refused when it is decoded again, on whatever worker
 *   AUTH 0x19 ────────────► exchange ── AUTH 0x18 ⇄ AUTH 0x18 ──► AUTH 0x00 or DISCONNECT; other packets flow on
 *
 * Bounded: one exchange of a connection, ENHANCED_STEPS_MAX steps; by the time a CONNECT may take, and another idle_timeout for each
 * re-authentication. client.authenticate is asked of the guards only (hook.h: bans), before an exchange and after it: who could not say more than
 * a password has no say.
 * Thread: owner.
 */
#ifndef BROKER_CHANNEL_ENHANCED_H
#define BROKER_CHANNEL_ENHANCED_H

#include "broker/channel/authenticate.h"

#define ENHANCED_STEPS_MAX 16u /* packets of a client in one exchange; with one more it is refused */

/* Does this CONNECT name a method? */
static inline bool channel_is_enhanced(const struct mqtt_connect *connect)
{
    return connect->level == MQTT_V5 && mqtt_properties_have(&connect->properties, MQTT_PROP_AUTHENTICATION_METHOD);
}

/* channel_authenticate() for those that do. `packet` is the whole CONNECT, of which a copy is kept while it waits: the handler ends with HANDLED
 * then, and is called again with the same packet. */
enum authentication_state channel_enhance(struct connection *connection, const struct mqtt_connect *connect,
                                          struct slice client_id, struct slice packet, enum reason_code *out_code,
                                          const char **out_why);
/* Is an exchange under way? */
bool channel_in_exchange(const struct connection *connection);
/* What comes before CONNACK while an exchange is under way: AUTH or DISCONNECT [MQTT-3.1.2-30]. */
enum handled channel_on_exchange_packet(struct connection *connection, const struct mqtt_frame *frame,
                                        const uint8_t *body);
/* AUTH, decoded. */
enum handled channel_on_auth(struct connection *connection, const struct mqtt_disconnect *auth);
/* PAUSE_CONNECT ends: puts the CONNECT in front of `partial`. */
void channel_put_connect_back(struct connection *connection);
/* The user name that an exchange has shown, which counts more than the one in CONNECT; data NULL: none. Valid until channel_end_enhanced(). */
struct slice channel_shown_name(const struct connection *connection);
/* As channel_generated_id(). */
const char *channel_enhanced_generated_id(const struct connection *connection);
/* Authentication Method and Data of a CONNACK that accepts [MQTT-4.12.0-5]; the data holds until channel_forget_answer(). */
void channel_announce_method(const struct connection *connection, struct mqtt_properties *out);
void channel_forget_answer(struct connection *connection);
/* The connection ends. None is fine. */
void channel_end_enhanced(struct connection *connection);

#endif
