/*
 * Behaviour of the queue of bans by their end, against a plain search.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "auth/ban.h"
#include "auth/ban_queue.h"

#include <stdlib.h>

#define BANS 400u
#define STEPS 20000u

static int64_t earliest(const struct ban *bans)
{
    int64_t first = INT64_MAX;

    for (uint32_t i = 0; i < BANS; i++) {
        if (bans[i].queue_index != 0 && bans[i].until_s < first)
            first = bans[i].until_s;
    }
    return first;
}

static void the_first_is_always_the_one_that_ends_first(void **state)
{
    struct ban *bans = calloc(BANS, sizeof(*bans));
    struct ban_queue queue = {0};
    uint32_t count = 0, seed = 1;

    (void)state;
    assert_non_null(bans);
    for (uint32_t step = 0; step < STEPS; step++) {
        struct ban *ban;
        seed = seed * 1103515245u + 12345u;
        ban = &bans[(seed >> 8) % BANS];
        if (ban->queue_index != 0) {
            ban_queue_remove(&queue, ban);
            count--;
        } else {
            ban->until_s = (seed >> 16) % 97; /* many are equal */
            assert_int_equal(ban_queue_push(&queue, ban), 0);
            count++;
        }
        assert_int_equal(queue.count, count);
        if (count == 0)
            assert_null(ban_queue_first(&queue));
        else
            assert_int_equal(ban_queue_first(&queue)->until_s, earliest(bans));
    }
    assert_true(count > 1);
    for (int64_t last = 0; (count = queue.count) > 0;) {
        struct ban *first = ban_queue_first(&queue);
        assert_true(first->until_s >= last);
        last = first->until_s;
        ban_queue_remove(&queue, first);
        ban_queue_remove(&queue, first); /* in no queue any more */
        assert_int_equal(queue.count, count - 1);
    }
    ban_queue_fini(&queue);
    free(bans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_is_always_the_one_that_ends_first)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
