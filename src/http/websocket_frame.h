/*
 * websocket_frame: the frames of RFC 6455, section 5, as a server reads and writes them. Pure: bytes in, bytes out, no memory of
 * its own; what it must know between two calls is a `struct websocket_reader`.
 */
#ifndef HTTP_WEBSOCKET_FRAME_H
#define HTTP_WEBSOCKET_FRAME_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_HEADER_MAX 14u       /* bytes of a client's header */
#define WEBSOCKET_OWN_HEADER_MAX 10u   /* of a server's: without a mask */
#define WEBSOCKET_CONTROL_MAX 125u     /* bytes of a control frame's payload, section 5.5 */
#define WEBSOCKET_CLOSE_REASON_MAX 123 /* of them behind the code of a Close frame */

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0x0,
    WEBSOCKET_TEXT = 0x1,
    WEBSOCKET_BINARY = 0x2,
    WEBSOCKET_CLOSE = 0x8, /* and above: control frames */
    WEBSOCKET_PING = 0x9,
    WEBSOCKET_PONG = 0xa,
};

/* Codes of Close frames, section 7.4.1. */
enum websocket_close_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_NO_CODE = 1005, /* never sent: stands for a Close frame without a code */
    WEBSOCKET_BAD_TEXT = 1007,
    WEBSOCKET_POLICY = 1008,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_INTERNAL = 1011,
};

/* Where reading is: between frames, in a header, or in a payload with `left` bytes to come. */
struct websocket_reader {
    uint64_t left; /* bytes of the payload that have not been taken */
    uint32_t mask; /* in the order of memory: its first byte belongs to the next byte of the payload */
    uint8_t header[WEBSOCKET_HEADER_MAX]; /* of a header whose end has not come */
    uint8_t header_len;
    uint8_t opcode; /* of the frame whose header came last */
    bool in_frame;  /* a header is complete, its payload is not */
    bool fin;
    bool in_message;   /* the first frame of a message came, the last one has not */
    bool compressed;   /* the message is (RSV1), RFC 7692 */
    bool may_compress; /* permessage-deflate was agreed on: set by the owner */
};

enum websocket_header {
    WEBSOCKET_HEADER_MORE, /* all bytes were taken, the header goes on */
    WEBSOCKET_HEADER_DONE, /* `opcode`, `left`, `mask`, ... tell of the frame */
    WEBSOCKET_HEADER_BAD,  /* fail the connection */
};

/* What is wrong: the code of the Close frame and a text for the log. */
struct websocket_fault {
    enum websocket_close_code code;
    const char *text; /* static */
};

/* Reads a header from the `len` bytes at `in`; not while reader->in_frame. `frame_bytes_max`: largest payload, 0: no limit.
 * `*out_used` (not written when bad): bytes of the header among `in`. `*out_fault` is written when bad. */
enum websocket_header websocket_read_header(struct websocket_reader *reader, const uint8_t *in, size_t len,
                                            uint64_t frame_bytes_max, size_t *out_used,
                                            struct websocket_fault *out_fault);

/* Unmasks `len` bytes (at most reader->left) of payload from `in` to `out`, which may overlap when `out` is not behind `in`.
 * Does not count them as taken. */
void websocket_unmask(struct websocket_reader *reader, uint8_t *out, const uint8_t *in, size_t len);

/* Counts `len` bytes of payload as taken. True when the frame is at its end. */
bool websocket_take(struct websocket_reader *reader, uint64_t len);

/* Checks the payload of a Close frame, sections 5.5.1 and 7.4. True: `*out_code` is its code or WEBSOCKET_NO_CODE; false:
 * `*out_fault` says what is wrong. */
bool websocket_check_close(struct slice payload, uint16_t *out_code, struct websocket_fault *out_fault);

/* Writes the header of a frame of ours, whole in one frame. Returns its length. */
size_t websocket_write_header(uint8_t out[WEBSOCKET_OWN_HEADER_MAX], enum websocket_opcode opcode, bool compressed,
                              uint64_t payload_len);

#endif
