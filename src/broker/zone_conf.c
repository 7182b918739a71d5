/*
 * zone_conf: one zone's values out of the configuration.
 *
 * The order for a value: zone.$name.KEY in the file, else the zone key's built-in default; keys that also exist
 * for the whole broker have no default of their own, so mqtt.KEY in the file comes next and then its default.
 */
#include "broker/zone_internal.h"
#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Places of words in the rows' enum_words. */
enum {
    ACL_WORD_ALLOW = 0,
    ACL_WORD_DENY = 1,
    ACL_WORD_DISCONNECT = 1,
};

/* A zone that nobody configured asks by a name that no file can hold, and so gets the built-in defaults. */
static const char *zone_word(const char *name)
{
    return name == NULL ? "(default)" : name;
}

static uint32_t integer_of(const struct conf *conf, const char *zone_key, const char *global_key, const char *name)
{
    int64_t global = global_key == NULL ? 0 : conf_get_integer(conf, global_key, NULL, 0);

    return (uint32_t)conf_get_integer(conf, zone_key, zone_word(name), global);
}

static bool bool_of(const struct conf *conf, const char *zone_key, const char *global_key, const char *name)
{
    bool global = global_key == NULL ? false : conf_get_bool(conf, global_key, NULL, false);

    return conf_get_bool(conf, zone_key, zone_word(name), global);
}

static void capabilities_init(struct zone_capabilities *caps, const struct conf *conf, const char *name)
{
    *caps = (struct zone_capabilities){
        .max_packet_size = (uint32_t)conf_get_bytes(conf, "zone.$name.max_packet_size", zone_word(name),
                                                    conf_get_bytes(conf, "mqtt.max_packet_size", NULL, 0)),
        .max_clientid_len = integer_of(conf, "zone.$name.max_clientid_len", "mqtt.max_clientid_len", name),
        .max_topic_levels = integer_of(conf, "zone.$name.max_topic_levels", "mqtt.max_topic_levels", name),
        .max_topic_alias = (uint16_t)integer_of(conf, "zone.$name.max_topic_alias", "mqtt.max_topic_alias", name),
        .max_qos_allowed = (uint8_t)integer_of(conf, "zone.$name.max_qos_allowed", "mqtt.max_qos_allowed", name),
        .retain_available = bool_of(conf, "zone.$name.retain_available", "mqtt.retain_available", name),
        .wildcard_subscription = bool_of(conf, "zone.$name.wildcard_subscription", "mqtt.wildcard_subscription", name),
        .shared_subscription = bool_of(conf, "zone.$name.shared_subscription", "mqtt.shared_subscription", name),
    };
}

static void session_init(struct zone_session *session, const struct conf *conf, const char *name)
{
    const char *word = zone_word(name);

    *session = (struct zone_session){
        .max_subscriptions = integer_of(conf, "zone.$name.max_subscriptions", NULL, name),
        .max_inflight = integer_of(conf, "zone.$name.max_inflight", NULL, name),
        .max_awaiting_rel = integer_of(conf, "zone.$name.max_awaiting_rel", NULL, name),
        .max_mqueue_len = integer_of(conf, "zone.$name.max_mqueue_len", NULL, name),
        .retry_interval_ms = conf_get_duration(conf, "zone.$name.retry_interval", word, 0),
        .await_rel_timeout_ms = conf_get_duration(conf, "zone.$name.await_rel_timeout", word, 0),
        .session_expiry_interval_s = (uint32_t)conf_get_duration(conf, "zone.$name.session_expiry_interval", word,
                                                                 UINT32_MAX),
        .upgrade_qos = bool_of(conf, "zone.$name.upgrade_qos", NULL, name),
        .ignore_loop_deliver = bool_of(conf, "zone.$name.ignore_loop_deliver", "mqtt.ignore_loop_deliver", name),
        .mqueue_store_qos0 = bool_of(conf, "zone.$name.mqueue_store_qos0", NULL, name),
        .mqueue_default_highest = strcmp(conf_get_string(conf, "zone.$name.mqueue_default_priority", word),
                                         "highest") == 0,
    };
}

/* The text was checked when the configuration was read: topic=0..255, separated by commas and blanks. */
static int priority_init(struct mqueue_priority *priority, const char *item, size_t len)
{
    const char *equals = memrchr(item, '=', len);

    priority->priority = (uint8_t)strtoul(equals + 1, NULL, 10);
    priority->topic = strndup(item, (size_t)(equals - item));
    return priority->topic == NULL ? -ENOMEM : 0;
}

static int priorities_init(struct zone_session *session, const char *text)
{
    uint32_t count = 1;

    if (strcmp(text, "none") == 0)
        return 0;
    for (const char *at = text; *at != '\0'; at++)
        count += *at == ',';
    session->mqueue_priorities = calloc(count, sizeof(*session->mqueue_priorities));
    if (session->mqueue_priorities == NULL)
        return -ENOMEM;
    for (const char *item = text; *item != '\0';) {
        size_t len = strcspn(item, ",");
        int err = priority_init(&session->mqueue_priorities[session->mqueue_priority_count], item, len);

        if (err < 0)
            return err;
        session->mqueue_priority_count++;
        item += len;
        item += strspn(item, ", \t");
    }
    return 0;
}

static void acl_init(struct zone_acl *acl, const struct conf *conf, const char *name)
{
    const char *word = zone_word(name);

    *acl = (struct zone_acl){
        .is_enabled = bool_of(conf, "zone.$name.enable_acl", NULL, name),
        .nomatch_allows = conf_get_enum(conf, "zone.$name.acl_nomatch", word,
                                        conf_get_enum(conf, "acl_nomatch", NULL, ACL_WORD_DENY)) == ACL_WORD_ALLOW,
        .disconnects = conf_get_enum(conf, "zone.$name.acl_deny_action", word,
                                     conf_get_enum(conf, "acl_deny_action", NULL, 0)) == ACL_WORD_DISCONNECT,
    };
    if (conf_get_bool(conf, "enable_acl_cache", NULL, false))
        acl->cache = (struct zone_acl_cache){
            .count_max = (uint32_t)conf_get_integer(conf, "acl_cache_max_size", NULL, 0),
            .ttl_ms = conf_get_duration(conf, "acl_cache_ttl", NULL, 0),
        };
}

static void policies_init(struct zone *zone, const struct conf *conf, const char *name)
{
    const struct conf_value *limit = conf_find(conf, "zone.$name.publish_limit", zone_word(name), NULL);
    const struct conf_value *policy = conf_find(conf, "zone.$name.force_shutdown_policy", zone_word(name), NULL);

    if (limit != NULL)
        zone->publish_limit = (struct zone_publish_limit){limit->limit.count, limit->limit.period_ms};
    if (policy != NULL) {
        zone->force_shutdown_len = (uint32_t)policy->counts.count;
        zone->force_shutdown_bytes = policy->counts.bytes;
    }
}

static void flapping_init(struct zone_flapping *flapping, const struct conf *conf, const char *name)
{
    const char *word = zone_word(name);
    const struct conf_value *threshold = conf_find(conf, "zone.$name.flapping_threshold", word, NULL);

    *flapping = (struct zone_flapping){
        .is_enabled = conf_get_bool(conf, "zone.$name.enable_flapping_detect", word, false),
        .count = threshold == NULL ? 0 : threshold->limit.count,
        .period_ms = threshold == NULL ? 0 : threshold->limit.period_ms,
        .ban_s = (uint32_t)conf_get_duration(conf, "zone.$name.flapping_banned_expiry_interval", word, 0),
    };
}

int zone_init(struct zone *zone, const struct conf *conf, const char *name)
{
    const char *word = zone_word(name), *mountpoint = conf_get_string(conf, "zone.$name.mountpoint", word);

    capabilities_init(&zone->caps, conf, name);
    session_init(&zone->session, conf, name);
    acl_init(&zone->acl, conf, name);
    policies_init(zone, conf, name);
    zone->idle_timeout_ms = conf_get_duration(conf, "zone.$name.idle_timeout", word, 0);
    zone->keepalive_backoff = conf_get_float(conf, "zone.$name.keepalive_backoff", word, 0.75);
    zone->server_keepalive_s = (uint16_t)integer_of(conf, "zone.$name.server_keepalive", NULL, name);
    zone->high_watermark_bytes = conf_get_bytes(conf, "zone.$name.high_watermark", word, 0);
    zone->enable_ban = bool_of(conf, "zone.$name.enable_ban", NULL, name);
    flapping_init(&zone->flapping, conf, name);
    zone->allow_anonymous = bool_of(conf, "zone.$name.allow_anonymous", "allow_anonymous", name);
    zone->use_username_as_clientid = bool_of(conf, "zone.$name.use_username_as_clientid", NULL, name);
    zone->enable_stats = bool_of(conf, "zone.$name.enable_stats", NULL, name);
    zone->durability = (enum durability)conf_get_enum(conf, "zone.$name.durability", word, DURABILITY_FSYNC);
    zone->name = strdup(name == NULL ? "default" : name);
    if (mountpoint != NULL)
        zone->mountpoint = strdup(mountpoint);
    if (zone->name == NULL || (mountpoint != NULL && zone->mountpoint == NULL))
        return -ENOMEM;
    return priorities_init(&zone->session, conf_get_string(conf, "zone.$name.mqueue_priorities", word));
}

void zone_fini(struct zone *zone)
{
    for (uint32_t i = 0; i < zone->session.mqueue_priority_count; i++)
        free(zone->session.mqueue_priorities[i].topic);
    free(zone->session.mqueue_priorities);
    free(zone->mountpoint);
    free(zone->name);
    *zone = (struct zone){0};
}
