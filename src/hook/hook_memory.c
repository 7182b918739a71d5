/*
 * hook_memory: see hook_memory.h. A list of blocks, one for each text; what is there is bounded by what callbacks change.
 */
#include "hook/hook_memory.h"

#include <stdlib.h>
#include <string.h>

struct hook_memory {
    struct hook_memory *next;
    uint8_t data[];
};

struct slice hook_memory_copy(struct hook_memory **memory, struct slice text)
{
    struct hook_memory *block = malloc(sizeof(*block) + text.len);

    if (block == NULL)
        return slice_make(NULL, 0);
    block->next = *memory;
    *memory = block;
    if (text.len > 0)
        memcpy(block->data, text.data, text.len);
    return slice_make(block->data, text.len);
}

void hook_memory_free(struct hook_memory **memory)
{
    while (*memory != NULL) {
        struct hook_memory *block = *memory;
        *memory = block->next;
        free(block);
    }
}
