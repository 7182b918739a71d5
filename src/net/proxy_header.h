/*
 * proxy_header: the PROXY protocol, versions 1 and 2, that a load balancer sends before the connection's first byte
 * (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt). Pure: bytes to addresses.
 */
#ifndef NET_PROXY_HEADER_H
#define NET_PROXY_HEADER_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROXY_HEADER_MAX 4096u /* bytes of a header that is taken; version 1 ends at 107 */

struct proxy_header {
    size_t len;                     /* bytes of the header */
    bool has_addresses;             /* false: LOCAL or UNKNOWN, the socket's own addresses hold */
    struct sockaddr_storage source; /* the client */
    struct sockaddr_storage destination;
    struct slice
        common_name; /* of the client's certificate (version 2, TLV 0x20/0x22); borrowed from the bytes; data NULL: none */
};

enum proxy_parse {
    PROXY_PARSED,
    PROXY_MORE, /* a beginning: more bytes are needed */
    PROXY_BAD,  /* `out_error` says what is wrong */
};

/* Looks at the `len` bytes that have come so far. `out_header` is written on PROXY_PARSED, `out_error` (static text) on
 * PROXY_BAD. Thread: any. */
enum proxy_parse proxy_header_parse(const uint8_t *bytes, size_t len, struct proxy_header *out_header,
                                    const char **out_error);

#endif
