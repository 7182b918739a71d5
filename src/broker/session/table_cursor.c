/*
 * table_cursor: see table_cursor.h. A fetched row is two lengths, key, value.
 */
#include "broker/session/table_cursor.h"

#include <errno.h>

struct row_head {
    uint32_t key_len;
    uint32_t value_len;
};

void table_cursor_init(struct table_cursor *cursor, struct store *store, enum store_table table, size_t value_max)
{
    *cursor = (struct table_cursor){.store = store, .table = table, .value_max = value_max};
    buffer_init(&cursor->rows, UINT32_MAX);
    buffer_init(&cursor->from, UINT32_MAX);
}

void table_cursor_fini(struct table_cursor *cursor)
{
    buffer_fini(&cursor->rows);
    buffer_fini(&cursor->from);
}

/* The key that comes right behind `key` is the next chunk's first: it with a zero. */
static int begin_behind(struct table_cursor *cursor, struct slice key)
{
    buffer_clear(&cursor->from);
    if (buffer_append(&cursor->from, key) < 0)
        return -ENOMEM;
    return buffer_append(&cursor->from, slice_make("", 1));
}

static bool fetch_row(void *context, struct slice key, struct slice value)
{
    struct table_cursor *cursor = context;
    size_t value_len = value.len < cursor->value_max ? value.len : cursor->value_max;
    struct row_head head = {.key_len = (uint32_t)key.len, .value_len = (uint32_t)value_len};
    uint8_t *space;

    cursor->too_large = buffer_reserve(&cursor->rows, sizeof(head) + key.len + value_len, &space) < 0;
    if (cursor->too_large)
        return false;
    memcpy(space, &head, sizeof(head));
    memcpy(space + sizeof(head), key.data, key.len);
    if (value_len > 0)
        memcpy(space + sizeof(head) + key.len, value.data, value_len);
    buffer_commit(&cursor->rows, sizeof(head) + key.len + value_len);
    if (buffer_length(&cursor->rows) < TABLE_CURSOR_BYTES)
        return true;
    cursor->ended = false;
    cursor->too_large = begin_behind(cursor, key) < 0;
    return false;
}

static int fetch(struct table_cursor *cursor)
{
    int err;

    buffer_clear(&cursor->rows);
    cursor->ended = true; /* unless the chunk gets full */
    err = store_scan(cursor->store, cursor->table, SLICE_LITERAL(""), buffer_slice(&cursor->from), fetch_row, cursor);
    return err == 0 && cursor->too_large ? -ENOMEM : err;
}

static struct row_head head_of(const struct table_cursor *cursor)
{
    struct row_head head;

    memcpy(&head, buffer_slice(&cursor->rows).data, sizeof(head));
    return head;
}

int table_cursor_peek(struct table_cursor *cursor, struct slice *out_key, struct slice *out_value)
{
    struct row_head head;
    const uint8_t *row;

    if (buffer_length(&cursor->rows) == 0) {
        int err = cursor->ended ? 0 : fetch(cursor);
        if (err < 0)
            return err;
        if (buffer_length(&cursor->rows) == 0)
            return 0;
    }
    head = head_of(cursor);
    row = buffer_slice(&cursor->rows).data + sizeof(head);
    *out_key = slice_make(row, head.key_len);
    *out_value = slice_make(row + head.key_len, head.value_len);
    return 1;
}

void table_cursor_next(struct table_cursor *cursor)
{
    struct row_head head = head_of(cursor);

    buffer_consume(&cursor->rows, sizeof(head) + head.key_len + head.value_len);
}
