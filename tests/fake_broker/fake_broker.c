/*
 * fake_broker: the program `emqx` around a broker that has clients and listeners only on paper. It shows what the commands do
 * when a start fails, dies or takes too long, and lists as many clients as a test asks for.
 *
 * The file `fake` in the root, read at each start, holds words:
 *   fail      reports a failure          die        aborts before it reports
 *   hang      never reports              clients=N  has N clients (3 without it)
 *   deaf      opens no control socket    slow_stop  goes only at a second SIGTERM
 */
#include "ctl/instance.h"
#include "ctl/settings.h"
#include "main/run.h"
#include "mgmt/ctl_commands.h"
#include "mgmt/ctl_server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fake {
    uv_loop_t loop;
    uv_signal_t sigterm;
    uv_signal_t sigint;
    struct ctl_registry *registry;
    struct ctl_server *server;
    struct settings settings;
    char words[256];
    uint64_t client_count;
    uint64_t kicked; /* number of the one that was kicked, from 1 */
    enum broker_state state;
    int result;
};

/* An answer that comes in a later turn of the loop. */
struct answer {
    uv_timer_t timer;
    struct fake *fake;
    broker_clients_fn *on_clients;
    broker_kick_fn *on_kicked;
    broker_listeners_fn *on_listeners;
    void *context;
    uint64_t cursor;
    uint32_t limit;
    struct slice client_id;
};

static bool fake_has(const struct fake *fake, const char *word)
{
    return strstr(fake->words, word) != NULL;
}

static void fake_client(uint64_t number, char out_id[32])
{
    snprintf(out_id, 32, "client-%llu", (unsigned long long)number);
}

static void answer_clients(struct answer *answer)
{
    struct client_row rows[256];
    char ids[256][32];
    uint32_t count = 0;
    uint64_t number;

    for (number = answer->cursor + 1; number <= answer->fake->client_count && count < answer->limit; number++) {
        if (number == answer->fake->kicked)
            continue;
        fake_client(number, ids[count]);
        if (answer->client_id.data != NULL && !slice_equal(answer->client_id, slice_from_string(ids[count])))
            continue;
        rows[count] = (struct client_row){.client_id = slice_from_string(ids[count]),
                                          .username = number == 1 ? SLICE_LITERAL("alice") : (struct slice){NULL, 0},
                                          .peername = "127.0.0.1:64896",
                                          .connected_at_s = 1552554416,
                                          .clean_start = number != 1};
        count++;
    }
    answer->on_clients(answer->context, rows, count, number <= answer->fake->client_count ? number - 1 : 0);
}

static void answer_kick(struct answer *answer)
{
    char id[32];

    for (uint64_t number = 1; number <= answer->fake->client_count; number++) {
        fake_client(number, id);
        if (number != answer->fake->kicked && slice_equal(answer->client_id, slice_from_string(id))) {
            answer->fake->kicked = number;
            answer->on_kicked(answer->context, true);
            return;
        }
    }
    answer->on_kicked(answer->context, false);
}

static void answer_listeners(struct answer *answer)
{
    static const struct shutdown_count counts[] = {{"closed", 2}, {"kicked", 1}, {"banned", 0}};
    static const struct listener_row rows[] = {
        {.name = "mqtt:tcp",
         .address = "0.0.0.0:1883",
         .acceptors = 8,
         .max_conns = 1024000,
         .current_conn = 1,
         .shutdown_counts = counts,
         .shutdown_count_count = ARRAY_COUNT(counts)},
        {.name = "mqtt:ssl", .address = "8883", .acceptors = 4, .max_conns = 102400}};

    answer->on_listeners(answer->context, rows, ARRAY_COUNT(rows));
}

static void answer_free(uv_handle_t *handle)
{
    free(handle->data);
}

static void answer_on_turn(uv_timer_t *timer)
{
    struct answer *answer = timer->data;

    if (answer->on_clients != NULL)
        answer_clients(answer);
    else if (answer->on_kicked != NULL)
        answer_kick(answer);
    else
        answer_listeners(answer);
    uv_close((uv_handle_t *)timer, answer_free);
}

static struct answer *answer_later(void *broker, void *context)
{
    struct answer *answer = calloc(1, sizeof(*answer));

    if (answer == NULL)
        abort();
    answer->fake = broker;
    answer->context = context;
    uv_timer_init(&answer->fake->loop, &answer->timer);
    answer->timer.data = answer;
    uv_timer_start(&answer->timer, answer_on_turn, 0, 0);
    return answer;
}

static void fake_let_go(struct fake *fake)
{
    uv_close((uv_handle_t *)&fake->sigterm, NULL);
    uv_close((uv_handle_t *)&fake->sigint, NULL);
}

static const char *view_node_name(void *broker)
{
    return ((struct fake *)broker)->settings.node_name;
}

static enum broker_state view_state(void *broker)
{
    return ((struct fake *)broker)->state;
}

static uint64_t view_uptime_s(void *broker)
{
    (void)broker;
    return 125;
}

static int view_list_clients(void *broker, uint64_t cursor, uint32_t limit, struct slice client_id,
                             broker_clients_fn *on_rows, void *context)
{
    struct answer *answer = answer_later(broker, context);

    answer->on_clients = on_rows;
    answer->cursor = cursor;
    answer->limit = limit > 256 ? 256 : limit;
    answer->client_id = client_id;
    return 0;
}

static int view_kick(void *broker, struct slice client_id, broker_kick_fn *on_done, void *context)
{
    struct answer *answer = answer_later(broker, context);

    answer->on_kicked = on_done;
    answer->client_id = client_id;
    return 0;
}

static int view_list_listeners(void *broker, broker_listeners_fn *on_rows, void *context)
{
    answer_later(broker, context)->on_listeners = on_rows;
    return 0;
}

static void view_stop(void *broker, bool restart)
{
    struct fake *fake = broker;

    if (fake->state == BROKER_STOPPING)
        return;
    fake->state = BROKER_STOPPING;
    fake->result = restart ? RUN_RESTART : 0;
    printf("Stop mqtt:tcp listener on 0.0.0.0:1883 successfully.\n");
    ctl_server_close(fake->server, NULL, NULL);
    fake->server = NULL;
    if (!fake_has(fake, "slow_stop") || restart)
        fake_let_go(fake);
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    struct fake *fake = handle->data;

    (void)number;
    if (fake->state == BROKER_STOPPING)
        fake_let_go(fake);
    else
        view_stop(fake, false);
}

static const struct broker_view fake_view_rows = {
    .node_name = view_node_name,
    .state = view_state,
    .uptime_s = view_uptime_s,
    .list_clients = view_list_clients,
    .kick = view_kick,
    .list_listeners = view_list_listeners,
    .stop = view_stop,
};

static void read_words(struct fake *fake)
{
    FILE *file = fopen("fake", "re");
    const char *clients;

    if (file != NULL) {
        size_t len = fread(fake->words, 1, sizeof(fake->words) - 1, file);

        fake->words[len] = '\0';
        fclose(file);
    }
    clients = strstr(fake->words, "clients=");
    fake->client_count = clients != NULL ? strtoull(clients + 8, NULL, 10) : 3;
}

static int serve(struct fake *fake, const struct run_options *options, const char *socket_path)
{
    struct broker_view view = fake_view_rows;
    struct ctl_server_options server_options = {.loop = &fake->loop, .socket_path = socket_path};
    char text[512];
    int err;

    view.broker = fake;
    fake->registry = ctl_registry_new();
    if (fake->registry == NULL || ctl_commands_register(fake->registry, &view) < 0)
        abort();
    uv_signal_init(&fake->loop, &fake->sigterm);
    uv_signal_init(&fake->loop, &fake->sigint);
    fake->sigterm.data = fake;
    fake->sigint.data = fake;
    uv_signal_start(&fake->sigterm, on_stop_signal, SIGTERM);
    uv_signal_start(&fake->sigint, on_stop_signal, SIGINT);
    server_options.registry = fake->registry;
    err = fake_has(fake, "deaf") ? 0 : ctl_server_open(&server_options, &fake->server);
    if (err < 0) {
        snprintf(text, sizeof(text), "Cannot open %s: %s", socket_path, strerror(-err));
        daemon_report_failure(options->report, text);
        fake_let_go(fake);
        fake->result = 1;
    } else {
        fake->state = BROKER_RUNNING;
        printf("Start mqtt:tcp listener on 0.0.0.0:1883 successfully.\n");
        if (!fake_has(fake, "hang"))
            daemon_report_ready(options->report);
    }
    uv_run(&fake->loop, UV_RUN_DEFAULT);
    ctl_registry_free(fake->registry);
    return fake->result;
}

int broker_run(const struct run_options *options)
{
    static struct fake fake;
    struct instance_lock *lock;
    int result;
    int err = settings_read(options->paths, &fake.settings);

    if (err < 0)
        return 1;
    read_words(&fake);
    printf("Starting emqx on node %s\n", fake.settings.node_name);
    if (fake_has(&fake, "die"))
        abort();
    if (fake_has(&fake, "fail")) {
        daemon_report_warning(options->report, "%s is accepted for compatibility and has no effect",
                              "node.async_threads");
        daemon_report_failure(options->report, "Failed to start mqtt:tcp listener on 0.0.0.0:1883 - eaddrinuse");
        return 1;
    }
    err = instance_lock_take(options->paths, fake.settings.data_dir, &lock);
    if (err < 0) {
        daemon_report_failure(options->report, err == -EBUSY ? "Node is already running!" : strerror(-err));
        return 1;
    }
    if (uv_loop_init(&fake.loop) < 0)
        abort();
    result = serve(&fake, options, instance_lock_socket(lock));
    uv_loop_close(&fake.loop);
    instance_lock_release(lock);
    return result;
}

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
