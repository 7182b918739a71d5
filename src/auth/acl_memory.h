/*
 * acl_memory: memory that ends together: that of one set of access rules. Pieces are cut from blocks; none is freed alone.
 * Thread: any, one at a time.
 */
#ifndef AUTH_ACL_MEMORY_H
#define AUTH_ACL_MEMORY_H

#include "base/slice.h"

struct acl_memory_block;

/* Zeroed: empty. */
struct acl_memory {
    struct acl_memory_block *blocks;
};

/* `count` zeroed objects of `size` bytes, aligned for any; valid until acl_memory_fini(). NULL when memory is short. */
void *acl_memory_get(struct acl_memory *memory, size_t count, size_t size);
/* A copy of the text; data NULL when memory is short. */
struct slice acl_memory_dup(struct acl_memory *memory, struct slice text);
/* Frees everything. */
void acl_memory_fini(struct acl_memory *memory);

#endif
