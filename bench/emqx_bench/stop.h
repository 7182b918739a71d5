/*
 * stop: SIGINT and SIGTERM ask the tool to end and report. Thread: one.
 */
#ifndef BENCH_STOP_H
#define BENCH_STOP_H

#include <stdbool.h>

/* Catches both signals from now on; a second one ends the process at once. SIGPIPE is ignored. */
void stop_catch_signals(void);

/* Has a signal come? */
bool stop_requested(void);

#endif
