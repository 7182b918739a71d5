/*
 * pointer_list: an unordered set of pointers whose single element needs no memory of its own.
 *
 * Most sessions have one subscription and most filters one subscriber: 16 bytes then. Each element keeps its own
 * index (the caller stores it), so removal takes constant time and moves the last element into the gap.
 * Belongs to whoever embeds it. Thread: owner.
 */
#ifndef BASE_POINTER_LIST_H
#define BASE_POINTER_LIST_H

#include "base/compiler.h"

#include <stdint.h>
#include <stdlib.h>

struct pointer_list {
    union {
        void *one;
        void **many;
    };
    uint32_t count;
    uint32_t capacity; /* of `many`; 0: `one` is used */
};

static inline void *pointer_list_get(const struct pointer_list *list, uint32_t index)
{
    return list->capacity == 0 ? list->one : list->many[index];
}

static inline void **pointer_list_items(struct pointer_list *list)
{
    return list->capacity == 0 ? &list->one : list->many;
}

/* Appends; the element's index is the count before. -1 when memory is short. */
static inline MUST_USE int pointer_list_add(struct pointer_list *list, void *item)
{
    if (list->capacity == 0 && list->count == 0) {
        list->one = item;
    } else if (list->capacity == 0 || list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
        void **old = list->capacity == 0 ? NULL : list->many;
        void **grown = realloc(old, capacity * sizeof(*grown));
        if (grown == NULL)
            return -1;
        if (old == NULL)
            grown[0] = list->one;
        list->many = grown;
        list->capacity = capacity;
        grown[list->count] = item;
    } else {
        list->many[list->count] = item;
    }
    list->count++;
    return 0;
}

/* Removes the element at `index`. Returns the one that moved there and must be told its new index, NULL when none did. */
static inline void *pointer_list_remove(struct pointer_list *list, uint32_t index)
{
    void **items = pointer_list_items(list);
    void *moved = NULL;

    list->count--;
    if (index != list->count)
        moved = items[index] = items[list->count];
    if (list->count == 0 && list->capacity != 0) {
        free(list->many);
        list->capacity = 0;
        list->one = NULL;
    }
    return moved;
}

static inline void pointer_list_fini(struct pointer_list *list)
{
    if (list->capacity != 0)
        free(list->many);
    list->one = NULL;
    list->count = list->capacity = 0;
}

#endif
