/*
 * retained_index: the last retained message of each topic.
 *
 * A hash table finds a topic, a list in the order of the topics' levels (topic_list_internal.h) finds all that
 * match a filter: a filter with wildcards is a series of ranges of that list, and its position is a topic, so a
 * long answer can be cut into slices while topics come and go.
 *
 * Readers take no lock (base/rcu.h) and must be online. Writers lock the shard of the topic, and the list when a
 * topic comes or goes. A message is opaque here; the index holds one reference to each and gives it up after a
 * grace period.
 */
#ifndef BROKER_RETAINER_RETAINED_INDEX_H
#define BROKER_RETAINER_RETAINED_INDEX_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retained_index;

struct retained_options {
    void (*ref)(void *message);                   /* takes a reference */
    void (*unref)(void *message);                 /* drops one; on any thread */
    size_t (*message_bytes)(const void *message); /* its memory, for retained_index_bytes(); NULL: not counted */
    uint64_t count_max;                           /* topics; 0: no limit */
};

/* NULL when memory is short. Thread: start-up. */
struct retained_index *retained_index_new(const struct retained_options *options);
/* Drops its references. No reader may be left. NULL is fine. Thread: shutdown. */
void retained_index_free(struct retained_index *index);

/* A new limit; what is there already stays. Thread: any. */
void retained_index_set_count_max(struct retained_index *index, uint64_t count_max);

/* Makes `message` the one of `topic` (a valid name; copied), with a reference of its own. `*out_previous` (may be
 * NULL) becomes the one before, or NULL: borrowed until the caller's next quiescent state.
 * 0, -ENOSPC (a new topic over the limit) or -ENOMEM. Thread: any, online. */
MUST_USE int retained_index_set(struct retained_index *index, struct slice topic, void *message, void **out_previous);
/* Takes the message of `topic` out and returns it: borrowed until the caller's next quiescent state. NULL: there
 * was none. Thread: any, online. */
void *retained_index_remove(struct retained_index *index, struct slice topic);
/* As above, but only if it is still `message`: for what has been found expired. Thread: any, online. */
bool retained_index_remove_if(struct retained_index *index, struct slice topic, const void *message);
/* Borrowed until the caller's next quiescent state; NULL: there is none. Thread: any, online. */
void *retained_index_get(const struct retained_index *index, struct slice topic);

/* Where a match goes on. Belongs to one caller; all zero at the beginning. */
struct retained_cursor {
    uint8_t *topic; /* NULL: at the beginning */
    size_t len;
};
/* Frees what it holds; needed only when a match is given up before its end. */
void retained_cursor_fini(struct retained_cursor *cursor);

/* Calls `visit` for messages whose topic matches the (valid) filter, in the order of their topics' levels, looking
 * at no more than `limit` (at least 1) topics. An empty filter matches every topic; a leading wildcard none that
 * starts with `$` [MQTT-4.7.2-1]. `topic` and `message` are borrowed until the caller's next quiescent state; who
 * wants to keep the message takes a reference.
 * Returns 1 when there may be more: call again with the same cursor and filter, also after quiescent states; 0 at the
 * end; -ENOMEM when there was more but no memory to remember where. The cursor is all zero again after 0 and
 * -ENOMEM. What is there from the first call to the last is visited exactly once. Thread: any, online. */
MUST_USE int retained_index_match(const struct retained_index *index, struct slice filter,
                                  struct retained_cursor *cursor, uint32_t limit,
                                  void (*visit)(void *context, struct slice topic, void *message), void *context);

/* Topics; bytes of the index and (see options) its messages. Thread: any; of the moment. */
uint64_t retained_index_count(const struct retained_index *index);
uint64_t retained_index_bytes(const struct retained_index *index);

#endif
