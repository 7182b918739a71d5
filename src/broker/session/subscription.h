/*
 * subscription: one session's interest in one filter, and the list of all of a worker's sessions for a filter.
 *
 * The first subscriber of a filter on a worker adds the worker's list to the router as its destination; the last one takes
 * it out. Lists and shared members that the router handed to others are freed after a grace period and then
 * through this worker's own mailbox, so that every delivery that still names them has been taken in before.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_SESSION_SUBSCRIPTION_H
#define BROKER_SESSION_SUBSCRIPTION_H

#include "base/pointer_list.h"
#include "broker/router/share_group.h"
#include "broker/session/session_host.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

struct session;

/* Of a filter; or of a shared group on a filter, for looking subscriptions up: its text is then group, zero, filter. */
struct subscriber_list {
    struct pointer_list subscribers; /* struct subscription */
    _Atomic uint32_t durable_count;  /* of durable sessions among them; read by any publisher's worker */
    uint16_t filter_len;
    uint8_t filter[];
};

struct subscription;

/* What a picker of another thread sees of a shared subscription. */
struct shared_target {
    struct share_member member;
    struct share_group *group;         /* valid while `subscription` is there */
    struct subscription *subscription; /* NULL: it has ended */
    struct subscriber_list *members;   /* this worker's members of the group; not known to the router */
    uint32_t number;                   /* what tells it from the worker's other ones in a queue; not 0 */
    uint32_t share_hash;               /* the same in the store: queue_share_hash() */
    uint16_t name_len;
    uint16_t filter_len;
    uint8_t text[]; /* group name and filter: a delivery may come after the group has gone */
};

struct subscription {
    struct session *session;
    union {
        struct subscriber_list *list; /* not shared */
        struct shared_target *shared;
    };
    uint32_t session_index;   /* in the session's list */
    uint32_t list_index;      /* in the subscriber list */
    uint32_t subscription_id; /* 0: none */
    bool is_shared : 1;
    uint8_t qos : 2;
    bool no_local : 1;
    bool retain_as_published : 1;
    uint8_t retain_handling : 2;
};

/* The session's subscription to (group, filter), or NULL. */
struct subscription *subscription_find(struct session *session, const struct mqtt_shared_filter *filter);

/* Subscribes; an existing subscription to the same (group, filter) gets the new options. The filter is with mountpoint.
 * `*out_is_new` tells which. 0 or -ENOMEM. */
MUST_USE int subscription_add(struct session *session, const struct mqtt_shared_filter *filter,
                              const struct mqtt_subscription_options *options, uint32_t subscription_id,
                              bool *out_is_new);

/* Ends one subscription and frees it. */
void subscription_remove(struct subscription *subscription);

/* The filter text, without share prefix, with mountpoint; valid as long as the subscription. */
struct slice subscription_filter(const struct subscription *subscription);

/* Has this shared subscription ended? One whose session has ended is taken out of its group now. */
bool shared_target_ended(struct shared_target *target);

/* Tells pickers whether the session's client is connected. */
void subscriptions_set_online(struct session *session, bool online);

/* The session has become durable, or is so no more: publishers see it in lists and groups. */
void subscriptions_set_durable(struct session *session, bool durable);

/* The share hash of the session's shared subscription with this number; 0: it has left. Takes time in proportion to its subscriptions. */
uint32_t subscriptions_share_hash(const struct session *session, uint32_t share_number);

/* A message for all subscribers of a list. Borrows the reference. */
void subscriber_list_deliver(struct session_host *host, struct subscriber_list *list, struct message *message);

/* A message for one shared member; `attempt` counts the members tried before. `want_room`: hand it on to
 * another member when this one can't send at once (dispatch ack). Borrows the reference. */
void shared_target_deliver(struct session_host *host, struct shared_target *target, struct message *message,
                           bool want_room, uint32_t attempt);

#endif
