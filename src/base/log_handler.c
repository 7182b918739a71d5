/*
 * log_handler: the places lines go to.
 *
 * The handlers and what they hold change only while no writer runs. The writer alone uses their batches and files; the
 * levels are atomics that the control thread changes and the writer reads.
 */
#include "base/log_handler_internal.h"

#include "base/clock.h"
#include "base/log_wrap_internal.h"
#include "base/metrics.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HANDLER_COUNT_MAX = 2 + LOG_LEVEL_COUNT,
    BATCH_BYTES = 2 * (int)LOG_LINE_BYTES_MAX,
    COMPLAINT_INTERVAL_MS = 60000,
    CONSOLE_WAIT_MS = 1000,
};

struct handler {
    char id[32];
    uint32_t level;
    bool is_console;
    struct log_wrap wrap; /* unless console */
    char *batch;          /* BATCH_BYTES */
    size_t batch_length;
    uint32_t batch_lines;
    uint64_t complained_ms; /* when stderr last heard of a failure; 0: never */
};

static struct handler handlers[HANDLER_COUNT_MAX];
static uint32_t handler_count;

static void handler_flush(struct handler *handler)
{
    int err;

    if (handler->batch_length == 0)
        return;
    if (handler->is_console)
        err = log_write_fd(STDOUT_FILENO, handler->batch, handler->batch_length);
    else
        err = log_wrap_write(&handler->wrap, handler->batch, handler->batch_length);
    if (err < 0) {
        uint64_t now_ms = clock_mono_ms();

        metric_add(METRIC_LOG_LINES_DROPPED, handler->batch_lines);
        if (handler->complained_ms == 0 || now_ms - handler->complained_ms >= COMPLAINT_INTERVAL_MS) {
            handler->complained_ms = now_ms;
            fprintf(stderr, "emqx: cannot write the log %s (%s), its lines are lost\n",
                    handler->is_console ? "to stdout" : handler->wrap.path, strerror(-err));
        }
    }
    handler->batch_length = 0;
    handler->batch_lines = 0;
}

/* A batch never crosses the end of a ring file. */
static bool handler_fits(const struct handler *handler, const struct log_line *line)
{
    if (handler->batch_length + line->length > BATCH_BYTES)
        return false;
    return handler->is_console || handler->batch_length + line->length <= log_wrap_room(&handler->wrap);
}

static int make_directory(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    if (length == 0)
        return 0;
    if (length >= sizeof(part))
        return -ENAMETOOLONG;
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0750) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

static int add_handler(const char *id, enum log_level level, struct handler **out_handler)
{
    struct handler *handler = &handlers[handler_count];

    *handler = (struct handler){.level = (uint32_t)level, .wrap = {.fd = -1}};
    snprintf(handler->id, sizeof(handler->id), "%s", id);
    handler->batch = malloc(BATCH_BYTES);
    if (handler->batch == NULL)
        return -ENOMEM;
    handler_count++;
    *out_handler = handler;
    return 0;
}

static int add_file_handler(const struct log_options *options, const char *id, enum log_level level, const char *file)
{
    char path[PATH_MAX];
    struct handler *handler;
    int length;
    int err;

    if (file[0] == '/' || options->dir == NULL || options->dir[0] == '\0')
        length = snprintf(path, sizeof(path), "%s", file);
    else
        length = snprintf(path, sizeof(path), "%s/%s", options->dir, file);
    if (length < 0 || length >= (int)sizeof(path)) {
        log_fatal("the path of the log file %s is too long", file);
        return -ENAMETOOLONG;
    }
    err = add_handler(id, level, &handler);
    if (err == 0)
        err = log_wrap_open(&handler->wrap, path, options->rotation_bytes, options->rotation_count);
    if (err < 0)
        log_fatal("cannot open the log file %s.1: %s", path, strerror(-err));
    return err;
}

static int add_handlers(const struct log_options *options)
{
    struct handler *console;
    int err = 0;

    if (options->to_console) {
        err = add_handler("default", options->level, &console);
        if (err < 0)
            return err;
        console->is_console = true;
    }
    if (!options->to_file)
        return 0;
    err = make_directory(options->dir == NULL ? "" : options->dir);
    if (err < 0) {
        log_fatal("cannot make the log directory %s: %s", options->dir, strerror(-err));
        return err;
    }
    err = add_file_handler(options, "file", options->level, options->file);
    for (int level = 0; err == 0 && level < LOG_LEVEL_COUNT; level++) {
        char id[32];

        if (options->level_files[level] == NULL)
            continue;
        snprintf(id, sizeof(id), "file_for_%s", log_level_name((enum log_level)level));
        err = add_file_handler(options, id, (enum log_level)level, options->level_files[level]);
    }
    return err;
}

int log_handlers_open(const struct log_options *options)
{
    int err = add_handlers(options);

    if (err < 0)
        log_handlers_close();
    return err;
}

void log_handlers_close(void)
{
    for (uint32_t i = 0; i < handler_count; i++) {
        log_wrap_close(&handlers[i].wrap);
        free(handlers[i].batch);
    }
    handler_count = 0;
}

void log_handlers_abandon(void)
{
    handler_count = 0;
}

void log_handlers_gather(const struct log_line *line)
{
    for (uint32_t i = 0; i < handler_count; i++) {
        struct handler *handler = &handlers[i];

        if (line->level < __atomic_load_n(&handler->level, __ATOMIC_RELAXED))
            continue;
        if (!handler_fits(handler, line))
            handler_flush(handler);
        memcpy(handler->batch + handler->batch_length, line->text, line->length);
        handler->batch_length += line->length;
        handler->batch_lines++;
    }
}

void log_handlers_flush(void)
{
    for (uint32_t i = 0; i < handler_count; i++)
        handler_flush(&handlers[i]);
}

uint32_t log_handlers_lowest(void)
{
    uint32_t lowest = LOG_LEVEL_COUNT;

    for (uint32_t i = 0; i < handler_count; i++) {
        if (handlers[i].level < lowest)
            lowest = handlers[i].level;
    }
    return lowest;
}

void log_handlers_set_level(enum log_level level)
{
    for (uint32_t i = 0; i < handler_count; i++)
        __atomic_store_n(&handlers[i].level, (uint32_t)level, __ATOMIC_RELAXED);
}

int log_handlers_set_level_of(struct slice handler_id, enum log_level level)
{
    for (uint32_t i = 0; i < handler_count; i++) {
        if (slice_equal(handler_id, slice_from_string(handlers[i].id))) {
            __atomic_store_n(&handlers[i].level, (uint32_t)level, __ATOMIC_RELAXED);
            return 0;
        }
    }
    return -ENOENT;
}

void log_handlers_visit(void (*visit)(const char *handler_id, enum log_level level, const char *destination,
                                      void *context),
                        void *context)
{
    for (uint32_t i = 0; i < handler_count; i++)
        visit(handlers[i].id, (enum log_level)handlers[i].level,
              handlers[i].is_console ? "console" : handlers[i].wrap.path, context);
}

int log_write_fd(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);

        if (written >= 0) {
            text += written;
            length -= (size_t)written;
        } else if (errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};

            if (poll(&ready, 1, CONSOLE_WAIT_MS) <= 0)
                return -EAGAIN;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}
