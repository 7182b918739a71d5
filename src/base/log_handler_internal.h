/*
 * log_handler: the places lines go to (console, files), each with a level of its own.
 *
 * Lines are gathered per handler and written with one system call. The handlers exist from log_handlers_open() to
 * log_handlers_close(); there is one set in the process.
 */
#ifndef BASE_LOG_HANDLER_INTERNAL_H
#define BASE_LOG_HANDLER_INTERNAL_H

#include "base/compiler.h"
#include "base/log.h"
#include "base/log_line_internal.h"

#include <stddef.h>
#include <stdint.h>

/* Opens what the options name. On failure the reason has gone to stderr and nothing is open. -EINVAL, -ENOMEM, -errno.
 * Thread: control. */
MUST_USE int log_handlers_open(const struct log_options *options);
/* Frees all. Thread: control, when no writer runs. */
void log_handlers_close(void);
/* Leaves them to a writer that hangs: they are not listed any more, their memory stays. Thread: control. */
void log_handlers_abandon(void);

/* Adds the line to the batch of each handler whose level it has. Thread: writer. */
void log_handlers_gather(const struct log_line *line);
/* Writes the batches. Lines that could not be written are counted, and stderr hears of it. Thread: writer. */
void log_handlers_flush(void);

/* The lowest level of a handler, LOG_LEVEL_COUNT when there is none. Thread: control. */
uint32_t log_handlers_lowest(void);
void log_handlers_set_level(enum log_level level);
/* -ENOENT. */
MUST_USE int log_handlers_set_level_of(struct slice handler_id, enum log_level level);
void log_handlers_visit(void (*visit)(const char *handler_id, enum log_level level, const char *destination,
                                      void *context),
                        void *context);

/* Writes all of it or gives up with -errno: a terminal that does not take bytes for a second must not stop the files.
 */
int log_write_fd(int fd, const char *text, size_t length);

#endif
