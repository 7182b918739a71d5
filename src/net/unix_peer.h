/*
 * unix_peer: the address of a client of a Unix socket. Such a client has none, so it gets one made of its process id and
 * user id in the discard-only range 0100::/64 (RFC 6666), which no packet of a network carries. Pure.
 */
#ifndef NET_UNIX_PEER_H
#define NET_UNIX_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Thread: any. */
void unix_peer_address(uint32_t process_id, uint32_t user_id, struct sockaddr_storage *out_address);
/* Writes "unix:process/user", at most `size` bytes with the zero. False: the address is that of a network. Thread: any. */
bool unix_peer_text(const struct in6_addr *address, char *out, size_t size);

#endif
