/*
 * Words of eight bytes at a time over text: the fast paths of utf8.c, topic.c and decode.c. Pure. Thread: any.
 *
 * All tests are one subtraction per byte lane: a lane of 1..0x7F minus one stays below 0x80, a lane of 0 borrows
 * and shows its high bit. A borrow that runs into the next lane starts at a lane that is 0 already, so the answer
 * for the whole word is exact.
 */
#ifndef MQTT_TEXT_INTERNAL_H
#define MQTT_TEXT_INTERNAL_H

#include "base/slice.h"

#define TEXT_ONES UINT64_C(0x0101010101010101)
#define TEXT_HIGHS UINT64_C(0x8080808080808080)

static inline uint64_t text_word(const uint8_t *data)
{
    uint64_t word;

    memcpy(&word, data, sizeof(word));
    return word;
}

/* A word that has just the bytes of a text of 1..7 bytes, some of them more than once, so that eight lanes are full. */
static inline uint64_t text_short_word(const uint8_t *data, size_t len)
{
    uint32_t head;
    uint32_t tail;

    if (len < 4) {
        /* Of 1..3 bytes these three are all. */
        head = (uint32_t)data[len - 1] << 8 | data[len / 2];
        return (uint64_t)(head << 16 | head) << 32 | UINT32_C(0x01010101) * data[0];
    }
    memcpy(&head, data, sizeof(head));
    memcpy(&tail, data + len - sizeof(tail), sizeof(tail));
    return (uint64_t)head << 32 | tail;
}

/* Not 0 when a byte is 0 or above 0x7F. */
static inline uint64_t text_word_unusual(uint64_t word)
{
    return (word | (word - TEXT_ONES)) & TEXT_HIGHS;
}

/* Not 0 when a byte is 0, above 0x7F, '+' or '#'; these two differ only in bit 3. */
static inline uint64_t text_word_unusual_topic(uint64_t word)
{
    uint64_t wild = (word | (TEXT_ONES * 8)) ^ (TEXT_ONES * '+');

    return (word | (word - TEXT_ONES) | (wild - TEXT_ONES)) & TEXT_HIGHS;
}

/* True when the text is not empty and all of it is ASCII without U+0000, '+' and '#': a legal topic name at one
 * glance. False says nothing but that a closer look is needed. */
static inline bool text_is_plain_topic(const uint8_t *data, size_t len)
{
    uint64_t unusual = 0;
    size_t at;

    if (len < 8)
        return len > 0 && text_word_unusual_topic(text_short_word(data, len)) == 0;
    for (at = 0; at + 8 < len; at += 8)
        unusual |= text_word_unusual_topic(text_word(data + at));
    return (unusual | text_word_unusual_topic(text_word(data + len - 8))) == 0;
}

#endif
