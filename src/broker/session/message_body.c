/*
 * message_body: see message_body.h.
 */
#include "broker/session/message_body.h"

#include "broker/session/session_record.h"
#include "store/store.h"

#include <stdlib.h>

struct message_body *message_body_new(uint64_t number)
{
    struct message_body *body = malloc(sizeof(*body));

    if (body == NULL)
        return NULL;
    body->number = number;
    atomic_init(&body->refs, 1);
    atomic_init(&body->written, false);
    atomic_init(&body->awaited, false);
    return body;
}

struct message_body *message_body_unref(struct message_body *body, struct store_client *client)
{
    uint8_t key[SESSION_KEY_LEN];

    if (body == NULL || atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    if (client != NULL && atomic_load_explicit(&body->written, memory_order_relaxed)) {
        session_key(body->number, key);
        store_delete(client, STORE_MESSAGE, slice_make(key, sizeof(key)));
    }
    free(body);
    return NULL;
}
