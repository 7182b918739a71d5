/*
 * check: may this client come in, may it use this topic? The server is asked, and the client waits without anybody else.
 *
 *   worker                                 the HTTP client's thread
 *   check_authenticate() ── auth_req ────► on_auth_answer()
 *                                            200, and there is super_req: ──► on_super_answer()
 *   apply_auth() ◄───────────────────────────┴──────────────────────────────────┘
 *
 *   check_topic() ───────── acl_req ─────► on_topic_answer()
 *   apply_topic() ◄──────────────────────────┘
 *
 * A check belongs to the ticket: whoever applies the verdict frees it. Its texts have a password in them and are wiped.
 */
#include "auth_http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPORT_INTERVAL_MS 1000u

struct check {
    struct auth_http *plugin;
    struct emqc_ticket *ticket;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    bool has_key;
    struct cache_key key;
    struct verdict verdict;
    size_t first_bytes;  /* of auth_req or acl_req */
    size_t second_bytes; /* of super_req, behind it */
    char text[];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void check_free(struct check *check)
{
    verdict_fini(&check->verdict);
    explicit_bzero(check->text, check->first_bytes + check->second_bytes);
    free(check);
}

static struct emqc_slice text_slice(const char *text)
{
    return (struct emqc_slice){text, strlen(text)};
}

/* ---- what the client has ---- */

/* Texts that are made for a request. */
struct fact_texts {
    char peer[46];
    char port[8];
};

static void facts_fill(const struct auth_http *plugin, const struct emqc_client *client, struct fact_texts *texts,
                       struct form_facts *out)
{
    plugin->host->address_text(client->peer_address, texts->peer);
    snprintf(texts->port, sizeof(texts->port), "%u", client->local_port);
    *out = (struct form_facts){.values = {
                                   [FORM_USER_NAME] = client->user_name,
                                   [FORM_CLIENT_ID] = client->client_id,
                                   [FORM_PEER] = text_slice(texts->peer),
                                   [FORM_PASSWORD] = client->password,
                                   [FORM_COMMON_NAME] = client->common_name,
                                   [FORM_SUBJECT] = client->subject,
                                   [FORM_LOCAL_PORT] = text_slice(texts->port),
                                   [FORM_MOUNTPOINT] = client->mountpoint,
                               }};
}

/* NULL: memory is short. */
static struct check *check_new(struct auth_http *plugin, const struct endpoint *first, const struct endpoint *second,
                               const struct form_facts *facts, char kind)
{
    size_t first_bytes = form_bytes(first->form, facts);
    size_t second_bytes = second == NULL || second->url == NULL ? 0 : form_bytes(second->form, facts);
    struct check *check = malloc(sizeof(*check) + first_bytes + second_bytes);
    char *end;

    if (check == NULL)
        return NULL;
    *check = (struct check){.plugin = plugin, .first_bytes = first_bytes, .second_bytes = second_bytes};
    end = form_write(first->form, facts, check->text);
    if (second_bytes > 0)
        form_write(second->form, facts, end);
    check->deadline_ms = plugin->timeout_ms == 0 ? UINT64_MAX : now_ms() + plugin->timeout_ms;
    if (plugin->cache != NULL)
        check->has_key = cache_key_make(plugin->cache, kind, check->text, first_bytes + second_bytes, &check->key);
    return check;
}

/* ---- asking ---- */

/* One line a second at most, without anything of the request. */
static void report_failure(struct auth_http *plugin, const char *what, const struct http_answer *answer)
{
    uint64_t now = now_ms(), next = atomic_load(&plugin->next_report_ms), count;

    atomic_fetch_add(&plugin->unreported_count, 1);
    if (now < next || !atomic_compare_exchange_strong(&plugin->next_report_ms, &next, now + REPORT_INTERVAL_MS))
        return;
    count = atomic_exchange(&plugin->unreported_count, 0);
    plugin->host->log(plugin->self, EMQC_LOG_WARNING, "%s has no answer: %s; %s (%" PRIu64 " since the last such line)",
                      what, answer->error_text, plugin->ignores_failures ? "leaving it to the next" : "refusing",
                      count);
}

static int ask(struct check *check, const struct endpoint *endpoint, const char *text, size_t bytes,
               http_answered_fn *answered)
{
    uint64_t now = check->deadline_ms == UINT64_MAX ? 0 : now_ms();
    struct http_request request = {.url = endpoint->url, .answered = answered, .context = check};

    if (check->deadline_ms != UINT64_MAX) /* too late: 1 ms, of which nothing comes but the usual way to fail */
        request.timeout_ms = check->deadline_ms > now ? (uint32_t)(check->deadline_ms - now) : 1;
    if (endpoint->is_get) {
        request.query = text;
        request.query_bytes = bytes;
    } else {
        request.body = text;
        request.body_bytes = bytes;
    }
    return http_client_send(check->plugin->client, &request);
}

/* As if the server had been asked. */
static struct http_answer not_sent(int err)
{
    return (struct http_answer){
        .err = err, .body = "", .error_text = err == -EAGAIN ? "too many requests wait already" : strerror(-err)};
}

static void remember(const struct check *check)
{
    enum verdict_kind kind = check->verdict.kind;

    if (check->has_key && kind != VERDICT_FAIL && kind != VERDICT_BUSY)
        cache_put(check->plugin->cache, &check->key, now_ms(), &check->verdict);
}

/* ---- client.authenticate ---- */

static enum emqc_verdict refuse(struct auth_http *plugin, struct emqc_authenticate *event, int code, const char *reason)
{
    event->result = code;
    event->reason = reason;
    plugin->host->metric_add(plugin->auth_counters.failure, 1);
    return EMQC_STOP;
}

static enum emqc_verdict let_in(struct auth_http *plugin, const struct verdict *verdict,
                                struct emqc_authenticate *event)
{
    if (verdict->mountpoint != NULL) {
        struct emqc_slice kept = plugin->host->keep(&event->event, text_slice(verdict->mountpoint));
        if (kept.data == NULL)
            return refuse(plugin, event, EMQC_SERVER_UNAVAILABLE, "memory is short");
        event->mountpoint = kept;
    }
    event->result = EMQC_SUCCESS;
    event->is_anonymous = false;
    event->is_superuser = verdict->is_superuser;
    plugin->host->metric_add(plugin->auth_counters.success, 1);
    return EMQC_STOP;
}

static enum emqc_verdict decide_auth(struct auth_http *plugin, const struct verdict *verdict,
                                     struct emqc_authenticate *event)
{
    bool is_failure = verdict->kind == VERDICT_FAIL || verdict->kind == VERDICT_BUSY;

    if (verdict->kind == VERDICT_IGNORE || (is_failure && plugin->ignores_failures)) {
        plugin->host->metric_add(plugin->auth_counters.ignore, 1);
        return EMQC_NEXT;
    }
    switch (verdict->kind) {
    case VERDICT_ALLOW: return let_in(plugin, verdict, event);
    case VERDICT_REFUSE: return refuse(plugin, event, EMQC_NOT_AUTHORIZED, "the HTTP server refuses it");
    case VERDICT_BUSY: return refuse(plugin, event, EMQC_SERVER_BUSY, "too many requests wait for the HTTP server");
    default: return refuse(plugin, event, EMQC_SERVER_UNAVAILABLE, "the HTTP server does not answer");
    }
}

static enum emqc_verdict apply_auth(void *answer, struct emqc_event *event)
{
    struct check *check = answer;
    enum emqc_verdict verdict = EMQC_NEXT;

    if (event != NULL)
        verdict = decide_auth(check->plugin, &check->verdict, (struct emqc_authenticate *)event);
    check_free(check);
    return verdict;
}

static void finish_auth(struct check *check)
{
    remember(check);
    check->plugin->host->complete(check->ticket, apply_auth, check);
}

static void on_super_answer(void *context, const struct http_answer *answer)
{
    struct check *check = context;

    check->verdict.is_superuser = answer->err == 0 && answer->status == 200;
    if (answer->err == 0) {
        finish_auth(check);
        return;
    }
    if (answer->err != -ECANCELED)
        report_failure(check->plugin, "auth.http.super_req", answer);
    check->has_key = false; /* may be one after all: nothing to remember */
    finish_auth(check);
}

static void on_auth_answer(void *context, const struct http_answer *answer)
{
    struct check *check = context;
    int err;

    verdict_read_auth(answer, &check->verdict);
    if (answer->err != 0 && answer->err != -ECANCELED)
        report_failure(check->plugin, "auth.http.auth_req", answer);
    if (check->verdict.kind != VERDICT_ALLOW || check->second_bytes == 0) {
        finish_auth(check);
        return;
    }
    err = ask(check, &check->plugin->super, check->text + check->first_bytes, check->second_bytes, on_super_answer);
    if (err < 0) {
        struct http_answer failure = not_sent(err);
        on_super_answer(check, &failure);
    }
}

enum emqc_verdict check_authenticate(void *context, struct emqc_event *event)
{
    struct auth_http *plugin = context;
    struct emqc_authenticate *authenticate = (struct emqc_authenticate *)event;
    struct fact_texts texts;
    struct form_facts facts;
    struct check *check;
    int err;

    facts_fill(plugin, authenticate->client, &texts, &facts);
    check = check_new(plugin, &plugin->auth, &plugin->super, &facts, 'a');
    if (check == NULL)
        return decide_auth(plugin, &(struct verdict){.kind = VERDICT_FAIL}, authenticate);
    if (check->has_key && cache_find(plugin->cache, &check->key, now_ms(), &check->verdict))
        return apply_auth(check, event);
    check->ticket = plugin->host->defer(event);
    if (check->ticket == NULL) {
        check_free(check);
        return EMQC_PENDING;
    }
    err = ask(check, &plugin->auth, check->text, check->first_bytes, on_auth_answer);
    if (err < 0) {
        struct http_answer failure = not_sent(err);
        on_auth_answer(check, &failure);
    }
    return EMQC_PENDING;
}

/* ---- client.check_acl ---- */

static enum emqc_verdict decide_topic(struct auth_http *plugin, const struct verdict *verdict,
                                      struct emqc_check_acl *event)
{
    bool is_failure = verdict->kind == VERDICT_FAIL || verdict->kind == VERDICT_BUSY;

    if (verdict->kind == VERDICT_IGNORE || (is_failure && plugin->ignores_failures)) {
        plugin->host->metric_add(plugin->acl_counters.ignore, 1);
        return EMQC_NEXT;
    }
    if (is_failure)
        atomic_store(&plugin->has_denied_topics, true);
    event->is_allowed = verdict->kind == VERDICT_ALLOW;
    plugin->host->metric_add(event->is_allowed ? plugin->acl_counters.success : plugin->acl_counters.failure, 1);
    return EMQC_STOP;
}

static enum emqc_verdict apply_topic(void *answer, struct emqc_event *event)
{
    struct check *check = answer;
    enum emqc_verdict verdict = EMQC_NEXT;

    if (event != NULL)
        verdict = decide_topic(check->plugin, &check->verdict, (struct emqc_check_acl *)event);
    check_free(check);
    return verdict;
}

static void on_topic_answer(void *context, const struct http_answer *answer)
{
    struct check *check = context;
    struct auth_http *plugin = check->plugin;

    check->verdict.kind = verdict_read(answer);
    if (answer->err != 0 && answer->err != -ECANCELED)
        report_failure(plugin, "auth.http.acl_req", answer);
    else if (answer->err == 0 && atomic_load(&plugin->has_denied_topics) &&
             atomic_exchange(&plugin->has_denied_topics, false))
        plugin->host->acl_changed(
            plugin->self); /* it answers again: what was denied for want of an answer is asked anew */
    remember(check);
    plugin->host->complete(check->ticket, apply_topic, check);
}

enum emqc_verdict check_topic(void *context, struct emqc_event *event)
{
    struct auth_http *plugin = context;
    struct emqc_check_acl *acl = (struct emqc_check_acl *)event;
    struct fact_texts texts;
    struct form_facts facts;
    struct check *check;
    int err;

    if (acl->client->user_name.len > 0 && acl->client->user_name.data[0] == '$')
        return decide_topic(plugin, &(struct verdict){.kind = VERDICT_IGNORE}, acl);
    facts_fill(plugin, acl->client, &texts, &facts);
    facts.values[FORM_PASSWORD] = facts.values[FORM_COMMON_NAME] = facts.values[FORM_SUBJECT] = (struct emqc_slice){0};
    facts.values[FORM_ACCESS] = text_slice(acl->access == EMQC_PUBLISH_ACCESS ? "2" : "1");
    facts.values[FORM_TOPIC] = acl->topic;
    check = check_new(plugin, &plugin->acl, NULL, &facts, 't');
    if (check == NULL)
        return decide_topic(plugin, &(struct verdict){.kind = VERDICT_FAIL}, acl);
    if (check->has_key && cache_find(plugin->cache, &check->key, now_ms(), &check->verdict))
        return apply_topic(check, event);
    check->ticket = plugin->host->defer(event);
    if (check->ticket == NULL) {
        check_free(check);
        return EMQC_PENDING;
    }
    err = ask(check, &plugin->acl, check->text, check->first_bytes, on_topic_answer);
    if (err < 0) {
        struct http_answer failure = not_sent(err);
        on_topic_answer(check, &failure);
    }
    return EMQC_PENDING;
}
