/*
 * form: see form.h.
 *
 * A form is a row of parts, each a text that is encoded already and the fact behind it: "clientid=" %c, "&username=" %u, "&key=x" nothing.
 */
#include "form.h"

#include <stdlib.h>
#include <string.h>

#define NO_FACT FORM_FACT_COUNT

struct part {
    size_t end; /* of its text, which begins where that of the part before ends */
    enum form_fact fact;
};

struct form {
    char *text;
    size_t part_count;
    struct part parts[];
};

/* A piece of the text, with the escapes taken out. */
struct piece {
    char *data; /* of the parser's own copy */
    size_t len;
    bool was_escaped;
};

static char *encode(const char *data, size_t len, char *out)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
            c == '_') {
            *out++ = (char)c;
        } else if (c == ' ') {
            *out++ = '+';
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

static size_t encoded_bytes(struct emqc_slice text)
{
    size_t bytes = 0;

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                        c == '.' || c == '_' || c == ' ';
        bytes += is_plain ? 1 : 3;
    }
    return bytes;
}

/* Takes the text up to the first unescaped byte of `ends`, or its end; moves *at to there. The piece lies in `copy`. */
static struct piece take_piece(const char **at, const char *ends, char *copy)
{
    struct piece piece = {copy, 0, false};
    const char *p = *at;

    for (; *p != '\0' && strchr(ends, *p) == NULL; p++) {
        if (*p == '\\' && p[1] != '\0' && strchr(",=%\\", p[1]) != NULL) {
            piece.was_escaped = true;
            p++;
        }
        copy[piece.len++] = *p;
    }
    *at = p;
    return piece;
}

static void trim(struct piece *piece)
{
    while (piece->len > 0 && (piece->data[0] == ' ' || piece->data[0] == '\t')) {
        piece->data++;
        piece->len--;
    }
    while (piece->len > 0 && (piece->data[piece->len - 1] == ' ' || piece->data[piece->len - 1] == '\t'))
        piece->len--;
}

static enum form_fact find_fact(const struct piece *value, bool is_acl)
{
    static const char letters[] = "ucaPCdlmAt"; /* enum form_fact */
    const char *letter;

    if (value->len != 2 || value->data[0] != '%' || value->was_escaped)
        return NO_FACT;
    letter = memchr(letters, value->data[1], is_acl ? FORM_FACT_COUNT : FORM_ACCESS);
    return letter == NULL ? NO_FACT : (enum form_fact)(letter - letters);
}

/* One parameter, behind the text that is there. */
static const char *parse_parameter(struct form *form, const char **at, bool is_acl, char *copy)
{
    struct piece name = take_piece(at, ",=", copy), value;
    size_t begin = form->part_count == 0 ? 0 : form->parts[form->part_count - 1].end;
    struct part *part = &form->parts[form->part_count];
    char *out = form->text + begin;

    trim(&name);
    if (name.len == 0 && **at != '=')
        return NULL; /* nothing between two commas */
    if (name.len == 0)
        return "a parameter has no name";
    if (**at != '=')
        return "each parameter should be NAME=VALUE";
    ++*at;
    if (form->part_count > 0)
        *out++ = '&';
    out = encode(name.data, name.len, out);
    *out++ = '=';
    value = take_piece(at, ",", copy);
    part->fact = find_fact(&value, is_acl);
    if (part->fact == NO_FACT)
        out = encode(value.data, value.len, out);
    part->end = (size_t)(out - form->text);
    form->part_count++;
    return NULL;
}

static size_t count_parts_max(const char *text)
{
    size_t count = 1;

    for (; *text != '\0'; text++)
        count += *text == ',';
    return count;
}

const char *form_parse(const char *text, bool is_acl, struct form **out_form)
{
    size_t len = strlen(text), count = count_parts_max(text);
    struct form *form = calloc(1, sizeof(*form) + count * sizeof(form->parts[0]));
    char *copy = malloc(len + 1);
    const char *wrong = "memory is short";

    if (form == NULL || copy == NULL)
        goto end;
    form->text = malloc(3 * len + count + 1);
    if (form->text == NULL)
        goto end;
    for (wrong = NULL; wrong == NULL && *text != '\0';) {
        wrong = parse_parameter(form, &text, is_acl, copy);
        if (*text == ',')
            text++;
    }
    if (wrong == NULL && form->part_count == 0)
        wrong = "it names no parameter";
end:
    free(copy);
    if (wrong == NULL)
        *out_form = form;
    else
        form_free(form);
    return wrong;
}

void form_free(struct form *form)
{
    if (form == NULL)
        return;
    free(form->text);
    free(form);
}

size_t form_bytes(const struct form *form, const struct form_facts *facts)
{
    size_t bytes = form->parts[form->part_count - 1].end;

    for (size_t i = 0; i < form->part_count; i++) {
        if (form->parts[i].fact != NO_FACT)
            bytes += encoded_bytes(facts->values[form->parts[i].fact]);
    }
    return bytes;
}

char *form_write(const struct form *form, const struct form_facts *facts, char *out)
{
    size_t begin = 0;

    for (size_t i = 0; i < form->part_count; i++) {
        const struct part *part = &form->parts[i];

        memcpy(out, form->text + begin, part->end - begin);
        out += part->end - begin;
        begin = part->end;
        if (part->fact != NO_FACT)
            out = encode(facts->values[part->fact].data, facts->values[part->fact].len, out);
    }
    return out;
}
