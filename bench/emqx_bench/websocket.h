/*
 * websocket: the client side of RFC 6455 for MQTT: upgrade request, masked frames out, frames in. No socket: bytes in
 * and out of buffers. Thread: one.
 *
 * Each connection masks with one random key: the reader can't tell, and the masking costs a pass over 8 bytes at a time.
 */
#ifndef BENCH_WEBSOCKET_H
#define BENCH_WEBSOCKET_H

#include "buffer.h"

#include <stdbool.h>
#include <sys/types.h>

#define WEBSOCKET_HEADER_MAX 14u
#define WEBSOCKET_CONTROL_MAX 125u

/* What the connections of a run have in common. */
struct websocket_settings {
    char *request;   /* owned: the upgrade request */
    char accept[32]; /* what its answer must say */
    uint64_t mask_seed;
    char fault[128]; /* of the last connection that failed */
};

struct websocket {
    struct websocket_settings *settings;
    bool open;           /* the upgrade was accepted */
    bool is_pong_owed;   /* to the last ping */
    uint8_t opcode;      /* of the frame that is being read */
    uint8_t header_len;  /* bytes of `header` that are there */
    uint8_t control_len; /* bytes of a control frame's payload that are there */
    uint8_t pong_len;
    uint32_t mask_key;    /* of all our frames, in memory order */
    uint64_t payload_len; /* bytes of the frame that have not come yet; header_len 0: no frame has begun */
    uint8_t header[WEBSOCKET_HEADER_MAX];
    uint8_t control[WEBSOCKET_CONTROL_MAX];
    uint8_t pong[WEBSOCKET_CONTROL_MAX]; /* what the ping said */
    struct buffer response;              /* to the upgrade, until it is whole */
};

/* Makes the request. Returns 0 or -ENOMEM. */
int websocket_settings_init(struct websocket_settings *settings, const char *host, uint32_t port, const char *path);
void websocket_settings_fini(struct websocket_settings *settings);

/* Prepares a connection and puts its upgrade request into `out`. */
void websocket_open(struct websocket *websocket, struct websocket_settings *settings, struct buffer *out);
/* Zeroed ones are fine. */
void websocket_close(struct websocket *websocket);

/* Takes `len` bytes from the peer, in place: the MQTT bytes among them are at the front of `data` then. Returns how many,
 * or -1: the connection has failed, settings->fault says why. Becomes `open` with the answer to the upgrade. */
ssize_t websocket_receive(struct websocket *websocket, uint8_t *data, size_t len);

/* Appends one masked binary frame with `data`. */
void websocket_send(struct websocket *websocket, const uint8_t *data, size_t len, struct buffer *out);
/* Appends the pong that is owed. */
void websocket_send_pong(struct websocket *websocket, struct buffer *out);
/* Appends a Close frame with code 1000. */
void websocket_send_close(struct websocket *websocket, struct buffer *out);

#endif
