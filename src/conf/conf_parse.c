/*
 * conf_parse: the lines of a configuration file.
 *
 *     line    = blank | comment | placeholder | include | setting
 *     comment = "#" ...            placeholder = "{{" name "}}"       include = "include" path
 *     setting = key "=" value      a value goes to the end of the line; there is no comment behind it
 *
 * Includes inside an included file are not read, as in the original, and reported. A faulty line is an error
 * and reading goes on behind it, so that one start shows all of them.
 */
#include "conf/conf_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct line {
    const char *text; /* without its end, not terminated */
    size_t len;
    const char *file;
    unsigned number;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static size_t skip_blanks(const struct line *line, size_t at)
{
    while (at < line->len && is_blank(line->text[at]))
        at++;
    return at;
}

static void syntax_error(struct loader *loader, const struct line *line, size_t column, const char *why)
{
    conf_error_add(loader, CONF_PARSE, (struct conf_place){line->file, line->number, NULL},
                   "Syntax error in %s after line %u column %zu, parsing incomplete\n  %s", line->file, line->number,
                   column + 1, why);
}

/* Decodes one character of UTF-8 as far as Latin-1 reaches. Returns its length, 0: not one of those. */
static size_t latin1_len(const char *text, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)text;

    if (bytes[0] < 0x80)
        return 1;
    return len >= 2 && (bytes[0] == 0xc2 || bytes[0] == 0xc3) && (bytes[1] & 0xc0) == 0x80 ? 2 : 0;
}

enum conf_text_fault conf_text_check(const char *text, size_t len, size_t *out_at)
{
    for (size_t at = 0; at < len;) {
        size_t char_len = latin1_len(text + at, len - at);
        unsigned char c = (unsigned char)text[at];

        *out_at = at;
        if (char_len == 0)
            return CONF_TEXT_NOT_LATIN1;
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return CONF_TEXT_CONTROL;
        at += char_len;
    }
    return CONF_TEXT_RIGHT;
}

/* The value's characters must be printable and have a place in Latin-1. */
static bool value_check(struct loader *loader, const struct line *line, size_t start, size_t end)
{
    size_t at = 0;
    enum conf_text_fault fault = conf_text_check(line->text + start, end - start, &at);

    if (fault == CONF_TEXT_NOT_LATIN1)
        conf_error_add(loader, CONF_PARSE, (struct conf_place){line->file, line->number, NULL},
                       "Error converting value on line #%u to latin1", line->number);
    else if (fault == CONF_TEXT_CONTROL)
        syntax_error(loader, line, start + at, "A value cannot hold control characters.");
    return fault == CONF_TEXT_RIGHT;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_-@/:", c) != NULL);
}

/* Finds the key's end. Words are not empty and a backslash only stands before a dot. */
static bool key_end(const struct line *line, size_t start, size_t *out_at)
{
    bool word_is_empty = true;
    size_t at = start;

    for (; at < line->len; at++) {
        char c = line->text[at];

        if (c == '\\' && at + 1 < line->len && line->text[at + 1] == '.') {
            at++;
            word_is_empty = false;
        } else if (is_word_char(c)) {
            word_is_empty = false;
        } else if (c == '.' && !word_is_empty) {
            word_is_empty = true;
        } else {
            break;
        }
    }
    *out_at = at;
    return !word_is_empty && at - start <= CONF_KEY_BYTES_MAX;
}

bool conf_key_is_valid(const char *key)
{
    struct line line = {.text = key, .len = strlen(key)};
    size_t at;

    return key_end(&line, 0, &at) && at == line.len;
}

static void parse_setting(struct loader *loader, const struct line *line, size_t start, enum conf_source source)
{
    char key[CONF_KEY_BYTES_MAX + 1];
    size_t at, end = line->len, key_len;

    if (!key_end(line, start, &at)) {
        syntax_error(loader, line, at, "A line should be: key = value; a key is words joined by dots.");
        return;
    }
    key_len = at - start;
    memcpy(key, line->text + start, key_len);
    key[key_len] = '\0';
    at = skip_blanks(line, at);
    if (at == line->len || line->text[at] != '=') {
        syntax_error(loader, line, at, "Expected = behind the key.");
        return;
    }
    at = skip_blanks(line, at + 1);
    while (end > at && is_blank(line->text[end - 1]))
        end--;
    if (at == end)
        syntax_error(loader, line, at, "Expected a value behind =; put # before the line to leave the key unset.");
    else if (value_check(loader, line, at, end))
        conf_append(loader, (struct conf_place){line->file, line->number, key}, source, line->text + at, end - at);
}

/* "include" and a blank, but not "include = value". Gives the path's place. */
static bool is_include(const struct line *line, size_t start, size_t *out_path)
{
    static const char word[] = "include";
    size_t len = sizeof(word) - 1;

    if (line->len - start <= len || memcmp(line->text + start, word, len) != 0 || !is_blank(line->text[start + len]))
        return false;
    *out_path = skip_blanks(line, start + len);
    return *out_path == line->len || line->text[*out_path] != '=';
}

static void parse_include(struct loader *loader, const struct line *line, size_t start, enum conf_source source)
{
    size_t end = line->len;
    char *path;

    while (end > start && is_blank(line->text[end - 1]))
        end--;
    if (start == end || memchr(line->text + start, '\0', end - start) != NULL) {
        syntax_error(loader, line, start, "Expected a path behind include.");
        return;
    }
    path = conf_text_dup(loader->conf, line->text + start, end - start);
    if (path == NULL)
        loader->out_of_memory = true;
    else if (source == CONF_FROM_INCLUDE)
        conf_warning_add(loader, "%s:%u: include %s is not read: included files cannot include others", line->file,
                         line->number, path);
    else
        conf_parse_file(loader, path, CONF_FROM_INCLUDE);
}

static bool is_placeholder(const struct line *line, size_t start)
{
    size_t end = line->len;

    while (end > start && is_blank(line->text[end - 1]))
        end--;
    return end - start >= 4 && memcmp(line->text + start, "{{", 2) == 0 && memcmp(line->text + end - 2, "}}", 2) == 0;
}

static void parse_line(struct loader *loader, const struct line *line, enum conf_source source)
{
    size_t path, at = skip_blanks(line, 0);

    if (at == line->len || line->text[at] == '#' || is_placeholder(line, at))
        return;
    if (line->len > CONF_LINE_BYTES_MAX)
        syntax_error(loader, line, CONF_LINE_BYTES_MAX, "The line is longer than 16384 bytes.");
    else if (is_include(line, at, &path))
        parse_include(loader, line, path, source);
    else
        parse_setting(loader, line, at, source);
}

void conf_parse_text(struct loader *loader, const char *text, size_t len, const char *file, enum conf_source source)
{
    struct line line = {.text = text, .file = conf_text_dup(loader->conf, file, strlen(file)), .number = 1};
    const char *end = text + len;

    if (line.file == NULL) {
        loader->out_of_memory = true;
        return;
    }
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) /* a byte order mark, as some editors leave */
        line.text += 3;
    while (line.text < end && !loader->out_of_memory) {
        const char *line_end = memchr(line.text, '\n', (size_t)(end - line.text));
        const char *next = line_end == NULL ? end : line_end + 1;

        line.len = (size_t)((line_end == NULL ? end : line_end) - line.text);
        if (line.len > 0 && line.text[line.len - 1] == '\r')
            line.len--;
        parse_line(loader, &line, source);
        line.text = next;
        line.number++;
    }
}

/* Reads at most CONF_FILE_BYTES_MAX. 0, -EFBIG, -ENOMEM or what the system said. */
static int file_read(const char *path, char **out_text, size_t *out_len)
{
    char *text = malloc(CONF_FILE_BYTES_MAX + 1);
    int fd, err = 0;
    size_t len = 0;

    if (text == NULL)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        err = -errno;
    while (err == 0 && len <= CONF_FILE_BYTES_MAX) {
        ssize_t count = read(fd, text + len, CONF_FILE_BYTES_MAX + 1 - len);

        if (count == 0)
            break;
        if (count > 0)
            len += (size_t)count;
        else if (errno != EINTR)
            err = -errno;
    }
    if (fd >= 0)
        close(fd);
    if (err == 0 && len > CONF_FILE_BYTES_MAX)
        err = -EFBIG;
    if (err < 0) {
        free(text);
        return err;
    }
    *out_text = text;
    *out_len = len;
    return 0;
}

/* The reason as the original names it: the lower-case name of the error number. */
static void open_error(struct loader *loader, const char *path, int err)
{
    const char *name = err == -EFBIG ? "efbig (more than 1 MB)" : strerrorname_np(-err);
    char reason[64];
    size_t i = 0;

    for (; name != NULL && name[i] != '\0' && i < sizeof(reason) - 1; i++)
        reason[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' && err != -EFBIG ? name[i] - 'A' + 'a' : name[i]);
    reason[i] = '\0';
    conf_error_add(loader, CONF_PARSE, (struct conf_place){path, 0, NULL}, "Could not open file (%s) for Reason %s",
                   path, reason);
}

void conf_parse_file(struct loader *loader, const char *path, enum conf_source source)
{
    const char *root = loader->options->root_dir;
    char *full = NULL, *text = NULL;
    size_t len = 0;
    int err;

    if (loader->file_count++ >= CONF_FILES_MAX) {
        conf_error_add(loader, CONF_PARSE, (struct conf_place){path, 0, NULL},
                       "Too many configuration files, the limit is %d", (int)CONF_FILES_MAX);
        return;
    }
    if (asprintf(&full, "%s%s%s", root == NULL || path[0] == '/' ? "" : root, root == NULL || path[0] == '/' ? "" : "/",
                 path) < 0) {
        loader->out_of_memory = true;
        return;
    }
    err = file_read(full, &text, &len);
    free(full);
    if (err == -ENOMEM)
        loader->out_of_memory = true;
    else if (err < 0)
        open_error(loader, path, err);
    else
        conf_parse_text(loader, text, len, path, source);
    free(text);
}
