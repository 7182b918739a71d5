/* base64url: four characters are three bytes; a rest of two or three characters is one byte or two. */
#include "base64url.h"

#include <errno.h>
#include <stdint.h>

/* The six bits of a character; -1: it is none of the alphabet. */
static int bits_of(enum base64_alphabet alphabet, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-' || (c == '+' && alphabet == BASE64_ANY))
        return 62;
    if (c == '_' || (c == '/' && alphabet == BASE64_ANY))
        return 63;
    return -1;
}

/* The length without padding. Padding that does not fill up to four characters stays and is then a wrong character. */
static size_t unpadded(const char *text, size_t len)
{
    size_t padding = 0;

    if (len % 4 != 0)
        return len;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    return len - padding;
}

int base64_decode(enum base64_alphabet alphabet, const char *text, size_t len, unsigned char *out_data, size_t size,
                  size_t *out_len)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t written = 0;

    len = unpadded(text, len);
    if (len % 4 == 1)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        int six = bits_of(alphabet, text[i]);
        if (six < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)six;
        bit_count += 6;
        if (bit_count < 8)
            continue;
        if (written == size)
            return -ENOSPC;
        bit_count -= 8;
        out_data[written++] = (unsigned char)(bits >> bit_count & 0xFF);
    }
    if ((bits & ((1u << bit_count) - 1)) != 0)
        return -EINVAL;
    *out_len = written;
    return 0;
}
