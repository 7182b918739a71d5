/*
 * log_queue: lines on their way to the writer thread. Many producers, one consumer, no lock.
 *
 * Bounded in lines and in bytes; what does not fit is refused and the producer drops it. There is one queue in the
 * process.
 */
#ifndef BASE_LOG_QUEUE_INTERNAL_H
#define BASE_LOG_QUEUE_INTERNAL_H

#include "base/compiler.h"
#include "base/log_line_internal.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_QUEUE_LINES_MAX 4096U
#define LOG_QUEUE_BYTES_MAX (8U << 20)

/* Hands the line over and wakes the consumer if it waits. False: full, the line is still the caller's. Thread: any. */
MUST_USE bool log_queue_push_take(struct log_line *line);
/* The oldest line, the caller's from now on; NULL when there is none. Thread: consumer. */
struct log_line *log_queue_pop(void);
/* Lines pushed and popped since the process began. Thread: any. */
uint64_t log_queue_pushed(void);
uint64_t log_queue_popped(void);

/* Waits until there is a line, or somebody called log_queue_wake(), or `timeout_ms` (UINT32_MAX: no end) has passed.
 * Thread: consumer. */
void log_queue_wait(uint32_t timeout_ms);
/* Makes this or the next log_queue_wait() return. Thread: any. */
void log_queue_wake(void);

#endif
