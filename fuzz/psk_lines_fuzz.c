/*
 * psk_lines_fuzz: any bytes as a file of pre-shared keys. The input is cut at its first newline: the delimiter (":" when there is none), then the file.
 *
 * Every line ends in a key or in a problem: in a file without problems each identity has a key.
 */
#include "lib/psk_lines.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(fact)                                                                                                    \
    do {                                                                                                               \
        if (!(fact))                                                                                                   \
            abort();                                                                                                   \
    } while (0)
#define DELIMITER_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const struct psk_lines *lines, const char *line, size_t len, const char *delimiter,
                       bool has_problems)
{
    const char *end;
    struct emqc_slice key;

    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (len == 0 || line[0] == '#' || (end = memmem(line, len, delimiter, strlen(delimiter))) == NULL)
        return;
    key = psk_lines_find(lines, (struct emqc_slice){line, (size_t)(end - line)});
    CHECK(key.data != NULL || has_problems);
    CHECK(key.len <= EMQC_PSK_KEY_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char delimiter[DELIMITER_MAX + 1] = ":", *text, *copy;
    const uint8_t *newline = memchr(data, '\n', size);
    struct psk_lines *lines = NULL;
    struct psk_report report;
    size_t len = size, line_count = 1;

    if (newline != NULL && newline > data && newline - data <= DELIMITER_MAX &&
        memchr(data, 0, newline - data) == NULL) {
        memcpy(delimiter, data, (size_t)(newline - data));
        delimiter[newline - data] = '\0';
        len = size - (size_t)(newline - data) - 1;
    }
    text = malloc(len + (len == 0)); /* of its own size, so that a read past the end is seen */
    copy = malloc(len + 1);
    CHECK(text != NULL && copy != NULL);
    if (len > 0)
        memcpy(text, data + size - len, len);
    memcpy(copy, text, len);
    CHECK(psk_lines_new_take(text, len, delimiter, &lines, &report) == 0);
    for (size_t i = 0; i < len; i++)
        line_count += copy[i] == '\n';
    CHECK(report.key_count + report.problem_count <= line_count);
    for (size_t at = len >= 3 && memcmp(copy, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; at < len;) {
        const char *end = memchr(copy + at, '\n', len - at);
        size_t line_len = end == NULL ? len - at : (size_t)(end - copy) - at;
        check_line(lines, copy + at, line_len, delimiter, report.problem_count > 0);
        at += line_len + 1;
    }
    psk_lines_free(lines);
    free(copy);
    return 0;
}
