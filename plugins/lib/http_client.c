/*
 * http_client: see http_client.h.
 *
 * A request is in one place at a time:
 *
 *   sent ──► incoming ──► waiting ──► a transfer ──► answered
 *            (locked)        ▲            │ error, tries left
 *                            └─ pausing ◄─┘
 *
 * `incoming` and the counts are shared and stand under the lock; all else belongs to the thread. Requests that pause lie in lists by the number
 * of tries they have had: within one list all pause equally long, so the first is due first.
 */
#include "lib/http_client_internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS_MAX 60000 /* looks again then, which is not needed */

struct job_queue {
    struct http_job *first;
    struct http_job *last;
};

struct http_client {
    struct http_client_options options; /* the texts are in `texts` */
    char *texts[4];
    CURLM *multi;
    struct curl_slist *headers;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* of these; nothing is called under it but curl_multi_wakeup() */
    struct job_queue incoming;
    uint32_t job_count;
    size_t job_bytes;
    bool is_closing;

    /* The thread's. */
    struct job_queue waiting;
    struct job_queue pausing[HTTP_RETRIES_MAX + 1]; /* by tries so far */
    struct http_transfer *transfers;                /* all, at most connections_max */
    struct http_transfer *idle;
    uint32_t transfer_count;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void queue_push(struct job_queue *queue, struct http_job *job)
{
    job->next = NULL;
    if (queue->first == NULL)
        queue->first = job;
    else
        queue->last->next = job;
    queue->last = job;
}

static struct http_job *queue_pop(struct job_queue *queue)
{
    struct http_job *job = queue->first;

    if (job != NULL)
        queue->first = job->next;
    return job;
}

/* ---- what the thread does ---- */

static void job_answer(struct http_client *client, struct http_job *job, const struct http_answer *answer)
{
    pthread_mutex_lock(&client->lock);
    client->job_count--;
    client->job_bytes -= job->bytes;
    pthread_mutex_unlock(&client->lock);
    job->answered(job->context, answer);
    explicit_bzero(job->url, job->bytes - sizeof(*job)); /* passwords were in it */
    free(job);
}

static void job_fail(struct http_client *client, struct http_job *job, int err, const char *text)
{
    job_answer(client, job, &(struct http_answer){.err = err, .body = "", .error_text = text});
}

static uint64_t pause_ms(const struct http_client *client, uint32_t tries)
{
    double pause = client->options.retry_interval_ms;

    for (uint32_t i = 1; i < tries; i++)
        pause *= client->options.retry_backoff;
    return pause < 86400e3 ? (uint64_t)pause : 86400000u; /* a day */
}

/* A try has ended: the answer, or another try. */
static void job_tried(struct http_client *client, struct http_job *job, const struct http_answer *answer)
{
    uint64_t due_ms = now_ms() + pause_ms(client, job->tries);

    if (!http_error_is_transient(answer->err) || job->tries > client->options.retries_max ||
        due_ms >= job->deadline_ms) {
        job_answer(client, job, answer);
        return;
    }
    job->due_ms = due_ms;
    queue_push(&client->pausing[job->tries], job);
}

static struct http_transfer *transfer_take(struct http_client *client)
{
    struct http_transfer *transfer = client->idle;

    if (transfer != NULL) {
        client->idle = transfer->next_idle;
    } else {
        transfer = http_transfer_new(&client->options, client->headers);
        if (transfer == NULL)
            return NULL;
        transfer->next = client->transfers;
        client->transfers = transfer;
        client->transfer_count++;
    }
    return transfer;
}

static void transfer_put(struct http_client *client, struct http_transfer *transfer)
{
    transfer->job = NULL;
    transfer->next_idle = client->idle;
    client->idle = transfer;
}

static void job_try(struct http_client *client, struct http_job *job, uint64_t now)
{
    struct http_transfer *transfer = transfer_take(client);

    if (transfer == NULL) {
        job_fail(client, job, -ENOMEM, "memory is short");
        return;
    }
    job->tries++;
    http_transfer_set(transfer, job, job->deadline_ms == UINT64_MAX ? 0 : job->deadline_ms - now);
    if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK) {
        transfer_put(client, transfer);
        job_fail(client, job, -ENOMEM, "memory is short");
    }
}

static bool can_try(const struct http_client *client)
{
    return client->idle != NULL || client->transfer_count < client->options.connections_max;
}

/* Begins what may begin now, and ends what has waited too long. Of those that wait only the first is looked at: one behind it that has less time is
 * found when its turn comes, which is when a try ends. */
static void start_jobs(struct http_client *client)
{
    uint64_t now = now_ms();

    for (uint32_t i = 1; i <= client->options.retries_max; i++) {
        while (client->pausing[i].first != NULL && client->pausing[i].first->due_ms <= now)
            queue_push(&client->waiting, queue_pop(&client->pausing[i]));
    }
    while (client->waiting.first != NULL) {
        if (client->waiting.first->deadline_ms <= now)
            job_fail(client, queue_pop(&client->waiting), -ETIMEDOUT, "no connection was free in time");
        else if (can_try(client))
            job_try(client, queue_pop(&client->waiting), now);
        else
            break;
    }
}

/* Handles what libcurl has finished. Gives whether there was something. */
static bool finish_transfers(struct http_client *client)
{
    CURLMsg *message;
    int left;
    bool any = false;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode result = message->data.result;
        struct http_transfer *transfer = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        any = true;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        curl_multi_remove_handle(client->multi, transfer->easy);
        struct http_answer answer = http_transfer_answer(transfer, result);
        job_tried(client, transfer->job, &answer);
        transfer_put(client, transfer);
    }
    return any;
}

/* Until the next retry is due, or the first that waits has waited too long. */
static int poll_ms(const struct http_client *client)
{
    uint64_t now = now_ms(), until = now + POLL_MS_MAX;

    for (uint32_t i = 1; i <= client->options.retries_max; i++) {
        if (client->pausing[i].first != NULL && client->pausing[i].first->due_ms < until)
            until = client->pausing[i].first->due_ms;
    }
    if (client->waiting.first != NULL && client->waiting.first->deadline_ms < until)
        until = client->waiting.first->deadline_ms;
    return until > now ? (int)(until - now) : 0;
}

/* Takes over what was sent. False: the client is being closed. */
static bool take_incoming(struct http_client *client)
{
    struct job_queue incoming;
    bool is_closing;

    pthread_mutex_lock(&client->lock);
    incoming = client->incoming;
    client->incoming.first = NULL;
    is_closing = client->is_closing;
    pthread_mutex_unlock(&client->lock);
    if (incoming.first != NULL) {
        if (client->waiting.first == NULL)
            client->waiting.first = incoming.first;
        else
            client->waiting.last->next = incoming.first;
        client->waiting.last = incoming.last;
    }
    return !is_closing;
}

static void cancel_all(struct http_client *client)
{
    static const char text[] = "the client is closed";

    for (struct http_transfer *transfer = client->transfers; transfer != NULL; transfer = transfer->next) {
        if (transfer->job == NULL)
            continue;
        curl_multi_remove_handle(client->multi, transfer->easy);
        job_fail(client, transfer->job, -ECANCELED, text);
        transfer->job = NULL;
    }
    for (uint32_t i = 1; i <= client->options.retries_max; i++) {
        while (client->pausing[i].first != NULL)
            job_fail(client, queue_pop(&client->pausing[i]), -ECANCELED, text);
    }
    while (client->waiting.first != NULL)
        job_fail(client, queue_pop(&client->waiting), -ECANCELED, text);
}

static void *run(void *argument)
{
    struct http_client *client = argument;
    int running;

    while (take_incoming(client)) {
        do {
            start_jobs(client);
            curl_multi_perform(client->multi, &running);
        } while (finish_transfers(client) && client->waiting.first != NULL);
        curl_multi_poll(client->multi, NULL, 0, poll_ms(client), NULL);
    }
    cancel_all(client);
    return NULL;
}

/* ---- for everybody ---- */

static size_t request_url_bytes(const struct http_request *request)
{
    return strlen(request->url) + (request->query == NULL ? 0 : 1 + request->query_bytes) + 1;
}

static struct http_job *job_new(const struct http_request *request)
{
    size_t url_bytes = request_url_bytes(request);
    size_t body_bytes = request->body == NULL ? 0 : request->body_bytes;
    size_t bytes = sizeof(struct http_job) + url_bytes + body_bytes + 1;
    struct http_job *job = malloc(bytes);
    char *body;

    if (job == NULL)
        return NULL;
    *job = (struct http_job){
        .answered = request->answered,
        .context = request->context,
        .deadline_ms = request->timeout_ms == 0 ? UINT64_MAX : now_ms() + request->timeout_ms,
        .bytes = bytes,
        .has_body = request->body != NULL,
        .body_bytes = body_bytes,
    };
    size_t len = strlen(request->url);
    memcpy(job->url, request->url, len);
    if (request->query != NULL) {
        job->url[len++] = strchr(request->url, '?') == NULL ? '?' : '&';
        memcpy(job->url + len, request->query, request->query_bytes);
        len += request->query_bytes;
    }
    job->url[len] = '\0';
    body = job->url + url_bytes;
    if (request->body != NULL)
        memcpy(body, request->body, body_bytes);
    body[body_bytes] = '\0';
    job->body = body;
    return job;
}

int http_client_send(struct http_client *client, const struct http_request *request)
{
    struct http_job *job = job_new(request);
    bool was_empty = false;
    int err = 0;

    if (job == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&client->lock);
    if (client->is_closing) {
        err = -ECANCELED;
    } else if (client->job_count >= client->options.queue_max ||
               job->bytes > client->options.queue_bytes_max - client->job_bytes) {
        err = -EAGAIN;
    } else {
        was_empty = client->incoming.first == NULL;
        queue_push(&client->incoming, job);
        client->job_count++;
        client->job_bytes += job->bytes;
    }
    pthread_mutex_unlock(&client->lock);
    if (err != 0) {
        explicit_bzero(job->url, job->bytes - sizeof(*job));
        free(job);
        return err;
    }
    if (was_empty) /* else it was woken for those and has not taken them yet */
        curl_multi_wakeup(client->multi);
    return 0;
}

/* Keeps libcurl in memory when the plugin that brought it is closed: threads of its resolver may still run in it, and the libraries that it brings along
 * are not made for being loaded again and again. */
static void pin_libcurl(void)
{
    Dl_info info;

    if (dladdr((void *)(uintptr_t)curl_global_init, &info) != 0 && info.dli_fname != NULL)
        (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

static int start_thread(struct http_client *client)
{
    sigset_t all, before;
    int err;

    /* Signals are for others; SIGPIPE of a connection that is gone as well, which libcurl leaves to us. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&client->thread, NULL, run, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0)
        return -err;
    client->has_thread = true;
    pthread_setname_np(client->thread, "http_client");
    return 0;
}

static int copy_text(struct http_client *client, size_t index, const char *text, const char **out_text)
{
    if (text == NULL)
        return 0;
    client->texts[index] = strdup(text);
    *out_text = client->texts[index];
    return client->texts[index] == NULL ? -ENOMEM : 0;
}

static int copy_options(struct http_client *client, const struct http_client_options *options)
{
    client->options = *options;
    client->options.content_type = NULL;
    if (copy_text(client, 0, options->ca_file, &client->options.ca_file) < 0 ||
        copy_text(client, 1, options->certificate_file, &client->options.certificate_file) < 0 ||
        copy_text(client, 2, options->key_file, &client->options.key_file) < 0)
        return -ENOMEM;
    /* No "Expect: 100-continue": a long request would wait for a server that does not know it. */
    client->headers = curl_slist_append(NULL, "Expect:");
    if (client->headers == NULL)
        return -ENOMEM;
    if (options->content_type == NULL)
        return 0;
    if (asprintf(&client->texts[3], "Content-Type: %s", options->content_type) < 0) {
        client->texts[3] = NULL; /* it is not said what is in it then */
        return -ENOMEM;
    }
    return curl_slist_append(client->headers, client->texts[3]) == NULL ? -ENOMEM : 0;
}

static bool options_are_valid(const struct http_client_options *options)
{
    return options->connections_max > 0 && options->queue_max > 0 && options->queue_bytes_max > 0 &&
           options->retries_max <= HTTP_RETRIES_MAX && options->retry_backoff >= 1;
}

int http_client_open(const struct http_client_options *options, struct http_client **out_client)
{
    struct http_client *client;
    int err = -ENOMEM;

    if (!options_are_valid(options))
        return -EINVAL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return -EIO;
    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        curl_global_cleanup();
        return -ENOMEM;
    }
    pthread_mutex_init(&client->lock, NULL);
    pin_libcurl();
    client->multi = curl_multi_init();
    if (client->multi == NULL || copy_options(client, options) < 0)
        goto fail;
    curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)options->connections_max);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)options->connections_per_host_max);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)options->connections_max);
    err = start_thread(client);
    if (err < 0)
        goto fail;
    *out_client = client;
    return 0;
fail:
    http_client_close(client);
    return err;
}

void http_client_close(struct http_client *client)
{
    struct http_transfer *transfer;

    if (client == NULL)
        return;
    if (client->has_thread) {
        pthread_mutex_lock(&client->lock);
        client->is_closing = true;
        pthread_mutex_unlock(&client->lock);
        curl_multi_wakeup(client->multi);
        pthread_join(client->thread, NULL);
    }
    while ((transfer = client->transfers) != NULL) {
        client->transfers = transfer->next;
        http_transfer_free(transfer);
    }
    if (client->multi != NULL)
        curl_multi_cleanup(client->multi);
    curl_slist_free_all(client->headers);
    for (size_t i = 0; i < sizeof(client->texts) / sizeof(client->texts[0]); i++)
        free(client->texts[i]);
    pthread_mutex_destroy(&client->lock);
    free(client);
    curl_global_cleanup();
}

const char *http_url_check(const char *url)
{
    CURLU *handle = curl_url();
    char *scheme = NULL;
    const char *wrong = NULL;

    if (handle == NULL)
        return "memory is short";
    if (curl_url_set(handle, CURLUPART_URL, url, 0) != CURLUE_OK)
        wrong = "it is not a whole URL, such as http://127.0.0.1:8991/mqtt/auth";
    else if (curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
             (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        wrong = "it should begin with http:// or https://";
    curl_free(scheme);
    curl_url_cleanup(handle);
    return wrong;
}
