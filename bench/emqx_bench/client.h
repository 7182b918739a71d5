/*
 * client: one MQTT connection of the load generator.
 *
 * It connects without blocking, answers what the protocol wants answered (PUBACK, PUBREC, PUBREL, PUBCOMP) and tells
 * its handler the rest. All output gathers in `out` until the loop flushes it.
 *
 *   IDLE --client_open--> CONNECTING --CONNACK--> READY --client_disconnect, error, end of file--> CLOSED
 *
 * A client may be opened again after it was closed. Thread: the loop's owner.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "buffer.h"
#include "loop.h"
#include "packet_ids.h"
#include "transport.h"
#include "wire.h"

#include <sys/socket.h>

enum client_state { CLIENT_IDLE, CLIENT_CONNECTING, CLIENT_READY, CLIENT_CLOSED };

/* What the connections of a run have in common. */
struct client_settings {
    struct sockaddr_storage address;
    socklen_t address_len;
    enum mqtt_version version;
    const char *user_name; /* NULL: none */
    const char *password;
    uint32_t expiry_s;
    uint16_t keep_alive_s;
    uint16_t receive_max;  /* ours, sent with v5; 0: not sent */
    uint16_t inflight_max; /* QoS 1 and 2 PUBLISHes in handshake; with v5 the broker's Receive Maximum lowers it */
    bool clean;
    struct transport_settings transport;
};

struct client;

/* All are called from loop_turn(), on_closed also from loop_flush(). Any may be NULL. */
struct client_handler {
    void (*on_ready)(struct client *client);
    void (*on_suback)(struct client *client, struct slice codes);
    /* Once a QoS 2 message; its slices are valid during the call. */
    void (*on_publish)(struct client *client, const struct wire_publish *publish);
    /* The broker released a received QoS 2 message: it knows that we have it. */
    void (*on_pubrel)(struct client *client);
    /* The handshake of a QoS 1 or 2 PUBLISH sent at `sent_ns` has ended; from 0x80 on, `code` is a refusal. */
    void (*on_released)(struct client *client, uint64_t sent_ns, uint8_t code);
    /* Not for client_disconnect(). `why` is valid until the next connection fails. */
    void (*on_closed)(struct client *client, const char *why);
};

struct client {
    struct loop *loop;
    const struct client_settings *settings;
    const struct client_handler *handler;
    char *client_id; /* owned */
    int fd;          /* -1: none */
    enum client_state state;
    bool is_dirty;
    bool is_again;
    bool write_blocked; /* the socket took no more; EPOLLOUT will come */
    struct client *next_dirty;
    struct client *next_again;
    struct buffer out;
    struct buffer in;            /* an unfinished packet */
    uint32_t in_expected;        /* its size when that is more than LOOP_READ_BYTES, else 0 */
    struct transport *transport; /* TLS and WebSocket of the open connection; NULL: plain TCP */
    struct packet_ids ids;       /* made at CONNACK when `publishes` */
    bool publishes;              /* it will send QoS 1 or 2 */
    uint8_t *unreleased;         /* bitmap of QoS 2 identifiers received and not yet released; NULL until needed */
    uint64_t opened_ns;
    uint64_t last_sent_ns;
};

/* Prepares a zeroed client. Takes over `client_id` (malloc). */
void client_init(struct client *client, struct loop *loop, const struct client_settings *settings,
                 const struct client_handler *handler, char *client_id);
/* Closes the socket without a word and frees what the client owns. */
void client_fini(struct client *client);

/* Starts to connect. Returns 0 or -errno (-EMFILE, -EADDRNOTAVAIL, …). */
int client_open(struct client *client);

/* Sends DISCONNECT and closes: the bytes may be lost when the socket is full. Nothing when it is closed. */
void client_disconnect(struct client *client);

/* Ends the connection because of `why` and tells the handler. */
void client_fail(struct client *client, const char *why);

/* Subscribes; on_suback follows. */
void client_subscribe(struct client *client, const char *const *filters, uint32_t filter_count, uint8_t qos);

/* Sends PINGREQ when nothing was sent for half the keep-alive time. */
void client_keep_alive(struct client *client, uint64_t now_ns);

/* Puts the client on the loop's list of those to be flushed. Call it after adding to `out`. */
static inline void client_mark_dirty(struct client *client)
{
    if (!client->is_dirty) {
        client->is_dirty = true;
        client->next_dirty = client->loop->dirty;
        client->loop->dirty = client;
    }
}

/* True when output waits for the socket. */
static inline bool client_has_output(const struct client *client)
{
    return buffer_len(&client->out) > 0 || (client->transport != NULL && transport_has_output(client->transport));
}

/* True when a QoS 1 or 2 PUBLISH has to wait for a handshake to end. */
static inline bool client_window_full(const struct client *client)
{
    return client->ids.free_count == 0;
}

/* For the loop: the socket has `events` (epoll's). */
void client_on_event(struct client *client, uint32_t events);
/* For the loop: reads until the socket is empty or one read buffer was full. */
void client_read(struct client *client);
/* For the loop: writes `out`. */
void client_flush(struct client *client);

#endif
