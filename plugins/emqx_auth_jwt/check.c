/* check: what a token must be to let a client in, now or later. */
#include "auth_jwt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Texts that answers point at, when they are none of jwt_result_text(). */
#define REASON_JWKS_UNAVAILABLE "jwks_unavailable"
#define REASON_BUSY "jwt_too_many_checks"

/* A check that takes longer is a job's: about what a TLS handshake costs a worker. Handing it over and back costs some 20 us. */
#define WORKER_COST_US_MAX 250u

struct answer answer_of(enum jwt_result result)
{
    int code = result == JWT_OK ? EMQC_SUCCESS : result == JWT_NO_MEMORY ? EMQC_SERVER_BUSY : EMQC_NOT_AUTHORIZED;

    return (struct answer){code, jwt_result_text(result)};
}

void answer_apply(const struct auth_jwt *auth, const struct answer *answer, struct emqc_authenticate *event)
{
    bool is_good = answer->code == EMQC_SUCCESS;

    event->result = answer->code;
    event->is_anonymous = false;
    if (!is_good)
        event->reason = answer->reason;
    auth->host->metric_add(is_good ? auth->success : auth->failure, 1);
}

static enum jwt_result rules_check(const struct auth_jwt *auth, const struct jwt_claims *claims,
                                   const struct claimant *who)
{
    for (size_t i = 0; i < auth->rule_count; i++) {
        const struct claim_rule *rule = &auth->rules[i];
        struct emqc_slice expected = rule->value == CLAIM_USER_NAME   ? who->user_name
                                     : rule->value == CLAIM_CLIENT_ID ? who->client_id
                                                                      : rule->literal;
        if (!jwt_claims_match(claims, rule->name, expected, rule->value == CLAIM_LITERAL))
            return JWT_CLAIM_DIFFERS;
    }
    return JWT_OK;
}

static enum jwt_result claims_check(const struct auth_jwt *auth, const struct jwt *jwt, const struct claimant *who)
{
    struct jwt_claims *claims = NULL;
    enum jwt_result result = jwt_claims_new(jwt, &claims);

    if (result == JWT_OK)
        result = jwt_claims_check_time(claims, (int64_t)time(NULL), auth->leeway_s);
    if (result == JWT_OK)
        result = rules_check(auth, claims, who);
    jwt_claims_free(claims);
    return result;
}

/* The keys of this moment; trust_fini() gives them back. */
static void trust_init(struct auth_jwt *auth, struct jwt_trust *trust, uint64_t *out_generation)
{
    *trust = (struct jwt_trust){.secret = {auth->secret, auth->secret_len}};
    pthread_mutex_lock(&auth->lock);
    trust->keys[0] = jwt_keys_ref(auth->file_keys);
    trust->keys[1] = jwt_keys_ref(auth->jwks_keys);
    *out_generation = auth->jwks.generation;
    pthread_mutex_unlock(&auth->lock);
}

static void trust_fini(struct jwt_trust *trust)
{
    jwt_keys_unref(trust->keys[0]);
    jwt_keys_unref(trust->keys[1]);
}

bool token_is_slow(struct auth_jwt *auth, const struct jwt *jwt)
{
    struct jwt_trust trust;
    uint64_t generation;
    uint32_t cost_us;

    trust_init(auth, &trust, &generation);
    cost_us = jwt_verify_cost_us(jwt, &trust);
    trust_fini(&trust);
    return cost_us > WORKER_COST_US_MAX;
}

static enum jwt_result judge(struct auth_jwt *auth, const struct jwt *jwt, const struct claimant *who,
                             uint64_t *out_generation)
{
    struct jwt_trust trust;
    enum jwt_result result;

    trust_init(auth, &trust, out_generation);
    result = jwt_verify(jwt, &trust);
    trust_fini(&trust);
    return result == JWT_OK ? claims_check(auth, jwt, who) : result;
}

bool token_check(struct auth_jwt *auth, const struct jwt *jwt, const struct claimant *who, bool may_wait,
                 struct answer *out_answer)
{
    enum jwt_result result;
    enum jwks_help help;
    uint64_t generation;
    bool has_failed = false;

    /* A second time if keys came in between. */
    for (int i = 0; i < 2; i++) {
        result = judge(auth, jwt, who, &generation);
        if (result != JWT_UNKNOWN_KEY && result != JWT_NO_RSA_KEY && result != JWT_NO_EC_KEY) {
            has_failed = false;
            break;
        }
        help = jwks_help(auth, generation, &has_failed);
        if (help == JWKS_FETCH && may_wait)
            return false;
        if (help != JWKS_NEWER)
            break;
    }
    *out_answer = has_failed ? (struct answer){EMQC_SERVER_UNAVAILABLE, REASON_JWKS_UNAVAILABLE} : answer_of(result);
    return true;
}

/* ---- Later ---- */

/* The next part of a check's text; what is absent stays so. */
static struct emqc_slice text_add(struct check *check, size_t *at, struct emqc_slice text)
{
    char *copy = check->text + *at;

    if (text.data == NULL)
        return text;
    memcpy(copy, text.data, text.len);
    *at += text.len;
    return (struct emqc_slice){copy, text.len};
}

struct check *check_new(struct auth_jwt *auth, const struct claimant *who)
{
    size_t text_len = who->token.len + who->user_name.len + who->client_id.len, at = 0;
    struct check *check = malloc(sizeof(*check) + text_len + 1);

    if (check == NULL)
        return NULL;
    *check = (struct check){.auth = auth, .text_len = text_len};
    check->who.token = text_add(check, &at, who->token);
    check->who.user_name = text_add(check, &at, who->user_name);
    check->who.client_id = text_add(check, &at, who->client_id);
    return check;
}

void check_free(struct check *check)
{
    explicit_bzero(check->text, check->text_len);
    free(check);
}

static enum emqc_verdict check_apply(void *answer, struct emqc_event *event)
{
    struct check *check = answer;

    if (event != NULL)
        answer_apply(check->auth, &check->answer, (struct emqc_authenticate *)event);
    check_free(check);
    return EMQC_STOP;
}

void check_finish_take(struct check *check, struct answer answer)
{
    check->answer = answer;
    check->auth->host->complete(check->ticket, check_apply, check);
}

void check_run_take(struct check *check, bool may_wait)
{
    struct auth_jwt *auth = check->auth;
    struct answer answer;
    struct jwt jwt;
    enum jwt_result result = jwt_parse(check->who.token, &jwt);

    if (result != JWT_OK)
        check_finish_take(check, answer_of(result));
    else if (token_check(auth, &jwt, &check->who, may_wait, &answer))
        check_finish_take(check, answer);
    else
        jwks_wait_take(auth, check);
}

static void check_work(void *context)
{
    check_run_take(context, true);
}

void check_start_take(struct check *check)
{
    struct auth_jwt *auth = check->auth;

    if (auth->host->job_run(auth->self, check_work, NULL, check) < 0)
        check_finish_take(check, (struct answer){EMQC_SERVER_BUSY, REASON_BUSY});
}
