/*
 * unique_id: identifiers that no other thread, process or node makes again.
 *
 * A message has a GUID of 128 bits: microseconds since 1970 (64), node (16), generating thread (32), counter (16).
 * Those of one thread rise. A client without an ID of its own gets random text.
 * Thread: any, unless a function says otherwise.
 */
#ifndef BASE_UNIQUE_ID_H
#define BASE_UNIQUE_ID_H

#include "base/slice.h"

#include <stdint.h>

struct guid {
    uint64_t high; /* microseconds since 1970 */
    uint64_t low;  /* node, thread, counter */
};

/* 32 digits and the terminating zero. */
#define GUID_TEXT_BYTES 33
/* Characters of a client ID, and the terminating zero. */
#define CLIENT_ID_TEXT_LENGTH 24
#define CLIENT_ID_TEXT_BYTES (CLIENT_ID_TEXT_LENGTH + 1)

/* Names the node in all GUIDs from now on; nodes with different names most likely differ in it. Thread: start-up. */
void guid_set_node(struct slice node_name);

/* The next GUID, for `wall_us` microseconds since 1970 (the caller's time of the turn will do). When the clock
 * stood still or went back the last time is kept, and the counter rises; after 65,536 of one microsecond the next is
 * used. */
struct guid guid_next(uint64_t wall_us);

/* Writes upper-case hexadecimal digits without leading zeros, as in logs and the REST API. Returns the length. */
size_t guid_format(struct guid guid, char out_text[GUID_TEXT_BYTES]);

/* Writes a new client ID of the characters A-Z a-z 0-9. 143 random bits: nobody can guess it and so take over the
 * session. */
void client_id_generate(char out_text[CLIENT_ID_TEXT_BYTES]);

#endif
