/*
 * ctl_store: `store check|compact|stats`. The work blocks, so it is a job of libuv's pool; what it prints comes back through an async
 * handle as it is printed.
 *
 *   control thread ──► job: store_check(), its FILE ──► pending output ──uv_async──► control thread: ctl_print()
 */
#include "mgmt/ctl_commands.h"
#include "store/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* The client gives up after a minute of silence: a sign of life this often. */
#define SIGN_OF_LIFE_MS 20000

struct store_verb {
    const char *word;
    int (*run)(struct store *store, FILE *out);
    const char *done; /* said at the end; NULL: nothing */
    const char *failed;
};

/* One running command. */
struct store_call {
    struct ctl_request *request;
    const struct store_verb *verb;
    struct store *store;
    uv_work_t work;
    uv_async_t output;
    uv_timer_t timer;
    uint32_t handles; /* open ones */
    int result;
    pthread_mutex_t lock;
    char *text; /* printed by the job and not yet handed on; under `lock`. A few lines for each table. */
    size_t length;
};

static bool at_work; /* check and compact, one at a time. Thread: control. */

/* ---- what the job prints ---- */

static ssize_t keep_output(void *cookie, const char *data, size_t length)
{
    struct store_call *call = cookie;
    char *text;

    pthread_mutex_lock(&call->lock);
    text = realloc(call->text, call->length + length);
    if (text != NULL) {
        memcpy(text + call->length, data, length);
        call->text = text;
        call->length += length;
    }
    pthread_mutex_unlock(&call->lock);
    if (text == NULL)
        return 0; /* an error of the stream */
    uv_async_send(&call->output);
    return (ssize_t)length;
}

static void hand_on(struct store_call *call)
{
    char *text;
    size_t length;

    pthread_mutex_lock(&call->lock);
    text = call->text;
    length = call->length;
    call->text = NULL;
    call->length = 0;
    pthread_mutex_unlock(&call->lock);
    if (length > 0)
        ctl_print(call->request, "%.*s", (int)length, text);
    free(text);
}

static void on_output(uv_async_t *handle)
{
    hand_on(handle->data);
}

static void on_timer(uv_timer_t *handle)
{
    struct store_call *call = handle->data;

    ctl_printerr(call->request, "... still at work\n");
}

/* ---- the job ---- */

static void run_job(uv_work_t *work)
{
    struct store_call *call = work->data;
    cookie_io_functions_t functions = {.write = keep_output};
    FILE *out = fopencookie(call, "w", functions);

    if (out == NULL) {
        call->result = -ENOMEM;
        return;
    }
    call->result = call->verb->run(call->store, out);
    fclose(out);
}

static void on_closed(uv_handle_t *handle)
{
    struct store_call *call = handle->data;

    if (--call->handles > 0)
        return;
    pthread_mutex_destroy(&call->lock);
    free(call->text);
    free(call);
}

static void close_handles(struct store_call *call)
{
    uv_close((uv_handle_t *)&call->output, on_closed);
    uv_close((uv_handle_t *)&call->timer, on_closed);
}

static void on_done(uv_work_t *work, int status)
{
    struct store_call *call = work->data;
    bool ok = status == 0 && call->result == 0;

    at_work = false;
    hand_on(call);
    if (ok && call->verb->done != NULL)
        ctl_print(call->request, "%s\n", call->verb->done);
    else if (!ok)
        ctl_printerr(call->request, "%s\n", call->verb->failed);
    ctl_finish(call->request, ok ? CTL_OK : CTL_FAILED);
    close_handles(call);
}

static void start(struct ctl_request *request, const struct store_verb *verb)
{
    const struct broker_view *view = ctl_context(request);
    struct store_call *call = calloc(1, sizeof(*call));

    if (call == NULL) {
        ctl_printerr(request, "memory is short\n");
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    *call = (struct store_call){.request = request, .verb = verb, .store = view->store, .handles = 2};
    call->work.data = call->output.data = call->timer.data = call;
    pthread_mutex_init(&call->lock, NULL);
    uv_timer_init(view->loop, &call->timer);
    if (uv_async_init(view->loop, &call->output, on_output) < 0) {
        call->handles = 1; /* only the timer is open */
        uv_close((uv_handle_t *)&call->timer, on_closed);
        ctl_printerr(request, "no file descriptor is left\n");
        ctl_finish(request, CTL_BROKEN);
        return;
    }
    uv_timer_start(&call->timer, on_timer, SIGN_OF_LIFE_MS, SIGN_OF_LIFE_MS);
    at_work = true;
    uv_queue_work(view->loop, &call->work, run_job, on_done); /* fails only without a function */
}

/* ---- the command ---- */

static int run_stats(struct store *store, FILE *out)
{
    store_print_stats(store, out);
    return 0;
}

static const struct store_verb verbs[] = {
    {"check", store_check, "No damage was found.",
     "The store is damaged, or could not be read to its end. See: emqx_ctl store --help"},
    {"compact", store_compact, NULL, "The store could not be compacted."},
    {"stats", run_stats, NULL, "The figures are not available."},
};

static void store_run(struct ctl_request *request, int argc, char **argv)
{
    const struct broker_view *view = ctl_context(request);

    if (argc > 1 && ctl_is_help(argv[argc - 1])) {
        ctl_finish_help(request);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(verbs) && argc == 2; i++) {
        if (strcmp(argv[1], verbs[i].word) != 0)
            continue;
        if (view->store == NULL || view->state(view->broker) == BROKER_STOPPING) {
            ctl_printerr(request, "the store is not open\n");
            ctl_finish(request, CTL_BROKEN);
        } else if (at_work) {
            ctl_printerr(request, "another `emqx_ctl store` is at work\n");
            ctl_finish(request, CTL_FAILED);
        } else {
            start(request, &verbs[i]);
        }
        return;
    }
    ctl_finish_usage(request);
}

static const char store_help[] =
    "\n"
    "check    reads every record and verifies its checksum; clients are served meanwhile. Without a running broker it reads the\n"
    "         files in the data directory\n"
    "compact  rewrites all tables without what was deleted or replaced; needs as much free space as the largest table takes\n"
    "stats    state, commits, and for each table about how many rows it has and how large it is\n"
    "\n"
    "If check finds damage: stop the broker and restore data/store from a backup; or move data/store away, the broker then starts\n"
    "without sessions, queued, retained and delayed messages.\n"
    "\n"
    "Examples:\n"
    "  emqx_ctl store stats\n"
    "  emqx_ctl store check && echo whole\n"
    "  emqx_ctl store compact\n";

static const struct ctl_usage store_usage[] = {{"store check", "Read everything that is stored and verify it"},
                                               {"store compact", "Give space of deleted records back"},
                                               {"store stats", "Figures about the store"},
                                               {NULL, store_help}};
const struct ctl_command ctl_store_command = {.name = "store", .usage = store_usage, .run = store_run};
