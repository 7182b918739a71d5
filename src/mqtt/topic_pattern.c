/*
 * topic_pattern: see topic_pattern.h.
 */
#include "mqtt/topic_pattern.h"

#include <errno.h>
#include <stdlib.h>

/* The letter of the placeholder that is the level beginning at `at`; 0: none does. */
static char placeholder_at(struct slice pattern, size_t at)
{
    bool level_start = at == 0 || pattern.data[at - 1] == '/';
    bool level_end = at + 2 == pattern.len || (at + 2 < pattern.len && pattern.data[at + 2] == '/');

    return level_start && level_end && pattern.data[at] == '%' ? (char)pattern.data[at + 1] : 0;
}

int topic_pattern_expand(struct slice pattern, struct slice client_id, struct slice user_name, struct slice *out_text)
{
    size_t out_len = 0;
    uint8_t *out = malloc(pattern.len + (pattern.len / 3 + 1) * (client_id.len + user_name.len) + 1);

    if (out == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < pattern.len; i++) {
        char letter = placeholder_at(pattern, i);
        struct slice with = letter == 'c' ? client_id : letter == 'u' ? user_name : slice_make(NULL, 0);
        if (with.data != NULL) {
            memcpy(out + out_len, with.data, with.len);
            out_len += with.len;
            i++;
        } else {
            out[out_len++] = pattern.data[i];
        }
    }
    *out_text = slice_make(out, out_len);
    return 0;
}

bool topic_pattern_has(struct slice pattern, char letter)
{
    for (size_t i = 0; i < pattern.len; i++) {
        if (placeholder_at(pattern, i) == letter)
            return true;
    }
    return false;
}

bool topic_pattern_value_fits(struct slice value)
{
    return value.len == 0 || (memchr(value.data, '+', value.len) == NULL && memchr(value.data, '#', value.len) == NULL);
}
