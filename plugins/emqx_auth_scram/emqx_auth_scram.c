/*
 * emqx_auth_scram: logins by SCRAM-SHA-256 and SCRAM-SHA-512 in the enhanced authentication of MQTT 5: neither the wire nor the broker's disk has
 * the password. See lib/scram.h for the exchange and its limits, docs/scram.md for its use.
 *
 * A login costs a worker some HMACs; what is slow, the password's hash, the client has to compute. Users that do not exist are given a salt all
 * the same, always the same one: it is made with a secret that is kept in a table.
 */
#include "scram_users.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct scram_exchange) <= EMQC_ENHANCED_STATE_BYTES, "an exchange fits into the event's state");

struct plugin {
    struct scram_users users;
    bool offers[SCRAM_MECHANISM_COUNT];
    uint8_t secret[SCRAM_SECRET_BYTES];
    struct emqc_metric *success;
    struct emqc_metric *failure;
};

static const struct emqc_key keys[] = {
    {.name = "auth.scram.sha256", .type = EMQC_BOOL, .fallback = "on", .shipped = "on", .help = "Offer SCRAM-SHA-256."},
    {.name = "auth.scram.sha512", .type = EMQC_BOOL, .fallback = "on", .shipped = "on", .help = "Offer SCRAM-SHA-512."},
    {.name = "auth.scram.iterations",
     .type = EMQC_INTEGER,
     .fallback = "10000",
     .shipped = "10000",
     .min = SCRAM_ITERATIONS_MIN,
     .max = SCRAM_ITERATIONS_MAX,
     .help =
         "How often new passwords are hashed. Clients compute as much at each login; users keep theirs until their password changes."},
    {.name = "auth.scram.max_users",
     .type = EMQC_INTEGER,
     .fallback = "1000000",
     .shipped = "1000000",
     .min = 1,
     .max = 100000000,
     .help = "Users there may be; no more are added."},
    {.name = "auth.scram.user.$id.username",
     .type = EMQC_STRING,
     .example = "1: device",
     .help = "A user who is added when the plugin is loaded, unless there is one of that name."},
    {.name = "auth.scram.user.$id.password",
     .type = EMQC_STRING,
     .example = "1: public",
     .is_secret = true,
     .help = "That user's password."},
    {.name = "auth.scram.user.$id.superuser",
     .type = EMQC_BOOL,
     .fallback = "off",
     .example = "1: off",
     .help = "Whether that user is not asked about topics."},
};

/* ---- on workers ---- */

static enum emqc_verdict refuse(const struct plugin *plugin, struct emqc_enhanced_authenticate *event, int result,
                                const char *why)
{
    event->result = result;
    event->reason = why;
    plugin->users.host->metric_add(plugin->failure, 1);
    return EMQC_STOP;
}

/* The text of `from` as an answer. */
static enum emqc_verdict answer(const struct plugin *plugin, struct emqc_enhanced_authenticate *event, int result,
                                struct emqc_slice from)
{
    event->answer = plugin->users.host->keep(&event->event, from);
    if (event->answer.data == NULL)
        return refuse(plugin, event, EMQC_SERVER_UNAVAILABLE, "memory is short");
    event->result = result;
    return EMQC_STOP;
}

static enum emqc_verdict begin(const struct plugin *plugin, struct emqc_enhanced_authenticate *event,
                               enum scram_mechanism mechanism)
{
    struct scram_exchange *exchange = event->state;
    struct scram_credentials credentials;
    const struct scram_credentials *real = NULL;
    struct scram_user user;
    uint8_t nonce[SCRAM_NONCE_BYTES];
    char nonce_text[SCRAM_NONCE_BYTES / 3 * 4 + 5];
    struct emqc_slice challenge = {NULL, 0};
    const char *why = NULL;

    if (scram_read_first(exchange, mechanism, event->data, &why) < 0)
        return refuse(plugin, event, EMQC_NOT_AUTHORIZED, why);
    struct emqc_slice name = scram_user_name(exchange);
    /* Also for a user who exists: both take as long. */
    int err = scram_fake(mechanism, plugin->secret, name, plugin->users.iterations, &credentials);
    if (scram_users_find(&plugin->users, name, &user))
        real = scram_user_credentials(&user, mechanism);
    if (err == 0 && RAND_bytes(nonce, sizeof(nonce)) == 1) {
        size_t len = scram_base64_encode((struct emqc_slice){(const char *)nonce, sizeof(nonce)}, nonce_text);
        challenge = scram_challenge(exchange, real != NULL ? real : &credentials, real != NULL,
                                    (struct emqc_slice){nonce_text, len});
    }
    OPENSSL_cleanse(&user, sizeof(user));
    OPENSSL_cleanse(&credentials, sizeof(credentials));
    if (challenge.data == NULL)
        return refuse(plugin, event, EMQC_SERVER_UNAVAILABLE, "OpenSSL cannot compute a SCRAM challenge");
    return answer(plugin, event, EMQC_CONTINUE_AUTHENTICATION, challenge);
}

static enum emqc_verdict finish(const struct plugin *plugin, struct emqc_enhanced_authenticate *event)
{
    struct scram_exchange *exchange = event->state;
    char server_final[SCRAM_SERVER_FINAL_MAX];
    struct scram_user user;
    const char *why = NULL;
    int err = scram_finish(exchange, event->data, server_final, &why);

    if (err < 0)
        return refuse(plugin, event, err == -EIO ? EMQC_SERVER_UNAVAILABLE : EMQC_NOT_AUTHORIZED, why);
    if (!scram_users_find(&plugin->users, scram_user_name(exchange), &user))
        return refuse(plugin, event, EMQC_NOT_AUTHORIZED, "wrong user name or password"); /* deleted meanwhile */
    event->is_superuser = user.is_superuser;
    OPENSSL_cleanse(&user, sizeof(user));
    event->user_name = plugin->users.host->keep(&event->event, scram_user_name(exchange));
    if (event->user_name.data == NULL)
        return refuse(plugin, event, EMQC_SERVER_UNAVAILABLE, "memory is short");
    if (answer(plugin, event, EMQC_SUCCESS, (struct emqc_slice){server_final, strlen(server_final)}) == EMQC_STOP &&
        event->result == EMQC_SUCCESS)
        plugin->users.host->metric_add(plugin->success, 1);
    return EMQC_STOP;
}

static enum emqc_verdict on_enhanced(void *context, struct emqc_event *head)
{
    const struct plugin *plugin = context;
    struct emqc_enhanced_authenticate *event = (struct emqc_enhanced_authenticate *)head;
    enum scram_mechanism mechanism;

    if (!scram_find(event->method, &mechanism) || !plugin->offers[mechanism])
        return EMQC_NEXT;
    switch (event->step) {
    case EMQC_ENHANCED_START:
    case EMQC_ENHANCED_AGAIN: return begin(plugin, event, mechanism);
    case EMQC_ENHANCED_CONTINUE: return finish(plugin, event);
    case EMQC_ENHANCED_ENDED: break; /* the state is all there is */
    }
    return EMQC_NEXT;
}

/* ---- life ---- */

/* The secret for salts of users that do not exist: made once, so that these stay the same. */
static int open_secret(struct plugin *plugin)
{
    static const struct emqc_slice key = {"salt", 4};
    const struct emqc_host *host = plugin->users.host;
    const struct emqc_table_options options = {.size = sizeof(options), .name = "secret", .rows_max = 1};
    struct emqc_table *table;
    int err = host->table_open(plugin->users.self, &options, &table);

    if (err < 0)
        return host->fail(plugin->users.self, "the table of the secret cannot be opened: %s", strerror(-err));
    if (host->table_get(table, key, plugin->secret, sizeof(plugin->secret)) == (int)sizeof(plugin->secret))
        return 0;
    if (RAND_bytes(plugin->secret, sizeof(plugin->secret)) != 1)
        return host->fail(plugin->users.self, "OpenSSL has no random bytes");
    err = host->table_put(table, key, (struct emqc_slice){(const char *)plugin->secret, sizeof(plugin->secret)}, false,
                          NULL, NULL);
    return err < 0 ? host->fail(plugin->users.self, "the secret cannot be stored: %s", strerror(-err)) : 0;
}

static int attach(struct plugin *plugin)
{
    const struct emqc_host *host = plugin->users.host;
    struct emqc_plugin_instance *self = plugin->users.self;
    const struct emqc_hook hook = {
        .size = sizeof(hook), .point = EMQC_CLIENT_ENHANCED_AUTHENTICATE, .run = on_enhanced, .context = plugin};
    int err = host->metric(self, "auth.scram.success", "Logins by SCRAM", &plugin->success);

    if (err == 0)
        err = host->metric(self, "auth.scram.failure", "Logins by SCRAM that were refused", &plugin->failure);
    if (err == 0)
        err = host->hook_add(self, &hook);
    return err < 0 ? host->fail(self, "it cannot be attached: %s", strerror(-err)) : 0;
}

static void unload(void *state)
{
    struct plugin *plugin = state;

    OPENSSL_cleanse(plugin->secret, sizeof(plugin->secret));
    free(plugin);
}

static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    struct plugin *plugin = calloc(1, sizeof(*plugin));
    int err;

    if (plugin == NULL)
        return -ENOMEM;
    plugin->users = (struct scram_users){
        .host = host,
        .self = self,
        .iterations = (uint32_t)host->config_integer(self, "auth.scram.iterations", NULL, NULL, 10000)};
    plugin->offers[SCRAM_SHA_256] = host->config_bool(self, "auth.scram.sha256", NULL, NULL, true);
    plugin->offers[SCRAM_SHA_512] = host->config_bool(self, "auth.scram.sha512", NULL, NULL, true);
    err = open_secret(plugin);
    if (err == 0)
        err = scram_users_open(&plugin->users);
    if (err == 0)
        err = attach(plugin);
    if (err < 0) {
        unload(plugin);
        return err;
    }
    *out_state = plugin;
    return 0;
}

EMQC_PLUGIN = {
    EMQC_PLUGIN_HEAD,
    "emqx_auth_scram",
    "1.0.0",
    "EMQ X Authentication with SCRAM",
    EMQC_AUTH,
    NULL,
    keys,
    sizeof(keys) / sizeof(keys[0]),
    load,
    unload,
};
