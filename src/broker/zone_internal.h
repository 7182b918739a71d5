/*
 * zone_internal: what zone.c and zone_conf.c share.
 */
#ifndef BROKER_ZONE_INTERNAL_H
#define BROKER_ZONE_INTERNAL_H

#include "broker/zone.h"

/* Fills a zeroed zone from the configuration; `name` NULL: only global keys and defaults. 0 or -ENOMEM; the
 * caller frees what is there either way. Thread: start-up. */
int zone_init(struct zone *zone, const struct conf *conf, const char *name);

/* Frees what the zone holds. Thread: start-up and shutdown. */
void zone_fini(struct zone *zone);

#endif
