/*
 * hook_bench: what a hook point costs per event: without callbacks it is one load and a branch that is predicted.
 *
 * Prints nanoseconds per event of the loop alone, with the question whether there is a callback, and with chains of 1, 4 and 16 callbacks.
 */
#include "hook/hook.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define EVENTS 200000000u
#define EVENTS_CALLED 20000000u
#define CALLBACKS_MAX 16

struct event {
    uint64_t sum;
};

static enum hook_verdict count(void *context, void *event)
{
    const uint64_t *step = context;

    ((struct event *)event)->sum += *step;
    return HOOK_NEXT;
}

/* What an event costs without the point: something the compiler can neither leave out nor join. */
static void work(struct event *event, uint64_t i)
{
    event->sum += i;
    __asm__ volatile("" : : "r"(event) : "memory");
}

static void report(const char *name, uint64_t start_ns, uint64_t events)
{
    printf("%-24s %8.3f ns/event\n", name, (double)(clock_mono_ns() - start_ns) / (double)events);
}

static void run_empty(void)
{
    struct event event = {0};
    uint64_t start_ns = clock_mono_ns();

    for (uint64_t i = 0; i < EVENTS; i++)
        work(&event, i);
    report("loop alone", start_ns, EVENTS);
    start_ns = clock_mono_ns();
    for (uint64_t i = 0; i < EVENTS; i++) {
        work(&event, i);
        if (hook_any(HOOK_MESSAGE_PUBLISH))
            (void)hook_call(HOOK_MESSAGE_PUBLISH, &event);
    }
    report("empty chain", start_ns, EVENTS);
}

static int run_called(uint32_t callbacks)
{
    static uint64_t steps[CALLBACKS_MAX];
    struct hook *hooks[CALLBACKS_MAX];
    struct event event = {0};
    char name[32];
    uint64_t start_ns;

    for (uint32_t i = 0; i < callbacks; i++) {
        struct hook_options options = {
            .point = HOOK_MESSAGE_PUBLISH, .run = count, .context = &steps[i], .owner = "bench"};

        if (hook_add(&options, &hooks[i]) < 0)
            return 1;
    }
    start_ns = clock_mono_ns();
    for (uint64_t i = 0; i < EVENTS_CALLED; i++) {
        work(&event, i);
        if (hook_any(HOOK_MESSAGE_PUBLISH))
            (void)hook_call(HOOK_MESSAGE_PUBLISH, &event);
    }
    (void)snprintf(name, sizeof(name), "%" PRIu32 " callbacks", callbacks);
    report(name, start_ns, EVENTS_CALLED);
    for (uint32_t i = 0; i < callbacks; i++)
        hook_remove(hooks[i]);
    return 0;
}

int main(void)
{
    rcu_thread_register();
    run_empty();
    int err = run_called(1) | run_called(4) | run_called(CALLBACKS_MAX);
    rcu_thread_unregister();
    return err;
}
