/*
 * filter_table: one worker's subscriber lists, by filter: a hash table with open addressing.
 *
 * Not shared: the router is what other threads read. Belongs to one worker. Thread: owner.
 */
#ifndef BROKER_SESSION_FILTER_TABLE_H
#define BROKER_SESSION_FILTER_TABLE_H

#include "base/compiler.h"
#include "base/slice.h"

struct subscriber_list;

struct filter_table {
    struct subscriber_list **slots;
    uint32_t capacity; /* power of two, or 0 */
    uint32_t count;
};

void filter_table_fini(struct filter_table *table);
/* The list of that filter, or NULL. */
struct subscriber_list *filter_table_find(const struct filter_table *table, struct slice filter);
/* Adds a list whose filter is not there yet. -ENOMEM. */
MUST_USE int filter_table_add(struct filter_table *table, struct subscriber_list *list);
/* Removes a list that is there. */
void filter_table_remove(struct filter_table *table, struct subscriber_list *list);

#endif
