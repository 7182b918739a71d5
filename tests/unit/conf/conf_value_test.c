/*
 * Datatypes: what a text means, and which texts are refused with which words.
 */
#include "conf_fixture.h"

#include "conf/conf_internal.h"
#include "conf/conf_number.h"

static struct conf_value value_of(enum conf_type type, const char *text)
{
    const struct conf_key key = {.name = "key", .type = type, .enum_words = "one, two, three"};
    struct conf_value value;
    struct conf_problem problem;

    if (!conf_value_parse(&key, text, &value, &problem))
        fail_msg("%s: %s", text, problem.text);
    return value;
}

static void assert_refused(enum conf_type type, const char *text, const char *reason)
{
    const struct conf_key key = {.name = "key", .type = type, .enum_words = "one, two, three"};
    struct conf_value value;
    struct conf_problem problem = {0};

    if (conf_value_parse(&key, text, &value, &problem))
        fail_msg("%s was accepted", text);
    assert_string_equal(problem.text, reason);
}

static void reads_durations_rounded_up_to_their_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t unit_ms, expected;
    } cases[] = {
        {"15s", 1, 15000},
        {"1h30m", 1, 5400000},
        {"1m1s1m", 1, 121000},
        {"1.5h", 1, 5400000},
        {".5s", 1, 500},
        {"2D", 1, 172800000},
        {"1f", 1, 1209600000},
        {"1w", 1000, 604800},
        {"250MS", 1, 250},
        {"0", 1, 0},
        {"0s", 1, 0},
        {"5000", 1, 5000},
        {"60", 1000, 60},
        {"1ms", 1000, 1},
        {"1001ms", 1000, 2},
        {"0.0001ms", 1, 1},
        {"0.0000000001s", 1, 1},
        {"1m30s", 1000, 90},
        {"4294967295", 1000, 4294967295},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t units = 0;

        if (!conf_parse_duration(cases[i].text, strlen(cases[i].text), cases[i].unit_ms, &units))
            fail_msg("%s was refused", cases[i].text);
        assert_int_equal(units, cases[i].expected);
    }
}

static void refuses_malformed_durations(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "05s", "s", "1x", "5s3", "1.s", "-1s", "1 s", ".", "1h-", "05", "99999999999999999999s", "1000000f"};

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        char reason[128];

        snprintf(reason, sizeof(reason), "Invalid duration value: %s", texts[i]);
        assert_refused(CONF_DURATION_MS, texts[i], reason);
    }
}

static void reads_sizes_with_units_of_1024(void **state)
{
    (void)state;
    assert_int_equal(value_of(CONF_BYTESIZE, "1MB").integer, 1048576);
    assert_int_equal(value_of(CONF_BYTESIZE, "64kb").integer, 65536);
    assert_int_equal(value_of(CONF_BYTESIZE, "1.5MB").integer, 1572864);
    assert_int_equal(value_of(CONF_BYTESIZE, "2GB").integer, 2147483648);
    assert_int_equal(value_of(CONF_BYTESIZE, "4096").integer, 4096);
    assert_int_equal(value_of(CONF_BYTESIZE, "0MB").integer, 0);
    assert_refused(CONF_BYTESIZE, "10M", "\"10M\" cannot be converted to a(n) bytesize");
    assert_refused(CONF_BYTESIZE, "4Kb", "\"4Kb\" cannot be converted to a(n) bytesize");
    assert_refused(CONF_BYTESIZE, "-1KB", "\"-1KB\" cannot be converted to a(n) bytesize");
    assert_refused(CONF_BYTESIZE, "9999999999999GB", "\"9999999999999GB\" cannot be converted to a(n) bytesize");
}

static void reads_numbers(void **state)
{
    (void)state;
    assert_int_equal(value_of(CONF_INTEGER, "-12").integer, -12);
    assert_int_equal(value_of(CONF_INTEGER, "+7").integer, 7);
    assert_true(value_of(CONF_INTEGER, "9223372036854775807").integer == INT64_MAX);
    assert_true(value_of(CONF_INTEGER, "-9223372036854775808").integer == INT64_MIN);
    assert_refused(CONF_INTEGER, "9223372036854775808", "\"9223372036854775808\" cannot be converted to a(n) integer");
    assert_refused(CONF_INTEGER, "1.0", "\"1.0\" cannot be converted to a(n) integer");
    assert_refused(CONF_INTEGER, "-", "\"-\" cannot be converted to a(n) integer");
    assert_true(value_of(CONF_FLOAT, "0.75").number == 0.75);
    assert_true(value_of(CONF_FLOAT, "1").number == 1.0);
    assert_refused(CONF_FLOAT, "nan", "\"nan\" cannot be converted to a(n) float");
    assert_refused(CONF_FLOAT, "0x10", "\"0x10\" cannot be converted to a(n) float");
    assert_refused(CONF_FLOAT, "1e999", "\"1e999\" cannot be converted to a(n) float");
    assert_int_equal(value_of(CONF_PERCENT, "80%").integer, 80);
    assert_int_equal(value_of(CONF_PERCENT, "80").integer, 80);
    assert_refused(CONF_PERCENT, "101%", "\"101%\" cannot be converted to a(n) percent");
}

static void accepts_both_spellings_of_a_flag(void **state)
{
    (void)state;
    assert_true(value_of(CONF_BOOL, "on").boolean);
    assert_true(value_of(CONF_BOOL, "true").boolean);
    assert_false(value_of(CONF_BOOL, "off").boolean);
    assert_false(value_of(CONF_BOOL, "false").boolean);
    assert_refused(CONF_BOOL, "yes", "\"yes\" is not a valid enum value, acceptable values are: on, off, true, false");
}

static void accepts_exactly_the_words_of_an_enum(void **state)
{
    (void)state;
    assert_int_equal(value_of(CONF_ENUM, "one").integer, 0);
    assert_int_equal(value_of(CONF_ENUM, "three").integer, 2);
    assert_refused(CONF_ENUM, "thre", "\"thre\" is not a valid enum value, acceptable values are: one, two, three");
    assert_refused(CONF_ENUM, "one, two",
                   "\"one, two\" is not a valid enum value, acceptable values are: one, two, three");
}

static void reads_addresses_of_both_families(void **state)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    struct conf_address address;

    (void)state;
    address = value_of(CONF_ADDRESS, "1883").address;
    assert_false(address.is_ipv6);
    assert_int_equal(address.port, 1883);
    assert_memory_equal(address.bytes, "\0\0\0\0", 4);
    address = value_of(CONF_ADDRESS, "127.0.0.1:11883").address;
    assert_memory_equal(address.bytes, "\x7f\0\0\1", 4);
    address = value_of(CONF_ADDRESS, "*:1883").address;
    assert_memory_equal(address.bytes, "\0\0\0\0", 4);
    assert_int_equal(address.port, 1883);
    address = value_of(CONF_ADDRESS, "::1:1883").address;
    assert_true(address.is_ipv6);
    assert_memory_equal(address.bytes, loopback6, 16);
    address = value_of(CONF_ADDRESS, "[::1]:1884").address;
    assert_memory_equal(address.bytes, loopback6, 16);
    assert_int_equal(address.port, 1884);
    assert_refused(CONF_ADDRESS, "localhost:1883", "\"localhost:1883\" cannot be converted to a(n) IP");
    assert_refused(CONF_ADDRESS, "1.2.3:1883", "\"1.2.3:1883\" cannot be converted to a(n) IP");
    assert_refused(CONF_ADDRESS, "[1.2.3.4]:1", "\"[1.2.3.4]:1\" cannot be converted to a(n) IP");
    assert_refused(CONF_ADDRESS, "1.2.3.4:", "\"1.2.3.4:\" cannot be converted to a(n) IP");
    assert_refused(CONF_ADDRESS, "65536", "the port should be between 0 and 65535");
}

static void reads_limits_and_rates(void **state)
{
    struct conf_value value;

    (void)state;
    value = value_of(CONF_LIMIT, "10,1m");
    assert_int_equal(value.limit.count, 10);
    assert_int_equal(value.limit.period_ms, 60000);
    assert_int_equal(value_of(CONF_LIMIT, "10, 1m").limit.period_ms, 60000);
    assert_int_equal(value_of(CONF_LIMIT, "10 90s").limit.period_ms, 90000);
    assert_refused(CONF_LIMIT, "10", "\"10\" cannot be converted to a(n) limit");
    assert_refused(CONF_LIMIT, "10,1x", "Invalid duration value: 1x");
    assert_refused(CONF_LIMIT, "0,1m",
                   "count and duration should be greater than 0 and below 4294967296 (duration in ms)");
    value = value_of(CONF_RATE, "1024,52428800");
    assert_int_equal(value.rate.bytes_per_s, 1024);
    assert_int_equal(value.rate.burst_bytes, 52428800);
    value = value_of(CONF_RATE, "1MB,5s");
    assert_int_equal(value.rate.bytes_per_s, 1048576 / 5);
    assert_int_equal(value.rate.burst_bytes, 1048576);
    assert_refused(CONF_RATE, "2,1", "should be rate,burst with 0 < rate and rate <= burst");
    assert_refused(CONF_RATE, "0,1", "should be rate,burst with 0 < rate and rate <= burst");
    assert_refused(CONF_RATE, "1,1h", "should allow at least one byte in a second");
    assert_refused(CONF_RATE, "1MB", "\"1MB\" cannot be converted to a(n) rate");
}

static void reads_counts_and_bytes(void **state)
{
    struct conf_value value = value_of(CONF_COUNTS, "0 | 0MB");

    (void)state;
    assert_int_equal(value.counts.count, 0);
    assert_int_equal(value.counts.bytes, 0);
    value = value_of(CONF_COUNTS, "1000|1MB");
    assert_int_equal(value.counts.count, 1000);
    assert_int_equal(value.counts.bytes, 1048576);
    value = value_of(CONF_COUNTS, "default");
    assert_int_equal(value.counts.count, 8000);
    assert_int_equal(value.counts.bytes, 838860800);
    assert_int_equal(value_of(CONF_COUNTS, "-1|1MB").counts.count, 0);
    assert_refused(CONF_COUNTS, "8000", "\"8000\" cannot be converted to a(n) count|bytesize");
    assert_refused(CONF_COUNTS, "1|576460752303423488",
                   "the count should be below 4294967296 and the size below 2^59 bytes");
}

static void reads_access_rules_with_masked_networks(void **state)
{
    static const uint8_t ten[16] = {[10] = 0xff, [11] = 0xff, [12] = 10};
    static const uint8_t fe80[16] = {0xfe, 0x80};
    struct conf_access access = value_of(CONF_ACCESS, "allow all").access;

    (void)state;
    assert_true(access.allow && access.all);
    access = value_of(CONF_ACCESS, "deny 10.1.2.3/8").access;
    assert_false(access.allow || access.all);
    assert_int_equal(access.prefix_len, 104);
    assert_memory_equal(access.address, ten, 16);
    access = value_of(CONF_ACCESS, "allow fe80::1/10").access;
    assert_int_equal(access.prefix_len, 10);
    assert_memory_equal(access.address, fe80, 16);
    assert_int_equal(value_of(CONF_ACCESS, "deny 1.2.3.4").access.prefix_len, 128);
    assert_refused(CONF_ACCESS, "permit all", "\"permit all\" cannot be converted to a(n) access rule");
    assert_refused(CONF_ACCESS, "deny 1.2.3.4/33", "\"deny 1.2.3.4/33\" cannot be converted to a(n) access rule");
    assert_refused(CONF_ACCESS, "deny", "\"deny\" cannot be converted to a(n) access rule");
    assert_refused(CONF_ACCESS, "allow all now", "\"allow all now\" cannot be converted to a(n) access rule");
}

static void checks_names_prefixes_and_priorities(void **state)
{
    (void)state;
    value_of(CONF_NODE_NAME, "emqx@127.0.0.1");
    assert_refused(CONF_NODE_NAME, "emqx", "should be name@host without blanks, /, + and #");
    assert_refused(CONF_NODE_NAME, "a@b@c", "should be name@host without blanks, /, + and #");
    assert_refused(CONF_NODE_NAME, "a/b@c", "should be name@host without blanks, /, + and #");
    value_of(CONF_MOUNTPOINT, "devices/%c/");
    assert_refused(CONF_MOUNTPOINT, "a/#", "should be a topic prefix without + and #, no longer than 4096 bytes");
    value_of(CONF_PRIORITIES, "none");
    value_of(CONF_PRIORITIES, "a/b=255, c=d=0");
    assert_refused(CONF_PRIORITIES, "a=256", "should be none or topic=priority,... with priorities from 0 to 255");
    assert_refused(CONF_PRIORITIES, "=1", "should be none or topic=priority,... with priorities from 0 to 255");
    assert_refused(CONF_PRIORITIES, "a=1,", "should be none or topic=priority,... with priorities from 0 to 255");
}

static void enforces_ranges(void **state)
{
    static const struct conf_key qos = {.name = "q", .type = CONF_INTEGER, .min = 0, .max = 2};
    static const struct conf_key backoff = {.name = "b", .type = CONF_FLOAT, .min = 51, .max = 10000};
    static const struct conf_key open_end = {.name = "o", .type = CONF_BYTESIZE, .min = 1024, .max = INT64_MAX};
    struct conf_problem problem;
    struct conf_value value;

    (void)state;
    assert_true(conf_value_parse(&qos, "2", &value, &problem));
    assert_false(conf_value_parse(&qos, "3", &value, &problem));
    assert_true(problem.invalid);
    assert_string_equal(problem.text, "should be between 0 and 2");
    assert_true(conf_value_parse(&backoff, "0.75", &value, &problem));
    assert_false(conf_value_parse(&backoff, "0.5", &value, &problem));
    assert_string_equal(problem.text, "should be between 0.51 and 100");
    assert_false(conf_value_parse(&open_end, "1000", &value, &problem));
    assert_string_equal(problem.text, "should not be below 1024");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_durations_rounded_up_to_their_unit),
        cmocka_unit_test(refuses_malformed_durations),
        cmocka_unit_test(reads_sizes_with_units_of_1024),
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(accepts_both_spellings_of_a_flag),
        cmocka_unit_test(accepts_exactly_the_words_of_an_enum),
        cmocka_unit_test(reads_addresses_of_both_families),
        cmocka_unit_test(reads_limits_and_rates),
        cmocka_unit_test(reads_counts_and_bytes),
        cmocka_unit_test(reads_access_rules_with_masked_networks),
        cmocka_unit_test(checks_names_prefixes_and_priorities),
        cmocka_unit_test(enforces_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
