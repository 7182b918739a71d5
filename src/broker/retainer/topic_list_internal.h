/*
 * topic_list: entries in the order of their topics' levels, as a skip list for RCU readers.
 *
 * The order is bytewise with `/` before every other byte, so a topic stands right before what is below it, and all
 * below a prefix of levels stands together. Readers are online and take no lock; writers are one at a time.
 * What a reader holds leads it on until its next quiescent state even if it has been taken out.
 */
#ifndef BROKER_RETAINER_TOPIC_LIST_INTERNAL_H
#define BROKER_RETAINER_TOPIC_LIST_INTERNAL_H

#include "base/compiler.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define TOPIC_LIST_HEIGHT_MAX 14 /* one in four goes a step higher: good for 4^14 topics */

struct topic_entry {
    void *message; /* the index's; RCU_READ() */
    uint16_t topic_len;
    uint8_t height;             /* 1..TOPIC_LIST_HEIGHT_MAX */
    bool mark;                  /* the index's caller's; under the lock of the topic's shard */
    struct topic_entry *next[]; /* `height` of them, then the topic */
};

struct topic_list {
    uint32_t random; /* never 0 */
    struct topic_entry *first[TOPIC_LIST_HEIGHT_MAX];
};

static inline struct slice topic_entry_topic(const struct topic_entry *entry)
{
    return slice_make(&entry->next[entry->height], entry->topic_len);
}

/* What to look for: two pieces, one after the other. */
struct topic_key {
    struct slice head;
    struct slice tail;
};

void topic_list_init(struct topic_list *list, uint32_t seed);

/* An entry for `topic` (copied) that is not in the list yet; free() it. NULL when memory is short.
 * Thread: the writer. */
struct topic_entry *topic_entry_new(struct topic_list *list, struct slice topic);
size_t topic_entry_size(const struct topic_entry *entry);
/* The topic must not be there; must be. Thread: the writer. */
void topic_list_insert(struct topic_list *list, struct topic_entry *entry);
void topic_list_remove(struct topic_list *list, struct topic_entry *entry);

/* Before, at or after the key: below, equal to or above 0. */
int topic_compare(struct slice topic, const struct topic_key *key);
/* The first entry at or after the key; NULL: none. Thread: any, online. */
struct topic_entry *topic_list_seek(const struct topic_list *list, const struct topic_key *key);
/* NULL at the end. Thread: any, online. */
struct topic_entry *topic_list_first(const struct topic_list *list);
struct topic_entry *topic_entry_next(const struct topic_entry *entry);

#endif
