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
struct topic_entry; /* topic_list_internal.h */

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
/* Borrowed until the caller's next quiescent state; NULL: there is none. Thread: any, online. */
void *retained_index_get(const struct retained_index *index, struct slice topic);

/* A topic whose shard is locked, for steps that must not be parted: what stands in memory and what is stored change in the same
 * order. Nobody else changes a topic of that shard meanwhile; don't lock a second one. */
struct retained_place {
    struct slice topic;
    uint64_t hash;
    struct topic_entry *entry; /* NULL: no message */
};

/* Thread: any, online; the functions below with the place locked. */
void retained_index_lock(struct retained_index *index, struct slice topic, struct retained_place *out_place);
void retained_index_unlock(struct retained_index *index, const struct retained_place *place);
/* The message there, borrowed until it is replaced or, later, until the next quiescent state; NULL: none. */
void *retained_place_message(const struct retained_place *place);
/* A bit for the caller, false at first; only with a message there. */
bool retained_place_mark(const struct retained_place *place);
void retained_place_set_mark(struct retained_place *place, bool mark);
/* As retained_index_set(). `over_limit`: a new topic is taken in any case. 0, -ENOSPC or -ENOMEM. */
MUST_USE int retained_place_set(struct retained_index *index, struct retained_place *place, void *message,
                                bool over_limit);
/* As retained_index_remove(). */
void *retained_place_remove(struct retained_index *index, struct retained_place *place);

/* Below, equal to or above 0: `left` comes before, is, or comes after `right` in the order of the topics' levels: bytewise, with `/` before
 * every other byte. Pure. */
int retained_topic_compare(struct slice left, struct slice right);

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

/* The same, looking at no topic behind `last` (empty: at none): for an index that is being filled in this order. Returns 2 when nothing is
 * left up to `last` but something behind it may match; the cursor goes on there. A filter without wildcards is looked up wherever it
 * stands. Thread: any, online. */
MUST_USE int retained_index_match_until(const struct retained_index *index, struct slice filter,
                                        const struct slice *last, struct retained_cursor *cursor, uint32_t limit,
                                        void (*visit)(void *context, struct slice topic, void *message), void *context);

/* Topics; bytes of the index and (see options) its messages. Thread: any; of the moment. */
uint64_t retained_index_count(const struct retained_index *index);
uint64_t retained_index_bytes(const struct retained_index *index);

#endif
