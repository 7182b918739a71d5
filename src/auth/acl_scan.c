/*
 * acl_scan: the tokens of a file of Erlang terms.
 *
 * White space and comments part tokens and are dropped. Text of strings and quoted atoms goes through the escapes into the buffer.
 * A full stop ends a term only before white space, a comment or the end of the file, as in Erlang.
 */
#include "auth/acl_scan_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN_BYTES_MAX 40u     /* of a text in an error; the rest is "..." */
#define CODING_LINES 2u         /* as in Erlang */
#define INTEGER_MAX (1LL << 53) /* larger ones are nobody's */
#define UNICODE_MAX 0x10FFFFu

int acl_buffer_put(struct acl_buffer *buffer, uint8_t byte)
{
    if (buffer->len == buffer->capacity) {
        uint32_t capacity = buffer->capacity == 0 ? 256 : buffer->capacity * 2;
        uint8_t *data = realloc(buffer->data, capacity);
        if (data == NULL)
            return -ENOMEM;
        buffer->data = data;
        buffer->capacity = capacity;
    }
    buffer->data[buffer->len++] = byte;
    return 0;
}

int acl_buffer_put_utf8(struct acl_buffer *buffer, uint32_t character)
{
    static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
    unsigned more = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    int err = acl_buffer_put(buffer, (uint8_t)(lead[more] | (character >> (6 * more))));

    while (err == 0 && more-- > 0)
        err = acl_buffer_put(buffer, (uint8_t)(0x80 | ((character >> (6 * more)) & 0x3F)));
    return err;
}

/* ---- the text ---- */

static int peek(const struct acl_scanner *scanner, size_t ahead)
{
    return scanner->at + ahead < scanner->text.len ? scanner->text.data[scanner->at + ahead] : -1;
}

/* The next byte, which there is. Bytes inside a UTF-8 character have no column of their own. */
static uint8_t take(struct acl_scanner *scanner)
{
    uint8_t byte = scanner->text.data[scanner->at++];

    if (byte == '\n') {
        scanner->place.line++;
        scanner->place.column = 1;
    } else if (scanner->at >= scanner->text.len || (scanner->text.data[scanner->at] & 0xC0) != 0x80) {
        scanner->place.column++;
    }
    return byte;
}

static bool is_space(int byte)
{
    return byte > 0 && byte <= ' ';
}

static bool is_digit(int byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_lower(int byte)
{
    return byte >= 'a' && byte <= 'z';
}

static bool is_name(int byte)
{
    return is_lower(byte) || (byte >= 'A' && byte <= 'Z') || is_digit(byte) || byte == '_' || byte == '@';
}

/* The value of a digit in a base up to 36; 99: none. */
static uint32_t digit_value(int byte)
{
    if (is_digit(byte))
        return (uint32_t)(byte - '0');
    if (is_lower(byte | 0x20) && byte < 0x80)
        return (uint32_t)((byte | 0x20) - 'a') + 10;
    return 99;
}

/* Does this comment line say `coding: utf-8`? */
static bool says_utf8(struct slice line)
{
    const char *found = memmem(line.data, line.len, "coding", 6);
    size_t at = found == NULL ? line.len : (size_t)(found - (const char *)line.data) + 6;

    if (at >= line.len || (line.data[at] != ':' && line.data[at] != '='))
        return false;
    for (at++; at < line.len && (line.data[at] == ' ' || line.data[at] == '\t'); at++)
        ;
    return line.len - at >= 5 && strncasecmp((const char *)line.data + at, "utf-8", 5) == 0;
}

void acl_scan_begin(struct acl_scanner *scanner, struct slice text)
{
    struct slice rest;

    scanner->text = text;
    scanner->place = (struct acl_place){1, 1};
    if (slice_starts_with(text, SLICE_LITERAL("\xEF\xBB\xBF"))) { /* a byte order mark */
        scanner->is_utf8 = true;
        scanner->at = 3;
    }
    rest = slice_skip(text, scanner->at);
    for (unsigned i = 0; i < CODING_LINES && rest.len > 0; i++) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        struct slice line = slice_make(rest.data, end == NULL ? rest.len : (size_t)(end - rest.data));
        if (line.len > 0 && line.data[0] == '%' && says_utf8(line))
            scanner->is_utf8 = true;
        rest = slice_skip(rest, line.len + (end != NULL));
    }
}

static void skip_space(struct acl_scanner *scanner)
{
    while (is_space(peek(scanner, 0)) || peek(scanner, 0) == '%') {
        if (take(scanner) != '%')
            continue;
        while (peek(scanner, 0) != -1 && peek(scanner, 0) != '\n')
            (void)take(scanner);
    }
}

/* ---- characters of strings ---- */

/* A character as bytes of the string. Without a `coding:` comment it is one byte. */
static int put_character(struct acl_scanner *scanner, uint32_t character, struct acl_place place)
{
    if (scanner->is_utf8) {
        if (character > UNICODE_MAX || (character >= 0xD800 && character <= 0xDFFF)) {
            acl_error_set(scanner->error, place, "found an escape for U+%X, which is no character", character);
            return -EINVAL;
        }
        return acl_buffer_put_utf8(&scanner->buffer, character);
    }
    if (character > 0xFF) {
        acl_error_set(scanner->error, place,
                      "found an escape above \\xFF, which needs \"%%%% coding: utf-8\" in the first line of the file");
        return -EINVAL;
    }
    return acl_buffer_put(&scanner->buffer, (uint8_t)character);
}

/* What follows \x: two digits, or any number of them in braces. */
static int take_hex(struct acl_scanner *scanner, struct acl_place place, uint32_t *out_character)
{
    uint32_t character = 0, count = 0;
    bool in_braces = peek(scanner, 0) == '{';

    if (in_braces)
        (void)take(scanner);
    while (digit_value(peek(scanner, 0)) < 16 && (in_braces || count < 2) && character <= UNICODE_MAX) {
        character = character * 16 + digit_value(take(scanner));
        count++;
    }
    if (in_braces ? count == 0 || peek(scanner, 0) != '}' : count < 2) {
        acl_error_set(scanner->error, place,
                      "found a broken escape, expected \\xHH or \\x{H...} with hexadecimal digits");
        return -EINVAL;
    }
    if (in_braces)
        (void)take(scanner);
    *out_character = character;
    return 0;
}

/* The character that the byte after a backslash stands for; itself if it has no meaning. */
static uint32_t simple_escape(uint8_t byte)
{
    static const char names[] = "bdefnrstv", values[] = "\b\177\033\f\n\r \t\v";
    const char *found = byte == '\0' ? NULL : strchr(names, byte);

    return found == NULL ? byte : (uint8_t)values[found - names];
}

/* What follows a backslash. */
static int take_escape(struct acl_scanner *scanner, struct acl_place place)
{
    uint32_t character = 0;
    int err = 0;

    if (peek(scanner, 0) == 'x') {
        (void)take(scanner);
        err = take_hex(scanner, place, &character);
    } else if (digit_value(peek(scanner, 0)) < 8) {
        for (unsigned count = 0; count < 3 && digit_value(peek(scanner, 0)) < 8; count++)
            character = character * 8 + digit_value(take(scanner));
    } else if (peek(scanner, 0) == '^' && peek(scanner, 1) >= '@' && peek(scanner, 1) <= '_') {
        (void)take(scanner);
        character = take(scanner) & 0x1Fu;
    } else if (peek(scanner, 0) < 0 || peek(scanner, 0) >= 0x80) {
        return 0; /* the caller reports the end of the file; a character that is not ASCII stands for itself */
    } else {
        character = simple_escape(take(scanner));
    }
    return err < 0 ? err : put_character(scanner, character, place);
}

/* After the opening quote, up to and with the closing one. */
static int take_quoted(struct acl_scanner *scanner, uint8_t quote, struct acl_place begin)
{
    int err = 0;

    while (err == 0 && peek(scanner, 0) != -1) {
        struct acl_place place = scanner->place;
        uint8_t byte = take(scanner);
        if (byte == quote)
            return 0;
        if (byte == '\\')
            err = take_escape(scanner, place);
        else
            err = acl_buffer_put(&scanner->buffer, byte);
    }
    if (err < 0)
        return err;
    acl_error_set(scanner->error, begin, "found a %s without its closing %c: the file ends inside it",
                  quote == '"' ? "string" : "quoted word", quote);
    return -EINVAL;
}

/* ---- tokens ---- */

static int fail_at(struct acl_scanner *scanner, struct acl_place place, const char *text)
{
    acl_error_set(scanner->error, place, "%s", text);
    return -EINVAL;
}

static int scan_quoted(struct acl_scanner *scanner, struct acl_token *token)
{
    uint8_t quote = take(scanner);
    int err = take_quoted(scanner, quote, token->place);

    token->type = quote == '"' ? ACL_TOKEN_STRING : ACL_TOKEN_ATOM;
    token->is_quoted = true;
    token->text_len = scanner->buffer.len - token->text_at;
    return err;
}

static int scan_word(struct acl_scanner *scanner, struct acl_token *token)
{
    int err = 0;

    token->type = ACL_TOKEN_ATOM;
    while (err == 0 && is_name(peek(scanner, 0)))
        err = acl_buffer_put(&scanner->buffer, take(scanner));
    token->text_len = scanner->buffer.len - token->text_at;
    return err;
}

static int scan_digits(struct acl_scanner *scanner, uint32_t base, struct acl_token *token)
{
    token->integer = 0;
    while (digit_value(peek(scanner, 0)) < base) {
        token->integer = token->integer * base + digit_value(take(scanner));
        if (token->integer > INTEGER_MAX)
            return fail_at(scanner, token->place, "found a number that is too large for anything here");
    }
    return 0;
}

/* 5, -5, 16#1F, $a. */
static int scan_number(struct acl_scanner *scanner, struct acl_token *token)
{
    bool is_negative = peek(scanner, 0) == '-';
    int err;

    token->type = ACL_TOKEN_INTEGER;
    if (peek(scanner, 0) == '-' || peek(scanner, 0) == '+')
        (void)take(scanner);
    err = scan_digits(scanner, 10, token);
    if (err == 0 && peek(scanner, 0) == '#') {
        uint32_t base = (uint32_t)token->integer;
        (void)take(scanner);
        if (token->integer < 2 || token->integer > 36 || digit_value(peek(scanner, 0)) >= base)
            return fail_at(scanner, token->place, "found a broken number, expected digits or BASE#DIGITS");
        err = scan_digits(scanner, base, token);
    }
    if (err == 0 && ((peek(scanner, 0) == '.' && is_digit(peek(scanner, 1))) || is_name(peek(scanner, 0))))
        return fail_at(scanner, token->place,
                       "found a number with more behind it; text, also an address, stands in double quotes");
    if (is_negative)
        token->integer = -token->integer;
    return err;
}

static int scan_dot(struct acl_scanner *scanner, struct acl_token *token)
{
    (void)take(scanner);
    token->type = ACL_TOKEN_DOT;
    if (peek(scanner, 0) == -1 || peek(scanner, 0) == '%' || is_space(peek(scanner, 0)))
        return 0;
    return fail_at(scanner, token->place,
                   "found a full stop inside a term, expected white space or a comment after it");
}

static int scan_other(struct acl_scanner *scanner, struct acl_token *token)
{
    int byte = peek(scanner, 0);

    if ((byte >= 'A' && byte <= 'Z') || byte == '_')
        return fail_at(scanner, token->place,
                       "found a word that begins with a capital or _, which is no value; "
                       "words of the rules are in lower case, names stand in double quotes");
    if (byte == '|')
        return fail_at(scanner, token->place, "found |, expected a comma or ]");
    if (byte == '#')
        return fail_at(scanner, token->place,
                       "found #, expected a term; comments begin with %, topics stand in double quotes");
    if (byte > ' ' && byte < 0x7F)
        acl_error_set(scanner->error, token->place, "found %c, expected a term; texts stand in double quotes", byte);
    else
        acl_error_set(scanner->error, token->place,
                      "found the byte 0x%02X outside of a string; texts stand in double quotes", (unsigned)byte);
    return -EINVAL;
}

int acl_scan(struct acl_scanner *scanner, struct acl_token *token)
{
    static const char marks[] = "{}[],/";
    static const enum acl_token_type mark_types[] = {ACL_TOKEN_OPEN_TUPLE, ACL_TOKEN_CLOSE_TUPLE, ACL_TOKEN_OPEN_LIST,
                                                     ACL_TOKEN_CLOSE_LIST, ACL_TOKEN_COMMA,       ACL_TOKEN_SLASH};
    const char *mark;
    int byte;

    skip_space(scanner);
    byte = peek(scanner, 0);
    *token = (struct acl_token){
        .place = scanner->place, .source_at = scanner->at, .text_at = scanner->buffer.len, .type = ACL_TOKEN_END};
    if (byte == -1)
        return 0;
    if (byte == '"' || byte == '\'')
        return scan_quoted(scanner, token);
    if (is_lower(byte))
        return scan_word(scanner, token);
    if (is_digit(byte) || ((byte == '-' || byte == '+') && is_digit(peek(scanner, 1))))
        return scan_number(scanner, token);
    if (byte == '.')
        return scan_dot(scanner, token);
    mark = byte == 0 ? NULL : strchr(marks, byte);
    if (mark != NULL || ((byte == '<' || byte == '>') && peek(scanner, 1) == byte)) {
        token->type = mark != NULL  ? mark_types[mark - marks]
                      : byte == '<' ? ACL_TOKEN_OPEN_BINARY
                                    : ACL_TOKEN_CLOSE_BINARY;
        (void)take(scanner);
        if (mark == NULL)
            (void)take(scanner);
        return 0;
    }
    return scan_other(scanner, token);
}

/* ---- for errors ---- */

void acl_token_describe(const struct acl_scanner *scanner, const struct acl_token *token, char *out_text, size_t size)
{
    static const char *const marks[] = {[ACL_TOKEN_END] = "the end of the file",
                                        [ACL_TOKEN_DOT] = "a full stop",
                                        [ACL_TOKEN_OPEN_TUPLE] = "{",
                                        [ACL_TOKEN_CLOSE_TUPLE] = "}",
                                        [ACL_TOKEN_OPEN_LIST] = "[",
                                        [ACL_TOKEN_CLOSE_LIST] = "]",
                                        [ACL_TOKEN_OPEN_BINARY] = "<<",
                                        [ACL_TOKEN_CLOSE_BINARY] = ">>",
                                        [ACL_TOKEN_COMMA] = "a comma",
                                        [ACL_TOKEN_SLASH] = "/"};
    uint32_t len = token->text_len < SHOWN_BYTES_MAX ? token->text_len : SHOWN_BYTES_MAX;
    const char *text = token->text_len == 0 ? "" : (const char *)scanner->buffer.data + token->text_at;
    const char *rest = len < token->text_len ? "..." : "";

    if (token->type == ACL_TOKEN_ATOM)
        snprintf(out_text, size, "the word %.*s%s", (int)len, text, rest);
    else if (token->type == ACL_TOKEN_STRING)
        snprintf(out_text, size, "\"%.*s%s\"", (int)len, text, rest);
    else if (token->type == ACL_TOKEN_INTEGER)
        snprintf(out_text, size, "the number %lld", (long long)token->integer);
    else
        snprintf(out_text, size, "%s", marks[token->type]);
}
