/*
 * Behaviour of the table of bans with a real store: who is found, what is on disk, limits, ends.
 */
#include "../store/store_fixture.h"

#include "auth/banned.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "hook/client_info.h"

#include <arpa/inet.h>
#include <errno.h>

#define LIMIT 5u

/* The table of a test; the store fixture is its state. */
static struct banned *banned;
static uint32_t added;

static void on_added(void *context, const struct ban *ban)
{
    (void)context;
    added += ban->who.len > 0;
}

static void open_table(struct fixture *fixture)
{
    struct banned_options options = {
        .loop = &fixture->loop, .store = fixture->store, .entries_max = LIMIT, .on_added = on_added};

    assert_int_equal(banned_open(&options, &banned), 0);
}

static void close_table(struct fixture *fixture)
{
    banned_close(banned);
    banned = NULL;
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
}

static int set_up(void **state)
{
    if (fixture_set_up(state) != 0)
        return -1;
    rcu_thread_register();
    rcu_thread_offline();
    added = 0;
    fixture_open(*state);
    open_table(*state);
    return 0;
}

static int tear_down(void **state)
{
    close_table(*state);
    rcu_thread_online();
    rcu_thread_unregister();
    rcu_barrier_all();
    return fixture_tear_down(state);
}

/* As after a restart. */
static void reopen(struct fixture *fixture)
{
    close_table(fixture);
    fixture_reopen(fixture);
    open_table(fixture);
}

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_ms() / 1000);
}

static void on_done(void *context, int err)
{
    *(int *)context = err;
}

#define WAITS 1 /* not yet answered */

static struct ban_options ban_of(enum ban_kind kind, const char *who)
{
    return (struct ban_options){.kind = kind, .who = slice_from_string(who), .at_s = now_s()};
}

static void wait_for_answer(struct fixture *fixture, const int *result)
{
    while (*result == WAITS)
        uv_run(&fixture->loop, UV_RUN_ONCE);
}

static void add(struct fixture *fixture, enum ban_kind kind, const char *who)
{
    struct ban_options options = ban_of(kind, who);
    int result = WAITS;

    assert_int_equal(banned_add(banned, &options, on_done, &result), 0);
    assert_int_equal(result, WAITS);
    wait_for_answer(fixture, &result);
    assert_int_equal(result, 0);
}

static int add_flapping(const char *who, int64_t for_s)
{
    struct ban_options options = ban_of(BAN_CLIENT_ID, who);

    options.by = SLICE_LITERAL(BAN_BY_FLAPPING);
    options.until_s = now_s() + for_s;
    return banned_add(banned, &options, NULL, NULL);
}

static int delete (struct fixture *fixture, enum ban_kind kind, const char *who)
{
    int result = WAITS;
    int err = banned_delete(banned, kind, slice_from_string(who), on_done, &result);

    if (err == 0)
        wait_for_answer(fixture, &result);
    return err == 0 ? result : err;
}

static bool is_banned(const char *client_id, const char *user_name, const char *address)
{
    struct client_info client = {.client_id = slice_from_string(client_id), .user_name = slice_from_string(user_name)};
    char mapped[64];
    bool found;

    snprintf(mapped, sizeof(mapped), "%s%s", strchr(address, ':') == NULL ? "::ffff:" : "", address);
    assert_int_equal(inet_pton(AF_INET6, mapped, &client.peer_address), 1);
    rcu_thread_online();
    found = banned_find(banned, &client) != NULL;
    rcu_thread_offline();
    return found;
}

static void a_ban_is_by_one_kind_only(void **state)
{
    add(*state, BAN_CLIENT_ID, "x");
    assert_true(is_banned("x", NULL, "10.0.0.1"));
    assert_false(is_banned("y", "x", "10.0.0.1"));
    add(*state, BAN_USERNAME, "x");
    assert_true(is_banned("y", "x", "10.0.0.1"));
    assert_false(is_banned("y", NULL, "10.0.0.1"));
    assert_int_equal(added, 2);
}

static void networks_of_all_lengths_are_found(void **state)
{
    add(*state, BAN_ADDRESS, "10.0.0.0/8");
    add(*state, BAN_ADDRESS, "192.0.2.7");
    add(*state, BAN_ADDRESS, "2001:db8::/32");
    assert_true(is_banned("c", NULL, "10.255.255.255"));
    assert_false(is_banned("c", NULL, "11.0.0.0"));
    assert_true(is_banned("c", NULL, "192.0.2.7"));
    assert_false(is_banned("c", NULL, "192.0.2.6"));
    assert_true(is_banned("c", NULL, "2001:db8:ffff::1"));
    assert_false(is_banned("c", NULL, "2001:db9::1"));
    assert_int_equal(delete (*state, BAN_ADDRESS, "10.9.9.9/8"), 0);
    assert_false(is_banned("c", NULL, "10.255.255.255"));
    assert_true(is_banned("c", NULL, "192.0.2.7"));
}

static void networks_of_everything_keep_to_their_family(void **state)
{
    add(*state, BAN_ADDRESS, "::/0");
    assert_true(is_banned("c", NULL, "fe80::1"));
    assert_false(is_banned("c", NULL, "10.0.0.1"));
    assert_int_equal(delete (*state, BAN_ADDRESS, "::/0"), 0);
    add(*state, BAN_ADDRESS, "0.0.0.0/0");
    assert_false(is_banned("c", NULL, "fe80::1"));
    assert_true(is_banned("c", NULL, "10.0.0.1"));
}

static void bans_are_there_after_a_restart(void **state)
{
    struct ban_options ended = ban_of(BAN_CLIENT_ID, "ended");
    int result = WAITS;

    add(*state, BAN_CLIENT_ID, "x");
    add(*state, BAN_ADDRESS, "10.0.0.0/8");
    add(*state, BAN_USERNAME, "lifted");
    assert_int_equal(delete (*state, BAN_USERNAME, "lifted"), 0);
    ended.until_s = now_s() - 1;
    assert_int_equal(banned_add(banned, &ended, on_done, &result), 0);
    wait_for_answer(*state, &result);
    assert_false(is_banned("ended", NULL, "11.0.0.1"));
    reopen(*state);
    assert_int_equal(banned_count(banned), 2);
    assert_true(is_banned("x", NULL, "11.0.0.1"));
    assert_true(is_banned("c", NULL, "10.1.1.1"));
    assert_false(is_banned("c", "lifted", "11.0.0.1"));
    reopen(*state);
    assert_string_equal(get_text(((struct fixture *)*state)->store, STORE_BANNED, "client_id/ended"), "-");
}

static void a_further_ban_replaces_the_first(void **state)
{
    struct ban_options options = ban_of(BAN_CLIENT_ID, "x");
    int result = WAITS;

    add(*state, BAN_CLIENT_ID, "x");
    options.until_s = now_s() - 1;
    assert_int_equal(banned_add(banned, &options, on_done, &result), 0);
    wait_for_answer(*state, &result);
    assert_false(is_banned("x", NULL, "10.0.0.1"));
    add(*state, BAN_CLIENT_ID, "x");
    assert_int_equal(banned_count(banned), 1);
    assert_true(is_banned("x", NULL, "10.0.0.1"));
}

static void a_ban_ends_by_itself(void **state)
{
    struct fixture *fixture = *state;
    struct ban_options options = ban_of(BAN_ADDRESS, "10.0.0.0/8");

    options.until_s = now_s() + 1;
    assert_int_equal(banned_add(banned, &options, NULL, NULL), 0);
    assert_true(is_banned("c", NULL, "10.0.0.1"));
    while (banned_count(banned) > 0)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    assert_true(now_s() >= options.until_s);
    assert_false(is_banned("c", NULL, "10.0.0.1"));
    close_table(fixture);
    fixture_reopen(fixture);
    assert_string_equal(scan_text(fixture->store, STORE_BANNED, "", ""), "");
    open_table(fixture);
}

static void the_table_is_bounded(void **state)
{
    struct ban_options options = ban_of(BAN_CLIENT_ID, "one more");
    char name[16];

    for (uint32_t i = 0; i < LIMIT; i++) {
        snprintf(name, sizeof(name), "c%u", i);
        add(*state, BAN_CLIENT_ID, name);
    }
    assert_int_equal(banned_add(banned, &options, NULL, NULL), -ENOSPC);
    assert_int_equal(add_flapping("f", 10), -ENOSPC);
    add(*state, BAN_CLIENT_ID, "c0"); /* a replacement needs no room */
    assert_int_equal(delete (*state, BAN_CLIENT_ID, "c1"), 0);
    assert_int_equal(banned_add(banned, &options, NULL, NULL), 0);
}

static void of_automatic_bans_the_one_that_ends_first_makes_room(void **state)
{
    add(*state, BAN_CLIENT_ID, "kept");
    assert_int_equal(add_flapping("f30", 30), 0);
    assert_int_equal(add_flapping("f20", 20), 0);
    assert_int_equal(add_flapping("f40", 40), 0);
    assert_int_equal(add_flapping("f50", 50), 0);
    assert_int_equal(add_flapping("f60", 60), 0);
    assert_int_equal(banned_count(banned), LIMIT);
    assert_false(is_banned("f20", NULL, "10.0.0.1"));
    assert_int_equal(add_flapping("f70", 70), 0);
    assert_false(is_banned("f30", NULL, "10.0.0.1"));
    assert_true(is_banned("kept", NULL, "10.0.0.1"));
    assert_true(is_banned("f40", NULL, "10.0.0.1"));
    reopen(*state);
    assert_int_equal(banned_count(banned), LIMIT);
    assert_false(is_banned("f20", NULL, "10.0.0.1"));
    assert_int_equal(add_flapping("f80", 80), 0); /* they are automatic ones still */
    assert_false(is_banned("f40", NULL, "10.0.0.1"));
}

static void a_damaged_row_has_no_effect_and_stays(void **state)
{
    struct fixture *fixture = *state;

    close_table(fixture);
    put_text(fixture->client, STORE_BANNED, "client_id/a", "{\"who\":\"a\",");
    put_text(fixture->client, STORE_BANNED, "client_id/b", "{\"who\":\"b\",\"as\":\"client_id\"}");
    fixture_wait(fixture, fixture->client, store_submit(fixture->client, true));
    open_table(fixture);
    assert_false(is_banned("a", NULL, "10.0.0.1"));
    assert_true(is_banned("b", NULL, "10.0.0.1"));
    assert_string_equal(get_text(fixture->store, STORE_BANNED, "client_id/a"), "{\"who\":\"a\",");
    add(fixture, BAN_CLIENT_ID, "a");
    assert_int_equal(delete (fixture, BAN_CLIENT_ID, "a"), 0);
    assert_string_equal(get_text(fixture->store, STORE_BANNED, "client_id/a"), "-");
}

static void who_is_not_banned_cannot_be_let_in_again(void **state)
{
    assert_int_equal(delete (*state, BAN_CLIENT_ID, "x"), -ENOENT);
    assert_int_equal(delete (*state, BAN_ADDRESS, "10.0.0.0/8"), -ENOENT);
    assert_int_equal(delete (*state, BAN_ADDRESS, "ten"), -EINVAL);
}

static void count_ban(void *context, const struct ban *ban)
{
    *(uint32_t *)context += ban->who.len > 0;
}

static void a_visit_leaves_out_what_has_ended(void **state)
{
    struct ban_options ended = ban_of(BAN_CLIENT_ID, "ended");
    uint64_t cursor = 0;
    uint32_t count = 0;

    add(*state, BAN_CLIENT_ID, "a");
    add(*state, BAN_USERNAME, "b");
    add(*state, BAN_ADDRESS, "10.0.0.1");
    ended.until_s = now_s() - 1;
    assert_int_equal(banned_add(banned, &ended, NULL, NULL), 0);
    do
        banned_visit(banned, &cursor, 1, count_ban, &count);
    while (cursor != 0);
    assert_int_equal(count, 3);
}

static void who_waits_is_answered_at_the_end(void **state)
{
    struct ban_options options = ban_of(BAN_CLIENT_ID, "x");
    int result = WAITS;

    assert_int_equal(banned_add(banned, &options, on_done, &result), 0);
    close_table(*state);
    assert_true(result == 0 || result == -EIO);
    open_table(*state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_ban_is_by_one_kind_only),
        TEST(networks_of_all_lengths_are_found),
        TEST(networks_of_everything_keep_to_their_family),
        TEST(bans_are_there_after_a_restart),
        TEST(a_further_ban_replaces_the_first),
        TEST(a_ban_ends_by_itself),
        TEST(the_table_is_bounded),
        TEST(of_automatic_bans_the_one_that_ends_first_makes_room),
        TEST(a_damaged_row_has_no_effect_and_stays),
        TEST(who_is_not_banned_cannot_be_let_in_again),
        TEST(a_visit_leaves_out_what_has_ended),
        TEST(who_waits_is_answered_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
