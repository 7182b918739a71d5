/*
 * Zones out of the configuration: which value wins, and what a listener without a zone gets.
 */
#include "broker/zone.h"
#include "conf/conf.h"

/* clang-format off */
#include <setjmp.h> /* cmocka.h needs these before it */
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

struct zones {
    struct conf *conf;
    struct zone_table *table;
};

static struct zones zones_from(const char *text)
{
    const struct conf_load_options options = {.file = "test.conf"};
    struct conf_errors *errors = NULL;
    struct zones zones = {0};

    assert_int_equal(conf_load_text(&options, text, strlen(text), &zones.conf, &errors), 0);
    assert_int_equal(zone_table_new(zones.conf, &zones.table), 0);
    return zones;
}

static void zones_fini(struct zones *zones)
{
    zone_table_free(zones->table);
    conf_free(zones->conf);
}

static void takes_the_zone_then_the_global_key_then_the_default(void **state)
{
    struct zones zones = zones_from("mqtt.max_packet_size = 2MB\nmqtt.max_qos_allowed = 1\nallow_anonymous = true\n"
                                    "zone.a.max_packet_size = 64KB\nzone.a.allow_anonymous = false\n"
                                    "zone.b.idle_timeout = 1s\n");
    const struct zone *a = zone_table_find(zones.table, "a"), *b = zone_table_find(zones.table, "b");

    (void)state;
    assert_int_equal(a->caps.max_packet_size, 65536);
    assert_int_equal(b->caps.max_packet_size, 2097152);
    assert_int_equal(a->caps.max_qos_allowed, 1);
    assert_false(a->allow_anonymous);
    assert_true(b->allow_anonymous);
    assert_int_equal(a->caps.max_clientid_len, 65535);
    assert_int_equal(a->idle_timeout_ms, 15000);
    assert_int_equal(b->idle_timeout_ms, 1000);
    zones_fini(&zones);
}

static void an_unknown_or_absent_zone_has_the_defaults(void **state)
{
    struct zones zones = zones_from("zone.a.max_inflight = 5\nmqtt.retain_available = false\n");
    const struct zone *zone = zone_table_find(zones.table, NULL);

    (void)state;
    assert_ptr_equal(zone_table_find(zones.table, "absent"), zone);
    assert_ptr_not_equal(zone_table_find(zones.table, "a"), zone);
    assert_string_equal(zone->name, "default");
    assert_int_equal(zone->caps.max_packet_size, 1048576);
    assert_int_equal(zone->caps.max_clientid_len, 65535);
    assert_int_equal(zone->caps.max_topic_levels, 0);
    assert_int_equal(zone->caps.max_qos_allowed, 2);
    assert_int_equal(zone->caps.max_topic_alias, 0);
    assert_false(zone->caps.retain_available);
    assert_true(zone->caps.wildcard_subscription && zone->caps.shared_subscription);
    assert_int_equal(zone->session.max_inflight, 0);
    assert_int_equal(zone->session.max_awaiting_rel, 0);
    assert_int_equal(zone->session.max_subscriptions, 0);
    assert_int_equal(zone->session.max_mqueue_len, 1000);
    assert_int_equal(zone->session.retry_interval_ms, 20000);
    assert_int_equal(zone->session.await_rel_timeout_ms, 300000);
    assert_int_equal(zone->session.session_expiry_interval_s, 7200);
    assert_true(zone->session.ignore_loop_deliver); /* the global key's own default */
    assert_true(zone->session.mqueue_store_qos0);
    assert_false(zone->session.upgrade_qos || zone->session.mqueue_default_highest);
    assert_int_equal(zone->session.mqueue_priority_count, 0);
    assert_int_equal(zone->publish_limit.count, 0);
    assert_true(zone->keepalive_backoff == 0.75);
    assert_int_equal(zone->server_keepalive_s, 0);
    assert_null(zone->mountpoint);
    assert_int_equal(zone->force_shutdown_len, 8000);
    assert_int_equal(zone->force_shutdown_bytes, 838860800);
    assert_int_equal(zone->high_watermark_bytes, 1048576);
    assert_false(zone->allow_anonymous || zone->use_username_as_clientid || zone->enable_stats);
    assert_false(zone->enable_ban || zone->flapping.is_enabled);
    assert_int_equal(zone->flapping.count, 10);
    assert_int_equal(zone->flapping.period_ms, 60000);
    assert_int_equal(zone->flapping.ban_s, 3600);
    zones_fini(&zones);
}

static void reads_every_value_of_a_zone(void **state)
{
    struct zones zones = zones_from(
        "zone.a.max_topic_levels = 7\nzone.a.max_topic_alias = 10\nzone.a.wildcard_subscription = false\n"
        "zone.a.shared_subscription = off\nzone.a.max_subscriptions = 11\nzone.a.max_inflight = 32\n"
        "zone.a.max_awaiting_rel = 100\nzone.a.max_mqueue_len = 0\nzone.a.retry_interval = 0\n"
        "zone.a.await_rel_timeout = 1m\nzone.a.session_expiry_interval = 1h\nzone.a.upgrade_qos = on\n"
        "zone.a.ignore_loop_deliver = false\nzone.a.mqueue_store_qos0 = false\n"
        "zone.a.mqueue_default_priority = highest\nzone.a.publish_limit = 10,1m\nzone.a.keepalive_backoff = 1\n"
        "zone.a.server_keepalive = 60\nzone.a.mountpoint = dev/%c/\nzone.a.force_shutdown_policy = 5|1MB\n"
        "zone.a.high_watermark = 64KB\nzone.a.use_username_as_clientid = true\nzone.a.enable_stats = on\n"
        "zone.a.enable_ban = on\nzone.a.enable_flapping_detect = on\nzone.a.flapping_threshold = 3, 5s\n"
        "zone.a.flapping_banned_expiry_interval = 2m\n");
    const struct zone *zone = zone_table_find(zones.table, "a");

    (void)state;
    assert_int_equal(zone->caps.max_topic_levels, 7);
    assert_int_equal(zone->caps.max_topic_alias, 10);
    assert_false(zone->caps.wildcard_subscription || zone->caps.shared_subscription);
    assert_int_equal(zone->session.max_subscriptions, 11);
    assert_int_equal(zone->session.max_inflight, 32);
    assert_int_equal(zone->session.max_awaiting_rel, 100);
    assert_int_equal(zone->session.max_mqueue_len, 0);
    assert_int_equal(zone->session.retry_interval_ms, 0);
    assert_int_equal(zone->session.await_rel_timeout_ms, 60000);
    assert_int_equal(zone->session.session_expiry_interval_s, 3600);
    assert_true(zone->session.upgrade_qos && zone->session.mqueue_default_highest);
    assert_false(zone->session.ignore_loop_deliver || zone->session.mqueue_store_qos0);
    assert_int_equal(zone->publish_limit.count, 10);
    assert_int_equal(zone->publish_limit.period_ms, 60000);
    assert_true(zone->keepalive_backoff == 1.0);
    assert_int_equal(zone->server_keepalive_s, 60);
    assert_string_equal(zone->mountpoint, "dev/%c/");
    assert_int_equal(zone->force_shutdown_len, 5);
    assert_int_equal(zone->force_shutdown_bytes, 1048576);
    assert_int_equal(zone->high_watermark_bytes, 65536);
    assert_true(zone->use_username_as_clientid && zone->enable_stats);
    assert_true(zone->enable_ban && zone->flapping.is_enabled);
    assert_int_equal(zone->flapping.count, 3);
    assert_int_equal(zone->flapping.period_ms, 5000);
    assert_int_equal(zone->flapping.ban_s, 120);
    zones_fini(&zones);
}

static void reads_topic_priorities(void **state)
{
    struct zones zones = zones_from("zone.a.mqueue_priorities = a/b=255, c=d=0,e=7\n");
    const struct zone_session *session = &zone_table_find(zones.table, "a")->session;

    (void)state;
    assert_int_equal(session->mqueue_priority_count, 3);
    assert_string_equal(session->mqueue_priorities[0].topic, "a/b");
    assert_int_equal(session->mqueue_priorities[0].priority, 255);
    assert_string_equal(session->mqueue_priorities[1].topic, "c=d");
    assert_int_equal(session->mqueue_priorities[1].priority, 0);
    assert_string_equal(session->mqueue_priorities[2].topic, "e");
    assert_int_equal(session->mqueue_priorities[2].priority, 7);
    zones_fini(&zones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_zone_then_the_global_key_then_the_default),
        cmocka_unit_test(an_unknown_or_absent_zone_has_the_defaults),
        cmocka_unit_test(reads_every_value_of_a_zone),
        cmocka_unit_test(reads_topic_priorities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
