/*
 * conf_environment: settings out of environment variables.
 *
 * A few have names of their own; for every other known key the name is EMQX_ and the key in capitals, with two
 * underscores for a dot: EMQX_LISTENER__TCP__EXTERNAL=1884. An empty variable counts as not set.
 */
#include "conf/conf_internal.h"

#include <string.h>

static const struct {
    const char *variable;
    const char *key;
} special[] = {
    {"EMQX_NODE_NAME", "node.name"},
    {"EMQX_NODE_COOKIE", "node.cookie"},
    {"EMQX_MAX_PORTS", "node.max_ports"},
    {"EMQX_MAX_PACKET_SIZE", "mqtt.max_packet_size"},
    {"EMQX_TCP_PORT", "listener.tcp.external"},
    {"EMQX_SSL_PORT", "listener.ssl.external"},
    {"EMQX_WS_PORT", "listener.ws.external"},
    {"EMQX_WSS_PORT", "listener.wss.external"},
};

static const char prefix[] = "EMQX_";

/* "ZONE__EXTERNAL__MAX_INFLIGHT" to "zone.external.max_inflight". False: too long. */
static bool key_from_name(const char *name, size_t len, char *out_key)
{
    size_t used = 0;

    if (len == 0 || len > CONF_KEY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '_' && i + 1 < len && name[i + 1] == '_') {
            out_key[used++] = '.';
            i++;
        } else {
            out_key[used++] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
        }
    }
    out_key[used] = '\0';
    return true;
}

static const char *special_key(const char *entry, size_t name_len)
{
    for (size_t i = 0; i < ARRAY_COUNT(special); i++) {
        if (strlen(special[i].variable) == name_len && memcmp(special[i].variable, entry, name_len) == 0)
            return special[i].key;
    }
    return NULL;
}

/* `entry` is NAME=value with a name of `name_len` bytes. */
static void apply(struct loader *loader, const char *entry, size_t name_len)
{
    const char *value = entry + name_len + 1, *key = special_key(entry, name_len);
    char general[CONF_KEY_BYTES_MAX + 1];
    struct conf_words words;
    const char *name;
    size_t at;

    if (value[0] == '\0')
        return;
    if (key == NULL && key_from_name(entry + sizeof(prefix) - 1, name_len - (sizeof(prefix) - 1), general) &&
        conf_key_is_valid(general) && conf_words_split(general, &words) && conf_row_for(loader->conf, &words) != NULL)
        key = general;
    if (key == NULL) {
        if (strstr(entry, "__") != NULL && strstr(entry, "__") < value)
            conf_warning_add(
                loader,
                "%.*s is set in the environment, but there is no setting with that name, unless a plugin has one",
                (int)(name_len < 200 ? name_len : 200), entry);
        return;
    }
    name = conf_text_dup(loader->conf, entry, name_len);
    if (name == NULL)
        loader->out_of_memory = true;
    else if (strlen(value) > CONF_LINE_BYTES_MAX || conf_text_check(value, strlen(value), &at) != CONF_TEXT_RIGHT)
        conf_error_add(loader, CONF_PARSE, (struct conf_place){name, 0, key},
                       "%s: the value should be one line of Latin-1 characters, at most %d bytes long", key,
                       (int)CONF_LINE_BYTES_MAX);
    else
        conf_append(loader, (struct conf_place){name, 0, key}, CONF_FROM_ENVIRONMENT, value, strlen(value));
}

void conf_environment_apply(struct loader *loader)
{
    char *const *entry = loader->options->environment;

    for (; entry != NULL && *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');

        if (equals != NULL && strncmp(*entry, prefix, sizeof(prefix) - 1) == 0)
            apply(loader, *entry, (size_t)(equals - *entry));
    }
}
