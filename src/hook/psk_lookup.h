/*
 * psk_lookup: tls_handshake.psk_lookup, for tls_psk_set_lookup() (net/tls.h).
 */
#ifndef HOOK_PSK_LOOKUP_H
#define HOOK_PSK_LOOKUP_H

#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

/* Asks the callbacks for the key of `identity`. Its length, at most HOOK_PSK_KEY_MAX, or 0: nobody knows it. Thread: worker, online. */
size_t hook_psk_lookup(struct slice identity, uint8_t *out_key);

#endif
