/*
 * alias: an array of topics by alias; assignment for sending goes round and round.
 */
#include "broker/channel/alias.h"

#include <errno.h>
#include <stdlib.h>

struct alias {
    uint8_t *topic; /* NULL: not set */
    uint16_t len;
    uint32_t hash;
};

struct alias_table {
    uint16_t alias_max;
    uint16_t next;  /* assigned next, 0-based */
    uint32_t bytes; /* of all topics */
    struct alias aliases[];
};

struct alias_table *alias_table_new(uint16_t alias_max)
{
    ASSERT(alias_max > 0);
    struct alias_table *table = calloc(1, sizeof(*table) + alias_max * sizeof(struct alias));

    if (table != NULL)
        table->alias_max = alias_max;
    return table;
}

void alias_table_free(struct alias_table *table)
{
    if (table == NULL)
        return;
    for (uint16_t i = 0; i < table->alias_max; i++)
        free(table->aliases[i].topic);
    free(table);
}

struct slice alias_table_get(const struct alias_table *table, uint16_t alias)
{
    const struct alias *entry = &table->aliases[alias - 1];

    return slice_make(entry->topic, entry->len);
}

static uint32_t topic_hash(struct slice topic)
{
    uint32_t hash = 2166136261u; /* FNV-1a: short keys, few of them */

    for (size_t i = 0; i < topic.len; i++)
        hash = (hash ^ topic.data[i]) * 16777619u;
    return hash;
}

int alias_table_set(struct alias_table *table, uint16_t alias, struct slice topic)
{
    struct alias *entry = &table->aliases[alias - 1];
    uint32_t bytes = table->bytes - entry->len + (uint32_t)topic.len;
    uint8_t *copy;

    if (bytes > ALIAS_BYTES_MAX)
        return -ENOSPC;
    copy = malloc(topic.len);
    if (copy == NULL)
        return -ENOMEM;
    table->bytes = bytes;
    memcpy(copy, topic.data, topic.len);
    free(entry->topic); /* `topic` may have pointed there */
    topic = slice_make(copy, topic.len);
    *entry = (struct alias){.topic = copy, .len = (uint16_t)topic.len, .hash = topic_hash(topic)};
    return 0;
}

uint16_t alias_table_assign(struct alias_table *table, struct slice topic, bool *out_known)
{
    uint32_t hash = topic_hash(topic);
    uint16_t alias;

    ASSERT(table->alias_max > 0);
    for (uint16_t i = 0; i < table->alias_max && table->aliases[i].topic != NULL; i++) {
        const struct alias *entry = &table->aliases[i];
        if (entry->hash == hash && slice_equal(slice_make(entry->topic, entry->len), topic)) {
            *out_known = true;
            return (uint16_t)(i + 1);
        }
    }
    *out_known = false;
    alias = (uint16_t)(table->next + 1);
    if (alias_table_set(table, alias, topic) < 0)
        return 0;
    table->next = (uint16_t)(alias % table->alias_max);
    return alias;
}
