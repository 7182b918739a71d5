/*
 * conf_number: numbers with units, as the configuration and the command line write them. Pure. Thread: any.
 */
#ifndef CONF_CONF_NUMBER_H
#define CONF_CONF_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Optional sign and digits, all of `text`. False: not such a number, or out of range. */
bool conf_parse_integer(const char *text, size_t len, int64_t *out_number);

/* "1h30m", "1.5h", ".5s", "0" or a bare integer in units of `unit_ms` (1 or 1000), rounded up to that unit. */
bool conf_parse_duration(const char *text, size_t len, uint64_t unit_ms, uint64_t *out_units);

/* "64KB", "1.5MB", "4096", in bytes, rounded down. At most INT64_MAX. */
bool conf_parse_bytes(const char *text, size_t len, uint64_t *out_bytes);

#endif
