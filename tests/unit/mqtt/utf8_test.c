/*
 * Legal and illegal UTF-8 (MQTT 5, section 1.5.4), against a slow reference that decodes and encodes again.
 */
#include "codec_test.h"

#include "mqtt/topic.h"

/* Writes a code point as UTF-8 would, legal or not. Returns the bytes. */
static size_t encode_point(uint32_t point, uint8_t *out)
{
    static const uint8_t leads[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    for (size_t i = len; i-- > 1; point >>= 6)
        out[i] = (uint8_t)(0x80 | (point & 0x3F));
    out[0] = (uint8_t)(leads[len] | point);
    return len;
}

static bool reference_valid(struct slice text)
{
    while (text.len > 0) {
        uint8_t lead = text.data[0];
        size_t len = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 0;
        uint32_t point = len == 1 ? lead : lead & (0xFFu >> (len + 1));
        uint8_t again[4];

        if (len == 0 || len > text.len)
            return false;
        for (size_t i = 1; i < len; i++)
            point = point << 6 | (text.data[i] & 0x3F);
        if (point == 0 || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
            return false;
        if (encode_point(point, again) != len || memcmp(again, text.data, len) != 0)
            return false;
        text = slice_skip(text, len);
    }
    return true;
}

static void takes_every_character_that_unicode_has(void **state)
{
    (void)state;
    for (uint32_t point = 0; point <= 0x110010; point++) {
        uint8_t bytes[4];
        size_t len = encode_point(point, bytes);
        bool expected = point != 0 && point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);

        if (mqtt_utf8_valid(slice_make(bytes, len)) != expected)
            fail_msg("U+%04X", point);
    }
}

static void judges_each_lead_and_second_byte_as_the_reference_does(void **state)
{
    static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};

    (void)state;
    for (unsigned lead = 0; lead < 256; lead++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t i = 0; i < ARRAY_COUNT(edges) * ARRAY_COUNT(edges); i++) {
                uint8_t bytes[] = {(uint8_t)lead, (uint8_t)second, edges[i % ARRAY_COUNT(edges)],
                                   edges[i / ARRAY_COUNT(edges)]};

                for (size_t len = 1; len <= sizeof(bytes); len++) {
                    struct slice text = slice_make(bytes, len);

                    if (mqtt_utf8_valid(text) != reference_valid(text))
                        fail_msg("%02X %02X %02X %02X, %zu bytes", bytes[0], bytes[1], bytes[2], bytes[3], len);
                }
            }
        }
    }
}

/* The word-wise paths: each length, each place, each byte, in a block that ends where the text ends. */
static void sees_a_bad_byte_at_any_place_of_any_length(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 40; len++) {
        uint8_t *bytes = malloc(len);

        assert_non_null(bytes);
        memset(bytes, 'a', len);
        for (size_t at = 0; at < len; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                bytes[at] = (uint8_t)byte;
                if (mqtt_utf8_valid(slice_make(bytes, len)) != (byte != 0 && byte < 0x80))
                    fail_msg("byte %02X at %zu of %zu", byte, at, len);
            }
            bytes[at] = 'a';
        }
        free(bytes);
    }
}

static void takes_a_long_character_at_any_place_and_not_when_cut_off(void **state)
{
    static const char *const characters[] = {"\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(characters); i++) {
        size_t width = strlen(characters[i]);

        for (size_t len = width; len <= 40; len++) {
            for (size_t at = 0; at + width <= len; at++) {
                uint8_t *bytes = malloc(len);

                assert_non_null(bytes);
                memset(bytes, 'a', len);
                memcpy(bytes + at, characters[i], width);
                assert_true(mqtt_utf8_valid(slice_make(bytes, len)));
                assert_false(mqtt_utf8_valid(slice_make(bytes, at + width - 1)));
                free(bytes);
            }
        }
    }
}

static void an_empty_text_is_legal(void **state)
{
    (void)state;
    assert_true(mqtt_utf8_valid(slice_make("", 0)));
    assert_true(mqtt_utf8_valid((struct slice){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_character_that_unicode_has),
        cmocka_unit_test(judges_each_lead_and_second_byte_as_the_reference_does),
        cmocka_unit_test(sees_a_bad_byte_at_any_place_of_any_length),
        cmocka_unit_test(takes_a_long_character_at_any_place_and_not_when_cut_off),
        cmocka_unit_test(an_empty_text_is_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
