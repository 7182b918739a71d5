/*
 * psk_lookup: see psk_lookup.h.
 */
#include "hook/psk_lookup.h"

#include "hook/events.h"
#include "hook/hook.h"
#include "net/tls.h"

#include <string.h>

_Static_assert(HOOK_PSK_KEY_MAX == TLS_PSK_KEY_MAX, "a callback's key fits");

size_t hook_psk_lookup(struct slice identity, uint8_t *out_key)
{
    struct hook_psk_lookup event = {.identity = identity};
    size_t len;

    if (!hook_any(HOOK_TLS_PSK_LOOKUP))
        return 0;
    (void)hook_call(HOOK_TLS_PSK_LOOKUP, &event);
    len = event.key_len <= HOOK_PSK_KEY_MAX ? event.key_len : 0; /* else it is no key: the callback's mistake */
    memcpy(out_key, event.key, len);
    explicit_bzero(event.key, sizeof(event.key));
    return len;
}
