/*
 * acl_memory: memory that ends together. A piece that is larger than what is left of the last block begins a new one.
 */
#include "auth/acl_memory.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (16u * 1024u) /* larger pieces get a block of their own */

struct acl_memory_block {
    struct acl_memory_block *next;
    size_t used;
    size_t size;
    alignas(max_align_t) uint8_t bytes[];
};

void *acl_memory_get(struct acl_memory *memory, size_t count, size_t size)
{
    const size_t unit = alignof(max_align_t);
    struct acl_memory_block *block = memory->blocks;
    size_t bytes;
    uint8_t *piece;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + unit) / unit * unit; /* at least one unit: pieces differ */
    if (block == NULL || block->size - block->used < bytes) {
        size_t block_size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        block = calloc(1, sizeof(*block) + block_size);
        if (block == NULL)
            return NULL;
        block->size = block_size;
        block->next = memory->blocks;
        memory->blocks = block;
    }
    piece = block->bytes + block->used;
    block->used += bytes;
    return piece;
}

struct slice acl_memory_dup(struct acl_memory *memory, struct slice text)
{
    uint8_t *copy = acl_memory_get(memory, text.len, 1);

    if (copy != NULL && text.len > 0)
        memcpy(copy, text.data, text.len);
    return slice_make(copy, copy == NULL ? 0 : text.len);
}

void acl_memory_fini(struct acl_memory *memory)
{
    while (memory->blocks != NULL) {
        struct acl_memory_block *block = memory->blocks;
        memory->blocks = block->next;
        free(block);
    }
}
