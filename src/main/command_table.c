/*
 * command_table: all commands of `emqx`, their help, and the checks that stand before each.
 */
#include "base/version.h"
#include "main/command.h"
#include "main/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define OPEN_FILES_RECOMMENDED 1024

static int command_help(const struct command_context *context, int argc, char **argv);
static int command_version(const struct command_context *context, int argc, char **argv);

static const struct command commands[] = {
    {"start", NULL,
     "Starts the broker in the background and returns once its listeners are open. If it cannot start, says why and\n"
     "exits with 1. WAIT_FOR_ERLANG in the environment sets how many seconds it waits (15).",
     "emqx start\n  WAIT_FOR_ERLANG=60 emqx start", command_start},
    {"start_boot", "<file>", NULL, NULL, NULL},
    {"ertspath", NULL, NULL, NULL, NULL},
    {"foreground", NULL,
     "Runs the broker in this process without a prompt, for supervisors and containers. SIGTERM and Ctrl-C stop it cleanly.",
     "emqx foreground", command_foreground},
    {"stop", NULL,
     "Stops the broker cleanly and returns once its process is gone. Finds it by its data directory, whatever\n"
     "node.name says now.",
     "emqx stop", command_stop},
    {"restart", NULL,
     "Stops the broker and starts it anew, in the same process, with the configuration as it is now. If that has an\n"
     "error, says so and leaves the broker as it is.",
     "emqx restart", command_restart},
    {"reboot", NULL, "The same as restart.", "emqx reboot", command_restart},
    {"pid", NULL, "Prints the process id of the running broker.", "grep VmRSS /proc/$(emqx pid)/status", command_pid},
    {"ping", NULL, "Prints pong if the broker answers; exits with 1 if it does not.", "emqx ping && echo \"it is up\"",
     command_ping},
    {"console", NULL,
     "Runs the broker in this process. On a terminal it has a prompt that takes the commands of emqx_ctl; Ctrl-D there\n"
     "stops the broker.",
     "emqx console\n  (emqx@127.0.0.1)1> clients list", command_console},
    {"console_clean", NULL, NULL, NULL, NULL},
    {"console_boot", "<file>", NULL, NULL, NULL},
    {"attach", NULL,
     "Opens a prompt that takes the commands of emqx_ctl on the running broker. Ctrl-D leaves; the broker goes on.",
     "emqx attach\n  (emqx@127.0.0.1)1> clients show sensor-17", command_attach},
    {"remote_console", NULL, "The same as attach.", "emqx remote_console", command_attach},
    {"check_store", NULL,
     "Reads everything that is stored in the data directory and verifies its checksums, whether the broker runs or not.\n"
     "Exits with 1 if anything is damaged.",
     "emqx check_store", command_check_store},
    {"upgrade", "<package>", NULL, NULL, NULL},
    {"downgrade", "<package>", NULL, NULL, NULL},
    {"install", "<package>", NULL, NULL, NULL},
    {"unpack", "<package>", NULL, NULL, NULL},
    {"escript", "<path> [arguments]", NULL, NULL, NULL},
    {"rpc", "emqx_ctl run_command <command> [arguments]",
     "The same as `emqx_ctl <command> [arguments]`, for scripts written for EMQX. Other calls are not supported.",
     "emqx rpc emqx_ctl run_command status", command_rpc},
    {"rpcterms", "<module> <function> [terms]", NULL, NULL, NULL},
    {"eval", "<expression>", NULL, NULL, NULL},
    {"version", NULL, "Prints the version of EMQX this broker is compatible with, and its own.", "emqx version",
     command_version},
    {"help", "[<command>]", "Shows all commands, or one.", "emqx help start", command_help},
};

static const char usage_line[] =
    "Usage: emqx {start|start_boot <file>|ertspath|foreground|stop|restart|reboot|pid|ping|console|console_clean|"
    "console_boot <file>|attach|remote_console|upgrade|escript|rpc|rpcterms|eval}\n";

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands + i;
    return NULL;
}

static void print_command_help(const struct command *command)
{
    printf("Usage: emqx %s%s%s\n\n", command->name, command->arguments != NULL ? " " : "",
           command->arguments != NULL ? command->arguments : "");
    if (command->run == NULL)
        printf("A command of EMQX for the Erlang machine; not supported by this implementation.\n\n"
               "Example (what is there instead)\n  emqx help\n");
    else
        printf("%s\n\nExample\n  %s\n", command->help, command->example);
}

static int command_help(const struct command_context *context, int argc, char **argv)
{
    const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;

    (void)context;
    if (command != NULL) {
        print_command_help(command);
        return 0;
    }
    if (argc > 1) {
        fprintf(stderr, "emqx help: there is no command '%s'\n", argv[1]);
        return 1;
    }
    printf("Usage: emqx <command>\n\n");
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (commands[i].run != NULL)
            printf("  %-16s%.*s\n", commands[i].name, (int)strcspn(commands[i].help, ".;,"), commands[i].help);
    printf(
        "\n`emqx <command> --help` tells more and gives an example. `emqx_ctl --help`: commands to the running broker.\n");
    return 0;
}

static int command_version(const struct command_context *context, int argc, char **argv)
{
    (void)context;
    (void)argc;
    (void)argv;
    printf("emqx %s (emqc %s)\n", EMQX_COMPAT_VERSION, EMQC_VERSION);
    return 0;
}

unsigned int command_start_wait_s(void)
{
    const char *text = getenv("WAIT_FOR_ERLANG");
    long seconds = text != NULL ? strtol(text, NULL, 10) : 0;

    return seconds >= 1 && seconds <= 86400 ? (unsigned int)seconds : 15;
}

static void warn_about_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < OPEN_FILES_RECOMMENDED)
        printf("!!!!\n!!!! WARNING: ulimit -n is %llu; %d is the recommended minimum.\n!!!!\n",
               (unsigned long long)limit.rlim_cur, OPEN_FILES_RECOMMENDED);
}

static int find_context(struct command_context *out_context)
{
    int err = paths_find(&out_context->paths);

    if (err == 0)
        err = settings_read(&out_context->paths, &out_context->settings);
    if (err < 0)
        fprintf(stderr, "emqx: cannot find the installation%s%s: %s\n",
                getenv("EMQX_ROOT") != NULL ? " at EMQX_ROOT=" : "",
                getenv("EMQX_ROOT") != NULL ? getenv("EMQX_ROOT") : "", strerror(-err));
    return err;
}

int command_main(int argc, char **argv)
{
    static struct command_context context; /* several paths: too much for a stack */
    const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;

    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return command_help(NULL, 1, argv);
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return command_version(NULL, 1, argv);
    if (command == NULL) {
        printf("%s", usage_line);
        if (argc > 1)
            fprintf(stderr, "emqx: there is no command '%s'; see: emqx help\n", argv[1]);
        return 1;
    }
    if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        print_command_help(command);
        return 0;
    }
    if (command->run == NULL) {
        fprintf(stderr, "emqx %s: not supported by this implementation\n", command->name);
        return 1;
    }
    if (command->run == command_help || command->run == command_version)
        return command->run(NULL, argc - 1, argv + 1);
    if (argc > 2 && command->arguments == NULL) {
        fprintf(stderr, "emqx %s takes no arguments; see: emqx %s --help\n", command->name, command->name);
        return 1;
    }
    warn_about_open_files();
    if (find_context(&context) < 0)
        return 1;
    return command->run(&context, argc - 1, argv + 1);
}
