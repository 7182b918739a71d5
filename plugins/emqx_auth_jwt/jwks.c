/*
 * jwks: keys from a server (RFC 7517, section 5).
 *
 * They are fetched when the plugin is loaded, then every refresh_interval, and when a token names a key that is not there; never more often than
 * every retry_interval. One fetch at a time, in a job: what comes to need it meanwhile waits, up to WAITERS_MAX. Until newer keys
 * have come, those that are there stay in use.
 */
#include "auth_jwt.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BODY_MAX (256u * 1024) /* bytes; a longer answer is refused */
#define WAITERS_MAX 1000u      /* clients; one more is told that the server is busy */
#define REDIRECTS_MAX 3L       /* one more is an error */

struct body {
    char *text;
    size_t len;
};

/* libcurl stays in memory when the plugin is closed: a thread of its resolver that was given up may still run in it. */
bool jwks_library_init(void)
{
    Dl_info info;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return false;
    if (dladdr((void *)(uintptr_t)curl_global_init, &info) != 0 && info.dli_fname != NULL)
        (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    return true;
}

void jwks_library_fini(void)
{
    curl_global_cleanup();
}

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Under the lock. */
static bool may_fetch(const struct jwks *jwks)
{
    return jwks->url != NULL && !jwks->is_fetching && clock_ms() - jwks->started_ms >= jwks->retry_interval_ms;
}

enum jwks_help jwks_help(struct auth_jwt *auth, uint64_t generation, bool *out_has_failed)
{
    struct jwks *jwks = &auth->jwks;
    enum jwks_help help = JWKS_NO_HELP;

    *out_has_failed = false;
    if (jwks->url == NULL)
        return JWKS_NO_HELP;
    pthread_mutex_lock(&auth->lock);
    if (jwks->generation != generation)
        help = JWKS_NEWER;
    else if (jwks->is_fetching || may_fetch(jwks))
        help = JWKS_FETCH;
    *out_has_failed = jwks->has_failed;
    pthread_mutex_unlock(&auth->lock);
    return help;
}

/* ---- The request. Thread: job ---- */

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct body *body = context;
    size_t len = size * count;

    if (len > BODY_MAX - body->len)
        return 0; /* CURLE_WRITE_ERROR */
    memcpy(body->text + body->len, data, len);
    body->len += len;
    return len;
}

static bool options_set(CURL *curl, const struct jwks *jwks, struct body *body, char *error)
{
    bool is_https = strncasecmp(jwks->url, "https:", 6) == 0;

    return curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_URL, jwks->url) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)jwks->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK && /* a slow resolver is not waited for */
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&      /* none of the environment */
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "emqx_auth_jwt") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, body) == CURLE_OK &&
           (jwks->ca_file == NULL || curl_easy_setopt(curl, CURLOPT_CAINFO, jwks->ca_file) == CURLE_OK);
}

/* False, and why not in `out_error`. */
static bool body_get(const struct jwks *jwks, struct body *body, char out_error[CURL_ERROR_SIZE])
{
    CURL *curl = curl_easy_init();
    long status = 0;
    CURLcode code;

    out_error[0] = '\0';
    if (curl == NULL || !options_set(curl, jwks, body, out_error)) {
        snprintf(out_error, CURL_ERROR_SIZE, "no memory, or not a URL");
        curl_easy_cleanup(curl);
        return false;
    }
    code = curl_easy_perform(curl);
    if (code == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    else if (code == CURLE_WRITE_ERROR)
        snprintf(out_error, CURL_ERROR_SIZE, "the answer has more than %u bytes", BODY_MAX);
    else if (out_error[0] == '\0')
        snprintf(out_error, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
    if (code == CURLE_OK && status != 200)
        snprintf(out_error, CURL_ERROR_SIZE, "the server answers with status %ld", status);
    curl_easy_cleanup(curl);
    return code == CURLE_OK && status == 200;
}

/* The keys of the server; NULL, and why not. */
static struct jwt_keys *keys_get(const struct jwks *jwks, size_t *out_left_out, char out_error[CURL_ERROR_SIZE])
{
    struct jwt_keys *keys = jwt_keys_new();
    struct body body = {.text = malloc(BODY_MAX)};
    const char *why = "no memory";
    bool is_good = false;

    if (keys == NULL || body.text == NULL) {
        snprintf(out_error, CURL_ERROR_SIZE, "%s", why);
    } else if (body_get(jwks, &body, out_error)) {
        is_good = jwt_keys_add_jwks(keys, (struct emqc_slice){body.text, body.len}, out_left_out, &why) == 0;
        if (!is_good)
            snprintf(out_error, CURL_ERROR_SIZE, "the answer is no JWK set: %s", why);
    }
    free(body.text);
    if (is_good)
        return keys;
    jwt_keys_unref(keys);
    return NULL;
}

/* ---- Who waits ---- */

/* Takes over what a fetch has brought (NULL: nothing), and gives those that have waited for it. */
static struct check *fetch_end(struct auth_jwt *auth, struct jwt_keys *keys, bool *out_was_good)
{
    struct jwks *jwks = &auth->jwks;
    struct jwt_keys *old = NULL;
    struct check *waiters;

    pthread_mutex_lock(&auth->lock);
    *out_was_good = jwks->generation > 0 && !jwks->has_failed;
    jwks->is_fetching = false;
    jwks->has_failed = keys == NULL;
    if (keys != NULL) {
        old = auth->jwks_keys;
        auth->jwks_keys = keys;
        jwks->generation++;
        jwks->fetched_ms = clock_ms();
    }
    waiters = jwks->first_waiter;
    jwks->first_waiter = NULL;
    jwks->waiter_count = 0;
    pthread_mutex_unlock(&auth->lock);
    jwt_keys_unref(old);
    return waiters;
}

static void fetch_work(void *context)
{
    struct auth_jwt *auth = context;
    char error[CURL_ERROR_SIZE];
    size_t left_out = 0, count = 0;
    struct jwt_keys *keys = keys_get(&auth->jwks, &left_out, error);
    bool was_good, is_good = keys != NULL;
    struct check *waiter;

    if (is_good)
        count = jwt_keys_count(keys);
    waiter = fetch_end(auth, keys, &was_good);
    if (!is_good)
        auth->host->log(auth->self, EMQC_LOG_WARNING, "auth.jwt.jwks: %s; the keys that are there stay in use", error);
    else
        auth->host->log(auth->self, was_good ? EMQC_LOG_DEBUG : EMQC_LOG_INFO,
                        "auth.jwt.jwks: %zu keys; %zu are not for checking signatures of RS* and ES*", count, left_out);
    while (waiter != NULL) {
        struct check *next = waiter->next;
        check_run_take(waiter, false);
        waiter = next;
    }
}

/* Under the lock. False: the plugins' job threads have too much to do. */
static bool fetch_start(struct auth_jwt *auth)
{
    struct jwks *jwks = &auth->jwks;

    jwks->is_fetching = auth->host->job_run(auth->self, fetch_work, NULL, auth) == 0;
    if (jwks->is_fetching)
        jwks->started_ms = clock_ms();
    return jwks->is_fetching;
}

void jwks_wait_take(struct auth_jwt *auth, struct check *check)
{
    struct jwks *jwks = &auth->jwks;
    bool is_ended, waits = false;

    pthread_mutex_lock(&auth->lock);
    is_ended = !jwks->is_fetching && !may_fetch(jwks); /* a fetch has ended since somebody looked */
    if (!is_ended && jwks->waiter_count < WAITERS_MAX)
        waits = jwks->is_fetching || fetch_start(auth);
    if (waits) {
        check->next = jwks->first_waiter;
        jwks->first_waiter = check;
        jwks->waiter_count++;
    }
    pthread_mutex_unlock(&auth->lock);
    if (is_ended)
        check_run_take(check, false);
    else if (!waits)
        check_finish_take(check, (struct answer){EMQC_SERVER_BUSY, "jwks_too_many_wait"});
}

void jwks_tick(void *context)
{
    struct auth_jwt *auth = context;
    struct jwks *jwks = &auth->jwks;

    pthread_mutex_lock(&auth->lock);
    if (may_fetch(jwks) &&
        (jwks->generation == 0 || jwks->has_failed || clock_ms() - jwks->fetched_ms >= jwks->refresh_interval_ms))
        (void)fetch_start(auth);
    pthread_mutex_unlock(&auth->lock);
}
