/*
 * listener_options: the settings of all listeners of one type, typed.
 *
 * The types share most keys; a key that a type does not have is named NULL in its row below and keeps the
 * default of the other types.
 */
#include "net/listener_options.h"

#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct listener_keys {
    const char *bind, *acceptors, *max_connections, *max_conn_rate, *active_n, *zone, *rate_limit, *access, *backlog,
        *send_timeout, *send_timeout_close, *recbuf, *sndbuf, *nodelay, *reuseaddr, *proxy_protocol, *proxy_timeout,
        *peer_cert, *mode;
};

#define KEYS_OF(TYPE, ACTIVE_N, REUSEADDR, PEER_CERT)                                                                  \
    {                                                                                                                  \
        .bind = "listener." TYPE ".$name", .acceptors = "listener." TYPE ".$name.acceptors",                           \
        .max_connections = "listener." TYPE ".$name.max_connections",                                                  \
        .max_conn_rate = "listener." TYPE ".$name.max_conn_rate", .active_n = (ACTIVE_N),                              \
        .zone = "listener." TYPE ".$name.zone", .rate_limit = "listener." TYPE ".$name.rate_limit",                    \
        .access = "listener." TYPE ".$name.access.$id", .backlog = "listener." TYPE ".$name.backlog",                  \
        .send_timeout = "listener." TYPE ".$name.send_timeout",                                                        \
        .send_timeout_close = "listener." TYPE ".$name.send_timeout_close",                                            \
        .recbuf = "listener." TYPE ".$name.recbuf", .sndbuf = "listener." TYPE ".$name.sndbuf",                        \
        .nodelay = "listener." TYPE ".$name.nodelay", .reuseaddr = (REUSEADDR),                                        \
        .proxy_protocol = "listener." TYPE ".$name.proxy_protocol",                                                    \
        .proxy_timeout = "listener." TYPE ".$name.proxy_protocol_timeout", .peer_cert = (PEER_CERT)                    \
    }

static const struct listener_keys keys_of_type[] = {
    [LISTENER_TCP] = KEYS_OF("tcp", "listener.tcp.$name.active_n", "listener.tcp.$name.reuseaddr",
                             "listener.tcp.$name.peer_cert_as_username"),
    [LISTENER_SSL] = KEYS_OF("ssl", "listener.ssl.$name.active_n", "listener.ssl.$name.reuseaddr",
                             "listener.ssl.$name.peer_cert_as_username"),
    [LISTENER_WS] = KEYS_OF("ws", NULL, NULL, NULL),
    [LISTENER_WSS] = KEYS_OF("wss", NULL, NULL, "listener.wss.$name.peer_cert_as_username"),
    [LISTENER_UNIX] =
        {
            .bind = "listener.unix.$name",
            .max_connections = "listener.unix.$name.max_connections",
            .max_conn_rate = "listener.unix.$name.max_conn_rate",
            .zone = "listener.unix.$name.zone",
            .rate_limit = "listener.unix.$name.rate_limit",
            .backlog = "listener.unix.$name.backlog",
            .send_timeout = "listener.unix.$name.send_timeout",
            .send_timeout_close = "listener.unix.$name.send_timeout_close",
            .recbuf = "listener.unix.$name.recbuf",
            .sndbuf = "listener.unix.$name.sndbuf",
            .proxy_protocol = "listener.unix.$name.proxy_protocol",
            .proxy_timeout = "listener.unix.$name.proxy_protocol_timeout",
            .mode = "listener.unix.$name.mode",
        },
};

const char *listener_type_name(enum listener_type type)
{
    static const char *const names[LISTENER_TYPE_COUNT] = {"tcp", "ssl", "ws", "wss", "unix"};

    return names[type];
}

static void address_init(struct listener_options *options, const struct conf_address *address)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};

    if (address->is_ipv6) {
        memcpy(&ipv6.sin6_addr, address->bytes, sizeof(ipv6.sin6_addr));
        memcpy(&options->address, &ipv6, sizeof(ipv6));
        options->address_len = sizeof(ipv6);
    } else {
        memcpy(&ipv4.sin_addr, address->bytes, sizeof(ipv4.sin_addr));
        memcpy(&options->address, &ipv4, sizeof(ipv4));
        options->address_len = sizeof(ipv4);
    }
}

/* Numbers ascend, "2" before "10"; words follow in the order of their bytes. */
static int order_ids(const void *left, const void *right)
{
    const char *one = *(const char *const *)left, *other = *(const char *const *)right;
    bool one_is_number = one[strspn(one, "0123456789")] == '\0';
    bool other_is_number = other[strspn(other, "0123456789")] == '\0';

    if (one_is_number != other_is_number)
        return one_is_number ? -1 : 1;
    if (one_is_number) {
        one += strspn(one, "0");
        other += strspn(other, "0");
        if (strlen(one) != strlen(other))
            return strlen(one) < strlen(other) ? -1 : 1;
    }
    return strcmp(one, other);
}

static int access_init(struct listener_options *options, const struct conf *conf, const char *key)
{
    const char **ids = NULL;
    size_t count = 0;
    int err = conf_names(conf, key, options->name, &ids, &count);

    if (err < 0)
        return err;
    options->access_rules = calloc(count == 0 ? 1 : count, sizeof(*options->access_rules));
    if (options->access_rules == NULL) {
        free(ids);
        return -ENOMEM;
    }
    qsort(ids, count, sizeof(*ids), order_ids);
    for (size_t i = 0; i < count; i++) {
        const struct conf_access *access = &conf_find(conf, key, options->name, ids[i])->access;
        struct listener_access_rule *rule = &options->access_rules[i];

        *rule = (struct listener_access_rule){
            .allow = access->allow, .all = access->all, .prefix_len = access->prefix_len};
        memcpy(&rule->address, access->address, sizeof(rule->address));
    }
    options->access_rule_count = (uint32_t)count;
    free(ids);
    return 0;
}

static void limits_init(struct listener_options *options, const struct conf *conf, const struct listener_keys *keys)
{
    const struct conf_value *rate = conf_find(conf, keys->rate_limit, options->name, NULL);
    const char *name = options->name;

    options->acceptors = keys->acceptors == NULL ? 8 : (uint32_t)conf_get_integer(conf, keys->acceptors, name, 8);
    options->max_connections = (uint32_t)conf_get_integer(conf, keys->max_connections, name, 1024);
    options->max_conn_rate = (uint32_t)conf_get_integer(conf, keys->max_conn_rate, name, 0);
    options->active_n = keys->active_n == NULL ? 100 : (uint32_t)conf_get_integer(conf, keys->active_n, name, 100);
    if (rate != NULL) {
        options->rate_limit_bytes_per_s = (uint32_t)rate->rate.bytes_per_s;
        options->rate_limit_burst_bytes = rate->rate.burst_bytes;
    }
}

static int transport_init(struct listener_options *options, const struct conf *conf, enum listener_type type)
{
    int err = 0;

    if (type == LISTENER_SSL || type == LISTENER_WSS)
        err = tls_options_read(conf, listener_type_name(type), options->name, &options->tls);
    if (err == 0 && (type == LISTENER_WS || type == LISTENER_WSS))
        err = websocket_options_read(conf, listener_type_name(type), options->name, &options->websocket);
    return err;
}

static int texts_init(struct listener_options *options, const struct conf *conf, const struct listener_keys *keys,
                      const char *name)
{
    const struct conf_value *bind = conf_find(conf, keys->bind, name, NULL);
    const char *zone = conf_get_string(conf, keys->zone, name);

    options->name = strdup(name);
    options->bind_text = strdup(bind->text);
    options->zone = zone == NULL ? NULL : strdup(zone);
    if (options->type != LISTENER_UNIX)
        address_init(options, &bind->address);
    else
        options->unix_path = strdup(bind->text);
    if (options->name == NULL || options->bind_text == NULL || (zone != NULL && options->zone == NULL) ||
        (options->type == LISTENER_UNIX && options->unix_path == NULL))
        return -ENOMEM;
    return 0;
}

static int options_init(struct listener_options *options, const struct conf *conf, enum listener_type type,
                        const char *name)
{
    const struct listener_keys *keys = &keys_of_type[type];
    int err;

    options->type = type;
    err = texts_init(options, conf, keys, name);
    if (err < 0)
        return err;
    limits_init(options, conf, keys);
    options->backlog = (uint32_t)conf_get_integer(conf, keys->backlog, name, 1024);
    options->send_timeout_ms = conf_get_duration(conf, keys->send_timeout, name, 15000);
    options->send_timeout_close = conf_get_bool(conf, keys->send_timeout_close, name, true);
    options->recbuf_bytes = (uint32_t)conf_get_bytes(conf, keys->recbuf, name, 0);
    options->sndbuf_bytes = (uint32_t)conf_get_bytes(conf, keys->sndbuf, name, 0);
    options->nodelay = keys->nodelay == NULL || conf_get_bool(conf, keys->nodelay, name, true);
    options->reuseaddr = keys->reuseaddr == NULL || conf_get_bool(conf, keys->reuseaddr, name, true);
    options->proxy_protocol = conf_get_bool(conf, keys->proxy_protocol, name, false);
    options->proxy_protocol_timeout_ms = conf_get_duration(conf, keys->proxy_timeout, name, 5000);
    if (keys->peer_cert != NULL)
        options->peer_cert_as_username = (uint8_t)(conf_get_enum(conf, keys->peer_cert, name, -1) + 1);
    if (keys->mode != NULL) /* checked when the configuration was read */
        options->unix_mode = (uint32_t)strtoul(conf_get_string(conf, keys->mode, name), NULL, 8);
    err = transport_init(options, conf, type);
    return err < 0 || keys->access == NULL ? err : access_init(options, conf, keys->access);
}

int listener_options_read(const struct conf *conf, enum listener_type type, struct listener_options **out_options,
                          uint32_t *out_count)
{
    const char **names = NULL;
    size_t count = 0, done = 0;
    struct listener_options *options = NULL;
    int err = conf_names(conf, keys_of_type[type].bind, NULL, &names, &count);

    if (err < 0)
        return err;
    options = calloc(count == 0 ? 1 : count, sizeof(*options));
    if (options == NULL)
        err = -ENOMEM;
    while (err == 0 && done < count) {
        err = options_init(&options[done], conf, type, names[done]);
        done++;
    }
    free(names);
    if (err < 0) {
        listener_options_free(options, (uint32_t)done);
        return err;
    }
    *out_options = options;
    *out_count = (uint32_t)count;
    return 0;
}

void listener_options_fini(struct listener_options *options)
{
    free(options->name);
    free(options->bind_text);
    free(options->zone);
    free(options->unix_path);
    free(options->access_rules);
    tls_options_free(options->tls);
    websocket_options_free(options->websocket);
    *options = (struct listener_options){0};
}

void listener_options_free(struct listener_options *options, uint32_t count)
{
    for (uint32_t i = 0; options != NULL && i < count; i++)
        listener_options_fini(&options[i]);
    free(options);
}
