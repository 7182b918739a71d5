/*
 * topic_list: see topic_list_internal.h.
 */
#include "broker/retainer/topic_list_internal.h"

#include "base/rcu.h"

#include <stdlib.h>
#include <string.h>

void topic_list_init(struct topic_list *list, uint32_t seed)
{
    memset(list, 0, sizeof(*list));
    list->random = seed | 1;
}

static uint8_t draw_height(struct topic_list *list)
{
    uint32_t random = list->random;
    uint8_t height = 1;

    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    list->random = random;
    while ((random & 3) == 0 && height < TOPIC_LIST_HEIGHT_MAX) {
        random >>= 2;
        height++;
    }
    return height;
}

static size_t entry_size(uint8_t height, size_t topic_len)
{
    return sizeof(struct topic_entry) + height * sizeof(struct topic_entry *) + topic_len;
}

struct topic_entry *topic_entry_new(struct topic_list *list, struct slice topic)
{
    uint8_t height = draw_height(list);
    struct topic_entry *entry = malloc(entry_size(height, topic.len));

    if (entry == NULL)
        return NULL;
    entry->message = NULL;
    entry->topic_len = (uint16_t)topic.len;
    entry->height = height;
    entry->mark = false;
    memcpy(&entry->next[height], topic.data, topic.len);
    return entry;
}

size_t topic_entry_size(const struct topic_entry *entry)
{
    return entry_size(entry->height, entry->topic_len);
}

/* The number of equal bytes at the beginning. */
static size_t common_len(const uint8_t *left, const uint8_t *right, size_t len)
{
    size_t i = 0;

    for (; i + sizeof(uint64_t) <= len; i += sizeof(uint64_t)) {
        uint64_t a;
        uint64_t b;

        memcpy(&a, left + i, sizeof(a));
        memcpy(&b, right + i, sizeof(b));
        if (a != b)
            break;
    }
    while (i < len && left[i] == right[i])
        i++;
    return i;
}

static int byte_rank(uint8_t byte)
{
    return byte == '/' ? 0 : byte + 1;
}

/* Compares as far as the shorter one goes; 0 when they are equal so far. */
static int compare_common(struct slice left, struct slice right)
{
    size_t len = left.len < right.len ? left.len : right.len;
    size_t same = common_len(left.data, right.data, len);

    return same == len ? 0 : byte_rank(left.data[same]) - byte_rank(right.data[same]);
}

int topic_compare(struct slice topic, const struct topic_key *key)
{
    int order = compare_common(topic, key->head);

    if (order != 0)
        return order;
    if (topic.len < key->head.len)
        return -1;
    topic = slice_skip(topic, key->head.len);
    order = compare_common(topic, key->tail);
    if (order != 0)
        return order;
    return (topic.len > key->tail.len) - (topic.len < key->tail.len);
}

/* The first entry at or after the key; `out_links` (NULL: not wanted) gets the link to such an entry at each step. */
static struct topic_entry *list_descend(const struct topic_list *list, const struct topic_key *key,
                                        struct topic_entry **out_links[TOPIC_LIST_HEIGHT_MAX])
{
    struct topic_entry **links = (struct topic_entry **)list->first;
    struct topic_entry *next = NULL;
    struct topic_entry *not_before = NULL; /* compared at the step above */

    for (int step = TOPIC_LIST_HEIGHT_MAX - 1; step >= 0; step--) {
        while ((next = RCU_READ(links[step])) != NULL && next != not_before &&
               topic_compare(topic_entry_topic(next), key) < 0)
            links = next->next;
        not_before = next;
        if (out_links != NULL)
            out_links[step] = &links[step];
    }
    return next;
}

void topic_list_insert(struct topic_list *list, struct topic_entry *entry)
{
    struct topic_key key = {topic_entry_topic(entry), {NULL, 0}};
    struct topic_entry **links[TOPIC_LIST_HEIGHT_MAX];

    (void)list_descend(list, &key, links);
    /* From below: who finds the entry at one step finds it at those below too. */
    for (int step = 0; step < entry->height; step++) {
        entry->next[step] = *links[step];
        RCU_PUBLISH(*links[step], entry);
    }
}

void topic_list_remove(struct topic_list *list, struct topic_entry *entry)
{
    struct topic_key key = {topic_entry_topic(entry), {NULL, 0}};
    struct topic_entry **links[TOPIC_LIST_HEIGHT_MAX];

    (void)list_descend(list, &key, links);
    for (int step = entry->height - 1; step >= 0; step--) {
        ASSERT(*links[step] == entry);
        RCU_PUBLISH(*links[step], entry->next[step]); /* its own links stay, for readers that are on it */
    }
}

struct topic_entry *topic_list_seek(const struct topic_list *list, const struct topic_key *key)
{
    return list_descend(list, key, NULL);
}

struct topic_entry *topic_list_first(const struct topic_list *list)
{
    return RCU_READ(list->first[0]);
}

struct topic_entry *topic_entry_next(const struct topic_entry *entry)
{
    return RCU_READ(entry->next[0]);
}
