/*
 * ip_address: one form for both kinds of addresses: an IPv4 address is kept as IPv4-mapped (RFC 4291, section 2.5.5.2). Pure.
 */
#ifndef NET_IP_ADDRESS_H
#define NET_IP_ADDRESS_H

#include <netinet/in.h>
#include <string.h>

/* The IPv4-mapped form of `ipv4` (network order). Thread: any. */
static inline struct in6_addr ip_address_mapped(struct in_addr ipv4)
{
    struct in6_addr mapped = {0};

    memset(&mapped.s6_addr[10], 0xFF, 2);
    memcpy(&mapped.s6_addr[12], &ipv4, sizeof(ipv4));
    return mapped;
}

#endif
