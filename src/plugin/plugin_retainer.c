/*
 * plugin_retainer: the built-in plugin emqx_retainer: settings of broker/retainer/ and the commands for what it keeps.
 *
 * A command walks over the topics in slices, one in a turn of the control thread's loop, as fast as the caller reads. What a start is still
 * loading is waited for first. `clean` answers when what it removed is gone from the disk, too: each slice's deletions are submitted, and an empty batch
 * of our own behind the last of them is waited for.
 */
#include "base/clock.h"
#include "base/rcu.h"
#include "base/version.h"
#include "broker/broker.h"
#include "broker/retainer/retainer.h"
#include "mqtt/message.h"
#include "mqtt/topic.h"
#include "plugin/plugin_builtin.h"
#include "plugin/plugin_internal.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CLEAN_SLICE 500u   /* topics looked at in a turn: some 1.5 ms when all are removed */
#define SHOW_SLICE 250u    /* topics printed at once: at most 16 MB, which are read before more is printed */
#define SHOW_SLICES_MAX 8u /* in a turn: some 1 ms */
#define PAUSE_MS 1u        /* between turns: a timer of 0 would run in the same one */
#define LOOK_MS 20u        /* until it is asked again whether all is loaded, or the store can take more */

struct plugin_state {
    const struct emqc_host *host;
    struct emqc_plugin_instance *self;
    struct retainer *retainer;
    struct store *store;
    struct store_client *client; /* of `clean` */
    struct walk *walks;
};

/* A command that runs. */
struct walk {
    struct walk *next;
    struct plugin_state *state;
    struct emqc_request *request;
    void (*step)(struct walk *walk); /* what comes next */
    struct emqc_timer *timer;        /* calls it; NULL: something else will */
    struct retainer_position position;
    uint32_t slices; /* printed in this turn */
    uint64_t count;  /* cleaned */
    uint64_t number; /* of the batch that is waited for; 0: none yet */
    struct slice filter;
    uint8_t filter_text[];
};

static const struct emqc_key keys[] = {
    {.name = "retainer.storage_type",
     .type = EMQC_ENUM,
     .fallback = "disc",
     .example = "disc",
     .enum_words = "ram, disc, disc_only",
     .help =
         "Where retained messages are. disc: on disk, and in memory but for payloads over store.retained_in_memory. disc_only: the same here. ram: "
         "in memory only; they are gone after a restart."},
    {.name = "retainer.max_retained_messages",
     .type = EMQC_INTEGER,
     .example = "1000000",
     .min = 0,
     .max = UINT32_MAX,
     .help =
         "Retained messages. Further topics are not retained. 0 sets no limit. Not set: broker.max_retained_messages."},
    {.name = "retainer.max_payload_size",
     .type = EMQC_BYTESIZE,
     .example = "1MB",
     .min = 0,
     .max = 268435455,
     .help = "Largest payload that is retained. 0 sets no limit. Not set: broker.max_retained_payload."},
    {.name = "retainer.expiry_interval",
     .type = EMQC_DURATION_MS,
     .fallback = "0",
     .shipped = "0",
     .min = 0,
     .max = INT64_C(3155760000000),
     .help =
         "Messages without a message expiry interval of their own are retained for so long from their publishing on, also those that are there when "
         "this is changed; never those of $SYS. 0: for ever."},
};

/* ---- a command's life ---- */

static void walk_free(struct walk *walk)
{
    struct walk **place = &walk->state->walks;

    while (*place != walk)
        place = &(*place)->next;
    *place = walk->next;
    retainer_position_fini(&walk->position);
    free(walk);
}

static void walk_finish(struct walk *walk, enum emqc_command_result result)
{
    const struct emqc_host *host = walk->state->host;
    struct emqc_request *request = walk->request;

    walk_free(walk);
    host->finish(request, result);
}

static void abort_walk(struct walk *walk, const char *reason)
{
    walk->state->host->print(walk->request, "Aborted %s\n", reason);
    walk_finish(walk, EMQC_COMMAND_FAILED);
}

static void on_timeout(void *context)
{
    struct walk *walk = context;

    walk->state->host->timer_stop(walk->timer);
    walk->timer = NULL;
    walk->step(walk);
}

/* The next step, in a turn of its own. */
static void go_on(struct walk *walk, uint64_t delay_ms)
{
    struct plugin_state *state = walk->state;

    if (state->host->timer_start(state->self, delay_ms, 0, on_timeout, walk, &walk->timer) < 0)
        abort_walk(walk, "enomem");
}

static void on_writable(struct emqc_request *request, void *context)
{
    struct walk *walk = context;

    (void)request;
    if (++walk->slices < SHOW_SLICES_MAX) {
        walk->step(walk);
        return;
    }
    walk->slices = 0;
    go_on(walk, PAUSE_MS);
}

/* The filter, an empty one: all topics, is copied. */
static void walk_start(struct plugin_state *state, struct emqc_request *request, struct slice filter,
                       void (*step)(struct walk *walk))
{
    struct walk *walk = calloc(1, sizeof(*walk) + filter.len);

    if (walk == NULL) {
        state->host->print(request, "Aborted enomem\n");
        state->host->finish(request, EMQC_COMMAND_FAILED);
        return;
    }
    walk->state = state;
    walk->request = request;
    walk->step = step;
    if (filter.len > 0)
        memcpy(walk->filter_text, filter.data, filter.len);
    walk->filter = slice_make(walk->filter_text, filter.len);
    walk->next = state->walks;
    state->walks = walk;
    walk->step(walk);
}

/* True: not everything is loaded, and the step comes again later. */
static bool wait_for_loading(struct walk *walk)
{
    bool loading;

    rcu_thread_online();
    loading = retainer_is_loading(walk->state->retainer);
    rcu_thread_offline();
    if (!loading)
        return false;
    if (walk->state->host->abandoned(walk->request))
        walk_finish(walk, EMQC_COMMAND_FAILED);
    else
        go_on(walk, LOOK_MS);
    return true;
}

/* ---- info, topics ---- */

static void show_info(struct walk *walk)
{
    struct plugin_state *state = walk->state;

    if (wait_for_loading(walk))
        return;
    state->host->print(walk->request, "retained/total: %" PRIu64 "\n", retainer_count(state->retainer));
    walk_finish(walk, EMQC_COMMAND_OK);
}

static void print_topic(void *context, struct message *message)
{
    struct walk *walk = context;
    const struct emqc_host *host = walk->state->host;

    host->print_slice(walk->request, plugin_slice(message_topic(message)));
    host->print(walk->request, "\n");
}

static void show_topics(struct walk *walk)
{
    struct plugin_state *state = walk->state;
    int more;

    if (wait_for_loading(walk))
        return;
    rcu_thread_online();
    more = retainer_visit_slice(state->retainer, walk->filter, &walk->position, SHOW_SLICE, clock_mono_ms(),
                                print_topic, walk);
    rcu_thread_offline();
    if (more < 0)
        abort_walk(walk, "enomem");
    else if (more == 0 || state->host->abandoned(walk->request))
        walk_finish(walk, EMQC_COMMAND_OK);
    else
        state->host->when_writable(walk->request, on_writable, walk);
}

/* ---- clean ---- */

/* All is removed; answers when it is on disk. */
static void end_clean(struct walk *walk)
{
    struct plugin_state *state = walk->state;

    if (store_committed(state->client) >= walk->number) {
        state->host->print(walk->request, "Cleaned %" PRIu64 " retained messages\n", walk->count);
        walk_finish(walk, EMQC_COMMAND_OK);
    } else if (store_state(state->store) != STORE_OPEN) {
        abort_walk(walk, "the store cannot be written: what was removed may come back after a restart");
    }
}

static void on_store_progress(struct store_client *client, void *context)
{
    struct plugin_state *state = context;
    struct walk *walk = state->walks, *next;

    (void)client;
    for (; walk != NULL; walk = next) {
        next = walk->next;
        if (walk->number > 0)
            end_clean(walk);
    }
}

static void clean(struct walk *walk)
{
    struct plugin_state *state = walk->state;
    int more;

    if (wait_for_loading(walk))
        return;
    if (store_state(state->store) != STORE_OPEN) {
        abort_walk(walk, "the store cannot be written");
        return;
    }
    if (store_congested(state->store)) {
        go_on(walk, LOOK_MS);
        return;
    }
    rcu_thread_online();
    more = retainer_clean_slice(state->retainer, walk->filter, &walk->position, CLEAN_SLICE, clock_mono_ms(),
                                &walk->count);
    rcu_thread_offline();
    (void)retainer_submit(state->retainer, false);
    if (more < 0) {
        abort_walk(walk, "enomem");
    } else if (more > 0) {
        go_on(walk, PAUSE_MS);
    } else {
        walk->number = store_submit(state->client, true);
        end_clean(walk);
    }
}

static void clean_matching(struct plugin_state *state, struct emqc_request *request, struct slice filter)
{
    if (mqtt_filter_valid(filter)) {
        walk_start(state, request, filter, clean);
        return;
    }
    state->host->print(request, "Aborted this is no topic filter\n");
    state->host->finish(request, EMQC_COMMAND_FAILED);
}

static void run(void *context, struct emqc_request *request, int argc, char **argv)
{
    const struct slice every_topic = {NULL, 0};
    struct plugin_state *state = context;

    if (argc == 2 && strcmp(argv[1], "info") == 0)
        walk_start(state, request, every_topic, show_info);
    else if (argc == 2 && strcmp(argv[1], "topics") == 0)
        walk_start(state, request, every_topic, show_topics);
    else if (argc == 2 && strcmp(argv[1], "clean") == 0)
        walk_start(state, request, every_topic, clean);
    else if (argc == 3 && strcmp(argv[1], "clean") == 0)
        clean_matching(state, request, slice_from_string(argv[2]));
    else
        state->host->finish(request, EMQC_COMMAND_USAGE);
}

static const struct emqc_usage usage[] = {
    {"retainer info", "Show the count of retained messages"},
    {"retainer topics", "Show all topics of retained messages"},
    {"retainer clean", "Clean all retained messages"},
    {"retainer clean <Topic>", "Clean retained messages by the specified topic filter"},
    {NULL,
     "\n"
     "`clean` without a topic also takes those of $SYS topics, which a filter that begins with a wildcard does not match. It answers when\n"
     "they are gone from the disk.\n\n"
     "Examples:\n"
     "  emqx_ctl retainer topics | wc -l\n"
     "  emqx_ctl retainer clean 'sensor/+/state'\n"},
};

/* ---- the plugin ---- */

static struct retainer_settings settings_of(const struct plugin_state *state)
{
    static const enum retainer_mode modes[] = {RETAINER_MEMORY, RETAINER_STORES, RETAINER_STORES};
    const struct broker_settings *defaults = &state->self->host->options.broker->settings;
    const struct emqc_host *host = state->host;

    return (struct retainer_settings){
        .mode = modes[host->config_integer(state->self, "retainer.storage_type", NULL, NULL, 1)],
        .count_max = (uint64_t)host->config_integer(state->self, "retainer.max_retained_messages", NULL, NULL,
                                                    (int64_t)defaults->max_retained_messages),
        .payload_max = (uint64_t)host->config_integer(state->self, "retainer.max_payload_size", NULL, NULL,
                                                      (int64_t)defaults->max_retained_payload),
        .expiry_ms = (uint64_t)host->config_integer(state->self, "retainer.expiry_interval", NULL, NULL, 0),
    };
}

static int load(const struct emqc_host *host, struct emqc_plugin_instance *self, void **out_state)
{
    struct plugin_state *state = calloc(1, sizeof(*state));
    struct store_client_options client = {
        .mailbox = self->host->mailbox, .on_progress = on_store_progress, .context = state};
    struct emqc_command command = {sizeof(command), "retainer", usage, run, state};
    struct retainer_settings settings;
    int err;

    if (state == NULL)
        return -ENOMEM;
    *out_state = state;
    state->host = host;
    state->self = self;
    state->retainer = self->host->options.broker->retainer;
    state->store = self->host->options.store;
    err = store_client_open(state->store, &client, &state->client);
    if (err == 0)
        err = host->command_add(self, &command);
    if (err < 0)
        return err;
    settings = settings_of(state);
    broker_change_retained(self->host->options.broker, &settings);
    return 0;
}

/* Commands run no more, or were ended when the node stops. */
static void unload(void *opaque)
{
    struct plugin_state *state = opaque;
    struct walk *walk;

    while ((walk = state->walks) != NULL) {
        state->walks = walk->next;
        retainer_position_fini(&walk->position);
        free(walk);
    }
    store_client_close(state->client);
    free(state);
}

void plugin_retainer_off(struct broker *broker)
{
    retainer_set_mode(broker->retainer, RETAINER_OFF);
}

const struct emqc_plugin plugin_retainer = {
    EMQC_PLUGIN_HEAD,
    .name = "emqx_retainer",
    .version = EMQC_VERSION,
    .description = "EMQ X Retainer",
    .type = EMQC_FEATURE,
    .keys = keys,
    .key_count = ARRAY_COUNT(keys),
    .load = load,
    .unload = unload,
};
