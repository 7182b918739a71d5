/*
 * node: builds the parts of the broker in order, runs the control thread's loop, takes them down in reverse.
 *
 *   configuration ─► log ─► data directory ─► access rules, modules ─► store ─► workers ─► control socket ─► plugins ─► listeners ─► ready
 *   stop: listeners ─► clients (wills, DISCONNECT 0x8B) ─► plugins ─► workers ─► sessions ─► control socket ─► store ─► log
 */
#include "main/node.h"

#include "auth/ban_guard.h"
#include "base/allocator.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "base/unique_id.h"
#include "base/version.h"
#include "broker/channel/channel.h"
#include "hook/hook_run.h"
#include "hook/psk_lookup.h"
#include "main/node_store.h"
#include "mgmt/ctl_commands.h"
#include "net/tls.h"
#include "plugin/plugin_host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(struct node *node, const char *what, int err)
{
    char text[512];

    snprintf(text, sizeof(text), "%s: %s", what, strerror(-err));
    daemon_report_failure(node->options->report, text);
}

static char *errors_text(const struct conf_errors *errors)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        return NULL;
    conf_errors_print(errors, out);
    fclose(out);
    return text;
}

int node_read_configuration(const struct node *node, struct conf **out_conf, char **out_error)
{
    const struct paths *paths = node->options->paths;
    struct conf_errors *errors = NULL;
    struct conf_load_options options = {.root_dir = paths->root, .file = paths->config, .environment = environ};
    int err = conf_load(&options, out_conf, &errors);

    if (err == -EINVAL && errors != NULL)
        *out_error = errors_text(errors);
    else if (err < 0 && asprintf(out_error, "Cannot read the configuration: %s", strerror(-err)) < 0)
        *out_error = NULL;
    conf_errors_free(errors);
    return err;
}

static int load_configuration(struct node *node)
{
    char *error = NULL;
    int err = node_read_configuration(node, &node->conf, &error);

    if (err < 0)
        daemon_report_failure(node->options->report, error == NULL ? strerror(-err) : error);
    free(error);
    return err;
}

static int open_log(struct node *node)
{
    static const char *const level_keys[LOG_LEVEL_COUNT] = {"debug", "info",     "notice", "warning",
                                                            "error", "critical", "alert",  "emergency"};
    const char *to = conf_get_string(node->conf, "log.to", NULL);
    const char *dir = conf_get_string(node->conf, "log.dir", NULL);
    const char *level = conf_get_string(node->conf, "log.level", NULL);
    enum log_level primary = LOG_LEVEL_WARNING;
    char path[PATH_MAX];
    int err;

    if (dir != NULL && strcmp(dir, "log") == 0 && node->options->paths->installed)
        dir = node->options->paths->log;
    err = paths_join(node->options->paths->root, dir == NULL ? "log" : dir, path);
    if (err < 0 || log_level_parse(slice_from_string(level == NULL ? "warning" : level), &primary) < 0)
        return -EINVAL;
    struct log_options options = {
        .to_console = strcmp(to, "console") == 0 || strcmp(to, "both") == 0,
        .to_file = strcmp(to, "file") == 0 || strcmp(to, "both") == 0,
        .level = primary,
        .dir = path,
        .file = conf_get_string(node->conf, "log.file", NULL),
        .chars_limit = conf_get_integer(node->conf, "log.chars_limit", NULL, -1),
        .rotation_bytes = conf_get_bytes(node->conf, "log.rotation.size", NULL, 10u << 20),
        .rotation_count = (uint32_t)conf_get_integer(node->conf, "log.rotation.count", NULL, 5),
    };
    for (size_t i = 0; i < LOG_LEVEL_COUNT; i++)
        options.level_files[i] = conf_get_string(node->conf, "log.$level.file", level_keys[i]);
    node->log_to_console = options.to_console;
    err = log_open(&options);
    if (err < 0)
        fail(node, "Cannot open the log", err);
    return err;
}

int node_data_dir(const struct node *node, char out_dir[PATH_MAX])
{
    const struct paths *paths = node->options->paths;
    const char *configured = conf_get_string(node->conf, "node.data_dir", NULL);

    if (configured == NULL || (paths->installed && strcmp(configured, "data") == 0))
        configured = paths->data;
    return paths_join(paths->root, configured, out_dir);
}

static int take_data_dir(struct node *node)
{
    const struct paths *paths = node->options->paths;
    char data_dir[PATH_MAX], text[PATH_MAX + 128];
    int err = node_data_dir(node, data_dir);

    if (err == 0)
        err = instance_lock_take(paths, data_dir, &node->lock);
    if (err == 0)
        return 0;
    if (err == -EBUSY)
        snprintf(text, sizeof(text), "Node is already running! Its data directory %s is in use.", data_dir);
    else
        snprintf(text, sizeof(text), "Cannot use the data directory %s: %s", data_dir, strerror(-err));
    daemon_report_failure(node->options->report, text);
    return err;
}

static uint32_t worker_count(const struct node *node)
{
    int64_t configured = conf_get_integer(node->conf, "node.workers", NULL, 0);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (configured <= 0)
        configured = cores < 1 ? 1 : cores;
    return configured > WORKER_COUNT_MAX ? WORKER_COUNT_MAX : (uint32_t)configured;
}

static int make_broker(struct node *node)
{
    struct broker_settings settings = {
        .worker_count = worker_count(node),
        .mailbox_bytes_max = conf_get_bytes(node->conf, "broker.mailbox_bytes", NULL, 64u << 20),
        .max_clients = (uint64_t)conf_get_integer(node->conf, "node.max_clients", NULL, 1024000),
        .share_strategy = (enum share_strategy)conf_get_enum(node->conf, "broker.shared_subscription_strategy", NULL,
                                                             SHARE_ROUND_ROBIN),
        .dispatch_ack = conf_get_bool(node->conf, "broker.shared_dispatch_ack_enabled", NULL, false),
        .max_retained_messages = (uint64_t)conf_get_integer(node->conf, "broker.max_retained_messages", NULL, 0),
        .max_detached_sessions = (uint64_t)conf_get_integer(node->conf, "broker.max_detached_sessions", NULL, 0),
        .store = node->store,
        .session_memory = conf_get_bytes(node->conf, "store.session_memory", NULL, 0),
        .retained_in_memory = conf_get_bytes(node->conf, "store.retained_in_memory", NULL, 0),
        .max_retained_payload = conf_get_bytes(node->conf, "broker.max_retained_payload", NULL, 0),
        .delayed = {.max_messages = (uint64_t)conf_get_integer(node->conf, "delayed.max_messages", NULL, 100000),
                    .max_payload = conf_get_bytes(node->conf, "delayed.max_payload", NULL, 1u << 20),
                    .memory_max = conf_get_bytes(node->conf, "delayed.memory_size", NULL, 64u << 20),
                    .off = true}, /* until its plugin is loaded */
    };
    int err;

    guid_set_node(slice_from_string(node->name));
    hook_set_limits((uint32_t)conf_get_duration(node->conf, "hook.pending_timeout", NULL, HOOK_PENDING_TIMEOUT_MS),
                    (uint32_t)conf_get_integer(node->conf, "hook.pending_max", NULL, HOOK_PENDING_MAX));
    tls_psk_set_lookup(hook_psk_lookup);
    err = broker_new(&settings, &node->broker);
    if (err == 0)
        err = channel_init(node->broker);
    if (err == 0)
        err = zone_table_new(node->conf, &node->zones);
    if (err == 0)
        err = broker_open_retained(node->broker, node->store);
    if (err == 0)
        err = node_restore_sessions(node);
    if (err == 0)
        err = node_restore_delayed(node);
    if (err == 0)
        err = worker_pool_start(node->broker->pool);
    if (err < 0) {
        if (err != -EIO) /* that one has been reported */
            fail(node, "Cannot build the broker", err);
        return err;
    }
    node->workers_running = true;
    return 0;
}

static int open_control(struct node *node)
{
    struct ctl_server_options server = {.loop = &node->loop, .socket_path = instance_lock_socket(node->lock)};
    struct sys_topics_options topics = {
        .loop = &node->loop,
        .broker = node->broker,
        .node_name = node->name,
        .interval_ms = conf_get_duration(node->conf, "broker.sys_interval", NULL, 60000),
        .heartbeat_ms = conf_get_duration(node->conf, "broker.sys_heartbeat", NULL, 30000),
    };
    int err = loop_mailbox_open(&node->loop, &node->mailbox);

    node_make_view(node);
    if (err == 0)
        err = node_open_bans(node);
    node->ctl_registry = ctl_registry_new();
    if (err == 0 && node->ctl_registry == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = ctl_commands_register(node->ctl_registry, &node->view);
    if (err == 0)
        err = node_register_acl_command(node);
    server.registry = node->ctl_registry;
    if (err == 0)
        err = ctl_server_open(&server, &node->ctl_server);
    if (err == 0)
        err = sys_topics_open(&topics, &node->sys_topics);
    if (err < 0 && err != -EIO) /* that one has been reported */
        fail(node, "Cannot open the control socket", err);
    return err;
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    node_stop(handle->data, false);
}

static int watch_signals(struct node *node)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        int err = uv_signal_init(&node->loop, &node->signals[i]);
        if (err < 0)
            return err;
        node->signal_count++;
        node->signals[i].data = node;
        err = uv_signal_start(&node->signals[i], on_signal, numbers[i]);
        if (err < 0)
            return err;
    }
    return 0;
}

/* What a user must know at once goes to whoever starts the broker; the lists of keys that this version does not use
 * yet are long and go into the log. */
static void on_notice(void *context, const char *text)
{
    struct node *node = context;

    log_warning("[Config] %s", text);
    if (strstr(text, " are accepted ") != NULL)
        node->unused_keys = true;
    else if (daemon_report_is_remote(node->options->report) || !node->log_to_console)
        daemon_report_warning(node->options->report, "%s", text);
}

static void report_unused_keys(struct node *node)
{
    if (node->unused_keys && (daemon_report_is_remote(node->options->report) || !node->log_to_console))
        daemon_report_warning(node->options->report,
                              "some settings are not yet in effect, or have none, in this version: the log lists them");
}

static int node_start(struct node *node)
{
    int err = load_configuration(node);

    if (err < 0)
        return err;
    node->name = conf_get_string(node->conf, "node.name", NULL);
    printf("Starting emqx on node %s\n", node->name);
    fflush(stdout);
    err = take_data_dir(node);
    if (err == 0)
        err = open_log(node);
    if (err < 0)
        return err;
    log_debug("[Main] %s, compatible with EMQ X %s; memory from %s", EMQC_VERSION, EMQX_COMPAT_VERSION,
              allocator_name());
    err = conf_notices(node->conf, on_notice, node);
    report_unused_keys(node);
    if (err == 0)
        err = uv_loop_init(&node->loop);
    if (err < 0)
        return err;
    node->loop_open = true;
    rcu_thread_register(); /* node_view.c looks sessions up; offline in between */
    rcu_thread_offline();
    err = watch_signals(node);
    if (err == 0)
        err = node_open_acl(node);
    if (err == 0)
        err = node_open_modules(node);
    if (err == 0)
        err = node_open_store(node);
    if (err == 0)
        err = make_broker(node);
    if (err == 0)
        err = open_control(node);
    if (err == 0)
        err = node_open_plugins(node);
    if (err == 0)
        err = node_open_listeners(node);
    return err;
}

void node_stop(struct node *node, bool restart)
{
    if (node->state == BROKER_STOPPING)
        return;
    node->state = BROKER_STOPPING;
    node->restart = restart;
    uv_stop(&node->loop);
}

/* Runs the loop until the handles that are closing have closed. */
static void close_loop(struct node *node)
{
    if (!node->loop_open)
        return;
    for (uint32_t i = 0; i < node->signal_count; i++)
        uv_close((uv_handle_t *)&node->signals[i], NULL);
    sys_topics_close(node->sys_topics);
    ban_guard_close(node->bans);
    node_unwatch_store(node);
    loop_mailbox_close(node->mailbox);
    ctl_server_close(node->ctl_server, NULL, NULL);
    plugin_host_close(node->plugins);
    uv_run(&node->loop, UV_RUN_DEFAULT);
    uv_loop_close(&node->loop);
}

/* Takes down what was built, however far that got. */
static void node_end(struct node *node)
{
    node_close_listeners(node);
    if (node->workers_running) {
        delayed_stop(node->broker->delayed);
        ban_guard_stop(node->bans);
        node_close_clients(node);
        plugin_host_stop(node->plugins);
        worker_pool_stop(node->broker->pool);
        node->workers_running = false;
    }
    node->state = BROKER_STOPPING; /* no more questions to the workers: node_view.c */
    if (node->broker != NULL)
        node_end_sessions(node);
    close_loop(node);
    if (node->broker != NULL) {
        channel_fini(node->broker);
        broker_free(node->broker);
    }
    node_close_store(node);
    ctl_registry_free(node->ctl_registry);
    node_close_modules(node);
    node_close_acl(node);
    node_free_listeners(node);
    zone_table_free(node->zones);
    if (node->loop_open) {
        rcu_thread_online();
        rcu_thread_unregister();
    }
    rcu_barrier_all();
    log_close();
    instance_lock_release(node->lock);
    conf_free(node->conf);
}

int broker_run(const struct run_options *options)
{
    struct node node = {.options = options, .state = BROKER_STARTING, .started_ms = clock_mono_ms()};
    int status = 1;

    if (node_start(&node) == 0) {
        node.state = BROKER_RUNNING;
        printf("EMQ X Broker %s is running now!\n", EMQX_COMPAT_VERSION);
        fflush(stdout);
        daemon_report_ready(options->report);
        uv_run(&node.loop, UV_RUN_DEFAULT);
        status = node.restart ? RUN_RESTART : 0;
    }
    node_end(&node);
    return status;
}
