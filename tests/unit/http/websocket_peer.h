/*
 * websocket_peer: a stream with a WebSocket layer on one end of a socket pair and the test as its client on the other.
 */
#ifndef TESTS_HTTP_WEBSOCKET_PEER_H
#define TESTS_HTTP_WEBSOCKET_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/websocket.h"
#include "http/websocket_frame.h"
#include "net/stream.h"

extern struct stream_pool pool;
extern struct stream stream;
extern struct stream_layer *ws_layer;
extern struct websocket_options options; /* of the layer; may be changed before the upgrade */
extern int client_fd;
extern uint32_t released_count;

/* Bytes that grow by what the functions below put in; whoever has them calls bytes_fini(). */
struct bytes {
    uint8_t *data;
    size_t len, capacity;
};

void bytes_add(struct bytes *bytes, const void *data, size_t len);
void bytes_fini(struct bytes *bytes);

int peer_set_up(void **state);
int peer_tear_down(void **state);

/* Adds a masked frame. `first`: FIN, RSV bits and opcode. */
void add_frame(struct bytes *out, uint8_t first, const void *payload, size_t len);
void client_send(const void *data, size_t len);
void client_send_frame(uint8_t first, const void *payload, size_t len);
/* What came from the server until now; ends with a zero that is not counted. */
struct bytes client_receive(void);
/* Checks that exactly this came. */
void client_expects(const void *data, size_t len);
/* Sends the upgrade with `headers` beside those that every one has, and takes the answer, which the caller frees. */
struct bytes client_upgrades(const char *headers);
/* Reads from the stream, `capacity` bytes at a time, until it has nothing more; `*out_end`: what it then returned. */
struct bytes read_all(size_t capacity, ssize_t *out_end);
/* Checks that the stream gives exactly this and then -EAGAIN. */
void stream_gives(const void *data, size_t len);
void stream_write(const void *data, size_t len);
void count_release(void *owner);
/* A pattern without short periods. */
uint8_t *make_noise(size_t len);

/* The tests of websocket_close_test.c and websocket_compress_test.c: how many failed. */
int websocket_run_close_tests(void);
int websocket_run_compress_tests(void);

#endif
