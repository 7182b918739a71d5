/*
 * alias: topic aliases of one connection and direction (MQTT 5, section 3.3.2.3.4).
 *
 * Bounded by the agreed maximum and by ALIAS_BYTES_MAX. Belongs to one connection. Thread: owner.
 */
#ifndef BROKER_CHANNEL_ALIAS_H
#define BROKER_CHANNEL_ALIAS_H

#include "base/compiler.h"
#include "base/slice.h"

#define ALIAS_BYTES_MAX (1024u * 1024u) /* of all topics of one table; what is over it is refused */
#define ALIAS_OUT_MAX 32                /* aliases that we use towards a client, however many it allows */

struct alias_table;

/* A table for aliases 1..`alias_max`. NULL when memory is short. */
struct alias_table *alias_table_new(uint16_t alias_max);
/* NULL is fine. */
void alias_table_free(struct alias_table *table);
/* The topic that stands for `alias` (1..alias_max); {NULL, 0} when none was set. Valid until it is set again. */
struct slice alias_table_get(const struct alias_table *table, uint16_t alias);
/* Sets the topic of `alias` (1..alias_max; copied). -ENOMEM, or -ENOSPC when all topics together would be too long. */
MUST_USE int alias_table_set(struct alias_table *table, uint16_t alias, struct slice topic);

/* For sending: the alias of a topic. `*out_known` tells whether the peer knows it; if not it was assigned now, in place of
 * the oldest one. 0: none (memory, room). */
uint16_t alias_table_assign(struct alias_table *table, struct slice topic, bool *out_known);

#endif
