/*
 * command_start: start, foreground and console: the ways to run the broker.
 */
#include "base/version.h"
#include "ctl/client.h"
#include "ctl/instance.h"
#include "ctl/prompt.h"
#include "main/command.h"
#include "main/run.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_ANSWER_MS 5000

/* Starts the program anew in this process, with the configuration as it is now. Returns only if that fails. */
static int run_again(const struct paths *paths, const char *command)
{
    char *const words[] = {(char *)(uintptr_t) "emqx", (char *)(uintptr_t)command, NULL};

    fflush(NULL);
    /* What is still open of the run before must not go over into the next one. */
    close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    execv(paths->executable, words);
    fprintf(stderr, "emqx: cannot start %s again: %s\n", paths->executable, strerror(errno));
    return 1;
}

/* Runs the broker in this process. */
static int run_here(const struct paths *paths, struct start_report *report)
{
    struct run_options options = {.paths = paths, .report = report};
    struct rlimit limit;
    char text[PATH_MAX + 128];

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit (ulimit -f) is an error of the write */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (chdir(paths->root) < 0) {
        snprintf(text, sizeof(text), "Cannot enter %s: %s", paths->root, strerror(errno));
        daemon_report_failure(report, text);
        return 1;
    }
    return broker_run(&options);
}

/* Several things below must know the root although the working directory has changed. */
static void pin_root(const struct paths *paths)
{
    if (!paths->installed)
        setenv("EMQX_ROOT", paths->root, 1);
}

static bool already_running(const struct command_context *context)
{
    struct instance instance;

    if (instance_find(&context->paths, context->settings.data_dir, &instance) < 0)
        return false;
    printf("Node is already running!\n");
    return true;
}

static int make_log_dir(const struct paths *paths)
{
    int err = paths_make_dir(paths->log);

    if (err < 0)
        fprintf(stderr, "Cannot make the log directory %s: %s\n", paths->log, strerror(-err));
    return err;
}

/* ---- start ---- */

static int run_in_daemon(struct start_report *report, void *context)
{
    const struct command_context *command_context = context;
    const struct paths *paths = &command_context->paths;
    int status = run_here(paths, report);

    return status == RUN_RESTART ? run_again(paths, "foreground") : status;
}

static void explain_death(const struct paths *paths, int status, off_t log_from)
{
    if (WIFSIGNALED(status))
        fprintf(stderr, "The broker died while it started (signal %d, %s).", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "The broker ended while it started (exit status %d).", WEXITSTATUS(status));
    fprintf(stderr, " The last lines of %s/%s:\n", paths->log, CONSOLE_LOG_FILE);
    console_log_print_tail(paths, log_from, stderr);
}

static void explain_pending(pid_t pid, unsigned int wait_s)
{
    printf("The broker failed to start within %u seconds,\n"
           "see the output of './bin/emqx console' for more information.\n"
           "If you want to wait longer, set the environment variable\n"
           "WAIT_FOR_ERLANG to the number of seconds to wait.\n"
           "emqx is still starting (pid %ld).\n",
           wait_s, (long)pid);
}

int command_start(const struct command_context *context, int argc, char **argv)
{
    const struct paths *paths = &context->paths;
    unsigned int wait_s = command_start_wait_s();
    enum daemon_outcome outcome;
    off_t log_from;
    pid_t pid;
    int status;
    int err;

    (void)argc;
    (void)argv;
    if (already_running(context) || make_log_dir(paths) < 0)
        return 1;
    pin_root(paths);
    log_from = console_log_size(paths);
    err = daemon_start(paths, wait_s, run_in_daemon, (void *)(uintptr_t)context, &outcome, &pid, &status);
    if (err < 0) {
        fprintf(stderr, "emqx start: %s\n", strerror(-err));
        return 1;
    }
    switch (outcome) {
    case DAEMON_READY: printf("emqx %s is started successfully!\n", EMQX_COMPAT_VERSION); return 0;
    case DAEMON_DIED: explain_death(paths, status, log_from); return 1;
    case DAEMON_PENDING: explain_pending(pid, wait_s); return 1;
    case DAEMON_FAILED: break;
    }
    return 1;
}

/* ---- foreground ---- */

static void print_head(const struct paths *paths, const char *command)
{
    printf("Exec: %s %s\nRoot: %s\n", paths->executable, command, paths->root);
}

static int run_in_terminal(const struct command_context *context, const char *command, void (*on_ready)(void *),
                           void *on_ready_context)
{
    const struct paths *paths = &context->paths;
    struct start_report *report;
    int status;

    if (make_log_dir(paths) < 0)
        return 1;
    pin_root(paths);
    report = start_report_new(on_ready, on_ready_context);
    if (report == NULL) {
        fprintf(stderr, "emqx: memory is short\n");
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    print_head(paths, command);
    status = run_here(paths, report);
    start_report_free(report);
    return status;
}

int command_foreground(const struct command_context *context, int argc, char **argv)
{
    int status;

    (void)argc;
    (void)argv;
    if (already_running(context))
        return 1;
    status = run_in_terminal(context, "foreground", NULL, NULL);
    return status == RUN_RESTART ? run_again(&context->paths, "foreground") : status;
}

/* ---- console ---- */

/* The prompt has a thread of its own and talks to the broker over the control socket like everybody else. */
struct console {
    const struct command_context *context;
    struct instance instance;
    pthread_t thread;
    int stop_fd;
    bool running;
};

static void *console_thread(void *argument)
{
    static const char *const stop[] = {"node", "stop", NULL};
    struct console *console = argument;
    int status;
    int err;
    struct prompt_options options = {
        .node_name = console->context->settings.node_name,
        .socket_path = console->instance.socket_path,
        .leave_help = "stop the broker and leave",
        .stop_fd = console->stop_fd,
    };

    /* The end of the prompt is the end of the broker. If that is stopping already, nobody answers here. */
    err = prompt_run(&options);
    if (err == 0)
        err = ctl_client_run(options.socket_path, 2, stop, STOP_ANSWER_MS, NULL, NULL, &status, NULL);
    if (err < 0 && err != -ENOENT && err != -ECONNREFUSED && err != -ECONNRESET)
        fprintf(stderr, "emqx console: the prompt ended: %s\n", strerror(-err));
    return NULL;
}

static void console_on_ready(void *context)
{
    struct console *console = context;
    int err = instance_find(&console->context->paths, console->context->settings.data_dir, &console->instance);
    sigset_t all;
    sigset_t before;

    /* Signals are the broker's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (err == 0)
        err = -pthread_create(&console->thread, NULL, console_thread, console);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    console->running = err == 0;
    if (err < 0)
        fprintf(stderr, "emqx console: no prompt: %s\n", strerror(-err));
}

int command_console(const struct command_context *context, int argc, char **argv)
{
    static struct console console;
    bool interactive = isatty(STDIN_FILENO) == 1;
    int status;

    (void)argc;
    (void)argv;
    if (already_running(context))
        return 1;
    console.context = context;
    console.stop_fd = eventfd(0, EFD_CLOEXEC);
    if (console.stop_fd < 0) {
        fprintf(stderr, "emqx console: %s\n", strerror(errno));
        return 1;
    }
    status = run_in_terminal(context, "console", interactive ? console_on_ready : NULL, &console);
    if (console.running) {
        eventfd_write(console.stop_fd, 1);
        pthread_join(console.thread, NULL);
    }
    close(console.stop_fd);
    return status == RUN_RESTART ? run_again(&context->paths, "console") : status;
}
