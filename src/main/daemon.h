/*
 * daemon: `emqx start`'s other half: a process in the background that tells the one that waits how its start went.
 *
 * The report is the same in the foreground, where it goes to the terminal only, so the broker does not ask in which
 * mode it runs. It is called until the first ready or failure; later calls do nothing. Thread: the one that starts the broker.
 */
#ifndef MAIN_DAEMON_H
#define MAIN_DAEMON_H

#include "base/compiler.h"
#include "ctl/paths.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CONSOLE_LOG_FILE "emqx.console.log"
#define CONSOLE_LOG_BYTES_MAX (4 * 1024 * 1024) /* a larger one is set aside as .1 at start */

struct start_report;

/* The listeners are open: the broker may be used. */
void daemon_report_ready(struct start_report *report);
/* The start ends here; `text` says why, in whole lines (a missing last line feed is added). Goes to stderr as well. */
void daemon_report_failure(struct start_report *report, const char *text);
/* A line for stderr that whoever starts the broker should see although the start goes on. A line feed is added. */
void daemon_report_warning(struct start_report *report, const char *format, ...) PRINTF_LIKE(2, 3);
/* Does another process wait for this report? In the foreground the log's console handler may say the same already. */
bool daemon_report_is_remote(const struct start_report *report);

/* ---- for the commands ---- */

/* A report to the terminal. `on_ready` (may be NULL) runs when the broker is ready. NULL: memory is short. */
struct start_report *start_report_new(void (*on_ready)(void *context), void *context);
void start_report_free(struct start_report *report);

enum daemon_outcome {
    DAEMON_READY,
    DAEMON_FAILED,  /* it said why */
    DAEMON_DIED,    /* without a word */
    DAEMON_PENDING, /* not up in time; it goes on */
};

/* Forks; the child, in a session of its own with its output in the console log, calls run(report, context) and exits with
 * its result. The parent waits up to `wait_s`, passes the child's words on to stderr and says how it went. `*out_status` is what
 * waitpid() said (DAEMON_DIED). -errno when there is no child. */
MUST_USE int daemon_start(const struct paths *paths, unsigned int wait_s,
                          int (*run)(struct start_report *report, void *context), void *context,
                          enum daemon_outcome *out_outcome, pid_t *out_pid, int *out_status);

/* Size of the console log now; 0 if there is none. */
off_t console_log_size(const struct paths *paths);
/* Prints the last lines (10 at most) that were written to the console log after `from`. */
void console_log_print_tail(const struct paths *paths, off_t from, FILE *out);

#endif
