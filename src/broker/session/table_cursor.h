/*
 * table_cursor: the rows of a table of the store one by one, for whoever walks several tables side by side.
 *
 * Rows are fetched in chunks of TABLE_CURSOR_BYTES, and of large values only the beginning. Rows may be deleted behind the cursor.
 * Belongs to its caller. Thread: start-up.
 */
#ifndef BROKER_SESSION_TABLE_CURSOR_H
#define BROKER_SESSION_TABLE_CURSOR_H

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/slice.h"
#include "store/store.h"

/* A chunk ends with the row that reaches this. Each is a new look into all files of the table. */
#define TABLE_CURSOR_BYTES (2u << 20)

struct table_cursor {
    struct store *store;
    enum store_table table;
    size_t value_max;   /* bytes of each value to fetch */
    struct buffer rows; /* fetched and not yet passed */
    struct buffer from; /* where the next chunk begins */
    bool ended;         /* nothing is left to fetch */
    bool too_large;     /* short of memory for a row */
};

/* Before the first row. No memory is held yet. */
void table_cursor_init(struct table_cursor *cursor, struct store *store, enum store_table table, size_t value_max);
void table_cursor_fini(struct table_cursor *cursor);

/* The row at the cursor, valid until it moves. 1, 0: the table has ended, -EIO, -ENOMEM. May block. */
MUST_USE int table_cursor_peek(struct table_cursor *cursor, struct slice *out_key, struct slice *out_value);
/* Behind the row that table_cursor_peek() showed. */
void table_cursor_next(struct table_cursor *cursor);

#endif
