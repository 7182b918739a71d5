/*
 * acl_who: whom an access rule is about: all, a user, a client, a network, or several of these with 'and' and 'or'.
 * Pure. Thread: any; nothing is allocated while matching.
 */
#ifndef AUTH_ACL_WHO_H
#define AUTH_ACL_WHO_H

#include "auth/acl_memory.h"
#include "auth/acl_terms.h"
#include "hook/client_info.h"

enum acl_who_kind {
    ACL_WHO_ALL,
    ACL_WHO_USER,
    ACL_WHO_CLIENT,
    ACL_WHO_NETWORK,
    ACL_WHO_AND,
    ACL_WHO_OR,
};

struct acl_who {
    enum acl_who_kind kind;
    struct slice name;       /* of a user or client */
    struct in6_addr address; /* of a network; IPv4 as IPv4-mapped, host bits cleared */
    uint8_t prefix_len;      /* of 128 bits */
    bool is_ipv4;
    struct acl_who *parts; /* of 'and' and 'or' */
    uint32_t part_count;
};

/* Reads a condition. Texts and parts are in `memory`. -EINVAL with `*out_error`, -ENOMEM. */
MUST_USE int acl_who_init(struct acl_who *who, const struct acl_terms *terms, const struct acl_term *term,
                          struct acl_memory *memory, struct acl_error *out_error);

/* Is the client meant? One without a user name is no user, also not {user, ""}. A network of IPv4 holds only IPv4 addresses, one of IPv6
 * only IPv6 addresses; an IPv4 client on an IPv6 socket is an IPv4 client. */
bool acl_who_matches(const struct acl_who *who, const struct client_info *client);

#endif
