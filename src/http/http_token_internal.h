/*
 * http_token_internal: what header values are made of (RFC 9110, section 5.6): tokens, lists, blanks. Pure. Thread: any.
 */
#ifndef HTTP_HTTP_TOKEN_INTERNAL_H
#define HTTP_HTTP_TOKEN_INTERNAL_H

#include "base/slice.h"

#include <strings.h>

/* Without blanks at both ends. */
static inline struct slice http_trim(struct slice text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_skip(text, 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Takes the next element of a list from the front of `*rest`, without blanks. False: there is none. A separator within a
 * quoted string is not looked for: no header read here has such. */
static inline bool http_next(struct slice *rest, uint8_t separator, struct slice *out_element)
{
    const uint8_t *end;
    struct slice element = *rest;

    if (rest->data == NULL)
        return false;
    end = rest->len == 0 ? NULL : (const uint8_t *)memchr(rest->data, separator, rest->len);
    if (end == NULL) {
        *rest = (struct slice){NULL, 0};
    } else {
        element.len = (size_t)(end - rest->data);
        *rest = slice_skip(*rest, element.len + 1);
    }
    *out_element = http_trim(element);
    return true;
}

/* Without regard to case. */
static inline bool http_same(struct slice left, struct slice right)
{
    return left.len == right.len &&
           (left.len == 0 || strncasecmp((const char *)left.data, (const char *)right.data, left.len) == 0);
}

#endif
