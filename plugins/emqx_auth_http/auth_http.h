/*
 * auth_http: what the parts of the plugin share.
 *
 * check.c asks the server; settings.c says how; emqx_auth_http.c puts it together.
 */
#ifndef EMQX_AUTH_HTTP_AUTH_HTTP_H
#define EMQX_AUTH_HTTP_AUTH_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <emqc/plugin.h>

#include "cache.h"
#include "form.h"
#include "lib/http_client.h"

/* Longer answers are errors: what counts in one is its status and at most a word or a mountpoint. */
#define AUTH_HTTP_ANSWER_BYTES_MAX 65536u
/* Bytes of requests without an answer; at the limit further ones are refused like at auth.http.queue. */
#define AUTH_HTTP_QUEUE_BYTES_MAX ((size_t)64 << 20)

/* One of auth.http.auth_req, super_req, acl_req. */
struct endpoint {
    const char *url; /* NULL: not asked */
    bool is_get;
    struct form *form;
};

/* Counters of one hook point. */
struct counters {
    struct emqc_metric *success; /* acl: allow */
    struct emqc_metric *failure; /* acl: deny */
    struct emqc_metric *ignore;
};

/* The plugin, as loaded. Constant while its hooks are on, but for what is atomic. */
struct auth_http {
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    struct endpoint auth;
    struct endpoint super;
    struct endpoint acl;
    uint32_t timeout_ms;   /* of a whole check; 0: none */
    bool ignores_failures; /* else a failing server refuses */
    struct cache *cache;   /* NULL: off */
    struct http_client *client;
    struct counters auth_counters;
    struct counters acl_counters;
    _Atomic uint64_t next_report_ms;   /* failures before it are only counted */
    _Atomic uint64_t unreported_count; /* failures since the last line of the log */
    _Atomic bool has_denied_topics;    /* for want of an answer: clients remember that and should forget it */
};

/* settings.c: the rows, and what they say. Gives 0, or a negative errno after the host was told why. Thread: control. */
#define SETTINGS_KEY_COUNT 24
extern const struct emqc_key settings_keys[SETTINGS_KEY_COUNT];
int settings_read(struct auth_http *plugin, struct http_client_options *out_options);
/* Frees what settings_read() has put into `plugin`. */
void settings_free(struct auth_http *plugin);

/* check.c: the callbacks of client.authenticate and client.check_acl; `context` is the plugin. Thread: worker. */
enum emqc_verdict check_authenticate(void *context, struct emqc_event *event);
enum emqc_verdict check_topic(void *context, struct emqc_event *event);

#endif
