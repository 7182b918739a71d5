/*
 * conf_value: one value's text to what it means, one function per datatype.
 *
 * The texts of errors are the original's; conf_type_grammar() adds what would be right.
 */
#include "conf/conf_internal.h"
#include "conf/conf_number.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool refuse(struct conf_problem *problem, const char *format, ...) PRINTF_LIKE(2, 3);

static bool refuse(struct conf_problem *problem, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    return false;
}

static bool refuse_as(struct conf_problem *problem, const char *text, const char *type_name)
{
    return refuse(problem, "\"%.200s\" cannot be converted to a(n) %s", text, type_name);
}

/* A well-formed value that breaks a rule. */
static bool refuse_rule(struct conf_problem *problem, const char *rule)
{
    problem->invalid = true;
    return refuse(problem, "%s", rule);
}

static bool parse_string(const struct conf_key *key, const char *text, struct conf_value *out,
                         struct conf_problem *problem)
{
    (void)key, (void)text, (void)out, (void)problem;
    return true;
}

static bool parse_integer(const struct conf_key *key, const char *text, struct conf_value *out,
                          struct conf_problem *problem)
{
    (void)key;
    return conf_parse_integer(text, strlen(text), &out->integer) || refuse_as(problem, text, "integer");
}

static bool parse_float(const struct conf_key *key, const char *text, struct conf_value *out,
                        struct conf_problem *problem)
{
    char *end = NULL;

    (void)key;
    /* strtod() also knows hexadecimal, infinity and "nan". */
    if (text[strspn(text, "+-.0123456789eE")] == '\0')
        out->number = strtod(text, &end);
    if (end == NULL || end == text || *end != '\0' || out->number > 1e15 || out->number < -1e15)
        return refuse_as(problem, text, "float");
    return true;
}

static bool parse_bool(const struct conf_key *key, const char *text, struct conf_value *out,
                       struct conf_problem *problem)
{
    (void)key;
    out->boolean = strcmp(text, "on") == 0 || strcmp(text, "true") == 0;
    if (out->boolean || strcmp(text, "off") == 0 || strcmp(text, "false") == 0)
        return true;
    return refuse(problem, "\"%.200s\" is not a valid enum value, acceptable values are: on, off, true, false", text);
}

static bool parse_enum(const struct conf_key *key, const char *text, struct conf_value *out,
                       struct conf_problem *problem)
{
    const char *word = key->enum_words;

    for (out->integer = 0; word != NULL; out->integer++) {
        size_t len = strcspn(word, ",");

        if (strlen(text) == len && memcmp(word, text, len) == 0)
            return true;
        word = word[len] == ',' ? word + len + 1 + strspn(word + len + 1, " ") : NULL;
    }
    return refuse(problem, "\"%.200s\" is not a valid enum value, acceptable values are: %s", text, key->enum_words);
}

static bool parse_duration(const struct conf_key *key, const char *text, struct conf_value *out,
                           struct conf_problem *problem)
{
    uint64_t units;

    if (!conf_parse_duration(text, strlen(text), key->type == CONF_DURATION_S ? 1000 : 1, &units) || units > INT64_MAX)
        return refuse(problem, "Invalid duration value: %.200s", text);
    out->integer = (int64_t)units;
    return true;
}

static bool parse_bytes(const struct conf_key *key, const char *text, struct conf_value *out,
                        struct conf_problem *problem)
{
    uint64_t bytes;

    (void)key;
    if (!conf_parse_bytes(text, strlen(text), &bytes))
        return refuse_as(problem, text, "bytesize");
    out->integer = (int64_t)bytes;
    return true;
}

static bool parse_percent(const struct conf_key *key, const char *text, struct conf_value *out,
                          struct conf_problem *problem)
{
    size_t len = strlen(text);

    (void)key;
    if (len > 0 && text[len - 1] == '%')
        len--;
    if (!conf_parse_integer(text, len, &out->integer) || out->integer < 0 || out->integer > 100)
        return refuse_as(problem, text, "percent");
    return true;
}

/* An address of either family out of `len` characters; "*" is every IPv4 address. */
static bool ip_read(const char *text, size_t len, struct conf_address *out)
{
    char copy[INET6_ADDRSTRLEN];

    if (len == 1 && text[0] == '*')
        return true;
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
        out->is_ipv6 = true;
    }
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (!out->is_ipv6 && inet_pton(AF_INET, copy, out->bytes) == 1)
        return true;
    out->is_ipv6 = true;
    return inet_pton(AF_INET6, copy, out->bytes) == 1;
}

static bool parse_address(const struct conf_key *key, const char *text, struct conf_value *out,
                          struct conf_problem *problem)
{
    const char *colon = strrchr(text, ':'), *port_text = colon == NULL ? text : colon + 1;
    int64_t port = -1;

    (void)key;
    out->address = (struct conf_address){0};
    if (port_text[0] == '+' || port_text[0] == '-' || !conf_parse_integer(port_text, strlen(port_text), &port) ||
        (colon != NULL && !ip_read(text, (size_t)(colon - text), &out->address)))
        return refuse_as(problem, text, "IP");
    if (port > UINT16_MAX)
        return refuse_rule(problem, "the port should be between 0 and 65535");
    out->address.port = (uint16_t)port;
    return true;
}

/* Cuts "first,second" or "first second" in two. */
static bool pair_split(const char *text, const char *separators, size_t *out_first_len, const char **out_second)
{
    size_t len = strcspn(text, separators);

    *out_first_len = len;
    *out_second = text + len + strspn(text + len, separators);
    return len > 0 && **out_second != '\0';
}

static bool parse_limit(const struct conf_key *key, const char *text, struct conf_value *out,
                        struct conf_problem *problem)
{
    size_t len;
    const char *second;
    int64_t count;

    (void)key;
    if (!pair_split(text, ", \t", &len, &second) || !conf_parse_integer(text, len, &count))
        return refuse_as(problem, text, "limit");
    if (!conf_parse_duration(second, strlen(second), 1, &out->limit.period_ms))
        return refuse(problem, "Invalid duration value: %.200s", second);
    if (count < 1 || count > UINT32_MAX || out->limit.period_ms == 0 || out->limit.period_ms > UINT32_MAX)
        return refuse_rule(problem,
                           "count and duration should be greater than 0 and below 4294967296 (duration in ms)");
    out->limit.count = (uint32_t)count;
    return true;
}

/* "1MB,5s": so many bytes in that time; a time always has a unit here. "1024,52428800": rate and burst. */
static bool parse_rate(const struct conf_key *key, const char *text, struct conf_value *out,
                       struct conf_problem *problem)
{
    size_t len;
    const char *second;
    uint64_t first, period_ms;
    int64_t burst;

    (void)key;
    if (!pair_split(text, ", \t", &len, &second) || !conf_parse_bytes(text, len, &first))
        return refuse_as(problem, text, "rate");
    if (conf_parse_integer(second, strlen(second), &burst)) {
        if (first == 0 || burst < 0 || first > (uint64_t)burst)
            return refuse_rule(problem, "should be rate,burst with 0 < rate and rate <= burst");
        out->rate = (struct conf_rate){.bytes_per_s = first, .burst_bytes = (uint64_t)burst};
    } else {
        if (!conf_parse_duration(second, strlen(second), 1, &period_ms))
            return refuse_as(problem, text, "rate");
        if (period_ms == 0 || first > INT64_MAX / 1000 || first * 1000 / period_ms == 0)
            return refuse_rule(problem, "should allow at least one byte in a second");
        out->rate = (struct conf_rate){.bytes_per_s = first * 1000 / period_ms, .burst_bytes = first};
    }
    if (out->rate.bytes_per_s > UINT32_MAX)
        return refuse_rule(problem, "the rate should be below 4 GB in a second");
    return true;
}

static bool parse_counts(const struct conf_key *key, const char *text, struct conf_value *out,
                         struct conf_problem *problem)
{
    size_t len = strcspn(text, "|"), bytes_at = len;
    int64_t count;

    (void)key;
    if (strcmp(text, "default") == 0) {
        out->counts = (struct conf_counts){.count = 8000, .bytes = 800ULL << 20};
        return true;
    }
    if (text[len] != '|')
        return refuse_as(problem, text, "count|bytesize");
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    bytes_at += 1 + strspn(text + bytes_at + 1, " \t");
    if (!conf_parse_integer(text, len, &count) ||
        !conf_parse_bytes(text + bytes_at, strlen(text + bytes_at), &out->counts.bytes))
        return refuse_as(problem, text, "count|bytesize");
    if (count > UINT32_MAX || out->counts.bytes > (1ULL << 59) - 1)
        return refuse_rule(problem, "the count should be below 4294967296 and the size below 2^59 bytes");
    out->counts.count = count < 0 ? 0 : (uint64_t)count; /* "<= 0 disables" */
    return true;
}

/* Clears all bits of the address after the first `prefix_len`. */
static void mask_address(uint8_t address[16], unsigned prefix_len)
{
    static const uint8_t masks[] = {0, 0x80, 0xc0, 0xe0, 0xf0, 0xf8, 0xfc, 0xfe, 0xff};

    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = prefix_len > i * 8 ? prefix_len - i * 8 : 0;

        address[i] &= masks[kept > 8 ? 8 : kept];
    }
}

static bool cidr_read(const char *text, struct conf_access *out)
{
    struct conf_address ip = {0};
    size_t len = strcspn(text, "/");
    int64_t prefix;

    if (strcmp(text, "*") == 0 || text[0] == '[' || !ip_read(text, len, &ip))
        return false;
    prefix = ip.is_ipv6 ? 128 : 32;
    if (text[len] == '/' && (!conf_parse_integer(text + len + 1, strlen(text + len + 1), &prefix) || prefix < 0 ||
                             prefix > (ip.is_ipv6 ? 128 : 32)))
        return false;
    if (ip.is_ipv6) {
        memcpy(out->address, ip.bytes, 16);
    } else {
        out->address[10] = out->address[11] = 0xff;
        memcpy(out->address + 12, ip.bytes, 4);
        prefix += 96;
    }
    out->prefix_len = (uint8_t)prefix;
    mask_address(out->address, out->prefix_len);
    return true;
}

static bool parse_access(const struct conf_key *key, const char *text, struct conf_value *out,
                         struct conf_problem *problem)
{
    size_t len;
    const char *who;

    (void)key;
    out->access = (struct conf_access){0};
    if (!pair_split(text, " \t", &len, &who))
        return refuse_as(problem, text, "access rule");
    out->access.allow = len == 5 && memcmp(text, "allow", 5) == 0;
    if (!out->access.allow && !(len == 4 && memcmp(text, "deny", 4) == 0))
        return refuse_as(problem, text, "access rule");
    out->access.all = strcmp(who, "all") == 0;
    return out->access.all || cidr_read(who, &out->access) || refuse_as(problem, text, "access rule");
}

static bool parse_node_name(const struct conf_key *key, const char *text, struct conf_value *out,
                            struct conf_problem *problem)
{
    const char *at = strchr(text, '@');

    (void)key, (void)out;
    if (at == NULL || at == text || at[1] == '\0' || strchr(at + 1, '@') != NULL || strpbrk(text, " \t/+#") != NULL)
        return refuse_rule(problem, "should be name@host without blanks, /, + and #");
    if (strlen(text) > 255)
        return refuse_rule(problem, "should be no longer than 255 bytes");
    return true;
}

static bool parse_mountpoint(const struct conf_key *key, const char *text, struct conf_value *out,
                             struct conf_problem *problem)
{
    (void)key, (void)out;
    if (strpbrk(text, "+#") != NULL || strlen(text) > 4096)
        return refuse_rule(problem, "should be a topic prefix without + and #, no longer than 4096 bytes");
    return true;
}

static bool parse_priorities(const struct conf_key *key, const char *text, struct conf_value *out,
                             struct conf_problem *problem)
{
    const char *item = strcmp(text, "none") == 0 ? NULL : text;

    (void)key, (void)out;
    while (item != NULL) {
        size_t len = strcspn(item, ","), topic_len = len;
        int64_t priority = -1;

        while (topic_len > 0 && item[topic_len - 1] != '=')
            topic_len--;
        if (topic_len < 2 || !conf_parse_integer(item + topic_len, len - topic_len, &priority) || priority < 0 ||
            priority > 255)
            return refuse_rule(problem, "should be none or topic=priority,... with priorities from 0 to 255");
        item = item[len] == ',' ? item + len + 1 + strspn(item + len + 1, " \t") : NULL;
    }
    return true;
}

typedef bool parse_function(const struct conf_key *key, const char *text, struct conf_value *out,
                            struct conf_problem *problem);

static const struct {
    parse_function *parse;
    const char *name;
    const char *grammar;
} types[] = {
    [CONF_STRING] = {parse_string, "text", "any text"},
    [CONF_INTEGER] = {parse_integer, "integer", "a whole number, such as 100"},
    [CONF_FLOAT] = {parse_float, "number", "a number, such as 0.75"},
    [CONF_BOOL] = {parse_bool, "on or off", "on or off (true or false)"},
    [CONF_ENUM] = {parse_enum, "word", "one of the words named"},
    [CONF_DURATION_MS] = {parse_duration, "duration",
                          "numbers with f, w, d, h, m, s or ms, such as 1h30m or 500ms, or bare "
                          "milliseconds"},
    [CONF_DURATION_S] = {parse_duration, "duration (s)",
                         "numbers with f, w, d, h, m, s or ms, such as 1h30m or 90s, or bare seconds"},
    [CONF_BYTESIZE] = {parse_bytes, "size", "bytes, or a number with KB, MB or GB, such as 64KB or 1.5MB"},
    [CONF_PERCENT] = {parse_percent, "percent", "0% to 100%"},
    [CONF_ADDRESS] = {parse_address, "address",
                      "a port, such as 1883, or address:port, such as 127.0.0.1:1883, [::1]:1883 or "
                      "*:1883; no host names"},
    [CONF_LIMIT] = {parse_limit, "count,duration", "count,duration, such as 10,1m"},
    [CONF_RATE] = {parse_rate, "rate,burst",
                   "rate,burst in bytes, such as 1024,4096, or size,duration, such as 1MB,5s"},
    [CONF_COUNTS] = {parse_counts, "count|size", "count|size, such as 8000|800MB"},
    [CONF_ACCESS] = {parse_access, "access rule",
                     "allow or deny, then all, an address or a network, such as deny 10.0.0.0/8"},
    [CONF_NODE_NAME] = {parse_node_name, "node name", "name@host, such as emqx@127.0.0.1"},
    [CONF_MOUNTPOINT] = {parse_mountpoint, "topic prefix", "a topic prefix, such as devices/%c/"},
    [CONF_PRIORITIES] = {parse_priorities, "topic priorities",
                         "none, or topic=priority,..., such as alarms/fire=255,alarms/door=10"},
};

const char *conf_type_name(enum conf_type type)
{
    return types[type].name;
}

const char *conf_type_grammar(enum conf_type type)
{
    return types[type].grammar;
}

static bool in_range(const struct conf_key *key, const struct conf_value *value)
{
    if (key->min == 0 && key->max == 0)
        return true;
    switch (key->type) {
    case CONF_INTEGER:
    case CONF_DURATION_MS:
    case CONF_DURATION_S:
    case CONF_BYTESIZE: return value->integer >= key->min && value->integer <= key->max;
    case CONF_FLOAT: return value->number * 100 >= (double)key->min && value->number * 100 <= (double)key->max;
    default: return true;
    }
}

bool conf_value_parse(const struct conf_key *key, const char *text, struct conf_value *out_value,
                      struct conf_problem *out_problem)
{
    struct conf_value value = {.text = text, .type = key->type};

    out_problem->invalid = false;
    if (!types[key->type].parse(key, text, &value, out_problem))
        return false;
    if (!in_range(key, &value)) {
        out_problem->invalid = true;
        if (key->type == CONF_FLOAT)
            return refuse(out_problem, "should be between %g and %g", (double)key->min / 100, (double)key->max / 100);
        return key->max == INT64_MAX
                   ? refuse(out_problem, "should not be below %lld", (long long)key->min)
                   : refuse(out_problem, "should be between %lld and %lld", (long long)key->min, (long long)key->max);
    }
    *out_value = value;
    return true;
}
