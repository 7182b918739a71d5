/*
 * conf: the text of etc/emqx.conf (and etc/plugins/NAME.conf) to typed values, driven by tables of keys.
 *
 * The grammar, the datatypes and the error texts are those of the original (docs/configuration.md). Reading
 * goes: parse (file, line kept for each setting), includes, environment overrides, unknown keys refused with the
 * three nearest names, $(key) substitution, types, ranges. Nothing is ignored silently. A `struct conf` is
 * immutable once loaded. Thread: any, after loading.
 *
 * A key is asked for by its row's name, the wildcard's word beside it:
 *     conf_get_integer(conf, "mqtt.max_qos_allowed", NULL, 2)
 *     conf_get_duration(conf, "zone.$name.idle_timeout", "external", 0)
 * The answer is the configured value, else the row's built-in default, else what the caller gave. Asking for a
 * name that no table has, or with a getter of another type, is our own mistake and asserted.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type {
    CONF_STRING,      /* raw text; also `file` and `atom` */
    CONF_INTEGER,     /* optional sign and digits */
    CONF_FLOAT,       /* 0.75, also 1 */
    CONF_BOOL,        /* flag and bool alike: on, off, true, false */
    CONF_ENUM,        /* one of conf_key.enum_words */
    CONF_DURATION_MS, /* 1h30m, 5s, 0, bare integers in ms; rounded up */
    CONF_DURATION_S,  /* the same, rounded up to seconds; bare integers in s */
    CONF_BYTESIZE,    /* 1MB, 64KB, 1.5MB, 4096; 1024-based */
    CONF_PERCENT,     /* 80% or 80 */
    CONF_ADDRESS,     /* port or ip:port */
    CONF_LIMIT,       /* N,duration */
    CONF_RATE,        /* rate,burst in bytes, or bytesize,duration */
    CONF_COUNTS,      /* count|bytes */
    CONF_ACCESS,      /* allow|deny all|IP|CIDR */
    CONF_NODE_NAME,   /* name@host */
    CONF_MOUNTPOINT,  /* a topic prefix without wildcards */
    CONF_PRIORITIES,  /* none, or topic=0..255,... */
};

/* Is the key's feature in this build? */
enum conf_effect {
    CONF_IN_EFFECT,
    CONF_NOT_YET,   /* reported once at start-up: "not yet in effect" */
    CONF_NO_EFFECT, /* only meaningful to the Erlang VM: "accepted for compatibility and has no effect" */
};

/* One row of a key table: all that is known of a key. `name` may hold $name, $id and $level words. The texts of
 * a row with wildcards give a line for each name, "external: 8\ninternal: 4", in `shipped` and `example`. */
struct conf_key {
    const char *name;
    enum conf_type type;
    const char *fallback;   /* built-in default as text; NULL: unset */
    const char *shipped;    /* value in the shipped file; NULL: commented out with `example` */
    const char *example;    /* for the commented line in the shipped file; NULL: no such line */
    const char *enum_words; /* CONF_ENUM: "a, b, c" */
    int64_t min, max;       /* in the unit of the type, CONF_FLOAT in hundredths; both 0: no range */
    enum conf_effect effect;
    bool ours;        /* the original has no such key */
    const char *help; /* whole sentences for the user */
};

/* Rows that belong together, in the order of the shipped file. */
struct conf_table {
    const struct conf_key *keys;
    size_t count;
};

/* The tables of all core keys; `*out_count` of them. Thread: any. */
const struct conf_table *const *conf_core_tables(size_t *out_count);

/* Can conf_load() work with these rows: names, fallbacks of their types, no name twice? For tables from outside, of plugins. False: what is wrong,
 * as a text of at most `size` bytes with the final zero. Thread: any. */
bool conf_table_valid(const struct conf_table *table, char *out_problem, size_t size);

struct conf_address {
    bool is_ipv6;
    uint8_t bytes[16]; /* IPv4: the first four */
    uint16_t port;     /* host order; 0: the system picks one */
};

struct conf_limit {
    uint32_t count;
    uint64_t period_ms;
};

struct conf_rate {
    uint64_t bytes_per_s;
    uint64_t burst_bytes;
};

struct conf_counts {
    uint64_t count;
    uint64_t bytes;
};

struct conf_access {
    bool allow;
    bool all;            /* the word "all": address and prefix are zero */
    uint8_t address[16]; /* IPv4 as IPv4-mapped; host bits cleared */
    uint8_t prefix_len;  /* of 128 bits */
};

struct conf_value {
    const char *text; /* after substitution */
    enum conf_type type;
    union {
        int64_t integer; /* also duration in its unit, bytesize in bytes, percent, index of an enum's word */
        double number;
        bool boolean;
        struct conf_address address;
        struct conf_limit limit;
        struct conf_rate rate;
        struct conf_counts counts;
        struct conf_access access;
    };
};

struct conf;
struct conf_errors;

struct conf_load_options {
    const char *root_dir;     /* where relative paths start, as with `include`; NULL: the working directory */
    const char *file;         /* "etc/emqx.conf" */
    const char *plugins_dir;  /* "etc/plugins": its *.conf follow in alphabetical order; NULL or missing: none */
    char *const *environment; /* NAME=value, ends with NULL; NULL: no overrides */
    const struct conf_table *const *tables; /* NULL: the core's */
    size_t table_count;
};

/* Reads, checks and types everything. 0; -EINVAL (*out_errors says why; the caller frees it) or -ENOMEM.
 * Thread: start-up. */
MUST_USE int conf_load(const struct conf_load_options *options, struct conf **out_conf,
                       struct conf_errors **out_errors);

/* The same from `text` in place of options->file, which then only names it in errors; for tests and fuzzing. */
MUST_USE int conf_load_text(const struct conf_load_options *options, const char *text, size_t text_len,
                            struct conf **out_conf, struct conf_errors **out_errors);

/* NULL is fine. All texts and values obtained from `conf` end with it. */
void conf_free(struct conf *conf);

enum { CONF_ERRORS_MAX = 20 }; /* further errors are only counted */

enum conf_phase {
    CONF_PARSE,
    CONF_ADD_DEFAULTS,
    CONF_RHS_SUBS,
    CONF_TRANSFORM_DATATYPES,
    CONF_VALIDATION,
    CONF_APPLY_TRANSLATIONS
};

struct conf_error {
    enum conf_phase phase;
    const char *file; /* or the name of an environment variable */
    unsigned line;    /* 0: of no line */
    const char *key;  /* NULL: of no key */
    const char *text; /* may hold several lines */
};

/* How many errors are kept, at most CONF_ERRORS_MAX. */
size_t conf_errors_count(const struct conf_errors *errors);

/* Valid until conf_errors_free(); NULL when there are fewer. */
const struct conf_error *conf_errors_get(const struct conf_errors *errors, size_t index);

/* Writes all errors with file, line, key, what was found and what would be right. */
void conf_errors_print(const struct conf_errors *errors, FILE *out);

/* NULL is fine. */
void conf_errors_free(struct conf_errors *errors);

/* The value of a key: configured, else built-in, else NULL. `key` is a row's name; `name` and `id` stand for its
 * first and second wildcard word (NULL where it has none). Valid until conf_free(). */
const struct conf_value *conf_find(const struct conf *conf, const char *key, const char *name, const char *id);

/* Is the key set in a file or the environment? */
bool conf_is_set(const struct conf *conf, const char *key, const char *name);

/* CONF_STRING, CONF_ENUM, CONF_NODE_NAME, CONF_MOUNTPOINT and CONF_PRIORITIES as text; NULL when unset. */
const char *conf_get_string(const struct conf *conf, const char *key, const char *name);

/* CONF_INTEGER and CONF_PERCENT. */
int64_t conf_get_integer(const struct conf *conf, const char *key, const char *name, int64_t otherwise);

double conf_get_float(const struct conf *conf, const char *key, const char *name, double otherwise);

bool conf_get_bool(const struct conf *conf, const char *key, const char *name, bool otherwise);

/* The index of the configured word in the row's enum_words. */
int conf_get_enum(const struct conf *conf, const char *key, const char *name, int otherwise);

/* In the row's unit: ms for CONF_DURATION_MS, s for CONF_DURATION_S. */
uint64_t conf_get_duration(const struct conf *conf, const char *key, const char *name, uint64_t otherwise);

uint64_t conf_get_bytes(const struct conf *conf, const char *key, const char *name, uint64_t otherwise);

/* The distinct words that stand for the last wildcard of `pattern`, in file order, as `*out_count` texts in one
 * array, which the caller frees with free(); the texts are valid until conf_free(). A pattern that is a row's name
 * ("listener.tcp.$name") counts only settings of that row; one that only begins rows ("zone.$name") counts all of
 * them. `name` is the first of two wildcards ("listener.tcp.$name.access.$id"), else NULL. 0 or -ENOMEM. */
MUST_USE int conf_names(const struct conf *conf, const char *pattern, const char *name, const char ***out_names,
                        size_t *out_count);

struct conf_setting {
    const char *key; /* as configured */
    const struct conf_key *row;
    const struct conf_value *value;
    const char *file; /* or the name of the environment variable */
    unsigned line;    /* 0: environment */
};

/* Setting number `index` in file order; false when there are fewer. For listing what was set. */
bool conf_setting_at(const struct conf *conf, size_t index, struct conf_setting *out_setting);

/* Calls `notice` for each line that belongs into the start-up report: keys not yet in effect and keys without
 * effect (grouped by prefix, one line each), settings that nobody looks at, an open door for anonymous clients.
 * `text` is valid during the call. 0 or -ENOMEM. */
MUST_USE int conf_notices(const struct conf *conf, void (*notice)(void *context, const char *text), void *context);

#endif
