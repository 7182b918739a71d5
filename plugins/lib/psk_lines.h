/*
 * psk_lines: pre-shared keys from lines identity:key.
 *
 * The key is the text behind the first delimiter, or the bytes that hexadecimal digits behind "hex:" stand for. A carriage return at the end
 * of a line is not part of it. Empty lines and those that begin with # are left out; a line that is wrong is left out and named; of lines
 * with the same identity the last counts. Immutable once made, then any thread may look keys up. Pure.
 */
#ifndef PLUGINS_LIB_PSK_LINES_H
#define PLUGINS_LIB_PSK_LINES_H

#include <stdint.h>

#include <emqc/plugin.h>

#define PSK_IDENTITY_BYTES_MAX 256u             /* what OpenSSL takes; a line with a longer one is wrong */
#define PSK_LINES_BYTES_MAX (64u * 1024 * 1024) /* longer text is refused */
#define PSK_PROBLEMS_MAX 10                     /* so many wrong lines are named, all are counted */

struct psk_lines;

/* What is wrong with a line: never what is in it. */
struct psk_problem {
    uint32_t line;    /* from 1 */
    const char *text; /* static */
};

struct psk_report {
    uint32_t key_count;
    uint32_t problem_count;
    struct psk_problem problems[PSK_PROBLEMS_MAX]; /* the first ones */
};

/* Reads `text`, of malloc(), which becomes the table's in any case (and is wiped in the end). `delimiter`: one byte or more. 0, -EFBIG or
 * -ENOMEM. */
int psk_lines_new_take(char *text, size_t len, const char *delimiter, struct psk_lines **out_lines,
                       struct psk_report *out_report);

/* NULL is fine. */
void psk_lines_free(struct psk_lines *lines);

/* The key of an identity, valid as long as the table; absent: there is none. */
struct emqc_slice psk_lines_find(const struct psk_lines *lines, struct emqc_slice identity);

#endif
