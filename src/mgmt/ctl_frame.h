/*
 * ctl_frame: the bytes between emqx_ctl and the broker's control socket. Pure: no I/O.
 *
 * A frame is a type (1 byte), the payload's length (4 bytes, big-endian) and the payload. The client sends one
 * REQUEST; the broker answers with any number of STDOUT and STDERR frames and at last one EXIT, then closes.
 *
 *   REQUEST  flags (1 byte, CTL_FLAG_*), then the words of the command, each with a terminating zero
 *   STDOUT   text for the caller's standard output
 *   STDERR   text for the caller's standard error
 *   EXIT     the exit status (1 byte)
 *
 * Thread: any.
 */
#ifndef MGMT_CTL_FRAME_H
#define MGMT_CTL_FRAME_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CTL_FRAME_HEADER_BYTES 5u
#define CTL_PAYLOAD_BYTES_MAX 65536u
#define CTL_WORDS_MAX 64u

enum ctl_frame_type { CTL_FRAME_REQUEST = 1, CTL_FRAME_STDOUT = 2, CTL_FRAME_STDERR = 3, CTL_FRAME_EXIT = 4 };

/* The caller wants the exit statuses of the original (EMQX_CTL_LEGACY_EXIT=1). */
#define CTL_FLAG_LEGACY_EXIT 0x01u

struct ctl_frame {
    enum ctl_frame_type type;
    struct slice payload; /* borrowed from the bytes that were parsed */
};

/* Writes a frame's header. `len` is at most CTL_PAYLOAD_BYTES_MAX. */
void ctl_frame_header(uint8_t out_header[CTL_FRAME_HEADER_BYTES], enum ctl_frame_type type, size_t len);

/* Looks for a frame at the start of `bytes`. Returns the bytes it takes, 0 when more are needed, -EPROTO for an
 * unknown type or a length over the limit (known as soon as the header is complete: nothing is reserved for it). */
MUST_USE ssize_t ctl_frame_parse(struct slice bytes, struct ctl_frame *out_frame);

/* Writes a whole REQUEST frame for the `count` words into `buffer`. Returns its length or -E2BIG: no word at
 * all, too many words, or over `capacity` or CTL_PAYLOAD_BYTES_MAX. */
MUST_USE ssize_t ctl_request_encode(uint8_t *buffer, size_t capacity, uint8_t flags, int count,
                                    const char *const *words);

/* Finds the words in a REQUEST's payload; they point into it. Returns their number (1..CTL_WORDS_MAX), or -EPROTO:
 * no word, too many, or no terminating zero at the end. `out_words` has room for CTL_WORDS_MAX + 1; NULL follows the last. */
MUST_USE int ctl_request_decode(struct slice payload, uint8_t *out_flags, const char **out_words);

#endif
