/*
 * unix_peer: see unix_peer.h. 0100::/64, then the process id and the user id in network order.
 */
#include "net/unix_peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t prefix[8] = {1};

void unix_peer_address(uint32_t process_id, uint32_t user_id, struct sockaddr_storage *out_address)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    uint32_t ids[2] = {htonl(process_id), htonl(user_id)};

    memcpy(address.sin6_addr.s6_addr, prefix, sizeof(prefix));
    memcpy(address.sin6_addr.s6_addr + sizeof(prefix), ids, sizeof(ids));
    memset(out_address, 0, sizeof(*out_address));
    memcpy(out_address, &address, sizeof(address));
}

bool unix_peer_text(const struct in6_addr *address, char *out, size_t size)
{
    uint32_t ids[2];

    if (memcmp(address->s6_addr, prefix, sizeof(prefix)) != 0)
        return false;
    memcpy(ids, address->s6_addr + sizeof(prefix), sizeof(ids));
    snprintf(out, size, "unix:%u/%u", ntohl(ids[0]), ntohl(ids[1]));
    return true;
}
