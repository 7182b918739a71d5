/*
 * list: doubly linked, intrusive; a ring around a sentinel. All operations take constant time and allocate nothing.
 *
 * A node that is in no list points to itself, so that taking it out again is fine. Thread: owner of the list.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

/* Embedded in the elements; the list itself is one that is embedded in nothing. */
struct list {
    struct list *next;
    struct list *prev;
};

/* The element that embeds `node` as `member`. */
#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* NOLINTBEGIN(bugprone-macro-parentheses): `node` is a name that is declared here. */
/* Walks from the first to the last. The body may take out `node`, but not the one after it. */
#define LIST_EACH(head, node)                                                                                          \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);                                  \
         node = node##_next, node##_next = node->next)
/* NOLINTEND(bugprone-macro-parentheses) */

/* An empty list, or a node in no list. */
static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

/* For a node: is it in no list? */
static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

/* Puts `node` before `place`; before the list itself: at the end. */
static inline void list_insert_before(struct list *place, struct list *node)
{
    node->next = place;
    node->prev = place->prev;
    place->prev->next = node;
    place->prev = node;
}

static inline void list_append(struct list *list, struct list *node)
{
    list_insert_before(list, node);
}

static inline void list_prepend(struct list *list, struct list *node)
{
    list_insert_before(list->next, node);
}

/* Takes the node out of its list; it may be in none. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first and last node, NULL when the list is empty. */
static inline struct list *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->next;
}

static inline struct list *list_last(const struct list *list)
{
    return list_empty(list) ? NULL : list->prev;
}

/* Moves all nodes of `from` to the end of `list`. */
static inline void list_splice(struct list *list, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    list_init(from);
}

#endif
