/*
 * psk_lines: the text stays in memory, with hexadecimal keys decoded in their places; a table of entries that point into it is sorted by identity,
 * so that a key is found by halving.
 */
#include "psk_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEX_MARK "hex:"
#define BYTE_ORDER_MARK "\xEF\xBB\xBF"
#define ENTRIES_FIRST 64u

/* Offsets into the text; a line fits into 32 bits, for the text does. */
struct psk_entry {
    uint32_t identity_at;
    uint32_t key_at;
    uint16_t identity_len;
    uint16_t key_len;
};

struct psk_lines {
    char *text;
    size_t text_len;
    struct psk_entry *entries;
    size_t entry_count;
    size_t entry_room;
};

void psk_lines_free(struct psk_lines *lines)
{
    if (lines == NULL)
        return;
    if (lines->text != NULL)
        explicit_bzero(lines->text, lines->text_len);
    free(lines->text);
    free(lines->entries);
    free(lines);
}

/* ---- Reading ---- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal digits become the bytes that they stand for, in their place. False: they are none, or one is left over. */
static bool key_decode(char *text, size_t *len)
{
    if (*len % 2 != 0)
        return false;
    for (size_t i = 0; i < *len / 2; i++) {
        int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        text[i] = (char)(high << 4 | low);
    }
    *len /= 2;
    return true;
}

/* NULL, or what is wrong with the line. */
static const char *line_read(const struct psk_lines *lines, char *line, size_t len, const char *delimiter,
                             struct psk_entry *out_entry)
{
    char *end = memmem(line, len, delimiter, strlen(delimiter)), *key;
    size_t identity_len, key_len;

    if (memchr(line, '\0', len) != NULL)
        return "it holds a zero byte";
    if (end == NULL)
        return "the delimiter is not in it";
    identity_len = (size_t)(end - line);
    key = end + strlen(delimiter);
    key_len = len - identity_len - strlen(delimiter);
    if (key_len >= strlen(HEX_MARK) && memcmp(key, HEX_MARK, strlen(HEX_MARK)) == 0) {
        key += strlen(HEX_MARK);
        key_len -= strlen(HEX_MARK);
        if (!key_decode(key, &key_len))
            return "what follows " HEX_MARK " is no even number of hexadecimal digits";
    }
    if (identity_len == 0 || key_len == 0)
        return identity_len == 0 ? "the identity is empty" : "the key is empty";
    if (identity_len > PSK_IDENTITY_BYTES_MAX || key_len > EMQC_PSK_KEY_MAX)
        return identity_len > PSK_IDENTITY_BYTES_MAX ? "the identity is too long" : "the key is too long";
    *out_entry = (struct psk_entry){.identity_at = (uint32_t)(line - lines->text),
                                    .key_at = (uint32_t)(key - lines->text),
                                    .identity_len = (uint16_t)identity_len,
                                    .key_len = (uint16_t)key_len};
    return NULL;
}

static int entry_add(struct psk_lines *lines, struct psk_entry entry)
{
    if (lines->entry_count == lines->entry_room) {
        size_t room = lines->entry_room == 0 ? ENTRIES_FIRST : 2 * lines->entry_room;
        struct psk_entry *entries = reallocarray(lines->entries, room, sizeof(*entries));
        if (entries == NULL)
            return -ENOMEM;
        lines->entries = entries;
        lines->entry_room = room;
    }
    lines->entries[lines->entry_count++] = entry;
    return 0;
}

static int lines_read(struct psk_lines *lines, const char *delimiter, struct psk_report *report)
{
    char *line = lines->text, *end = line + lines->text_len;

    if (lines->text_len >= strlen(BYTE_ORDER_MARK) && memcmp(line, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
        line += strlen(BYTE_ORDER_MARK);
    for (uint32_t number = 1; line < end; number++) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)((newline == NULL ? end : newline) - line);
        const char *wrong = NULL;
        struct psk_entry entry = {.key_len = 0};

        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len > 0 && line[0] != '#')
            wrong = line_read(lines, line, len, delimiter, &entry);
        if (wrong != NULL && report->problem_count++ < PSK_PROBLEMS_MAX)
            report->problems[report->problem_count - 1] = (struct psk_problem){number, wrong};
        if (entry.key_len > 0 && entry_add(lines, entry) < 0)
            return -ENOMEM;
        line = newline == NULL ? end : newline + 1;
    }
    return 0;
}

/* ---- Order ---- */

static int texts_compare(const char *left, size_t left_len, const char *right, size_t right_len)
{
    size_t len = left_len < right_len ? left_len : right_len;
    int order = memcmp(left, right, len);

    return order != 0 ? order : (left_len > right_len) - (left_len < right_len);
}

static int identities_compare(const struct psk_lines *lines, const struct psk_entry *left,
                              const struct psk_entry *right)
{
    return texts_compare(lines->text + left->identity_at, left->identity_len, lines->text + right->identity_at,
                         right->identity_len);
}

/* By identity, then by line. */
static int entries_compare(const void *left, const void *right, void *context)
{
    const struct psk_entry *a = left, *b = right;
    int order = identities_compare(context, a, b);

    return order != 0 ? order : (a->identity_at > b->identity_at) - (a->identity_at < b->identity_at);
}

/* Sorts, and keeps the last entry of each identity. */
static void entries_sort(struct psk_lines *lines)
{
    size_t kept = 0;

    if (lines->entry_count == 0)
        return;
    qsort_r(lines->entries, lines->entry_count, sizeof(*lines->entries), entries_compare, lines);
    for (size_t i = 0; i < lines->entry_count; i++) {
        bool is_last = i + 1 == lines->entry_count ||
                       identities_compare(lines, &lines->entries[i], &lines->entries[i + 1]) != 0;
        if (is_last)
            lines->entries[kept++] = lines->entries[i];
    }
    lines->entry_count = kept;
}

int psk_lines_new_take(char *text, size_t len, const char *delimiter, struct psk_lines **out_lines,
                       struct psk_report *out_report)
{
    struct psk_lines *lines = calloc(1, sizeof(*lines));
    struct psk_report report = {.key_count = 0};
    int err = -ENOMEM;

    if (lines == NULL) {
        explicit_bzero(text, len);
        free(text);
        return -ENOMEM;
    }
    lines->text = text;
    lines->text_len = len;
    err = len > PSK_LINES_BYTES_MAX ? -EFBIG : lines_read(lines, delimiter, &report);
    if (err < 0) {
        psk_lines_free(lines);
        return err;
    }
    entries_sort(lines);
    report.key_count = (uint32_t)lines->entry_count;
    *out_lines = lines;
    *out_report = report;
    return 0;
}

struct emqc_slice psk_lines_find(const struct psk_lines *lines, struct emqc_slice identity)
{
    size_t low = 0, high = lines->entry_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct psk_entry *entry = &lines->entries[middle];
        int order = texts_compare(identity.data, identity.len, lines->text + entry->identity_at, entry->identity_len);
        if (order == 0)
            return (struct emqc_slice){lines->text + entry->key_at, entry->key_len};
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return (struct emqc_slice){NULL, 0};
}
