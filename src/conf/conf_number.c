/*
 * conf_number: numbers with units. All arithmetic is on integers with overflow checks: a fraction is kept as
 * millionths, which every unit divides evenly when time is counted in nanoseconds.
 */
#include "conf/conf_number.h"

#include "base/compiler.h"

#include <string.h>
#include <strings.h>

enum { MILLION = 1000000 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool conf_parse_integer(const char *text, size_t len, int64_t *out_number)
{
    int64_t number = 0;
    bool negative = len > 0 && text[0] == '-';
    size_t at = len > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;

    if (at == len)
        return false;
    for (; at < len; at++) {
        if (!is_digit(text[at]) || __builtin_mul_overflow(number, 10, &number))
            return false;
        if (__builtin_sub_overflow(number, text[at] - '0', &number)) /* negative numbers reach further */
            return false;
    }
    if (!negative && number == INT64_MIN)
        return false;
    *out_number = negative ? number : -number;
    return true;
}

struct decimal {
    uint64_t whole;
    uint32_t millionths;
    bool has_point;
    bool has_more;     /* digits beyond the millionths that are not zero */
    bool leading_zero; /* "05" */
};

/* Reads digits, a point, digits. Returns the number of characters, 0 when there is no number. */
static size_t decimal_read(const char *text, size_t len, struct decimal *out)
{
    size_t at = 0, digits = 0;
    uint32_t scale = MILLION / 10;

    *out = (struct decimal){0};
    for (; at < len && is_digit(text[at]); at++, digits++) {
        if (__builtin_mul_overflow(out->whole, (uint64_t)10, &out->whole) ||
            __builtin_add_overflow(out->whole, (uint64_t)(text[at] - '0'), &out->whole))
            return 0;
    }
    out->leading_zero = digits > 1 && text[0] == '0';
    if (at < len && text[at] == '.') {
        out->has_point = true;
        for (at++, digits = 0; at < len && is_digit(text[at]); at++, digits++) {
            out->millionths += scale * (uint32_t)(text[at] - '0');
            out->has_more |= scale == 0 && text[at] != '0';
            scale /= 10;
        }
    }
    return digits == 0 ? 0 : at;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* "ms" stands before "m": the longer name is tried first. */
static const struct unit duration_units[] = {
    {"ms", MILLION},
    {"s", 1000ULL * MILLION},
    {"m", 60000ULL * MILLION},
    {"h", 3600000ULL * MILLION},
    {"d", 86400000ULL * MILLION},
    {"w", 7 * 86400000ULL * MILLION},
    {"f", 14 * 86400000ULL * MILLION},
};

static const struct unit *duration_unit(const char *text, size_t len)
{
    for (size_t i = 0; i < ARRAY_COUNT(duration_units); i++) {
        size_t name_len = strlen(duration_units[i].name);

        if (len >= name_len && strncasecmp(text, duration_units[i].name, name_len) == 0)
            return &duration_units[i];
    }
    return NULL;
}

/* Adds one part, "30m" say, to a sum of nanoseconds. */
static bool duration_add(uint64_t *nanoseconds, const struct decimal *number, uint64_t factor)
{
    uint64_t whole, fraction = number->millionths * (factor / MILLION);

    if (number->leading_zero)
        return false;
    return !__builtin_mul_overflow(number->whole, factor, &whole) &&
           !__builtin_add_overflow(*nanoseconds, whole, nanoseconds) &&
           !__builtin_add_overflow(*nanoseconds, fraction, nanoseconds) &&
           !__builtin_add_overflow(*nanoseconds, (uint64_t)number->has_more, nanoseconds);
}

bool conf_parse_duration(const char *text, size_t len, uint64_t unit_ms, uint64_t *out_units)
{
    uint64_t nanoseconds = 0, unit_ns = unit_ms * MILLION;
    size_t at = 0;

    if (len == 0)
        return false;
    while (at < len) {
        struct decimal number;
        size_t used = decimal_read(text + at, len - at, &number);
        const struct unit *unit;

        if (used == 0)
            return false;
        if (used == len && !number.has_point && !number.leading_zero) {
            *out_units = number.whole;
            return true;
        }
        at += used;
        unit = duration_unit(text + at, len - at);
        if (unit == NULL || !duration_add(&nanoseconds, &number, unit->factor))
            return false;
        at += strlen(unit->name);
    }
    *out_units = nanoseconds / unit_ns + (nanoseconds % unit_ns != 0);
    return true;
}

bool conf_parse_bytes(const char *text, size_t len, uint64_t *out_bytes)
{
    static const struct unit units[] = {{"", 1},         {"KB", 1 << 10}, {"kb", 1 << 10}, {"MB", 1 << 20},
                                        {"mb", 1 << 20}, {"GB", 1 << 30}, {"gb", 1 << 30}};
    struct decimal number;
    size_t used = decimal_read(text, len, &number);
    uint64_t bytes;

    if (used == 0)
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (strlen(units[i].name) != len - used || memcmp(text + used, units[i].name, len - used) != 0)
            continue;
        if (__builtin_mul_overflow(number.whole, units[i].factor, &bytes) ||
            __builtin_add_overflow(bytes, number.millionths * units[i].factor / MILLION, &bytes) || bytes > INT64_MAX)
            return false;
        *out_bytes = bytes;
        return true;
    }
    return false;
}
