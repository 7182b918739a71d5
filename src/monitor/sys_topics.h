/*
 * sys_topics: what the broker tells about itself under $SYS: brokers, version, sysdescr, uptime and datetime.
 *
 * Published by timers of the control thread through the normal publish path. Thread: control.
 */
#ifndef MONITOR_SYS_TOPICS_H
#define MONITOR_SYS_TOPICS_H

#include "base/compiler.h"

#include <stdint.h>

struct broker;
struct uv_loop_s;
struct sys_topics;

struct sys_topics_options {
    struct uv_loop_s *loop;
    struct broker *broker; /* outlives the topics */
    const char *node_name; /* likewise */
    uint64_t interval_ms;  /* broker.sys_interval: brokers, version, sysdescr (retained); 0: off */
    uint64_t heartbeat_ms; /* broker.sys_heartbeat: uptime, datetime; 0: off */
};

/* The first publication follows after one period. -ENOMEM. */
MUST_USE int sys_topics_open(const struct sys_topics_options *options, struct sys_topics **out_topics);
/* The memory goes in a later turn of the loop. NULL is fine. */
void sys_topics_close(struct sys_topics *topics);

#endif
