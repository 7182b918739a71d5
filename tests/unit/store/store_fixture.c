/*
 * store_fixture: see store_fixture.h.
 */
#include "store_fixture.h"
#include "../../temporary_dir.h"

#include <unistd.h>

static char text[4096];

int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL)
        return -1;
    strcpy(fixture->parent, "/tmp/emqc-store-XXXXXX");
    if (mkdtemp(fixture->parent) == NULL || uv_loop_init(&fixture->loop) < 0 ||
        loop_mailbox_open(&fixture->loop, &fixture->mailbox) < 0)
        return -1;
    snprintf(fixture->dir, sizeof(fixture->dir), "%s/store", fixture->parent);
    fixture->options = (struct store_options){.dir = fixture->dir,
                                              .cache_bytes = 1u << 20,
                                              .write_buffer_bytes = 4u << 20,
                                              .queue_bytes_max = 8u << 20,
                                              .sync_interval_ms = 50};
    *state = fixture;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;

    fixture_close(fixture);
    loop_mailbox_close(fixture->mailbox);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    uv_loop_close(&fixture->loop);
    temporary_dir_remove(fixture->parent);
    free(fixture);
    return 0;
}

static void on_progress(struct store_client *client, void *context)
{
    struct fixture *fixture = context;

    (void)client;
    fixture->told++;
}

struct store_client *fixture_client(struct fixture *fixture)
{
    struct store_client_options options = {.mailbox = fixture->mailbox, .on_progress = on_progress, .context = fixture};
    struct store_client *client = NULL;

    assert_int_equal(store_client_open(fixture->store, &options, &client), 0);
    return client;
}

void fixture_open(struct fixture *fixture)
{
    char *error = NULL;
    int err = store_open(&fixture->options, &fixture->store, &error);

    if (error != NULL)
        print_error("%s\n", error);
    free(error);
    assert_int_equal(err, 0);
    fixture->client = fixture_client(fixture);
}

void fixture_close(struct fixture *fixture)
{
    store_client_close(fixture->client);
    store_close(fixture->store);
    fixture->client = NULL;
    fixture->store = NULL;
}

void fixture_reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

void fixture_wait(struct fixture *fixture, const struct store_client *client, uint64_t number)
{
    while (store_committed(client) < number)
        uv_run(&fixture->loop, UV_RUN_ONCE);
}

void fixture_wait_for_state(struct fixture *fixture, enum store_state state)
{
    while (store_state(fixture->store) != state)
        uv_run(&fixture->loop, UV_RUN_ONCE);
}

void put_text(struct store_client *client, enum store_table table, const char *key, const char *value)
{
    struct slice part = slice_from_string(value);

    store_put(client, table, slice_from_string(key), &part, 1);
}

const char *get_text(struct store *store, enum store_table table, const char *key)
{
    struct slice value = {0};
    int found = store_get(store, table, slice_from_string(key), &value);

    assert_true(found >= 0);
    snprintf(text, sizeof(text), found == 0 ? "-" : "%.*s", (int)value.len, (const char *)value.data);
    slice_free(&value);
    return text;
}

static bool add_row(void *context, struct slice key, struct slice value)
{
    size_t length = strlen(text);

    (void)context;
    snprintf(text + length, sizeof(text) - length, "%.*s=%.*s ", SLICE_ARG(key), SLICE_ARG(value));
    return true;
}

const char *scan_text(struct store *store, enum store_table table, const char *prefix, const char *from)
{
    text[0] = '\0';
    assert_int_equal(store_scan(store, table, slice_from_string(prefix), slice_from_string(from), add_row, NULL), 0);
    return text;
}
