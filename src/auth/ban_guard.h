/*
 * ban_guard: bans at work: the table, the callbacks that refuse banned clients and notice flapping ones, and the sweep that ends connections.
 *
 *   client.authenticate (first of all callbacks) ─► banned? refused: 0x8A, 5 for MQTT 3
 *   client.connected, client.disconnected ─► flapping? ─► control thread ─► banned_add() ─► the connection ends
 *
 * Only for clients of zones with enable_ban; flapping also needs enable_flapping_detect.
 */
#ifndef AUTH_BAN_GUARD_H
#define AUTH_BAN_GUARD_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct ban_guard;
struct banned;
struct broker;
struct store;
struct uv_loop_s;

struct ban_guard_options {
    struct uv_loop_s *loop; /* the control thread's */
    struct store *store;
    struct broker *broker;
    uint64_t entries_max;       /* banned.max_entries */
    uint64_t clean_interval_ms; /* flapping_clean_interval */
    bool refuses;               /* there is a zone with enable_ban; else no callback costs anything */
    bool detects_flapping;      /* and one with enable_flapping_detect */
};

/* As banned_open(). Thread: control, start-up, before listeners are open. */
MUST_USE int ban_guard_open(const struct ban_guard_options *options, struct ban_guard **out_guard);
/* Nobody is refused, noticed or disconnected any more: the broker is about to stop. NULL is fine. Thread: control, while the workers run. */
void ban_guard_stop(struct ban_guard *guard);
/* After the workers have stopped. The memory goes in a later turn of the loop. NULL is fine. Thread: control. */
void ban_guard_close(struct ban_guard *guard);
/* For commands; valid until ban_guard_close(). Thread: control. */
struct banned *ban_guard_table(struct ban_guard *guard);

#endif
