/*
 * listener: see listener.h. A worker that finds the accept budget of this second used up takes its watch out and
 * puts it back when the second is over; the peers wait in the kernel's backlog meanwhile.
 *
 * Descriptors: the system gives the lowest free number, so an accepted one near the limit says that all below it are in use.
 */
#include "net/listener.h"

#include "base/log.h"
#include "base/metrics.h"
#include "net/ip_address.h"
#include "net/listener_socket_internal.h"
#include "net/unix_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define NO_DESCRIPTOR_PAUSE_MS 500
#define NO_DESCRIPTOR_LOG_MS 60000
/* Descriptors that clients do not get: a sixteenth of the limit within these bounds. The store may open most of them. */
#define DESCRIPTORS_KEPT_MIN 8
#define DESCRIPTORS_KEPT_MAX 640

struct listener_watch {
    struct io_watch watch;
    struct timer resume;
    struct listener *listener;
    struct worker *worker;
    bool wanted;   /* by listener_watch() */
    bool watching; /* in the epoll set now */
};

/* What is counted; shared by a listener and those that follow it with other settings. */
struct listener_tally {
    _Atomic uint32_t listeners; /* that share it */
    _Atomic uint32_t connection_count;
    pthread_mutex_t lock; /* of the counts: taken once per connection's end, and last */
    struct listener_shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];
    uint32_t counts_used;
};

struct listener {
    struct listener_options options;
    struct listener_tally *tally;
    struct tls_context *tls; /* NULL: none */
    void *context;
    listener_accept_fn *on_accept;
    int fd; /* -1: closed */
    struct listener_file file;
    _Atomic bool closing;
    _Atomic uint32_t hold_count;  /* connections, and what is left of ended ones */
    _Atomic uint64_t rate_second; /* the second that rate_count counts */
    _Atomic uint32_t rate_count;
    struct listener_watch watches[WORKER_COUNT_MAX];
};

/* The process's shortage of descriptors, for all listeners: a state, so that it is logged once and not for each client. */
static struct {
    _Atomic bool present;
    _Atomic uint64_t logged_ms; /* 0: never */
    _Atomic bool announced;     /* the log said so: it will also say when it is over */
    _Atomic uint64_t refused;   /* times since it was announced */
} shortage;

static struct listener_tally *tally_new(void)
{
    struct listener_tally *tally = calloc(1, sizeof(*tally));

    if (tally == NULL)
        return NULL;
    pthread_mutex_init(&tally->lock, NULL);
    atomic_store(&tally->listeners, 1);
    return tally;
}

static void tally_unref(struct listener_tally *tally)
{
    if (tally == NULL || atomic_fetch_sub(&tally->listeners, 1) > 1)
        return;
    pthread_mutex_destroy(&tally->lock);
    free(tally);
}

static int resolve_unix_path(struct listener_options *options, const char *data_dir)
{
    char *path = NULL;

    if (options->unix_path[0] == '/')
        return 0;
    if (asprintf(&path, "%s/%s", data_dir, options->unix_path) < 0)
        return -ENOMEM;
    free(options->unix_path);
    options->unix_path = path;
    return 0;
}

int listener_new(struct listener_options *options, const struct listener_places *places, void *context,
                 listener_accept_fn *on_accept, struct listener **out_listener, char error[LISTENER_ERROR_MAX])
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int err = 0;

    error[0] = '\0';
    if (listener == NULL)
        return -ENOMEM;
    listener->options = *options;
    listener->context = context;
    listener->on_accept = on_accept;
    listener->fd = -1;
    listener->tally = tally_new();
    if (listener->tally == NULL)
        err = -ENOMEM;
    if (err == 0 && options->type == LISTENER_UNIX) {
        err = resolve_unix_path(&listener->options, places->data_dir);
        options->unix_path = listener->options.unix_path;
    }
    if (err == 0 && options->tls != NULL)
        err = tls_context_new(options->tls, places->home, &listener->tls, error);
    if (err < 0) {
        listener->options = (struct listener_options){0}; /* still the caller's */
        listener_free(listener);
        return err;
    }
    *options = (struct listener_options){0};
    *out_listener = listener;
    return 0;
}

int listener_open(struct listener *listener, char error[LISTENER_ERROR_MAX])
{
    int fd;

    ASSERT(listener->fd < 0);
    fd = listener_socket_open(&listener->options, &listener->file, error);
    if (fd < 0)
        return fd;
    listener->fd = fd;
    return 0;
}

static bool same_address(const struct listener_options *one, const struct listener_options *other)
{
    if ((one->type == LISTENER_UNIX) != (other->type == LISTENER_UNIX))
        return false;
    if (one->type == LISTENER_UNIX)
        return strcmp(one->unix_path, other->unix_path) == 0 && one->unix_mode == other->unix_mode;
    return one->address_len == other->address_len && memcmp(&one->address, &other->address, one->address_len) == 0;
}

bool listener_take_socket(struct listener *listener, struct listener *from)
{
    const struct listener_options *now = &listener->options, *before = &from->options;

    /* A buffer size that was set cannot be unset. */
    if (from->fd < 0 || !same_address(now, before) || (now->recbuf_bytes == 0 && before->recbuf_bytes != 0) ||
        (now->sndbuf_bytes == 0 && before->sndbuf_bytes != 0))
        return false;
    listener_socket_adjust(from->fd, now);
    if (listen(from->fd, (int)now->backlog) < 0)
        return false;
    listener->fd = from->fd;
    listener->file = from->file;
    from->fd = -1;
    from->file = (struct listener_file){0};
    return true;
}

static bool access_allowed(const struct listener_options *options, const struct sockaddr_storage *peer)
{
    struct in6_addr address = peer->ss_family == AF_INET6
                                  ? ((const struct sockaddr_in6 *)peer)->sin6_addr
                                  : ip_address_mapped(((const struct sockaddr_in *)peer)->sin_addr);

    for (uint32_t i = 0; i < options->access_rule_count; i++) {
        const struct listener_access_rule *rule = &options->access_rules[i];
        uint32_t whole = rule->prefix_len / 8;
        uint8_t mask = (uint8_t)(0xFF00u >> rule->prefix_len % 8);
        bool match = rule->all ||
                     (memcmp(&rule->address, &address, whole) == 0 &&
                      (whole == 16 || ((rule->address.s6_addr[whole] ^ address.s6_addr[whole]) & mask) == 0));
        if (match)
            return rule->allow;
    }
    return true;
}

/* Takes one accept from this second's budget; milliseconds to wait when it is used up. A worker whose turn began in the
 * second before takes from the present one. */
static uint32_t rate_take(struct listener *listener, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    uint64_t seen = atomic_load(&listener->rate_second);

    if (listener->options.max_conn_rate == 0)
        return 0;
    if (second > seen && atomic_compare_exchange_strong(&listener->rate_second, &seen, second))
        atomic_store(&listener->rate_count, 0);
    if (atomic_fetch_add(&listener->rate_count, 1) < listener->options.max_conn_rate)
        return 0;
    return (uint32_t)(1000 - now_ms % 1000);
}

/* Nobody was there. Another worker may have begun the next second meanwhile, which owes nothing. */
static void rate_give_back(struct listener *listener)
{
    uint32_t count = atomic_load(&listener->rate_count);

    while (count > 0 && !atomic_compare_exchange_weak(&listener->rate_count, &count, count - 1))
        ;
}

static void pause_accepting(struct listener_watch *watch, uint32_t pause_ms)
{
    worker_unwatch(watch->worker, &watch->watch);
    watch->watching = false;
    timer_start(worker_timers(watch->worker), &watch->resume, worker_now_ms(watch->worker) + pause_ms);
}

static void on_resume(struct timer *timer, uint64_t now_ms)
{
    struct listener_watch *watch = CONTAINER_OF(timer, struct listener_watch, resume);

    (void)now_ms;
    if (worker_watch(watch->worker, &watch->watch, EPOLLIN | EPOLLEXCLUSIVE) < 0)
        pause_accepting(watch, NO_DESCRIPTOR_PAUSE_MS);
    else
        watch->watching = true;
}

/* Descriptors from this number on are not for clients. Read anew when it is needed: the limit can be changed from outside. */
static uint64_t descriptors_for_clients(uint64_t *out_limit)
{
    struct rlimit limit = {.rlim_cur = 1024};
    uint64_t kept;

    getrlimit(RLIMIT_NOFILE, &limit);
    *out_limit = limit.rlim_cur;
    kept = limit.rlim_cur / 16;
    kept = kept < DESCRIPTORS_KEPT_MIN   ? DESCRIPTORS_KEPT_MIN
           : kept > DESCRIPTORS_KEPT_MAX ? DESCRIPTORS_KEPT_MAX
                                         : kept;
    return limit.rlim_cur > kept ? limit.rlim_cur - kept : 0;
}

/* Says once what is short and what helps; `err` is 0 when a client met the descriptors that are kept back. */
static void begin_shortage(const struct listener *listener, int err, uint64_t now_ms)
{
    uint64_t limit = 0, for_clients = descriptors_for_clients(&limit);
    uint64_t logged_ms = atomic_load(&shortage.logged_ms);

    atomic_store(&shortage.present, true);
    atomic_fetch_add(&shortage.refused, 1);
    metric_add(METRIC_CONNECTIONS_NO_DESCRIPTOR, 1);
    if ((logged_ms != 0 && now_ms - logged_ms < NO_DESCRIPTOR_LOG_MS) ||
        !atomic_compare_exchange_strong(&shortage.logged_ms, &logged_ms, now_ms))
        return;
    atomic_store(&shortage.announced, true);
    if (err == 0 || err == EMFILE)
        log_write(
            LOG_LEVEL_ALERT,
            "[Listener] %s: out of file descriptors: clients may use %llu of the limit of %llu. New clients are turned "
            "away until some leave. Raise the limit: ulimit -n or LimitNOFILE= of systemd before the start, prlimit at once",
            listener->options.bind_text, (unsigned long long)for_clients, (unsigned long long)limit);
    else
        log_write(LOG_LEVEL_ALERT,
                  "[Listener] %s: can't accept: %s. New clients wait until the system has room again%s",
                  listener->options.bind_text, strerror(err),
                  err == ENFILE ? "; its limit of open files is fs.file-max" : "");
}

static void end_shortage(void)
{
    atomic_store(&shortage.present, false);
    if (atomic_exchange(&shortage.announced, false))
        log_write(LOG_LEVEL_ALERT,
                  "[Listener] there are file descriptors again: accepting clients; %llu times none was left",
                  (unsigned long long)atomic_exchange(&shortage.refused, 0));
}

static void refuse(struct listener *listener, int fd, const char *reason)
{
    metric_add(METRIC_CONNECTIONS_REFUSED, 1);
    close(fd);
    listener_release(listener, reason);
    listener_drop(listener);
}

static void accept_one(struct listener_watch *watch, int fd, struct sockaddr_storage *peer)
{
    struct listener *listener = watch->listener;
    const struct listener_options *options = &listener->options;

    atomic_fetch_add(&listener->hold_count, 1);
    if (atomic_fetch_add(&listener->tally->connection_count, 1) >= options->max_connections) {
        log_client_limited(LOG_LEVEL_WARNING, (struct slice){0}, NULL,
                           "Failed to start connection on %s: maxlimit (max_connections = %u), closing it",
                           options->bind_text, options->max_connections);
        refuse(listener, fd, "maxlimit");
        return;
    }
    if (options->type == LISTENER_UNIX) {
        struct ucred ids = {0};
        socklen_t len = sizeof(ids);
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ids, &len);
        unix_peer_address((uint32_t)ids.pid, ids.uid, peer);
    } else if (!access_allowed(options, peer)) {
        log_client_limited(LOG_LEVEL_WARNING, (struct slice){0}, NULL,
                           "Failed to start connection on %s: forbidden by an access rule, closing it",
                           options->bind_text);
        refuse(listener, fd, "forbidden");
        return;
    }
    listener->on_accept(watch->worker, listener, fd, peer);
}

/* True: the descriptor is one of those kept back, and the client was turned away. */
static bool refuse_last_descriptors(struct listener_watch *watch, int fd)
{
    struct listener *listener = watch->listener;
    uint64_t limit;

    if ((uint64_t)fd < descriptors_for_clients(&limit))
        return false;
    begin_shortage(listener, 0, worker_now_ms(watch->worker));
    atomic_fetch_add(&listener->hold_count, 1);
    atomic_fetch_add(&listener->tally->connection_count, 1);
    refuse(listener, fd, "emfile");
    return true;
}

/* The next peer. False: there is none, or none can be taken now. */
static bool accept_next(struct listener_watch *watch, bool *out_short)
{
    struct listener *listener = watch->listener;
    struct sockaddr_storage peer = {0};
    socklen_t peer_len = sizeof(peer);
    int fd = accept4(listener->fd, (struct sockaddr *)&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int err = fd < 0 ? errno : 0;

    if (fd < 0)
        rate_give_back(listener);
    if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM) {
        begin_shortage(listener, err, worker_now_ms(watch->worker));
        *out_short = true;
        return false;
    }
    if (fd < 0)
        return err != EAGAIN && err != EWOULDBLOCK; /* else that peer has gone again */
    if (UNLIKELY(refuse_last_descriptors(watch, fd))) {
        *out_short = true; /* those who wait are told as well, and then nobody is for a moment */
        return true;
    }
    if (UNLIKELY(atomic_load_explicit(&shortage.present, memory_order_relaxed)))
        end_shortage();
    accept_one(watch, fd, &peer);
    return true;
}

static void on_acceptable(struct worker *worker, struct io_watch *io, uint32_t events)
{
    struct listener_watch *watch = CONTAINER_OF(io, struct listener_watch, watch);
    bool is_short = false;

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && watch->watching; i++) {
        uint32_t pause_ms = rate_take(watch->listener, worker_now_ms(worker));
        if (pause_ms > 0) {
            pause_accepting(watch, pause_ms);
            return;
        }
        if (!accept_next(watch, &is_short))
            break;
    }
    if (is_short && watch->watching)
        pause_accepting(watch, NO_DESCRIPTOR_PAUSE_MS);
}

int listener_watch(struct listener *listener, struct worker *worker)
{
    struct listener_watch *watch = &listener->watches[worker_index(worker)];
    int err;

    watch->watch = (struct io_watch){.on_ready = on_acceptable, .fd = listener->fd};
    watch->resume.on_due = on_resume;
    watch->listener = listener;
    watch->worker = worker;
    err = worker_watch(worker, &watch->watch, EPOLLIN | EPOLLEXCLUSIVE);
    watch->wanted = watch->watching = err == 0;
    return err;
}

void listener_unwatch(struct listener *listener, struct worker *worker)
{
    struct listener_watch *watch = &listener->watches[worker_index(worker)];

    if (!watch->wanted)
        return;
    timer_stop(worker_timers(worker), &watch->resume);
    if (watch->watching)
        worker_unwatch(worker, &watch->watch);
    watch->wanted = watch->watching = false;
}

void listener_close(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    listener_socket_remove(&listener->options, &listener->file);
    close(listener->fd);
    listener->fd = -1;
}

void listener_free(struct listener *listener)
{
    if (listener == NULL)
        return;
    listener_close(listener);
    tls_context_free(listener->tls);
    listener_options_fini(&listener->options);
    tally_unref(listener->tally);
    free(listener);
}

const struct listener_options *listener_options_of(const struct listener *listener)
{
    return &listener->options;
}

void *listener_context(const struct listener *listener)
{
    return listener->context;
}

struct tls_context *listener_tls_context(const struct listener *listener)
{
    return listener->tls;
}

bool listener_is_open(const struct listener *listener)
{
    return listener->fd >= 0;
}

void listener_hold(struct listener *listener)
{
    atomic_fetch_add(&listener->hold_count, 1);
}

void listener_drop(struct listener *listener)
{
    atomic_fetch_sub(&listener->hold_count, 1);
}

bool listener_is_held(const struct listener *listener)
{
    return atomic_load(&listener->hold_count) > 0;
}

void listener_set_closing(struct listener *listener, bool closing)
{
    atomic_store(&listener->closing, closing);
}

bool listener_is_closing(const struct listener *listener)
{
    return atomic_load_explicit(&listener->closing, memory_order_relaxed);
}

void listener_succeed(struct listener *listener, const struct listener *before)
{
    ASSERT(atomic_load(&listener->hold_count) == 0);
    tally_unref(listener->tally);
    listener->tally = before->tally;
    atomic_fetch_add(&listener->tally->listeners, 1);
}

bool listener_is_kin(const struct listener *one, const struct listener *other)
{
    return one->tally == other->tally;
}

void listener_release(struct listener *listener, const char *reason)
{
    struct listener_tally *tally = listener->tally;
    uint32_t i = 0;

    atomic_fetch_sub(&tally->connection_count, 1);
    pthread_mutex_lock(&tally->lock);
    while (i < tally->counts_used && strcmp(tally->counts[i].reason, reason) != 0)
        i++;
    if (i == tally->counts_used && i < LISTENER_SHUTDOWN_REASON_MAX)
        tally->counts[tally->counts_used++] = (struct listener_shutdown_count){.reason = reason};
    if (i < LISTENER_SHUTDOWN_REASON_MAX)
        tally->counts[i].count++;
    pthread_mutex_unlock(&tally->lock);
}

uint32_t listener_connection_count(const struct listener *listener)
{
    return atomic_load(&listener->tally->connection_count);
}

uint32_t listener_shutdown_counts(const struct listener *listener, struct listener_shutdown_count *out_counts)
{
    struct listener_tally *tally = listener->tally;
    uint32_t count;

    pthread_mutex_lock(&tally->lock);
    count = tally->counts_used;
    memcpy(out_counts, tally->counts, count * sizeof(*out_counts));
    pthread_mutex_unlock(&tally->lock);
    return count;
}
