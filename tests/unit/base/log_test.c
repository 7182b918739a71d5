/*
 * Behaviour of the log: what stands in the files, on stdout and on stderr.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

static char directory[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/emqc_log_test.XXXXXX");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    DIR *listing = opendir(directory);
    const struct dirent *entry;

    (void)state;
    log_close();
    while (listing != NULL && (entry = readdir(listing)) != NULL)
        unlinkat(dirfd(listing), entry->d_name, 0);
    if (listing != NULL)
        closedir(listing);
    return rmdir(directory);
}

static struct log_options file_options(void)
{
    return (struct log_options){.to_file = true,
                                .level = LOG_LEVEL_INFO,
                                .dir = directory,
                                .file = "emqx.log",
                                .chars_limit = -1,
                                .rotation_bytes = 10 << 20,
                                .rotation_count = 5};
}

static void open_log(const struct log_options *options)
{
    assert_int_equal(log_open(options), 0);
}

static void read_fully(int fd, char **out_text)
{
    size_t length = 0;
    size_t capacity = 4096;
    char *text = malloc(capacity);
    ssize_t count;

    assert_non_null(text);
    while ((count = read(fd, text + length, capacity - length - 1)) > 0) {
        length += (size_t)count;
        if (capacity - length < 1024)
            text = realloc(text, capacity *= 2);
        assert_non_null(text);
    }
    text[length] = '\0';
    *out_text = text;
}

/* The content of a file of the directory; NULL when it does not exist. The caller frees it. */
static char *read_file(const char *name)
{
    char path[128];
    char *text;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    read_fully(fd, &text);
    close(fd);
    return text;
}

static void assert_file(const char *name, const char *expected)
{
    char *text = read_file(name);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match \"%s\"", text, pattern);
    regfree(&regex);
}

/* What stands behind the time and level in the only line of the log; closes the log. */
static char *only_line(void)
{
    enum { TIME_LENGTH = 24 };
    char *text;
    char *body;

    log_close();
    text = read_file("emqx.log.1");
    assert_non_null(text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    body = strdup(strchr(text + TIME_LENGTH, ' ') + 1);
    body[strlen(body) - 1] = '\0';
    free(text);
    return body;
}

#define TIME "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}"

static void writes_time_level_client_and_text(void **state)
{
    struct log_options options = file_options();
    char *text;

    (void)state;
    open_log(&options);
    log_notice("[Broker] started in %d ms", 12);
    log_client(LOG_LEVEL_WARNING, SLICE_LITERAL("sensor1"), "10.0.0.5:51234", "[Channel] both");
    log_client(LOG_LEVEL_ERROR, SLICE_LITERAL("sensor1"), NULL, "[Session] id only");
    log_client(LOG_LEVEL_INFO, SLICE_LITERAL(""), "10.0.0.5:51234", "[Channel] peer only");
    log_close();
    text = read_file("emqx.log.1");
    assert_matches(text, "^" TIME " \\[notice\\] \\[Broker\\] started in 12 ms\n" TIME
                         " \\[warning\\] sensor1@10\\.0\\.0\\.5:51234 \\[Channel\\] both\n" TIME
                         " \\[error\\] sensor1 \\[Session\\] id only\n" TIME
                         " \\[info\\] 10\\.0\\.0\\.5:51234 \\[Channel\\] peer only\n$");
    free(text);
}

static void escapes_what_could_forge_a_line(void **state)
{
    struct log_options options = file_options();
    char *body;

    (void)state;
    open_log(&options);
    log_client(LOG_LEVEL_ERROR, SLICE_LITERAL("a\nb\0c"), "1.2.3.4:5", "%s",
               "tab\t esc\x1B[31m del\x7F \xC2\x9B caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 bad\xFF\xC3 over\xC0\xAF "
               "sur\xED\xA0\x80 end\xF4\x90\x80\x80 cut\xE2\x82");
    body = only_line();
    assert_string_equal(body, "a\\nb\\x00c@1.2.3.4:5 tab\\t esc\\x1B[31m del\\x7F \\xC2\\x9B caf\xC3\xA9 \xE2\x82\xAC "
                              "\xF0\x9F\x98\x80 bad\\xFF\\xC3 over\\xC0\\xAF sur\\xED\\xA0\\x80 "
                              "end\\xF4\\x90\\x80\\x80 cut\\xE2\\x82");
    free(body);
}

static void cuts_a_line_at_the_limit_of_characters(void **state)
{
    struct log_options options = file_options();
    char *text;

    (void)state;
    options.chars_limit = 50;
    open_log(&options);
    /* The head "YYYY-MM-DD hh:mm:ss.mmm [error] " has 32 characters: 18 are left. */
    log_error("%s", "123456789012345678");
    log_error("%s", "1234567890123456789");
    log_error("%s", "123456789012345\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC");
    log_error("%s", "12345678901234\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC");
    log_error("%s", "1234567890123\n\n\n\n");
    log_close();
    text = read_file("emqx.log.1");
    assert_matches(
        text, "^" TIME " \\[error\\] 123456789012345678\n" TIME " \\[error\\] 123456789012345\\.\\.\\.\n" TIME
              " \\[error\\] 123456789012345\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\n" TIME
              " \\[error\\] 12345678901234\xE2\x82\xAC\\.\\.\\.\n" TIME " \\[error\\] 1234567890123\\\\n\\.\\.\\.\n$");
    free(text);
}

static void cuts_a_line_that_no_limit_was_set_for(void **state)
{
    struct log_options options = file_options();
    size_t length = 3 * (size_t)LOG_LINE_BYTES_MAX;
    char *huge = malloc(length + 1);
    char *text;

    (void)state;
    assert_non_null(huge);
    memset(huge, 'x', length);
    huge[length] = '\0';
    open_log(&options);
    log_error("%s", huge);
    log_client(LOG_LEVEL_ERROR, slice_from_string(huge), "1.2.3.4:5", "after");
    log_close();
    text = read_file("emqx.log.1");
    assert_int_equal(strchr(text, '\n') - text, LOG_LINE_BYTES_MAX - 1);
    assert_memory_equal(strchr(text, '\n') - 4, "x...", 4);
    assert_matches(strchr(text, '\n') + 1, "^" TIME " \\[error\\] x{250}x{6}\\.\\.\\.@1\\.2\\.3\\.4:5 after\n$");
    free(text);
    free(huge);
}

static uint32_t evaluated_count;

static int evaluate(void)
{
    evaluated_count++;
    return 1;
}

static void does_not_evaluate_lines_below_the_level(void **state)
{
    struct log_options options = file_options();

    (void)state;
    evaluated_count = 0;
    open_log(&options);
    log_debug("%d", evaluate());
    log_client(LOG_LEVEL_DEBUG, SLICE_LITERAL("c"), "", "%d", evaluate());
    assert_int_equal(evaluated_count, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("%d", evaluate());
    assert_int_equal(evaluated_count, 1);
    log_set_primary_level(LOG_LEVEL_ERROR);
    assert_int_equal(log_primary_level(), LOG_LEVEL_ERROR);
    log_warning("%d", evaluate());
    assert_int_equal(evaluated_count, 1);
}

static void gives_each_handler_the_lines_of_its_level(void **state)
{
    struct log_options options = file_options();
    char *text;

    (void)state;
    options.level_files[LOG_LEVEL_ERROR] = "error.log";
    open_log(&options);
    log_info("one");
    log_error("two");
    assert_int_equal(log_flush(10000), 0);
    assert_int_equal(log_set_handler_level(SLICE_LITERAL("file"), LOG_LEVEL_CRITICAL), 0);
    assert_int_equal(log_set_handler_level(SLICE_LITERAL("nope"), LOG_LEVEL_ERROR), -ENOENT);
    assert_false(log_enabled(LOG_LEVEL_WARNING));
    log_error("three");
    log_close();
    text = read_file("emqx.log.1");
    assert_matches(text, "^[^\n]* one\n[^\n]* two\n$");
    free(text);
    text = read_file("error.log.1");
    assert_matches(text, "^[^\n]* two\n[^\n]* three\n$");
    free(text);
}

static void list_handler(const char *handler_id, enum log_level level, const char *destination, void *context)
{
    char *text = context;

    sprintf(text + strlen(text), "%s %s %s\n", handler_id, log_level_name(level),
            destination + (strncmp(destination, directory, strlen(directory)) == 0 ? strlen(directory) : 0));
}

static void lists_its_handlers(void **state)
{
    struct log_options options = file_options();
    char text[256] = "";

    (void)state;
    options.to_console = true;
    options.level_files[LOG_LEVEL_INFO] = "info.log";
    open_log(&options);
    assert_int_equal(log_set_handler_level(SLICE_LITERAL("default"), LOG_LEVEL_ALERT), 0);
    log_visit_handlers(list_handler, text);
    assert_string_equal(text, "default alert console\nfile info /emqx.log\nfile_for_info info /info.log\n");
}

static void parses_level_names(void **state)
{
    enum log_level level;

    (void)state;
    for (int i = 0; i < LOG_LEVEL_COUNT; i++) {
        assert_int_equal(log_level_parse(slice_from_string(log_level_name((enum log_level)i)), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse(SLICE_LITERAL("all"), &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse(SLICE_LITERAL("debugx"), &level), -EINVAL);
    assert_int_equal(log_level_parse(SLICE_LITERAL(""), &level), -EINVAL);
}

static void writes_files_in_a_ring(void **state)
{
    struct log_options options = file_options();
    char *text;

    (void)state;
    options.rotation_bytes = 100; /* two lines of 33 + 10 bytes each */
    options.rotation_count = 3;
    open_log(&options);
    for (int i = 0; i < 9; i++)
        log_error("line %04d.", i);
    log_close();
    assert_file("emqx.log.siz", "100 3\n");
    assert_file("emqx.log.idx", "2\n");
    text = read_file("emqx.log.1");
    assert_matches(text, "^[^\n]* line 0006\\.\n[^\n]* line 0007\\.\n$");
    free(text);
    text = read_file("emqx.log.2");
    assert_matches(text, "^[^\n]* line 0008\\.\n$");
    free(text);
    text = read_file("emqx.log.3");
    assert_matches(text, "^[^\n]* line 0004\\.\n[^\n]* line 0005\\.\n$");
    free(text);
}

static void goes_on_where_the_last_run_ended(void **state)
{
    struct log_options options = file_options();
    char path[128];
    char *text;

    (void)state;
    options.rotation_bytes = 100;
    options.rotation_count = 3;
    open_log(&options);
    for (int i = 0; i < 3; i++)
        log_error("line %04d.", i);
    log_close();
    open_log(&options);
    log_error("line 0003.");
    log_close();
    text = read_file("emqx.log.2");
    assert_matches(text, "^[^\n]* line 0002\\.\n[^\n]* line 0003\\.\n$");
    free(text);
    /* Without the note, the newest file is gone on with. */
    snprintf(path, sizeof(path), "%s/emqx.log.idx", directory);
    assert_int_equal(unlink(path), 0);
    open_log(&options);
    log_close();
    assert_file("emqx.log.idx", "2\n");
}

static void removes_the_files_beyond_a_lowered_count(void **state)
{
    struct log_options options = file_options();

    (void)state;
    options.rotation_bytes = 50;
    options.rotation_count = 4;
    open_log(&options);
    for (int i = 0; i < 4; i++)
        log_error("line %04d.", i);
    log_close();
    assert_file("emqx.log.idx", "4\n");
    options.rotation_count = 2;
    open_log(&options);
    log_close();
    assert_null(read_file("emqx.log.3"));
    assert_null(read_file("emqx.log.4"));
    assert_file("emqx.log.siz", "50 2\n");
}

static void log_a_hostile_client(void)
{
    log_client_limited(LOG_LEVEL_WARNING, SLICE_LITERAL("evil"), "1.2.3.4:5", "[Channel] malformed packet");
}

static void suppresses_a_flood_and_says_how_much(void **state)
{
    enum { TRIES = 100000 };
    struct log_options options = file_options();
    uint64_t before = metrics_read(METRIC_LOG_LINES_SUPPRESSED);
    uint64_t suppressed;
    uint64_t seconds;
    uint64_t reported = 0;
    uint64_t written = 0;
    char *text;
    char *rest;
    char *line;

    (void)state;
    open_log(&options);
    seconds = clock_mono_ms() / 1000;
    for (int i = 0; i < TRIES; i++)
        log_a_hostile_client();
    seconds = clock_mono_ms() / 1000 - seconds + 1; /* begun ones */
    suppressed = metrics_read(METRIC_LOG_LINES_SUPPRESSED) - before;
    log_close();
    text = read_file("emqx.log.1");
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        const char *report = strstr(line, "[Log] ");

        if (report != NULL) {
            assert_matches(report,
                           "^\\[Log\\] [0-9]+ more lines from [^ ]*log_test\\.c:[0-9]+ suppressed: at most 10 a "
                           "second are written$");
            reported += strtoull(report + 6, NULL, 10);
        } else {
            assert_non_null(strstr(line, "evil@1.2.3.4:5 [Channel] malformed packet"));
            written++;
        }
    }
    free(text);
    assert_true(suppressed > 0);
    assert_int_equal(reported, suppressed);
    assert_int_equal(written + suppressed, TRIES);
    assert_in_range(written, LOG_LIMIT_PER_SECOND, LOG_LIMIT_PER_SECOND * seconds);
}

/* Replaces a descriptor by the writing end of a pipe. Returns the reading end. */
static int capture(int fd, int *out_saved)
{
    int ends[2];

    fflush(NULL);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    *out_saved = dup(fd);
    assert_true(*out_saved >= 0);
    assert_true(dup2(ends[1], fd) >= 0);
    close(ends[1]);
    return ends[0];
}

static void release(int fd, int saved)
{
    fflush(NULL);
    dup2(saved, fd);
    close(saved);
}

static void *read_in_a_thread(void *pointer)
{
    int fd = *(int *)pointer;
    char *text;

    read_fully(fd, &text);
    return text;
}

static void drops_lines_rather_than_wait_for_a_terminal(void **state)
{
    enum { TRIES = 20000 };
    struct log_options options = {.to_console = true, .level = LOG_LEVEL_INFO, .rotation_count = 1};
    uint64_t before = metrics_read(METRIC_LOG_LINES_DROPPED);
    uint64_t dropped;
    uint64_t reported = 0;
    uint64_t written = 0;
    pthread_t reader;
    void *text;
    char *rest;
    char *line;
    int saved;
    int fd = capture(STDOUT_FILENO, &saved);

    (void)state;
    open_log(&options);
    /* Nobody reads the pipe: the writer is stuck after 64 KiB, and this loop still ends. */
    for (int i = 0; i < TRIES; i++)
        log_info("line %05d", i);
    dropped = metrics_read(METRIC_LOG_LINES_DROPPED) - before;
    pthread_create(&reader, NULL, read_in_a_thread, &fd);
    log_close();
    release(STDOUT_FILENO, saved);
    pthread_join(reader, &text);
    close(fd);
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        const char *report = strstr(line, "[Log] ");

        if (report != NULL) {
            assert_matches(report, "^\\[Log\\] [0-9]+ lines dropped: they came faster than they could be written$");
            reported += strtoull(report + 6, NULL, 10);
        } else {
            written++;
        }
    }
    free(text);
    assert_true(dropped > 0);
    assert_int_equal(reported, dropped);
    assert_int_equal(written + dropped, TRIES);
}

static void writes_to_stderr_while_it_is_not_open(void **state)
{
    char *text;
    int saved;
    int fd = capture(STDERR_FILENO, &saved);

    (void)state;
    log_info("nobody hears this");
    log_warning("%s", "heard at once");
    log_fatal("cannot listen on port %d", 1883);
    release(STDERR_FILENO, saved);
    read_fully(fd, &text);
    close(fd);
    assert_matches(text, "^" TIME " \\[warning\\] heard at once\nemqx: cannot listen on port 1883\n$");
    free(text);
}

static void writes_a_fatal_error_to_stderr_and_the_files(void **state)
{
    struct log_options options = file_options();
    char *text;
    int saved;
    int fd = capture(STDERR_FILENO, &saved);

    (void)state;
    open_log(&options);
    log_fatal("no memory");
    release(STDERR_FILENO, saved);
    read_fully(fd, &text);
    close(fd);
    assert_string_equal(text, "emqx: no memory\n");
    free(text);
    text = only_line();
    assert_string_equal(text, "no memory");
    free(text);
}

static void names_the_file_it_cannot_open(void **state)
{
    struct log_options options = file_options();
    char not_a_directory[128];
    char *text;
    int saved;
    int fd;

    (void)state;
    snprintf(not_a_directory, sizeof(not_a_directory), "%s/file", directory);
    fd = open(not_a_directory, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    fd = capture(STDERR_FILENO, &saved);
    options.file = "file/emqx.log";
    assert_int_equal(log_open(&options), -ENOTDIR);
    strcat(not_a_directory, "/log");
    options.dir = not_a_directory;
    assert_int_equal(log_open(&options), -ENOTDIR);
    release(STDERR_FILENO, saved);
    read_fully(fd, &text);
    close(fd);
    assert_matches(text, "^emqx: cannot open the log file [^ ]*/file/emqx\\.log\\.1: Not a directory\n"
                         "emqx: cannot make the log directory [^ ]*/file/log: Not a directory\n$");
    free(text);
    /* It can be opened afterwards. */
    options = file_options();
    open_log(&options);
    assert_int_equal(log_open(&options), -EBUSY);
}

static void goes_on_when_the_disk_is_full(void **state)
{
    struct log_options options = file_options();
    uint64_t before = metrics_read(METRIC_LOG_LINES_DROPPED);
    char path[128];
    char *text;
    int saved;
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "%s/emqx.log.1", directory);
    assert_int_equal(symlink("/dev/full", path), 0);
    options.level_files[LOG_LEVEL_ERROR] = "error.log";
    fd = capture(STDERR_FILENO, &saved);
    open_log(&options);
    log_error("one");
    assert_int_equal(log_flush(10000), 0);
    log_error("two");
    log_close();
    release(STDERR_FILENO, saved);
    read_fully(fd, &text);
    close(fd);
    assert_matches(text,
                   "^emqx: cannot write the log [^ ]*/emqx\\.log \\(No space left on device\\), its lines are lost\n$");
    free(text);
    assert_int_equal(metrics_read(METRIC_LOG_LINES_DROPPED) - before, 2);
    text = read_file("error.log.1");
    assert_matches(text, "^[^\n]* one\n[^\n]* two\n$");
    free(text);
}

static void leaves_no_half_line_when_space_ends_in_its_middle(void **state)
{
    struct log_options options = file_options();
    uint64_t before = metrics_read(METRIC_LOG_LINES_DROPPED);
    struct rlimit unlimited;
    struct rlimit limited;
    char *text;
    int saved;
    int fd;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    limited = (struct rlimit){.rlim_cur = 100, .rlim_max = unlimited.rlim_max};
    fd = capture(STDERR_FILENO, &saved);
    open_log(&options);
    log_error("one");
    assert_int_equal(log_flush(10000), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
    log_error("%0200d", 2);
    assert_int_equal(log_flush(10000), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    log_error("three");
    log_close();
    release(STDERR_FILENO, saved);
    read_fully(fd, &text);
    close(fd);
    assert_matches(text, "^emqx: cannot write the log [^ ]*/emqx\\.log \\(File too large\\), its lines are lost\n$");
    free(text);
    text = read_file("emqx.log.1");
    assert_matches(text, "^" TIME " \\[error\\] one\n" TIME " \\[error\\] three\n$");
    free(text);
    assert_int_equal(metrics_read(METRIC_LOG_LINES_DROPPED) - before, 1);
}

enum { THREADS = 4, PER_THREAD = 500 };

static void *log_in_a_thread(void *pointer)
{
    int number = *(int *)pointer;

    for (int i = 0; i < PER_THREAD; i++) {
        log_info("thread %d line %04d", number, i);
        if (i % 100 == 99)
            log_set_level(i % 200 == 99 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    }
    return NULL;
}

static void keeps_the_lines_of_many_threads_whole_and_in_order(void **state)
{
    struct log_options options = file_options();
    pthread_t threads[THREADS];
    int numbers[THREADS];
    int next[THREADS] = {0};
    char *text;
    char *rest;
    char *line;

    (void)state;
    open_log(&options);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_in_a_thread, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(log_flush(10000), 0);
    text = read_file("emqx.log.1");
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        int thread;
        int number;

        assert_int_equal(sscanf(line, "%*s %*s [info] thread %d line %d", &thread, &number), 2);
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(number, next[thread]);
        next[thread]++;
    }
    free(text);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], PER_THREAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_time_level_client_and_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(escapes_what_could_forge_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cuts_a_line_at_the_limit_of_characters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cuts_a_line_that_no_limit_was_set_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(does_not_evaluate_lines_below_the_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_each_handler_the_lines_of_its_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_its_handlers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parses_level_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_files_in_a_ring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_where_the_last_run_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removes_the_files_beyond_a_lowered_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(suppresses_a_flood_and_says_how_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_lines_rather_than_wait_for_a_terminal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_to_stderr_while_it_is_not_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_a_fatal_error_to_stderr_and_the_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_the_file_it_cannot_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_when_the_disk_is_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_no_half_line_when_space_ends_in_its_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_the_lines_of_many_threads_whole_and_in_order, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
