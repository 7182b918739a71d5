/*
 * loop: see loop.h.
 */
#include "loop.h"

#include "client.h"
#include "stamp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EVENTS_MAX 1024

int loop_init(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = -1, .now_ns = clock_ns()};
    /* Waits end when they should: a fixed rate is kept to the microsecond. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    loop->read_buffer = malloc(LOOP_BUFFER_BYTES);
    loop->raw_buffer = malloc(LOOP_READ_BYTES);
    if (loop->read_buffer == NULL || loop->raw_buffer == NULL)
        return -ENOMEM;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_fini(struct loop *loop)
{
    if (loop->read_buffer != NULL && loop->raw_buffer != NULL && loop->epoll_fd >= 0)
        (void)close(loop->epoll_fd);
    free(loop->read_buffer);
    free(loop->raw_buffer);
    *loop = (struct loop){.epoll_fd = -1};
}

static int wait_events(struct loop *loop, struct epoll_event *events, uint64_t deadline_ns)
{
    struct timespec timeout = {0};

    if (loop->again == NULL && loop->dirty == NULL && deadline_ns > 0) {
        uint64_t now_ns = clock_ns();
        uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        timeout.tv_sec = (time_t)(wait_ns / UINT64_C(1000000000));
        timeout.tv_nsec = (long)(wait_ns % UINT64_C(1000000000));
    }
    return epoll_pwait2(loop->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
}

void loop_turn(struct loop *loop, uint64_t deadline_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int count = wait_events(loop, events, deadline_ns);
    struct client *again = loop->again;

    loop->now_ns = clock_ns();
    loop->again = NULL;
    while (again != NULL) {
        struct client *client = again;
        again = client->next_again;
        client->is_again = false;
        client_read(client);
    }
    for (int i = 0; i < count; i++)
        client_on_event(events[i].data.ptr, events[i].events);
}

void loop_flush(struct loop *loop)
{
    while (loop->dirty != NULL) {
        struct client *client = loop->dirty;
        loop->dirty = client->next_dirty;
        client->is_dirty = false;
        client_flush(client);
    }
}
