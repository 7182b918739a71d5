/*
 * slice: bytes that somebody else owns, with their length; the form in which text from the wire travels.
 *
 * A slice is valid as long as the memory it points into: the header of each function that returns one says
 * until when. An absent value is {NULL, 0}; an empty one has length 0 and a pointer that is not NULL.
 * Thread: any.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t len; /* bytes */
};

/* A slice over a string literal, without its terminating zero. */
#define SLICE_LITERAL(text) ((struct slice){(const uint8_t *)("" text), sizeof(text) - 1})

static inline struct slice slice_make(const void *data, size_t len)
{
    return (struct slice){(const uint8_t *)data, len};
}

/* The two arguments of a "%.*s" in a log line; at most SLICE_PRINT_MAX bytes. Evaluates `text` more than once. */
#define SLICE_PRINT_MAX 16384U
#define SLICE_ARG(text)                                                                                                \
    (int)((text).len < SLICE_PRINT_MAX ? (text).len : SLICE_PRINT_MAX),                                                \
        (text).data == NULL ? "" : (const char *)(text).data

/* A slice over a C string; NULL gives the absent slice. */
static inline struct slice slice_from_string(const char *text)
{
    return (struct slice){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

static inline bool slice_equal(struct slice left, struct slice right)
{
    return left.len == right.len && (left.len == 0 || memcmp(left.data, right.data, left.len) == 0);
}

static inline bool slice_starts_with(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

/* What is left after the first `count` bytes. `count` must not exceed the length. */
static inline struct slice slice_skip(struct slice text, size_t count)
{
    return (struct slice){text.data + count, text.len - count};
}

/* Takes the first `len` bytes off `rest`, which has as many. */
static inline struct slice slice_take(struct slice *rest, size_t len)
{
    struct slice part = slice_make(rest->data, len);

    *rest = slice_skip(*rest, len);
    return part;
}

/* A copy that the caller frees with slice_free(); of the absent slice the absent one. 0 or -ENOMEM. */
MUST_USE int slice_dup(struct slice from, struct slice *out_copy);
/* Frees the memory of a slice_dup() (any malloc()ed one) and makes the slice absent. Absent is fine. */
void slice_free(struct slice *owned);

#endif
