/*
 * emqx_auth_jwt: clients that show a JSON Web Token in place of a password.
 *
 * A secret is for HS256/384/512; public keys from a file or from a server (JWK set) are for RS* and ES*. What is no token is left to others.
 *
 * Where it is checked: what takes up to a quarter of a millisecond (HS*; RS* with 4096 bits; ES256 with two keys to try) at once on the client's worker, as
 * handing it over would double the cost of the usual ones; the rest (ES384 and ES512, 1.0 to 1.3 ms; RS* with 8192 bits; tokens without kid when there
 * are many keys) in a job, or it would hold up the worker's other clients. bench/micro/jwt_bench measures.
 */
#include "auth_jwt.h"

#include "lib/base64url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLAIM_KEY "auth.jwt.verify_claims.$name"
#define SECRET_SHIPPED "emqxsecret"
#define SECRET_BYTES_MIN                                                                                               \
    32u /* "A key of the same size as the hash output or larger MUST be used" (RFC 7518, section 3.2) */

static const struct emqc_key keys[] = {
    {.name = "auth.jwt.secret",
     .type = EMQC_STRING,
     .shipped = SECRET_SHIPPED,
     .is_secret = true,
     .help =
         "Secret of HS256, HS384 and HS512. Everybody knows the one shipped: set your own, of 32 random bytes or more."},
    {.name = "auth.jwt.secret_base64",
     .type = EMQC_BOOL,
     .fallback = "off",
     .example = "on",
     .help = "The secret is written in base64 (or base64url)."},
    {.name = "auth.jwt.from",
     .type = EMQC_ENUM,
     .fallback = "password",
     .shipped = "password",
     .enum_words = "password, username",
     .help = "Where the client puts the token."},
    {.name = "auth.jwt.pubkey",
     .type = EMQC_STRING,
     .example = "etc/certs/jwt_public_key.pem",
     .help =
         "Public keys of RS256/384/512 and ES256/384/512: a PEM file with one or several, or with certificates. It is read again when it "
         "changes."},
    {.name = "auth.jwt.jwks",
     .type = EMQC_STRING,
     .example = "https://auth.example.com/.well-known/jwks.json",
     .help = "URL of a JWK set with public keys (RFC 7517)."},
    {.name = "auth.jwt.jwks.cacertfile",
     .type = EMQC_STRING,
     .example = "etc/certs/cacert.pem",
     .help = "Certificates that the server's is checked with. Those of the system when it is not set."},
    {.name = "auth.jwt.jwks.refresh_interval",
     .type = EMQC_DURATION_MS,
     .fallback = "5m",
     .example = "5m",
     .min = 1000,
     .max = 7 * 24 * 3600 * 1000,
     .help = "How often the set is fetched again."},
    {.name = "auth.jwt.jwks.retry_interval",
     .type = EMQC_DURATION_MS,
     .fallback = "10s",
     .example = "10s",
     .min = 100,
     .max = 3600 * 1000,
     .help =
         "The set is not fetched more often than this, neither after a failure nor for tokens that name an unknown key."},
    {.name = "auth.jwt.jwks.timeout",
     .type = EMQC_DURATION_MS,
     .fallback = "5s",
     .example = "5s",
     .min = 100,
     .max = 60 * 1000,
     .help = "How long the server may take to answer."},
    {.name = "auth.jwt.leeway",
     .type = EMQC_DURATION_S,
     .fallback = "0s",
     .example = "5s",
     .min = 0,
     .max = 3600,
     .help =
         "How far the clocks of those who issue tokens may differ from ours: exp, nbf and iat are taken so much less strictly."},
    {.name = "auth.jwt.verify_claims",
     .type = EMQC_BOOL,
     .fallback = "off",
     .shipped = "off",
     .help = "Whether claims are compared with the client."},
    {.name = CLAIM_KEY,
     .type = EMQC_STRING,
     .example = "username: %u",
     .help =
         "What the claim of this name must be: %u (user name), %c (client ID) or the text itself. With a text, integers, true and false are "
         "compared as words, and an array \"aud\" must hold it."},
};

/* ---- The hook ---- */

/* Has the check end later: by a job, or when keys have come. */
static enum emqc_verdict check_later(struct auth_jwt *auth, const struct claimant *who, bool in_job,
                                     struct emqc_authenticate *event)
{
    struct check *check = check_new(auth, who);

    if (check == NULL) {
        struct answer answer = answer_of(JWT_NO_MEMORY);
        answer_apply(auth, &answer, event);
        return EMQC_STOP;
    }
    check->ticket = auth->host->defer(&event->event);
    if (check->ticket == NULL)
        check_free(check); /* the broker refuses the client */
    else if (in_job)
        check_start_take(check);
    else
        jwks_wait_take(auth, check);
    return EMQC_PENDING;
}

static enum emqc_verdict on_authenticate(void *context, struct emqc_event *event)
{
    struct auth_jwt *auth = context;
    struct emqc_authenticate *request = (struct emqc_authenticate *)event;
    const struct emqc_client *client = request->client;
    struct claimant who = {.token = auth->from_user_name ? client->user_name : client->password,
                           .user_name = client->user_name,
                           .client_id = client->client_id};
    enum jwt_result result;
    struct answer answer;
    struct jwt jwt;

    result = jwt_parse(who.token, &jwt);
    if (result == JWT_NOT_A_TOKEN) {
        auth->host->metric_add(auth->ignore, 1);
        return EMQC_NEXT;
    }
    if (result == JWT_OK && token_is_slow(auth, &jwt))
        return check_later(auth, &who, true, request);
    answer = answer_of(result);
    if (result == JWT_OK && !token_check(auth, &jwt, &who, true, &answer))
        return check_later(auth, &who, false, request);
    answer_apply(auth, &answer, request);
    return EMQC_STOP;
}

/* ---- Settings ---- */

static int secret_load(struct auth_jwt *auth)
{
    const struct emqc_host *host = auth->host;
    const char *text = host->config_string(auth->self, "auth.jwt.secret", NULL, NULL);
    bool is_base64 = host->config_bool(auth->self, "auth.jwt.secret_base64", NULL, NULL, false);
    size_t len, size;

    if (text == NULL || text[0] == '\0')
        return 0;
    len = strlen(text);
    size = BASE64_DECODED_MAX(len);
    auth->secret = malloc(size > len ? size : len);
    if (auth->secret == NULL)
        return -ENOMEM;
    if (!is_base64) {
        memcpy(auth->secret, text, len);
        auth->secret_len = len;
    } else if (base64_decode(BASE64_ANY, text, len, (unsigned char *)auth->secret, size, &auth->secret_len) < 0) {
        return host->config_wrong(auth->self, "auth.jwt.secret", NULL, NULL,
                                  "must be base64, as auth.jwt.secret_base64 says");
    }
    if (strcmp(text, SECRET_SHIPPED) == 0)
        host->log(auth->self, EMQC_LOG_WARNING,
                  "auth.jwt.secret is the one that is shipped: whoever knows it can make tokens");
    else if (auth->secret_len < SECRET_BYTES_MIN)
        host->log(auth->self, EMQC_LOG_WARNING,
                  "auth.jwt.secret has %zu bytes; with less than %u it may be guessed from a token", auth->secret_len,
                  SECRET_BYTES_MIN);
    return 0;
}

static int rules_load(struct auth_jwt *auth)
{
    const struct emqc_host *host = auth->host;
    const char *const *names;
    size_t count;
    int err;

    if (!host->config_bool(auth->self, "auth.jwt.verify_claims", NULL, NULL, false))
        return 0;
    err = host->config_names(auth->self, CLAIM_KEY, &names, &count);
    if (err < 0 || count == 0)
        return err;
    auth->rules = calloc(count, sizeof(*auth->rules));
    if (auth->rules == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const char *text = host->config_string(auth->self, CLAIM_KEY, names[i], NULL);
        enum claim_value value = strcmp(text, "%u") == 0   ? CLAIM_USER_NAME
                                 : strcmp(text, "%c") == 0 ? CLAIM_CLIENT_ID
                                                           : CLAIM_LITERAL;
        auth->rules[auth->rule_count++] = (struct claim_rule){names[i], value, {text, strlen(text)}};
    }
    return 0;
}

static int64_t milliseconds(const struct auth_jwt *auth, const char *key)
{
    return auth->host->config_integer(auth->self, key, NULL, NULL, 0);
}

static int jwks_load(struct auth_jwt *auth)
{
    struct jwks *jwks = &auth->jwks;
    const struct emqc_host *host = auth->host;
    const char *url = host->config_string(auth->self, "auth.jwt.jwks", NULL, NULL);

    if (url == NULL || url[0] == '\0')
        return 0;
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return host->config_wrong(auth->self, "auth.jwt.jwks", NULL, NULL, "must begin with https:// or http://");
    if (strncasecmp(url, "http://", 7) == 0)
        host->log(auth->self, EMQC_LOG_WARNING,
                  "auth.jwt.jwks is fetched without TLS: who can change the answer can make tokens");
    jwks->url = url;
    jwks->ca_file = host->config_string(auth->self, "auth.jwt.jwks.cacertfile", NULL, NULL);
    jwks->refresh_interval_ms = milliseconds(auth, "auth.jwt.jwks.refresh_interval");
    jwks->retry_interval_ms = milliseconds(auth, "auth.jwt.jwks.retry_interval");
    jwks->timeout_ms = milliseconds(auth, "auth.jwt.jwks.timeout");
    jwks->started_ms = -jwks->retry_interval_ms; /* the first may begin at once */
    return 0;
}

static int settings_load(struct auth_jwt *auth)
{
    const struct emqc_host *host = auth->host;
    int err = secret_load(auth);

    auth->from_user_name = host->config_integer(auth->self, "auth.jwt.from", NULL, NULL, 0) == 1;
    auth->leeway_s = host->config_integer(auth->self, "auth.jwt.leeway", NULL, NULL, 0);
    auth->pubkey.path = host->config_string(auth->self, "auth.jwt.pubkey", NULL, NULL);
    if (err == 0)
        err = rules_load(auth);
    if (err == 0)
        err = jwks_load(auth);
    if (err == 0 && auth->pubkey.path != NULL)
        err = pubkey_load(auth);
    return err;
}

/* ---- Loading ---- */

static int metrics_load(struct auth_jwt *auth)
{
    const struct emqc_host *host = auth->host;
    int err = host->metric(auth->self, "auth.jwt.success", "Clients let in by their token", &auth->success);

    if (err == 0)
        err = host->metric(auth->self, "auth.jwt.failure", "Clients refused for their token", &auth->failure);
    if (err == 0)
        err = host->metric(auth->self, "auth.jwt.ignore", "Clients without a token", &auth->ignore);
    return err;
}

static int timers_load(struct auth_jwt *auth)
{
    uint64_t retry_ms = (uint64_t)auth->jwks.retry_interval_ms;
    struct emqc_timer *timer;
    int err = 0;

    if (auth->pubkey.path != NULL)
        err = auth->host->timer_start(auth->self, PUBKEY_CHECK_INTERVAL_MS, PUBKEY_CHECK_INTERVAL_MS, pubkey_tick, auth,
                                      &timer);
    if (err == 0 && auth->jwks.url != NULL)
        err = auth->host->timer_start(auth->self, retry_ms, retry_ms, jwks_tick, auth, &timer);
    return err;
}

/* Nothing waits for keys any more: jobs have ended. */
static void auth_free(void *state)
{
    struct auth_jwt *auth = state;

    if (auth == NULL)
        return;
    jwt_keys_unref(auth->file_keys);
    jwt_keys_unref(auth->jwks_keys);
    pthread_mutex_destroy(&auth->lock);
    if (auth->secret != NULL)
        explicit_bzero(auth->secret, auth->secret_len);
    free(auth->secret);
    free(auth->rules);
    free(auth);
    jwks_library_fini();
}

static int auth_load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    struct auth_jwt *auth;
    struct emqc_hook hook = {.size = sizeof(hook), .point = EMQC_CLIENT_AUTHENTICATE, .run = on_authenticate};
    int err;

    if (!jwks_library_init())
        return host->fail(self, "libcurl cannot be used");
    auth = calloc(1, sizeof(*auth));
    if (auth == NULL) {
        jwks_library_fini();
        return host->fail(self, "%s", strerror(ENOMEM));
    }
    auth->host = host;
    auth->self = self;
    pthread_mutex_init(&auth->lock, NULL);
    hook.context = auth;
    err = settings_load(auth);
    if (err == 0)
        err = metrics_load(auth);
    if (err == 0)
        err = timers_load(auth);
    if (err == 0)
        err = host->hook_add(self, &hook); /* last: from here on clients are asked about */
    if (err < 0) {
        auth_free(auth);
        return err == -EINVAL ? err : host->fail(self, "%s", strerror(-err)); /* -EINVAL: it has been said */
    }
    if (auth->jwks.url != NULL)
        jwks_tick(auth);
    *out_state = auth;
    return 0;
}

EMQC_PLUGIN = {
    EMQC_PLUGIN_HEAD,
    .name = "emqx_auth_jwt",
    .version = "1.0.0",
    .description = "Authentication with JSON Web Tokens",
    .type = EMQC_AUTH,
    .keys = keys,
    .key_count = sizeof(keys) / sizeof(keys[0]),
    .load = auth_load,
    .unload = auth_free,
};
