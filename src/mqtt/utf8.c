/*
 * utf8: is this a legal UTF-8 encoded string of MQTT 5, section 1.5.4?
 */
#include "base/compiler.h"
#include "mqtt/text_internal.h"
#include "mqtt/topic.h"

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Bytes of the well-formed character at `at` (Unicode's table 3-7: no overlong form, no surrogate, nothing above
 * U+10FFFF); 0 when it is not well-formed, cut off by `left`, or U+0000. */
static size_t character_len(const uint8_t *at, size_t left)
{
    uint8_t lead = at[0];

    if (lead < 0x80)
        return lead != 0;
    if (lead < 0xC2)
        return 0;
    if (lead < 0xE0)
        return left >= 2 && is_continuation(at[1]) ? 2 : 0;
    if (left < 3 || !is_continuation(at[1]) || !is_continuation(at[2]))
        return 0;
    if (lead < 0xF0) {
        bool overlong = lead == 0xE0 && at[1] < 0xA0;
        bool surrogate = lead == 0xED && at[1] > 0x9F; /* [MQTT-1.5.4-1] */

        return overlong || surrogate ? 0 : 3;
    }
    if (left < 4 || lead > 0xF4 || !is_continuation(at[3]))
        return 0;
    if ((lead == 0xF0 && at[1] < 0x90) || (lead == 0xF4 && at[1] > 0x8F))
        return 0;
    return 4;
}

static bool valid_with_characters(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        size_t len;

        while (end - at >= 8 && text_word_unusual(text_word(at)) == 0)
            at += 8;
        if (at == end)
            return true;
        len = character_len(at, (size_t)(end - at));
        if (len == 0)
            return false;
        at += len;
        /* Text that is not Latin seldom has eight ASCII bytes in a row: stay with characters as long as they last. */
        while (at < end && *at >= 0x80) {
            len = character_len(at, (size_t)(end - at));
            if (len == 0)
                return false;
            at += len;
        }
    }
    return true;
}

bool mqtt_utf8_valid(struct slice text)
{
    uint64_t unusual = 0;
    size_t at;

    if (text.len == 0)
        return true;
    if (text.len < 8) {
        if (LIKELY(text_word_unusual(text_short_word(text.data, text.len)) == 0))
            return true;
        return valid_with_characters(text.data, text.data + text.len);
    }
    for (at = 0; at + 8 < text.len; at += 8) {
        unusual = text_word_unusual(text_word(text.data + at));
        if (unusual != 0)
            return valid_with_characters(text.data + at, text.data + text.len);
    }
    /* The last word may overlap the one before: no loop over a tail. */
    if (LIKELY(text_word_unusual(text_word(text.data + text.len - 8)) == 0))
        return true;
    return valid_with_characters(text.data + at, text.data + text.len);
}
