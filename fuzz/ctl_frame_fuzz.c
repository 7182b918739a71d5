/*
 * ctl_frame_fuzz: any bytes on the control socket, cut into frames and words; what is understood comes out the same
 * when it is written again.
 */
#include <string.h>

#include "mgmt/ctl_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(struct slice payload)
{
    static uint8_t again[CTL_FRAME_HEADER_BYTES + CTL_PAYLOAD_BYTES_MAX];
    const char *words[CTL_WORDS_MAX + 1];
    uint8_t flags;
    ssize_t len;
    int count = ctl_request_decode(payload, &flags, words);

    if (count < 0)
        return;
    len = ctl_request_encode(again, sizeof(again), flags, count, words);
    ASSERT(len == (ssize_t)(CTL_FRAME_HEADER_BYTES + payload.len));
    ASSERT(memcmp(again + CTL_FRAME_HEADER_BYTES, payload.data, payload.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_make(data, size);
    struct ctl_frame frame;
    ssize_t taken;

    while ((taken = ctl_frame_parse(rest, &frame)) > 0) {
        if (frame.type == CTL_FRAME_REQUEST)
            check_request(frame.payload);
        rest = slice_skip(rest, (size_t)taken);
    }
    return 0;
}
