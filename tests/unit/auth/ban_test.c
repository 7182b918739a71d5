/*
 * Behaviour of one ban: what can be banned, how it is shown, how it is kept on disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "auth/ban.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

static struct ban *make(enum ban_kind kind, const char *who)
{
    struct ban_options options = {.kind = kind, .who = slice_from_string(who), .at_s = 1000};
    struct ban *ban = NULL;

    assert_int_equal(ban_new(&options, &ban), 0);
    return ban;
}

static void expect_shown(const char *who, const char *shown)
{
    struct ban *ban = make(BAN_ADDRESS, who);

    assert_int_equal(ban->who.len, strlen(shown));
    assert_memory_equal(ban->who.data, shown, ban->who.len);
    ban_free(ban);
}

static int refusal(enum ban_kind kind, struct slice who)
{
    struct ban_options options = {.kind = kind, .who = who};
    struct ban *ban = NULL;
    int err = ban_new(&options, &ban);

    ban_free(ban);
    return err;
}

static int text_refusal(const char *who)
{
    return refusal(BAN_ADDRESS, slice_from_string(who));
}

static void addresses_are_shown_in_their_shortest_form_without_host_bits(void **state)
{
    (void)state;
    expect_shown("10.1.2.3", "10.1.2.3");
    expect_shown("10.1.2.3/32", "10.1.2.3");
    expect_shown("10.1.2.3/8", "10.0.0.0/8");
    expect_shown("10.255.2.3/9", "10.128.0.0/9");
    expect_shown("1.2.3.4/0", "0.0.0.0/0");
    expect_shown("::ffff:10.1.2.3", "10.1.2.3");
    expect_shown("::ffff:10.1.2.3/104", "10.0.0.0/8");
    expect_shown("2001:DB8:0:0::1", "2001:db8::1");
    expect_shown("2001:db8:ffff::1/33", "2001:db8:8000::/33");
    expect_shown("::/0", "::/0");
    expect_shown("::ffff:10.1.2.3/80", "::/80");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const words[] = {
        "",         "10.1.2",       "10.1.2.3/", "10.1.2.3/33", "10.1.2.3/-1", "10.1.2.3/8 ",  "10.1.2.3/08x",
        "::1/129",  "host.example", "/8",        "10.1.2.256",  "1:2",         "10.1.2.3/1/2", "10.1.2.3/0000",
        " 10.1.2.3"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        assert_int_equal(text_refusal(words[i]), -EINVAL);
    assert_int_equal(refusal(BAN_ADDRESS, slice_make("10.1.2.3\0", 9)), -EILSEQ);
}

static void texts_have_limits(void **state)
{
    struct ban_options options = {.kind = BAN_USERNAME, .who = SLICE_LITERAL("u")};
    struct ban *ban = NULL;
    char *long_text = malloc(BAN_WHO_MAX + 1);

    (void)state;
    assert_non_null(long_text);
    memset(long_text, 'x', BAN_WHO_MAX + 1);
    assert_int_equal(refusal(BAN_CLIENT_ID, slice_make(long_text, BAN_WHO_MAX)), 0);
    assert_int_equal(refusal(BAN_CLIENT_ID, slice_make(long_text, BAN_WHO_MAX + 1)), -E2BIG);
    assert_int_equal(refusal(BAN_CLIENT_ID, SLICE_LITERAL("")), -EINVAL);
    assert_int_equal(refusal(BAN_CLIENT_ID, SLICE_LITERAL("\xff")), -EILSEQ);
    options.reason = slice_make(long_text, BAN_TEXT_MAX + 1);
    assert_int_equal(ban_new(&options, &ban), -E2BIG);
    options.reason = SLICE_LITERAL("\xc3");
    assert_int_equal(ban_new(&options, &ban), -EILSEQ);
    options.reason = SLICE_LITERAL("");
    options.until_s = -1;
    assert_int_equal(ban_new(&options, &ban), -ERANGE);
    options.until_s = BAN_UNTIL_MAX + 1;
    assert_int_equal(ban_new(&options, &ban), -ERANGE);
    assert_null(ban);
    free(long_text);
}

static void kinds_have_all_their_names(void **state)
{
    enum ban_kind kind;

    (void)state;
    assert_int_equal(ban_kind_parse(SLICE_LITERAL("ip_address"), &kind), 0);
    assert_int_equal(kind, BAN_ADDRESS);
    assert_int_equal(ban_kind_parse(SLICE_LITERAL("ipaddr"), &kind), 0);
    assert_int_equal(kind, BAN_ADDRESS);
    assert_int_equal(ban_kind_parse(SLICE_LITERAL("clientid"), &kind), 0);
    assert_int_equal(kind, BAN_CLIENT_ID);
    assert_int_equal(ban_kind_parse(SLICE_LITERAL("username"), &kind), 0);
    assert_int_equal(kind, BAN_USERNAME);
    assert_int_equal(ban_kind_parse(SLICE_LITERAL("user"), &kind), -EINVAL);
    assert_string_equal(ban_kind_name(BAN_CLIENT_ID), "client_id");
    assert_string_equal(ban_kind_name(BAN_USERNAME), "username");
    assert_string_equal(ban_kind_name(BAN_ADDRESS), "ip_address");
}

static void keys_of_different_kinds_differ(void **state)
{
    struct ban *client = make(BAN_CLIENT_ID, "x"), *user = make(BAN_USERNAME, "x"),
               *net = make(BAN_ADDRESS, "10.0.0.0/8"), *wider = make(BAN_ADDRESS, "10.0.0.0/7"),
               *same = make(BAN_ADDRESS, "::ffff:10.9.9.9/104");

    (void)state;
    assert_false(ban_key_equal(&client->key, &user->key));
    assert_true(ban_key_hash(&client->key) != ban_key_hash(&user->key));
    assert_false(ban_key_equal(&net->key, &wider->key));
    assert_true(ban_key_equal(&net->key, &same->key));
    assert_true(ban_key_hash(&net->key) == ban_key_hash(&same->key));
    ban_free(client);
    ban_free(user);
    ban_free(net);
    ban_free(wider);
    ban_free(same);
}

static void a_row_holds_all_of_a_ban(void **state)
{
    struct ban_options options = {
        .kind = BAN_USERNAME,
        .who = SLICE_LITERAL("J\xc3\xbcrgen/\"x\""),
        .reason = SLICE_LITERAL("why"),
        .desc = SLICE_LITERAL(""),
        .at_s = 1795409719,
        .until_s = 1795413319,
    };
    struct ban *ban, *copy;
    struct slice name, json;
    const char *problem;

    (void)state;
    assert_int_equal(ban_new(&options, &ban), 0);
    assert_int_equal(ban_encode(ban, &name, &json), 0);
    assert_true(slice_equal(name, SLICE_LITERAL("username/J\xc3\xbcrgen/\"x\"")));
    assert_int_equal(ban_decode(name, json, &copy, &problem), 0);
    assert_true(ban_key_equal(&ban->key, &copy->key));
    assert_true(slice_equal(copy->who, options.who));
    assert_true(slice_equal(copy->reason, options.reason));
    assert_null(copy->by.data);
    assert_non_null(copy->desc.data);
    assert_int_equal(copy->desc.len, 0);
    assert_int_equal(copy->at_s, options.at_s);
    assert_int_equal(copy->until_s, options.until_s);
    assert_false(copy->is_automatic);
    slice_free(&name);
    slice_free(&json);
    ban_free(ban);
    ban_free(copy);
}

static void a_ban_ends_in_the_second_it_says(void **state)
{
    struct ban ban = {.until_s = 100}, for_ever = {.until_s = 0};

    (void)state;
    assert_false(ban_has_ended(&ban, 99));
    assert_true(ban_has_ended(&ban, 100));
    assert_false(ban_has_ended(&for_ever, INT64_MAX));
}

static void a_damaged_row_is_told(void **state)
{
    static const char *const rows[] = {
        "",
        "[]",
        "{\"who\":\"x\",\"as\":\"client_id\"",
        "{\"who\":\"x\"}",
        "{\"who\":1,\"as\":\"client_id\"}",
        "{\"who\":\"y\",\"as\":\"client_id\"}",
        "{\"who\":\"x\",\"as\":\"username\"}",
        "{\"who\":\"x\",\"as\":\"ip_address\"}",
        "{\"who\":\"x\",\"as\":\"client_id\",\"until\":\"soon\"}",
        "{\"who\":\"x\",\"as\":\"client_id\",\"until\":-5}",
        "{\"who\":\"x\",\"who\":\"x\",\"as\":\"client_id\"}",
    };
    struct ban *ban;
    const char *problem;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        problem = NULL;
        assert_int_equal(ban_decode(SLICE_LITERAL("client_id/x"), slice_from_string(rows[i]), &ban, &problem), -EINVAL);
        assert_non_null(problem);
    }
    assert_int_equal(
        ban_decode(SLICE_LITERAL("client_id/x"), SLICE_LITERAL("{\"who\":\"x\",\"as\":\"client_id\"}"), &ban, &problem),
        0);
    ban_free(ban);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_shown_in_their_shortest_form_without_host_bits),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(texts_have_limits),
        cmocka_unit_test(kinds_have_all_their_names),
        cmocka_unit_test(keys_of_different_kinds_differ),
        cmocka_unit_test(a_row_holds_all_of_a_ban),
        cmocka_unit_test(a_ban_ends_in_the_second_it_says),
        cmocka_unit_test(a_damaged_row_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
