/*
 * body_index: see body_index.h.
 */
#include "broker/session/body_index.h"

#include "broker/session/message_body.h"
#include "broker/session/session_record.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 1024
#define SUBMIT_BYTES (1u << 20)

/* Stands for a body that is kept without anybody known who refers to it. */
static struct message_body kept;

static bool add(void *context, struct slice key, struct slice value)
{
    struct body_index *index = context;
    uint64_t number;

    (void)value;
    if (session_key_decode(key, &number) < 0) {
        index->damaged_count++;
        return true;
    }
    if (index->count == index->capacity) {
        uint64_t capacity = index->capacity == 0 ? FIRST_CAPACITY : index->capacity * 2;
        struct body_slot *slots = realloc(index->slots, capacity * sizeof(*slots));
        index->no_memory = slots == NULL;
        if (slots == NULL)
            return false;
        index->slots = slots;
        index->capacity = capacity;
    }
    index->slots[index->count++] = (struct body_slot){.number = number};
    return true;
}

int body_index_load(struct body_index *index, struct store *store)
{
    int err = store_scan(store, STORE_MESSAGE, SLICE_LITERAL(""), SLICE_LITERAL(""), add, index);

    return err == 0 && index->no_memory ? -ENOMEM : err;
}

void body_index_fini(struct body_index *index)
{
    free(index->slots);
    *index = (struct body_index){0};
}

static struct body_slot *find(const struct body_index *index, uint64_t number)
{
    uint64_t low = 0, high = index->count;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (index->slots[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < index->count && index->slots[low].number == number ? &index->slots[low] : NULL;
}

int body_index_refer(struct body_index *index, uint64_t number, struct message_body **out_body)
{
    struct body_slot *slot = find(index, number);

    if (slot == NULL)
        return -ENOENT;
    if (slot->body != NULL && slot->body != &kept) {
        *out_body = message_body_ref(slot->body);
        return 0;
    }
    struct message_body *body = message_body_new(number);
    if (body == NULL)
        return -ENOMEM;
    /* Not "written" means that the last one leaves the record: the unknown one needs it. */
    atomic_store_explicit(&body->written, slot->body != &kept, memory_order_relaxed);
    slot->body = body;
    *out_body = body;
    return 0;
}

void body_index_keep(struct body_index *index, uint64_t number)
{
    struct body_slot *slot = find(index, number);

    if (slot == NULL)
        return;
    if (slot->body == NULL)
        slot->body = &kept;
    else
        atomic_store_explicit(&slot->body->written, false, memory_order_relaxed);
}

uint64_t body_index_sweep(struct body_index *index, struct store_client *client)
{
    uint8_t key[SESSION_KEY_LEN];
    uint64_t swept = 0;

    for (uint64_t i = 0; i < index->count; i++) {
        if (index->slots[i].body != NULL)
            continue;
        session_key(index->slots[i].number, key);
        store_delete(client, STORE_MESSAGE, slice_make(key, sizeof(key)));
        if (store_open_bytes(client) > SUBMIT_BYTES)
            store_submit(client, false);
        swept++;
    }
    return swept;
}
