/*
 * ban: keys of bans, addresses and networks, and the record on disk:
 *
 *     client_id/sensor-1 -> {"who": "sensor-1", "as": "client_id", "reason": "...", "by": "...", "desc": "...", "at": 1795409719, "until": 1795413319}
 *
 * Texts that a ban does not have, and the end of one for ever, are left out.
 */
#include "auth/ban.h"

#include "base/hash.h"
#include "mqtt/topic.h"
#include "net/ip_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define ADDRESS_TEXT_MAX (INET6_ADDRSTRLEN + 4u) /* with "/128" */
#define MAPPED_BITS 96                           /* before the IPv4 address in an IPv4-mapped one */

static const struct {
    const char *word;
    enum ban_kind kind;
} kind_words[] = {
    {"client_id", BAN_CLIENT_ID}, {"username", BAN_USERNAME}, {"ip_address", BAN_ADDRESS},
    {"clientid", BAN_CLIENT_ID},  {"ip", BAN_ADDRESS},        {"ipaddr", BAN_ADDRESS},
};

const char *ban_kind_name(enum ban_kind kind)
{
    return kind_words[kind].word;
}

int ban_kind_parse(struct slice word, enum ban_kind *out_kind)
{
    for (size_t i = 0; i < ARRAY_COUNT(kind_words); i++) {
        if (slice_equal(word, slice_from_string(kind_words[i].word))) {
            *out_kind = kind_words[i].kind;
            return 0;
        }
    }
    return -EINVAL;
}

/* ---- addresses ---- */

void ban_mask_address(struct in6_addr *address, uint32_t prefix_len)
{
    for (uint32_t i = 0; i < sizeof(address->s6_addr); i++) {
        uint32_t kept = prefix_len <= 8 * i ? 0 : prefix_len - 8 * i;
        if (kept < 8)
            address->s6_addr[i] &= (uint8_t)(0xFF00u >> kept);
    }
}

/* A prefix length of at most `max`: digits only. -EINVAL. */
static int parse_prefix(const char *text, uint32_t max, uint32_t *out_len)
{
    uint32_t len = 0;

    if (*text == '\0' || strlen(text) > 3)
        return -EINVAL;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        len = len * 10 + (uint32_t)(*text - '0');
    }
    if (len > max)
        return -EINVAL;
    *out_len = len;
    return 0;
}

static int parse_address(struct slice who, struct ban_key *key)
{
    char text[ADDRESS_TEXT_MAX];
    struct in_addr ipv4;
    char *slash;
    uint32_t prefix_len = BAN_ADDRESS_BITS, first_bits = 0;

    if (who.len >= sizeof(text) || memchr(who.data, '\0', who.len) != NULL)
        return -EINVAL;
    memcpy(text, who.data, who.len);
    text[who.len] = '\0';
    slash = strchr(text, '/');
    if (slash != NULL)
        *slash = '\0';
    if (inet_pton(AF_INET, text, &ipv4) == 1) {
        key->address = ip_address_mapped(ipv4);
        first_bits = MAPPED_BITS;
    } else if (inet_pton(AF_INET6, text, &key->address) != 1) {
        return -EINVAL;
    }
    if (slash != NULL) {
        if (parse_prefix(slash + 1, BAN_ADDRESS_BITS - first_bits, &prefix_len) < 0)
            return -EINVAL;
        prefix_len += first_bits;
    }
    key->prefix_len = (uint8_t)prefix_len;
    ban_mask_address(&key->address, prefix_len);
    return 0;
}

static void format_address(const struct ban_key *key, char out[ADDRESS_TEXT_MAX])
{
    bool is_ipv4 = key->prefix_len >= MAPPED_BITS && IN6_IS_ADDR_V4MAPPED(&key->address);
    size_t len;

    if (is_ipv4)
        inet_ntop(AF_INET, &key->address.s6_addr[12], out, ADDRESS_TEXT_MAX);
    else
        inet_ntop(AF_INET6, &key->address, out, ADDRESS_TEXT_MAX);
    len = strlen(out);
    if (key->prefix_len < BAN_ADDRESS_BITS)
        snprintf(out + len, ADDRESS_TEXT_MAX - len, "/%u", key->prefix_len - (is_ipv4 ? MAPPED_BITS : 0u));
}

/* ---- keys ---- */

int ban_key_make(enum ban_kind kind, struct slice who, struct ban_key *out_key)
{
    struct ban_key key = {.kind = kind};

    if (who.len == 0)
        return -EINVAL;
    if (kind != BAN_ADDRESS)
        key.name = who;
    else if (parse_address(who, &key) < 0)
        return -EINVAL;
    *out_key = key;
    return 0;
}

bool ban_key_equal(const struct ban_key *left, const struct ban_key *right)
{
    if (left->kind != right->kind)
        return false;
    if (left->kind != BAN_ADDRESS)
        return slice_equal(left->name, right->name);
    return left->prefix_len == right->prefix_len && memcmp(&left->address, &right->address, sizeof(left->address)) == 0;
}

uint64_t ban_key_hash(const struct ban_key *key)
{
    uint8_t bytes[sizeof(key->address) + 1];

    if (key->kind != BAN_ADDRESS)
        return hash_text(key->name) ^ (uint64_t)key->kind * UINT64_C(0x9E3779B97F4A7C15);
    memcpy(bytes, &key->address, sizeof(key->address));
    bytes[sizeof(key->address)] = key->prefix_len;
    return hash_text(slice_make(bytes, sizeof(bytes)));
}

/* ---- a ban ---- */

static int check_text(struct slice text, size_t len_max)
{
    if (text.len > len_max)
        return -E2BIG;
    return mqtt_utf8_valid(text) ? 0 : -EILSEQ;
}

static int check_options(const struct ban_options *options)
{
    int err = check_text(options->who, BAN_WHO_MAX);

    if (err == 0)
        err = check_text(options->reason, BAN_TEXT_MAX);
    if (err == 0)
        err = check_text(options->by, BAN_TEXT_MAX);
    if (err == 0)
        err = check_text(options->desc, BAN_TEXT_MAX);
    if (err == 0 && (options->until_s < 0 || options->until_s > BAN_UNTIL_MAX))
        err = -ERANGE;
    return err;
}

/* Copies `text` to `*at`, which moves on; the absent one stays absent. */
static struct slice place_text(uint8_t **at, struct slice text)
{
    struct slice copy = text;

    if (text.data == NULL)
        return text;
    copy.data = *at;
    if (text.len > 0)
        memcpy(*at, text.data, text.len);
    *at += text.len;
    return copy;
}

int ban_new(const struct ban_options *options, struct ban **out_ban)
{
    char address[ADDRESS_TEXT_MAX];
    struct slice who = options->who;
    struct ban_key key;
    struct ban *ban;
    uint8_t *at;
    int err = check_options(options);

    if (err == 0)
        err = ban_key_make(options->kind, who, &key);
    if (err < 0)
        return err;
    if (key.kind == BAN_ADDRESS) {
        format_address(&key, address);
        who = slice_from_string(address);
    }
    ban = malloc(sizeof(*ban) + who.len + options->reason.len + options->by.len + options->desc.len);
    if (ban == NULL)
        return -ENOMEM;
    at = (uint8_t *)(ban + 1);
    *ban = (struct ban){
        .key = key,
        .at_s = options->at_s,
        .until_s = options->until_s,
        .is_automatic = slice_equal(options->by, SLICE_LITERAL(BAN_BY_FLAPPING)),
    };
    ban->who = place_text(&at, who);
    ban->reason = place_text(&at, options->reason);
    ban->by = place_text(&at, options->by);
    ban->desc = place_text(&at, options->desc);
    if (key.kind != BAN_ADDRESS)
        ban->key.name = ban->who;
    *out_ban = ban;
    return 0;
}

void ban_free(void *ban)
{
    free(ban);
}

/* ---- on disk ---- */

int ban_encode_name(const struct ban *ban, struct slice *out_name)
{
    struct slice kind = slice_from_string(ban_kind_name(ban->key.kind));
    size_t len = kind.len + 1 + ban->who.len;
    uint8_t *name = malloc(len);

    if (name == NULL)
        return -ENOMEM;
    memcpy(name, kind.data, kind.len);
    name[kind.len] = '/';
    memcpy(name + kind.len + 1, ban->who.data, ban->who.len);
    *out_name = slice_make(name, len);
    return 0;
}

static int set_text(json_t *object, const char *member, struct slice text)
{
    if (text.data == NULL)
        return 0;
    return json_object_set_new(object, member, json_stringn((const char *)text.data, text.len));
}

static char *dump(const struct ban *ban)
{
    json_t *object = json_object();
    char *text = NULL;
    int err = object == NULL ? -1 : set_text(object, "who", ban->who);

    if (err == 0)
        err = json_object_set_new(object, "as", json_string(ban_kind_name(ban->key.kind)));
    if (err == 0)
        err = set_text(object, "reason", ban->reason);
    if (err == 0)
        err = set_text(object, "by", ban->by);
    if (err == 0)
        err = set_text(object, "desc", ban->desc);
    if (err == 0)
        err = json_object_set_new(object, "at", json_integer(ban->at_s));
    if (err == 0 && ban->until_s != 0)
        err = json_object_set_new(object, "until", json_integer(ban->until_s));
    if (err == 0)
        text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

int ban_encode(const struct ban *ban, struct slice *out_name, struct slice *out_json)
{
    char *json = dump(ban);

    if (json == NULL)
        return -ENOMEM;
    if (ban_encode_name(ban, out_name) < 0) {
        free(json);
        return -ENOMEM;
    }
    *out_json = slice_from_string(json);
    return 0;
}

/* A member that is a text, or not there: 0. -EINVAL. */
static int get_text(const json_t *object, const char *member, struct slice *out_text)
{
    const json_t *value = json_object_get(object, member);

    if (value == NULL)
        return 0;
    if (!json_is_string(value))
        return -EINVAL;
    *out_text = slice_make(json_string_value(value), json_string_length(value));
    return 0;
}

static int get_time(const json_t *object, const char *member, int64_t *out_time)
{
    const json_t *value = json_object_get(object, member);

    if (value == NULL)
        return 0;
    if (!json_is_integer(value))
        return -EINVAL;
    *out_time = json_integer_value(value);
    return 0;
}

static int read_object(const json_t *object, struct ban_options *out)
{
    struct slice kind = {NULL, 0};

    if (get_text(object, "who", &out->who) < 0 || get_text(object, "as", &kind) < 0 ||
        get_text(object, "reason", &out->reason) < 0 || get_text(object, "by", &out->by) < 0 ||
        get_text(object, "desc", &out->desc) < 0 || get_time(object, "at", &out->at_s) < 0 ||
        get_time(object, "until", &out->until_s) < 0)
        return -EINVAL;
    return ban_kind_parse(kind, &out->kind);
}

/* Is this the row's name? Otherwise a delete would miss it. */
static int check_name(const struct ban *ban, struct slice name)
{
    struct slice wanted;
    bool is_equal;

    if (ban_encode_name(ban, &wanted) < 0)
        return -ENOMEM;
    is_equal = slice_equal(wanted, name);
    slice_free(&wanted);
    return is_equal ? 0 : -EINVAL;
}

int ban_decode(struct slice name, struct slice json, struct ban **out_ban, const char **out_problem)
{
    json_t *object = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    struct ban_options options = {0};
    struct ban *ban = NULL;
    int err = 0;

    *out_problem = "it is no JSON object";
    if (!json_is_object(object))
        err = -EINVAL;
    if (err == 0) {
        *out_problem = "a member is missing or of a wrong type";
        err = read_object(object, &options);
    }
    if (err == 0) {
        *out_problem = "it says nothing that could be banned";
        err = ban_new(&options, &ban);
    }
    if (err == 0) {
        *out_problem = "its name and its contents differ";
        err = check_name(ban, name);
    }
    json_decref(object);
    if (err < 0) {
        ban_free(ban);
        return err == -ENOMEM ? err : -EINVAL;
    }
    *out_ban = ban;
    return 0;
}
