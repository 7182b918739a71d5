/*
 * base64url: base64 as JSON Web Tokens write it (RFC 7515, section 2; RFC 4648, section 5).
 *
 * Strict: no blanks, no bytes outside the alphabet, no bits left over that are not zero; so a text has one meaning and bytes have one
 * text. Padding may be there, then all of it. Pure. Thread: any.
 */
#ifndef PLUGINS_LIB_BASE64URL_H
#define PLUGINS_LIB_BASE64URL_H

#include <stddef.h>

enum base64_alphabet {
    BASE64_URL, /* '-' and '_' */
    BASE64_ANY, /* those, '+' and '/': for what people write */
};

/* Room for what `len` bytes of text stand for. */
#define BASE64_DECODED_MAX(len) ((len) / 4 * 3 + 3)

/* Writes what `text` stands for, at most `size` bytes, and its length. Returns 0, -EINVAL (not base64) or -ENOSPC. */
int base64_decode(enum base64_alphabet alphabet, const char *text, size_t len, unsigned char *out_data, size_t size,
                  size_t *out_len);

#endif
