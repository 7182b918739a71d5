/*
 * conf_check: rules that concern more than one key, looked at when every value is right in itself.
 */
#include "conf/conf_internal.h"

#include <stdlib.h>
#include <string.h>

/* Keys that a discovery strategy cannot do without. */
static const struct {
    const char *discovery;
    const char *key;
} required[] = {
    {"dns", "cluster.dns.name"},      {"dns", "cluster.dns.app"},          {"etcd", "cluster.etcd.server"},
    {"k8s", "cluster.k8s.apiserver"}, {"k8s", "cluster.k8s.service_name"}, {"k8s", "cluster.k8s.app_name"},
    {"k8s", "cluster.k8s.namespace"},
};

static void check_discovery(struct loader *loader)
{
    const struct setting *discovery = conf_setting_find(loader->conf, "cluster.discovery");

    for (size_t i = 0; discovery != NULL && i < ARRAY_COUNT(required); i++) {
        if (strcmp(discovery->value.text, required[i].discovery) == 0 &&
            conf_setting_find(loader->conf, required[i].key) == NULL)
            conf_error_add(loader, CONF_APPLY_TRANSLATIONS,
                           (struct conf_place){discovery->file, discovery->line, required[i].key},
                           "Translation for 'ekka.cluster_discovery' expected to find setting '%s' but was missing",
                           required[i].key);
    }
}

/* A TLS listener needs exactly one of its two lists of ciphers. */
static void check_ciphers(struct loader *loader, const struct setting *listener)
{
    const char *type = strncmp(listener->row->name, "listener.wss.", 13) == 0 ? "wss" : "ssl";
    bool has_ciphers, has_psk;

    if (type[0] == 'w') {
        has_ciphers = conf_is_set(loader->conf, "listener.wss.$name.ciphers", listener->name);
        has_psk = conf_is_set(loader->conf, "listener.wss.$name.psk_ciphers", listener->name);
    } else {
        has_ciphers = conf_is_set(loader->conf, "listener.ssl.$name.ciphers", listener->name);
        has_psk = conf_is_set(loader->conf, "listener.ssl.$name.psk_ciphers", listener->name);
    }
    if (has_ciphers == has_psk)
        conf_error_add(loader, CONF_APPLY_TRANSLATIONS,
                       (struct conf_place){listener->file, listener->line, listener->key},
                       has_ciphers ? "%s.ciphers and %s.psk_ciphers cannot be configured at the same time"
                                   : "%s.ciphers or %s.psk_ciphers is absent",
                       listener->key, listener->key);
}

/* log.$level.file: the word must be a level. */
static void check_level(struct loader *loader, const struct setting *setting)
{
    const struct conf_key level = {.name = "log.level",
                                   .type = CONF_ENUM,
                                   .enum_words = conf_row_named(loader->conf, "log.level")->key->enum_words};
    struct conf_problem problem;
    struct conf_value value;

    if (!conf_value_parse(&level, setting->name, &value, &problem))
        conf_error_add(loader, CONF_VALIDATION, (struct conf_place){setting->file, setting->line, setting->key},
                       "%s invalid, the word between log and file should be one of %s", setting->key, level.enum_words);
}

/* listener.unix.$name.mode: three octal digits, with zeros before them. */
static void check_mode(struct loader *loader, const struct setting *setting)
{
    const char *text = setting->value.text;
    size_t zeros = strspn(text, "0"), digits = strspn(text + zeros, "01234567");

    if (text[0] == '\0' || text[zeros + digits] != '\0' || digits > 3)
        conf_error_add(loader, CONF_VALIDATION, (struct conf_place){setting->file, setting->line, setting->key},
                       "%s invalid, should be permissions in octal: 0600, 0660 or 0666", setting->key);
}

/* listener.ws.$name.mqtt_path: no URL has another one than what begins with a slash. */
static void check_path(struct loader *loader, const struct setting *setting)
{
    if (setting->value.text[0] != '/')
        conf_error_add(loader, CONF_VALIDATION, (struct conf_place){setting->file, setting->line, setting->key},
                       "%s invalid, should begin with a slash: /mqtt", setting->key);
}

void conf_check(struct loader *loader)
{
    const struct conf *conf = loader->conf;

    /* The tests of the engine bring tables of their own, without these keys. */
    if (conf_row_named(conf, "cluster.discovery") != NULL)
        check_discovery(loader);
    for (size_t i = 0; i < conf->setting_count; i++) {
        const struct setting *setting = conf->in_order[i];

        if (strcmp(setting->row->name, "listener.ssl.$name") == 0 ||
            strcmp(setting->row->name, "listener.wss.$name") == 0)
            check_ciphers(loader, setting);
        if (strcmp(setting->row->name, "log.$level.file") == 0)
            check_level(loader, setting);
        if (strcmp(setting->row->name, "listener.unix.$name.mode") == 0)
            check_mode(loader, setting);
        if (strcmp(setting->row->name, "listener.ws.$name.mqtt_path") == 0 ||
            strcmp(setting->row->name, "listener.wss.$name.mqtt_path") == 0)
            check_path(loader, setting);
        if (strcmp(setting->row->name, "node.heartbeat") == 0 && !setting->value.boolean)
            conf_error_add(loader, CONF_APPLY_TRANSLATIONS,
                           (struct conf_place){setting->file, setting->line, setting->key},
                           "%s should be 'on' or comment the line!", setting->key);
    }
}
