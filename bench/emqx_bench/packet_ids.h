/*
 * packet_ids: the packet identifiers of one publisher and how far each one's handshake is (MQTT 5, section 4.3).
 *
 * Identifiers are handed out oldest first, so that one is reused as late as possible. The number of identifiers is
 * the publisher's window: with none free it must wait. Thread: owner.
 */
#ifndef BENCH_PACKET_IDS_H
#define BENCH_PACKET_IDS_H

#include <stdint.h>

enum packet_id_state {
    PACKET_ID_FREE,
    PACKET_ID_WAIT_PUBACK,
    PACKET_ID_WAIT_PUBREC,
    PACKET_ID_WAIT_PUBCOMP,
};

struct packet_ids {
    uint16_t count; /* identifiers 1..count */
    uint32_t free_count;
    uint32_t head;     /* index in `ring` of the next free identifier */
    uint16_t *ring;    /* `count` slots */
    uint8_t *states;   /* enum packet_id_state by identifier - 1 */
    uint64_t *sent_ns; /* when the PUBLISH went out, by identifier - 1 */
};

/* Makes `count` identifiers (1..65,535), all free. Returns 0 or -ENOMEM. */
int packet_ids_init(struct packet_ids *ids, uint16_t count);
/* Zeroed storage is fine. */
void packet_ids_fini(struct packet_ids *ids);

/* Takes a free identifier for a PUBLISH of QoS 1 or 2 sent at `now_ns`. `free_count` must not be 0. */
static inline uint16_t packet_ids_take(struct packet_ids *ids, uint8_t qos, uint64_t now_ns)
{
    uint16_t id = ids->ring[ids->head];

    ids->head = ids->head + 1 == ids->count ? 0 : ids->head + 1;
    ids->free_count--;
    ids->states[id - 1] = qos == 1 ? PACKET_ID_WAIT_PUBACK : PACKET_ID_WAIT_PUBREC;
    ids->sent_ns[id - 1] = now_ns;
    return id;
}

/* The state of any identifier, also one never handed out. */
static inline enum packet_id_state packet_ids_state(const struct packet_ids *ids, uint16_t id)
{
    return id == 0 || id > ids->count ? PACKET_ID_FREE : (enum packet_id_state)ids->states[id - 1];
}

/* Gives an identifier in use back. */
static inline void packet_ids_release(struct packet_ids *ids, uint16_t id)
{
    uint32_t tail = ids->head + ids->free_count;

    ids->ring[tail >= ids->count ? tail - ids->count : tail] = id;
    ids->free_count++;
    ids->states[id - 1] = PACKET_ID_FREE;
}

#endif
