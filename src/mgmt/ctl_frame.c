/*
 * ctl_frame: encoding and decoding of the control socket's frames; see the header for the layout.
 */
#include "mgmt/ctl_frame.h"

#include <errno.h>

void ctl_frame_header(uint8_t out_header[CTL_FRAME_HEADER_BYTES], enum ctl_frame_type type, size_t len)
{
    ASSERT(len <= CTL_PAYLOAD_BYTES_MAX);
    out_header[0] = (uint8_t)type;
    out_header[1] = (uint8_t)(len >> 24);
    out_header[2] = (uint8_t)(len >> 16);
    out_header[3] = (uint8_t)(len >> 8);
    out_header[4] = (uint8_t)len;
}

ssize_t ctl_frame_parse(struct slice bytes, struct ctl_frame *out_frame)
{
    uint32_t len;

    if (bytes.len < CTL_FRAME_HEADER_BYTES)
        return 0;
    if (bytes.data[0] < CTL_FRAME_REQUEST || bytes.data[0] > CTL_FRAME_EXIT)
        return -EPROTO;
    len = (uint32_t)bytes.data[1] << 24 | (uint32_t)bytes.data[2] << 16 | (uint32_t)bytes.data[3] << 8 | bytes.data[4];
    if (len > CTL_PAYLOAD_BYTES_MAX)
        return -EPROTO;
    if (bytes.len - CTL_FRAME_HEADER_BYTES < len)
        return 0;
    out_frame->type = (enum ctl_frame_type)bytes.data[0];
    out_frame->payload = slice_make(bytes.data + CTL_FRAME_HEADER_BYTES, len);
    return (ssize_t)(CTL_FRAME_HEADER_BYTES + len);
}

ssize_t ctl_request_encode(uint8_t *buffer, size_t capacity, uint8_t flags, int count, const char *const *words)
{
    size_t used = CTL_FRAME_HEADER_BYTES + 1;

    if (count < 1 || count > (int)CTL_WORDS_MAX || capacity < used)
        return -E2BIG;
    if (capacity > CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX)
        capacity = CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX;
    for (int i = 0; i < count; i++) {
        size_t len = strlen(words[i]) + 1;

        if (len > capacity - used)
            return -E2BIG;
        memcpy(buffer + used, words[i], len);
        used += len;
    }
    ctl_frame_header(buffer, CTL_FRAME_REQUEST, used - CTL_FRAME_HEADER_BYTES);
    buffer[CTL_FRAME_HEADER_BYTES] = flags;
    return (ssize_t)used;
}

int ctl_request_decode(struct slice payload, uint8_t *out_flags, const char **out_words)
{
    struct slice rest;
    int count = 0;

    if (payload.len < 2 || payload.data[payload.len - 1] != '\0')
        return -EPROTO;
    for (rest = slice_skip(payload, 1); rest.len > 0;) {
        const char *word = (const char *)rest.data;

        if (count == (int)CTL_WORDS_MAX)
            return -EPROTO;
        out_words[count++] = word;
        rest = slice_skip(rest, strlen(word) + 1);
    }
    out_words[count] = NULL;
    *out_flags = payload.data[0];
    return count;
}
