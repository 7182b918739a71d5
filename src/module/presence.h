/*
 * presence: the module `presence`: publishes $SYS/brokers/NODE/clients/CLIENTID/connected and .../disconnected.
 *
 * `connected` is about a client whose CONNACK with success was handed to its socket, never about a refused one; each is followed by one
 * `disconnected`. A client's worker publishes both, in a turn of their own after the event, so those of one session keep their order.
 */
#ifndef MODULE_PRESENCE_H
#define MODULE_PRESENCE_H

#include "base/compiler.h"

#include <stdint.h>

struct presence;

struct presence_options {
    const char *node_name; /* outlives it */
    uint8_t qos;           /* of the messages */
};

/* -ENOMEM, -ENOSPC. Thread: control. */
MUST_USE int presence_open(const struct presence_options *options, struct presence **out_presence);
/* NULL is fine. Thread: control, as hook_remove(). */
void presence_close(struct presence *presence);

#endif
