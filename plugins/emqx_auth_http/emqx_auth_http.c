/*
 * emqx_auth_http: an HTTP server says who may come in, who is a superuser and who may use which topic. docs/auth-http.md.
 */
#include "auth_http.h"

#include <errno.h>
#include <stdlib.h>

static int add_counters(struct auth_http *plugin)
{
    const struct emqc_host *host = plugin->host;
    const struct {
        const char *name, *help;
        struct emqc_metric **metric;
        bool is_acl;
    } rows[] = {
        {"auth.http.success", "Clients that the HTTP server let in", &plugin->auth_counters.success, false},
        {"auth.http.failure", "Clients that it refused, or that were refused for want of an answer",
         &plugin->auth_counters.failure, false},
        {"auth.http.ignore", "Clients that it left to the next plugin", &plugin->auth_counters.ignore, false},
        {"acl.http.allow", "Topics that the HTTP server allowed", &plugin->acl_counters.success, true},
        {"acl.http.deny", "Topics that it denied, or that were denied for want of an answer",
         &plugin->acl_counters.failure, true},
        {"acl.http.ignore", "Topics that it left to the next plugin and acl_file", &plugin->acl_counters.ignore, true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int err = 0;
        if (!rows[i].is_acl || plugin->acl.url != NULL)
            err = host->metric(plugin->self, rows[i].name, rows[i].help, rows[i].metric);
        if (err < 0)
            return host->fail(plugin->self, "there is no room for the metric %s", rows[i].name);
    }
    return 0;
}

static int add_hooks(struct auth_http *plugin)
{
    struct emqc_hook authenticate = {
        .size = sizeof(authenticate), .point = EMQC_CLIENT_AUTHENTICATE, .run = check_authenticate, .context = plugin};
    struct emqc_hook check_acl = {
        .size = sizeof(check_acl), .point = EMQC_CLIENT_CHECK_ACL, .run = check_topic, .context = plugin};
    int err = plugin->host->hook_add(plugin->self, &authenticate);

    if (err == 0 && plugin->acl.url != NULL)
        err = plugin->host->hook_add(plugin->self, &check_acl);
    return err == 0 ? 0 : plugin->host->fail(plugin->self, "a hook point has no room for it");
}

static int auth_http_load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    struct auth_http *plugin = calloc(1, sizeof(*plugin));
    struct http_client_options options;
    int err;

    if (plugin == NULL)
        return host->fail(self, "memory is short");
    *out_state =
        plugin; /* auth_http_unload() frees it from here on, half-built or not: callbacks may run before load() has ended */
    plugin->host = host;
    plugin->self = self;
    err = settings_read(plugin, &options);
    if (err == 0)
        err = add_counters(plugin);
    if (err == 0 && http_client_open(&options, &plugin->client) < 0)
        err = host->fail(self, "the HTTP client could not be started");
    return err == 0 ? add_hooks(plugin) : err;
}

static void auth_http_unload(void *state)
{
    struct auth_http *plugin = state;

    http_client_close(plugin->client); /* answers everything: no ticket is left */
    settings_free(plugin);
    free(plugin);
}

EMQC_PLUGIN = {
    .size = sizeof(struct emqc_plugin),
    .abi = EMQC_PLUGIN_ABI,
    .name = "emqx_auth_http",
    .version = "0.1.0",
    .description = "EMQ X Authentication/ACL with HTTP API",
    .type = EMQC_AUTH,
    .keys = settings_keys,
    .key_count = SETTINGS_KEY_COUNT,
    .load = auth_http_load,
    .unload = auth_http_unload,
};
