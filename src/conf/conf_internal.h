/*
 * conf_internal: what the files of conf/ share: settings as read, the memory they live in, the error list.
 */
#ifndef CONF_CONF_INTERNAL_H
#define CONF_CONF_INTERNAL_H

#include "conf/conf.h"

enum {
    CONF_FILE_BYTES_MAX = 1024 * 1024, /* larger files are refused */
    CONF_LINE_BYTES_MAX = 16 * 1024,   /* longer lines are syntax errors */
    CONF_KEY_BYTES_MAX = 256,          /* likewise */
    CONF_WORDS_MAX = 12,               /* words of a key; more are unknown keys */
    CONF_SETTINGS_MAX = 10000,         /* more are refused */
    CONF_FILES_MAX = 256,              /* included and plugin files; more are refused */
    CONF_TEXT_BYTES_MAX = 16 * 1024,   /* a value after substitution */
    CONF_SUBSTITUTION_DEPTH_MAX = 32,
};

/* Who wins when a key is set twice; among equals the last does. */
enum conf_source { CONF_FROM_INCLUDE, CONF_FROM_FILE, CONF_FROM_ENVIRONMENT };

enum conf_substitution { CONF_RAW, CONF_SUBSTITUTING, CONF_SUBSTITUTED, CONF_UNUSABLE };

/* One key with its value. All texts live in the conf's memory. */
struct setting {
    const char *key; /* words joined by dots, "\." kept */
    struct conf_value value;
    const struct conf_key *row;
    const char *name; /* word of the first wildcard, NULL: none */
    const char *id;   /* of the second */
    const char *file;
    unsigned line;
    uint32_t position; /* of the key's first occurrence */
    enum conf_source source;
    enum conf_substitution substitution;
};

/* A key as its words, unescaped, in `storage`. */
struct conf_words {
    const char *at[CONF_WORDS_MAX];
    size_t count;
    char storage[CONF_KEY_BYTES_MAX + 1];
};

struct conf_block;

/* A row with its built-in default as a value. */
struct conf_row {
    const struct conf_key *key;
    struct conf_value fallback; /* text NULL: none */
    struct conf_words words;
};

struct conf {
    struct conf_block *blocks; /* all memory but the arrays below */
    struct conf_row *rows;     /* in table order */
    const struct conf_row **rows_by_name;
    size_t row_count;
    struct setting *settings; /* by key once finished, in reading order before */
    size_t setting_count;
    size_t setting_capacity;
    struct setting **in_order; /* of the files */
    const char **warnings;     /* lines for conf_notices() */
    size_t warning_count;
};

/* State of one conf_load(). */
struct loader {
    struct conf *conf;
    struct conf_errors *errors;
    const struct conf_load_options *options;
    size_t file_count;
    bool out_of_memory; /* sticky: everything ends as -ENOMEM */
    bool is_full;       /* CONF_SETTINGS_MAX was reached and reported */
};

/* Where something is wrong: line 0 and key NULL where there is none. */
struct conf_place {
    const char *file;
    unsigned line;
    const char *key;
};

/* memory: valid until conf_free(); NULL when short. */
void *conf_alloc(struct conf *conf, size_t size);
char *conf_text_dup(struct conf *conf, const char *text, size_t len);
void conf_blocks_free(struct conf *conf);

/* conf_error.c */
struct conf_errors *conf_errors_new(void);
bool conf_errors_any(const struct conf_errors *errors);
/* Keeps an error with a copy of the texts. Short memory is noted in the loader. */
void conf_error_add(struct loader *loader, enum conf_phase phase, struct conf_place place, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* Keeps a line for conf_notices(). */
void conf_warning_add(struct loader *loader, const char *format, ...) PRINTF_LIKE(2, 3);

/* conf_parse.c: a file's (or a text's) settings are appended to the conf in reading order. */
void conf_parse_file(struct loader *loader, const char *path, enum conf_source source);
void conf_parse_text(struct loader *loader, const char *text, size_t len, const char *file, enum conf_source source);
/* May a value consist of these characters: printable ones and tabs, UTF-8, within Latin-1? */
enum conf_text_fault { CONF_TEXT_RIGHT, CONF_TEXT_NOT_LATIN1, CONF_TEXT_CONTROL };
enum conf_text_fault conf_text_check(const char *text, size_t len, size_t *out_at);
/* Could a file hold this key? */
bool conf_key_is_valid(const char *key);
/* Appends one setting; key and text are copied, the place's file lives as long as the conf. */
void conf_append(struct loader *loader, struct conf_place place, enum conf_source source, const char *text,
                 size_t text_len);

/* conf_environment.c */
void conf_environment_apply(struct loader *loader);

/* conf_key.c */
/* Splits a key or a row's name. False: too many words. */
bool conf_words_split(const char *key, struct conf_words *out_words);
/* Do the words fit the row? */
bool conf_row_matches(const struct conf_row *row, const struct conf_words *words);
const struct conf_row *conf_row_for(const struct conf *conf, const struct conf_words *words);
/* The row with exactly that name, by binary search; NULL: none. */
const struct conf_row *conf_row_named(const struct conf *conf, const char *name);
bool conf_is_wildcard(const char *word);
/* Writes the three keys nearest to `key`, each on a line of its own with four blanks before it. */
void conf_nearest(const struct conf *conf, const char *key, char *out_text, size_t size);

/* conf_substitute.c: replaces $(key) in all settings. */
void conf_substitute(struct loader *loader);
/* The setting with that key; NULL: none. For finished settings. */
struct setting *conf_setting_find(const struct conf *conf, const char *key);

/* conf_value.c: what a text says as `type` (enum words and range from `key`). True, or false with the reason (a
 * text as the original writes it) in `out_problem` and whether it is a validator's. */
enum { CONF_PROBLEM_BYTES = 512 };
struct conf_problem {
    bool invalid; /* well-formed, but against a rule */
    char text[CONF_PROBLEM_BYTES];
};
bool conf_value_parse(const struct conf_key *key, const char *text, struct conf_value *out_value,
                      struct conf_problem *out_problem);
/* The type's name in the reference. */
const char *conf_type_name(enum conf_type type);
/* What a right value looks like, as a phrase. */
const char *conf_type_grammar(enum conf_type type);

/* conf_check.c: rules that concern several keys. */
void conf_check(struct loader *loader);

#endif
