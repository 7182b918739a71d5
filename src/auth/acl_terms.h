/*
 * acl_terms: reads Erlang terms, as far as files of access rules have them: {tuples}, [lists], "strings", <<"binaries">>, atoms,
 * 'quoted atoms' and integers, with `%` comments; a full stop ends each term.
 *
 * One term is in memory at a time, as nodes in one array and text in one buffer, so what a file costs is bounded by its largest term.
 * Text in double quotes becomes bytes. A file that says so in its first two lines (`%% coding: utf-8`) is UTF-8, and its characters
 * become UTF-8. Any other is Latin-1 to Erlang, where each byte stands for itself; that is what becomes of it here, so that
 * a file that is UTF-8 without saying so works, too.
 *
 * Reading stops at the first error, which says what was found and what would be right. Pure. Thread: any, one at a time per reader.
 */
#ifndef AUTH_ACL_TERMS_H
#define AUTH_ACL_TERMS_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define ACL_DEPTH_MAX 64u          /* tuples and lists inside one another; more are an error */
#define ACL_TERM_NODES_MAX 100000u /* of one term: topics, conditions; more are an error */
#define ACL_ERROR_BYTES 400

struct acl_terms;

/* Where something stands: both from 1, columns in characters. Line 0: nowhere. */
struct acl_place {
    uint32_t line;
    uint32_t column;
};

struct acl_error {
    struct acl_place place;
    char text[ACL_ERROR_BYTES]; /* what was found, what would be right; one line; control characters are '?' */
};

enum acl_term_type {
    ACL_TERM_ATOM,
    ACL_TERM_INTEGER,
    ACL_TERM_STRING,
    ACL_TERM_BINARY,
    ACL_TERM_LIST,
    ACL_TERM_TUPLE,
};

/* A node. Valid until the next acl_terms_next(). */
struct acl_term {
    enum acl_term_type type;
    struct acl_place place;
    uint32_t text_at; /* acl_term_text() */
    uint32_t text_len;
    int64_t integer;
    uint32_t child_count; /* of a list or tuple */
    uint32_t child;       /* the first; 0: none */
    uint32_t next;        /* the next one of the same list or tuple; 0: none */
};

/* A reader of `text`, which is borrowed until acl_terms_free() and shorter than 4 GiB. NULL when memory is short. */
struct acl_terms *acl_terms_new(struct slice text);
/* NULL is fine. */
void acl_terms_free(struct acl_terms *terms);

/* Reads the next term. 1; 0: there are no more; -EINVAL with `*out_error`, after which there is no going on; -ENOMEM. */
MUST_USE int acl_terms_next(struct acl_terms *terms, const struct acl_term **out_term, struct acl_error *out_error);

/* Number `index` of a list or tuple (0: the first); it has as many. */
const struct acl_term *acl_term_child(const struct acl_terms *terms, const struct acl_term *term, uint32_t index);
/* The one after it in the same list or tuple; NULL: none. */
const struct acl_term *acl_term_next(const struct acl_terms *terms, const struct acl_term *term);
/* The bytes of an atom, string or binary. Valid until the next acl_terms_next(). */
struct slice acl_term_text(const struct acl_terms *terms, const struct acl_term *term);
/* Is it that atom? */
bool acl_term_is(const struct acl_terms *terms, const struct acl_term *term, const char *atom);
/* The text that the last term was read from, from its first character to the last before the full stop. */
struct slice acl_terms_source(const struct acl_terms *terms);

/* Fills an error: "found WHAT THE TERM IS, expected EXPECTED". */
void acl_term_unexpected(const struct acl_terms *terms, const struct acl_term *term, const char *expected,
                         struct acl_error *out_error);
/* Fills an error with words of the caller's. */
void acl_error_set(struct acl_error *error, struct acl_place place, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
