/*
 * settings: the rows of etc/plugins/emqx_auth_http.conf, and what they say.
 */
#include "auth_http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINUTES_60 3600000

const struct emqc_key settings_keys[SETTINGS_KEY_COUNT] = {
    {.name = "auth.http.auth_req",
     .type = EMQC_STRING,
     .shipped = "http://127.0.0.1:8991/mqtt/auth",
     .is_mandatory = true,
     .help =
         "URL that says who may come in: status 200 lets the client in, with the body `ignore` the next plugin decides; any other status "
         "refuses it."},
    {.name = "auth.http.auth_req.method",
     .type = EMQC_ENUM,
     .enum_words = "post, get",
     .fallback = "post",
     .shipped = "post",
     .help =
         "With post the parameters are the body, with get they follow the URL, where servers and proxies log them."},
    {.name = "auth.http.auth_req.params",
     .type = EMQC_STRING,
     .shipped = "clientid=%c,username=%u,password=%P",
     .is_mandatory = true,
     .help =
         "Parameters of the request, NAME=VALUE with commas between. A value that is one of these stands for what the client has, empty if "
         "it has none: %u user name, %c client ID, %a its IP address, %P password, %C and %d common name and subject of its "
         "certificate, %l local port, %m mountpoint. Other values are sent as they are; a backslash before , = % and \\ takes its meaning away."},
    {.name = "auth.http.super_req",
     .type = EMQC_STRING,
     .shipped = "http://127.0.0.1:8991/mqtt/superuser",
     .help =
         "URL that says, with status 200, that a client that may come in is a superuser: it is not asked about topics. Unset: nobody is."},
    {.name = "auth.http.super_req.method",
     .type = EMQC_ENUM,
     .enum_words = "post, get",
     .fallback = "post",
     .shipped = "post",
     .help = "As auth.http.auth_req.method."},
    {.name = "auth.http.super_req.params",
     .type = EMQC_STRING,
     .shipped = "clientid=%c,username=%u",
     .help = "As auth.http.auth_req.params."},
    {.name = "auth.http.acl_req",
     .type = EMQC_STRING,
     .shipped = "http://127.0.0.1:8991/mqtt/acl",
     .help =
         "URL that says who may publish and subscribe to what: status 200 allows it, with the body `ignore` the next plugin and acl_file decide; "
         "any other status denies it. Clients whose user name begins with $ are left to the next. Unset: no topic is asked about."},
    {.name = "auth.http.acl_req.method",
     .type = EMQC_ENUM,
     .enum_words = "post, get",
     .fallback = "post",
     .shipped = "get",
     .help = "As auth.http.auth_req.method."},
    {.name = "auth.http.acl_req.params",
     .type = EMQC_STRING,
     .shipped = "access=%A,username=%u,clientid=%c,ipaddr=%a,topic=%t,mountpoint=%m",
     .help =
         "As auth.http.auth_req.params, and %A (1: subscribe, 2: publish) and %t (topic, or filter); %P, %C and %d are empty here."},
    {.name = "auth.http.request.timeout",
     .type = EMQC_DURATION_MS,
     .fallback = "4s",
     .example = "4s",
     .max = MINUTES_60,
     .help =
         "How long a client waits for the server at most: for a login with both its requests, or for a topic, with all retries. Longer than "
         "hook.pending_timeout is of no use: the client is refused then. 0: no limit of its own."},
    {.name = "auth.http.request.connect_timeout",
     .type = EMQC_DURATION_MS,
     .example = "2s",
     .max = MINUTES_60,
     .help =
         "For one connection, with the handshake of TLS. Unset: as auth.http.request.timeout; 0: no limit of its own."},
    {.name = "auth.http.request.connect_timout",
     .type = EMQC_DURATION_MS,
     .max = MINUTES_60,
     .help = "The same, as the original's file has it."},
    {.name = "auth.http.request.retry_times",
     .type = EMQC_INTEGER,
     .fallback = "3",
     .shipped = "3",
     .max = HTTP_RETRIES_MAX,
     .help = "Further tries after errors of transport. An answer is an answer, whatever its status."},
    {.name = "auth.http.request.retry_interval",
     .type = EMQC_DURATION_MS,
     .fallback = "1s",
     .shipped = "1s",
     .max = MINUTES_60,
     .help = "Pause before the second try. A try that would come after the timeout is not waited for."},
    {.name = "auth.http.request.retry_backoff",
     .type = EMQC_FLOAT,
     .fallback = "2.0",
     .shipped = "2.0",
     .min = 100,
     .max = 10000,
     .help = "Each further pause is so many times as long as the one before."},
    {.name = "auth.http.on_failure",
     .type = EMQC_ENUM,
     .enum_words = "deny, ignore",
     .fallback = "deny",
     .example = "deny",
     .help =
         "When there is no answer: deny refuses the client (server unavailable) or the topic; ignore leaves it to the next plugin, acl_file, "
         "allow_anonymous and acl_nomatch, so that a failing server may let everybody in."},
    {.name = "auth.http.pool",
     .type = EMQC_INTEGER,
     .fallback = "32",
     .example = "32",
     .min = 1,
     .max = 1024,
     .help =
         "Connections to the server at most; they are kept and used again. So many requests are under way at once."},
    {.name = "auth.http.queue",
     .type = EMQC_INTEGER,
     .fallback = "10000",
     .example = "10000",
     .min = 1,
     .max = 1000000,
     .help =
         "Requests without an answer at most. What comes on top of them is refused (server busy), or as auth.http.on_failure says."},
    {.name = "auth.http.cache.ttl",
     .type = EMQC_DURATION_MS,
     .fallback = "0",
     .example = "1m",
     .max = 24 * MINUTES_60,
     .help = "How long answers are remembered, refusals too, for all clients that would ask the same. 0: not at all."},
    {.name = "auth.http.cache.size",
     .type = EMQC_INTEGER,
     .fallback = "10000",
     .example = "10000",
     .min = 1,
     .max = 10000000,
     .help = "Answers that are remembered at most; then the oldest goes."},
    {.name = "auth.http.ssl.cacertfile",
     .type = EMQC_STRING,
     .example = "etc/certs/ca.pem",
     .help = "Authorities (PEM) of which an https server's certificate must be. Unset: those of the system."},
    {.name = "auth.http.ssl.certfile",
     .type = EMQC_STRING,
     .example = "etc/certs/client-cert.pem",
     .help = "Our certificate (PEM) for servers that want one."},
    {.name = "auth.http.ssl.keyfile",
     .type = EMQC_STRING,
     .example = "etc/certs/client-key.pem",
     .help = "Its key (PEM). Unset: in the same file."},
    {.name = "auth.http.ssl.verify",
     .type = EMQC_BOOL,
     .fallback = "on",
     .example = "on",
     .help =
         "Whether an https server has to show a certificate of these authorities for the name in its URL. Off, as the original always is: "
         "whoever is in between can read the passwords and let anybody in."},
};

/* ---- what they say ---- */

struct endpoint_keys {
    const char *url;
    const char *method;
    const char *params;
    bool is_acl;
};

static int endpoint_read(struct auth_http *plugin, const struct endpoint_keys *keys, struct endpoint *out)
{
    const struct emqc_host *host = plugin->host;
    const char *url = host->config_string(plugin->self, keys->url, NULL, NULL), *params, *wrong;

    if (url == NULL)
        return 0;
    wrong = http_url_check(url);
    if (wrong != NULL)
        return host->config_wrong(plugin->self, keys->url, NULL, NULL, "%s", wrong);
    params = host->config_string(plugin->self, keys->params, NULL, NULL);
    if (params == NULL)
        return host->fail(plugin->self, "%s is set, so %s should be set as well", keys->url, keys->params);
    wrong = form_parse(params, keys->is_acl, &out->form);
    if (wrong != NULL)
        return host->config_wrong(plugin->self, keys->params, NULL, NULL, "%s", wrong);
    out->url = url;
    out->is_get = host->config_integer(plugin->self, keys->method, NULL, NULL, 0) == 1;
    return 0;
}

static uint32_t read_number(const struct auth_http *plugin, const char *key)
{
    return (uint32_t)plugin->host->config_integer(plugin->self, key, NULL, NULL, 0); /* the rows' ranges fit */
}

static uint32_t read_connect_timeout(const struct auth_http *plugin)
{
    const struct emqc_host *host = plugin->host;
    int64_t misspelled = host->config_integer(plugin->self, "auth.http.request.connect_timout", NULL, NULL,
                                              plugin->timeout_ms);

    return (uint32_t)host->config_integer(plugin->self, "auth.http.request.connect_timeout", NULL, NULL, misspelled);
}

/* A file that can be read, as far as one can see now. */
static int read_file(struct auth_http *plugin, const char *key, const char **out_path)
{
    const char *path = plugin->host->config_string(plugin->self, key, NULL, NULL);

    if (path != NULL && access(path, R_OK) != 0)
        return plugin->host->config_wrong(plugin->self, key, NULL, NULL, "it cannot be read: %s", strerror(errno));
    *out_path = path;
    return 0;
}

static int read_tls(struct auth_http *plugin, struct http_client_options *out)
{
    int err = read_file(plugin, "auth.http.ssl.cacertfile", &out->ca_file);

    if (err == 0)
        err = read_file(plugin, "auth.http.ssl.certfile", &out->certificate_file);
    if (err == 0)
        err = read_file(plugin, "auth.http.ssl.keyfile", &out->key_file);
    out->verify_server = plugin->host->config_bool(plugin->self, "auth.http.ssl.verify", NULL, NULL, true);
    return err;
}

static int read_endpoints(struct auth_http *plugin)
{
    static const struct endpoint_keys auth = {"auth.http.auth_req", "auth.http.auth_req.method",
                                              "auth.http.auth_req.params", false};
    static const struct endpoint_keys super = {"auth.http.super_req", "auth.http.super_req.method",
                                               "auth.http.super_req.params", false};
    static const struct endpoint_keys acl = {"auth.http.acl_req", "auth.http.acl_req.method",
                                             "auth.http.acl_req.params", true};
    int err = endpoint_read(plugin, &auth, &plugin->auth);

    if (err == 0)
        err = endpoint_read(plugin, &super, &plugin->super);
    if (err == 0)
        err = endpoint_read(plugin, &acl, &plugin->acl);
    return err;
}

static int open_cache(struct auth_http *plugin)
{
    uint32_t ttl_ms = read_number(plugin, "auth.http.cache.ttl");

    if (ttl_ms == 0)
        return 0;
    plugin->cache = cache_new(read_number(plugin, "auth.http.cache.size"), ttl_ms);
    return plugin->cache == NULL ? plugin->host->fail(plugin->self, "memory is short for auth.http.cache.size") : 0;
}

int settings_read(struct auth_http *plugin, struct http_client_options *out_options)
{
    const struct emqc_host *host = plugin->host;
    int err = read_endpoints(plugin);

    if (err < 0)
        return err;
    plugin->timeout_ms = read_number(plugin, "auth.http.request.timeout");
    plugin->ignores_failures = read_number(plugin, "auth.http.on_failure") == 1;
    *out_options = (struct http_client_options){
        .connections_max = read_number(plugin, "auth.http.pool"),
        .queue_max = read_number(plugin, "auth.http.queue"),
        .queue_bytes_max = AUTH_HTTP_QUEUE_BYTES_MAX,
        .answer_bytes_max = AUTH_HTTP_ANSWER_BYTES_MAX,
        .connect_timeout_ms = read_connect_timeout(plugin),
        .retries_max = read_number(plugin, "auth.http.request.retry_times"),
        .retry_interval_ms = read_number(plugin, "auth.http.request.retry_interval"),
        .retry_backoff = host->config_float(plugin->self, "auth.http.request.retry_backoff", NULL, NULL, 2),
    };
    err = read_tls(plugin, out_options);
    if (err == 0)
        err = open_cache(plugin);
    return err;
}

void settings_free(struct auth_http *plugin)
{
    form_free(plugin->auth.form);
    form_free(plugin->super.form);
    form_free(plugin->acl.form);
    cache_free(plugin->cache);
}
