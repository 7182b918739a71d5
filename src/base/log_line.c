/*
 * log_line: one line of the log, formatted and made harmless.
 *
 * The text is formatted on the stack, then copied byte by byte into a second buffer, where control characters
 * and what is not UTF-8 become `\n`, `\t` or `\xNN`. What an attacker puts into a client ID or a topic thus stays
 * inside its line.
 */
#include "base/log_line_internal.h"

#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char ellipsis[] = "...";
enum { ELLIPSIS_LENGTH = sizeof(ellipsis) - 1 };

/* The line as it grows. `keep` is how much of it stays if it has to be cut: the longest whole part with room for the
 * ellipsis. */
struct line_writer {
    char *text;
    uint32_t length;
    uint32_t length_max; /* without the line feed */
    uint32_t chars;
    uint32_t chars_max;
    uint32_t keep;
    bool cut;
};

/* Adds one unit that must not be torn: a character or an escape. */
static void add_unit(struct line_writer *writer, const char *unit, uint32_t length, uint32_t chars)
{
    if (writer->cut || writer->length_max - writer->length < length || writer->chars_max - writer->chars < chars) {
        writer->cut = true;
        return;
    }
    memcpy(writer->text + writer->length, unit, length);
    writer->length += length;
    writer->chars += chars;
    if (writer->length_max - writer->length >= ELLIPSIS_LENGTH && writer->chars_max - writer->chars >= ELLIPSIS_LENGTH)
        writer->keep = writer->length;
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* The length of the well-formed UTF-8 character at `bytes` that may be shown, or 0: the byte is to be escaped. */
static uint32_t shown_length(const uint8_t *bytes, size_t length)
{
    uint8_t first = bytes[0];

    if (first < 0x80)
        return first >= 0x20 && first != 0x7F ? 1 : 0;
    if (first < 0xC2 || length < 2 || !is_continuation(bytes[1]))
        return 0;
    if (first < 0xE0)
        return first == 0xC2 && bytes[1] < 0xA0 ? 0 : 2; /* U+0080..U+009F are control characters too */
    if (length < 3 || !is_continuation(bytes[2]))
        return 0;
    if (first < 0xF0) /* neither overlong nor a surrogate */
        return (first == 0xE0 && bytes[1] < 0xA0) || (first == 0xED && bytes[1] > 0x9F) ? 0 : 3;
    if (first > 0xF4 || length < 4 || !is_continuation(bytes[3]))
        return 0;
    return (first == 0xF0 && bytes[1] < 0x90) || (first == 0xF4 && bytes[1] > 0x8F) ? 0 : 4;
}

static void add_escape(struct line_writer *writer, uint8_t byte)
{
    static const char digits[] = "0123456789ABCDEF";
    char escape[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};

    if (byte == '\n')
        add_unit(writer, "\\n", 2, 2);
    else if (byte == '\r')
        add_unit(writer, "\\r", 2, 2);
    else if (byte == '\t')
        add_unit(writer, "\\t", 2, 2);
    else
        add_unit(writer, escape, sizeof(escape), sizeof(escape));
}

/* Copies the printable ASCII characters at the start of `text`, most of every line, as far as an ellipsis still fits
 * behind them. Returns how many bytes were taken. */
static size_t add_plain(struct line_writer *writer, struct slice text)
{
    uint32_t room = writer->length_max - writer->length;
    size_t length = 0;

    if (writer->chars_max - writer->chars < room)
        room = writer->chars_max - writer->chars;
    if (writer->cut || room <= ELLIPSIS_LENGTH)
        return 0;
    room -= ELLIPSIS_LENGTH;
    while (length < text.len && length < room && text.data[length] >= 0x20 && text.data[length] < 0x7F)
        length++;
    if (length == 0)
        return 0;
    memcpy(writer->text + writer->length, text.data, length);
    writer->length += (uint32_t)length;
    writer->chars += (uint32_t)length;
    writer->keep = writer->length;
    return length;
}

static void add_text(struct line_writer *writer, struct slice text)
{
    while (text.len > 0 && !writer->cut) {
        uint32_t length;

        text = slice_skip(text, add_plain(writer, text));
        if (text.len == 0)
            break;
        length = shown_length(text.data, text.len);
        if (length == 0)
            add_escape(writer, text.data[0]);
        else
            add_unit(writer, (const char *)text.data, length, 1);
        text = slice_skip(text, length == 0 ? 1 : length);
    }
}

/* Date, time, level, and whom it is about: `id@peer `, `id `, `peer ` or nothing. */
static void add_head(struct line_writer *writer, enum log_level level, struct slice client_id, const char *peer)
{
    struct slice peer_text = slice_from_string(peer);
    char now[CLOCK_LOCAL_TEXT_BYTES];

    clock_format_local(clock_wall_ms(), now);
    add_text(writer, slice_from_string(now));
    add_text(writer, SLICE_LITERAL(" ["));
    add_text(writer, slice_from_string(log_level_name(level)));
    add_text(writer, SLICE_LITERAL("] "));
    if (client_id.len > LOG_CLIENT_ID_BYTES_SHOWN) {
        add_text(writer, slice_make(client_id.data, LOG_CLIENT_ID_BYTES_SHOWN));
        add_text(writer, slice_from_string(ellipsis));
    } else {
        add_text(writer, client_id);
    }
    if (client_id.len > 0 && peer_text.len > 0)
        add_text(writer, SLICE_LITERAL("@"));
    add_text(writer, peer_text);
    if (client_id.len > 0 || peer_text.len > 0)
        add_text(writer, SLICE_LITERAL(" "));
}

struct log_line *log_line_make(enum log_level level, struct slice client_id, const char *peer, int64_t chars_limit,
                               const char *format, va_list arguments)
{
    char plain[LOG_LINE_BYTES_MAX];
    char text[LOG_LINE_BYTES_MAX];
    struct line_writer writer = {.text = text, .length_max = sizeof(text) - 1, .chars_max = sizeof(text) - 1};
    int plain_length = vsnprintf(plain, sizeof(plain), format, arguments);
    struct log_line *line;

    if (chars_limit > 0 && chars_limit < (int64_t)writer.chars_max)
        writer.chars_max = (uint32_t)chars_limit;
    add_head(&writer, level, client_id, peer);
    if (plain_length < 0)
        plain_length = 0;
    if ((size_t)plain_length >= sizeof(plain)) /* the rest is lost already: the head makes sure that it is cut */
        plain_length = sizeof(plain) - 1;
    add_text(&writer, slice_make(plain, (size_t)plain_length));
    if (writer.cut) {
        uint32_t dots = writer.chars_max < ELLIPSIS_LENGTH ? writer.chars_max : ELLIPSIS_LENGTH;

        memcpy(text + writer.keep, ellipsis, dots);
        writer.length = writer.keep + dots;
    }
    text[writer.length++] = '\n';
    line = malloc(sizeof(*line) + writer.length);
    if (line == NULL)
        return NULL;
    line->level = (uint32_t)level;
    line->length = writer.length;
    memcpy(line->text, text, writer.length);
    return line;
}
