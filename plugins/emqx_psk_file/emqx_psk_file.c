/*
 * emqx_psk_file: pre-shared keys of TLS clients from a file.
 *
 * The file is read when the plugin is loaded, and again, by a job, when it has changed. The keys that are in use are exchanged at once and in whole;
 * connections that there are do not notice.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <emqc/plugin.h>

#include "lib/psk_lines.h"
#include "lib/watched_file.h"

#define CHECK_INTERVAL_MS 1000

struct psk_file {
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    const char *delimiter;
    struct watched_file file;
    bool is_busy; /* control: a job looks at the file */
    pthread_rwlock_t
        lock; /* of the next one; held while a key is looked up and copied, and while tables are exchanged */
    struct psk_lines *lines;
};

static const struct emqc_key keys[] = {
    {.name = "psk.file.path",
     .type = EMQC_STRING,
     .shipped = "etc/psk.txt",
     .is_mandatory = true,
     .help =
         "File with a line for each client: its identity, the delimiter and its key, as text or as hexadecimal digits behind \"hex:\". It is read "
         "again when it changes."},
    {.name = "psk.file.delimiter",
     .type = EMQC_STRING,
     .shipped = ":",
     .is_mandatory = true,
     .help = "What stands between the identity and the key."},
};

static enum emqc_verdict on_psk_lookup(void *context, struct emqc_event *event)
{
    struct psk_file *psk = context;
    struct emqc_psk_lookup *lookup = (struct emqc_psk_lookup *)event;
    struct emqc_slice key;

    pthread_rwlock_rdlock(&psk->lock);
    key = psk_lines_find(psk->lines, lookup->identity);
    if (key.len > 0)
        memcpy(lookup->key, key.data, key.len); /* at most EMQC_PSK_KEY_MAX */
    pthread_rwlock_unlock(&psk->lock);
    if (key.len == 0)
        return EMQC_NEXT;
    lookup->key_len = key.len;
    return EMQC_STOP;
}

/* What the file says now. NULL, and the error. Thread: control in load(), job. */
static struct psk_lines *lines_read(struct psk_file *psk, int *out_err)
{
    const struct emqc_host *host = psk->host;
    struct psk_lines *lines = NULL;
    struct psk_report report = {.key_count = 0};
    char *text = NULL;
    size_t len = 0;
    int err = watched_file_read(&psk->file, PSK_LINES_BYTES_MAX, &text, &len);

    if (err == 0)
        err = psk_lines_new_take(text, len, psk->delimiter, &lines, &report);
    *out_err = err;
    if (err < 0)
        return NULL;
    for (uint32_t i = 0; i < report.problem_count && i < PSK_PROBLEMS_MAX; i++)
        host->log(psk->self, EMQC_LOG_WARNING, "%s, line %u: %s; it is left out", psk->file.path,
                  report.problems[i].line, report.problems[i].text);
    if (report.problem_count > PSK_PROBLEMS_MAX)
        host->log(psk->self, EMQC_LOG_WARNING, "%s: %u more lines are wrong and left out", psk->file.path,
                  report.problem_count - PSK_PROBLEMS_MAX);
    host->log(psk->self, EMQC_LOG_NOTICE, "%s: identities read: %u", psk->file.path, report.key_count);
    return lines;
}

static void reload_work(void *context)
{
    struct psk_file *psk = context;
    struct psk_lines *lines, *old;
    int err;

    if (!watched_file_changed(&psk->file))
        return;
    lines = lines_read(psk, &err);
    if (lines == NULL) {
        psk->host->log(psk->self, EMQC_LOG_WARNING, "%s: %s; the keys read before stay in use", psk->file.path,
                       strerror(-err));
        return;
    }
    pthread_rwlock_wrlock(&psk->lock);
    old = psk->lines;
    psk->lines = lines;
    pthread_rwlock_unlock(&psk->lock);
    psk_lines_free(old);
}

static void reload_done(void *context)
{
    struct psk_file *psk = context;

    psk->is_busy = false;
}

static void on_tick(void *context)
{
    struct psk_file *psk = context;

    if (!psk->is_busy)
        psk->is_busy = psk->host->job_run(psk->self, reload_work, reload_done, psk) == 0;
}

static void psk_unload(void *state)
{
    struct psk_file *psk = state;

    psk_lines_free(psk->lines);
    pthread_rwlock_destroy(&psk->lock);
    free(psk);
}

/* Gives a negative errno once it has been said why. */
static int psk_start(struct psk_file *psk)
{
    const struct emqc_host *host = psk->host;
    struct emqc_hook hook = {.size = sizeof(hook), .point = EMQC_TLS_PSK_LOOKUP, .run = on_psk_lookup, .context = psk};
    const char *path = host->config_string(psk->self, "psk.file.path", NULL, NULL);
    struct emqc_timer *timer;
    int err = 0;

    psk->delimiter = host->config_string(psk->self, "psk.file.delimiter", NULL, NULL);
    if (psk->delimiter[0] == '\0')
        return host->config_wrong(psk->self, "psk.file.delimiter", NULL, NULL, "must have a character");
    watched_file_init(&psk->file, path);
    psk->lines = lines_read(psk, &err);
    if (psk->lines == NULL)
        return host->config_wrong(psk->self, "psk.file.path", NULL, NULL, "must be a file that can be read: %s",
                                  strerror(-err));
    err = host->timer_start(psk->self, CHECK_INTERVAL_MS, CHECK_INTERVAL_MS, on_tick, psk, &timer);
    if (err == 0)
        err = host->hook_add(psk->self, &hook); /* last: from here on clients are asked about */
    return err == 0 ? 0 : host->fail(psk->self, "%s", strerror(-err));
}

static int psk_load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    struct psk_file *psk = calloc(1, sizeof(*psk));
    int err;

    if (psk == NULL)
        return host->fail(self, "%s", strerror(ENOMEM));
    psk->host = host;
    psk->self = self;
    pthread_rwlock_init(&psk->lock, NULL);
    err = psk_start(psk);
    if (err < 0) {
        psk_unload(psk);
        return err;
    }
    *out_state = psk;
    return 0;
}

EMQC_PLUGIN = {
    EMQC_PLUGIN_HEAD,
    .name = "emqx_psk_file",
    .version = "1.0.0",
    .description = "Pre-shared keys of TLS clients from a file",
    .type = EMQC_AUTH,
    .keys = keys,
    .key_count = sizeof(keys) / sizeof(keys[0]),
    .load = psk_load,
    .unload = psk_unload,
};
