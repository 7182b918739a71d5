/*
 * slice: copies; everything else is inline in slice.h.
 */
#include "base/slice.h"

#include <errno.h>
#include <stdlib.h>

int slice_dup(struct slice from, struct slice *out_copy)
{
    uint8_t *copy;

    if (from.data == NULL) {
        *out_copy = slice_make(NULL, 0);
        return 0;
    }
    copy = malloc(from.len > 0 ? from.len : 1);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, from.data, from.len);
    *out_copy = slice_make(copy, from.len);
    return 0;
}

void slice_free(struct slice *owned)
{
    free((void *)(uintptr_t)owned->data);
    *owned = slice_make(NULL, 0);
}
