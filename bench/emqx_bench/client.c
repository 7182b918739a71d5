/*
 * client: see client.h.
 */
#include "client.h"

#include "mqtt/encode.h"
#include "stamp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define UNRELEASED_BYTES (65536u / 8u)
/* Connections from one address of the loopback network. The kernel's search for a free port becomes slow (a
 * millisecond) when half of the about 28,000 are taken. */
#define CONNECTIONS_PER_SOURCE 8000u

void client_init(struct client *client, struct loop *loop, const struct client_settings *settings,
                 const struct client_handler *handler, char *client_id)
{
    client->loop = loop;
    client->settings = settings;
    client->handler = handler;
    client->client_id = client_id;
    client->fd = -1;
    client->state = CLIENT_IDLE;
}

/* Forgets the connection, keeps the client. It may stay on the loop's lists: they skip a client without a socket. */
static void client_close(struct client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    client->state = CLIENT_CLOSED;
    client->write_blocked = false;
    client->in_expected = 0;
    buffer_fini(&client->in);
    buffer_fini(&client->out);
    packet_ids_fini(&client->ids);
    transport_free(client->transport);
    client->transport = NULL;
    free(client->unreleased);
    client->unreleased = NULL;
}

void client_fini(struct client *client)
{
    client_close(client);
    free(client->client_id);
    client->client_id = NULL;
}

void client_fail(struct client *client, const char *why)
{
    if (client->fd < 0)
        return;
    client_close(client);
    if (client->handler->on_closed != NULL)
        client->handler->on_closed(client, why);
}

/* To a broker on this machine the source addresses are 127.0.0.1, .2, ...: 8,000 connections each. */
static int bind_source(struct client *client)
{
    struct sockaddr_in source;
    uint32_t number = client->loop->open_count++ / CONNECTIONS_PER_SOURCE % 200;
    int on = 1;

    memcpy(&source, &client->settings->address, sizeof(source));
    if (source.sin_family != AF_INET || ntohl(source.sin_addr.s_addr) >> 24 != 127 || number == 0)
        return 0;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number);
    source.sin_port = 0;
    (void)setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    return bind(client->fd, (const struct sockaddr *)&source, sizeof(source)) < 0 ? -errno : 0;
}

static int start_connecting(struct client *client)
{
    const struct client_settings *settings = client->settings;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = client};

    if (connect(client->fd, (const struct sockaddr *)&settings->address, settings->address_len) == 0 ||
        errno == EINPROGRESS)
        return epoll_ctl(client->loop->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0 ? -errno : 0;
    return -errno;
}

int client_open(struct client *client)
{
    const struct client_settings *settings = client->settings;
    struct wire_connect connect_packet = {
        .version = settings->version,
        .client_id = client->client_id,
        .user_name = settings->user_name,
        .password = settings->password,
        .expiry_s = settings->expiry_s,
        .keep_alive_s = settings->keep_alive_s,
        .receive_max = settings->receive_max,
        .clean = settings->clean,
    };
    int on = 1;
    int err;

    client->fd = socket(settings->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return -errno;
    client->opened_ns = clock_ns();
    client->state = CLIENT_CONNECTING;
    if (settings->transport.tls != NULL || settings->transport.websocket != NULL) {
        client->transport = transport_new(&settings->transport);
        if (client->transport == NULL) {
            client_close(client);
            return -ENOMEM;
        }
    }
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    err = bind_source(client);
    if (err == 0)
        err = start_connecting(client);
    if (err < 0) {
        client_close(client);
        return err;
    }
    wire_write_connect(&client->out, &connect_packet);
    client->write_blocked = true; /* until the handshake of TCP is through: EPOLLOUT */
    return 0;
}

void client_disconnect(struct client *client)
{
    if (client->fd < 0)
        return;
    if (client->state == CLIENT_READY) {
        const struct buffer *output = &client->out;
        wire_write_empty(&client->out, MQTT_DISCONNECT);
        if (client->transport != NULL)
            output = transport_shut(client->transport, &client->out);
        if (output != NULL)
            (void)!send(client->fd, output->data + output->start, buffer_len(output), MSG_NOSIGNAL);
    }
    client_close(client);
}

void client_subscribe(struct client *client, const char *const *filters, uint32_t filter_count, uint8_t qos)
{
    /* One SUBSCRIBE at a time, on a connection that publishes nothing: one identifier serves. */
    wire_write_subscribe(&client->out, client->settings->version, 1, filters, filter_count, qos);
    client_mark_dirty(client);
}

void client_keep_alive(struct client *client, uint64_t now_ns)
{
    uint64_t half_ns = (uint64_t)client->settings->keep_alive_s * UINT64_C(500000000);

    if (half_ns == 0 || client->state != CLIENT_READY || now_ns < client->last_sent_ns + half_ns)
        return;
    wire_write_empty(&client->out, MQTT_PINGREQ);
    client_mark_dirty(client);
}

static void send_ack(struct client *client, enum mqtt_type type, uint16_t packet_id)
{
    uint8_t *out = buffer_reserve(&client->out, MQTT_ACK_SIZE_MAX);

    buffer_commit(&client->out, mqtt_encode_ack(client->settings->version, type, packet_id, REASON_SUCCESS, out));
    client_mark_dirty(client);
}

/* True when the QoS 2 identifier is new; it is then remembered until PUBREL. */
static bool remember_qos2(struct client *client, uint16_t packet_id)
{
    uint8_t bit = (uint8_t)(1u << (packet_id & 7));

    if (client->unreleased == NULL) {
        client->unreleased = calloc(1, UNRELEASED_BYTES);
        if (client->unreleased == NULL)
            return false;
    }
    if ((client->unreleased[packet_id >> 3] & bit) != 0)
        return false;
    client->unreleased[packet_id >> 3] |= bit;
    return true;
}

static void receive_publish(struct client *client, uint8_t first, struct slice body)
{
    struct wire_publish publish;
    bool is_new = true;

    if (UNLIKELY(!wire_read_publish(client->settings->version, first, body, &publish))) {
        client_fail(client, "malformed PUBLISH");
        return;
    }
    if (publish.qos == 1) {
        send_ack(client, MQTT_PUBACK, publish.packet_id);
    } else if (publish.qos == 2) {
        is_new = remember_qos2(client, publish.packet_id);
        send_ack(client, MQTT_PUBREC, publish.packet_id);
    }
    if (LIKELY(is_new && client->handler->on_publish != NULL))
        client->handler->on_publish(client, &publish);
}

static void receive_pubrel(struct client *client, uint16_t packet_id)
{
    if (client->unreleased != NULL)
        client->unreleased[packet_id >> 3] &= (uint8_t) ~(1u << (packet_id & 7));
    send_ack(client, MQTT_PUBCOMP, packet_id);
    if (client->handler->on_pubrel != NULL)
        client->handler->on_pubrel(client);
}

/* PUBACK, PUBREC and PUBCOMP: what our own PUBLISH waits for. */
static void receive_publish_answer(struct client *client, enum mqtt_type type, uint16_t packet_id, uint8_t code)
{
    static const uint8_t expected[] = {
        [MQTT_PUBACK] = PACKET_ID_WAIT_PUBACK,
        [MQTT_PUBREC] = PACKET_ID_WAIT_PUBREC,
        [MQTT_PUBCOMP] = PACKET_ID_WAIT_PUBCOMP,
    };
    struct packet_ids *ids = &client->ids;
    uint64_t sent_ns;

    if (UNLIKELY(packet_ids_state(ids, packet_id) != (enum packet_id_state)expected[type])) {
        client_fail(client, "an acknowledgement that nothing waits for");
        return;
    }
    if (type == MQTT_PUBREC && code < 0x80) {
        ids->states[packet_id - 1] = PACKET_ID_WAIT_PUBCOMP;
        send_ack(client, MQTT_PUBREL, packet_id);
        return;
    }
    sent_ns = ids->sent_ns[packet_id - 1];
    packet_ids_release(ids, packet_id);
    if (client->handler->on_released != NULL)
        client->handler->on_released(client, sent_ns, code);
}

static void receive_ack(struct client *client, uint8_t first, struct slice body)
{
    uint16_t packet_id;

    if (UNLIKELY(body.len < 2)) {
        client_fail(client, "malformed acknowledgement");
        return;
    }
    packet_id = wire_read_u16(body.data);
    if (first >> 4 == MQTT_PUBREL)
        receive_pubrel(client, packet_id);
    else
        receive_publish_answer(client, (enum mqtt_type)(first >> 4), packet_id, body.len > 2 ? body.data[2] : 0);
}

static void receive_connack(struct client *client, struct slice body)
{
    struct wire_connack connack;
    uint16_t window = client->settings->inflight_max;

    if (client->state != CLIENT_CONNECTING || !wire_read_connack(client->settings->version, body, &connack)) {
        client_fail(client, "malformed or unexpected CONNACK");
        return;
    }
    if (connack.code != 0) {
        client_fail(client, "the broker refused the connection");
        return;
    }
    if (connack.receive_max < window)
        window = connack.receive_max;
    if (client->publishes && packet_ids_init(&client->ids, window) < 0) {
        client_fail(client, "no memory");
        return;
    }
    if (client->transport != NULL && client->settings->transport.tls != NULL)
        tls_connection_keep_session(&client->transport->tls);
    client->state = CLIENT_READY;
    client->last_sent_ns = client->loop->now_ns;
    if (client->handler->on_ready != NULL)
        client->handler->on_ready(client);
}

static void receive_suback(struct client *client, struct slice body)
{
    uint16_t packet_id;
    struct slice codes;

    if (!wire_read_suback(client->settings->version, body, &packet_id, &codes))
        client_fail(client, "malformed SUBACK");
    else if (client->handler->on_suback != NULL)
        client->handler->on_suback(client, codes);
}

static void receive_packet(struct client *client, uint8_t first, struct slice body)
{
    switch (first >> 4) {
    case MQTT_PUBLISH: receive_publish(client, first, body); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: receive_ack(client, first, body); break;
    case MQTT_CONNACK: receive_connack(client, body); break;
    case MQTT_SUBACK: receive_suback(client, body); break;
    case MQTT_PINGRESP: break;
    case MQTT_DISCONNECT: client_fail(client, "the broker sent DISCONNECT"); break;
    default: client_fail(client, "a packet that no broker sends"); break;
    }
}

/* Handles all whole packets in `data`. Returns the bytes used; what is left is the start of a packet. */
static size_t receive_bytes(struct client *client, const uint8_t *data, size_t len)
{
    struct wire_frame frame;
    size_t at = 0;

    while (client->fd >= 0) {
        int found = wire_read_frame(data + at, len - at, &frame);
        if (UNLIKELY(found < 0)) {
            client_fail(client, "malformed packet length");
            break;
        }
        if (found == 0)
            break;
        if ((size_t)frame.header_len + frame.body_len > len - at) {
            size_t size = (size_t)frame.header_len + frame.body_len;
            client->in_expected = size > LOOP_READ_BYTES ? (uint32_t)size : 0;
            break;
        }
        receive_packet(client, frame.first, slice_make(data + at + frame.header_len, frame.body_len));
        at += frame.header_len + frame.body_len;
    }
    return at;
}

static void keep_rest(struct client *client, const uint8_t *data, size_t len)
{
    client->in.start = client->in.end = 0;
    if (len == 0)
        return;
    memcpy(buffer_reserve(&client->in, client->in_expected > len ? client->in_expected : len), data, len);
    buffer_commit(&client->in, len);
}

static void read_failed(struct client *client, ssize_t count)
{
    if (count == 0 || (errno != EAGAIN && errno != EINTR))
        client_fail(client, count == 0 ? "the broker closed the connection" : "the connection was reset");
}

/* Reads into the loop's buffer, behind the carried start of a packet. Returns true when the buffer was filled. */
static bool read_packets(struct client *client)
{
    uint8_t *data = client->loop->read_buffer;
    size_t carried = buffer_len(&client->in);
    size_t used;
    ssize_t count;

    if (carried > 0)
        memcpy(data, client->in.data + client->in.start, carried);
    count = read(client->fd, data + carried, LOOP_READ_BYTES - carried);
    client->loop->read_count++;
    if (count <= 0) {
        read_failed(client, count);
        return false;
    }
    client->loop->now_ns = clock_ns();
    used = receive_bytes(client, data, carried + (size_t)count);
    if (client->fd >= 0)
        keep_rest(client, data + used, carried + (size_t)count - used);
    return carried + (size_t)count == LOOP_READ_BYTES;
}

/* The packet that is larger than the loop's buffer is whole: handles it. */
static void receive_large_packet(struct client *client)
{
    struct buffer packet = client->in;

    client->in_expected = 0;
    client->in = (struct buffer){0};
    (void)receive_bytes(client, packet.data + packet.start, buffer_len(&packet));
    buffer_fini(&packet);
}

/* Reads the rest of a packet that is larger than the loop's buffer, in place. True when there may be more. */
static bool read_large_packet(struct client *client)
{
    size_t missing = client->in_expected - buffer_len(&client->in);
    ssize_t count = read(client->fd, buffer_reserve(&client->in, missing), missing);

    client->loop->read_count++;
    if (count <= 0) {
        read_failed(client, count);
        return false;
    }
    buffer_commit(&client->in, (size_t)count);
    if ((size_t)count < missing)
        return true; /* the next read says whether the socket is empty */
    client->loop->now_ns = clock_ns();
    receive_large_packet(client);
    return true;
}

/* Handles `len` bytes behind `carried` ones in the loop's buffer; the large packet that is being read comes first. */
static void receive_plain(struct client *client, uint8_t *data, size_t carried, size_t len)
{
    size_t used;

    if (client->in_expected > 0) {
        size_t missing = client->in_expected - buffer_len(&client->in);
        size_t part = len < missing ? len : missing;
        memcpy(buffer_reserve(&client->in, part), data, part);
        buffer_commit(&client->in, part);
        data += part;
        len -= part;
        if (part < missing)
            return;
        receive_large_packet(client);
    }
    if (client->fd < 0)
        return;
    used = receive_bytes(client, data, carried + len);
    if (client->fd >= 0)
        keep_rest(client, data + used, carried + len - used);
}

/* Reads through TLS and WebSocket. Returns true when there may be more. */
static bool read_transport(struct client *client)
{
    struct loop *loop = client->loop;
    size_t carried = client->in_expected > 0 ? 0 : buffer_len(&client->in);
    uint8_t *data = loop->read_buffer;
    uint8_t *raw = client->settings->transport.tls != NULL ? loop->raw_buffer : data + carried;
    ssize_t count = read(client->fd, raw, LOOP_READ_BYTES);
    ssize_t received;

    loop->read_count++;
    if (count <= 0) {
        read_failed(client, count);
        return false;
    }
    loop->now_ns = clock_ns();
    received = transport_receive(client->transport, raw, (size_t)count, data + carried, LOOP_BUFFER_BYTES - carried);
    if (transport_has_output(client->transport) ||
        (UNLIKELY(client->state == CLIENT_CONNECTING) && transport_established(client->transport)))
        client_mark_dirty(client);
    if (received < 0) {
        client_flush(client); /* what the broker is told of it */
        if (client->fd >= 0)
            client_fail(client, client->transport->fault);
        return false;
    }
    if (received > 0) {
        if (carried > 0)
            memcpy(data, client->in.data + client->in.start, carried);
        receive_plain(client, data, carried, (size_t)received);
    }
    return count == LOOP_READ_BYTES;
}

void client_read(struct client *client)
{
    bool more;

    if (client->fd < 0)
        return;
    if (client->transport != NULL)
        more = read_transport(client);
    else
        more = client->in_expected > 0 ? read_large_packet(client) : read_packets(client);
    if (more && client->fd >= 0 && !client->is_again) {
        client->is_again = true;
        client->next_again = client->loop->again;
        client->loop->again = client;
    }
}

void client_on_event(struct client *client, uint32_t events)
{
    if (client->fd < 0)
        return;
    if ((events & EPOLLOUT) != 0 && client->write_blocked) {
        client->write_blocked = false;
        client_mark_dirty(client);
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && !client->is_again)
        client_read(client);
}

void client_flush(struct client *client)
{
    struct buffer *output = &client->out;
    ssize_t count;

    if (client->fd < 0 || client->write_blocked)
        return;
    if (client->transport != NULL) {
        output = transport_output(client->transport, &client->out);
        if (output == NULL) {
            client_fail(client, client->transport->fault);
            return;
        }
    }
    if (buffer_len(output) == 0)
        return;
    count = send(client->fd, output->data + output->start, buffer_len(output), MSG_NOSIGNAL);
    client->loop->write_count++;
    if (count < 0) {
        if (errno == EAGAIN || errno == EINTR)
            client->write_blocked = true;
        else
            client_fail(client, "the connection was reset");
        return;
    }
    buffer_consume(output, (size_t)count);
    client->last_sent_ns = client->loop->now_ns;
    client->write_blocked = buffer_len(output) > 0;
}
