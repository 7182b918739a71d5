/*
 * acl_who: whom an access rule is about. Conditions are a tree no deeper than the terms of the file may be (ACL_DEPTH_MAX).
 */
#include "auth/acl_who.h"

#include "mqtt/topic.h"
#include "net/ip_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHO_EXPECTED                                                                                                   \
    "all, {user, \"name\"}, {client, \"client id\"}, {ipaddr, \"address or network\"}, {'and', [...]} or {'or', [...]}"
#define NETWORK_TEXT_MAX 64u /* longer ones are no addresses */

static bool is_text(const struct acl_term *term)
{
    return term->type == ACL_TERM_STRING || term->type == ACL_TERM_BINARY;
}

/* "/0" to "/32" or "/128". -1: nothing of the kind. */
static int parse_prefix(const char *text, int bits_max)
{
    int value = 0;

    if (text[0] == '\0' || strlen(text) > 3 || text[strspn(text, "0123456789")] != '\0')
        return -1;
    for (; *text != '\0'; text++)
        value = value * 10 + (*text - '0');
    return value > bits_max ? -1 : value;
}

static void clear_host_bits(struct in6_addr *address, unsigned prefix_len)
{
    for (unsigned bit = prefix_len; bit < 128; bit++)
        address->s6_addr[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
}

/* "10.0.0.0/8", "2001:db8::1". */
static bool parse_network(struct slice text, struct acl_who *who)
{
    char copy[NETWORK_TEXT_MAX], *slash;
    struct in_addr ipv4;
    int prefix_len;

    if (text.len >= sizeof(copy) || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    slash = strchr(copy, '/');
    if (slash != NULL)
        *slash++ = '\0';
    if (inet_pton(AF_INET, copy, &ipv4) == 1) {
        who->address = ip_address_mapped(ipv4);
        prefix_len = slash == NULL ? 128 : parse_prefix(slash, 32);
        prefix_len += prefix_len < 0 || slash == NULL ? 0 : 96;
    } else if (inet_pton(AF_INET6, copy, &who->address) == 1) {
        prefix_len = slash == NULL ? 128 : parse_prefix(slash, 128);
    } else {
        return false;
    }
    if (prefix_len < 0)
        return false;
    who->prefix_len = (uint8_t)prefix_len;
    clear_host_bits(&who->address, who->prefix_len);
    who->is_ipv4 = prefix_len >= 96 && IN6_IS_ADDR_V4MAPPED(&who->address);
    return true;
}

static int read_network(struct acl_who *who, const struct acl_terms *terms, const struct acl_term *value,
                        struct acl_error *out_error)
{
    who->kind = ACL_WHO_NETWORK;
    if (is_text(value) && parse_network(acl_term_text(terms, value), who))
        return 0;
    acl_term_unexpected(
        terms, value, "an address or network in double quotes, such as \"10.0.0.0/8\" or \"2001:db8::/32\"", out_error);
    return -EINVAL;
}

/* {user, ...} and {client, ...}. */
static int read_name(struct acl_who *who, const struct acl_terms *terms, const struct acl_term *value,
                     struct acl_memory *memory, struct acl_error *out_error)
{
    if (acl_term_is(terms, value, "all")) {
        who->kind = ACL_WHO_ALL;
        return 0;
    }
    if (!is_text(value)) {
        acl_term_unexpected(terms, value, "a name in double quotes, or all", out_error);
        return -EINVAL;
    }
    if (!mqtt_utf8_valid(acl_term_text(terms, value))) {
        acl_error_set(out_error, value->place, "this name is not UTF-8, as all names are: save the file as UTF-8");
        return -EINVAL;
    }
    who->name = acl_memory_dup(memory, acl_term_text(terms, value));
    return who->name.data == NULL ? -ENOMEM : 0;
}

/* {'and', [...]} and {'or', [...]}. */
static int read_parts(struct acl_who *who, const struct acl_terms *terms, const struct acl_term *value,
                      struct acl_memory *memory, struct acl_error *out_error)
{
    const struct acl_term *part;
    int err = 0;

    if (value->type != ACL_TERM_LIST) {
        acl_term_unexpected(terms, value, "a list of conditions: [..., ...]", out_error);
        return -EINVAL;
    }
    who->parts = acl_memory_get(memory, value->child_count, sizeof(*who->parts));
    if (who->parts == NULL)
        return -ENOMEM;
    part = value->child_count == 0 ? NULL : acl_term_child(terms, value, 0);
    for (; part != NULL && err == 0; part = acl_term_next(terms, part))
        err = acl_who_init(&who->parts[who->part_count++], terms, part, memory, out_error);
    return err;
}

int acl_who_init(struct acl_who *who, const struct acl_terms *terms, const struct acl_term *term,
                 struct acl_memory *memory, struct acl_error *out_error)
{
    const struct acl_term *word, *value;

    *who = (struct acl_who){.kind = ACL_WHO_ALL};
    if (acl_term_is(terms, term, "all"))
        return 0;
    if (term->type != ACL_TERM_TUPLE || term->child_count != 2) {
        acl_term_unexpected(terms, term, WHO_EXPECTED, out_error);
        return -EINVAL;
    }
    word = acl_term_child(terms, term, 0);
    value = acl_term_child(terms, term, 1);
    if (acl_term_is(terms, word, "ipaddr"))
        return read_network(who, terms, value, out_error);
    if (acl_term_is(terms, word, "user") || acl_term_is(terms, word, "client")) {
        who->kind = acl_term_is(terms, word, "user") ? ACL_WHO_USER : ACL_WHO_CLIENT;
        return read_name(who, terms, value, memory, out_error);
    }
    if (acl_term_is(terms, word, "and") || acl_term_is(terms, word, "or")) {
        who->kind = acl_term_is(terms, word, "and") ? ACL_WHO_AND : ACL_WHO_OR;
        return read_parts(who, terms, value, memory, out_error);
    }
    acl_term_unexpected(terms, word, "user, client, ipaddr, 'and' or 'or'", out_error);
    return -EINVAL;
}

static bool in_network(const struct acl_who *who, const struct in6_addr *address)
{
    unsigned bytes = who->prefix_len / 8, bits = who->prefix_len % 8;

    if (IN6_IS_ADDR_V4MAPPED(address) != who->is_ipv4 || memcmp(&who->address, address, bytes) != 0)
        return false;
    return bits == 0 || ((who->address.s6_addr[bytes] ^ address->s6_addr[bytes]) & (0xFF00u >> bits) & 0xFFu) == 0;
}

static bool is_name(const struct acl_who *who, struct slice name)
{
    return name.data != NULL && slice_equal(who->name, name);
}

bool acl_who_matches(const struct acl_who *who, const struct client_info *client)
{
    bool result = who->kind == ACL_WHO_AND;

    switch (who->kind) {
    case ACL_WHO_ALL: return true;
    case ACL_WHO_USER: return is_name(who, client->user_name);
    case ACL_WHO_CLIENT: return is_name(who, client->client_id);
    case ACL_WHO_NETWORK: return in_network(who, &client->peer_address);
    case ACL_WHO_AND:
    case ACL_WHO_OR: break;
    }
    /* 'and' goes on while the parts are true, 'or' while they are false. */
    for (uint32_t i = 0; i < who->part_count && result == (who->kind == ACL_WHO_AND); i++)
        result = acl_who_matches(&who->parts[i], client);
    return result;
}
