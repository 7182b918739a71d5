/*
 * channel_fixture: see channel_fixture.h.
 */
#include "channel_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../temporary_dir.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "base/rcu_table.h"
#include "broker/channel/channel.h"
#include "broker/session/session.h"
#include "broker/zone.h"
#include "conf/conf.h"
#include "mqtt/encode.h"
#include "net/listener.h"
#include "store/store.h"

#define TURNS 12 /* enough for a hand-over, an answer and what follows */
#define CLIENTS_MAX 16

struct broker *fixture_broker;
uint64_t fixture_now_ms;

static struct conf *conf;
static struct zone_table *zones;
static struct listener *listener;
static int sockets[CLIENTS_MAX];
static uint32_t socket_count;

static struct store *store;
static char store_dir[64];

static int open_broker(const char *conf_text)
{
    const struct conf_load_options load = {.file = "test.conf"};
    struct broker_settings settings = {.worker_count = FIXTURE_WORKERS,
                                       .mailbox_bytes_max = 1 << 20,
                                       .share_strategy = SHARE_ROUND_ROBIN,
                                       .store = store};
    struct listener_options options = {.type = LISTENER_TCP, .max_connections = 100};
    char error[LISTENER_ERROR_MAX];
    struct conf_errors *errors = NULL;

    socket_count = 0;
    fixture_now_ms = clock_mono_ms();
    assert_int_equal(conf_load_text(&load, conf_text, strlen(conf_text), &conf, &errors), 0);
    conf_errors_free(errors);
    assert_int_equal(zone_table_new(conf, &zones), 0);
    assert_int_equal(broker_new(&settings, &fixture_broker), 0);
    assert_int_equal(channel_init(fixture_broker), 0);
    assert_int_equal(listener_new(&options, &(struct listener_places){0},
                                  (void *)(uintptr_t)zone_table_find(zones, "test"), channel_on_accept, &listener,
                                  error),
                     0);
    fixture_turns();
    return 0;
}

int fixture_open(const char *conf_text)
{
    rcu_thread_register();
    store = NULL;
    return open_broker(conf_text);
}

int fixture_open_stored(const char *conf_text)
{
    struct store_options options = {.dir = store_dir,
                                    .cache_bytes = 1u << 20,
                                    .write_buffer_bytes = 4u << 20,
                                    .queue_bytes_max = 64u << 20,
                                    .sync_interval_ms = 3600000};

    rcu_thread_register();
    strcpy(store_dir, "/tmp/emqc-channel-XXXXXX");
    assert_non_null(mkdtemp(store_dir));
    assert_int_equal(store_open(&options, &store, NULL), 0);
    return open_broker(conf_text);
}

static void suspend_session(void *context, void *element)
{
    (void)context;
    session_suspend(element);
}

/* As a node ends. */
int fixture_close(void)
{
    uint64_t cursor = 0;

    for (uint32_t i = 0; i < socket_count; i++)
        close(sockets[i]);
    fixture_turns();
    for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
        channel_close_all(fixture_broker->workers[i]->host.worker);
    fixture_now_ms += 60000;
    fixture_turns();
    worker_pool_drain(fixture_broker->pool);
    do
        rcu_table_visit(fixture_broker->registry, &cursor, 100, suspend_session, NULL);
    while (cursor != 0);
    for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
        session_host_finish(&fixture_broker->workers[i]->host);
    worker_pool_drain(fixture_broker->pool);
    broker_close_store(fixture_broker);
    broker_close_retained(fixture_broker);
    rcu_barrier_all();
    worker_pool_drain(fixture_broker->pool);
    channel_fini(fixture_broker);
    broker_free(fixture_broker);
    assert_false(listener_is_held(listener));
    listener_free(listener);
    zone_table_free(zones);
    conf_free(conf);
    if (store != NULL) {
        store_close(store);
        temporary_dir_remove(store_dir);
    }
    rcu_thread_unregister();
    return 0;
}

int fixture_connect_socket(uint32_t worker)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    int pair[2];

    assert_true(socket_count < CLIENTS_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    sockets[socket_count++] = pair[0];
    listener_hold(listener);
    channel_on_accept(fixture_broker->workers[worker]->host.worker, listener, pair[1], &peer);
    return pair[0];
}

void fixture_send(int fd, enum mqtt_version version, const struct mqtt_packet *packet)
{
    uint8_t bytes[1024];
    size_t size = mqtt_encoded_size(version, packet);

    assert_true(size > 0 && size <= sizeof(bytes));
    assert_int_equal(mqtt_encode(version, packet, bytes, sizeof(bytes)), size);
    assert_int_equal(write(fd, bytes, size), size);
}

void fixture_turns(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
            worker_run_turn(fixture_broker->workers[i]->host.worker, fixture_now_ms);
    }
}

const char *fixture_receive(int fd)
{
    static char text[2048];
    uint8_t bytes[1000];
    ssize_t got = read(fd, bytes, sizeof(bytes));
    size_t len = 0;

    for (ssize_t i = 0; i < got; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%02x", bytes[i]);
    text[len] = '\0';
    if (got > 0)
        got = read(fd, bytes, sizeof(bytes));
    if (got == 0)
        snprintf(text + len, sizeof(text) - len, "closed");
    return text;
}

static struct slice optional(const char *text)
{
    return text == NULL ? slice_make(NULL, 0) : slice_from_string(text);
}

void fixture_say_connect(int fd, enum mqtt_version version, const char *client_id, const char *user_name,
                         const char *password)
{
    struct mqtt_packet packet = {.type = MQTT_CONNECT,
                                 .connect = {.client_id = slice_from_string(client_id),
                                             .user_name = optional(user_name),
                                             .password = optional(password),
                                             .clean_start = true,
                                             .level = (uint8_t)version}};

    fixture_send(fd, version, &packet);
}

struct hook *fixture_hook(enum hook_point point, int priority, hook_fn *run, void *context)
{
    struct hook_options options = {
        .point = point, .priority = priority, .run = run, .context = context, .owner = "test"};
    struct hook *hook = NULL;

    assert_int_equal(hook_add(&options, &hook), 0);
    return hook;
}
