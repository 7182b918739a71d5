/*
 * durable_fixture: see durable_fixture.h.
 */
#include "durable_fixture.h"
#include "../../../temporary_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_progress(struct store_client *client, void *context)
{
    (void)client;
    (void)context; /* it has woken the loop: that is all */
}

int durable_set_up(void **state)
{
    struct durable_fixture *fixture = calloc(1, sizeof(*fixture));
    char dir[80];
    struct store_options options = {.dir = dir,
                                    .cache_bytes = 1u << 20,
                                    .write_buffer_bytes = 4u << 20,
                                    .queue_bytes_max = 64u << 20,
                                    .sync_interval_ms = 50};
    struct store_client_options client = {.on_progress = on_progress};
    void *base;

    assert_non_null(fixture);
    assert_int_equal(fixture_set_up(&base), 0);
    fixture->base = base;
    fixture->host = &fixture->base->host;
    strcpy(fixture->parent, "/tmp/emqc-session-XXXXXX");
    assert_non_null(mkdtemp(fixture->parent));
    snprintf(dir, sizeof(dir), "%s/store", fixture->parent);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_int_equal(loop_mailbox_open(&fixture->loop, &fixture->mailbox), 0);
    assert_int_equal(store_open(&options, &fixture->store, NULL), 0);
    client.mailbox = fixture->mailbox;
    assert_int_equal(store_client_open(fixture->store, &client, &fixture->host->client), 0);
    fixture->host->store = fixture->store;
    fixture->host->durable_count = &fixture->durable_count;
    *state = fixture;
    return 0;
}

int durable_tear_down(void **state)
{
    struct durable_fixture *fixture = *state;
    struct store_client *client = fixture->host->client;
    void *base = fixture->base;

    assert_int_equal(fixture_tear_down(&base), 0); /* writes, too */
    assert_int_equal(fixture->durable_count, 0);
    store_client_close(client);
    store_close(fixture->store);
    loop_mailbox_close(fixture->mailbox);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    uv_loop_close(&fixture->loop);
    temporary_dir_remove(fixture->parent);
    free(fixture);
    return 0;
}

void durable_commit(struct durable_fixture *fixture)
{
    struct store_client *client = fixture->host->client;
    uint64_t number = store_submit(client, true);

    while (store_committed(client) < number)
        uv_run(&fixture->loop, UV_RUN_ONCE);
    session_host_on_committed(fixture->host, store_committed(client));
}

void durable_run_job(struct durable_fixture *fixture)
{
    uv_run(worker_uv_loop(fixture->host->worker), UV_RUN_ONCE);
}

static bool count_row(void *context, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)context;
    return true;
}

uint32_t durable_rows(struct durable_fixture *fixture, enum store_table table)
{
    uint32_t count = 0;

    assert_int_equal(store_scan(fixture->store, table, slice_make("", 0), slice_make("", 0), count_row, &count), 0);
    return count;
}

uint32_t durable_all_rows(struct durable_fixture *fixture)
{
    uint32_t count = 0;

    for (int table = STORE_META + 1; table < STORE_TABLE_COUNT; table++)
        count += durable_rows(fixture, (enum store_table)table);
    return count;
}

struct session *durable_absent(struct durable_fixture *fixture, const char *client_id, uint8_t qos,
                               struct subscription **out_subscription)
{
    struct session *session = fixture_session(fixture->base, client_id);
    struct peer peer;

    fixture_connect(session, &peer, 10);
    *out_subscription = fixture_subscribe(session, "t", qos);
    session_detach(session, true);
    return session;
}

void durable_deliver(struct durable_fixture *fixture, struct subscription *subscription, const char *topic,
                     uint32_t number, uint8_t qos)
{
    char payload[16];

    snprintf(payload, sizeof(payload), "%u", number);
    fixture_deliver_take(fixture->base, subscription, make_message(topic, payload, qos, fixture->base->now_ms));
}

static enum session_write reader_publish(struct session_link *link, const struct session_publish *publish)
{
    struct reader *reader = CONTAINER_OF(link, struct reader, link);
    const struct message *message = publish->message;
    char text[16];

    if (reader->count == reader->capacity) {
        reader->capacity = reader->capacity == 0 ? 1024 : reader->capacity * 2;
        reader->numbers = realloc(reader->numbers, reader->capacity * sizeof(*reader->numbers));
        assert_non_null(reader->numbers);
    }
    assert_true(message->payload_len < sizeof(text));
    memcpy(text, message->payload, message->payload_len);
    text[message->payload_len] = '\0';
    reader->numbers[reader->count++] = (uint32_t)strtoul(text, NULL, 10);
    reader->dup_count += publish->dup;
    if (publish->qos == 1) {
        assert_true(reader->to_ack_count < UINT16_MAX);
        reader->to_ack[reader->to_ack_count++] = publish->packet_id;
    }
    return SESSION_WRITTEN;
}

static void reader_pubrel(struct session_link *link, uint16_t packet_id)
{
    (void)link;
    (void)packet_id;
}

static bool reader_writable(struct session_link *link)
{
    return !CONTAINER_OF(link, struct reader, link)->blocked;
}

static void reader_overload(struct session_link *link)
{
    (void)link;
    fail();
}

static void reader_close(struct session_link *link, enum reason_code code, const char *reason)
{
    (void)link;
    (void)code;
    (void)reason;
}

static const struct session_link_ops reader_ops = {.publish = reader_publish,
                                                   .pubrel = reader_pubrel,
                                                   .writable = reader_writable,
                                                   .overload = reader_overload,
                                                   .close = reader_close};

void reader_connect(struct session *session, struct reader *reader, uint16_t window)
{
    struct session_attach_options options = {
        .link = &reader->link, .expiry_interval_s = 3600, .window = window, .version = MQTT_V5};

    session->host->link_ops = &reader_ops;
    *reader = (struct reader){.to_ack = malloc(UINT16_MAX * sizeof(*reader->to_ack))};
    assert_non_null(reader->to_ack);
    session_attach(session, &options);
    session_resume(session);
}

uint32_t reader_ack(struct reader *reader)
{
    uint32_t count = reader->to_ack_count;

    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(session_on_puback(reader->link.session, reader->to_ack[i]), 0);
    reader->to_ack_count -= count;
    memmove(reader->to_ack, reader->to_ack + count, reader->to_ack_count * sizeof(*reader->to_ack));
    return count;
}

void reader_fini(struct reader *reader)
{
    free(reader->numbers);
    free(reader->to_ack);
}
