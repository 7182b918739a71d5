/*
 * absence: what a session needs while nobody is connected to it: its deadlines, and its place among the absent ones of its
 * worker, which are kept in the order in which they were left.
 *
 * Sessions that outlive their connections are bounded in number (broker.max_detached_sessions, counted over all workers): the
 * worker on which one more is left ends the one of its own that was left the longest ago.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_SESSION_ABSENCE_H
#define BROKER_SESSION_ABSENCE_H

#include "base/compiler.h"

#include <stdint.h>

struct session;
struct session_host;

struct absence {
    struct absence *older;
    struct absence *newer;
    struct session *session;
    uint64_t expires_at_ms; /* UINT64_MAX: never */
    uint64_t will_at_ms;    /* UINT64_MAX: no will waits */
};

/* The session's absence begins. -ENOMEM. */
MUST_USE int absence_begin(struct session *session);

/* It ends, with the session or not. None is fine. */
void absence_end(struct session *session);

/* The session that has to end since there are too many, or NULL. */
struct session *absence_over_limit(const struct session_host *host);

#endif
