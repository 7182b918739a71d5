/*
 * Callbacks come and go while messages flow at full speed through two workers: no callback is called once hook_remove() has returned, what waits
 * for one that is removed goes on, each PUBLISH is acknowledged once and in its order, and subscribers see messages in their order.
 * ThreadSanitizer sees what these cannot.
 */
#include "channel_fixture.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rcu.h"
#include "hook/events.h"
#include "hook/hook_memory.h"
#include "hook/hook_run.h"

#define PUBLISHERS 2
#define SUBSCRIBERS 2
#define WINDOW 64u           /* messages of a publisher that are not acknowledged */
#define ROUNDS 40            /* callbacks removed and added again */
#define ANSWERS_PER_ROUND 50 /* acknowledgements between two changes, at least */
#define TICKETS_MAX 16       /* at most one for each client */
#define BUFFER 4096

/* ---- callbacks ---- */

#define SIGN_OF_LIFE UINT64_C(0x6c6976696e672121)

/* A callback's context, which goes once hook_remove() has returned. */
struct living {
    uint64_t sign;
    _Atomic uint64_t calls;
};

static _Atomic uint64_t dead_calls;

/* Who answers later, from a thread of its own. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct hook_ticket *tickets[TICKETS_MAX];
    uint32_t count;
    bool done;
    _Atomic uint64_t in_time;
    pthread_t thread;
} backend = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static uint64_t note_life(struct living *living)
{
    if (living->sign != SIGN_OF_LIFE)
        atomic_fetch_add(&dead_calls, 1);
    return atomic_fetch_add_explicit(&living->calls, 1, memory_order_relaxed);
}

static enum hook_verdict defer(void *event)
{
    struct hook_ticket *ticket = hook_defer(event);

    if (ticket == NULL)
        return HOOK_PENDING;
    pthread_mutex_lock(&backend.lock);
    assert_true(backend.count < TICKETS_MAX);
    backend.tickets[backend.count++] = ticket;
    pthread_cond_signal(&backend.changed);
    pthread_mutex_unlock(&backend.lock);
    return HOOK_PENDING;
}

static enum hook_verdict apply(void *answer, void *event)
{
    (void)answer;
    if (event != NULL)
        atomic_fetch_add(&backend.in_time, 1);
    return HOOK_NEXT;
}

static void *answer_all(void *argument)
{
    pthread_mutex_lock(&backend.lock);
    while (!backend.done || backend.count > 0) {
        if (backend.count == 0) {
            pthread_cond_wait(&backend.changed, &backend.lock);
            continue;
        }
        struct hook_ticket *ticket = backend.tickets[--backend.count];
        pthread_mutex_unlock(&backend.lock);
        hook_complete(ticket, apply, NULL);
        pthread_mutex_lock(&backend.lock);
    }
    pthread_mutex_unlock(&backend.lock);
    return argument;
}

static enum hook_verdict sometimes_later(void *context, void *event)
{
    return note_life(context) % 8 == 7 ? defer(event) : HOOK_NEXT;
}

static enum hook_verdict only_look(void *context, void *event)
{
    (void)event;
    note_life(context);
    return HOOK_NEXT;
}

static enum hook_verdict copy_payload(void *context, void *data)
{
    struct hook_deliver *event = data;

    if (note_life(context) % 2 == 0)
        event->message.payload = hook_memory_copy(&event->memory, event->message.payload);
    return HOOK_NEXT;
}

static const struct {
    enum hook_point point;
    int priority;
    hook_fn *run;
} kinds[] = {
    {HOOK_CLIENT_CHECK_ACL, 0, sometimes_later}, {HOOK_CLIENT_CHECK_ACL, -1, only_look},
    {HOOK_MESSAGE_PUBLISH, 0, sometimes_later},  {HOOK_MESSAGE_PUBLISH, 1, only_look},
    {HOOK_MESSAGE_DELIVER, 0, copy_payload},     {HOOK_MESSAGE_ACKED, 0, only_look},
    {HOOK_MESSAGE_DROPPED, 0, only_look},
};

static struct hook *bring_to_life(size_t kind, struct living **out_living)
{
    struct living *living = calloc(1, sizeof(*living));

    assert_non_null(living);
    living->sign = SIGN_OF_LIFE;
    *out_living = living;
    return fixture_hook(kinds[kind].point, kinds[kind].priority, kinds[kind].run, living);
}

static uint64_t bury(struct hook *hook, struct living *living)
{
    uint64_t calls;

    hook_remove(hook);
    calls = atomic_load(&living->calls);
    living->sign = 0; /* not atomic: ThreadSanitizer sees a callback that still runs */
    free(living);
    return calls;
}

/* ---- clients ---- */

struct client {
    int fd;
    pthread_t thread;
    uint8_t in[BUFFER];
    size_t in_len;
    uint8_t out[BUFFER];
    size_t out_len;
    uint32_t sent;     /* of a publisher */
    uint32_t answered; /* likewise */
    uint32_t last[PUBLISHERS];
    uint32_t received;
};

static _Atomic bool is_over;         /* publishers send no more */
static _Atomic bool all_is_answered; /* subscribers end */
static _Atomic uint64_t answers;
static _Atomic uint64_t refusals;

static void put(struct client *client, const uint8_t *bytes, size_t len)
{
    assert_true(client->out_len + len <= BUFFER);
    memcpy(client->out + client->out_len, bytes, len);
    client->out_len += len;
}

/* Sends and receives what there is, or waits a moment for it. */
static void exchange(struct client *client)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = (short)(POLLIN | (client->out_len > 0 ? POLLOUT : 0))};
    ssize_t len;

    if (poll(&poll_fd, 1, 1) <= 0)
        return;
    len = client->out_len > 0 ? write(client->fd, client->out, client->out_len) : 0;
    if (len > 0) {
        memmove(client->out, client->out + len, client->out_len - (size_t)len);
        client->out_len -= (size_t)len;
    }
    len = read(client->fd, client->in + client->in_len, BUFFER - client->in_len);
    assert_int_not_equal(len, 0); /* the broker has closed */
    client->in_len += len > 0 ? (size_t)len : 0;
}

/* Gives whole packets of less than 128 bytes to `on_packet`. */
static void take_packets(struct client *client, void (*on_packet)(struct client *client, const uint8_t *packet))
{
    size_t place = 0;

    while (client->in_len - place >= 2 && client->in_len - place >= 2u + client->in[place + 1]) {
        assert_true(client->in[place + 1] < 128);
        on_packet(client, client->in + place);
        place += 2u + client->in[place + 1];
    }
    memmove(client->in, client->in + place, client->in_len - place);
    client->in_len -= place;
}

static uint16_t packet_id_of(uint32_t number)
{
    return (uint16_t)(number % 65535 + 1);
}

static void on_puback(struct client *client, const uint8_t *packet)
{
    uint16_t packet_id = (uint16_t)(packet[2] << 8 | packet[3]);

    assert_int_equal(packet[0], 0x40);
    assert_int_equal(packet_id, packet_id_of(client->answered));
    client->answered++;
    if (packet[1] > 2 && packet[4] >= 0x80)
        atomic_fetch_add(&refusals, 1); /* the callback that it waited for was removed */
    atomic_fetch_add(&answers, 1);
}

static void say_publish(struct client *client, uint8_t who)
{
    uint16_t packet_id = packet_id_of(client->sent);
    uint32_t number = client->sent + 1;
    uint8_t topic = client->sent % 16 == 15 ? 'x' : 't'; /* nobody has subscribed to x */
    uint8_t packet[] = {0x32, 11, 0, 1, topic, (uint8_t)(packet_id >> 8), (uint8_t)packet_id, 0, who, 0, 0, 0, 0};

    memcpy(packet + 9, &number, 4);
    put(client, packet, sizeof(packet));
    client->sent++;
}

static struct client publishers[PUBLISHERS], subscribers[SUBSCRIBERS];

static void *run_publisher(void *argument)
{
    struct client *client = argument;
    uint8_t who = (uint8_t)(client - publishers);

    while (!atomic_load(&is_over) || client->answered < client->sent) {
        while (!atomic_load(&is_over) && client->sent - client->answered < WINDOW)
            say_publish(client, who);
        exchange(client);
        take_packets(client, on_puback);
    }
    return NULL;
}

static void on_publish(struct client *client, const uint8_t *packet)
{
    uint8_t puback[] = {0x40, 2, packet[5], packet[6]}, who = packet[8];
    uint32_t number;

    assert_int_equal(packet[0], 0x32);
    assert_int_equal(packet[1], 11);
    assert_true(who < PUBLISHERS);
    memcpy(&number, packet + 9, 4);
    assert_true(number > client->last[who]);
    client->last[who] = number;
    client->received++;
    put(client, puback, sizeof(puback));
}

static void *run_subscriber(void *argument)
{
    struct client *client = argument;

    while (!atomic_load(&all_is_answered)) {
        exchange(client);
        take_packets(client, on_publish);
    }
    return NULL;
}

static void come(struct client *client, uint32_t worker, const char *client_id)
{
    memset(client, 0, sizeof(*client));
    client->fd = fixture_connect_socket(worker);
    fixture_say_connect(client->fd, MQTT_V5, client_id, NULL, NULL);
    fixture_turns();
    assert_memory_equal(fixture_receive(client->fd), "20", 2);
}

static void come_all(void)
{
    static const char *const publisher_ids[] = {"p0", "p1"}, *const subscriber_ids[] = {"s0", "s1"};
    static const uint8_t subscribe[] = {0x82, 7, 0, 1, 0, 0, 1, 't', 1};

    for (uint32_t i = 0; i < PUBLISHERS; i++)
        come(&publishers[i], i % FIXTURE_WORKERS, publisher_ids[i]);
    for (uint32_t i = 0; i < SUBSCRIBERS; i++) {
        come(&subscribers[i], i % FIXTURE_WORKERS, subscriber_ids[i]);
        assert_int_equal(write(subscribers[i].fd, subscribe, sizeof(subscribe)), sizeof(subscribe));
        fixture_turns();
        assert_string_equal(fixture_receive(subscribers[i].fd), "900400010001");
    }
}

static void begin_all(void)
{
    rcu_thread_offline(); /* as the control thread is while it waits */
    assert_int_equal(worker_pool_start(fixture_broker->pool), 0);
    assert_int_equal(pthread_create(&backend.thread, NULL, answer_all, NULL), 0);
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        assert_int_equal(pthread_create(&publishers[i].thread, NULL, run_publisher, &publishers[i]), 0);
    for (uint32_t i = 0; i < SUBSCRIBERS; i++)
        assert_int_equal(pthread_create(&subscribers[i].thread, NULL, run_subscriber, &subscribers[i]), 0);
}

static void end_all(void)
{
    atomic_store(&is_over, true);
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);
    atomic_store(&all_is_answered, true);
    for (uint32_t i = 0; i < SUBSCRIBERS; i++)
        pthread_join(subscribers[i].thread, NULL);
    pthread_mutex_lock(&backend.lock);
    backend.done = true;
    pthread_cond_signal(&backend.changed);
    pthread_mutex_unlock(&backend.lock);
    pthread_join(backend.thread, NULL);
    worker_pool_stop(fixture_broker->pool);
    rcu_thread_online();
    fixture_now_ms = clock_mono_ms();
}

static void wait_for_answers(void)
{
    uint64_t start = atomic_load(&answers);

    while (atomic_load(&answers) - start < ANSWERS_PER_ROUND)
        sched_yield();
}

static void callbacks_come_and_go_while_messages_flow(void **state)
{
    struct living *living[ARRAY_COUNT(kinds)];
    struct hook *hooks[ARRAY_COUNT(kinds)];
    uint64_t heard[ARRAY_COUNT(kinds)] = {0};

    (void)state;
    come_all();
    begin_all();
    wait_for_answers(); /* without any */
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        hooks[i] = bring_to_life(i, &living[i]);
    wait_for_answers();
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t which = round % ARRAY_COUNT(kinds);

        heard[which] += bury(hooks[which], living[which]);
        wait_for_answers();
        hooks[which] = bring_to_life(which, &living[which]);
        wait_for_answers();
    }
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        heard[i] += bury(hooks[i], living[i]);
    wait_for_answers();
    end_all();
    assert_int_equal(atomic_load(&dead_calls), 0);
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        assert_true(heard[i] > 0);
    assert_true(atomic_load(&backend.in_time) > 0);
    assert_true(atomic_load(&refusals) < atomic_load(&answers) / 2);
    for (uint32_t i = 0; i < SUBSCRIBERS; i++)
        assert_true(subscribers[i].received > 0);
}

static int open_fixture(void **state)
{
    (void)state;
    hook_set_limits(60000, TICKETS_MAX);
    return fixture_open("allow_anonymous = true\nzone.test.enable_acl = on\nacl_nomatch = allow\n"
                        "enable_acl_cache = off\nzone.test.max_mqueue_len = 100000\n");
}

static int close_fixture(void **state)
{
    (void)state;
    return fixture_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(callbacks_come_and_go_while_messages_flow, open_fixture, close_fixture),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
