/*
 * events: what the callbacks of each hook point get. Everything is borrowed and holds until the callback returns; members that may be
 * changed say so; what they point at then is static or a copy in the event's `memory` (hook_memory.h). Pure data.
 */
#ifndef HOOK_EVENTS_H
#define HOOK_EVENTS_H

#include "base/slice.h"
#include "hook/client_info.h"
#include "mqtt/packet.h"
#include "mqtt/reason_code.h"

#include <stdbool.h>

struct hook_memory;

/* client.authenticate. Starts with what allow_anonymous says: REASON_SUCCESS and is_anonymous, or REASON_NOT_AUTHORIZED. Who knows the client
 * decides with HOOK_STOP; who does not says HOOK_NEXT and changes nothing. */
struct hook_authenticate {
    struct client_info *
        client; /* is_superuser, is_anonymous and mountpoint may be changed; a new mountpoint is copied when the chain ends */
    enum reason_code result; /* may be changed: what CONNACK says */
    const char *reason;      /* may be set: why not, for the log and the client; static */
    struct hook_memory *memory;
};

/* What has come of an exchange of enhanced authentication (MQTT 5, section 4.12). */
enum enhanced_step {
    ENHANCED_START,    /* CONNECT with an Authentication Method */
    ENHANCED_CONTINUE, /* AUTH 0x18, after an answer with REASON_CONTINUE_AUTHENTICATION */
    ENHANCED_AGAIN,    /* AUTH 0x19: a connected client begins to authenticate again */
    ENHANCED_ENDED, /* nothing more will come after such an answer: the client has gone, took too long, broke the protocol */
};

#define ENHANCED_STATE_BYTES 2048u

/* client.enhanced_authenticate (ours). START and AGAIN are asked of all callbacks: who knows the method sets a result and says HOOK_STOP; it alone
 * is asked about what follows, and is told ENDED (which cannot wait) if that does not follow; not so one that is removed meanwhile: the exchange
 * fails then. May be pending. */
struct hook_enhanced_authenticate {
    const struct client_info *client; /* user_name is what CONNECT says, or since then an exchange has shown */
    enum enhanced_step step;
    struct slice method;
    struct slice data; /* data NULL: none came; wiped afterwards */
    void *
        state; /* ENHANCED_STATE_BYTES for the callback, aligned for any type: zero at first, kept through the exchange, wiped at its end */
    enum reason_code
        result; /* REASON_BAD_AUTHENTICATION_METHOD; may be set to REASON_SUCCESS, REASON_CONTINUE_AUTHENTICATION or a refusal, 0x80 and above */
    const char *reason; /* may be set: why not, for the log and the client; static */
    struct slice
        answer; /* may be set with the first two: Authentication Data for the client; kept in `memory` or static; data NULL: none */
    struct slice
        user_name; /* may be set with REASON_SUCCESS: who the client is shown to be; likewise; data NULL: as CONNECT says */
    bool is_superuser; /* may be set with REASON_SUCCESS */
    struct hook_memory *memory;
};

enum acl_access {
    ACL_SUBSCRIBE = 1, /* the original's numbers: %A */
    ACL_PUBLISH = 2,
};

/* client.check_acl. Starts with acl_nomatch. */
struct hook_check_acl {
    const struct client_info *client;
    enum acl_access access;
    struct slice topic; /* or filter; without mountpoint and share prefix */
    bool is_allowed;    /* may be changed */
};

/* client.connected. Either CONNACK with REASON_SUCCESS was handed to the socket; or it was a refusal, with the code of MQTT 5 for older clients too.
 * Packets that could not be decoded, or not be answered, are no connecting. */
struct hook_connected {
    const struct client_info *client;
    enum reason_code code;
    /* The rest with REASON_SUCCESS only. */
    uint64_t connected_at_ms; /* since 1970 */
    uint16_t keep_alive_s;    /* in force; 0: off */
    bool clean_start;
    bool is_bridge;
};

/* client.disconnected: of a client whose client.connected had REASON_SUCCESS, once. */
struct hook_disconnected {
    const struct client_info *client;
    const char *
        reason; /* static word: "normal", "keepalive_timeout", "conflict" (taken over), "discard" (by a clean start), ... */
};

/* message.publish: each message published on this node, once, before it is retained and routed, after the access rules. A delayed one at its time. */
struct hook_publish {
    const struct client_info
        *client; /* NULL: not from a connected client: a will, a delayed message, $SYS, a part of the broker */
    struct slice client_id; /* of the publisher, or the name of a part of the broker */
    struct slice topic;     /* with mountpoint; may be changed to another topic name */
    struct slice payload;   /* may be changed */
    bool retain;            /* may be changed */
    uint8_t qos;
    struct hook_memory *memory;
    bool
        is_allowed; /* true; may be cleared: the message is not published, which its publisher is not told but by reason code 0x10 */
};

/* client.subscribe: each filter of a SUBSCRIBE, once access rules and capabilities have let it pass. */
struct hook_subscribe {
    const struct client_info *client;
    struct slice
        filter; /* with share prefix, without mountpoint; may be changed: what it becomes is not asked of the access rules again */
    struct mqtt_subscription_options options; /* may be changed */
    enum reason_code code; /* REASON_SUCCESS; may be set to a refusal, 0x80 and above, of this filter alone */
    struct hook_memory *memory;
};

/* client.unsubscribe: each filter of an UNSUBSCRIBE. */
struct hook_unsubscribe {
    const struct client_info *client;
    struct slice filter; /* with share prefix, without mountpoint; may be changed */
    struct hook_memory *memory;
};

/* session.created and session.resumed: a client has opened it; CONNACK and client.connected follow. One that came out of the store at a start was
 * created before. */
struct hook_session {
    const struct client_info *client;
    uint32_t expiry_interval_s; /* UINT32_MAX: never */
    bool clean_start;
};

/* session.subscribed: a subscription was made or has new options; session.unsubscribed: it was ended by UNSUBSCRIBE. None when a session ends. */
struct hook_session_filter {
    const struct client_info *client;
    struct slice filter; /* with mountpoint, without share prefix */
    struct slice group;  /* data NULL: not shared */
    /* The rest of session.subscribed only. */
    struct mqtt_subscription_options options;
    uint32_t subscription_id; /* 0: none */
    bool is_new;
};

/* session.terminated: it ended, its client gone or not; the last will has been published. Not of one that is kept in the store while the node is
 * down. */
struct hook_session_terminated {
    struct slice client_id;
    const char *reason; /* static text: "expired", "discarded", ... */
};

/* A message that is on its way, or was. */
struct hook_message {
    struct slice client_id; /* of the publisher, or the name of a part of the broker */
    struct slice topic;     /* with mountpoint */
    struct slice payload;
    uint64_t published_at_ms; /* since 1970 */
    uint8_t qos; /* of message.deliver and message.acked: as sent to the client; of message.dropped: as published */
    bool retain; /* likewise */
};

/* message.deliver: each PUBLISH about to be written to a connected client; also when it is sent again, and of retained messages. It cannot be
 * stopped here. What is changed is changed for this client and this time: what is sent again is asked again. */
struct hook_deliver {
    const struct client_info *client; /* the receiver */
    struct hook_message message;      /* topic, to another topic name, and payload may be changed */
    bool dup;                         /* it is sent again */
    struct hook_memory *memory;
};

/* message.acked: the client has answered a PUBLISH of QoS 1 with PUBACK or one of QoS 2 with PUBREC, once for each. */
struct hook_acked {
    const struct client_info *client; /* the receiver */
    struct hook_message message;      /* as it was published, also if message.deliver changed it */
    enum reason_code code; /* REASON_SUCCESS; REASON_NO_MATCHING_SUBSCRIBERS; 0x80 and above: it refused the message */
};

/* message.dropped: a message that nobody gets, or that one subscriber does not get. Not of what expires, what message.publish has stopped, and what
 * short memory costs. The callback runs amid the message's way to other subscribers: what it publishes must be posted. */
struct hook_dropped {
    struct slice client_id; /* of the subscriber; data NULL: nobody has subscribed */
    struct slice user_name; /* of the subscriber; data NULL: it has none or is not connected */
    /* Static word: "no_subscriber"; "no_local"; "queue_full"; "slow_consumer": its connection does not take QoS 0 in time; "absent": QoS 0 for who
     * is not connected; "too_large": for its Maximum Packet Size. */
    const char *reason;
    /* Topic and payload with data NULL: it was on disk only, in the queue of an absent client. */
    struct hook_message message;
};

#define HOOK_PSK_KEY_MAX 512u /* bytes; what OpenSSL takes */

/* tls_handshake.psk_lookup: a client of a listener with psk_ciphers names a key that the listener's psk_file, if it has one, does not. Starts with none,
 * which ends the handshake. Who knows the identity writes its key and says HOOK_STOP. The key is wiped after the handshake's step. */
struct hook_psk_lookup {
    struct slice identity; /* from outside, any bytes; not empty */
    uint8_t key[HOOK_PSK_KEY_MAX];
    size_t key_len; /* 0: not known */
};

#endif
