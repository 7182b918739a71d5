/*
 * durable_fixture: see durable_fixture.h.
 */
#include "durable_fixture.h"

#include "../../../temporary_dir.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "broker/retainer/retained_read.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct durable_fixture *current; /* of on_loaded, which is told the worker only */

static void on_progress(struct store_client *client, void *context)
{
    struct durable_fixture *fixture = context;

    (void)client;
    fixture->progress_count++;
}

static void open_store(struct durable_fixture *fixture)
{
    struct store_client_options options = {.on_progress = on_progress, .context = fixture};
    char *error = NULL;
    int err = store_open(&fixture->store_options, &fixture->store, &error);

    if (error != NULL)
        print_error("%s\n", error);
    free(error);
    assert_int_equal(err, 0);
    assert_int_equal(store_client_open(fixture->store, &options, &fixture->client), 0);
}

static void close_store(struct durable_fixture *fixture)
{
    if (fixture->store == NULL)
        return;
    store_client_close(fixture->client);
    store_close(fixture->store);
    fixture->client = NULL;
    fixture->store = NULL;
}

int durable_set_up(void **state)
{
    struct durable_fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    strcpy(fixture->dir, "/tmp/emqc-retained-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    fixture->store_options = (struct store_options){.dir = fixture->dir,
                                                    .cache_bytes = 1u << 20,
                                                    .write_buffer_bytes = 16u << 20,
                                                    .queue_bytes_max = 1u << 20,
                                                    .sync_interval_ms = 50};
    fixture->options.payload_in_memory_max = 100;
    rcu_thread_register();
    current = fixture;
    open_store(fixture);
    *state = fixture;
    return 0;
}

int durable_tear_down(void **state)
{
    struct durable_fixture *fixture = *state;

    if (fixture->gate_closed) /* the test has failed */
        retained_index_unlock(fixture->retainer->index, &fixture->gate);
    if (fixture->retainer != NULL)
        durable_close(fixture);
    close_store(fixture);
    temporary_dir_remove(fixture->dir);
    rcu_thread_unregister();
    free(fixture);
    return 0;
}

void durable_turn(struct durable_fixture *fixture)
{
    uint64_t now_ms = clock_mono_ms();

    for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
        worker_run_turn(worker_pool_get(fixture->pool, i), now_ms);
    rcu_thread_quiescent();
    sched_yield();
}

static void on_loaded(struct worker *worker)
{
    assert_int_equal(worker_index(worker), 0);
    current->loaded_count++;
}

static void make_retainer(struct durable_fixture *fixture)
{
    if (fixture->store == NULL)
        open_store(fixture);
    fixture->loaded_count = 0;
    fixture->retainer = retainer_new(&fixture->options);
    assert_non_null(fixture->retainer);
    assert_int_equal(worker_pool_new(FIXTURE_WORKERS, 1 << 20, &fixture->pool), 0);
}

static void wait_until_loaded(struct durable_fixture *fixture)
{
    while (fixture->loaded_count == 0)
        durable_turn(fixture);
}

void durable_open_loading(struct durable_fixture *fixture)
{
    make_retainer(fixture);
    assert_int_equal(retainer_open(fixture->retainer, fixture->store, fixture->pool, on_loaded), 0);
}

void durable_open(struct durable_fixture *fixture)
{
    durable_open_loading(fixture);
    wait_until_loaded(fixture);
}

void durable_close(struct durable_fixture *fixture)
{
    worker_pool_drain(fixture->pool);
    retainer_close(fixture->retainer);
    close_store(fixture);
    worker_pool_drain(fixture->pool); /* what the store has told its clients last */
    worker_pool_free(fixture->pool);
    retainer_free(fixture->retainer);
    rcu_barrier_all();
    fixture->retainer = NULL;
    fixture->pool = NULL;
}

void durable_restart_store(struct durable_fixture *fixture)
{
    close_store(fixture);
    open_store(fixture);
}

void durable_restart(struct durable_fixture *fixture)
{
    durable_close(fixture);
    durable_open(fixture);
}

void durable_write_row(struct durable_fixture *fixture, const char *topic, struct slice value)
{
    uint8_t key[RETAINED_KEY_MAX];

    store_put(fixture->client, STORE_RETAINED, retained_key(slice_from_string(topic), key), &value, 1);
}

static void write_message(struct durable_fixture *fixture, const char *topic)
{
    struct message *message = make_retained(topic, topic, 1, clock_mono_ms());
    struct slice parts[MESSAGE_RECORD_PARTS];
    uint8_t head[MESSAGE_RECORD_HEAD];
    uint8_t key[RETAINED_KEY_MAX];

    message_record_encode(message, store_now_ms(fixture->store), head, parts);
    store_put(fixture->client, STORE_RETAINED, retained_key(message_topic(message), key), parts, MESSAGE_RECORD_PARTS);
    message_unref(message);
}

static uint64_t shard_of(struct durable_fixture *fixture, const char *topic)
{
    struct retained_place place;

    retained_index_lock(fixture->retainer->index, slice_from_string(topic), &place);
    retained_index_unlock(fixture->retainer->index, &place);
    return place.hash & 63; /* as many as the index has, or fewer */
}

static bool shares_the_gate(struct durable_fixture *fixture, const char *topic)
{
    return shard_of(fixture, topic) == shard_of(fixture, FIXTURE_GATE);
}

/* Other topics that tests touch while the gate is closed: in its shard they would wait for it. */
static const char *const touched[] = {"a/00000", "a/00001", "b", NULL};

static bool all_are_clear(struct durable_fixture *fixture, const char *const *topics)
{
    while (*topics != NULL && !shares_the_gate(fixture, *topics))
        topics++;
    return *topics == NULL;
}

/* A retainer whose hashes, which differ from one to the next, keep these topics clear of the gate. */
static void make_gated_retainer(struct durable_fixture *fixture, const char *const *behind)
{
    bool clear = false;

    while (!clear) {
        make_retainer(fixture);
        clear = all_are_clear(fixture, behind) && all_are_clear(fixture, touched);
        if (!clear) {
            worker_pool_free(fixture->pool);
            retainer_free(fixture->retainer);
        }
    }
}

void durable_open_gated(struct durable_fixture *fixture, const char *const *behind)
{
    struct slice last = {NULL, 0};
    char topic[32];

    make_gated_retainer(fixture, behind);
    for (int i = 0, written = 0; written < FIXTURE_BEFORE_GATE; i++) {
        snprintf(topic, sizeof(topic), "a/%05d", i);
        if (shares_the_gate(fixture, topic))
            continue;
        write_message(fixture, topic);
        written++;
    }
    write_message(fixture, FIXTURE_GATE);
    for (; *behind != NULL; behind++)
        write_message(fixture, *behind);
    uint64_t number = store_submit(fixture->client, true);
    while (store_committed(fixture->client) < number)
        sched_yield();
    retained_index_lock(fixture->retainer->index, SLICE_LITERAL(FIXTURE_GATE), &fixture->gate);
    fixture->gate_closed = true;
    assert_int_equal(retainer_open(fixture->retainer, fixture->store, fixture->pool, on_loaded), 0);
    while (atomic_load(&fixture->retainer->loader.version) == 0)
        durable_turn(fixture);
    assert_true(retained_loading(fixture->retainer, &last));
}

void durable_open_gate(struct durable_fixture *fixture)
{
    if (fixture->gate_closed)
        retained_index_unlock(fixture->retainer->index, &fixture->gate);
    fixture->gate_closed = false;
    wait_until_loaded(fixture);
}

static bool large_messages_wait(struct durable_fixture *fixture)
{
    struct retained_rows *rows = &fixture->retainer->rows;
    bool wait;

    pthread_mutex_lock(&rows->lock);
    wait = rows->large != NULL;
    pthread_mutex_unlock(&rows->lock);
    return wait;
}

void durable_commit(struct durable_fixture *fixture)
{
    uint64_t number;

    retainer_submit(fixture->retainer, true);
    number = store_submit(fixture->client, true);
    while (store_committed(fixture->client) < number)
        durable_turn(fixture);
    while (large_messages_wait(fixture))
        durable_turn(fixture);
}

enum retainer_result durable_store(struct durable_fixture *fixture, struct message *message, bool durable)
{
    enum retainer_result result = retainer_store(fixture->retainer, message, durable);

    message_unref(message);
    return result;
}

static void add_found(struct durable_fixture *fixture, const struct message *message)
{
    size_t len = strlen(fixture->found);
    int payload_len = message->payload_len > 20 ? 20 : (int)message->payload_len;

    snprintf(fixture->found + len, sizeof(fixture->found) - len, "%s%.*s", len > 0 ? " " : "", payload_len,
             (const char *)message->payload);
}

struct reading {
    struct durable_fixture *fixture;
    bool ended;
};

static void on_read(struct worker *worker, void *context, struct retained_read *read)
{
    struct reading *reading = context;

    (void)worker;
    for (uint32_t i = 0; i < retained_read_count(read); i++) {
        struct message *message = retained_read_steal(read, i);
        if (message != NULL)
            add_found(reading->fixture, message);
        message_unref(message);
    }
    reading->ended = true;
}

static void read_from_disk(struct durable_fixture *fixture, struct message *message)
{
    struct reading reading = {.fixture = fixture};

    assert_non_null(
        retained_read_start(fixture->retainer, worker_pool_get(fixture->pool, 1), &message, 1, on_read, &reading));
    while (!reading.ended)
        durable_turn(fixture);
}

struct taken {
    uint32_t count;
    struct message *messages[64];
};

static void take(void *context, struct message *message)
{
    struct taken *taken = context;

    assert_true(taken->count < ARRAY_COUNT(taken->messages));
    taken->messages[taken->count++] = message_ref(message);
}

const char *durable_match(struct durable_fixture *fixture, const char *filter)
{
    struct retainer_position position = {0};
    struct taken taken = {.count = 0};
    int more;

    do
        more = retainer_match_slice(fixture->retainer, slice_from_string(filter), &position, 1000, clock_mono_ms(),
                                    take, &taken);
    while (more == 1);
    assert_true(more >= 0);
    retainer_position_fini(&position);
    fixture->found[0] = '\0';
    for (uint32_t i = 0; i < taken.count; i++) {
        if (retained_is_on_disk(taken.messages[i]))
            read_from_disk(fixture, taken.messages[i]);
        else
            add_found(fixture, taken.messages[i]);
        message_unref(taken.messages[i]);
    }
    if (more == RETAINER_NOT_YET)
        strcat(fixture->found, fixture->found[0] == '\0' ? "..." : " ...");
    return fixture->found;
}

const char *durable_row(struct durable_fixture *fixture, const char *topic)
{
    static char text[64];
    uint8_t key[RETAINED_KEY_MAX];
    struct message_record record;
    struct slice value;
    int found = store_get(fixture->store, STORE_RETAINED, retained_key(slice_from_string(topic), key), &value);

    assert_true(found >= 0);
    if (found == 0)
        return "-";
    assert_int_equal(message_record_decode(value, &record), 0);
    snprintf(text, sizeof(text), "%.*s", (int)record.payload.len, (const char *)record.payload.data);
    slice_free(&value);
    return text;
}
