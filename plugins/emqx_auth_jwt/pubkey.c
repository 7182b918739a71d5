/* pubkey: the keys of a PEM file, and newer ones when it changes. */
#include "auth_jwt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256u * 1024) /* bytes; a longer file is refused */

/* The keys of the file. NULL: -EINVAL or another error, and why. */
static struct jwt_keys *keys_read(struct pubkey *pubkey, int *out_err, const char **out_why)
{
    struct jwt_keys *keys = jwt_keys_new();
    char *text = NULL;
    size_t len = 0;
    int err = keys == NULL ? -ENOMEM : watched_file_read(&pubkey->file, FILE_MAX, &text, &len);

    *out_why = strerror(-err);
    if (err == 0) {
        err = jwt_keys_add_pem(keys, (struct emqc_slice){text, len}, out_why);
        if (err == -ENOMEM)
            *out_why = strerror(ENOMEM);
    }
    free(text);
    *out_err = err;
    if (err == 0)
        return keys;
    jwt_keys_unref(keys);
    return NULL;
}

int pubkey_load(struct auth_jwt *auth)
{
    struct pubkey *pubkey = &auth->pubkey;
    const char *why;
    int err;

    watched_file_init(&pubkey->file, pubkey->path);
    auth->file_keys = keys_read(pubkey, &err, &why);
    if (auth->file_keys == NULL)
        return auth->host->config_wrong(auth->self, "auth.jwt.pubkey", NULL, NULL, "must be a PEM file: %s", why);
    return 0;
}

static void reload_work(void *context)
{
    struct auth_jwt *auth = context;
    struct pubkey *pubkey = &auth->pubkey;
    struct jwt_keys *keys, *old;
    const char *why;
    int err;

    if (!watched_file_changed(&pubkey->file))
        return;
    keys = keys_read(pubkey, &err, &why);
    if (keys == NULL) {
        auth->host->log(auth->self, EMQC_LOG_WARNING, "auth.jwt.pubkey: %s: %s; the keys read before stay in use",
                        pubkey->path, why);
        return;
    }
    pthread_mutex_lock(&auth->lock);
    old = auth->file_keys;
    auth->file_keys = keys;
    pthread_mutex_unlock(&auth->lock);
    jwt_keys_unref(old);
    auth->host->log(auth->self, EMQC_LOG_NOTICE, "auth.jwt.pubkey: %s has changed and was read again", pubkey->path);
}

static void reload_done(void *context)
{
    struct auth_jwt *auth = context;

    auth->pubkey.is_busy = false;
}

void pubkey_tick(void *context)
{
    struct auth_jwt *auth = context;

    if (!auth->pubkey.is_busy)
        auth->pubkey.is_busy = auth->host->job_run(auth->self, reload_work, reload_done, auth) == 0;
}
