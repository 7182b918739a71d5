/*
 * hold: acknowledgements wait until what they promise is on disk (broker/commit.h).
 *
 * The output of a connection is held as a whole from the first such packet on, so its order stays and nothing else need know. What is
 * held is in two parts (stream_hold()): the older one leaves when its turn is released; what comes in later turns is behind the second
 * mark, and becomes the older one then. So a client that never stops gets its acknowledgements one commit after the other.
 *
 *   ── sent ──┃ PUBACK  PUBLISH  PUBACK ┃ PUBACK  PINGRESP …
 *             waits[current]            waits[other]: the last turn with a promise
 *
 * While the disk fails what is held cannot be answered; after COMMIT_PATIENCE_MS the client is told so, with DISCONNECT or a close, and may try again: then it is refused at
 * once.
 * Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_CHANNEL_HOLD_H
#define BROKER_CHANNEL_HOLD_H

struct channel_worker;
struct connection;

/* The next packet promises what this turn writes: it leaves, with all that comes behind it, when that is on disk. Where the zone does not want that: nothing. */
void channel_hold(struct connection *connection);

/* The same for the packet that opens the conversation. */
void channel_hold_connack(struct connection *connection);

/* The connection is closed. Holding nothing is fine. */
void channel_hold_end(struct connection *connection);

/* Memory kept for the next ones. Thread: control, after the workers have stopped. */
void channel_free_holds(struct channel_worker *host);

#endif
