/*
 * auth_users_check: one CONNECT. Quick hashes and remembered logins are answered at once, slow hashes by a job.
 *
 *   worker   look the name up, is the login remembered? ── no ──► defer(), job_run()
 *   job      waited too long? else hash; remember; complete()
 *   worker   apply(): the result goes into the event
 */
#include "lib/auth_users_internal.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Who has waited so long for a job is refused without one: the broker gives up after hook.pending_timeout (5 s) anyway, and hashes for those who
 * have gone would keep all others waiting, too, for as long as clients come again. */
#define WAIT_MAX_MS 3000

struct check {
    struct auth_users *users;
    struct emqc_ticket *ticket;
    uint64_t start_ms;
    struct password_entry entry;
    struct password_tag tag;
    bool has_tag;
    int err; /* of password_entry_verify(); -EAGAIN: too busy */
    size_t password_len;
    char password[];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* `err`: what became of the check, as in struct check. */
static enum emqc_verdict decide(struct auth_users *users, struct emqc_authenticate *login, int err)
{
    switch (err) {
    case 0:
        login->result = EMQC_SUCCESS;
        login->reason = NULL;
        break;
    case -EACCES:
        login->result = EMQC_BAD_USER_NAME_OR_PASSWORD;
        login->reason = login->client->password.data == NULL ? "password_missing" : "password_error";
        break;
    case -EAGAIN:
        login->result = EMQC_SERVER_BUSY;
        login->reason = "too many logins wait for their password to be checked";
        break;
    default:
        login->result = EMQC_SERVER_UNAVAILABLE;
        login->reason = err == -EINVAL ? "the stored password entry is damaged" : "the password cannot be checked now";
        break;
    }
    login->is_anonymous = false;
    users->host->metric_add(err == 0 ? users->success : users->failure, 1);
    return EMQC_STOP;
}

static void check_free(struct check *check)
{
    OPENSSL_cleanse(check->password, check->password_len);
    free(check);
}

/* An emqc_apply_fn. Thread: the client's worker; any when nobody waits any more. */
static enum emqc_verdict check_apply(void *answer, struct emqc_event *event)
{
    struct check *check = answer;
    enum emqc_verdict verdict = EMQC_STOP;

    if (event != NULL)
        verdict = decide(check->users, (struct emqc_authenticate *)event, check->err);
    check_free(check);
    return verdict;
}

/* Thread: job. */
static void check_run(void *context)
{
    struct check *check = context;
    struct auth_users *users = check->users;

    if (now_ms() - check->start_ms > WAIT_MAX_MS)
        check->err = -EAGAIN;
    else
        check->err = password_entry_verify(&check->entry, (struct emqc_slice){check->password, check->password_len});
    if (check->err == 0 && check->has_tag)
        password_cache_add(users->cache, &check->tag);
    users->host->complete(check->ticket, check_apply, check);
}

static enum emqc_verdict check_later(struct auth_users *users, struct emqc_authenticate *login,
                                     const struct password_entry *entry, const struct password_tag *tag)
{
    struct emqc_slice password = login->client->password;
    struct check *check = malloc(sizeof(*check) + password.len);
    int err;

    if (check == NULL)
        return decide(users, login, -ENOMEM);
    *check = (struct check){.users = users, .start_ms = now_ms(), .entry = *entry, .has_tag = tag != NULL};
    if (tag != NULL)
        check->tag = *tag;
    check->password_len = password.len;
    memcpy(check->password, password.data, password.len);
    check->ticket = users->host->defer(&login->event);
    if (check->ticket == NULL) {
        users->host->metric_add(users->failure, 1);
        check_free(check);
        return EMQC_PENDING; /* the broker refuses */
    }
    err = users->host->job_run(users->self, check_run, NULL, check);
    if (err < 0) { /* else it is the job's, which may have completed it by now */
        check->err = err;
        users->host->complete(check->ticket, check_apply, check);
    }
    return EMQC_PENDING;
}

/* An entry was found: only a right password lets the client in from here. */
static enum emqc_verdict check(struct auth_users *users, struct emqc_authenticate *login, struct emqc_slice text)
{
    struct emqc_slice password = login->client->password;
    struct password_entry entry;
    struct password_tag tag;
    bool has_tag;

    if (password.data == NULL || password.len > PASSWORD_BYTES_MAX)
        return decide(users, login, -EACCES);
    if (password_entry_parse(text, &entry) < 0)
        return decide(users, login, -EINVAL);
    if (!password_entry_is_slow(&entry))
        return decide(users, login, password_entry_verify(&entry, password));
    has_tag = users->cache != NULL && password_cache_tag(users->cache, text, password, &tag);
    if (has_tag && password_cache_has(users->cache, &tag))
        return decide(users, login, 0);
    return check_later(users, login, &entry, has_tag ? &tag : NULL);
}

enum emqc_verdict auth_users_authenticate(void *context, struct emqc_event *event)
{
    struct auth_users *users = context;
    struct emqc_authenticate *login = (struct emqc_authenticate *)event;
    struct emqc_slice name = users->kind->name_of(login->client);
    char text[PASSWORD_ENTRY_BYTES];
    int len = name.len == 0 ? -ENOENT : users->host->table_get(users->table, name, text, sizeof(text));
    enum emqc_verdict verdict;

    if (len == -ENOENT) {
        users->host->metric_add(users->ignore, 1);
        return EMQC_NEXT;
    }
    if (len < 0 || (size_t)len > sizeof(text))
        return decide(users, login, -EINVAL);
    verdict = check(users, login, (struct emqc_slice){text, (size_t)len});
    OPENSSL_cleanse(text, (size_t)len); /* it may be a plain password */
    return verdict;
}
