/*
 * log: lines for people, to the console and to files that rotate in a ring.
 *
 * A line is `YYYY-MM-DD hh:mm:ss.mmm [level] client@peer text`. The thread that has something to say formats the line
 * and puts it into a bounded queue; one writer thread does the writing, so that a slow disk or terminal holds up
 * nobody. When the queue is full, lines are dropped and counted (metric log.lines.dropped), and a line says how many
 * within a second. Control characters and bytes that are not UTF-8 are written as `\xNN`, so that nothing a
 * client sends can forge a line or confuse a terminal.
 *
 * What a client can cause again and again goes through log_client_limited(). Before log_open() and after log_close(),
 * lines go to stderr at once.
 * Thread: any, unless a function says otherwise.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_CRITICAL,
    LOG_LEVEL_ALERT,
    LOG_LEVEL_EMERGENCY,
    LOG_LEVEL_COUNT
};

/* Bytes of the longest line whatever `chars_limit` says; what is longer is cut and ends in `...`. */
#define LOG_LINE_BYTES_MAX 32768U
/* Lines a second from one call of log_client_limited(). */
#define LOG_LIMIT_PER_SECOND 10U

/* What the configuration says (log.*). Texts are borrowed for the call. */
struct log_options {
    bool to_console; /* stdout */
    bool to_file;
    enum log_level level;                     /* primary level, and that of the console and the main file */
    const char *dir;                          /* directory of the files; made when missing */
    const char *file;                         /* main file, in `dir` unless absolute */
    const char *level_files[LOG_LEVEL_COUNT]; /* files that get the lines of that level and above; NULL: none */
    int64_t chars_limit;     /* characters of one line at most; 0 or less: LOG_LINE_BYTES_MAX bytes only */
    uint64_t rotation_bytes; /* size of one file before the next is begun */
    uint32_t rotation_count; /* files in the ring, 1..1000 */
};

/* Opens the handlers and starts the writer thread; lines from now on go there. On failure the reason has gone to
 * stderr. -EBUSY: it is open; -EINVAL, -ENOMEM or the -errno of a file. Thread: start-up, after the process became a
 * daemon. */
MUST_USE int log_open(const struct log_options *options);

/* Writes what is queued, waits for at most two seconds, ends the thread and closes the files. Thread: control, when no
 * worker runs any more. Not open is fine. */
void log_close(void);

/* Waits until the lines queued before the call are written, at most `timeout_ms`. -ETIMEDOUT. Thread: not a worker. */
int log_flush(uint32_t timeout_ms);

/* The lowest level anybody listens to; for log_enabled() only. */
extern uint32_t log_lowest_level;

/* Would a line of this level be written anywhere? One relaxed load. */
static inline bool log_enabled(enum log_level level)
{
    return UNLIKELY((uint32_t)level >= __atomic_load_n(&log_lowest_level, __ATOMIC_RELAXED));
}

/* A line of the broker: log_write(LOG_LEVEL_WARNING, "[Router] ...", ...). The arguments are evaluated only when the
 * level is on. A slice is printed with "%.*s" and SLICE_ARG(). */
#define log_write(level, ...)                                                                                          \
    do {                                                                                                               \
        if (log_enabled(level))                                                                                        \
            log_write_line((level), __VA_ARGS__);                                                                      \
    } while (0)

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

/* A line about a client: `client_id` (a slice, empty when not known yet) and `peer` (`ip:port`, NULL or "" when
 * unknown) stand before the text. */
#define log_client(level, client_id, peer, ...)                                                                        \
    do {                                                                                                               \
        if (log_enabled(level))                                                                                        \
            log_client_line((level), (client_id), (peer), __VA_ARGS__);                                                \
    } while (0)

/* The same for what a client can cause at will: at most LOG_LIMIT_PER_SECOND lines a second from this place in the
 * code; then one line says how many were left out. */
#define log_client_limited(level, client_id, peer, ...)                                                                \
    do {                                                                                                               \
        static struct log_limit limit_here_ = LOG_LIMIT_INIT(LOG_LIMIT_PER_SECOND);                                    \
        if (log_enabled(level) && log_limit_pass(&limit_here_))                                                        \
            log_client_line((level), (client_id), (peer), __VA_ARGS__);                                                \
    } while (0)

/* How often something may be said; static, since the writer thread reads it for ever after its first suppression. */
struct log_limit {
    const char *place; /* file and line */
    uint32_t per_second;
    uint32_t listed;        /* 1: in the writer's list */
    uint64_t window;        /* second (upper 32 bits) and lines passed in it */
    uint64_t suppressed;    /* since the writer last said so */
    struct log_limit *next; /* in the writer's list */
};

#define LOG_STRINGIFY_(text) #text
#define LOG_STRINGIFY(text) LOG_STRINGIFY_(text)
#define LOG_LIMIT_INIT(lines_per_second)                                                                               \
    {                                                                                                                  \
        .place = __FILE__ ":" LOG_STRINGIFY(__LINE__), .per_second = (lines_per_second)                                \
    }

/* May another line go now? If not it is counted, and a second later the writer says how many were. `limit` has static
 * storage. */
bool log_limit_pass(struct log_limit *limit);

/* The functions behind the macros: they write without looking at log_enabled() again. */
void log_write_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
void log_client_line(enum log_level level, struct slice client_id, const char *peer, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* For a start that fails: `emqx: text` to stderr at once, and, if the log is open, a critical line to its files. */
void log_fatal(const char *format, ...) PRINTF_LIKE(1, 2);

/* `debug` .. `emergency`. */
const char *log_level_name(enum log_level level);
/* The level of that name; `all` is debug. -EINVAL. */
MUST_USE int log_level_parse(struct slice name, enum log_level *out_level);

/* The primary level: lines below it go nowhere. */
enum log_level log_primary_level(void);
void log_set_primary_level(enum log_level level);
/* The primary level and those of all handlers. Lasts until log_close(). */
void log_set_level(enum log_level level);
/* The level of one handler: `default` (console), `file`, `file_for_<level>`. It holds for lines already queued too.
 * -ENOENT. */
MUST_USE int log_set_handler_level(struct slice handler_id, enum log_level level);

/* Calls `visit` for each handler; `destination` is `console` or the path of a file. */
void log_visit_handlers(void (*visit)(const char *handler_id, enum log_level level, const char *destination,
                                      void *context),
                        void *context);

#endif
