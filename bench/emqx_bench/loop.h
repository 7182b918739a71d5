/*
 * loop: one thread's event loop over the tool's connections: edge-triggered epoll, one large read buffer, and one
 * write a connection and turn.
 *
 * A turn is loop_turn() (read and handle all that has come), whatever the caller then wants to send, and
 * loop_flush(), which writes each connection's gathered output. Thread: owner.
 */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#define LOOP_READ_BYTES (256u * 1024u)
/* The start of a packet, and what one read and the record that OpenSSL had begun before can decrypt to. */
#define LOOP_BUFFER_BYTES (2u * LOOP_READ_BYTES + 32u * 1024u)

struct client;

struct loop {
    int epoll_fd;
    uint64_t now_ns;      /* clock_ns() at the last read or wake-up */
    uint8_t *read_buffer; /* LOOP_BUFFER_BYTES of what MQTT reads */
    uint8_t *raw_buffer;  /* LOOP_READ_BYTES, for TLS */
    struct client *dirty; /* connections with output to write, by `next_dirty` */
    struct client *again; /* connections that may have more to read, by `next_again` */
    uint64_t read_count;  /* system calls, for the report */
    uint64_t write_count;
    uint32_t open_count; /* connections opened so far */
};

/* Returns 0 or -errno. */
int loop_init(struct loop *loop);
/* Half-built and zeroed loops are fine. */
void loop_fini(struct loop *loop);

/* Waits for input until `deadline_ns` (clock_ns(); 0: does not wait) or a signal and handles it: the clients'
 * handlers are called. With output still to flush it does not wait. */
void loop_turn(struct loop *loop, uint64_t deadline_ns);

/* Writes the output of all connections that have some. */
void loop_flush(struct loop *loop);

#endif
