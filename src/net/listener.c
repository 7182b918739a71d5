/*
 * listener: see listener.h. A worker that finds the accept budget of this second used up takes its watch out and
 * puts it back when the second is over; the peers wait in the kernel's backlog meanwhile.
 */
#include "net/listener.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define NO_DESCRIPTOR_PAUSE_MS 1000

struct listener_watch {
    struct io_watch watch;
    struct timer resume;
    struct listener *listener;
    struct worker *worker;
    bool wanted;   /* by listener_watch() */
    bool watching; /* in the epoll set now */
};

struct listener {
    const struct listener_options *options;
    void *context;
    listener_accept_fn *on_accept;
    int fd;
    _Atomic uint32_t connection_count;
    _Atomic uint64_t rate_second; /* the second that rate_count counts */
    _Atomic uint32_t rate_count;
    pthread_mutex_t counts_lock; /* shutdown counts: once per connection's end; taken last */
    struct listener_shutdown_count counts[LISTENER_SHUTDOWN_REASON_MAX];
    uint32_t counts_used;
    struct listener_watch watches[WORKER_COUNT_MAX];
};

static int open_socket(const struct listener_options *options)
{
    int one = 1;
    int fd = socket(options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0)
        return -errno;
    if (options->reuseaddr)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    /* Set before listen(): accepted sockets inherit them. */
    if (options->recbuf_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options->recbuf_bytes, sizeof(options->recbuf_bytes));
    if (options->sndbuf_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options->sndbuf_bytes, sizeof(options->sndbuf_bytes));
    if (options->nodelay)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&options->address, options->address_len) < 0 ||
        listen(fd, (int)options->backlog) < 0) {
        err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int listener_open(const struct listener_options *options, void *context, listener_accept_fn *on_accept,
                  struct listener **out_listener)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (listener == NULL)
        return -ENOMEM;
    listener->options = options;
    listener->context = context;
    listener->on_accept = on_accept;
    pthread_mutex_init(&listener->counts_lock, NULL);
    listener->fd = open_socket(options);
    if (listener->fd < 0) {
        int err = listener->fd;
        listener_free(listener);
        return err;
    }
    *out_listener = listener;
    return 0;
}

static bool access_allowed(const struct listener_options *options, const struct sockaddr_storage *peer)
{
    struct in6_addr address = {0};

    if (peer->ss_family == AF_INET6) {
        address = ((const struct sockaddr_in6 *)peer)->sin6_addr;
    } else {
        memset(&address, 0, 10);
        memset(&address.s6_addr[10], 0xFF, 2);
        memcpy(&address.s6_addr[12], &((const struct sockaddr_in *)peer)->sin_addr, 4);
    }
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

    if (listener->options->max_conn_rate == 0)
        return 0;
    if (second > seen && atomic_compare_exchange_strong(&listener->rate_second, &seen, second))
        atomic_store(&listener->rate_count, 0);
    if (atomic_fetch_add(&listener->rate_count, 1) < listener->options->max_conn_rate)
        return 0;
    return (uint32_t)(1000 - now_ms % 1000);
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

static void accept_one(struct listener_watch *watch, int fd, const struct sockaddr_storage *peer)
{
    struct listener *listener = watch->listener;
    const struct listener_options *options = listener->options;

    if (atomic_fetch_add(&listener->connection_count, 1) >= options->max_connections) {
        log_client_limited(LOG_LEVEL_WARNING, (struct slice){0}, NULL,
                           "Failed to start connection on %s: maxlimit (max_connections = %u), closing it",
                           options->bind_text, options->max_connections);
        close(fd);
        listener_release(listener, "maxlimit");
        return;
    }
    if (!access_allowed(options, peer)) {
        log_client_limited(LOG_LEVEL_WARNING, (struct slice){0}, NULL,
                           "Failed to start connection on %s: forbidden by an access rule, closing it",
                           options->bind_text);
        close(fd);
        listener_release(listener, "forbidden");
        return;
    }
    listener->on_accept(watch->worker, listener, fd, peer);
}

static void on_acceptable(struct worker *worker, struct io_watch *io, uint32_t events)
{
    struct listener_watch *watch = CONTAINER_OF(io, struct listener_watch, watch);
    struct listener *listener = watch->listener;

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && watch->watching; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t peer_len = sizeof(peer);
        uint32_t pause_ms = rate_take(listener, worker_now_ms(worker));
        if (pause_ms > 0) {
            pause_accepting(watch, pause_ms);
            return;
        }
        int fd = accept4(listener->fd, (struct sockaddr *)&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && listener->options->max_conn_rate > 0)
            atomic_fetch_sub(&listener->rate_count, 1);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            log_client_limited(LOG_LEVEL_ERROR, (struct slice){0}, NULL,
                               "Listener %s can't accept: %s; trying again in a second", listener->options->bind_text,
                               strerror(errno));
            pause_accepting(watch, NO_DESCRIPTOR_PAUSE_MS);
            return;
        }
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (fd >= 0)
            accept_one(watch, fd, &peer);
    }
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
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

void listener_free(struct listener *listener)
{
    if (listener == NULL)
        return;
    listener_close(listener);
    pthread_mutex_destroy(&listener->counts_lock);
    free(listener);
}

const struct listener_options *listener_options_of(const struct listener *listener)
{
    return listener->options;
}

void *listener_context(const struct listener *listener)
{
    return listener->context;
}

void listener_release(struct listener *listener, const char *reason)
{
    uint32_t i = 0;

    atomic_fetch_sub(&listener->connection_count, 1);
    pthread_mutex_lock(&listener->counts_lock);
    while (i < listener->counts_used && strcmp(listener->counts[i].reason, reason) != 0)
        i++;
    if (i == listener->counts_used && i < LISTENER_SHUTDOWN_REASON_MAX)
        listener->counts[listener->counts_used++] = (struct listener_shutdown_count){.reason = reason};
    if (i < LISTENER_SHUTDOWN_REASON_MAX)
        listener->counts[i].count++;
    pthread_mutex_unlock(&listener->counts_lock);
}

uint32_t listener_connection_count(const struct listener *listener)
{
    return atomic_load(&listener->connection_count);
}

uint32_t listener_shutdown_counts(const struct listener *listener, struct listener_shutdown_count *out_counts)
{
    struct listener *locked = (struct listener *)(uintptr_t)listener; /* the lock is not part of its value */
    uint32_t count;

    pthread_mutex_lock(&locked->counts_lock);
    count = locked->counts_used;
    memcpy(out_counts, locked->counts, count * sizeof(*out_counts));
    pthread_mutex_unlock(&locked->counts_lock);
    return count;
}
