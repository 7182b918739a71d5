/*
 * command: the commands of the program `emqx`, one row each (command_table.c).
 * Thread: the main one, before or instead of the broker.
 */
#ifndef MAIN_COMMAND_H
#define MAIN_COMMAND_H

#include "ctl/paths.h"
#include "ctl/settings.h"

struct command_context {
    struct paths paths;
    struct settings settings;
};

struct command {
    const char *name;
    const char *arguments; /* for the help: "<path>"; NULL: none */
    const char *help;      /* whole sentences */
    const char *example;   /* a line or more */
    /* argv[0] is the command's name. Returns the exit status. NULL: not supported by this implementation. */
    int (*run)(const struct command_context *context, int argc, char **argv);
};

int command_start(const struct command_context *context, int argc, char **argv);
int command_foreground(const struct command_context *context, int argc, char **argv);
int command_console(const struct command_context *context, int argc, char **argv);
int command_stop(const struct command_context *context, int argc, char **argv);
int command_restart(const struct command_context *context, int argc, char **argv);
int command_pid(const struct command_context *context, int argc, char **argv);
int command_ping(const struct command_context *context, int argc, char **argv);
int command_attach(const struct command_context *context, int argc, char **argv);
int command_check_store(const struct command_context *context, int argc, char **argv);
int command_rpc(const struct command_context *context, int argc, char **argv);

/* WAIT_FOR_ERLANG: seconds to wait for a start (1..86400), 15 unless it says otherwise. */
unsigned int command_start_wait_s(void);

#endif
