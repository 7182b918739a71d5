/*
 * ban: one entry of the table of bans: who is banned, why, by whom and until when; its key, and its form on disk.
 *
 * An address is banned as a network: a single one is a network of full length. IPv4 is kept as IPv4-mapped (net/ip_address.h), so that a
 * peer matches however its socket tells its address. Immutable once made. Pure; thread: any.
 */
#ifndef AUTH_BAN_H
#define AUTH_BAN_H

#include "base/compiler.h"
#include "base/slice.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum ban_kind { BAN_CLIENT_ID, BAN_USERNAME, BAN_ADDRESS };

#define BAN_WHO_MAX 65535u                  /* bytes, as of an MQTT string */
#define BAN_TEXT_MAX 1024u                  /* bytes of reason, by, desc each */
#define BAN_ADDRESS_BITS 128                /* prefix length of a single address */
#define BAN_UNTIL_MAX INT64_C(253402300799) /* the end of the year 9999 */

/* Says of a new ban what is in its file members below. Absent texts: none. */
struct ban_options {
    enum ban_kind kind;
    struct slice who; /* an address: "10.1.2.3", "10.0.0.0/8", "2001:db8::/32" */
    struct slice reason;
    struct slice by;
    struct slice desc;
    int64_t at_s;    /* since 1970 */
    int64_t until_s; /* since 1970; 0: for ever */
};

/* What a ban is found by. */
struct ban_key {
    enum ban_kind kind;
    struct slice name;       /* client id or user name */
    struct in6_addr address; /* BAN_ADDRESS: host bits are zero */
    uint8_t prefix_len;      /* of 128 */
};

struct ban {
    struct ban_key key;
    struct slice who; /* as shown: an address in its shortest form, without host bits */
    struct slice reason;
    struct slice by;
    struct slice desc;
    int64_t at_s;
    int64_t until_s;      /* 0: for ever */
    uint32_t queue_index; /* of ban_queue.c, which alone changes it; 0: in none */
    bool is_automatic;    /* by BAN_BY_FLAPPING: may make room for another such */
};

#define BAN_BY_FLAPPING "flapping_checker"

/* "client_id", "username", "ip_address", as in the HTTP API. */
const char *ban_kind_name(enum ban_kind kind);
/* Also "clientid", "ip" and "ipaddr". -EINVAL. */
MUST_USE int ban_kind_parse(struct slice word, enum ban_kind *out_kind);

/* -EINVAL: `who` is empty, or of BAN_ADDRESS and no address or network; -EILSEQ: a text is not UTF-8 or has U+0000; -E2BIG: a text is too long;
 * -ERANGE: until_s is negative or over BAN_UNTIL_MAX. -ENOMEM. */
MUST_USE int ban_new(const struct ban_options *options, struct ban **out_ban);
/* NULL is fine; void for rcu_retire(). */
void ban_free(void *ban);

/* The key of such a `who`; its name points at `who`. -EINVAL as above. */
MUST_USE int ban_key_make(enum ban_kind kind, struct slice who, struct ban_key *out_key);
bool ban_key_equal(const struct ban_key *left, const struct ban_key *right);
uint64_t ban_key_hash(const struct ban_key *key);
/* Clears the bits behind `prefix_len`. */
void ban_mask_address(struct in6_addr *address, uint32_t prefix_len);

/* Has it ended at `now_s`? */
static inline bool ban_has_ended(const struct ban *ban, int64_t now_s)
{
    return ban->until_s != 0 && ban->until_s <= now_s;
}

/* Its row of STORE_BANNED: name "client_id/sensor-1" and JSON. The caller frees both data. -ENOMEM. */
MUST_USE int ban_encode(const struct ban *ban, struct slice *out_name, struct slice *out_json);
/* The name alone. */
MUST_USE int ban_encode_name(const struct ban *ban, struct slice *out_name);
/* -EINVAL: it is no such row, `*out_problem` (static) says why. -ENOMEM. */
MUST_USE int ban_decode(struct slice name, struct slice json, struct ban **out_ban, const char **out_problem);

#endif
