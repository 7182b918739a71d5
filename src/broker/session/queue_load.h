/*
 * queue_load: messages of a durable session's queue come back from the disk when its client takes them.
 *
 * A job of libuv's pool reads a slice: the entries from the first one that is on disk only, by their keys, and the bodies they refer to.
 * The next slice is asked for when half of the last is left, so that the client does not wait. Each worker has
 * LOAD_JOBS_MAX jobs under way at most; sessions take turns for them. What has been read and waits in queues is bounded by
 * durable_host.load_bytes_max: over that, a slice is only as large as what the client can take at once, so that nobody waits for
 * a client that does not read.
 *
 * A row that can't be read leaves the queue and stays on disk (logged, counted): the client goes on.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_SESSION_QUEUE_LOAD_H
#define BROKER_SESSION_QUEUE_LOAD_H

#include <stdbool.h>
#include <stdint.h>

struct durable;
struct durable_host;
struct session;
struct session_host;

#define LOAD_SLICE 256u  /* entries read at once */
#define LOAD_JOBS_MAX 2u /* jobs of one worker: libuv's pool has four threads, and others need it as well */

/* Has entries read if those that come next are on disk only: then session_go_on() follows. False: none need be, or memory is short. */
bool queue_load_want(struct session *session);

/* Messages have left the queue: those that had been read count no longer. */
void queue_load_recount(struct session *session);

/* Nothing is wanted any more: what comes back from a job is thrown away. */
void queue_load_cancel(struct durable *durable);

/* Waits for jobs under way. Thread: control, after the workers have stopped. */
void queue_load_finish(struct session_host *host);

#endif
