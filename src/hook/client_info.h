/*
 * client_info: what callbacks are told of a client: the original's credentials map.
 *
 * Everything is borrowed and holds until the callback returns. Pure data.
 */
#ifndef HOOK_CLIENT_INFO_H
#define HOOK_CLIENT_INFO_H

#include "base/slice.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct zone; /* broker/zone.h */

/* Texts with data NULL: the client has none. An IPv4 address is kept as IPv4-mapped (net/ip_address.h). */
struct client_info {
    struct slice zone;
    const struct zone *zone_settings; /* its settings; NULL: not told */
    struct slice client_id;           /* generated ones as well */
    struct slice user_name;
    struct slice password; /* client.authenticate only */
    struct slice mountpoint;
    struct slice common_name; /* of its certificate; client.authenticate only */
    struct slice subject;     /* likewise */
    struct in6_addr peer_address;
    struct in6_addr local_address;
    uint16_t peer_port; /* host order */
    uint16_t local_port;
    uint8_t version; /* enum mqtt_version */
    bool is_superuser;
    bool is_anonymous; /* let in by allow_anonymous */
};

#endif
