/*
 * channel_fixture: a broker whose turns the test runs, with clients on socket pairs that speak raw packets.
 */
#ifndef CHANNEL_FIXTURE_H
#define CHANNEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/broker.h"
#include "hook/hook.h"
#include "mqtt/packet.h"

#define FIXTURE_WORKERS 2

extern struct broker *fixture_broker;
extern uint64_t fixture_now_ms; /* the clock of all workers */

/* Starts with this configuration ("" or lines of it), in which the clients are in zone "test"; for setup and teardown functions. */
int fixture_open(const char *conf_text);
int fixture_open_stored(const char *conf_text); /* with a durable store */
int fixture_close(void);

/* A client that is accepted on that worker. Its end of the socket. */
int fixture_connect_socket(uint32_t worker);
/* Encodes and sends what a client says. */
void fixture_send(int fd, enum mqtt_version version, const struct mqtt_packet *packet);
/* Some turns of every worker: until nothing is left to do. */
void fixture_turns(void);
/* What has come, as hexadecimal text: "20020000"; "" for nothing, "closed" added when the broker has closed. Valid until the next call. */
const char *fixture_receive(int fd);
/* A CONNECT with clean start and no more than that; `user_name` and `password` NULL: none. */
void fixture_say_connect(int fd, enum mqtt_version version, const char *client_id, const char *user_name,
                         const char *password);
/* hook_add() that works. */
struct hook *fixture_hook(enum hook_point point, int priority, hook_fn *run, void *context);

#endif
