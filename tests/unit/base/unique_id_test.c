/*
 * Behaviour of GUIDs, generated client IDs and random numbers.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/unique_id.h"

static int compare_guids(const void *left, const void *right)
{
    const struct guid *a = left;
    const struct guid *b = right;

    if (a->high != b->high)
        return a->high < b->high ? -1 : 1;
    return (a->low > b->low) - (a->low < b->low);
}

static void rises_within_a_thread_even_when_the_clock_does_not(void **state)
{
    struct guid last = guid_next(1000);

    (void)state;
    assert_int_equal(last.high, 1000);
    /* More than the counter holds, at one time; then a clock that went back. */
    for (int i = 0; i < 200000; i++) {
        struct guid guid = guid_next(i < 150000 ? 1000 : 500);

        assert_int_equal(compare_guids(&last, &guid), -1);
        last = guid;
    }
    assert_in_range(last.high, 1003, 1003);
}

enum { THREADS = 4, PER_THREAD = 20000 };
static struct guid guids[THREADS][PER_THREAD];

static void *make_guids(void *row)
{
    struct guid *into = row;

    for (int i = 0; i < PER_THREAD; i++)
        into[i] = guid_next(UINT64_C(5000000));
    return NULL;
}

static void differs_between_threads_at_the_same_time(void **state)
{
    struct guid *all = &guids[0][0];
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_guids, guids[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(guids, THREADS * PER_THREAD, sizeof(*all), compare_guids);
    for (int i = 1; i < THREADS * PER_THREAD; i++)
        assert_int_equal(compare_guids((struct guid *)guids + i - 1, (struct guid *)guids + i), -1);
}

static void carries_the_node_in_its_bits(void **state)
{
    struct guid one;
    struct guid two;

    (void)state;
    guid_set_node(SLICE_LITERAL("emqx@10.0.0.1"));
    one = guid_next(6000000);
    guid_set_node(SLICE_LITERAL("emqx@10.0.0.2"));
    two = guid_next(6000000);
    assert_true(one.low >> 48 != two.low >> 48);
    assert_int_equal(one.low << 16 >> 32, two.low << 16 >> 32);
}

static void writes_hexadecimal_without_leading_zeros(void **state)
{
    char text[GUID_TEXT_BYTES];

    (void)state;
    assert_int_equal(guid_format((struct guid){0x59C2F0A1B2C3D, 0xF4400000A7B0001}, text), 29);
    assert_string_equal(text, "59C2F0A1B2C3D0F4400000A7B0001");
    assert_int_equal(guid_format((struct guid){0, 0xAB}, text), 2);
    assert_string_equal(text, "AB");
    assert_int_equal(guid_format((struct guid){UINT64_MAX, UINT64_MAX}, text), 32);
}

static void generates_client_ids_of_letters_and_digits(void **state)
{
    char last[CLIENT_ID_TEXT_BYTES] = "";

    (void)state;
    for (int i = 0; i < 1000; i++) {
        char text[CLIENT_ID_TEXT_BYTES];

        client_id_generate(text);
        assert_int_equal(strlen(text), CLIENT_ID_TEXT_LENGTH);
        assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
                         CLIENT_ID_TEXT_LENGTH);
        assert_string_not_equal(text, last);
        memcpy(last, text, sizeof(last));
    }
}

static void draws_every_number_below_the_bound(void **state)
{
    uint32_t counts[7] = {0};

    (void)state;
    for (int i = 0; i < 70000; i++) {
        uint32_t number = random_below(7);

        assert_in_range(number, 0, 6);
        counts[number]++;
    }
    /* 10,000 expected, standard deviation 93: ten of them are never seen. */
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9070, 10930);
    assert_int_equal(random_below(0), 0);
    assert_int_equal(random_below(1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rises_within_a_thread_even_when_the_clock_does_not),
        cmocka_unit_test(differs_between_threads_at_the_same_time),
        cmocka_unit_test(carries_the_node_in_its_bits),
        cmocka_unit_test(writes_hexadecimal_without_leading_zeros),
        cmocka_unit_test(generates_client_ids_of_letters_and_digits),
        cmocka_unit_test(draws_every_number_below_the_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
