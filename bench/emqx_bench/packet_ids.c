/*
 * packet_ids: see packet_ids.h.
 */
#include "packet_ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int packet_ids_init(struct packet_ids *ids, uint16_t count)
{
    memset(ids, 0, sizeof(*ids));
    ids->ring = malloc(count * sizeof(*ids->ring));
    ids->states = calloc(count, sizeof(*ids->states));
    ids->sent_ns = calloc(count, sizeof(*ids->sent_ns));
    if (ids->ring == NULL || ids->states == NULL || ids->sent_ns == NULL) {
        packet_ids_fini(ids);
        return -ENOMEM;
    }
    for (uint16_t i = 0; i < count; i++)
        ids->ring[i] = (uint16_t)(i + 1);
    ids->count = count;
    ids->free_count = count;
    return 0;
}

void packet_ids_fini(struct packet_ids *ids)
{
    free(ids->ring);
    free(ids->states);
    free(ids->sent_ns);
    memset(ids, 0, sizeof(*ids));
}
