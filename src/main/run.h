/*
 * run: the door between the commands (command_*.c) and the broker itself.
 */
#ifndef MAIN_RUN_H
#define MAIN_RUN_H

#include "ctl/paths.h"
#include "main/daemon.h"

/* broker_run() ended because `node restart` asked for it: the program is started anew in this process. */
#define RUN_RESTART 1000

struct run_options {
    const struct paths *paths;
    struct start_report *report; /* never NULL; see daemon.h */
};

/* Runs the broker in this process until it is told to stop (control socket, SIGTERM, SIGINT): loads the configuration, takes the
 * lock of the data directory (instance_lock_take()), opens the listeners and the control socket, calls
 * daemon_report_ready(), or daemon_report_failure() and returns. The working directory is the root; SIGPIPE and SIGXFSZ are
 * ignored; the soft limit of open files is the hard one. Returns the exit status (0: stopped as asked) or RUN_RESTART.
 * Implemented by the wiring. */
int broker_run(const struct run_options *options);

/* The whole of the program `emqx`. */
int command_main(int argc, char **argv);

#endif
