/*
 * daemon: forking and the pipe on which the child reports, in the frames of the control socket.
 */
#include "main/daemon.h"

#include "mgmt/ctl_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES_MAX 4096 /* one pipe write up to PIPE_BUF is never cut */
#define FRAME_TEXT_MAX (TEXT_BYTES_MAX - CTL_FRAME_HEADER_BYTES)
#define TAIL_LINES 10
#define TAIL_BYTES_MAX 4096

struct start_report {
    int fd; /* -1: nobody waits, or not any more */
    void (*on_ready)(void *context);
    void *context;
    bool done;
};

/* ---- the child's side ---- */

struct start_report *start_report_new(void (*on_ready)(void *context), void *context)
{
    struct start_report *report = calloc(1, sizeof(*report));

    if (report == NULL)
        return NULL;
    report->fd = -1;
    report->on_ready = on_ready;
    report->context = context;
    return report;
}

void start_report_free(struct start_report *report)
{
    if (report == NULL)
        return;
    if (report->fd >= 0)
        close(report->fd);
    free(report);
}

static void report_send(struct start_report *report, enum ctl_frame_type type, const void *data, size_t len)
{
    uint8_t frame[TEXT_BYTES_MAX];

    if (report->fd < 0)
        return;
    ASSERT(len <= FRAME_TEXT_MAX);
    ctl_frame_header(frame, type, len);
    memcpy(frame + CTL_FRAME_HEADER_BYTES, data, len);
    if (write(report->fd, frame, CTL_FRAME_HEADER_BYTES + len) < 0) {
        /* Nobody waits any more (EPIPE): the start goes on unobserved. */
        close(report->fd);
        report->fd = -1;
    }
}

static void report_end(struct start_report *report, uint8_t status)
{
    report_send(report, CTL_FRAME_EXIT, &status, 1);
    report->done = true;
    if (report->fd >= 0)
        close(report->fd);
    report->fd = -1;
}

void daemon_report_ready(struct start_report *report)
{
    if (report->done)
        return;
    report_end(report, 0);
    if (report->on_ready != NULL)
        report->on_ready(report->context);
}

static void report_text(struct start_report *report, const char *text)
{
    size_t len = strlen(text);
    const char *end = len > 0 && text[len - 1] == '\n' ? "" : "\n";

    fprintf(stderr, "%s%s", text, end);
    for (size_t at = 0; at < len; at += FRAME_TEXT_MAX)
        report_send(report, CTL_FRAME_STDERR, text + at, len - at < FRAME_TEXT_MAX ? len - at : FRAME_TEXT_MAX);
    report_send(report, CTL_FRAME_STDERR, end, strlen(end));
}

void daemon_report_failure(struct start_report *report, const char *text)
{
    if (report->done)
        return;
    report_text(report, text);
    report_end(report, 1);
}

bool daemon_report_is_remote(const struct start_report *report)
{
    return report->fd >= 0;
}

void daemon_report_warning(struct start_report *report, const char *format, ...)
{
    char text[FRAME_TEXT_MAX];
    va_list arguments;

    if (report->done)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    report_text(report, text);
}

/* Whoever starts the broker may have descriptors open that it does not expect to be kept, such as a pipe whose end
 * somebody waits for. */
static void child_close_all_but(int fd)
{
    if (fd > STDERR_FILENO + 1)
        close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0);
    close_range((unsigned int)fd + 1, ~0u, 0);
}

/* Opens the console log behind stdout and stderr, and nothing behind stdin. */
static int child_redirect(const char *console_path)
{
    int null_fd = open("/dev/null", O_RDONLY);
    int log_fd = open(console_path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0640);
    bool ok = null_fd >= 0 && log_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 && dup2(log_fd, STDOUT_FILENO) >= 0 &&
              dup2(log_fd, STDERR_FILENO) >= 0;
    int err = ok ? 0 : -errno;

    if (null_fd > STDERR_FILENO)
        close(null_fd);
    if (log_fd > STDERR_FILENO)
        close(log_fd);
    return err;
}

NORETURN static void child_main(int report_fd, const char *console_path,
                                int (*run)(struct start_report *report, void *context), void *context)
{
    struct start_report *report = start_report_new(NULL, NULL);
    int status;
    int err;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit (ulimit -f) is an error of the write */
    if (report == NULL)
        _exit(1);
    report->fd = report_fd;
    setsid();
    child_close_all_but(report_fd);
    err = child_redirect(console_path);
    if (err < 0) {
        char text[PATH_MAX + 128];

        snprintf(text, sizeof(text), "Cannot write %s: %s", console_path, strerror(-err));
        daemon_report_failure(report, text);
        _exit(1);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    status = run(report, context);
    start_report_free(report);
    exit(status);
}

/* ---- the parent's side ---- */

static int console_log_path(const struct paths *paths, char out_path[PATH_MAX])
{
    return paths_join(paths->log, CONSOLE_LOG_FILE, out_path);
}

off_t console_log_size(const struct paths *paths)
{
    char path[PATH_MAX];
    struct stat status;

    if (console_log_path(paths, path) < 0 || stat(path, &status) < 0)
        return 0;
    return status.st_size;
}

void console_log_print_tail(const struct paths *paths, off_t from, FILE *out)
{
    char path[PATH_MAX];
    char text[TAIL_BYTES_MAX];
    const char *start = text;
    off_t size = console_log_size(paths);
    ssize_t len;
    int lines = 0;
    int fd;

    if (console_log_path(paths, path) < 0)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (from > size)
        from = 0;
    if (size - from > TAIL_BYTES_MAX)
        from = size - TAIL_BYTES_MAX;
    len = pread(fd, text, sizeof(text), from);
    close(fd);
    if (len <= 0)
        return;
    for (const char *at = text + len - 1; at > text; at--) {
        if (at[-1] == '\n' && ++lines == TAIL_LINES) {
            start = at;
            break;
        }
    }
    fwrite(start, 1, (size_t)(text + len - start), out);
    if (text[len - 1] != '\n')
        fputc('\n', out);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Takes in whole frames. True once EXIT has come. */
static bool parent_take(uint8_t *buffer, size_t *len, enum daemon_outcome *out_outcome)
{
    struct slice rest = slice_make(buffer, *len);
    struct ctl_frame frame;
    ssize_t taken;

    while ((taken = ctl_frame_parse(rest, &frame)) > 0) {
        if (frame.type == CTL_FRAME_EXIT) {
            *out_outcome = frame.payload.len == 1 && frame.payload.data[0] == 0 ? DAEMON_READY : DAEMON_FAILED;
            return true;
        }
        fwrite(frame.payload.data, 1, frame.payload.len, stderr);
        rest = slice_skip(rest, (size_t)taken);
    }
    memmove(buffer, rest.data, rest.len);
    *len = rest.len;
    return false;
}

static enum daemon_outcome parent_wait(int fd, unsigned int wait_s)
{
    int64_t deadline_ms = now_ms() + (int64_t)wait_s * 1000;
    uint8_t buffer[2 * TEXT_BYTES_MAX];
    size_t len = 0;
    enum daemon_outcome outcome;

    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int64_t left_ms = deadline_ms - now_ms();
        int ready = poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0);
        ssize_t more;

        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return DAEMON_PENDING;
        more = read(fd, buffer + len, sizeof(buffer) - len);
        if (more <= 0)
            return DAEMON_DIED;
        len += (size_t)more;
        if (parent_take(buffer, &len, &outcome))
            return outcome;
    }
}

static int console_log_prepare(const struct paths *paths, char out_path[PATH_MAX])
{
    char aside[PATH_MAX + 2];
    int err = paths_make_dir(paths->log);

    if (err == 0)
        err = console_log_path(paths, out_path);
    if (err < 0 || console_log_size(paths) < CONSOLE_LOG_BYTES_MAX)
        return err;
    snprintf(aside, sizeof(aside), "%s.1", out_path);
    return rename(out_path, aside) < 0 ? -errno : 0;
}

int daemon_start(const struct paths *paths, unsigned int wait_s, int (*run)(struct start_report *report, void *context),
                 void *context, enum daemon_outcome *out_outcome, pid_t *out_pid, int *out_status)
{
    char console_path[PATH_MAX];
    int fds[2];
    int err = console_log_prepare(paths, console_path);
    pid_t pid;

    if (err < 0)
        return err;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child_main(fds[1], console_path, run, context);
    }
    err = pid < 0 ? -errno : 0;
    close(fds[1]);
    if (err == 0) {
        *out_pid = pid;
        *out_status = 0;
        *out_outcome = parent_wait(fds[0], wait_s);
        if (*out_outcome == DAEMON_DIED || *out_outcome == DAEMON_FAILED)
            waitpid(pid, out_status, 0);
    }
    close(fds[0]);
    return err;
}
