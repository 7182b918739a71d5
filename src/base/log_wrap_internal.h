/*
 * log_wrap: a log file that is a ring of files, `<path>.1` to `<path>.<count>`.
 *
 * Lines go to one of them until it holds `bytes_max`; then the next is emptied and used. `<path>.idx` holds the number
 * of the one in use, so that a restart goes on there, and `<path>.siz` the size and the count, so that files beyond a
 * lowered count are removed. Both are decimal text; when they are missing or not readable the newest file is gone on
 * with.
 * Thread: the log's writer.
 */
#ifndef BASE_LOG_WRAP_INTERNAL_H
#define BASE_LOG_WRAP_INTERNAL_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>

#define LOG_WRAP_COUNT_MAX 1000U

struct log_wrap {
    char *path;
    uint64_t bytes_max; /* of one file; a single longer line may exceed it */
    uint64_t bytes;     /* in the file in use */
    uint32_t count;
    uint32_t index; /* 1..count */
    int fd;         /* -1: closed */
};

/* Opens the ring; `count` is 1..LOG_WRAP_COUNT_MAX, `bytes_max` at least 1. -EINVAL, -ENOMEM, -errno. Fails without a
 * file open. */
MUST_USE int log_wrap_open(struct log_wrap *wrap, const char *path, uint64_t bytes_max, uint32_t count);
/* Writes whole lines, taking the next file when they do not fit. -errno: not all was written. */
MUST_USE int log_wrap_write(struct log_wrap *wrap, const char *lines, size_t length);
/* Bytes that fit before the next file is begun. */
uint64_t log_wrap_room(const struct log_wrap *wrap);
/* Never opened, but zeroed with fd -1, is fine. */
void log_wrap_close(struct log_wrap *wrap);

#endif
