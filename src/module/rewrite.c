/*
 * rewrite: see rewrite.h. Each worker has a scratch of its own, made when it first needs one.
 */
#include "module/rewrite.h"

#include "base/log.h"
#include "event/worker.h"
#include "hook/events.h"
#include "hook/hook.h"
#include "hook/hook_memory.h"
#include "module/rewrite_rules.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdlib.h>

#define HOOK_COUNT 3u

struct rewrite {
    struct rewrite_rules *rules;
    struct hook *hooks[HOOK_COUNT];
    struct rewrite_scratch *scratches[WORKER_COUNT_MAX]; /* each used by its worker alone; NULL: not yet */
};

static void log_unchanged(struct slice client_id, struct slice text, enum rewrite_result result)
{
    const char *why = result == REWRITE_INVALID    ? "the rule makes no topic of it"
                      : result == REWRITE_GIVEN_UP ? "its rule would take too long"
                                                   : "memory is short";

    log_client_limited(LOG_LEVEL_WARNING, client_id, NULL, "[Rewrite] %.*s stays as it is: %s", SLICE_ARG(text), why);
}

/* True: `*out_text` is what is to take the text's place, kept in `memory`. */
static bool run(struct rewrite *rewrite, const struct rewrite_request *request, struct slice client_id,
                struct hook_memory **memory, struct slice *out_text)
{
    struct worker *worker = worker_current(); /* NULL: the node ends, and a job does what workers left */
    struct rewrite_scratch *scratch = worker == NULL ? NULL : rewrite->scratches[worker_index(worker)];
    enum rewrite_result result = REWRITE_NO_MEMORY;
    struct slice text = slice_make(NULL, 0);

    if (scratch == NULL)
        scratch = rewrite_scratch_new(rewrite->rules);
    if (scratch != NULL)
        result = rewrite_rules_apply(rewrite->rules, scratch, request, &text);
    if (result == REWRITE_CHANGED) {
        text = hook_memory_copy(memory, text);
        if (text.data == NULL)
            result = REWRITE_NO_MEMORY;
    }
    if (worker != NULL)
        rewrite->scratches[worker_index(worker)] = scratch;
    else
        rewrite_scratch_free(scratch);
    if (result != REWRITE_SAME && result != REWRITE_CHANGED)
        log_unchanged(client_id, request->text, result);
    if (result == REWRITE_CHANGED)
        *out_text = text;
    return result == REWRITE_CHANGED;
}

static enum hook_verdict on_publish(void *context, void *data)
{
    struct hook_publish *event = data;
    struct rewrite_request request = {.text = event->topic};

    (void)run(context, &request, event->client_id, &event->memory, &event->topic);
    return HOOK_NEXT;
}

static void rewrite_filter(struct rewrite *rewrite, const struct client_info *client, struct hook_memory **memory,
                           struct slice *filter)
{
    struct rewrite_request request = {.is_filter = true};
    struct mqtt_shared_filter shared;

    if (!mqtt_shared_filter_parse(*filter, &shared))
        return; /* made by another callback; refused later */
    request.text = shared.filter;
    request.prefix = slice_make(filter->data, filter->len - shared.filter.len);
    (void)run(rewrite, &request, client->client_id, memory, filter);
}

static enum hook_verdict on_subscribe(void *context, void *data)
{
    struct hook_subscribe *event = data;

    rewrite_filter(context, event->client, &event->memory, &event->filter);
    return HOOK_NEXT;
}

static enum hook_verdict on_unsubscribe(void *context, void *data)
{
    struct hook_unsubscribe *event = data;

    rewrite_filter(context, event->client, &event->memory, &event->filter);
    return HOOK_NEXT;
}

int rewrite_open_take(struct rewrite_rules *rules, struct rewrite **out_rewrite)
{
    static const struct {
        enum hook_point point;
        hook_fn *run;
    } rows[HOOK_COUNT] = {
        {HOOK_CLIENT_SUBSCRIBE, on_subscribe},
        {HOOK_CLIENT_UNSUBSCRIBE, on_unsubscribe},
        {HOOK_MESSAGE_PUBLISH, on_publish},
    };
    struct rewrite *rewrite = calloc(1, sizeof(*rewrite));
    int err = 0;

    if (rewrite == NULL) {
        rewrite_rules_free(rules);
        return -ENOMEM;
    }
    rewrite->rules = rules;
    for (size_t i = 0; err == 0 && i < HOOK_COUNT; i++) {
        struct hook_options options = {
            .point = rows[i].point, .run = rows[i].run, .context = rewrite, .owner = "module rewrite"};
        err = hook_add(&options, &rewrite->hooks[i]);
    }
    if (err < 0) {
        rewrite_close(rewrite);
        return err;
    }
    *out_rewrite = rewrite;
    return 0;
}

void rewrite_close(struct rewrite *rewrite)
{
    if (rewrite == NULL)
        return;
    for (size_t i = 0; i < HOOK_COUNT; i++)
        hook_remove(rewrite->hooks[i]);
    for (size_t i = 0; i < WORKER_COUNT_MAX; i++)
        rewrite_scratch_free(rewrite->scratches[i]);
    rewrite_rules_free(rewrite->rules);
    free(rewrite);
}
