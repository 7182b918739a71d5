/*
 * Behaviour of the send window: packet IDs, order, acknowledgements in any order, bounded memory.
 */
#include "../message_fixture.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/session/inflight.h"

static struct message *shared_message; /* what the window holds does not matter to most tests */

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct inflight));
    shared_message = make_message("t", "p", 1, 0);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    inflight_fini(*state);
    free(*state);
    message_unref(shared_message);
    return 0;
}

static uint16_t push_qos(struct inflight *window, uint8_t qos)
{
    struct delivery_item item = {.message = message_ref(shared_message), .qos = qos};
    uint16_t packet_id = 0;

    assert_int_equal(inflight_push_take(window, &item, 0, &packet_id), 0);
    return packet_id;
}

static uint16_t push(struct inflight *window)
{
    return push_qos(window, 1);
}

static void acknowledge(struct inflight *window, uint16_t packet_id)
{
    struct inflight_entry *entry = inflight_find(window, packet_id);

    assert_non_null(entry);
    assert_int_equal(entry->packet_id, packet_id);
    assert_ptr_equal(inflight_remove(window, entry), shared_message);
    message_unref(shared_message);
}

static void gives_packet_ids_in_sequence_from_one(void **state)
{
    for (uint16_t i = 1; i <= 100; i++)
        assert_int_equal(push(*state), i);
}

static void never_gives_packet_id_zero(void **state)
{
    for (uint32_t i = 1; i <= 65535; i++) {
        assert_int_equal(push(*state), i);
        acknowledge(*state, (uint16_t)i);
    }
    assert_int_equal(push(*state), 1);
}

static void remembers_what_was_sent(void **state)
{
    struct delivery_item item = {.message = shared_message, .subscription_id = 77, .qos = 2, .retain = true};
    struct inflight_entry *entry;
    uint16_t packet_id;

    assert_int_equal(inflight_push_take(*state, &item, 1234, &packet_id), 0);
    entry = inflight_find(*state, packet_id);
    assert_non_null(entry);
    assert_ptr_equal(entry->message, shared_message);
    assert_int_equal(entry->subscription_id, 77);
    assert_int_equal(entry->sent_ms, 1234);
    assert_int_equal(entry->state, INFLIGHT_WAIT_PUBREC);
    assert_true(entry->retain);
    assert_ptr_equal(inflight_remove(*state, entry), shared_message);
}

static void waits_for_puback_at_qos_1_and_for_pubrec_at_qos_2(void **state)
{
    uint16_t one = push_qos(*state, 1), two = push_qos(*state, 2);

    assert_int_equal(inflight_find(*state, one)->state, INFLIGHT_WAIT_PUBACK);
    assert_int_equal(inflight_find(*state, two)->state, INFLIGHT_WAIT_PUBREC);
}

static void does_not_find_unknown_packet_ids(void **state)
{
    struct inflight *window = *state;

    assert_null(inflight_find(window, 1));
    push(window);
    push(window);
    push(window);
    assert_null(inflight_find(window, 0));
    assert_null(inflight_find(window, 4));
    assert_null(inflight_find(window, 65535));
    acknowledge(window, 2);
    assert_null(inflight_find(window, 2));
    acknowledge(window, 1);
    assert_null(inflight_find(window, 1));
    assert_non_null(inflight_find(window, 3));
}

static void keeps_the_sending_order_around_holes(void **state)
{
    static const uint16_t left[] = {2, 4, 6, 8, 10, 11};
    struct inflight *window = *state;
    uint32_t found = 0;

    for (int i = 0; i < 10; i++)
        push(window);
    for (uint16_t id = 1; id <= 10; id += 2)
        acknowledge(window, id);
    assert_int_equal(push(window), 11);
    assert_int_equal(window->count, 6);
    for (uint32_t i = 0; i < window->span; i++) {
        const struct inflight_entry *entry = inflight_at(window, i);
        if (entry->state != INFLIGHT_FREE)
            assert_int_equal(entry->packet_id, left[found++]);
    }
    assert_int_equal(found, 6);
}

static void refuses_a_packet_id_in_use(void **state)
{
    struct inflight *window = *state;

    assert_int_equal(push(window), 1);
    assert_int_equal(push(window), 2);
    assert_int_equal(push(window), 3);
    acknowledge(window, 2);
    for (uint32_t id = 4; id <= 65535; id++) {
        assert_int_equal(push(window), id);
        acknowledge(window, (uint16_t)id);
    }
    /* 1 and 3 are still with the client. */
    assert_int_equal(push(window), 2);
    assert_int_equal(push(window), 4);
    acknowledge(window, 1);
    acknowledge(window, 3);
    acknowledge(window, 2);
    acknowledge(window, 4);
    assert_int_equal(window->count, 0);
    assert_int_equal(push(window), 5);
}

static void holds_every_packet_id_and_no_more(void **state)
{
    struct inflight *window = *state;
    struct delivery_item item = {.message = shared_message, .qos = 1};
    uint16_t packet_id = 0;

    for (uint32_t i = 0; i < 65535; i++)
        push(window);
    assert_int_equal(inflight_push_take(window, &item, 0, &packet_id), -ENOSPC);
    assert_int_equal(packet_id, 0);
    acknowledge(window, 40000);
    assert_int_equal(push(window), 40000);
    assert_int_equal(inflight_push_take(window, &item, 0, &packet_id), -ENOSPC);
}

static void stays_small_while_the_oldest_is_never_acknowledged(void **state)
{
    struct inflight *window = *state;

    assert_int_equal(push(window), 1);
    for (int i = 0; i < 200000; i++)
        acknowledge(window, push(window));
    assert_int_equal(window->count, 1);
    assert_true(window->capacity <= 64);
    assert_non_null(inflight_find(window, 1));
    assert_ptr_equal(inflight_find(window, 1), inflight_at(window, 0));
}

static void gives_the_memory_of_a_large_window_back(void **state)
{
    struct inflight *window = *state;

    for (int i = 0; i < 1000; i++)
        push(window);
    for (uint16_t id = 1000; id >= 1; id--)
        acknowledge(window, id);
    assert_true(window->capacity <= 64);
    assert_int_equal(push(window), 1001);
}

/* Against a plain list of what is in use, with acknowledgements in random order and IDs that wrap. */
static void agrees_with_a_plain_list(void **state)
{
    enum { WINDOW_MAX = 40 };
    struct inflight *window = *state;
    uint16_t used[WINDOW_MAX];
    uint32_t count = 0, random = 4711;

    window->next_packet_id = 65500;
    for (int step = 0; step < 200000; step++) {
        random = random * 1664525u + 1013904223u;
        if (count < WINDOW_MAX && (random >> 13 & 1) != 0) {
            uint16_t id = push(window);
            for (uint32_t i = 0; i < count; i++)
                assert_int_not_equal(used[i], id);
            used[count++] = id;
        } else if (count > 0) {
            /* Mostly the later ones, so that old ones stay for long. */
            uint32_t place = (random >> 14 & 7) != 0 ? count - 1 - (random >> 17) % ((count + 3) / 4)
                                                     : (random >> 17) % count;
            acknowledge(window, used[place]);
            memmove(&used[place], &used[place + 1], (count - place - 1) * sizeof(used[0]));
            count--;
        }
        assert_int_equal(window->count, count);
        uint32_t found = 0;
        for (uint32_t i = 0; i < window->span; i++) {
            const struct inflight_entry *entry = inflight_at(window, i);
            if (entry->state != INFLIGHT_FREE)
                assert_int_equal(entry->packet_id, used[found++]); /* in sending order */
        }
        assert_int_equal(found, count);
    }
    assert_true(window->capacity <= 256);
}

static void drops_the_messages_it_still_holds(void **state)
{
    struct inflight *window = *state;

    push(window);
    push_qos(window, 2);
    inflight_find(window, 2)->message = message_unref(shared_message); /* PUBREC came */
    assert_int_equal(refs_of(shared_message), 2);
    inflight_fini(window);
    assert_int_equal(refs_of(shared_message), 1);
    assert_int_equal(push(window), 1); /* usable again */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_packet_ids_in_sequence_from_one),
        TEST(never_gives_packet_id_zero),
        TEST(remembers_what_was_sent),
        TEST(waits_for_puback_at_qos_1_and_for_pubrec_at_qos_2),
        TEST(does_not_find_unknown_packet_ids),
        TEST(keeps_the_sending_order_around_holes),
        TEST(refuses_a_packet_id_in_use),
        TEST(holds_every_packet_id_and_no_more),
        TEST(stays_small_while_the_oldest_is_never_acknowledged),
        TEST(gives_the_memory_of_a_large_window_back),
        TEST(agrees_with_a_plain_list),
        TEST(drops_the_messages_it_still_holds),
    };

    return cmocka_run_group_tests_name("inflight", tests, NULL, NULL);
}
