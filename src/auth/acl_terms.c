/*
 * acl_terms: terms from tokens. A term is read by one loop with a stack of the tuples and lists that are open.
 *
 * Nodes refer to each other by number, as the array moves while it grows. Number 0 is the term itself, so that no child has it.
 */
#include "auth/acl_scan_internal.h"

#include "mqtt/topic.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct acl_terms {
    struct acl_scanner scanner;
    struct acl_token token; /* the one that is looked at */
    struct acl_term *nodes;
    uint32_t count;
    uint32_t capacity;
    size_t source_begin;
    size_t source_end;
};

/* A tuple or list whose end has not come. */
struct open_term {
    uint32_t node;
    uint32_t last; /* its last child so far; 0: none */
};

void acl_error_set(struct acl_error *error, struct acl_place place, const char *format, ...)
{
    va_list arguments;

    error->place = place;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    for (char *at = error->text; *at != '\0'; at++) {
        if ((uint8_t)*at < ' ' || *at == 0x7F)
            *at = '?';
    }
}

struct acl_terms *acl_terms_new(struct slice text)
{
    struct acl_terms *terms = calloc(1, sizeof(*terms));

    if (terms != NULL)
        acl_scan_begin(&terms->scanner, text);
    return terms;
}

void acl_terms_free(struct acl_terms *terms)
{
    if (terms == NULL)
        return;
    free(terms->scanner.buffer.data);
    free(terms->nodes);
    free(terms);
}

static int unexpected(struct acl_terms *terms, const char *expected)
{
    char found[80];

    acl_token_describe(&terms->scanner, &terms->token, found, sizeof(found));
    acl_error_set(terms->scanner.error, terms->token.place, "found %s, expected %s", found, expected);
    return -EINVAL;
}

static int advance(struct acl_terms *terms)
{
    return acl_scan(&terms->scanner, &terms->token);
}

static int add_node(struct acl_terms *terms, const struct acl_term *node, uint32_t *out_index)
{
    if (terms->count == ACL_TERM_NODES_MAX) {
        acl_error_set(terms->scanner.error, node->place, "this term has more than %u parts: use several rules",
                      ACL_TERM_NODES_MAX);
        return -EINVAL;
    }
    if (terms->count == terms->capacity) {
        uint32_t capacity = terms->capacity == 0 ? 16 : terms->capacity * 2;
        struct acl_term *nodes = realloc(terms->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL)
            return -ENOMEM;
        terms->nodes = nodes;
        terms->capacity = capacity;
    }
    *out_index = terms->count;
    terms->nodes[terms->count++] = *node;
    return 0;
}

/* Text of a file that says it is UTF-8 has to be. */
static int check_text(struct acl_terms *terms, const struct acl_term *term)
{
    if (!terms->scanner.is_utf8 || term->text_len == 0 ||
        mqtt_utf8_valid(slice_make(terms->scanner.buffer.data + term->text_at, term->text_len)) ||
        memchr(terms->scanner.buffer.data + term->text_at, '\0', term->text_len) != NULL)
        return 0;
    acl_error_set(terms->scanner.error, term->place, "this text is not UTF-8, which the file says that it is");
    return -EINVAL;
}

/* "a" "b" is one string. The token after it becomes the current one. */
static int take_string(struct acl_terms *terms, struct acl_term *out_term)
{
    int err = 0;

    out_term->type = ACL_TERM_STRING;
    out_term->text_at = terms->token.text_at;
    while (err == 0 && terms->token.type == ACL_TOKEN_STRING) {
        out_term->text_len += terms->token.text_len; /* they follow each other in the buffer */
        err = advance(terms);
    }
    return err;
}

/* Latin-1 to UTF-8, for <<"..."/utf8>> in a file that is not UTF-8. */
static int encode_tail(struct acl_terms *terms, uint32_t from)
{
    struct acl_buffer *buffer = &terms->scanner.buffer;
    struct slice copy;
    int err = slice_dup(slice_make(buffer->data + from, buffer->len - from), &copy);

    buffer->len = from;
    for (size_t i = 0; err == 0 && i < copy.len; i++)
        err = acl_buffer_put_utf8(buffer, copy.data[i]);
    slice_free(&copy);
    return err;
}

/* What may follow a string in a binary: /utf8. */
static int take_suffix(struct acl_terms *terms, uint32_t text_at)
{
    int err = advance(terms);
    struct slice word;

    if (err < 0)
        return err;
    word = slice_make(terms->scanner.buffer.data + terms->token.text_at, terms->token.text_len);
    if (terms->token.type != ACL_TOKEN_ATOM || !slice_equal(word, SLICE_LITERAL("utf8")))
        return unexpected(terms, "utf8 after / in a binary");
    terms->scanner.buffer.len = terms->token.text_at;
    if (!terms->scanner.is_utf8 && terms->scanner.buffer.len > text_at)
        err = encode_tail(terms, text_at);
    return err < 0 ? err : advance(terms);
}

/* One of the parts between << and >>: a string, or a byte as a number. */
static int take_segment(struct acl_terms *terms)
{
    uint32_t text_at = terms->token.text_at;
    int err;

    if (terms->token.type == ACL_TOKEN_STRING) {
        do {
            err = advance(terms);
        } while (err == 0 && terms->token.type == ACL_TOKEN_STRING);
        return err == 0 && terms->token.type == ACL_TOKEN_SLASH ? take_suffix(terms, text_at) : err;
    }
    if (terms->token.type != ACL_TOKEN_INTEGER || terms->token.integer < 0 || terms->token.integer > 255)
        return unexpected(terms, "a string or a number from 0 to 255 in a binary");
    err = acl_buffer_put(&terms->scanner.buffer, (uint8_t)terms->token.integer);
    return err < 0 ? err : advance(terms);
}

static int take_binary(struct acl_terms *terms, struct acl_term *out_term)
{
    int err = advance(terms);

    out_term->type = ACL_TERM_BINARY;
    out_term->text_at = terms->scanner.buffer.len;
    if (err == 0 && terms->token.type == ACL_TOKEN_STRING)
        out_term->text_at = terms->token.text_at;
    while (err == 0 && terms->token.type != ACL_TOKEN_CLOSE_BINARY) {
        err = take_segment(terms);
        if (err == 0 && terms->token.type == ACL_TOKEN_COMMA) {
            err = advance(terms);
            if (err == 0 && terms->token.type == ACL_TOKEN_CLOSE_BINARY)
                return unexpected(terms, "a string after the comma");
        } else if (err == 0 && terms->token.type != ACL_TOKEN_CLOSE_BINARY) {
            return unexpected(terms, ">>");
        }
    }
    out_term->text_len = terms->scanner.buffer.len - out_term->text_at;
    return err < 0 ? err : advance(terms);
}

/* What is no tuple and no list. The token after it becomes the current one. */
static int take_simple(struct acl_terms *terms, const char *expected, struct acl_term *out_term)
{
    int err;

    *out_term = (struct acl_term){.place = terms->token.place, .text_at = terms->token.text_at};
    switch (terms->token.type) {
    case ACL_TOKEN_ATOM:
        out_term->type = ACL_TERM_ATOM;
        out_term->text_len = terms->token.text_len;
        err = advance(terms);
        break;
    case ACL_TOKEN_INTEGER:
        out_term->type = ACL_TERM_INTEGER;
        out_term->integer = terms->token.integer;
        err = advance(terms);
        break;
    case ACL_TOKEN_STRING: err = take_string(terms, out_term); break;
    case ACL_TOKEN_OPEN_BINARY: err = take_binary(terms, out_term); break;
    default: return unexpected(terms, expected);
    }
    return err < 0 ? err : check_text(terms, out_term);
}

static bool is_open(enum acl_token_type type)
{
    return type == ACL_TOKEN_OPEN_TUPLE || type == ACL_TOKEN_OPEN_LIST;
}

/* Adds the term that begins here to the innermost open one, if there is one, and opens it if it is a tuple or list. */
static int take_item(struct acl_terms *terms, struct open_term *stack, uint32_t *depth)
{
    struct acl_term term = {.place = terms->token.place};
    uint32_t index;
    int err;

    if (is_open(terms->token.type)) {
        term.type = terms->token.type == ACL_TOKEN_OPEN_TUPLE ? ACL_TERM_TUPLE : ACL_TERM_LIST;
        if (*depth == ACL_DEPTH_MAX) {
            acl_error_set(terms->scanner.error, term.place, "more than %u tuples and lists are inside one another",
                          ACL_DEPTH_MAX);
            return -EINVAL;
        }
    } else {
        err = take_simple(terms, "a term: a tuple, a list, a word or a text in double quotes", &term);
        if (err < 0)
            return err;
    }
    err = add_node(terms, &term, &index);
    if (err < 0)
        return err;
    if (*depth > 0) {
        struct open_term *parent = &stack[*depth - 1];
        terms->nodes[parent->node].child_count++;
        if (parent->last == 0)
            terms->nodes[parent->node].child = index;
        else
            terms->nodes[parent->last].next = index;
        parent->last = index;
    }
    if (term.type != ACL_TERM_TUPLE && term.type != ACL_TERM_LIST)
        return 0;
    stack[(*depth)++] = (struct open_term){.node = index};
    return advance(terms);
}

/* After an item: a comma, or the ends of what it is the last of. */
static int take_ends(struct acl_terms *terms, const struct open_term *stack, uint32_t *depth)
{
    while (*depth > 0) {
        const struct open_term *open = &stack[*depth - 1];
        bool is_tuple = terms->nodes[open->node].type == ACL_TERM_TUPLE;
        int err;
        if (terms->token.type == ACL_TOKEN_COMMA && open->last != 0)
            return advance(terms);
        if (terms->token.type != (is_tuple ? ACL_TOKEN_CLOSE_TUPLE : ACL_TOKEN_CLOSE_LIST)) {
            if (open->last == 0) /* just opened: its first item */
                return 0;
            return unexpected(terms, is_tuple ? "a comma or }" : "a comma or ]");
        }
        terms->source_end = terms->scanner.at;
        err = advance(terms);
        if (err < 0)
            return err;
        --*depth;
    }
    return 0;
}

static int take_term(struct acl_terms *terms)
{
    struct open_term stack[ACL_DEPTH_MAX];
    uint32_t depth = 0;
    int err;

    terms->source_begin = terms->source_end = terms->token.source_at;
    do {
        err = take_item(terms, stack, &depth);
        if (err == 0)
            err = take_ends(terms, stack, &depth);
    } while (err == 0 && depth > 0);
    if (err == 0 && terms->token.type != ACL_TOKEN_DOT)
        return unexpected(terms, "a full stop after the rule");
    return err;
}

int acl_terms_next(struct acl_terms *terms, const struct acl_term **out_term, struct acl_error *out_error)
{
    int err;

    terms->scanner.error = out_error;
    terms->scanner.buffer.len = 0;
    terms->count = 0;
    err = advance(terms);
    if (err < 0 || terms->token.type == ACL_TOKEN_END)
        return err;
    err = take_term(terms);
    if (err < 0)
        return err;
    *out_term = terms->nodes;
    return 1;
}

const struct acl_term *acl_term_child(const struct acl_terms *terms, const struct acl_term *term, uint32_t index)
{
    uint32_t node = term->child;

    while (index-- > 0)
        node = terms->nodes[node].next;
    ASSERT(node != 0);
    return terms->nodes + node;
}

const struct acl_term *acl_term_next(const struct acl_terms *terms, const struct acl_term *term)
{
    return term->next == 0 ? NULL : terms->nodes + term->next;
}

struct slice acl_term_text(const struct acl_terms *terms, const struct acl_term *term)
{
    if (term->text_len == 0)
        return SLICE_LITERAL("");
    return slice_make(terms->scanner.buffer.data + term->text_at, term->text_len);
}

bool acl_term_is(const struct acl_terms *terms, const struct acl_term *term, const char *atom)
{
    return term->type == ACL_TERM_ATOM && slice_equal(acl_term_text(terms, term), slice_from_string(atom));
}

struct slice acl_terms_source(const struct acl_terms *terms)
{
    return slice_make(terms->scanner.text.data + terms->source_begin, terms->source_end - terms->source_begin);
}

void acl_term_unexpected(const struct acl_terms *terms, const struct acl_term *term, const char *expected,
                         struct acl_error *out_error)
{
    struct acl_token token = {
        .text_at = term->text_at, .text_len = term->text_len, .integer = term->integer, .type = ACL_TOKEN_STRING};
    char found[80];

    if (term->type == ACL_TERM_TUPLE)
        snprintf(found, sizeof(found), "a tuple of %u", term->child_count);
    else if (term->type == ACL_TERM_LIST)
        snprintf(found, sizeof(found), "%s list", term->child_count == 0 ? "an empty" : "a");
    else if (term->type == ACL_TERM_ATOM)
        token.type = ACL_TOKEN_ATOM;
    else if (term->type == ACL_TERM_INTEGER)
        token.type = ACL_TOKEN_INTEGER;
    if (term->type != ACL_TERM_TUPLE && term->type != ACL_TERM_LIST)
        acl_token_describe(&terms->scanner, &token, found, sizeof(found));
    acl_error_set(out_error, term->place, "found %s, expected %s", found, expected);
}
