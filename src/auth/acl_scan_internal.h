/*
 * acl_scan: the tokens of a file of Erlang terms. Internal to acl_terms.
 */
#ifndef AUTH_ACL_SCAN_INTERNAL_H
#define AUTH_ACL_SCAN_INTERNAL_H

#include "auth/acl_terms.h"

enum acl_token_type {
    ACL_TOKEN_END, /* of the file */
    ACL_TOKEN_DOT,
    ACL_TOKEN_OPEN_TUPLE,
    ACL_TOKEN_CLOSE_TUPLE,
    ACL_TOKEN_OPEN_LIST,
    ACL_TOKEN_CLOSE_LIST,
    ACL_TOKEN_OPEN_BINARY,
    ACL_TOKEN_CLOSE_BINARY,
    ACL_TOKEN_COMMA,
    ACL_TOKEN_SLASH,
    ACL_TOKEN_ATOM,
    ACL_TOKEN_STRING,
    ACL_TOKEN_INTEGER,
};

struct acl_token {
    enum acl_token_type type;
    struct acl_place place;
    size_t source_at; /* of its first byte in the file */
    uint32_t text_at; /* in the buffer: bytes of a string or atom */
    uint32_t text_len;
    int64_t integer;
    bool is_quoted; /* atom */
};

/* Bytes that strings and atoms came to. */
struct acl_buffer {
    uint8_t *data;
    uint32_t len;
    uint32_t capacity;
};

struct acl_scanner {
    struct slice text;
    size_t at;
    struct acl_place place; /* of text.data[at] */
    bool is_utf8;
    struct acl_buffer buffer;
    struct acl_error *error;
};

/* Looks for a byte order mark and a `coding:` comment. */
void acl_scan_begin(struct acl_scanner *scanner, struct slice text);
/* The next token. 0; -EINVAL with *scanner->error; -ENOMEM. */
MUST_USE int acl_scan(struct acl_scanner *scanner, struct acl_token *out_token);
/* Appends a byte. -ENOMEM. */
MUST_USE int acl_buffer_put(struct acl_buffer *buffer, uint8_t byte);
/* Appends a character as UTF-8. -ENOMEM. */
MUST_USE int acl_buffer_put_utf8(struct acl_buffer *buffer, uint32_t character);
/* "the string \"a\"", "the word deny", "{": for error texts. */
void acl_token_describe(const struct acl_scanner *scanner, const struct acl_token *token, char *out_text, size_t size);

#endif
