/*
 * node_listener_jobs: listeners are started, stopped and restarted while clients are served.
 *
 * A job is a row of steps on the control thread with rounds of the workers between them; nobody waits in a round: the last worker
 * that has done its part posts the job back.
 *
 *   stop:     workers unwatch ─► close the socket ─► (workers close its clients) ─► answer
 *   start:    open the socket ─► workers watch ─► answer
 *   restart:  read the settings, make the new listener ─► workers unwatch the old one ─► the new one takes its socket, or opens
 *             its own (if that fails, the old one goes on) ─► workers watch it (and close the clients of the old one) ─► answer
 *
 * What can be wrong with new settings shows before the workers let go of the old listener; only the bind may fail later.
 */
#include "main/node_listeners.h"

#include "base/log.h"
#include "broker/channel/channel.h"
#include "event/mailbox.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOSES_PER_TURN 256u /* clients of a stopped listener; the others of that worker wait so long at most */

struct listener_job;

struct job_post {
    struct post post;
    bool begun;      /* it only has clients left to close */
    uint64_t cursor; /* of channel_close_stopped() */
    struct listener_job *job;
};

struct listener_job {
    struct node *node;
    struct listener_slot *slot;
    enum listener_verb verb;
    bool close_clients;
    bool new_slot;         /* it was made for this job */
    struct listener *next; /* made and not in use yet */
    int err;
    char reason[LISTENER_REASON_MAX];
    char address[LISTENER_ADDRESS_TEXT]; /* what the answer speaks of */
    broker_listener_fn *on_done;
    void *context;
    /* The round: what each worker does, in this order. */
    struct listener *unwatch;
    struct listener *watch;
    bool close_stopped;                     /* the clients of listeners that are closing */
    void (*then)(struct listener_job *job); /* on the control thread, when all have */
    _Atomic uint32_t workers_left;
    _Atomic int watch_err;
    struct loop_post back;
    struct job_post posts[WORKER_COUNT_MAX];
};

/* ---- rounds ---- */

static void round_is_over(struct loop_post *post)
{
    struct listener_job *job = CONTAINER_OF(post, struct listener_job, back);

    job->unwatch = job->watch = NULL;
    job->close_stopped = false;
    job->then(job);
}

static void work_on_it(struct worker *worker, struct post *post)
{
    struct job_post *mine = CONTAINER_OF(post, struct job_post, post);
    struct listener_job *job = mine->job;

    if (job->unwatch != NULL && !mine->begun)
        listener_unwatch(job->unwatch, worker);
    if (job->watch != NULL && !mine->begun) {
        int err = listener_watch(job->watch, worker);
        if (err < 0)
            atomic_store(&job->watch_err, err);
    }
    mine->begun = true;
    if (job->close_stopped && channel_close_stopped(worker, &mine->cursor, CLOSES_PER_TURN)) {
        worker_post(worker, &mine->post); /* the others' turn */
        return;
    }
    if (atomic_fetch_sub(&job->workers_left, 1) == 1) {
        job->back.run = round_is_over;
        loop_mailbox_post(job->node->mailbox, &job->back);
    }
}

static void begin_round(struct listener_job *job, void (*then)(struct listener_job *job))
{
    struct worker_pool *pool = job->node->broker->pool;
    uint32_t count = worker_pool_count(pool);

    job->then = then;
    atomic_store(&job->watch_err, 0);
    atomic_store(&job->workers_left, count);
    for (uint32_t i = 0; i < count; i++) {
        job->posts[i] = (struct job_post){.post.run = work_on_it, .job = job};
        worker_post(worker_pool_get(pool, i), &job->posts[i].post);
    }
}

/* ---- answers ---- */

static void fail(struct listener_job *job, int err, const char *format, ...) PRINTF_LIKE(3, 4);
static void fail(struct listener_job *job, int err, const char *format, ...)
{
    va_list arguments;

    job->err = err;
    va_start(arguments, format);
    vsnprintf(job->reason, sizeof(job->reason), format, arguments);
    va_end(arguments);
}

/* As fail(), for a listener that could not be made or opened. */
static void fail_open(struct listener_job *job, const struct listener_options *options, int err, const char *error)
{
    job->err = err;
    node_listener_reason(job->node, options, err, error, job->reason);
}

static void log_outcome(const struct listener_job *job, const char *name)
{
    static const char *const done[] = {"started", "stopped", "restarted"}, *const verbs[] = {"start", "stop",
                                                                                             "restart"};

    if (job->err == 0)
        log_write(LOG_LEVEL_NOTICE, "[Listener] %s on %s was %s by a command", name, job->address, done[job->verb]);
    else
        log_warning("[Listener] cannot %s %s on %s: %s", verbs[job->verb], name, job->address, job->reason);
}

static void drop_new(struct listener_job *job)
{
    if (job->slot->listener != NULL)
        node_listener_retire(job->node, job->slot->listener);
    job->slot->listener = NULL;
    node_listener_drop_slot(job->node, job->slot);
}

static void finish(struct listener_job *job)
{
    char name[16];
    struct listener_result result = {
        .name = name, .address = job->address, .error = job->err == 0 ? NULL : job->reason};

    snprintf(name, sizeof(name), "mqtt:%s", listener_type_name(job->slot->type));
    log_outcome(job, name);
    listener_free(job->next);
    job->slot->busy = false;
    if (job->new_slot && job->err < 0) /* nothing of it stays: the next attempt reads the settings anew */
        drop_new(job);
    job->on_done(job->context, &result, 1);
    free(job);
}

static void finish_post(struct loop_post *post)
{
    finish(CONTAINER_OF(post, struct listener_job, back));
}

/* An answer that needs no worker comes in a later turn all the same. */
static void finish_later(struct listener_job *job)
{
    job->back.run = finish_post;
    loop_mailbox_post(job->node->mailbox, &job->back);
}

/* ---- stop ---- */

/* Those of the stopped listener and of the ones before it. */
static void close_clients(struct listener_job *job)
{
    listener_set_closing(job->slot->listener, true);
    node_listener_close_elders(job->node, job->slot->listener);
    job->close_stopped = true;
    begin_round(job, finish);
}

static void stop_socket(struct listener_job *job)
{
    listener_close(job->slot->listener);
    if (!job->close_clients || job->node->state == BROKER_STOPPING) {
        finish(job);
        return;
    }
    close_clients(job);
}

static void stop(struct listener_job *job)
{
    if (!listener_is_open(job->slot->listener) && job->close_clients) {
        close_clients(job); /* whom an earlier stop has left */
        return;
    }
    if (!listener_is_open(job->slot->listener)) {
        fail(job, -EALREADY, "it is stopped already");
        finish_later(job);
        return;
    }
    listener_set_closing(job->slot->listener, job->close_clients);
    job->unwatch = job->slot->listener;
    begin_round(job, stop_socket);
}

/* ---- start ---- */

static void unwatched_again(struct listener_job *job)
{
    listener_close(job->slot->listener);
    finish(job);
}

static void watched(struct listener_job *job)
{
    int err = atomic_load(&job->watch_err);

    if (err == 0 || job->node->state == BROKER_STOPPING) {
        finish(job);
        return;
    }
    /* A listener that only some workers serve is worse than one that is closed. */
    fail(job, err, "a worker cannot watch it: %s. It is stopped now", strerror(-err));
    job->unwatch = job->slot->listener;
    begin_round(job, unwatched_again);
}

/* The clients of the listeners before the present one go as well, if that was asked for. */
static void close_elders(struct listener_job *job)
{
    if (!job->close_clients)
        return;
    node_listener_close_elders(job->node, job->slot->listener);
    job->close_stopped = true;
}

/* Opens the slot's listener and lets the workers accept. */
static void open_and_watch(struct listener_job *job)
{
    char error[LISTENER_ERROR_MAX];
    int err = listener_open(job->slot->listener, error);

    if (err < 0) {
        fail_open(job, listener_options_of(job->slot->listener), err, error);
        finish_later(job);
        return;
    }
    listener_set_closing(job->slot->listener, false);
    close_elders(job);
    job->watch = job->slot->listener;
    begin_round(job, watched);
}

static void start(struct listener_job *job)
{
    if (listener_is_open(job->slot->listener)) {
        fail(job, -EALREADY, "it is started already");
        finish_later(job);
        return;
    }
    open_and_watch(job);
}

/* ---- restart, and the start of one that is new in the file ---- */

/* Zones are read at start only. Does the one that the listener names mean what the file says now? */
static bool zone_is_known(const struct node *node, const struct conf *conf, const char *zone)
{
    const char **names = NULL;
    size_t count = 0;
    bool in_file = false;

    if (zone == NULL || strcmp(zone_table_find(node->zones, zone)->name, zone) == 0)
        return true;
    if (conf_names(conf, "zone.$name", NULL, &names, &count) < 0)
        return false;
    for (size_t i = 0; i < count; i++)
        in_file = in_file || strcmp(names[i], zone) == 0;
    free(names);
    return !in_file; /* a zone that nobody configures has the defaults, as at the start */
}

/* Makes job->next of what `conf` says of the slot. */
static void make_next_from(struct listener_job *job, const struct conf *conf)
{
    struct listener_options *options = NULL, *mine = NULL;
    const char *type = listener_type_name(job->slot->type), *file = job->node->options->paths->config;
    char error[LISTENER_ERROR_MAX] = "";
    uint32_t count = 0;
    int err = listener_options_read(conf, job->slot->type, &options, &count);

    for (uint32_t i = 0; err == 0 && i < count; i++) {
        if (strcmp(options[i].name, job->slot->name) == 0)
            mine = &options[i];
    }
    if (err < 0)
        fail(job, err, "%s", strerror(-err));
    else if (mine == NULL)
        fail(job, -ENOENT, "listener.%s.%s is not in %s any more; `listeners stop %s:%s` closes it", type,
             job->slot->name, file, type, job->slot->name);
    else if (!zone_is_known(job->node, conf, mine->zone))
        fail(job, -EINVAL, "its zone %s is new in %s: zones are read when the broker starts", mine->zone, file);
    else {
        node_listener_address(mine, job->address);
        err = node_listener_make(job->node, mine, &job->next, error);
        if (err < 0)
            fail_open(job, mine, err, error);
    }
    listener_options_free(options, count);
}

static void make_next(struct listener_job *job)
{
    struct conf *conf = NULL;
    char *error = NULL;
    int err = node_read_configuration(job->node, &conf, &error);

    if (err < 0) {
        size_t len = error == NULL ? 0 : strlen(error);
        while (len > 0 && error[len - 1] == '\n')
            error[--len] = '\0';
        fail(job, err, "the configuration has errors\n%s", error == NULL ? strerror(-err) : error);
    } else {
        make_next_from(job, conf);
    }
    free(error);
    conf_free(conf);
}

/* The old one goes on, if it can. */
static void go_back(struct listener_job *job)
{
    char error[LISTENER_ERROR_MAX], failure[LISTENER_REASON_MAX];
    int err = job->err;

    memcpy(failure, job->reason, sizeof(failure));
    job->err = 0;
    listener_free(job->next);
    job->next = NULL;
    if (listener_open(job->slot->listener, error) < 0) {
        fail(job, err, "%.1800s\nThe old address cannot be opened again either: it is stopped", failure);
        finish(job);
        return;
    }
    fail(job, err, "%.1800s\nIt goes on as it was", failure);
    job->watch = job->slot->listener;
    begin_round(job, watched);
}

static void replace(struct listener_job *job)
{
    struct listener *old = job->slot->listener;
    char error[LISTENER_ERROR_MAX] = "";
    int err = 0;

    if (job->node->state == BROKER_STOPPING) {
        fail(job, -ESHUTDOWN, "the broker is stopping");
        finish(job);
        return;
    }
    if (!listener_take_socket(job->next, old)) {
        listener_close(old);
        err = listener_open(job->next, error);
    }
    if (err < 0) {
        fail_open(job, listener_options_of(job->next), err, error);
        go_back(job);
        return;
    }
    listener_succeed(job->next, old);
    job->slot->listener = job->next;
    job->slot->warned_day = 0;
    job->next = NULL;
    node_listener_retire(job->node, old);
    close_elders(job);
    node_listener_tls_warn(job->node, job->slot);
    job->watch = job->slot->listener;
    begin_round(job, watched);
}

static void restart(struct listener_job *job)
{
    make_next(job);
    if (job->err < 0) {
        finish_later(job);
        return;
    }
    if (job->slot->listener != NULL && listener_is_open(job->slot->listener)) {
        job->unwatch = job->slot->listener;
        begin_round(job, replace);
        return;
    }
    struct listener *stopped = job->slot->listener;
    if (stopped != NULL)
        listener_succeed(job->next, stopped);
    job->slot->listener = job->next;
    job->next = NULL;
    if (stopped != NULL)
        node_listener_retire(job->node, stopped);
    open_and_watch(job);
    if (job->err == 0)
        node_listener_tls_warn(job->node, job->slot);
}

/* ---- which one ---- */

static bool address_matches(const struct listener_slot *slot, const char *which)
{
    const struct listener_options *options = listener_options_of(slot->listener);
    const char *port = strrchr(options->bind_text, ':');
    char address[LISTENER_ADDRESS_TEXT];

    node_listener_address(options, address);
    if (strcmp(options->bind_text, which) == 0 || strcmp(address, which) == 0)
        return true;
    return slot->type != LISTENER_UNIX && strspn(which, "0123456789") == strlen(which) && port != NULL &&
           strcmp(port + 1, which) == 0;
}

static bool slot_matches(const struct listener_slot *slot, const struct listener_command *command, bool by_name)
{
    if (slot->listener == NULL || strcmp(listener_type_name(slot->type), command->type) != 0)
        return false;
    return by_name ? strcmp(slot->name, command->which) == 0 : address_matches(slot, command->which);
}

/* The slots that the command means: by name, else by address. Their number; `*out_slot` is one of them. */
static uint32_t find_slots(const struct node *node, const struct listener_command *command,
                           struct listener_slot **out_slot)
{
    uint32_t found = 0;

    for (int by_name = 1; by_name >= 0 && found == 0; by_name--) {
        for (uint32_t i = 0; i < node->listeners->slot_count; i++) {
            if (slot_matches(node->listeners->slots[i], command, by_name == 1)) {
                *out_slot = node->listeners->slots[i];
                found++;
            }
        }
    }
    return found;
}

static bool find_type(const char *word, enum listener_type *out_type)
{
    for (int type = 0; type < LISTENER_TYPE_COUNT; type++) {
        if (strcmp(listener_type_name((enum listener_type)type), word) == 0) {
            *out_type = (enum listener_type)type;
            return true;
        }
    }
    return false;
}

/* ---- commands ---- */

/* An answer with several results, or without a listener. */
struct answer {
    struct loop_post post;
    broker_listener_fn *on_done;
    void *context;
    uint32_t count;
    struct listener_result results[LISTENER_SLOTS_MAX];
    struct {
        char name[32];
        char address[LISTENER_ADDRESS_TEXT];
        char *error;
    } texts[LISTENER_SLOTS_MAX];
};

static void answer_now(struct loop_post *post)
{
    struct answer *answer = CONTAINER_OF(post, struct answer, post);

    answer->on_done(answer->context, answer->results, answer->count);
    for (uint32_t i = 0; i < answer->count; i++)
        free(answer->texts[i].error);
    free(answer);
}

static void answer_add(struct answer *answer, const char *type, const char *address, const char *error)
{
    uint32_t i = answer->count++;

    snprintf(answer->texts[i].name, sizeof(answer->texts[i].name), "mqtt:%s", type);
    snprintf(answer->texts[i].address, sizeof(answer->texts[i].address), "%s", address);
    answer->texts[i].error = error == NULL ? NULL : strdup(error);
    answer->results[i] = (struct listener_result){
        .name = answer->texts[i].name,
        .address = answer->texts[i].address,
        .error = error == NULL                    ? NULL
                 : answer->texts[i].error == NULL ? "memory is short"
                                                  : answer->texts[i].error,
    };
}

static void answer_not_found(const struct node *node, struct answer *answer, const struct listener_command *command,
                             uint32_t found)
{
    char text[LISTENER_REASON_MAX];
    size_t len;

    len = (size_t)snprintf(text, sizeof(text), "%s", found == 0 ? "not_found" : "several listeners have that port");
    if (found == 0 && command->verb == LISTENER_START && strpbrk(command->which, ".:") == NULL &&
        strspn(command->which, "0123456789") < strlen(command->which))
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\nNor is there a line listener.%.16s.%.64s in %.512s.",
                                command->type, command->which, node->options->paths->config);
    len += (size_t)snprintf(text + len, sizeof(text) - len, "\nListeners by their names:");
    for (uint32_t i = 0; i < node->listeners->slot_count && len < sizeof(text) - LISTENER_ADDRESS_TEXT; i++) {
        const struct listener_slot *slot = node->listeners->slots[i];
        if (slot->listener != NULL)
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %s:%.60s (%.90s)", listener_type_name(slot->type),
                                    slot->name, listener_options_of(slot->listener)->bind_text);
    }
    answer_add(answer, command->type, command->which, text);
}

static void reload(const struct node *node, const struct listener_command *command, struct answer *answer)
{
    struct listener_slot *only = NULL;
    uint32_t found = command->type == NULL ? 0 : find_slots(node, command, &only);

    if (command->type != NULL && found != 1) {
        answer_not_found(node, answer, command, found);
        return;
    }
    for (uint32_t i = 0; i < node->listeners->slot_count; i++) {
        struct listener_slot *slot = node->listeners->slots[i];
        char error[LISTENER_ERROR_MAX] = "", address[LISTENER_ADDRESS_TEXT];
        if (slot->listener == NULL || (only != NULL && slot != only))
            continue;
        node_listener_address(listener_options_of(slot->listener), address);
        if (listener_tls_context(slot->listener) == NULL) {
            if (only != NULL)
                answer_add(answer, listener_type_name(slot->type), address, "it has no certificates");
            continue;
        }
        int err = node_listener_tls_reload(slot, error);
        answer_add(answer, listener_type_name(slot->type), address,
                   err == 0           ? NULL
                   : error[0] == '\0' ? strerror(-err)
                                      : error);
    }
}

static int answer_without_job(struct node *node, const struct listener_command *command, uint32_t found,
                              broker_listener_fn *on_done, void *context)
{
    struct answer *answer = calloc(1, sizeof(*answer));

    if (answer == NULL)
        return -ENOMEM;
    answer->on_done = on_done;
    answer->context = context;
    answer->post.run = answer_now;
    if (command->verb == LISTENER_RELOAD)
        reload(node, command, answer);
    else
        answer_not_found(node, answer, command, found);
    loop_mailbox_post(node->mailbox, &answer->post);
    return 0;
}

/* A listener that is new in the file is started by its name. With a file that has errors it is taken for new: the job says what they
 * are. */
static struct listener_slot *slot_for_new(struct node *node, const struct listener_command *command)
{
    enum listener_type type;
    struct listener_slot *slot = NULL;
    struct conf *conf = NULL;
    char *error = NULL;
    const char **names = NULL;
    size_t count = 0;
    char pattern[64];

    if (!find_type(command->type, &type))
        return NULL;
    if (node_read_configuration(node, &conf, &error) < 0) {
        if (node_listener_add_slot(node, type, command->which, &slot) < 0)
            slot = NULL;
        goto out;
    }
    snprintf(pattern, sizeof(pattern), "listener.%s.$name", listener_type_name(type));
    if (conf_names(conf, pattern, NULL, &names, &count) < 0)
        goto out;
    for (size_t i = 0; i < count && slot == NULL; i++) {
        if (strcmp(names[i], command->which) == 0 && node_listener_add_slot(node, type, names[i], &slot) < 0)
            break;
    }
out:
    free(names);
    free(error);
    conf_free(conf);
    return slot;
}

int node_command_listener(void *broker, const struct listener_command *command, broker_listener_fn *on_done,
                          void *context)
{
    struct node *node = broker;
    struct listener_slot *slot = NULL;
    uint32_t found;

    if (node->state != BROKER_RUNNING || node->listeners == NULL)
        return -EAGAIN;
    if (command->verb == LISTENER_RELOAD)
        return answer_without_job(node, command, 0, on_done, context);
    found = find_slots(node, command, &slot);
    if (found == 0 && command->verb == LISTENER_START)
        slot = slot_for_new(node, command);
    if (found > 1 || slot == NULL)
        return answer_without_job(node, command, found, on_done, context);
    if (slot->busy)
        return -EBUSY;
    struct listener_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        if (found == 0)
            node_listener_drop_slot(node, slot);
        return -ENOMEM;
    }
    job->node = node;
    job->slot = slot;
    job->verb = command->verb;
    job->close_clients = command->close_clients;
    job->new_slot = found == 0;
    job->on_done = on_done;
    job->context = context;
    slot->busy = true;
    if (slot->listener != NULL)
        node_listener_address(listener_options_of(slot->listener), job->address);
    else
        snprintf(job->address, sizeof(job->address), "%.100s", slot->name);
    if (command->verb == LISTENER_STOP)
        stop(job);
    else if (command->verb == LISTENER_START && slot->listener != NULL)
        start(job);
    else
        restart(job);
    return 0;
}
