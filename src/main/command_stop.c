/*
 * command_stop: stop, restart, pid and ping: what is done to a broker that runs in another process.
 */
#include "ctl/client.h"
#include "ctl/instance.h"
#include "main/access_rules.h"
#include "main/command.h"
#include "main/configuration.h"
#include "main/daemon.h"
#include "module/module_settings.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 5000
#define STOP_WAIT_S 120
#define PING_SILENCE_MS 15000
#define RESTART_POLL_MS 50

/* A broker in another process. */
struct target {
    struct instance instance;
    int pid_fd; /* readable once the process is gone */
};

/* Finds the running broker and gets hold of its process. -ESRCH: none runs. The caller closes pid_fd. */
static int target_find(const struct command_context *context, struct target *out_target)
{
    int err = instance_find(&context->paths, context->settings.data_dir, &out_target->instance);

    if (err < 0)
        return err;
    /* A broker that has only just taken the lock may not have written its number yet. */
    if (out_target->instance.pid <= 0)
        return -EAGAIN;
    out_target->pid_fd = pidfd_open(out_target->instance.pid, 0);
    return out_target->pid_fd < 0 ? -errno : 0;
}

/* Hands `verb` to the hidden command `node`. */
static int target_ask(const struct target *target, const char *verb, int silence_ms, FILE *out, int *out_status)
{
    const char *words[] = {"node", verb, NULL};

    return ctl_client_run(target->instance.socket_path, 2, words, silence_ms, out, out == NULL ? NULL : stderr,
                          out_status, NULL);
}

/* Waits up to `wait_ms`. True: the process is gone. */
static bool target_gone(const struct target *target, int wait_ms)
{
    struct pollfd poll_fd = {.fd = target->pid_fd, .events = POLLIN};

    return poll(&poll_fd, 1, wait_ms) > 0;
}

/* Asks over the control socket, and by signal if that does not answer. */
static int target_ask_stop(const struct target *target)
{
    int status = 0;
    int err = target_ask(target, "stop", ANSWER_MS, NULL, &status);

    /* The connection may end before the answer: it stops. */
    if (err == 0 || err == -ECONNRESET)
        return 0;
    fprintf(stderr, "The control socket does not answer (%s): sending SIGTERM to process %ld.\n", strerror(-err),
            (long)target->instance.pid);
    return pidfd_send_signal(target->pid_fd, SIGTERM, NULL, 0) < 0 && errno != ESRCH ? -errno : 0;
}

int command_stop(const struct command_context *context, int argc, char **argv)
{
    struct target target;
    int err = target_find(context, &target);
    int seconds;

    (void)argc;
    (void)argv;
    if (err < 0) {
        ctl_client_explain(&context->paths, &context->settings, err);
        return 1;
    }
    err = target_ask_stop(&target);
    if (err < 0) {
        fprintf(stderr, "emqx stop: cannot stop process %ld: %s\n", (long)target.instance.pid, strerror(-err));
        close(target.pid_fd);
        return 1;
    }
    for (seconds = 0; seconds < STOP_WAIT_S && !target_gone(&target, 1000); seconds++)
        fprintf(stderr, "%semqx is stopping (pid %ld), %d s\n",
                seconds > 0 && isatty(STDERR_FILENO) ? "\033[A\033[K" : "", (long)target.instance.pid, seconds + 1);
    close(target.pid_fd);
    if (seconds == STOP_WAIT_S) {
        fprintf(stderr, "emqx is still stopping (pid %ld)\n", (long)target.instance.pid);
        return 1;
    }
    printf("ok\n");
    return 0;
}

/* What `node state` says: "running <number of the run>". False: no answer. */
static bool target_state(const struct target *target, bool *out_running, uint64_t *out_run)
{
    char text[128] = "";
    char word[16];
    FILE *memory = fmemopen(text, sizeof(text), "w");
    int status = 1;
    bool answered;

    if (memory == NULL)
        return false;
    answered = target_ask(target, "state", ANSWER_MS, memory, &status) == 0 && status == 0;
    fclose(memory);
    if (!answered || sscanf(text, "%15s %" SCNu64, word, out_run) != 2)
        return false;
    *out_running = strcmp(word, "running") == 0;
    return true;
}

/* Waits until another run than `old_run` is up. -ESRCH: the process ended; -ETIMEDOUT. */
static int restart_wait(const struct target *target, uint64_t old_run)
{
    int64_t left_ms = (STOP_WAIT_S + (int64_t)command_start_wait_s()) * 1000;

    for (int64_t waited_ms = 0; waited_ms < left_ms; waited_ms += RESTART_POLL_MS) {
        bool running;
        uint64_t run;

        if (target_gone(target, RESTART_POLL_MS))
            return -ESRCH;
        if (target_state(target, &running, &run) && running && run != old_run)
            return 0;
        if (waited_ms % 1000 == 0 && waited_ms > 0)
            fprintf(stderr, "emqx is restarting (pid %ld), %d s\n", (long)target->instance.pid,
                    (int)(waited_ms / 1000));
    }
    return -ETIMEDOUT;
}

/* A broker must not be stopped for a configuration that it cannot start with; stderr says what is wrong. */
static int restart_check_conf(const struct paths *paths)
{
    struct conf_errors *errors;
    struct conf *conf;
    int err = configuration_load(paths, &conf, &errors);
    char rules_error[ACL_FILE_ERROR_BYTES], modules_error[MODULE_ERROR_BYTES];
    struct module_settings modules;

    if (errors != NULL)
        conf_errors_print(errors, stderr);
    if (err == 0 && (err = access_rules_check(conf, paths, rules_error)) < 0)
        fprintf(stderr, "The access rules: %s\n", rules_error);
    if (err == 0 && (err = module_settings_read(conf, &modules, modules_error)) == -EINVAL)
        fprintf(stderr, "%s\n", modules_error);
    if (err == 0)
        module_settings_fini(&modules);
    conf_errors_free(errors);
    conf_free(conf);
    return err;
}

int command_restart(const struct command_context *context, int argc, char **argv)
{
    struct target target;
    off_t log_from = console_log_size(&context->paths);
    uint64_t run = 0;
    bool running;
    int status = 1;
    int err = target_find(context, &target);

    (void)argc;
    (void)argv;
    if (err == 0 && restart_check_conf(&context->paths) < 0) {
        fprintf(stderr, "The broker goes on as it is.\n");
        close(target.pid_fd);
        return 1;
    }
    if (err == 0) {
        if (!target_state(&target, &running, &run))
            err = -ETIMEDOUT;
        else
            err = target_ask(&target, "restart", ANSWER_MS, NULL, &status);
        if (err == -ECONNRESET)
            err = 0;
        if (err < 0)
            close(target.pid_fd);
    }
    if (err < 0) {
        ctl_client_explain(&context->paths, &context->settings, err);
        return 1;
    }
    err = restart_wait(&target, run);
    close(target.pid_fd);
    if (err == -ESRCH) {
        fprintf(stderr, "The broker stopped but could not start again. The last lines of %s/%s:\n", context->paths.log,
                CONSOLE_LOG_FILE);
        console_log_print_tail(&context->paths, log_from, stderr);
        return 1;
    }
    if (err < 0) {
        fprintf(stderr, "emqx is still restarting (pid %ld)\n", (long)target.instance.pid);
        return 1;
    }
    printf("ok\n");
    return 0;
}

int command_pid(const struct command_context *context, int argc, char **argv)
{
    struct instance instance;
    int err = instance_find(&context->paths, context->settings.data_dir, &instance);

    (void)argc;
    (void)argv;
    if (err == 0 && instance.pid <= 0)
        err = -EAGAIN;
    if (err < 0) {
        ctl_client_explain(&context->paths, &context->settings, err);
        return 1;
    }
    printf("%ld\n", (long)instance.pid);
    return 0;
}

int command_ping(const struct command_context *context, int argc, char **argv)
{
    static const char *const words[] = {"node", "ping", NULL};
    struct instance instance;
    int status = 1;
    int err = instance_find(&context->paths, context->settings.data_dir, &instance);

    (void)argc;
    (void)argv;
    if (err == 0)
        err = ctl_client_run(instance.socket_path, 2, words, PING_SILENCE_MS, stdout, stderr, &status, NULL);
    if (err < 0) {
        ctl_client_explain(&context->paths, &context->settings, err);
        return 1;
    }
    return status;
}
