/*
 * auth_jwt: what the files of emqx_auth_jwt share.
 *
 * A check begins on the client's worker (emqx_auth_jwt.c). What takes long, or has to wait for keys from a server, becomes a `struct check`,
 * which owns copies of what it needs and ends with check_finish(), on a job thread.
 */
#ifndef EMQX_AUTH_JWT_AUTH_JWT_H
#define EMQX_AUTH_JWT_AUTH_JWT_H

#include <pthread.h>

#include <emqc/plugin.h>

#include "lib/jwt.h"
#include "lib/watched_file.h"

enum claim_value { CLAIM_LITERAL, CLAIM_USER_NAME, CLAIM_CLIENT_ID };

/* auth.jwt.verify_claims.$name */
struct claim_rule {
    const char *name;
    enum claim_value value;
    struct emqc_slice literal;
};

/* The file of auth.jwt.pubkey. */
struct pubkey {
    const char *path; /* NULL: none */
    struct watched_file file;
    bool is_busy; /* control: a job looks at it */
};

/* The keys of auth.jwt.jwks. What stands below the line is guarded by auth_jwt.lock. */
struct jwks {
    const char *url; /* NULL: none */
    const char *ca_file;
    int64_t refresh_interval_ms;
    int64_t retry_interval_ms; /* at least so long between the starts of two fetches */
    int64_t timeout_ms;
    /* ---- */
    uint64_t generation; /* of the keys; 0: there were none yet */
    int64_t started_ms;  /* the last fetch */
    int64_t fetched_ms;  /* the last one that brought keys */
    bool is_fetching;
    bool has_failed; /* the last fetch */
    size_t waiter_count;
    struct check *first_waiter;
};

struct auth_jwt {
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    struct emqc_metric *success, *failure, *ignore;
    bool from_user_name;
    char *secret; /* NULL: none */
    size_t secret_len;
    int64_t leeway_s;
    struct claim_rule *rules;
    size_t rule_count;
    struct pubkey pubkey;
    struct jwks jwks;
    pthread_mutex_t lock;       /* held for some instructions only: the next two and the lower half of `jwks` */
    struct jwt_keys *file_keys; /* NULL: none */
    struct jwt_keys *jwks_keys;
};

/* Who wants to come in; lent. */
struct claimant {
    struct emqc_slice token;
    struct emqc_slice user_name;
    struct emqc_slice client_id;
};

struct answer {
    int code; /* enum emqc_reason */
    const char *reason;
};

/* A check that ends later. */
struct check {
    struct auth_jwt *auth;
    struct check *next;
    struct emqc_ticket *ticket;
    struct claimant who; /* points into `text` */
    struct answer answer;
    size_t text_len;
    char text[];
};

/* ---- check.c ---- */

/* Checks a token. `jwt` is what its header says. False, and no answer: the keys of the JWK set must be fetched first, which `may_wait` has
 * allowed. Thread: any. */
bool token_check(struct auth_jwt *auth, const struct jwt *jwt, const struct claimant *who, bool may_wait,
                 struct answer *out_answer);

/* Would this hold up a worker for long? Thread: any. */
bool token_is_slow(struct auth_jwt *auth, const struct jwt *jwt);

/* The answer that `result` is. */
struct answer answer_of(enum jwt_result result);

/* Writes the answer into the event, and counts it. Thread: the event's. */
void answer_apply(const struct auth_jwt *auth, const struct answer *answer, struct emqc_authenticate *event);

/* Copies. NULL when memory is short. */
struct check *check_new(struct auth_jwt *auth, const struct claimant *who);
void check_free(struct check *check);

/* Gives the answer and takes the check. Thread: any. */
void check_finish_take(struct check *check, struct answer answer);

/* Checks anew and gives the answer or, if `may_wait`, has it wait for keys. Takes the check. Thread: job. */
void check_run_take(struct check *check, bool may_wait);

/* Has a job do that. Thread: any. */
void check_start_take(struct check *check);

/* ---- jwks.c ---- */

/* Readies libcurl. False: it cannot be used. Thread: control. */
bool jwks_library_init(void);
void jwks_library_fini(void);

enum jwks_help {
    JWKS_NO_HELP, /* a fetch would be the second within retry_interval, or there is no URL */
    JWKS_FETCH,   /* a fetch is under way or may begin */
    JWKS_NEWER,   /* there are newer keys than those of `generation` */
};

/* Could keys of the set help where none was found? `*out_has_failed`: the last fetch brought nothing. Thread: any. */
enum jwks_help jwks_help(struct auth_jwt *auth, uint64_t generation, bool *out_has_failed);

/* Has the check wait for a fetch, which begins if there is none. If it need not or must not, it is answered here. Takes it. Thread: any. */
void jwks_wait_take(struct auth_jwt *auth, struct check *check);

/* Fetches if it is time to. Thread: control. */
void jwks_tick(void *context);

/* ---- pubkey.c ---- */

/* Reads the keys. -EINVAL, after emqc_host.config_wrong(). Thread: control, load(). */
int pubkey_load(struct auth_jwt *auth);

/* Has a job read the file if it has changed. What cannot be read is reported once and changes nothing. Thread: control. */
void pubkey_tick(void *context);
#define PUBKEY_CHECK_INTERVAL_MS 1000

#endif
