/*
 * auto_subscription: the module `subscription`: subscribes each new session to configured filters, in which %c and %u stand for client ID and
 * user name where they are a whole level.
 *
 * Like the original: when a session is made, not when one is resumed, so that a client can end such a subscription; without asking access rules,
 * capabilities and limits, and without mountpoint. The subscription is the session's own, so it is stored with it before
 * CONNACK tells the client. Retained messages follow CONNACK.
 */
#ifndef MODULE_AUTO_SUBSCRIPTION_H
#define MODULE_AUTO_SUBSCRIPTION_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct auto_subscription;

struct auto_filter {
    const char *pattern; /* a filter, perhaps with share prefix, that auto_subscription_check() has let pass */
    uint8_t qos;
};

/* Is this a filter, with a value for %c and %u? */
MUST_USE bool auto_subscription_check(const char *pattern);

/* Copies the filters; their patterns outlive it. -ENOMEM, -ENOSPC. Thread: control. */
MUST_USE int auto_subscription_open(const struct auto_filter *filters, size_t count,
                                    struct auto_subscription **out_subscription);
/* NULL is fine. Thread: control, as hook_remove(). */
void auto_subscription_close(struct auto_subscription *subscription);

#endif
