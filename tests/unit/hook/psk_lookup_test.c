/*
 * psk_lookup: who is asked for the key of an identity, and what is taken for one.
 */
#include "hook/psk_lookup.h"

#include "base/rcu.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "net/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Knows one identity. */
struct knower {
    const char *identity;
    const char *key;
    size_t key_len;
    enum hook_verdict verdict;
    uint32_t calls;
};

static enum hook_verdict tell_key(void *context, void *data)
{
    struct knower *knower = context;
    struct hook_psk_lookup *event = data;

    knower->calls++;
    if (!slice_equal(event->identity, slice_from_string(knower->identity)))
        return HOOK_NEXT;
    memcpy(event->key, knower->key, strlen(knower->key));
    event->key_len = knower->key_len;
    return knower->verdict;
}

static struct hook *attach(struct knower *knower, int priority)
{
    struct hook_options options = {
        .point = HOOK_TLS_PSK_LOOKUP, .priority = priority, .run = tell_key, .context = knower, .owner = "test"};
    struct hook *hook = NULL;

    assert_int_equal(hook_add(&options, &hook), 0);
    return hook;
}

static void nobody_knows_anything_without_callbacks(void **state)
{
    uint8_t key[TLS_PSK_KEY_MAX];

    (void)state;
    assert_int_equal(hook_psk_lookup(slice_from_string("a"), key), 0);
}

static void who_knows_the_identity_gives_the_key(void **state)
{
    struct knower first = {.identity = "a", .key = "12", .key_len = 2, .verdict = HOOK_STOP};
    struct knower second = {.identity = "b", .key = "345", .key_len = 3, .verdict = HOOK_STOP};
    struct hook *hooks[] = {attach(&second, 0), attach(&first, 1)};
    uint8_t key[TLS_PSK_KEY_MAX];

    (void)state;
    assert_int_equal(hook_psk_lookup(slice_from_string("a"), key), 2);
    assert_memory_equal(key, "12", 2);
    assert_int_equal(second.calls, 0);
    assert_int_equal(hook_psk_lookup(slice_from_string("b"), key), 3);
    assert_memory_equal(key, "345", 3);
    assert_int_equal(first.calls, 2);
    assert_int_equal(hook_psk_lookup(slice_from_string("c"), key), 0);
    hook_remove(hooks[0]);
    hook_remove(hooks[1]);
}

static void a_length_over_the_room_is_no_key(void **state)
{
    struct knower wrong = {.identity = "a", .key = "12", .key_len = HOOK_PSK_KEY_MAX + 1, .verdict = HOOK_STOP};
    struct hook *hook = attach(&wrong, 0);
    uint8_t key[TLS_PSK_KEY_MAX];

    (void)state;
    assert_int_equal(hook_psk_lookup(slice_from_string("a"), key), 0);
    wrong.key_len = HOOK_PSK_KEY_MAX;
    assert_int_equal(hook_psk_lookup(slice_from_string("a"), key), HOOK_PSK_KEY_MAX);
    hook_remove(hook);
}

static void a_key_cannot_come_later(void **state)
{
    struct knower late = {.identity = "a", .key = "", .verdict = HOOK_PENDING};
    struct knower second = {.identity = "a", .key = "1", .key_len = 1, .verdict = HOOK_STOP};
    struct hook *hooks[] = {attach(&late, 1), attach(&second, 0)};
    uint8_t key[TLS_PSK_KEY_MAX];

    (void)state;
    assert_int_equal(hook_psk_lookup(slice_from_string("a"), key), 1); /* it is passed over */
    hook_remove(hooks[0]);
    hook_remove(hooks[1]);
}

static int set_up(void **state)
{
    (void)state;
    rcu_thread_register();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rcu_thread_unregister();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_knows_anything_without_callbacks),
        cmocka_unit_test(who_knows_the_identity_gives_the_key),
        cmocka_unit_test(a_length_over_the_room_is_no_key),
        cmocka_unit_test(a_key_cannot_come_later),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
