/*
 * log_line: one line of the log, formatted and made harmless.
 */
#ifndef BASE_LOG_LINE_INTERNAL_H
#define BASE_LOG_LINE_INTERNAL_H

#include "base/compiler.h"
#include "base/log.h"
#include "base/slice.h"

#include <stdarg.h>
#include <stdint.h>

/* Bytes of a client ID that are shown; a longer one is cut and ends in `...`. */
#define LOG_CLIENT_ID_BYTES_SHOWN 256U

struct log_line {
    uint32_t level;
    uint32_t length; /* bytes, with the line feed */
    char text[];     /* no terminating zero */
};

/* Formats a line with the time of now. `client_id` may be empty, `peer` NULL or "". The result is one malloc()ed
 * object of the caller's; NULL when memory is short. Thread: any. */
PRINTF_LIKE(5, 0)
struct log_line *log_line_make(enum log_level level, struct slice client_id, const char *peer, int64_t chars_limit,
                               const char *format, va_list arguments);

#endif
