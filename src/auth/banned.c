/*
 * banned: the table in memory, its copy in the store, and the timer for what ends.
 */
#include "auth/banned.h"

#include "auth/ban_queue.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rcu.h"
#include "base/rcu_table.h"
#include "event/loop_mailbox.h"
#include "hook/client_info.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#define SHARDS 16u
#define MAPPED_BITS 96u      /* before the IPv4 address in an IPv4-mapped one */
#define PREFIX_LENGTHS 129u  /* 0..128 */
#define WORD_BITS 64u        /* of prefix_set */
#define ENDED_MAX 1000u      /* removed in one turn; the others in the next */
#define LOOK_AGAIN_MS 60000u /* at the latest: somebody may set the wall clock */
#define NAME_PRINT_MAX 256u  /* bytes of a row's name in a log line */

/* Somebody waits for a batch to be on disk. At most as many as commands run. */
struct waiter {
    struct waiter *next;
    uint64_t number;
    banned_done_fn *on_done;
    void *context;
};

struct banned {
    struct banned_options options;
    struct rcu_table *table; /* shared: snapshot */
    /* Shared: which prefix lengths are in use. A bit is set before the first network of that length is in the table. */
    uint64_t prefix_set[PREFIX_LENGTHS / WORD_BITS + 1];
    uint32_t prefix_counts[PREFIX_LENGTHS];
    struct ban_queue automatic;
    struct ban_queue others; /* those that end */
    uv_timer_t timer;
    struct loop_mailbox *mailbox;
    struct store_client *client;
    struct waiter *waiters; /* by rising number */
    struct waiter **waiters_end;
};

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_ms() / 1000);
}

static uint64_t element_hash(const void *element, const void *context)
{
    (void)context;
    return ban_key_hash(&((const struct ban *)element)->key);
}

static bool element_matches(const void *element, const void *key)
{
    return ban_key_equal(&((const struct ban *)element)->key, key);
}

static struct ban *find_key(const struct banned *banned, const struct ban_key *key)
{
    return rcu_table_find(banned->table, ban_key_hash(key), element_matches, key);
}

/* ---- looking ---- */

static const struct ban *find_name(const struct banned *banned, enum ban_kind kind, struct slice name)
{
    struct ban_key key = {.kind = kind, .name = name};
    const struct ban *ban = name.len == 0 ? NULL : find_key(banned, &key);

    return ban == NULL || ban_has_ended(ban, now_s()) ? NULL : ban;
}

/* A network that is shorter than the IPv4-mapped prefix is one of IPv6 and has no IPv4 peers in it. */
static const struct ban *find_address(const struct banned *banned, const struct in6_addr *address)
{
    uint32_t shortest = IN6_IS_ADDR_V4MAPPED(address) ? MAPPED_BITS : 0;

    for (uint32_t word = 0; word < ARRAY_COUNT(banned->prefix_set); word++) {
        uint64_t set = __atomic_load_n(&banned->prefix_set[word], __ATOMIC_ACQUIRE);
        for (; set != 0; set &= set - 1) {
            uint32_t length = word * WORD_BITS + (uint32_t)__builtin_ctzll(set);
            struct ban_key key = {.kind = BAN_ADDRESS, .address = *address, .prefix_len = (uint8_t)length};
            if (length < shortest)
                continue;
            ban_mask_address(&key.address, length);
            const struct ban *ban = find_key(banned, &key);
            if (ban != NULL && !ban_has_ended(ban, now_s()))
                return ban;
        }
    }
    return NULL;
}

const struct ban *banned_find(const struct banned *banned, const struct client_info *client)
{
    const struct ban *ban = find_name(banned, BAN_CLIENT_ID, client->client_id);

    if (ban == NULL)
        ban = find_name(banned, BAN_USERNAME, client->user_name);
    if (ban == NULL)
        ban = find_address(banned, &client->peer_address);
    return ban;
}

struct visit {
    void (*visit)(void *context, const struct ban *ban);
    void *context;
    int64_t now_s;
};

static void visit_element(void *context, void *element)
{
    struct visit *visit = context;

    if (!ban_has_ended(element, visit->now_s))
        visit->visit(visit->context, element);
}

void banned_visit(const struct banned *banned, uint64_t *cursor, uint32_t limit,
                  void (*visit)(void *context, const struct ban *ban), void *context)
{
    struct visit wrapped = {.visit = visit, .context = context, .now_s = now_s()};

    rcu_thread_online();
    rcu_table_visit(banned->table, cursor, limit, visit_element, &wrapped);
    rcu_thread_offline();
}

uint64_t banned_count(const struct banned *banned)
{
    return rcu_table_count(banned->table);
}

uint64_t banned_count_max(const struct banned *banned)
{
    return banned->options.entries_max;
}

void banned_store_problem(const struct banned *banned, char *out, size_t size)
{
    store_problem(banned->options.store, out, size);
}

/* ---- memory ---- */

static struct ban_queue *queue_of(struct banned *banned, const struct ban *ban)
{
    return ban->is_automatic ? &banned->automatic : &banned->others;
}

static void count_prefix(struct banned *banned, const struct ban *ban, int change)
{
    uint32_t length = ban->key.prefix_len;
    uint64_t *word = &banned->prefix_set[length / WORD_BITS], bit = UINT64_C(1) << length % WORD_BITS;

    if (ban->key.kind != BAN_ADDRESS)
        return;
    banned->prefix_counts[length] += (uint32_t)change;
    if (banned->prefix_counts[length] > 0)
        __atomic_store_n(word, *word | bit, __ATOMIC_RELEASE);
    else
        __atomic_store_n(word, *word & ~bit, __ATOMIC_RELEASE);
}

/* Takes `ban` over, in the place of `old` (NULL: of none). -ENOMEM: nothing has changed, and `ban` is the caller's. Online. */
static int link_ban(struct banned *banned, struct ban *ban, struct ban *old)
{
    uint64_t hash = ban_key_hash(&ban->key);
    int err = ban->until_s == 0 ? 0 : ban_queue_push(queue_of(banned, ban), ban);

    if (err < 0)
        return err;
    count_prefix(banned, ban, 1);
    rcu_table_lock(banned->table, hash);
    if (old != NULL)
        ASSERT(rcu_table_replace_locked(banned->table, hash, old, ban));
    else
        err = rcu_table_add_locked(banned->table, hash, ban);
    rcu_table_unlock(banned->table, hash);
    if (err < 0) {
        ban_queue_remove(queue_of(banned, ban), ban);
        count_prefix(banned, ban, -1);
    } else if (old != NULL) {
        ban_queue_remove(queue_of(banned, old), old);
        count_prefix(banned, old, -1);
        rcu_retire(old, ban_free);
    }
    return err;
}

/* Online. */
static void unlink_ban(struct banned *banned, struct ban *ban)
{
    ASSERT(rcu_table_remove(banned->table, ban_key_hash(&ban->key), ban));
    ban_queue_remove(queue_of(banned, ban), ban);
    count_prefix(banned, ban, -1);
    rcu_retire(ban, ban_free);
}

/* ---- the store ---- */

static void answer_waiters(struct banned *banned, bool all)
{
    uint64_t committed = store_committed(banned->client);

    while (banned->waiters != NULL && (all || banned->waiters->number <= committed)) {
        struct waiter *waiter = banned->waiters;
        banned->waiters = waiter->next;
        if (banned->waiters == NULL)
            banned->waiters_end = &banned->waiters;
        waiter->on_done(waiter->context, waiter->number <= committed ? 0 : -EIO);
        free(waiter);
    }
}

static void on_store_progress(struct store_client *client, void *context)
{
    struct banned *banned = context;

    (void)client;
    answer_waiters(banned, store_state(banned->options.store) != STORE_OPEN);
}

/* Hands over what is in the open batch. `waiter` (may be NULL) is told when it is on disk. */
static void submit(struct banned *banned, struct waiter *waiter)
{
    uint64_t number = store_submit(banned->client, waiter != NULL);

    if (waiter == NULL)
        return;
    waiter->number = number;
    *banned->waiters_end = waiter;
    banned->waiters_end = &waiter->next;
}

/* NULL with 0: nobody waits. */
static int make_waiter(banned_done_fn *on_done, void *context, struct waiter **out_waiter)
{
    *out_waiter = NULL;
    if (on_done == NULL)
        return 0;
    *out_waiter = calloc(1, sizeof(**out_waiter));
    if (*out_waiter == NULL)
        return -ENOMEM;
    (*out_waiter)->on_done = on_done;
    (*out_waiter)->context = context;
    return 0;
}

static int check_store(const struct banned *banned)
{
    if (store_state(banned->options.store) != STORE_OPEN)
        return -EROFS;
    return store_congested(banned->options.store) ? -EAGAIN : 0;
}

/* Short memory leaves the row in the store: it is removed when it is read with its time over, or is there again after a restart. */
static int delete_row(struct banned *banned, const struct ban *ban)
{
    struct slice name;
    int err = ban_encode_name(ban, &name);

    if (err < 0)
        return err;
    store_delete(banned->client, STORE_BANNED, name);
    slice_free(&name);
    return 0;
}

/* ---- the end of bans ---- */

static void on_timer(uv_timer_t *timer);

static struct ban *next_to_end(const struct banned *banned)
{
    struct ban *automatic = ban_queue_first(&banned->automatic), *other = ban_queue_first(&banned->others);

    if (automatic == NULL || (other != NULL && other->until_s < automatic->until_s))
        return other;
    return automatic;
}

static void start_timer(struct banned *banned)
{
    const struct ban *ban = next_to_end(banned);
    uint64_t now_ms = clock_wall_ms(), wait_ms = 0;

    if (ban == NULL) {
        uv_timer_stop(&banned->timer);
        return;
    }
    if ((uint64_t)ban->until_s * 1000 > now_ms)
        wait_ms = (uint64_t)ban->until_s * 1000 - now_ms;
    uv_timer_start(&banned->timer, on_timer, wait_ms < LOOK_AGAIN_MS ? wait_ms : LOOK_AGAIN_MS, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct banned *banned = timer->data;
    struct ban *ban = next_to_end(banned);
    int64_t now = now_s();

    rcu_thread_online();
    for (uint32_t i = 0; i < ENDED_MAX && ban != NULL && ban_has_ended(ban, now); i++) {
        log_info("[Banned] the ban of %s %.*s has ended", ban_kind_name(ban->key.kind), SLICE_ARG(ban->who));
        if (delete_row(banned, ban) < 0)
            break; /* and again in a minute */
        unlink_ban(banned, ban);
        ban = next_to_end(banned);
    }
    rcu_thread_offline();
    if (store_dirty(banned->client))
        submit(banned, NULL);
    start_timer(banned);
}

/* ---- adding and lifting ---- */

/* Of an automatic ban; -ENOSPC: there is none that could go. Online. */
static int make_room(struct banned *banned)
{
    struct ban *first = ban_queue_first(&banned->automatic);
    int err;

    if (first == NULL)
        return -ENOSPC;
    err = delete_row(banned, first);
    if (err < 0)
        return err;
    unlink_ban(banned, first);
    return 0;
}

/* Takes `ban` over if it succeeds. */
static int put_ban(struct banned *banned, struct ban *ban)
{
    struct slice name, json;
    struct ban *old;
    int err = ban_encode(ban, &name, &json);

    if (err < 0)
        return err;
    rcu_thread_online();
    old = find_key(banned, &ban->key);
    if (old == NULL && banned_count(banned) >= banned->options.entries_max)
        err = ban->is_automatic ? make_room(banned) : -ENOSPC;
    if (err == 0)
        err = link_ban(banned, ban, old);
    rcu_thread_offline();
    if (err == 0)
        store_put(banned->client, STORE_BANNED, name, &json, 1);
    slice_free(&name);
    slice_free(&json);
    return err;
}

int banned_add(struct banned *banned, const struct ban_options *options, banned_done_fn *on_done, void *context)
{
    struct waiter *waiter = NULL;
    struct ban *ban = NULL;
    int err = ban_new(options, &ban);

    if (err == 0 && !ban->is_automatic)
        err = check_store(banned);
    if (err == 0)
        err = make_waiter(on_done, context, &waiter);
    if (err == 0)
        err = put_ban(banned, ban);
    if (err < 0) {
        if (store_dirty(banned->client)) /* make_room() was all that worked */
            submit(banned, NULL);
        free(waiter);
        ban_free(ban);
        return err;
    }
    submit(banned, waiter);
    start_timer(banned);
    if (banned->options.on_added != NULL)
        banned->options.on_added(banned->options.context, ban);
    return 0;
}

int banned_delete(struct banned *banned, enum ban_kind kind, struct slice who, banned_done_fn *on_done, void *context)
{
    bool is_open = store_state(banned->options.store) == STORE_OPEN;
    struct waiter *waiter = NULL;
    struct ban *ban = NULL;
    struct ban_key key;
    int err = ban_key_make(kind, who, &key);

    if (err == 0 && is_open)
        err = make_waiter(on_done, context, &waiter);
    if (err < 0)
        return err;
    rcu_thread_online();
    ban = find_key(banned, &key);
    if (ban == NULL)
        err = -ENOENT;
    if (err == 0)
        err = delete_row(banned, ban);
    if (err == 0)
        unlink_ban(banned, ban);
    rcu_thread_offline();
    if (err < 0) {
        free(waiter);
        return err;
    }
    submit(banned, waiter);
    start_timer(banned);
    return is_open ? 0 : -EROFS;
}

/* ---- life ---- */

struct loading {
    struct banned *banned;
    uint64_t ended;
    uint64_t unreadable;
    int64_t now_s;
    int err;
};

static bool load_row(void *context, struct slice name, struct slice json)
{
    struct loading *loading = context;
    struct ban *ban;
    const char *problem;
    int err = ban_decode(name, json, &ban, &problem);

    if (err == -EINVAL) {
        size_t shown = name.len < NAME_PRINT_MAX ? name.len : NAME_PRINT_MAX;
        log_error(
            "[Banned] the stored ban %.*s cannot be read (%s): it has no effect, and stays in the store until a ban of "
            "that name is added",
            (int)shown, (const char *)name.data, problem);
        loading->unreadable++;
        return true;
    }
    if (err == 0 && ban_has_ended(ban, loading->now_s)) {
        store_delete(loading->banned->client, STORE_BANNED, name);
        ban_free(ban);
        loading->ended++;
        return true;
    }
    if (err == 0 && (err = link_ban(loading->banned, ban, NULL)) < 0)
        ban_free(ban);
    loading->err = err;
    return err == 0;
}

static int load(struct banned *banned)
{
    struct loading loading = {.banned = banned, .now_s = now_s()};
    struct slice none = {NULL, 0};
    int err;

    rcu_thread_online();
    err = store_scan(banned->options.store, STORE_BANNED, none, none, load_row, &loading);
    rcu_thread_offline();
    if (err == 0)
        err = loading.err;
    if (err < 0)
        return err;
    if (store_dirty(banned->client))
        submit(banned, NULL);
    if (banned_count(banned) > banned->options.entries_max)
        log_warning(
            "[Banned] there are %llu bans, more than banned.max_entries (%llu): all are in force, further ones are refused",
            (unsigned long long)banned_count(banned), (unsigned long long)banned->options.entries_max);
    log_info("[Banned] %llu bans, %llu had ended, %llu cannot be read", (unsigned long long)banned_count(banned),
             (unsigned long long)loading.ended, (unsigned long long)loading.unreadable);
    start_timer(banned);
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int banned_open(const struct banned_options *options, struct banned **out_banned)
{
    struct banned *banned = calloc(1, sizeof(*banned));
    struct store_client_options client = {.on_progress = on_store_progress, .context = banned};
    int err;

    if (banned == NULL)
        return -ENOMEM;
    banned->options = *options;
    banned->waiters_end = &banned->waiters;
    banned->timer.data = banned;
    err = uv_timer_init(options->loop, &banned->timer);
    if (err < 0) {
        free(banned);
        return err;
    }
    banned->table = rcu_table_new(SHARDS, element_hash, NULL);
    err = banned->table == NULL ? -ENOMEM : loop_mailbox_open(options->loop, &banned->mailbox);
    client.mailbox = banned->mailbox;
    if (err == 0)
        err = store_client_open(options->store, &client, &banned->client);
    if (err == 0)
        err = load(banned);
    if (err < 0) {
        banned_close(banned);
        return err;
    }
    *out_banned = banned;
    return 0;
}

void banned_close(struct banned *banned)
{
    if (banned == NULL)
        return;
    if (banned->client != NULL)
        answer_waiters(banned, true);
    store_client_close(banned->client);
    loop_mailbox_close(banned->mailbox);
    rcu_table_free(banned->table, ban_free);
    ban_queue_fini(&banned->automatic);
    ban_queue_fini(&banned->others);
    uv_close((uv_handle_t *)&banned->timer, on_timer_closed);
}
