/*
 * log: levels, rate limits and the writer thread.
 *
 * Who calls log_write() formats the line (log_line.c) and pushes it (log_queue.c); the writer thread pops it and gives
 * it to the handlers (log_handler.c), which write to files (log_wrap.c).
 *
 * The primary level and the handlers' levels are atomics; log_lowest_level is derived from them, so that a disabled
 * line costs one load. `control` guards opening, closing, levels and the list of handlers.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/log_handler_internal.h"
#include "base/log_line_internal.h"
#include "base/log_queue_internal.h"
#include "base/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH_LINES_MAX = 512,
    REPORT_DELAY_MS = 1000,
    CLOSE_WAIT_MS = 2000,
};

static const char *const level_names[LOG_LEVEL_COUNT] = {"debug", "info",     "notice", "warning",
                                                         "error", "critical", "alert",  "emergency"};

/* Before log_open(), stderr gets warnings and above. */
uint32_t log_lowest_level = LOG_LEVEL_WARNING;

static pthread_mutex_t control = PTHREAD_MUTEX_INITIALIZER;
static uint32_t primary_level = LOG_LEVEL_WARNING;
static int64_t chars_limit;

static uint32_t is_open;
static uint32_t stopping;
static pthread_t writer;

/* What the writer has to report: lines that did not fit, and limits that suppressed something. */
static uint64_t dropped_count;
static uint32_t report_pending;
static struct log_limit *limits;

/* log_flush() waits here; `flush_lock` guards written_position. */
static pthread_mutex_t flush_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t flush_done;
static pthread_once_t flush_once = PTHREAD_ONCE_INIT;
static uint64_t written_position;

static void flush_init(void)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&flush_done, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* A line of the writer itself, past the queue. */
PRINTF_LIKE(1, 2)
static void gather_own(const char *format, ...)
{
    struct log_line *line;
    va_list arguments;

    if (!log_enabled(LOG_LEVEL_WARNING))
        return;
    va_start(arguments, format);
    line = log_line_make(LOG_LEVEL_WARNING, slice_make(NULL, 0), NULL, chars_limit, format, arguments);
    va_end(arguments);
    if (line != NULL)
        log_handlers_gather(line);
    free(line);
}

/* `broker/channel/publish.c:120`: the compiler's name of a file begins with the way to the sources. */
static const char *place_in_sources(const char *place)
{
    const char *shown = place;
    const char *found;

    while ((found = strstr(shown, "src/")) != NULL)
        shown = found + strlen("src/");
    return shown;
}

/* Says what was left out. */
static void report(void)
{
    uint64_t dropped;

    __atomic_store_n(&report_pending, 0, __ATOMIC_SEQ_CST);
    dropped = __atomic_exchange_n(&dropped_count, 0, __ATOMIC_RELAXED);
    if (dropped > 0)
        gather_own("[Log] %" PRIu64 " lines dropped: they came faster than they could be written", dropped);
    for (struct log_limit *limit = __atomic_load_n(&limits, __ATOMIC_ACQUIRE); limit != NULL; limit = limit->next) {
        uint64_t suppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_SEQ_CST);

        if (suppressed > 0)
            gather_own("[Log] %" PRIu64 " more lines from %s suppressed: at most %" PRIu32 " a second are written",
                       suppressed, place_in_sources(limit->place), limit->per_second);
    }
}

/* Pops and writes up to a batch of lines; returns how many there were. */
static uint32_t write_batch(void)
{
    uint32_t count = 0;

    while (count < BATCH_LINES_MAX) {
        struct log_line *line = log_queue_pop();

        if (line == NULL)
            break;
        log_handlers_gather(line);
        free(line);
        count++;
    }
    return count;
}

static void finish_batch(void)
{
    log_handlers_flush();
    pthread_mutex_lock(&flush_lock);
    written_position = log_queue_popped();
    pthread_cond_broadcast(&flush_done);
    pthread_mutex_unlock(&flush_lock);
}

/* Reports when something has been pending for a second, or at the end. Returns how long the writer may sleep. */
static uint32_t report_when_due(uint64_t *inout_due_ms, bool last)
{
    uint64_t now_ms = clock_mono_ms();

    if (__atomic_load_n(&report_pending, __ATOMIC_SEQ_CST) == 0)
        return UINT32_MAX;
    if (*inout_due_ms == 0)
        *inout_due_ms = now_ms + REPORT_DELAY_MS;
    if (!last && now_ms < *inout_due_ms)
        return (uint32_t)(*inout_due_ms - now_ms);
    report();
    *inout_due_ms = 0;
    return UINT32_MAX;
}

static void *writer_run(void *unused)
{
    uint64_t report_due_ms = 0;

    (void)unused;
    for (;;) {
        /* Read before the queue: what was pushed before log_close() is then seen as well. */
        bool last = __atomic_load_n(&stopping, __ATOMIC_ACQUIRE) != 0;
        uint32_t count = write_batch();
        uint32_t sleep_ms = report_when_due(&report_due_ms, last && count == 0);

        finish_batch();
        if (last && count == 0)
            return NULL;
        if (count == 0)
            log_queue_wait(sleep_ms);
    }
}

/* Something is to be reported: the writer wakes, and reports a second later. */
static void ask_for_report(void)
{
    if (__atomic_exchange_n(&report_pending, 1, __ATOMIC_SEQ_CST) == 0)
        log_queue_wake();
}

static void push_line_take(struct log_line *line)
{
    if (line != NULL && log_queue_push_take(line))
        return;
    free(line);
    metric_add(METRIC_LOG_LINES_DROPPED, 1);
    __atomic_fetch_add(&dropped_count, 1, __ATOMIC_RELAXED);
    ask_for_report();
}

PRINTF_LIKE(4, 0)
static void emit(enum log_level level, struct slice client_id, const char *peer, const char *format, va_list arguments)
{
    struct log_line *line = log_line_make(level, client_id, peer, chars_limit, format, arguments);

    if (__atomic_load_n(&is_open, __ATOMIC_ACQUIRE) != 0) {
        push_line_take(line);
        return;
    }
    if (line != NULL)
        (void)log_write_fd(STDERR_FILENO, line->text, line->length);
    free(line);
}

/* Lock held. */
static void update_lowest(void)
{
    uint32_t lowest = is_open != 0 ? log_handlers_lowest() : LOG_LEVEL_WARNING;

    if (lowest < primary_level)
        lowest = primary_level;
    __atomic_store_n(&log_lowest_level, lowest, __ATOMIC_RELAXED);
}

/* The writer takes no signals: they are the control thread's, and a closed pipe must be an error, not the end. */
static int start_writer(void)
{
    sigset_t all;
    sigset_t before;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&writer, NULL, writer_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0)
        return -err;
    pthread_setname_np(writer, "log");
    return 0;
}

int log_open(const struct log_options *options)
{
    int err = -EBUSY;

    pthread_once(&flush_once, flush_init);
    pthread_mutex_lock(&control);
    if (is_open != 0)
        goto out;
    err = log_handlers_open(options);
    if (err < 0)
        goto out;
    chars_limit = options->chars_limit;
    stopping = 0;
    primary_level = (uint32_t)options->level;
    err = start_writer();
    if (err < 0) {
        log_handlers_close();
        goto out;
    }
    __atomic_store_n(&is_open, 1, __ATOMIC_RELEASE);
    update_lowest();
out:
    pthread_mutex_unlock(&control);
    return err;
}

static void deadline_after(uint32_t timeout_ms, clockid_t clock, struct timespec *out_deadline)
{
    clock_gettime(clock, out_deadline);
    out_deadline->tv_sec += timeout_ms / 1000U;
    out_deadline->tv_nsec += (long)(timeout_ms % 1000U) * 1000000L;
    if (out_deadline->tv_nsec >= 1000000000L) {
        out_deadline->tv_sec++;
        out_deadline->tv_nsec -= 1000000000L;
    }
}

void log_close(void)
{
    struct timespec deadline;

    pthread_mutex_lock(&control);
    if (is_open == 0)
        goto out;
    __atomic_store_n(&is_open, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&stopping, 1, __ATOMIC_RELEASE);
    log_queue_wake();
    deadline_after(CLOSE_WAIT_MS, CLOCK_REALTIME, &deadline);
    /* A writer that hangs in a write (a stopped terminal, a dead network disk) keeps its handlers: the process ends
     * anyhow. */
    if (pthread_timedjoin_np(writer, NULL, &deadline) == 0) {
        log_handlers_close();
    } else {
        pthread_detach(writer);
        log_handlers_abandon();
    }
    __atomic_store_n(&log_lowest_level, LOG_LEVEL_WARNING, __ATOMIC_RELAXED);
out:
    pthread_mutex_unlock(&control);
}

int log_flush(uint32_t timeout_ms)
{
    uint64_t position = log_queue_pushed();
    struct timespec deadline;
    int err = 0;

    if (__atomic_load_n(&is_open, __ATOMIC_ACQUIRE) == 0)
        return 0;
    deadline_after(timeout_ms, CLOCK_MONOTONIC, &deadline);
    pthread_mutex_lock(&flush_lock);
    while (written_position < position && err == 0)
        err = pthread_cond_timedwait(&flush_done, &flush_lock, &deadline);
    pthread_mutex_unlock(&flush_lock);
    return err == 0 ? 0 : -ETIMEDOUT;
}

bool log_limit_pass(struct log_limit *limit)
{
    uint64_t now_s = (clock_mono_ms() / 1000U) & UINT32_MAX;
    uint64_t window = __atomic_load_n(&limit->window, __ATOMIC_RELAXED);
    uint64_t next;

    do {
        if (window >> 32 != now_s)
            next = now_s << 32 | 1U;
        else if ((uint32_t)window < limit->per_second)
            next = window + 1;
        else
            goto suppress;
    } while (!__atomic_compare_exchange_n(&limit->window, &window, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
suppress:
    metric_add(METRIC_LOG_LINES_SUPPRESSED, 1);
    if (__atomic_load_n(&limit->listed, __ATOMIC_RELAXED) == 0 &&
        __atomic_exchange_n(&limit->listed, 1, __ATOMIC_RELAXED) == 0) {
        limit->next = __atomic_load_n(&limits, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&limits, &limit->next, limit, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            continue;
    }
    if (__atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_SEQ_CST) == 0)
        ask_for_report();
    return false;
}

void log_write_line(enum log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    emit(level, slice_make(NULL, 0), NULL, format, arguments);
    va_end(arguments);
}

void log_client_line(enum log_level level, struct slice client_id, const char *peer, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    emit(level, client_id, peer, format, arguments);
    va_end(arguments);
}

void log_fatal(const char *format, ...)
{
    va_list arguments;

    fputs("emqx: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    if (__atomic_load_n(&is_open, __ATOMIC_ACQUIRE) == 0 || !log_enabled(LOG_LEVEL_CRITICAL))
        return;
    va_start(arguments, format);
    emit(LOG_LEVEL_CRITICAL, slice_make(NULL, 0), NULL, format, arguments);
    va_end(arguments);
}

const char *log_level_name(enum log_level level)
{
    ASSERT((uint32_t)level < LOG_LEVEL_COUNT);
    return level_names[level];
}

int log_level_parse(struct slice name, enum log_level *out_level)
{
    if (slice_equal(name, SLICE_LITERAL("all"))) {
        *out_level = LOG_LEVEL_DEBUG;
        return 0;
    }
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (slice_equal(name, slice_from_string(level_names[level]))) {
            *out_level = (enum log_level)level;
            return 0;
        }
    }
    return -EINVAL;
}

enum log_level log_primary_level(void)
{
    return (enum log_level)__atomic_load_n(&primary_level, __ATOMIC_RELAXED);
}

void log_set_primary_level(enum log_level level)
{
    pthread_mutex_lock(&control);
    __atomic_store_n(&primary_level, (uint32_t)level, __ATOMIC_RELAXED);
    update_lowest();
    pthread_mutex_unlock(&control);
}

void log_set_level(enum log_level level)
{
    pthread_mutex_lock(&control);
    __atomic_store_n(&primary_level, (uint32_t)level, __ATOMIC_RELAXED);
    log_handlers_set_level(level);
    update_lowest();
    pthread_mutex_unlock(&control);
}

int log_set_handler_level(struct slice handler_id, enum log_level level)
{
    int err;

    pthread_mutex_lock(&control);
    err = log_handlers_set_level_of(handler_id, level);
    update_lowest();
    pthread_mutex_unlock(&control);
    return err;
}

void log_visit_handlers(void (*visit)(const char *handler_id, enum log_level level, const char *destination,
                                      void *context),
                        void *context)
{
    pthread_mutex_lock(&control);
    log_handlers_visit(visit, context);
    pthread_mutex_unlock(&control);
}
