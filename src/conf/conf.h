/*
 * conf: the text of etc/emqx.conf (and etc/plugins/NAME.conf) to typed values, driven by tables of keys.
 *
 * The grammar, the datatypes and the error texts are those of the original (docs/configuration.md). Reading
 * goes: parse (file, line kept for each setting), includes, environment overrides, unknown keys refused with the
 * three nearest names, $(key) substitution, types, ranges. Nothing is ignored silently. A `struct conf` is
 * immutable once loaded. Thread: any, after loading.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum conf_type {
    CONF_STRING,       /* raw text; also `file` and `atom` */
    CONF_INTEGER,
    CONF_FLOAT,
    CONF_BOOL,         /* flag and bool alike: on, off, true, false */
    CONF_ENUM,
    CONF_DURATION_MS,  /* 1h30m, 5s, 0, bare integers in ms */
    CONF_DURATION_S,   /* the same, rounded up to seconds; bare integers in s */
    CONF_INTEGER_OR_DURATION_MS,
    CONF_BYTESIZE,     /* 1MB, 64KB, 1.5MB; 1024-based */
    CONF_PERCENT,
    CONF_ADDRESS,      /* port or ip:port */
    CONF_LIMIT,        /* N,duration */
    CONF_RATE,         /* rate,burst */
    CONF_COUNT_OR_BYTES, /* count|bytes */
    CONF_ACCESS_RULE,  /* allow|deny all|IP|CIDR */
};

/* Is the key's feature in this build? */
enum conf_effect {
    CONF_IN_EFFECT,
    CONF_NOT_YET,    /* reported once at start-up: "not yet in effect" */
    CONF_NO_EFFECT,  /* only meaningful to the Erlang VM: "accepted for compatibility and has no effect" */
};

/* One row of a key table: all that is known of a key. `name` may hold $name, $id and $level words. */
struct conf_key {
    const char *name;
    enum conf_type type;
    const char *fallback;       /* built-in default as text; NULL: unset */
    const char *shipped;        /* value in the shipped file; NULL: commented out with `example` */
    const char *example;        /* for the commented line in the shipped file; NULL: not in the file */
    const char *enum_words;     /* CONF_ENUM: "a, b, c" */
    int64_t min, max;           /* both 0: no range */
    enum conf_effect effect;
    const char *help;           /* whole sentences */
};

struct conf;

/* See conf.c for the loader's options. The full API of this folder is designed with its tables. */

#endif
