/*
 * scram_text: what SCRAM messages are written in: base64, UTF-8 without control characters. See scram.h.
 */
#include "lib/scram.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t scram_base64_encode(struct emqc_slice bytes, char *out_text)
{
    const uint8_t *in = (const uint8_t *)bytes.data;
    size_t out = 0;

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (left > 2 ? (uint32_t)in[i + 2] : 0);
        out_text[out++] = alphabet[group >> 18];
        out_text[out++] = alphabet[group >> 12 & 63];
        out_text[out++] = left > 1 ? alphabet[group >> 6 & 63] : '=';
        out_text[out++] = left > 2 ? alphabet[group & 63] : '=';
    }
    out_text[out] = '\0';
    return out;
}

static int digit_of(char character)
{
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    return character == '+' ? 62 : character == '/' ? 63 : -1;
}

int scram_base64_decode(struct emqc_slice text, uint8_t *out_bytes, size_t size)
{
    size_t padding = 0, digits;
    uint32_t group = 0;
    size_t out = 0;

    if (text.len % 4 != 0 || text.len > 4096)
        return -1;
    while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
        padding++;
    digits = text.len - padding;
    if (text.len / 4 * 3 - padding > size)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0)
            return -1;
        group = group << 6 | (uint32_t)digit;
        if (i % 4 == 0)
            continue;
        unsigned spare = 6 - 2 * (unsigned)(i % 4); /* bits that belong to the next byte: 4, 2, 0 */
        out_bytes[out++] = (uint8_t)(group >> spare);
        group &= (1u << spare) - 1;
    }
    return group != 0 ? -1 : (int)out; /* one text for the same bytes, not several */
}

/* Bytes of the character at the beginning of `text`; 0: none of UTF-8, or a control character. */
static size_t character_len(const uint8_t *text, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t count = text[0] < 0x80             ? 1
                   : (text[0] & 0xE0) == 0xC0 ? 2
                   : (text[0] & 0xF0) == 0xE0 ? 3
                   : (text[0] & 0xF8) == 0xF0 ? 4
                                              : 0;
    uint32_t point;

    if (count == 0 || count > len)
        return 0;
    point = count == 1 ? text[0] : text[0] & (0x7Fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        point = point << 6 | (text[i] & 0x3F);
    }
    if (point < 0x20 || (point >= 0x7F && point < 0xA0) || point < least[count] || point > 0x10FFFF ||
        (point >= 0xD800 && point < 0xE000))
        return 0;
    return count;
}

bool scram_text_fits(struct emqc_slice text, size_t len_max)
{
    const uint8_t *bytes = (const uint8_t *)text.data;
    size_t place = 0;

    if (text.len == 0 || text.len > len_max)
        return false;
    while (place < text.len) {
        size_t len = character_len(bytes + place, text.len - place);
        if (len == 0)
            return false;
        place += len;
    }
    return true;
}
